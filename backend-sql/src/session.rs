//! Connections while they work, and those that wait to.
//!
//! sqlx asks the server for a sign of life each time a connection goes back to its pool, and again
//! when it comes out: two round trips for a call that needs one. So a store keeps the connections
//! of its own pool and hands them from call to call.

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jobstore_core::{JobFilter, Result};
use sqlx::pool::{Pool, PoolConnection};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use crate::dialect::{ClaimBy, Dialect};
use crate::error::{Failure, FailureExt as _, unavailable};
use crate::wire::{Held, Wire};

/// After this long at rest a connection is asked for a sign of life before it works again, so that
/// one which a firewall or a restart has cut off costs no call its answer.
const RESTED: Duration = Duration::from_secs(5);

/// After this long a connection plans its statements anew, where its engine keeps plans. One that was made
/// while the table had a few rows reads every row of a table that has grown since: until the server's own
/// maintenance comes by, a minute later or never.
const PLANNED: Duration = Duration::from_secs(5);

/// How connections are treated.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    /// Starts a transaction, with every setting that it needs and does not have yet.
    pub begin: Cow<'static, str>,
    /// Whether a statement that reads needs no transaction around it.
    pub reads_alone: bool,
    /// Whether a statement that writes needs no transaction around it, when it is all that a transaction
    /// would have, because it waits for no other writer before it begins.
    pub writes_alone: bool,
    /// Whether connections keep statements prepared.
    pub prepares: bool,
    /// The longest statement that the engine takes, in bytes.
    pub packet: usize,
    /// Whether connections are kept from call to call instead of given back to their pool.
    pub keep: bool,
    /// How long the work of one call may take. A connection that takes longer is closed, as is one
    /// whose caller went away. None where nothing can hang, and a connection is the store itself.
    pub bound: Option<Duration>,
}

/// The connections of a store.
#[derive(Debug)]
pub(crate) struct Sessions<D: Dialect> {
    pool: Pool<D>,
    habits: Habits,
    permits: Semaphore,
    resting: Mutex<Vec<Rested<D>>>,
    sent: Arc<AtomicU64>,
}

/// A connection that waits for work.
#[derive(Debug)]
struct Rested<D: Dialect> {
    connection: PoolConnection<D>,
    since: Instant,
    planned: Instant,
}

impl<D: Dialect> Rested<D> {
    /// Makes it fit to work again, unless it is broken.
    async fn wake(&mut self) -> sqlx::Result<()> {
        if let Some(sql) = D::FORGET_PLANS.filter(|_| self.planned.elapsed() > PLANNED) {
            self.planned = Instant::now();
            // A sign of life as well.
            return D::run(&mut self.connection, sql.to_owned()).await;
        }
        match self.since.elapsed() > RESTED {
            true => D::ping(&mut self.connection).await,
            false => Ok(()),
        }
    }
}

impl<D: Dialect> Sessions<D> {
    pub(crate) fn new(pool: Pool<D>, habits: Habits) -> Self {
        let permits = pool.options().get_max_connections().max(1) as usize;
        Self {
            pool,
            habits,
            permits: Semaphore::new(permits),
            resting: Mutex::default(),
            sent: Arc::default(),
        }
    }

    /// How many statements were sent, to be added to by who sends some past a session.
    pub(crate) fn sent(&self) -> &Arc<AtomicU64> {
        &self.sent
    }

    /// The longest statement that the engine takes, in bytes.
    pub(crate) fn packet(&self) -> usize {
        self.habits.packet
    }

    /// How many may work at once.
    pub(crate) fn size(&self) -> usize {
        self.pool.options().get_max_connections().max(1) as usize
    }

    /// Runs work of one call, for no longer than it may take.
    pub(crate) async fn bounded<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        let Some(bound) = self.habits.bound else {
            return Ok(work.await);
        };
        timeout(bound, work).await.map_err(|_| {
            unavailable(format!(
                "no answer from the server within {bound:?}; what was asked may have happened"
            ))
        })
    }

    /// A connection on which what only reads may begin.
    pub(crate) async fn acquire_to_read(&self) -> Result<Session<'_, D>> {
        let mut session = self.acquire().await?;
        if !self.habits.reads_alone {
            session.begin().await?;
        }
        Ok(session)
    }

    /// As [`acquire_to_read`](Self::acquire_to_read), for what this filter means.
    pub(crate) async fn acquire_to_filter(&self, filter: &JobFilter) -> Result<Session<'_, D>> {
        if D::INDEXES_PARAMS && filter.params.is_some() && self.habits.reads_alone {
            let mut session = self.acquire().await?;
            session.begin().await?;
            return Ok(session);
        }
        self.acquire_to_read().await
    }

    /// A connection, to be given back by [`Session::end`].
    pub(crate) async fn acquire(&self) -> Result<Session<'_, D>> {
        // Never closed, so never refused.
        let permit = self.permits.acquire().await.ok();
        while let Some(mut rested) = self.take_rested() {
            if rested.wake().await.is_ok() {
                return Ok(self.session(rested.connection, rested.planned, permit));
            }
            drop(rested.connection.detach());
        }
        let connection = self.pool.acquire().await.map_err(D::error)?;
        Ok(self.session(connection, Instant::now(), permit))
    }

    fn session<'a>(
        &'a self,
        connection: PoolConnection<D>,
        planned: Instant,
        permit: Option<SemaphorePermit<'a>>,
    ) -> Session<'a, D> {
        Session {
            connection: Some(connection),
            planned,
            owner: self,
            begun: false,
            held: Held::default(),
            _permit: permit,
        }
    }

    fn resting(&self) -> MutexGuard<'_, Vec<Rested<D>>> {
        // Nothing panics while it is held.
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_rested(&self) -> Option<Rested<D>> {
        self.resting().pop()
    }

    /// Whether another connection does as well as this one. That of a store in memory is the store.
    fn is_replaceable(&self) -> bool {
        self.habits.bound.is_some()
    }

    /// Lets go of connections that were at rest while another was found broken: most likely they
    /// are as well.
    fn forget_rested(&self) {
        if !self.is_replaceable() {
            return;
        }
        for rested in std::mem::take(&mut *self.resting()) {
            drop(rested.connection.detach());
        }
    }
}

impl<D: Dialect> Drop for Sessions<D> {
    /// A connection that goes back to its pool does so in a task, which needs a runtime. Where the
    /// last handle is dropped without one, connections are closed instead.
    fn drop(&mut self) {
        if Handle::try_current().is_err() {
            for rested in std::mem::take(&mut *self.resting()) {
                drop(rested.connection.detach());
            }
        }
    }
}

/// A connection at work. Dropped before [`end`](Self::end), it is closed, because nobody knows
/// what it was in the middle of.
#[derive(Debug)]
pub(crate) struct Session<'a, D: Dialect> {
    connection: Option<PoolConnection<D>>,
    planned: Instant,
    owner: &'a Sessions<D>,
    begun: bool,
    held: Held<D>,
    _permit: Option<SemaphorePermit<'a>>,
}

impl<D: Dialect> Session<'_, D> {
    /// Whether one statement may write without a transaction around it.
    pub(crate) fn writes_alone(&self) -> bool {
        self.owner.habits.writes_alone
    }

    /// What statements go over.
    #[expect(
        clippy::expect_used,
        reason = "taken only by what consumes the session"
    )]
    pub(crate) fn wire(&mut self, claim_by: ClaimBy) -> Wire<'_, D> {
        let owner = self.owner;
        Wire {
            prepares: owner.habits.prepares,
            packet: owner.habits.packet,
            claim_by,
            sent: &owner.sent,
            connection: self.connection.as_deref_mut().expect("still here"),
            held: self.begun.then_some(&mut self.held),
        }
    }

    /// Begins a transaction: with its first statement, or now, where a connection may come with one open.
    pub(crate) async fn begin(&mut self) -> Result<()> {
        let begin = self.owner.habits.begin.to_string();
        self.begun = true;
        if self.owner.habits.keep {
            self.held.begin = Some(begin);
            return Ok(());
        }
        match D::run(self, begin.clone()).await {
            Err(error) if D::is_in_transaction(&error) => {
                // In a pool of the caller's, a connection may come back with a transaction open that
                // was dropped half way. Nobody can commit that any more.
                let _ = D::run(self, "ROLLBACK".to_owned()).await;
                D::run(self, begin).await
            }
            begun => begun,
        }
        .map_err(D::error)
    }

    /// Commits what was begun, or undoes it when the work failed, and gives the connection back.
    pub(crate) async fn end<T>(mut self, done: Result<T, Failure>) -> Result<T, Failure> {
        let done = match done {
            Ok(done) if self.begun => self.commit().await.map(|()| done),
            done => done,
        };
        if D::JOINS && self.begun && done.is_err() {
            // A cached text of several statements, of which one fails because the schema is no longer as
            // it was, ends the driver's thread when it fails once more, and the call waits for ever.
            let _ = D::forget_statements(&mut self).await;
        }
        let usable = match &done {
            Ok(_) => true,
            // Fails when the error ended the transaction by itself, as a full disk does.
            Err(_) if self.begun => {
                let undone = D::run(&mut self, "ROLLBACK".to_owned()).await;
                undone.is_ok() || D::ping(&mut self).await.is_ok()
            }
            Err(_) => D::ping(&mut self).await.is_ok(),
        };
        match usable {
            true => self.rest(),
            false => self.owner.forget_rested(),
        }
        done
    }

    /// Commits, with what was held back.
    async fn commit(&mut self) -> Result<(), Failure> {
        let mut held = std::mem::take(&mut self.held);
        let Habits {
            prepares,
            writes_alone,
            ..
        } = self.owner.habits;
        match held.write.take() {
            // All that there is to the transaction.
            Some(write) if held.begin.is_some() && writes_alone => {
                let done = D::execute(self, write, prepares).await;
                return done.map_err(Failure::of::<D>);
            }
            Some(mut write) if D::JOINS => {
                write.push("; COMMIT");
                let write = held.with_begin(write).map_err(Failure::of::<D>)?;
                let Err(error) = D::execute(self, write, prepares).await else {
                    return Ok(());
                };
                // What is undone now was not committed. An error that ended the transaction by itself
                // does not say which of the two statements it is of.
                let undone = D::run(self, "ROLLBACK".to_owned()).await;
                return Err(match undone {
                    Ok(()) => Failure::of::<D>(error),
                    Err(_) => Failure::Unknown(D::error(error)),
                });
            }
            Some(write) => {
                if let Some(begin) = held.begin.take() {
                    let begun = D::run(self, begin).await;
                    begun.map_err(Failure::of::<D>)?;
                }
                let written = D::execute(self, write, prepares).await;
                written.map_err(Failure::of::<D>)?;
            }
            // Nothing was asked of the engine.
            None if held.begin.is_some() => return Ok(()),
            None => {}
        }
        match D::run(self, "COMMIT".to_owned()).await {
            Err(error) if D::is_conflict(&error) => Err(Failure::of::<D>(error)),
            Err(error) => Err(Failure::Unknown(D::error(error))),
            Ok(()) => Ok(()),
        }
    }

    /// Gives the connection back.
    fn rest(mut self) {
        if let Some(connection) = self.connection.take()
            && self.owner.habits.keep
        {
            self.owner.resting().push(Rested {
                connection,
                since: Instant::now(),
                planned: self.planned,
            });
        }
    }
}

impl<D: Dialect> Drop for Session<'_, D> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && self.owner.is_replaceable()
        {
            drop(connection.detach());
        }
    }
}

impl<D: Dialect> Deref for Session<'_, D> {
    type Target = D::Connection;

    #[expect(
        clippy::expect_used,
        reason = "taken only by what consumes the session"
    )]
    fn deref(&self) -> &D::Connection {
        self.connection.as_deref().expect("still here")
    }
}

impl<D: Dialect> DerefMut for Session<'_, D> {
    #[expect(
        clippy::expect_used,
        reason = "taken only by what consumes the session"
    )]
    fn deref_mut(&mut self) -> &mut D::Connection {
        self.connection.as_deref_mut().expect("still here")
    }
}
