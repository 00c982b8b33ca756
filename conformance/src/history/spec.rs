//! What a history is checked against: the jobs, and the pure rules of core.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::Arc;

use jobstore_core::{
    Action, Applied, ClaimRequest, Creation, DeleteRequest, Error, Job, JobFilter, JobId, NewJob,
    Result, Timestamp, Update, claimed,
};

use super::check::{self, Effect};

/// Every job, with its hash.
#[derive(Clone, Debug, Default)]
pub(super) struct State(BTreeMap<JobId, (Arc<Job>, u128)>);

impl State {
    fn get(&self, id: &JobId) -> Option<&Arc<Job>> {
        self.0.get(id).map(|(job, _)| job)
    }

    fn put(&mut self, job: Job) {
        let hash = hash(&job);
        self.0.insert(job.id, (Arc::new(job), hash));
    }

    fn with(&self, job: Job) -> Self {
        let mut next = self.clone();
        next.put(job);
        next
    }

    fn holder(&self, job: &Job) -> Option<&Arc<Job>> {
        let key = job.held_unique_key()?;
        let mut jobs = self.0.values().map(|(job, _)| job);
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
    /// The jobs that it has to do with.
    pub(super) ids: Vec<JobId>,
    /// Those among them whose unique key is asked for more than once.
    pub(super) rivals: Vec<JobId>,
    /// These jobs, and all that ever ask for the same unique keys.
    pub(super) finds: Vec<JobId>,
    /// Whether more than one creation asks for one of these jobs, or for a unique key of theirs.
    pub(super) contended: bool,
    /// Hashes of these jobs and of the unique keys that they ever hold.
    pub(super) touches: Vec<u64>,
}

/// Fills in what each step has to do with.
pub(super) fn relate(steps: &mut [Step]) {
    // A job's end frees its key, so whatever touches the job touches the key as well.
    let mut keys: HashMap<JobId, Vec<u64>> = HashMap::new();
    // Those that ask for a key, once for each time that they do.
    let mut askers: HashMap<u64, Vec<JobId>> = HashMap::new();
    let mut creations: HashMap<JobId, usize> = HashMap::new();
    for new in steps.iter().flat_map(Step::new_jobs) {
        let Some(id) = new.id else { continue };
        *creations.entry(id).or_default() += 1;
        if let Some(key) = &new.unique_key {
            let key = thing(&(&new.job_name, key));
            keys.entry(id).or_default().push(key);
            askers.entry(key).or_default().push(id);
        }
    }
    for step in steps {
        step.ids = step.named_ids();
        let ids = step.ids.iter();
        let keys_of = |id: &JobId| keys.get(id).into_iter().flatten();
        let has_rival = |id: &JobId| keys_of(id).any(|key| askers[key].len() > 1);
        step.rivals = ids.clone().filter(|id| has_rival(id)).copied().collect();
        let recreated = |id: &JobId| creations.get(id).is_some_and(|count| *count > 1);
        step.contended = !step.rivals.is_empty() || ids.clone().any(recreated);
        step.touches = ids.clone().map(thing).collect();
        step.touches.extend(ids.clone().flat_map(keys_of));
        let others = ids.clone().flat_map(keys_of).flat_map(|key| &askers[key]);
        step.finds = ids.chain(others).copied().collect();
    }
}

fn thing(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// Where a job stands among those to be claimed.
pub(super) type ClaimOrder = (Reverse<i16>, Timestamp, JobId);

/// What a step does, and what the caller was told; replies are absent where the outcome is unknown.
#[derive(Clone, Debug)]
pub(super) enum Does {
    /// Creates all of the jobs or none.
    Create(Vec<NewJob>, Option<Result<Vec<Creation>>>),
    /// Claims one of the jobs that are due.
    ClaimOne(ClaimRequest, JobId, Option<Job>),
    /// Claims with nobody beside it and leaves one job alone, which so is not due or comes after
    /// the last that was claimed, if no more were asked for.
    PassOver(ClaimRequest, JobId, Option<ClaimOrder>),
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

    fn named_ids(&self) -> Vec<JobId> {
        match &self.does {
            Does::Create(new, reply) => {
                let seen = reply.iter().flatten().flatten();
                let seen = seen.map(|creation| creation.job().id);
                new.iter().filter_map(|new| new.id).chain(seen).collect()
            }
            Does::Update(update, reply) => {
                let mut ids = vec![update.target.id()];
                if let Some(Err(Error::AlreadyExists { id })) = reply {
                    ids.push(*id);
                }
                ids
            }
            Does::ClaimOne(_, id, _)
            | Does::PassOver(_, id, _)
            | Does::Delete(_, id, _)
            | Does::See(_, id, _) => vec![*id],
        }
    }

    /// None if the reply does not fit; otherwise the state it makes, none if it changes nothing.
    fn at(&self, state: &State, now: Timestamp) -> Option<Option<State>> {
        match &self.does {
            Does::Create(new, reply) => {
                let (next, made) = create(state, new, now);
                let next = made.iter().flatten().any(Creation::is_new).then_some(next);
                let fits = reply.as_ref().is_none_or(|reply| match (reply, &made) {
                    (Ok(reply), Ok(made)) => reply == made,
                    (Err(reply), Err(made)) => same_error(reply, made),
                    _ => false,
                });
                fits.then_some(next)
            }
            Does::ClaimOne(request, id, reply) => {
                let job = state.get(id).filter(|job| is_due(job, request, now))?;
                let run = claimed(job, &request.lease, now);
                let fits = reply.as_ref().is_none_or(|reply| *reply == run);
                fits.then(|| Some(state.with(run)))
            }
            Does::PassOver(request, id, last) => {
                let due = state.get(id).filter(|job| is_due(job, request, now));
                let better = |job: &Arc<Job>| last.is_none_or(|last| job.claim_order() < last);
                (!due.is_some_and(better)).then_some(None)
            }
            Does::Update(update, reply) => {
                let made = apply(state, update, now);
                let fits = reply.as_ref().is_none_or(|reply| match (reply, &made) {
                    (Ok(reply), Ok(made)) => *reply == **made,
                    (Err(reply), Err(made)) => same_error(reply, made),
                    _ => false,
                });
                fits.then(|| match made {
                    Ok(job) if state.get(&job.id).is_none_or(|old| *old != job) => {
                        Some(state.with(Arc::unwrap_or_clone(job)))
                    }
                    _ => None,
                })
            }
            Does::Delete(request, id, reply) => {
                let meant = state.get(id).is_some_and(|job| request.matches(job));
                let fits = reply.is_none_or(|reply| reply == meant);
                fits.then(|| {
                    meant.then(|| {
                        let mut next = state.clone();
                        next.0.remove(id);
                        next
                    })
                })
            }
            Does::See(filter, id, seen) => {
                let job = state.get(id);
                let job = job.filter(|job| filter.as_ref().is_none_or(|filter| meets(job, filter)));
                (job.map(|job| &**job) == seen.as_ref()).then_some(None)
            }
        }
    }
}

impl Step {
    /// What a creation may have made whose outcome is unknown. Checked later than it happened, it may
    /// have found unique keys held that are free by now.
    fn created(&self, new: &[NewJob], state: &State, now: Timestamp) -> Vec<Option<State>> {
        let mut batches = vec![Vec::new()];
        for new in new {
            let without = match new.id.is_some_and(|id| self.rivals.contains(&id)) {
                true => batches.clone(),
                false => Vec::new(),
            };
            batches.iter_mut().for_each(|batch| batch.push(new.clone()));
            batches.extend(without);
        }
        let made = batches.iter().map(|batch| {
            let (next, made) = create(state, batch, now);
            made.iter().flatten().any(Creation::is_new).then_some(next)
        });
        made.collect()
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
        let made = self.times.iter().flat_map(|now| match &self.does {
            Does::Create(new, None) => self.created(new, state, *now),
            _ => self.at(state, *now).into_iter().collect(),
        });
        for made in made {
            match made {
                None => effect.same = true,
                Some(next) => {
                    let hashes = |state: &State| {
                        let hash = |id| state.0.get(id).map(|(_, hash)| *hash);
                        self.ids.iter().map(hash).collect::<Vec<_>>()
                    };
                    let made = hashes(&next);
                    if !effect.changed.iter().any(|other| hashes(other) == made) {
                        effect.changed.push(next);
                    }
                }
            }
        }
        effect
    }

    fn only_sees(&self) -> bool {
        match &self.does {
            Does::See(..) | Does::PassOver(..) | Does::Delete(_, _, Some(false)) => true,
            Does::Create(_, Some(reply)) => {
                let mut creations = reply.iter().flatten();
                creations.all(|creation| !creation.is_new())
            }
            Does::Update(_, Some(verdict)) => verdict.is_err(),
            Does::Create(_, None)
            | Does::ClaimOne(..)
            | Does::Update(_, None)
            | Does::Delete(..) => false,
        }
    }

    fn is_contended(&self) -> bool {
        self.contended
    }

    fn conflicts(&self, other: &Self) -> bool {
        let mut touches = self.touches.iter();
        touches.any(|thing| other.touches.contains(thing))
    }

    fn key<'a>(state: &State, operations: impl Iterator<Item = &'a Self>) -> u128 {
        let ids: BTreeSet<&JobId> = operations.flat_map(|step| &step.finds).collect();
        let hashes = ids.into_iter().filter_map(|id| state.0.get(id));
        hashes.fold(0, |all, (_, hash)| all ^ hash)
    }

    /// A fence only goes up, by one with each start and claim, as long as nobody creates the job anew.
    fn hopeless<'a>(
        state: &State,
        operations: impl Iterator<Item = &'a Self> + Clone,
    ) -> Option<usize> {
        let mut runs: HashMap<JobId, Option<u64>> = HashMap::new();
        for step in operations.clone() {
            match &step.does {
                Does::Create(new, _) if !step.only_sees() => {
                    runs.extend(new.iter().filter_map(|new| Some((new.id?, None))));
                }
                Does::ClaimOne(_, id, _) => {
                    let runs = runs.entry(*id).or_insert(Some(0));
                    *runs = runs.map(|runs| runs + 1);
                }
                Does::Update(update, verdict) if !matches!(verdict, Some(Err(_))) => {
                    let starts = matches!(update.action, Action::Start { .. });
                    let runs = runs.entry(update.target.id()).or_insert(Some(0));
                    *runs = runs.map(|runs| runs + u64::from(starts));
                }
                _ => {}
            }
        }
        let fits = |job: &Job| {
            let Some(runs) = runs.get(&job.id).copied().unwrap_or(Some(0)) else {
                return true;
            };
            let fence = state.get(&job.id).map(|job| job.fence);
            fence.is_some_and(|fence| (fence..=fence + runs).contains(&job.fence))
        };
        let mut operations = operations;
        operations.position(|step| match &step.does {
            Does::Create(_, Some(Ok(creations))) => {
                let mut seen = creations.iter().filter(|creation| !creation.is_new());
                seen.any(|creation| !fits(creation.job()))
            }
            Does::ClaimOne(_, _, Some(job))
            | Does::Update(_, Some(Ok(job)))
            | Does::See(_, _, Some(job)) => !fits(job),
            _ => false,
        })
    }
}

fn create(state: &State, new: &[NewJob], now: Timestamp) -> (State, Result<Vec<Creation>>) {
    let mut next = state.clone();
    let mut creations = Vec::new();
    for new in new {
        let job = new.clone().into_job(now);
        if let Some(holder) = next.holder(&job) {
            creations.push(Creation::Existing(Job::clone(holder)));
        } else if next.0.contains_key(&job.id) {
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
    let job = state.get(&id).ok_or(Error::NotFound { id })?;
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
