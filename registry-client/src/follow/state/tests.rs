use proptest::prelude::*;

use super::*;

/// What can come, and what is to come of it. Versions are numbers.
#[derive(Debug, Clone, Copy)]
enum In {
    Up,
    Down,
    Changed,
    Found(u32),
    FoundNothing,
    LookFailed,
    Loaded,
    Failed,
    Abandoned,
    Unloaded,
    /// So many seconds later.
    Later(u64),
}

use In::*;

const PATIENCE: Duration = Duration::from_secs(5);
const JITTER: Duration = Duration::from_secs(10);

struct Run {
    state: State<u32>,
    now: Instant,
    /// What happened, in words.
    told: Vec<String>,
}

impl Run {
    fn new(fallback: Option<u32>) -> Self {
        let now = Instant::now();
        let mut run = Self { state: State::new(now, PATIENCE, fallback), now, told: Vec::new() };
        run.act();
        run
    }

    fn act(&mut self) {
        loop {
            match self.state.next(self.now) {
                Do::Look => self.told.push("look".to_owned()),
                Do::Load(version) => self.told.push(format!("load {version}")),
                Do::Abandon => self.told.push("abandon".to_owned()),
                Do::Wait(until) => {
                    assert!(until.is_none_or(|until| until > self.now), "it would ask again at once");
                    return;
                }
            }
        }
    }

    fn step(&mut self, input: In) {
        let (state, now) = (&mut self.state, self.now);
        match input {
            Up => state.up(now),
            Down => state.down(),
            Changed => state.changed(now),
            Found(version) => state.found(now, version, JITTER),
            FoundNothing => state.found_nothing(now),
            LookFailed => state.look_failed(now, 1.0),
            Loaded => {
                if state.loaded() {
                    self.told.push(format!("serve {}", self.state.serving.unwrap()));
                }
            }
            Failed => state.failed(now, "no good".to_owned(), 1.0),
            Abandoned => state.abandoned(),
            Unloaded => state.unloaded(),
            Later(seconds) => self.now += Duration::from_secs(seconds),
        }
        self.act();
    }
}

/// What the cache has, what comes, what is done about it, what it is at then, and whether it is stuck.
type Row = (Option<u32>, Vec<In>, &'static str, Phase, bool);

#[test]
fn what_is_served_is_the_last_good_one() {
    let failed = || Phase::Failed("no good".to_owned());
    #[rustfmt::skip]
    let rows: Vec<Row> = vec![
        // A start with the registry.
        (None, vec![], "", Phase::Loading, false),
        (None, vec![Up, Found(1), Loaded], "look, load 1, serve 1", Phase::Serving, false),
        // What the cache has does not matter then.
        (Some(7), vec![Up, Found(1), Loaded, Changed, FoundNothing], "look, load 1, serve 1, look", Phase::Serving, false),
        // Nothing there, and nothing in the cache.
        (None, vec![Up, FoundNothing], "look", Phase::Loading, true),
        (None, vec![Up, FoundNothing, Changed, Found(1), Loaded], "look, look, load 1, serve 1", Phase::Serving, false),
        // No registry: the cache, at once or when nobody has answered for a while.
        (Some(7), vec![Down, Loaded], "load 7, serve 7", Phase::Serving, false),
        (Some(7), vec![Later(4), Later(1), Loaded], "load 7, serve 7", Phase::Serving, false),
        (Some(7), vec![Down, Loaded, Up, Found(7)], "load 7, serve 7, look", Phase::Serving, false),
        (Some(7), vec![Down, Loaded, Up, Found(8), Later(10), Loaded], "load 7, serve 7, look, load 8, serve 8", Phase::Serving, false),
        // The registry comes while the cache is being loaded: that is not stopped, as there is nothing else.
        (Some(7), vec![Down, Up, Found(8), Loaded, Later(10), Loaded], "load 7, look, serve 7, load 8, serve 8", Phase::Serving, false),
        // Neither: a call tells why.
        (None, vec![Down, LookFailed], "look", Phase::Loading, true),
        (None, vec![Down, LookFailed, Later(1)], "look, look", Phase::Loading, false),
        (Some(7), vec![Down, Failed], "load 7, look", Phase::Loading, false),
        (Some(7), vec![Down, Failed, LookFailed], "load 7, look", Phase::Loading, true),
        // What is there is no good: the last good one of the cache, if it is another one.
        (None, vec![Up, Found(1), Failed], "look, load 1", failed(), true),
        (Some(7), vec![Up, Found(1), Failed, Loaded], "look, load 1, load 7, serve 7", failed(), false),
        (Some(1), vec![Up, Found(1), Failed], "look, load 1", failed(), true),
        (Some(7), vec![Up, Found(1), Failed, Failed], "look, load 1, load 7", failed(), true),
        // A bad promotion: the one before stays, and it is tried again, each time later.
        (None, vec![Up, Found(1), Loaded, Changed, Found(2), Later(10), Failed], "look, load 1, serve 1, look, load 2", failed(), false),
        (
            None, vec![Up, Found(1), Loaded, Changed, Found(2), Later(10), Failed, Later(1), Failed, Later(1), Later(1), Loaded],
            "look, load 1, serve 1, look, load 2, load 2, load 2, serve 2", Phase::Serving, false,
        ),
        // That is forgotten when another one comes, or the registry comes back, but not when it says the same again.
        (
            None, vec![Up, Found(1), Loaded, Changed, Found(2), Later(10), Failed, Changed, Found(3), Later(10), Loaded],
            "look, load 1, serve 1, look, load 2, look, load 3, serve 3", Phase::Serving, false,
        ),
        (None, vec![Up, Found(1), Loaded, Changed, Found(2), Later(10), Failed, Changed, Found(2)], "look, load 1, serve 1, look, load 2, look", failed(), false),
        (None, vec![Up, Found(1), Loaded, Changed, Found(2), Later(10), Failed, Down, Up], "look, load 1, serve 1, look, load 2, look, load 2", failed(), false),
        (
            None, vec![Up, Found(1), Loaded, Changed, Found(2), Later(10), Failed, Changed, FoundNothing, Changed, Found(2), Later(10), Loaded],
            "look, load 1, serve 1, look, load 2, look, look, load 2, serve 2", Phase::Serving, false,
        ),
        // A rollback.
        (None, vec![Up, Found(1), Loaded, Changed, Found(2), Later(10), Failed, Changed, Found(1)], "look, load 1, serve 1, look, load 2, look", Phase::Serving, false),
        // Several in a row: only the last.
        (
            None, vec![Up, Found(1), Loaded, Changed, Found(2), Later(9), Changed, Found(3), Later(9), Later(1), Loaded],
            "look, load 1, serve 1, look, look, load 3, serve 3", Phase::Serving, false,
        ),
        (
            None, vec![Up, Found(1), Loaded, Changed, Found(2), Later(10), Changed, Changed, Found(3), Found(4), Abandoned, Later(10), Loaded],
            "look, load 1, serve 1, look, load 2, look, look, abandon, load 4, serve 4", Phase::Serving, false,
        ),
        // A load that can't be stopped comes to its end, and to nothing.
        (
            None, vec![Up, Found(1), Loaded, Changed, Found(2), Later(10), Changed, Found(1), Loaded],
            "look, load 1, serve 1, look, load 2, look, abandon", Phase::Serving, false,
        ),
        (
            None, vec![Up, Found(1), Loaded, Changed, Found(2), Later(10), Changed, Found(1), Failed],
            "look, load 1, serve 1, look, load 2, look, abandon", Phase::Serving, false,
        ),
        // The first one is wanted no more before it is loaded.
        (None, vec![Up, Found(1), Changed, Found(2), Abandoned, Loaded], "look, load 1, look, abandon, load 2, serve 2", Phase::Serving, false),
        // What changes during a look-up is looked up.
        (None, vec![Up, Changed, Found(1), Found(2)], "look, look, load 1, abandon", Phase::Loading, false),
        // Away: what is served is.
        (None, vec![Up, Found(1), Loaded, Down, Later(100), Changed], "look, load 1, serve 1", Phase::Serving, false),
        (None, vec![Up, Found(1), Loaded, Changed, LookFailed, Later(1), Found(2)], "look, load 1, serve 1, look, look", Phase::Loading, false),
        // Unloaded first, without jitter then; and what was unloaded is loaded again if the next one is no good.
        (None, vec![Up, Found(1), Loaded, Changed, Found(2), Later(10), Unloaded, Loaded], "look, load 1, serve 1, look, load 2, serve 2", Phase::Serving, false),
        (None, vec![Up, Found(1), Loaded, Changed, Found(2), Later(10), Unloaded, Failed, Loaded], "look, load 1, serve 1, look, load 2, load 1, serve 1", failed(), false),
        (
            None, vec![Up, Found(1), Loaded, Changed, Found(2), Later(10), Unloaded, Failed, Failed, Later(1), Failed, Loaded],
            "look, load 1, serve 1, look, load 2, load 1, load 2, load 1, serve 1", failed(), false,
        ),
        // An attempt that takes away what is served is seldom made again, unless somebody promotes something else.
        (
            None, vec![Up, Found(1), Loaded, Changed, Found(2), Later(10), Unloaded, Failed, Loaded, Later(59), Up, Found(2), Later(1)],
            "look, load 1, serve 1, look, load 2, load 1, serve 1, look, load 2", failed(), false,
        ),
        (
            None, vec![Up, Found(1), Loaded, Changed, Found(2), Later(10), Unloaded, Failed, Loaded, Changed, Found(3), Later(10)],
            "look, load 1, serve 1, look, load 2, load 1, serve 1, look, load 3", Phase::Loading, false,
        ),
        (
            None, vec![Up, Found(1), Loaded, Changed, Found(2), Later(10), Unloaded, Changed, Found(1), Abandoned, Loaded],
            "look, load 1, serve 1, look, load 2, look, abandon, load 1, serve 1", Phase::Serving, false,
        ),
    ];
    for (i, (fallback, inputs, expected, phase, stuck)) in rows.into_iter().enumerate() {
        let mut run = Run::new(fallback);
        inputs.into_iter().for_each(|input| run.step(input));
        assert_eq!(run.told.join(", "), expected, "row {i}");
        assert_eq!((run.state.phase(), run.state.is_stuck()), (phase, stuck), "row {i}");
    }
}

#[test]
fn pauses_grow_to_a_minute_and_are_never_short() {
    let seconds = |failures, random| pause(failures, random).as_secs_f64();
    for (failures, shortest, longest) in
        [(1, 0.5, 1.0), (2, 1.0, 2.0), (4, 4.0, 8.0), (7, 30.0, 60.0), (u32::MAX, 30.0, 60.0)]
    {
        assert_eq!((seconds(failures, 0.0), seconds(failures, 1.0)), (shortest, longest), "{failures}");
    }
}

fn input() -> impl Strategy<Value = In> {
    prop_oneof![
        1 => Just(Up),
        1 => Just(Down),
        3 => Just(Changed),
        3 => (1..5_u32).prop_map(Found),
        1 => Just(FoundNothing),
        1 => Just(LookFailed),
        3 => Just(Loaded),
        2 => Just(Failed),
        1 => Just(Unloaded),
        2 => (0..20_u64).prop_map(Later),
    ]
}

proptest! {
    /// Whatever comes in whatever order: one look-up and one load at a time, only what is wanted is served, what is served stays, and
    /// once the registry is up and everything loads, what it says is served.
    #[test]
    fn it_gets_there(fallback in proptest::option::of(1..5_u32), inputs in proptest::collection::vec(input(), 0..60)) {
        let mut run = Run::new(fallback);
        for input in inputs {
            let looking = matches!(run.state.look, Look::Running { .. });
            let working = run.state.work.is_some();
            let (before, told) = (run.state.serving, run.told.len());
            match input {
                Found(_) | FoundNothing | LookFailed if !looking => continue,
                Loaded | Failed if !working => continue,
                // Before a load, of what is wanted.
                Unloaded if run.state.work.as_ref().is_none_or(|work| work.abandoned) => continue,
                input => run.step(input),
            }
            let did = run.told[told..].to_vec();
            prop_assert!(did.iter().filter(|did| did.starts_with("load")).count() <= 1);
            let wanted = run.state.desired.into_iter().chain(fallback).chain(before).chain(run.state.fallback);
            let wanted: Vec<_> = wanted.map(|version| format!("load {version}")).collect();
            for did in did.iter().filter(|did| did.starts_with("load")) {
                prop_assert!(wanted.contains(did), "{did}");
            }
            if run.state.serving != before {
                prop_assert!(matches!(input, Loaded | Unloaded), "{input:?}");
                let wanted = run.state.desired;
                let next_best = before.is_none();
                prop_assert!(matches!(input, Unloaded) || run.state.serving == wanted || next_best);
            }
        }
        // From now on all goes well.
        run.step(Up);
        for _ in 0..20 {
            if matches!(run.state.look, Look::Running { .. }) {
                run.step(Found(9));
            } else if run.state.work.is_some() {
                run.step(Loaded);
            } else {
                run.step(Later(61));
            }
        }
        prop_assert_eq!(run.state.serving, Some(9));
        prop_assert_eq!(run.state.phase(), Phase::Serving);
        prop_assert_eq!(run.state.next(run.now), Do::Wait(None));
    }
}
