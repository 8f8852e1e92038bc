#![doc = include_str!("../../docs/resilience.md")]

mod breaker;
mod budget;
mod carry;
mod circuit;
mod deadline;
mod ejection;
mod hedge;
mod held;
mod latencies;
mod metrics;
mod outcome;
mod retry;
mod token;
mod trace;

pub use self::breaker::{Breaker, BreakerLayer};
pub use self::budget::Budget;
pub use self::carry::{Carrier, Carry, Layered};
pub use self::circuit::BreakerPolicy;
pub(crate) use self::circuit::{Circuit, Permit, State};
pub use self::deadline::DeadlineLayer;
pub use self::ejection::{Endpoint, EndpointState};
pub use self::hedge::HedgeLayer;
pub(crate) use self::hedge::Hedged;
pub use self::metrics::MetricsLayer;
pub use self::retry::RetryLayer;
pub use self::token::TokenLayer;
pub(crate) use self::trace::TRACEPARENT;
pub use self::trace::TraceLayer;
