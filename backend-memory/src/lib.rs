//! A job store in memory: the plainest backend, to read the contract in and to test with.
//!
//! # Durability
//!
//! None: the jobs are gone with the process.
//!
//! ```
//! # async fn example() -> jobstore_core::Result<()> {
//! use jobstore_core::{JobStoreExt, NewJob};
//! use jobstore_memory::MemoryJobStore;
//!
//! let store = MemoryJobStore::default();
//! let job = store.create_job(NewJob::new("send-mail", r#"{"to": "ada"}"#)).await?.into_job();
//! let running = store.start_job(job.id).await?;
//! store.finish_job(running.claim(), "sent").await?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod table;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jobstore_core::{
    Arrivals, Bell, ClaimRequest, Clock, Creation, DeleteRequest, Job, JobFilter, JobId, JobStore,
    NewJob, PageRequest, PagedList, Result, StatusCounts, StoreClock, Timestamp, Update, validate,
};

use crate::table::Table;

/// A job store in memory.
///
/// One lock guards the jobs; no method holds it across an await. Callers get copies.
#[derive(Debug, Default)]
pub struct MemoryJobStore {
    table: Mutex<Table>,
    clock: StoreClock,
    arrivals: Bell,
}

impl MemoryJobStore {
    /// An empty store that reads the time from `clock`.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self {
            table: Mutex::default(),
            clock: StoreClock::new(clock),
            arrivals: Bell::default(),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // A panic while the lock was held could only come from our own broken invariant; the jobs
        // themselves are written one by one and stay readable.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl JobStore for MemoryJobStore {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn create_jobs(&self, jobs: Vec<NewJob>) -> Result<Vec<Creation>> {
        validate::new_jobs(&jobs)?;
        let mut table = self.table();
        let now = self.now();
        let created = table.create(jobs, now)?;
        let new = created.iter().filter(|creation| creation.is_new());
        self.arrivals.ring_for(new.map(Creation::job));
        Ok(created)
    }

    async fn get_jobs(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>> {
        validate::ids(ids)?;
        let table = self.table();
        Ok(ids.iter().map(|id| table.get(id).cloned()).collect())
    }

    async fn list_jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<PagedList<Job>> {
        let matcher = filter.compile()?;
        let start = page.start(&matcher)?;
        let items = self.table().list(filter, &matcher, start, page);
        let full = items.len() == page.size as usize;
        let token = items
            .last()
            .filter(|_| full)
            .map(|last| page.token_after(last, &matcher));
        Ok(PagedList {
            items,
            token,
            unreadable: Vec::new(),
        })
    }

    async fn count_jobs(&self, filter: &JobFilter) -> Result<StatusCounts> {
        let matcher = filter.compile()?;
        Ok(self.table().count(filter, &matcher))
    }

    async fn claim_jobs(&self, request: &ClaimRequest) -> Result<Vec<Job>> {
        validate::claim(request)?;
        let mut table = self.table();
        let now = self.now();
        Ok(table.claim(request, now))
    }

    async fn update_jobs(&self, updates: Vec<Update>) -> Result<Vec<Result<Job>>> {
        validate::updates(&updates)?;
        let mut table = self.table();
        let now = self.now();
        let updated: Vec<Result<Job>> = updates
            .iter()
            .map(|update| table.update(update, now))
            .collect();
        self.arrivals.ring_for(updated.iter().flatten());
        Ok(updated)
    }

    async fn delete_jobs(&self, request: &DeleteRequest) -> Result<Vec<JobId>> {
        request.validate()?;
        Ok(self.table().delete(request))
    }

    fn arrivals(&self) -> Arrivals {
        self.arrivals.listen()
    }
}
