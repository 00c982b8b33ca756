//! The tasks against engines that do what they are told.

mod overlapping;
mod settling;

use std::time::Duration;

use jobstore_core::{ClaimRequest, DeleteRequest, Error, NewJob, Result};
use tokio::task::JoinHandle;

use crate::{Answers, Group, GroupCommit};

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

/// How many calls a group has.
fn calls(group: &Group) -> usize {
    group.updates().len() + group.creates().len() + group.claims().len() + group.deletes().len()
}

/// An answer for each call.
fn answers(group: &Group) -> Answers {
    Answers {
        updates: group.updates().iter().map(|_| Vec::new()).collect(),
        creates: group.creates().iter().map(|_| Ok(Vec::new())).collect(),
        claims: group.claims().iter().map(|_| Vec::new()).collect(),
        deletes: group.deletes().iter().map(|_| Vec::new()).collect(),
    }
}

/// Makes a call and lets it reach the task.
async fn call(writer: &GroupCommit, kind: Kind) -> JoinHandle<Result<()>> {
    let writer = writer.clone();
    let call = tokio::spawn(async move {
        match kind {
            Kind::Update => writer.update(Vec::new()).await.map(drop),
            Kind::Create => writer.create(vec![NewJob::new("a", "{}")]).await.map(drop),
            Kind::Claim => {
                let request = ClaimRequest::new("w", Duration::from_secs(1));
                writer.claim(request).await.map(drop)
            }
            Kind::Delete => writer
                .delete(DeleteRequest::Ids(Vec::new()))
                .await
                .map(drop),
        }
    });
    settled().await;
    call
}

/// Waits until every task that could go on has: the runtime has one thread.
async fn settled() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}
