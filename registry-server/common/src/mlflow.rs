//! What models and versions of MLflow are here: for the server, which is called as MLflow's is, and for who takes them over.

mod kept;
mod names;
pub mod tags;

pub use self::kept::{Kept, keep};
pub use self::names::{id_of, name_of};
