//! The client against servers that do what a good registry seldom does: fail, break off, lie.

mod calls;
mod downloads;
mod edits;
mod errors;
mod fake;
mod folders;
mod publishing;
mod pulls;
mod receipts;
mod requests;
mod resilience;
mod servers;
mod simulation;
mod transport;
mod uploads;
mod watch;
