//! What one transaction does for the calls merged into it.
//!
//! Every call here is waiting, so all of them are concurrent and any order among them is right:
//! updates first, then creates, claims and deletions, each kind with few statements.

use std::collections::{HashMap, HashSet};

use jobstore_core::{Creation, DeleteRequest, Error, Job, JobId, NewJob, Result, Timestamp};
use sqlx::QueryBuilder;

use crate::dialect::{Dialect, Ids, Value, fits, fitting};
use crate::error::Failure;
use crate::read::by_id;
use crate::row::{self, INSERT_COLUMNS};
use crate::wire::Wire;

/// A name, and a unique key of that name.
pub(crate) type Key = (String, String);

/// Creates the jobs of each call, all or none of a call.
pub(crate) async fn create<D: Dialect>(
    wire: &mut Wire<'_, D>,
    calls: &[&[NewJob]],
    now: Timestamp,
) -> Result<Vec<Result<Vec<Creation>>>, Failure> {
    let jobs = || calls.iter().copied().flatten();
    // Ids the store makes are new; only given ones can exist.
    let given: Vec<JobId> = jobs().filter_map(|job| job.id).collect();
    let ids = match given.as_slice() {
        [] => Ids::Made,
        _ => Ids::Given,
    };
    let known: HashSet<JobId> = existing::<D>(wire, &given).await?;
    let keys = jobs().filter_map(|job| Some((job.job_name.clone(), job.unique_key.clone()?)));
    let mut holders = holders::<D>(wire, keys.collect()).await?;
    let mut locked: HashSet<JobId> = HashSet::new();
    let verdicts = loop {
        let verdicts = decide(calls, &known, &holders, wire.packet, now);
        // A batch that also has new jobs happens when they are committed, and until then a holder may
        // be changed by others. One that only finds jobs has happened when it read them; it locks
        // none, or claims would pass over a job as long as somebody asks for its key.
        let mut shown = shown_beside_new(&verdicts, &holders);
        shown.retain(|id| locked.insert(*id));
        if shown.is_empty() || D::LOCK_ROWS.is_empty() {
            break verdicts;
        }
        lock_holders::<D>(wire, &mut holders, &shown).await?;
    };
    let inserts = verdicts
        .iter()
        .flatten()
        .flat_map(|creations| created(creations));
    let rows: Vec<Vec<Value>> = inserts.map(|job| row::values(job, now)).collect();
    for rows in fitting(&rows, wire.packet).flat_map(D::insert_pieces) {
        let mut statement = QueryBuilder::<D>::new("");
        D::push_insert(&mut statement, INSERT_COLUMNS, rows, ids);
        wire.execute(statement).await?;
    }
    Ok(verdicts)
}

/// What comes of each call, if these ids exist and these jobs hold their keys.
fn decide(
    calls: &[&[NewJob]],
    known: &HashSet<JobId>,
    holders: &HashMap<Key, Job>,
    packet: usize,
    now: Timestamp,
) -> Vec<Result<Vec<Creation>>> {
    // Of the calls before.
    let mut new_ids: HashSet<JobId> = HashSet::new();
    let mut new_holders: HashMap<Key, Job> = HashMap::new();
    let mut verdicts = Vec::with_capacity(calls.len());
    for call in calls {
        let mut creations: Vec<Creation> = Vec::with_capacity(call.len());
        let mut refused = None;
        for (index, job) in call.iter().enumerate() {
            let job = job.clone().into_job(now);
            let field = || format!("jobs[{index}].params");
            if let Err(error) = fits(row::bytes(&job), packet, field) {
                refused = Some(error);
                break;
            }
            let key = owned(job.held_unique_key());
            let holder = |key| holders.get(key).or_else(|| new_holders.get(key));
            if let Some(holder) = key.as_ref().and_then(holder) {
                creations.push(Creation::Existing(holder.clone()));
            } else if known.contains(&job.id) || !new_ids.insert(job.id) {
                refused = Some(Error::AlreadyExists { id: job.id });
                break;
            } else {
                if let Some(key) = key {
                    new_holders.insert(key, job.clone());
                }
                creations.push(Creation::Created(job));
            }
        }
        if let Some(error) = refused {
            for job in created(&creations) {
                new_ids.remove(&job.id);
                if let Some(key) = owned(job.held_unique_key()) {
                    new_holders.remove(&key);
                }
            }
            verdicts.push(Err(error));
        } else {
            verdicts.push(Ok(creations));
        }
    }
    verdicts
}

/// Those of the holders that a call is shown beside jobs that are new.
fn shown_beside_new(verdicts: &[Result<Vec<Creation>>], holders: &HashMap<Key, Job>) -> Vec<JobId> {
    let mixed = verdicts.iter().flatten();
    let mixed = mixed.filter(|creations| created(creations).next().is_some());
    let found = mixed.flatten().filter(|creation| !creation.is_new());
    let shown: HashSet<JobId> = found.map(|creation| creation.job().id).collect();
    let ids = holders.values().map(|holder| holder.id);
    ids.filter(|id| shown.contains(id)).collect()
}

/// Locks these holders and looks at them again: who was changed meanwhile is shown as it is now, and
/// whose key was freed holds it no more.
async fn lock_holders<D: Dialect>(
    wire: &mut Wire<'_, D>,
    holders: &mut HashMap<Key, Job>,
    ids: &[JobId],
) -> Result<(), Failure> {
    let mut rows: HashMap<JobId, Option<Job>> = ids.iter().map(|id| (*id, None)).collect();
    for (id, job) in by_id::<D>(wire, ids, D::LOCK_ROWS).await? {
        rows.insert(id, Some(job?));
    }
    holders.retain(|key, holder| {
        let Some(row) = rows.remove(&holder.id) else {
            return true;
        };
        let still = row.filter(|job| owned(job.held_unique_key()).as_ref() == Some(key));
        still.map(|job| *holder = job).is_some()
    });
    Ok(())
}

/// The jobs that are new.
fn created(creations: &[Creation]) -> impl Iterator<Item = &Job> {
    let new = creations.iter().filter(|creation| creation.is_new());
    new.map(Creation::job)
}

async fn existing<D: Dialect>(
    wire: &mut Wire<'_, D>,
    ids: &[JobId],
) -> Result<HashSet<JobId>, Failure> {
    let mut found = HashSet::new();
    for ids in ids.chunks(1000) {
        let mut statement = QueryBuilder::<D>::new("SELECT id FROM ");
        statement.push(D::jobs_by(D::PRIMARY_KEY)).push(" WHERE id");
        D::push_one_of(&mut statement, row::id_values(ids));
        let each = |row: &D::Row| found.extend(row::id::<D>(row));
        wire.fetch(statement, each).await?;
    }
    Ok(found)
}

pub(crate) fn owned(key: Option<(&str, &str)>) -> Option<Key> {
    key.map(|(name, key)| (name.to_owned(), key.to_owned()))
}

/// The unfinished jobs that hold these unique keys.
pub(crate) async fn holders<D: Dialect>(
    wire: &mut Wire<'_, D>,
    mut keys: Vec<Key>,
) -> Result<HashMap<Key, Job>, Failure> {
    keys.sort_unstable();
    keys.dedup();
    let mut holders = HashMap::new();
    let keys = keys
        .into_iter()
        .map(|(name, key)| vec![name.into(), key.into()]);
    let keys: Vec<Vec<Value>> = keys.collect();
    for keys in D::pieces(&keys) {
        let mut statement = QueryBuilder::<D>::new("");
        D::push_holders(&mut statement, keys);
        let mut unreadable = None;
        wire.fetch(statement, |row| match row::read::<D>(row) {
            Ok(job) => holders.extend(owned(job.held_unique_key()).map(|key| (key, job))),
            Err(error) => unreadable = Some(error),
        })
        .await?;
        if let Some(error) = unreadable {
            return Err(error.into());
        }
    }
    Ok(holders)
}

/// Deletes what the request means and is finalized.
pub(crate) async fn delete<D: Dialect>(
    wire: &mut Wire<'_, D>,
    request: &DeleteRequest,
) -> Result<Vec<JobId>, Failure> {
    let index = match request {
        DeleteRequest::Ids(_) => D::PRIMARY_KEY,
        DeleteRequest::Before { .. } => "jobs_ended",
    };
    let mut statement = QueryBuilder::<D>::new("SELECT id FROM ");
    statement.push(D::jobs_by(index)).push(" WHERE ");
    match request {
        DeleteRequest::Ids(ids) if ids.is_empty() => return Ok(Vec::new()),
        DeleteRequest::Ids(ids) => {
            // The status is not to be looked up: of an index of statuses, the planner may expect less
            // to read than there is.
            statement.push("status + 0 > 1 AND id");
            D::push_one_of(&mut statement, row::id_values(ids));
        }
        DeleteRequest::Before {
            cutoff,
            job_names,
            statuses,
            limit,
        } => {
            statement.push(D::ENDED_AT).push(" < ");
            D::push_value(&mut statement, cutoff.as_millis().into());
            if !job_names.is_empty() {
                let names = job_names.iter().map(|name| name.as_str().into());
                statement.push(" AND job_name");
                D::push_one_of(&mut statement, names.collect());
            }
            if !statuses.is_empty() {
                let statuses = statuses.iter().map(|status| i64::from(status.as_i32()));
                statement.push(" AND status");
                D::push_one_of(&mut statement, statuses.map(Value::from).collect());
            }
            statement.push(format_args!(" ORDER BY {} LIMIT {limit}", D::ENDED_ORDER));
        }
    }
    statement.push(match request {
        // Whether a job may go is known once nobody else is changing it. One that is passed over
        // because somebody holds it would be missing among the oldest.
        DeleteRequest::Ids(_) => D::LOCK_ROWS,
        DeleteRequest::Before { .. } => D::LOCK_FOUND_ROWS,
    });
    let mut ids = Vec::new();
    wire.fetch(statement, |row| ids.extend(row::id::<D>(row)))
        .await?;
    if ids.is_empty() {
        return Ok(ids);
    }
    let mut statement = QueryBuilder::<D>::new("");
    D::push_delete(&mut statement, row::id_values(&ids));
    wire.execute(statement).await?;
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
