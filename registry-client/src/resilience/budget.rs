//! How much load attempts beyond the first may add.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tower::retry::budget::{Budget as _, TpsBudget};

/// How long a call counts.
const WINDOW: Duration = Duration::from_secs(10);

/// What repeated calls may add to the load of a server that fails: a share of the calls of the last ten seconds, and a small reserve for
/// those who seldom call. Clones share it.
///
/// It is tower's [`TpsBudget`], with one rule more: a repeated call that was answered gets back what it cost, since it was worth it. So many
/// calls that waited together for a restart go on within moments, while of a server that fails each of them nothing is paid back.
#[derive(Clone)]
pub struct Budget {
    shared: Arc<Shared>,
}

struct Shared {
    tps: TpsBudget,
    /// How many calls pay for one that is repeated.
    price: u32,
    repaid: Notify,
}

impl Budget {
    /// `share` of the calls may be repeated, 0.1 for one in ten: from 0.001 to 1; less is none. So may `per_second` calls beside that.
    pub fn new(share: f32, per_second: u32) -> Self {
        // Less than one in a thousand is none.
        let share = Some(share.clamp(0.0, 1.0)).filter(|share| *share >= 0.001).unwrap_or(0.0);
        let price = if share > 0.0 { (1.0 / share) as u32 } else { 1 };
        let tps = TpsBudget::new(WINDOW, per_second, share);
        Self { shared: Arc::new(Shared { tps, price, repaid: Notify::new() }) }
    }

    /// A call was made.
    pub(crate) fn deposit(&self) {
        self.shared.tps.deposit();
    }

    /// Takes what a further attempt costs, if there is so much.
    pub(crate) fn withdraw(&self) -> bool {
        self.shared.tps.withdraw()
    }

    /// The further attempt was answered.
    pub(crate) fn repay(&self) {
        for _ in 0..self.shared.price {
            self.shared.tps.deposit();
        }
        self.shared.repaid.notify_one();
    }

    /// Until something was paid back that others may have wanted.
    pub(crate) async fn repaid(&self) {
        self.shared.repaid.notified().await;
    }
}

impl Default for Budget {
    /// One call in ten, and one a second beside that.
    fn default() -> Self {
        Self::new(0.1, 1)
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.tps.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often one may go on.
    fn left(budget: &Budget) -> usize {
        (0..1000).take_while(|_| budget.withdraw()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_of_the_calls_and_the_reserve_of_a_window_may_be_repeated() {
        for (share, per_second, calls, expected) in
            [(0.1, 1, 0, 10), (0.1, 1, 100, 20), (0.1, 0, 9, 0), (0.1, 0, 10, 1), (0.05, 0, 100, 5), (0.0, 1, 100, 10)]
        {
            let budget = Budget::new(share, per_second);
            (0..calls).for_each(|_| budget.deposit());
            assert_eq!(left(&budget), expected, "{share} {per_second} {calls}");
            // No more before the window has passed, and then the reserve.
            tokio::time::advance(WINDOW / 2).await;
            assert_eq!(left(&budget), 0, "{share} {per_second} {calls}");
            tokio::time::advance(2 * WINDOW).await;
            assert_eq!(left(&budget), 10 * per_second as usize, "{share} {per_second} {calls}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_answered_costs_nothing() {
        for share in [0.1, 0.05, 0.0] {
            let budget = Budget::new(share, 1);
            assert_eq!(left(&budget), 10);
            budget.repay();
            assert_eq!(left(&budget), if share > 0.0 { 1 } else { 0 }, "{share}");
        }
    }
}
