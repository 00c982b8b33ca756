//! Hints of jobs that other stores made, which PostgreSQL passes on.
#![cfg(feature = "postgres")]

mod common;

use std::time::Duration;

use common::postgres::{Schema, server};
use jobstore_core::{Arrivals, ClaimRequest, JobStore as _, JobStoreExt as _, NewJob};
use jobstore_sql::PostgresJobStore;
use sqlx::postgres::{PgListener, PgPoolOptions};

/// On a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(30);

/// A schema whose stores' connections bear a name.
fn named() -> (Schema, String) {
    let name = common::unique_name("notices");
    (Schema::on(server().application_name(&name)), name)
}

async fn open(schema: &Schema) -> PostgresJobStore {
    schema.options().open().await.expect("opens")
}

async fn create(store: &PostgresJobStore) {
    let job = NewJob::new("mail", "{}");
    store.create_job(job).await.expect("creates");
}

async fn hear(arrivals: &mut Arrivals) {
    let heard = tokio::time::timeout(PATIENCE, arrivals.next()).await;
    heard.expect("is told");
}

/// Until the store listens, which it says by a first hint.
async fn listening(store: &PostgresJobStore) -> Arrivals {
    let mut arrivals = store.arrivals();
    hear(&mut arrivals).await;
    arrivals
}

#[tokio::test]
async fn a_job_of_another_store_is_told_of_and_can_be_claimed() {
    let schema = Schema::new();
    let (worker, creator) = (open(&schema).await, open(&schema).await);
    let mut arrivals = listening(&worker).await;
    let request = ClaimRequest::new("ada", Duration::from_secs(60));
    for _ in 0..3 {
        create(&creator).await;
        hear(&mut arrivals).await;
        let claimed = worker.claim_jobs(&request).await.expect("claims");
        assert_eq!(claimed.len(), 1);
    }
}

#[tokio::test]
async fn a_job_that_was_made_before_the_server_was_listened_to_is_told_of() {
    let schema = Schema::new();
    let (worker, creator) = (open(&schema).await, open(&schema).await);
    let mut arrivals = worker.arrivals();
    create(&creator).await;
    hear(&mut arrivals).await;
}

#[tokio::test]
async fn a_store_without_notices_says_nothing() {
    let schema = Schema::new();
    let silent = schema.options().with_notices(false).open().await;
    let (silent, store) = (silent.expect("opens"), open(&schema).await);
    let word = sqlx::query_scalar("SELECT CAST(hashtext($1) AS TEXT)").bind(&schema.name);
    let word: String = word
        .fetch_one(&mut schema.connect().await)
        .await
        .expect("reads");
    let pool = PgPoolOptions::new().connect_with(server()).await;
    let mut listener = PgListener::connect_with(&pool.expect("connects"))
        .await
        .expect("connects");
    listener.listen("jobstore").await.expect("listens");
    create(&silent).await;
    create(&store).await;
    // Other tests have schemas on the same server. What is late comes within this.
    let mut said = Vec::new();
    let mut wait = PATIENCE;
    while let Ok(notice) = tokio::time::timeout(wait, listener.recv()).await {
        let notice = notice.expect("the connection lasts");
        if let Some(store) = notice.payload().strip_prefix(&word) {
            said.push(store.to_owned());
            wait = Duration::from_millis(300);
        }
        if said.len() > 1 {
            break;
        }
    }
    assert_eq!(said.len(), 1, "{said:?}");
}

#[tokio::test]
async fn a_lost_connection_is_replaced_and_what_was_missed_is_told_of() {
    let (schema, name) = named();
    let (worker, creator) = (open(&schema).await, open(&schema).await);
    let mut arrivals = listening(&worker).await;
    let mut admin = schema.connect().await;
    let end = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE query LIKE 'LISTEN%' AND application_name = $1";
    let ended: i64 = sqlx::query_scalar(end)
        .bind(&name)
        .fetch_one(&mut admin)
        .await
        .expect("ends");
    assert_eq!(ended, 1);
    create(&creator).await;
    hear(&mut arrivals).await;
    let claimed = worker.claim_job(&ClaimRequest::new("ada", PATIENCE)).await;
    claimed.expect("claims").expect("finds the job");
    // And what comes after.
    create(&creator).await;
    hear(&mut arrivals).await;
}

#[tokio::test]
async fn the_connection_that_listens_goes_with_the_store() {
    let (schema, name) = named();
    let worker = open(&schema).await;
    drop(listening(&worker).await);
    drop(worker);
    let mut admin = schema.connect().await;
    let count = "SELECT COUNT(*) FROM pg_stat_activity \
                 WHERE query LIKE 'LISTEN%' AND application_name = $1";
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            let left: i64 = sqlx::query_scalar(count)
                .bind(&name)
                .fetch_one(&mut admin)
                .await
                .expect("counts");
            if left == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.expect("it is gone");
}
