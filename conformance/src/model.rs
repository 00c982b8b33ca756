//! A store against a model: random programs over every operation, compared after every step.
//!
//! The model is a sorted map of jobs and the pure rules of core; it knows nothing of engines. A
//! program goes through one handle or two, moves the clock, opens the store again, and has calls
//! that fail: before they reach the store, with their reply lost, dropped halfway. The model accepts
//! that such a call happened or not, until something shows which, and the program repeats it as a
//! client would. After every step the readings are compared: jobs by id, listings and counts under
//! filters in turn; at the end all filters, walks in pages, and the order of claiming.
//!
//! A program that shows a difference is made as short as possible and printed twice: as a test to
//! paste, an array of [`Step`]s for [`replay`], and as JSON, to be kept. `replay_kept` leads a store
//! through every program that ever failed on one.
//!
//! Programs hold small numbers only, and what they stand for is in the tables of this module, so
//! that programs collide often (few names, keys and ids) and shrink well.

mod call;
mod jobs;
mod kept;
pub(crate) mod op;
mod pair;
mod sometimes;
mod step;
mod world;

use std::cell::Cell;
use std::fmt::Write as _;
use std::sync::Mutex;

use futures_util::FutureExt as _;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::Strategy;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

use crate::Harness;
use crate::failure::CaseResult;
use crate::run::runtime;

pub use kept::replay_kept;
pub use op::{Act, By, Change, Filter, New, Op};
use pair::Pair;
use sometimes::Sometimes;
pub use step::{Step, Trouble};

/// The steps of a program, unless the environment says otherwise.
const STEPS: usize = 25;

/// Runs this many random programs and panics with the shortest that shows a difference.
///
/// The environment's `JOBSTORE_MODEL_PROGRAMS` overrides the number, and `JOBSTORE_MODEL_STEPS` how
/// many steps each has.
///
/// # Panics
///
/// When the store and the model differ. When the programs proved nothing, because something that is
/// to be seen never happened.
#[doc(hidden)]
pub fn test(harness: &dyn Harness, programs: u32) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let programs = number("JOBSTORE_MODEL_PROGRAMS").unwrap_or(programs as usize);
    let steps = number("JOBSTORE_MODEL_STEPS").unwrap_or(STEPS);
    let config = Config {
        cases: u32::try_from(programs).unwrap_or(u32::MAX),
        // The program that fails is printed whole; a file of seeds would add nothing.
        failure_persistence: None,
        max_shrink_iters: 10_000,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let runtime = runtime();
    let seen = Mutex::new(Sometimes::default());
    let passed = Cell::new(0_usize);
    let failed = Cell::new(false);
    let run = |steps: Vec<Step>| {
        let result = runtime.block_on(compare(harness, &steps));
        failed.set(failed.get() || result.is_err());
        let met = result.map_err(|failure| TestCaseError::fail(failure.to_string()))?;
        // Shorter forms of a program that failed are none of those that were asked for.
        passed.set(passed.get() + usize::from(!failed.get()));
        seen.lock().expect("adding does not panic").add(&met);
        Ok(())
    };
    match TestRunner::new(config).run(&any_program(steps), run) {
        Ok(()) => {}
        Err(TestError::Fail(reason, steps)) => {
            let (passed, steps) = (passed.get(), shown(&steps));
            panic!("after {passed} programs: store and model differ{reason}\n\n{steps}")
        }
        Err(TestError::Abort(reason)) => panic!("no programs could be made: {reason}"),
    }
    let seen = seen.into_inner().expect("adding does not panic");
    let missing = seen.missing(programs.saturating_mul(steps)).join(", ");
    assert!(
        missing.is_empty(),
        "{programs} programs prove nothing: they never saw {missing}\n{seen}"
    );
    eprintln!("{seen}");
}

/// Programs of this many steps; of fewer once they shrink.
fn any_program(steps: usize) -> impl Strategy<Value = Vec<Step>> {
    // A list of fixed length, so that long programs are long; what is left out makes it shorter.
    let program = vec(option::weighted(0.999, step::any()), steps);
    program.prop_map(|steps| steps.into_iter().flatten().collect())
}

/// Runs one program on a fresh store and the model, as a failure of the model tests prints it.
///
/// # Panics
///
/// When the store and the model differ.
pub fn replay(harness: &dyn Harness, steps: Vec<Step>) {
    if let Err(failure) = runtime().block_on(compare(harness, &steps)) {
        panic!("store and model differ{failure}");
    }
}

/// The program as a test to paste beside the harness, and as JSON.
fn shown(steps: &[Step]) -> String {
    let mut code = String::from(
        "#[test]\nfn store_and_model_agree() {\n    \
         use jobstore_conformance::model::{\n        \
         Act::*, By::*, Change, Filter, New, Op::*, Step::*, Trouble::*, replay,\n    };\n\n    \
         let steps = vec![\n",
    );
    let mut line = |text: String| {
        code.push_str(&text);
        code.push('\n');
    };
    for step in steps {
        // Programs hold no text, so every bracket is that of a list.
        line(format!("        {step:?},").replace('[', "vec!["));
    }
    line("    ];\n    replay(&MyHarness, steps); // your harness here\n}\n".to_owned());
    let json = serde_json::to_string(steps).expect("small numbers can be written");
    write!(code, "As JSON, to be kept: {json}").expect("writing to a String cannot fail");
    code
}

/// Runs a program step by step; a failure says at which.
async fn compare(harness: &dyn Harness, steps: &[Step]) -> CaseResult<Sometimes> {
    let mut pair = Pair::new(harness).await?;
    for (index, step) in steps.iter().enumerate() {
        let result = pair.step(step).boxed().await;
        result.map_err(|failure| failure.when(format!("step {} {step:?}", index + 1)))?;
    }
    let result = pair.end().boxed().await;
    result.map_err(|failure| failure.when("after the last step"))?;
    Ok(pair.seen)
}

#[cfg(test)]
mod tests;
