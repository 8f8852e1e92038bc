//! `report-check`, and how checks are shown.

use std::time::{Duration, SystemTime};

use registry_client::{Name, pb};

use crate::args::one_of;
use crate::output::{brief, minute};
use crate::values::short;
use crate::{Context, Failure};

#[derive(Debug, clap::Args)]
pub(crate) struct ReportCheck {
    /// The version.
    #[arg(value_name = "VERSION")]
    name: Name,
    /// Which check: `integration`.
    check: String,
    /// How far it is.
    #[arg(value_parser = one_of::<pb::CheckState>(), ignore_case = true)]
    state: pb::CheckState,
    /// What it found.
    #[arg(short = 'm', long)]
    summary: Option<String>,
    /// Where it can be read about.
    #[arg(long, value_name = "URL")]
    uri: Option<String>,
    /// It counts for so long only: `7d`.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    counts_for: Option<Duration>,
}

pub(crate) async fn report(context: &Context, command: ReportCheck) -> Result<(), Failure> {
    let ReportCheck { name, check, state, summary, uri, counts_for } = command;
    let mut call = context.client.report_check(name, &check, state);
    call = call.summary(summary.unwrap_or_default()).uri(uri.unwrap_or_default());
    if let Some(counts_for) = counts_for {
        let end = SystemTime::now().checked_add(counts_for).ok_or("--counts-for is too long")?;
        call = call.expires(end);
    }
    let version = call.await?;
    context.out.message("Version", &version, |version| {
        let name = brief(&version.name);
        let stage = short::<pb::Stage>(version.stage);
        let entered = if version.entered_automatically { format!("; {name} is in {stage}") } else { String::new() };
        format!("{check} of {name} is {}{entered}", short::<pb::CheckState>(state.into()))
    })
}

/// A check in a line.
pub(crate) fn line((id, check): (&String, &pb::Check)) -> String {
    let until = check.expire_time.as_ref().map(|time| format!(" until {}", minute(Some(time))));
    let texts = [&check.summary, &check.uri].into_iter().filter(|text| !text.is_empty());
    let said: String = texts.map(|text| format!("  {text}")).collect();
    format!("{id}: {}{}{said}", short::<pb::CheckState>(check.state), until.unwrap_or_default())
}
