//! What a client is asked for of [`resilience`](crate::resilience), beside what it does by itself.

use super::Builder;
use crate::resilience::Budget;

impl Builder {
    /// What repeated attempts may add to the load; one call in ten unless set. The clients that are given clones of it share it, and so do
    /// clients that are made of clones of this builder.
    pub fn retry_budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }
}
