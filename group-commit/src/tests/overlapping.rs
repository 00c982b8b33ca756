//! An engine that says later whether what it did lasts.

use std::sync::{Arc, Mutex};

use jobstore_core::{Error, Result};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Kind, answers, broken, call, calls, settled, successes};
use crate::{Answers, Engine, Failure, Group, GroupCommit, Progress};

type Lasting = oneshot::Sender<Result<Answers, Failure>>;

/// The groups that were carried out, with what tells them that they last.
type CarriedOut = Arc<Mutex<Vec<(Arc<Group>, Option<Lasting>)>>>;

/// Carries everything out at once, and leaves the rest to the test.
struct Overlapping(CarriedOut);

impl Engine for Overlapping {
    async fn commit(&self, group: &Arc<Group>) -> Result<Progress, Failure> {
        let (lasting, known) = oneshot::channel();
        let mut carried_out = self.0.lock().expect("no panic");
        carried_out.push((Arc::clone(group), Some(lasting)));
        Ok(Progress::Pending(known))
    }
}

struct Test {
    writer: GroupCommit,
    carried_out: CarriedOut,
}

impl Test {
    fn new() -> Self {
        let carried_out = CarriedOut::default();
        Self {
            writer: GroupCommit::spawn(Overlapping(Arc::clone(&carried_out)), 1),
            carried_out,
        }
    }

    async fn call(&self) -> JoinHandle<Result<()>> {
        call(&self.writer, Kind::Update).await
    }

    /// How many calls each group had.
    fn seen(&self) -> Vec<usize> {
        let carried_out = self.carried_out.lock().expect("no panic");
        carried_out.iter().map(|(group, _)| calls(group)).collect()
    }

    fn take(&self, index: usize) -> (Arc<Group>, Lasting) {
        let (group, lasting) = &mut self.carried_out.lock().expect("no panic")[index];
        (Arc::clone(group), lasting.take().expect("is told once"))
    }

    /// Says that a group is on disk, and lets its callers know.
    async fn lasts(&self, index: usize) {
        let (group, lasting) = self.take(index);
        lasting.send(Ok(answers(&group))).expect("somebody waits");
        settled().await;
    }
}

#[tokio::test]
async fn nobody_is_answered_before_what_was_done_lasts() {
    let test = Test::new();
    let call = test.call().await;
    assert_eq!(test.seen(), [1]);
    assert!(!call.is_finished());
    test.lasts(0).await;
    assert!(call.is_finished());
    assert_eq!(successes(vec![call]).await, [true]);
}

#[tokio::test]
async fn the_next_group_is_carried_out_while_the_last_is_brought_to_disk() {
    let test = Test::new();
    let (first, second) = (test.call().await, test.call().await);
    assert_eq!(test.seen(), [1, 1]);
    // One step may be on disk before the other is known to be.
    test.lasts(1).await;
    assert!(second.is_finished() && !first.is_finished());
    test.lasts(0).await;
    assert_eq!(successes(vec![first, second]).await, [true; 2]);
}

#[tokio::test]
async fn no_third_group_begins_before_the_first_lasts() {
    let test = Test::new();
    let mut calls = Vec::new();
    for _ in 0..4 {
        calls.push(test.call().await);
    }
    assert_eq!(test.seen(), [1, 1]);
    test.lasts(0).await;
    // Of three calls that are not answered, one is on its way: it is the smaller half.
    assert_eq!(test.seen(), [1, 1, 2]);
    test.lasts(1).await;
    test.lasts(2).await;
    assert_eq!(successes(calls).await, [true; 4]);
}

#[tokio::test]
async fn groups_that_overlap_take_half_of_the_calls_each() {
    let test = Test::new();
    let first = test.call().await;
    let mut calls = vec![first, test.call().await];
    for _ in 0..8 {
        calls.push(test.call().await);
    }
    // Eight wait, and one is on its way.
    test.lasts(0).await;
    assert_eq!(test.seen(), [1, 1, 5]);
    // Three wait beside five.
    test.lasts(1).await;
    assert_eq!(test.seen(), [1, 1, 5, 3]);
    test.lasts(2).await;
    test.lasts(3).await;
    assert_eq!(successes(calls).await, [true; 10]);
}

#[tokio::test]
async fn what_does_not_last_fails_and_is_not_run_again() {
    let test = Test::new();
    let call = test.call().await;
    let failed = Err(Failure::Unknown(broken()));
    test.take(0).1.send(failed).expect("somebody waits");
    let error = call.await.expect("no panic");
    assert!(matches!(error, Err(Error::Incompatible { .. })));
    assert_eq!(test.seen(), [1]);
}

#[tokio::test]
async fn calls_fail_when_nobody_is_left_to_say_whether_they_last() {
    let test = Test::new();
    let call = test.call().await;
    drop(test.take(0));
    let error = call.await.expect("no panic");
    assert!(matches!(error, Err(Error::Unavailable { .. })));
    assert_eq!(test.seen(), [1]);
}

#[tokio::test]
async fn a_group_on_its_way_is_answered_though_the_last_handle_is_gone() {
    let test = Test::new();
    let call = test.call().await;
    let Test {
        writer,
        carried_out,
    } = test;
    drop(writer);
    settled().await;
    let (group, lasting) = {
        let (group, lasting) = &mut carried_out.lock().expect("no panic")[0];
        (Arc::clone(group), lasting.take().expect("is told once"))
    };
    lasting.send(Ok(answers(&group))).expect("somebody waits");
    assert_eq!(successes(vec![call]).await, [true]);
}
