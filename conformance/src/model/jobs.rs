//! The model: what a store of jobs is, without an engine.

use std::collections::BTreeMap;

use jobstore_core::{
    Action, Applied, Claim, ClaimRequest, Creation, DeleteRequest, Error, Job, JobFilter, JobId,
    JobStatus, NewJob, Order, Result, RetryPolicy, StatusCounts, Timestamp, Update, claimed,
};

use crate::failure::{CaseResult, check, check_eq};

/// Every job, in a sorted map.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Jobs {
    jobs: BTreeMap<JobId, Job>,
    /// Each job that ever was, with its last claim, for programs to pick from.
    seen: Vec<Claim>,
}

impl Jobs {
    pub(super) fn get(&self, id: &JobId) -> Option<&Job> {
        self.jobs.get(id)
    }

    /// Every id that ever was.
    pub(super) fn ids(&self) -> impl Iterator<Item = JobId> + '_ {
        self.seen.iter().map(|claim| claim.id)
    }

    /// The last claim of a job that ever was, or of one that never was.
    pub(super) fn pick(&self, pick: u8) -> Claim {
        let unknown = Claim {
            id: JobId::generate(),
            fence: 1,
        };
        let index = usize::from(pick) % (self.seen.len() + 1);
        self.seen.get(index).copied().unwrap_or(unknown)
    }

    /// As [`pick`](Self::pick), but every other number picks a running job if there is one: what is
    /// done to others is mostly refused.
    pub(super) fn pick_to_change(&self, pick: u8) -> Claim {
        let running = self
            .jobs
            .values()
            .filter(|job| job.status == JobStatus::Running);
        let running: Vec<Claim> = running.map(Job::claim).collect();
        match (pick % 2, running.len()) {
            (0, 1..) => running[usize::from(pick / 2) % running.len()],
            _ => self.pick(pick),
        }
    }

    /// How many of these updates repeat an outcome that is recorded already.
    pub(super) fn repeated(&self, updates: &[Update], now: Timestamp) -> usize {
        let repeats = |update: &&Update| {
            let job = self.jobs.get(&update.target.id());
            job.is_some_and(|job| matches!(update.apply(job, now), Ok(Applied::Repeated)))
        };
        updates.iter().filter(repeats).count()
    }

    fn put(&mut self, job: Job) {
        match self.seen.iter_mut().find(|claim| claim.id == job.id) {
            Some(claim) => *claim = job.claim(),
            None => self.seen.push(job.claim()),
        }
        self.jobs.insert(job.id, job);
    }

    /// The unfinished job that stands in the way of this one.
    fn holder(&self, job: &Job) -> Option<&Job> {
        let key = job.held_unique_key()?;
        let mut others = self.jobs.values().filter(|other| other.id != job.id);
        others.find(|other| other.held_unique_key() == Some(key))
    }

    /// `made` are the ids that the store gave, in order; they are its own choice.
    pub(super) fn create(
        &mut self,
        new: Vec<NewJob>,
        now: Timestamp,
        made: Vec<JobId>,
    ) -> Result<Vec<Creation>> {
        let before = self.jobs.clone();
        let seen = self.seen.clone();
        let mut made = made.into_iter();
        let mut creations = Vec::new();
        for new in new {
            let (given, chosen) = (new.id, made.next());
            let mut job = new.into_job(now);
            job.id = given.or(chosen).unwrap_or(job.id);
            // A job given the holder's own id is found by its key as well.
            let holder = job.held_unique_key().and_then(|key| {
                let mut jobs = self.jobs.values();
                jobs.find(|other| other.held_unique_key() == Some(key))
            });
            if let Some(holder) = holder {
                creations.push(Creation::Existing(holder.clone()));
            } else if self.jobs.contains_key(&job.id) {
                self.jobs = before;
                self.seen = seen;
                return Err(Error::AlreadyExists { id: job.id });
            } else {
                self.put(job.clone());
                creations.push(Creation::Created(job));
            }
        }
        Ok(creations)
    }

    pub(super) fn claim(&mut self, request: &ClaimRequest, now: Timestamp) -> Vec<Job> {
        let names = &request.job_names;
        let mut due: Vec<&Job> = self
            .jobs
            .values()
            .filter(|job| job.is_claimable(now))
            .filter(|job| names.is_empty() || names.contains(&job.job_name))
            .collect();
        due.sort_by_key(|job| job.claim_order());
        due.truncate(request.limit as usize);
        let claimed = due.into_iter().map(|job| claimed(job, &request.lease, now));
        let claimed: Vec<Job> = claimed.collect();
        for job in &claimed {
            self.put(job.clone());
        }
        claimed
    }

    /// As [`claim`](Self::claim), beside a call that may be at work: a claim passes over what that one
    /// holds, so it need not get the very first. What it got must be due, in order and no more than
    /// the limit.
    pub(super) fn claim_beside(
        &mut self,
        request: &ClaimRequest,
        got: &[Job],
        now: Timestamp,
    ) -> CaseResult<Vec<Job>> {
        check!(
            got.len() <= request.limit as usize,
            "at most {}",
            request.limit
        );
        let in_order = got.is_sorted_by(|a, b| a.claim_order() < b.claim_order());
        check!(in_order, "jobs in the order of claiming");
        let names = &request.job_names;
        let mut taken = Vec::new();
        for Job { id, .. } in got {
            let job = self.jobs.get(id).filter(|job| job.is_claimable(now));
            let job = job.filter(|job| names.is_empty() || names.contains(&job.job_name));
            let job = job.map(|job| claimed(job, &request.lease, now));
            check!(job.is_some(), "no claim of job {id}");
            taken.extend(job);
        }
        for job in &taken {
            self.put(job.clone());
        }
        Ok(taken)
    }

    pub(super) fn update(&mut self, update: &Update, now: Timestamp) -> Result<Job> {
        let id = update.target.id();
        let job = self.jobs.get(&id).ok_or(Error::NotFound { id })?;
        let Applied::Changed(next) = update.apply(job, now)? else {
            return Ok(job.clone());
        };
        if let Some(holder) = self.holder(&next) {
            return Err(Error::AlreadyExists { id: holder.id });
        }
        self.put(next.clone());
        Ok(next)
    }

    pub(super) fn recover(&mut self, policy: RetryPolicy, now: Timestamp) -> Vec<Job> {
        let expired = self.jobs.values().filter(|job| job.is_lease_expired(now));
        let mut claims: Vec<_> = expired.map(|job| (job.list_order(), job.claim())).collect();
        claims.sort_by_key(|(order, _)| *order);
        let mut recovered = Vec::new();
        for (_, claim) in claims {
            recovered.extend(self.update(&Update::new(claim, Action::Recover { policy }), now));
        }
        recovered
    }

    /// Checks what the store deleted, and deletes the same. Of jobs of one age, a limit may take
    /// any.
    pub(super) fn delete(&mut self, request: &DeleteRequest, deleted: &[JobId]) -> CaseResult {
        let matching = self.jobs.values().filter(|job| request.matches(job));
        let mut ages: Vec<Timestamp> = matching.map(|job| job.last_update_time).collect();
        ages.sort_unstable();
        if let DeleteRequest::Before { limit, .. } = request {
            ages.truncate(*limit as usize);
        }
        let mut gone = Vec::new();
        for id in deleted {
            let job = self.jobs.remove(id).filter(|job| request.matches(job));
            check!(job.is_some(), "no deletion of job {id}");
            gone.extend(job.map(|job| job.last_update_time));
        }
        gone.sort_unstable();
        check_eq!(gone, ages, "the last updates of what was deleted");
        Ok(())
    }

    /// Deletes everything that the request is about, its limit aside.
    pub(super) fn delete_all(&mut self, request: &DeleteRequest) {
        self.jobs.retain(|_, job| !request.matches(job));
    }

    pub(super) fn list(&self, filter: &JobFilter, order: Order) -> Result<Vec<&Job>> {
        let matcher = filter.compile()?;
        let jobs = self.jobs.values().filter(|job| matcher.matches(job));
        let mut jobs: Vec<&Job> = jobs.collect();
        jobs.sort_by_key(|job| job.list_order());
        if order == Order::Descending {
            jobs.reverse();
        }
        Ok(jobs)
    }

    pub(super) fn count(&self, filter: &JobFilter) -> Result<StatusCounts> {
        let mut counts = StatusCounts::default();
        for job in self.list(filter, Order::Ascending)? {
            counts.add(job.status, 1);
        }
        Ok(counts)
    }
}
