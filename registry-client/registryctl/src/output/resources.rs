//! Resources and events as text.

use registry_client::pb;

use super::{Lines, brief, bytes, count, double, fields, last, pairs, text, time};
use crate::values::{short, text as value_text};
use crate::{checks, withdrawal};

/// How many of what a version lists are shown; all are in `--json`.
const MANY: usize = 30;

/// A version as text, with all that was recorded of it.
pub(crate) fn version(version: &pb::Version) -> Lines {
    let metrics = version.metrics.iter().flat_map(|(split, set)| {
        set.values.iter().map(move |(metric, value)| (format!("{split}.{metric}"), double(*value)))
    });
    let size = format!("{} in {}", bytes(version.size_bytes), count(version.artifact_count, "file"));
    let signature = version.signature.as_ref();
    let environment = version.environment.as_ref();
    let language = environment.map(|environment| format!("{} {}", environment.language, environment.language_version));
    fields(vec![
        ("name", version.name.clone().into()),
        ("version id", version.version_id.clone().into()),
        ("state", withdrawal::state(version).into()),
        ("failure", text(&version.failure_reason)),
        ("withdrawn", time(version.withdraw_time.as_ref()).into()),
        ("because", text(&version.withdraw_reason)),
        ("stage", short::<pb::Stage>(version.stage).into()),
        ("since", time(version.stage_time.as_ref()).into()),
        ("checks", some(version.checks.iter().map(checks::line))),
        ("description", text(&version.description)),
        ("framework", format!("{} {}", version.framework, version.framework_version).trim().to_owned().into()),
        ("source", version.source_uri.clone().into()),
        ("metrics", pairs(metrics)),
        ("hyper-parameters", structure(version.hyperparameters.as_ref())),
        ("model parameters", structure(version.model_params.as_ref())),
        ("features", some(version.features.iter().map(field))),
        ("inputs", inputs(version)),
        ("outputs", some(signature.into_iter().flat_map(|signature| &signature.outputs).map(field))),
        ("standardised", some(standardization(version))),
        ("datasets", some(version.datasets.iter().map(dataset))),
        ("data from", version.data_range.as_ref().map(|range| range.start.clone()).unwrap_or_default().into()),
        ("data until", version.data_range.as_ref().map(|range| range.end.clone()).unwrap_or_default().into()),
        ("language", language.unwrap_or_default().trim().to_owned().into()),
        ("packages", some(packages(environment))),
        ("more metadata", structure(version.additional_metadata.as_ref())),
        ("base versions", version.base_versions.clone().into()),
        ("tags", pairs(&version.tags)),
        ("trained", time(version.training_time.as_ref()).into()),
        ("creator", version.creator.clone().into()),
        ("created", time(version.create_time.as_ref()).into()),
        ("deleted", time(version.delete_time.as_ref()).into()),
        (if version.purged { "purged" } else { "purge due" }, time(version.purge_time.as_ref()).into()),
        ("size", size.into()),
        ("manifest", version.manifest_sha256.clone().into()),
        ("revision", version.revision.to_string().into()),
        ("etag", version.etag.clone().into()),
    ])
}

/// The first of many, one a line, and how many there are besides.
pub(crate) fn some(lines: impl Iterator<Item = String>) -> Lines {
    let mut lines: Vec<_> = lines.collect();
    if lines.len() > MANY + 1 {
        let more = lines.len() - MANY;
        lines.truncate(MANY);
        lines.push(format!("and {more} more: see --json"));
    }
    lines.into()
}

/// JSON as names and values, one a line.
fn structure(structure: Option<&prost_types::Struct>) -> Lines {
    let fields = structure.into_iter().flat_map(|structure| &structure.fields);
    some(fields.map(|(name, value)| format!("{name}={}", value_text(value))))
}

fn field(field: &pb::Field) -> String {
    let lengths = || field.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let shape = if field.shape.is_empty() { String::new() } else { format!("[{}]", lengths()) };
    let form = format!("{} {shape}", field.dtype);
    if form.trim().is_empty() { field.name.clone() } else { format!("{}: {}", field.name, form.trim()) }
}

/// What to pass to the model; mostly that is what it was trained on.
fn inputs(version: &pb::Version) -> Lines {
    match &version.signature {
        Some(signature) if !signature.inputs.is_empty() && signature.inputs == version.features => {
            "the features".to_owned().into()
        }
        signature => some(signature.iter().flat_map(|signature| &signature.inputs).map(field)),
    }
}

/// How each feature was standardised.
fn standardization(version: &pb::Version) -> impl Iterator<Item = String> {
    let params = version.standardization_params.iter();
    params.flat_map(|params| params.mean.iter().zip(&params.scale)).enumerate().map(|(at, (mean, scale))| {
        let feature = version.features.get(at).map_or_else(|| at.to_string(), |feature| feature.name.clone());
        format!("{feature}: mean={} scale={}", double(*mean), double(*scale))
    })
}

fn dataset(dataset: &pb::DatasetReference) -> String {
    let rows = if dataset.rows > 0 { count(dataset.rows, "row") } else { String::new() };
    let splits =
        dataset.split_rows.iter().map(|(split, rows)| format!("{split}: {rows}")).collect::<Vec<_>>().join(", ");
    let splits = if splits.is_empty() { splits } else { format!("({splits})") };
    let parts = [dataset.name.clone(), dataset.uri.clone(), dataset.digest.clone(), rows, splits];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn packages(environment: Option<&pb::Environment>) -> impl Iterator<Item = String> {
    let packages = environment.into_iter().flat_map(|environment| &environment.packages);
    packages.map(|(package, version)| format!("{package} {version}"))
}

/// A model as text.
pub(crate) fn model(model: &pb::Model) -> Lines {
    let stages = model.stages.iter().map(|summary| {
        let more =
            if summary.version_count > 1 { format!(" and {} more", summary.version_count - 1) } else { String::new() };
        (short::<pb::Stage>(summary.stage), format!("{}{more}", last(&summary.version)))
    });
    fields(vec![
        ("name", model.name.clone().into()),
        ("display name", model.display_name.clone().into()),
        ("type", model.model_type.clone().into()),
        ("description", text(&model.description)),
        ("owner", model.owner.clone().into()),
        ("team", model.team.clone().into()),
        ("project", model.project.clone().into()),
        ("domain", model.business_domain.clone().into()),
        ("purpose", text(&model.purpose)),
        ("tags", pairs(&model.tags)),
        ("annotations", pairs(&model.annotations)),
        ("versions", model.version_count.to_string().into()),
        ("latest", last(&model.latest_version).to_owned().into()),
        ("stages", pairs(stages)),
        ("aliases", pairs(model.aliases.iter().map(|(alias, version)| (alias, last(version))))),
        ("policy", last(&model.policy).to_owned().into()),
        ("metrics", some(directions(model))),
        ("creator", model.creator.clone().into()),
        ("created", time(model.create_time.as_ref()).into()),
        ("updated", time(model.update_time.as_ref()).into()),
        ("deleted", time(model.delete_time.as_ref()).into()),
        (if model.purged { "purged" } else { "purge due" }, time(model.purge_time.as_ref()).into()),
        ("revision", model.revision.to_string().into()),
        ("etag", model.etag.clone().into()),
    ])
}

/// Which values of metrics are better, where the model says so.
fn directions(model: &pb::Model) -> impl Iterator<Item = String> {
    model.metric_directions.iter().map(|(metric, direction)| {
        let better = better(pb::MetricDirection::try_from(*direction).unwrap_or_default());
        format!("{metric}: {better} is better")
    })
}

/// Which values of a metric are better.
pub(crate) fn better(direction: pb::MetricDirection) -> &'static str {
    match direction {
        pb::MetricDirection::HigherIsBetter => "higher",
        pb::MetricDirection::LowerIsBetter => "lower",
        pb::MetricDirection::Unspecified => "unknown",
    }
}

/// An artifact as text.
pub(crate) fn artifact(artifact: &pb::Artifact) -> Lines {
    fields(vec![
        ("name", artifact.name.clone().into()),
        ("type", artifact.r#type.clone().into()),
        ("media type", artifact.media_type.clone().into()),
        ("executable", if artifact.executable { "yes" } else { "" }.to_owned().into()),
        ("size", bytes(artifact.size_bytes).into()),
        ("sha256", artifact.sha256.clone().into()),
        ("tags", pairs(&artifact.tags)),
        ("creator", artifact.creator.clone().into()),
        ("created", time(artifact.create_time.as_ref()).into()),
        ("revision", artifact.revision.to_string().into()),
        ("etag", artifact.etag.clone().into()),
    ])
}

/// An event as one line; where it goes on in a second one, below its time.
pub(crate) fn event(event: &pb::Event) -> Lines {
    let mut what = match &event.stage_change {
        Some(change) => {
            format!(" {} -> {}", short::<pb::Stage>(change.from_stage), short::<pb::Stage>(change.to_stage))
        }
        None => String::new(),
    };
    for change in &event.alias_changes {
        what += &format!(" @{} -> {}", change.alias, last(&change.to_version));
    }
    if let Some(denial) = &event.denial {
        what += &match (denial.permission.as_str(), denial.resource.as_str()) {
            ("", _) if denial.reason.is_empty() => " other things".to_owned(),
            ("", _) => format!(" {}", denial.reason),
            (permission, "") => format!(" {permission} on the server"),
            (permission, resource) => format!(" {permission} on {}", brief(resource)),
        };
        if denial.count > 1 {
            what += &format!(" {} times", denial.count);
        }
        if let Some(caller) = event.caller.as_ref().filter(|caller| !caller.address.is_empty()) {
            what += &format!(" from {}", caller.address);
        }
    }
    let comment = if event.comment.is_empty() { String::new() } else { format!("  \"{}\"", event.comment) };
    // Of a snapshot's resources nobody says who made them so, and what was refused names them already.
    let actor = if event.actor.is_empty() || event.actor == event.resource_name {
        String::new()
    } else {
        format!("  by {}", event.actor)
    };
    let line = format!(
        "{:>6}  {}  {:<26}  {}{what}{actor}{comment}",
        event.revision,
        time(event.create_time.as_ref()),
        event.r#type,
        brief(&event.resource_name),
    );
    Lines::from(line).hanging(8)
}
