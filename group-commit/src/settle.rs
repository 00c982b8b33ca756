//! Bringing a group to its end.

use std::sync::Arc;
use std::time::Duration;

use jobstore_core::{Bell, Creation};

use crate::group::Merged;
use crate::{Answers, Engine, Failure, Group};

/// The first wait that is too long for a transaction that others are in the way of. The waits
/// double from a millisecond: ten tries in half a second.
const TOO_LONG: Duration = Duration::from_millis(512);

/// Runs the calls and answers every one of them, after telling of the jobs that arrived.
pub(crate) async fn settle<E: Engine>(engine: &E, calls: Merged, arrivals: &Bell) {
    if calls.len() == 0 {
        return;
    }
    let failure = match patiently(engine, &calls.group, arrivals).await {
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
        match patiently(engine, &alone.group, arrivals).await {
            Ok(answers) => alone.answer(answers),
            Err(failure) => alone.refuse(&failure.into()),
        }
    }
}

/// Runs a group, again while other writers are in the way.
async fn patiently<E: Engine>(
    engine: &E,
    group: &Arc<Group>,
    arrivals: &Bell,
) -> Result<Answers, Failure> {
    let mut wait = Duration::from_millis(1);
    loop {
        let done = engine.commit(group).await;
        match &done {
            Err(Failure::Conflict(_)) if wait < TOO_LONG => {
                tokio::time::sleep(wait).await;
                wait *= 2;
                continue;
            }
            Ok(answers) => tell(arrivals, answers),
            // It may have happened, and then nobody else will tell.
            Err(Failure::Unknown(_)) => arrivals.ring(),
            Err(_) => {}
        }
        return done;
    }
}

fn tell(arrivals: &Bell, answers: &Answers) {
    let creations = answers.creates.iter().flatten().flatten();
    let created = creations.filter(|creation| creation.is_new());
    let updated = answers.updates.iter().flatten().flatten();
    arrivals.ring_for(created.map(Creation::job).chain(updated));
}
