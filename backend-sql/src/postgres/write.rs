//! The statements that PostgreSQL can do better than the others.

use jobstore_core::{Job, Lease, Result, Timestamp, claimed};
use sqlx::postgres::PgRow;
use sqlx::{Postgres, QueryBuilder};

use super::params;
use crate::dialect::{ClaimBy, Dialect as _, Driver as _, LENGTHS, Statement, Value, Wire};
use crate::error::{Failure, backend};
use crate::row::{self, COLUMNS};

/// Writes `unnest(?, ?, …)` with an array for each column.
pub(super) fn push_unnest(statement: &mut Statement<Postgres>, rows: &[Vec<Value>]) {
    let columns = rows.first().map_or(0, Vec::len);
    statement.push("unnest(");
    for column in 0..columns {
        if column > 0 {
            statement.push(", ");
        }
        push_array(statement, &mut rows.iter().map(|row| row[column].clone()));
    }
    statement.push(")");
}

/// Writes the jobs, and what the index of params holds for them.
pub(super) fn push_insert(statement: &mut Statement<Postgres>, columns: &str, rows: &[Vec<Value>]) {
    statement.push("WITH new AS (SELECT * FROM ");
    let with_terms = rows.iter().map(|row| {
        let mut row = row.clone();
        row.push(params::terms(&row[row::PARAMS]));
        row
    });
    push_unnest(statement, &with_terms.collect::<Vec<_>>());
    statement.push(format_args!(
        " AS new ({columns}, terms)), \
         job AS (INSERT INTO jobs ({columns}, indexed) SELECT {columns}, 1 FROM new) \
         INSERT INTO jobs_params (id, terms) \
         SELECT id, CAST(terms AS BIGINT[]) FROM new WHERE terms <> '{{}}' \
         ON CONFLICT (id) DO UPDATE SET terms = EXCLUDED.terms"
    ));
}

/// Writes a placeholder for an array; all values are of the first one's type.
pub(super) fn push_array(
    statement: &mut Statement<Postgres>,
    values: &mut dyn Iterator<Item = Value>,
) {
    let mut values = values.peekable();
    match values.peek() {
        Some(Value::Int(_)) => statement.push_bind(values.map(Value::into_int).collect::<Vec<_>>()),
        Some(Value::Real(_)) => {
            statement.push_bind(values.map(Value::into_real).collect::<Vec<_>>())
        }
        Some(Value::Text(_)) | None => {
            statement.push_bind(values.map(Value::into_text).collect::<Vec<_>>())
        }
    };
}

/// Claims the first jobs that are due, one for each lease: in one round trip, or in three when a job
/// became due only now.
pub(super) async fn claim(
    wire: &mut Wire<'_, Postgres>,
    names: &[String],
    leases: &[&Lease],
    now: Timestamp,
) -> Result<Vec<(usize, Job)>, Failure> {
    let by = wire.claim_by;
    // While jobs wait whose time has come, nothing is taken, since they might come first.
    let mut taken = take(wire, names, leases, now, Overdue::First).await?;
    if taken.has_overdue {
        promote(wire, now).await?;
        taken = take(wire, names, leases, now, Overdue::Done).await?;
    }
    // Without row locks, callers at once pick the same jobs, and all but one lose them.
    let mut tries = 0;
    while by == ClaimBy::Guard && taken.is_beaten && tries < MAX_BEATEN {
        tries += 1;
        taken = take(wire, names, leases, now, Overdue::Done).await?;
    }
    Ok(taken.jobs)
}

/// How often a claim by guard that lost every job it picked picks again.
const MAX_BEATEN: usize = 16;

/// Moves what became due into the claim index.
async fn promote(wire: &mut Wire<'_, Postgres>, now: Timestamp) -> Result<(), Failure> {
    wire.execute(promote_statement(now)).await
}

pub(super) fn promote_statement(now: Timestamp) -> Statement<Postgres> {
    // An array, because a join is planned for a third of all that wait, by reading every job there is.
    let mut statement = QueryBuilder::new(
        "UPDATE jobs SET due = 1 WHERE id = ANY(ARRAY(\
            SELECT id FROM jobs WHERE status = 0 AND due = 0 AND next_attempt_at <= ",
    );
    statement.push_bind(now.as_millis());
    // Others may be doing the same: what they have locked is theirs to move.
    statement.push(" FOR UPDATE SKIP LOCKED)) AND status + 0 = 0 AND due + 0 = 0");
    statement
}

/// What is done about jobs whose time has come but that are not in the claim index yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// They must be moved first: take nothing while there are any.
    First,
    /// They were moved just now.
    Done,
}

/// Whose jobs are picked.
enum Named<'a> {
    Any,
    One(&'a str),
    /// Of the name in `wanted`.
    Each,
}

/// What a claim took.
#[derive(Default)]
struct Taken {
    /// Each with the number of its lease.
    jobs: Vec<(usize, Job)>,
    /// Nothing was taken, because there are jobs to move first.
    has_overdue: bool,
    /// There were jobs to take, and others took all of them.
    is_beaten: bool,
}

/// Takes the first jobs of the claim index.
///
/// The SET of the statement is [`claimed`] in SQL, and the only such copy. The job returned is made
/// by `claimed` of the row as it was, so that whoever reads it again sees when the two differ.
async fn take(
    wire: &mut Wire<'_, Postgres>,
    names: &[String],
    leases: &[&Lease],
    now: Timestamp,
    overdue: Overdue,
) -> Result<Taken, Failure> {
    let mut taken = Taken::default();
    let mut picked = 0;
    let mut broken = None;
    let mut read = |row: &PgRow| -> Result<()> {
        let number = |column| Postgres::int(row, column).map_err(Postgres::error);
        taken.has_overdue = number(GATE)?.is_some_and(|found| found > 0);
        picked = number(PICKED)?.unwrap_or(0);
        // The gate's own row, when no job was taken.
        let Some(place) = number(PLACE)? else {
            return Ok(());
        };
        let index = usize::try_from(place - 1).unwrap_or(usize::MAX);
        let lease = leases.get(index);
        let lease = lease.ok_or_else(|| backend("the server numbers rows in its own way"))?;
        let job = claimed(&row::read::<Postgres>(row)?, lease, now);
        taken.jobs.push((index, job));
        Ok(())
    };
    let statement = take_statement(names, leases, now, wire.claim_by, overdue);
    let each = |row: &PgRow| broken = read(row).err().or(broken.take());
    wire.fetch(statement, each).await?;
    if let Some(error) = broken {
        return Err(error.into());
    }
    taken.is_beaten = picked > 0 && taken.jobs.is_empty();
    taken.jobs.sort_by_key(|(_, job)| job.claim_order());
    Ok(taken)
}

/// The columns of a taken row after those of the job: its place among the picked, how many were
/// picked, and whether any are overdue.
const PLACE: usize = 17;
const PICKED: usize = 18;
const GATE: usize = 19;

pub(super) fn take_statement(
    names: &[String],
    leases: &[&Lease],
    now: Timestamp,
    by: ClaimBy,
    overdue: Overdue,
) -> Statement<Postgres> {
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let mut statement = QueryBuilder::new("WITH ");
    if overdue == Overdue::First {
        statement.push(
            "overdue AS MATERIALIZED (\
                SELECT FROM jobs WHERE status = 0 AND due = 0 AND next_attempt_at <= ",
        );
        statement.push_bind(now.as_millis());
        statement.push(" LIMIT 1), ");
    }
    // MATERIALIZED, because a plan that ran this again for each row of the other side would take
    // more jobs than the limit.
    statement.push("picked AS MATERIALIZED (");
    let lock = match by {
        ClaimBy::SkipLocked => " FOR UPDATE SKIP LOCKED",
        ClaimBy::Guard => "",
    };
    let limit = i64::try_from(leases.len()).unwrap_or(i64::MAX);
    let push_pick = |statement: &mut Statement<Postgres>, name: Named<'_>| {
        statement.push("SELECT ");
        statement.push(COLUMNS);
        // Word for word the predicate of the claim indexes.
        statement.push(" FROM jobs WHERE status = 0 AND due = 1 AND next_attempt_at <= ");
        statement.push_bind(now.as_millis());
        match name {
            Named::One(name) => statement
                .push(" AND job_name = ")
                .push_bind(name.to_owned()),
            Named::Each => statement.push(" AND job_name = wanted.name"),
            // Always so; the index of any name is for those alone who say it.
            Named::Any => statement.push(" AND priority >= -32768"),
        };
        if overdue == Overdue::First {
            statement.push(" AND NOT EXISTS (SELECT FROM overdue)");
        }
        statement.push(" ORDER BY priority DESC, next_attempt_at, id LIMIT ");
        statement.push_bind(limit);
        statement.push(lock);
    };
    match names.as_slice() {
        [] => push_pick(&mut statement, Named::Any),
        [name] => push_pick(&mut statement, Named::One(name)),
        names => {
            // The first of each name, of which the first of all are taken; the others go free when the
            // transaction ends. One branch for all names, so that a thousand are planned like two.
            statement.push("SELECT first.* FROM unnest(");
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            statement.push_bind(names);
            statement.push(") AS wanted (name) CROSS JOIN LATERAL (");
            push_pick(&mut statement, Named::Each);
            statement.push(") AS first ORDER BY priority DESC, next_attempt_at, id LIMIT ");
            statement.push_bind(limit);
        }
    }
    // The second limit changes nothing but the plan: to the planner, a limit that is a parameter is a
    // tenth of all jobs, and for so many it reads the whole table.
    let most = LENGTHS.into_iter().rev().find(|most| *most >= leases.len());
    let most = most.map_or_else(|| "ALL".to_owned(), |most| most.to_string());
    statement.push(format_args!(
        "), numbered AS (\
            SELECT picked.*, row_number() OVER () AS place FROM picked LIMIT {most}), \
         taken AS (\
            UPDATE jobs SET status = 1, due = 1, fence = jobs.fence + 1, last_update_time = "
    ));
    statement.push_bind(now.as_millis());
    statement.push(", lease_owner = (");
    let owners = leases.iter().map(|lease| lease.owner.clone());
    statement.push_bind(owners.collect::<Vec<_>>());
    statement.push(")[place], lease_expires_at = (");
    let expiries = leases
        .iter()
        .map(|lease| now.saturating_add(lease.duration).as_millis());
    statement.push_bind(expiries.collect::<Vec<_>>());
    statement.push(
        // The guard repeated, so that no index of statuses answers it: when statistics were taken while
        // no job was pending, the planner would read all that are now.
        ")[place] FROM numbered WHERE jobs.id = numbered.id AND jobs.status + 0 = 0 \
         AND jobs.fence = numbered.fence RETURNING numbered.*) \
         SELECT ",
    );
    statement.push(COLUMNS.replace("jobs.", "taken."));
    statement.push(", taken.place, (SELECT COUNT(*) FROM picked), gate.overdue FROM (SELECT ");
    statement.push(match overdue {
        Overdue::First => "(SELECT COUNT(*) FROM overdue)",
        Overdue::Done => "0::bigint",
    });
    statement.push(" AS overdue) AS gate LEFT JOIN taken ON true");
    statement
}
