//! `watch --exec`: runs a command for each event, one after the other, and knows how far it is.

use std::time::Duration;

use registry_client::{Items, WatchItem, pb};

use super::Connection;
use crate::Failure;
use crate::failure::{Hinted, message};
use crate::output::{json, note};
use crate::run::{Runner, Signals, status};

/// How long the command may take when it is asked to end.
const GRACE: Duration = Duration::from_secs(8);

/// What runs the command.
struct Each {
    runner: Runner,
    signals: Signals,
    /// Somebody asked for the end.
    over: bool,
}

/// Runs the command for each event that is shown.
pub(super) async fn each(
    command: crate::args::Each,
    aside: bool,
    mut items: Items<WatchItem>,
    shown: impl Fn(&pb::Event) -> bool,
) -> Result<(), Failure> {
    let runner = Runner::new(command.exec, aside, GRACE);
    let mut each = Each { runner, signals: Signals::listen()?, over: false };
    let mut connection = Connection::default();
    // Behind which revision to go on; `None` if that can't be said, as in the middle of a snapshot.
    let mut done = None;
    while !each.over {
        let item = tokio::select! {
            _ = each.signals.next() => break,
            item = items.try_next() => item?,
        };
        let Some(item) = item else { break };
        connection.tell(&item);
        if let WatchItem::Events { events, .. } | WatchItem::Snapshot { events, .. } = &item {
            for event in events.iter().filter(|event| shown(event)) {
                if each.over {
                    note(&how_to_go_on(done));
                    return Ok(());
                }
                let Err(error) = each.run(event).await else { continue };
                let text = format!("{}: {}", event.name, message(&*error));
                if !command.keep_going {
                    return Err(Hinted::of(text, how_to_go_on(done)).into());
                }
                note(&format!("{text}; going on"));
            }
        }
        done = match item {
            WatchItem::Created { revision, .. }
            | WatchItem::Events { revision, .. }
            | WatchItem::Bookmark { revision, .. } => Some(revision),
            _ => done,
        };
    }
    note(&how_to_go_on(done));
    Ok(())
}

impl Each {
    /// Runs the command for an event, and waits for its end.
    async fn run(&mut self, event: &pb::Event) -> Result<(), Failure> {
        let input = format!("{}\n", json::value(&json::tree("Event", event)?)?);
        let variables = [
            ("MODEL_REGISTRY_EVENT", event.name.clone()),
            ("MODEL_REGISTRY_EVENT_TYPE", event.r#type.clone()),
            ("MODEL_REGISTRY_EVENT_RESOURCE", event.resource_name.clone()),
            ("MODEL_REGISTRY_EVENT_ACTOR", event.actor.clone()),
            ("MODEL_REGISTRY_REVISION", event.revision.to_string()),
        ];
        let process = self.runner.start(variables, Some(input.into_bytes()))?;
        let mut ended = std::pin::pin!(status(process.end()));
        loop {
            tokio::select! {
                status = &mut ended => return Ok(self.runner.judged(status?)?),
                signal = self.signals.next() => {
                    self.over |= signal.ends();
                    // The command decides whether what it does for the event gets done.
                    self.runner.pass_on(signal);
                }
            }
        }
    }
}

/// What to tell at the end.
fn how_to_go_on(done: Option<i64>) -> String {
    match done {
        Some(revision) => format!("done up to revision {revision}: go on with --after {revision}"),
        None => "begin anew: what there is was not told to its end".to_owned(),
    }
}
