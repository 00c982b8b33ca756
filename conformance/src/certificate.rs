//! What became of the rules, for programs and for the shelf.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::harness::Harness;
use crate::report::{Outcome, Report, Verdict};
use crate::rule::{Needs, RULES};
use crate::run::Seed;

/// The folder to which `#[test]`s add what they found, when it is set.
const RECORDS_VARIABLE: &str = "JOBSTORE_CONFORMANCE_RECORDS";

/// What a backend was found to keep: rules by verdict, and what was not looked at.
///
/// Made of a [`Report`], or of what the `#[test]`s of a backend have recorded: with
/// `JOBSTORE_CONFORMANCE_RECORDS` set to a folder, each adds a line to a file of its backend there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The version of this form.
    pub format: u32,
    /// The version of the suite.
    pub suite: String,
    /// What was tested.
    pub backend: String,
    /// Its version.
    pub backend_version: String,
    /// The engine under it, with its version.
    pub engine: String,
    /// The day, as the caller says.
    pub date: String,
    /// What random choices came from.
    pub seed: u64,
    /// What the backend claims.
    pub capabilities: BTreeSet<String>,
    /// The ids of the rules that it keeps.
    pub passed: Vec<String>,
    /// The rules that it breaks.
    pub failed: Vec<Broken>,
    /// The ids of rules about what the backend does not claim, by what that is. Of two such groups
    /// that exclude each other, one was checked.
    pub does_not_apply: BTreeMap<String, Vec<String>>,
    /// The ids of rules that could not be checked, by the hook that the harness lacks.
    pub hooks_absent: BTreeMap<String, Vec<String>>,
}

/// A rule that is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// The rule's id.
    pub rule: String,
    /// What the contract promises.
    pub expected: String,
    /// What the store did.
    pub got: String,
}

impl Certificate {
    fn empty() -> Self {
        Self {
            format: 1,
            suite: env!("CARGO_PKG_VERSION").to_owned(),
            backend: String::new(),
            backend_version: String::new(),
            engine: String::new(),
            date: String::new(),
            seed: 0,
            capabilities: BTreeSet::new(),
            passed: Vec::new(),
            failed: Vec::new(),
            does_not_apply: BTreeMap::new(),
            hooks_absent: BTreeMap::new(),
        }
    }

    /// The certificate of a report, of a day that the caller knows.
    pub fn of(report: &Report, date: &str) -> Self {
        let mut certificate = Self {
            backend: report.backend.clone(),
            backend_version: report.versions.backend.clone(),
            engine: report.versions.engine.clone(),
            date: date.to_owned(),
            seed: report.seed.0,
            ..Self::empty()
        };
        let claims = [
            (Needs::Durable, report.capabilities.durable),
            (Needs::Shared, report.capabilities.shared),
            (Needs::Arrivals, report.capabilities.arrivals),
        ];
        let claimed = claims.iter().filter(|(_, claimed)| *claimed);
        certificate.capabilities = claimed.map(|(needs, _)| needs.word().to_owned()).collect();
        for outcome in &report.outcomes {
            certificate.add(outcome);
        }
        certificate
    }

    fn add(&mut self, outcome: &Outcome) {
        let Outcome { rule, verdict } = outcome;
        let id = rule.id.to_owned();
        match verdict {
            Verdict::Passed => self.passed.push(id),
            Verdict::Failed(failure) => self.failed.push(Broken {
                rule: id,
                expected: failure.expected.clone(),
                got: failure.got.clone(),
            }),
            Verdict::DoesNotApply => {
                let group = self.does_not_apply.entry(rule.needs.word().to_owned());
                group.or_default().push(id);
            }
            Verdict::HookAbsent => {
                let group = self.hooks_absent.entry(rule.needs.word().to_owned());
                group.or_default().push(id);
            }
        }
    }

    /// The certificate of what the tests of one backend recorded.
    ///
    /// # Errors
    ///
    /// When a rule that applies was checked by no test, or the record is none, in words.
    pub fn of_record(record: &str, date: &str) -> Result<Self, String> {
        let mut begun = None;
        let mut verdicts = BTreeMap::new();
        for line in record.lines() {
            let line: Record = serde_json::from_str(line).map_err(|error| error.to_string())?;
            match line {
                Record::Begin {
                    certificate,
                    lacking,
                } => begun = Some((certificate, lacking)),
                Record::Verdict { rule, broken } => {
                    verdicts.insert(rule, broken);
                }
            }
        }
        let (mut certificate, lacking) = begun.ok_or("nobody recorded what is lacking")?;
        certificate.date = date.to_owned();
        for rule in RULES {
            let id = rule.id.to_owned();
            let lacks = |word: &str| lacking.iter().any(|lacking| lacking == word);
            let missing = match rule.needs {
                Needs::Nothing => false,
                Needs::Volatile => !lacks(Needs::Durable.word()),
                Needs::Exclusive => !lacks(Needs::Shared.word()),
                needs => lacks(needs.word()),
            };
            match verdicts.remove(rule.id) {
                Some(None) => certificate.passed.push(id),
                Some(Some(broken)) => certificate.failed.push(broken),
                None if missing => {
                    let groups = match rule.needs.is_hook() {
                        true => &mut certificate.hooks_absent,
                        false => &mut certificate.does_not_apply,
                    };
                    let group = groups.entry(rule.needs.word().to_owned());
                    group.or_default().push(id);
                }
                None => return Err(format!("{} was checked by no test", rule.id)),
            }
        }
        Ok(certificate)
    }

    /// The certificate as JSON, to be kept in a file.
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string_pretty(self);
        json.expect("texts, numbers and lists of them are JSON") + "\n"
    }

    /// How this certificate differs from another in what does not depend on the machine and the day:
    /// all but the engine's version, the date and the seed.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let one = Self {
            engine: other.engine.clone(),
            date: other.date.clone(),
            seed: other.seed,
            ..self.clone()
        };
        let lines = |certificate: &Self| -> BTreeSet<String> {
            let json = certificate.to_json();
            json.lines().map(|line| line.trim().to_owned()).collect()
        };
        if one == *other {
            return Vec::new();
        }
        let (one, other) = (lines(&one), lines(other));
        let differing = one
            .symmetric_difference(&other)
            .cloned()
            .collect::<Vec<_>>();
        match differing.is_empty() {
            true => vec!["the order of rules".to_owned()],
            false => differing,
        }
    }

    /// The name of the file for the certificate of a backend: `SQLite, in a file` is at home in
    /// `sqlite-in-a-file.json`.
    pub fn file_name(&self) -> String {
        format!("{}.json", slug(&self.backend))
    }
}

/// A table of certificates in Markdown.
pub fn table(certificates: &[Certificate]) -> String {
    let mut text = String::from(
        "| backend | engine | checked on | passed | failed | does not apply | hooks absent |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for certificate in certificates {
        let sum = |groups: &BTreeMap<String, Vec<String>>| -> usize {
            groups.values().map(Vec::len).sum()
        };
        let words = |groups: &BTreeMap<String, Vec<String>>| match groups.is_empty() {
            true => String::new(),
            false => {
                let words: Vec<&str> = groups.keys().map(String::as_str).collect();
                format!(" ({})", words.join(", "))
            }
        };
        let _ = writeln!(
            text,
            "| [{}]({}) | {} | {} | {} | {} | {}{} | {}{} |",
            certificate.backend,
            certificate.file_name(),
            certificate.engine,
            certificate.date,
            certificate.passed.len(),
            certificate.failed.len(),
            sum(&certificate.does_not_apply),
            words(&certificate.does_not_apply),
            sum(&certificate.hooks_absent),
            words(&certificate.hooks_absent),
        );
    }
    text
}

fn slug(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    words
        .map(str::to_ascii_lowercase)
        .collect::<Vec<_>>()
        .join("-")
}

/// A line that a test adds to the record of its backend.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Record {
    Begin {
        certificate: Certificate,
        lacking: Vec<String>,
    },
    Verdict {
        rule: String,
        broken: Option<Broken>,
    },
}

impl Record {
    /// Says what is tested, and what its tests leave out.
    pub(crate) async fn begin(harness: &dyn Harness, lacking: &[&str]) {
        let Some(file) = file(harness) else { return };
        let report = Report {
            backend: harness.name().unwrap_or_default().to_owned(),
            versions: harness
                .versions()
                .await
                .expect("the engine tells its version"),
            capabilities: harness.capabilities(),
            seed: Seed::of_process(),
            again: String::new(),
            outcomes: Vec::new(),
        };
        let lacking = lacking.iter().map(|word| (*word).to_owned()).collect();
        let certificate = Certificate::of(&report, "");
        Self::Begin {
            certificate,
            lacking,
        }
        .add_to(&file);
    }

    /// Says what became of a rule.
    pub(crate) fn verdict(harness: &dyn Harness, outcome: &Outcome) {
        let Some(file) = file(harness) else { return };
        let rule = outcome.rule.id.to_owned();
        let broken = match &outcome.verdict {
            Verdict::Passed => None,
            Verdict::Failed(failure) => Some(Broken {
                rule: rule.clone(),
                expected: failure.expected.clone(),
                got: failure.got.clone(),
            }),
            // Its test fails, so nobody makes a certificate of this record.
            Verdict::DoesNotApply | Verdict::HookAbsent => return,
        };
        Self::Verdict { rule, broken }.add_to(&file);
    }

    fn add_to(&self, file: &Path) {
        let line = serde_json::to_string(self).expect("texts and lists of them are JSON") + "\n";
        let opened = OpenOptions::new().create(true).append(true).open(file);
        // In one write, since tests of several threads add to the file.
        let written = opened.and_then(|mut file| file.write_all(line.as_bytes()));
        written.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

/// Where the tests of this harness record, if they do.
fn file(harness: &dyn Harness) -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os(RECORDS_VARIABLE)?);
    Some(folder.join(format!("{}.jsonl", slug(harness.name()?))))
}
