//! What keeps calls going when servers fail, and keeps failing servers from being called to death.

mod budget;
mod circuit;

pub use self::budget::Budget;
pub(crate) use self::circuit::{BreakerPolicy, Circuit, Permit};
