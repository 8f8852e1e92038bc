use proptest::prelude::*;
use unicode_normalization::UnicodeNormalization as _;

use super::*;

#[track_caller]
fn reads(of: &'static Collection, table: &[(&str, &str)]) {
    for (text, canonical) in table {
        assert_eq!(Name::parse(of, text).as_ref().map(Name::as_str), Ok(*canonical), "{text:?}");
    }
}

#[track_caller]
fn refuses(of: &'static Collection, table: &[(&str, &str)]) {
    for (text, why) in table {
        let NameError(message) = Name::parse(of, text).expect_err(text);
        assert!(message.contains(why), "{text:?}: {message}");
    }
}

#[test]
fn namespaces() {
    reads(&NAMESPACES, &[("namespaces/risk", "namespaces/risk")]);
    let form = r#"expected "namespaces/{namespace}""#;
    refuses(
        &NAMESPACES,
        &[
            ("", form),
            ("risk", form),
            ("namespaces/risk/", form),
            ("/namespaces/risk", form),
            ("namespaces/", "the namespace's id must not be empty"),
            ("namespaces/a b", "the namespace's id must not contain ' '"),
        ],
    );
}

#[test]
fn models() {
    reads(
        &MODELS,
        &[
            ("models/fraud", "namespaces/default/models/fraud"),
            ("namespaces/risk/models/fraud", "namespaces/risk/models/fraud"),
        ],
    );
    let form = r#"expected "models/{model}", with or without "namespaces/{namespace}/""#;
    refuses(
        &MODELS,
        &[
            ("", form),
            ("fraud", form),
            ("models/fraud/", form),
            ("models/fraud@champion", form),
            ("models/fraud/versions/7", form),
            ("namespaces/models/fraud", form),
            ("models/", "the model's id must not be empty"),
            ("models/-", "the model's id must begin with"),
            ("namespaces//models/fraud", "the namespace's id must not be empty"),
        ],
    );
}

#[test]
fn policies() {
    reads(
        &POLICIES,
        &[
            ("policies/strict", "namespaces/default/policies/strict"),
            ("namespaces/risk/policies/strict", "namespaces/risk/policies/strict"),
        ],
    );
    let form = r#"expected "policies/{policy}", with or without "namespaces/{namespace}/""#;
    refuses(
        &POLICIES,
        &[
            ("models/fraud", form),
            ("strict", form),
            ("policies/a/b", form),
            ("policies/-", "the policy's id must begin with"),
        ],
    );
}

#[test]
fn instances() {
    reads(
        &INSTANCES,
        &[
            ("models/fraud/instances/web-1", "namespaces/default/models/fraud/instances/web-1"),
            ("namespaces/risk/models/fraud/instances/7", "namespaces/risk/models/fraud/instances/7"),
        ],
    );
    let form = r#"expected "models/{model}/instances/{instance}", with or without "namespaces/{namespace}/""#;
    refuses(
        &INSTANCES,
        &[
            ("models/fraud", form),
            ("models/fraud@champion", form),
            ("models/fraud@champion/instances/a", form),
            ("models/fraud/versions/7", form),
            ("models/fraud/instances/a/b", form),
            ("models/fraud/instances/", "the instance's id must not be empty"),
            ("models/fraud/instances/-", "the instance's id must begin with"),
        ],
    );
    let name = Name::parse(&INSTANCES, "models/fraud/instances/7").unwrap();
    assert_eq!(
        (name.parent().as_str(), name.key()),
        ("namespaces/default/models/fraud", b"default\0fraud\x007".to_vec())
    );
}

#[test]
fn versions() {
    let id = |id: &str| VersionRef::Id(id.to_owned());
    let alias = |alias: &str| VersionRef::Alias(alias.to_owned());
    for (text, id, version) in [
        ("models/fraud/versions/7", "7", VersionRef::Number(7)),
        ("models/fraud/versions/9223372036854775807", "9223372036854775807", VersionRef::Number(i64::MAX)),
        ("models/fraud/versions/1.4.0", "1.4.0", id("1.4.0")),
        ("models/fraud/versions/20260126_103000", "20260126_103000", id("20260126_103000")),
        ("models/fraud/versions/@champion", "@champion", alias("champion")),
        ("models/fraud@champion", "@champion", alias("champion")),
        ("namespaces/default/models/fraud@production", "@production", alias("production")),
        ("models/fraud@7", "@7", alias("7")),
    ] {
        let name = Name::parse(&VERSIONS, text).unwrap();
        assert_eq!(name.as_str(), format!("namespaces/default/models/fraud/versions/{id}"));
        assert_eq!(name.parent().as_str(), "namespaces/default/models/fraud");
        assert_eq!(VersionRef::parse(name.id()), Ok(version), "{text:?}");
    }
    let form = r#"expected "models/{model}/versions/{version}" or "models/{model}@{alias}", with or without "#;
    refuses(
        &VERSIONS,
        &[
            ("models/fraud", form),
            ("models/fraud/7", form),
            ("models/fraud/versions/7/artifacts/a", form),
            ("models/fraud@champion/versions/7", form),
            ("models/fraud/versions/", "the version's id must not be empty"),
            ("models/fraud/versions/-", "the version's id must begin with"),
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
    reads(
        &ARTIFACTS,
        &[
            ("models/m/versions/1/artifacts/a.bin", "namespaces/default/models/m/versions/1/artifacts/a.bin"),
            (
                "models/m@live/artifacts/a/artifacts/b@c",
                "namespaces/default/models/m/versions/@live/artifacts/a/artifacts/b@c",
            ),
        ],
    );
    let form = r#"expected "models/{model}/versions/{version}/artifacts/{path}", with or without "#;
    refuses(
        &ARTIFACTS,
        &[
            ("models/m/artifacts/a", form),
            ("models/m/versions/1", form),
            ("models/m/versions/1/artifacts", form),
            ("models/m/versions/1/artifacts/", "the artifact's path must not be empty"),
            ("models/m/versions/1/artifacts/../x", "the artifact's path must not have \"..\""),
            ("models/m/versions/01/artifacts/x", "without leading zeros"),
        ],
    );
}

#[test]
fn scopes() {
    for (text, scope) in [
        ("", None),
        ("namespaces/risk", Some("namespaces/risk")),
        ("models/-", Some("namespaces/default")),
        ("namespaces/risk/models/-", Some("namespaces/risk")),
        ("models/m", Some("namespaces/default/models/m")),
        ("models/m/versions/-", Some("namespaces/default/models/m")),
        ("namespaces/risk/models/m/versions/7", Some("namespaces/risk/models/m/versions/7")),
    ] {
        let parsed = Name::parse_scope(text).unwrap();
        assert_eq!(parsed.as_ref().map(Name::as_str), scope, "{text:?}");
    }
    let form = "expected nothing, or the name of a namespace";
    for (text, why) in [
        ("risk", form),
        ("models/m/versions/1/artifacts/a", form),
        ("models/m/", form),
        ("models/m@live", "by its number"),
        ("models/m/versions/1.4.0", "by its number"),
        ("models/-/versions/1", "the model's id must begin with"),
        ("namespaces/-/models/-", "the namespace's id must begin with"),
        ("namespaces/a b", "the namespace's id must not contain ' '"),
    ] {
        let NameError(message) = Name::parse_scope(text).expect_err(text);
        assert!(message.contains(why), "{text:?}: {message}");
    }
}

#[test]
fn parents_of_lists() {
    let of = |text: &str| Name::parse_parent(&MODELS, text).map(|name| name.to_string());
    assert_eq!(of("models/m").as_deref(), Ok("namespaces/default/models/m"));
    assert_eq!(of("models/-").as_deref(), Ok("namespaces/default"));
    assert_eq!(of("namespaces/risk/models/-").as_deref(), Ok("namespaces/risk"));
    for text in ["", "namespaces/risk", "models/-@live", "-", "xmodels/-"] {
        assert_eq!(of(text), Err(MODELS.form()), "{text:?}");
    }
}

#[test]
fn keys_sort_and_nest() {
    let name = |of, text| Name::parse(of, text).unwrap();
    let model = name(&MODELS, "models/m");
    assert_eq!(model.key(), b"default\0m");
    assert_eq!(model.prefix(), b"default\0m\0");
    let (second, tenth) = (model.child(&VERSIONS, 2), model.child(&VERSIONS, 10));
    assert!(second.key() < tenth.key() && second.key().starts_with(&model.prefix()));
    assert_eq!(second.key(), [b"default\0m\0".as_slice(), &2i64.to_be_bytes()].concat());
    let artifact = second.child(&ARTIFACTS, "a/b.bin");
    assert_eq!(artifact.key(), [&second.prefix(), b"a/b.bin".as_slice()].concat());
    assert_eq!(artifact.within(&MODELS), model);
    assert_eq!((artifact.namespace(), artifact.id()), ("default", "a/b.bin"));
    assert!(model.contains(artifact.as_str()) && second.contains(second.as_str()));
    assert!(!second.contains(tenth.as_str()) && !model.contains("namespaces/default/models/mm"));
}

fn id() -> impl Strategy<Value = String> {
    "[\\p{L}\\p{Nd}][\\p{L}\\p{Nd}._+-]{0,6}".prop_filter("an id", |id| check_id(id).is_ok())
}

fn version_id() -> impl Strategy<Value = String> {
    prop_oneof![
        (1..=i64::MAX).prop_map(|number| number.to_string()),
        id().prop_filter("a version's id", |id| check_version_id(id).is_ok()),
        id().prop_map(|alias| format!("@{alias}")),
    ]
}

proptest! {
    #[test]
    fn what_is_written_reads_the_same(
        namespace in id(),
        model in id(),
        version in version_id(),
        path in "[a-z.@ ]{1,3}(/[a-z.é]{1,3}){0,3}".prop_filter("a path", |path| check_path(path).is_ok()),
    ) {
        let namespace = Name::namespace_with(&namespace);
        let model = namespace.child(&MODELS, model);
        let version = model.child(&VERSIONS, version);
        let artifact = version.child(&ARTIFACTS, &path);
        prop_assert_eq!(artifact.id(), path);
        prop_assert_eq!(&artifact.parent(), &version);
        prop_assert_eq!(&version.parent(), &model);
        prop_assert_eq!(&model.parent(), &namespace);
        for name in [namespace, model, version, artifact] {
            prop_assert_eq!(Name::parse(name.of(), name.as_str()), Ok(name));
        }
    }

    #[test]
    fn what_is_read_is_written_canonically(text in "(namespaces/[a-z]{1,2}/)?models/[a-z@-]{1,3}(/versions/[@0-9a.]{1,3})?(/artifacts/[a/.]{1,4})?") {
        for of in COLLECTIONS {
            if let Ok(name) = Name::parse(of, &text) {
                prop_assert_eq!(Name::parse(of, name.as_str()), Ok(name));
            }
        }
    }
}

type Check = fn(&str) -> Result<(), NameError>;

#[track_caller]
fn takes(check: Check, values: &[&str]) {
    for value in values {
        assert_eq!(check(value), Ok(()), "{value:?}");
    }
}

#[track_caller]
fn rules_out(check: Check, values: &[(&str, &str)]) {
    for (value, why) in values {
        let NameError(message) = check(value).expect_err(value);
        assert!(message.starts_with("must ") && message.contains(why), "{value:?}: {message}");
    }
}

#[test]
fn ids() {
    takes(check_id, &["a", "7", "fraud", "Fraud_v2.1+gpu-x", "caf\u{e9}", "モデル", "модель", "९"]);
    takes(check_id, &[&"é".repeat(128)]);
    takes(check_namespace_id, &[&"n".repeat(128), &"モデル".repeat(9), &("é".repeat(42) + "abc")]);
    rules_out(
        check_namespace_id,
        &[(&"モデル".repeat(10), "at most 255 characters when it is percent-encoded, not 270")],
    );
    rules_out(
        check_id,
        &[
            ("", "empty"),
            (&"é".repeat(129), "at most 128 characters, not 129"),
            ("a\nb", "control characters, here U+000A"),
            ("a\u{85}", "control characters, here U+0085"),
            ("a/b", "contain '/'"),
            ("a:b", "contain ':'"),
            ("m@x", "contain '@'"),
            ("a%2Fb", "contain '%'"),
            ("a b", "contain ' '"),
            ("cafe\u{301}", "NFC: write \"é\" as U+00E9 at character 4"),
            ("\u{212b}", "NFC: write \"Å\" as U+00C5 at character 1"),
            ("x\u{301}", "contain '\\u{301}'"),
            ("a\u{202e}b", "contain '\\u{202e}'"),
            (".", "begin with a letter or digit"),
            ("..", "begin with a letter or digit"),
            ("-", "begin with a letter or digit"),
            ("+a", "begin with a letter or digit"),
        ],
    );
}

#[test]
fn version_ids_and_aliases() {
    takes(check_version_id, &["1.4.0", "20260126_103000", "v7", "latest"]);
    rules_out(check_version_id, &[("7", "all digits"), ("007", "all digits"), ("1 4", "contain ' '")]);
    takes(check_alias, &["champion", "v7", "Latest"]);
    rules_out(
        check_alias,
        &[
            ("latest", "not be \"latest\""),
            ("production", "itself"),
            ("staging", "itself"),
            ("7", "all digits"),
            ("@a", "'@'"),
        ],
    );
}

proptest! {
    #[test]
    fn accepted_ids_are_safe(value in prop_oneof![any::<String>(), "[a-zé\u{301}\u{323}/:@%\\x00 ._+-]{0,8}", "\\PC{1,8}"]) {
        if check_id(&value).is_ok() {
            prop_assert!(!value.contains(['/', ':', '@', '%']) && !value.contains(char::is_control));
            prop_assert_eq!(&value.nfc().collect::<String>(), &value);
            prop_assert_eq!(check_path(&value), Ok(()));
        }
    }

    #[test]
    fn canonically_equivalent_ids_are_one(value in "[a-zéüạ가각\u{301}\u{323}]{1,8}") {
        let (nfc, nfd) = (value.nfc().collect::<String>(), value.nfd().collect::<String>());
        for other in [&value, &nfd] {
            prop_assert!(*other == nfc || check_id(other).is_err());
        }
    }

}
