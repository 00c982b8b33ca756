//! What a SQLite store does while another program changes its table.
#![cfg(feature = "sqlite")]

use std::time::Duration;

use jobstore_core::{ClaimRequest, Error, JobId, JobStore, JobStoreExt as _, NewJob};
use jobstore_sql::SqliteOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqliteConnection};

#[tokio::test]
async fn after_another_program_has_renamed_a_column_calls_fail_and_none_hangs() {
    let folder = tempfile::tempdir().expect("makes a folder");
    let file = folder.path().join("jobs.db");
    let store = SqliteOptions::new(&file).open().await.expect("opens");
    let claim = ClaimRequest::new("w", Duration::from_secs(60));
    let options = SqliteConnectOptions::new().filename(&file);
    let mut other = SqliteConnection::connect_with(&options)
        .await
        .expect("connects");
    for column in ["due", "result", "job_name", "priority"] {
        for (from, to) in [(column, "other"), ("other", column)] {
            let mut failed = 0;
            for _ in 0..3 {
                let calls = async {
                    let created = store.create_job(NewJob::new("a", "{}")).await.is_err();
                    let claimed = store.claim_jobs(&claim).await.is_err();
                    let started = store.start_job(JobId::generate()).await;
                    let started = !matches!(started, Err(Error::NotFound { .. }));
                    [created, claimed, started]
                        .into_iter()
                        .filter(|failed| *failed)
                        .count()
                };
                let ended = tokio::time::timeout(Duration::from_secs(60), calls).await;
                failed += ended.expect("no call hangs");
            }
            assert_eq!(failed > 0, from == "other", "{from} has become {to}");
            let rename = format!("ALTER TABLE jobs RENAME COLUMN {from} TO {to}");
            other.execute(AssertSqlSafe(rename)).await.expect("renames");
        }
    }
}
