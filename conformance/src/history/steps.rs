//! From calls to steps: what the contract promises about each, and no more.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jobstore_core::{DeleteRequest, Job, JobId, JobStatus, Order, Timestamp};

use super::record::{Call, Event, History, Reply};
use super::spec::{self, Does, Step};
use crate::failure::{CaseResult, check, check_eq};

/// Fails for a reply that is wrong in itself, whatever the others did.
pub(super) fn check_replies(history: &History) -> CaseResult {
    for event in &history.events {
        let Some((_, reply)) = &event.reply else {
            continue;
        };
        let at = format!("caller {} at {}", event.caller, event.invoked);
        match (&event.call, reply) {
            (Call::Create(new), Reply::Created(Ok(creations))) => {
                check_eq!(creations.len(), new.len(), "verdicts, {at}");
            }
            (Call::Update(updates), Reply::Updated(verdicts)) => {
                check_eq!(verdicts.len(), updates.len(), "verdicts, {at}");
            }
            (Call::Get(ids), Reply::Got(jobs)) => {
                check_eq!(jobs.len(), ids.len(), "answers, {at}");
            }
            (Call::Claim(request), Reply::Claimed(jobs)) => {
                check!(
                    jobs.len() <= request.limit as usize,
                    "at most {} jobs, {at}",
                    request.limit
                );
                check!(
                    jobs.is_sorted_by(|a, b| a.claim_order() < b.claim_order()),
                    "each job once and in the order of claiming, {at}"
                );
            }
            (Call::List(_, page), Reply::Listed(jobs, _)) => {
                check!(
                    jobs.len() <= page.size as usize,
                    "at most {} jobs, {at}",
                    page.size
                );
                let sorted = jobs.is_sorted_by(|a, b| match page.order {
                    Order::Ascending => a.list_order() < b.list_order(),
                    Order::Descending => a.list_order() > b.list_order(),
                });
                check!(sorted, "each job once and in the order of listing, {at}");
            }
            _ => {}
        }
    }
    Ok(())
}

/// Which jobs claims without a reply may have taken, from the fewest to all. An order found with few of
/// them is one with more of them too, since what is unknown need not have happened; with few the
/// search is much shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LostClaims {
    /// The jobs that somebody saw under their owner.
    Seen,
    /// Those, and the jobs of which a run was seen and never whose it is.
    Missed,
    /// Every job there was.
    Any,
}

/// The steps of a history.
pub(super) fn steps(history: &History, lost_claims: LostClaims) -> Vec<Step> {
    let places = places(history);
    let missed = missed_runs(history);
    let mut steps = Vec::new();
    for (index, event) in history.events.iter().enumerate() {
        let mut times = times(history, event);
        let returned = event.reply.as_ref().map(|(returned, _)| *returned);
        let alone = is_alone(history, event);
        if let (Some((_, Reply::Claimed(jobs))), true) = (&event.reply, alone) {
            // All at one time. If nothing was due, nothing was due at the earliest.
            match jobs.first() {
                Some(job) => times.retain(|time| *time == job.last_update_time),
                None => times.truncate(1),
            }
        }
        let mut push = |after: Option<usize>, does: Does| {
            steps.push(Step {
                event: index,
                invoked: event.invoked,
                returned,
                after,
                times: times.clone(),
                does,
                ids: Vec::new(),
                rivals: Vec::new(),
                finds: Vec::new(),
                contended: false,
                touches: Vec::new(),
            });
            steps.len() - 1
        };
        let reply = event.reply.as_ref().map(|(_, reply)| reply);
        match (&event.call, reply) {
            (Call::Create(new), reply) => {
                let reply = match reply {
                    Some(Reply::Created(reply)) => Some(reply.clone()),
                    _ => None,
                };
                push(None, Does::Create(new.clone(), reply));
            }
            (Call::Claim(request), Some(Reply::Claimed(jobs))) => {
                for job in jobs {
                    push(
                        None,
                        Does::ClaimOne(request.clone(), job.id, Some(job.clone())),
                    );
                }
                if alone {
                    let last = jobs.last().filter(|_| jobs.len() == request.limit as usize);
                    let last = last.map(Job::claim_order);
                    let passed = |id: &&JobId| jobs.iter().all(|job| job.id != **id);
                    for id in places.keys().filter(passed) {
                        push(None, Does::PassOver(request.clone(), *id, last));
                    }
                }
            }
            (Call::Claim(request), _) => {
                let taken = match lost_claims {
                    LostClaims::Any => places.keys().copied().collect(),
                    LostClaims::Missed => &seen_under(history, &request.lease.owner) | &missed,
                    LostClaims::Seen => seen_under(history, &request.lease.owner),
                };
                for id in places.keys().filter(|id| taken.contains(id)) {
                    push(None, Does::ClaimOne(request.clone(), *id, None));
                }
            }
            (Call::Update(updates), reply) => {
                let mut last: BTreeMap<JobId, usize> = BTreeMap::new();
                for (item, update) in updates.iter().enumerate() {
                    let verdict = match reply {
                        Some(Reply::Updated(verdicts)) => verdicts.get(item).cloned(),
                        _ => None,
                    };
                    let id = update.target.id();
                    // With an unknown outcome a later item may have happened without an earlier.
                    let after = last.get(&id).copied().filter(|_| verdict.is_some());
                    last.insert(id, push(after, Does::Update(update.clone(), verdict)));
                }
            }
            (Call::Delete(request), reply) => {
                let deleted = match reply {
                    Some(Reply::Deleted(ids)) => Some(ids),
                    _ => None,
                };
                let known = places.keys().copied();
                let asked: BTreeSet<JobId> = match request {
                    DeleteRequest::Ids(ids) => ids.iter().copied().collect(),
                    DeleteRequest::Before { .. } => known
                        .chain(deleted.into_iter().flatten().copied())
                        .collect(),
                };
                let exhausted = match (request, deleted) {
                    (DeleteRequest::Before { limit, .. }, Some(ids)) => ids.len() < *limit as usize,
                    _ => true,
                };
                for id in asked {
                    let gone = deleted.map(|ids| ids.contains(&id));
                    if gone != Some(false) || exhausted {
                        push(None, Does::Delete(request.clone(), id, gone));
                    }
                }
            }
            (Call::Get(ids), Some(Reply::Got(jobs))) => {
                for (id, job) in ids.iter().zip(jobs) {
                    push(None, Does::See(None, *id, job.clone()));
                }
            }
            (Call::List(filter, page), Some(Reply::Listed(jobs, more))) => {
                let filter = Some(filter.clone());
                for job in jobs {
                    push(None, Does::See(filter.clone(), job.id, Some(job.clone())));
                }
                let end = jobs.last().map(Job::list_order).filter(|_| *more);
                for (id, place) in &places {
                    let Place::At(place) = place else { continue };
                    let before_end = end.is_none_or(|end| match page.order {
                        Order::Ascending => *place < end,
                        Order::Descending => *place > end,
                    });
                    if before_end && jobs.iter().all(|job| job.id != *id) {
                        push(None, Does::See(filter.clone(), *id, None));
                    }
                }
            }
            // A read without an answer says nothing.
            _ => {}
        }
    }
    spec::relate(&mut steps);
    steps
}

/// Where a job stands in a listing.
enum Place {
    At((Timestamp, JobId)),
    /// It was created more than once, or nobody saw when.
    Unknown,
}

/// Every job that was asked for or seen.
fn places(history: &History) -> BTreeMap<JobId, Place> {
    let mut places = BTreeMap::new();
    for event in &history.events {
        if let Call::Create(new) = &event.call {
            for id in new.iter().filter_map(|new| new.id) {
                places.entry(id).or_insert(Place::Unknown);
            }
        }
    }
    let shown = history
        .events
        .iter()
        .filter_map(|event| event.reply.as_ref());
    let shown: Vec<&Job> = shown.flat_map(|(_, reply)| reply.jobs()).collect();
    for (id, place) in &mut places {
        let orders: HashSet<_> = shown
            .iter()
            .filter(|job| job.id == *id)
            .map(|job| job.list_order())
            .collect();
        let creates = history.events.iter().filter(|event| match &event.call {
            Call::Create(new) => new.iter().any(|new| new.id == Some(*id)),
            _ => false,
        });
        let creates: Vec<bool> = creates.map(|event| event.reply.is_some()).collect();
        let unseen = creates.len() > 1 && creates.contains(&false);
        if let (1, Some(order), false) = (orders.len(), orders.iter().next(), unseen) {
            *place = Place::At(*order);
        }
    }
    places
}

/// The jobs that anybody saw in the hands of this owner, or lost by it.
fn seen_under(history: &History, owner: &str) -> HashSet<JobId> {
    let lost = format!("lease of {owner} expired");
    let replies = history
        .events
        .iter()
        .filter_map(|event| event.reply.as_ref());
    let jobs = replies.flat_map(|(_, reply)| reply.jobs());
    let jobs = jobs.filter(|job| {
        let holds = job.lease_owner.as_deref() == Some(owner);
        holds
            || job
                .last_error
                .as_ref()
                .is_some_and(|error| error.starts_with(&lost))
    });
    jobs.map(|job| job.id).collect()
}

/// The jobs of which some run was never seen in anybody's hands: each start and claim raises the fence
/// by one.
fn missed_runs(history: &History) -> HashSet<JobId> {
    let replies = history
        .events
        .iter()
        .filter_map(|event| event.reply.as_ref());
    let mut fences: BTreeMap<JobId, (u64, HashSet<u64>)> = BTreeMap::new();
    for job in replies.flat_map(|(_, reply)| reply.jobs()) {
        let (highest, runs) = fences.entry(job.id).or_default();
        *highest = job.fence.max(*highest);
        if job.status == JobStatus::Running {
            runs.insert(job.fence);
        }
    }
    let missed = fences.into_iter();
    let missed =
        missed.filter(|(_, (highest, runs))| (1..=*highest).any(|run| !runs.contains(&run)));
    missed.map(|(id, _)| id).collect()
}

/// What the clock may have shown while a call ran.
fn times(history: &History, event: &Event) -> Vec<Timestamp> {
    let returned = event
        .reply
        .as_ref()
        .map_or(u64::MAX, |(returned, _)| *returned);
    let until = history.ticks.iter().skip(1).map(|tick| tick.set);
    let until = until.chain([u64::MAX]);
    let ticks = history.ticks.iter().zip(until);
    let shown = ticks.filter(|(tick, until)| tick.from < returned && *until > event.invoked);
    let mut times: Vec<Timestamp> = shown.map(|(tick, _)| tick.time).collect();
    times.dedup();
    times
}

/// Whether no other call that writes was on its way.
fn is_alone(history: &History, event: &Event) -> bool {
    let ends = |event: &Event| {
        event
            .reply
            .as_ref()
            .map_or(u64::MAX, |(returned, _)| *returned)
    };
    let mut others = history.events.iter();
    !others.any(|other| {
        let writes = !matches!(other.call, Call::Get(_) | Call::List(..));
        let overlaps = other.invoked < ends(event) && ends(other) > event.invoked;
        writes && overlaps && other.invoked != event.invoked
    })
}

/// Leaves out what the failure does not need: steps that only see, and all steps of a job that
/// nobody else depends on. Neither makes a history that some order explains into one that none does.
pub(super) fn shrink(mut steps: Vec<Step>, fails: impl Fn(&[Step]) -> bool) -> Vec<Step> {
    let ids: BTreeSet<JobId> = steps.iter().flat_map(|step| &step.ids).copied().collect();
    for id in ids
        .into_iter()
        .filter(|id| !is_keyed(&steps, *id))
        .collect::<Vec<_>>()
    {
        let without = rebuilt(&steps, |step| step.ids != [id]);
        if without.len() < steps.len() && fails(&without) {
            steps = without;
        }
    }
    for index in (0..steps.len()).rev() {
        if matches!(steps[index].does, Does::See(..) | Does::PassOver(..)) {
            let mut place = 0..;
            let without = rebuilt(&steps, |_| place.next() != Some(index));
            if fails(&without) {
                steps = without;
            }
        }
    }
    steps
}

/// The steps that are kept, with what they come after put right.
fn rebuilt(steps: &[Step], mut keep: impl FnMut(&Step) -> bool) -> Vec<Step> {
    let mut kept: Vec<Step> = Vec::new();
    let mut places: Vec<Option<usize>> = Vec::new();
    for step in steps {
        let keeps = keep(step);
        places.push(keeps.then_some(kept.len()));
        kept.extend(keeps.then(|| Step {
            after: step.after.and_then(|after| places[after]),
            ..step.clone()
        }));
    }
    spec::relate(&mut kept);
    kept
}

/// Whether a job is ever created with a unique key, which ties it to others.
fn is_keyed(steps: &[Step], id: JobId) -> bool {
    steps.iter().any(|step| match &step.does {
        Does::Create(new, _) => new
            .iter()
            .any(|new| new.id == Some(id) && new.unique_key.is_some()),
        _ => false,
    })
}
