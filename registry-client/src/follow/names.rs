//! The names that are followed, and what may change what they stand for.

use crate::known::event_type as of;
use crate::resource::Resource as _;
use crate::{Error, Kind, Name, pb};

/// Events after which a name may stand for another version, or people should know something of the version.
const TYPES: [&str; 13] = [
    of::VERSION_STAGE_TRANSITIONED,
    of::ALIAS_SET,
    of::ALIAS_DELETED,
    of::VERSION_CREATED,
    of::VERSION_FINALIZED,
    of::VERSION_DELETED,
    of::VERSION_UNDELETED,
    of::VERSION_PURGED,
    of::VERSION_WITHDRAWN,
    of::VERSION_REINSTATED,
    of::MODEL_DELETED,
    of::MODEL_UNDELETED,
    of::MODEL_PURGED,
];

/// A name that is followed, by its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ModelTarget {
    /// The whole name of the model.
    pub(super) model: String,
    /// What of the model: `@production`, `7`, `1.4.0`.
    pub(super) target: String,
}

/// What is followed.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// As they were given, completed.
    pub(super) all: Vec<String>,
    /// The models that they are of, by their whole names.
    models: Vec<String>,
}

impl Names {
    /// Refuses what names no version.
    pub(super) fn of(all: Vec<String>) -> Result<Self, Error> {
        let invalid =
            |value: &str, problem: String| Error::InvalidOption { option: "follow", value: value.to_owned(), problem };
        if all.is_empty() {
            return Err(invalid("", "names no version".to_owned()));
        }
        let mut models = Vec::new();
        for name in &all {
            let read: Name = name.parse().map_err(|error: crate::InvalidName| invalid(name, error.problem))?;
            if read.kind() != Kind::Version {
                let problem = "does not name a version: expected a name such as fraud@production".to_owned();
                return Err(invalid(name, problem));
            }
            models.push(model_of(read.as_str()));
        }
        models.sort_unstable();
        models.dedup();
        Ok(Self { all, models })
    }

    /// The names by their parts.
    pub(super) fn followed(&self) -> Vec<ModelTarget> {
        let of = |name: &String| ModelTarget { model: model_of(name), target: target_of(name) };
        self.all.iter().map(of).collect()
    }

    /// What to watch: the model, or all that has the models in it.
    pub(super) fn parent(&self) -> String {
        // Namespaces and models may be called "models" and "versions".
        let namespace = |model: &String| Some(model.rsplitn(3, '/').nth(2)?.to_owned());
        match &self.models[..] {
            [model] => model.clone(),
            models => {
                let mut namespaces: Vec<_> = models.iter().filter_map(namespace).collect();
                namespaces.dedup();
                // Everything, if they are of several.
                if namespaces.len() == 1 { namespaces.remove(0) } else { String::new() }
            }
        }
    }

    /// Which events to watch for.
    pub(super) fn types() -> [&'static str; 13] {
        TYPES
    }

    /// Whether a name may stand for something else after an event.
    pub(super) fn concerns(&self, event: &pb::Event) -> bool {
        let is_below = |model: &String| match event.resource_name.strip_prefix(model.as_str()) {
            Some(rest) => rest.is_empty() || rest.starts_with('/'),
            None => false,
        };
        // What can't be read may be anything.
        event.r#type == of::REVISION_UNREADABLE || self.models.iter().any(is_below)
    }
}

/// The whole name of the model that a version's name, which can be read, is of.
fn model_of(version: &str) -> String {
    let mut parts = version.split('/');
    let mut first = parts.next();
    let namespace = if first == Some("namespaces") { parts.next() } else { None };
    if namespace.is_some() {
        first = parts.next();
    }
    // A short name begins with the model itself.
    let model = if first == Some("models") { parts.next() } else { first }.unwrap_or_default();
    let model = model.split('@').next().unwrap_or_default();
    format!("namespaces/{}/models/{model}", namespace.unwrap_or("default"))
}

/// Which version of its model a name that can be read is of.
fn target_of(version: &str) -> String {
    let last = version.rsplit('/').next().unwrap_or(version);
    last.find('@').map_or(last, |at| &last[at..]).to_owned()
}

/// Whether an error says that the model itself is not there, which waiting for a promotion would not change.
pub(super) fn is_no_model(error: &Error) -> bool {
    let resource = error.status().and_then(|status| status.resource.as_ref());
    error.is_not_found() && resource.is_some_and(|resource| resource.resource_type == pb::Model::TYPE)
}

/// What people should know of the versions that a name stands for.
pub(super) fn notice(versions: &[pb::Version]) -> Option<String> {
    let of = |version: &pb::Version| {
        let what = match version {
            _ if version.purged => "was purged".to_owned(),
            _ if version.withdraw_time.is_some() => format!("was withdrawn: {}", version.withdraw_reason),
            _ if version.delete_time.is_some() => "was deleted".to_owned(),
            _ => return None,
        };
        Some(format!("{} {what}", version.name))
    };
    let notices: Vec<_> = versions.iter().filter_map(of).collect();
    (!notices.is_empty()).then(|| notices.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::complete_all;

    fn names(names: &[&str]) -> Names {
        Names::of(complete_all(names.iter().copied())).unwrap()
    }

    #[test]
    fn what_is_watched_has_all_that_is_followed() {
        for (followed, parent) in [
            (&["fraud@production"][..], "namespaces/default/models/fraud"),
            (&["fraud/versions/@live", "models/fraud@latest"], "namespaces/default/models/fraud"),
            (&["namespaces/risk/models/a@x", "namespaces/risk/models/b@x"], "namespaces/risk"),
            (&["a@x", "namespaces/default/models/b/versions/7"], "namespaces/default"),
            (&["a@x", "namespaces/risk/models/a@x"], ""),
            (&["namespaces/versions/models/versions/versions/7"], "namespaces/versions/models/versions"),
            (&["models/versions/versions/@live"], "namespaces/default/models/versions"),
            (&["namespaces/models/models/a@x", "namespaces/models/models/models@x"], "namespaces/models"),
        ] {
            assert_eq!(names(followed).parent(), parent, "{followed:?}");
        }
    }

    #[test]
    fn a_name_is_a_model_and_what_is_followed_of_it() {
        let names = names(&["fraud@production", "namespaces/risk/models/a/versions/@live", "fraud/versions/1.4.0"]);
        let followed = names.followed().into_iter().map(|one| (one.model, one.target)).collect::<Vec<_>>();
        let expected = [
            ("namespaces/default/models/fraud", "@production"),
            ("namespaces/risk/models/a", "@live"),
            ("namespaces/default/models/fraud", "1.4.0"),
        ];
        assert_eq!(followed, expected.map(|(model, target)| (model.to_owned(), target.to_owned())));
    }

    #[test]
    fn only_events_of_the_models_count() {
        let names = names(&["fraud@production", "rules@production"]);
        for (resource, expected) in [
            ("namespaces/default/models/fraud", true),
            ("namespaces/default/models/fraud/versions/7", true),
            ("namespaces/default/models/rules/versions/7", true),
            ("namespaces/default/models/fraud-2/versions/7", false),
            ("namespaces/risk/models/fraud/versions/7", false),
        ] {
            let event = pb::Event { resource_name: resource.to_owned(), ..Default::default() };
            assert_eq!(names.concerns(&event), expected, "{resource}");
        }
    }

    #[test]
    fn what_names_no_version_is_refused() {
        for wrong in [&[][..], &["fraud"], &["a@x", "namespaces/risk"], &["fraud@x/artifacts/a"], &["fraud/99"]] {
            let error = Names::of(complete_all(wrong.iter().copied())).unwrap_err();
            assert!(matches!(error, Error::InvalidOption { .. }), "{wrong:?}: {error}");
        }
    }
}
