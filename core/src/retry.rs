//! How often, and how soon, a job runs again.

use std::time::Duration;

/// How often a failed job is retried, and how long it waits before.
///
/// The policy comes with the call, so that each worker can have its own; a job's own
/// `max_retries` wins over the policy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Retries allowed after the first attempt.
    pub max_retries: u32,
    /// The wait before the first retry; each further one doubles it.
    pub base: Duration,
    /// The longest wait.
    pub max: Duration,
}

impl Default for RetryPolicy {
    /// Three retries, after 15, 30 and 60 seconds.
    fn default() -> Self {
        Self {
            max_retries: 3,
            base: Duration::from_secs(15),
            max: Duration::from_secs(60),
        }
    }
}

impl RetryPolicy {
    /// The wait before retry number `retry_count`, counted from one.
    pub fn backoff(&self, retry_count: u32) -> Duration {
        let doublings = retry_count.saturating_sub(1);
        // Past 64 doublings every wait but zero is longer than any duration there is.
        let factor = 1_u128.checked_shl(doublings.min(64)).unwrap_or(u128::MAX);
        let nanos = self.base.as_nanos().saturating_mul(factor);
        if nanos < self.max.as_nanos() {
            Duration::from_nanos_u128(nanos)
        } else {
            self.max
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_limit() {
        let policy = RetryPolicy::default();
        let waits = [1, 2, 3, 4, 33, u32::MAX].map(|n| policy.backoff(n).as_secs());
        assert_eq!(waits, [15, 30, 60, 60, 60, 60]);
        let tiny = RetryPolicy {
            base: Duration::from_nanos(1),
            max: Duration::MAX,
            ..policy
        };
        assert_eq!(tiny.backoff(41), Duration::from_nanos(1 << 40));
        let none = RetryPolicy {
            base: Duration::ZERO,
            ..policy
        };
        assert_eq!(none.backoff(u32::MAX), Duration::ZERO);
    }
}
