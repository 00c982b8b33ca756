//! Who is measured, and beside which setting of ours.

use clap::ValueEnum;
use jobstore_peers_harness::Operation;

/// Which engine jobs are kept in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Engine {
    Postgres,
    Sqlite,
}

impl Engine {
    pub(crate) const ALL: [Self; 2] = [Self::Postgres, Self::Sqlite];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Sqlite => "SQLite",
        }
    }

    /// The entries of ours on this engine, the most durable first.
    pub(crate) fn ours(self) -> impl Iterator<Item = &'static Entry> {
        ENTRIES
            .iter()
            .filter(move |entry| entry.engine == self && entry.beside.is_empty())
    }

    /// The peers on this engine.
    pub(crate) fn peers(self) -> impl Iterator<Item = &'static Entry> {
        ENTRIES
            .iter()
            .filter(move |entry| entry.engine == self && !entry.beside.is_empty())
    }
}

/// A contender: a program, and what it is started with before the place of its database.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    /// What the command line calls it.
    pub(crate) name: &'static str,
    pub(crate) engine: Engine,
    pub(crate) program: Program,
    pub(crate) arguments: &'static [&'static str],
    /// The entries of ours that it is compared with; none for ours.
    pub(crate) beside: &'static [&'static str],
}

/// What runs a contender.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Program {
    /// A binary of one of [`WORKSPACES`].
    Binary(&'static str),
    /// A script beside this package, with the packages it needs.
    Python(&'static str),
}

/// The folders of the packages that have the binaries.
pub(crate) const WORKSPACES: [&str; 3] = ["sqlx-09", "sqlx-08", "rusqlite"];

const POSTGRES: &[&str] = &["ours-postgres", "ours-postgres-single"];
const FULL: &[&str] = &["ours-full", "ours-full-single"];
const NORMAL: &[&str] = &[
    "ours-full",
    "ours-full-single",
    "ours-normal",
    "ours-normal-single",
];

/// Everybody.
pub(crate) const ENTRIES: [Entry; 19] = [
    postgres("ours-postgres", "ours", &["batches", "postgres"], &[]),
    postgres("ours-postgres-single", "ours", &["single", "postgres"], &[]),
    postgres("apalis-postgres", "apalis-postgres", &[], POSTGRES),
    postgres("graphile", "graphile", &[], POSTGRES),
    postgres("fang", "fang", &[], POSTGRES),
    postgres("underway", "underway", &[], POSTGRES),
    postgres("sqlxmq", "sqlxmq", &[], POSTGRES),
    postgres("awa", "awa", &[], POSTGRES),
    postgres("azums", "azums", &[], POSTGRES),
    sqlite("ours-full", "ours", &["batches", "sqlite-full"], &[]),
    sqlite("ours-full-single", "ours", &["single", "sqlite-full"], &[]),
    sqlite("ours-normal", "ours", &["batches", "sqlite-normal"], &[]),
    sqlite(
        "ours-normal-single",
        "ours",
        &["single", "sqlite-normal"],
        &[],
    ),
    sqlite("effectum", "effectum", &["as-is"], NORMAL),
    sqlite("effectum-wal", "effectum", &["wal"], NORMAL),
    sqlite("taskito", "taskito", &[], NORMAL),
    sqlite("apalis-full", "apalis-sqlite", &["full"], FULL),
    sqlite("apalis-setup", "apalis-sqlite", &["setup"], NORMAL),
    Entry {
        name: "mlflow",
        engine: Engine::Sqlite,
        program: Program::Python("mlflow/contender.py"),
        arguments: &[],
        beside: FULL,
    },
];

const fn postgres(
    name: &'static str,
    binary: &'static str,
    arguments: &'static [&'static str],
    beside: &'static [&'static str],
) -> Entry {
    Entry {
        name,
        engine: Engine::Postgres,
        program: Program::Binary(binary),
        arguments,
        beside,
    }
}

const fn sqlite(
    name: &'static str,
    binary: &'static str,
    arguments: &'static [&'static str],
    beside: &'static [&'static str],
) -> Entry {
    Entry {
        name,
        engine: Engine::Sqlite,
        program: Program::Binary(binary),
        arguments,
        beside,
    }
}

/// How many jobs wait before an operation begins.
pub(crate) fn jobs_before(operation: Operation) -> usize {
    match operation.needs() {
        Operation::Work | Operation::WorkDelete | Operation::Walk => 40_000,
        Operation::FirstPage | Operation::DeepPage => 100_000,
        _ => 0,
    }
}

/// Whether an operation changes nothing, so that its rounds can share a database.
pub(crate) fn only_reads(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::FirstPage | Operation::DeepPage | Operation::Walk
    )
}
