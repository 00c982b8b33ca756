//! What became of the rules, for people.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use crate::harness::{Capabilities, Versions};
use crate::rule::{Needs, Rule};
use crate::run::Seed;
use crate::{Failure, failure};

/// How many failures a report shows in full. With the rest of it they fit a screen of 40 lines.
const IN_FULL: usize = 3;
/// How many bytes of what was expected, and of what was got, a report shows.
const BYTES: usize = 120;
/// How wide the lines are that a report breaks itself.
const WIDTH: usize = 78;

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
    /// The backend does not claim to have what the rule is about. Another rule applies instead.
    DoesNotApply,
    /// The harness lacks the hook by which it could be seen.
    HookAbsent,
}

/// What became of each rule. `Display` is a summary that fits a screen, however many failed;
/// [`table`](Self::table) names every rule.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was tested.
    pub backend: String,
    /// In which versions.
    pub versions: Versions,
    /// What the backend claims.
    pub capabilities: Capabilities,
    /// What random choices came from.
    pub seed: Seed,
    /// What to type before a rule's id to have just that rule checked again.
    pub again: String,
    /// One for each rule, in the order of the list.
    pub outcomes: Vec<Outcome>,
}

impl Report {
    /// The failures.
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.failed().map(|(_, failure)| failure)
    }

    fn failed(&self) -> impl Iterator<Item = (&'static Rule, &Failure)> {
        self.outcomes
            .iter()
            .filter_map(|outcome| match &outcome.verdict {
                Verdict::Failed(failure) => Some((outcome.rule, failure)),
                Verdict::Passed | Verdict::DoesNotApply | Verdict::HookAbsent => None,
            })
    }

    /// Whether at least one case ran and none failed.
    pub fn is_success(&self) -> bool {
        let ran = |outcome: &Outcome| matches!(outcome.verdict, Verdict::Passed);
        self.failures().next().is_none() && self.outcomes.iter().any(ran)
    }

    /// Every rule with its verdict, a line each.
    pub fn table(&self) -> impl fmt::Display + '_ {
        Table(self)
    }

    fn count(&self, wanted: impl Fn(&Verdict) -> bool) -> usize {
        let matching = self
            .outcomes
            .iter()
            .filter(|outcome| wanted(&outcome.verdict));
        matching.count()
    }

    /// The first failures, passing over those that look like one before.
    fn telling(&self) -> Vec<(&'static Rule, &Failure)> {
        let mut seen = HashSet::new();
        let telling = self
            .failed()
            .filter(|(_, failure)| seen.insert(&failure.got));
        telling.take(IN_FULL).collect()
    }

    /// How many rules of each subject failed, of how many that were checked.
    fn by_subject(&self) -> Vec<String> {
        let mut subjects: Vec<(&str, usize, usize)> = Vec::new();
        for Outcome { rule, verdict } in &self.outcomes {
            let failed = match verdict {
                Verdict::Passed => 0,
                Verdict::Failed(_) => 1,
                Verdict::DoesNotApply | Verdict::HookAbsent => continue,
            };
            match subjects.last_mut() {
                Some(last) if last.0 == rule.subject() => {
                    last.1 += failed;
                    last.2 += 1;
                }
                _ => subjects.push((rule.subject(), failed, 1)),
            }
        }
        let broken = subjects.into_iter().filter(|(_, failed, _)| *failed > 0);
        broken
            .map(|(subject, failed, all)| format!("{subject} {failed} of {all}"))
            .collect()
    }

    /// Why rules were not checked, and how many for each reason.
    fn unchecked(&self) -> BTreeMap<&'static str, usize> {
        let mut reasons = BTreeMap::new();
        for Outcome { rule, verdict } in &self.outcomes {
            if matches!(verdict, Verdict::DoesNotApply | Verdict::HookAbsent) {
                *reasons.entry(Needs::lacking(rule.needs)).or_default() += 1;
            }
        }
        reasons
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let telling = self.telling();
        for (rule, failure) in &telling {
            writeln!(f, "FAILED {} {}", rule.id, rule.sentence)?;
            writeln!(f, "  expected: {}", failure::cut(&failure.expected, BYTES))?;
            writeln!(f, "       got: {}", failure::cut(&failure.got, BYTES))?;
            if telling.len() == 1 {
                for call in &failure.calls {
                    writeln!(f, "     after: {}", failure::cut(call, BYTES))?;
                }
            }
            writeln!(f, "        at: {}", failure.location)?;
            if !self.again.is_empty() {
                writeln!(f, "     again: {} {}", self.again, rule.id)?;
            }
        }
        let failed = self.failures().count();
        if failed > telling.len() {
            let subjects = self.by_subject();
            writeln!(f, "\nand {} more; of each subject:", failed - telling.len())?;
            for line in wrapped(&subjects) {
                writeln!(f, "  {line}")?;
            }
        }
        let unchecked = self.unchecked();
        if !unchecked.is_empty() {
            writeln!(f, "\nnot checked:")?;
        }
        for (reason, rules) in unchecked {
            writeln!(f, "  {rules:>3} rules: {reason}")?;
        }
        let passed = self.count(|verdict| matches!(verdict, Verdict::Passed));
        let inapplicable = self.count(|verdict| matches!(verdict, Verdict::DoesNotApply));
        let hooks = self.count(|verdict| matches!(verdict, Verdict::HookAbsent));
        write!(
            f,
            "\n{}, seed {}\n{passed} passed, {failed} failed, {inapplicable} do not apply, \
             {hooks} need a hook that is absent",
            self.backend, self.seed
        )
    }
}

/// The words in lines, with commas between them.
fn wrapped(words: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.len() + 2 + word.len() <= WIDTH => {
                line.push_str(", ");
                line.push_str(word);
            }
            _ => lines.push(word.clone()),
        }
    }
    lines
}

struct Table<'a>(&'a Report);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Outcome { rule, verdict } in &self.0.outcomes {
            let word = match verdict {
                Verdict::Passed => "ok",
                Verdict::Failed(_) => "FAILED",
                Verdict::DoesNotApply => "-",
                Verdict::HookAbsent => "no hook",
            };
            writeln!(
                f,
                "{:<15} {:<6} {word:<7} {}",
                rule.id, rule.level, rule.sentence
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RULES;

    fn report(verdict: impl Fn(usize) -> Verdict) -> Report {
        let outcomes = RULES.iter().enumerate().map(|(index, rule)| Outcome {
            rule,
            verdict: verdict(index),
        });
        Report {
            backend: "a store".to_owned(),
            versions: Versions::default(),
            capabilities: Capabilities::default(),
            seed: Seed(7),
            again: "jobstore conformance".to_owned(),
            outcomes: outcomes.collect(),
        }
    }

    /// How many lines of a terminal of 80 columns a text takes.
    fn lines(text: &str) -> usize {
        text.lines()
            .map(|line| line.chars().count().div_ceil(80).max(1))
            .sum()
    }

    #[test]
    fn when_every_rule_fails_in_its_own_long_way_the_report_fits_a_screen() {
        let long = |index| Failure::new("x".repeat(900), format!("{index} {}", "y".repeat(900)));
        let report = report(|index| Verdict::Failed(long(index).of(RULES[index].id)));
        let text = report.to_string();
        assert!(lines(&text) <= 40, "{} lines:\n{text}", lines(&text));
        for wanted in [
            "CREATE-001 Every field given",
            "expected: xxx",
            "got: 0 yyy",
            "again: jobstore conformance CREATE-001",
            "claim 26 of 26",
            "0 passed",
        ] {
            assert!(text.contains(wanted), "{wanted:?} in\n{text}");
        }
    }

    #[test]
    fn failures_that_look_alike_are_shown_once() {
        let report = report(|index| match index {
            0..100 => Verdict::Failed(Failure::new("success", "the server is gone")),
            100 => Verdict::Failed(Failure::new("one", "two")),
            _ => Verdict::Passed,
        });
        let text = report.to_string();
        assert_eq!(text.matches("FAILED").count(), 2, "{text}");
        assert!(text.contains("got: two"), "{text}");
    }

    #[test]
    fn what_was_not_checked_is_said_with_its_reason() {
        let report = report(|index| match RULES[index].needs {
            Needs::Kill => Verdict::HookAbsent,
            Needs::Shared => Verdict::DoesNotApply,
            _ => Verdict::Passed,
        });
        let text = report.to_string();
        assert!(text.contains("no hook to kill"), "{text}");
        assert!(text.contains("not claim to be shared"), "{text}");
        assert!(text.contains("0 failed"), "{text}");
    }
}
