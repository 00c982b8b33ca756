//! The rules: what they say, and the case that checks each.

use std::fmt;

use futures_util::future::BoxFuture;

use crate::cases::{
    arrival, batch, claim, concurrency, cost, count, create, delete, durable, exclusive, fault,
    get, input, kill, lease, list, matrix, params, power, repeat, row, shared, text, time, token,
    transition, unique, volatile,
};
use crate::harness::{Capabilities, Surroundings};
use crate::{CaseResult, Cx};

/// One rule of the contract, and the case that checks it.
#[derive(Clone, Copy)]
pub struct Rule {
    /// Stays the same for ever, even where the sentence is put better.
    pub id: &'static str,
    /// How binding it is.
    pub level: Level,
    /// The subject and the case's name, as in the names of the tests: `claim::…`.
    pub name: &'static str,
    /// What a store promises.
    pub sentence: &'static str,
    /// What must be there for the rule to apply.
    pub needs: Needs,
    case: for<'a> fn(&'a Cx) -> BoxFuture<'a, CaseResult>,
}

/// How binding a rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// A store that breaks it is wrong.
    Must,
    /// A store that breaks it is worse than it could be.
    Should,
}

/// What must be there for a rule to apply.
///
/// A capability that a backend does not claim is no reason to ask nothing: other rules say what
/// holds instead, [`Volatile`](Self::Volatile) and [`Exclusive`](Self::Exclusive).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// The rule is for every backend.
    Nothing,
    /// [`Capabilities::durable`].
    Durable,
    /// No claim to be durable.
    Volatile,
    /// [`Capabilities::shared`].
    Shared,
    /// No claim to be shared.
    Exclusive,
    /// [`Capabilities::arrivals`].
    Arrivals,
    /// The hook [`Surroundings::tamper`].
    Tamper,
    /// The hook [`Surroundings::requests`].
    Requests,
    /// The hook [`Surroundings::kill`].
    Kill,
    /// The hook [`Surroundings::power_cut`].
    PowerCut,
}

impl Needs {
    /// Everything that may be needed, in the order of the list of rules.
    pub const ALL: [Self; 10] = [
        Self::Nothing,
        Self::Durable,
        Self::Volatile,
        Self::Shared,
        Self::Exclusive,
        Self::Arrivals,
        Self::Tamper,
        Self::Requests,
        Self::Kill,
        Self::PowerCut,
    ];

    /// The word that the macro of the tests and certificates have for what is needed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Durable => "durable",
            Self::Volatile => "volatile",
            Self::Shared => "shared",
            Self::Exclusive => "exclusive",
            Self::Arrivals => "arrivals",
            Self::Tamper => "tamper",
            Self::Requests => "requests",
            Self::Kill => "kill",
            Self::PowerCut => "power_cut",
        }
    }

    /// Why a rule that needs this is not asked of a backend without it.
    pub fn lacking(self) -> &'static str {
        match self {
            Self::Nothing => "nothing is lacking",
            Self::Durable => "the backend does not claim to be durable",
            Self::Volatile => "the backend is durable",
            Self::Shared => "the backend does not claim to be shared",
            Self::Exclusive => "the backend is shared",
            Self::Arrivals => "the backend does not tell of arrivals",
            Self::Tamper => "the harness has no hook to tamper with a row",
            Self::Requests => "the harness has no hook to count requests",
            Self::Kill => "the harness has no hook to kill",
            Self::PowerCut => "the harness has no hook to cut the power",
        }
    }

    /// Whether a hook is needed, and not a capability.
    pub fn is_hook(self) -> bool {
        matches!(
            self,
            Self::Tamper | Self::Requests | Self::Kill | Self::PowerCut
        )
    }

    /// Whether what is needed is there.
    pub(crate) fn are_met(self, capabilities: Capabilities, around: &dyn Surroundings) -> bool {
        match self {
            Self::Nothing => true,
            Self::Durable => capabilities.durable,
            Self::Volatile => !capabilities.durable,
            Self::Shared => capabilities.shared,
            Self::Exclusive => !capabilities.shared,
            Self::Arrivals => capabilities.arrivals,
            Self::Tamper => around.tamper().is_some(),
            Self::Requests => around.requests().is_some(),
            Self::Kill => around.kill().is_some(),
            Self::PowerCut => around.power_cut().is_some(),
        }
    }
}

impl Rule {
    /// Whether the id or the name contains this text.
    pub fn is_named(&self, filter: &str) -> bool {
        self.id.contains(filter) || self.name.contains(filter)
    }

    /// What the rule is about: the first part of its name.
    pub fn subject(&self) -> &'static str {
        self.name
            .split_once("::")
            .map_or(self.name, |(subject, _)| subject)
    }

    pub(crate) async fn run(&self, cx: &Cx) -> CaseResult {
        (self.case)(cx).await
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.name)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Must => "must",
            Self::Should => "should",
        })
    }
}

macro_rules! rules {
    ([] $($needs:ident { $($subject:ident { $($id:literal $level:ident $case:ident $sentence:literal;)+ })+ })+) => {
        /// Every rule, in the order of the list.
        pub static RULES: &[Rule] = &[$($($(
            Rule {
                id: $id,
                level: Level::$level,
                name: concat!(stringify!($subject), "::", stringify!($case)),
                sentence: $sentence,
                needs: Needs::$needs,
                case: |cx| Box::pin($subject::$case(cx)),
            },
        )+)+)+];
    };
}

crate::for_each_rule!(rules![]);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    #[test]
    fn ids_and_names_are_unique_and_ids_start_with_their_subject() {
        let ids: HashSet<&str> = RULES.iter().map(|rule| rule.id).collect();
        let names: HashSet<&str> = RULES.iter().map(|rule| rule.name).collect();
        assert_eq!((ids.len(), names.len()), (RULES.len(), RULES.len()));
        for rule in RULES {
            let number = rule
                .id
                .strip_prefix(&format!("{}-", rule.subject().to_uppercase()));
            let number = number.unwrap_or_else(|| panic!("{rule:?}"));
            assert!(
                number.len() == 3 && number.parse::<u16>().is_ok(),
                "{rule:?}"
            );
            assert!(rule.sentence.ends_with('.'), "{rule:?}");
        }
    }

    /// Every case in the files of cases stands in the list: one that nobody names would never run.
    #[test]
    fn every_case_is_the_case_of_a_rule() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cases");
        let mut cases = 0;
        for path in files(&folder) {
            // A subject of several files has a folder of its name.
            let below = path.strip_prefix(&folder).expect("is in it");
            let subject = below.components().next().expect("has a name");
            let subject = Path::new(subject.as_os_str()).file_stem();
            let subject = subject.expect("has a name").to_string_lossy();
            let text = fs::read_to_string(&path).expect("reads");
            let cases_here = text.lines().filter_map(|line| {
                let name = line.strip_prefix("pub(crate) async fn ")?;
                name.split_once("(cx: &Cx) -> CaseResult {")
            });
            for (case, _) in cases_here {
                let name = format!("{subject}::{case}");
                assert!(RULES.iter().any(|rule| rule.name == name), "{name}");
                cases += 1;
            }
        }
        assert_eq!(cases, RULES.len());
    }
    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).expect("reads");
        let paths = entries.map(|entry| entry.expect("reads").path());
        let files = paths.map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        });
        files.flatten().collect()
    }
}
