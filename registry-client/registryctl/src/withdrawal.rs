//! `withdraw`, `reinstate`, and what other commands say of a withdrawn version.

use registry_client::{Name, pb};

use crate::failure::Hinted;
use crate::output::{brief, note};
use crate::values::short;
use crate::{Context, Failure};

#[derive(Debug, clap::Args)]
pub(crate) struct Withdraw {
    /// The version.
    name: Name,
    /// Why, for those who have pinned it, and for the audit trail.
    #[arg(short = 'm', long, value_name = "WHY")]
    reason: Option<String>,
    /// Even if it is in production or staging, or carries an alias: it loses them.
    #[arg(long)]
    force: bool,
}

pub(crate) async fn withdraw(context: &Context, command: Withdraw) -> Result<(), Failure> {
    let call = context.client.withdraw_version(command.name).reason(command.reason.unwrap_or_default());
    let hint = "--force withdraws it all the same: it leaves its stage and loses its aliases";
    let withdrawn = call.force(command.force).await;
    let version = withdrawn.map_err(|error| Hinted::if_for(pb::ErrorReason::ResourceProtected, error.into(), hint))?;
    context.out.message("Version", &version, |version| format!("withdrawn {}", brief(&version.name)))
}

pub(crate) async fn reinstate(context: &Context, name: Name) -> Result<(), Failure> {
    let version = context.client.reinstate_version(name).await?;
    context.out.message("Version", &version, |version| format!("reinstated {}", brief(&version.name)))
}

/// The fields that [`warn`] reads, besides the name.
pub(crate) const WARNED_OF: &[&str] = &["withdraw_time", "withdraw_reason"];

/// Says on standard error that a version is withdrawn, if it is.
pub(crate) fn warn(version: &pb::Version) {
    if version.withdraw_time.is_some() {
        let why = match version.withdraw_reason.as_str() {
            "" => String::new(),
            why => format!(": {why}"),
        };
        note(&format!("warning: {} is withdrawn{why}", brief(&version.name)));
    }
}

/// A version's state as lists have it.
pub(crate) fn state(version: &pb::Version) -> String {
    match version.withdraw_time {
        _ if version.purged => "purged".to_owned(),
        Some(_) => "withdrawn".to_owned(),
        None => short::<pb::VersionState>(version.state),
    }
}
