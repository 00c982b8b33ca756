//! Claiming on PostgreSQL: one statement picks, locks, updates and returns.

use jobstore_core::{Job, Lease, Result, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{Postgres, QueryBuilder};

use crate::dialect::{ClaimBy, Dialect as _, Driver as _, LENGTHS, Statement};
use crate::error::{Failure, backend};
use crate::row::{self, COLUMNS};
use crate::wire::Wire;

/// Claims the first jobs that are due, one for each lease: in one round trip, or in three when a job
/// became due only now.
pub(super) async fn claim(
    wire: &mut Wire<'_, Postgres>,
    names: &[String],
    leases: &[&Lease],
    now: Timestamp,
) -> Result<Vec<(usize, Job)>, Failure> {
    // While jobs wait whose time has come, nothing is taken, since they might come first.
    let first = Take {
        names,
        leases,
        now,
        by: wire.claim_by,
        overdue: Overdue::First,
    };
    let again = Take {
        overdue: Overdue::Done,
        ..first
    };
    let mut taken = first.run(wire).await?;
    if taken.has_overdue {
        wire.execute(promote_statement(now)).await?;
        taken = again.run(wire).await?;
    }
    // Without row locks, callers at once pick the same jobs, and all but one lose them.
    let mut tries = 0;
    while first.by == ClaimBy::Guard && taken.is_beaten && tries < MAX_BEATEN {
        tries += 1;
        taken = again.run(wire).await?;
    }
    Ok(taken.jobs)
}

/// How often a claim by guard that lost every job it picked picks again.
const MAX_BEATEN: usize = 16;

/// Moves what became due into the claim index.
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

/// The columns after those of the job: its place among the picked, when that tells its lease. Then
/// what a row says that is no job: how many were picked, and how many are overdue.
const PLACE: usize = 17;
const PICKED: usize = 18;
const GATE: usize = 19;

/// What such a row says of a job.
const NO_JOB: &str = "NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
    NULL, NULL, NULL, NULL, NULL";

/// A taking of the first jobs of the claim index.
#[derive(Clone, Copy)]
pub(super) struct Take<'a> {
    /// Of these names; none means any.
    pub names: &'a [String],
    /// One for each job.
    pub leases: &'a [&'a Lease],
    pub now: Timestamp,
    pub by: ClaimBy,
    pub overdue: Overdue,
}

impl Take<'_> {
    async fn run(self, wire: &mut Wire<'_, Postgres>) -> Result<Taken, Failure> {
        let mut taken = Taken::default();
        let mut jobs = Vec::with_capacity(self.leases.len());
        let mut picked = 0;
        let mut broken = None;
        let mut read = |row: &PgRow| -> Result<()> {
            let number = |column| Postgres::int(row, column).map_err(Postgres::error);
            match number(PICKED)? {
                Some(found) => {
                    picked = found;
                    taken.has_overdue = number(GATE)?.is_some_and(|found| found > 0);
                }
                None => jobs.push((number(PLACE)?, row::read::<Postgres>(row)?)),
            }
            Ok(())
        };
        let each = |row: &PgRow| broken = read(row).err().or(broken.take());
        wire.fetch(self.statement(), each).await?;
        if let Some(error) = broken {
            return Err(error.into());
        }
        taken.is_beaten = picked > 0 && jobs.is_empty();
        jobs.sort_by_key(|(_, job)| job.claim_order());
        for (index, (place, job)) in jobs.into_iter().enumerate() {
            // Alike leases are given out in the order of the jobs.
            let lease = place.map_or(Ok(index), |place| usize::try_from(place - 1));
            let lease = lease.ok().filter(|lease| *lease < self.leases.len());
            let lease = lease.ok_or_else(|| backend("the server numbers rows in its own way"))?;
            taken.jobs.push((lease, job));
        }
        Ok(taken)
    }

    /// The SET of the statement is [`claimed`](jobstore_core::claimed) in SQL, and the only such copy.
    pub(super) fn statement(self) -> Statement<Postgres> {
        let mut statement = QueryBuilder::new("WITH ");
        if self.overdue == Overdue::First {
            statement.push(
                "overdue AS MATERIALIZED (\
                    SELECT FROM jobs WHERE status = 0 AND due = 0 AND next_attempt_at <= ",
            );
            statement.push_bind(self.now.as_millis());
            statement.push(" LIMIT 1), ");
        }
        match self.leases {
            [lease, others @ ..]
                if self.by == ClaimBy::SkipLocked && others.iter().all(|other| other == lease) =>
            {
                self.push_alike(&mut statement, lease);
            }
            _ => self.push_each(&mut statement),
        }
        statement
    }

    /// Takes rows that are locked, all for leases that are alike, with half of what the server does
    /// beside the update when each has its own.
    fn push_alike(self, statement: &mut Statement<Postgres>, lease: &Lease) {
        self.push_update(statement);
        statement.push_bind(lease.owner.clone());
        statement.push(", lease_expires_at = ");
        statement.push_bind(self.expiry(lease));
        // An array, so that what picks runs once, and before. A plan that ran it again for each row
        // would take more jobs than the limit.
        statement.push(" WHERE jobs.id = ANY(ARRAY(");
        self.push_pick(statement, "jobs.id");
        statement.push(format_args!(
            ")) AND jobs.status + 0 = 0 RETURNING {COLUMNS}) \
             SELECT *, NULL::bigint, NULL::bigint, NULL::bigint FROM taken"
        ));
        if self.overdue == Overdue::First {
            statement.push(format_args!(
                " UNION ALL SELECT {NO_JOB}, NULL, 0, 1 FROM overdue"
            ));
        }
    }

    /// Takes rows each for a lease of its own, and only as they were picked, since without a lock
    /// others may have taken them.
    fn push_each(self, statement: &mut Statement<Postgres>) {
        // MATERIALIZED for the same reason as the array above.
        statement.push("picked AS MATERIALIZED (");
        self.push_pick(statement, "jobs.id, jobs.fence");
        // The second limit changes nothing but the plan: to the planner, a limit that is a parameter
        // is a tenth of all jobs, and for so many it reads the whole table.
        let wanted = self.leases.len();
        let most = LENGTHS.into_iter().rev().find(|most| *most >= wanted);
        let most = most.map_or_else(|| "ALL".to_owned(), |most| most.to_string());
        statement.push(format_args!(
            "), numbered AS (\
                SELECT picked.*, row_number() OVER () AS place FROM picked LIMIT {most}), "
        ));
        self.push_update(statement);
        statement.push("(");
        let owners = self.leases.iter().map(|lease| lease.owner.clone());
        statement.push_bind(owners.collect::<Vec<_>>());
        statement.push(")[place], lease_expires_at = (");
        let expiries = self.leases.iter().map(|lease| self.expiry(lease));
        statement.push_bind(expiries.collect::<Vec<_>>());
        statement.push(format_args!(
            ")[place] FROM numbered WHERE jobs.id = ANY(ARRAY(SELECT id FROM numbered)) \
             AND jobs.id = numbered.id AND jobs.status + 0 = 0 AND jobs.fence = numbered.fence RETURNING {COLUMNS}, place) \
             SELECT *, NULL::bigint, NULL::bigint FROM taken \
             UNION ALL SELECT {NO_JOB}, NULL, (SELECT COUNT(*) FROM picked), {}",
            match self.overdue {
                Overdue::First => "(SELECT COUNT(*) FROM overdue)",
                Overdue::Done => "0",
            }
        ));
    }

    /// Writes the update, up to who holds the lease. What guards it has the status in a sum, so that
    /// no index of statuses answers it: when statistics were taken while no job was pending, the planner
    /// would read all that are now.
    fn push_update(self, statement: &mut Statement<Postgres>) {
        statement.push(
            "taken AS (UPDATE jobs SET status = 1, due = 1, fence = jobs.fence + 1, \
             last_update_time = ",
        );
        statement.push_bind(self.now.as_millis());
        statement.push(", lease_owner = ");
    }

    fn expiry(self, lease: &Lease) -> i64 {
        self.now.saturating_add(lease.duration).as_millis()
    }

    /// Writes what picks the jobs, in the order of claims.
    fn push_pick(self, statement: &mut Statement<Postgres>, columns: &str) {
        let limit = i64::try_from(self.leases.len()).unwrap_or(i64::MAX);
        let mut names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        match names.as_slice() {
            [] => self.push_first(statement, Named::Any, columns),
            [name] => self.push_first(statement, Named::One(name), columns),
            names => {
                // The first of each name, of which the first of all are taken; the others go free
                // when the transaction ends. One branch for all names, so that a thousand are planned
                // like two.
                statement
                    .push("SELECT ")
                    .push(columns)
                    .push(" FROM unnest(");
                let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
                statement.push_bind(names);
                statement.push(") AS wanted (name) CROSS JOIN LATERAL (");
                let ordered = "id, fence, priority, next_attempt_at";
                self.push_first(statement, Named::Each, ordered);
                statement.push(") AS jobs ORDER BY priority DESC, next_attempt_at, id LIMIT ");
                statement.push_bind(limit);
            }
        }
    }

    /// Writes what picks the first jobs of one branch of the claim index.
    fn push_first(self, statement: &mut Statement<Postgres>, name: Named<'_>, columns: &str) {
        statement.push("SELECT ").push(columns);
        // Word for word the predicate of the claim indexes.
        statement.push(" FROM jobs WHERE status = 0 AND due = 1 AND next_attempt_at <= ");
        statement.push_bind(self.now.as_millis());
        match name {
            Named::One(name) => statement
                .push(" AND job_name = ")
                .push_bind(name.to_owned()),
            Named::Each => statement.push(" AND job_name = wanted.name"),
            // Always so; the index of any name is for those alone who say it.
            Named::Any => statement.push(" AND priority >= -32768"),
        };
        if self.overdue == Overdue::First {
            statement.push(" AND NOT EXISTS (SELECT FROM overdue)");
        }
        statement.push(" ORDER BY priority DESC, next_attempt_at, id LIMIT ");
        statement.push_bind(i64::try_from(self.leases.len()).unwrap_or(i64::MAX));
        statement.push(match self.by {
            ClaimBy::SkipLocked => " FOR UPDATE SKIP LOCKED",
            ClaimBy::Guard => "",
        });
    }
}
