//! The suite tested: a store that is right passes all of it, and planted defects are caught.

mod arrival;
mod defect;
mod delete;
mod read;
mod store;
mod write;

use std::panic::catch_unwind;

use jobstore_conformance::{RULES, model, run};

use defect::{DEFECTS, Defect};
use store::Suspect;

#[test]
fn a_store_that_is_right_passes_every_case() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let report = runtime
        .expect("starts")
        .block_on(run(&Suspect(Defect::None), ""));
    assert!(report.is_success(), "{report}");
    assert_eq!(report.failures().count(), 0, "{report}");
    assert_eq!(report.outcomes.len(), RULES.len());
}

#[test]
fn a_store_that_is_right_agrees_with_the_model() {
    model::test(&Suspect(Defect::None), 64);
}

// A suite is as good as what it catches.
const _: () = assert!(DEFECTS >= 100);

#[test]
fn the_model_catches_a_defect_with_a_short_program_to_paste() {
    let found = catch_unwind(|| model::test(&Suspect(Defect::RecoveryIgnoresARenewal), 500));
    let panic = found.expect_err("the defect is found");
    let message = panic.downcast_ref::<String>().expect("a message");
    let steps = message
        .lines()
        .skip_while(|line| !line.contains("let steps"));
    let steps = steps
        .skip(1)
        .take_while(|line| !line.contains("];"))
        .count();
    assert!((2..=8).contains(&steps), "{message}");
    assert!(message.contains("replay(&MyHarness, steps)"), "{message}");
}

/// As the model printed it for the defect, but for the harness.
#[test]
#[should_panic(expected = "store and model differ")]
fn a_pasted_program_fails_again() {
    pasted(Defect::RecoveryIgnoresARenewal);
}

#[test]
fn a_pasted_program_passes_once_the_defect_is_gone() {
    pasted(Defect::None);
}

fn pasted(defect: Defect) {
    use jobstore_conformance::model::{Act::*, By::*, Change, New, Op::*, Step::*, replay};

    let steps = vec![
        Do(Create(vec![New {
            name: 0,
            params: 0,
            id: None,
            key: None,
            priority: 0,
            due: None,
            max_retries: None,
        }])),
        Do(Update(vec![
            Change {
                job: 0,
                by: Id,
                act: StartUnleased,
            },
            Change {
                job: 0,
                by: Id,
                act: Recover(0),
            },
        ])),
    ];
    replay(&Suspect(defect), steps);
}
