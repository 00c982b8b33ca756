//! Hints that jobs can be claimed.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use crate::{Job, JobStatus};

/// Tells a worker with nothing to do when there may be jobs for it, from
/// [`JobStore::arrivals`](crate::JobStore::arrivals).
///
/// These are hints. One may come though every job is somebody else's already, and what comes while
/// nobody waits is told once, at the next wait. A job whose time comes later is not told of when it
/// comes, and which other handles and processes are heard is for each backend to say. So a worker
/// claims first, waits for a hint or some time, whichever is sooner, and claims again.
///
/// ```
/// # use std::time::Duration;
/// # use jobstore_core::{ClaimRequest, JobStore, JobStoreExt, Result};
/// # async fn timeout(_: Duration, hint: impl Future<Output = ()>) { hint.await }
/// async fn work(store: &dyn JobStore, request: &ClaimRequest) -> Result<()> {
///     // Before the first claim, so that nothing falls in between.
///     let mut arrivals = store.arrivals();
///     loop {
///         for job in store.claim_jobs(request).await? {
///             store.finish_job(job.claim(), "done").await?;
///         }
///         timeout(Duration::from_millis(250), arrivals.next()).await;
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Arrivals(Arc<Ear>);

/// What a bell reaches a listener by.
#[derive(Debug, Default)]
struct Ear {
    rung: AtomicBool,
    waker: AtomicWaker,
}

impl Arrivals {
    /// Of a store that tells nothing.
    pub fn never() -> Self {
        Self(Arc::default())
    }

    /// Waits until jobs may have arrived since the last hint.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no hint is lost.
    pub async fn next(&mut self) {
        poll_fn(|context| self.0.poll(context)).await;
    }
}

impl Ear {
    fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        self.waker.wake();
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.rung.swap(false, Ordering::AcqRel) {
            return Poll::Ready(());
        }
        self.waker.register(context.waker());
        // It may have rung just before there was whom to wake.
        match self.rung.swap(false, Ordering::AcqRel) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

/// What a backend tells [`Arrivals`] with. Clones are the same bell.
#[derive(Clone, Debug, Default)]
pub struct Bell(Arc<Mutex<Vec<Weak<Ear>>>>);

impl Bell {
    /// Hears every hint from now on.
    pub fn listen(&self) -> Arrivals {
        let arrivals = Arrivals::never();
        self.tell(&arrivals);
        arrivals
    }

    /// Has somebody who listens elsewhere hear this bell too.
    pub fn tell(&self, arrivals: &Arrivals) {
        let mut ears = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those who listen no more, before more room is made, so that a bell that rarely rings does not
        // fill up with them.
        if ears.len() == ears.capacity() {
            ears.retain(|ear| ear.strong_count() > 0);
        }
        ears.push(Arc::downgrade(&arrivals.0));
    }

    /// Tells everybody who listens.
    pub fn ring(&self) {
        let mut ears = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ears.retain(|ear| match ear.upgrade() {
            Some(ear) => {
                ear.ring();
                true
            }
            None => false,
        });
    }

    /// Tells everybody who listens if one of these jobs, just written, can be claimed.
    pub fn ring_for<'a>(&self, jobs: impl IntoIterator<Item = &'a Job>) {
        // What was just written was written at the job's last update.
        let is_due = |job: &Job| {
            job.status == JobStatus::Pending && job.next_attempt_at <= job.last_update_time
        };
        if jobs.into_iter().any(is_due) {
            self.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;
    use futures_util::task::noop_waker;

    use super::*;
    use crate::Timestamp;

    fn has_heard(arrivals: &mut Arrivals) -> bool {
        arrivals.next().now_or_never().is_some()
    }

    #[test]
    fn who_listens_hears_once_however_often_it_rang() {
        let bell = Bell::default();
        bell.ring();
        let mut arrivals = bell.listen();
        assert!(!has_heard(&mut arrivals), "what was before");
        bell.ring();
        bell.ring();
        assert!(has_heard(&mut arrivals));
        assert!(!has_heard(&mut arrivals));
    }

    #[test]
    fn who_waits_is_woken() {
        let bell = Bell::default();
        let mut arrivals = bell.listen();
        let mut next = pin!(arrivals.next());
        let waker = noop_waker();
        let mut context = Context::from_waker(&waker);
        assert_eq!(next.as_mut().poll(&mut context), Poll::Pending);
        bell.clone().ring();
        assert_eq!(next.as_mut().poll(&mut context), Poll::Ready(()));
    }

    #[test]
    fn every_bell_that_one_listens_to_is_heard() {
        let (near, far) = (Bell::default(), Bell::default());
        let mut arrivals = near.listen();
        far.tell(&arrivals);
        far.ring();
        assert!(has_heard(&mut arrivals));
        near.ring();
        assert!(has_heard(&mut arrivals));
    }

    #[test]
    fn who_listens_no_more_is_forgotten_also_where_it_never_rings() {
        let bell = Bell::default();
        let _arrivals = bell.listen();
        for _ in 0..1000 {
            drop(bell.listen());
        }
        let ears = || bell.0.lock().expect("no panic").len();
        assert!(ears() < 10, "{}", ears());
        bell.ring();
        assert_eq!(ears(), 1);
    }

    #[test]
    fn only_a_pending_job_that_is_due_rings() {
        let job = |status, next_attempt_at| Job {
            status,
            next_attempt_at: Timestamp::from_millis(next_attempt_at),
            last_update_time: Timestamp::from_millis(5),
            ..crate::NewJob::new("a", "{}").into_job(Timestamp::from_millis(1))
        };
        for (status, at, rings) in [
            (JobStatus::Pending, 5, true),
            (JobStatus::Pending, 6, false),
            (JobStatus::Running, 5, false),
            (JobStatus::Succeeded, 5, false),
        ] {
            let bell = Bell::default();
            let mut arrivals = bell.listen();
            bell.ring_for([&job(status, at)]);
            assert_eq!(has_heard(&mut arrivals), rings, "{status} at {at}");
        }
    }
}
