//! The log: files of our own, to which groups of revisions are appended, each synced before the next one is written.
//!
//! [`segment`] says what the files begin with, [`frame`] what a group looks like in them.

mod frame;
mod segment;
