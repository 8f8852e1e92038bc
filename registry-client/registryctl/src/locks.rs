//! `lock`, `unlock` and `locks`.

use registry_client::{Name, pb};

use crate::args::TableShape;
use crate::output::{self, Column, Lines, brief, fields, first, minute, page_size, time};
use crate::values::short;
use crate::{Context, Failure};

#[derive(Debug, clap::Args)]
pub(crate) struct Lock {
    /// The model or the version.
    name: Name,
    /// Why: whoever is kept from something reads it.
    #[arg(short = 'm', long, value_name = "WHY")]
    reason: String,
    /// What the lock is called, beside others of the model.
    #[arg(long, default_value = "lock")]
    id: String,
    /// Only keep it from being deleted or purged: a hold.
    #[arg(long)]
    hold: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Locks {
    /// The model; without it, all.
    model: Option<Name>,
    /// How many at most.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    pub(crate) table: TableShape,
}

pub(crate) async fn lock(context: &Context, command: Lock) -> Result<(), Failure> {
    let Lock { name, reason, id, hold } = command;
    let call = context.client.create_lock(name, id, reason);
    let lock = if hold { call.deletions_only() } else { call }.await?;
    context.out.message("Lock", &lock, |lock| {
        let name = brief(&lock.name);
        vec![format!("{} is locked: {}", of(lock), scope(lock)), format!("`registryctl unlock {name}` releases it")]
    })
}

pub(crate) async fn unlock(context: &Context, lock: String) -> Result<(), Failure> {
    let lock = context.client.delete_lock(context.below_models(lock)).await?;
    context.out.message("Lock", &lock, |lock| format!("released {}", brief(&lock.name)))
}

pub(crate) async fn list(context: &Context, command: Locks) -> Result<(), Failure> {
    let Locks { model, limit, .. } = command;
    let list = pb::ListLocksRequest {
        parent: model.map_or_else(|| context.all_models(), String::from),
        page_size: page_size(limit),
        ..Default::default()
    };
    let locks = first(context.client.call(list).stream(), limit, "first").await?;
    let columns =
        ["lock".into(), "of".into(), "scope".into(), "by".into(), Column::from("since"), Column::prose("reason")];
    context.out.rows("Lock", &locks, &columns, |lock| {
        vec![
            brief(&lock.name).to_owned(),
            of(lock),
            short::<pb::LockScope>(lock.scope),
            lock.creator.clone(),
            minute(lock.create_time.as_ref()),
            lock.reason.clone(),
        ]
    })
}

pub(crate) fn text(lock: &pb::Lock) -> Lines {
    fields(vec![
        ("name", lock.name.clone().into()),
        ("of", of(lock).into()),
        ("scope", short::<pb::LockScope>(lock.scope).into()),
        ("reason", output::text(&lock.reason)),
        ("creator", lock.creator.clone().into()),
        ("created", time(lock.create_time.as_ref()).into()),
        ("revision", lock.revision.to_string().into()),
        ("etag", lock.etag.clone().into()),
    ])
}

/// What a lock is of.
fn of(lock: &pb::Lock) -> String {
    let model = lock.name.split_once("/locks/").map_or(&*lock.name, |(model, _)| model);
    brief(if lock.version.is_empty() { model } else { &lock.version }).to_owned()
}

fn scope(lock: &pb::Lock) -> &'static str {
    match lock.scope() {
        pb::LockScope::Deletion => "it is neither deleted nor purged",
        _ => "nothing of it changes",
    }
}
