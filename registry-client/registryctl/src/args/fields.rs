//! Which fields a command prints.

use clap::Args as Group;
use clap::builder::NonEmptyStringValueParser;
use prost_types::FieldMask;

use crate::output;

/// Of a command that shows models, versions or artifacts.
#[derive(Debug, Clone, Default, Group)]
pub(crate) struct Fields {
    /// Only these fields: the columns of the table or, in JSON, its keys. For example `name,stage,tags.team,metrics.validation.auc`; in JSON
    /// an entry is printed in the field that it is in
    #[arg(long = "fields", value_name = "FIELDS", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    pub(crate) paths: Vec<String>,
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
