//! The suite of every backend, run on MySQL or MariaDB: in a database of its own for each test.
#![cfg(feature = "mysql")]

mod common;

use std::sync::Arc;

use async_trait::async_trait;
use jobstore_conformance::{Capabilities, Harness, Surroundings, Tamper, Tampering, Versions};
use jobstore_core::{JobId, JobStore, ManualClock, Result};
use jobstore_sql::ClaimBy;

use common::mysql::{Database, run};
use common::requests::{Requests, versions};

struct MySql {
    claim_by: ClaimBy,
}

#[async_trait]
impl Harness for MySql {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            shared: true,
            arrivals: true,
        }
    }

    async fn fresh(&self, clock: ManualClock) -> Result<Box<dyn Surroundings>> {
        Ok(Box::new(InDatabase {
            database: Database::new().await,
            clock,
            claim_by: self.claim_by,
            requests: Requests::default(),
        }))
    }

    fn name(&self) -> Option<&str> {
        Some("MySQL and MariaDB")
    }

    async fn versions(&self) -> Result<Versions> {
        let database = Database::new().await;
        let store = database.open().await;
        Ok(versions(&store.about().await?))
    }
}

struct InDatabase {
    database: Database,
    clock: ManualClock,
    claim_by: ClaimBy,
    requests: Requests,
}

#[async_trait]
impl Surroundings for InDatabase {
    async fn open(&self) -> Result<Arc<dyn JobStore>> {
        let options = self.database.options().with_max_connections(4);
        let options = options.with_claim_by(self.claim_by);
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
}

#[async_trait]
impl Tamper for InDatabase {
    async fn tamper(&self, id: JobId, with: Tampering) -> Result<()> {
        let set = match with {
            // No UTF-8.
            Tampering::Unreadable => "params = X'ff'".to_owned(),
            Tampering::Params(text) => format!("params = '{text}'"),
        };
        let mut other = self.database.connect().await;
        run(
            &mut other,
            &format!("UPDATE jobs SET {set} WHERE id = '{id}'"),
        )
        .await;
        Ok(())
    }
}

mod mysql {
    use super::*;

    const HARNESS: MySql = MySql {
        claim_by: ClaimBy::SkipLocked,
    };

    jobstore_conformance::conformance_tests!(HARNESS, without kill, power_cut);
    jobstore_conformance::conformance_model_tests!(HARNESS, 48);
    jobstore_conformance::conformance_history_tests!(HARNESS);
}
