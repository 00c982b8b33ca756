//! Time as stores keep it, and the clocks it comes from.
//!
//! Every comparison a store makes and every time it writes comes from one clock, which the caller
//! may replace. Tests drive a [`ManualClock`]; everybody else gets [`SystemClock`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A point in time: whole milliseconds since the Unix epoch, UTC.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest time that can be stored.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest time that can be stored.
    pub const MAX: Self = Self(i64::MAX);

    /// The time this many milliseconds after the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This time plus `duration`, at most [`Timestamp::MAX`].
    ///
    /// Parts of a millisecond count as a whole one, so that a lease greater than zero is never
    /// over in the instant it was given.
    pub fn saturating_add(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Says what time it is.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time now. May go back between two calls; stores put a [`StoreClock`] in front.
    fn now(&self) -> Timestamp;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |m| -m),
        };
        Timestamp(millis)
    }
}

/// A clock that moves only when told to, for tests. Clones show the same time.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn new(now: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(now.0)))
    }

    /// Moves the clock to `now`, forwards or back.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, Ordering::SeqCst);
    }

    /// Moves the clock forwards, also when others do at the same time.
    pub fn advance(&self, by: Duration) {
        let later = |now| Some(Timestamp(now).saturating_add(by).0);
        // There always is a later time, so this cannot fail.
        let _ = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, later);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// The clock inside a store handle: another clock, made never to go back.
#[derive(Debug)]
pub struct StoreClock {
    inner: Arc<dyn Clock>,
    latest: AtomicI64,
}

impl StoreClock {
    /// Follows `inner`, standing still while it runs behind the latest time seen.
    pub fn new(inner: Arc<dyn Clock>) -> Self {
        Self {
            inner,
            latest: AtomicI64::new(i64::MIN),
        }
    }
}

impl Default for StoreClock {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

impl Clock for StoreClock {
    fn now(&self) -> Timestamp {
        let now = self.inner.now().0;
        Timestamp(self.latest.fetch_max(now, Ordering::SeqCst).max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_clock_never_goes_back() {
        let manual = ManualClock::new(Timestamp(10));
        let clock = StoreClock::new(Arc::new(manual.clone()));
        assert_eq!(clock.now(), Timestamp(10));
        manual.set(Timestamp(5));
        assert_eq!(clock.now(), Timestamp(10));
        manual.set(Timestamp(11));
        assert_eq!(clock.now(), Timestamp(11));
    }

    #[test]
    fn a_manual_clock_goes_as_far_as_all_who_move_it_say() {
        let clock = ManualClock::new(Timestamp(0));
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    for _ in 0..10_000 {
                        clock.advance(Duration::from_millis(1));
                    }
                });
            }
        });
        assert_eq!(clock.now(), Timestamp(40_000));
    }

    #[test]
    fn the_system_clock_tells_the_milliseconds_since_1970() {
        let since = || SystemTime::now().duration_since(UNIX_EPOCH);
        let millis = || since().expect("it is later than 1970").as_millis();
        let (before, now, after) = (millis(), SystemClock.now(), millis());
        let now = u128::try_from(now.as_millis()).expect("after 1970");
        assert!((before..=after).contains(&now), "{before} {now} {after}");
    }

    #[test]
    fn adding_rounds_up_and_saturates() {
        let add = |d| Timestamp(1).saturating_add(d).as_millis();
        assert_eq!(add(Duration::from_nanos(1)), 2);
        assert_eq!(add(Duration::from_millis(5)), 6);
        assert_eq!(add(Duration::MAX), i64::MAX);
    }
}
