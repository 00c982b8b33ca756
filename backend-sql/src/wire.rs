//! How statements go to the engine: one by one, or several together.
//!
//! A transaction begins with its first statement, and what it writes last is held back until its end. If
//! that is all, and the engine allows it, one statement is sent instead of three.

use std::fmt::{self, Debug};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::dialect::{ClaimBy, Columns, Dialect, Driver, Packed, Statement};
use crate::error::{Failure, FailureExt as _};
use crate::row::{self, Found};

/// The most jobs in one text, so that it stays far from the longest there can be.
const MAX_PACKED: usize = 1000;

/// A connection, and how statements go over it.
#[derive(Debug)]
pub struct Wire<'a, D: Driver> {
    /// The connection.
    pub connection: &'a mut D::Connection,
    /// Whether the connection keeps statements prepared.
    pub prepares: bool,
    /// How claims keep out of each other's way.
    pub claim_by: ClaimBy,
    /// The longest statement that the engine takes, in bytes.
    pub packet: usize,
    /// Counts the statements.
    pub sent: &'a AtomicU64,
    /// What goes with the next statement, in a transaction that may hold something back.
    pub held: Option<&'a mut Held<D>>,
}

/// What a transaction has yet to send.
pub struct Held<D: Driver> {
    /// Begins it.
    pub(crate) begin: Option<String>,
    /// Returns no rows.
    pub(crate) write: Option<Statement<D>>,
}

impl<D: Driver> Default for Held<D> {
    /// Nothing.
    fn default() -> Self {
        Self {
            begin: None,
            write: None,
        }
    }
}

impl<D: Driver> Debug for Held<D> {
    /// Without values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

impl<D: Driver> Held<D> {
    /// The statement, behind the beginning of the transaction where that was held back.
    pub(crate) fn with_begin(&mut self, mut statement: Statement<D>) -> sqlx::Result<Statement<D>> {
        match self.begin.take() {
            Some(begin) => D::behind(&begin, &mut statement),
            None => Ok(statement),
        }
    }
}

impl<D: Dialect> Wire<'_, D> {
    /// Runs a statement that returns no rows: now, or with the next, which then has its error.
    pub(crate) async fn execute(&mut self, statement: Statement<D>) -> Result<(), Failure> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let now = match &mut self.held {
            Some(held) => held.write.replace(statement),
            None => Some(statement),
        };
        match now {
            Some(statement) => self.send(statement).await,
            None => Ok(()),
        }
    }

    /// Begins the transaction, if nothing has yet.
    pub(crate) async fn begin(&mut self) -> Result<(), Failure> {
        match self.held.as_mut().and_then(|held| held.begin.take()) {
            Some(begin) => self.run_now(begin).await,
            None => Ok(()),
        }
    }

    /// Sends what was held back, for who goes on by the connection itself.
    pub(crate) async fn catch_up(&mut self) -> Result<(), Failure> {
        self.send_held().await?;
        self.begin().await
    }

    async fn send_held(&mut self) -> Result<(), Failure> {
        match self.held.as_mut().and_then(|held| held.write.take()) {
            Some(write) => self.send(write).await,
            None => Ok(()),
        }
    }

    async fn send(&mut self, statement: Statement<D>) -> Result<(), Failure> {
        let statement = self.with_begin(statement).await?;
        let done = D::execute(self.connection, statement, self.prepares).await;
        done.map_err(Failure::of::<D>)
    }

    /// The statement, behind the beginning of the transaction unless that was sent.
    async fn with_begin(&mut self, statement: Statement<D>) -> Result<Statement<D>, Failure> {
        match &mut self.held {
            Some(held) if D::JOINS => held.with_begin(statement).map_err(Failure::of::<D>),
            _ => self.begin().await.map(|()| statement),
        }
    }

    /// Runs a statement and shows each row to `each`, none kept.
    pub(crate) async fn fetch<F>(&mut self, statement: Statement<D>, each: F) -> Result<(), Failure>
    where
        F: FnMut(&D::Row) + Send,
    {
        self.send_held().await?;
        let statement = self.with_begin(statement).await?;
        self.sent.fetch_add(1, Ordering::Relaxed);
        let done = D::fetch(self.connection, statement, self.prepares, each).await;
        done.map_err(Failure::of::<D>)
    }

    /// Shows each job that a query finds to `each`, in any order: at most `limit` of them. `write`
    /// writes the query, between the beginning and the end that it is given.
    pub(crate) async fn fetch_jobs(
        &mut self,
        limit: usize,
        write: impl Fn(Columns) -> Statement<D> + Send,
        mut each: impl FnMut(Found) + Send,
    ) -> Result<(), Failure> {
        if let Some(Packed { columns, unpack }) = D::PACKED.filter(|_| limit <= MAX_PACKED) {
            let mut jobs = None;
            let statement = write(*columns);
            self.fetch(statement, |row| {
                let text = D::text(row, 0).ok();
                jobs = text.and_then(|text| unpack(&text.unwrap_or_default()));
            })
            .await?;
            if let Some(jobs) = jobs {
                jobs.into_iter().map(Found::from).for_each(each);
                return Ok(());
            }
        }
        let statement = write(Columns::ROWS);
        self.fetch(statement, |row| each(row::find::<D>(row))).await
    }

    /// Runs several statements without arguments, as they are.
    pub(crate) async fn run(&mut self, sql: impl Into<String>) -> Result<(), Failure> {
        let sql = sql.into();
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.catch_up().await?;
        self.run_now(sql).await
    }

    async fn run_now(&mut self, sql: String) -> Result<(), Failure> {
        let done = D::run(self.connection, sql).await;
        done.map_err(Failure::of::<D>)
    }
}
