//! Failures made to order, before any store.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{pending, poll_immediate};
use jobstore_core::{
    Arrivals, ClaimRequest, Creation, DeleteRequest, Error, Job, JobFilter, JobId, JobStore,
    NewJob, PageRequest, PagedList, Result, StatusCounts, Timestamp, Update,
};
use tokio::sync::Notify;

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call never reaches the store; the caller gets [`Error::Unavailable`].
    ErrorBefore,
    /// The store carries the call out, and its reply is lost: the caller gets
    /// [`Error::Unavailable`].
    ErrorAfter,
    /// The call reaches the store only after this long.
    Delay(Duration),
    /// The store carries the call out, and the caller never gets an answer.
    Hang,
    /// The call is dropped when it would be polled for the time with this number, counted from 0;
    /// the caller gets [`Error::Unavailable`]. A call that is done earlier does not fail.
    DroppedAt(u32),
}

/// A store whose calls fail on demand; everything else is passed on.
///
/// What a caller may not know after a failure, whether the call happened, each [`Fault`] decides in
/// its own way. Any store can stand behind it, so that a backend's author need not break an engine
/// to see what breaking it does.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use std::sync::Arc;
///
/// use jobstore_conformance::{Fault, FaultStore};
/// use jobstore_core::{Error, JobId, JobStore, JobStoreExt, NewJob};
/// use jobstore_memory::MemoryJobStore;
///
/// let store = FaultStore::new(Arc::new(MemoryJobStore::default()));
/// store.arm(0, Fault::ErrorAfter);
/// let job = NewJob::new("mail", "{}").with_id(JobId::generate());
/// let lost = store.create_jobs(vec![job.clone()]).await;
/// assert!(matches!(lost, Err(Error::Unavailable { .. })));
/// let again = store.create_jobs(vec![job]).await;
/// assert!(matches!(again, Err(Error::AlreadyExists { .. })));
/// # }
/// ```
pub struct FaultStore {
    inner: Arc<dyn JobStore>,
    plan: Mutex<Plan>,
    hung: Notify,
}

#[derive(Clone, Copy, Debug, Default)]
struct Plan {
    /// How many calls go well before the one that fails.
    before: u64,
    fault: Option<Fault>,
    /// Whether the call that was to fail was made.
    reached: bool,
    /// Whether it failed.
    fired: bool,
}

impl fmt::Debug for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultStore")
            .field("inner", &self.inner)
            .field("plan", &*self.plan())
            .finish_non_exhaustive()
    }
}

impl FaultStore {
    /// A store that fails nothing until it is told to.
    pub fn new(inner: Arc<dyn JobStore>) -> Self {
        Self {
            inner,
            plan: Mutex::default(),
            hung: Notify::new(),
        }
    }

    /// Fails one call: after this many more have gone well, the next.
    pub fn arm(&self, after: u64, fault: Fault) {
        *self.plan() = Plan {
            before: after,
            fault: Some(fault),
            ..Plan::default()
        };
    }

    /// Whether the call that was to fail was made.
    pub fn was_reached(&self) -> bool {
        self.plan().reached
    }

    /// Whether the call that was to fail did fail, or was delayed.
    pub fn has_fired(&self) -> bool {
        self.plan().fired
    }

    /// Waits until a call hangs: when its caller should give up.
    pub async fn hung(&self) {
        self.hung.notified().await;
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        // Each field is written in one step, so a panic elsewhere leaves nothing half done.
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to happen to the call that begins.
    fn next(&self) -> Option<Fault> {
        let mut plan = self.plan();
        if plan.reached || plan.fault.is_none() {
            return None;
        }
        if plan.before > 0 {
            plan.before -= 1;
            return None;
        }
        plan.reached = true;
        plan.fault
    }

    fn fired(&self) {
        self.plan().fired = true;
    }

    async fn pass<T>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let unavailable = |what: &str| {
            let reason = format!("a fault was injected: {what}");
            Err(Error::Unavailable { reason })
        };
        match self.next() {
            None => call.await,
            Some(Fault::ErrorBefore) => {
                self.fired();
                unavailable("the call was not carried out")
            }
            Some(Fault::ErrorAfter) => {
                drop(call.await);
                self.fired();
                unavailable("the reply was lost")
            }
            Some(Fault::Delay(delay)) => {
                self.fired();
                tokio::time::sleep(delay).await;
                call.await
            }
            Some(Fault::Hang) => {
                drop(call.await);
                self.fired();
                self.hung.notify_one();
                pending().await
            }
            Some(Fault::DroppedAt(polls)) => {
                let mut call = pin!(call);
                for _ in 0..polls {
                    if let Some(output) = poll_immediate(call.as_mut()).await {
                        return output;
                    }
                    tokio::task::yield_now().await;
                }
                self.fired();
                unavailable("the call was dropped")
            }
        }
    }
}

#[async_trait]
impl JobStore for FaultStore {
    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    async fn create_jobs(&self, jobs: Vec<NewJob>) -> Result<Vec<Creation>> {
        self.pass(self.inner.create_jobs(jobs)).await
    }

    async fn get_jobs(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>> {
        self.pass(self.inner.get_jobs(ids)).await
    }

    async fn list_jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<PagedList<Job>> {
        self.pass(self.inner.list_jobs(filter, page)).await
    }

    async fn count_jobs(&self, filter: &JobFilter) -> Result<StatusCounts> {
        self.pass(self.inner.count_jobs(filter)).await
    }

    async fn claim_jobs(&self, request: &ClaimRequest) -> Result<Vec<Job>> {
        self.pass(self.inner.claim_jobs(request)).await
    }

    async fn update_jobs(&self, updates: Vec<Update>) -> Result<Vec<Result<Job>>> {
        self.pass(self.inner.update_jobs(updates)).await
    }

    async fn delete_jobs(&self, request: &DeleteRequest) -> Result<Vec<JobId>> {
        self.pass(self.inner.delete_jobs(request)).await
    }

    fn arrivals(&self) -> Arrivals {
        self.inner.arrivals()
    }
}
