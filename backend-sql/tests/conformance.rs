//! The suite of every backend, run on SQLite: in a file of its own for each test, and in memory.
#![cfg(feature = "sqlite")]

mod common;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jobstore_conformance::{
    Capabilities, Crash, Harness, Surroundings, Tamper, Tampering, Versions,
};
use jobstore_core::{JobId, JobStore, ManualClock, Result};
use jobstore_sql::{SqliteJobStore, SqliteOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use tempfile::TempDir;

use common::requests::{Requests, versions};

struct SqliteFile;

#[async_trait]
impl Harness for SqliteFile {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            shared: true,
            arrivals: true,
        }
    }

    async fn fresh(&self, clock: ManualClock) -> Result<Box<dyn Surroundings>> {
        let folder = tempfile::tempdir().expect("makes a folder");
        let file = Mutex::new(folder.path().join("jobs.db"));
        Ok(Box::new(File {
            folder,
            file,
            clock,
            requests: Requests::default(),
        }))
    }

    fn name(&self) -> Option<&str> {
        Some("SQLite, in a file")
    }

    async fn versions(&self) -> Result<Versions> {
        let store = SqliteOptions::in_memory().open().await?;
        Ok(versions(&store.about().await?))
    }
}

struct File {
    folder: TempDir,
    file: Mutex<PathBuf>,
    clock: ManualClock,
    requests: Requests,
}

impl File {
    fn file(&self) -> PathBuf {
        self.file.lock().expect("no panic").clone()
    }
}

#[async_trait]
impl Surroundings for File {
    async fn open(&self) -> Result<Arc<dyn JobStore>> {
        let options = SqliteOptions::new(self.file());
        let options = options.with_clock(Arc::new(self.clock.clone()));
        let store = options.open().await?;
        self.requests.add(store.statements());
        Ok(Arc::new(store))
    }

    fn tamper(&self) -> Option<&dyn Tamper> {
        Some(self)
    }

    fn requests(&self) -> Option<u64> {
        Some(self.requests.sent())
    }

    fn kill(&self) -> Option<&dyn Crash> {
        Some(self)
    }
}

#[async_trait]
impl Tamper for File {
    async fn tamper(&self, id: JobId, with: Tampering) -> Result<()> {
        let set = match with {
            Tampering::Unreadable => "timeout = -1, params = CAST(x'7BFF7D' AS TEXT)".to_owned(),
            Tampering::Params(text) => format!("params = '{text}'"),
        };
        let sql = format!("UPDATE jobs SET {set} WHERE id = '{id}'");
        let options = SqliteConnectOptions::new().filename(self.file());
        let connected = SqliteConnection::connect_with(&options).await;
        let mut connection = connected.expect("connects");
        let done = connection.execute(AssertSqlSafe(sql)).await.expect("runs");
        assert_eq!(done.rows_affected(), 1);
        connection.close().await.expect("closes");
        Ok(())
    }
}

#[async_trait]
impl Crash for File {
    async fn crash(&self) -> Result<()> {
        // What the system has of the files now is what a killed process would leave. The index of
        // the log is left out, since SQLite makes it anew.
        let folder = self.folder.path().join(JobId::generate().to_string());
        std::fs::create_dir(&folder).expect("makes a folder");
        let file = self.file();
        for name in ["jobs.db", "jobs.db-wal"] {
            let from = file.with_file_name(name);
            std::fs::copy(from, folder.join(name)).expect("copies");
        }
        *self.file.lock().expect("no panic") = folder.join("jobs.db");
        Ok(())
    }
}

struct SqliteMemory;

#[async_trait]
impl Harness for SqliteMemory {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: false,
            shared: true,
            arrivals: true,
        }
    }

    async fn fresh(&self, clock: ManualClock) -> Result<Box<dyn Surroundings>> {
        let options = SqliteOptions::in_memory().with_clock(Arc::new(clock));
        Ok(Box::new(Held(options.open().await?)))
    }

    fn name(&self) -> Option<&str> {
        Some("SQLite, in memory")
    }

    async fn versions(&self) -> Result<Versions> {
        let store = SqliteOptions::in_memory().open().await?;
        Ok(versions(&store.about().await?))
    }
}

/// A store in memory lives in its handle: every other is a clone.
struct Held(SqliteJobStore);

#[async_trait]
impl Surroundings for Held {
    async fn open(&self) -> Result<Arc<dyn JobStore>> {
        Ok(Arc::new(self.0.clone()))
    }

    fn requests(&self) -> Option<u64> {
        Some(self.0.statements().sent())
    }
}

mod file {
    use super::*;

    jobstore_conformance::conformance_tests!(SqliteFile, without power_cut);
    jobstore_conformance::conformance_model_tests!(SqliteFile);
    jobstore_conformance::conformance_history_tests!(SqliteFile);
}

mod memory {
    use super::*;

    jobstore_conformance::conformance_tests!(
        SqliteMemory,
        without durable, tamper, kill, power_cut
    );
    jobstore_conformance::conformance_model_tests!(SqliteMemory);
    jobstore_conformance::conformance_history_tests!(SqliteMemory);
}
