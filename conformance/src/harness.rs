//! What a backend hands over to be tested.

use std::sync::Arc;

use async_trait::async_trait;
use jobstore_core::{JobStore, ManualClock, Result};

/// A backend, as the suite sees it: a maker of fresh, empty stores.
#[async_trait]
pub trait Harness: Send + Sync {
    /// What this backend promises beside the contract's core.
    fn capabilities(&self) -> Capabilities;

    /// Makes surroundings with no jobs in them, shared with no other test: a new file, a new
    /// schema. Their stores take every time from `clock`, which the suite drives.
    async fn fresh(&self, clock: ManualClock) -> Result<Box<dyn Surroundings>>;
}

/// One place that holds jobs. Dropping it cleans up.
#[async_trait]
pub trait Surroundings: Send + Sync {
    /// Opens a handle on the jobs that are here.
    async fn open(&self) -> Result<Arc<dyn JobStore>>;

    /// Called after the suite dropped every handle and before it opens the next: waits for what a
    /// backend still does in the background, if anything.
    async fn close(&self) {}
}

/// What a backend promises beside the contract's core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Jobs survive when every handle is dropped and a new one is opened.
    pub durable: bool,
    /// Several handles may be open at once and see the same jobs.
    pub shared: bool,
}
