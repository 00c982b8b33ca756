//! MariaDB through `mysql_async`: prepared statements. A claim is a transaction of two, since an
//! update there gives no rows back.
//!
//! The table is the store's, with all its indexes; where a store has made it already, that is taken.

use async_trait::async_trait;
use jobstore_core::{Claim, JobId, NewJob, Timestamp};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, OptsBuilder, Params, Row, Value};

use super::server::{Server, Statements};
use super::{Limit, OWNER, Page};

const COLUMNS: &str = "jobs.id, jobs.creation_time, job_name, params, timeout, status, result, \
    retry_count, last_update_time, priority, next_attempt_at, max_retries, unique_key, \
    lease_owner, lease_expires_at, fence, last_error";

/// A connection, which keeps its statements prepared.
struct MariaDb(Conn);

pub(super) async fn open(url: &str, writers: usize) -> Vec<Box<dyn Limit>> {
    let mut first = MariaDb::open(url).await;
    let there = first.0.query_first("SHOW TABLES LIKE 'jobs'").await;
    let there: Option<String> = there.expect("answers");
    if there.is_none() {
        let made = first.0.query_drop(jobstore_sql::mysql::schema());
        made.await.expect("makes the schema");
    }
    let mut limits: Vec<Box<dyn Limit>> = vec![Box::new(Server(first))];
    while limits.len() < writers {
        limits.push(Box::new(Server(MariaDb::open(url).await)));
    }
    limits
}

impl MariaDb {
    async fn open(url: &str) -> Self {
        let options = Opts::from_url(url).expect("a URL");
        // For each number of calls that may be merged, and some.
        let options = OptsBuilder::from_opts(options).stmt_cache_size(500);
        let mut connection = Conn::new(options).await.expect("connects");
        let settings = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
        connection.query_drop(settings).await.expect("sets");
        Self(connection)
    }
}

#[async_trait]
impl Statements for MariaDb {
    const CLAIMS_ALONE: bool = false;

    async fn begin(&mut self) {
        self.0.query_drop("BEGIN").await.expect("begins");
    }

    async fn commit(&mut self) {
        self.0.query_drop("COMMIT").await.expect("commits");
    }

    async fn create(&mut self, jobs: &[NewJob], now: i64) -> Vec<JobId> {
        let sql = format!(
            "INSERT INTO jobs (id, creation_time, job_name, params, timeout, status, \
             last_update_time, priority, next_attempt_at, max_retries, due) VALUES {}",
            places(jobs.len(), "(?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?)")
        );
        let mut ids = Vec::with_capacity(jobs.len());
        let mut values: Vec<Value> = Vec::with_capacity(jobs.len() * 10);
        for job in jobs {
            let id = JobId::generate();
            ids.push(id);
            let at = job.next_attempt_at.map_or(now, Timestamp::as_millis);
            values.extend([
                id.to_string().into(),
                now.into(),
                job.job_name.as_str().into(),
                job.params.as_str().into(),
                job.timeout.map(|timeout| timeout.as_secs_f64()).into(),
                now.into(),
                job.priority.into(),
                at.into(),
                job.max_retries.into(),
                i64::from(at <= now).into(),
            ]);
        }
        let done = self.0.exec_drop(sql, Params::Positional(values)).await;
        done.expect("inserts");
        ids
    }

    async fn claim(&mut self, name: &str, limit: usize, now: i64) -> Vec<Claim> {
        let sql = format!(
            "SELECT {COLUMNS} FROM jobs FORCE INDEX (jobs_due_by_name) \
             WHERE claim_rank IS NOT NULL AND next_attempt_at <= ? AND job_name = ? \
             ORDER BY claim_rank, next_attempt_at, id LIMIT ? FOR UPDATE SKIP LOCKED"
        );
        let values = (now, name.as_bytes(), limit as u64);
        let rows: Vec<Row> = self.0.exec(sql, values).await.expect("picks");
        let jobs = rows.into_iter().map(read);
        let claims = jobs.map(|(_, id, fence)| Claim {
            id,
            fence: fence + 1,
        });
        let claims: Vec<Claim> = claims.collect();
        if claims.is_empty() {
            return claims;
        }
        let sql = format!(
            "UPDATE jobs FORCE INDEX (PRIMARY) SET status = 1, fence = fence + 1, \
             last_update_time = ?, lease_owner = ?, lease_expires_at = ? WHERE id IN ({})",
            places(claims.len(), "?")
        );
        let mut values: Vec<Value> = vec![now.into(), OWNER.into(), (now + 3_600_000).into()];
        values.extend(claims.iter().map(|claim| Value::from(claim.id.to_string())));
        let done = self.0.exec_drop(sql, Params::Positional(values)).await;
        done.expect("claims");
        claims
    }

    async fn finish(&mut self, claims: &[Claim], now: i64) -> Vec<bool> {
        let sql = format!(
            "UPDATE jobs FORCE INDEX (PRIMARY) SET status = 2, result = NULL, \
             last_update_time = ?, lease_owner = NULL, lease_expires_at = NULL \
             WHERE id IN ({}) AND status = 1 AND (id, fence) IN ({})",
            places(claims.len(), "?"),
            places(claims.len(), "(?, ?)")
        );
        let mut values: Vec<Value> = vec![now.into()];
        values.extend(claims.iter().map(|claim| Value::from(claim.id.to_string())));
        for claim in claims {
            values.extend([claim.id.to_string().into(), claim.fence.into()]);
        }
        let done = self.0.exec_drop(sql, Params::Positional(values)).await;
        done.expect("finishes");
        let done = self.0.affected_rows();
        assert_eq!(done, claims.len() as u64, "all ran under their claims");
        vec![true; claims.len()]
    }

    async fn page(&mut self, after: Option<(Timestamp, JobId)>, size: usize) -> Page {
        let (sql, mut values) = page_statement(after);
        let size = size as u64;
        let limits = values.iter_mut().filter(|value| **value == Value::NULL);
        limits.for_each(|limit| *limit = size.into());
        let rows: Vec<Row> = self.0.exec(sql, values).await.expect("lists");
        let jobs = rows.len();
        let last = rows.into_iter().map(read).last();
        Page {
            jobs,
            last: last.map(|(time, id, _)| (time, id)),
        }
    }
}

/// Each status has its part of the index in the order of listing. The limits stand as NULL among the
/// values.
fn page_statement(after: Option<(Timestamp, JobId)>) -> (String, Vec<Value>) {
    let mut values: Vec<Value> = Vec::new();
    let mut branch = |status: i32| {
        let mut condition = "";
        if let Some((time, id)) = after {
            // A pair is not looked up in an index, but each of these alternatives is.
            condition = " AND (creation_time > ? OR (creation_time = ? AND id > ?))";
            let time = Value::from(time.as_millis());
            values.extend([time.clone(), time, id.to_string().into()]);
        }
        values.push(Value::NULL);
        format!(
            "(SELECT id, creation_time FROM jobs FORCE INDEX (jobs_by_status) \
             WHERE status = {status}{condition} ORDER BY creation_time, id LIMIT ?)"
        )
    };
    let branches: Vec<String> = (0..6).map(&mut branch).collect();
    values.push(Value::NULL);
    let sql = format!(
        "SELECT {COLUMNS} FROM ({} ORDER BY creation_time, id LIMIT ?) AS page \
         JOIN jobs ON jobs.id = page.id ORDER BY page.creation_time, page.id",
        branches.join(" UNION ALL ")
    );
    (sql, values)
}

fn places(rows: usize, row: &str) -> String {
    vec![row; rows].join(", ")
}

/// Takes what a caller gets, and returns what the benchmark needs.
fn read(mut row: Row) -> (Timestamp, JobId, u64) {
    fn take<T: mysql_async::prelude::FromValue>(row: &mut Row, column: usize) -> T {
        row.take(column).expect("not taken yet")
    }
    let row = &mut row;
    std::hint::black_box((
        (take::<String>(row, 2), take::<String>(row, 3)),
        (take::<Option<f64>>(row, 4), take::<i64>(row, 5)),
        (take::<Option<String>>(row, 6), take::<i64>(row, 7)),
        (take::<i64>(row, 8), take::<i64>(row, 9)),
        (take::<i64>(row, 10), take::<Option<i64>>(row, 11)),
        (
            take::<Option<String>>(row, 12),
            take::<Option<String>>(row, 13),
        ),
        (
            take::<Option<i64>>(row, 14),
            take::<Option<String>>(row, 16),
        ),
    ));
    let id: String = take(row, 0);
    let time = Timestamp::from_millis(take(row, 1));
    (time, id.parse().expect("an id"), take(row, 15))
}
