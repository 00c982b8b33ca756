//! Bringing a group to its end.

use std::sync::Arc;
use std::time::Duration;

use crate::group::Merged;
use crate::{Answers, Engine, Failure, Group};

/// The first wait that is too long for a transaction that others are in the way of. The waits
/// double from a millisecond: ten tries in half a second.
const TOO_LONG: Duration = Duration::from_millis(512);

/// Runs the calls and answers every one of them.
pub(crate) async fn settle<E: Engine>(engine: &E, calls: Merged) {
    if calls.len() == 0 {
        return;
    }
    let failure = match patiently(engine, &calls.group).await {
        Ok(answers) => return calls.answer(answers),
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
        return calls.refuse(&failure.into());
    }
    // One call may have spoilt it for the others, so each is run again alone.
    for alone in calls.split() {
        match patiently(engine, &alone.group).await {
            Ok(answers) => alone.answer(answers),
            Err(failure) => alone.refuse(&failure.into()),
        }
    }
}

/// Runs a group, again while other writers are in the way.
async fn patiently<E: Engine>(engine: &E, group: &Arc<Group>) -> Result<Answers, Failure> {
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
