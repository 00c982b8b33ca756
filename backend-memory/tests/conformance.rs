//! The suite of every backend, run on the memory store.

use std::sync::Arc;

use async_trait::async_trait;
use jobstore_conformance::{Capabilities, Harness, Surroundings, Versions};
use jobstore_core::{JobStore, ManualClock, Result};
use jobstore_memory::MemoryJobStore;

struct Memory;

#[async_trait]
impl Harness for Memory {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: false,
            shared: true,
            arrivals: true,
        }
    }

    async fn fresh(&self, clock: ManualClock) -> Result<Box<dyn Surroundings>> {
        let store = MemoryJobStore::with_clock(Arc::new(clock));
        Ok(Box::new(Held(Arc::new(store))))
    }

    fn name(&self) -> Option<&str> {
        Some("memory")
    }

    async fn versions(&self) -> Result<Versions> {
        Ok(Versions {
            backend: env!("CARGO_PKG_VERSION").to_owned(),
            engine: String::new(),
        })
    }
}

/// The store itself is all there is: every handle is a share in it.
struct Held(Arc<MemoryJobStore>);

#[async_trait]
impl Surroundings for Held {
    async fn open(&self) -> Result<Arc<dyn JobStore>> {
        Ok(self.0.clone())
    }
}

jobstore_conformance::conformance_tests!(
    Memory,
    without durable, tamper, requests, kill, power_cut
);
jobstore_conformance::conformance_model_tests!(Memory, 400);
jobstore_conformance::conformance_history_tests!(Memory, 300, 20_000);
