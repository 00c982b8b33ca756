//! The jobs and the orders they are looked up in.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound::{self, Excluded, Unbounded};

use jobstore_core::{
    Applied, Creation, DeleteRequest, Error, Job, JobFilter, JobId, JobStatus, Matcher, NewJob,
    Order, PageRequest, Result, StatusCounts, Timestamp, Update,
};

type ListOrder = (Timestamp, JobId);
type ClaimOrder = (Reverse<i16>, Timestamp, JobId);

/// Every job, and the indexes that make listing and claiming cost the same however many there are.
#[derive(Debug, Default)]
pub(crate) struct Table {
    jobs: HashMap<JobId, Job>,
    /// For listing: a sorted set for each pair of status and name, merged as the filter asks.
    listed: BTreeMap<(JobStatus, String), BTreeSet<ListOrder>>,
    /// For claiming: the pending jobs of each name.
    pending: BTreeMap<String, BTreeSet<ClaimOrder>>,
    /// For deleting: the finalized jobs by last update.
    ended: BTreeSet<(Timestamp, JobId)>,
    /// Which unfinished job holds a unique key.
    holders: HashMap<(String, String), JobId>,
}

impl Table {
    pub(crate) fn get(&self, id: &JobId) -> Option<&Job> {
        self.jobs.get(id)
    }

    /// Writes a job and its indexes, over the one with its id.
    pub(crate) fn put(&mut self, job: Job) {
        self.remove(&job.id);
        let listed = self
            .listed
            .entry((job.status, job.job_name.clone()))
            .or_default();
        listed.insert(job.list_order());
        if job.status == JobStatus::Pending {
            self.pending
                .entry(job.job_name.clone())
                .or_default()
                .insert(job.claim_order());
        }
        if job.status.is_finalized() {
            self.ended.insert((job.last_update_time, job.id));
        }
        if let Some((name, key)) = job.held_unique_key() {
            self.holders
                .insert((name.to_owned(), key.to_owned()), job.id);
        }
        self.jobs.insert(job.id, job);
    }

    fn remove(&mut self, id: &JobId) {
        let Some(job) = self.jobs.remove(id) else {
            return;
        };
        let group = (job.status, job.job_name.clone());
        if let Some(listed) = self.listed.get_mut(&group) {
            listed.remove(&job.list_order());
            if listed.is_empty() {
                self.listed.remove(&group);
            }
        }
        if let Some(pending) = self.pending.get_mut(&job.job_name) {
            pending.remove(&job.claim_order());
            if pending.is_empty() {
                self.pending.remove(&job.job_name);
            }
        }
        self.ended.remove(&(job.last_update_time, job.id));
        if let Some((name, key)) = job.held_unique_key() {
            self.holders.remove(&(name.to_owned(), key.to_owned()));
        }
    }

    fn holder(&self, (name, key): (&str, &str)) -> Option<&JobId> {
        self.holders.get(&(name.to_owned(), key.to_owned()))
    }

    pub(crate) fn create(&mut self, jobs: Vec<NewJob>, now: Timestamp) -> Result<Vec<Creation>> {
        let mut creations: Vec<Creation> = Vec::with_capacity(jobs.len());
        let undo = |table: &mut Self, creations: &[Creation]| {
            for creation in creations.iter().filter(|creation| creation.is_new()) {
                table.remove(&creation.job().id);
            }
        };
        for job in jobs {
            let job = job.into_job(now);
            let holder = job.held_unique_key().and_then(|key| self.holder(key));
            if let Some(existing) = holder.and_then(|id| self.get(id)) {
                creations.push(Creation::Existing(existing.clone()));
            } else if self.jobs.contains_key(&job.id) {
                undo(self, &creations);
                return Err(Error::AlreadyExists { id: job.id });
            } else {
                self.put(job.clone());
                creations.push(Creation::Created(job));
            }
        }
        Ok(creations)
    }

    pub(crate) fn update(&mut self, update: &Update, now: Timestamp) -> Result<Job> {
        let id = update.target.id();
        let job = self.get(&id).ok_or(Error::NotFound { id })?;
        let Applied::Changed(next) = update.apply(job, now)? else {
            return Ok(job.clone());
        };
        let holder = next.held_unique_key().and_then(|key| self.holder(key));
        if let Some(&holder) = holder.filter(|&&holder| holder != id) {
            return Err(Error::AlreadyExists { id: holder });
        }
        self.put(next.clone());
        Ok(next)
    }

    /// The first `limit` jobs of these names (none means any) that are due.
    pub(crate) fn claimable(&self, names: &[String], now: Timestamp, limit: usize) -> Vec<JobId> {
        let names: HashSet<&String> = names.iter().collect();
        let mut first: Vec<ClaimOrder> = Vec::new();
        let chosen = |name: &String| names.is_empty() || names.contains(name);
        for (_, pending) in self.pending.iter().filter(|(name, _)| chosen(name)) {
            first.extend(due(pending, now).take(limit));
        }
        first.sort_unstable();
        first.into_iter().take(limit).map(|(_, _, id)| id).collect()
    }

    pub(crate) fn list(
        &self,
        filter: &JobFilter,
        matcher: &Matcher<'_>,
        start: Option<ListOrder>,
        page: &PageRequest,
    ) -> Vec<Job> {
        let size = page.size as usize;
        let mut found: Vec<&Job> = Vec::new();
        for group in self.groups(filter) {
            let (from, to) = match (start, page.order) {
                (None, _) => (Unbounded, Unbounded),
                (Some(start), Order::Ascending) => (Excluded(start), Unbounded),
                (Some(start), Order::Descending) => (Unbounded, Excluded(start)),
            };
            let jobs = ordered(group, from, to, page.order).filter_map(|(_, id)| self.get(id));
            found.extend(jobs.filter(|job| matcher.matches(job)).take(size));
        }
        found.sort_unstable_by_key(|job| job.list_order());
        if page.order == Order::Descending {
            found.reverse();
        }
        found.into_iter().take(size).cloned().collect()
    }

    pub(crate) fn count(&self, filter: &JobFilter, matcher: &Matcher<'_>) -> StatusCounts {
        let mut counts = StatusCounts::default();
        for (_, id) in self.groups(filter).flatten() {
            if let Some(job) = self.get(id).filter(|job| matcher.matches(job)) {
                counts.add(job.status, 1);
            }
        }
        counts
    }

    /// The sets of the statuses and names that the filter asks for.
    fn groups<'a>(
        &'a self,
        filter: &'a JobFilter,
    ) -> impl Iterator<Item = &'a BTreeSet<ListOrder>> {
        self.listed.iter().filter_map(|((status, name), group)| {
            let chosen = (filter.statuses.is_empty() || filter.statuses.contains(status))
                && (filter.job_names.is_empty() || filter.job_names.contains(name));
            chosen.then_some(group)
        })
    }

    pub(crate) fn delete(&mut self, request: &DeleteRequest) -> Vec<JobId> {
        let matching = |id: &JobId| self.get(id).is_some_and(|job| request.matches(job));
        let ids: Vec<JobId> = match request {
            DeleteRequest::Ids(ids) => {
                let mut seen = HashSet::new();
                ids.iter()
                    .copied()
                    .filter(|id| matching(id) && seen.insert(*id))
                    .collect()
            }
            DeleteRequest::Before { cutoff, limit, .. } => {
                let old = self
                    .ended
                    .iter()
                    .take_while(|(updated, _)| updated < cutoff);
                old.map(|(_, id)| *id)
                    .filter(matching)
                    .take(*limit as usize)
                    .collect()
            }
        };
        for id in &ids {
            self.remove(id);
        }
        ids
    }
}

/// The due jobs in order. Within a priority they come first; the rest of it is jumped over.
fn due(pending: &BTreeSet<ClaimOrder>, now: Timestamp) -> impl Iterator<Item = ClaimOrder> + '_ {
    let mut from: Bound<ClaimOrder> = Unbounded;
    std::iter::from_fn(move || {
        loop {
            let next = *pending.range((from, Unbounded)).next()?;
            if next.1 <= now {
                from = Excluded(next);
                return Some(next);
            }
            let last = JobId::from_uuid(uuid::Uuid::max());
            from = Excluded((next.0, Timestamp::MAX, last));
        }
    })
}

fn ordered(
    group: &BTreeSet<ListOrder>,
    from: Bound<ListOrder>,
    to: Bound<ListOrder>,
    order: Order,
) -> Box<dyn Iterator<Item = &ListOrder> + '_> {
    let range = group.range((from, to));
    match order {
        Order::Ascending => Box::new(range),
        Order::Descending => Box::new(range.rev()),
    }
}
