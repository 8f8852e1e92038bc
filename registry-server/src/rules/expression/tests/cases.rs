//! What matches.

use prost::Message as _;
use registry_proto::v1 as pb;

use super::super::{ARTIFACT, Expression, MODEL, NAMESPACE, Subject, VERSION, embedded};
use super::{tags, version};
use crate::stored::ModelRecord;

fn check(of: &Subject, message: &[u8], cases: &[(&str, bool)]) {
    for (text, expected) in cases {
        let expression = Expression::parse(text, of).unwrap_or_else(|fault| panic!("{text}: {fault}"));
        assert_eq!(expression.matches(message), *expected, "{text}");
    }
}

#[test]
fn of_versions() {
    check(
        &VERSION,
        &version(),
        &[
            // Fields and literals of all types.
            ("version.framework == \"onnx\"", true),
            ("'onnx' == version.framework", true),
            ("version.framework != 'onnx'", false),
            ("version.framework_version == ''", true),
            ("version.number == 7 && version.number >= 7 && version.number < 8 && version.number != 6", true),
            ("version.number == 7.0 && version.number < 7.5 && 6.9 < version.number", true),
            ("version.number > 9223372036854775807.0", false),
            ("version.number == 7u", true),
            ("version.purged", false),
            ("!version.purged && version.purged == false", true),
            ("version.description.size() == 14 && size(version.description) > 13", true),
            // Logic.
            ("version.number == 1 || version.framework == 'onnx'", true),
            ("version.number == 1 || version.number == 2 || version.number == 7", true),
            ("version.number == 7 && (version.number == 1 || !(version.framework == 'tensorflow'))", true),
            ("version.purged ? version.number == 1 : version.number == 7", true),
            ("!!version.purged", false),
            ("true", true),
            ("false", false),
            // Enums, by their short names.
            ("version.stage == \"PRODUCTION\"", true),
            ("\"STAGING\" == version.stage", false),
            ("version.stage != 'ARCHIVED'", true),
            ("version.stage in ['STAGING', 'PRODUCTION']", true),
            ("version.stage in ['STAGING']", false),
            ("version.state == 'READY' && has(version.stage)", true),
            ("version.state == 'UNSPECIFIED'", false),
            // Texts.
            ("version.name.contains('fraud') && version.name.startsWith('namespaces/risk/')", true),
            ("version.version_id.endsWith('.0') && !version.version_id.startsWith('2')", true),
            ("version.framework in ['sklearn', 'onnx']", true),
            ("version.framework < 'p' && version.framework > 'o'", true),
            ("version.description.contains('größer')", true),
            // Metrics.
            ("version.metrics[\"validation\"][\"auc\"] > 0.9", true),
            ("version.metrics['validation']['auc'] > 0.99", false),
            ("version.metrics.validation.auc > 0.9 && version.metrics.validation.values['auc'] > 0.9", true),
            ("version.metrics['validation']['auc'] > version.metrics['test']['auc']", true),
            ("version.metrics['validation']['a.b'] == 2", true),
            ("version.metrics['validation']['zero'] == 0", true),
            ("version.metrics['validation']['auc'] > 0", true),
            ("'auc' in version.metrics['validation'] && !('f1' in version.metrics['validation'])", true),
            ("'validation' in version.metrics && !('train' in version.metrics)", true),
            ("size(version.metrics) == 3 && size(version.metrics['none']) == 0", true),
            // What is missing has no verdict, negated or not.
            ("version.metrics['validation']['f1'] > 0.0", false),
            ("!(version.metrics['validation']['f1'] > 0.0)", false),
            ("version.metrics['validation']['f1'] != 0.5", false),
            ("version.metrics['train']['auc'] > 0.0", false),
            ("version.metrics['train']['auc'] > 0.0 || version.number == 7", true),
            ("version.number == 7 || version.metrics['train']['auc'] > 0.0", true),
            ("!(version.metrics['train']['auc'] > 0.0 && version.number == 1)", true),
            ("version.metrics['train']['auc'] > 0.0 && version.number == 7", false),
            ("version.metrics['train']['auc'] > 0.0 ? true : true", false),
            ("'auc' in version.metrics['train']", false),
            ("version.metrics['validation']['lost'] > 0.5", false),
            ("!(version.metrics['validation']['lost'] > 0.5)", false),
            ("version.metrics['validation']['lost'] == version.metrics['validation']['lost']", false),
            ("version.metrics['validation']['lost'] != 0.5", false),
            ("version.metrics['validation']['lost'] in [0.5]", false),
            ("'lost' in version.metrics['validation']", true),
            ("math.isNaN(version.metrics['validation']['lost'])", true),
            ("math.isNaN(version.metrics['validation']['auc'])", false),
            ("!math.isNaN(version.metrics['validation']['auc'])", true),
            ("!math.isNaN(version.metrics['train']['auc'])", false),
            ("math.isNaN(version.standardization_params.mean[1]) && math.isNaN(0.0 / 0.0)", true),
            ("math.isNaN(version.hyperparameters.max_depth) || math.isNaN(version.hyperparameters.solver)", false),
            ("version.tags['none'] == ''", false),
            ("version.withdraw_time > timestamp('2000-01-01T00:00:00Z')", false),
            ("version.withdraw_time < timestamp('2000-01-01T00:00:00Z')", false),
            ("version.environment.language == ''", false),
            // has()
            ("has(version.framework) && !has(version.framework_version)", true),
            ("has(version.create_time) && !has(version.withdraw_time)", true),
            ("has(version.tags) && has(version.tags.region) && !has(version.tags.none)", true),
            ("has(version.metrics.validation.auc) && !has(version.metrics.validation.f1)", true),
            ("!has(version.metrics.train.auc)", true),
            ("!has(version.environment.language) && !has(version.environment)", true),
            ("has(version.hyperparameters.solver) && has(version.hyperparameters.tree.leaves)", true),
            ("!has(version.hyperparameters.tree.depth) && !has(version.hyperparameters.solver.of)", true),
            // Tags.
            ("version.tags['region'] == 'eu' && version.tags.pci == \"yes\"", true),
            ("version.tags['empty'] == ''", true),
            ("'region' in version.tags && !('team' in version.tags)", true),
            ("version.tags['region'] in ['us', 'eu']", true),
            // Times and lengths of time.
            ("version.create_time > timestamp('2026-01-26T10:30:00Z')", true),
            ("version.create_time < timestamp('2026-01-26T11:30:01+01:00')", true),
            ("version.create_time == timestamp('2026-01-26T10:30:00.5Z')", true),
            ("version.create_time - duration('1h') < timestamp('2026-01-26T10:00:00Z')", true),
            ("timestamp('2026-01-27T10:30:00Z') - version.create_time < duration('24h')", true),
            ("duration('90m') == duration('1h30m') && duration('1h') + duration('30m') > duration('1h')", true),
            ("-duration('1h') < duration('0')", true),
            // Lists.
            ("'namespaces/risk/models/fraud/versions/6' in version.base_versions", true),
            ("size(version.base_versions) == 1 && version.features.size() == 2", true),
            ("version.features[1].name == 'age' && version.features[0].shape[1] == 3", true),
            ("-1 in version.features[0].shape && !(2 in version.features[0].shape)", true),
            ("size(version.features[0].shape) == 2 && size(version.standardization_params.mean) == 2", true),
            ("version.features[2].name == 'age'", false),
            ("version.features[-1].name == 'age'", false),
            ("version.standardization_params.mean[0] == 0.5 && 0.5 in version.standardization_params.mean", true),
            ("version.standardization_params.mean[1] == version.standardization_params.mean[1]", false),
            // JSON.
            ("version.hyperparameters['max_depth'] == 6 && version.hyperparameters.max_depth > 5.5", true),
            ("version.hyperparameters['solver'] == 'lbfgs' && version.hyperparameters.solver.startsWith('l')", true),
            ("version.hyperparameters.early && version.hyperparameters.early == true", true),
            ("version.hyperparameters.nothing == null", true),
            ("version.hyperparameters.solver == null", false),
            ("version.hyperparameters.solver == 6", false),
            ("version.hyperparameters.solver != 6", true),
            ("version.hyperparameters.solver > 6", false),
            ("version.hyperparameters.layers[1] == 32 && size(version.hyperparameters.layers) == 2", true),
            ("64 in version.hyperparameters.layers && 'leaves' in version.hyperparameters.tree", true),
            ("version.hyperparameters.tree.leaves * 2.0 == 62", true),
            ("version.hyperparameters.tree.leaves * 2 == 62 && 1 + version.hyperparameters.max_depth == 7.0", true),
            (
                "version.hyperparameters.max_depth - version.number == -1.0 && version.hyperparameters.max_depth / 4 > 1.4",
                true,
            ),
            ("version.hyperparameters.solver + 1 == 1.0", false),
            ("version.purged ? false : version.hyperparameters.early", true),
            ("(version.purged ? version.number : version.hyperparameters.max_depth) == 6", true),
            ("version.purged ? true : version.hyperparameters.solver", false),
            ("version.hyperparameters.solver", false),
            // Arithmetic.
            ("version.size_bytes / 1000 == 24 && version.size_bytes % 1000 == 242", true),
            ("version.size_bytes + 1 - 2 * 3 == 24237 && -version.number == -7", true),
            ("version.metrics.validation.auc - version.metrics.test.auc > 0.04", true),
            ("version.number / 0 == 0", false),
            ("!(version.number / 0 == 0)", false),
            ("version.number % 0 == 0 || true", true),
            ("9223372036854775807 + version.number > 0", false),
            ("1.0 / 0.0 > version.metrics.test.auc", true),
            ("0.0 / 0.0 == 0.0 / 0.0", false),
            // Comments and lines.
            ("version.number == 7 // the newest\n  && true", true),
        ],
    );
}

#[test]
fn of_what_is_empty() {
    check(
        &VERSION,
        &[],
        &[
            ("version.number == 0 && version.name == '' && !version.purged", true),
            ("version.stage == 'UNSPECIFIED' && !has(version.stage)", true),
            ("size(version.tags) == 0 && size(version.base_versions) == 0", true),
            ("version.create_time == version.create_time", false),
        ],
    );
    // What is malformed is read up to there.
    check(&VERSION, &[0xff; 9], &[("version.number == 0", true)]);
}

#[test]
fn of_other_kinds() {
    let model = pb::Model {
        name: "namespaces/risk/models/fx".to_owned(),
        team: "risk".to_owned(),
        version_count: 3,
        latest_version: "namespaces/risk/models/fx/versions/3".to_owned(),
        aliases: tags(&[("champion", "namespaces/risk/models/fx/versions/2")]),
        metric_directions: [("auc".to_owned(), pb::MetricDirection::HigherIsBetter.into())].into(),
        stages: vec![pb::StageSummary { stage: pb::Stage::Production.into(), version_count: 1, ..Default::default() }],
        ..Default::default()
    };
    let record = ModelRecord { model: Some(model), last_number: 9, ..Default::default() }.encode_to_vec();
    check(
        &MODEL,
        embedded(&record, 1),
        &[
            ("model.name.contains('fx') && model.team == 'risk'", true),
            ("has(model.aliases.champion) && model.aliases.champion.endsWith('/2')", true),
            ("model.metric_directions['auc'] == 'HIGHER_IS_BETTER'", true),
            ("model.stages[0].stage == 'PRODUCTION' && model.version_count == 3", true),
            ("!has(model.delete_time) && !has(model.policy)", true),
        ],
    );

    let artifact = pb::Artifact { path: "plots/roc.png".to_owned(), size_bytes: 2000, ..Default::default() };
    check(
        &ARTIFACT,
        &artifact.encode_to_vec(),
        &[("artifact.path.endsWith('.png') && artifact.size_bytes > 1000", true)],
    );

    let namespace = pb::Namespace { quota_bytes: Some(0), tags: tags(&[("cost", "x")]), ..Default::default() };
    let cases = [("has(resource.quota_bytes) && resource.quota_bytes == 0 && resource.tags.cost == 'x'", true)];
    check(&NAMESPACE, &namespace.encode_to_vec(), &cases);
    check(&NAMESPACE, &[], &[("resource.quota_bytes == 0", false)]);
}
