//! What keeps calls going when servers fail, and keeps failing servers from being called to death.

mod breaker;
mod budget;
mod carry;
mod circuit;
mod deadline;
mod held;
mod outcome;
mod retry;

pub use self::breaker::{Breaker, BreakerLayer};
pub use self::budget::Budget;
pub use self::carry::{Carrier, Carry, Layered};
pub use self::circuit::BreakerPolicy;
pub(crate) use self::circuit::{Circuit, Permit};
pub use self::deadline::DeadlineLayer;
pub use self::retry::RetryLayer;
