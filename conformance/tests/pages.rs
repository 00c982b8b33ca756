//! The pages of `docs/` that are written by hand and name rules, tests or code.

use std::fs;
use std::path::{Path, PathBuf};

use jobstore_conformance::RULES;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_rule(word: &str) -> bool {
    word.split_once('-').is_some_and(|(subject, number)| {
        let upper = |c: char| c.is_ascii_uppercase();
        let digit = |c: char| c.is_ascii_digit();
        !subject.is_empty() && subject.chars().all(upper) && number.chars().all(digit)
    })
}

#[test]
fn every_hazard_names_rules_and_tests_that_exist() {
    let page = read("docs/hazards.md");
    let (mut rules, mut tests) = (0, 0);
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        assert_eq!(cells.len(), 2, "{row}");
        assert!(!cells[1].trim().is_empty(), "says nothing: {row}");
        for word in quoted(cells[1]) {
            if is_rule(word) {
                assert!(RULES.iter().any(|rule| rule.id == word), "no rule {word}");
                rules += 1;
            } else if let Some((file, test)) = word.split_once("::") {
                let found = read(file).contains(&format!("fn {test}("));
                assert!(found, "no test {test} in {file}");
                tests += 1;
            }
        }
    }
    assert!(rules > 100 && tests > 30, "{rules} rules, {tests} tests");
}

#[test]
fn the_code_in_the_guide_is_the_code_of_the_example() {
    let example = read("conformance/examples/journal.rs");
    let guide = read("docs/writing-a-backend.md");
    let blocks = guide.split("```rust\n").skip(1);
    let mut compared = 0;
    for block in blocks {
        let (code, _) = block.split_once("```").expect("a block ends");
        assert!(example.contains(code), "not in the example:\n{code}");
        compared += 1;
    }
    assert!(compared > 5, "{compared} blocks");
}
