//! `subscription`.

use std::time::Duration;

use clap::{ArgGroup, Subcommand};
use registry_client::{Consumed, Consumer, pb};

use crate::args::{Choice, Shape, TableShape};
use crate::interrupt::asked_to_end;
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
        #[command(flatten)]
        lease: LeaseLength,
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
        #[command(flatten)]
        lease: LeaseLength,
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

/// How long a consumer has the lease without a word from it.
#[derive(Debug, clap::Args)]
pub(crate) struct LeaseLength {
    /// How long a consumer has the lease without a word from it, such as 30s: what its crash costs until another one takes over.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    lease: Option<Duration>,
}

/// A subscription of what was given.
fn subscription_of(choice: Choice, LeaseLength { lease }: LeaseLength) -> pb::Subscription {
    pb::Subscription {
        parent: choice.parent(),
        types: choice.types,
        filter: choice.filter.unwrap_or_default(),
        lease_duration: lease.and_then(|lease| lease.try_into().ok()),
        description: choice.description.unwrap_or_default(),
        ..Default::default()
    }
}

pub(crate) async fn subscription(context: &Context, command: Subscription) -> Result<(), Failure> {
    let (client, out) = (&context.client, &context.out);
    match command {
        Subscription::Create { id, choice, lease, after } => {
            let subscription = subscription_of(choice, lease);
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
        Subscription::Update { id, choice, lease } => {
            let mut given = choice.given();
            given.extend(lease.lease.is_some().then_some("lease_duration"));
            let subscription = pb::Subscription { name: id, ..subscription_of(choice, lease) };
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
    let outcome = consumed(context, &mut consuming, end).await;
    // Also if nobody reads any more what is printed: others need not wait for the lease.
    let closed = consuming.close().await;
    outcome?;
    closed?;
    Ok(())
}

/// Prints what comes, and acknowledges it, up to a revision if there is one.
async fn consumed(context: &Context, consuming: &mut Consumer, end: Option<i64>) -> Result<(), Failure> {
    loop {
        let item = tokio::select! {
            item = consuming.next() => item?,
            () = asked_to_end() => return Ok(()),
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
            _ => {}
        }
        if consuming.holds_lease() && end.is_some_and(|end| consuming.done() >= end) {
            return Ok(());
        }
    }
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
