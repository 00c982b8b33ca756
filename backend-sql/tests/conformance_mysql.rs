//! The suite of every backend, run on MySQL or MariaDB: in a database of its own for each test.
#![cfg(feature = "mysql")]

mod common;

use std::sync::Arc;

use async_trait::async_trait;
use jobstore_conformance::{Capabilities, Harness, Surroundings};
use jobstore_core::{JobStore, ManualClock, Result};
use jobstore_sql::ClaimBy;

use common::mysql::Database;

struct MySql {
    claim_by: ClaimBy,
}

#[async_trait]
impl Harness for MySql {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            shared: true,
        }
    }

    async fn fresh(&self, clock: ManualClock) -> Result<Box<dyn Surroundings>> {
        Ok(Box::new(InDatabase {
            database: Database::new().await,
            clock,
            claim_by: self.claim_by,
        }))
    }
}

struct InDatabase {
    database: Database,
    clock: ManualClock,
    claim_by: ClaimBy,
}

#[async_trait]
impl Surroundings for InDatabase {
    async fn open(&self) -> Result<Arc<dyn JobStore>> {
        let options = self.database.options().with_max_connections(4);
        let options = options.with_claim_by(self.claim_by);
        let options = options.with_clock(Arc::new(self.clock.clone()));
        Ok(Arc::new(options.open().await?))
    }
}

mod mysql {
    use super::*;

    const HARNESS: MySql = MySql {
        claim_by: ClaimBy::SkipLocked,
    };

    jobstore_conformance::conformance_tests!(HARNESS);
    jobstore_conformance::conformance_durable_tests!(HARNESS);
    jobstore_conformance::conformance_shared_tests!(HARNESS);
    jobstore_conformance::conformance_model_tests!(HARNESS, 48);
}
