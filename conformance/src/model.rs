//! A store against a model: random programs over every operation, compared after every step.
//!
//! The model is a sorted map of jobs and the pure rules of core; it knows nothing of engines. A
//! program that shows a difference is made as short as possible and printed as a test to paste:
//! an array of [`Op`]s for [`replay`].
//!
//! Programs hold small numbers only, and what they stand for is in the tables of this module, so
//! that programs collide often (few names, keys and ids) and shrink well.

mod jobs;
pub(crate) mod op;

use std::fmt::Write as _;

use futures_util::FutureExt as _;
use jobstore_core::{
    Creation, Error, Job, JobFilter, JobId, JobStoreExt as _, Order, Result, Timestamp,
};
use proptest::collection::vec;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

use crate::failure::{CaseResult, Failure, check, check_eq, same, same_all};
use crate::run::runtime;
use crate::{Cx, Harness};

use jobs::Jobs;
pub use op::{Act, By, Change, Filter, New, Op};

/// The most steps of a program.
const MAX_STEPS: usize = 40;

/// Runs this many random programs and panics with the shortest that shows a difference.
///
/// The environment's `PROPTEST_CASES` overrides the number.
///
/// # Panics
///
/// When the store and the model differ.
#[doc(hidden)]
pub fn test(harness: &dyn Harness, programs: u32) {
    let mut config = Config {
        // The program that fails is printed whole; a file of seeds would add nothing.
        failure_persistence: None,
        max_shrink_iters: 10_000,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = programs;
    }
    let runtime = runtime();
    let run = |ops: Vec<Op>| {
        let result = runtime.block_on(compare(harness, &ops));
        result.map_err(|failure| TestCaseError::fail(failure.to_string()))
    };
    match TestRunner::new(config).run(&vec(op::any(), 1..=MAX_STEPS), run) {
        Ok(()) => {}
        Err(TestError::Fail(reason, ops)) => {
            panic!("store and model differ{reason}\n\n{}", as_code(&ops))
        }
        Err(TestError::Abort(reason)) => panic!("no programs could be made: {reason}"),
    }
}

/// Runs one program on a fresh store and the model, as a failure of the model tests prints it.
///
/// # Panics
///
/// When the store and the model differ.
pub fn replay(harness: &dyn Harness, ops: Vec<Op>) {
    if let Err(failure) = runtime().block_on(compare(harness, &ops)) {
        panic!("store and model differ{failure}");
    }
}

/// The program as a test to paste beside the harness.
fn as_code(ops: &[Op]) -> String {
    let mut code = String::from(
        "#[test]\nfn store_and_model_agree() {\n    \
         use jobstore_conformance::model::{Act::*, By::*, Change, Filter, New, Op::*, replay};\n\n    \
         let ops = vec![\n",
    );
    for op in ops {
        // Programs hold no text, so every bracket is that of a list.
        let op = format!("{op:?}").replace('[', "vec![");
        writeln!(code, "        {op},").expect("writing to a String cannot fail");
    }
    code.push_str("    ];\n    replay(&MyHarness, ops); // your harness here\n}\n");
    code
}

/// Runs a program step by step; a failure says at which.
async fn compare(harness: &dyn Harness, ops: &[Op]) -> CaseResult {
    let mut pair = Pair {
        cx: Cx::new(harness).await?,
        model: Jobs::default(),
        latest: Timestamp::MIN,
        durable: harness.capabilities().durable,
    };
    for (index, op) in ops.iter().enumerate() {
        let step = async {
            pair.step(op).await?;
            pair.agree().await
        };
        let result = step.boxed().await;
        result.map_err(|failure| failure.when(format!("step {} {op:?}", index + 1)))?;
    }
    Ok(())
}

/// A store and the model of it.
struct Pair {
    cx: Cx,
    model: Jobs,
    /// The latest time that this handle has shown.
    latest: Timestamp,
    durable: bool,
}

impl Pair {
    /// Does the same to both and compares what they say.
    async fn step(&mut self, op: &Op) -> CaseResult {
        let now = self.cx.store().now();
        check!(now >= self.latest, "no time before {}", self.latest);
        check_eq!(now, self.latest.max(self.cx.now()), "the store's time");
        self.latest = now;
        let store = self.cx.store();
        match op {
            Op::Create(new) => {
                let new: Vec<_> = new.iter().map(|new| new.build(now)).collect();
                let got = store.create_jobs(new.clone()).await;
                let expected = self.model.create(new, now, made_ids(&got));
                same_creations(got, expected)
            }
            Op::Claim {
                names,
                limit,
                lease,
            } => {
                let request = op::claim_request(names, *limit, *lease);
                let got = store.claim_jobs(&request).await?;
                same_all(&got, &self.model.claim(&request, now))
            }
            Op::Update(changes) => {
                let updates: Vec<_> = changes
                    .iter()
                    .map(|change| change.build(self.model.pick(change.job)))
                    .collect();
                let got = store.update_jobs(updates.clone()).await?;
                check_eq!(got.len(), updates.len(), "verdicts");
                for (index, (update, got)) in updates.iter().zip(got).enumerate() {
                    let expected = self.model.update(update, now);
                    let compared = same_verdict(got, expected);
                    compared.map_err(|failure| failure.when(format!("item {index}")))?;
                }
                Ok(())
            }
            Op::RecoverAll { policy } => {
                let policy = op::policy(*policy);
                let mut got = store.recover_expired(&[], policy).await?;
                got.sort_by_key(Job::list_order);
                same_all(&got, &self.model.recover(policy, now))
            }
            Op::Delete(picks) => {
                let ids = picks.iter().map(|pick| self.model.pick(*pick).id);
                let request = jobstore_core::DeleteRequest::Ids(ids.collect());
                let got = store.delete_jobs(&request).await?;
                self.model.delete(&request, &got)
            }
            Op::Purge {
                age,
                names,
                statuses,
                limit,
            } => {
                let request =
                    op::purge_request(self.cx.at(-i64::from(*age)), names, statuses, *limit);
                let got = store.delete_jobs(&request).await?;
                self.model.delete(&request, &got)
            }
            Op::List {
                filter,
                size,
                descending,
            } => {
                let filter = filter.build(now, |pick| self.model.pick(pick).id);
                let size = u32::from(*size % 5) + 1;
                let order = match descending {
                    false => Order::Ascending,
                    true => Order::Descending,
                };
                let expected = self.model.list(&filter, order)?;
                same_all(&self.cx.walk(&filter, size, order).await?, &expected)?;
                let counts = store.count_jobs(&filter).await?;
                check_eq!(counts, self.model.count(&filter)?);
                Ok(())
            }
            Op::Advance(millis) => {
                self.cx.set_clock(self.cx.at(i64::from(*millis)));
                Ok(())
            }
            Op::Back(millis) => {
                self.cx.set_clock(self.cx.at(-i64::from(*millis)));
                Ok(())
            }
            Op::Reopen => {
                drop(store);
                if self.durable {
                    // Time may go back from one handle to the next; nothing is promised there.
                    self.cx.set_clock(self.latest);
                    self.cx.reopen().await?;
                }
                Ok(())
            }
        }
    }

    /// Compares everything that can be read.
    async fn agree(&self) -> CaseResult {
        let any = JobFilter::default();
        let expected = self.model.list(&any, Order::Ascending)?;
        same_all(&self.cx.list(&any).await?, &expected)?;
        check_eq!(self.cx.count(&any).await?, self.model.count(&any)?);
        let ids: Vec<JobId> = self.model.ids().collect();
        for ids in ids.chunks(1_000) {
            let got = self.cx.store().get_jobs(ids).await?;
            check_eq!(got.len(), ids.len(), "answers of get_jobs");
            for (id, got) in ids.iter().zip(got) {
                match (got, self.model.get(id)) {
                    (Some(got), Some(expected)) => same(&got, expected)?,
                    (got, expected) => {
                        check_eq!(got.is_some(), expected.is_some(), "whether job {id} exists");
                    }
                }
            }
        }
        Ok(())
    }
}

/// The ids that the store gave the jobs of a batch.
fn made_ids(got: &Result<Vec<Creation>>) -> Vec<JobId> {
    let creations = got.iter().flatten();
    creations.map(|creation| creation.job().id).collect()
}

fn same_creations(got: Result<Vec<Creation>>, expected: Result<Vec<Creation>>) -> CaseResult {
    match (got, expected) {
        (Ok(got), Ok(expected)) => {
            let new = |creations: &[Creation]| -> Vec<bool> {
                creations.iter().map(Creation::is_new).collect()
            };
            check_eq!(new(&got), new(&expected), "which jobs are new");
            same_all(
                got.iter().map(Creation::job),
                expected.iter().map(Creation::job),
            )
        }
        (Err(got), Err(expected)) => same_error(&got, &expected),
        (Ok(_), Err(expected)) => Err(Failure::new(format!("{expected:?}"), "success")),
        (Err(got), Ok(_)) => Err(Failure::new("success", format!("{got:?}"))),
    }
}

fn same_verdict(got: Result<Job>, expected: Result<Job>) -> CaseResult {
    match (got, expected) {
        (Ok(got), Ok(expected)) => same(&got, &expected),
        (Err(got), Err(expected)) => same_error(&got, &expected),
        (Ok(got), Err(expected)) => Err(Failure::new(format!("{expected:?}"), format!("{got:?}"))),
        (Err(got), Ok(expected)) => Err(Failure::new(format!("{expected:?}"), format!("{got:?}"))),
    }
}

/// Errors that the contract words are the same when their variants and members are.
fn same_error(got: &Error, expected: &Error) -> CaseResult {
    check_eq!(format!("{got:?}"), format!("{expected:?}"), "the error");
    Ok(())
}

#[cfg(test)]
mod tests;
