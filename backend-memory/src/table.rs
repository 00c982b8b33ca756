//! The jobs and the orders they are looked up in.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Bound::{self, Excluded, Included, Unbounded};

use itertools::Itertools as _;
use jobstore_core::{
    Applied, ClaimRequest, Creation, DeleteRequest, Error, Job, JobFilter, JobId, JobStatus,
    Matcher, NewJob, Order, PageRequest, Result, StatusCounts, Timestamp, Update, claimed,
};
use uuid::Uuid;

type ListOrder = (Timestamp, JobId);
type ClaimOrder = (Reverse<i16>, Timestamp, JobId);

/// Every job, and the indexes that make listing and claiming cost the same however many there are,
/// of however many names.
#[derive(Debug, Default)]
pub(crate) struct Table {
    jobs: HashMap<JobId, Job>,
    /// The orders of all jobs.
    any: Orders,
    /// The orders of the jobs of each name.
    named: HashMap<String, Orders>,
    /// For deleting: the finalized jobs by last update.
    ended: BTreeSet<(Timestamp, JobId)>,
    /// Which unfinished job holds a unique key, by name and key.
    holders: HashMap<String, HashMap<String, JobId>>,
}

/// Jobs in the orders of listing and claiming.
#[derive(Debug, Default)]
struct Orders {
    /// For listing: a set for each status, merged as the filter asks.
    listed: [BTreeSet<ListOrder>; JobStatus::ALL.len()],
    /// For claiming: the pending jobs.
    pending: BTreeSet<ClaimOrder>,
}

impl Orders {
    fn change(&mut self, before: Option<&Places>, after: Option<&Places>) {
        let (left, entered) = (before.map(|at| at.listed), after.map(|at| at.listed));
        if left != entered {
            left.map(|(status, order)| self.listed[status as usize].remove(&order));
            entered.map(|(status, order)| self.listed[status as usize].insert(order));
        }
        let place = |at: Option<&Places>| at.and_then(|at| at.pending);
        let (left, entered) = (place(before), place(after));
        if left != entered {
            left.map(|order| self.pending.remove(&order));
            entered.map(|order| self.pending.insert(order));
        }
    }

    fn is_empty(&self) -> bool {
        self.listed.iter().all(BTreeSet::is_empty)
    }
}

/// Where a job stands in each order that it is in.
struct Places {
    listed: (JobStatus, ListOrder),
    pending: Option<ClaimOrder>,
    ended: Option<(Timestamp, JobId)>,
}

impl Places {
    fn of(job: &Job) -> Self {
        let is_pending = job.status == JobStatus::Pending;
        let is_ended = job.status.is_finalized();
        Self {
            listed: (job.status, job.list_order()),
            pending: is_pending.then(|| job.claim_order()),
            ended: is_ended.then_some((job.last_update_time, job.id)),
        }
    }
}

impl Table {
    pub(crate) fn get(&self, id: &JobId) -> Option<&Job> {
        self.jobs.get(id)
    }

    /// Writes a job and its indexes, over the one with its id.
    fn put(&mut self, job: Job) {
        let before = self.jobs.get(&job.id).map(Places::of);
        self.change_places(&job.job_name, before.as_ref(), Some(&Places::of(&job)));
        match job.held_unique_key() {
            Some((name, key)) => {
                let keys = self.holders.entry(name.to_owned()).or_default();
                keys.insert(key.to_owned(), job.id);
            }
            None => self.release_key(&job),
        }
        self.jobs.insert(job.id, job);
    }

    fn remove(&mut self, id: &JobId) {
        let Some(job) = self.jobs.remove(id) else {
            return;
        };
        self.change_places(&job.job_name, Some(&Places::of(&job)), None);
        self.release_key(&job);
    }

    fn change_places(&mut self, name: &str, before: Option<&Places>, after: Option<&Places>) {
        self.any.change(before, after);
        if let Some(named) = self.named.get_mut(name) {
            named.change(before, after);
            if named.is_empty() {
                self.named.remove(name);
            }
        } else {
            let mut named = Orders::default();
            named.change(before, after);
            self.named.insert(name.to_owned(), named);
        }
        let place = |at: Option<&Places>| at.and_then(|at| at.ended);
        let (left, entered) = (place(before), place(after));
        if left != entered {
            left.map(|ended| self.ended.remove(&ended));
            entered.map(|ended| self.ended.insert(ended));
        }
    }

    /// Lets go of the job's unique key, if the job holds it.
    fn release_key(&mut self, job: &Job) {
        if let (Some(key), Some(keys)) = (&job.unique_key, self.holders.get_mut(&job.job_name))
            && keys.get(key) == Some(&job.id)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.holders.remove(&job.job_name);
            }
        }
    }

    fn holder(&self, (name, key): (&str, &str)) -> Option<&JobId> {
        self.holders.get(name)?.get(key)
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

    /// Claims the first jobs that are due, of these names or any.
    pub(crate) fn claim(&mut self, request: &ClaimRequest, now: Timestamp) -> Vec<Job> {
        let pending = self
            .orders(&request.job_names)
            .map(|orders| due(&orders.pending, now));
        let first = pending.kmerge().take(request.limit as usize);
        let ids: Vec<JobId> = first.map(|(_, _, id)| id).collect();
        let jobs = ids.iter().filter_map(|id| self.get(id));
        let jobs: Vec<Job> = jobs.map(|job| claimed(job, &request.lease, now)).collect();
        for job in &jobs {
            self.put(job.clone());
        }
        jobs
    }

    /// The orders of these names, each once, or of all jobs when none is given.
    fn orders<'a>(&'a self, names: &[String]) -> impl Iterator<Item = &'a Orders> {
        let any = names.is_empty().then_some(&self.any);
        let named = names
            .iter()
            .unique()
            .filter_map(|name| self.named.get(name));
        any.into_iter().chain(named)
    }

    pub(crate) fn list(
        &self,
        filter: &JobFilter,
        matcher: &Matcher<'_>,
        start: Option<ListOrder>,
        page: &PageRequest,
    ) -> Vec<Job> {
        let mut range = created(filter);
        match (start, page.order) {
            (None, _) => {}
            (Some(start), Order::Ascending) => range.0 = Excluded(start),
            (Some(start), Order::Descending) => range.1 = Excluded(start),
        }
        if is_empty(&range) {
            return Vec::new();
        }
        let named = self.with_ids(filter);
        let ranges = self
            .listed(filter, named.as_ref())
            .map(|listed| listed.range(range));
        match page.order {
            Order::Ascending => self.page(ranges.kmerge(), matcher, page),
            Order::Descending => {
                let ranges = ranges.map(Iterator::rev);
                self.page(ranges.kmerge_by(|a, b| a > b), matcher, page)
            }
        }
    }

    fn page<'a>(
        &self,
        orders: impl Iterator<Item = &'a ListOrder>,
        matcher: &Matcher<'_>,
        page: &PageRequest,
    ) -> Vec<Job> {
        let jobs = orders.filter_map(|(_, id)| self.get(id));
        let jobs = jobs.filter(|job| matcher.matches(job)).cloned();
        jobs.take(page.size as usize).collect()
    }

    pub(crate) fn count(&self, filter: &JobFilter, matcher: &Matcher<'_>) -> StatusCounts {
        let mut counts = StatusCounts::default();
        let range = created(filter);
        if is_empty(&range) {
            return counts;
        }
        let named = self.with_ids(filter);
        for (_, id) in self
            .listed(filter, named.as_ref())
            .flat_map(|listed| listed.range(range))
        {
            if let Some(job) = self.get(id).filter(|job| matcher.matches(job)) {
                counts.add(job.status, 1);
            }
        }
        counts
    }

    /// The jobs with the ids that the filter asks for, if it does.
    fn with_ids(&self, filter: &JobFilter) -> Option<BTreeSet<ListOrder>> {
        let jobs = filter.ids.as_ref()?.iter().filter_map(|id| self.get(id));
        Some(jobs.map(Job::list_order).collect())
    }

    /// The sets to look in: of the ids, or of the statuses and names that the filter asks for.
    fn listed<'a>(
        &'a self,
        filter: &'a JobFilter,
        named: Option<&'a BTreeSet<ListOrder>>,
    ) -> impl Iterator<Item = &'a BTreeSet<ListOrder>> {
        let orders = named.is_none().then(|| self.orders(&filter.job_names));
        let leased = filter.lease_expired_by.is_some();
        let chosen = move |status: JobStatus| {
            (filter.statuses.is_empty() || filter.statuses.contains(&status))
                // No other has a lease.
                && (!leased || status == JobStatus::Running)
        };
        let listed = orders.into_iter().flatten().flat_map(move |orders| {
            let statuses = JobStatus::ALL.into_iter().zip(&orders.listed);
            statuses
                .filter(move |(status, _)| chosen(*status))
                .map(|(_, listed)| listed)
        });
        named.into_iter().chain(listed)
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
    let mut rest = pending.range(..);
    std::iter::from_fn(move || {
        loop {
            let next = *rest.next()?;
            if next.1 <= now {
                return Some(next);
            }
            let last = (next.0, Timestamp::MAX, JobId::from_uuid(Uuid::max()));
            rest = pending.range((Excluded(last), Unbounded));
        }
    })
}

type Range = (Bound<ListOrder>, Bound<ListOrder>);

/// Where the jobs are that were created when the filter asks.
fn created(filter: &JobFilter) -> Range {
    let at = |time: Option<Timestamp>, id: Uuid| {
        time.map_or(Unbounded, |time| Included((time, JobId::from_uuid(id))))
    };
    let (from, to) = (filter.created_from, filter.created_to);
    (at(from, Uuid::nil()), at(to, Uuid::max()))
}

/// Whether the range ends before it begins, or where it begins.
fn is_empty(range: &Range) -> bool {
    match range {
        (Included(from) | Excluded(from), Included(to) | Excluded(to)) => from >= to,
        _ => false,
    }
}
