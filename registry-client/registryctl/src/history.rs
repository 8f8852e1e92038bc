//! `history`: what changed when, by whom and why.

mod differences;
mod holders;

use registry_client::{Kind, Name, pb};

use self::differences::differences;
use self::holders::{Held, Term, terms};
use crate::args::History;
use crate::output::{Column, brief, event, note, note_cut, page_size, time};
use crate::{Context, Failure, Usage};

/// What changes a model, its stages and its aliases, and who agreed to it or keeps it from changing.
const OF_MODEL: [&str; 5] = ["model.*", "alias.*", "version.stage_transitioned", "approval.*", "lock.*"];

pub(crate) async fn history(context: &Context, command: History) -> Result<(), Failure> {
    let History { name, asc, limit, .. } = command;
    let types: &[&str] = match name.kind() {
        Kind::Namespace => &["namespace.*"],
        Kind::Model => &OF_MODEL,
        Kind::Version => match held(&name)? {
            Some((model, held)) => return holders(context, &model, &held, asc, limit).await,
            None => &[],
        },
        _ => return Err(Usage("only namespaces, models and versions have a history".to_owned()).into()),
    };
    // Events are of a version's number.
    let parent = match name.kind() {
        Kind::Version => context.client.get_version(name).await?.name,
        _ => name.into(),
    };
    let order_by = if asc { "revision" } else { "revision desc" }.to_owned();
    let types = types.iter().map(ToString::to_string).collect();
    let page_size = page_size(limit);
    let request = pb::ListEventsRequest { parent, types, page_size, order_by, ..Default::default() };
    let mut events = context.client.call(request).stream();
    for _ in 0..limit {
        let Some(found) = events.try_next().await? else { return Ok(()) };
        context.out.message("Event", &found, event)?;
        if context.out.is_text() {
            for line in differences(&found)? {
                context.out.line(&format!("        {line}"))?;
            }
        }
    }
    if events.try_next().await?.is_some() {
        note_cut(if asc { "oldest" } else { "newest" }, limit);
    }
    Ok(())
}

/// The model, and which of its names that move is meant; `None` if it is a version's own.
fn held(version: &Name) -> Result<Option<(String, Held)>, Usage> {
    let name = version.as_str();
    let Some((model, moving)) = name.split_once("/versions/@").or_else(|| name.split_once('@')) else {
        return Ok(None);
    };
    let held = match moving {
        "latest" => return Err(Usage("@latest is the newest version that is ready: nobody sets it".to_owned())),
        "production" => Held::Stage(pb::Stage::Production),
        "staging" => Held::Stage(pb::Stage::Staging),
        alias => Held::Alias(alias.to_owned()),
    };
    Ok(Some((model.to_owned(), held)))
}

/// Which versions held a stage or an alias of a model.
async fn holders(context: &Context, model: &str, held: &Held, asc: bool, limit: usize) -> Result<(), Failure> {
    let types = vec![match held {
        Held::Stage(_) => "version.stage_transitioned".to_owned(),
        Held::Alias(_) => "alias.*".to_owned(),
    }];
    let request = pb::ListEventsRequest { parent: model.to_owned(), types, page_size: 1000, ..Default::default() };
    let events: Vec<_> = context.client.call(request).stream().try_collect().await?;
    let mut terms = terms(&events, held);
    if terms.is_empty() {
        note("no version has held it");
    }
    if !asc {
        terms.reverse();
    }
    if terms.len() > limit {
        terms.truncate(limit);
        note_cut(if asc { "oldest" } else { "newest" }, limit);
    }
    let columns = [
        "version".into(),
        Column::from("from"),
        Column::from("until"),
        Column::from("by").rank(1),
        Column::number("revision").rank(2),
        Column::prose("comment").rank(1),
    ];
    context.out.records(
        &terms,
        |term: &Term| term.version.clone(),
        &columns,
        |term| {
            vec![
                brief(&term.version).to_owned(),
                time(term.from.as_ref()),
                time(term.until.as_ref()),
                term.actor.clone(),
                term.revision.to_string(),
                term.comment.clone(),
            ]
        },
    )
}
