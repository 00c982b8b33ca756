//! Group commit: the tasks that write to a store's engine, and the calls they merge.
//!
//! While a transaction is being committed, calls gather in a channel; the next transaction takes
//! all of them. There is no timer: a caller alone waits for nobody, many callers share one commit,
//! and those that one commit answered, when they call again at once, share the next.
//!
//! A backend writes [`Engine::commit`], which runs one [`Group`] of calls in one transaction. What
//! is done when that fails stands here: a conflict is tried again, with a bound; a group that one
//! call may have spoilt is run again call by call; what may have happened is never run again.
//!
//! The tasks run on the tokio runtime that [`GroupCommit::spawn`] was called on.
#![forbid(unsafe_code)]

mod group;
mod settle;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use jobstore_core::{
    Arrivals, Bell, ClaimRequest, Creation, DeleteRequest, Error, Job, JobId, NewJob, Result,
    Update,
};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::group::{Call, Merged, Reply};

pub use crate::group::{Answers, Group};

/// The most calls in one transaction.
const MAX_MERGED: usize = 512;

/// Why a transaction did not come to its end.
#[derive(Clone, Debug)]
pub enum Failure {
    /// Another writer was in the way, and the transaction did nothing: run again, it will see what
    /// the other did.
    Conflict(Error),
    /// The transaction did nothing.
    Refused(Error),
    /// The engine did not say whether the commit happened.
    Unknown(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Conflict(error) | Failure::Refused(error) | Failure::Unknown(error) => error,
        }
    }
}

/// What runs a group of calls.
pub trait Engine: Send + Sync + 'static {
    /// Runs every call of the group in one transaction, in any order, and answers each.
    ///
    /// All calls wait, so all of them are concurrent, and any order among them is right. The group
    /// may be kept, so that it can be handed to another thread.
    ///
    /// # Errors
    ///
    /// A [`Failure`] for the transaction as a whole; what is refused of one call alone stands in
    /// the [`Answers`].
    fn commit(&self, group: &Arc<Group>) -> impl Future<Output = Result<Answers, Failure>> + Send;
}

/// The way to the writing tasks. They end when the last clone of this is gone and every call that
/// was made is answered.
///
/// # Cancel safety
///
/// When the future of a call is dropped, the call has happened wholly or not at all, because the
/// tasks do not depend on who waits. A call that was not begun by then is left out.
#[derive(Clone)]
pub struct GroupCommit {
    calls: mpsc::Sender<Call>,
    arrivals: Bell,
}

impl GroupCommit {
    /// Starts as many tasks as the engine runs transactions at once.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn spawn<E: Engine>(engine: E, writers: usize) -> Self {
        let (sender, receiver) = mpsc::channel(MAX_MERGED);
        let receiver = Arc::new(Mutex::new(receiver));
        let engine = Arc::new(engine);
        let arrivals = Bell::default();
        for _ in 0..writers {
            let (engine, receiver) = (Arc::clone(&engine), Arc::clone(&receiver));
            tokio::spawn(run(engine, receiver, arrivals.clone()));
        }
        Self {
            calls: sender,
            arrivals,
        }
    }

    /// Hints of jobs that were written by these tasks and can be claimed.
    pub fn arrivals(&self) -> Arrivals {
        self.arrivals.listen()
    }

    /// Creates jobs, all or none of the call.
    ///
    /// # Errors
    ///
    /// The call's own, and what the engine brings about. [`Error::Unavailable`] when the runtime
    /// of the tasks is gone.
    pub async fn create(&self, jobs: Vec<NewJob>) -> Result<Vec<Creation>> {
        self.call(|reply| Call::Create(jobs, reply)).await
    }

    /// Updates jobs, with a verdict for each.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub async fn update(&self, updates: Vec<Update>) -> Result<Vec<Result<Job>>> {
        self.call(|reply| Call::Update(updates, reply)).await
    }

    /// Claims jobs.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub async fn claim(&self, request: ClaimRequest) -> Result<Vec<Job>> {
        self.call(|reply| Call::Claim(request, reply)).await
    }

    /// Deletes jobs.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub async fn delete(&self, request: DeleteRequest) -> Result<Vec<JobId>> {
        self.call(|reply| Call::Delete(request, reply)).await
    }

    async fn call<Answer>(&self, call: impl FnOnce(Reply<Answer>) -> Call) -> Result<Answer> {
        let stopped = || Error::Unavailable {
            reason: "the store's writing task has ended".into(),
        };
        let (reply, answered) = oneshot::channel();
        self.calls.send(call(reply)).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

impl fmt::Debug for GroupCommit {
    /// Shows nothing of the calls: they hold params.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupCommit").finish_non_exhaustive()
    }
}

/// The receiving end, shared by the tasks. Whoever holds it gathers the next group.
type Receiver = Arc<Mutex<mpsc::Receiver<Call>>>;

async fn run<E: Engine>(engine: Arc<E>, receiver: Receiver, arrivals: Bell) {
    while let Some(calls) = gather(&receiver).await {
        settle::settle(&*engine, calls, &arrivals).await;
    }
}

/// Waits for a call and takes those that wait behind it; None when no handle is left.
async fn gather(receiver: &Receiver) -> Option<Merged> {
    let mut receiver = receiver.lock().await;
    let mut calls = Merged::default();
    calls.push(receiver.recv().await?);
    // Callers that were answered together call again together, but the first of them wakes this
    // task, often before the others had their turn. Going to the back of the queue, again as long as
    // that brings calls, costs a caller alone next to nothing, and spares the others a transaction of
    // their own.
    let mut gathered = 0;
    while gathered < calls.len() && calls.len() < MAX_MERGED {
        gathered = calls.len();
        tokio::task::yield_now().await;
        while calls.len() < MAX_MERGED
            && let Ok(call) = receiver.try_recv()
        {
            calls.push(call);
        }
    }
    Some(calls)
}
