//! Memory: a map of whole jobs and the sets that give their orders, under one lock.
//!
//! The sets are those that the store needs: for listing one for each status, of all jobs and of those
//! of each name; for claiming the pending ones, of all and of each name; for deleting the ended ones by
//! their last update. What differs: nobody holds a unique key, so none is looked for; nothing is
//! copied for who creates or finishes a job; and nothing is checked but that a job is there and runs
//! under the claim given. Params are behind a count, as the store has them, so that a copy of a job
//! shares them.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::hint::black_box;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jobstore::{Claim, Clock as _, Job, JobId, JobStatus, NewJob, SystemClock, Timestamp};

use super::{Limit, OWNER, Page, Write};

const LEASE: Duration = Duration::from_secs(3600);

type Place = (Timestamp, JobId);
type Turn = (Reverse<i16>, Timestamp, JobId);

pub(super) fn open() -> Box<dyn Limit> {
    Box::new(Jobs::default())
}

#[derive(Default)]
struct Jobs(Mutex<Table>);

#[derive(Default)]
struct Table {
    jobs: HashMap<JobId, Job>,
    any: Orders,
    named: HashMap<String, Orders>,
    ended: BTreeSet<Place>,
}

#[derive(Default)]
struct Orders {
    listed: [BTreeSet<Place>; JobStatus::ALL.len()],
    pending: BTreeSet<Turn>,
}

#[async_trait]
impl Limit for Jobs {
    async fn write(&mut self, calls: Vec<Write>) -> Vec<Vec<Claim>> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemClock.now();
        let answers = calls.into_iter().map(|call| match call {
            Write::Create(jobs) => table.create(jobs, now),
            Write::Claim { name, limit } => table.claim(&name, limit as usize, now),
            Write::Finish(claims) => table.finish(claims, now),
        });
        answers.collect()
    }

    async fn page(&mut self, after: Option<(Timestamp, JobId)>, size: usize) -> Page {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.page(after, size)
    }
}

impl Table {
    fn create(&mut self, jobs: Vec<NewJob>, now: Timestamp) -> Vec<Claim> {
        let mut claims = Vec::with_capacity(jobs.len());
        for job in jobs {
            let job = job.into_job(now);
            if !self.named.contains_key(&job.job_name) {
                self.named.insert(job.job_name.clone(), Orders::default());
            }
            let named = self.named.get_mut(&job.job_name);
            for orders in [&mut self.any, named.expect("is there")] {
                orders.listed[JobStatus::Pending as usize].insert(job.list_order());
                orders.pending.insert(job.claim_order());
            }
            claims.push(job.claim());
            self.jobs.insert(job.id, job);
        }
        claims
    }

    fn claim(&mut self, name: &str, limit: usize, now: Timestamp) -> Vec<Claim> {
        let Some(named) = self.named.get_mut(name) else {
            return Vec::new();
        };
        let turns: Vec<Turn> = due(&named.pending, now).take(limit).collect();
        let mut claims = Vec::with_capacity(turns.len());
        for turn in turns {
            let job = self.jobs.get_mut(&turn.2).expect("is there");
            for orders in [&mut self.any, &mut *named] {
                orders.pending.remove(&turn);
                orders.list_as(job, JobStatus::Running);
            }
            job.status = JobStatus::Running;
            job.fence += 1;
            job.last_update_time = now;
            job.lease_owner = Some(OWNER.to_owned());
            job.lease_expires_at = Some(now.saturating_add(LEASE));
            claims.push(job.claim());
            black_box(job.clone());
        }
        claims
    }

    fn finish(&mut self, mut claims: Vec<Claim>, now: Timestamp) -> Vec<Claim> {
        claims.retain(|claim| {
            let job = self.jobs.get_mut(&claim.id).expect("is there");
            if job.status != JobStatus::Running || job.fence != claim.fence {
                return false;
            }
            let named = self.named.get_mut(&job.job_name).expect("is there");
            for orders in [&mut self.any, named] {
                orders.list_as(job, JobStatus::Succeeded);
            }
            job.status = JobStatus::Succeeded;
            job.last_update_time = now;
            job.lease_owner = None;
            job.lease_expires_at = None;
            self.ended.insert((now, job.id));
            true
        });
        claims
    }

    fn page(&self, after: Option<Place>, size: usize) -> Page {
        let from = after.map_or(Unbounded, Excluded);
        let listed = self.any.listed.each_ref();
        let mut rest = listed.map(|places| places.range((from, Unbounded)));
        let mut firsts = rest.each_mut().map(Iterator::next);
        let mut jobs = Vec::with_capacity(size);
        while jobs.len() < size {
            let there = firsts.iter().enumerate();
            let there = there.filter_map(|(status, place)| Some(((*place)?, status)));
            let Some((place, status)) = there.min() else {
                break;
            };
            jobs.push(self.jobs[&place.1].clone());
            firsts[status] = rest[status].next();
        }
        let last = jobs.last().map(Job::list_order);
        let jobs = black_box(jobs).len();
        Page { jobs, last }
    }
}

impl Orders {
    /// Lists a job under the status that it is about to get.
    fn list_as(&mut self, job: &Job, status: JobStatus) {
        self.listed[job.status as usize].remove(&job.list_order());
        self.listed[status as usize].insert(job.list_order());
    }
}

/// The due jobs in order. Those of a priority that are not due are jumped over.
fn due(pending: &BTreeSet<Turn>, now: Timestamp) -> impl Iterator<Item = Turn> + '_ {
    let mut rest = pending.range(..);
    std::iter::from_fn(move || {
        loop {
            let turn = *rest.next()?;
            if turn.1 <= now {
                return Some(turn);
            }
            let last = JobId::from_uuid(uuid::Uuid::max());
            rest = pending.range((Excluded((turn.0, Timestamp::MAX, last)), Unbounded));
        }
    })
}
