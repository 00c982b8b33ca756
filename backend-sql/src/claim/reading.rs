//! Claiming by reading the rows, locked, and writing what core makes of them.

use jobstore_core::{Job, Lease, Result, Timestamp, claimed};
use sqlx::QueryBuilder;

use crate::change::Changed;
use crate::dialect::{Columns, Dialect, Value};
use crate::error::Failure;
use crate::read::MAX_BRANCHES;
use crate::update::write_changes;
use crate::wire::Wire;

/// Claims the first due jobs, one for each lease.
pub(crate) async fn claim<D: Dialect>(
    wire: &mut Wire<'_, D>,
    names: &[String],
    leases: &[&Lease],
    now: Timestamp,
) -> Result<Vec<(usize, Job)>, Failure> {
    let jobs = claimable::<D>(wire, names, now, leases.len()).await?;
    let mut changed = Changed::default();
    let jobs = jobs.iter().zip(leases);
    let jobs = jobs.map(|(job, lease)| {
        let running = claimed(job, lease, now);
        changed.extend(Changed::between(job, &running));
        running
    });
    let running: Vec<Job> = jobs.collect();
    write_changes::<D>(wire, &running.iter().collect::<Vec<_>>(), changed, now).await?;
    Ok(running.into_iter().enumerate().collect())
}

/// Writes what moves those jobs into the claim index that became due since, once for each job, so that
/// no claim ever reads past jobs whose time has not come.
fn push_promotion<D: Dialect>(statement: &mut QueryBuilder<D>, now: Timestamp) {
    statement
        .push("UPDATE ")
        .push(D::jobs_by("jobs_waiting"))
        .push(" SET due = 1 WHERE status = 0 AND due = 0 AND next_attempt_at <= ");
    D::push_value(statement, now.as_millis().into());
    statement.push("; ");
}

/// The first jobs to claim. Rows that cannot be read are passed over, and stay as they are.
async fn claimable<D: Dialect>(
    wire: &mut Wire<'_, D>,
    names: &[String],
    now: Timestamp,
    wanted: usize,
) -> Result<Vec<Job>, Failure> {
    let mut unreadable = 0;
    loop {
        let limit = wanted + unreadable;
        let mut jobs = Vec::new();
        let mut skipped = 0;
        for (index, names) in branches(names).chunks(MAX_BRANCHES).enumerate() {
            let write = |columns| {
                let mut statement = QueryBuilder::<D>::new("");
                if index == 0 {
                    push_promotion::<D>(&mut statement, now);
                }
                push_claim::<D>(&mut statement, columns, names, now, limit);
                statement
            };
            wire.fetch_jobs(limit, write, |found| match found.job {
                Ok(job) => jobs.push(job),
                Err(error) => {
                    tracing::warn!(%error, "a pending row cannot be claimed");
                    skipped += 1;
                }
            })
            .await?;
        }
        jobs.sort_by_key(Job::claim_order);
        if skipped <= unreadable || jobs.len() >= wanted {
            jobs.truncate(wanted);
            return Ok(jobs);
        }
        unreadable = skipped;
    }
}

/// The names, each once, to look for in an index; none stands for any name.
fn branches(names: &[String]) -> Vec<Option<&str>> {
    let mut names: Vec<Option<&str>> = names.iter().map(|name| Some(name.as_str())).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        names.push(None);
    }
    names
}

/// Writes a query of the first jobs in claim order; `names` as branches, merged like a listing.
fn push_claim<D: Dialect>(
    statement: &mut QueryBuilder<D>,
    columns: Columns,
    names: &[Option<&str>],
    now: Timestamp,
    limit: usize,
) {
    let order = "priority DESC, next_attempt_at, id";
    let push_branch = |statement: &mut QueryBuilder<D>, name: Option<&str>| {
        let index = if name.is_some() {
            "jobs_due_by_name"
        } else {
            "jobs_due"
        };
        // Word for word the predicate of the claim indexes.
        statement.push(D::jobs_by(index));
        statement.push(" WHERE status = 0 AND due = 1 AND next_attempt_at <= ");
        D::push_value(statement, Value::from(now.as_millis()));
        if let Some(name) = name {
            statement.push(" AND job_name = ");
            D::push_value(statement, name.into());
        }
        statement.push(format_args!(" ORDER BY {order} LIMIT {limit}"));
    };
    statement.push(columns.select);
    if let [name] = names {
        push_branch(statement, *name);
    } else {
        statement.push("(");
        for (index, name) in names.iter().enumerate() {
            statement.push(if index == 0 { "" } else { " UNION ALL " });
            statement.push(format_args!(
                "SELECT * FROM (SELECT {} AS place FROM ",
                D::PLACE
            ));
            push_branch(statement, *name);
            statement.push(format_args!(") AS branch_{index}"));
        }
        statement.push(format_args!(
            ") AS page JOIN jobs ON jobs.{} = page.place ORDER BY \
             jobs.priority DESC, jobs.next_attempt_at, jobs.id LIMIT {limit}",
            D::PLACE
        ));
    }
    statement.push(columns.end).push(D::LOCK_FREE_ROWS);
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;
    use crate::sqlite::plan;
    use sqlx::Sqlite;

    #[tokio::test]
    async fn every_claim_reads_the_index_of_due_jobs_in_order() {
        for names in [
            vec![],
            vec!["a".to_owned()],
            vec!["a".to_owned(), "b".to_owned()],
        ] {
            for columns in [Columns::ROWS, Sqlite::PACKED.expect("packs").columns] {
                let now = Timestamp::from_millis(5);
                let mut statement = QueryBuilder::<Sqlite>::new("");
                push_claim(&mut statement, columns, &branches(&names), now, 9);
                let plan = plan(&statement).await;
                let reads = plan.lines().filter(|step| step.contains(" jobs "));
                let by_id = "USING INTEGER PRIMARY KEY (rowid=?)";
                for step in reads {
                    let by_index = step.contains("INDEX jobs_due") || step.contains(by_id);
                    assert!(by_index, "{names:?}\n{plan}");
                }
                let alone = names.len() < 2;
                assert!(
                    !alone || !plan.contains("B-TREE"),
                    "{names:?} is sorted\n{plan}"
                );
            }
        }
    }
}
