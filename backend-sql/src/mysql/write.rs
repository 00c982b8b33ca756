//! The statements that MySQL and MariaDB need to be their own.

use std::collections::HashSet;

use jobstore_core::{Job, Lease, Timestamp, claimed};
use sqlx::mysql::MySqlRow;
use sqlx::{MySql, QueryBuilder, Row as _};

use crate::change::Changed;
use crate::dialect::{
    ClaimBy, Dialect as _, Driver as _, LENGTHS, Statement, Value, are_alike, filled, fitting,
    push_rows, push_set,
};
use crate::error::{Failure, FailureExt as _, unavailable};
use crate::read::MAX_BRANCHES;
use crate::row::{self, COLUMNS};
use crate::wire::Wire;

/// How many jobs are moved into the claim index by one statement.
const MOVED: i64 = 1000;
/// How often a claim of several names looks, each time for more, when others took what it had seen.
const LOOKS: u32 = 4;
/// The most rows that one statement locks by their ids.
const LOCKED: usize = 1000;

/// Rows that differ are told apart by comparing each with all of its statement, so those are few.
pub(super) fn update_pieces(rows: &[Vec<Value>]) -> Vec<&[Vec<Value>]> {
    let columns = rows.first().map_or(0, Vec::len);
    if (1..columns).all(|column| are_alike(rows, column)) {
        return rows.chunks(LENGTHS[0]).collect();
    }
    MySql::pieces(rows).collect()
}

/// Writes an update of many rows. There is neither `UPDATE … FROM` nor a table of values that both
/// engines have, so each column is told by the id; what is the same in all rows is said once.
pub(super) fn push_update(statement: &mut Statement<MySql>, columns: &[&str], rows: &[Vec<Value>]) {
    // The engines evaluate SET from left to right and see what they have set already: nothing here
    // reads any column but the id. Without the index named, a short table is read as a whole, and
    // the rows of others are waited for.
    statement.push("UPDATE jobs FORCE INDEX (PRIMARY) SET ");
    for (column, name) in columns.iter().enumerate().skip(1) {
        statement.push(if column > 1 { ", " } else { "" });
        statement.push(name).push(" = ");
        if are_alike(rows, column) {
            MySql::push_value(statement, rows[0][column].clone());
            continue;
        }
        statement.push("CASE ").push(columns[0]);
        for row in rows {
            statement.push(" WHEN ");
            MySql::push_value(statement, row[0].clone());
            statement.push(" THEN ");
            MySql::push_value(statement, row[column].clone());
        }
        statement.push(" END");
    }
    statement.push(" WHERE ").push(columns[0]).push(" IN ");
    push_set(statement, rows.iter().map(|row| row[0].clone()).collect());
}

/// Claims the first jobs that are due, one for each lease.
pub(super) async fn claim(
    wire: &mut Wire<'_, MySql>,
    names: &[String],
    leases: &[&Lease],
    now: Timestamp,
) -> Result<Vec<(usize, Job)>, Failure> {
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let jobs = match names.as_slice() {
        [] => of_one(wire, None, leases.len(), now).await?,
        [name] => of_one(wire, Some(name), leases.len(), now).await?,
        names => of_several(wire, names, leases.len(), now).await?,
    };
    let running = jobs.iter().zip(leases);
    let running: Vec<Job> = running
        .map(|(job, lease)| claimed(job, lease, now))
        .collect();
    take(wire, &jobs, &running, now).await?;
    Ok(running.into_iter().enumerate().collect())
}

/// Writes what became of pending jobs, provided that they are still as they were read.
async fn take(
    wire: &mut Wire<'_, MySql>,
    mut pending: &[Job],
    running: &[Job],
    now: Timestamp,
) -> Result<(), Failure> {
    let mut changed = Changed::default();
    for (before, after) in pending.iter().zip(running) {
        changed.extend(Changed::between(before, after));
    }
    let columns = changed.names();
    let rows = running.iter().map(|job| changed.values(job, now));
    let rows: Vec<Vec<Value>> = rows.collect();
    wire.catch_up().await?;
    for rows in fitting(&rows, wire.packet).flat_map(update_pieces) {
        let (these, others) = pending.split_at(rows.len());
        pending = others;
        let mut statement = take_statement(these, &columns, rows);
        let query = statement.build().persistent(wire.prepares);
        let done = query.execute(&mut *wire.connection).await;
        // The rows that were found, not those that the update changed: so sqlx asks for it.
        let taken = done.map_err(Failure::of::<MySql>)?.rows_affected();
        if usize::try_from(taken) != Ok(rows.len()) {
            return Err(Failure::Conflict(unavailable(
                "other claims were in the way for too long",
            )));
        }
    }
    Ok(())
}

fn take_statement(pending: &[Job], columns: &[&str], rows: &[Vec<Value>]) -> Statement<MySql> {
    let mut statement = QueryBuilder::new("");
    push_update(&mut statement, columns, rows);
    statement.push(" AND claim_rank IS NOT NULL AND (id, fence) IN (");
    let read = pending.iter();
    let read = read.map(|job| vec![job.id.to_string().into(), row::fence(job)]);
    let mut read: Vec<Vec<Value>> = read.collect();
    // As a set of ids is, so that few lengths are prepared.
    let last = read.last().cloned().unwrap_or_default();
    read.resize(filled::<MySql>(read.len()), last);
    push_rows(&mut statement, &read);
    statement.push(")");
    statement
}

/// What ends a statement that reads rows to be claimed.
fn lock(claim_by: ClaimBy) -> &'static str {
    match claim_by {
        ClaimBy::SkipLocked => MySql::LOCK_FREE_ROWS,
        // `take` decides alone.
        ClaimBy::Guard => "",
    }
}

/// Locks the first jobs of one name, or of any. One statement, unless a job became due only now.
async fn of_one(
    wire: &mut Wire<'_, MySql>,
    name: Option<&str>,
    wanted: usize,
    now: Timestamp,
) -> Result<Vec<Job>, Failure> {
    let mut unreadable = 0;
    loop {
        let mut statement = claim_statement(name, wanted + unreadable, now);
        statement.push(lock(wire.claim_by));
        let mut picked = Picked::default();
        pick(wire, statement, &mut picked).await?;
        // While jobs wait whose time has come nothing is claimed, since they might come first. A row
        // says whether there are any; when there is no row, they are looked for.
        let overdue = picked.overdue.unwrap_or(true);
        if overdue && promote(wire, now).await? {
            continue;
        }
        if picked.unreadable <= unreadable || picked.jobs.len() >= wanted {
            return Ok(picked.first(wanted));
        }
        unreadable = picked.unreadable;
    }
}

/// Locks the first jobs of several names: finds them without a lock, each name by its index, and
/// then locks those that come first of all. What others have locked meanwhile is passed over.
async fn of_several(
    wire: &mut Wire<'_, MySql>,
    names: &[&str],
    wanted: usize,
    now: Timestamp,
) -> Result<Vec<Job>, Failure> {
    promote(wire, now).await?;
    let mut picked = Picked::default();
    let mut tried = HashSet::new();
    let mut look = wanted;
    for _ in 0..LOOKS {
        let mut ids = candidates(wire, names, look, now).await?;
        let no_more = ids.len() < look;
        ids.retain(|id| tried.insert(id.clone()));
        let mut ids = ids.as_slice();
        // No more are locked than are wanted, so that others find the rest.
        while !ids.is_empty() && picked.jobs.len() < wanted {
            let next = (wanted - picked.jobs.len()).min(ids.len()).min(LOCKED);
            let mut statement = again_statement(&ids[..next], now);
            statement.push(lock(wire.claim_by));
            pick(wire, statement, &mut picked).await?;
            ids = &ids[next..];
        }
        if no_more || picked.jobs.len() >= wanted {
            break;
        }
        look *= 4;
    }
    Ok(picked.first(wanted))
}

/// Moves what became due into the claim index. Says whether there was any.
async fn promote(wire: &mut Wire<'_, MySql>, now: Timestamp) -> Result<bool, Failure> {
    let mut any = false;
    loop {
        // Others may be doing the same: what they have locked is theirs to move.
        let mut statement = QueryBuilder::<MySql>::new(
            "SELECT id FROM jobs FORCE INDEX (jobs_waiting) WHERE waiting_until <= ",
        );
        statement.push_bind(now.as_millis());
        statement
            .push(" ORDER BY waiting_until, id LIMIT ")
            .push_bind(MOVED);
        statement.push(lock(wire.claim_by));
        let mut ids = Vec::new();
        let each = |row: &MySqlRow| ids.extend(MySql::text(row, 0).ok().flatten());
        wire.fetch(statement, each).await?;
        if ids.is_empty() {
            return Ok(any);
        }
        any = true;
        let mut statement = QueryBuilder::<MySql>::new(
            "UPDATE jobs FORCE INDEX (PRIMARY) SET due = 1 WHERE id IN ",
        );
        let all = i64::try_from(ids.len()).is_ok_and(|moved| moved < MOVED);
        push_set(&mut statement, ids.into_iter().map(Value::from).collect());
        statement.push(" AND waiting_until IS NOT NULL");
        wire.execute(statement).await?;
        if all {
            return Ok(true);
        }
    }
}

/// The first jobs of a claim index, to be locked in its order. Without an index that gives the order,
/// all candidates would be locked before they are sorted, and everybody else would find nothing.
pub(super) fn claim_statement(
    name: Option<&str>,
    limit: usize,
    now: Timestamp,
) -> Statement<MySql> {
    let mut statement = QueryBuilder::new("SELECT ");
    statement.push(COLUMNS).push(
        ", EXISTS (SELECT 1 FROM jobs AS waiting FORCE INDEX (jobs_waiting) \
         WHERE waiting.waiting_until <= ",
    );
    statement.push_bind(now.as_millis());
    statement.push(") FROM jobs FORCE INDEX (");
    push_due(&mut statement, name, limit, now);
    statement
}

/// Writes the rest of a statement that reads a claim index.
fn push_due(statement: &mut Statement<MySql>, name: Option<&str>, limit: usize, now: Timestamp) {
    statement.push(if name.is_some() {
        "jobs_due_by_name"
    } else {
        "jobs_due"
    });
    statement.push(") WHERE claim_rank IS NOT NULL AND next_attempt_at <= ");
    statement.push_bind(now.as_millis());
    if let Some(name) = name {
        statement.push(" AND job_name = ");
        MySql::push_value(statement, name.into());
    }
    statement.push(" ORDER BY claim_rank, next_attempt_at, id LIMIT ");
    statement.push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
}

/// The ids of the first jobs of several names.
async fn candidates(
    wire: &mut Wire<'_, MySql>,
    names: &[&str],
    limit: usize,
    now: Timestamp,
) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for names in names.chunks(MAX_BRANCHES) {
        let mut statement = candidates_statement(names, limit, now);
        let each = |row: &MySqlRow| {
            let order = (
                MySql::int(row, 0).ok().flatten(),
                MySql::int(row, 1).ok().flatten(),
            );
            found.extend(MySql::text(row, 2).ok().flatten().map(|id| (order, id)));
        };
        wire.fetch(std::mem::take(&mut statement), each).await?;
    }
    found.sort_unstable();
    found.truncate(limit);
    Ok(found.into_iter().map(|(_, id)| id).collect())
}

pub(super) fn candidates_statement(
    names: &[&str],
    limit: usize,
    now: Timestamp,
) -> Statement<MySql> {
    let mut statement = QueryBuilder::new("");
    for (index, name) in names.iter().enumerate() {
        statement.push(if index == 0 { "" } else { " UNION ALL " });
        statement
            .push("SELECT * FROM (SELECT claim_rank, next_attempt_at, id FROM jobs FORCE INDEX (");
        push_due(&mut statement, Some(name), limit, now);
        statement.push(format_args!(") AS name_{index}"));
    }
    statement
}

/// Those of the jobs that are still to be claimed.
pub(super) fn again_statement(ids: &[String], now: Timestamp) -> Statement<MySql> {
    let mut statement = QueryBuilder::new("SELECT ");
    statement.push(COLUMNS);
    statement.push(", 0 FROM jobs FORCE INDEX (PRIMARY) WHERE id IN ");
    push_set(
        &mut statement,
        ids.iter().map(|id| id.as_str().into()).collect(),
    );
    statement.push(" AND claim_rank IS NOT NULL AND next_attempt_at <= ");
    statement.push_bind(now.as_millis());
    statement
}

/// Rows that a claim has locked.
#[derive(Default)]
struct Picked {
    jobs: Vec<Job>,
    unreadable: usize,
    /// Whether there are jobs whose time has come and that are not in the claim index yet. None when
    /// there was no row to say so.
    overdue: Option<bool>,
}

impl Picked {
    fn first(mut self, wanted: usize) -> Vec<Job> {
        self.jobs.sort_by_key(Job::claim_order);
        self.jobs.truncate(wanted);
        self.jobs
    }
}

async fn pick(
    wire: &mut Wire<'_, MySql>,
    statement: Statement<MySql>,
    picked: &mut Picked,
) -> Result<(), Failure> {
    let each = |row: &MySqlRow| {
        let overdue = MySql::int(row, row.len() - 1).ok().flatten();
        picked.overdue = overdue.map(|overdue| overdue > 0);
        match row::read::<MySql>(row) {
            Ok(job) => picked.jobs.push(job),
            Err(error) => {
                tracing::warn!(%error, "a pending row cannot be claimed");
                picked.unreadable += 1;
            }
        }
    };
    wire.fetch(statement, each).await
}
