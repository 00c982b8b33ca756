//! Getting, listing and counting.
//!
//! A listing without names and statuses reads the jobs as they lie. Others merge the ranges of each
//! status and name that the filter means, in the same order. Both start where the page does, and work
//! in rounds, each with a view of its own: whatever changes between two rounds, a job keeps its
//! place, so it is met exactly once, as from page to page. So nothing holds the engine up for longer
//! than a round takes.

use std::collections::HashMap;
use std::ops::ControlFlow;

use itertools::Itertools as _;
use jobstore_core::{
    Job, JobFilter, JobId, JobStatus, Order, PageRequest, PagedList, Result, StatusCounts,
    Timestamp,
};

use crate::engine::View;
use crate::glance::Source;
use crate::key::{self, Key, Place};
use crate::packed::Unpacked;
use crate::record::{CHUNK, find, load_all, range, read, readable, scan};

/// How many places a round looks at when not every one counts.
const ROUND: usize = 1000;
/// How many a round looks at when jobs need not be read.
const COUNT_ROUND: usize = 20_000;
/// The most expired leases that are sorted; where there are more, the running jobs are walked.
const MAX_LEASES: usize = 10_000;

pub(crate) fn get(source: &dyn Source, ids: &[JobId]) -> Result<Vec<Option<Job>>> {
    let view = Unpacked::of(source)?;
    let places: Vec<Option<Place>> = ids.iter().map(|id| find(&view, *id)).try_collect()?;
    let known: Vec<Place> = places.iter().flatten().copied().collect();
    let mut found = load_all(&view, &known)?.into_iter();
    let jobs = places.into_iter().map(|place| match place {
        Some(_) => Ok(found.next().transpose()?.flatten().map(|record| record.job)),
        None => Ok(None),
    });
    jobs.collect()
}

/// Lists from the place after which the page starts, as [`PageRequest::start`] gave it.
pub(crate) fn list(
    source: &dyn Source,
    filter: &JobFilter,
    page: &PageRequest,
    mut start: Option<Place>,
) -> Result<PagedList<Job>> {
    let matcher = filter.compile()?;
    let size = page.size as usize;
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
        let view = Unpacked::of(source)?;
        let more = walk(&view, filter, start, page.order, limit, |place, job| {
            start = Some(place);
            match job {
                Ok(Some(job)) if matcher.matches(&job) => list.items.push(job),
                Ok(_) => {}
                Err(error) => list.unreadable.push(error),
            }
            match list.items.len() < size {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })?;
        if list.items.len() == size {
            let last = list.items.last();
            list.token = last.map(|last| page.token_after(last, &matcher));
            return Ok(list);
        }
        if !more {
            return Ok(list);
        }
    }
}

/// Shows the next jobs in order, at most `limit`, each readable, unreadable or gone since its entry
/// was made; all that the filter means are among them. Says whether there may be more.
fn walk(
    view: &dyn View,
    filter: &JobFilter,
    start: Option<Place>,
    order: Order,
    limit: usize,
    mut each: impl FnMut(Place, Result<Option<Job>>) -> ControlFlow<()>,
) -> Result<bool> {
    let everything = filter.job_names.is_empty()
        && filter.statuses.is_empty()
        && filter.lease_expired_by.is_none()
        && filter.ids.is_none();
    if everything {
        let (from, to) = bounds(Key::new(key::JOB), filter, start, order);
        let mut looked_at = 0;
        let mut more = false;
        scan(view, &from, &to, order, &mut |key, value| {
            let Some(place) = key::place_of(key, value) else {
                return Ok(ControlFlow::Continue(()));
            };
            looked_at += 1;
            let job = readable(read(view, place, value))?.map(|record| Some(record.job));
            more = each(place, job).is_break() || looked_at == limit;
            Ok(match more {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        })?;
        return Ok(more);
    }
    let places: Vec<Place> = match &filter.ids {
        Some(ids) => with_ids(view, ids, start, order)?,
        None => {
            let places = places(view, filter, start, order, limit)?;
            places.into_iter().map(|(_, place)| place).collect()
        }
    };
    for places in places.chunks(CHUNK) {
        for (place, record) in places.iter().zip(load_all(view, places)?) {
            let job = record.map(|record| record.map(|record| record.job));
            if each(*place, job).is_break() {
                return Ok(true);
            }
        }
    }
    Ok(places.len() == limit && filter.ids.is_none())
}

/// Where the jobs with these ids lie, in order from a place.
fn with_ids(
    view: &dyn View,
    ids: &[JobId],
    start: Option<Place>,
    order: Order,
) -> Result<Vec<Place>> {
    let mut found = Vec::new();
    for id in ids.iter().copied().unique() {
        found.extend(find(view, id)?);
    }
    sort_from(&mut found, start, order);
    Ok(found)
}

fn sort_from(places: &mut Vec<Place>, start: Option<Place>, order: Order) {
    places.sort_unstable();
    match order {
        Order::Ascending => places.retain(|place| start.is_none_or(|start| *place > start)),
        Order::Descending => {
            places.retain(|place| start.is_none_or(|start| *place < start));
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
        let leases = leases.into_iter().take(limit);
        return Ok(leases.map(|place| (JobStatus::Running, place)).collect());
    }
    let mut ranges = Vec::new();
    for (status, branch) in branches(filter) {
        let (from, to) = bounds(branch, filter, start, order);
        let entries = range(view, &from, &to, order)?;
        ranges.push(entries.filter_map(move |entry| match entry {
            Ok((key, _)) => Some(Ok((status, key::place_of(&key, &[])?))),
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
    if let Some(place) = start {
        let start = key().place(place);
        match order {
            Order::Ascending => from = from.max(start.after()),
            Order::Descending => to = to.min(start.into_bytes()),
        }
    }
    (from, to)
}

/// The running jobs whose lease ends by then, in no order; none when they are too many to sort.
fn leases(view: &dyn View, by: Timestamp) -> Result<Option<Vec<Place>>> {
    let from = Key::new(key::LEASE).into_bytes();
    let to = Key::new(key::LEASE).time(by).end();
    let mut found = Vec::new();
    for entry in range(view, &from, &to, Order::Ascending)? {
        let (key, value) = entry?;
        if found.len() == MAX_LEASES {
            return Ok(None);
        }
        found.extend(key::place_of(&key, &value));
    }
    Ok(Some(found))
}

pub(crate) fn count(source: &dyn Source, filter: &JobFilter) -> Result<StatusCounts> {
    let matcher = filter.compile()?;
    let mut counts = StatusCounts::default();
    let by_range =
        filter.params.is_none() && filter.lease_expired_by.is_none() && filter.ids.is_none();
    let mut start = None;
    loop {
        let view = Unpacked::of(source)?;
        let more = if by_range {
            let places = places(&view, filter, start, Order::Ascending, COUNT_ROUND)?;
            start = places.last().map(|(_, place)| *place);
            let found: HashMap<JobStatus, usize> = places.iter().counts_by(|(status, _)| *status);
            for (status, jobs) in found {
                counts.add(status, jobs as u64);
            }
            places.len() == COUNT_ROUND
        } else {
            walk(
                &view,
                filter,
                start,
                Order::Ascending,
                ROUND,
                |place, job| {
                    start = Some(place);
                    if let Some(job) = job.ok().flatten().filter(|job| matcher.matches(job)) {
                        counts.add(job.status, 1);
                    }
                    ControlFlow::Continue(())
                },
            )?
        };
        if !more {
            return Ok(counts);
        }
    }
}
