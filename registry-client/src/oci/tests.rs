//! Documents of models, without a registry. What the files of a layout do is tested with one.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::export::{check_reference, default_reference};
use super::layout::{Descriptor, Layout, Manifest};
use super::media;
use super::model::{Fault, Unpacked, check_type, pack, unpack};
use crate::Error;
use registry_proto::known::artifact_type;

use crate::pb;

const TYPES: [&str; 11] = [
    artifact_type::MODEL,
    artifact_type::CHECKPOINT,
    artifact_type::LOG,
    artifact_type::METRICS,
    artifact_type::PLOT,
    artifact_type::CONFUSION_MATRIX,
    artifact_type::FEATURE_IMPORTANCE,
    artifact_type::PREDICTIONS,
    artifact_type::CONFIG,
    artifact_type::SCHEMA,
    artifact_type::OTHER,
];

fn artifact(path: &str, artifact_type: &str) -> pb::Artifact {
    pb::Artifact {
        path: path.to_owned(),
        r#type: artifact_type.into(),
        media_type: "text/plain".to_owned(),
        size_bytes: 5,
        sha256: "5".repeat(64),
        ..Default::default()
    }
}

fn version() -> pb::Version {
    pb::Version {
        name: "namespaces/default/models/fraud/versions/7".to_owned(),
        number: 7,
        create_time: Some(prost_types::Timestamp { seconds: 1_795_000_000, nanos: 0 }),
        state: pb::VersionState::Ready.into(),
        ..Default::default()
    }
}

fn packed(version: &pb::Version, artifacts: &[pb::Artifact]) -> (Manifest, Value) {
    let documents = pack(version, artifacts).unwrap();
    (serde_json::from_slice(&documents.manifest).unwrap(), serde_json::from_slice(&documents.config).unwrap())
}

#[test]
fn each_artifact_type_has_a_layer() {
    let expected =
        ["weight", "weight", "doc", "doc", "doc", "doc", "doc", "dataset", "weight.config", "weight.config", "doc"];
    for (artifact_type, kind) in TYPES.into_iter().zip(expected) {
        assert_eq!(media::layer(artifact_type), format!("application/vnd.cncf.model.{kind}.v1.raw"));
        // Whatever its name suggests, it comes back as what it was.
        for path in ["model.onnx", "notes"] {
            let (manifest, config) = packed(&version(), &[artifact(path, artifact_type)]);
            let layers = unpack(&manifest, &config).unwrap().layers;
            assert_eq!((layers[0].artifact_type.as_str(), layers[0].path.as_str()), (artifact_type, path));
            assert_eq!(layers[0].media_type, "text/plain");
        }
    }
}

#[test]
fn layers_of_other_tools_are_what_their_media_type_and_name_say() {
    for (kind, path, expected) in [
        ("weight", "model.safetensors", artifact_type::MODEL),
        ("weight", "checkpoint-5.pt", artifact_type::CHECKPOINT),
        ("weight", "README", artifact_type::MODEL),
        ("weight.config", "tokenizer.json", artifact_type::CONFIG),
        ("weight.config", "feature_schema.json", artifact_type::SCHEMA),
        ("weight.config", "model.bin", artifact_type::CONFIG),
        ("doc", "README.md", artifact_type::OTHER),
        ("doc", "loss.png", artifact_type::PLOT),
        ("doc", "model.bin", artifact_type::OTHER),
        ("code", "train.py", artifact_type::OTHER),
        ("dataset", "test_predictions.csv", artifact_type::PREDICTIONS),
        ("dataset", "train.csv", artifact_type::OTHER),
    ] {
        let found = media::type_of(&format!("application/vnd.cncf.model.{kind}.v1.raw"), path);
        assert_eq!(found, Ok(expected), "{kind} {path}");
    }
    for (media_type, problem) in [
        ("application/vnd.cncf.model.weight.v1.tar", "archive"),
        ("application/vnd.cncf.model.weight.v1.tar+gzip", "archive"),
        ("application/vnd.oci.image.layer.v1.tar+zstd", "archive"),
        ("application/vnd.cncf.model.weight.v2.raw", "no layer"),
        ("text/plain", "no layer"),
        ("", "no layer"),
    ] {
        assert!(media::type_of(media_type, "a").unwrap_err().contains(problem), "{media_type}");
    }
}

#[test]
fn documents_are_as_the_specification_has_them() {
    let version = pb::Version {
        version_id: "1.4.0".to_owned(),
        description: "better".to_owned(),
        framework: "xgboost".to_owned(),
        ..version()
    };
    let (manifest, config) = packed(&version, &[artifact("model.ubj", artifact_type::MODEL)]);
    let digest = format!("sha256:{}", "5".repeat(64));
    let time = "2026-11-18T11:06:40Z";
    assert_eq!(
        config,
        json!({
            "descriptor": { "createdAt": time, "name": "fraud", "version": "1.4.0", "description": "better" },
            "config": { "format": "xgboost" },
            "modelfs": { "type": "layers", "diffIds": [digest] },
        })
    );
    let config = &manifest.config;
    assert_eq!(
        serde_json::to_value(&manifest).unwrap(),
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.cncf.model.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.cncf.model.config.v1+json",
                "digest": config.digest,
                "size": config.size,
            },
            "layers": [{
                "mediaType": "application/vnd.cncf.model.weight.v1.raw",
                "digest": digest,
                "size": 5,
                "annotations": {
                    "org.cncf.model.filepath": "model.ubj",
                    "org.opencontainers.image.title": "model.ubj",
                    "org.modelregistry.artifact.type": "model",
                    "org.modelregistry.artifact.media-type": "text/plain",
                },
            }],
            "annotations": {
                "org.opencontainers.image.created": time,
                "org.modelregistry.version.name": version.name,
                "org.modelregistry.version+json":
                    r#"{"description":"better","framework":"xgboost","versionId":"1.4.0"}"#,
            },
        })
    );
}

#[test]
fn a_manifest_that_no_registry_takes_is_not_made() {
    let version = pb::Version { description: "x".repeat(4 << 20), ..version() };
    let error = pack(&version, &[artifact("a", artifact_type::MODEL)]).unwrap_err();
    assert!(matches!(error, Error::InvalidOption { option: "version", .. }), "{error:?}");
}

#[test]
fn what_another_tool_says_of_a_model_is_kept() {
    let (mut manifest, _) = packed(&version(), &[artifact("model.gguf", artifact_type::MODEL)]);
    manifest.annotations.clear();
    let config = json!({
        "descriptor": { "name": "xyz-3-8B", "version": "3.1", "title": "XYZ", "licenses": ["Apache-2.0"] },
        "config": { "format": "pytorch", "paramSize": "8b", "capabilities": { "reasoning": true } },
        "modelfs": { "type": "layers", "diffIds": [] },
    });
    let Unpacked { version, .. } = unpack(&manifest, &config).unwrap();
    assert_eq!((version.version_id.as_str(), version.description.as_str()), ("3.1", "XYZ"));
    assert_eq!(version.framework, "pytorch");
    assert_eq!(version.additional_metadata.unwrap().fields.into_keys().collect::<Vec<_>>(), ["modelpack"]);

    let strange = json!({ "descriptor": { "version": "7" }, "config": { "format": "ggml" } });
    let Unpacked { version, .. } = unpack(&manifest, &strange).unwrap();
    assert_eq!((version.version_id.as_str(), version.framework.as_str()), ("", ""));
    assert!(unpack(&manifest, &Value::Null).is_ok());
}

#[test]
fn fields_at_fault_are_named() {
    type Damage = fn(&mut Manifest);
    let path = |manifest: &mut Manifest, path: &str| {
        manifest.layers[1].annotations.insert("org.cncf.model.filepath".to_owned(), path.to_owned());
    };
    let cases: [(Damage, &str); 6] = [
        (|manifest| manifest.layers.clear(), "layers"),
        (|manifest| manifest.layers[1].annotations.clear(), "layers[1].annotations"),
        (|manifest| manifest.layers[1].annotations = manifest.layers[0].annotations.clone(), "layers[1].annotations"),
        (|manifest| manifest.layers[1].media_type.push_str(".tar"), "layers[1].mediaType"),
        (
            |manifest| drop(manifest.annotations.insert("org.modelregistry.version+json".to_owned(), "{".to_owned())),
            "org.modelregistry.version+json",
        ),
        (
            |manifest| {
                let json = r#"{"metrics": 5}"#.to_owned();
                manifest.annotations.insert("org.modelregistry.version+json".to_owned(), json);
            },
            "org.modelregistry.version+json",
        ),
    ];
    let whole = packed(&version(), &[artifact("a", artifact_type::MODEL), artifact("b", artifact_type::LOG)]);
    for (damage, expected) in cases {
        let (mut manifest, config) = whole.clone();
        damage(&mut manifest);
        assert_eq!(unpack(&manifest, &config).unwrap_err().field, expected);
    }
    for wrong in
        ["../a", "/etc/passwd", "a/../../b", "C:a", "a\\b", "", ".", "a\0", ".model-registry.json", "cafe\u{301}"]
    {
        let (mut manifest, config) = whole.clone();
        path(&mut manifest, wrong);
        assert_eq!(unpack(&manifest, &config).unwrap_err().field, "layers[1].annotations", "{wrong}");
    }
    // No folder could hold both.
    let (mut manifest, config) = whole.clone();
    path(&mut manifest, "a/part-1");
    let Fault { field, problem } = unpack(&manifest, &config).unwrap_err();
    assert_eq!((field.as_str(), problem.as_str()), ("layers", "a is a file, and a folder of a/part-1"));
}

#[test]
fn only_models_are_read() {
    let (manifest, _) = packed(&version(), &[artifact("a", artifact_type::MODEL)]);
    assert_eq!(check_type(&manifest), Ok(()));
    let unsaid = Manifest { artifact_type: None, ..manifest.clone() };
    assert_eq!(check_type(&unsaid), Ok(()), "the config says it");
    let field = |manifest: &Manifest| check_type(manifest).map_err(|Fault { field, .. }| field);
    let other = Manifest { artifact_type: Some("application/spdx+json".to_owned()), ..manifest.clone() };
    assert_eq!(field(&other), Err("artifactType".to_owned()));
    let config =
        Descriptor { media_type: "application/vnd.oci.image.config.v1+json".to_owned(), ..manifest.config.clone() };
    assert_eq!(field(&Manifest { config, ..manifest }), Err("config.mediaType".to_owned()));
}

#[test]
fn references() {
    assert_eq!(default_reference("namespaces/default/models/fraud/versions/7"), "fraud-7");
    assert_eq!(default_reference("namespaces/risk/models/fraud/versions/7"), "risk/fraud-7");
    // Not that of the model `risk-fraud` in the default namespace.
    assert_eq!(default_reference("namespaces/default/models/risk-fraud/versions/7"), "risk-fraud-7");
    for right in ["v1", "1.4.0", "fraud-7", "team/fraud:7", "a--b", "latest@1_0+x"] {
        assert!(check_reference(right).is_ok(), "{right}");
    }
    for wrong in ["", "-", "a-", "-a", "a..b", "a b", "ä", "a//b", "a---b"] {
        assert!(check_reference(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn exports_at_the_same_time_name_all_their_models() {
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("layout");
    std::thread::scope(|scope| {
        for i in 0..16 {
            let layout = &layout;
            scope.spawn(move || {
                let layout = Layout::open_or_create(layout).unwrap();
                layout.tag(Descriptor::of("text/plain", &[i]), &format!("v{i}")).unwrap();
            });
        }
    });
    let index: Value = serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 16);
}

fn json_value() -> impl Strategy<Value = prost_types::Value> {
    use prost_types::value::Kind;
    let leaf = prop_oneof![
        Just(Kind::NullValue(0)),
        any::<bool>().prop_map(Kind::BoolValue),
        finite().prop_map(Kind::NumberValue),
        any::<String>().prop_map(Kind::StringValue),
    ];
    let value = |kind| prost_types::Value { kind: Some(kind) };
    leaf.prop_map(value).prop_recursive(3, 16, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|values| Kind::ListValue(prost_types::ListValue { values })),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|fields| Kind::StructValue(prost_types::Struct { fields })),
        ]
        .prop_map(value)
    })
}

fn finite() -> prop::num::f64::Any {
    use prop::num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO
}

prop_compose! {
    fn any_version()(
        version_id in any::<String>(),
        description in any::<String>(),
        framework in any::<String>(),
        metrics in prop::collection::btree_map(
            any::<String>(),
            prop::collection::btree_map(any::<String>(), finite() | prop::num::f64::INFINITE, 0..4),
            0..3,
        ),
        fields in prop::collection::btree_map(any::<String>(), json_value(), 0..4),
        features in prop::collection::vec((any::<String>(), prop::collection::vec(any::<i64>(), 0..3)), 0..3),
        tags in prop::collection::btree_map(any::<String>(), any::<String>(), 0..4),
        mean in prop::collection::vec(finite(), 0..4),
        rows in any::<i64>(),
        seconds in 0..250_000_000_000_i64,
        nanos in 0..1_000_000_000,
    ) -> pb::Version {
        let feature = |(name, shape)| pb::Field { name, dtype: "f".to_owned(), shape };
        let features: Vec<_> = features.into_iter().map(feature).collect();
        let metrics = metrics.into_iter().map(|(split, values)| (split, pb::MetricSet { values }));
        pb::Version {
            version_id,
            description,
            framework,
            metrics: metrics.collect(),
            hyperparameters: Some(prost_types::Struct { fields: fields.clone() }),
            additional_metadata: Some(prost_types::Struct { fields }),
            signature: Some(pb::Signature { inputs: features.clone(), outputs: Vec::new() }),
            features,
            tags,
            standardization_params: Some(pb::StandardizationParams { scale: mean.clone(), mean }),
            datasets: vec![pb::DatasetReference { rows, ..Default::default() }],
            training_time: Some(prost_types::Timestamp { seconds, nanos }),
            ..Default::default()
        }
    }
}

proptest! {
    #[test]
    fn a_version_comes_back_as_it_was(told in any_version(), etag in any::<String>(), stage in 0..4) {
        // What the registry says of it is not part of it.
        let said = pb::Version { etag, stage, base_versions: vec!["another".to_owned()], ..version() };
        let version = pb::Version {
            name: said.name, state: said.state, etag: said.etag, stage: said.stage, base_versions: said.base_versions, ..told.clone()
        };
        let artifacts = [artifact("a", artifact_type::MODEL), artifact("b/c", artifact_type::PLOT)];
        let (manifest, config) = packed(&version, &artifacts);
        prop_assert_eq!(unpack(&manifest, &config).unwrap().version, told);
        let (first, again) = (pack(&version, &artifacts).unwrap(), pack(&version, &artifacts).unwrap());
        prop_assert_eq!((first.manifest, first.config), (again.manifest, again.config));
    }

    #[test]
    fn nothing_in_a_manifest_makes_unpacking_panic_or_leave_the_folder(path in "\\PC*", json in "\\PC*", media_type in "\\PC*") {
        let (mut manifest, config) = packed(&version(), &[artifact("a", artifact_type::MODEL)]);
        manifest.annotations.insert("org.modelregistry.version+json".to_owned(), json);
        manifest.layers[0].media_type = media_type;
        let _ = unpack(&manifest, &config);
        manifest.annotations.clear();
        manifest.layers[0].media_type = media::layer(artifact_type::MODEL).to_owned();
        manifest.layers[0].annotations.insert("org.cncf.model.filepath".to_owned(), path);
        if let Ok(Unpacked { layers, .. }) = unpack(&manifest, &config) {
            let parts: Vec<_> = std::path::Path::new(&layers[0].path).components().collect();
            prop_assert!(parts.iter().all(|part| matches!(part, std::path::Component::Normal(_))));
        }
    }
}
