//! The server's clock, followed from here.
//!
//! Workers whose own clocks are wrong must still agree about leases, so a store on a server reads
//! the time from the server: the offset is measured when the store opens and every minute again.
//! In between, this process counts on by its monotonic clock, which nobody can set.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use jobstore_core::{Clock, Result, Timestamp};
use sqlx::QueryBuilder;
use tokio::time::Instant;

use crate::dialect::{ClaimBy, Dialect};
use crate::error::backend;
use crate::session::Sessions;

/// How often the offset is measured again. Quartz drifts by milliseconds in this time.
const EVERY: Duration = Duration::from_secs(60);
/// How many readings are taken; the one with the shortest way counts.
const READINGS: usize = 3;

/// Shows the server's time.
#[derive(Debug)]
pub(crate) struct ServerClock {
    start: Instant,
    /// What the server's clock showed at `start`, in milliseconds.
    at_start: AtomicI64,
}

impl ServerClock {
    /// Reads the server's clock, and goes on doing so for as long as the clock is used.
    pub(crate) async fn follow<D: Dialect>(sessions: &Arc<Sessions<D>>) -> Result<Arc<Self>> {
        let start = Instant::now();
        let at_start = measure(sessions, start).await?;
        let clock = Arc::new(Self {
            start,
            at_start: AtomicI64::new(at_start),
        });
        tokio::spawn(keep_following(
            Arc::downgrade(&clock),
            Arc::downgrade(sessions),
        ));
        Ok(clock)
    }
}

impl Clock for ServerClock {
    fn now(&self) -> Timestamp {
        let at_start = Timestamp::from_millis(self.at_start.load(Ordering::Relaxed));
        let since = self.start.elapsed();
        // Whole milliseconds that have passed: `saturating_add` would round up.
        at_start.saturating_add(
            since - Duration::from_nanos(u64::from(since.subsec_nanos() % 1_000_000)),
        )
    }
}

async fn keep_following<D: Dialect>(clock: Weak<ServerClock>, sessions: Weak<Sessions<D>>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let (Some(clock), Some(sessions)) = (clock.upgrade(), sessions.upgrade()) else {
            return;
        };
        match measure(&sessions, clock.start).await {
            Ok(at_start) => clock.at_start.store(at_start, Ordering::Relaxed),
            Err(error) => tracing::warn!(%error, "the server's clock could not be read"),
        }
    }
}

/// What the server's clock showed at `start`.
async fn measure<D: Dialect>(sessions: &Sessions<D>, start: Instant) -> Result<i64> {
    sessions
        .bounded(async {
            let mut best: Option<(Duration, i64)> = None;
            let mut session = sessions.acquire_to_read().await?;
            let mut done = Ok(());
            for _ in 0..READINGS {
                let asked = Instant::now();
                let mut shown = None;
                let statement = QueryBuilder::<D>::new(D::CLOCK);
                let each = |row: &D::Row| shown = D::int(row, 0).ok().flatten();
                done = session
                    .wire(ClaimBy::default())
                    .fetch(statement, each)
                    .await;
                let way = asked.elapsed();
                let Some(shown) = shown else { break };
                // The server looked at its clock half way.
                let since = millis(asked.duration_since(start) + way / 2);
                if best.is_none_or(|(shortest, _)| way < shortest) {
                    best = Some((way, shown - since));
                }
            }
            session.end(done).await?;
            let read = best.map(|(_, at_start)| at_start);
            read.ok_or_else(|| backend("the server does not say what time it is"))
        })
        .await?
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
