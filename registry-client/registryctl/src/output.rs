//! What commands print: tables and lines for people, protobuf's JSON form for scripts. All of it goes through here, where each line
//! is made one in which everything is seen: what the registry says is data, and drives no terminal.
//!
//! A command prints a message with [`Output::message`], several as a table with [`Output::rows`], and what is no message of the
//! contract with [`Output::records`] or [`Output::value`]. On a terminal, tables fit its width and lines end between words; there are no
//! colours. Into a file or pipe everything is printed whole.

mod cells;
mod figures;
pub(crate) mod json;
mod resources;
mod table;
mod yaml;

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use clap::ValueEnum;
use futures::{StreamExt as _, TryStreamExt as _};
use prost::Message;
use registry_client::Error;
use registry_common::shown;
use serde::Serialize;
use terminal_size::{Height, Width, terminal_size_of};
use unicode_width::UnicodeWidthStr as _;

pub(crate) use self::cells::{cell, mask, paths};
pub(crate) use self::figures::{brief, bytes, count, double, last, minute, significant, time};
use self::json::Tree;
pub(crate) use self::resources::{artifact, better, event, model, some, version};
pub(crate) use self::table::Column;
use self::table::{Room, table, wrap};
use crate::Failure;

/// What is printed in place of text for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Only the whole names, one a line.
    Name,
    /// Tables with all their columns, whatever the width of the terminal.
    Wide,
    /// The contract's messages in protobuf's JSON form, one a line: the same as --json.
    Json,
    /// The same as YAML, a document each.
    Yaml,
}

/// Lines of text: a break within one of them is escaped when it is printed.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    lines: Vec<String>,
    /// How far they are indented where they go on after the terminal's width.
    hang: usize,
}

impl Lines {
    pub(crate) fn hanging(self, hang: usize) -> Self {
        Self { hang, ..self }
    }
}

impl From<String> for Lines {
    fn from(line: String) -> Self {
        vec![line].into()
    }
}

impl From<Vec<String>> for Lines {
    fn from(lines: Vec<String>) -> Self {
        Self { lines, hang: 2 }
    }
}

/// How to print.
#[derive(Debug)]
pub(crate) struct Output {
    /// JSON, in place of text.
    pub(crate) json: bool,
    format: Option<Format>,
    headers: bool,
    /// The only values of messages to print; empty: those that the command shows.
    paths: Vec<String>,
    /// The terminal's, if there is one.
    width: Option<usize>,
    /// How many messages could not be printed.
    unprinted: AtomicUsize,
    /// A document of YAML was printed.
    begun: AtomicBool,
}

impl Output {
    pub(crate) fn new(format: Option<Format>, headers: bool) -> Self {
        Self {
            json: format == Some(Format::Json),
            format,
            headers,
            paths: Vec::new(),
            width: width(terminal_size_of(std::io::stdout())),
            unprinted: AtomicUsize::new(0),
            begun: AtomicBool::new(false),
        }
    }

    /// Prints no more of messages than these values; none: what the command shows.
    pub(crate) fn only(self, paths: Vec<String>) -> Self {
        Self { paths, ..self }
    }

    /// Whether text for people is printed.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self.format, None | Some(Format::Wide))
    }

    /// Whether only names are printed.
    pub(crate) fn is_names(&self) -> bool {
        self.format == Some(Format::Name)
    }

    /// Prints a message of the contract as one line of JSON, or what `text` makes of it.
    pub(crate) fn message<M: Message, L: Into<Lines>>(
        &self,
        name: &str,
        message: &M,
        text: impl FnOnce(&M) -> L,
    ) -> Result<(), Failure> {
        if self.messages(name, std::slice::from_ref(message))? {
            return Ok(());
        }
        if self.paths.is_empty() {
            return self.lines(text(message));
        }
        let values = self.paths.iter().map(|path| Ok((path.as_str(), self::text(&cell(name, message, path)?))));
        self.lines(fields(values.collect::<Result<_, Failure>>()?))
    }

    /// Prints rows under a head, or in JSON each message in a line. Of the columns, those that are [names](Column) are enough; where
    /// there is no room for all of them, the last ones go first.
    pub(crate) fn rows<M: Message, C: Clone + Into<Column>>(
        &self,
        name: &str,
        messages: &[M],
        columns: &[C],
        row: impl Fn(&M) -> Vec<String>,
    ) -> Result<(), Failure> {
        if self.messages(name, messages)? {
            return Ok(());
        }
        if self.paths.is_empty() {
            return self.table(columns, messages.iter().map(row).collect());
        }
        let columns: Vec<_> = self.paths.iter().map(|path| Column::path(path).stays()).collect();
        let row = |message: &M| self.paths.iter().map(|path| cell(name, message, path)).collect();
        self.table(&columns, messages.iter().map(row).collect::<Result<_, Failure>>()?)
    }

    /// The same with what is no message of the contract: `name` is what `-o name` says of it.
    pub(crate) fn records<R: Serialize, C: Clone + Into<Column>>(
        &self,
        records: &[R],
        name: impl Fn(&R) -> String,
        columns: &[C],
        row: impl Fn(&R) -> Vec<String>,
    ) -> Result<(), Failure> {
        match self.format {
            Some(Format::Json) => records.iter().try_for_each(|record| self.value(record)),
            Some(Format::Yaml) => records.iter().try_for_each(|record| {
                let json = serde_json::to_value(record)?;
                self.document(&Tree::from(json))
            }),
            Some(Format::Name) => records.iter().try_for_each(|record| self.line(&name(record))),
            Some(Format::Wide) | None => self.table(columns, records.iter().map(row).collect()),
        }
    }

    /// Prints what has the `names` and is a message with more to it.
    pub(crate) fn tree<L: Into<Lines>>(
        &self,
        names: &[String],
        tree: impl FnOnce() -> Result<Tree, Failure>,
        text: impl FnOnce() -> L,
    ) -> Result<(), Failure> {
        match self.format {
            Some(Format::Json) => self.value(&tree()?),
            Some(Format::Yaml) => self.document(&tree()?),
            Some(Format::Name) => names.iter().try_for_each(|name| self.line(name)),
            Some(Format::Wide) | None => self.lines(text()),
        }
    }

    /// Prints the messages in the format that was asked for; false if that is text.
    fn messages<M: Message>(&self, name: &str, messages: &[M]) -> Result<bool, Failure> {
        match self.format {
            Some(Format::Json) => {
                for tree in self.trees(name, messages) {
                    self.value(&tree)?;
                }
            }
            Some(Format::Yaml) => self.trees(name, messages).iter().try_for_each(|tree| self.document(tree))?,
            Some(Format::Name) => {
                messages.iter().try_for_each(|message| self.line(&json::name_of(name, message)))?;
            }
            Some(Format::Wide) | None => return Ok(false),
        }
        Ok(true)
    }

    /// Prints a table of text.
    pub(crate) fn table<C: Clone + Into<Column>>(&self, columns: &[C], rows: Vec<Vec<String>>) -> Result<(), Failure> {
        let columns: Vec<Column> = columns.iter().map(|column| column.clone().into()).collect();
        table(&columns, &rows, self.room()).iter().try_for_each(|line| print(line))
    }

    /// The lines of a table of text, unless there is no room for all of its columns.
    pub(crate) fn whole_table(&self, columns: &[Column], rows: &[Vec<String>]) -> Option<Vec<String>> {
        let lines = table(columns, rows, Room { wide: true, ..self.room() });
        let fits = |line: &String| self.width.is_none_or(|width| line.width() <= width);
        (self.room().wide || lines.iter().all(fits)).then_some(lines)
    }

    fn room(&self) -> Room {
        Room { width: self.width, wide: self.format == Some(Format::Wide), headers: self.headers }
    }

    /// Prints a line.
    pub(crate) fn line(&self, text: &str) -> Result<(), Failure> {
        self.lines(text.to_owned())
    }

    /// Prints lines.
    pub(crate) fn lines(&self, lines: impl Into<Lines>) -> Result<(), Failure> {
        let Lines { lines, hang } = lines.into();
        lines.iter().try_for_each(|line| {
            let line = shown::line(line.trim_end());
            match self.width {
                Some(width) => wrap(&line, width, hang).iter().try_for_each(|line| print(line)),
                None => print(&line),
            }
        })
    }

    /// Prints a text of our own, line breaks and all.
    #[expect(clippy::unused_self, reason = "all that is printed goes through an output")]
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        text.lines().try_for_each(print)
    }

    /// Prints as JSON what is no message of the contract.
    #[expect(clippy::unused_self, reason = "all that is printed goes through an output")]
    pub(crate) fn value(&self, value: &impl Serialize) -> Result<(), Failure> {
        print(&json::value(value)?)
    }

    /// Prints a document of YAML.
    fn document(&self, tree: &Tree) -> Result<(), Failure> {
        if self.begun.swap(true, Ordering::Relaxed) {
            print("---")?;
        }
        yaml::lines(tree).iter().try_for_each(|line| print(line))
    }

    /// The messages as JSON. One that JSON can't say does not keep the others from being printed: which one it is is said at once, and
    /// [`finish`](Self::finish) fails.
    fn trees<M: Message>(&self, name: &str, messages: &[M]) -> Vec<Tree> {
        let mut trees = Vec::with_capacity(messages.len());
        for message in messages {
            let tree = json::tree(name, message).and_then(|mut tree| {
                if !self.paths.is_empty() {
                    let fields: Vec<_> = self.paths.iter().map(|path| path.split('.').next().unwrap_or(path)).collect();
                    tree.keep(name, &fields)?;
                }
                Ok(tree)
            });
            match tree {
                Ok(tree) => trees.push(tree),
                Err(error) => {
                    self.unprinted.fetch_add(1, Ordering::Relaxed);
                    note(&format!("{}: can't be printed as JSON: {error}", json::name_of(name, message)));
                }
            }
        }
        trees
    }

    /// Fails if not everything could be printed.
    pub(crate) fn finish(&self) -> Result<(), Failure> {
        match self.unprinted.load(Ordering::Relaxed) {
            0 => Ok(()),
            1 => Err("1 answer is missing above: it can't be printed as JSON".into()),
            count => Err(format!("{count} answers are missing above: they can't be printed as JSON").into()),
        }
    }
}

/// How many characters a line has; `None` if it goes to no terminal, or to one that does not know.
fn width(size: Option<(Width, Height)>) -> Option<usize> {
    size.map(|(Width(width), _)| width.into())
}

/// Prints a line as it is.
fn print(line: &str) -> Result<(), Failure> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// Says something beside the output, on standard error.
pub(crate) fn note(text: &str) {
    let width = width(terminal_size_of(std::io::stderr())).unwrap_or(usize::MAX);
    for line in shown::lines(&format!("registryctl: {text}")).lines().flat_map(|line| wrap(line, width, 2)) {
        // Where nobody listens, nobody can be told.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

/// How long to ask a page to be for so many of a list, and one more that tells that it goes on.
pub(crate) fn page_size(limit: usize) -> i32 {
    i32::try_from(limit.saturating_add(1).min(1000)).unwrap_or(1000)
}

/// Says that a list goes on behind its limit.
pub(crate) fn note_cut(which: &str, limit: usize) {
    note(&format!("these are the {which} {limit}, and there are more: see --limit"));
}

/// At most so many of a list; if it goes on behind them, that is said.
pub(crate) async fn first<T>(
    list: impl futures::Stream<Item = Result<T, Error>>,
    limit: usize,
    which: &str,
) -> Result<Vec<T>, Error> {
    let mut found: Vec<_> = list.take(limit.saturating_add(1)).try_collect().await?;
    if found.len() > limit {
        found.truncate(limit);
        note_cut(which, limit);
    }
    Ok(found)
}

/// Fields under each other, those that are empty left out.
pub(crate) fn fields(fields: Vec<(&str, Lines)>) -> Lines {
    let shown: Vec<_> =
        fields.into_iter().filter(|(_, value)| value.lines.iter().any(|line| !line.is_empty())).collect();
    let width = shown.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = shown.iter().flat_map(|(name, value)| {
        let names = std::iter::once(*name).chain(std::iter::repeat(""));
        names.zip(&value.lines).map(|(name, line)| format!("{name:width$}  {line}"))
    });
    Lines::from(lines.collect::<Vec<_>>()).hanging(width + 2)
}

/// A text that may have several lines.
pub(crate) fn text(text: &str) -> Lines {
    text.lines().map(|line| line.replace('\t', "    ")).collect::<Vec<_>>().into()
}

/// Names and values, one a line.
pub(crate) fn pairs<K: std::fmt::Display, V: std::fmt::Display>(pairs: impl IntoIterator<Item = (K, V)>) -> Lines {
    pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().into()
}

#[cfg(test)]
mod tests;
