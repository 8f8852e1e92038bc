//! Everything that can happen to one chunk: all interleavings of two sweepers and two publishers, in which anybody may stand still for
//! any time, crash, or take a sweep for dead, and a deletion is carried out at once, later, or never, and is answered or not.
//!
//! Of other chunks it is enough that there are sweeps which have only those. A pause is a step that is not taken, so none needs a
//! state of its own. Readers need none either: what an artifact was made of has to be there in every state, under a name that
//! readers try.

use std::collections::{HashMap, HashSet, VecDeque};

use super::{Names, Sweep};

/// A set of generations, one bit for each.
type Bits = u8;

/// Which rule is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Ours.
    NewNames,
    /// As it was once: a sweep that takes too long is given up, and its chunks keep their names.
    SameNames,
    /// A sweep is ended though a deletion was not answered.
    EndsUnanswered,
    /// A publisher does not ask for sweeps since it has looked.
    CommitsUnseen,
    /// A sweeper does not spare what came to be listed before its commit.
    SparesNothing,
    /// A sweep removes its chunks by names that they got behind its beginning.
    FindsLate,
    /// A reader tries only where a chunk is stored now.
    ReadsNewest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Publisher {
    Idle,
    /// Has noted the newest sweep whose effect shows, and the chunk's name; stores the chunk, or looks for it.
    Looking {
        settled: u8,
        name: u8,
    },
    /// Has found it.
    Committing {
        settled: u8,
        name: u8,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Sweeper {
    Idle,
    /// Knows whether the chunk is listed: at some revision, and since.
    Marked {
        listed: bool,
    },
    /// Has found the chunk stored under these names, as garbage.
    Found {
        listed: bool,
        names: Bits,
    },
    /// Its sweep has begun.
    Removing {
        generation: u8,
        left: Bits,
        unanswered: Bits,
    },
}

/// Whoever makes artifacts, and whoever sweeps.
const ACTORS: usize = 2;
/// No more sweeps begin than this.
const SWEEPS: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct World {
    /// The names under which the chunk is stored.
    stored: Bits,
    sweep: (u8, bool),
    /// The sweeps that have the chunk.
    condemned: Bits,
    given_up: Bits,
    /// The names that deletions are on their way to, for each sweep.
    flying: [Bits; SWEEPS + 1],
    /// The artifact of each publisher: the name under which it has found the chunk.
    artifacts: [Option<u8>; ACTORS],
    publishers: [Publisher; ACTORS],
    sweepers: [Sweeper; ACTORS],
}

fn bit(generation: u8) -> Bits {
    1 << generation
}

fn of(bits: Bits) -> impl Iterator<Item = u8> {
    (0..8).filter(move |generation| bits & bit(*generation) != 0)
}

/// The names that the chunk has had, and the newest one, by the sweeps that had it and were given up: from the rule itself.
struct Table(Vec<(Bits, u8)>);

impl Table {
    fn new() -> Self {
        let entry = |given_up: Bits| {
            let mut names = Names::default();
            of(given_up).for_each(|generation| names.give_up(generation.into(), [()]));
            let all = names.all(&()).fold(0, |all, generation| all | bit(u8::try_from(generation).unwrap()));
            (all, u8::try_from(names.newest(&())).unwrap())
        };
        Self((0..1 << (SWEEPS + 1)).map(entry).collect())
    }
}

struct Model {
    rule: Rule,
    /// How many sweeps there may be.
    sweeps: u8,
    publishers: usize,
    table: Table,
}

impl Model {
    fn new(rule: Rule, sweeps: u8, publishers: usize) -> Self {
        Self { rule, sweeps, publishers, table: Table::new() }
    }

    fn names(&self, world: &World) -> (Bits, u8) {
        let renamed = if self.rule == Rule::SameNames { 0 } else { world.given_up & world.condemned };
        self.table.0[usize::from(renamed)]
    }

    /// What is wrong with a state.
    fn broken(&self, world: &World) -> bool {
        let (all, newest) = self.names(world);
        let tried = if self.rule == Rule::ReadsNewest { bit(newest) } else { all };
        let mut artifacts = world.artifacts.iter().flatten();
        artifacts.any(|name| bit(*name) & world.stored & tried == 0)
    }

    /// All states that may come next.
    fn next(&self, world: &World, mut reach: impl FnMut(World)) {
        self.deletions(world, &mut reach);
        // Somebody else has lost patience.
        if world.sweep.1 {
            reach(given_up(*world));
        }
        for who in 0..self.publishers {
            self.publish(world, who, &mut reach);
        }
        for who in 0..ACTORS {
            self.collect(world, who, &mut reach);
        }
    }

    /// What becomes of deletions that are on their way.
    fn deletions(&self, world: &World, reach: &mut impl FnMut(World)) {
        for (generation, flying) in (0..).zip(world.flying) {
            for name in of(flying) {
                let mut lost = *world;
                lost.flying[usize::from(generation)] &= !bit(name);
                // It was refused, and answered.
                let mut refused = lost;
                answer(&mut refused, generation, name);
                reach(refused);
                // It was carried out, and the answer does not arrive.
                lost.stored &= !bit(name);
                reach(lost);
                let mut answered = lost;
                answer(&mut answered, generation, name);
                reach(answered);
            }
        }
    }

    fn publish(&self, world: &World, who: usize, reach: &mut impl FnMut(World)) {
        let (all, newest) = self.names(world);
        let sweep = Sweep { generation: world.sweep.0.into(), under_way: world.sweep.1 };
        let settled = u8::try_from(sweep.settled()).unwrap();
        let looking = Publisher::Looking { settled, name: newest };
        let mut to = |publisher| {
            let mut next = *world;
            next.publishers[who] = publisher;
            reach(next);
        };
        match world.publishers[who] {
            Publisher::Idle => to(looking),
            Publisher::Looking { settled, name } => {
                to(Publisher::Idle);
                if world.stored & bit(name) != 0 {
                    to(Publisher::Committing { settled, name });
                }
            }
            Publisher::Committing { settled, name } => {
                to(Publisher::Idle);
                if settled == world.sweep.0 || self.rule == Rule::CommitsUnseen {
                    let mut next = *world;
                    next.publishers[who] = Publisher::Idle;
                    next.artifacts[who] = Some(name);
                    for sweeper in &mut next.sweepers {
                        if let Sweeper::Marked { listed } | Sweeper::Found { listed, .. } = sweeper {
                            *listed = true;
                        }
                    }
                    reach(next);
                } else {
                    let unseen = of(world.condemned).find(|generation| *generation > settled);
                    match unseen {
                        None => to(Publisher::Committing { settled: world.sweep.0, name }),
                        // It waits.
                        Some(generation) if sweep.settled() < generation.into() => {}
                        Some(_) => to(looking),
                    }
                }
            }
        }
        if world.artifacts[who].is_some() {
            let mut deleted = *world;
            deleted.artifacts[who] = None;
            reach(deleted);
        }
        // It stores the chunk, now or late: under the name that it has now, or under an older one.
        for name in of(all & !world.stored) {
            reach(World { stored: world.stored | bit(name), ..*world });
        }
    }

    fn collect(&self, world: &World, who: usize, reach: &mut impl FnMut(World)) {
        let mut to = |sweeper, mut next: World| {
            next.sweepers[who] = sweeper;
            reach(next);
        };
        let listed_now = world.artifacts.iter().any(Option::is_some);
        match world.sweepers[who] {
            Sweeper::Idle => to(Sweeper::Marked { listed: listed_now }, *world),
            Sweeper::Marked { listed } => {
                let names = if listed { 0 } else { world.stored };
                to(Sweeper::Found { listed, names }, *world);
            }
            Sweeper::Found { .. } if world.sweep.1 => to(Sweeper::Idle, *world),
            Sweeper::Found { listed, names } => {
                if world.sweep.0 < self.sweeps {
                    let generation = world.sweep.0 + 1;
                    let mut next = World { sweep: (generation, true), ..*world };
                    if names != 0 {
                        next.condemned |= bit(generation);
                    }
                    let spared = listed && self.rule != Rule::SparesNothing;
                    let left = if spared { 0 } else { names };
                    to(Sweeper::Removing { generation, left, unanswered: 0 }, next);
                }
            }
            Sweeper::Removing { generation, left, unanswered } => {
                // Dead, or it has stopped for some reason: others will notice.
                to(Sweeper::Idle, *world);
                let left = match self.rule {
                    // Not what was spared.
                    Rule::FindsLate if left != 0 => left | world.stored,
                    _ => left,
                };
                for name in of(left) {
                    let mut next = *world;
                    next.flying[usize::from(generation)] |= bit(name);
                    let (left, unanswered) = (left & !bit(name), unanswered | bit(name));
                    to(Sweeper::Removing { generation, left, unanswered }, next);
                }
                if world.sweep == (generation, true) {
                    if unanswered == 0 || self.rule == Rule::EndsUnanswered {
                        to(Sweeper::Idle, World { sweep: (generation, false), ..*world });
                    }
                    to(Sweeper::Idle, given_up(*world));
                }
            }
        }
    }

    /// Whether a publisher gets through from here, if the others stand still.
    fn gets_on(&self, world: World) -> bool {
        let mut world = if world.sweep.1 { given_up(world) } else { world };
        let name = self.names(&world).1;
        world.publishers[0] = Publisher::Idle;
        world.artifacts[0] = None;
        world.stored |= bit(name);
        for _ in 0..3 {
            let mut steps = Vec::new();
            self.publish(&world, 0, &mut |next| steps.push(next));
            // The others break off.
            let step =
                steps.into_iter().find(|next| next.publishers[0] != Publisher::Idle || next.artifacts[0].is_some());
            match step {
                Some(next) => world = next,
                None => return false,
            }
        }
        world.artifacts[0] == Some(name)
    }

    /// Whether a sweep from here removes all that there is of the chunk, if nobody lists it.
    fn cleans_up(&self, world: World) -> bool {
        let mut world = if world.sweep.1 { given_up(world) } else { world };
        world.artifacts = [None; ACTORS];
        world.sweepers[0] = Sweeper::Idle;
        // It knows what is listed, finds what is stored, and begins, unless there may be no more sweeps.
        for _ in 0..3 {
            let mut next = None;
            self.collect(&world, 0, &mut |step| next = Some(step));
            let Some(next) = next else { return world.sweep.0 == self.sweeps };
            world = next;
        }
        matches!(world.sweepers[0], Sweeper::Removing { left, .. } if left == world.stored)
    }

    /// Tries everything; answers how many states there are, or how one came about that is broken.
    fn explore(&self) -> Result<usize, Vec<World>> {
        let start = World {
            stored: 0,
            sweep: (0, false),
            condemned: 0,
            given_up: 0,
            flying: [0; SWEEPS + 1],
            artifacts: [None; ACTORS],
            publishers: [Publisher::Idle; ACTORS],
            sweepers: [Sweeper::Idle; ACTORS],
        };
        let mut seen = HashSet::from([start]);
        let mut queue = VecDeque::from([start]);
        while let Some(world) = queue.pop_front() {
            if self.broken(&world) {
                return Err(self.path(start, world));
            }
            assert!(self.gets_on(world), "a publisher is stuck: {world:?}");
            assert!(self.cleans_up(world), "garbage stays: {world:?}");
            self.next(&world, |next| {
                let next = self.normal(next);
                if seen.insert(next) {
                    queue.push_back(next);
                }
            });
        }
        Ok(seen.len())
    }

    /// One of the states that differ in nothing that matters: sweepers have no names, publishers have none either, and a sweeper
    /// whose sweep is over waits for no answer.
    fn normal(&self, mut world: World) -> World {
        for sweeper in &mut world.sweepers {
            match sweeper {
                Sweeper::Removing { generation, .. } if world.sweep == (*generation, true) => {}
                Sweeper::Removing { left: 0, .. } => *sweeper = Sweeper::Idle,
                Sweeper::Removing { unanswered, .. } => *unanswered = 0,
                _ => {}
            }
        }
        world.sweepers.sort_unstable();
        let mut both: [_; ACTORS] = std::array::from_fn(|who| (world.artifacts[who], world.publishers[who]));
        both[..self.publishers].sort_unstable();
        for (who, (artifact, publisher)) in both.into_iter().enumerate() {
            (world.artifacts[who], world.publishers[who]) = (artifact, publisher);
        }
        world
    }

    /// One of the shortest ways from one state to another.
    fn path(&self, start: World, end: World) -> Vec<World> {
        let mut from = HashMap::from([(start, start)]);
        let mut queue = VecDeque::from([start]);
        while !from.contains_key(&end) {
            let world = queue.pop_front().expect("it was reached before");
            self.next(&world, |next| {
                let next = self.normal(next);
                from.entry(next).or_insert_with(|| {
                    queue.push_back(next);
                    world
                });
            });
        }
        let mut path = vec![end];
        while let Some(last) = path.last().filter(|last| **last != start) {
            path.push(from[last]);
        }
        path.reverse();
        path
    }
}

fn given_up(world: World) -> World {
    World { sweep: (world.sweep.0, false), given_up: world.given_up | bit(world.sweep.0), ..world }
}

fn answer(world: &mut World, sweep: u8, name: u8) {
    for sweeper in &mut world.sweepers {
        if let Sweeper::Removing { generation, unanswered, .. } = sweeper
            && *generation == sweep
        {
            *unanswered &= !bit(name);
        }
    }
}

fn holds(sweeps: u8, publishers: usize) {
    match Model::new(Rule::NewNames, sweeps, publishers).explore() {
        Ok(states) => println!("{sweeps} sweeps, {publishers} publishers: {states} states"),
        Err(path) => panic!("{path:#?}"),
    }
}

#[test]
fn what_is_listed_is_there_whatever_happens_when() {
    holds(2, 2);
}

#[test]
#[ignore = "takes a minute: tests/full.sh runs it"]
fn what_is_listed_is_there_whatever_happens_in_three_sweeps() {
    holds(3, 1);
}

#[test]
fn every_part_of_the_rule_is_needed() {
    for rule in [
        Rule::SameNames,
        Rule::EndsUnanswered,
        Rule::CommitsUnseen,
        Rule::SparesNothing,
        Rule::FindsLate,
        Rule::ReadsNewest,
    ] {
        let path = Model::new(rule, 2, 1).explore().expect_err(&format!("{rule:?} breaks nothing"));
        println!("{rule:?} breaks something in {} steps", path.len() - 1);
    }
}
