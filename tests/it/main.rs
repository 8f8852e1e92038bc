//! The registry as a whole: a server with its stores, and the real client, over TCP.

mod aliases;
mod artifacts;
mod backup;
mod bad_chunks;
mod bad_input;
mod chunks;
mod damage;
mod deletion;
mod encryption;
mod events;
mod garbage;
mod garbage_load;
mod lists;
mod models;
mod moving;
mod names;
mod quotas;
mod requests;
mod restore;
mod retention;
mod scrub;
mod stages;
mod uploads;
mod verify;
mod versions;
mod watch;
