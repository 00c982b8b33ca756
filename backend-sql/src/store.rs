//! The store over any dialect.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use jobstore_core::{
    Arrivals, ClaimRequest, Clock, Creation, DeleteRequest, Job, JobFilter, JobId, JobStore,
    NewJob, PageRequest, PagedList, Result, StatusCounts, StoreClock, Timestamp, Update, validate,
};
use jobstore_group_commit::GroupCommit;

use crate::dialect::{ClaimBy, Dialect};
use crate::session::Sessions;
use crate::wire::Wire;
use crate::writer::Writer;
use crate::{read, write};

/// A job store in a SQL database. Clones share everything.
pub struct SqlJobStore<D: Dialect> {
    readers: Arc<Sessions<D>>,
    writer: GroupCommit,
    clock: Arc<StoreClock>,
    claim_by: ClaimBy,
    statements: Statements,
    elsewhere: Option<Arc<dyn Elsewhere>>,
}

/// Where an engine passes on hints of what other processes write.
pub(crate) trait Elsewhere: Send + Sync {
    /// Has whoever has these told of it.
    fn tell(&self, arrivals: &Arrivals);
}

/// How many statements a store has sent to its engine: what its calls cost, whatever else the machine
/// does. Starting and ending transactions is not counted, and what is one text counts once.
#[derive(Clone, Debug)]
pub struct Statements {
    readers: Arc<AtomicU64>,
    writers: Arc<AtomicU64>,
}

impl Statements {
    /// So many so far, by all clones of the store.
    pub fn sent(&self) -> u64 {
        let writers = match Arc::ptr_eq(&self.readers, &self.writers) {
            true => 0,
            false => self.writers.load(Ordering::Relaxed),
        };
        self.readers.load(Ordering::Relaxed) + writers
    }
}

impl<D: Dialect> SqlJobStore<D> {
    pub(crate) fn new(
        readers: Arc<Sessions<D>>,
        writers: Arc<Sessions<D>>,
        clock: StoreClock,
        claim_by: ClaimBy,
    ) -> Self {
        let clock = Arc::new(clock);
        // Some connections are left for those who read.
        let tasks = writers.size().div_ceil(2).min(D::WRITERS);
        let statements = Statements {
            readers: Arc::clone(readers.sent()),
            writers: Arc::clone(writers.sent()),
        };
        let writer = Writer {
            sessions: writers,
            clock: Arc::clone(&clock),
            claim_by,
        };
        Self {
            readers,
            writer: GroupCommit::spawn(writer, tasks),
            clock,
            claim_by,
            statements,
            elsewhere: None,
        }
    }

    /// Hints of what this store and its clones write.
    #[cfg(feature = "postgres")]
    pub(crate) fn near(&self) -> Arrivals {
        self.writer.arrivals()
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn with_elsewhere(self, elsewhere: Arc<dyn Elsewhere>) -> Self {
        Self {
            elsewhere: Some(elsewhere),
            ..self
        }
    }

    /// Counts the statements of this store and its clones, from when it was opened.
    pub fn statements(&self) -> Statements {
        self.statements.clone()
    }

    /// Creates jobs inside a transaction of the caller's: they exist once it commits, and never
    /// did if it rolls back. Otherwise as [`JobStore::create_jobs`].
    ///
    /// On SQLite, begin the transaction with `BEGIN IMMEDIATE`; while it is open, every other
    /// writer waits, this store's own task included. On servers it finds the tables by itself, so a
    /// schema that was set for the store is set for the transaction too. A creation that meets
    /// another of the same unique key waits until the other transaction ends.
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
        let mut wire = Wire {
            connection: transaction,
            // Whether the caller's connection may is not known.
            prepares: false,
            claim_by: self.claim_by,
            packet: self.readers.packet(),
            sent: self.readers.sent(),
            // It is the caller who commits.
            held: None,
        };
        let mut verdicts = write::create::<D>(&mut wire, &[&jobs], self.clock.now()).await?;
        verdicts.pop().unwrap_or_else(|| Ok(Vec::new()))
    }

    pub(crate) fn readers(&self) -> &Sessions<D> {
        &self.readers
    }
}

impl<D: Dialect> Clone for SqlJobStore<D> {
    fn clone(&self) -> Self {
        Self {
            readers: Arc::clone(&self.readers),
            writer: self.writer.clone(),
            clock: Arc::clone(&self.clock),
            claim_by: self.claim_by,
            statements: self.statements.clone(),
            elsewhere: self.elsewhere.clone(),
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
        self.readers.bounded(self.writer.create(jobs)).await?
    }

    async fn get_jobs(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>> {
        validate::ids(ids)?;
        let reading = self.readers.bounded(async {
            let mut session = self.readers.acquire_to_read().await?;
            let done = read::get::<D>(&mut session.wire(self.claim_by), ids).await;
            Ok(session.end(done).await?)
        });
        reading.await?
    }

    async fn list_jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<PagedList<Job>> {
        page.start(&filter.compile()?)?;
        let reading = self.readers.bounded(async {
            let mut session = self.readers.acquire_to_filter(filter).await?;
            let done = read::list::<D>(&mut session.wire(self.claim_by), filter, page).await;
            Ok(session.end(done).await?)
        });
        reading.await?
    }

    async fn count_jobs(&self, filter: &JobFilter) -> Result<StatusCounts> {
        filter.compile()?;
        let reading = self.readers.bounded(async {
            let mut session = self.readers.acquire_to_filter(filter).await?;
            let done = read::count::<D>(&mut session.wire(self.claim_by), filter).await;
            Ok(session.end(done).await?)
        });
        reading.await?
    }

    async fn claim_jobs(&self, request: &ClaimRequest) -> Result<Vec<Job>> {
        validate::claim(request)?;
        self.readers
            .bounded(self.writer.claim(request.clone()))
            .await?
    }

    async fn update_jobs(&self, updates: Vec<Update>) -> Result<Vec<Result<Job>>> {
        validate::updates(&updates)?;
        self.readers.bounded(self.writer.update(updates)).await?
    }

    async fn delete_jobs(&self, request: &DeleteRequest) -> Result<Vec<JobId>> {
        request.validate()?;
        self.readers
            .bounded(self.writer.delete(request.clone()))
            .await?
    }

    /// Hears this store and its clones; on PostgreSQL every store of the schema, in whatever process,
    /// unless [notices](crate::postgres::PostgresOptions::with_notices) are off. A job that was created
    /// [in a transaction of the caller's](SqlJobStore::create_jobs_in) is not told of.
    fn arrivals(&self) -> Arrivals {
        let arrivals = self.writer.arrivals();
        if let Some(elsewhere) = &self.elsewhere {
            elsewhere.tell(&arrivals);
        }
        arrivals
    }
}
