//! `events` and `watch`.

mod each;

use futures::TryStreamExt as _;
use registry_client::{Error, WatchItem, known, pb};

use crate::args::{Events, Watch};
use crate::failure::Hinted;
use crate::interrupt::asked_to_end;
use crate::output::{event, note, note_cut, page_size, time};
use crate::select::quoted;
use crate::values::timestamp;
use crate::{Context, Failure};

pub(crate) async fn list(context: &Context, command: Events) -> Result<(), Failure> {
    let filter = command.filter;
    let request = pb::ListEventsRequest {
        parent: command.parent.map_or_else(|| context.namespace_name(), Into::into),
        types: command.types,
        filter: by(filter.clone(), command.by.as_deref()),
        page_size: page_size(command.limit),
        order_by: if command.asc { "revision" } else { "revision desc" }.to_owned(),
        start_time: command.since.map(timestamp),
        end_time: command.until.map(timestamp),
        ..Default::default()
    };
    // By itself a fault in it is where it was written.
    let alone = command.by.map(|_| pb::ListEventsRequest { filter, page_size: 1, ..Default::default() });
    let shown = shown(context, &request.types);
    let mut events = context.client.call(request).stream().try_filter(|found| std::future::ready(shown(found)));
    for _ in 0..command.limit {
        let found = match events.try_next().await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(()),
            Err(error) => {
                if let Some(alone) = alone.filter(|_| error.is_invalid_argument()) {
                    context.client.call(alone).await?;
                }
                return Err(dated(context, error).await);
            }
        };
        context.out.message("Event", &found, event)?;
    }
    if events.try_next().await?.is_some() {
        note_cut(if command.asc { "oldest" } else { "newest" }, command.limit);
    }
    Ok(())
}

/// An error with the time at which the log begins, if it is that what was asked for was before.
async fn dated(context: &Context, error: Error) -> Failure {
    if error.reason() != Some(pb::ErrorReason::RevisionCompacted) {
        return error.into();
    }
    let oldest = pb::ListEventsRequest { page_size: 1, ..Default::default() };
    let oldest = context.client.call(oldest).await.ok().and_then(|page| page.events.into_iter().next());
    let begins = oldest.map_or_else(String::new, |oldest| format!(", at {}", time(oldest.create_time.as_ref())));
    let hint = format!(
        "the audit trail begins there{begins}: without --since and --until, or with later ones, it is listed; what was before is in the archive"
    );
    Hinted::of(error, hint).into()
}

pub(crate) async fn watch(context: &Context, command: Watch) -> Result<(), Failure> {
    let shown = shown(context, &command.types);
    let mut watch = context.client.watch().types(command.types).filter(by(command.filter, command.by.as_deref()));
    let parent = command.parent.map_or_else(|| context.namespace_name(), Into::into);
    if !parent.is_empty() {
        watch = watch.parent(parent);
    }
    if let Some(revision) = command.after {
        watch = watch.after(revision);
    }
    if command.snapshot {
        watch = watch.from_snapshot();
    }
    let mut items = watch.stream();
    if !command.each.exec.is_empty() {
        return each::each(command.each, context.out.json, items, shown).await;
    }
    let mut connection = Connection::default();
    loop {
        let item = tokio::select! {
            item = items.try_next() => item?,
            // That is how a watch is meant to end.
            () = asked_to_end() => return Ok(()),
        };
        match item {
            Some(WatchItem::Events { events, .. } | WatchItem::Snapshot { events, .. }) => {
                events
                    .iter()
                    .filter(|found| shown(found))
                    .try_for_each(|found| context.out.message("Event", found, event))?;
            }
            Some(item) => connection.tell(&item),
            None => return Ok(()),
        }
    }
}

/// What is known of a watch's connection.
#[derive(Debug, Default)]
struct Connection {
    away: bool,
}

impl Connection {
    /// Says what a watch tells of it.
    fn tell(&mut self, item: &WatchItem) {
        match item {
            WatchItem::Disconnected { reason } => {
                self.away = true;
                note(&format!("disconnected, and waiting for the registry: {reason}"));
            }
            WatchItem::Created { .. } if self.away => note("connected"),
            WatchItem::Resumed { revision } => {
                note(&format!("connected again: all that happened after revision {revision} follows"));
            }
            WatchItem::SnapshotRestarted { .. } => note("connected again: the snapshot begins anew"),
            // Events, or a bookmark: nothing happened.
            _ => {}
        }
    }
}

/// A condition, and that somebody did it.
fn by(filter: String, actor: Option<&str>) -> String {
    let Some(actor) = actor else { return filter };
    let by = format!("event.actor == {}", quoted(actor));
    // A comment may end the filter.
    if filter.is_empty() { by } else { format!("({filter}\n) && {by}") }
}

/// Which events are shown. That a request had nothing to change, or is forgotten, is a note for the registry, which tells people nothing
/// unless they ask for it; programs get the whole log.
fn shown(context: &Context, types: &[String]) -> impl Fn(&pb::Event) -> bool + use<> {
    let all = !context.out.is_text() || !types.is_empty();
    let notes = [known::event_type::REQUEST_UNCHANGED, known::event_type::REQUEST_FORGOTTEN];
    move |event| all || !notes.contains(&event.r#type.as_str())
}
