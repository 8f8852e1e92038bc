//! `subscription`.

use std::time::Duration;

use clap::{ArgGroup, Subcommand};
use registry_client::{Consumed, Name, pb};

use crate::args::{Shape, TableShape};
use crate::output::{Column, Lines, count, event, fields, first, last, minute, note, page_size, time};
use crate::values::short;
use crate::{Context, Failure};

#[derive(Debug, Subcommand)]
pub(crate) enum Subscription {
    /// Make a subscription: to everything that happens from now on, unless it is narrowed.
    Create {
        /// For example `scorer`.
        id: String,
        #[command(flatten)]
        choice: Choice,
        /// Begin behind this revision; 0 is the whole log.
        #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(i64).range(0..))]
        after: Option<i64>,
    },
    /// Change what a subscription is to; what is not given stays as it is.
    #[command(group = ArgGroup::new("change").required(true).multiple(true)
        .args(["parent", "types", "filter", "lease", "description"]))]
    Update {
        /// For example `scorer`.
        id: String,
        #[command(flatten)]
        choice: Choice,
    },
    /// Show a subscription, and how far its consumer is.
    Get {
        /// For example `scorer`.
        id: String,
        #[command(flatten)]
        shape: Shape,
    },
    /// List the subscriptions, and how far each is.
    #[command(visible_alias = "ls")]
    List {
        /// How many at most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        table: TableShape,
    },
    /// Remove a subscription for good.
    Delete {
        /// For example `scorer`.
        id: String,
    },
    /// Go back, to have events delivered again, or ahead, to leave some out.
    Move {
        /// For example `scorer`.
        id: String,
        /// Deliver what comes behind this revision, 0 being the whole log; by default, what happens from now on.
        #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(i64).range(0..))]
        after: Option<i64>,
        /// Why, for the audit trail.
        #[arg(short = 'm', long)]
        comment: Option<String>,
    },
    /// Print the events of a subscription, and acknowledge them as they are printed. Waits while another consumer has the lease.
    Consume {
        /// For example `scorer`.
        id: String,
        /// Who consumes, for people; by default the host and the process.
        #[arg(long = "as", value_name = "NAME")]
        consumer: Option<String>,
        /// End when everything there is was printed.
        #[arg(long)]
        once: bool,
        #[command(flatten)]
        shape: Shape,
    },
}

/// What a subscription is to.
#[derive(Debug, clap::Args)]
pub(crate) struct Choice {
    /// Only what happens to this namespace, model or version (by its number), and all below it.
    #[arg(long = "of", value_name = "NAME")]
    parent: Option<Name>,
    /// Only events of this type, or of all types of a kind as in `version.*`; may be given several times.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Only events that meet this condition in CEL over `event`; empty for none.
    #[arg(long, value_name = "CONDITION", allow_hyphen_values = true)]
    filter: Option<String>,
    /// How long a consumer has the lease without a word from it, such as 30s: what its crash costs until another one takes over.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    lease: Option<Duration>,
    /// What it is for; empty for nothing.
    #[arg(long)]
    description: Option<String>,
}

impl Choice {
    /// The fields that were given, and their names.
    fn given(self, name: String) -> (pb::Subscription, Vec<&'static str>) {
        let Self { parent, types, filter, lease, description } = self;
        let given = [
            ("parent", parent.is_some()),
            ("types", !types.is_empty()),
            ("filter", filter.is_some()),
            ("lease_duration", lease.is_some()),
            ("description", description.is_some()),
        ];
        let subscription = pb::Subscription {
            name,
            parent: parent.map(Into::into).unwrap_or_default(),
            types,
            filter: filter.unwrap_or_default(),
            lease_duration: lease.and_then(|lease| lease.try_into().ok()),
            description: description.unwrap_or_default(),
            ..Default::default()
        };
        (subscription, given.into_iter().filter_map(|(field, given)| given.then_some(field)).collect())
    }
}

pub(crate) async fn subscription(context: &Context, command: Subscription) -> Result<(), Failure> {
    let (client, out) = (&context.client, &context.out);
    match command {
        Subscription::Create { id, choice, after } => {
            let (subscription, _) = choice.given(String::new());
            let request = pb::CreateSubscriptionRequest {
                subscription_id: last(&id).to_owned(),
                subscription: Some(subscription),
                after_revision: after,
                ..Default::default()
            };
            let made = client.call(request).await?;
            out.message("Subscription", &made, |made| {
                format!("created {}, which begins behind revision {}", made.name, made.start_revision)
            })
        }
        Subscription::Update { id, choice } => {
            let (subscription, given) = choice.given(id);
            let changed = client.update_subscription(subscription).fields(given).await?;
            out.message("Subscription", &changed, |changed| format!("updated {}", changed.name))
        }
        Subscription::Get { id, .. } => out.message("Subscription", &client.get_subscription(id).await?, text),
        Subscription::List { limit, .. } => list(context, limit).await,
        Subscription::Delete { id } => {
            let deleted = client.delete_subscription(id).await?;
            out.message("Subscription", &deleted, |deleted| format!("deleted {}", deleted.name))
        }
        Subscription::Move { id, after, comment } => {
            let mut request = client.move_subscription(id).comment(comment.unwrap_or_default());
            if let Some(after) = after {
                request = request.after(after);
            }
            let moved = request.await?;
            out.message("Subscription", &moved, |moved| {
                format!("{} goes on behind revision {}", moved.name, moved.start_revision)
            })
        }
        Subscription::Consume { id, consumer, once, .. } => consume(context, id, consumer, once).await,
    }
}

async fn list(context: &Context, limit: usize) -> Result<(), Failure> {
    let list = pb::ListSubscriptionsRequest { page_size: page_size(limit), ..Default::default() };
    let subscriptions = first(context.client.call(list).stream(), limit, "first").await?;
    let columns = [
        "subscription".into(),
        "state".into(),
        Column::number("lag"),
        Column::from("consumer"),
        Column::number("revision").rank(2),
        Column::from("acknowledged").rank(1),
        Column::from("of").if_any(),
        Column::from("types").if_any(),
        Column::prose("filter").if_any(),
    ];
    context.out.rows("Subscription", &subscriptions, &columns, |subscription| {
        let far = subscription.consumption.clone().unwrap_or_default();
        vec![
            last(&subscription.name).to_owned(),
            short::<pb::ConsumptionState>(far.state),
            far.lag.to_string(),
            far.consumer,
            far.revision.to_string(),
            minute(far.acknowledge_time.as_ref()),
            subscription.parent.clone(),
            subscription.types.join(", "),
            subscription.filter.clone(),
        ]
    })
}

async fn consume(context: &Context, id: String, consumer: Option<String>, once: bool) -> Result<(), Failure> {
    // Where it ends, if it is to end.
    let end = match once {
        true => {
            let subscription = context.client.get_subscription(&id).await?;
            subscription.consumption.map(|far| far.revision + far.lag)
        }
        false => None,
    };
    let mut consuming = context.client.consume(id);
    if let Some(name) = consumer {
        consuming = consuming.named(name);
    }
    loop {
        let item = tokio::select! {
            item = consuming.next() => item?,
            // Ctrl-C is how it is meant to end.
            _ = tokio::signal::ctrl_c() => break,
        };
        match item {
            Consumed::Events { revision, events } => {
                events.iter().try_for_each(|found| context.out.message("Event", found, event))?;
                consuming.acknowledge(revision);
            }
            Consumed::Standby { consumer } => note(&format!("waiting: {consumer} has the lease")),
            Consumed::Active { revision, attempt, .. } => {
                let again = if attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
                note(&format!("consuming what comes behind revision {revision}{again}"));
            }
            Consumed::Lost => note("the lease is lost: what was not acknowledged is another consumer's"),
            Consumed::Disconnected { reason } => {
                note(&format!("disconnected, and waiting for the registry: {reason}"));
            }
            Consumed::Bookmark { .. } if end.is_some_and(|end| consuming.done() >= end) => break,
            _ => {}
        }
    }
    consuming.close().await?;
    Ok(())
}

/// A subscription as text.
fn text(subscription: &pb::Subscription) -> Lines {
    let far = subscription.consumption.clone().unwrap_or_default();
    let lease = subscription.lease_duration.and_then(|lease| Duration::try_from(lease).ok());
    fields(vec![
        ("name", subscription.name.clone().into()),
        ("state", short::<pb::ConsumptionState>(far.state).into()),
        ("lag", count(far.lag, "revision").into()),
        ("revision", far.revision.to_string().into()),
        ("consumer", far.consumer.into()),
        ("attempt", far.attempt.to_string().into()),
        ("lease until", time(far.expire_time.as_ref()).into()),
        ("acknowledged", time(far.acknowledge_time.as_ref()).into()),
        ("of", subscription.parent.clone().into()),
        ("types", subscription.types.clone().into()),
        ("filter", subscription.filter.clone().into()),
        ("lease", lease.map(|lease| humantime::format_duration(lease).to_string()).unwrap_or_default().into()),
        ("description", subscription.description.clone().into()),
        ("began behind", subscription.start_revision.to_string().into()),
        ("creator", subscription.creator.clone().into()),
        ("created", time(subscription.create_time.as_ref()).into()),
        ("updated", time(subscription.update_time.as_ref()).into()),
        ("etag", subscription.etag.clone().into()),
    ])
}
