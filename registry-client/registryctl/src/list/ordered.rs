//! The values that a list is ordered by, as columns of their own.

use prost::Message;

use crate::output::{Column, cell};

/// The values that an order names, without those that a table shows anyway.
pub(super) struct Ordered(Vec<String>);

impl Ordered {
    pub(super) fn by(order_by: Option<&str>, shown: &[&str]) -> Self {
        let path = |part: &str| {
            let part = part.trim();
            let path = part.strip_suffix(" desc").or_else(|| part.strip_suffix(" asc")).unwrap_or(part).trim();
            dotted(path)
        };
        let paths = order_by.unwrap_or_default().split(',').map(path);
        let mut wanted = Vec::new();
        for path in paths.filter(|path| !path.is_empty() && !shown.contains(&path.as_str())) {
            if !wanted.contains(&path) {
                wanted.push(path);
            }
        }
        Self(wanted)
    }

    /// The value that an order names first, if nothing has it: what has none comes last.
    pub(super) fn missing<M: Message>(&self, order_by: Option<&str>, name: &str, first: Option<&M>) -> Option<&str> {
        let path = self.0.first().filter(|path| path.contains('.'))?;
        let leads = dotted(order_by?.trim()).starts_with(path.as_str());
        (leads && cell(name, first?, path).is_ok_and(|value| value.is_empty())).then_some(path)
    }

    /// Puts their columns behind the first one.
    pub(super) fn columns(&self, columns: impl IntoIterator<Item = Column>) -> Vec<Column> {
        let mut columns: Vec<_> = columns.into_iter().collect();
        let head = |path: &String| Column::path(path.strip_prefix("metrics.").unwrap_or(path)).rank(0);
        columns.splice(1..1, self.0.iter().map(head));
        columns
    }

    /// Puts the values of a message behind its first cell.
    pub(super) fn cells(&self, name: &str, message: &impl Message, mut cells: Vec<String>) -> Vec<String> {
        let value = |path: &String| cell(name, message, path).unwrap_or_default();
        cells.splice(1..1, self.0.iter().map(value));
        cells
    }
}

/// A path with dots only: `metrics["validation"].auc` is `metrics.validation.auc`.
fn dotted(path: &str) -> String {
    let mut dotted = path.to_owned();
    for (bracket, dot) in [("[\"", "."), ("['", "."), ("\"]", ""), ("']", "")] {
        dotted = dotted.replace(bracket, dot);
    }
    dotted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_names_values() {
        for (order_by, expected) in [
            (None, &[][..]),
            (Some("metrics.validation.auc desc, create_time"), &["metrics.validation.auc"]),
            (
                Some(" metrics[\"validation\"]['auc']  asc ,tags.team desc, tags.team"),
                &["metrics.validation.auc", "tags.team"],
            ),
            (Some(","), &[]),
        ] {
            assert_eq!(Ordered::by(order_by, &["create_time"]).0, expected, "{order_by:?}");
        }
    }
}
