//! The contract as a whole, against a real server that is called without generated code.
//!
//! What holds for every method is tested by walking the descriptors: a method that is added is tested as well, or fails a test by
//! name until `fixtures` has a request for it.

mod deep;
mod descriptors;
mod examples;
mod fixtures;
mod forged;
mod fuzz;
mod health;
mod json;
mod lists;
mod log;
mod matrix;
mod repeated;
mod server;
mod story;
mod values;
