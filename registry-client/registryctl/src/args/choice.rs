//! Which events a subscription or a webhook gets.

use clap::Args;
use registry_client::Name;

/// Which events it gets, and what it is for.
#[derive(Debug, Args)]
pub(crate) struct Choice {
    /// Only what happens to this namespace, model or version (by its number), and all below it.
    #[arg(long = "of", value_name = "NAME")]
    pub(crate) parent: Option<Name>,
    /// Only events of this type, or of all types of a kind as in `version.*`; may be given several times.
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) types: Vec<String>,
    /// Only events that meet this condition in CEL over `event`; empty for none.
    #[arg(long, value_name = "CONDITION", allow_hyphen_values = true)]
    pub(crate) filter: Option<String>,
    /// What it is for; empty for nothing.
    #[arg(long)]
    pub(crate) description: Option<String>,
}

impl Choice {
    /// The fields that were given.
    pub(crate) fn given(&self) -> Vec<&'static str> {
        let Self { parent, types, filter, description } = self;
        let given = [
            ("parent", parent.is_some()),
            ("types", !types.is_empty()),
            ("filter", filter.is_some()),
            ("description", description.is_some()),
        ];
        given.into_iter().filter_map(|(field, given)| given.then_some(field)).collect()
    }

    /// The parent's name; empty if none was given.
    pub(crate) fn parent(&self) -> String {
        self.parent.clone().map(Into::into).unwrap_or_default()
    }
}
