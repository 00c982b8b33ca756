//! Running cases.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;
use std::time::Duration;

use proptest::test_runner::{RngAlgorithm, TestRng};

use crate::certificate::Record;
use crate::harness::Harness;
use crate::report::{Outcome, Report, Verdict};
use crate::rule::{Needs, RULES, Rule};
use crate::{Cx, Failure};

/// Longer than any case takes on a store that works: one that waits for ever is stopped.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the `#[test]`s take their seed from.
const SEED_VARIABLE: &str = "JOBSTORE_CONFORMANCE_SEED";

/// What random choices come from: the same seed makes the same choices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// One that nobody knows beforehand.
    pub fn random() -> Self {
        Self(RandomState::new().hash_one(0))
    }

    /// The seed of all tests of this process: that of the environment, or a random one.
    pub(crate) fn of_process() -> Self {
        static SEED: OnceLock<Seed> = OnceLock::new();
        *SEED.get_or_init(|| match std::env::var(SEED_VARIABLE) {
            Ok(text) => {
                Self(text.parse().unwrap_or_else(|_| {
                    panic!("{SEED_VARIABLE} is not a number of 64 bits: {text}")
                }))
            }
            Err(_) => Self::random(),
        })
    }

    pub(crate) fn rng(self) -> TestRng {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.0.to_le_bytes());
        TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Which rules to check, and how. A text is a selection of the rules whose id or name contains it.
#[derive(Clone, Debug)]
pub struct Selection {
    filter: String,
    seed: Seed,
    again: String,
}

impl Selection {
    /// The rules whose id, name or subject contains `filter`; empty means all.
    pub fn new(filter: impl Into<String>) -> Self {
        Self {
            filter: filter.into(),
            seed: Seed::random(),
            again: String::new(),
        }
    }

    /// Sets what random choices come from.
    #[must_use]
    pub fn with_seed(self, seed: Seed) -> Self {
        Self { seed, ..self }
    }

    /// Sets what to type before a rule's id to have just that rule checked again, for the report.
    #[must_use]
    pub fn with_again(self, again: impl Into<String>) -> Self {
        let again = again.into();
        Self { again, ..self }
    }
}

impl<T: Into<String>> From<T> for Selection {
    fn from(filter: T) -> Self {
        Self::new(filter)
    }
}

/// Checks the rules that are selected, each on a fresh store.
///
/// Needs a Tokio runtime.
///
/// ```no_run
/// # use jobstore_conformance::Harness;
/// # async fn example(harness: &dyn Harness) {
/// let report = jobstore_conformance::run(harness, "claim").await;
/// println!("{report}");
/// # }
/// ```
pub async fn run(harness: &dyn Harness, selection: impl Into<Selection>) -> Report {
    let selection = selection.into();
    let mut outcomes = Vec::new();
    for rule in RULES.iter().filter(|rule| rule.is_named(&selection.filter)) {
        outcomes.push(check_with(harness, rule, selection.seed).await);
    }
    Report {
        backend: harness
            .name()
            .unwrap_or("a backend without a name")
            .to_owned(),
        // An engine that cannot even be asked for its version has failed every rule before.
        versions: harness.versions().await.unwrap_or_default(),
        capabilities: harness.capabilities(),
        seed: selection.seed,
        again: selection.again,
        outcomes,
    }
}

/// Runs one case on a fresh store. A panic or a store that never answers is a failure.
///
/// Needs a Tokio runtime.
pub async fn check(harness: &dyn Harness, rule: &'static Rule) -> Outcome {
    check_with(harness, rule, Seed::random()).await
}

async fn check_with(harness: &dyn Harness, rule: &'static Rule, seed: Seed) -> Outcome {
    let verdict = match Cx::with_seed(harness, seed).await {
        Ok(cx) => match rule
            .needs
            .are_met(harness.capabilities(), cx.surroundings())
        {
            true => verdict(cx, rule).await,
            false if rule.needs.is_hook() => Verdict::HookAbsent,
            false => Verdict::DoesNotApply,
        },
        Err(error) => Verdict::Failed(Failure::from(error).when("opening a fresh store")),
    };
    let verdict = match verdict {
        Verdict::Failed(failure) => Verdict::Failed(failure.of(rule.id)),
        other => other,
    };
    Outcome { rule, verdict }
}

async fn verdict(cx: Cx, rule: &'static Rule) -> Verdict {
    let calls = cx.calls().clone();
    // A task of its own, so that a panic in the store is one failure and not the end.
    let case = tokio::spawn(async move { rule.run(&cx).await });
    let abort = case.abort_handle();
    let failure = match tokio::time::timeout(PATIENCE, case).await {
        Ok(Ok(Ok(()))) => return Verdict::Passed,
        Ok(Ok(Err(failure))) => failure,
        Ok(Err(panic)) => Failure::new("no panic", panic.to_string()),
        Err(_) => {
            abort.abort();
            let got = format!("nothing for {} s", PATIENCE.as_secs());
            Failure::new("an end", got)
        }
    };
    Verdict::Failed(failure.after(calls.latest()))
}

/// Where a `#[test]` is, so that a failure can say how to run just it.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub package: &'static str,
    /// `module_path!()`, which begins with the name of the test's crate.
    pub module: &'static str,
    pub case: &'static str,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            package,
            module,
            case,
        } = self;
        let module = module.split_once("::").map_or("", |(_, module)| module);
        write!(
            f,
            "cargo test --package {package} -- --exact {module}::{case}"
        )
    }
}

/// Runs the case with this id as a `#[test]` does: in a runtime of its own, panicking on failure.
///
/// # Panics
///
/// When the store does not keep the rule, or what the rule needs is not there.
#[doc(hidden)]
#[track_caller]
pub fn test(harness: &dyn Harness, id: &str, place: Place) {
    let rule = RULES.iter().find(|rule| rule.id == id);
    let rule = rule.expect("the macros name only rules of the list");
    let seed = Seed::of_process();
    let runtime = runtime();
    let outcome = runtime.block_on(check_with(harness, rule, seed));
    // A store that hangs in a call that never waits cannot be stopped, only left behind.
    runtime.shutdown_timeout(Duration::from_secs(5));
    Record::verdict(harness, &outcome);
    match outcome.verdict {
        Verdict::Passed => {}
        Verdict::Failed(failure) => panic!(
            "{}\n{failure}\n     again: {SEED_VARIABLE}={seed} {place}",
            rule.sentence
        ),
        Verdict::DoesNotApply | Verdict::HookAbsent => panic!("{}", rule.needs.lacking()),
    }
}

/// Fails unless the tests leave out exactly what is not there: `lacking` are the words after
/// `without` in the macro.
#[doc(hidden)]
#[track_caller]
pub fn test_what_is_lacking(harness: &dyn Harness, lacking: &[&str]) {
    let runtime = runtime();
    let (there, missing) = runtime.block_on(async {
        let cx = Cx::with_seed(harness, Seed::of_process()).await;
        let cx = cx.expect("a fresh store opens");
        let capabilities = harness.capabilities();
        // Of two that exclude each other, the macro names the one that may be claimed.
        Needs::ALL
            .into_iter()
            .filter(|needs| !matches!(needs, Needs::Nothing | Needs::Volatile | Needs::Exclusive))
            .partition::<Vec<_>, _>(|needs| needs.are_met(capabilities, cx.surroundings()))
    });
    let words = |needs: &[Needs]| needs.iter().map(|needs| needs.word()).collect::<Vec<_>>();
    let (there, missing) = (words(&there), words(&missing));
    for word in lacking {
        assert!(
            !there.contains(word),
            "the tests leave out what needs `{word}`, which is there"
        );
    }
    let unsaid: Vec<_> = missing
        .iter()
        .filter(|word| !lacking.contains(word))
        .collect();
    assert!(
        unsaid.is_empty(),
        "not there, though the tests ask for it: {unsaid:?}; write \
         conformance_tests!(…, without {})",
        missing.join(", ")
    );
    runtime.block_on(Record::begin(harness, &missing));
}

/// Two threads, so that tasks of one case do run at once.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let built = builder.worker_threads(2).enable_all().build();
    built.expect("a machine that runs tests can start two threads")
}
