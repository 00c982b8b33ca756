//! PostgreSQL, 15 and later: a store shared by workers on any number of machines.
//!
//! # Durability
//!
//! A returned call is committed with `synchronous_commit` at least `on`, and so on the server's disk.
//! What survives the loss of that disk is a matter of the server's replication.
//!
//! # Time
//!
//! The store follows the server's clock, so that workers whose own clocks are wrong agree about
//! leases.
//!
//! # Bounds
//!
//! No call takes longer than the [call timeout](PostgresOptions::with_call_timeout). A call that
//! ends so may have happened, as after any lost reply; repeating it with the same ids or claims is
//! safe.
//!
//! # Cancel safety
//!
//! What writes runs on a task of the store's, so a dropped call has happened wholly or not at all.
//! The connection of a dropped call that reads is closed, never handed on half used.

mod claim;
mod notices;
mod options;
mod params;
#[cfg(test)]
mod plan;
#[cfg(test)]
mod tests;
mod write;

use jobstore_core::{Error, Job, JobId, Lease, Result, Timestamp};
use sqlx::postgres::{PgRow, PgSeverity};
use sqlx::{Postgres, Row as _};

pub use options::PostgresOptions;

use crate::dialect::{Dialect, Ids, Statement, TextForm, Value};
use crate::error::{Failure, backend, incompatible, unavailable};
use crate::migrate::{self, Migration};
use crate::row::COLUMNS;
use crate::store::SqlJobStore;
use crate::wire::Wire;

/// A job store in a PostgreSQL database.
pub type PostgresJobStore = SqlJobStore<Postgres>;

impl TextForm for Postgres {
    fn push(statement: &mut Statement<Self>, text: Option<String>) {
        statement.push_bind(text);
    }

    fn get(row: &PgRow, column: usize) -> sqlx::Result<Option<String>> {
        row.try_get(column)
    }

    // The server lets no id into the table that is not a UUID, so nothing is lost here.
    fn push_bytes(statement: &mut Statement<Self>, bytes: Vec<u8>) {
        statement.push_bind(String::from_utf8_lossy(&bytes).into_owned());
    }

    fn get_bytes(row: &PgRow, column: usize) -> sqlx::Result<Option<Vec<u8>>> {
        Ok(Self::get(row, column)?.map(String::into_bytes))
    }
}

impl Dialect for Postgres {
    const WRITERS: usize = 2;
    // In one order, so that two transactions that want the same rows never wait for each other.
    const LOCK_ROWS: &'static str = " ORDER BY id FOR UPDATE";
    const LOCK_FOUND_ROWS: &'static str = " FOR UPDATE";
    const LOCK_FREE_ROWS: &'static str = " FOR UPDATE SKIP LOCKED";
    // The transaction that wrote it.
    const ROW_VERSION: Option<&'static str> = Some("CAST(jobs.xmin AS TEXT)");
    const CLAIMS_ALONE: bool = true;
    const PRIMARY_KEY: &'static str = "jobs_pkey";
    const TABLES: &'static str = "SELECT relname::text FROM pg_class \
        WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) \
        AND relname IN ('jobs', 'jobstore_migrations') AND relkind IN ('r', 'p', 'v', 'm', 'f')";
    const FORGET_PLANS: Option<&'static str> = Some("DISCARD PLANS");
    const CLOCK: &'static str =
        "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
    const VERSION: &'static str = "SELECT current_setting('server_version')";
    // Held until the transaction ends; the key says jobstore, the second one in which schema.
    const LOCK_SCHEMA: Option<&'static str> =
        Some("SELECT pg_advisory_xact_lock(1785684851, hashtext(current_setting('search_path')))");

    // Looked up one by one: a planner that takes the table for a small one, because it was when it was
    // vacuumed, else reads all of it, and keeps to that until the next time.
    fn page_join() -> String {
        "CROSS JOIN LATERAL (SELECT * FROM jobs WHERE jobs.id = page.place OFFSET 0) AS jobs".into()
    }

    const NAMES_JOINED: bool = true;

    // The planner knows which index gives the order.
    fn jobs_by(_: &str) -> String {
        "jobs".to_owned()
    }

    // Any number of rows is one array for each column, so there is one statement for all lengths.
    fn pieces<T: Sync>(rows: &[T]) -> impl Iterator<Item = &[T]> + Send {
        rows.chunks(rows.len().max(1))
    }

    fn push_insert(statement: &mut Statement<Self>, columns: &str, rows: &[Vec<Value>], ids: Ids) {
        write::push_insert(statement, columns, rows, ids);
    }

    fn push_delete(statement: &mut Statement<Self>, ids: Vec<Value>) {
        statement.push("WITH gone AS (DELETE FROM jobs WHERE id");
        Self::push_one_of(statement, ids.clone());
        statement.push(
            " RETURNING id) DELETE FROM jobs_params USING gone \
             WHERE jobs_params.id = gone.id AND jobs_params.id",
        );
        Self::push_one_of(statement, ids);
    }

    const INDEXES_PARAMS: bool = true;

    fn find_by_params(
        wire: &mut Wire<'_, Self>,
        terms: &[i64],
    ) -> impl Future<Output = Result<Option<Vec<JobId>>, Failure>> + Send {
        params::find(wire, terms)
    }

    fn push_wanted(statement: &mut Statement<Self>, rows: &[Vec<Value>]) {
        statement.push("SELECT * FROM ");
        write::push_unnest(statement, rows);
        let columns = (1..=rows.first().map_or(0, Vec::len)).map(|n| format!("column{n}"));
        let columns = columns.collect::<Vec<_>>().join(", ");
        statement.push(format_args!(" AS wanted ({columns})"));
    }

    // Looked up one by one: joined, the index may be read from end to end, when statistics were taken
    // while no key was held.
    fn push_holders(statement: &mut Statement<Self>, keys: &[Vec<Value>]) {
        statement.push("WITH wanted (name, key) AS (");
        Self::push_wanted(statement, keys);
        statement.push(format_args!(
            // Word for word the predicate of the index of unique keys.
            ") SELECT {COLUMNS} FROM wanted CROSS JOIN LATERAL (SELECT * FROM jobs \
             WHERE jobs.job_name = wanted.name AND jobs.unique_key = wanted.key \
             AND jobs.unique_key IS NOT NULL AND jobs.status < 2 LIMIT 1) AS jobs"
        ));
    }

    fn push_one_of(statement: &mut Statement<Self>, values: Vec<Value>) {
        statement.push(" = ANY(");
        write::push_array(statement, &mut values.into_iter());
        statement.push(")");
    }

    fn claim(
        wire: &mut Wire<'_, Self>,
        names: &[String],
        leases: &[&Lease],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<(usize, Job)>, Failure>> + Send {
        claim::claim(wire, names, leases, now)
    }

    fn is_busy(error: &sqlx::Error) -> bool {
        // Too many connections, or the server is starting or stopping.
        matches!(code(error).as_deref(), Some("53300" | "57P03"))
    }

    fn is_in_transaction(error: &sqlx::Error) -> bool {
        // One that has done something refuses another isolation level, one that failed everything.
        matches!(code(error).as_deref(), Some("25001" | "25P02"))
    }

    fn is_conflict(error: &sqlx::Error) -> bool {
        // Serialization failure, deadlock, a row that somebody else inserted meanwhile, a lock that
        // was not to be had in time, an update that undid itself.
        matches!(
            code(error).as_deref(),
            Some("40001" | "40P01" | "23505" | "22P02")
        )
    }

    fn error(error: sqlx::Error) -> Error {
        match &error {
            sqlx::Error::Database(found) => of_server(
                found.code().as_deref().unwrap_or_default(),
                found.message(),
                found
                    .try_downcast_ref::<sqlx::postgres::PgDatabaseError>()
                    .map(|error| error.severity()),
            ),
            // A certificate that is not the server's comes as what was read and made no sense.
            sqlx::Error::Io(error)
                if error.kind() == std::io::ErrorKind::InvalidData
                    && error.to_string().contains("certificate") =>
            {
                backend(format!("TLS with the server failed: {error}"))
            }
            sqlx::Error::Io(error) => unavailable(format!(
                "the connection to the server failed: {}",
                error.kind()
            )),
            sqlx::Error::Tls(error) => backend(format!("TLS with the server failed: {error}")),
            sqlx::Error::PoolTimedOut => unavailable("no connection became free in time"),
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                unavailable("the store is closed")
            }
            sqlx::Error::Protocol(_) => {
                unavailable("the server did not speak the protocol as expected")
            }
            sqlx::Error::Configuration(_) => backend("the way to the server is not set up rightly"),
            sqlx::Error::ColumnDecode { index, .. } => {
                backend(format!("column {index} is not of the type it should have"))
            }
            // What else there is may hold values.
            _ => backend("the driver could not do what was asked"),
        }
    }

    fn migrations() -> &'static [Migration] {
        &MIGRATIONS
    }
}

/// The SQLSTATE of an error that the server sent.
fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// An error of the server's in our words: its own may hold values of rows.
fn of_server(code: &str, message: &str, severity: Option<PgSeverity>) -> Error {
    let class = code.get(..2).unwrap_or_default();
    match (class, code) {
        (_, "53100") => unavailable("the server's disk is full"),
        (_, "53300") => unavailable("the server has no connection left"),
        ("53", _) => unavailable("the server is out of memory or another resource"),
        (_, "57014") => unavailable("the server stopped a statement that took too long"),
        ("57", _) => unavailable("the server ended the connection: it was told to, or stops"),
        ("08", _) => unavailable("the connection to the server failed"),
        ("40", _) | (_, "23505" | "55P03" | "22P02") => {
            unavailable("other writers were in the way for too long")
        }
        (_, "25006") => {
            unavailable("the server takes no writes: a standby, or being switched over")
        }
        (_, "25P03") => unavailable("the server ended a transaction that rested too long"),
        ("28", _) => backend("the server refuses this user, or its password"),
        (_, "3D000") => backend("the database does not exist"),
        (_, "42501") => backend(format!("the server denies permission: {message}")),
        (_, "3F000" | "42P01" | "42703") => incompatible(
            "the table of jobs is not there, or not as this version made it: migrate, or set the schema",
        ),
        // What class 42 says names tables, columns and words of the statement, never values.
        ("42", _) => backend(format!(
            "the server refused a statement ({code}): {message}"
        )),
        _ if matches!(severity, Some(PgSeverity::Fatal | PgSeverity::Panic)) => {
            unavailable(format!("the server ended the connection ({code})"))
        }
        _ => backend(format!("the server refused a statement ({code})")),
    }
}

static MIGRATIONS: [Migration; 1] = [Migration {
    version: 1,
    up: include_str!("postgres/0001_up.sql"),
    down: include_str!("postgres/0001_down.sql"),
}];

/// The SQL that makes the schema, for those who run migrations themselves. It records that it did,
/// so that [`open`](PostgresOptions::open) takes the table for ours. Run it in one transaction, with
/// `search_path` set to the schema.
pub fn schema() -> String {
    migrate::script::<Postgres>("CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)")
}

/// The SQL that removes the schema, and every job with it.
pub fn schema_down() -> String {
    migrate::script_down::<Postgres>()
}
