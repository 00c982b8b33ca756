//! What differs between engines, and the little of `sqlx` that everything else uses.

mod rows;

use std::fmt::Debug;

use futures_util::TryStreamExt as _;
use jobstore_core::{Job, JobId, Lease, Timestamp};
use sqlx::database::HasStatementCache;
use sqlx::{
    AssertSqlSafe, ColumnIndex, Connection as _, Database, Decode, Encode, Execute as _, Executor,
    IntoArguments, QueryBuilder, Row, Type,
};

use crate::error::Failure;
use crate::row::{self, COLUMNS, Place};
use crate::wire::Wire;

#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub(crate) use rows::{FINE_LENGTHS, filled};
pub(crate) use rows::{LENGTHS, are_alike, fits, fitting, pieces, push_rows, push_set};

/// The differences of one engine, each with its reason in the engine's file.
pub trait Dialect: Driver {
    /// How many transactions write at once. Servers get two: while one commits, the other gathers. With
    /// more, what few callers ask for is spread over transactions of one call each: with four, claims of
    /// four callers on PostgreSQL came to 0.71 of `pgbench`, with two to 1.11, on a machine of two cores.
    const WRITERS: usize;

    /// Ends a SELECT of rows by id, so that they stay as they are until the transaction ends.
    const LOCK_ROWS: &'static str;

    /// Ends a SELECT of rows in an order of its own, so that they stay as they are until the transaction
    /// ends. Waits for those that others hold.
    const LOCK_FOUND_ROWS: &'static str;

    /// Ends a SELECT of rows that anybody may take, so that no other transaction takes them, nor
    /// waits for them.
    const LOCK_FREE_ROWS: &'static str;

    /// The index that finds a job by its id.
    const PRIMARY_KEY: &'static str;

    /// Names those of the tables `jobs` and `jobstore_migrations` that exist.
    const TABLES: &'static str;

    /// Has a connection plan its prepared statements anew, where their plans are kept and say how many
    /// rows there were.
    const FORGET_PLANS: Option<&'static str> = None;

    /// Asks for the engine's own time, in milliseconds since the epoch.
    const CLOCK: &'static str;

    /// Asks for the engine's version, as text.
    const VERSION: &'static str;

    /// Keeps others from changing the schema until the transaction ends, where its beginning alone
    /// does not.
    const LOCK_SCHEMA: Option<&'static str>;

    /// Whether each change of the schema commits by itself, so that the step after the one recorded
    /// may be done, wholly or in part.
    const COMMITS_SCHEMA: bool = false;

    /// Lets others change the schema again, where the end of the transaction alone does not.
    const UNLOCK_SCHEMA: Option<&'static str> = None;

    /// The end of a finalized job, to be compared, and the order in which they ended: word for word
    /// as in the index of ended jobs.
    const ENDED_AT: &'static str = "status > 1 AND last_update_time";
    /// See [`ENDED_AT`](Self::ENDED_AT).
    const ENDED_ORDER: &'static str = "last_update_time, id";

    /// What tells each version of a row from every other, as text, where the engine has that: a row can
    /// be read without a lock, and written if it is still what was read. Where it has that, an UPDATE
    /// may stand in a WITH, and text that is no number fails to be one as a
    /// [conflict](Self::is_conflict).
    const ROW_VERSION: Option<&'static str> = None;

    /// What a row is known by besides its id, where that finds it sooner.
    const PLACE: &'static str = "id";

    /// Joins each row of a page, known by its [`PLACE`](Self::PLACE), to the whole of its job.
    fn page_join() -> String {
        format!("JOIN jobs ON jobs.{} = page.place", Self::PLACE)
    }

    /// How many jobs come over at once, where that is quicker than a row for each.
    const PACKED: Option<&'static Packed> = None;

    /// Whether several statements go to the engine as one text.
    const JOINS: bool = false;

    /// Whether a claim is one statement.
    const CLAIMS_ALONE: bool = false;

    /// Numbers of rows that statements are written for, the most first. A statement that says the
    /// same about `n` rows exists in these lengths only, so that each connection's cache of prepared
    /// statements holds all.
    const LENGTHS: &'static [usize] = &LENGTHS;

    /// The table of jobs, to be read through this index. Engines whose planner finds it by itself
    /// name the table alone.
    fn jobs_by(index: &str) -> String;

    /// Splits rows into pieces that one statement can hold.
    fn pieces<T: Sync>(rows: &[T]) -> impl Iterator<Item = &[T]> + Send {
        pieces(rows, &LENGTHS)
    }

    /// Splits rows into pieces that one insert can hold.
    fn insert_pieces(rows: &[Vec<Value>]) -> Vec<&[Vec<Value>]> {
        Self::pieces(rows).collect()
    }

    /// Writes `INSERT INTO jobs (…) VALUES …` for many rows at once.
    fn push_insert(statement: &mut Statement<Self>, columns: &str, rows: &[Vec<Value>], _: Ids) {
        statement.push(format_args!("INSERT INTO jobs ({columns}) VALUES "));
        push_rows(statement, rows);
    }

    /// Splits rows into pieces that one update can hold.
    fn update_pieces(rows: &[Vec<Value>]) -> Vec<&[Vec<Value>]> {
        Self::pieces(rows).collect()
    }

    /// Writes an update of many rows: `columns[0]` finds each, the others are set. Each row has as
    /// many values.
    fn push_update(statement: &mut Statement<Self>, columns: &[&str], rows: &[Vec<Value>]) {
        statement.push("UPDATE jobs SET ");
        // Said once where it is the same for all, which leaves less to be joined, or nothing.
        let mut differing = vec![0];
        for (column, name) in columns.iter().enumerate().skip(1) {
            statement.push(if column > 1 { ", " } else { "" });
            statement.push(name).push(" = ");
            if are_alike(rows, column) {
                Self::push_value(statement, rows[0][column].clone());
            } else {
                differing.push(column);
                statement.push(format_args!("new.column{}", differing.len()));
            }
        }
        if let [id] = differing[..] {
            statement.push(format_args!(" WHERE {}", columns[id]));
            Self::push_one_of(statement, rows.iter().map(|row| row[id].clone()).collect());
            return;
        }
        let row = |row: &Vec<Value>| {
            differing
                .iter()
                .map(|&column| row[column].clone())
                .collect()
        };
        statement.push(" FROM (");
        Self::push_wanted(statement, &rows.iter().map(row).collect::<Vec<_>>());
        statement.push(format_args!(
            ") AS new WHERE jobs.{} = new.column1",
            columns[0]
        ));
        if Self::NAMES_JOINED {
            statement.push(format_args!(" AND jobs.{}", columns[0]));
            Self::push_one_of(statement, rows.iter().map(|row| row[0].clone()).collect());
        }
    }

    /// Whether a join names the rows of jobs a second time, because a planner that takes the table for
    /// a small one would read all of them.
    const NAMES_JOINED: bool = false;

    /// Writes a query that gives these rows, with columns named `column1`, `column2` and so on.
    fn push_wanted(statement: &mut Statement<Self>, rows: &[Vec<Value>]) {
        statement.push("VALUES ");
        push_rows(statement, rows);
    }

    /// Writes a query of the jobs that hold these pairs of a name and a unique key.
    fn push_holders(statement: &mut Statement<Self>, keys: &[Vec<Value>]) {
        statement.push("WITH wanted (name, key) AS (");
        Self::push_wanted(statement, keys);
        statement.push(format_args!(
            // Word for word the predicate of the index of unique keys.
            ") SELECT {COLUMNS} FROM wanted JOIN {} \
             ON jobs.job_name = wanted.name AND jobs.unique_key = wanted.key \
             WHERE jobs.unique_key IS NOT NULL AND jobs.status < 2",
            Self::jobs_by("jobs_unique_key")
        ));
    }

    /// Writes the condition that a row comes after this place in the order of listing; `after` is
    /// how both its parts compare.
    fn push_after(statement: &mut Statement<Self>, after: &str, place: &Place) {
        statement.push(format_args!("(creation_time, id) {after} ("));
        Self::push_value(statement, place.time.into());
        statement.push(", ");
        Self::push_bytes(statement, place.id.clone());
        statement.push(")");
    }

    /// Starts a statement that deletes jobs by their ids.
    const DELETE: &'static str = "DELETE FROM jobs";

    /// Writes the whole of that statement.
    fn push_delete(statement: &mut Statement<Self>, ids: Vec<Value>) {
        statement.push(Self::DELETE).push(" WHERE id");
        Self::push_one_of(statement, ids);
    }

    /// Whether [`find_by_params`](Self::find_by_params) finds anything.
    const INDEXES_PARAMS: bool = false;

    /// The jobs that may have all of these [terms](jobstore_core::JobParams::terms), unless they are
    /// so many that looking at all jobs in order is as good. Asked inside a transaction.
    fn find_by_params(
        _wire: &mut Wire<'_, Self>,
        _terms: &[i64],
    ) -> impl Future<Output = Result<Option<Vec<JobId>>, Failure>> + Send {
        std::future::ready(Ok(None))
    }

    /// Writes the condition that what stands before it is one of these values.
    fn push_one_of(statement: &mut Statement<Self>, values: Vec<Value>) {
        statement.push(" IN ");
        push_set(statement, values);
    }

    /// Claims the first due jobs of these names, or of any, at most one for each lease. Each comes
    /// with the number of its lease, in the order of claims.
    fn claim(
        wire: &mut Wire<'_, Self>,
        names: &[String],
        leases: &[&Lease],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<(usize, Job)>, Failure>> + Send;

    /// Whether the engine is busy with others, so that trying again may work.
    fn is_busy(error: &sqlx::Error) -> bool;

    /// Whether a transaction could not begin because another is open on the connection.
    fn is_in_transaction(error: &sqlx::Error) -> bool;

    /// Whether another writer was in the way, so that the same transaction will do now.
    fn is_conflict(error: &sqlx::Error) -> bool;

    /// The engine's error as ours.
    fn error(error: sqlx::Error) -> jobstore_core::Error;

    /// The steps that lead from an empty database to this version's schema.
    fn migrations() -> &'static [crate::migrate::Migration];
}

/// Where the ids of new jobs come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// The store made all of them, so nothing in the database has them.
    Made,
    /// Callers gave some.
    Given,
}

/// How claims keep out of each other's way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClaimBy {
    /// Rows that another claim is about to take are passed over, by `SKIP LOCKED`.
    #[default]
    SkipLocked,
    /// The update alone decides who gets a job. Callers at once pick the same jobs and wait for each
    /// other, so this is slower; it is right on servers that take the words `SKIP LOCKED` and lock
    /// nothing.
    Guard,
}

/// How a query of jobs begins, up to the table, and how it ends.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// `SELECT … FROM`.
    pub select: &'static str,
    /// What closes what that opened.
    pub end: &'static str,
}

impl Columns {
    /// A row for each job.
    pub(crate) const ROWS: Self = Self {
        select: row::SELECT,
        end: "",
    };
}

/// All jobs of a query in one text, in any order.
#[derive(Clone, Copy, Debug)]
pub struct Packed {
    /// Makes a query give the text, or NULL when it finds no job.
    pub columns: Columns,
    /// The jobs of the text. None when one of them must be read as a row.
    pub unpack: fn(&str) -> Option<Vec<Job>>,
}

/// A value of one of the types that our columns have.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An integer.
    Int(Option<i64>),
    /// A number.
    Real(Option<f64>),
    /// A text.
    Text(Option<String>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl Value {
    /// The integer; of another type, none.
    pub fn into_int(self) -> Option<i64> {
        match self {
            Self::Int(value) => value,
            _ => None,
        }
    }

    /// The number; of another type, none.
    pub fn into_real(self) -> Option<f64> {
        match self {
            Self::Real(value) => value,
            _ => None,
        }
    }

    /// About how long it is on its way to the engine.
    fn bytes(&self) -> usize {
        match self {
            Self::Text(Some(text)) => text.len() + 9,
            _ => 9,
        }
    }

    /// The text; of another type, none.
    pub fn into_text(self) -> Option<String> {
        match self {
            Self::Text(value) => value,
            _ => None,
        }
    }
}

/// A statement being written.
pub(crate) type Statement<D> = QueryBuilder<D>;

/// Runs statements. Every `sqlx` database is one; the bounds are stated here and nowhere else.
pub trait Driver: Database {
    /// Writes a placeholder for the value.
    fn push_value(statement: &mut QueryBuilder<Self>, value: Value);
    /// Writes a placeholder for the text that has these bytes.
    fn push_bytes(statement: &mut QueryBuilder<Self>, bytes: Vec<u8>);

    /// Runs a statement that returns no rows.
    fn execute(
        connection: &mut Self::Connection,
        statement: QueryBuilder<Self>,
        prepares: bool,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Runs a statement and shows each row to `each`, none kept.
    fn fetch<F>(
        connection: &mut Self::Connection,
        statement: QueryBuilder<Self>,
        prepares: bool,
        each: F,
    ) -> impl Future<Output = sqlx::Result<()>> + Send
    where
        F: FnMut(&Self::Row) + Send;

    /// The statement, behind SQL without arguments. Only where [`Dialect::JOINS`].
    fn behind(sql: &str, statement: &mut QueryBuilder<Self>) -> sqlx::Result<QueryBuilder<Self>>;

    /// Runs several statements without arguments, as they are.
    fn run(
        connection: &mut Self::Connection,
        sql: String,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Has the connection prepare its statements anew.
    fn forget_statements(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Asks the engine for a sign of life.
    fn ping(connection: &mut Self::Connection) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// The integer in a column.
    fn int(row: &Self::Row, column: usize) -> sqlx::Result<Option<i64>>;
    /// The number in a column.
    fn real(row: &Self::Row, column: usize) -> sqlx::Result<Option<f64>>;
    /// The text in a column.
    fn text(row: &Self::Row, column: usize) -> sqlx::Result<Option<String>>;
    /// The bytes of the text in a column, also of one that is not UTF-8.
    fn bytes(row: &Self::Row, column: usize) -> sqlx::Result<Option<Vec<u8>>>;
}

/// How an engine takes and gives text.
pub trait TextForm: Database {
    /// Writes a placeholder for the text.
    fn push(statement: &mut QueryBuilder<Self>, text: Option<String>);

    /// The text in a column.
    fn get(row: &Self::Row, column: usize) -> sqlx::Result<Option<String>>;

    /// Writes a placeholder for the text that has these bytes.
    fn push_bytes(statement: &mut QueryBuilder<Self>, bytes: Vec<u8>);

    /// The bytes of the text in a column, also of one that is not UTF-8.
    fn get_bytes(row: &Self::Row, column: usize) -> sqlx::Result<Option<Vec<u8>>>;
}

impl<DB> Driver for DB
where
    DB: TextForm + HasStatementCache,
    DB::Connection: Debug,
    DB::Row: Row<Database = DB>,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    Option<i64>: for<'q> Encode<'q, DB> + Type<DB> + for<'r> Decode<'r, DB>,
    Option<f64>: for<'q> Encode<'q, DB> + Type<DB> + for<'r> Decode<'r, DB>,
    usize: ColumnIndex<DB::Row>,
{
    fn push_value(statement: &mut QueryBuilder<Self>, value: Value) {
        match value {
            Value::Int(value) => {
                statement.push_bind(value);
            }
            Value::Real(value) => {
                statement.push_bind(value);
            }
            Value::Text(value) => DB::push(statement, value),
        }
    }

    fn push_bytes(statement: &mut QueryBuilder<Self>, bytes: Vec<u8>) {
        <DB as TextForm>::push_bytes(statement, bytes);
    }

    async fn execute(
        connection: &mut Self::Connection,
        mut statement: QueryBuilder<Self>,
        prepares: bool,
    ) -> sqlx::Result<()> {
        let query = statement.build().persistent(prepares);
        query.execute(connection).await?;
        Ok(())
    }

    async fn fetch<F>(
        connection: &mut Self::Connection,
        mut statement: QueryBuilder<Self>,
        prepares: bool,
        mut each: F,
    ) -> sqlx::Result<()>
    where
        F: FnMut(&Self::Row) + Send,
    {
        let mut rows = statement.build().persistent(prepares).fetch(connection);
        while let Some(row) = rows.try_next().await? {
            each(&row);
        }
        Ok(())
    }

    fn behind(sql: &str, statement: &mut QueryBuilder<Self>) -> sqlx::Result<QueryBuilder<Self>> {
        let all = format!("{sql}; {}", statement.sql().as_str());
        let arguments = statement.build().take_arguments();
        let arguments = arguments.map_err(sqlx::Error::Encode)?;
        Ok(QueryBuilder::with_arguments(
            all,
            arguments.unwrap_or_default(),
        ))
    }

    async fn run(connection: &mut Self::Connection, sql: String) -> sqlx::Result<()> {
        // Never holds a value of a caller's: names among it were checked.
        connection
            .execute(sqlx::raw_sql(AssertSqlSafe(sql)))
            .await?;
        Ok(())
    }

    async fn forget_statements(connection: &mut Self::Connection) -> sqlx::Result<()> {
        connection.clear_cached_statements().await
    }

    async fn ping(connection: &mut Self::Connection) -> sqlx::Result<()> {
        connection.ping().await
    }

    fn int(row: &Self::Row, column: usize) -> sqlx::Result<Option<i64>> {
        row.try_get(column)
    }

    fn real(row: &Self::Row, column: usize) -> sqlx::Result<Option<f64>> {
        row.try_get(column)
    }

    fn text(row: &Self::Row, column: usize) -> sqlx::Result<Option<String>> {
        DB::get(row, column)
    }

    fn bytes(row: &Self::Row, column: usize) -> sqlx::Result<Option<Vec<u8>>> {
        DB::get_bytes(row, column)
    }
}
