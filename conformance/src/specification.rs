//! The rules as a document.

use std::fmt::Write as _;

use crate::rule::{Needs, RULES, Rule};

/// The written specification, in Markdown: every rule with its id, its level and its sentence.
pub fn specification() -> String {
    let mut text = String::from(
        "# Specification\n\n\
         <!-- Made by `cargo xtask docs` from the rules of jobstore-conformance: change those. -->\n\n\
         What every job store keeps, rule by rule. The documentation of the trait `JobStore` in \
         `jobstore-core` says what the words mean; here each promise has a number, and the test of \
         that name checks it. A number keeps its meaning for ever and is never given again.\n\n",
    );
    let must = RULES.iter().filter(|rule| rule.level == crate::Level::Must);
    let _ = writeln!(
        text,
        "There are {} rules. {} of them *must* be kept; a store that breaks another, which it \
         *should* keep, is worse than it could be.",
        RULES.len(),
        must.count()
    );
    for needs in Needs::ALL {
        let rules: Vec<&Rule> = RULES.iter().filter(|rule| rule.needs == needs).collect();
        let _ = writeln!(text, "\n## {}\n", heading(needs));
        let mut subject = "";
        for rule in rules {
            if rule.subject() != subject {
                subject = rule.subject();
                let _ = writeln!(
                    text,
                    "{}### {subject}\n\n| rule | | |\n| --- | --- | --- |",
                    if text.ends_with("\n\n") { "" } else { "\n" }
                );
            }
            let _ = writeln!(text, "| {} | {} | {} |", rule.id, rule.level, rule.sentence);
        }
    }
    text
}

fn heading(needs: Needs) -> &'static str {
    match needs {
        Needs::Nothing => "Rules for every store",
        Needs::Durable => "Rules for stores that keep their jobs when they are closed",
        Needs::Volatile => "Rules for stores that do not claim to keep their jobs",
        Needs::Shared => "Rules for stores that several handles may have open",
        Needs::Exclusive => "Rules for stores that one handle may have open",
        Needs::Arrivals => "Rules for stores that tell of jobs which can be claimed",
        Needs::Tamper => "Rules about rows that other programs have written",
        Needs::Requests => "Rules about what calls ask of the engine",
        Needs::Kill => "Rules about the death of the process that holds the jobs",
        Needs::PowerCut => "Rules about power cuts",
    }
}
