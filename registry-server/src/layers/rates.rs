//! How many calls a principal may make in a second: whoever has a loop that runs wild does not take the server from all others.

use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

/// The calls of so many seconds may come at once.
const BURST_SECONDS: u32 = 10;
/// After so many calls those are forgotten who made none lately.
const LOOK_AFTER: u32 = 1 << 16;

type Limiter = RateLimiter<u64, HashMapStateStore<u64>, MonotonicClock, NoOpMiddleware<std::time::Instant>>;

/// The calls of all principals.
#[derive(Debug, Clone)]
pub(super) struct Rates(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limiter: Limiter,
    clock: MonotonicClock,
    /// So that a call costs no copy of a name. It is this process's own: nobody finds two principals that count as one.
    hasher: RandomState,
    calls: AtomicU32,
}

impl Rates {
    pub(super) fn new(a_second: NonZeroU32) -> Self {
        let burst = a_second.saturating_mul(const { NonZeroU32::new(BURST_SECONDS).unwrap() });
        let quota = Quota::per_second(a_second).allow_burst(burst);
        let limiter = RateLimiter::new(quota, HashMapStateStore::default(), MonotonicClock);
        let (clock, hasher, calls) = (MonotonicClock, RandomState::new(), AtomicU32::new(0));
        Self(Arc::new(Inner { limiter, clock, hasher, calls }))
    }

    /// Counts a call of a principal. Of one too many it says after which time the next is taken.
    pub(super) fn count(&self, principal: &str) -> Result<(), Duration> {
        let Inner { limiter, clock, hasher, calls } = &*self.0;
        if calls.fetch_add(1, Ordering::Relaxed) % LOOK_AFTER == LOOK_AFTER - 1 {
            limiter.retain_recent();
        }
        limiter.check_key(&hasher.hash_one(principal)).map_err(|until| until.wait_time_from(clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_has_a_burst_and_then_its_rate() {
        let rates = Rates::new(NonZeroU32::new(5).unwrap());
        let taken = |principal: &str| (0..1000).take_while(|_| rates.count(principal).is_ok()).count();
        // Each fifth of a second, in which this is done, there is another one.
        assert!((50..55).contains(&taken("users/ana")));
        let wait = rates.count("users/ana").unwrap_err();
        assert!(wait <= Duration::from_millis(200), "{wait:?}");
        assert!((50..55).contains(&taken("users/bob")), "others have their own");
    }

    #[test]
    fn those_who_call_no_more_are_forgotten() {
        let rates = Rates::new(NonZeroU32::new(u32::MAX).unwrap());
        for call in 0..LOOK_AFTER {
            rates.count(&format!("users/{call}")).unwrap();
        }
        assert!(rates.0.limiter.len() < LOOK_AFTER as usize / 2, "{}", rates.0.limiter.len());
    }
}
