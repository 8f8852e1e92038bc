//! `namespace`.

use std::convert::Infallible;

use bytesize::ByteSize;
use clap::{ArgGroup, Subcommand};
use registry_client::pb;

use crate::args::{IfMatch, TableShape, pair};
use crate::output::{self, Column, Lines, bytes, fields, first, last, minute, page_size, pairs, time};
use crate::{Context, Failure};

/// What a namespace may have, in bytes; `None` is what the server gives every namespace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quota(Option<i64>);

#[derive(Debug, Subcommand)]
pub(crate) enum Namespace {
    /// Make a namespace before there is a model in it.
    Create {
        /// For example `risk`.
        #[arg(value_parser = id)]
        id: String,
        #[command(flatten)]
        words: Words,
        /// The most that its artifacts may add up to, for example 5TiB; without it, what the server gives every namespace.
        #[arg(long, value_name = "SIZE", value_parser = quota)]
        quota: Option<Quota>,
    },
    /// Change what a namespace says of itself; what is not given stays as it is.
    Update(Update),
    /// Limit what the artifacts of a namespace may add up to; what is there already stays, whatever its size.
    Quota {
        /// For example `risk`.
        #[arg(value_parser = id)]
        id: String,
        /// For example 5TiB; `none` for what the server gives every namespace.
        #[arg(value_parser = quota)]
        size: Quota,
    },
    /// List the namespaces.
    #[command(visible_alias = "ls")]
    List {
        /// Only those that meet this condition in CEL over `resource`: for example 'resource.quota_bytes > 0'
        #[arg(long, value_name = "CONDITION", allow_hyphen_values = true)]
        filter: Option<String>,
        /// How many at most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Deleted ones as well.
        #[arg(long)]
        deleted: bool,
        #[command(flatten)]
        table: TableShape,
    },
}

/// What a namespace says of itself.
#[derive(Debug, clap::Args)]
pub(crate) struct Words {
    /// Empty for none.
    #[arg(long)]
    display_name: Option<String>,
    /// Empty for none.
    #[arg(long)]
    description: Option<String>,
    /// A tag for selecting; may be given several times.
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
    tags: Vec<(String, String)>,
}

#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true)
    .args(["display_name", "description", "tags", "remove_tags"]))]
pub(crate) struct Update {
    /// For example `risk`.
    #[arg(value_parser = id)]
    id: String,
    #[command(flatten)]
    words: Words,
    /// A tag to remove; may be given several times.
    #[arg(long = "remove-tag", value_name = "KEY")]
    remove_tags: Vec<String>,
    #[command(flatten)]
    if_match: IfMatch,
}

pub(crate) async fn namespace(context: &Context, command: Namespace) -> Result<(), Failure> {
    let (client, out) = (&context.client, &context.out);
    match command {
        Namespace::Create { id, words: Words { display_name, description, tags }, quota } => {
            let quota_bytes = quota.and_then(|Quota(bytes)| bytes);
            let draft = pb::Namespace {
                display_name: display_name.unwrap_or_default(),
                description: description.unwrap_or_default(),
                tags: tags.into_iter().collect(),
                quota_bytes,
                ..Default::default()
            };
            let request = pb::CreateNamespaceRequest { namespace_id: id, namespace: Some(draft), ..Default::default() };
            let made = client.call(request).await?;
            out.message("Namespace", &made, |made| format!("created {}", made.name))
        }
        Namespace::Update(update) => change(context, update).await,
        Namespace::Quota { id, size: Quota(quota_bytes) } => {
            let change = pb::Namespace { name: id, quota_bytes, ..Default::default() };
            let changed = client.update_namespace(change).fields(["quota_bytes"]).await?;
            out.message("Namespace", &changed, |changed| match changed.quota_bytes {
                Some(quota) => format!("{} may have {}", changed.name, bytes(quota)),
                None => format!("{} may have what the server gives every namespace", changed.name),
            })
        }
        Namespace::List { filter, limit, deleted, .. } => {
            list(context, filter.unwrap_or_default(), limit, deleted).await
        }
    }
}

/// Lists the namespaces.
pub(crate) async fn list(context: &Context, filter: String, limit: usize, deleted: bool) -> Result<(), Failure> {
    let page_size = page_size(limit);
    let list = pb::ListNamespacesRequest { filter, page_size, show_deleted: deleted, ..Default::default() };
    let namespaces = first(context.client.call(list).stream(), limit, "first").await?;
    let columns = [
        "namespace".into(),
        Column::from("deleted").rank(1).if_any(),
        Column::prose("display_name"),
        Column::number("quota").if_any(),
        "created".into(),
        Column::prose("description"),
    ];
    context.out.rows("Namespace", &namespaces, &columns, |namespace| {
        vec![
            last(&namespace.name).to_owned(),
            minute(namespace.delete_time.as_ref()),
            namespace.display_name.clone(),
            namespace.quota_bytes.map(bytes).unwrap_or_default(),
            minute(namespace.create_time.as_ref()),
            namespace.description.lines().next().unwrap_or_default().to_owned(),
        ]
    })
}

async fn change(context: &Context, update: Update) -> Result<(), Failure> {
    let Update { id, words: Words { display_name, description, tags }, remove_tags, if_match } = update;
    let edit = context.client.edit(id, move |namespace: &mut pb::Namespace| {
        display_name.iter().for_each(|name| namespace.display_name.clone_from(name));
        description.iter().for_each(|text| namespace.description.clone_from(text));
        namespace.tags.extend(tags.iter().cloned());
        namespace.tags.retain(|key, _| !remove_tags.contains(key));
    });
    let namespace = if_match.of(edit).await?;
    context.out.message("Namespace", &namespace, |namespace| format!("updated {}", namespace.name))
}

/// A namespace's id, also when its whole name was given.
#[expect(clippy::unnecessary_wraps, reason = "clap takes parsers that can fail")]
fn id(text: &str) -> Result<String, Infallible> {
    Ok(text.strip_prefix("namespaces/").unwrap_or(text).to_owned())
}

fn quota(text: &str) -> Result<Quota, String> {
    if text == "none" {
        return Ok(Quota(None));
    }
    let size: ByteSize = text.parse().map_err(|_| "expected a size such as 5TiB, or none")?;
    let bytes = i64::try_from(size.as_u64()).map_err(|_| "is more than there can be")?;
    Ok(Quota(Some(bytes)))
}

/// A namespace as text.
pub(crate) fn text(namespace: &pb::Namespace) -> Lines {
    fields(vec![
        ("name", namespace.name.clone().into()),
        ("display name", namespace.display_name.clone().into()),
        ("description", output::text(&namespace.description)),
        ("quota", namespace.quota_bytes.map(bytes).unwrap_or_default().into()),
        ("tags", pairs(&namespace.tags)),
        ("creator", namespace.creator.clone().into()),
        ("created", time(namespace.create_time.as_ref()).into()),
        ("updated", time(namespace.update_time.as_ref()).into()),
        ("deleted", time(namespace.delete_time.as_ref()).into()),
        ("revision", namespace.revision.to_string().into()),
        ("etag", namespace.etag.clone().into()),
    ])
}
