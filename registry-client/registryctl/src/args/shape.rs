//! How a command prints what it was asked for.

use clap::Args as Arguments;

use super::{Alias, Args, Command, List};
use crate::access::{Access, Binding, Can, Group, Role, Token};
use crate::approvals::Approval;
use crate::namespaces::Namespace;
use crate::output::Format;
use crate::policies::Policy;
use crate::webhooks::Webhook;

/// Of a command that shows resources or events.
#[derive(Debug, Clone, Copy, Arguments)]
pub(crate) struct Shape {
    /// Print something else than text that fits the terminal
    #[arg(short = 'o', long = "output", value_name = "FORMAT", conflicts_with = "json")]
    format: Option<Format>,
}

/// Of a command that prints a table.
#[derive(Debug, Clone, Copy, Arguments)]
pub(crate) struct TableShape {
    #[command(flatten)]
    shape: Shape,
    /// Leave the head of the table out
    #[arg(long)]
    no_headers: bool,
}

impl Args {
    /// What is printed in place of text.
    pub(crate) fn format(&self) -> Option<Format> {
        let shape = match &self.command {
            Command::Get { shape, .. } | Command::Compare { shape, .. } => Some(*shape),
            Command::Events(command) => Some(command.shape),
            Command::History(command) => Some(command.shape),
            Command::Trend(command) => Some(command.shape),
            Command::Watch(command) => Some(command.shape),
            Command::Whoami { shape } | Command::Can(Can { shape, .. }) => Some(*shape),
            Command::Access(
                Access::Token(Token::Create { shape, .. })
                | Access::Role(Role::Get { shape, .. })
                | Access::Group(Group::Get { shape, .. }),
            ) => Some(*shape),
            Command::Policy(Policy::Show { shape, .. }) | Command::Approval(Approval::Show { shape, .. }) => {
                Some(*shape)
            }
            Command::Webhook(
                Webhook::Create { shape, .. }
                | Webhook::Get { shape, .. }
                | Webhook::Test { shape, .. }
                | Webhook::Rotate { shape, .. },
            ) => Some(*shape),
            _ => self.table().map(|table| table.shape),
        };
        if self.json { Some(Format::Json) } else { shape.and_then(|shape| shape.format) }
    }

    /// Whether a table has a head.
    pub(crate) fn headers(&self) -> bool {
        self.table().is_none_or(|table| !table.no_headers)
    }

    /// The only values to print; empty: those that the command shows.
    pub(crate) fn paths(&self) -> Vec<String> {
        match &self.command {
            Command::Get { fields, .. } | Command::List(List { fields, .. }) => fields.paths.clone(),
            _ => Vec::new(),
        }
    }

    fn table(&self) -> Option<TableShape> {
        match &self.command {
            Command::List(command) => Some(command.table),
            Command::Search(command) => Some(command.table),
            Command::Count(command) => Some(command.table),
            Command::Status(command) => Some(command.table),
            Command::Gates(command) => Some(command.table),
            Command::Locks(command) => Some(command.table),
            Command::Usage { table }
            | Command::Policy(Policy::List { table, .. })
            | Command::Approval(Approval::List { table, .. })
            | Command::Namespace(Namespace::List { table, .. })
            | Command::Webhook(Webhook::List { table, .. } | Webhook::Log { table, .. })
            | Command::Access(
                Access::Token(Token::List { table, .. })
                | Access::Role(Role::List { table, .. })
                | Access::Group(Group::List { table, .. })
                | Access::Binding(Binding::List { table, .. }),
            )
            | Command::Alias(Alias::List { table, .. }) => Some(*table),
            _ => None,
        }
    }
}
