use super::*;
use proptest::prelude::*;

fn model(namespace: &str, model: &str) -> ModelName {
    ModelName { namespace: namespace.to_owned(), model: model.to_owned() }
}

#[track_caller]
fn refuses<T: fmt::Debug>(parse: fn(&str) -> Result<T, NameError>, table: &[(&str, &str)]) {
    for (name, why) in table {
        let NameError(message) = parse(name).expect_err(name);
        assert!(message.contains(why), "{name:?}: {message}");
    }
}

#[test]
fn namespaces() {
    assert_eq!(NamespaceName::parse(""), Ok(NamespaceName("default".to_owned())));
    assert_eq!(NamespaceName::parse("namespaces/risk"), Ok(NamespaceName("risk".to_owned())));
    refuses(
        NamespaceName::parse,
        &[
            ("risk", NAMESPACE_FORM),
            ("namespaces/risk/", NAMESPACE_FORM),
            ("/namespaces/risk", NAMESPACE_FORM),
            ("namespaces/", "the namespace's id must not be empty"),
            ("namespaces/a b", "the namespace's id must not contain ' '"),
        ],
    );
}

#[test]
fn models() {
    assert_eq!(ModelName::parse("models/fraud"), Ok(model("default", "fraud")));
    assert_eq!(ModelName::parse("namespaces/risk/models/fraud"), Ok(model("risk", "fraud")));
    assert_eq!(model("risk", "fraud").version(7), "namespaces/risk/models/fraud/versions/7");
    refuses(
        ModelName::parse,
        &[
            ("", MODEL_FORM),
            ("fraud", MODEL_FORM),
            ("models/fraud/", MODEL_FORM),
            ("models/fraud@champion", MODEL_FORM),
            ("models/fraud/versions/7", MODEL_FORM),
            ("namespaces/models/fraud", MODEL_FORM),
            ("models/", "the model's id must not be empty"),
            ("models/-", "the model's id must begin with"),
            ("namespaces//models/fraud", "the namespace's id must not be empty"),
        ],
    );
}

#[test]
fn versions() {
    let fraud = || model("default", "fraud");
    let label = |label: &str| VersionRef::Label(label.to_owned());
    let alias = |alias: &str| VersionRef::Alias(alias.to_owned());
    for (name, version) in [
        ("models/fraud/versions/7", VersionRef::Number(7)),
        ("models/fraud/versions/9223372036854775807", VersionRef::Number(i64::MAX)),
        ("models/fraud/versions/1.4.0", label("1.4.0")),
        ("models/fraud/versions/20260126_103000", label("20260126_103000")),
        ("models/fraud/versions/@champion", alias("champion")),
        ("models/fraud@champion", alias("champion")),
        ("namespaces/default/models/fraud@production", alias("production")),
        ("models/fraud@7", alias("7")),
    ] {
        assert_eq!(VersionName::parse(name), Ok(VersionName { model: fraud(), version }), "{name:?}");
    }
    refuses(
        VersionName::parse,
        &[
            ("models/fraud", VERSION_FORM),
            ("models/fraud/7", VERSION_FORM),
            ("models/fraud/versions/7/artifacts/a", VERSION_FORM),
            ("models/fraud@champion/versions/7", VERSION_FORM),
            ("models/fraud/versions/", "the version's label must not be empty"),
            ("models/fraud/versions/-", "the version's label must begin with"),
            ("models/fraud/versions/0", "1 or more"),
            ("models/fraud/versions/07", "without leading zeros"),
            ("models/fraud/versions/9223372036854775808", "at most 9223372036854775807"),
            ("models/fraud/versions/@", "the alias must not be empty"),
            ("models/fraud@a@b", "the alias must not contain '@'"),
            ("models/a b@champion", "the model's id must not contain ' '"),
        ],
    );
}

#[test]
fn artifacts() {
    for (name, canonical) in [
        ("models/m/versions/1/artifacts/a.bin", "namespaces/default/models/m/versions/1/artifacts/a.bin"),
        (
            "models/m@live/artifacts/a/artifacts/b@c",
            "namespaces/default/models/m/versions/@live/artifacts/a/artifacts/b@c",
        ),
    ] {
        assert_eq!(ArtifactName::parse(name).map(|name| name.to_string()), Ok(canonical.to_owned()));
    }
    refuses(
        ArtifactName::parse,
        &[
            ("models/m/artifacts/a", ARTIFACT_FORM),
            ("models/m/versions/1", ARTIFACT_FORM),
            ("models/m/versions/1/artifacts", ARTIFACT_FORM),
            ("models/m/versions/1/artifacts/", "the artifact's path must not be empty"),
            ("models/m/versions/1/artifacts/../x", "the artifact's path must not have \"..\""),
            ("models/m/versions/01/artifacts/x", "without leading zeros"),
        ],
    );
}

#[test]
fn parents() {
    let namespace = |id: &str| id.to_owned();
    for (name, parent) in [
        ("", Parent::All),
        ("namespaces/risk", Parent::Namespace(namespace("risk"))),
        ("models/-", Parent::Namespace(namespace("default"))),
        ("namespaces/risk/models/-", Parent::Namespace(namespace("risk"))),
        ("models/m", Parent::Model(model("default", "m"))),
        ("namespaces/risk/models/m/versions/7", Parent::Version { model: model("risk", "m"), number: 7 }),
    ] {
        assert_eq!(Parent::parse(name), Ok(parent), "{name:?}");
    }
    refuses(
        Parent::parse,
        &[
            ("risk", PARENT_FORM),
            ("models/m/versions/1/artifacts/a", PARENT_FORM),
            ("models/m/", PARENT_FORM),
            ("models/m@live", "by its number"),
            ("models/m/versions/1.4.0", "by its number"),
            ("models/-/versions/1", "the model's id must begin with"),
            ("namespaces/-/models/-", "the namespace's id must begin with"),
            ("namespaces/a b", "the namespace's id must not contain ' '"),
        ],
    );
}

#[test]
fn parents_of_versions() {
    use ModelOrNamespace::{Model, Namespace};
    assert_eq!(parse_version_parent("models/m"), Ok(Model(model("default", "m"))));
    assert_eq!(parse_version_parent("models/-"), Ok(Namespace("default".to_owned())));
    assert_eq!(parse_version_parent("namespaces/risk/models/-"), Ok(Namespace("risk".to_owned())));
    refuses(parse_version_parent, &[("", MODEL_FORM), ("namespaces/risk", MODEL_FORM), ("models/-@live", MODEL_FORM)]);
}

fn id() -> impl Strategy<Value = String> {
    "[\\p{L}\\p{Nd}][\\p{L}\\p{Nd}._+-]{0,6}".prop_filter("an id", |id| check_id(id).is_ok())
}

fn model_name() -> impl Strategy<Value = ModelName> {
    (id(), id()).prop_map(|(namespace, model)| ModelName { namespace, model })
}

fn version_name() -> impl Strategy<Value = VersionName> {
    let version = prop_oneof![
        (1..=i64::MAX).prop_map(VersionRef::Number),
        id().prop_filter("a label", |id| check_label(id).is_ok()).prop_map(VersionRef::Label),
        id().prop_map(VersionRef::Alias),
    ];
    (model_name(), version).prop_map(|(model, version)| VersionName { model, version })
}

proptest! {
    #[test]
    fn what_is_written_reads_the_same(
        model in model_name(),
        version in version_name(),
        path in "[a-z.@ ]{1,3}(/[a-z.é]{1,3}){0,3}".prop_filter("a path", |path| check_path(path).is_ok()),
        number in 1..=i64::MAX,
    ) {
        let namespace = NamespaceName(model.namespace.clone());
        let by_number = VersionName { model: model.clone(), version: VersionRef::Number(number) };
        let artifact = ArtifactName { version: version.clone(), path };
        prop_assert_eq!(NamespaceName::parse(&namespace.to_string()), Ok(namespace));
        prop_assert_eq!(VersionName::parse(&model.version(number)), Ok(by_number));
        prop_assert_eq!(Parent::parse(&model.version(number)), Ok(Parent::Version { model: model.clone(), number }));
        prop_assert_eq!(ModelName::parse(&model.to_string()), Ok(model));
        prop_assert_eq!(VersionRef::parse(&version.version.to_string()), Ok(version.version.clone()));
        prop_assert_eq!(VersionName::parse(&version.to_string()), Ok(version));
        prop_assert_eq!(ArtifactName::parse(&artifact.to_string()), Ok(artifact));
    }

    #[test]
    fn what_is_read_is_written_canonically(name in "(namespaces/[a-z]{1,2}/)?models/[a-z@-]{1,3}(/versions/[@0-9a.]{1,3})?(/artifacts/[a/.]{1,4})?") {
        if let Ok(version) = VersionName::parse(&name) {
            prop_assert_eq!(VersionName::parse(&version.to_string()), Ok(version));
        }
        if let Ok(artifact) = ArtifactName::parse(&name) {
            prop_assert_eq!(ArtifactName::parse(&artifact.to_string()), Ok(artifact));
        }
    }
}
