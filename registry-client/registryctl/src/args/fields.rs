//! Which fields a command prints.

use clap::Args as Group;
use prost_types::FieldMask;

use crate::output;

/// Of a command that shows models, versions or artifacts.
#[derive(Debug, Clone, Default, Group)]
pub(crate) struct Fields {
    /// Only these fields: the columns of the table or, in JSON, its keys. For example `name,stage,tags.team,metrics.validation.auc`; in JSON
    /// an entry is printed in the field that it is in
    #[arg(long = "fields", value_name = "FIELDS", value_delimiter = ',', value_parser = field)]
    pub(crate) paths: Vec<String>,
}

/// A path, perhaps behind the blank of a list as people write it.
fn field(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => Err("a field has no name"),
        path => Ok(path.to_owned()),
    }
}

impl Fields {
    pub(crate) fn is_given(&self) -> bool {
        !self.paths.is_empty()
    }

    /// What a request has in `read_mask`: these, and the name and some others, which the command needs.
    pub(crate) fn mask(&self, of: &str, others: &[&str]) -> Option<FieldMask> {
        output::mask(of, &self.paths, &[&["name"], others].concat())
    }
}
