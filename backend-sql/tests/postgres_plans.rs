//! What a store on PostgreSQL reads while its table grows.
#![cfg(feature = "postgres")]

mod common;

use std::time::Duration;

use common::postgres::Schema;
use jobstore_core::{
    Action, ClaimRequest, JobFilter, JobId, JobStore, NewJob, PageRequest, Result, Update,
};
use jobstore_sql::PostgresJobStore;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _};

async fn run(connection: &mut PgConnection, sql: String) {
    let done = connection.execute(sqlx::raw_sql(AssertSqlSafe(sql)));
    done.await.expect("runs");
}

/// How many blocks of the indexes of jobs were read so far, once every connection has said so: it does at
/// the end of what it does a second after the last time.
async fn read_so_far(store: &PostgresJobStore, schema: &Schema) -> i64 {
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let claim = ClaimRequest::new("w", Duration::from_secs(1)).with_job_name("none");
    store.claim_jobs(&claim).await.expect("claims");
    store.get_jobs(&[JobId::generate()]).await.expect("reads");
    let read = "SELECT SUM(idx_blks_hit + idx_blks_read)::bigint FROM pg_statio_user_indexes \
        WHERE schemaname = $1 AND relname = 'jobs'";
    let read = sqlx::query_scalar(read).bind(&schema.name);
    let read: Option<i64> = read
        .fetch_one(&mut schema.connect().await)
        .await
        .expect("reads");
    read.unwrap_or_default()
}

#[tokio::test]
async fn what_was_planned_for_an_empty_table_is_planned_anew_soon_after_it_has_grown() {
    let schema = Schema::new();
    let store = schema.options().open().await.expect("opens");
    let mut connection = schema.connect().await;
    let name = &schema.name;
    let off = format!("ALTER TABLE {name}.jobs SET (autovacuum_enabled = off)");
    run(&mut connection, off).await;
    run(&mut connection, format!("VACUUM ANALYZE {name}.jobs")).await;
    let claim = ClaimRequest::new("w", Duration::from_secs(60))
        .with_job_name("a")
        .with_limit(2);
    let work = async || {
        store
            .list_jobs(&JobFilter::default(), &PageRequest::default())
            .await
            .expect("lists");
        let jobs = store.claim_jobs(&claim).await.expect("claims");
        let finish = jobs.iter().map(|job| {
            let result = Some(job.id.to_string());
            Update::new(job.claim(), Action::Finish { result })
        });
        let done = store.update_jobs(finish.collect()).await.expect("updates");
        assert!(done.iter().all(Result::is_ok), "{done:?}");
        jobs.len()
    };
    // As idle workers do.
    assert_eq!(work().await, 0);
    let grow = format!(
        "INSERT INTO {name}.jobs (id, creation_time, job_name, params, status, last_update_time) \
         SELECT gen_random_uuid()::text, number, 'b', '{{}}', 2, number \
         FROM generate_series(1, 50000) AS number"
    );
    run(&mut connection, grow).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = read_so_far(&store, &schema).await;
    store
        .create_jobs(vec![NewJob::new("a", "{}"); 2])
        .await
        .expect("creates");
    assert_eq!(work().await, 2);
    let read = read_so_far(&store, &schema).await - before;
    assert!(read < 2_000, "{read} blocks read, beside 50,000 rows");
}
