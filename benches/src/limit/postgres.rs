//! PostgreSQL through `tokio-postgres`: one prepared statement for each kind of call, which is a
//! transaction by itself. Calls that are merged share it, but for those of two kinds, which share a
//! transaction.
//!
//! The table is the store's, with all its indexes, that of params included; the terms of params are
//! computed once for each text.

use std::collections::HashMap;

use async_trait::async_trait;
use jobstore_core::{Claim, JobId, JobParams, NewJob, Timestamp};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row, Statement};

use super::server::{Server, Statements};
use super::{Limit, OWNER, Page};

const CREATE: &str = "WITH new AS (SELECT * FROM unnest($2::text[], $3::text[], $4::text[], \
    $5::float8[], $6::int8[], $7::int8[], $8::int8[], $9::int8[], $10::text[]) \
    AS new (id, job_name, params, timeout, priority, next_attempt_at, max_retries, due, terms)), \
    job AS (INSERT INTO jobs (id, creation_time, job_name, params, timeout, status, \
    last_update_time, priority, next_attempt_at, max_retries, due, indexed) \
    SELECT id, $1::int8, job_name, params, timeout, 0, $1, priority, next_attempt_at, \
    max_retries, due, 1 FROM new) \
    INSERT INTO jobs_params (id, terms) SELECT id, terms::int8[] FROM new";

const CLAIM: &str = "UPDATE jobs SET status = 1, fence = fence + 1, last_update_time = $2, \
    lease_owner = $4, lease_expires_at = $2 + 3600000 \
    WHERE id = ANY(ARRAY(SELECT id FROM jobs \
    WHERE status = 0 AND due = 1 AND next_attempt_at <= $2 AND job_name = $1 \
    ORDER BY priority DESC, next_attempt_at, id LIMIT $3 FOR UPDATE SKIP LOCKED)) RETURNING ";

const FINISH: &str = "UPDATE jobs SET status = 2, result = NULL, last_update_time = $1, \
    lease_owner = NULL, lease_expires_at = NULL \
    FROM unnest($2::text[], $3::int8[]) AS claim (id, fence) \
    WHERE jobs.id = claim.id AND jobs.fence = claim.fence AND status + 0 = 1";

const COLUMNS: &str = "jobs.id, creation_time, job_name, params, timeout, status, result, \
    retry_count, last_update_time, priority, next_attempt_at, max_retries, unique_key, \
    lease_owner, lease_expires_at, fence, last_error";

/// A connection with its statements prepared.
struct Postgres {
    client: Client,
    create: Statement,
    claim: Statement,
    finish: Statement,
    page: Statement,
    terms: HashMap<String, String>,
}

pub(super) async fn open(url: &str, writers: usize) -> Vec<Box<dyn Limit>> {
    let schema = jobstore_sql::postgres::schema();
    let made = connect(url).await.batch_execute(&schema).await;
    made.expect("makes the schema");
    let mut limits: Vec<Box<dyn Limit>> = Vec::with_capacity(writers);
    for _ in 0..writers {
        limits.push(Box::new(Server(Postgres::open(url).await)));
    }
    limits
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connects");
    tokio::spawn(connection);
    client
}

impl Postgres {
    async fn open(url: &str) -> Self {
        let client = connect(url).await;
        // As the store has it: plans that do not depend on statistics. And jobs are joined by their ids:
        // left to the planner, finishing 100 came to 80 ms after a VACUUM ANALYZE.
        let settings = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET jit = off; \
            SET enable_hashjoin = off; SET enable_mergejoin = off; \
            SET plan_cache_mode = force_generic_plan";
        client.batch_execute(settings).await.expect("sets");
        let prepare = async |sql: &str| client.prepare(sql).await.expect("prepares");
        Self {
            create: prepare(CREATE).await,
            claim: prepare(&format!("{CLAIM}{COLUMNS}")).await,
            finish: prepare(FINISH).await,
            page: prepare(&page_statement()).await,
            client,
            terms: HashMap::new(),
        }
    }
}

#[async_trait]
impl Statements for Postgres {
    const CLAIMS_ALONE: bool = true;

    async fn begin(&mut self) {
        self.client.batch_execute("BEGIN").await.expect("begins");
    }

    async fn commit(&mut self) {
        self.client.batch_execute("COMMIT").await.expect("commits");
    }

    async fn create(&mut self, jobs: &[NewJob], now: i64) -> Vec<JobId> {
        for job in jobs {
            let params = job.params.as_str();
            if !self.terms.contains_key(params) {
                self.terms.insert(params.to_owned(), terms(&job.params));
            }
        }
        let ids: Vec<JobId> = jobs.iter().map(|_| JobId::generate()).collect();
        let texts: Vec<String> = ids.iter().map(JobId::to_string).collect();
        let names: Vec<&str> = jobs.iter().map(|job| job.job_name.as_str()).collect();
        let params: Vec<&str> = jobs.iter().map(|job| job.params.as_str()).collect();
        let seconds = |job: &NewJob| job.timeout.map(|timeout| timeout.as_secs_f64());
        let timeouts: Vec<Option<f64>> = jobs.iter().map(seconds).collect();
        let priorities: Vec<i64> = jobs.iter().map(|job| i64::from(job.priority)).collect();
        let at = |job: &NewJob| job.next_attempt_at.map_or(now, Timestamp::as_millis);
        let at: Vec<i64> = jobs.iter().map(at).collect();
        let due: Vec<i64> = at.iter().map(|at| i64::from(*at <= now)).collect();
        let retries = |job: &NewJob| job.max_retries.map(i64::from);
        let retries: Vec<Option<i64>> = jobs.iter().map(retries).collect();
        let terms = params.iter().map(|text| self.terms[*text].as_str());
        let terms: Vec<&str> = terms.collect();
        let arguments: [&(dyn ToSql + Sync); 10] = [
            &now,
            &texts,
            &names,
            &params,
            &timeouts,
            &priorities,
            &at,
            &retries,
            &due,
            &terms,
        ];
        let done = self.client.execute(&self.create, &arguments).await;
        done.expect("inserts");
        ids
    }

    async fn claim(&mut self, name: &str, limit: usize, now: i64) -> Vec<Claim> {
        let limit = limit as i64;
        let arguments: [&(dyn ToSql + Sync); 4] = [&name, &now, &limit, &OWNER];
        let rows = self.client.query(&self.claim, &arguments).await;
        let rows = rows.expect("claims");
        let read = |row: &Row| {
            let (_, id, fence) = read(row);
            let (priority, at): (i64, i64) = (row.get(9), row.get(10));
            ((-priority, at, id), Claim { id, fence })
        };
        let mut jobs: Vec<_> = rows.iter().map(read).collect();
        jobs.sort_unstable_by_key(|(order, _)| *order);
        jobs.into_iter().map(|(_, claim)| claim).collect()
    }

    async fn finish(&mut self, claims: &[Claim], now: i64) -> Vec<bool> {
        let ids: Vec<String> = claims.iter().map(|claim| claim.id.to_string()).collect();
        let fences: Vec<i64> = claims.iter().map(|claim| claim.fence as i64).collect();
        let arguments: [&(dyn ToSql + Sync); 3] = [&now, &ids, &fences];
        let done = self.client.execute(&self.finish, &arguments).await;
        let done = done.expect("finishes");
        assert_eq!(done, claims.len() as u64, "all ran under their claims");
        vec![true; claims.len()]
    }

    async fn page(&mut self, after: Option<(Timestamp, JobId)>, size: usize) -> Page {
        let (time, after) = after.map_or((i64::MIN, String::new()), |(time, id)| {
            (time.as_millis(), id.to_string())
        });
        let size = size as i64;
        let arguments: [&(dyn ToSql + Sync); 3] = [&time, &after, &size];
        let rows = self.client.query(&self.page, &arguments).await;
        let rows = rows.expect("lists");
        let places = rows.iter().map(read);
        let last = places.last().map(|(time, id, _)| (time, id));
        Page {
            jobs: rows.len(),
            last,
        }
    }
}

/// Copies what a caller gets, and returns what the benchmark needs.
fn read(row: &Row) -> (Timestamp, JobId, u64) {
    std::hint::black_box((
        (row.get::<_, String>(2), row.get::<_, String>(3)),
        (row.get::<_, Option<f64>>(4), row.get::<_, i64>(5)),
        (row.get::<_, Option<String>>(6), row.get::<_, i64>(7)),
        (row.get::<_, i64>(8), row.get::<_, i64>(9)),
        (row.get::<_, i64>(10), row.get::<_, Option<i64>>(11)),
        (
            row.get::<_, Option<String>>(12),
            row.get::<_, Option<String>>(13),
        ),
        (
            row.get::<_, Option<i64>>(14),
            row.get::<_, Option<String>>(16),
        ),
    ));
    let fence: i64 = row.get(15);
    (
        Timestamp::from_millis(row.get(1)),
        id(row.get(0)),
        fence as u64,
    )
}

fn id(text: &str) -> JobId {
    text.parse().expect("an id")
}

/// The terms of params, as PostgreSQL writes an array.
fn terms(params: &JobParams) -> String {
    let terms = params.terms().unwrap_or_default();
    let terms: Vec<String> = terms.iter().map(i64::to_string).collect();
    format!("{{{}}}", terms.join(","))
}

/// Each status has its part of the index in the order of listing.
fn page_statement() -> String {
    let branch = |status: i32| {
        format!(
            "(SELECT id, creation_time FROM jobs WHERE status = {status} \
             AND (creation_time, id) > ($1, $2) ORDER BY creation_time, id LIMIT $3)"
        )
    };
    let branches: Vec<String> = (0..6).map(branch).collect();
    format!(
        "SELECT {COLUMNS} FROM ({} ORDER BY creation_time, id LIMIT $3) AS page \
         JOIN jobs USING (id, creation_time) ORDER BY creation_time, id",
        branches.join(" UNION ALL ")
    )
}
