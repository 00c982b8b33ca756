//! Bringing a group to its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::group::Merged;
use crate::{Answers, Engine, Failure, Group, Progress, stopped};

/// The first wait that is too long for a transaction that others are in the way of. The waits
/// double from a millisecond: ten tries in half a second.
const TOO_LONG: Duration = Duration::from_millis(512);

/// Runs the calls and answers every one of them; when that is not known yet, what is returned waits for
/// it and answers them.
pub(crate) async fn settle<E: Engine>(
    engine: &E,
    calls: Merged,
) -> Option<impl Future<Output = ()> + Send + use<E>> {
    if calls.len() == 0 {
        return None;
    }
    let failure = match patiently(engine, &calls.group).await {
        Ok(Progress::Done(answers)) => {
            calls.answer(answers);
            return None;
        }
        Ok(Progress::Pending(lasting)) => return Some(answer_when(lasting, calls)),
        Err(failure) => failure,
    };
    let spoilt = match &failure {
        Failure::Conflict(_) => true,
        // When the engine is away or busy, more tries would only make them all wait longer.
        Failure::Refused(error) => !error.is_retryable(),
        // What may have happened must not happen again.
        Failure::Unknown(_) => false,
    };
    if !spoilt || calls.len() < 2 {
        calls.refuse(&failure.into());
        return None;
    }
    // One call may have spoilt it for the others, so each is run again alone.
    for alone in calls.split() {
        match patiently(engine, &alone.group).await {
            Ok(Progress::Done(answers)) => alone.answer(answers),
            Ok(Progress::Pending(lasting)) => answer_when(lasting, alone).await,
            Err(failure) => alone.refuse(&failure.into()),
        }
    }
    None
}

/// Answers once it is known whether what was done lasts.
async fn answer_when(lasting: oneshot::Receiver<Result<Answers, Failure>>, calls: Merged) {
    match lasting.await {
        Ok(Ok(answers)) => calls.answer(answers),
        Ok(Err(failure)) => calls.refuse(&failure.into()),
        Err(_) => calls.refuse(&stopped()),
    }
}

/// Runs a group, again while other writers are in the way.
async fn patiently<E: Engine>(engine: &E, group: &Arc<Group>) -> Result<Progress, Failure> {
    let mut wait = Duration::from_millis(1);
    loop {
        match engine.commit(group).await {
            Err(Failure::Conflict(_)) if wait < TOO_LONG => {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
            done => return done,
        }
    }
}
