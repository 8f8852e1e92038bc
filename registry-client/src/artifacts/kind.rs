//! What files are, by their names.

use crate::pb::ArtifactType;

/// What a file with such a path most likely is. Only its name counts, in whatever case; the first rule that fits decides.
///
/// | name | type |
/// |---|---|
/// | contains `confusion_matrix` | `CONFUSION_MATRIX` |
/// | contains `feature_importance` | `FEATURE_IMPORTANCE` |
/// | contains `predictions` | `PREDICTIONS` |
/// | contains `schema` | `SCHEMA` |
/// | `checkpoint*`, `*.ckpt` | `CHECKPOINT` |
/// | `metrics*.json` | `METRICS` |
/// | `*.log` | `LOG` |
/// | `metadata.json`, `config*` | `CONFIG` |
/// | `model.*`, or the ending of a model format such as `.onnx`, `.pkl`, `.pt`, `.safetensors` | `MODEL` |
/// | `*.yaml`, `*.yml`, `*.toml` | `CONFIG` |
/// | the ending of an image | `PLOT` |
/// | anything else | `OTHER` |
pub fn artifact_type_of(path: &str) -> ArtifactType {
    const MODELS: [&str; 20] = [
        "bin",
        "bst",
        "cbm",
        "gguf",
        "h5",
        "joblib",
        "keras",
        "lgb",
        "mlmodel",
        "model",
        "onnx",
        "pb",
        "pickle",
        "pkl",
        "pmml",
        "pt",
        "pth",
        "safetensors",
        "tflite",
        "ubj",
    ];
    const IMAGES: [&str; 7] = ["gif", "jpeg", "jpg", "pdf", "png", "svg", "webp"];

    let name = path.rsplit('/').next().unwrap_or(path).to_lowercase();
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    match ending {
        _ if name.contains("confusion_matrix") => ArtifactType::ConfusionMatrix,
        _ if name.contains("feature_importance") => ArtifactType::FeatureImportance,
        _ if name.contains("predictions") => ArtifactType::Predictions,
        _ if name.contains("schema") => ArtifactType::Schema,
        _ if name.starts_with("checkpoint") => ArtifactType::Checkpoint,
        "ckpt" => ArtifactType::Checkpoint,
        "json" if name.starts_with("metrics") => ArtifactType::Metrics,
        "log" => ArtifactType::Log,
        _ if name == "metadata.json" || name.starts_with("config") => ArtifactType::Config,
        _ if name.starts_with("model.") || MODELS.contains(&ending) => ArtifactType::Model,
        "yaml" | "yml" | "toml" => ArtifactType::Config,
        _ if IMAGES.contains(&ending) => ArtifactType::Plot,
        _ => ArtifactType::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::artifact_type_of;
    use crate::pb::ArtifactType::{
        Checkpoint, Config, ConfusionMatrix, FeatureImportance, Log, Metrics, Model, Other, Plot, Predictions, Schema,
    };

    #[test]
    fn types_are_guessed_from_names() {
        for (path, expected) in [
            ("model.onnx", Model),
            ("model.json", Model),
            ("model.yaml", Model),
            ("weights/encoder.SafeTensors", Model),
            ("sentiment.pkl", Model),
            ("booster.ubj", Model),
            ("checkpoint-500.pt", Checkpoint),
            ("last.ckpt", Checkpoint),
            ("checkpoints/step.pt", Model),
            ("training.log", Log),
            ("model.log", Log),
            ("metrics.json", Metrics),
            ("metrics_validation.json", Metrics),
            ("metrics.csv", Other),
            ("plots/confusion_matrix.png", ConfusionMatrix),
            ("feature_importance.csv", FeatureImportance),
            ("test_predictions.parquet", Predictions),
            ("feature_schema.json", Schema),
            ("config.json", Config),
            ("params.toml", Config),
            ("environment.yaml", Config),
            ("metadata.json", Config),
            ("residuals.png", Plot),
            ("README", Other),
            (".hidden", Other),
            ("", Other),
        ] {
            assert_eq!(artifact_type_of(path), expected, "{path}");
        }
    }
}
