//! What a history is checked against: the jobs, and the pure rules of core.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::Arc;

use jobstore_core::{
    Applied, ClaimRequest, Creation, DeleteRequest, Error, Job, JobFilter, JobId, NewJob, Result,
    Timestamp, Update, claimed,
};

use super::check::{self, Effect};

/// Every job.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    jobs: BTreeMap<JobId, Arc<Job>>,
    /// Of all jobs together, kept up to date with each.
    hash: u128,
}

impl State {
    fn put(&mut self, job: Job) {
        self.remove(&job.id);
        self.hash ^= hash(&job);
        self.jobs.insert(job.id, Arc::new(job));
    }

    fn remove(&mut self, id: &JobId) {
        if let Some(job) = self.jobs.remove(id) {
            self.hash ^= hash(&job);
        }
    }

    fn with(&self, job: Job) -> Self {
        let mut next = self.clone();
        next.put(job);
        next
    }

    fn holder(&self, job: &Job) -> Option<&Arc<Job>> {
        let key = job.held_unique_key()?;
        let mut jobs = self.jobs.values();
        jobs.find(|other| other.held_unique_key() == Some(key))
    }
}

/// One step of a history: what a call did to one job, or to all of its jobs where the contract
/// promises that they go together.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// The call that it belongs to, by its place in the history.
    pub(super) event: usize,
    pub(super) invoked: u64,
    pub(super) returned: Option<u64>,
    /// The step of the same call that comes before it.
    pub(super) after: Option<usize>,
    /// What the clock may have shown.
    pub(super) times: Vec<Timestamp>,
    pub(super) does: Does,
    /// Hashes of the jobs and unique keys that it has to do with; none means all.
    pub(super) touches: Vec<u64>,
}

/// Fills in what each step has to do with.
pub(super) fn relate(steps: &mut [Step]) {
    // A job's end frees its key, so whatever touches the job touches the key as well.
    let mut keys: HashMap<JobId, Vec<u64>> = HashMap::new();
    for new in steps.iter().flat_map(Step::new_jobs) {
        if let (Some(id), Some(key)) = (new.id, &new.unique_key) {
            let key = thing(&(&new.job_name, key));
            keys.entry(id).or_default().push(key);
        }
    }
    for step in steps {
        if matches!(step.does, Does::ClaimFirst(..)) {
            step.touches = Vec::new();
            continue;
        }
        let ids = step.ids();
        let mut touches: Vec<u64> = ids.iter().map(thing).collect();
        touches.extend(ids.iter().filter_map(|id| keys.get(id)).flatten());
        // So that the list of a step on nothing is not empty, which means all.
        touches.push(thing(&(step.event, step.invoked, "itself")));
        step.touches = touches;
    }
}

fn thing(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// What a step does, and what the caller was told; replies are absent where the outcome is unknown.
#[derive(Clone, Debug)]
pub(super) enum Does {
    /// Creates all of the jobs or none.
    Create(Vec<NewJob>, Option<Result<Vec<Creation>>>),
    /// Claims with nobody beside it: exactly the first that are due.
    ClaimFirst(ClaimRequest, Vec<Job>),
    /// Claims one of the jobs that are due.
    ClaimOne(ClaimRequest, JobId, Option<Job>),
    /// Updates one job.
    Update(Update, Option<Result<Job>>),
    /// Deletes one job, or passes it over.
    Delete(DeleteRequest, JobId, Option<bool>),
    /// Sees one job, or none that exists and meets the filter.
    See(Option<JobFilter>, JobId, Option<Job>),
}

impl Step {
    fn new_jobs(&self) -> &[NewJob] {
        match &self.does {
            Does::Create(new, _) => new,
            _ => &[],
        }
    }

    /// The jobs it names.
    pub(super) fn ids(&self) -> Vec<JobId> {
        match &self.does {
            Does::Create(new, reply) => {
                let seen = reply.iter().flatten().flatten();
                let seen = seen.map(|creation| creation.job().id);
                new.iter().filter_map(|new| new.id).chain(seen).collect()
            }
            Does::ClaimFirst(_, jobs) => jobs.iter().map(|job| job.id).collect(),
            Does::Update(update, reply) => {
                let mut ids = vec![update.target.id()];
                if let Some(Err(Error::AlreadyExists { id })) = reply {
                    ids.push(*id);
                }
                ids
            }
            Does::ClaimOne(_, id, _) | Does::Delete(_, id, _) | Does::See(_, id, _) => vec![*id],
        }
    }

    /// None if the reply does not fit; otherwise the state it makes, none if it changes nothing.
    fn at(&self, state: &State, now: Timestamp) -> Option<Option<State>> {
        match &self.does {
            Does::Create(new, reply) => {
                let (next, made) = create(state, new, now);
                let fits = reply.as_ref().is_none_or(|reply| match (reply, &made) {
                    (Ok(reply), Ok(made)) => reply == made,
                    (Err(reply), Err(made)) => same_error(reply, made),
                    _ => false,
                });
                fits.then(|| (next.hash != state.hash).then_some(next))
            }
            Does::ClaimFirst(request, reply) => {
                let mut due: Vec<&Arc<Job>> = state.jobs.values().collect();
                due.retain(|job| is_due(job, request, now));
                due.sort_by_key(|job| job.claim_order());
                due.truncate(request.limit as usize);
                let runs = due.into_iter().map(|job| claimed(job, &request.lease, now));
                let runs: Vec<Job> = runs.collect();
                (runs == *reply).then(|| {
                    let mut next = state.clone();
                    let any = !runs.is_empty();
                    runs.into_iter().for_each(|run| next.put(run));
                    any.then_some(next)
                })
            }
            Does::ClaimOne(request, id, reply) => {
                let job = state.jobs.get(id).filter(|job| is_due(job, request, now))?;
                let run = claimed(job, &request.lease, now);
                let fits = reply.as_ref().is_none_or(|reply| *reply == run);
                fits.then(|| Some(state.with(run)))
            }
            Does::Update(update, reply) => {
                let made = apply(state, update, now);
                let fits = reply.as_ref().is_none_or(|reply| match (reply, &made) {
                    (Ok(reply), Ok(made)) => *reply == **made,
                    (Err(reply), Err(made)) => same_error(reply, made),
                    _ => false,
                });
                fits.then(|| match made {
                    Ok(job) if state.jobs.get(&job.id).is_none_or(|old| *old != job) => {
                        Some(state.with(Arc::unwrap_or_clone(job)))
                    }
                    _ => None,
                })
            }
            Does::Delete(request, id, reply) => {
                let meant = state.jobs.get(id).is_some_and(|job| request.matches(job));
                let fits = reply.is_none_or(|reply| reply == meant);
                fits.then(|| {
                    meant.then(|| {
                        let mut next = state.clone();
                        next.remove(id);
                        next
                    })
                })
            }
            Does::See(filter, id, seen) => {
                let job = state.jobs.get(id);
                let job = job.filter(|job| filter.as_ref().is_none_or(|filter| meets(job, filter)));
                (job.map(|job| &**job) == seen.as_ref()).then_some(None)
            }
        }
    }
}

impl check::Operation for Step {
    type State = State;

    fn invoked(&self) -> u64 {
        self.invoked
    }

    fn returned(&self) -> Option<u64> {
        self.returned
    }

    fn after(&self) -> Option<usize> {
        self.after
    }

    fn apply(&self, state: &State) -> Effect<State> {
        let mut effect = Effect {
            same: false,
            changed: Vec::new(),
        };
        for now in &self.times {
            match self.at(state, *now) {
                Some(None) => effect.same = true,
                Some(Some(next)) => {
                    let known = |other: &State| other.hash == next.hash;
                    if !effect.changed.iter().any(known) {
                        effect.changed.push(next);
                    }
                }
                None => {}
            }
        }
        effect
    }

    fn only_sees(&self) -> bool {
        match &self.does {
            Does::See(..) | Does::Delete(_, _, Some(false)) => true,
            Does::Create(_, Some(reply)) => {
                let mut creations = reply.iter().flatten();
                creations.all(|creation| !creation.is_new())
            }
            Does::Update(_, Some(verdict)) => verdict.is_err(),
            Does::ClaimFirst(_, jobs) => jobs.is_empty(),
            Does::Create(_, None)
            | Does::ClaimOne(..)
            | Does::Update(_, None)
            | Does::Delete(..) => false,
        }
    }

    fn conflicts(&self, other: &Self) -> bool {
        let all = self.touches.is_empty() || other.touches.is_empty();
        all || self
            .touches
            .iter()
            .any(|thing| other.touches.contains(thing))
    }

    fn key(state: &State) -> u128 {
        state.hash
    }
}

fn create(state: &State, new: &[NewJob], now: Timestamp) -> (State, Result<Vec<Creation>>) {
    let mut next = state.clone();
    let mut creations = Vec::new();
    for new in new {
        let job = new.clone().into_job(now);
        if let Some(holder) = next.holder(&job) {
            creations.push(Creation::Existing(Job::clone(holder)));
        } else if next.jobs.contains_key(&job.id) {
            return (state.clone(), Err(Error::AlreadyExists { id: job.id }));
        } else {
            next.put(job.clone());
            creations.push(Creation::Created(job));
        }
    }
    (next, Ok(creations))
}

fn apply(state: &State, update: &Update, now: Timestamp) -> Result<Arc<Job>> {
    let id = update.target.id();
    let job = state.jobs.get(&id).ok_or(Error::NotFound { id })?;
    let Applied::Changed(next) = update.apply(job, now)? else {
        return Ok(Arc::clone(job));
    };
    match state.holder(&next).filter(|holder| holder.id != id) {
        Some(holder) => Err(Error::AlreadyExists { id: holder.id }),
        None => Ok(Arc::new(next)),
    }
}

fn is_due(job: &Job, request: &ClaimRequest, now: Timestamp) -> bool {
    let names = &request.job_names;
    job.is_claimable(now) && (names.is_empty() || names.contains(&job.job_name))
}

fn meets(job: &Job, filter: &JobFilter) -> bool {
    // A filter that does not compile is refused before it is recorded.
    filter.compile().is_ok_and(|matcher| matcher.matches(job))
}

/// Errors that the contract words are the same when their variants and members are.
fn same_error(one: &Error, other: &Error) -> bool {
    format!("{one:?}") == format!("{other:?}")
}

fn hash(job: &Job) -> u128 {
    // Taken apart by name, so that a new field cannot be forgotten here.
    let Job {
        id,
        job_name,
        params,
        timeout,
        status,
        result,
        retry_count,
        creation_time,
        last_update_time,
        priority,
        next_attempt_at,
        max_retries,
        unique_key,
        lease_owner,
        lease_expires_at,
        fence,
        last_error,
    } = job;
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, id, job_name, params, timeout, *status as u8, result).hash(&mut hasher);
        (retry_count, creation_time, last_update_time, priority).hash(&mut hasher);
        (next_attempt_at, max_retries, unique_key).hash(&mut hasher);
        (lease_owner, lease_expires_at, fence, last_error).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}
