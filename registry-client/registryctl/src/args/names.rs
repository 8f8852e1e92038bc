//! Names as they are typed: which kind of them a command needs, and the namespace of those that name none.
//!
//! Every argument of the type [`Name`] is read here, also that of a command that knows nothing of it. If its value is called `VERSION`,
//! `MODEL` or `ARTIFACT` in the help (as by default that of a field `version` or `model`), it has to be one.

use std::any::TypeId;
use std::ffi::OsString;

use clap::{CommandFactory as _, FromArgMatches as _};
use registry_client::{InvalidName, Kind, Name};

use super::Args;
use super::lists::Parent;

/// Reads the command line. Short names are in the namespace of `--namespace`, or in `default_namespace`.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    default_namespace: Option<String>,
) -> Result<Args, clap::Error> {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let read = |namespace: Option<&str>| {
        Args::from_arg_matches(&command(namespace).try_get_matches_from(&arguments)?)
            .map(|args| Args { namespace: namespace.map(str::to_owned), ..args })
    };
    // Which namespace it is, only the command line itself tells.
    let namespace = Args::from_arg_matches(&command(None).try_get_matches_from(&arguments)?)?.namespace;
    read(namespace.or(default_namespace).as_deref())
}

/// The command line, with short names in a namespace.
pub(crate) fn command(namespace: Option<&str>) -> clap::Command {
    reading(Args::command(), namespace)
}

fn reading(command: clap::Command, namespace: Option<&str>) -> clap::Command {
    let argument = |argument: clap::Arg| {
        let own = namespace.map(str::to_owned);
        let is = |wanted: TypeId| argument.get_value_parser().type_id() == wanted;
        if is(TypeId::of::<Parent>()) {
            return argument.value_parser(move |text: &str| Parent::read(text, own.as_deref()));
        }
        if !is(TypeId::of::<Name>()) {
            return argument;
        }
        let wanted = match argument.get_value_names() {
            Some([name]) if name == "VERSION" => Some(Kind::Version),
            Some([name]) if name == "MODEL" => Some(Kind::Model),
            Some([name]) if name == "ARTIFACT" => Some(Kind::Artifact),
            _ => None,
        };
        argument.value_parser(move |text: &str| read(text, wanted, own.as_deref()))
    };
    command.mut_args(argument).mut_subcommands(|command| reading(command, namespace))
}

/// A namespace's id, also if it was given by its whole name.
pub(crate) fn namespace(text: &str) -> Result<String, &'static str> {
    match text.strip_prefix("namespaces/").unwrap_or(text) {
        id if id.is_empty() || id.contains(['/', '@']) => Err("not the name of a namespace, such as risk"),
        id => Ok(id.to_owned()),
    }
}

/// A name of the kind that is wanted, with its namespace.
pub(super) fn read(text: &str, wanted: Option<Kind>, namespace: Option<&str>) -> Result<Name, String> {
    let problem = |error: InvalidName| error.problem;
    let name: Name = text.parse().map_err(problem)?;
    let text = text.strip_prefix("models/").unwrap_or(text);
    let hint = match (wanted, name.kind()) {
        (Some(Kind::Version), Kind::Model) => {
            format!("this is a model: say which version, for example {text}@production or {text}/versions/7")
        }
        (Some(Kind::Artifact), Kind::Version) => {
            format!("this is a version: say which artifact, for example {text}/artifacts/model.onnx")
        }
        (Some(wanted), kind) if wanted != kind => format!("this names {}, and {} is needed", word(kind), word(wanted)),
        _ => {
            return match namespace {
                Some(namespace) if name.as_str().starts_with("models/") => {
                    format!("namespaces/{namespace}/{name}").parse().map_err(problem)
                }
                _ => Ok(name),
            };
        }
    };
    Err(hint)
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Namespace => "a namespace",
        Kind::Model => "a model",
        Kind::Version => "a version",
        Kind::Artifact => "an artifact",
        Kind::Event => "an event",
        Kind::Instance => "an instance",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Command;

    fn parsed(arguments: &[&str], default_namespace: Option<&str>) -> Result<Command, clap::Error> {
        let arguments = ["registryctl"].iter().chain(arguments).map(OsString::from);
        parse(arguments, default_namespace.map(str::to_owned)).map(|args| args.command)
    }

    #[test]
    fn short_names_are_in_the_namespace() {
        let name = |arguments: &[&str], default: Option<&str>| match parsed(arguments, default).unwrap() {
            Command::Get { name, .. } => name.to_string(),
            command => panic!("{command:?}"),
        };
        for (arguments, default, expected) in [
            (&["get", "fraud"][..], None, "models/fraud"),
            (&["get", "fraud", "-n", "risk"], None, "namespaces/risk/models/fraud"),
            (&["-n", "namespaces/risk", "get", "fraud"], None, "namespaces/risk/models/fraud"),
            (&["get", "models/fraud@production"], Some("risk"), "namespaces/risk/models/fraud@production"),
            (&["get", "fraud/versions/7", "-n", "a"], Some("b"), "namespaces/a/models/fraud/versions/7"),
            (&["get", "namespaces/x/models/fraud", "-n", "a"], None, "namespaces/x/models/fraud"),
            (&["get", "namespaces/x", "-n", "a"], None, "namespaces/x"),
            (&["get", "events/4-0", "-n", "a"], None, "events/4-0"),
        ] {
            assert_eq!(name(arguments, default), expected, "{arguments:?} {default:?}");
        }
        assert!(parsed(&["get", "fraud", "-n", "a/b"], None).is_err());
    }

    #[test]
    fn a_name_of_another_kind_is_explained() {
        for (arguments, hint) in [
            (
                &["pull", "fraud"][..],
                "this is a model: say which version, for example fraud@production or fraud/versions/7",
            ),
            (&["pull", "models/fraud"], "for example fraud@production"),
            (&["get", "fraud/99"], "did you mean the version fraud/versions/99"),
            (&["compare", "fraud", "fraud@latest"], "this is a model"),
            (&["publish", "out", "fraud@latest"], "this names a version, and a model is needed"),
            (&["promote", "fraud", "production"], "say which version"),
            (&["download", "fraud@live"], "say which artifact, for example fraud@live/artifacts/model.onnx"),
            (&["rollback", "namespaces/risk"], "this names a namespace, and a model is needed"),
        ] {
            let error = parsed(arguments, None).unwrap_err().to_string();
            assert!(error.contains(hint), "{arguments:?}: {error}");
        }
    }
}
