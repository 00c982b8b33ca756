//! The machine, the versions and the settings.

use std::fs;
use std::process::Command;

use anyhow::Result;
use jobstore_benches::results::About;
use jobstore_benches::{Engine, Ground};

pub(crate) async fn about(engine: Engine, ground: &Ground) -> Result<About> {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<u64>().ok());
    Ok(About {
        date: said("date", &["--utc", "--iso-8601"]),
        cores: std::thread::available_parallelism()?.get(),
        memory: memory.unwrap_or_default() / 1024,
        system: said("uname", &["-sr"]),
        rustc: said("rustc", &["--version"]),
        commit: said("git", &["rev-parse", "--short", "HEAD"]),
        version: ground.version().await,
        settings: settings(engine).to_owned(),
        command: command(),
    })
}

/// What runs this program again.
pub(crate) fn command() -> String {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    format!("cargo run --release --package jobstore-benches --bin measure -- {arguments}")
}

/// What a returned call means, and what is not the default.
fn settings(engine: Engine) -> &'static str {
    match engine {
        Engine::Memory => "gone with the process",
        Engine::Sqlite => "on disk: WAL, synchronous=FULL",
        Engine::Sled => "on disk: an fsync of our own after each step; 64 MiB of cache",
        Engine::Redb => "on disk: Durability::Immediate; 64 MiB of cache",
        Engine::Postgres => {
            "on disk: a private server with its default settings, synchronous_commit=on"
        }
        Engine::MariaDb => {
            "on disk: a private server with its default settings, innodb_flush_log_at_trx_commit=1"
        }
    }
}

/// The first line that a program writes; empty where it cannot be run.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}
