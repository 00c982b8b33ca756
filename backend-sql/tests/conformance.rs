//! The suite of every backend, run on SQLite: in a file of its own for each test, and in memory.
#![cfg(feature = "sqlite")]

use std::sync::Arc;

use async_trait::async_trait;
use jobstore_conformance::{Capabilities, Harness, Surroundings};
use jobstore_core::{JobStore, ManualClock, Result};
use jobstore_sql::{SqliteJobStore, SqliteOptions};
use tempfile::TempDir;

struct SqliteFile;

#[async_trait]
impl Harness for SqliteFile {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            shared: true,
        }
    }

    async fn fresh(&self, clock: ManualClock) -> Result<Box<dyn Surroundings>> {
        let folder = tempfile::tempdir().expect("makes a folder");
        Ok(Box::new(File { folder, clock }))
    }
}

struct File {
    folder: TempDir,
    clock: ManualClock,
}

#[async_trait]
impl Surroundings for File {
    async fn open(&self) -> Result<Arc<dyn JobStore>> {
        let options = SqliteOptions::new(self.folder.path().join("jobs.db"));
        Ok(Arc::new(
            options
                .with_clock(Arc::new(self.clock.clone()))
                .open()
                .await?,
        ))
    }
}

struct SqliteMemory;

#[async_trait]
impl Harness for SqliteMemory {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: false,
            shared: true,
        }
    }

    async fn fresh(&self, clock: ManualClock) -> Result<Box<dyn Surroundings>> {
        let options = SqliteOptions::in_memory().with_clock(Arc::new(clock));
        Ok(Box::new(Held(options.open().await?)))
    }
}

/// A store in memory lives in its handle: every other is a clone.
struct Held(SqliteJobStore);

#[async_trait]
impl Surroundings for Held {
    async fn open(&self) -> Result<Arc<dyn JobStore>> {
        Ok(Arc::new(self.0.clone()))
    }
}

mod file {
    use super::*;

    jobstore_conformance::conformance_tests!(SqliteFile);
    jobstore_conformance::conformance_durable_tests!(SqliteFile);
    jobstore_conformance::conformance_shared_tests!(SqliteFile);
    jobstore_conformance::conformance_model_tests!(SqliteFile);
}

mod memory {
    use super::*;

    jobstore_conformance::conformance_tests!(SqliteMemory);
    jobstore_conformance::conformance_shared_tests!(SqliteMemory);
    jobstore_conformance::conformance_model_tests!(SqliteMemory);
}
