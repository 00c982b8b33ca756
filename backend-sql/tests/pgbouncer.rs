//! PostgreSQL behind a real PgBouncer that gives each transaction another connection.
#![cfg(feature = "postgres")]

mod common;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jobstore_conformance::{Capabilities, Harness, Surroundings};
use jobstore_core::{
    ClaimRequest, Error, JobFilter, JobStatus, JobStore, JobStoreExt as _, ManualClock, NewJob,
    Result,
};
use jobstore_sql::PostgresOptions;
use jobstore_test_servers::{PgBouncer, Server};
use sqlx::postgres::PgConnectOptions;

use common::postgres::Schema;

/// Connections to the server, fewer than callers.
const CONNECTIONS: u16 = 4;

struct Pooled {
    direct: PgConnectOptions,
    bouncer: PgConnectOptions,
}

impl Pooled {
    fn start() -> (Server, PgBouncer, Self) {
        let server = Server::postgres().start().expect("starts");
        let bouncer = PgBouncer::in_front_of(&server, CONNECTIONS).expect("starts");
        let pooled = Self {
            direct: server.url().parse().expect("is a URL"),
            bouncer: bouncer.url().parse().expect("is a URL"),
        };
        (server, bouncer, pooled)
    }

    fn schema(&self) -> InSchema {
        InSchema {
            // Made and dropped past the pooler.
            schema: Schema::on(self.direct.clone()),
            bouncer: self.bouncer.clone(),
            clock: None,
        }
    }
}

#[async_trait]
impl Harness for Pooled {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            shared: true,
            arrivals: true,
        }
    }

    async fn fresh(&self, clock: ManualClock) -> Result<Box<dyn Surroundings>> {
        Ok(Box::new(InSchema {
            clock: Some(clock),
            ..self.schema()
        }))
    }
}

struct InSchema {
    schema: Schema,
    bouncer: PgConnectOptions,
    clock: Option<ManualClock>,
}

impl InSchema {
    fn options(&self) -> PostgresOptions {
        let options = PostgresOptions::new(self.bouncer.clone()).with_schema(&self.schema.name);
        options
            .with_transaction_pooler(true)
            .with_max_connections(4)
    }
}

#[async_trait]
impl Surroundings for InSchema {
    async fn open(&self) -> Result<Arc<dyn JobStore>> {
        let options = match &self.clock {
            Some(clock) => self.options().with_clock(Arc::new(clock.clone())),
            None => self.options(),
        };
        Ok(Arc::new(options.open().await?))
    }
}

#[test]
fn rules_are_kept_behind_a_transaction_pooler() {
    let (_server, _bouncer, pooled) = Pooled::start();
    let runtime = tokio::runtime::Runtime::new().expect("makes a runtime");
    // What transactions and connections have a part in; the other rules hang on SQL alone.
    for rules in [
        "BATCH",
        "CLAIM",
        "CONCURRENCY",
        "CREATE",
        "DURABLE",
        "LEASE",
        "SHARED",
        "UNIQUE",
    ] {
        let report = runtime.block_on(jobstore_conformance::run(&pooled, rules));
        assert!(report.is_success(), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_at_once_get_each_job_once_behind_a_transaction_pooler() {
    let (_server, _bouncer, pooled) = Pooled::start();
    let place = pooled.schema();
    let mut stores = Vec::new();
    for _ in 0..5 {
        stores.push(place.open().await.expect("opens"));
    }
    let jobs: Vec<NewJob> = (0..1000).map(|_| NewJob::new("a", "{}")).collect();
    stores[0].create_jobs(jobs).await.expect("are created");
    let callers = (0..40).map(|caller| {
        let store = Arc::clone(&stores[caller % stores.len()]);
        tokio::spawn(async move {
            let request = ClaimRequest::new(format!("caller-{caller}"), Duration::from_secs(600));
            let request = request.with_limit(3);
            let mut mine = Vec::new();
            loop {
                let jobs = store.claim_jobs(&request).await.expect("claims");
                if jobs.is_empty() {
                    return mine;
                }
                for job in jobs {
                    // What a caller of its own reads in between goes over other connections.
                    store.get_job(job.id).await.expect("is there");
                    store
                        .finish_job(job.claim(), "done")
                        .await
                        .expect("is its own");
                    mine.push(job.id);
                }
            }
        })
    });
    let mut claimed = HashSet::new();
    for caller in callers.collect::<Vec<_>>() {
        for id in caller.await.expect("does not panic") {
            assert!(claimed.insert(id), "{id} was claimed twice");
        }
    }
    assert_eq!(claimed.len(), 1000);
    let counts = stores[0].count_jobs(&JobFilter::default()).await;
    assert_eq!(counts.expect("counts").get(JobStatus::Succeeded), 1000);
}

#[tokio::test]
async fn a_store_that_is_not_told_of_the_pooler_is_refused() {
    let (_server, _bouncer, pooled) = Pooled::start();
    let place = pooled.schema();
    let opened = place.options().with_transaction_pooler(false).open().await;
    let error = opened.expect_err("is refused");
    assert!(
        matches!(error, Error::Backend { .. } | Error::Unavailable { .. }),
        "{error}"
    );
}
