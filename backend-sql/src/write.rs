//! What one transaction does for the calls merged into it.
//!
//! Every call here is waiting, so all of them are concurrent and any order among them is right:
//! updates first, then creates, claims and deletions, each kind with few statements.

use std::collections::{HashMap, HashSet};

use jobstore_core::{
    Applied, ClaimRequest, Creation, DeleteRequest, Error, Job, JobId, NewJob, Result, Timestamp,
    Update, claimed,
};
use sqlx::QueryBuilder;

use crate::dialect::{Dialect, Value, pieces, push_rows, push_set};
use crate::error::{Failure, FailureExt as _};
use crate::read::{by_id, claim_statements};
use crate::row::{self, CHANGED_COLUMNS, COLUMNS, INSERT_COLUMNS};

type Key = (String, String);

/// Creates the jobs of each call, all or none of a call.
pub(crate) async fn create<D: Dialect>(
    connection: &mut D::Connection,
    calls: &[&[NewJob]],
    now: Timestamp,
) -> Result<Vec<Result<Vec<Creation>>>, Failure> {
    let jobs = || calls.iter().copied().flatten();
    // Ids the store makes are new; only given ones can exist.
    let given: Vec<JobId> = jobs().filter_map(|job| job.id).collect();
    let mut known: HashSet<JobId> = existing::<D>(connection, &given).await?;
    let keys = jobs().filter_map(|job| Some((job.job_name.clone(), job.unique_key.clone()?)));
    let mut holders = holders::<D>(connection, keys.collect()).await?;
    let mut inserts: Vec<Job> = Vec::new();
    let mut verdicts = Vec::with_capacity(calls.len());
    for call in calls {
        let mut creations: Vec<Creation> = Vec::with_capacity(call.len());
        let mut refused = None;
        for job in *call {
            let job = job.clone().into_job(now);
            let key = owned(job.held_unique_key());
            if let Some(holder) = key.as_ref().and_then(|key| holders.get(key)) {
                creations.push(Creation::Existing(holder.clone()));
            } else if !known.insert(job.id) {
                refused = Some(Error::AlreadyExists { id: job.id });
                break;
            } else {
                if let Some(key) = key {
                    holders.insert(key, job.clone());
                }
                creations.push(Creation::Created(job));
            }
        }
        let created = creations
            .iter()
            .filter(|creation| creation.is_new())
            .map(Creation::job);
        if let Some(error) = refused {
            for job in created {
                known.remove(&job.id);
                if let Some(key) = owned(job.held_unique_key()) {
                    holders.remove(&key);
                }
            }
            verdicts.push(Err(error));
        } else {
            inserts.extend(created.cloned());
            verdicts.push(Ok(creations));
        }
    }
    let rows: Vec<Vec<Value>> = inserts.iter().map(|job| row::values(job, now)).collect();
    for rows in pieces(&rows) {
        let mut statement = QueryBuilder::<D>::new("INSERT INTO jobs (");
        statement.push(INSERT_COLUMNS).push(") VALUES ");
        push_rows(&mut statement, rows);
        D::execute(connection, statement)
            .await
            .map_err(Failure::of::<D>)?;
    }
    Ok(verdicts)
}

async fn existing<D: Dialect>(
    connection: &mut D::Connection,
    ids: &[JobId],
) -> Result<HashSet<JobId>, Failure> {
    let mut found = HashSet::new();
    for ids in ids.chunks(1000) {
        let mut statement = QueryBuilder::<D>::new("SELECT id FROM jobs WHERE id IN ");
        push_set(&mut statement, row::id_values(ids));
        let each = |row: &D::Row| found.extend(row::id::<D>(row));
        D::fetch(connection, statement, each)
            .await
            .map_err(Failure::of::<D>)?;
    }
    Ok(found)
}

fn owned(key: Option<(&str, &str)>) -> Option<Key> {
    key.map(|(name, key)| (name.to_owned(), key.to_owned()))
}

/// The unfinished jobs that hold these unique keys.
async fn holders<D: Dialect>(
    connection: &mut D::Connection,
    mut keys: Vec<Key>,
) -> Result<HashMap<Key, Job>, Failure> {
    keys.sort_unstable();
    keys.dedup();
    let mut holders = HashMap::new();
    let keys = keys
        .into_iter()
        .map(|(name, key)| vec![name.into(), key.into()]);
    let keys: Vec<Vec<Value>> = keys.collect();
    for keys in pieces(&keys) {
        let mut statement = QueryBuilder::<D>::new("WITH wanted (name, key) AS (VALUES ");
        push_rows(&mut statement, keys);
        statement
            .push(") SELECT ")
            .push(COLUMNS)
            .push(" FROM wanted JOIN ");
        // Word for word the predicate of the index of unique keys.
        statement.push(D::jobs_by("jobs_unique_key")).push(
            " ON jobs.job_name = wanted.name AND jobs.unique_key = wanted.key \
             WHERE jobs.unique_key IS NOT NULL AND jobs.status < 2",
        );
        let mut unreadable = None;
        D::fetch(connection, statement, |row| match row::read::<D>(row) {
            Ok(job) => holders.extend(owned(job.held_unique_key()).map(|key| (key, job))),
            Err(error) => unreadable = Some(error),
        })
        .await
        .map_err(Failure::of::<D>)?;
        if let Some(error) = unreadable {
            return Err(error.into());
        }
    }
    Ok(holders)
}

/// Applies the updates of each call, as if one after another.
pub(crate) async fn update<D: Dialect>(
    connection: &mut D::Connection,
    calls: &[&[Update]],
    now: Timestamp,
) -> Result<Vec<Vec<Result<Job>>>, Failure> {
    let mut ids: Vec<JobId> = calls
        .iter()
        .copied()
        .flatten()
        .map(|update| update.target.id())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    let mut jobs = by_id::<D>(connection, &ids, D::LOCK_ROWS).await?;
    let before: HashMap<JobId, Option<Key>> = jobs
        .values()
        .flatten()
        .map(|job| (job.id, owned(job.held_unique_key())))
        .collect();
    // Only a finalized job can come to hold a key, so few calls have to look who holds it now.
    let wanted = jobs
        .values()
        .flatten()
        .filter(|job| job.status.is_finalized());
    let wanted = wanted.filter_map(|job| Some((job.job_name.clone(), job.unique_key.clone()?)));
    let found = holders::<D>(connection, wanted.collect()).await?;
    let mut holders: HashMap<Key, JobId> =
        found.into_iter().map(|(key, job)| (key, job.id)).collect();
    let mut changed: HashSet<JobId> = HashSet::new();
    let mut verdicts = Vec::with_capacity(calls.len());
    for call in calls {
        let mut apply = |update: &Update| -> Result<Job> {
            let id = update.target.id();
            let found = jobs.get_mut(&id).ok_or(Error::NotFound { id })?;
            let job = found.as_mut().map_err(|error| error.clone())?;
            let Applied::Changed(next) = update.apply(job, now)? else {
                return Ok(job.clone());
            };
            let (held, holds) = (owned(job.held_unique_key()), owned(next.held_unique_key()));
            if held != holds {
                if let Some(&holder) = holds.as_ref().and_then(|key| holders.get(key)) {
                    return Err(Error::AlreadyExists { id: holder });
                }
                held.map(|key| holders.remove(&key));
                holds.map(|key| holders.insert(key, id));
            }
            changed.insert(id);
            *job = next;
            Ok(job.clone())
        };
        verdicts.push(call.iter().map(&mut apply).collect());
    }
    // A key must be let go before another row takes it: engines check each row as they write it.
    let takes_key =
        |job: &&Job| before.get(&job.id) == Some(&None) && job.held_unique_key().is_some();
    let changed = jobs
        .values()
        .flatten()
        .filter(|job| changed.contains(&job.id));
    let (taking, others): (Vec<&Job>, Vec<&Job>) = changed.partition(takes_key);
    write_changes::<D>(connection, &others, now).await?;
    write_changes::<D>(connection, &taking, now).await?;
    Ok(verdicts)
}

async fn write_changes<D: Dialect>(
    connection: &mut D::Connection,
    jobs: &[&Job],
    now: Timestamp,
) -> Result<(), Failure> {
    let rows: Vec<Vec<Value>> = jobs.iter().map(|job| row::changes(job, now)).collect();
    for rows in pieces(&rows) {
        let mut statement = QueryBuilder::<D>::new("");
        D::push_update(&mut statement, &CHANGED_COLUMNS, rows);
        D::execute(connection, statement)
            .await
            .map_err(Failure::of::<D>)?;
    }
    Ok(())
}

/// Claims for each call in turn. Calls for the same names share their statements.
pub(crate) async fn claim<D: Dialect>(
    connection: &mut D::Connection,
    calls: &[&ClaimRequest],
    now: Timestamp,
) -> Result<Vec<Vec<Job>>, Failure> {
    let mut verdicts: Vec<Vec<Job>> = calls.iter().map(|_| Vec::new()).collect();
    if calls.is_empty() {
        return Ok(verdicts);
    }
    // What became due since moves into the claim index, once for each job, so that no claim ever
    // reads past jobs whose time has not come.
    let mut statement = QueryBuilder::<D>::new("UPDATE ");
    statement
        .push(D::jobs_by("jobs_waiting"))
        .push(" SET due = 1 WHERE status = 0 AND due = 0 AND next_attempt_at <= ");
    D::push_value(&mut statement, now.as_millis().into());
    D::execute(connection, statement)
        .await
        .map_err(Failure::of::<D>)?;

    let mut by_names: Vec<(&[String], Vec<usize>)> = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        match by_names
            .iter_mut()
            .find(|(names, _)| *names == call.job_names)
        {
            Some((_, indexes)) => indexes.push(index),
            None => by_names.push((&call.job_names, vec![index])),
        }
    }
    for (names, indexes) in by_names {
        let limit = indexes
            .iter()
            .map(|index| calls[*index].limit as usize)
            .sum();
        let mut jobs = claimable::<D>(connection, names, now, limit)
            .await?
            .into_iter();
        let mut running: Vec<Job> = Vec::new();
        for index in indexes {
            let call = calls[index];
            let own = jobs.by_ref().take(call.limit as usize);
            let own: Vec<Job> = own.map(|job| claimed(&job, &call.lease, now)).collect();
            running.extend(own.iter().cloned());
            verdicts[index] = own;
        }
        write_changes::<D>(connection, &running.iter().collect::<Vec<_>>(), now).await?;
    }
    Ok(verdicts)
}

/// The first jobs to claim. Rows that cannot be read are passed over, and stay as they are.
async fn claimable<D: Dialect>(
    connection: &mut D::Connection,
    names: &[String],
    now: Timestamp,
    wanted: usize,
) -> Result<Vec<Job>, Failure> {
    let mut unreadable = 0;
    loop {
        let limit = wanted + unreadable;
        let mut jobs = Vec::new();
        let mut skipped = 0;
        let statements = claim_statements::<D>(names, now, limit);
        for statement in statements {
            D::fetch(connection, statement, |row| match row::read::<D>(row) {
                Ok(job) => jobs.push(job),
                Err(error) => {
                    tracing::warn!(%error, "a pending row cannot be claimed");
                    skipped += 1;
                }
            })
            .await
            .map_err(Failure::of::<D>)?;
        }
        // Each statement is in order; several of them have to be merged.
        jobs.sort_by_key(Job::claim_order);
        if skipped <= unreadable || jobs.len() >= wanted {
            jobs.truncate(wanted);
            return Ok(jobs);
        }
        unreadable = skipped;
    }
}

/// Deletes what the request means and is finalized.
pub(crate) async fn delete<D: Dialect>(
    connection: &mut D::Connection,
    request: &DeleteRequest,
) -> Result<Vec<JobId>, Failure> {
    let index = match request {
        DeleteRequest::Ids(_) => D::PRIMARY_KEY,
        DeleteRequest::Before { .. } => "jobs_ended",
    };
    let mut statement = QueryBuilder::<D>::new("SELECT id FROM ");
    // Word for word the predicate of the index of ended jobs.
    statement
        .push(D::jobs_by(index))
        .push(" WHERE status > 1 AND ");
    match request {
        DeleteRequest::Ids(ids) if ids.is_empty() => return Ok(Vec::new()),
        DeleteRequest::Ids(ids) => {
            statement.push("id IN ");
            push_set(&mut statement, row::id_values(ids));
        }
        DeleteRequest::Before {
            cutoff,
            job_names,
            statuses,
            limit,
        } => {
            statement.push("last_update_time < ");
            D::push_value(&mut statement, cutoff.as_millis().into());
            if !job_names.is_empty() {
                statement.push(" AND job_name IN ");
                push_set(
                    &mut statement,
                    job_names.iter().map(|name| name.as_str().into()),
                );
            }
            if !statuses.is_empty() {
                statement.push(" AND status IN ");
                let statuses = statuses
                    .iter()
                    .map(|status| i64::from(status.as_i32()).into());
                push_set(&mut statement, statuses);
            }
            statement.push(format_args!(" ORDER BY last_update_time, id LIMIT {limit}"));
        }
    }
    statement.push(D::LOCK_FREE_ROWS);
    let mut ids = Vec::new();
    D::fetch(connection, statement, |row| ids.extend(row::id::<D>(row)))
        .await
        .map_err(Failure::of::<D>)?;
    if ids.is_empty() {
        return Ok(ids);
    }
    let mut statement = QueryBuilder::<D>::new("DELETE FROM jobs WHERE id IN ");
    push_set(&mut statement, row::id_values(&ids));
    D::execute(connection, statement)
        .await
        .map_err(Failure::of::<D>)?;
    if let DeleteRequest::Ids(asked) = request {
        let found: HashSet<JobId> = ids.iter().copied().collect();
        let mut seen = HashSet::new();
        ids = asked
            .iter()
            .copied()
            .filter(|id| found.contains(id) && seen.insert(*id))
            .collect();
    }
    Ok(ids)
}
