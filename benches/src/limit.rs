//! The limit: what the engine itself does in the same time, driven directly with the least work that
//! has the same effect and the same durability as the store's.
//!
//! # What a limit does
//!
//! * It **stores the whole job**: every column or byte that the store keeps, and every index it keeps
//!   them in. Where that is not so, the documentation of the limit says what differs, and the report
//!   repeats it.
//! * It **makes each step as durable** as the store's default does, before it answers.
//! * It **reads what a caller gets**: every column of each job that is claimed or listed is fetched,
//!   and its text copied once, since a caller must own it ([`std::hint::black_box`] keeps it).
//! * It **guards** what the store guards: a job is claimed once, in the order of claims, and is finished
//!   only while it runs under the claim given.
//!
//! # What a limit does not
//!
//! It checks no input, knows no retries, no other writers, no unreadable rows and no errors (it panics),
//! and uses nothing of the store's code on the way: statements are prepared once, and the driver is the
//! fastest there is, not the one that the store uses. One that beats the store by leaving out what
//! callers need is no limit.
//!
//! # How it is measured
//!
//! Alone, [`Limit::write`] gets one call at a time. [`Raw`] is for many callers: tasks, each with a
//! limit of its own, that take the calls that wait. Taking one each is one commit for each call, taking
//! all is raw group commit.

mod kv;
mod memory;
mod mysql;
mod postgres;
mod server;
mod sqlite;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use jobstore::{Claim, JobId, NewJob, Timestamp};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::Engine;

/// Who claims, in every benchmark.
pub const OWNER: &str = "bench";

/// What one call writes.
#[derive(Clone, Debug)]
pub enum Write {
    /// Stores these jobs, pending. They have no id yet and no unique key.
    Create(Vec<NewJob>),
    /// Starts the first jobs of this name that are due, by the store's order of claims, for [`OWNER`]
    /// and an hour.
    Claim {
        /// Of this name.
        name: String,
        /// At most this many.
        limit: u32,
    },
    /// Ends these jobs as succeeded, without a result: those that still run under their claim.
    Finish(Vec<Claim>),
}

/// What a page held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// How many jobs.
    pub jobs: usize,
    /// The place of its last job, after which the next page starts.
    pub last: Option<(Timestamp, JobId)>,
}

/// An engine driven directly; see the [module](self).
#[async_trait]
pub trait Limit: Send + 'static {
    /// Does all of these calls in one durable step, in any order, since all of them wait.
    ///
    /// Answers each in its place: the jobs created, claimed in the order of claims, or finished.
    /// Those created have fence 0. May block.
    async fn write(&mut self, calls: Vec<Write>) -> Vec<Vec<Claim>>;

    /// Reads the jobs after this place in the order of listing, of any name and status. May block.
    async fn page(&mut self, after: Option<(Timestamp, JobId)>, size: usize) -> Page;
}

impl Engine {
    /// Opens this many writers of the engine on an empty place, which is a URL as the store takes it;
    /// engines that write by one writer give one.
    pub async fn limit(self, url: &str, writers: usize) -> Vec<Box<dyn Limit>> {
        let path = url.split_once("://").map_or(url, |(_, path)| path);
        match self {
            Self::Memory => vec![memory::open()],
            Self::Sqlite => vec![sqlite::open(Path::new(path))],
            Self::Sled => vec![kv::sled(Path::new(path))],
            Self::Redb => vec![kv::redb(Path::new(path))],
            Self::Postgres => postgres::open(url, writers).await,
            Self::MariaDb => mysql::open(url, writers).await,
        }
    }
}

type Call = (Write, oneshot::Sender<Vec<Claim>>);

/// Limits that many callers share.
#[derive(Clone)]
pub struct Raw(mpsc::UnboundedSender<Call>);

impl Raw {
    /// Starts a task for each limit, which takes at most `merge` of the calls that wait into one step.
    pub fn spawn(limits: Vec<Box<dyn Limit>>, merge: usize) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let receiver = Arc::new(Mutex::new(receiver));
        for limit in limits {
            tokio::spawn(serve(limit, Arc::clone(&receiver), merge));
        }
        Self(sender)
    }

    /// Has this written by the next limit that is free.
    pub async fn write(&self, call: Write) -> Vec<Claim> {
        let (sender, receiver) = oneshot::channel();
        self.0.send((call, sender)).expect("the tasks run");
        receiver.await.expect("the limit answers")
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Raw")
    }
}

async fn serve(
    mut limit: Box<dyn Limit>,
    receiver: Arc<Mutex<mpsc::UnboundedReceiver<Call>>>,
    merge: usize,
) {
    let mut waiting = Vec::new();
    while receiver.lock().await.recv_many(&mut waiting, merge).await > 0 {
        let (calls, callers): (Vec<_>, Vec<_>) = waiting.drain(..).unzip();
        for (claims, caller) in limit.write(calls).await.into_iter().zip(callers) {
            caller.send(claims).expect("the caller waits");
        }
    }
}
