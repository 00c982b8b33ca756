//! MySQL, 8.0.16 and later, and MariaDB, 10.6 and later: a store shared by workers on any number of
//! machines.
//!
//! No statement here is one that only MySQL or only MariaDB takes. All of it is tested on MariaDB
//! 10.11; MySQL itself has not been run yet.
//!
//! # Durability
//!
//! A returned call is committed by InnoDB. It is on the server's disk when the server has
//! `innodb_flush_log_at_trx_commit` at 1 and, where it writes a binary log, `sync_binlog` at 1. Less
//! is the server's own choice: opening logs a warning, and [`Settings`] shows it.
//!
//! # Time
//!
//! The store follows the server's clock, so that workers whose own clocks are wrong agree about
//! leases.
//!
//! # Text
//!
//! All text is stored as bytes in UTF-8, so it is compared and sorted by code point whatever the
//! character sets and collations of the server and the database are.

mod options;
#[cfg(test)]
mod plan;
mod write;

use jobstore_core::{Error, Job, Lease, Result, Timestamp};
use sqlx::mysql::{MySqlDatabaseError, MySqlRow};
use sqlx::{MySql, Row as _};

pub use options::{MySqlOptions, Settings};

use crate::dialect::{
    Dialect, Driver as _, FINE_LENGTHS, LENGTHS, Statement, TextForm, Value, pieces,
};
use crate::error::{Failure, backend, incompatible, unavailable};
use crate::migrate::{self, Migration};
use crate::row::{COLUMNS, Place};
use crate::store::SqlJobStore;
use crate::wire::Wire;

pub use crate::dialect::ClaimBy;

/// A job store in a MySQL or MariaDB database.
pub type MySqlJobStore = SqlJobStore<MySql>;

impl Dialect for MySql {
    const WRITERS: usize = 2;
    // In one order, so that two transactions that want the same rows never wait for each other.
    const LOCK_ROWS: &'static str = " ORDER BY id FOR UPDATE";
    const LOCK_FOUND_ROWS: &'static str = " FOR UPDATE";
    const LOCK_FREE_ROWS: &'static str = " FOR UPDATE SKIP LOCKED";
    const PRIMARY_KEY: &'static str = "PRIMARY";
    const TABLES: &'static str = "SELECT table_name FROM information_schema.tables \
        WHERE table_schema = DATABASE() AND table_name IN ('jobs', 'jobstore_migrations')";
    // Whatever the session's time zone is.
    const CLOCK: &'static str =
        "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000";
    const VERSION: &'static str = "SELECT VERSION()";
    // Every change of the schema commits by itself, so no transaction holds this: it is given back
    // by name, or with the connection. The steps are right without it too, on a cluster whose nodes
    // do not share it.
    const LOCK_SCHEMA: Option<&'static str> =
        Some("DO GET_LOCK(CONCAT('jobstore ', SHA1(COALESCE(DATABASE(), ''))), 60)");
    const COMMITS_SCHEMA: bool = true;
    const UNLOCK_SCHEMA: Option<&'static str> =
        Some("DO RELEASE_LOCK(CONCAT('jobstore ', SHA1(COALESCE(DATABASE(), ''))))");
    const ENDED_AT: &'static str = "ended_at";
    const ENDED_ORDER: &'static str = "ended_at, id";
    const DELETE: &'static str = "DELETE jobs FROM jobs FORCE INDEX (PRIMARY)";

    // The planner goes by estimates, and what it reads as a whole table it also locks as a whole.
    fn jobs_by(index: &str) -> String {
        format!("jobs FORCE INDEX ({index})")
    }

    // In this order, whatever the statistics say: a server that was restarted soon after the table grew
    // takes it for as small as it was, and would begin with reading all of it.
    fn page_join() -> String {
        "STRAIGHT_JOIN jobs FORCE INDEX (PRIMARY) ON jobs.id = page.place".to_owned()
    }

    // Each row of an update that tells them apart is compared with all rows of its statement.
    fn pieces<T: Sync>(rows: &[T]) -> impl Iterator<Item = &[T]> + Send {
        pieces(rows, &LENGTHS[2..])
    }

    // An insert tells no rows apart.
    fn insert_pieces(rows: &[Vec<Value>]) -> Vec<&[Vec<Value>]> {
        pieces(rows, &FINE_LENGTHS).collect()
    }

    fn update_pieces(rows: &[Vec<Value>]) -> Vec<&[Vec<Value>]> {
        write::update_pieces(rows)
    }

    fn push_update(statement: &mut Statement<Self>, columns: &[&str], rows: &[Vec<Value>]) {
        write::push_update(statement, columns, rows);
    }

    // Rows of values alone are written differently on MySQL and MariaDB.
    fn push_holders(statement: &mut Statement<Self>, keys: &[Vec<Value>]) {
        let table = Self::jobs_by("jobs_unique_key");
        statement.push(format_args!("SELECT {COLUMNS} FROM {table} WHERE "));
        for (index, key) in keys.iter().enumerate() {
            statement.push(if index == 0 {
                "(job_name = "
            } else {
                " OR (job_name = "
            });
            Self::push_value(statement, key[0].clone());
            statement.push(" AND held_key = ");
            Self::push_value(statement, key[1].clone());
            statement.push(")");
        }
    }

    // A pair is not looked up in an index, but each of these alternatives is.
    fn push_after(statement: &mut Statement<Self>, after: &str, place: &Place) {
        statement.push(format_args!("(creation_time {after} "));
        Self::push_value(statement, place.time.into());
        statement.push(" OR (creation_time = ");
        Self::push_value(statement, place.time.into());
        statement.push(format_args!(" AND id {after} "));
        <Self as TextForm>::push_bytes(statement, place.id.clone());
        statement.push("))");
    }

    fn claim(
        wire: &mut Wire<'_, Self>,
        names: &[String],
        leases: &[&Lease],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<(usize, Job)>, Failure>> + Send {
        write::claim(wire, names, leases, now)
    }

    fn is_busy(error: &sqlx::Error) -> bool {
        // No connection left, or shutting down.
        matches!(number(error), Some(1040 | 1203 | 1053))
    }

    // A transaction that is open is committed by beginning another, without a word: `begin` rolls
    // back first on connections that may have one.
    fn is_in_transaction(_: &sqlx::Error) -> bool {
        false
    }

    fn is_conflict(error: &sqlx::Error) -> bool {
        // A lock not to be had in time, which undoes the statement alone; a deadlock, or another
        // node of the cluster; a row or a key that somebody else inserted meanwhile; a row changed
        // since it was read. Whatever was undone by then, the transaction is rolled back.
        matches!(number(error), Some(1205 | 1213 | 1062 | 1020))
    }

    fn error(error: sqlx::Error) -> Error {
        if let Some(number) = number(&error) {
            return of_server(number);
        }
        match &error {
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

impl TextForm for MySql {
    // Bytes, so that no character set of a connection or a column ever changes or compares them.
    fn push(statement: &mut Statement<Self>, text: Option<String>) {
        statement.push_bind(text.map(String::into_bytes));
    }

    fn get(row: &MySqlRow, column: usize) -> sqlx::Result<Option<String>> {
        let bytes: Option<Vec<u8>> = row.try_get(column)?;
        let text = bytes.map(String::from_utf8).transpose();
        // The error of the conversion holds the bytes.
        text.map_err(|_| sqlx::Error::ColumnDecode {
            index: column.to_string(),
            source: "not UTF-8".into(),
        })
    }

    fn push_bytes(statement: &mut Statement<Self>, bytes: Vec<u8>) {
        statement.push_bind(bytes);
    }

    fn get_bytes(row: &MySqlRow, column: usize) -> sqlx::Result<Option<Vec<u8>>> {
        row.try_get(column)
    }
}

/// The number of an error that the server sent.
fn number(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?;
    Some(error.try_downcast_ref::<MySqlDatabaseError>()?.number())
}

/// An error of the server's in our words: its own hold values of rows.
fn of_server(number: u16) -> Error {
    match number {
        1205 | 1213 | 1062 | 1020 | 3572 => {
            unavailable("other writers were in the way for too long")
        }
        1040 | 1203 | 1226 => unavailable("the server has no connection left"),
        1021 | 1114 | 1030 | 1026 => unavailable("the server's disk is full, or fails"),
        1037 | 1038 | 1041 => unavailable("the server is out of memory"),
        // So nothing is tried again by the store.
        1180 => unavailable("the server failed as it committed; what was asked may have happened"),
        1053 | 1077 | 1079 | 1927 | 4031 => {
            unavailable("the server ended the connection: it was told to, or stops")
        }
        1317 | 1969 | 3024 => {
            unavailable("the server stopped a statement that took too long, or was told to")
        }
        1047 => unavailable("the node is not part of its cluster at the moment"),
        1290 | 1792 | 1836 => {
            unavailable("the server takes no writes: a replica, or being switched over")
        }
        1153 => backend("a statement is larger than the server's max_allowed_packet"),
        1044 | 1045 | 1698 | 1130 | 1129 | 1251 => {
            backend("the server refuses this user, its password or its host")
        }
        1142 | 1143 | 1227 | 1370 => {
            backend("the server denies this user a permission that the store needs")
        }
        1049 => backend("the database does not exist"),
        1046 => backend("no database is selected: name one in the URL"),
        1054 | 1146 | 1176 => {
            incompatible("the table of jobs is not there, or not as this version made it: migrate")
        }
        number => backend(format!("the server refused a statement (error {number})")),
    }
}

static MIGRATIONS: [Migration; 1] = [Migration {
    version: 1,
    up: include_str!("mysql/0001_up.sql"),
    down: include_str!("mysql/0001_down.sql"),
}];

/// The SQL that makes the schema, for those who run migrations themselves. It records that it did,
/// so that [`open`](MySqlOptions::open) takes the table for ours. Run it in the store's database.
pub fn schema() -> String {
    migrate::script::<MySql>("UNIX_TIMESTAMP() * 1000")
}

/// The SQL that removes the schema, and every job with it.
pub fn schema_down() -> String {
    migrate::script_down::<MySql>()
}
