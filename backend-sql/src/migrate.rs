//! From one version of the schema to another.
//!
//! The versions applied stand in a table of our own, `jobstore_migrations`, so that several
//! libraries can live in one database.

use jobstore_core::{Clock as _, Result, SystemClock};
use sqlx::QueryBuilder;

use crate::dialect::Dialect;
use crate::error::incompatible;

/// One step.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Counted from one.
    pub version: i64,
    /// What leads from the version before to this one.
    pub up: &'static str,
    /// What leads back.
    pub down: &'static str,
}

pub(crate) const MIGRATIONS_TABLE: &str = "CREATE TABLE IF NOT EXISTS jobstore_migrations (
    version BIGINT NOT NULL PRIMARY KEY,
    applied_at BIGINT NOT NULL
)";

/// Brings the schema to this version. Of several processes that start at once one does it, and
/// the others find it done.
pub(crate) async fn up<D: Dialect>(connection: &mut D::Connection) -> Result<()> {
    if version::<D>(connection).await? == latest::<D>() {
        return Ok(());
    }
    transaction::<D>(connection, true).await
}

/// Undoes every step: the table of jobs is gone.
pub(crate) async fn down<D: Dialect>(connection: &mut D::Connection) -> Result<()> {
    transaction::<D>(connection, false).await
}

/// Refuses a schema that is not of this version.
pub(crate) async fn check<D: Dialect>(connection: &mut D::Connection) -> Result<()> {
    let (found, latest) = (version::<D>(connection).await?, latest::<D>());
    if found < latest {
        return Err(incompatible(format!(
            "the schema has version {found}, this program needs {latest}: migrate first"
        )));
    }
    Ok(())
}

async fn transaction<D: Dialect>(connection: &mut D::Connection, up: bool) -> Result<()> {
    D::run(connection, D::BEGIN).await.map_err(D::error)?;
    let done = match steps::<D>(connection, up).await {
        Ok(()) => D::run(connection, "COMMIT").await.map_err(D::error),
        Err(error) => Err(error),
    };
    if done.is_err() {
        // The first error is the one to report; a connection that cannot roll back is closed.
        let _ = D::run(connection, "ROLLBACK").await;
    }
    done
}

async fn steps<D: Dialect>(connection: &mut D::Connection, up: bool) -> Result<()> {
    let found = version::<D>(connection).await?;
    D::run(connection, MIGRATIONS_TABLE)
        .await
        .map_err(D::error)?;
    if up {
        for step in D::migrations().iter().filter(|step| step.version > found) {
            D::run(connection, step.up).await.map_err(D::error)?;
            let mut statement = QueryBuilder::<D>::new(
                "INSERT INTO jobstore_migrations (version, applied_at) VALUES (",
            );
            D::push_value(&mut statement, step.version.into());
            statement.push(", ");
            D::push_value(&mut statement, SystemClock.now().as_millis().into());
            statement.push(")");
            D::execute(connection, statement).await.map_err(D::error)?;
        }
    } else {
        for step in D::migrations()
            .iter()
            .rev()
            .filter(|step| step.version <= found)
        {
            D::run(connection, step.down).await.map_err(D::error)?;
        }
        D::run(connection, "DROP TABLE jobstore_migrations")
            .await
            .map_err(D::error)?;
    }
    Ok(())
}

fn latest<D: Dialect>() -> i64 {
    D::migrations().last().map_or(0, |step| step.version)
}

/// The version found; refuses one that is newer than this program, and a table of jobs that is not
/// ours.
async fn version<D: Dialect>(connection: &mut D::Connection) -> Result<i64> {
    // Both tables in one statement: between two, another process may make them.
    let mut tables = Vec::new();
    let each = |row: &D::Row| tables.extend(D::text(row, 0).ok().flatten());
    let statement = QueryBuilder::<D>::new(D::TABLES);
    D::fetch(connection, statement, each)
        .await
        .map_err(D::error)?;
    let exists = |name: &str| tables.iter().any(|table| table == name);
    if !exists("jobstore_migrations") {
        if exists("jobs") {
            return Err(incompatible(
                "there is a table `jobs` that jobstore did not make",
            ));
        }
        return Ok(0);
    }
    let statement = QueryBuilder::<D>::new("SELECT MAX(version) FROM jobstore_migrations");
    let found = one_int::<D>(connection, statement).await?;
    if found > latest::<D>() {
        return Err(incompatible(format!(
            "the schema has version {found}, newer than {} of this program",
            latest::<D>()
        )));
    }
    Ok(found)
}

async fn one_int<D: Dialect>(
    connection: &mut D::Connection,
    statement: QueryBuilder<D>,
) -> Result<i64> {
    let mut found = 0;
    let each = |row: &D::Row| found = D::int(row, 0).ok().flatten().unwrap_or(0);
    D::fetch(connection, statement, each)
        .await
        .map_err(D::error)?;
    Ok(found)
}
