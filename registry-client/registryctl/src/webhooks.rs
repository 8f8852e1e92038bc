//! `webhook`.

use std::time::Duration;

use clap::{ArgGroup, Subcommand, ValueEnum};
use registry_client::pb;

use crate::args::{Choice, Shape, TableShape};
use crate::output::{self, Column, Lines, count, fields, first, last, minute, note, page_size, time};
use crate::values::short;
use crate::{Context, Failure};

#[derive(Debug, Subcommand)]
pub(crate) enum Webhook {
    /// Make a webhook: it sends everything that happens from now on, unless it is narrowed. Prints its secret, once.
    Create {
        /// For example `chat`.
        id: String,
        /// Where to send: https://...; http://... only to addresses in the server's setting webhook_allow.
        url: String,
        #[command(flatten)]
        choice: Choice,
        /// How it signs: with a secret that the receiver has as well, or with a key pair, of which it has the public key.
        #[arg(long, value_enum, default_value_t = Signing::HmacSha256)]
        signing: Signing,
        /// What it sends: events, or what MLflow's own webhooks send. --type takes MLflow's types then: model_version_alias.created.
        #[arg(long = "format", value_enum, default_value_t = Sends::Event)]
        sends: Sends,
        #[command(flatten)]
        shape: Shape,
    },
    /// Show a webhook, and how far it is.
    Get {
        /// For example `chat`.
        id: String,
        #[command(flatten)]
        shape: Shape,
    },
    /// List the webhooks, and how far each is.
    #[command(visible_alias = "ls")]
    List {
        /// How many at most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        table: TableShape,
    },
    /// Change a webhook; what is not given stays as it is. An event that waits for its next attempt is tried at once.
    #[command(group = ArgGroup::new("change").required(true).multiple(true)
        .args(["url", "parent", "types", "filter", "description", "enable", "disable"]))]
    Update {
        /// For example `chat`.
        id: String,
        /// Where to send.
        #[arg(long)]
        url: Option<String>,
        #[command(flatten)]
        choice: Choice,
        /// Send again, from where it was.
        #[arg(long)]
        enable: bool,
        /// Send nothing until it is enabled.
        #[arg(long, conflicts_with = "enable")]
        disable: bool,
    },
    /// Remove a webhook for good.
    Delete {
        /// For example `chat`.
        id: String,
    },
    /// Send an event of the type webhook.test now, and show what came of it; fails if that is no success.
    ///
    /// Receivers of MLflow's get an example.
    Test {
        /// For example `chat`.
        id: String,
        /// The type of the example: only of a webhook of the format mlflow.
        #[arg(long = "type", value_name = "TYPE")]
        r#type: Option<String>,
        #[command(flatten)]
        shape: Shape,
    },
    /// Show the last attempts of a webhook, newest first.
    Log {
        /// For example `chat`.
        id: String,
        /// How many at most.
        #[arg(long, default_value_t = 50)]
        limit: usize,
        #[command(flatten)]
        table: TableShape,
    },
    /// Go back, to have events sent again, or ahead, to leave some out.
    Replay {
        /// For example `chat`.
        id: String,
        /// Send what comes behind this revision; 0 is the whole log.
        #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(i64).range(0..))]
        after: i64,
    },
    /// Make a new secret or key pair, and print it, once. For 24 hours the old one signs as well.
    Rotate {
        /// For example `chat`.
        id: String,
        #[command(flatten)]
        shape: Shape,
    },
}

/// How a webhook signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Signing {
    HmacSha256,
    Ed25519,
    /// Not at all: only for receivers of MLflow's that know no secret.
    None,
}

/// What a webhook sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sends {
    Event,
    Mlflow,
}

/// A webhook of what was given.
fn webhook_of(choice: Choice) -> pb::Webhook {
    pb::Webhook {
        parent: choice.parent(),
        types: choice.types,
        filter: choice.filter.unwrap_or_default(),
        description: choice.description.unwrap_or_default(),
        ..Default::default()
    }
}

pub(crate) async fn webhook(context: &Context, command: Webhook) -> Result<(), Failure> {
    let (client, out) = (&context.client, &context.out);
    match command {
        Webhook::Create { id, url, choice, signing, sends, .. } => {
            let mut webhook = pb::Webhook { url, ..webhook_of(choice) };
            webhook.set_signing(match signing {
                Signing::HmacSha256 => pb::WebhookSigning::HmacSha256,
                Signing::Ed25519 => pb::WebhookSigning::Ed25519,
                Signing::None => pb::WebhookSigning::None,
            });
            webhook.set_format(match sends {
                Sends::Event => pb::WebhookFormat::Event,
                Sends::Mlflow => pb::WebhookFormat::Mlflow,
            });
            let request = pb::CreateWebhookRequest {
                webhook_id: last(&id).to_owned(),
                webhook: Some(webhook),
                ..Default::default()
            };
            let made = client.call(request).await?;
            with_secret(context, &made, "created")
        }
        Webhook::Get { id, .. } => out.message("Webhook", &client.get_webhook(id).await?, text),
        Webhook::List { limit, .. } => list(context, limit).await,
        Webhook::Update { id, url, choice, enable, disable } => {
            let mut given = choice.given();
            let mut webhook = pb::Webhook { name: id, disabled: disable, ..webhook_of(choice) };
            if let Some(url) = url {
                webhook.url = url;
                given.push("url");
            }
            if enable || disable {
                given.push("disabled");
            }
            let changed = client.update_webhook(webhook).fields(given).await?;
            out.message("Webhook", &changed, |changed| format!("updated {}", changed.name))
        }
        Webhook::Delete { id } => {
            let deleted = client.delete_webhook(id).await?;
            out.message("Webhook", &deleted, |deleted| format!("deleted {}", deleted.name))
        }
        Webhook::Test { id, r#type, .. } => test(context, id, r#type).await,
        Webhook::Log { id, limit, .. } => log(context, id, limit).await,
        Webhook::Replay { id, after } => {
            let replayed = client.replay_webhook(id, after).await?;
            out.message("Webhook", &replayed, |replayed| format!("{} goes on behind revision {after}", replayed.name))
        }
        Webhook::Rotate { id, .. } => {
            let rotated = client.rotate_webhook_secret(id).await?;
            with_secret(context, &rotated, "rotated")
        }
    }
}

/// Prints what was done, and what the receiver has to know.
fn with_secret(context: &Context, webhook: &pb::Webhook, done: &str) -> Result<(), Failure> {
    context.out.message("Webhook", webhook, |webhook| {
        let known = [("secret", &webhook.secret), ("public key", &webhook.public_key)];
        let known = known.into_iter().filter(|(_, value)| !value.is_empty());
        let lines = std::iter::once(format!("{done} {}", webhook.name));
        lines.chain(known.map(|(name, value)| format!("{name}: {value}"))).collect::<Vec<_>>()
    })?;
    if !webhook.secret.is_empty() {
        note("keep the secret where only the receiver can read it: it is not shown again");
    }
    Ok(())
}

async fn list(context: &Context, limit: usize) -> Result<(), Failure> {
    let list = pb::ListWebhooksRequest { page_size: page_size(limit), ..Default::default() };
    let webhooks = first(context.client.call(list).stream(), limit, "first").await?;
    let columns = [
        "webhook".into(),
        Column::from("display name").if_any(),
        "state".into(),
        Column::number("lag"),
        Column::number("code").rank(1),
        Column::from("next").rank(1).if_any(),
        Column::from("url"),
        Column::from("of").if_any(),
        Column::from("types").if_any(),
        Column::prose("filter").if_any(),
    ];
    context.out.rows("Webhook", &webhooks, &columns, |webhook| {
        let status = webhook.status.unwrap_or_default();
        vec![
            last(&webhook.name).to_owned(),
            webhook.display_name.clone(),
            state(webhook).to_owned(),
            status.lag.to_string(),
            code(status.last_code),
            minute(status.next_attempt_time.as_ref()),
            webhook.url.clone(),
            webhook.parent.clone(),
            webhook.types.join(", "),
            webhook.filter.clone(),
        ]
    })
}

async fn log(context: &Context, id: String, limit: usize) -> Result<(), Failure> {
    let mut deliveries = context.client.list_webhook_deliveries(id).await?.deliveries;
    deliveries.truncate(limit);
    let columns = [
        "time".into(),
        "event".into(),
        Column::from("type").rank(1),
        Column::number("attempt"),
        Column::number("code"),
        Column::number("ms").rank(1),
        Column::prose("error").if_any(),
    ];
    context.out.rows("WebhookDelivery", &deliveries, &columns, |delivery| {
        vec![
            time(delivery.attempt_time.as_ref()),
            last(&delivery.event).to_owned(),
            delivery.r#type.clone(),
            delivery.attempt.to_string(),
            code(delivery.code),
            took(delivery).as_millis().to_string(),
            delivery.error.clone(),
        ]
    })
}

async fn test(context: &Context, id: String, r#type: Option<String>) -> Result<(), Failure> {
    let answer = context.client.test_webhook(id).event_type(r#type.unwrap_or_default()).await?;
    let delivery = answer.delivery.unwrap_or_default();
    context.out.message("WebhookDelivery", &delivery, |delivery| match delivery.code {
        0 => format!("no answer: {}", delivery.error),
        code => format!("the receiver answered {code} after {:?}", took(delivery)),
    })?;
    if delivery.error.is_empty() { Ok(()) } else { Err(delivery.error.into()) }
}

fn took(delivery: &pb::WebhookDelivery) -> Duration {
    let took = delivery.duration.and_then(|duration| Duration::try_from(duration).ok()).unwrap_or_default();
    Duration::from_millis(took.as_millis().try_into().unwrap_or(u64::MAX))
}

/// A status code; nothing if there was no answer.
fn code(code: i32) -> String {
    if code == 0 { String::new() } else { code.to_string() }
}

/// What a webhook does, in a word.
fn state(webhook: &pb::Webhook) -> &'static str {
    match (webhook.disabled, webhook.disabled_reason(), webhook.status.as_ref().map_or(0, |status| status.failures)) {
        (true, pb::WebhookDisabledReason::Unspecified, _) => "disabled",
        (true, pb::WebhookDisabledReason::Failing, _) => "given up",
        (true, pb::WebhookDisabledReason::Gone, _) => "gone",
        (true, pb::WebhookDisabledReason::Lapsed, _) => "lapsed",
        (false, _, 0) => "well",
        (false, _, _) => "failing",
    }
}

/// A webhook as text.
fn text(webhook: &pb::Webhook) -> Lines {
    let status = webhook.status.unwrap_or_default();
    fields(vec![
        ("name", webhook.name.clone().into()),
        ("display name", webhook.display_name.clone().into()),
        ("url", webhook.url.clone().into()),
        ("state", state(webhook).to_owned().into()),
        ("lag", count(status.lag, "revision").into()),
        ("revision", status.revision.to_string().into()),
        ("failures", if status.failures > 0 { status.failures.to_string() } else { String::new() }.into()),
        ("failing since", time(status.failing_since.as_ref()).into()),
        ("next attempt", time(status.next_attempt_time.as_ref()).into()),
        ("last attempt", time(status.last_attempt_time.as_ref()).into()),
        ("last code", code(status.last_code).into()),
        ("of", webhook.parent.clone().into()),
        ("types", webhook.types.clone().into()),
        ("filter", webhook.filter.clone().into()),
        ("description", output::text(&webhook.description)),
        ("format", short::<pb::WebhookFormat>(webhook.format).into()),
        ("signs with", short::<pb::WebhookSigning>(webhook.signing).into()),
        ("public key", webhook.public_key.clone().into()),
        ("creator", webhook.creator.clone().into()),
        ("created", time(webhook.create_time.as_ref()).into()),
        ("updated", time(webhook.update_time.as_ref()).into()),
        ("etag", webhook.etag.clone().into()),
    ])
}
