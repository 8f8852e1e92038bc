use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const GRACE: Duration = Duration::from_secs(10);

#[test]
fn what_is_garbage() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
    let ago = |seconds| now - Duration::from_secs(seconds);
    let ahead = now + Duration::from_secs(1);
    let table = [
        (true, ago(1000), GRACE, Fate::Listed),
        (true, ahead, GRACE, Fate::Listed),
        (false, ago(9), GRACE, Fate::Recent),
        (false, ago(10), GRACE, Fate::Garbage),
        (false, now, Duration::ZERO, Fate::Garbage),
        (false, ahead, Duration::ZERO, Fate::Recent),
    ];
    for (listed, written, grace, expected) in table {
        assert_eq!(fate(listed, written, now, grace), expected, "{listed} {written:?} {grace:?}");
    }
}

#[test]
fn a_sweep_shows_once_it_is_over() {
    assert_eq!(Sweep::default().settled(), 0);
    assert_eq!(Sweep { generation: 3, under_way: false }.settled(), 3);
    assert_eq!(Sweep { generation: 3, under_way: true }.settled(), 2);
}

type Chunks = BTreeSet<u8>;

/// What a publisher is about to do.
#[derive(Debug, Clone)]
enum Publisher {
    Idle,
    Upload(Chunks),
    Look(Chunks),
    Check { wanted: Chunks, settled: u64 },
    Commit { wanted: Chunks, settled: u64 },
}

/// What a sweeper is about to do.
#[derive(Debug, Clone)]
enum Sweeper {
    Idle,
    List { marks: Chunks, revision: usize },
    Begin { garbage: Chunks, revision: usize },
    Spare { garbage: Chunks, from: usize, to: usize },
    Remove(Chunks),
}

/// A registry with two publishers and two sweepers without a grace time, who do one step at a time.
#[derive(Debug)]
struct World {
    stored: Chunks,
    listed: Chunks,
    /// What each revision came to list.
    log: Vec<Chunks>,
    sweep: Sweep,
    /// By generation, from 1.
    condemned: Vec<Chunks>,
    publishers: [Publisher; 2],
    sweepers: [Sweeper; 2],
    published: usize,
    removed: usize,
}

impl World {
    fn new() -> Self {
        Self {
            stored: Chunks::new(),
            listed: Chunks::new(),
            log: Vec::new(),
            sweep: Sweep::default(),
            condemned: Vec::new(),
            publishers: [Publisher::Idle, Publisher::Idle],
            sweepers: [Sweeper::Idle, Sweeper::Idle],
            published: 0,
            removed: 0,
        }
    }

    fn step(&mut self, actor: u8, choice: u8) {
        match actor {
            0 | 1 => self.publish(usize::from(actor), choice),
            2 | 3 => self.collect(usize::from(actor - 2)),
            _ => drop(self.listed.remove(&(choice % 4))),
        }
        assert!(self.listed.is_subset(&self.stored), "{self:?}");
    }

    fn publish(&mut self, who: usize, choice: u8) {
        let next = match self.publishers[who].clone() {
            Publisher::Idle => {
                let wanted: Chunks = (0..4).filter(|chunk| choice & (1 << chunk) != 0).collect();
                if wanted.is_empty() { Publisher::Idle } else { Publisher::Look(wanted) }
            }
            Publisher::Upload(wanted) => {
                self.stored.extend(&wanted);
                Publisher::Look(wanted)
            }
            Publisher::Look(wanted) => Publisher::Check { wanted, settled: self.sweep.settled() },
            Publisher::Check { wanted, .. } if !wanted.is_subset(&self.stored) => Publisher::Upload(wanted),
            Publisher::Check { wanted, settled } => Publisher::Commit { wanted, settled },
            Publisher::Commit { wanted, settled } if settled == self.sweep.generation => {
                self.listed.extend(&wanted);
                self.log.push(wanted);
                self.published += 1;
                Publisher::Idle
            }
            Publisher::Commit { wanted, settled } => {
                let unseen = settled + 1..=self.sweep.generation;
                let has_ours = |generation: &u64| !self.condemned[*generation as usize - 1].is_disjoint(&wanted);
                match unseen.clone().find(has_ours) {
                    Some(generation) if self.sweep.settled() < generation => Publisher::Commit { wanted, settled },
                    Some(_) => Publisher::Look(wanted),
                    None => Publisher::Commit { wanted, settled: self.sweep.generation },
                }
            }
        };
        self.publishers[who] = next;
    }

    fn collect(&mut self, who: usize) {
        let next = match self.sweepers[who].clone() {
            Sweeper::Idle => Sweeper::List { marks: self.listed.clone(), revision: self.log.len() },
            Sweeper::List { marks, revision } => {
                let now = SystemTime::now();
                let is_garbage = |chunk: &&u8| fate(marks.contains(chunk), now, now, Duration::ZERO) == Fate::Garbage;
                let garbage = self.stored.iter().filter(is_garbage).copied().collect();
                Sweeper::Begin { garbage, revision }
            }
            Sweeper::Begin { .. } if self.sweep.under_way => Sweeper::Idle,
            Sweeper::Begin { garbage, revision } => {
                self.sweep = Sweep { generation: self.sweep.generation + 1, under_way: true };
                self.condemned.push(garbage.clone());
                self.log.push(Chunks::new());
                Sweeper::Spare { garbage, from: revision, to: self.log.len() }
            }
            Sweeper::Spare { mut garbage, from, to } => {
                garbage.retain(|chunk| !self.log[from..to].iter().any(|listed| listed.contains(chunk)));
                Sweeper::Remove(garbage)
            }
            Sweeper::Remove(mut garbage) => match garbage.pop_first() {
                Some(chunk) => {
                    self.removed += usize::from(self.stored.remove(&chunk));
                    Sweeper::Remove(garbage)
                }
                None => {
                    self.sweep.under_way = false;
                    Sweeper::Idle
                }
            },
        };
        self.sweepers[who] = next;
    }
}

fn steps(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<(u8, u8)>> {
    proptest::collection::vec((0_u8..5, any::<u8>()), length)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_that_is_listed_is_removed(steps in steps(0..200)) {
        let mut world = World::new();
        for (actor, choice) in steps {
            world.step(actor, choice);
        }
    }

    #[test]
    fn everybody_gets_on_when_left_in_peace(before in steps(0..100)) {
        let mut world = World::new();
        for (actor, choice) in before {
            world.step(actor, choice);
        }
        // A sweep takes 4 steps and one for each chunk; a publisher who has to upload again, 5.
        for actor in [2, 3, 2, 3] {
            for _ in 0..9 {
                world.step(actor, 0);
            }
        }
        let published = world.published;
        for _ in 0..10 {
            world.step(0, 15);
        }
        prop_assert!(world.published > published, "{world:?}");
        // The other publisher's uploads aside, only what is listed is left.
        world.publishers = [Publisher::Idle, Publisher::Idle];
        for actor in [2, 3, 2, 3] {
            for _ in 0..9 {
                world.step(actor, 0);
            }
        }
        prop_assert_eq!(&world.stored, &world.listed);
    }
}
