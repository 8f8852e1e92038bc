//! `status MODEL`: who runs what.

use registry_client::{Name, WatchItem, pb};

use crate::interrupt::asked_to_end;
use crate::models::hinted;
use crate::output::{self, Column, Lines, fields, last, note, pairs, time};
use crate::rollout::{TYPES, named};
use crate::values::short;
use crate::{Context, Failure};

/// Shows the instances of a model; with `watch` again whenever something changes.
pub(crate) async fn status(context: &Context, model: Name, watch: bool) -> Result<(), Failure> {
    if !watch {
        return show(context, &model).await;
    }
    let mut items = context.client.watch().parent(model.clone()).types(TYPES).stream();
    let mut shown = false;
    loop {
        let item = tokio::select! {
            item = items.try_next() => item?,
            // That is how a watch is meant to end.
            () = asked_to_end() => return Ok(()),
        };
        match item {
            Some(WatchItem::Created { .. } | WatchItem::Events { .. }) => {
                if shown && context.out.is_text() {
                    context.out.line("")?;
                }
                show(context, &model).await?;
                shown = true;
            }
            Some(WatchItem::Disconnected { reason }) => {
                note(&format!("disconnected, and waiting for the registry: {reason}"));
            }
            Some(WatchItem::Resumed { .. }) => note("connected again"),
            Some(_) => {}
            None => return Ok(()),
        }
    }
}

async fn show(context: &Context, name: &Name) -> Result<(), Failure> {
    let model = match context.client.get_model(name.clone()).await {
        Ok(model) => model,
        Err(error) => return Err(hinted(context, name, error).await),
    };
    let instances: Vec<pb::Instance> =
        context.client.list_instances(name.clone()).page_size(1000).stream().try_collect().await?;
    if instances.is_empty() && context.out.is_text() {
        note("no instance has reported that it runs this model");
        return Ok(());
    }
    let columns = [
        "instance".into(),
        Column::from("follows").rank(6),
        Column::from("desired").rank(4),
        Column::from("observed").rank(1),
        Column::from("state").rank(2),
        Column::from("lags").rank(3).if_any(),
        Column::from("since").rank(7),
        Column::from("heard").rank(8),
        Column::from("labels").wide(),
        Column::from("creator").wide(),
        Column::prose("error").rank(5).if_any(),
    ];
    context.out.rows("Instance", &instances, &columns, |instance| {
        vec![
            last(&instance.name).to_owned(),
            instance.target.clone(),
            last(&instance.desired_version).to_owned(),
            last(&instance.observed_version).to_owned(),
            short::<pb::InstanceState>(instance.state),
            lag(&model, instance),
            time(instance.state_time.as_ref()),
            time(instance.heard_time.as_ref()),
            instance.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", "),
            instance.creator.clone(),
            instance.error.clone(),
        ]
    })
}

/// How an instance lags behind what it follows; empty if it does not, as far as the model tells.
fn lag(model: &pb::Model, instance: &pb::Instance) -> String {
    match named(model, &instance.target) {
        Some(version) if version != instance.observed_version => format!("behind {}", last(version)),
        _ => String::new(),
    }
}

/// An instance as text.
pub(crate) fn text(instance: &pb::Instance) -> Lines {
    fields(vec![
        ("name", instance.name.clone().into()),
        ("follows", instance.target.clone().into()),
        ("desired", last(&instance.desired_version).to_owned().into()),
        ("observed", last(&instance.observed_version).to_owned().into()),
        ("state", short::<pb::InstanceState>(instance.state).into()),
        ("since", time(instance.state_time.as_ref()).into()),
        ("error", output::text(&instance.error)),
        ("labels", pairs(&instance.labels)),
        ("heard", time(instance.heard_time.as_ref()).into()),
        ("expires", time(instance.expire_time.as_ref()).into()),
        ("creator", instance.creator.clone().into()),
        ("created", time(instance.create_time.as_ref()).into()),
        ("updated", time(instance.update_time.as_ref()).into()),
        ("revision", instance.revision.to_string().into()),
        ("etag", instance.etag.clone().into()),
    ])
}
