//! Getting, listing and counting.
//!
//! A listing merges the ranges of each status and name that the filter means, in creation order,
//! from where the page starts. It works in rounds, each with a view of its own: whatever changes
//! between two rounds, a job keeps its place, so it is met exactly once, as from page to page. So
//! nothing holds the engine up for longer than a round takes.

use std::collections::HashMap;

use itertools::Itertools as _;
use jobstore_core::{
    Error, Job, JobFilter, JobId, JobStatus, Order, PageRequest, PagedList, Result, StatusCounts,
    Timestamp,
};

use crate::engine::{Engine, View};
use crate::key::{self, Key};
use crate::record::{load, range};

/// How many places a round looks at when not every one counts.
const ROUND: usize = 1000;
/// How many a round looks at when jobs need not be read.
const COUNT_ROUND: usize = 20_000;
/// The most expired leases that are sorted; where there are more, the running jobs are walked.
const MAX_LEASES: usize = 10_000;

/// The order of listing.
type Place = (Timestamp, JobId);

pub(crate) fn get<E: Engine>(engine: &E, ids: &[JobId]) -> Result<Vec<Option<Job>>> {
    let view = engine.view()?;
    let jobs = ids
        .iter()
        .map(|id| Ok(load(&*view, *id)?.map(|record| record.job)));
    jobs.collect()
}

pub(crate) fn list<E: Engine>(
    engine: &E,
    filter: &JobFilter,
    page: &PageRequest,
) -> Result<PagedList<Job>> {
    let matcher = filter.compile()?;
    let size = page.size as usize;
    let mut start = page.start(&matcher)?;
    let mut list = PagedList {
        items: Vec::with_capacity(size),
        token: None,
        unreadable: Vec::new(),
    };
    // What the ranges do not decide, only the jobs themselves can.
    let by_range = filter.params.is_none() && filter.lease_expired_by.is_none();
    loop {
        let wanted = size - list.items.len();
        let limit = if by_range { wanted } else { wanted.max(ROUND) };
        let view = engine.view()?;
        let places = match &filter.ids {
            Some(ids) => with_ids(&*view, ids, start, page.order, &mut list.unreadable)?,
            None => places(&*view, filter, start, page.order, limit)?,
        };
        let end = places.len() < limit || filter.ids.is_some();
        for (_, place) in places {
            start = Some(place);
            match load(&*view, place.1) {
                Ok(record) => {
                    let job = record.map(|record| record.job);
                    list.items.extend(job.filter(|job| matcher.matches(job)));
                }
                Err(error @ Error::Unreadable { .. }) => list.unreadable.push(error),
                Err(error) => return Err(error),
            }
            if list.items.len() == size {
                let last = list.items.last();
                list.token = last.map(|last| page.token_after(last, &matcher));
                return Ok(list);
            }
        }
        if end {
            return Ok(list);
        }
    }
}

/// The jobs with these ids in order from a place. What cannot be read has no place, and is told
/// with the first page.
fn with_ids(
    view: &dyn View,
    ids: &[JobId],
    start: Option<Place>,
    order: Order,
    unreadable: &mut Vec<Error>,
) -> Result<Vec<(JobStatus, Place)>> {
    let mut found = Vec::new();
    for id in ids.iter().copied().unique() {
        match load(view, id) {
            Ok(record) => {
                found.extend(record.map(|record| (record.job.status, record.job.list_order())))
            }
            Err(error @ Error::Unreadable { .. }) if start.is_none() => unreadable.push(error),
            Err(Error::Unreadable { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    sort_from(&mut found, start, order);
    Ok(found)
}

fn sort_from(places: &mut Vec<(JobStatus, Place)>, start: Option<Place>, order: Order) {
    places.sort_unstable_by_key(|(_, place)| *place);
    match order {
        Order::Ascending => places.retain(|(_, place)| start.is_none_or(|start| *place > start)),
        Order::Descending => {
            places.retain(|(_, place)| start.is_none_or(|start| *place < start));
            places.reverse();
        }
    }
}

/// The next places in order that the filter's statuses, names and creation times mean: at most
/// `limit`, fewer only at the end. Ids and params are not looked at.
fn places(
    view: &dyn View,
    filter: &JobFilter,
    start: Option<Place>,
    order: Order,
    limit: usize,
) -> Result<Vec<(JobStatus, Place)>> {
    if let Some(by) = filter.lease_expired_by
        && let Some(mut leases) = leases(view, by)?
    {
        sort_from(&mut leases, start, order);
        leases.truncate(limit);
        return Ok(leases);
    }
    let mut ranges = Vec::new();
    for (status, branch) in branches(filter) {
        let (from, to) = bounds(branch, filter, start, order);
        let entries = range(view, &from, &to, order)?;
        ranges.push(entries.filter_map(move |entry| match entry {
            Ok((key, _)) => Some(Ok((status, key::read_place(&key)?))),
            Err(error) => Some(Err(error)),
        }));
    }
    let merged = ranges.into_iter().kmerge_by(|a, b| match (a, b) {
        (Ok((_, a)), Ok((_, b))) => match order {
            Order::Ascending => a < b,
            Order::Descending => a > b,
        },
        (a, _) => a.is_err(),
    });
    merged.take(limit).collect()
}

/// Every status and name that the filter means, with the beginning of its keys.
fn branches(filter: &JobFilter) -> Vec<(JobStatus, Key)> {
    let leased = filter.lease_expired_by.is_some();
    let meant = |status: &JobStatus| {
        (filter.statuses.is_empty() || filter.statuses.contains(status))
            && (!leased || *status == JobStatus::Running)
    };
    let statuses = JobStatus::ALL.into_iter().filter(meant);
    let names: Vec<&String> = filter.job_names.iter().sorted_unstable().dedup().collect();
    statuses
        .flat_map(|status| {
            let any = names
                .is_empty()
                .then(|| Key::new(key::BY_STATUS).status(status));
            let named = names
                .iter()
                .map(move |name| Key::new(key::BY_NAME).text(name).status(status));
            any.into_iter().chain(named).map(move |key| (status, key))
        })
        .collect()
}

/// The part of a branch that lies after the start and within the filter's creation times.
fn bounds(
    branch: Key,
    filter: &JobFilter,
    start: Option<Place>,
    order: Order,
) -> (Vec<u8>, Vec<u8>) {
    let key = || branch.clone();
    let mut from = match filter.created_from {
        Some(time) => key().time(time).into_bytes(),
        None => key().into_bytes(),
    };
    let mut to = match filter.created_to {
        Some(time) => key().time(time).end(),
        None => key().end(),
    };
    if let Some((time, id)) = start {
        let start = key().time(time).id(id);
        match order {
            Order::Ascending => from = from.max(start.after()),
            Order::Descending => to = to.min(start.into_bytes()),
        }
    }
    (from, to)
}

/// The running jobs whose lease ends by then, in no order; none when they are too many to sort.
fn leases(view: &dyn View, by: Timestamp) -> Result<Option<Vec<(JobStatus, Place)>>> {
    let from = Key::new(key::LEASE).into_bytes();
    let to = Key::new(key::LEASE).time(by).end();
    let mut found = Vec::new();
    for entry in range(view, &from, &to, Order::Ascending)? {
        let (key, value) = entry?;
        if found.len() == MAX_LEASES {
            return Ok(None);
        }
        if let (Some((_, id)), Some(created)) = (key::read_place(&key), key::read_time(&value)) {
            found.push((JobStatus::Running, (created, id)));
        }
    }
    Ok(Some(found))
}

pub(crate) fn count<E: Engine>(engine: &E, filter: &JobFilter) -> Result<StatusCounts> {
    let matcher = filter.compile()?;
    let mut counts = StatusCounts::default();
    let by_range =
        filter.params.is_none() && filter.lease_expired_by.is_none() && filter.ids.is_none();
    let limit = if by_range { COUNT_ROUND } else { ROUND };
    let mut start = None;
    loop {
        let view = engine.view()?;
        let places = match &filter.ids {
            Some(ids) => with_ids(&*view, ids, None, Order::Ascending, &mut Vec::new())?,
            None => places(&*view, filter, start, Order::Ascending, limit)?,
        };
        start = places.last().map(|(_, place)| *place);
        let end = places.len() < limit || filter.ids.is_some();
        if by_range {
            let found: HashMap<JobStatus, usize> = places.iter().counts_by(|(status, _)| *status);
            for (status, jobs) in found {
                counts.add(status, jobs as u64);
            }
        } else {
            for (_, (_, id)) in places {
                match load(&*view, id) {
                    Ok(record) => {
                        let job = record.map(|record| record.job);
                        if let Some(job) = job.filter(|job| matcher.matches(job)) {
                            counts.add(job.status, 1);
                        }
                    }
                    Err(Error::Unreadable { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        if end {
            return Ok(counts);
        }
    }
}
