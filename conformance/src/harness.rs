//! What a backend hands over to be tested.

use std::sync::Arc;

use async_trait::async_trait;
use jobstore_core::{JobId, JobStore, ManualClock, Result};

/// A backend, as the suite sees it: a maker of fresh, empty stores.
#[async_trait]
pub trait Harness: Send + Sync {
    /// What this backend promises beside the contract's core.
    fn capabilities(&self) -> Capabilities;

    /// Makes surroundings with no jobs in them, shared with no other test: a new file, a new
    /// schema. Their stores take every time from `clock`, which the suite drives.
    async fn fresh(&self, clock: ManualClock) -> Result<Box<dyn Surroundings>>;

    /// The backend's name in reports and on its [`Certificate`](crate::Certificate); of tests whose
    /// backend has none, no certificate is made.
    fn name(&self) -> Option<&str> {
        None
    }

    /// Which versions are tested, for the certificate.
    async fn versions(&self) -> Result<Versions> {
        Ok(Versions::default())
    }
}

/// Which versions a certificate is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// The backend's own, as `env!("CARGO_PKG_VERSION")` says.
    pub backend: String,
    /// The engine under it, with its version: `PostgreSQL 15.18`. Empty when there is none.
    pub engine: String,
}

/// One place that holds jobs. Dropping it cleans up.
///
/// Beside opening handles, surroundings may have *hooks*: things that no store does and that some
/// rules need. What a hook is not there for is said in every report.
#[async_trait]
pub trait Surroundings: Send + Sync {
    /// Opens a handle on the jobs that are here.
    async fn open(&self) -> Result<Arc<dyn JobStore>>;

    /// Called after the suite dropped every handle and before it opens the next: waits for what a
    /// backend still does in the background, if anything.
    async fn close(&self) {}

    /// The hook that writes what no store of ours writes.
    fn tamper(&self) -> Option<&dyn Tamper> {
        None
    }

    /// The hook that counts: how many requests all handles together have sent to the engine so far.
    /// Statements, where the engine takes statements; else keys asked for and entries read.
    fn requests(&self) -> Option<u64> {
        None
    }

    /// The hook that ends the process which holds the jobs, as SIGKILL does.
    fn kill(&self) -> Option<&dyn Crash> {
        None
    }

    /// The hook that cuts the power of the disk on which the jobs are.
    fn power_cut(&self) -> Option<&dyn Crash> {
        None
    }
}

/// Writes to the jobs as another program would.
#[async_trait]
pub trait Tamper: Send + Sync {
    /// Changes how this job is stored. The suite has closed its handle and opens another afterwards.
    async fn tamper(&self, id: JobId, with: Tampering) -> Result<()>;
}

/// What another program, or a later version, has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tampering {
    /// Something that cannot be read as a job, still in its place in every index: a text that is no
    /// UTF-8, a number out of range, an encoding that does not exist yet.
    Unreadable,
    /// Params of this text, unchecked. It is as long as what it replaces.
    Params(&'static str),
}

/// Ends whatever holds the jobs, at once and without warning.
#[async_trait]
pub trait Crash: Send + Sync {
    /// Called while a handle is open and no call is under way. Afterwards
    /// [`open`](Surroundings::open) opens what is left, and handles from before are only dropped.
    async fn crash(&self) -> Result<()>;
}

/// What a backend promises beside the contract's core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Jobs survive when every handle is dropped and a new one is opened.
    pub durable: bool,
    /// Several handles may be open at once and see the same jobs.
    pub shared: bool,
    /// [`JobStore::arrivals`] tells of the jobs that calls on the same handle leave due.
    pub arrivals: bool,
}
