use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use jobstore_core::{
    Action, ClaimRequest, Creation, Job, JobId, JobStatus, JobStore, ManualClock, NewJob, Result,
    Timestamp, Update,
};
use jobstore_memory::MemoryJobStore;

use super::check::{Effect, Operation as _};
use super::record::{Call, Event, Reply, Tick};
use super::*;
use crate::{Capabilities, Surroundings};

/// Builds histories by hand: calls of several callers with their numbers.
struct Told(History);

impl Told {
    fn new() -> Self {
        let tick = Tick {
            from: 0,
            set: 0,
            time: Timestamp::from_millis(5),
        };
        Self(History {
            events: Vec::new(),
            ticks: vec![tick],
            callers: 2,
        })
    }

    fn call(&mut self, caller: usize, invoked: u64, call: Call, reply: Option<(u64, Reply)>) {
        self.0.events.push(Event {
            caller,
            invoked,
            reply,
            call,
        });
    }

    fn create(&mut self) -> Job {
        let new = NewJob::new("job", "{}").with_id(JobId::generate());
        let job = new.clone().into_job(Timestamp::from_millis(5));
        let at = self.0.events.last().map_or(1, |event| event.invoked + 10);
        let created = Reply::Created(Ok(vec![Creation::Created(job.clone())]));
        self.call(0, at, Call::Create(vec![new]), Some((at + 1, created)));
        job
    }
}

fn request(owner: &str) -> ClaimRequest {
    ClaimRequest::new(owner, std::time::Duration::from_secs(1))
}

fn run_of(job: &Job, owner: &str) -> Job {
    jobstore_core::claimed(job, &request(owner).lease, Timestamp::from_millis(5))
}

#[test]
fn a_job_claimed_by_two_at_once_is_not_explained() {
    let mut told = Told::new();
    let job = told.create();
    let run = run_of(&job, "a");
    let reply = |end| Some((end, Reply::Claimed(vec![run.clone()])));
    told.call(0, 20, Call::Claim(request("a")), reply(23));
    assert!(explain(&told.0).is_ok());
    told.call(1, 21, Call::Claim(request("a")), reply(22));
    let (failure, stuck) = explain(&told.0).expect_err("claimed twice");
    assert_eq!(stuck.len(), 1);
    assert!(failure.got.contains(&job.id.to_string()), "{failure}");
    let picture = picture::html(&told.0, &stuck, 7);
    assert_eq!(picture.matches("class='stuck'").count(), 1, "{picture}");
}

#[test]
fn a_claim_beside_another_may_take_less_and_alone_may_not() {
    let mut told = Told::new();
    let jobs = [told.create(), told.create()];
    let second = run_of(&jobs[1], "a");
    told.call(
        0,
        50,
        Call::Claim(request("a")),
        Some((53, Reply::Claimed(vec![second]))),
    );
    assert!(explain(&told.0).is_err());
    told.call(
        1,
        51,
        Call::Claim(request("b")),
        Some((52, Reply::Claimed(Vec::new()))),
    );
    assert!(explain(&told.0).is_ok());
}

#[test]
fn a_lost_claim_may_have_taken_a_job_later_and_only_once() {
    let mut told = Told::new();
    let job = told.create();
    told.call(0, 20, Call::Claim(request("a")), None);
    let seen = |job: &Job| Reply::Got(vec![Some(job.clone())]);
    told.call(1, 21, Call::Get(vec![job.id]), Some((22, seen(&job))));
    let run = run_of(&job, "a");
    told.call(1, 23, Call::Get(vec![job.id]), Some((24, seen(&run))));
    assert!(explain(&told.0).is_ok());
    told.call(1, 25, Call::Get(vec![job.id]), Some((26, seen(&job))));
    assert!(explain(&told.0).is_err());
}

#[test]
fn a_batch_of_creates_is_seen_whole() {
    let mut told = Told::new();
    let new = [0, 1].map(|_| NewJob::new("job", "{}").with_id(JobId::generate()));
    let jobs = new
        .clone()
        .map(|new| new.into_job(Timestamp::from_millis(5)));
    let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    let created = Reply::Created(Ok(jobs.iter().cloned().map(Creation::Created).collect()));
    told.call(0, 1, Call::Create(new.to_vec()), Some((9, created)));
    let first = Reply::Got(vec![Some(jobs[0].clone())]);
    told.call(1, 2, Call::Get(ids[..1].to_vec()), Some((3, first)));
    assert!(explain(&told.0).is_ok());
    told.call(
        1,
        4,
        Call::Get(ids[1..].to_vec()),
        Some((5, Reply::Got(vec![None]))),
    );
    assert!(explain(&told.0).is_err());
}

#[test]
fn items_of_a_batch_happen_in_order_and_not_at_once() {
    let mut told = Told::new();
    let job = told.create();
    let started = Update::new(job.id, Action::Start { lease: None });
    let finish = Update::new(job.id, Action::Finish { result: None });
    let at = Timestamp::from_millis(5);
    let changed = |job: &Job, update: &Update| match update.apply(job, at) {
        Ok(jobstore_core::Applied::Changed(job)) => job,
        other => panic!("{other:?}"),
    };
    let running = changed(&job, &started);
    let ended = changed(&running, &finish);
    let seen = |job: &Job| Reply::Got(vec![Some(job.clone())]);
    let verdicts = Reply::Updated(vec![Ok(running.clone()), Ok(ended.clone())]);
    let batch = Call::Update(vec![started.clone(), finish.clone()]);
    told.call(0, 20, batch, Some((29, verdicts)));
    told.call(1, 21, Call::Get(vec![job.id]), Some((22, seen(&running))));
    assert!(explain(&told.0).is_ok());
    told.call(1, 23, Call::Get(vec![job.id]), Some((24, seen(&job))));
    assert!(explain(&told.0).is_err());
}

fn keyed() -> NewJob {
    NewJob::new("job", "{}")
        .with_id(JobId::generate())
        .with_unique_key("key")
}

fn created(new: &[NewJob]) -> Reply {
    let jobs = new.iter().cloned();
    let jobs = jobs.map(|new| new.into_job(Timestamp::from_millis(5)));
    Reply::Created(Ok(jobs.map(Creation::Created).collect()))
}

fn ended(job: &Job) -> (Update, Job) {
    let cancel = Update::new(job.id, Action::Cancel);
    match cancel.apply(job, Timestamp::from_millis(5)) {
        Ok(jobstore_core::Applied::Changed(job)) => (cancel, job),
        other => panic!("{other:?}"),
    }
}

/// Without the slower search, which looks again before anybody is accused.
fn quick_verdict(history: &History) -> Verdict {
    let steps = steps::steps(history, LostClaims::Seen);
    check::check(&steps, &State::default(), BUDGET).0
}

#[test]
fn what_was_lost_may_have_come_and_gone_before_another_took_its_unique_key() {
    let mut told = Told::new();
    let first = keyed();
    let (cancel, end) = ended(&first.clone().into_job(Timestamp::from_millis(5)));
    told.call(0, 1, Call::Create(vec![first]), None);
    told.call(0, 2, Call::Update(vec![cancel]), None);
    let second = vec![keyed()];
    let reply = created(&second);
    told.call(1, 3, Call::Create(second), Some((4, reply)));
    // Too late to create the first, whose key the second holds.
    let seen = Reply::Got(vec![Some(end.clone())]);
    told.call(1, 5, Call::Get(vec![end.id]), Some((6, seen)));
    assert_eq!(quick_verdict(&told.0), Verdict::Linearizable);
}

#[test]
fn what_was_lost_may_have_found_its_unique_key_held_and_left_it_to_a_later_one() {
    let mut told = Told::new();
    let holder = keyed();
    let (cancel, end) = ended(&holder.clone().into_job(Timestamp::from_millis(5)));
    let reply = created(std::slice::from_ref(&holder));
    told.call(1, 1, Call::Create(vec![holder]), Some((2, reply)));
    let other = NewJob::new("job", "{}").with_id(JobId::generate());
    told.call(0, 3, Call::Create(vec![keyed(), other.clone()]), None);
    let canceled = Reply::Updated(vec![Ok(end)]);
    told.call(1, 4, Call::Update(vec![cancel]), Some((5, canceled)));
    let other = other.into_job(Timestamp::from_millis(5));
    let seen = Reply::Got(vec![Some(other.clone())]);
    told.call(1, 6, Call::Get(vec![other.id]), Some((7, seen)));
    let later = vec![keyed()];
    let reply = created(&later);
    told.call(1, 8, Call::Create(later), Some((9, reply)));
    assert_eq!(quick_verdict(&told.0), Verdict::Linearizable);
}

#[test]
fn a_list_leaves_out_no_job_that_was_there_throughout() {
    let mut told = Told::new();
    let jobs = [told.create(), told.create(), told.create()];
    let page = |size| {
        let page = jobstore_core::PageRequest::default().with_size(size);
        Call::List(jobstore_core::JobFilter::default(), page)
    };
    let listed =
        |jobs: &[&Job], more| Reply::Listed(jobs.iter().map(|job| (*job).clone()).collect(), more);
    told.call(
        1,
        50,
        page(2),
        Some((51, listed(&[&jobs[0], &jobs[1]], true))),
    );
    assert!(explain(&told.0).is_ok());
    told.call(
        1,
        60,
        page(2),
        Some((61, listed(&[&jobs[0], &jobs[2]], true))),
    );
    assert!(explain(&told.0).is_err());
}

/// Tries every order and every choice of what is unknown, with none of the checker's shortcuts; none
/// if that takes too long.
fn by_trying_all(steps: &[Step]) -> Option<bool> {
    let mut tried = HashSet::new();
    let mut stack = vec![(vec![false; steps.len()], State::default())];
    while let Some((taken, state)) = stack.pop() {
        let left = || (0..steps.len()).filter(|index| !taken[*index]);
        let horizon = left().filter_map(|index| steps[index].returned()).min();
        let Some(horizon) = horizon else {
            return Some(true);
        };
        if !tried.insert((taken.clone(), Step::key(&state, steps.iter()))) {
            continue;
        }
        if tried.len() > 1_000 {
            return None;
        }
        let waits = |step: &Step| step.after().is_some_and(|after| !taken[after]);
        for index in left().filter(|index| steps[*index].invoked() < horizon) {
            if waits(&steps[index]) {
                continue;
            }
            let Effect { same, changed } = steps[index].apply(&state);
            for state in same.then(|| state.clone()).into_iter().chain(changed) {
                let mut taken = taken.clone();
                taken[index] = true;
                stack.push((taken, state));
            }
        }
    }
    Some(false)
}

/// The memory store.
struct Memory;

struct Kept(Arc<dyn JobStore>);

#[async_trait]
impl Harness for Memory {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: false,
            shared: false,
            arrivals: false,
        }
    }

    async fn fresh(&self, clock: ManualClock) -> Result<Box<dyn Surroundings>> {
        let store = MemoryJobStore::with_clock(Arc::new(clock));
        Ok(Box::new(Kept(Arc::new(store))))
    }
}

#[async_trait]
impl Surroundings for Kept {
    async fn open(&self) -> Result<Arc<dyn JobStore>> {
        Ok(Arc::clone(&self.0))
    }
}

/// Puts what one caller was shown of a job into another reply about it, as a stale read would.
fn falsify(history: &mut History, seed: u64) {
    let replies = history
        .events
        .iter_mut()
        .filter_map(|event| event.reply.as_mut());
    let got = replies.filter_map(|(_, reply)| match reply {
        Reply::Got(jobs) => Some(jobs.iter_mut().flatten()),
        _ => None,
    });
    let mut shown: Vec<&mut Job> = got.flatten().collect();
    let count = shown.len().max(1);
    if let Some(job) = shown.get_mut(seed as usize % count) {
        job.status = JobStatus::ALL[seed as usize / count % JobStatus::ALL.len()];
    }
}

#[test]
fn shortcuts_come_to_what_trying_all_comes_to() {
    let (mut explained, mut not) = (0, 0);
    for seed in 0..300 {
        let plan = Plan::of(seed).cut(3, 3);
        let mut history = runtime().block_on(async {
            let cx = Cx::new(&Memory).await.expect("a store");
            record::record(&cx, &plan, false).await.expect("a history")
        });
        if seed % 2 == 1 {
            falsify(&mut history, seed / 2);
        }
        let steps = steps::steps(&history, LostClaims::Any);
        let Some(expected) = by_trying_all(&steps) else {
            continue;
        };
        let (verdict, _) = check::check(&steps, &State::default(), BUDGET);
        assert_eq!(
            verdict == Verdict::Linearizable,
            expected,
            "seed {seed}: {verdict:?}"
        );
        match expected {
            true => explained += 1,
            false => not += 1,
        }
    }
    assert!(
        explained > 10 && not > 3,
        "{explained} explained, {not} not"
    );
}
