//! Running cases and saying what became of them.

use std::fmt;
use std::time::Duration;

use crate::harness::Harness;
use crate::rule::{Needs, RULES, Rule};
use crate::{Cx, Failure};

/// Longer than any case takes on a store that works: one that waits for ever is stopped.
const PATIENCE: Duration = Duration::from_secs(120);

/// What became of one case.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The rule.
    pub rule: &'static Rule,
    /// Whether the store keeps it.
    pub verdict: Verdict,
}

/// Whether a store keeps a rule.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It does.
    Passed,
    /// It does not.
    Failed(Failure),
    /// The backend does not claim to have what the rule is about.
    DoesNotApply,
}

/// What became of each case. `Display` is a table.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// One for each case, in the order of the list.
    pub outcomes: Vec<Outcome>,
}

impl Report {
    /// The failures.
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.outcomes
            .iter()
            .filter_map(|outcome| match &outcome.verdict {
                Verdict::Failed(failure) => Some(failure),
                Verdict::Passed | Verdict::DoesNotApply => None,
            })
    }

    /// Whether at least one case ran and none failed.
    pub fn is_success(&self) -> bool {
        let ran = |outcome: &Outcome| matches!(outcome.verdict, Verdict::Passed);
        self.failures().next().is_none() && self.outcomes.iter().any(ran)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Outcome { rule, verdict } in &self.outcomes {
            let word = match verdict {
                Verdict::Passed => "ok",
                Verdict::Failed(_) => "FAILED",
                Verdict::DoesNotApply => "-",
            };
            writeln!(
                f,
                "{:<15} {:<6} {word:<6} {}",
                rule.id, rule.level, rule.sentence
            )?;
        }
        for failure in self.failures() {
            writeln!(f, "\n{failure}")?;
        }
        let failed = self.failures().count();
        let skipped = self.outcomes.iter();
        let skipped = skipped.filter(|outcome| matches!(outcome.verdict, Verdict::DoesNotApply));
        let skipped = skipped.count();
        let passed = self.outcomes.len() - failed - skipped;
        write!(
            f,
            "\n{passed} passed, {failed} failed, {skipped} do not apply"
        )
    }
}

/// Runs every case whose id, name or subject contains `filter`, each on a fresh store.
///
/// Needs a Tokio runtime.
pub async fn run(harness: &dyn Harness, filter: &str) -> Report {
    let mut report = Report::default();
    for rule in RULES.iter().filter(|rule| rule.is_named(filter)) {
        report.outcomes.push(check(harness, rule).await);
    }
    report
}

/// Runs one case on a fresh store. A panic or a store that never answers is a failure.
///
/// Needs a Tokio runtime.
pub async fn check(harness: &dyn Harness, rule: &'static Rule) -> Outcome {
    let capabilities = harness.capabilities();
    let applies = match rule.needs {
        Needs::Nothing => true,
        Needs::Durable => capabilities.durable,
        Needs::Shared => capabilities.shared,
    };
    if !applies {
        let verdict = Verdict::DoesNotApply;
        return Outcome { rule, verdict };
    }
    let verdict = match Cx::new(harness).await {
        Ok(cx) => {
            let calls = cx.calls().clone();
            // A task of its own, so that a panic in the store is one failure and not the end.
            let case = tokio::spawn(async move { rule.run(&cx).await });
            let abort = case.abort_handle();
            let failure = match tokio::time::timeout(PATIENCE, case).await {
                Ok(Ok(Ok(()))) => None,
                Ok(Ok(Err(failure))) => Some(failure),
                Ok(Err(panic)) => Some(Failure::new("no panic", panic.to_string())),
                Err(_) => {
                    abort.abort();
                    let got = format!("nothing for {} s", PATIENCE.as_secs());
                    Some(Failure::new("an end", got))
                }
            };
            match failure {
                None => Verdict::Passed,
                Some(failure) => Verdict::Failed(failure.after(calls.latest())),
            }
        }
        Err(error) => Verdict::Failed(Failure::from(error).when("opening a fresh store")),
    };
    let verdict = match verdict {
        Verdict::Failed(failure) => Verdict::Failed(failure.of(rule.id)),
        other => other,
    };
    Outcome { rule, verdict }
}

/// Runs the case with this name as a `#[test]` does: in a runtime of its own, panicking on failure.
///
/// # Panics
///
/// When the store does not keep the rule, or the harness does not claim what the case needs.
#[doc(hidden)]
#[track_caller]
pub fn test(harness: &dyn Harness, id: &str) {
    let rule = RULES.iter().find(|rule| rule.id == id);
    let rule = rule.expect("the macros name only rules of the list");
    let runtime = runtime();
    let outcome = runtime.block_on(check(harness, rule));
    // A store that hangs in a call that never waits cannot be stopped, only left behind.
    runtime.shutdown_timeout(Duration::from_secs(5));
    match outcome.verdict {
        Verdict::Passed => {}
        Verdict::Failed(failure) => panic!("{}\n{failure}", rule.sentence),
        Verdict::DoesNotApply => panic!("the harness does not claim to be {:?}", rule.needs),
    }
}

/// Two threads, so that tasks of one case do run at once.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let built = builder.worker_threads(2).enable_all().build();
    built.expect("a machine that runs tests can start two threads")
}
