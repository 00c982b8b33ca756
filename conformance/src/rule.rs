//! The rules: what they say, and the case that checks each.

use std::fmt;

use futures_util::future::BoxFuture;

use crate::cases::{
    batch, claim, concurrency, count, create, delete, durable, fault, get, input, lease, list,
    matrix, params, repeat, shared, text, time, token, transition, unique,
};
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
    /// What a backend must claim to have for the rule to apply.
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

/// What a backend must claim to have for a rule to apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// The rule is for every backend.
    Nothing,
    /// [`Capabilities::durable`](crate::Capabilities::durable).
    Durable,
    /// [`Capabilities::shared`](crate::Capabilities::shared).
    Shared,
}

impl Rule {
    /// Whether the id or the name contains this text.
    pub fn is_named(&self, filter: &str) -> bool {
        self.id.contains(filter) || self.name.contains(filter)
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

    use super::*;

    #[test]
    fn ids_and_names_are_unique_and_ids_start_with_their_subject() {
        let ids: HashSet<&str> = RULES.iter().map(|rule| rule.id).collect();
        let names: HashSet<&str> = RULES.iter().map(|rule| rule.name).collect();
        assert_eq!((ids.len(), names.len()), (RULES.len(), RULES.len()));
        for rule in RULES {
            let (subject, _) = rule.name.split_once("::").expect("has a subject");
            let number = rule
                .id
                .strip_prefix(&format!("{}-", subject.to_uppercase()));
            let number = number.unwrap_or_else(|| panic!("{rule:?}"));
            assert!(
                number.len() == 3 && number.parse::<u16>().is_ok(),
                "{rule:?}"
            );
            assert!(rule.sentence.ends_with('.'), "{rule:?}");
        }
    }
}
