//! From one version of the schema to another.
//!
//! The versions applied stand in a table of our own, `jobstore_migrations`, so that several
//! libraries can live in one database.

use std::time::Duration;

use jobstore_core::{Clock as _, Result, SystemClock};
use sqlx::QueryBuilder;

use crate::dialect::{ClaimBy, Dialect};
use crate::error::{Failure, incompatible};
use crate::session::Sessions;
use crate::wire::Wire;

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
/// the others find it done. `prepare` is run before, in the same transaction.
pub(crate) async fn up<D: Dialect>(sessions: &Sessions<D>, prepare: Option<&str>) -> Result<()> {
    let mut session = sessions.acquire_to_read().await?;
    let found = version::<D>(&mut session.wire(ClaimBy::default())).await;
    if session.end(found).await? == latest::<D>() {
        return Ok(());
    }
    transaction::<D>(sessions, prepare, true).await
}

/// Undoes every step: the table of jobs is gone.
pub(crate) async fn down<D: Dialect>(sessions: &Sessions<D>) -> Result<()> {
    transaction::<D>(sessions, None, false).await
}

/// Refuses a schema that is not of this version.
pub(crate) async fn check<D: Dialect>(sessions: &Sessions<D>) -> Result<()> {
    let mut session = sessions.acquire_to_read().await?;
    let found = version::<D>(&mut session.wire(ClaimBy::default())).await;
    let (found, latest) = (session.end(found).await?, latest::<D>());
    if found < latest {
        return Err(incompatible(format!(
            "the schema has version {found}, this program needs {latest}: migrate first"
        )));
    }
    Ok(())
}

async fn transaction<D: Dialect>(
    sessions: &Sessions<D>,
    prepare: Option<&str>,
    up: bool,
) -> Result<()> {
    let mut tries = 0;
    loop {
        let mut session = sessions.acquire().await?;
        session.begin().await?;
        let mut wire = session.wire(ClaimBy::default());
        let mut done = steps::<D>(&mut wire, prepare, up).await;
        if let Some(unlock) = D::UNLOCK_SCHEMA {
            let unlocked = wire.run(unlock).await;
            done = done.and(unlocked);
        }
        match session.end(done).await {
            // Another process did the same; what is left to do is seen the next time.
            Err(Failure::Conflict(_)) if tries < 10 => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            done => return Ok(done?),
        }
    }
}

/// Where each change of the schema commits by itself, this may have ended anywhere before: what
/// is recorded was done wholly, and what was done without being recorded can be done again.
async fn steps<D: Dialect>(
    wire: &mut Wire<'_, D>,
    prepare: Option<&str>,
    up: bool,
) -> Result<(), Failure> {
    for first in D::LOCK_SCHEMA.into_iter().chain(prepare) {
        wire.run(first).await?;
    }
    let found = version::<D>(wire).await?;
    wire.run(MIGRATIONS_TABLE).await?;
    let push_version = |sql: &str, step: &Migration| {
        let mut statement = QueryBuilder::<D>::new(sql);
        D::push_value(&mut statement, step.version.into());
        statement
    };
    if up {
        for step in D::migrations().iter().filter(|step| step.version > found) {
            wire.run(step.up).await?;
            let insert = "INSERT INTO jobstore_migrations (version, applied_at) VALUES (";
            let mut statement = push_version(insert, step);
            statement.push(", ");
            D::push_value(&mut statement, SystemClock.now().as_millis().into());
            statement.push(")");
            wire.execute(statement).await?;
        }
    } else {
        let steps = D::migrations().iter().rev();
        let begun = found + i64::from(D::COMMITS_SCHEMA);
        for step in steps.filter(|step| step.version <= begun) {
            let delete = "DELETE FROM jobstore_migrations WHERE version = ";
            wire.execute(push_version(delete, step)).await?;
            wire.run(step.down).await?;
        }
        wire.run("DROP TABLE jobstore_migrations").await?;
    }
    Ok(())
}

/// The SQL of every step up, for those who run it themselves; `now` is an expression that gives
/// the time. It records what it did, so that a store takes the table for ours.
pub(crate) fn script<D: Dialect>(now: &str) -> String {
    let steps = D::migrations().iter().map(|Migration { version, up, .. }| {
        let up = up.trim_end();
        format!(
            "{up}\nINSERT INTO jobstore_migrations (version, applied_at)\n    \
                 VALUES ({version}, {now});\n"
        )
    });
    let table = format!("{MIGRATIONS_TABLE};\n");
    [table].into_iter().chain(steps).collect()
}

/// The SQL of every step down.
pub(crate) fn script_down<D: Dialect>() -> String {
    let steps = D::migrations().iter().rev().map(|step| step.down);
    steps.chain(["DROP TABLE jobstore_migrations;\n"]).collect()
}

/// Refuses a server on which a row that one transaction has locked is not passed over by the next:
/// there, several workers would be given the same jobs.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) async fn probe_skip_locked<D: Dialect>(sessions: &Sessions<D>) -> Result<()> {
    let probing = sessions.bounded(async {
        let (mut holder, mut other) = (sessions.acquire().await?, sessions.acquire().await?);
        holder.begin().await?;
        other.begin().await?;
        let held = locked(&mut holder.wire(ClaimBy::default()), " FOR UPDATE").await;
        let free = locked(&mut other.wire(ClaimBy::default()), D::LOCK_FREE_ROWS).await;
        let (held, free) = (holder.end(held).await?, other.end(free).await?);
        if held && !free {
            return Ok(());
        }
        Err(incompatible(
            "the server takes the words SKIP LOCKED, but locks nothing: claim by guard instead",
        ))
    });
    probing.await?
}

/// Whether a row could be locked.
#[cfg(any(feature = "mysql", feature = "postgres"))]
async fn locked<D: Dialect>(wire: &mut Wire<'_, D>, lock: &str) -> Result<bool, Failure> {
    let mut statement =
        QueryBuilder::<D>::new("SELECT version FROM jobstore_migrations ORDER BY version LIMIT 1");
    statement.push(lock);
    let mut found = false;
    wire.fetch(statement, |_| found = true).await?;
    Ok(found)
}

fn latest<D: Dialect>() -> i64 {
    D::migrations().last().map_or(0, |step| step.version)
}

/// The version found; refuses one that is newer than this program, and a table of jobs that is not
/// ours.
pub(crate) async fn version<D: Dialect>(wire: &mut Wire<'_, D>) -> Result<i64, Failure> {
    // Both tables in one statement: between two, another process may make them.
    let mut tables = Vec::new();
    let each = |row: &D::Row| tables.extend(D::text(row, 0).ok().flatten());
    wire.fetch(QueryBuilder::new(D::TABLES), each).await?;
    let exists = |name: &str| tables.iter().any(|table| table == name);
    if !exists("jobstore_migrations") {
        if exists("jobs") {
            return Err(incompatible("there is a table `jobs` that jobstore did not make").into());
        }
        return Ok(0);
    }
    let statement = QueryBuilder::new("SELECT MAX(version) FROM jobstore_migrations");
    let mut found = 0;
    let each = |row: &D::Row| found = D::int(row, 0).ok().flatten().unwrap_or(0);
    wire.fetch(statement, each).await?;
    if found > latest::<D>() {
        return Err(incompatible(format!(
            "the schema has version {found}, newer than {} of this program",
            latest::<D>()
        ))
        .into());
    }
    Ok(found)
}
