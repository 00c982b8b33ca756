//! Callers who work at once, and what each of them saw.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use jobstore_core::{
    Action, Claim, ClaimRequest, Clock as _, Creation, DeleteRequest, Error, Job, JobFilter, JobId,
    JobStore, ManualClock, NewJob, Order, PageRequest, Result, RetryPolicy, Timestamp, Update,
};
use proptest::collection::vec;
use proptest::prelude::Strategy as _;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio::sync::Barrier;

use crate::failure::{CaseResult, Failure};
use crate::model::op::{self, Op};
use crate::{Cx, Fault, FaultStore};

/// What several callers do, all of it decided before.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// What each caller does, turn by turn; all have the same number of turns.
    callers: Vec<Vec<Turn>>,
    /// Whether the callers wait for each other before the turn.
    together: Vec<bool>,
}

#[derive(Clone, Debug)]
struct Turn {
    op: Op,
    fault: Option<Fault>,
    /// How often others get to run between the call's beginning and its being made.
    yields: u8,
}

impl Plan {
    /// The plan that this seed stands for.
    pub(super) fn of(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let config = Config {
            failure_persistence: None,
            ..Config::default()
        };
        let mut runner = TestRunner::new_with_rng(config, rng);
        let turn = (op::any(), 0..24_u8, 0..3_u8).prop_map(|(op, number, yields)| {
            let fault = match number {
                0 => Some(Fault::ErrorBefore),
                1 => Some(Fault::ErrorAfter),
                2..=4 => Some(Fault::DroppedAt(u32::from(number) - 1)),
                _ => None,
            };
            let op = match number {
                // Looks at the jobs that everybody changes, which few filters show.
                5..=8 => Op::List {
                    filter: op::Filter::default(),
                    size: 4,
                    descending: number == 8,
                },
                _ => op,
            };
            Turn { op, fault, yields }
        });
        let turn = turn.boxed();
        let turns = (2..=8_usize, 3..=6_usize).prop_flat_map(move |(callers, turns)| {
            let together = vec(proptest::bool::weighted(0.7), turns);
            (vec(vec(turn.clone(), turns), callers), together)
        });
        let made = turns.new_tree(&mut runner);
        let (callers, together) = made.expect("no value is filtered out").current();
        Self { callers, together }
    }

    /// No more than so many callers and turns of it.
    #[cfg(test)]
    pub(super) fn cut(mut self, callers: usize, turns: usize) -> Self {
        self.callers.truncate(callers);
        for caller in &mut self.callers {
            caller.truncate(turns);
        }
        self
    }
}

/// What all callers saw.
#[derive(Clone, Debug)]
pub(super) struct History {
    /// In the order in which the calls began.
    pub(super) events: Vec<Event>,
    /// Every time that the clock showed: from when, at the earliest, and the time.
    pub(super) ticks: Vec<Tick>,
    pub(super) callers: usize,
}

/// A time the clock showed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tick {
    /// It was set after this.
    pub(super) from: u64,
    /// It was set before this.
    pub(super) set: u64,
    pub(super) time: Timestamp,
}

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) caller: usize,
    pub(super) invoked: u64,
    /// With the reply; none if the outcome is unknown.
    pub(super) reply: Option<(u64, Reply)>,
    pub(super) call: Call,
}

#[derive(Clone, Debug)]
pub(super) enum Call {
    Create(Vec<NewJob>),
    Claim(ClaimRequest),
    Update(Vec<Update>),
    Delete(DeleteRequest),
    Get(Vec<JobId>),
    List(JobFilter, PageRequest),
}

#[derive(Clone, Debug)]
pub(super) enum Reply {
    Created(Result<Vec<Creation>>),
    Claimed(Vec<Job>),
    Updated(Vec<Result<Job>>),
    Deleted(Vec<JobId>),
    Got(Vec<Option<Job>>),
    /// The jobs, and whether there are more.
    Listed(Vec<Job>, bool),
}

impl Reply {
    /// Every job that the caller was shown.
    pub(super) fn jobs(&self) -> Vec<&Job> {
        match self {
            Self::Created(creations) => {
                let creations = creations.iter().flatten();
                creations.map(Creation::job).collect()
            }
            Self::Updated(verdicts) => verdicts.iter().flatten().collect(),
            Self::Got(jobs) => jobs.iter().flatten().collect(),
            Self::Claimed(jobs) | Self::Listed(jobs, _) => jobs.iter().collect(),
            Self::Deleted(_) => Vec::new(),
        }
    }
}

/// What the callers of one history share.
struct Shared {
    /// Numbers every beginning and end of a call.
    sequence: AtomicU64,
    events: Mutex<Vec<Event>>,
    ticks: Mutex<Vec<Tick>>,
    clock: ManualClock,
    /// The last claim seen of each job, for all callers to take targets from.
    board: Mutex<Vec<Claim>>,
    /// Before each turn that the callers begin together.
    barriers: Vec<Option<Barrier>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is recorded is written in single steps; a panic elsewhere leaves none half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Carries a plan out on a fresh store, with two handles if `shared`.
pub(super) async fn record(cx: &Cx, plan: &Plan, shared: bool) -> CaseResult<History> {
    let callers = plan.callers.len();
    let gates = plan.together.iter();
    let shared_by_all = Arc::new(Shared {
        sequence: AtomicU64::new(1),
        events: Mutex::default(),
        ticks: Mutex::new(vec![Tick {
            from: 0,
            set: 0,
            time: cx.now(),
        }]),
        clock: cx.clock().clone(),
        board: Mutex::default(),
        barriers: gates
            .map(|together| together.then(|| Barrier::new(callers)))
            .collect(),
    });
    let first = cx.store();
    let second = match shared {
        true => cx.open_another().await?,
        false => cx.store(),
    };
    // Something to quarrel about.
    let alone = Caller::new(callers, &first, &shared_by_all);
    let jobs = (0..4).map(|n| NewJob {
        id: Some(JobId::generate()),
        ..NewJob::new(if n == 3 { "Job" } else { "job" }, "{}")
    });
    alone.call(Call::Create(jobs.collect()), 0).await?;
    let tasks = plan.callers.iter().enumerate().map(|(index, turns)| {
        let store = if index % 2 == 0 { &first } else { &second };
        let caller = Caller::new(index, store, &shared_by_all);
        let turns = turns.clone();
        tokio::spawn(async move {
            let mut result = Ok(());
            for (number, turn) in turns.iter().enumerate() {
                if let Some(barrier) = &caller.shared.barriers[number] {
                    barrier.wait().await;
                }
                // After a failure the caller only keeps the others from waiting for it.
                if result.is_ok() {
                    result = caller.take(turn, number).await;
                }
            }
            result
        })
    });
    let tasks = tasks.collect::<Vec<_>>();
    for joined in join_all(tasks).await {
        joined.map_err(|panic| Failure::new("no panic", panic.to_string()))??;
    }
    let ids = lock(&shared_by_all.board)
        .iter()
        .map(|claim| claim.id)
        .collect();
    alone.call(Call::Get(ids), 0).await?;
    let everything = PageRequest::default().with_size(1_000);
    alone
        .call(Call::List(JobFilter::default(), everything), 0)
        .await?;
    drop(second);
    let mut events = std::mem::take(&mut *lock(&shared_by_all.events));
    events.sort_by_key(|event| event.invoked);
    let ticks = lock(&shared_by_all.ticks).clone();
    Ok(History {
        events,
        ticks,
        callers,
    })
}

struct Caller {
    index: usize,
    store: Arc<FaultStore>,
    shared: Arc<Shared>,
}

impl Caller {
    fn new(index: usize, store: &Arc<dyn JobStore>, shared: &Arc<Shared>) -> Self {
        Self {
            index,
            store: Arc::new(FaultStore::new(Arc::clone(store))),
            shared: Arc::clone(shared),
        }
    }

    fn next(&self) -> u64 {
        self.shared.sequence.fetch_add(1, Ordering::SeqCst)
    }

    /// The claim last seen of a job, or of one that never was.
    fn pick(&self, pick: u8) -> Claim {
        let board = lock(&self.shared.board);
        let index = usize::from(pick) % (board.len() + 1);
        let unknown = || Claim {
            id: JobId::generate(),
            fence: 1,
        };
        board.get(index).copied().unwrap_or_else(unknown)
    }

    async fn take(&self, turn: &Turn, number: usize) -> CaseResult {
        if let Some(fault) = turn.fault {
            self.store.arm(0, fault);
        }
        let yields = turn.yields;
        let now = self.store.now();
        match &turn.op {
            Op::Create(new) => {
                let new = new.iter().map(|new| {
                    let new = new.build(now);
                    // So that every job is known, even if the reply is lost.
                    NewJob {
                        id: new.id.or_else(|| Some(JobId::generate())),
                        ..new
                    }
                });
                self.call(Call::Create(new.collect()), yields).await
            }
            Op::Claim {
                names,
                limit,
                lease,
            } => {
                let mut request = op::claim_request(names, *limit, *lease);
                // An owner for each call: who sees a job tells which call claimed it.
                request.lease.owner = format!("{}.{number}", self.index);
                self.call(Call::Claim(request), yields).await
            }
            Op::Update(changes) => {
                let updates = changes
                    .iter()
                    .map(|change| change.build(self.pick(change.job)));
                self.call(Call::Update(updates.collect()), yields).await
            }
            Op::RecoverAll { policy } => self.recover(op::policy(*policy), yields).await,
            Op::Delete(picks) => {
                let ids = picks.iter().map(|pick| self.pick(*pick).id);
                let request = DeleteRequest::Ids(ids.collect());
                self.call(Call::Delete(request), yields).await
            }
            Op::Purge {
                age,
                names,
                statuses,
                limit,
            } => {
                let cutoff = now.as_millis() - i64::from(*age);
                let cutoff = Timestamp::from_millis(cutoff);
                let request = op::purge_request(cutoff, names, statuses, *limit);
                self.call(Call::Delete(request), yields).await
            }
            Op::List {
                filter,
                size,
                descending,
            } => {
                let filter = filter.build(now, |pick| self.pick(pick).id);
                let size = u32::from(*size % 5) + 1;
                let order = match descending {
                    false => Order::Ascending,
                    true => Order::Descending,
                };
                let page = PageRequest::default().with_size(size).with_order(order);
                self.call(Call::List(filter, page), yields).await
            }
            Op::Advance(millis) | Op::Back(millis) => {
                self.advance(*millis);
                Ok(())
            }
            Op::Reopen => {
                let ids = lock(&self.shared.board)
                    .iter()
                    .map(|claim| claim.id)
                    .collect();
                self.call(Call::Get(ids), yields).await
            }
        }
    }

    /// As [`jobstore_core::JobStoreExt::recover_expired`], in two calls of which each is recorded.
    async fn recover(&self, policy: RetryPolicy, yields: u8) -> CaseResult {
        let filter = JobFilter {
            lease_expired_by: Some(self.store.now()),
            ..JobFilter::default()
        };
        let page = PageRequest::default();
        let Some(Reply::Listed(expired, _)) = self.answer(Call::List(filter, page), yields).await?
        else {
            return Ok(());
        };
        let claims = expired.iter().map(Job::claim);
        let updates = claims.map(|claim| Update::new(claim, Action::Recover { policy }));
        self.call(Call::Update(updates.collect()), yields).await
    }

    fn advance(&self, millis: u8) {
        let mut ticks = lock(&self.shared.ticks);
        let from = self.next();
        let by = Duration::from_millis(u64::from(millis));
        self.shared.clock.advance(by);
        let time = self.shared.clock.now();
        let set = self.next();
        ticks.push(Tick { from, set, time });
    }

    async fn call(&self, call: Call, yields: u8) -> CaseResult {
        self.answer(call, yields).await.map(drop)
    }

    /// Makes a call and records it; none if its outcome is unknown.
    async fn answer(&self, call: Call, yields: u8) -> CaseResult<Option<Reply>> {
        let invoked = self.next();
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        let store = &self.store;
        let reply = match call.clone() {
            Call::Create(jobs) => match store.create_jobs(jobs).await {
                Err(error @ Error::AlreadyExists { .. }) => Ok(Reply::Created(Err(error))),
                reply => reply.map(|creations| Reply::Created(Ok(creations))),
            },
            Call::Claim(request) => store.claim_jobs(&request).await.map(Reply::Claimed),
            Call::Update(updates) => store.update_jobs(updates).await.map(Reply::Updated),
            Call::Delete(request) => store.delete_jobs(&request).await.map(Reply::Deleted),
            Call::Get(ids) => store.get_jobs(&ids).await.map(Reply::Got),
            Call::List(filter, page) => {
                let list = store.list_jobs(&filter, &page).await;
                list.map(|list| Reply::Listed(list.items, list.token.is_some()))
            }
        };
        let returned = self.next();
        let reply = match reply {
            Ok(reply) => Some(reply),
            Err(Error::Unavailable { .. }) => None,
            Err(error) => {
                let failure = Failure::from(error);
                return Err(failure.when(format!("caller {}, {call:?}", self.index)));
            }
        };
        if let Some(reply) = &reply {
            let mut board = lock(&self.shared.board);
            for job in reply.jobs() {
                match board.iter_mut().find(|claim| claim.id == job.id) {
                    Some(claim) => claim.fence = claim.fence.max(job.fence),
                    None => board.push(job.claim()),
                }
            }
        }
        lock(&self.shared.events).push(Event {
            caller: self.index,
            invoked,
            reply: reply.clone().map(|reply| (returned, reply)),
            call,
        });
        Ok(reply)
    }
}
