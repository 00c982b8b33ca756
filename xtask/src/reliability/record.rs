//! What came of all runs: a line of JSON each.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;
use serde_json::{Value, json};

use super::part::{Lengths, Outcome, Part, name};
use super::{Backend, What};
use crate::documents::today;
use crate::root;

/// Adds a line, and tells it.
pub(super) fn add(part: &Part, lengths: Lengths, outcome: &Outcome) -> Result<()> {
    let mut line = json!({
        "backend": name(part.backend),
        "what": name(part.what),
        "short": lengths == Lengths::Short,
        "asked": outcome.asked,
        "done": outcome.done,
        "failed": outcome.failed,
        "seconds": (outcome.took.as_secs_f64() * 10.0).round() / 10.0,
        "engine": engine(part)?,
        "rustc": said_by("rustc", &["--version"])?,
        "date": today()?,
        "commit": said_by("git", &["describe", "--always", "--dirty"])?,
    });
    if let Some(fields) = line.as_object_mut() {
        fields.extend(outcome.more.clone());
    }
    let file = File::options().create(true).append(true).open(path());
    let mut file = file.context("no file for what came of it")?;
    writeln!(file, "{line}")?;
    eprintln!("# {line}");
    Ok(())
}

/// The latest full run of each part, in Markdown.
pub(super) fn table() -> Result<String> {
    let text = fs::read_to_string(path()).context("nothing was run yet")?;
    table_of(&text)
}

/// The columns, and the fields that are in them.
const COLUMNS: [(&str, &str); 11] = [
    ("what", "what"),
    ("backend", "backend"),
    ("asked", "asked"),
    ("done", "done"),
    ("failed", "failed"),
    ("acknowledged changes", "acknowledged"),
    ("ends before any", "silent"),
    ("seconds", "seconds"),
    ("engine", "engine"),
    ("date", "date"),
    ("commit", "commit"),
];

fn table_of(text: &str) -> Result<String> {
    let mut latest = BTreeMap::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).context("a line is not JSON")?;
        if line["short"] == json!(false) {
            latest.insert((word(&line["what"]), word(&line["backend"])), line);
        }
    }
    let mut table = String::new();
    row(&mut table, COLUMNS.map(|(title, _)| title.to_owned()));
    row(&mut table, COLUMNS.map(|_| "---".to_owned()));
    for what in What::value_variants() {
        for backend in Backend::value_variants() {
            if let Some(line) = latest.get(&(name(*what), name(*backend))) {
                row(&mut table, COLUMNS.map(|(_, field)| word(&line[field])));
            }
        }
    }
    Ok(table)
}

fn row(table: &mut String, words: [String; COLUMNS.len()]) {
    table.push_str(&format!("| {} |\n", words.join(" | ")));
}

/// A value as people read it; nothing where there is none.
fn word(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_u64() {
            Some(number) => in_thousands(number),
            None => number.to_string(),
        },
        other => other.to_string(),
    }
}

fn in_thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The engine and its version.
fn engine(part: &Part) -> Result<String> {
    let package = match part.backend {
        Backend::Memory => return Ok(String::new()),
        Backend::Sqlite => "libsqlite3-sys",
        Backend::Sled => "sled",
        Backend::Redb => "redb",
        Backend::Postgres | Backend::Mariadb => {
            let kind = part.backend.server().context("it has a server")?;
            // Those whose power is cut are private ones.
            let named = !part.what.is_an_end() && std::env::var_os(kind.variable()).is_some();
            return match named {
                true => Ok(format!("the server of {}", kind.variable())),
                false => Ok(format!("{} {}", kind.name(), kind.version()?)),
            };
        }
    };
    let lock = fs::read_to_string(root().join("Cargo.lock")).context("no Cargo.lock")?;
    let entry = format!("name = \"{package}\"\nversion = \"");
    let version = lock
        .split_once(&entry)
        .and_then(|(_, rest)| rest.split('"').next());
    Ok(format!(
        "{package} {}",
        version.context("it is not locked")?
    ))
}

fn said_by(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(args)
        .current_dir(root())
        .output();
    let output = output.with_context(|| format!("could not start {program}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn path() -> PathBuf {
    root().join("target/reliability.jsonl")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_latest_full_run_of_each_part() {
        let line = |what: &str, short: bool, done: u64| {
            let line = json!({ "backend": "sled", "what": what, "short": short, "done": done });
            format!("{line}\n")
        };
        let lines = [
            line("kills", false, 1),
            line("kills", false, 12_345),
            line("kills", true, 2),
            line("model", false, 10_000),
        ];
        let table = table_of(&lines.concat()).expect("is understood");
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(rows.len(), 2, "{table}");
        assert!(
            rows[0].starts_with("| model | sled |  | 10,000 |"),
            "{table}"
        );
        assert!(
            rows[1].starts_with("| kills | sled |  | 12,345 |"),
            "{table}"
        );
    }
}
