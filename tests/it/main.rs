//! The registry as a whole: a server with its stores, and the real client, over TCP.

mod aliases;
mod artifacts;
mod bad_input;
mod deletion;
mod events;
mod lists;
mod models;
mod names;
mod requests;
mod retention;
mod stages;
mod uploads;
mod versions;
mod watch;
