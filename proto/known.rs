//! The well-known values of the fields that are open sets, and the types of events.

/// Declares a module of values, each a constant, and the list of all of them.
macro_rules! known {
    ($list:ident: $(#[$doc:meta])* $module:ident { $($name:ident = $value:literal: $what:literal,)+ }) => {
        $(#[$doc])*
        pub mod $module {
            $(
                #[doc = concat!("`", $value, "`: ", $what)]
                pub const $name: &str = $value;
            )+
            /// All of them.
            pub const $list: &[&str] = &[$($name),+];
        }
    };
}

known! {
    ALL:
    /// What a model was made with: `Version.framework`.
    framework {
        SKLEARN = "sklearn": "scikit-learn.",
        TENSORFLOW = "tensorflow": "TensorFlow.",
        PYTORCH = "pytorch": "PyTorch.",
        XGBOOST = "xgboost": "XGBoost.",
        LIGHTGBM = "lightgbm": "LightGBM.",
        CATBOOST = "catboost": "CatBoost.",
        ONNX = "onnx": "the Open Neural Network Exchange format.",
        JAX = "jax": "JAX.",
        KERAS = "keras": "Keras.",
        HUGGINGFACE = "huggingface": "the libraries of Hugging Face.",
        TFLITE = "tflite": "TensorFlow Lite (LiteRT).",
        OPENVINO = "openvino": "OpenVINO.",
        SPACY = "spacy": "spaCy.",
        STATSMODELS = "statsmodels": "statsmodels.",
        PROPHET = "prophet": "Prophet.",
        SPARK = "spark": "Spark MLlib.",
        GGUF = "gguf": "the GGUF format of llama.cpp.",
        CUSTOM = "custom": "code of one's own.",
    }
}

known! {
    ALL:
    /// What a model does: `Model.model_type`.
    model_type {
        CLASSIFICATION = "classification": "tells to which of several classes something belongs.",
        REGRESSION = "regression": "tells a number.",
        FORECASTING = "forecasting": "tells future values.",
        REINFORCEMENT = "reinforcement": "acts, and learns by reward.",
        ANOMALY_DETECTION = "anomaly_detection": "finds what is out of the ordinary.",
        TIME_SERIES = "time_series": "describes values along time.",
        LLM = "llm": "a large language model.",
        EMBEDDING = "embedding": "makes vectors that lie close for what is alike.",
        RANKING = "ranking": "puts things into an order.",
        VISION = "vision": "reads images or video.",
        OTHER = "other": "anything else.",
    }
}

known! {
    ALL:
    /// What a file is: `Artifact.type`.
    artifact_type {
        MODEL = "model": "the model itself.",
        CHECKPOINT = "checkpoint": "a state of the training.",
        LOG = "log": "what a program wrote while it ran; may be added to a READY version.",
        METRICS = "metrics": "measured values.",
        PLOT = "plot": "a picture for people; may be added to a READY version.",
        CONFUSION_MATRIX = "confusion_matrix": "which classes were taken for which; may be added to a READY version.",
        FEATURE_IMPORTANCE = "feature_importance": "how much each feature contributes.",
        PREDICTIONS = "predictions": "what the model said about some data.",
        CONFIG = "config": "settings.",
        SCHEMA = "schema": "the shape of the data.",
        OTHER = "other": "anything else.",
    }
}

mod own {
    known! {
        OWN:
        /// What happens to one kind of resource only, or to none.
        event_types {
            MODEL_PURGED = "model.purged": "a deleted model is gone for good, and its name is free.",
            VERSION_FINALIZED = "version.finalized": "a version turned READY or FAILED.",
            VERSION_PURGED = "version.purged": "the artifacts of a deleted version are gone for good.",
            VERSION_WITHDRAWN = "version.withdrawn": "a version is not to be used any more.",
            VERSION_REINSTATED = "version.reinstated": "a version that was withdrawn may be used again.",
            VERSION_STAGE_TRANSITIONED = "version.stage_transitioned": "a version moved to a stage.",
            VERSION_GATES_OVERRIDDEN = "version.gates_overridden": "a version was promoted although gates keep it out.",
            ALIAS_SET = "alias.set": "an alias points at a version.",
            ALIAS_DELETED = "alias.deleted": "an alias was removed.",
            APPROVAL_REQUESTED = "approval.requested": "approvals of a promotion or a move of an alias are asked for.",
            APPROVAL_APPROVED = "approval.approved": "somebody approved.",
            VERSION_CHECK_REPORTED = "version.check_reported": "somebody outside reports what they found out about a version.",
            APPROVAL_REJECTED = "approval.rejected": "somebody rejected, for good.",
            APPROVAL_WITHDRAWN = "approval.withdrawn": "whoever asked took it back.",
            APPROVAL_COMMITTED = "approval.committed": "what was approved is done.",
            INSTANCE_CREATED = "instance.created": "a process reports that it runs a model.",
            INSTANCE_UPDATED = "instance.updated": "an instance reports that what it runs, or is to run, has changed.",
            INSTANCE_EXPIRED = "instance.expired": "an instance was not heard of for too long, and is removed.",
            SWEEP_STARTED = "sweep.started": "chunks that no artifact lists are about to be removed.",
            SWEEP_ENDED = "sweep.ended": "these chunks are removed.",
            SWEEP_GIVEN_UP = "sweep.given_up": "these chunks may be removed at any time: whoever stores one uses a new name.",
            ACCESS_DENIED = "access.denied": "somebody tried what they may not.",
            TOKEN_REVOKED = "token.revoked": "a token does not let anybody in any more.",
            WEBHOOK_SECRET_ROTATED = "webhook.secret_rotated": "a webhook got a new secret.",
            WEBHOOK_REPLAYED = "webhook.replayed": "a webhook goes on at another place of the log.",
            WEBHOOK_DISABLED = "webhook.disabled": "nothing is delivered to a webhook any more.",
            WEBHOOK_TEST = "webhook.test": "a webhook is tested; not in the log.",
            ENCRYPTION_KEY_CREATED = "encryption_key.created": "a namespace got the key of its artifacts.",
            ENCRYPTION_KEY_ROTATED = "encryption_key.rotated": "this key is under another master key.",
            AUDIT_KEY_CREATED = "audit_key.created": "the registry made the key that it signs checkpoints of its log with.",
            SUBSCRIPTION_MOVED = "subscription.moved": "a subscription goes on elsewhere in the log.",
            REQUEST_UNCHANGED = "request.unchanged": "a request with a request id had nothing to change.",
            REQUEST_FORGOTTEN = "request.forgotten": "the request ids of old revisions are forgotten.",
            REVISION_TOMBSTONED = "revision.tombstoned": "a revision whose events can't be read got a tombstone.",
            REVISION_UNREADABLE = "revision.unreadable": "a revision whose events can't be read; not in the log.",
            RESOURCE_SNAPSHOT = "resource.snapshot": "a resource as it stands when a watch begins; not in the log.",
        }
    }
}

/// What happened: `Event.type`.
pub mod event_type {
    pub use super::own::event_types::*;

    // What all kinds have in common, derived from the contract.
    include!(concat!(env!("OUT_DIR"), "/event_types.rs"));

    /// All of them.
    pub fn all() -> impl Iterator<Item = &'static str> {
        [STANDARD, OWN].into_iter().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_lists_every_value() {
        for (values, proto) in [
            (framework::ALL, include_str!("modelregistry/v1/versions.proto")),
            (model_type::ALL, include_str!("modelregistry/v1/models.proto")),
            (artifact_type::ALL, include_str!("modelregistry/v1/artifacts.proto")),
        ] {
            for value in values {
                assert!(proto.contains(&format!("`{value}`")), "{value}");
            }
        }
        let events = include_str!("modelregistry/v1/events.proto");
        for value in event_type::OWN {
            assert!(events.contains(&format!("`{value}`")), "{value}");
        }
    }

    #[test]
    fn every_value_may_be_written() {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        for value in [framework::ALL, model_type::ALL, artifact_type::ALL].concat().into_iter().chain(event_type::all())
        {
            let first = value.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
            assert!(first && value.len() <= 64 && value.chars().all(inner), "{value}");
        }
    }
}
