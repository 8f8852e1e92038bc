//! What files are, by their names.

use registry_proto::known::artifact_type;

/// What a file with such a path most likely is. Only its name counts, in whatever case; the first rule that fits decides.
///
/// | name | type |
/// |---|---|
/// | contains `confusion_matrix` | `confusion_matrix` |
/// | contains `feature_importance` | `feature_importance` |
/// | contains `predictions` | `predictions` |
/// | contains `schema` | `schema` |
/// | `checkpoint*`, `*.ckpt` | `checkpoint` |
/// | `metrics*.json` | `metrics` |
/// | `*.log` | `log` |
/// | `metadata.json`, `config*` | `config` |
/// | `model.*`, or the ending of a model format such as `.onnx`, `.pkl`, `.pt`, `.safetensors` | `model` |
/// | `*.yaml`, `*.yml`, `*.toml` | `config` |
/// | the ending of an image | `plot` |
/// | anything else | `other` |
pub fn artifact_type_of(path: &str) -> &'static str {
    const MODELS: [&str; 27] = [
        "bin",
        "bst",
        "cbm",
        "gguf",
        "h5",
        "jit",
        "joblib",
        "keras",
        "lgb",
        "mar",
        "mlmodel",
        "model",
        "nemo",
        "onnx",
        "ort",
        "pb",
        "pickle",
        "pkl",
        "pmml",
        "pt",
        "pte",
        "pth",
        "safetensors",
        "skops",
        "tflite",
        "torchscript",
        "ubj",
    ];
    const IMAGES: [&str; 7] = ["gif", "jpeg", "jpg", "pdf", "png", "svg", "webp"];

    let name = path.rsplit('/').next().unwrap_or(path).to_lowercase();
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    match ending {
        _ if name.contains("confusion_matrix") => artifact_type::CONFUSION_MATRIX,
        _ if name.contains("feature_importance") => artifact_type::FEATURE_IMPORTANCE,
        _ if name.contains("predictions") => artifact_type::PREDICTIONS,
        _ if name.contains("schema") => artifact_type::SCHEMA,
        _ if name.starts_with("checkpoint") => artifact_type::CHECKPOINT,
        "ckpt" => artifact_type::CHECKPOINT,
        "json" if name.starts_with("metrics") => artifact_type::METRICS,
        "log" => artifact_type::LOG,
        _ if name == "metadata.json" || name.starts_with("config") => artifact_type::CONFIG,
        _ if name.starts_with("model.") || MODELS.contains(&ending) => artifact_type::MODEL,
        "yaml" | "yml" | "toml" => artifact_type::CONFIG,
        _ if IMAGES.contains(&ending) => artifact_type::PLOT,
        _ => artifact_type::OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::artifact_type_of;
    use registry_proto::known::artifact_type::{
        CHECKPOINT, CONFIG, CONFUSION_MATRIX, FEATURE_IMPORTANCE, LOG, METRICS, MODEL, OTHER, PLOT, PREDICTIONS, SCHEMA,
    };

    #[test]
    fn types_are_guessed_from_names() {
        for (path, expected) in [
            ("model.onnx", MODEL),
            ("model.json", MODEL),
            ("model.yaml", MODEL),
            ("weights/encoder.SafeTensors", MODEL),
            ("sentiment.pkl", MODEL),
            ("booster.ubj", MODEL),
            ("silero_vad.jit", MODEL),
            ("lite/mobilenet.tflite", MODEL),
            ("llama-q4.gguf", MODEL),
            ("encoder.pth", MODEL),
            ("checkpoint-500.pt", CHECKPOINT),
            ("last.ckpt", CHECKPOINT),
            ("checkpoints/step.pt", MODEL),
            ("training.log", LOG),
            ("model.log", LOG),
            ("metrics.json", METRICS),
            ("metrics_validation.json", METRICS),
            ("metrics.csv", OTHER),
            ("plots/confusion_matrix.png", CONFUSION_MATRIX),
            ("feature_importance.csv", FEATURE_IMPORTANCE),
            ("test_predictions.parquet", PREDICTIONS),
            ("feature_schema.json", SCHEMA),
            ("config.json", CONFIG),
            ("params.toml", CONFIG),
            ("environment.yaml", CONFIG),
            ("metadata.json", CONFIG),
            ("residuals.png", PLOT),
            ("README", OTHER),
            (".hidden", OTHER),
            ("", OTHER),
        ] {
            assert_eq!(artifact_type_of(path), expected, "{path}");
        }
    }
}
