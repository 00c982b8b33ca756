//! What differs between engines, and the little of `sqlx` that everything else uses.

use std::fmt::Debug;

use futures_util::TryStreamExt as _;
use sqlx::{
    ColumnIndex, Database, Decode, Encode, Executor, IntoArguments, QueryBuilder, Row, Type,
};

/// The differences of one engine, each with its reason in the engine's file.
pub trait Dialect: Driver {
    /// Starts a transaction that may write.
    const BEGIN: &'static str;

    /// How many transactions write at once.
    const WRITERS: usize;

    /// Ends a SELECT of rows by id, so that they stay as they are until the transaction ends.
    const LOCK_ROWS: &'static str;

    /// Ends a SELECT of rows that anybody may take, so that no other transaction takes them, nor
    /// waits for them.
    const LOCK_FREE_ROWS: &'static str;

    /// Writes `SET … WHERE id = …` for many rows at once: `columns[0]` finds the row, the others
    /// are set. Each row has as many values.
    fn push_update(statement: &mut Statement<Self>, columns: &[&str], rows: &[Vec<Value>]);

    /// Whether the engine is busy with others, so that trying again may work.
    fn is_busy(error: &sqlx::Error) -> bool;

    /// Whether another writer was in the way, so that the same transaction will do now.
    fn is_conflict(error: &sqlx::Error) -> bool;

    /// The engine's error as ours.
    fn error(error: sqlx::Error) -> jobstore_core::Error;

    /// The steps that lead from an empty database to this version's schema.
    fn migrations() -> &'static [crate::migrate::Migration];

    /// The index that finds a job by its id.
    const PRIMARY_KEY: &'static str;

    /// The table of jobs, to be read through this index. Engines whose planner finds it by itself
    /// name the table alone.
    fn jobs_by(index: &str) -> String;

    /// Names those of the tables `jobs` and `jobstore_migrations` that exist.
    const TABLES: &'static str;
}

/// A value of one of the types that our columns have.
#[derive(Clone, Debug)]
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

/// A statement being written.
pub(crate) type Statement<D> = QueryBuilder<D>;

/// Runs statements. Every `sqlx` database is one; the bounds are stated here and nowhere else.
pub trait Driver: Database {
    /// Writes a placeholder for the value.
    fn push_value(statement: &mut QueryBuilder<Self>, value: Value);

    /// Runs a statement that returns no rows.
    fn execute(
        connection: &mut Self::Connection,
        statement: QueryBuilder<Self>,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Runs a statement and shows each row to `each`, none kept.
    fn fetch<F>(
        connection: &mut Self::Connection,
        statement: QueryBuilder<Self>,
        each: F,
    ) -> impl Future<Output = sqlx::Result<()>> + Send
    where
        F: FnMut(&Self::Row) + Send;

    /// Runs several statements without arguments, as they are.
    fn run(
        connection: &mut Self::Connection,
        sql: &'static str,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// The integer in a column.
    fn int(row: &Self::Row, column: usize) -> sqlx::Result<Option<i64>>;
    /// The number in a column.
    fn real(row: &Self::Row, column: usize) -> sqlx::Result<Option<f64>>;
    /// The text in a column.
    fn text(row: &Self::Row, column: usize) -> sqlx::Result<Option<String>>;
}

impl<DB> Driver for DB
where
    DB: Database,
    DB::Connection: Debug,
    DB::Row: Row<Database = DB>,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    Option<i64>: for<'q> Encode<'q, DB> + Type<DB> + for<'r> Decode<'r, DB>,
    Option<f64>: for<'q> Encode<'q, DB> + Type<DB> + for<'r> Decode<'r, DB>,
    Option<String>: for<'q> Encode<'q, DB> + Type<DB> + for<'r> Decode<'r, DB>,
    usize: ColumnIndex<DB::Row>,
{
    fn push_value(statement: &mut QueryBuilder<Self>, value: Value) {
        match value {
            Value::Int(value) => statement.push_bind(value),
            Value::Real(value) => statement.push_bind(value),
            Value::Text(value) => statement.push_bind(value),
        };
    }

    async fn execute(
        connection: &mut Self::Connection,
        mut statement: QueryBuilder<Self>,
    ) -> sqlx::Result<()> {
        statement.build().execute(connection).await?;
        Ok(())
    }

    async fn fetch<F>(
        connection: &mut Self::Connection,
        mut statement: QueryBuilder<Self>,
        mut each: F,
    ) -> sqlx::Result<()>
    where
        F: FnMut(&Self::Row) + Send,
    {
        let mut rows = statement.build().fetch(connection);
        while let Some(row) = rows.try_next().await? {
            each(&row);
        }
        Ok(())
    }

    async fn run(connection: &mut Self::Connection, sql: &'static str) -> sqlx::Result<()> {
        connection.execute(sqlx::raw_sql(sql)).await?;
        Ok(())
    }

    fn int(row: &Self::Row, column: usize) -> sqlx::Result<Option<i64>> {
        row.try_get(column)
    }

    fn real(row: &Self::Row, column: usize) -> sqlx::Result<Option<f64>> {
        row.try_get(column)
    }

    fn text(row: &Self::Row, column: usize) -> sqlx::Result<Option<String>> {
        row.try_get(column)
    }
}

/// Numbers of rows that statements are written for. A statement that says the same about `n` rows
/// exists in these lengths only, so that each connection's cache of prepared statements holds all.
const LENGTHS: [usize; 6] = [1000, 256, 64, 16, 4, 1];

/// Splits rows into as few pieces as statements of these lengths allow.
pub(crate) fn pieces<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let length = LENGTHS.into_iter().find(|length| *length <= rows.len())?;
        let (piece, rest) = rows.split_at(length);
        rows = rest;
        Some(piece)
    })
}

/// Writes `(?, ?, …)`. The last value is repeated up to one of the lengths, which changes no set.
pub(crate) fn push_set<D: Driver>(
    statement: &mut QueryBuilder<D>,
    values: impl ExactSizeIterator<Item = Value>,
) {
    let wanted = LENGTHS
        .into_iter()
        .rev()
        .find(|length| *length >= values.len());
    let wanted = wanted.unwrap_or(values.len());
    let mut last = Value::Text(None);
    let mut written = 0;
    statement.push("(");
    let separate = |statement: &mut QueryBuilder<D>, written: usize| {
        if written > 0 {
            statement.push(", ");
        }
    };
    for value in values {
        separate(statement, written);
        last = value.clone();
        D::push_value(statement, value);
        written += 1;
    }
    while written < wanted {
        separate(statement, written);
        D::push_value(statement, last.clone());
        written += 1;
    }
    statement.push(")");
}

/// Writes `(?, ?), (?, ?), …`.
pub(crate) fn push_rows<D: Driver>(statement: &mut QueryBuilder<D>, rows: &[Vec<Value>]) {
    for (index, row) in rows.iter().enumerate() {
        statement.push(if index == 0 { "(" } else { "), (" });
        for (index, value) in row.iter().enumerate() {
            if index > 0 {
                statement.push(", ");
            }
            D::push_value(statement, value.clone());
        }
    }
    statement.push(")");
}
