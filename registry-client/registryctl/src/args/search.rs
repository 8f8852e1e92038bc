//! `search`, `count` and `trend`.

use clap::Args as Group;
use clap::builder::NonEmptyStringValueParser;
use registry_client::{Name, pb};

use super::lists::Parent;
use super::values::at_least_one;
use super::{Shape, TableShape, one_of};
use crate::select::Select;

#[derive(Debug, Group)]
pub(crate) struct Search {
    /// Words: what is found has all of them, or words that begin with them.
    #[arg(required = true, value_name = "WORD")]
    pub(crate) words: Vec<String>,
    /// Only models, or only versions.
    #[arg(long, value_parser = one_of::<pb::SearchKind>(), ignore_case = true)]
    pub(crate) kind: Option<pb::SearchKind>,
    /// How many at most.
    #[arg(long, default_value_t = 20, value_parser = at_least_one)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) table: TableShape,
}

#[derive(Debug, Group)]
pub(crate) struct Count {
    /// Nothing or a namespace (its models, or the versions of all of them if an option is about versions), or a model (its versions).
    #[arg(value_name = "NAME", value_parser = |text: &str| Parent::read(text, None))]
    pub(crate) parent: Option<Parent>,
    /// By this value, for example `framework`, `stage`, `tags.region`, or of models `team`, `model_type`. Several are counted each by itself.
    #[arg(long = "by", required = true, value_name = "FIELD", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    pub(crate) by: Vec<String>,
    /// Count versions, also where models would be.
    #[arg(long)]
    pub(crate) versions: bool,
    #[command(flatten)]
    pub(crate) select: Select,
    /// How many values of each at most.
    #[arg(long, default_value_t = 20, value_parser = at_least_one)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) table: TableShape,
}

#[derive(Debug, Group)]
pub(crate) struct Trend {
    /// The model.
    pub(crate) model: Name,
    /// The metric, for example `validation.auc`.
    #[arg(value_name = "SPLIT.NAME")]
    pub(crate) metric: String,
    #[command(flatten)]
    pub(crate) select: Select,
    /// How many values at most, the newest ones.
    #[arg(long, default_value_t = 20, value_parser = at_least_one)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) shape: Shape,
}
