//! What MLflow says of a model: the file `MLmodel` of the folder that it made, and what the model runs on.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use chrono::NaiveDateTime;
use registry_client::{known, pb};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use crate::numbers;
use crate::values::{structure, timestamp};

/// More than MLflow writes.
const MAX_BYTES: u64 = 4 << 20;
/// The longest type of a column that the registry keeps.
const MAX_TYPE: usize = 256;

/// Flavors, what the registry calls them, and where they say their version. Of several, the first counts.
const FLAVORS: &[(&str, &str, &str)] = &[
    ("sklearn", known::framework::SKLEARN, "sklearn_version"),
    ("xgboost", known::framework::XGBOOST, "xgb_version"),
    ("lightgbm", known::framework::LIGHTGBM, "lgb_version"),
    ("catboost", known::framework::CATBOOST, "catboost_version"),
    ("pytorch", known::framework::PYTORCH, "pytorch_version"),
    ("keras", known::framework::KERAS, "keras_version"),
    ("tensorflow", known::framework::TENSORFLOW, "tensorflow_version"),
    ("transformers", known::framework::HUGGINGFACE, "transformers_version"),
    ("sentence_transformers", known::framework::HUGGINGFACE, "sentence_transformers_version"),
    ("spark", known::framework::SPARK, "pyspark_version"),
    ("onnx", known::framework::ONNX, "onnx_version"),
];

/// The file, as far as it is used. MLflow writes YAML 1.1, where a run id such as `627e8` is a text: so it has to be asked for one.
#[derive(Debug, Deserialize)]
struct MlModel {
    #[serde(default)]
    flavors: BTreeMap<String, Map<String, Json>>,
    run_id: Option<String>,
    model_id: Option<String>,
    model_uuid: Option<String>,
    mlflow_version: Option<String>,
    utc_time_created: Option<String>,
    signature: Option<Signature>,
    metadata: Option<Json>,
}

/// Each is JSON, as text.
#[derive(Debug, Deserialize)]
struct Signature {
    inputs: Option<String>,
    outputs: Option<String>,
    params: Option<String>,
}

/// What the folder's `MLmodel` says, if there is one. Blocks.
pub(crate) fn read(folder: &Path) -> Result<Option<pb::Version>, String> {
    let Some(text) = text(folder, "MLmodel")? else { return Ok(None) };
    let model: MlModel = yaml_serde::from_str(&text).map_err(|error| error.to_string())?;
    let (framework, framework_version) = framework(&model.flavors);
    let signature = model.signature.as_ref();
    let fields = |text: Option<&String>| text.map_or_else(|| Ok(Vec::new()), |text| fields(text));
    let (inputs, outputs) = (
        fields(signature.and_then(|signature| signature.inputs.as_ref()))?,
        fields(signature.and_then(|signature| signature.outputs.as_ref()))?,
    );
    let params = signature.and_then(|signature| signature.params.as_deref());
    let params = params.map(numbers::read).transpose().map_err(|error| format!("signature.params: {error}"))?;
    let created = model.utc_time_created.as_deref();
    let created = created.and_then(|text| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").ok());
    let kept = json!({
        "run_id": model.run_id,
        "model_id": model.model_id,
        "model_uuid": model.model_uuid,
        "mlflow_version": model.mlflow_version,
        "params": params,
        "metadata": model.metadata,
    });
    let Json::Object(mut kept) = kept else { return Ok(None) };
    kept.retain(|_, value| !value.is_null());
    let mlflow = Map::from_iter([("mlflow".to_owned(), Json::Object(kept))]);
    Ok(Some(pb::Version {
        framework,
        framework_version,
        signature: Some(pb::Signature { inputs, outputs })
            .filter(|signature| !signature.inputs.is_empty() || !signature.outputs.is_empty()),
        environment: environment(folder, &model.flavors)?,
        training_time: created.map(|time| timestamp(time.and_utc())),
        additional_metadata: Some(structure(mlflow)),
        ..Default::default()
    }))
}

/// A file of the folder, if it is there.
fn text(folder: &Path, name: &str) -> Result<Option<String>, String> {
    let file = folder.join(name);
    match fs::metadata(&file) {
        Ok(there) if there.is_file() && there.len() <= MAX_BYTES => {
            fs::read_to_string(&file).map(Some).map_err(|error| format!("{name}: {error}"))
        }
        Ok(_) => Err(format!("{name}: is no file of at most {MAX_BYTES} bytes")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{name}: {error}")),
    }
}

/// What the model was made with. One that only Python code can load was made with something of its own.
fn framework(flavors: &BTreeMap<String, Map<String, Json>>) -> (String, String) {
    let known = FLAVORS.iter().find_map(|(flavor, framework, key)| Some((*framework, *key, flavors.get(*flavor)?)));
    if let Some((framework, key, flavor)) = known {
        return (framework.to_owned(), flavor.get(key).map(said).unwrap_or_default());
    }
    match flavors.iter().find(|(name, _)| *name != "python_function") {
        Some((name, flavor)) => {
            (name.to_ascii_lowercase(), flavor.get(&format!("{name}_version")).map(said).unwrap_or_default())
        }
        None if flavors.is_empty() => (String::new(), String::new()),
        None => (known::framework::CUSTOM.to_owned(), String::new()),
    }
}

/// A scalar as text.
fn said(json: &Json) -> String {
    json.as_str().map_or_else(|| json.to_string(), str::to_owned)
}

/// The columns and tensors of a schema. Those without a name go by their position.
fn fields(text: &str) -> Result<Vec<pb::Field>, String> {
    let specs: Vec<Map<String, Json>> =
        serde_json::from_str(text).map_err(|error| format!("the signature is not as MLflow writes it: {error}"))?;
    let field = |(i, spec): (usize, Map<String, Json>)| {
        let name = spec.get("name").and_then(Json::as_str).map_or_else(|| i.to_string(), str::to_owned);
        match spec.get("tensor-spec") {
            Some(tensor) => pb::Field {
                name,
                dtype: tensor["dtype"].as_str().unwrap_or_default().to_owned(),
                shape: tensor["shape"].as_array().into_iter().flatten().filter_map(Json::as_i64).collect(),
            },
            None => pb::Field { name, dtype: dtype(&Json::Object(spec)), shape: Vec::new() },
        }
    };
    Ok(specs.into_iter().enumerate().map(field).collect())
}

/// The type of a column: `double`, `array<string>`, `map<long>`, `object`.
fn dtype(spec: &Json) -> String {
    let kind = spec["type"].as_str().unwrap_or_default();
    let dtype = match kind {
        "array" => format!("array<{}>", dtype(&spec["items"])),
        "map" => format!("map<{}>", dtype(&spec["values"])),
        kind => kind.to_owned(),
    };
    if dtype.chars().count() > MAX_TYPE { kind.to_owned() } else { dtype }
}

/// Python, and the packages whose version is certain: those of `requirements.txt`, or of `conda.yaml`.
fn environment(
    folder: &Path,
    flavors: &BTreeMap<String, Map<String, Json>>,
) -> Result<Option<pb::Environment>, String> {
    let yaml = |name: &str| -> Result<Json, String> {
        let Some(text) = text(folder, name)? else { return Ok(Json::Null) };
        yaml_serde::from_str(&text).map_err(|error| format!("{name}: {error}"))
    };
    let conda = yaml("conda.yaml")?;
    let dependencies = || conda["dependencies"].as_array().into_iter().flatten();
    let of_flavor = flavors.get("python_function").and_then(|flavor| flavor.get("python_version")).map(said);
    let of_conda = dependencies().filter_map(Json::as_str).find_map(|line| line.strip_prefix("python="));
    let language_version = match of_flavor {
        Some(version) => Some(version),
        None => match &yaml("python_env.yaml")?["python"] {
            Json::Null => of_conda.map(str::to_owned),
            version => Some(said(version)),
        },
    };
    let packages: BTreeMap<_, _> = match text(folder, "requirements.txt")? {
        Some(text) => text.lines().filter_map(pinned).collect(),
        None => {
            let by_pip = dependencies().filter_map(|of| of["pip"].as_array()).flatten().filter_map(Json::as_str);
            by_pip.filter_map(pinned).collect()
        }
    };
    if language_version.is_none() && packages.is_empty() {
        return Ok(None);
    }
    let language_version = language_version.unwrap_or_default();
    Ok(Some(pb::Environment { language: "python".to_owned(), language_version, packages }))
}

/// The package of a line of requirements, if it has to have one version.
fn pinned(line: &str) -> Option<(String, String)> {
    let line = line.split([';', '#']).next()?.trim();
    let (name, version) = line.split_once("==")?;
    let name = name.split('[').next()?.trim();
    let version = version.trim_start_matches('=').trim();
    let is_one = !version.contains([',', '*', ' ']) && !name.contains([' ', '<', '>', '!', '~', ',']);
    is_one.then(|| (name.to_owned(), version.to_owned()))
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_reflect::{DynamicMessage, SerializeOptions};

    use super::*;
    use crate::output::json::descriptor;

    fn read(name: &str) -> Json {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/mlflow").join(name);
        let version = super::read(&folder).unwrap().unwrap();
        let version = DynamicMessage::decode(descriptor("Version").unwrap(), version.encode_to_vec().as_slice());
        version.unwrap().serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new()).unwrap()
    }

    #[test]
    fn what_mlflow_3_writes_for_sklearn() {
        let expected = json!({
            "framework": "sklearn",
            "frameworkVersion": "1.9.0",
            "signature": {
                "inputs": [
                    {"name": "amount", "dtype": "double"},
                    {"name": "age", "dtype": "long"},
                    {"name": "tags", "dtype": "array<string>"},
                ],
                "outputs": [{"name": "0", "dtype": "int64", "shape": ["-1"]}],
            },
            "environment": {
                "language": "python",
                "languageVersion": "3.13.11",
                "packages": {"mlflow": "3.15.1", "numpy": "2.4.1", "scikit-learn": "1.9.0", "skops": "0.14.0"},
            },
            "trainingTime": "2026-08-04T11:00:46.002863Z",
            "additionalMetadata": {"mlflow": {
                "run_id": "62764840538531490104812350062775e8",
                "model_id": "m-0a24c301ab8840bc9af390a84b80d1ca",
                "model_uuid": "m-0a24c301ab8840bc9af390a84b80d1ca",
                "mlflow_version": "3.15.1",
                "params": [{"name": "threshold", "default": 0.5, "shape": null, "type": "double"}],
            }},
        });
        assert_eq!(read("sklearn"), expected);
    }

    #[test]
    fn what_mlflow_2_writes_for_xgboost() {
        let version = read("xgboost");
        assert_eq!((&version["framework"], &version["frameworkVersion"]), (&json!("xgboost"), &json!("2.0.3")));
        let tensor = json!({"name": "0", "dtype": "float32", "shape": ["-1", "30"]});
        assert_eq!(version["signature"], json!({"inputs": [tensor], "outputs": [{"name": "0", "dtype": "long"}]}));
        let packages = json!({"mlflow": "2.14.2", "scikit-learn": "1.5.1", "xgboost": "2.0.3"});
        assert_eq!(version["environment"]["packages"], packages, "of conda.yaml");
        assert_eq!(version["additionalMetadata"]["mlflow"]["metadata"], json!({"owner": "risk"}));
    }

    #[test]
    fn what_mlflow_writes_for_code_of_ones_own() {
        let version = read("pyfunc");
        assert_eq!(version["framework"], "custom");
        assert_eq!((version.get("frameworkVersion"), version.get("signature")), (None, None));
        assert_eq!(version["environment"], json!({"language": "python", "languageVersion": "3.10.12"}));
    }

    #[test]
    fn packages_of_one_version_are_taken() {
        for (line, expected) in [
            ("numpy==1.26.4", Some(("numpy", "1.26.4"))),
            ("pandas[parquet]==2.2 ; python_version > '3.9'  # why", Some(("pandas", "2.2"))),
            ("numpy>=1.26", None),
            ("numpy==1.*", None),
            ("numpy>=1,==1.2", None),
            ("-r requirements.txt", None),
            ("", None),
        ] {
            let expected = expected.map(|(name, version)| (name.to_owned(), version.to_owned()));
            assert_eq!(pinned(line), expected, "{line}");
        }
    }

    #[test]
    fn what_is_no_mlmodel_is_said() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(super::read(folder.path()), Ok(None));
        for text in ["flavors: [", "- a", "signature: {inputs: 'no json'}"] {
            fs::write(folder.path().join("MLmodel"), text).unwrap();
            assert!(super::read(folder.path()).is_err(), "{text}");
        }
    }
}
