//! The aliases of a model.

use clap::Subcommand;
use registry_client::Name;

use super::{Arrival, IfMatch, TableShape};

#[derive(Debug, Subcommand)]
pub(crate) enum Alias {
    /// Point an alias at a version.
    Set {
        /// The model.
        model: Name,
        /// Without the `@`.
        alias: String,
        /// The version's number, its version id, or an alias with its `@`.
        version: String,
        #[command(flatten)]
        arrival: Arrival,
        #[command(flatten)]
        if_match: IfMatch,
    },
    /// Remove an alias.
    Delete {
        /// The model.
        model: Name,
        /// Without the `@`.
        alias: String,
        #[command(flatten)]
        if_match: IfMatch,
    },
    /// List the aliases of a model, those that are computed as well: latest, production and staging.
    #[command(visible_alias = "ls")]
    List {
        /// The model.
        model: Name,
        #[command(flatten)]
        table: TableShape,
    },
}
