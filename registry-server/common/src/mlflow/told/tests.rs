use prost_types::value::Kind;
use prost_types::{Struct, Value as Metadata};

use super::*;

/// The event of a change from one resource to another.
fn event(r#type: &str, before: Option<Resource>, after: Resource, changed: &[&str]) -> pb::Event {
    let resource = |resource| pb::Resource { resource: Some(resource) };
    pb::Event {
        r#type: r#type.to_owned(),
        before: before.map(resource),
        after: Some(resource(after)),
        changed_fields: changed.iter().map(|field| (*field).to_owned()).collect(),
        ..Default::default()
    }
}

fn tags_of(tags: &[(&str, &str)]) -> BTreeMap<String, String> {
    tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn model(tags: &[(&str, &str)]) -> pb::Model {
    let name = format!("namespaces/default/models/{}", crate::mlflow::id_of("my model"));
    pb::Model { name, description: "about".to_owned(), tags: tags_of(tags), ..Default::default() }
}

fn version(tags: &[(&str, &str)]) -> pb::Version {
    let mut version = pb::Version {
        name: "namespaces/default/models/fraud/versions/7".to_owned(),
        number: 7,
        tags: tags_of(tags),
        ..Default::default()
    };
    version.set_state(VersionState::Ready);
    version
}

fn transition(from: Stage, to: Stage, cause: StageChangeCause) -> pb::Event {
    let stage_change = Some(pb::StageChange { from_stage: from.into(), to_stage: to.into(), cause: cause.into() });
    pb::Event { stage_change, ..event("version.stage_transitioned", None, Resource::Version(version(&[])), &[]) }
}

fn of(event: &pb::Event) -> Vec<(&'static str, Value)> {
    told(event, false).into_iter().map(|told| (told.r#type, told.data)).collect()
}

#[test]
fn models_are_told_under_the_names_that_mlflow_has_for_them() {
    let made = event("model.created", None, Resource::Model(model(&[("team", "risk")])), &[]);
    let data = json!({ "name": "my model", "tags": { "team": "risk" }, "description": "about" });
    assert_eq!(of(&made), [("registered_model.created", data)]);

    let prompt = model(&[(IS_PROMPT, "true"), (PROMPT_TYPE, "text"), ("team", "risk")]);
    let made = event("model.created", None, Resource::Model(prompt), &[]);
    let data = json!({ "name": "my model", "tags": { "team": "risk" }, "description": "about" });
    assert_eq!(of(&made), [("prompt.created", data)]);
}

#[test]
fn a_version_is_told_once_when_it_is_ready() {
    let mut made = version(&[("seed", "1")]);
    crate::mlflow::keep(&mut made, "source", "runs:/1/model");
    crate::mlflow::keep(&mut made, "run_id", "1");
    let told = |r#type, version: &pb::Version| of(&event(r#type, None, Resource::Version(version.clone()), &[]));
    let data = json!({
        "name": "fraud", "version": "7", "source": "runs:/1/model", "run_id": "1", "tags": { "seed": "1" }, "description": null,
    });
    assert_eq!(told("version.created", &made), [("model_version.created", data)]);

    made.additional_metadata = None;
    made.set_state(VersionState::Pending);
    assert_eq!(told("version.created", &made), []);
    made.set_state(VersionState::Failed);
    assert_eq!(told("version.finalized", &made), []);
    made.set_state(VersionState::Ready);
    let data = json!({
        "name": "fraud", "version": "7", "source": "models:/fraud/7", "run_id": null, "tags": { "seed": "1" }, "description": null,
    });
    assert_eq!(told("version.finalized", &made), [("model_version.created", data)]);

    let prompt = version(&[(IS_PROMPT, "true"), (PROMPT_TEXT, "Hello {{name}}!"), ("seed", "1")]);
    let data = json!({
        "name": "fraud", "version": "7", "template": "Hello {{name}}!", "tags": { "seed": "1" }, "description": null,
    });
    assert_eq!(told("version.created", &prompt), [("prompt_version.created", data)]);
}

#[test]
fn each_tag_that_changed_is_told() {
    let before = pb::Version { tags: tags_of(&[("a", "1"), ("b", "2"), ("c", "3")]), ..Default::default() };
    let mut after = version(&[("a", "1"), ("b", "5"), ("d", "4")]);
    let data = |key: &str, value: &str| json!({ "name": "fraud", "version": "7", "key": key, "value": value });
    let gone = json!({ "name": "fraud", "version": "7", "key": "c" });
    let told = |before: &pb::Version, after: &pb::Version, changed: &[&str]| {
        of(&event(
            "version.updated",
            Some(Resource::Version(before.clone())),
            Resource::Version(after.clone()),
            changed,
        ))
    };
    let expected = [
        ("model_version_tag.set", data("b", "5")),
        ("model_version_tag.set", data("d", "4")),
        ("model_version_tag.deleted", gone.clone()),
    ];
    assert_eq!(told(&before, &after, &["tags"]), expected);
    // What did not change is not in `before`.
    assert_eq!(told(&pb::Version::default(), &after, &["description"]), []);

    // One that can be no tag of ours is one for MLflow all the same.
    let long = "x".repeat(300);
    tags::set_on_version(&mut after, "long", &long);
    let changed = told(&pb::Version::default(), &after, &["additional_metadata"]);
    assert_eq!(changed, [("model_version_tag.set", data("long", &long))]);
    let other = Struct { fields: [("x".to_owned(), Metadata { kind: Some(Kind::BoolValue(true)) })].into() };
    let before = pb::Version { additional_metadata: Some(other), ..Default::default() };
    assert_eq!(told(&before, &version(&[]), &["additional_metadata"]), []);
}

#[test]
fn tags_of_models_are_told_of_prompts_only() {
    let change = |tags: &[(&str, &str)]| {
        let before = pb::Model { annotations: tags_of(&[("old", "x")]), ..Default::default() };
        of(&event("model.updated", Some(Resource::Model(before)), Resource::Model(model(tags)), &["annotations"]))
    };
    assert_eq!(change(&[]), []);
    let gone = json!({ "name": "my model", "key": "old" });
    assert_eq!(change(&[(IS_PROMPT, "true")]), [("prompt_tag.deleted", gone)]);
}

#[test]
fn aliases_are_told_and_the_stages_that_stand_for_some() {
    let change = |alias: &str, to: &str| pb::AliasChange {
        alias: alias.to_owned(),
        to_version: to.to_owned(),
        ..Default::default()
    };
    let changed = |r#type, tags, changes| {
        let event = event(r#type, None, Resource::Model(model(tags)), &[]);
        of(&pb::Event { alias_changes: changes, ..event })
    };
    let set = json!({ "name": "my model", "alias": "champion", "version": "7" });
    let to = "namespaces/default/models/x/versions/7";
    assert_eq!(changed("alias.set", &[], vec![change("champion", to)]), [("model_version_alias.created", set.clone())]);
    assert_eq!(
        changed("alias.set", &[(IS_PROMPT, "true")], vec![change("champion", to)]),
        [("prompt_alias.created", set)]
    );
    let gone = |alias: &str| ("model_version_alias.deleted", json!({ "name": "my model", "alias": alias }));
    assert_eq!(changed("alias.deleted", &[], vec![change("a", ""), change("b", "")]), [gone("a"), gone("b")]);

    let entered =
        |alias: &str| ("model_version_alias.created", json!({ "name": "fraud", "alias": alias, "version": "7" }));
    let gone = ("model_version_alias.deleted", json!({ "name": "fraud", "alias": "production" }));
    use Stage::{Archived, Development, Production, Staging};
    use StageChangeCause::{Deleted, Displaced, Rollback, Transition};
    for (from, to, cause, expected) in [
        (Development, Staging, Transition, vec![entered("staging")]),
        (Staging, Production, Transition, vec![entered("production")]),
        (Archived, Production, Rollback, vec![entered("production")]),
        // Another one has it now.
        (Production, Archived, Displaced, vec![]),
        (Production, Archived, Transition, vec![gone.clone()]),
        (Production, Archived, Deleted, vec![gone.clone()]),
        (Production, Staging, Transition, vec![gone, entered("staging")]),
        // Others may be in it.
        (Staging, Archived, Transition, vec![]),
    ] {
        assert_eq!(of(&transition(from, to, cause)), expected, "{from:?} to {to:?}");
    }
}

#[test]
fn what_is_done_to_a_version_is_told_of_a_prompt_if_its_model_is_one() {
    let types = |event: &pb::Event| told(event, true).into_iter().map(|told| told.r#type).collect::<Vec<_>>();
    let before = pb::Version { tags: tags_of(&[("old", "x")]), ..Default::default() };
    let change = |tags: &[(&str, &str)]| {
        let (before, after) = (Resource::Version(before.clone()), Resource::Version(version(tags)));
        event("version.updated", Some(before), after, &["tags"])
    };
    assert_eq!(types(&change(&[("new", "x")])), ["prompt_version_tag.set", "prompt_version_tag.deleted"]);
    let entered = transition(Stage::Development, Stage::Production, StageChangeCause::Transition);
    assert_eq!(types(&entered), ["prompt_alias.created"]);
    // Whatever the version says of itself, or if the tag says otherwise.
    let tagged = change(&[("old", "x"), (IS_PROMPT, "true")]);
    assert_eq!(of(&tagged)[0].0, "model_version_tag.set");
    let made = event("model.created", None, Resource::Model(model(&[(IS_PROMPT, "false")])), &[]);
    assert_eq!(of(&made)[0].0, "registered_model.created");
    let made = event("version.created", None, Resource::Version(version(&[(IS_PROMPT, "True")])), &[]);
    assert_eq!(of(&made)[0].0, "prompt_version.created");
}

#[test]
fn what_is_told_is_of_a_type_that_the_event_may_be() {
    let prompt = &[(IS_PROMPT, "true")];
    let events = [
        event("model.created", None, Resource::Model(model(&[])), &[]),
        event("model.created", None, Resource::Model(model(prompt)), &[]),
        event("version.created", None, Resource::Version(version(&[])), &[]),
        event("version.finalized", None, Resource::Version(version(prompt)), &[]),
        transition(Stage::Production, Stage::Staging, StageChangeCause::Transition),
    ];
    for event in events {
        let told = told(&event, false);
        assert!(!told.is_empty(), "{}", event.r#type);
        for told in told {
            assert!(ours(told.r#type).unwrap().contains(&&*event.r#type), "{} of {}", told.r#type, event.r#type);
        }
    }
    for r#type in types().flat_map(|r#type| ours(r#type).unwrap()) {
        assert!(event_type::all().any(|known| known == *r#type), "{type}");
    }
    assert_eq!(ours("budget_policy.exceeded"), None);
}
