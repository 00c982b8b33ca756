//! SQLite driven directly through `sqlx`, on the same schema and at the same durability, with one
//! transaction for each call: what a store without group commit would do.

use std::path::Path;
use std::time::Duration;

use jobstore_core::{JobId, Timestamp};
use jobstore_sql::sqlite;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Executor as _, SqlitePool};

use crate::PARAMS;

/// A new file with the store's schema, WAL and `synchronous=FULL`, and one connection.
pub async fn open(file: &Path) -> SqlitePool {
    let connect = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(600))
        .test_before_acquire(false)
        .connect_with(connect)
        .await
        .expect("opens");
    pool.execute(sqlx::AssertSqlSafe(sqlite::schema()))
        .await
        .expect("makes the schema");
    pool
}

/// Inserts a pending job; SQLite commits each statement by itself.
pub async fn create_one(pool: &SqlitePool, now: Timestamp) {
    sqlx::query(
        "INSERT INTO jobs (id, creation_time, job_name, params, status, last_update_time, \
         next_attempt_at, due) VALUES (?1, ?2, 'mail', ?3, 0, ?2, ?2, 1)",
    )
    .bind(JobId::generate().to_string())
    .bind(now.as_millis())
    .bind(PARAMS)
    .execute(pool)
    .await
    .expect("inserts");
}

/// Claims the first pending job and reads it, in one statement; SQLite commits it by itself.
pub async fn claim_one(pool: &SqlitePool, now: Timestamp) -> bool {
    sqlx::query(
        "UPDATE jobs SET status = 1, fence = fence + 1, last_update_time = ?1, \
         lease_owner = 'bench', lease_expires_at = ?1 + 60000 \
         WHERE rowid = (SELECT rowid FROM jobs INDEXED BY jobs_due_by_name \
           WHERE status = 0 AND due = 1 AND next_attempt_at <= ?1 AND job_name = 'mail' \
           ORDER BY priority DESC, next_attempt_at, id LIMIT 1) RETURNING *",
    )
    .bind(now.as_millis())
    .fetch_optional(pool)
    .await
    .expect("claims")
    .is_some()
}
