//! The suite of every backend, run on PostgreSQL: in a schema of its own for each test.
#![cfg(feature = "postgres")]

mod common;

use std::sync::Arc;

use async_trait::async_trait;
use jobstore_conformance::{Capabilities, Harness, Surroundings, Versions};
use jobstore_core::{JobStore, ManualClock, Result};
use jobstore_sql::ClaimBy;

use common::postgres::Schema;
use common::requests::{Requests, versions};

struct Postgres {
    claim_by: ClaimBy,
}

#[async_trait]
impl Harness for Postgres {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            shared: true,
            arrivals: true,
        }
    }

    async fn fresh(&self, clock: ManualClock) -> Result<Box<dyn Surroundings>> {
        Ok(Box::new(InSchema {
            schema: Schema::new(),
            clock,
            claim_by: self.claim_by,
            requests: Requests::default(),
        }))
    }

    fn name(&self) -> Option<&str> {
        (self.claim_by == ClaimBy::SkipLocked).then_some("PostgreSQL")
    }

    async fn versions(&self) -> Result<Versions> {
        let schema = Schema::new();
        let store = schema.options().open().await?;
        Ok(versions(&store.about().await?))
    }
}

struct InSchema {
    schema: Schema,
    clock: ManualClock,
    claim_by: ClaimBy,
    requests: Requests,
}

#[async_trait]
impl Surroundings for InSchema {
    async fn open(&self) -> Result<Arc<dyn JobStore>> {
        let options = self.schema.options().with_max_connections(4);
        let options = options.with_claim_by(self.claim_by);
        let options = options.with_clock(Arc::new(self.clock.clone()));
        let store = options.open().await?;
        self.requests.add(store.statements());
        Ok(Arc::new(store))
    }

    fn requests(&self) -> Option<u64> {
        Some(self.requests.sent())
    }
}

mod postgres {
    use super::*;

    const HARNESS: Postgres = Postgres {
        claim_by: ClaimBy::SkipLocked,
    };

    // The checks of the table keep out what no claim could read.
    jobstore_conformance::conformance_tests!(HARNESS, without tamper, kill, power_cut);
    jobstore_conformance::conformance_model_tests!(HARNESS, 48);
    jobstore_conformance::conformance_history_tests!(HARNESS);
}

/// The rules that callers at once could break, on servers where claims keep apart by guard alone.
mod postgres_by_guard {
    use super::*;

    #[test]
    fn every_rule_is_kept_without_skip_locked() {
        let harness = Postgres {
            claim_by: ClaimBy::Guard,
        };
        let runtime = tokio::runtime::Runtime::new().expect("makes a runtime");
        let report = runtime.block_on(jobstore_conformance::run(&harness, "claim"));
        assert!(report.is_success(), "{report}");
    }
}
