//! SQLite through its C interface, by `rusqlite`: the very library that the store links, the store's
//! table with all its indexes, and the store's settings. A step is one transaction of prepared
//! statements, run again for each job, on the thread of the caller.
//!
//! That form is the quickest: for 100 jobs, `VALUES` of 100 rows took as long to insert, and updates from
//! `VALUES`, from an array of row numbers, or with `RETURNING` took a third longer.
//!
//! A page steps through the six indexed ranges, one for each status, side by side, so no row is sorted.
//! What differs: ids are new and no key is unique, so neither is looked for.

use std::path::Path;

use async_trait::async_trait;
use jobstore::{Claim, Job, JobId, JobParams, JobStatus, NewJob, Timestamp};
use rusqlite::{CachedStatement, Connection, Row, params};

use super::server::{Server, Statements};
use super::{Limit, OWNER, Page};

const LEASE_MILLIS: i64 = 3_600_000;

const CREATE: &str = "INSERT INTO jobs (id, creation_time, job_name, params, timeout, status, \
    last_update_time, priority, next_attempt_at, max_retries, due) \
    VALUES (?1, ?2, ?3, ?4, ?5, 0, ?2, ?6, ?7, ?8, ?7 <= ?2)";

const BECOME_DUE: &str = "UPDATE jobs INDEXED BY jobs_waiting SET due = 1 \
    WHERE status = 0 AND due = 0 AND next_attempt_at <= ?1";

const START: &str = "UPDATE jobs SET status = 1, fence = fence + 1, last_update_time = ?1, \
    lease_owner = ?2, lease_expires_at = ?3 WHERE rowid = ?4";

const FINISH: &str = "UPDATE jobs SET status = 2, result = NULL, last_update_time = ?1, \
    lease_owner = NULL, lease_expires_at = NULL WHERE id = ?2 AND fence = ?3 AND status = 1";

macro_rules! select {
    () => {
        "SELECT id, creation_time, job_name, params, timeout, status, result, retry_count, \
         last_update_time, priority, next_attempt_at, max_retries, unique_key, lease_owner, \
         lease_expires_at, fence, last_error, rowid FROM jobs INDEXED BY "
    };
}

const CLAIMABLE: &str = concat!(
    select!(),
    "jobs_due_by_name WHERE status = 0 AND due = 1 AND next_attempt_at <= ?1 AND job_name = ?2 \
     ORDER BY priority DESC, next_attempt_at, id LIMIT ?3"
);

/// Part of a page. SQL of its own for each status, so that all can be read at once.
macro_rules! listed {
    ($status:literal) => {
        concat!(
            select!(),
            "jobs_by_status WHERE status = ",
            $status,
            " AND (creation_time, id) > (?1, ?2) ORDER BY creation_time, id LIMIT ?3"
        )
    };
}

const LISTED: [&str; JobStatus::ALL.len()] = [
    listed!("0"),
    listed!("1"),
    listed!("2"),
    listed!("3"),
    listed!("4"),
    listed!("5"),
];

/// The limit on a file.
pub(super) fn open(path: &Path) -> Box<dyn Limit> {
    let connection = Connection::open(path).expect("opens");
    // As the store sets them.
    let settings = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
        PRAGMA cache_size = -16384; PRAGMA foreign_keys = ON";
    connection.execute_batch(settings).expect("sets");
    let schema = jobstore_sql::sqlite::schema();
    connection.execute_batch(&schema).expect("makes the schema");
    connection.set_prepared_statement_cache_capacity(32);
    Box::new(Server(Sqlite(connection)))
}

struct Sqlite(Connection);

impl Sqlite {
    fn statement(&self, sql: &str) -> CachedStatement<'_> {
        self.0.prepare_cached(sql).expect("is a statement")
    }

    fn run(&self, sql: &str) {
        self.statement(sql).execute([]).expect("runs");
    }
}

#[async_trait]
impl Statements for Sqlite {
    const CLAIMS_ALONE: bool = false;
    const CHANGES_ALONE: bool = false;

    async fn begin(&mut self) {
        self.run("BEGIN IMMEDIATE");
    }

    async fn commit(&mut self) {
        self.run("COMMIT");
    }

    async fn create(&mut self, jobs: &[NewJob], now: i64) -> Vec<JobId> {
        let mut insert = self.statement(CREATE);
        let create = |job: &NewJob| {
            let id = JobId::generate();
            let timeout = job.timeout.map(|timeout| timeout.as_secs_f64());
            let at = job.next_attempt_at.map_or(now, Timestamp::as_millis);
            let mut text = [0; 36];
            let values = params![
                &*id.as_uuid().hyphenated().encode_lower(&mut text),
                now,
                job.job_name,
                job.params.as_str(),
                timeout,
                job.priority,
                at,
                job.max_retries,
            ];
            insert.execute(values).expect("inserts");
            id
        };
        jobs.iter().map(create).collect()
    }

    async fn claim(&mut self, name: &str, limit: usize, now: i64) -> Vec<Claim> {
        let due = self.statement(BECOME_DUE).execute([now]);
        due.expect("updates");
        let mut jobs = Vec::with_capacity(limit);
        let mut claimable = self.statement(CLAIMABLE);
        let mut rows = claimable.query(params![now, name, limit as i64]);
        let rows = rows.as_mut().expect("asks");
        while let Some(row) = rows.next().expect("reads") {
            let place: i64 = row.get(17).expect("a number");
            jobs.push((place, read(row)));
        }
        let mut start = self.statement(START);
        for (place, job) in &mut jobs {
            let expires = now + LEASE_MILLIS;
            let started = start.execute(params![now, OWNER, expires, *place]);
            assert_eq!(started.expect("updates"), 1, "nobody else writes");
            job.status = JobStatus::Running;
            job.fence += 1;
            job.last_update_time = Timestamp::from_millis(now);
            job.lease_owner = Some(OWNER.to_owned());
            job.lease_expires_at = Some(Timestamp::from_millis(expires));
        }
        let jobs = std::hint::black_box(jobs);
        jobs.iter().map(|(_, job)| job.claim()).collect()
    }

    async fn finish(&mut self, claims: &[Claim], now: i64) -> Vec<bool> {
        let mut update = self.statement(FINISH);
        let finish = |claim: &Claim| {
            let mut text = [0; 36];
            let id = &*claim.id.as_uuid().hyphenated().encode_lower(&mut text);
            let updated = update.execute(params![now, id, claim.fence as i64]);
            updated.expect("updates") == 1
        };
        claims.iter().map(finish).collect()
    }

    async fn page(&mut self, after: Option<(Timestamp, JobId)>, size: usize) -> Page {
        let (time, id) = after.map_or((i64::MIN, String::new()), |(time, id)| {
            (time.as_millis(), id.to_string())
        });
        let mut parts = LISTED.map(|sql| self.statement(sql));
        let mut parts = parts.each_mut().map(|part| {
            let rows = part.query(params![time, id, size as i64]);
            rows.expect("asks")
        });
        let mut firsts = parts.each_mut().map(next);
        let mut jobs = Vec::with_capacity(size);
        while jobs.len() < size {
            let places = firsts.iter().enumerate();
            let places = places.filter_map(|(part, job)| Some((job.as_ref()?.list_order(), part)));
            let Some((_, part)) = places.min() else { break };
            jobs.extend(std::mem::replace(&mut firsts[part], next(&mut parts[part])));
        }
        let last = jobs.last().map(Job::list_order);
        let jobs = std::hint::black_box(jobs).len();
        Page { jobs, last }
    }
}

fn next(rows: &mut rusqlite::Rows<'_>) -> Option<Job> {
    rows.next().expect("reads").map(read)
}

fn read(row: &Row<'_>) -> Job {
    read_all(row).expect("every column can be read")
}

/// Copies what a caller gets.
fn read_all(row: &Row<'_>) -> rusqlite::Result<Job> {
    let time = |column| row.get(column).map(Timestamp::from_millis);
    let text = |column| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_str()?);
    let timeout: Option<f64> = row.get(4)?;
    let expires: Option<i64> = row.get(14)?;
    Ok(Job {
        id: text(0)?.parse().expect("an id"),
        creation_time: time(1)?,
        job_name: text(2)?.to_owned(),
        params: JobParams::new(text(3)?),
        timeout: timeout.map(std::time::Duration::from_secs_f64),
        status: JobStatus::from_i32(row.get(5)?).expect("a status"),
        result: row.get(6)?,
        retry_count: row.get(7)?,
        last_update_time: time(8)?,
        priority: row.get(9)?,
        next_attempt_at: time(10)?,
        max_retries: row.get(11)?,
        unique_key: row.get(12)?,
        lease_owner: row.get(13)?,
        lease_expires_at: expires.map(Timestamp::from_millis),
        fence: row.get::<_, i64>(15)?.cast_unsigned(),
        last_error: row.get(16)?,
    })
}
