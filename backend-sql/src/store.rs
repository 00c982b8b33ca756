//! The store over any dialect.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use jobstore_core::{
    ClaimRequest, Clock, Creation, DeleteRequest, Job, JobFilter, JobId, JobStore, NewJob,
    PageRequest, PagedList, Result, StatusCounts, StoreClock, Timestamp, Update, validate,
};
use jobstore_group_commit::GroupCommit;
use sqlx::Pool;

use crate::dialect::Dialect;
use crate::writer::Writer;
use crate::{read, write};

/// A job store in a SQL database. Clones share everything.
pub struct SqlJobStore<D: Dialect> {
    readers: Pool<D>,
    writer: GroupCommit,
    clock: Arc<StoreClock>,
}

impl<D: Dialect> SqlJobStore<D> {
    pub(crate) fn new(readers: Pool<D>, writers: Pool<D>, clock: StoreClock) -> Self {
        let clock = Arc::new(clock);
        let writer = Writer::new(writers, Arc::clone(&clock));
        let writer = GroupCommit::spawn(writer, D::WRITERS);
        Self {
            readers,
            writer,
            clock,
        }
    }

    /// Creates jobs inside a transaction of the caller's: they exist once it commits, and never
    /// did if it rolls back. Otherwise as [`JobStore::create_jobs`].
    ///
    /// On SQLite, begin the transaction with `BEGIN IMMEDIATE`; while it is open, every other
    /// writer waits, this store's own task included.
    ///
    /// # Errors
    ///
    /// As [`JobStore::create_jobs`]. After an error of the engine, roll back.
    pub async fn create_jobs_in(
        &self,
        transaction: &mut D::Connection,
        jobs: Vec<NewJob>,
    ) -> Result<Vec<Creation>> {
        validate::new_jobs(&jobs)?;
        let mut verdicts = write::create::<D>(transaction, &[&jobs], self.clock.now()).await?;
        verdicts.pop().unwrap_or_else(|| Ok(Vec::new()))
    }

    pub(crate) async fn reader(&self) -> Result<sqlx::pool::PoolConnection<D>> {
        self.readers.acquire().await.map_err(D::error)
    }
}

impl<D: Dialect> Clone for SqlJobStore<D> {
    fn clone(&self) -> Self {
        Self {
            readers: self.readers.clone(),
            writer: self.writer.clone(),
            clock: Arc::clone(&self.clock),
        }
    }
}

impl<D: Dialect> fmt::Debug for SqlJobStore<D> {
    /// Shows the engine only: a pool's own form holds the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlJobStore")
            .field("engine", &<D as sqlx::Database>::NAME)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl<D: Dialect> JobStore for SqlJobStore<D> {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn create_jobs(&self, jobs: Vec<NewJob>) -> Result<Vec<Creation>> {
        validate::new_jobs(&jobs)?;
        self.writer.create(jobs).await
    }

    async fn get_jobs(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>> {
        validate::ids(ids)?;
        Ok(read::get::<D>(&mut *self.reader().await?, ids).await?)
    }

    async fn list_jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<PagedList<Job>> {
        page.start(&filter.compile()?)?;
        Ok(read::list::<D>(&mut *self.reader().await?, filter, page).await?)
    }

    async fn count_jobs(&self, filter: &JobFilter) -> Result<StatusCounts> {
        filter.compile()?;
        Ok(read::count::<D>(&mut *self.reader().await?, filter).await?)
    }

    async fn claim_jobs(&self, request: &ClaimRequest) -> Result<Vec<Job>> {
        validate::claim(request)?;
        self.writer.claim(request.clone()).await
    }

    async fn update_jobs(&self, updates: Vec<Update>) -> Result<Vec<Result<Job>>> {
        validate::updates(&updates)?;
        self.writer.update(updates).await
    }

    async fn delete_jobs(&self, request: &DeleteRequest) -> Result<Vec<JobId>> {
        request.validate()?;
        self.writer.delete(request.clone()).await
    }
}
