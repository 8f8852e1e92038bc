//! The client against servers that do what a good registry seldom does: fail, break off, lie.

mod artifacts;
mod calls;
mod errors;
mod fake;
mod folders;
mod receipts;
mod servers;
mod watch;
