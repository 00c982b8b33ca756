use super::*;
use crate::NewJob;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

/// A job in `status`, started once, with a lease that is over when it runs.
fn job_in(status: JobStatus) -> Job {
    let mut job = NewJob::new("train", "{}").into_job(Timestamp::from_millis(1));
    job.fence = 1;
    job.status = status;
    job.result = status.is_finalized().then(|| "first".to_owned());
    if status == JobStatus::Running {
        job.lease_owner = Some("ada".to_owned());
        job.lease_expires_at = Some(NOW);
    }
    job
}

fn every_action() -> Vec<Action> {
    let lease = Lease {
        owner: "bob".to_owned(),
        duration: Duration::from_secs(1),
    };
    let policy = RetryPolicy::default();
    vec![
        Action::Start { lease: Some(lease) },
        Action::Renew {
            lease: Duration::from_secs(1),
        },
        Action::Finish {
            result: Some("second".to_owned()),
        },
        Action::Fail {
            error: "second".to_owned(),
        },
        Action::TimeOut,
        Action::RetryOrFail {
            error: "second".to_owned(),
            policy,
        },
        Action::Recover { policy },
        Action::Cancel,
        Action::Reset,
    ]
}

/// The status each action leads to from each status by id, in the order of `JobStatus::ALL`,
/// written out by hand: `-` is a refusal.
const BY_ID: [(ActionKind, &str); 9] = [
    (ActionKind::Start, "R-----"),
    (ActionKind::Renew, "-R----"),
    (ActionKind::Finish, "SS----"),
    (ActionKind::Fail, "FF----"),
    (ActionKind::TimeOut, "TT----"),
    (ActionKind::RetryOrFail, "-P----"),
    (ActionKind::Recover, "-P----"),
    (ActionKind::Cancel, "CC----"),
    (ActionKind::Reset, "PPPPPP"),
];

fn letter(status: JobStatus) -> char {
    char::from(status.as_str().as_bytes()[0])
}

#[test]
fn by_id_every_action_obeys_the_table() {
    for (action, (kind, row)) in every_action().into_iter().zip(BY_ID) {
        assert_eq!(action.kind(), kind);
        for (status, expected) in JobStatus::ALL.into_iter().zip(row.chars()) {
            let job = job_in(status);
            let found = match Update::new(job.id, action.clone()).apply(&job, NOW) {
                Ok(Applied::Changed(next)) => {
                    assert_eq!(next.last_update_time, NOW);
                    let started = u64::from(kind == ActionKind::Start);
                    assert_eq!(next.fence, job.fence + started);
                    let leased = next.status == JobStatus::Running;
                    assert_eq!(
                        next.lease_owner.is_some() && next.lease_expires_at.is_some(),
                        leased
                    );
                    letter(next.status)
                }
                Ok(Applied::Repeated) => panic!("{kind} by id is never a repetition"),
                Err(Error::InvalidTransition { .. }) => '-',
                Err(error) => panic!("{kind} from {status}: {error}"),
            };
            assert_eq!(found, expected, "{kind} from {status}");
        }
    }
}

#[test]
fn a_current_claim_may_do_what_the_id_may() {
    let job = job_in(JobStatus::Running);
    for action in every_action() {
        let by_id = Update::new(job.id, action.clone()).apply(&job, NOW);
        let by_claim = Update::new(job.claim(), action).apply(&job, NOW);
        assert_eq!(by_id.ok(), by_claim.ok());
    }
}

#[test]
fn a_stale_claim_is_refused_in_every_status_by_every_action() {
    for status in JobStatus::ALL {
        let job = job_in(status);
        for fence in [0, 2, u64::MAX] {
            for action in every_action() {
                let update = Update::new(Claim { id: job.id, fence }, action);
                assert!(matches!(
                    update.apply(&job, NOW),
                    Err(Error::LeaseLost { .. })
                ));
            }
        }
    }
}

#[test]
fn a_job_that_never_ran_has_no_claim_that_could_repeat_anything() {
    let mut job = NewJob::new("train", "{}").into_job(NOW);
    for status in JobStatus::ALL {
        job.status = status;
        for action in every_action() {
            let verdict = Update::new(job.claim(), action).apply(&job, NOW);
            assert!(matches!(verdict, Err(Error::LeaseLost { .. })));
        }
    }
}

#[test]
fn repeating_a_recorded_outcome_changes_nothing_and_another_is_refused() {
    let outcomes = || {
        every_action().into_iter().filter(|action| {
            !matches!(
                action.kind(),
                ActionKind::Start | ActionKind::Renew | ActionKind::Recover
            )
        })
    };
    let job = job_in(JobStatus::Running);
    for first in outcomes() {
        let update = Update::new(job.claim(), first.clone());
        let Ok(Applied::Changed(ended)) = update.apply(&job, NOW) else {
            panic!("{first:?}")
        };
        for second in outcomes() {
            let verdict = Update::new(job.claim(), second.clone()).apply(&ended, NOW);
            // Failing for good is what a spent retry comes to, so it repeats a failure.
            let same = first == second
                || (first.kind() == ActionKind::Fail && second.kind() == ActionKind::RetryOrFail);
            match verdict {
                Ok(Applied::Repeated) => assert!(same, "{second:?} after {first:?}"),
                Err(Error::LeaseLost { .. }) => assert!(!same, "{second:?} after {first:?}"),
                other => panic!("{second:?} after {first:?}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_lease_is_over_at_its_expiry_and_not_before() {
    let job = job_in(JobStatus::Running);
    let update = Update::new(
        job.claim(),
        Action::Recover {
            policy: RetryPolicy::default(),
        },
    );
    let before = Timestamp::from_millis(NOW.as_millis() - 1);
    assert!(matches!(
        update.apply(&job, before),
        Err(Error::InvalidTransition { .. })
    ));
    let Ok(Applied::Changed(next)) = update.apply(&job, NOW) else {
        panic!("refused")
    };
    assert_eq!(
        next.last_error.as_deref(),
        Some("lease of ada expired at 1000000")
    );
    assert_eq!((next.status, next.retry_count), (JobStatus::Pending, 1));
}

#[test]
fn a_job_without_a_lease_is_never_recovered() {
    let job = Job {
        lease_expires_at: None,
        lease_owner: None,
        ..job_in(JobStatus::Running)
    };
    let update = Update::new(
        job.id,
        Action::Recover {
            policy: RetryPolicy::default(),
        },
    );
    assert!(matches!(
        update.apply(&job, Timestamp::MAX),
        Err(Error::InvalidTransition { .. })
    ));
}

#[test]
fn a_spent_budget_fails_and_the_jobs_own_limit_wins() {
    let policy = RetryPolicy {
        max_retries: 3,
        ..RetryPolicy::default()
    };
    for (spent, own, expected) in [
        (2, None, JobStatus::Pending),
        (3, None, JobStatus::Failed),
        (4, None, JobStatus::Failed),
        (0, Some(0), JobStatus::Failed),
        (3, Some(4), JobStatus::Pending),
    ] {
        let job = Job {
            retry_count: spent,
            max_retries: own,
            ..job_in(JobStatus::Running)
        };
        let action = Action::RetryOrFail {
            error: "boom".to_owned(),
            policy,
        };
        let Ok(Applied::Changed(next)) = Update::new(job.id, action).apply(&job, NOW) else {
            panic!("refused")
        };
        assert_eq!(next.status, expected);
        assert_eq!(next.last_error.as_deref(), Some("boom"));
        assert_eq!(next.result.is_some(), expected == JobStatus::Failed);
    }
}

#[test]
fn error_text_is_made_storable() {
    let long = "é".repeat(MAX_ERROR_BYTES);
    assert_eq!(storable_error(&long).len(), MAX_ERROR_BYTES);
    assert_eq!(
        storable_error(&format!("a{long}")).len(),
        MAX_ERROR_BYTES - 1
    );
    assert_eq!(storable_error("a\0b"), "a\u{FFFD}b");
    let nuls = "\0".repeat(MAX_ERROR_BYTES + 1);
    let kept = "\u{FFFD}".repeat(MAX_ERROR_BYTES / 3);
    assert_eq!(storable_error(&nuls), kept);
}
