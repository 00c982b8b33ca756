//! What creating a job costs SQLite by itself, through its C interface on the caller's thread, in tables
//! of several queues, and what it costs the store; WAL and NORMAL throughout, in turns. Prints a table.
//!
//! Between two tables of one SQLite lies what their columns and indexes cost. Between our tables and the
//! store lies the way to sqlx's thread and back, and what makes a call a call.
//!
//! `cargo run --release --package jobstore-benches --bin sqlite-creates`

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use jobstore_benches::{NAME, PARAMS};
use jobstore_core::{JobId, JobStore, NewJob};
use jobstore_sql::SqliteOptions;
use jobstore_sql::sqlite::{Synchronous, schema};
use rusqlite::{Connection, params};

const ROUNDS: usize = 7;
const JOBS: usize = 20_000;
/// How many jobs a transaction has: one caller's, what 64 callers come to, a batch.
const BATCHES: [usize; 3] = [1, 64, 100];
const NOW: i64 = 1_900_000_000_000;

/// Tables of jobs, and how one gets into them.
struct Tables {
    name: &'static str,
    schema: String,
    insert: fn(&Connection, JobId),
}

fn tables() -> [Tables; 4] {
    [
        Tables {
            name: "ours",
            schema: schema(),
            insert: |connection, id| {
                let mut text = [0; 36];
                let id = &*id.as_uuid().hyphenated().encode_lower(&mut text);
                run(connection, OURS, params![id, NOW, NAME, PARAMS]);
            },
        },
        Tables {
            name: "ours, ids of 16 bytes",
            schema: schema().replace("id TEXT NOT NULL", "id BLOB NOT NULL"),
            insert: by_16_bytes,
        },
        Tables {
            name: "ours, ids of 16 bytes, two indexes",
            schema: FEW.to_owned(),
            insert: by_16_bytes,
        },
        Tables {
            name: "effectum's",
            schema: EFFECTUM.to_owned(),
            insert: |connection, id| {
                let id = id.as_uuid().as_bytes().as_slice();
                run(
                    connection,
                    EFFECTUM_JOB,
                    params![id, NAME, PARAMS.as_bytes(), NOW],
                );
                let job = connection.last_insert_rowid();
                run(connection, EFFECTUM_ACTIVE, params![job, NOW]);
            },
        },
    ]
}

fn by_16_bytes(connection: &Connection, id: JobId) {
    let id = id.as_uuid().as_bytes().as_slice();
    run(connection, OURS, params![id, NOW, NAME, PARAMS]);
}

const OURS: &str = "INSERT INTO jobs (id, creation_time, job_name, params, timeout, status, \
    last_update_time, priority, next_attempt_at, max_retries, due) \
    VALUES (?1, ?2, ?3, ?4, NULL, 0, ?2, 0, ?2, NULL, 1)";

/// What claims of a name need, and nothing to list, to delete by age, to keep a key unique or to claim
/// any name with.
const FEW: &str = "CREATE TABLE jobs (
        id BLOB NOT NULL PRIMARY KEY, creation_time INTEGER NOT NULL, job_name TEXT NOT NULL,
        params TEXT NOT NULL, timeout REAL, status INTEGER NOT NULL, result TEXT,
        retry_count INTEGER NOT NULL DEFAULT 0, last_update_time INTEGER NOT NULL,
        priority INTEGER NOT NULL DEFAULT 0, next_attempt_at INTEGER NOT NULL DEFAULT 0,
        max_retries INTEGER, unique_key TEXT, lease_owner TEXT, lease_expires_at INTEGER,
        fence INTEGER NOT NULL DEFAULT 0, last_error TEXT, due INTEGER NOT NULL DEFAULT 0) STRICT;
    CREATE INDEX jobs_due_by_name ON jobs (job_name, priority DESC, next_attempt_at, id)
        WHERE status = 0 AND due = 1;";

/// The columns and indexes of effectum 0.7 that a new job has a part in.
const EFFECTUM: &str = "CREATE TABLE active_jobs (
        job_id INTEGER PRIMARY KEY, active_worker_id bigint, priority int NOT NULL DEFAULT 0,
        run_at bigint NOT NULL, started_at bigint, expires_at bigint);
    CREATE INDEX active_run_at ON active_jobs (priority DESC, run_at)
        WHERE active_worker_id IS NULL;
    CREATE TABLE jobs (
        job_id INTEGER PRIMARY KEY, external_id blob NOT NULL, job_type text NOT NULL,
        priority int NOT NULL DEFAULT 0, weight int NOT NULL DEFAULT 1, status text,
        from_base_job int, orig_run_at bigint NOT NULL, payload blob, checkpointed_payload blob,
        current_try int NOT NULL DEFAULT 0, max_retries int NOT NULL,
        backoff_multiplier real NOT NULL, backoff_randomization real NOT NULL,
        backoff_initial_interval int NOT NULL, added_at bigint NOT NULL,
        default_timeout int NOT NULL, heartbeat_increment int NOT NULL, started_at bigint,
        finished_at bigint, run_info text, name text);
    CREATE UNIQUE INDEX active_jobs_external_id ON jobs (external_id);";

const EFFECTUM_JOB: &str = "INSERT INTO jobs (external_id, job_type, status, orig_run_at, payload, \
    max_retries, backoff_multiplier, backoff_randomization, backoff_initial_interval, added_at, \
    default_timeout, heartbeat_increment, run_info) \
    VALUES (?1, ?2, 'pending', ?4, ?3, 3, 2.0, 0.2, 20, ?4, 120, 300, '[]')";

const EFFECTUM_ACTIVE: &str =
    "INSERT INTO active_jobs (job_id, priority, run_at) VALUES (?1, 0, ?2)";

fn run(connection: &Connection, sql: &str, values: &[&dyn rusqlite::ToSql]) {
    let mut statement = connection.prepare_cached(sql).expect("is a statement");
    statement.execute(values).expect("runs");
}

#[tokio::main]
async fn main() {
    println!(
        "| jobs to a transaction | tables | SQLite alone, jobs/s | ÷ effectum's | the store, jobs/s | ÷ alone |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for batch in BATCHES {
        let tables = tables();
        let mut alone = [const { Vec::new() }; 4];
        let mut store = Vec::new();
        for round in 0..ROUNDS {
            for index in 0..tables.len() {
                // Nobody is always behind the same one.
                let index = (index + round) % tables.len();
                alone[index].push(directly(&tables[index], batch));
            }
            store.push(by_the_store(batch).await);
        }
        let effectum = median(&mut alone[3].clone());
        for (index, tables) in tables.iter().enumerate() {
            let rate = median(&mut alone[index]);
            let ours = match index {
                0 => {
                    let store = median(&mut store);
                    format!("{store:.0} | {:.2}", store / rate)
                }
                _ => " | ".to_owned(),
            };
            let (name, ratio) = (tables.name, rate / effectum);
            println!("| {batch} | {name} | {rate:.0} | {ratio:.2} | {ours} |");
        }
    }
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn rate(start: Instant) -> f64 {
    JOBS as f64 / start.elapsed().as_secs_f64()
}

/// Jobs a second, one prepared insert for each, which is quickest for SQLite.
fn directly(tables: &Tables, batch: usize) -> f64 {
    let folder = tempfile::tempdir().expect("makes a folder");
    let connection = Connection::open(folder.path().join("jobs")).expect("opens");
    let settings = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; \
        PRAGMA cache_size = -16384";
    connection.execute_batch(settings).expect("sets");
    connection.execute_batch(&tables.schema).expect("makes");
    let start = Instant::now();
    for _ in 0..JOBS / batch {
        run(&connection, "BEGIN IMMEDIATE", params![]);
        for _ in 0..batch {
            (tables.insert)(&connection, JobId::generate());
        }
        run(&connection, "COMMIT", params![]);
    }
    rate(start) * (JOBS / batch * batch) as f64 / JOBS as f64
}

/// Jobs a second: one caller, single calls of 64 callers, or batches of one caller.
async fn by_the_store(batch: usize) -> f64 {
    let folder = tempfile::tempdir().expect("makes a folder");
    let store = open(&folder.path().join("jobs")).await;
    let (callers, batch) = if batch == 64 { (64, 1) } else { (1, batch) };
    let start = Instant::now();
    let callers = (0..callers).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for _ in 0..JOBS / callers / batch {
                let jobs = vec![NewJob::new(NAME, PARAMS); batch];
                store.create_jobs(jobs).await.expect("creates");
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.expect("no panic");
    }
    rate(start)
}

async fn open(path: &Path) -> Arc<dyn JobStore> {
    let options = SqliteOptions::new(path).with_synchronous(Synchronous::Normal);
    Arc::new(options.open().await.expect("opens"))
}
