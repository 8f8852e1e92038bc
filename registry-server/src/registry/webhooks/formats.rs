//! What a webhook tells, and how it signs, by its format.

use std::collections::BTreeSet;

use registry_common::mlflow::tags::is_prompt;
use registry_common::mlflow::{tags, told};
use registry_proto::v1 as pb;
use registry_proto::v1::{ErrorReason, WebhookFormat, WebhookSigning};

use super::WebhookRow;
use crate::error::{Error, Violations, quoted};
use crate::registry::Registry;
use crate::registry::events::Selection;
use crate::registry::models::ModelRow;
use crate::registry::resource::Row as _;
use crate::registry::transaction::Records as _;
use crate::rules::names::{Name, VERSIONS};
use crate::webhooks::Test;
use crate::webhooks::body::{Post, posts};
use crate::webhooks::signatures::{Kind, SigningKey};

impl WebhookRow {
    /// How it signs, if it does.
    pub(crate) fn signs(&self) -> Option<Kind> {
        signing(&self.webhook)
    }

    /// The events that it chooses; `None` if what is kept can't be understood.
    pub(crate) fn selection(&self) -> Option<Selection> {
        let mut found = Violations::default();
        let selection = selection(&self.webhook, &mut found);
        found.unless_any(selection).ok()
    }

    /// What is sent of an event that it chooses, in order. `of_prompt` says whether that is about a version of a prompt of MLflow's.
    pub(crate) fn posts(&self, encoded: &[u8], of_prompt: bool) -> Vec<Post> {
        posts(self.webhook.format(), &self.webhook.types, encoded, of_prompt)
    }

    /// What it is tested with: for MLflow's receivers an example of this type, or of the first that it has.
    ///
    /// # Errors
    /// If there is no such type.
    pub(crate) fn test(&self, r#type: &str, actor: String) -> Result<Test, Error> {
        let invalid = |why: String| Error::field("type", ErrorReason::FieldInvalid, why);
        if !is_mlflows(&self.webhook) {
            return match r#type {
                "" => Ok(Test::Event { actor }),
                _ => Err(invalid("must be empty, unless the webhook has the format MLFLOW".to_owned())),
            };
        }
        let first = || self.webhook.types.first().map(String::as_str).or_else(|| told::types().next());
        let asked = Some(r#type).filter(|r#type| !r#type.is_empty()).or_else(first).unwrap_or_default();
        let known = told::types().find(|known| *known == asked);
        known.map(Test::Mlflow).ok_or_else(|| invalid(no_type(asked)))
    }
}

impl Registry {
    /// Whether something is a version of a prompt of MLflow's. A model that is gone for good is none.
    pub(super) async fn is_of_prompt(&self, name: &str) -> Result<bool, Error> {
        let Ok(version) = Name::parse(&VERSIONS, name) else { return Ok(false) };
        match self.store.resource::<ModelRow>(&version.parent()).await {
            Ok(model) => Ok(is_prompt(&tags::of_model(model.message()))),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

pub(super) fn is_mlflows(webhook: &pb::Webhook) -> bool {
    webhook.format() == WebhookFormat::Mlflow
}

/// The events of which a webhook tells.
pub(super) fn selection(webhook: &pb::Webhook, found: &mut Violations) -> Option<Selection> {
    let pb::Webhook { parent, types, filter, .. } = webhook;
    if !is_mlflows(webhook) {
        return Selection::new(parent, types, filter, found);
    }
    let mut ours = BTreeSet::<&str>::new();
    for (i, r#type) in types.iter().enumerate() {
        match told::ours(r#type) {
            Some(some) => ours.extend(some.iter().copied()),
            None => found.invalid(format!("types[{i}]"), no_type(r#type)),
        }
    }
    if types.is_empty() {
        ours.extend(told::types().filter_map(told::ours).flatten().copied());
    }
    let ours: Vec<_> = ours.into_iter().map(str::to_owned).collect();
    Selection::new(parent, &ours, filter, found)
}

fn no_type(r#type: &str) -> String {
    let known = told::types().collect::<Vec<_>>().join(", ");
    format!("{} is no type of MLflow's that the registry has; known are {known}", quoted(r#type))
}

/// How a webhook signs, if it does.
pub(super) fn signing(webhook: &pb::Webhook) -> Option<Kind> {
    match webhook.signing() {
        WebhookSigning::None => None,
        WebhookSigning::Ed25519 => Some(Kind::Asymmetric),
        WebhookSigning::Unspecified | WebhookSigning::HmacSha256 => Some(hmac(webhook)),
    }
}

/// How it signs with HMAC.
pub(super) fn hmac(webhook: &pb::Webhook) -> Kind {
    if is_mlflows(webhook) { Kind::Text } else { Kind::Symmetric }
}

/// Whether what a webhook sends can be signed so.
pub(super) fn check_signing(webhook: &pb::Webhook, found: &mut Violations) {
    match (webhook.signing(), is_mlflows(webhook)) {
        (WebhookSigning::None, false) => found.invalid("signing", "may be NONE only with the format MLFLOW"),
        (WebhookSigning::Ed25519, true) => {
            found
                .invalid("signing", "may not be ED25519 with the format MLFLOW, whose receivers know HMAC-SHA256 only");
        }
        _ => {}
    }
}

/// The secret that a caller gave to be signed with, if any.
///
/// # Errors
/// What is wrong with it, without any of it.
pub(super) fn given_secret(secret: &str, signs: Option<Kind>) -> Result<Option<SigningKey>, String> {
    match signs {
        _ if secret.is_empty() => Ok(None),
        None => Err("must be empty with NONE".to_owned()),
        Some(Kind::Asymmetric) => Err("must be empty: the private key of ED25519 is made by the registry".to_owned()),
        Some(kind) => SigningKey::parse(kind, secret).map(Some),
    }
}
