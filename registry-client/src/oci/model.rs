//! A version as the documents of a model, and back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};
use registry_common::paths;
use registry_proto::known::framework;
use registry_proto::resource::Resource as _;
use serde_json::{Map, Value, json};

use super::layout::{Descriptor, MANIFEST, MAX_DOCUMENT_BYTES, Manifest};
use super::media;
use crate::pull::place;
use crate::{Error, pb};

const CREATED: &str = "org.opencontainers.image.created";
const TITLE: &str = "org.opencontainers.image.title";
const FILE_PATH: &str = "org.cncf.model.filepath";
const NAME: &str = "org.modelregistry.version.name";
const VERSION: &str = "org.modelregistry.version+json";
const TYPE: &str = "org.modelregistry.artifact.type";
const MEDIA_TYPE: &str = "org.modelregistry.artifact.media-type";
const SUPPLEMENTARY: &str = "org.modelregistry.artifact.supplementary";
const EXECUTABLE: &str = "org.modelregistry.artifact.executable";

static VERSION_MESSAGE: LazyLock<Option<MessageDescriptor>> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(registry_proto::DESCRIPTORS).ok()?;
    pool.get_message_by_name("modelregistry.v1.Version")
});

/// The documents of a model.
#[derive(Debug)]
pub(super) struct Documents {
    pub(super) config: Vec<u8>,
    pub(super) manifest: Vec<u8>,
}

/// A model that was read.
#[derive(Debug, PartialEq)]
pub(super) struct Unpacked {
    /// What is known of it.
    pub(super) version: pb::Version,
    pub(super) layers: Vec<Layer>,
}

/// A file of a model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layer {
    pub(super) path: String,
    pub(super) artifact_type: String,
    /// Empty if nobody said.
    pub(super) media_type: String,
    pub(super) supplementary: bool,
    pub(super) executable: bool,
    pub(super) blob: Descriptor,
}

/// What a field of the manifest is not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) field: String,
    pub(super) problem: String,
}

impl Fault {
    fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

/// The documents of a version: the same bytes each time, as long as nothing of the version is changed.
pub(super) fn pack(version: &pb::Version, artifacts: &[pb::Artifact]) -> Result<Documents, Error> {
    let layers: Vec<_> = artifacts.iter().map(layer).collect();
    let mut descriptor = Map::new();
    let mut say = |key: &str, value: &str| {
        if !value.is_empty() {
            descriptor.insert(key.to_owned(), value.into());
        }
    };
    let created = version.create_time.map(|time| time.to_string()).unwrap_or_default();
    say("createdAt", &created);
    say("name", version.name.split('/').nth(3).unwrap_or_default());
    say(
        "version",
        match version.version_id.as_str() {
            "" => version.name.rsplit('/').next().unwrap_or_default(),
            id => id,
        },
    );
    say("description", &version.description);
    let mut technical = Map::new();
    if !version.framework.is_empty() {
        technical.insert("format".to_owned(), version.framework.clone().into());
    }
    let diff_ids: Vec<_> = layers.iter().map(|layer| &layer.digest).collect();
    let modelfs = json!({ "type": "layers", "diffIds": diff_ids });
    let config = json!({ "descriptor": descriptor, "config": technical, "modelfs": modelfs }).to_string().into_bytes();
    let annotations = [(CREATED, created), (NAME, version.name.clone()), (VERSION, to_json(version)?.to_string())];
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(MANIFEST.to_owned()),
        artifact_type: Some(media::MODEL.to_owned()),
        config: Descriptor::of(media::CONFIG, &config),
        layers,
        annotations: annotations.map(|(key, value)| (key.to_owned(), value)).into(),
    };
    let manifest = serde_json::to_vec(&manifest).map_err(|_| Error::Protocol("a version that is no JSON"))?;
    if manifest.len() as u64 > MAX_DOCUMENT_BYTES {
        let problem =
            format!("its manifest would have {} bytes, and at most {MAX_DOCUMENT_BYTES} are allowed", manifest.len());
        return Err(Error::InvalidOption { option: "version", value: version.name.clone(), problem });
    }
    Ok(Documents { config, manifest })
}

fn layer(artifact: &pb::Artifact) -> Descriptor {
    let mut annotations = BTreeMap::new();
    let mut say = |key: &str, value: &str| annotations.insert(key.to_owned(), value.to_owned());
    say(FILE_PATH, &artifact.path);
    // Other tools name files by this one.
    say(TITLE, &artifact.path);
    say(TYPE, &artifact.r#type);
    say(MEDIA_TYPE, &artifact.media_type);
    if artifact.supplementary {
        say(SUPPLEMENTARY, "true");
    }
    if artifact.executable {
        say(EXECUTABLE, "true");
    }
    Descriptor {
        media_type: media::layer(&artifact.r#type).to_owned(),
        artifact_type: None,
        digest: format!("sha256:{}", artifact.sha256),
        size: artifact.size_bytes.cast_unsigned(),
        annotations,
    }
}

/// The version that documents describe, also if another tool wrote them. Nothing in them is trusted.
pub(super) fn unpack(manifest: &Manifest, config: &Value) -> Result<Unpacked, Fault> {
    if manifest.layers.is_empty() {
        return Err(Fault::new("layers", "there are none"));
    }
    let mut seen = BTreeSet::new();
    let mut layers = Vec::new();
    for (i, blob) in manifest.layers.iter().enumerate() {
        let layer = file(blob).map_err(|fault| Fault { field: format!("layers[{i}].{}", fault.field), ..fault })?;
        if !seen.insert(layer.path.clone()) {
            return Err(Fault::new(format!("layers[{i}].annotations"), format!("{} is there twice", layer.path)));
        }
        layers.push(layer);
    }
    if let Some((file, below)) = paths::conflict(seen.iter().map(String::as_str)) {
        return Err(Fault::new("layers", format!("{file} is a file, and a folder of {below}")));
    }
    let version = match manifest.annotations.get(VERSION) {
        Some(json) => {
            let json = serde_json::from_str(json).map_err(|error| Fault::new(VERSION, error.to_string()));
            from_json(json?).map_err(|problem| Fault::new(VERSION, problem))?
        }
        None => from_json(foreign(config)).map_err(|problem| Fault::new("config", problem))?,
    };
    Ok(Unpacked { version, layers })
}

/// Whether a manifest says that it is of a model.
pub(super) fn check_type(manifest: &Manifest) -> Result<(), Fault> {
    let said = manifest.artifact_type.as_deref().unwrap_or(media::MODEL);
    if said != media::MODEL {
        return Err(Fault::new("artifactType", format!("is {said}, not {}", media::MODEL)));
    }
    if manifest.config.media_type != media::CONFIG {
        let said = &manifest.config.media_type;
        return Err(Fault::new("config.mediaType", format!("is {said}, not {}", media::CONFIG)));
    }
    Ok(())
}

fn file(blob: &Descriptor) -> Result<Layer, Fault> {
    let note = |key: &str| blob.annotations.get(key).map(String::as_str);
    let path = note(FILE_PATH).or_else(|| note(TITLE));
    let path = path.ok_or_else(|| Fault::new("annotations", format!("no {FILE_PATH}")))?;
    place(Path::new(""), path).map_err(|error| Fault::new("annotations", error.to_string()))?;
    paths::check(path).map_err(|problem| Fault::new("annotations", format!("the path {path:?} {problem}")))?;
    let likely = media::type_of(&blob.media_type, path)
        .map_err(|problem| Fault::new("mediaType", format!("{} {problem}", blob.media_type)))?;
    Ok(Layer {
        path: path.to_owned(),
        artifact_type: note(TYPE).filter(|said| !said.is_empty()).unwrap_or(likely).to_owned(),
        media_type: note(MEDIA_TYPE).unwrap_or_default().to_owned(),
        supplementary: note(SUPPLEMENTARY) == Some("true"),
        executable: note(EXECUTABLE) == Some("true"),
        blob: blob.clone(),
    })
}

/// What another tool's config says, as the JSON of a version: in fields of their own what has some, and all of it as it was.
fn foreign(config: &Value) -> Value {
    let (descriptor, technical) = (&config["descriptor"], &config["config"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    // An id can't be a number: that would be the version's own.
    let id = text(&descriptor["version"]);
    let id = if id.bytes().all(|byte| byte.is_ascii_digit()) { String::new() } else { id };
    let format = text(&technical["format"]).to_lowercase();
    let framework = framework::ALL.iter().find(|known| **known == format).copied().unwrap_or_default();
    json!({
        "versionId": id,
        "description": text(if descriptor["description"].is_string() { &descriptor["description"] } else { &descriptor["title"] }),
        "framework": framework,
        "additionalMetadata": { "modelpack": { "descriptor": descriptor, "config": technical } },
    })
}

/// What was said of a version when it was made, and since; not what the registry says of it. Its ancestors have names that mean
/// something else in another registry.
fn told(version: &pb::Version) -> pb::Version {
    pb::Version {
        version_id: version.version_id.clone(),
        source_uri: String::new(),
        base_versions: Vec::new(),
        ..version.given()
    }
}

/// With sorted keys.
fn to_json(version: &pb::Version) -> Result<Value, Error> {
    let damaged = Error::Protocol("the contract's descriptors are damaged");
    let Some(message) = VERSION_MESSAGE.clone() else { return Err(damaged) };
    let mut dynamic = DynamicMessage::new(message);
    let json = dynamic
        .transcode_from(&told(version))
        .ok()
        .and_then(|()| dynamic.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new()).ok());
    json.ok_or(damaged)
}

/// Fields that this client does not know are left out.
fn from_json(json: Value) -> Result<pb::Version, String> {
    let message = VERSION_MESSAGE.clone().ok_or("the contract's descriptors are damaged")?;
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let dynamic =
        DynamicMessage::deserialize_with_options(message, json, &options).map_err(|error| error.to_string())?;
    let version: pb::Version = dynamic.transcode_to().map_err(|error| error.to_string())?;
    Ok(told(&version))
}
