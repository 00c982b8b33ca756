//! The tasks against an engine that does what it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use jobstore_core::{ClaimRequest, DeleteRequest, Error, NewJob, Result};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::{Answers, Engine, Failure, Group, GroupCommit};

/// How many calls each transaction had.
type Seen = Arc<Mutex<Vec<usize>>>;

/// Succeeds once, fails as scripted, then succeeds; every transaction needs a permit.
struct Scripted {
    /// How the transactions after the first end.
    failures: Mutex<VecDeque<Failure>>,
    /// Fails every transaction that has a deletion, in this way.
    poison: Option<Failure>,
    permits: Arc<Semaphore>,
    seen: Seen,
}

impl Engine for Scripted {
    async fn commit(&self, group: &Arc<Group>) -> Result<Answers, Failure> {
        let calls = group.updates().len()
            + group.creates().len()
            + group.claims().len()
            + group.deletes().len();
        let first = {
            let mut seen = self.seen.lock().expect("no panic");
            seen.push(calls);
            seen.len() == 1
        };
        let permit = self.permits.acquire().await.expect("never closed");
        permit.forget();
        let scripted = || self.failures.lock().expect("no panic").pop_front();
        if let Some(failure) = (!first).then(scripted).flatten() {
            return Err(failure);
        }
        if let Some(failure) = self.poison.clone().filter(|_| !group.deletes().is_empty()) {
            return Err(failure);
        }
        Ok(Answers {
            updates: group.updates().iter().map(|_| Vec::new()).collect(),
            creates: group.creates().iter().map(|_| Ok(Vec::new())).collect(),
            claims: group.claims().iter().map(|_| Vec::new()).collect(),
            deletes: group.deletes().iter().map(|_| Vec::new()).collect(),
        })
    }
}

struct Test {
    writer: GroupCommit,
    permits: Arc<Semaphore>,
    seen: Seen,
}

impl Test {
    fn new(failures: impl IntoIterator<Item = Failure>, poison: Option<Failure>) -> Self {
        let (permits, seen) = (Arc::new(Semaphore::new(0)), Seen::default());
        let engine = Scripted {
            failures: Mutex::new(failures.into_iter().collect()),
            poison,
            permits: Arc::clone(&permits),
            seen: Arc::clone(&seen),
        };
        let writer = GroupCommit::spawn(engine, 1);
        Self {
            writer,
            permits,
            seen,
        }
    }

    /// Makes a call and lets it reach the task.
    async fn call(&self, kind: Kind) -> JoinHandle<Result<()>> {
        let writer = self.writer.clone();
        let call = tokio::spawn(async move {
            match kind {
                Kind::Update => writer.update(Vec::new()).await.map(drop),
                Kind::Create => writer.create(vec![NewJob::new("a", "{}")]).await.map(drop),
                Kind::Claim => {
                    let request = ClaimRequest::new("w", std::time::Duration::from_secs(1));
                    writer.claim(request).await.map(drop)
                }
                Kind::Delete => writer
                    .delete(DeleteRequest::Ids(Vec::new()))
                    .await
                    .map(drop),
            }
        });
        // The runtime has one thread: when this comes back, every task that could go on has.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        call
    }

    /// Four calls of four kinds in one group, made while another call is being committed.
    async fn group_of_four(&self) -> Vec<JoinHandle<Result<()>>> {
        let first = self.call(Kind::Claim).await;
        let mut calls = Vec::new();
        for kind in [Kind::Update, Kind::Create, Kind::Claim, Kind::Delete] {
            calls.push(self.call(kind).await);
        }
        self.permits.add_permits(1);
        first.await.expect("no panic").expect("succeeds");
        self.permits.add_permits(1000);
        calls
    }

    fn seen(&self) -> Vec<usize> {
        self.seen.lock().expect("no panic").clone()
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Update,
    Create,
    Claim,
    Delete,
}

fn busy() -> Error {
    Error::Unavailable {
        reason: "busy".into(),
    }
}

/// An error that trying again does not mend.
fn broken() -> Error {
    Error::Incompatible {
        reason: "broken".into(),
    }
}

/// Whether each call succeeded, in order.
async fn successes(calls: Vec<JoinHandle<Result<()>>>) -> Vec<bool> {
    let mut successes = Vec::new();
    for call in calls {
        successes.push(call.await.expect("no panic").is_ok());
    }
    successes
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_share_the_next_transaction() {
    let test = Test::new([], None);
    let calls = test.group_of_four().await;
    assert_eq!(successes(calls).await, [true; 4]);
    assert_eq!(test.seen(), [1, 4]);
}

/// On the runtime that services use: its threads run a task that was just woken before all others,
/// which is what parts the callers. Everything runs on its one worker, so the order is fixed.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn callers_that_were_answered_together_call_again_together() {
    let run = tokio::spawn(async {
        let test = Test::new([], None);
        let first = test.call(Kind::Claim).await;
        let mut callers = Vec::new();
        for _ in 0..4 {
            let writer = test.writer.clone();
            callers.push(tokio::spawn(async move {
                for _ in 0..3 {
                    writer.update(Vec::new()).await?;
                }
                Ok(())
            }));
        }
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        test.permits.add_permits(1000);
        assert!(first.await.expect("no panic").is_ok());
        assert_eq!(successes(callers).await, [true; 4]);
        test.seen()
    });
    assert_eq!(run.await.expect("no panic"), [1, 4, 4, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_tried_again() {
    let test = Test::new([Failure::Conflict(busy()), Failure::Conflict(busy())], None);
    let calls = test.group_of_four().await;
    assert_eq!(successes(calls).await, [true; 4]);
    assert_eq!(test.seen(), [1, 4, 4, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_conflict_without_end_is_given_up() {
    let test = Test::new([], Some(Failure::Conflict(busy())));
    test.permits.add_permits(1000);
    let error = test.call(Kind::Delete).await.await.expect("no panic");
    assert!(matches!(error, Err(Error::Unavailable { .. })));
    assert_eq!(test.seen(), [1; 10]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_spoils_its_group_fails_alone() {
    let test = Test::new([], Some(Failure::Refused(broken())));
    let calls = test.group_of_four().await;
    assert_eq!(successes(calls).await, [true, true, true, false]);
    assert_eq!(test.seen(), [1, 4, 1, 1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_conflicts_without_end_fails_alone() {
    let test = Test::new([], Some(Failure::Conflict(busy())));
    let calls = test.group_of_four().await;
    assert_eq!(successes(calls).await, [true, true, true, false]);
}

#[tokio::test(start_paused = true)]
async fn a_group_is_not_split_while_the_engine_is_away() {
    let test = Test::new([Failure::Refused(busy())], None);
    let calls = test.group_of_four().await;
    assert_eq!(successes(calls).await, [false; 4]);
    assert_eq!(test.seen(), [1, 4]);
}

#[tokio::test(start_paused = true)]
async fn what_may_have_happened_is_never_run_again() {
    let test = Test::new([Failure::Unknown(broken())], None);
    let calls = test.group_of_four().await;
    assert_eq!(successes(calls).await, [false; 4]);
    assert_eq!(test.seen(), [1, 4]);
}

#[tokio::test(start_paused = true)]
async fn what_may_have_happened_is_told_of_and_what_was_refused_is_not() {
    for (failure, is_told) in [
        (Failure::Unknown(broken()), true),
        (Failure::Refused(busy()), false),
    ] {
        let test = Test::new([failure], None);
        let mut arrivals = test.writer.arrivals();
        let calls = test.group_of_four().await;
        assert_eq!(successes(calls).await, [false; 4]);
        let wait = std::time::Duration::from_secs(1);
        let told = tokio::time::timeout(wait, arrivals.next()).await;
        assert_eq!(told.is_ok(), is_told);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_nobody_waits_for_is_left_out() {
    let test = Test::new([], None);
    let first = test.call(Kind::Claim).await;
    let abandoned = test.call(Kind::Create).await;
    let kept = test.call(Kind::Update).await;
    abandoned.abort();
    assert!(abandoned.await.is_err(), "aborted");
    test.permits.add_permits(1000);
    assert_eq!(successes(vec![first, kept]).await, [true; 2]);
    assert_eq!(test.seen(), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_begun_comes_to_its_end_though_nobody_waits() {
    let test = Test::new([], None);
    let call = test.call(Kind::Create).await;
    call.abort();
    assert!(call.await.is_err(), "aborted");
    assert_eq!(test.seen(), [1]);
    let next = test.call(Kind::Claim).await;
    test.permits.add_permits(2);
    assert_eq!(successes(vec![next]).await, [true]);
    assert_eq!(test.seen(), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_last_handle() {
    let test = Test::new([], None);
    let engine_holds = Arc::strong_count(&test.seen);
    assert_eq!(engine_holds, 2);
    drop(test.writer);
    tokio::task::yield_now().await;
    assert_eq!(Arc::strong_count(&test.seen), 1);
}
