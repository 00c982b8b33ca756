//! What one transaction does for the calls merged into it.
//!
//! Every call here is waiting, so all of them are concurrent and any order among them is right:
//! updates first, then creates, claims and deletions.

use std::collections::{HashMap, HashSet};

use itertools::Itertools as _;
use jobstore_core::{
    Applied, ClaimRequest, Creation, DeleteRequest, Error, Job, JobId, NewJob, Order, Result,
    Timestamp, Update, claimed,
};
use jobstore_group_commit::{Answers, Group};

use crate::engine::View as _;
use crate::key::{self, Key, Place};
use crate::record::{CHUNK, find, load, load_all, load_at, range, replace};
use crate::transaction::Transaction;
use crate::value::Record;

/// Answers every call of a group, and leaves what they change in the transaction.
///
/// # Errors
///
/// What the engine brings about.
pub(crate) fn run(
    transaction: &mut Transaction<'_>,
    group: &Group,
    now: Timestamp,
) -> Result<Answers> {
    let mut answers = Answers::default();
    for updates in group.updates() {
        let verdicts = updates
            .iter()
            .map(|change| verdict(update(transaction, change, now)));
        answers.updates.push(verdicts.collect::<Result<_>>()?);
    }
    for jobs in group.creates() {
        answers
            .creates
            .push(verdict(create(transaction, jobs, now))?);
    }
    answers.claims = claim(transaction, group.claims(), now)?;
    for request in group.deletes() {
        answers.deletes.push(delete(transaction, request)?);
    }
    Ok(answers)
}

/// Tells what one call is refused from what stops all of them.
fn verdict<T>(done: Result<T>) -> Result<Result<T>> {
    match done {
        Err(error @ (Error::Backend { .. } | Error::Unavailable { .. })) => Err(error),
        done => Ok(done),
    }
}

fn update(transaction: &mut Transaction<'_>, update: &Update, now: Timestamp) -> Result<Job> {
    let id = update.target.id();
    let before = load(transaction, id)?.ok_or(Error::NotFound { id })?;
    let Applied::Changed(job) = update.apply(&before.job, now)? else {
        return Ok(before.job);
    };
    let held = before.job.held_unique_key();
    let taken = job.held_unique_key().filter(|key| held != Some(*key));
    if let Some(holder) = taken
        .map(|key| holder(transaction, key))
        .transpose()?
        .flatten()
    {
        return Err(Error::AlreadyExists { id: holder.id });
    }
    let after = record(job, now, before.unknown.clone());
    replace(transaction, Some(&before), Some(&after));
    Ok(after.job)
}

/// A job as it is stored from now on.
fn record(job: Job, now: Timestamp, unknown: Vec<u8>) -> Record {
    Record {
        due: job.is_claimable(now),
        job,
        unknown,
    }
}

/// The unfinished job that holds a unique key.
fn holder(transaction: &Transaction<'_>, unique: (&str, &str)) -> Result<Option<Job>> {
    let Some(value) = transaction.get(&key::unique(unique))? else {
        return Ok(None);
    };
    let Some(place) = key::read_place(&value) else {
        return Ok(None);
    };
    let found = load_at(transaction, place)?.map(|record| record.job);
    // An index that is wrong holds nothing back.
    Ok(found.filter(|job| job.held_unique_key() == Some(unique)))
}

/// Creates all of the jobs or none.
fn create(
    transaction: &mut Transaction<'_>,
    jobs: &[NewJob],
    now: Timestamp,
) -> Result<Vec<Creation>> {
    let mut creations: Vec<Creation> = Vec::with_capacity(jobs.len());
    let mut ids: HashSet<JobId> = HashSet::new();
    let mut keys: HashMap<(String, String), usize> = HashMap::new();
    for new in jobs {
        let job = new.clone().into_job(now);
        if let Some((name, unique)) = job.held_unique_key() {
            let earlier = keys.get(&(name.to_owned(), unique.to_owned()));
            let held = match earlier {
                Some(index) => Some(creations[*index].job().clone()),
                None => holder(transaction, (name, unique))?,
            };
            if let Some(holder) = held {
                creations.push(Creation::Existing(holder));
                continue;
            }
            keys.insert((name.to_owned(), unique.to_owned()), creations.len());
        }
        // Ids the store makes are new; only given ones can exist.
        let exists = new.id.is_some() && transaction.get(&key::id(job.id))?.is_some();
        if exists || !ids.insert(job.id) {
            return Err(Error::AlreadyExists { id: job.id });
        }
        creations.push(Creation::Created(job));
    }
    for creation in creations.iter().filter(|creation| creation.is_new()) {
        let record = record(creation.job().clone(), now, Vec::new());
        replace(transaction, None, Some(&record));
    }
    Ok(creations)
}

/// Moves at most `limit` jobs that became due into the indexes of due jobs; says how many.
///
/// Each is moved once, so that no claim ever reads past jobs whose time has not come.
///
/// # Errors
///
/// What the engine brings about.
pub(crate) fn promote(
    transaction: &mut Transaction<'_>,
    now: Timestamp,
    limit: usize,
) -> Result<usize> {
    let from = Key::new(key::WAITING).into_bytes();
    let to = Key::new(key::WAITING).time(now).end();
    let mut places: Vec<Place> = Vec::new();
    let mut looked_at = 0;
    for entry in range(transaction, &from, &to, Order::Ascending)?.take(limit) {
        let (key, value) = entry?;
        places.extend(key::place_of(&key, &value));
        looked_at += 1;
    }
    for places in places.chunks(CHUNK) {
        for before in load_all(transaction, places)? {
            let before = match before {
                Ok(before) => before,
                Err(error) => {
                    tracing::warn!(%error, "a pending job cannot become due");
                    continue;
                }
            };
            let Some(before) = before.filter(|record| record.job.is_claimable(now)) else {
                continue;
            };
            let after = Record {
                due: true,
                ..before.clone()
            };
            replace(transaction, Some(&before), Some(&after));
        }
    }
    Ok(looked_at)
}

/// Claims for each call in turn. Calls for the same names share a walk.
fn claim(
    transaction: &mut Transaction<'_>,
    calls: &[ClaimRequest],
    now: Timestamp,
) -> Result<Vec<Vec<Job>>> {
    let mut answers: Vec<Vec<Job>> = calls.iter().map(|_| Vec::new()).collect();
    let mut by_names: Vec<(&[String], Vec<usize>)> = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        let names = &*call.job_names;
        match by_names.iter_mut().find(|(other, _)| *other == names) {
            Some((_, indexes)) => indexes.push(index),
            None => by_names.push((names, vec![index])),
        }
    }
    for (names, indexes) in by_names {
        let limit = indexes.iter().map(|index| calls[*index].limit as usize);
        let mut records = claimable(transaction, names, now, limit.sum())?.into_iter();
        for index in indexes {
            let call = &calls[index];
            for before in records.by_ref().take(call.limit as usize) {
                let job = claimed(&before.job, &call.lease, now);
                let after = record(job, now, before.unknown.clone());
                replace(transaction, Some(&before), Some(&after));
                answers[index].push(after.job);
            }
        }
    }
    Ok(answers)
}

/// The first jobs to claim. Those that cannot be read are passed over, and stay as they are.
fn claimable(
    transaction: &Transaction<'_>,
    names: &[String],
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Record>> {
    let mut branches: Vec<Key> = names
        .iter()
        .map(|name| Key::new(key::DUE_BY_NAME).text(name))
        .collect();
    branches.sort_unstable();
    branches.dedup();
    if branches.is_empty() {
        branches.push(Key::new(key::DUE));
    }
    let mut walks = Vec::with_capacity(branches.len());
    for branch in branches {
        let skip = branch.len();
        let (from, to) = (branch.clone().into_bytes(), branch.end());
        let entries = range(transaction, &from, &to, Order::Ascending)?;
        // What is left of a key is its place in the order of claiming.
        walks.push(entries.map(move |entry| {
            let (key, value) = entry?;
            let place = key::place_of(&key, &value);
            Ok::<_, Error>((key[skip..].to_vec(), place))
        }));
    }
    let merged = walks.into_iter().kmerge_by(|a, b| match (a, b) {
        (Ok((a, _)), Ok((b, _))) => a < b,
        (a, _) => a.is_err(),
    });
    let due = merged.filter_map(|entry| match entry {
        Ok((order, place)) => {
            // Only after the clock was put back are there jobs here whose time has not come.
            key::read_place(&order).filter(|(at, _)| *at <= now)?;
            place.map(Ok)
        }
        Err(error) => Some(Err(error)),
    });
    let mut due = due.peekable();
    let mut found = Vec::new();
    while found.len() < limit && due.peek().is_some() {
        let wanted = due.by_ref().take(limit - found.len());
        let places: Vec<Place> = wanted.collect::<Result<_>>()?;
        for record in load_all(transaction, &places)? {
            match record {
                Ok(record) => found.extend(record.filter(|record| record.job.is_claimable(now))),
                Err(error) => tracing::warn!(%error, "a pending job cannot be claimed"),
            }
        }
    }
    Ok(found)
}

/// Deletes what the request means and is finalized.
fn delete(transaction: &mut Transaction<'_>, request: &DeleteRequest) -> Result<Vec<JobId>> {
    match request {
        DeleteRequest::Ids(ids) => {
            let mut places = Vec::new();
            for id in ids.iter().copied().unique() {
                places.extend(find(transaction, id)?);
            }
            let mut deleted = Vec::new();
            for places in places.chunks(CHUNK) {
                deleted.extend(delete_at(transaction, places, request, places.len())?);
            }
            Ok(deleted)
        }
        DeleteRequest::Before { cutoff, limit, .. } => {
            let limit = *limit as usize;
            let mut from = Key::new(key::ENDED).into_bytes();
            let to = Key::new(key::ENDED).time(*cutoff).into_bytes();
            let mut deleted = Vec::new();
            // At first no more than may go; after that, jobs which were not meant stand between.
            let mut round = limit.min(CHUNK);
            while deleted.len() < limit {
                let mut places = Vec::with_capacity(round);
                let mut last = None;
                for entry in range(transaction, &from, &to, Order::Ascending)?.take(round) {
                    let (key, value) = entry?;
                    places.extend(key::place_of(&key, &value));
                    last = Some(key);
                }
                let Some(last) = last else {
                    break;
                };
                from = key::after(last);
                round = CHUNK;
                let left = limit - deleted.len();
                deleted.extend(delete_at(transaction, &places, request, left)?);
            }
            Ok(deleted)
        }
    }
}

/// Deletes at most `limit` of the jobs at these places that the request means.
fn delete_at(
    transaction: &mut Transaction<'_>,
    places: &[Place],
    request: &DeleteRequest,
    limit: usize,
) -> Result<Vec<JobId>> {
    let found = load_all(transaction, places)?.into_iter();
    // Of a job that cannot be read nobody knows whether it is finalized.
    let found = found.filter_map(|record| record.ok().flatten());
    let meant = found.filter(|record| request.matches(&record.job));
    let deleted = meant.take(limit).map(|record| {
        replace(transaction, Some(&record), None);
        record.job.id
    });
    Ok(deleted.collect())
}
