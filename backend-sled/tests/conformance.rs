//! The suite of every backend, run on a sled store of its own for each test.

use std::sync::Arc;

use async_trait::async_trait;
use jobstore_conformance::{Capabilities, Harness, Surroundings};
use jobstore_core::{JobStore, ManualClock, Result};
use jobstore_sled::{Repair, SledOptions};
use tempfile::TempDir;

struct Sled;

#[async_trait]
impl Harness for Sled {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            // sled lets one handle have the store.
            shared: false,
        }
    }

    async fn fresh(&self, clock: ManualClock) -> Result<Box<dyn Surroundings>> {
        let folder = tempfile::tempdir().expect("makes a folder");
        Ok(Box::new(Place { folder, clock }))
    }
}

struct Place {
    folder: TempDir,
    clock: ManualClock,
}

#[async_trait]
impl Surroundings for Place {
    async fn open(&self) -> Result<Arc<dyn JobStore>> {
        let options = SledOptions::new(self.folder.path().join("jobs"));
        let store = options
            .with_clock(Arc::new(self.clock.clone()))
            .open()
            .await?;
        // Between any two openings the indexes must say what the jobs say.
        let report = store.check(Repair::No, |difference| eprintln!("{difference}"));
        assert_eq!(report.await?.differences, 0);
        Ok(Arc::new(store))
    }
}

jobstore_conformance::conformance_tests!(Sled);
jobstore_conformance::conformance_durable_tests!(Sled);
jobstore_conformance::conformance_model_tests!(Sled);
