//! The main job on real input: a checksum of every file of this project, computed by jobs.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{cargo, display, root, run};

/// What a job runs: takes the path out of its params and hashes the file.
const CHECKSUM: &str = r#"sha256sum "$(sed 's/.*":"//; s/".*//')""#;

/// Submits, works, lists and counts, and has `sha256sum` itself check the results.
pub(crate) fn demo() -> Result<()> {
    run(&mut cargo("build --quiet --package jobstore-cli"))?;
    // Cargo puts all binaries of a profile into one directory, and this one is there.
    let this = env::current_exe().context("could not find this program")?;
    let jobstore = this.with_file_name("jobstore");
    let directory = tempfile::tempdir().context("could not make a directory")?;
    let jobs = directory.path().join("jobs.jsonl");
    let url = format!("sqlite://{}", directory.path().join("jobs.db").display());
    let root = root();
    let command = |args: &[&str]| {
        let mut command = Command::new(&jobstore);
        command.args(args).env("JOBSTORE_URL", &url);
        command.current_dir(&root);
        command
    };

    let files = files(&root)?;
    let lines = files.iter().map(|path| {
        let job = json!({ "job_name": "checksum", "params": { "path": path } });
        format!("{job}\n")
    });
    fs::write(&jobs, lines.collect::<String>()).context("could not write the jobs")?;
    eprintln!("# one job for each of {} files", files.len());

    let jobs = jobs.to_string_lossy();
    run(&mut command(&["submit", "--file", &jobs]))?;
    let worker = "work checksum --concurrency 8 --until-empty -- sh -c";
    let worker: Vec<&str> = worker.split(' ').chain([CHECKSUM]).collect();
    eprintln!("# a line for each job, not shown here");
    run(command(&worker).stdout(Stdio::null()))?;
    run(&mut command(&["list", "--limit", "10"]))?;
    run(&mut command(&["count"]))?;

    let mut list = command(&["--json", "list", "--all"]);
    eprintln!("$ {}", display(&list));
    let output = list.output().context("could not list the jobs")?;
    ensure!(output.status.success(), "could not list the jobs");
    let mut results = String::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let job: Value = serde_json::from_str(line)?;
        results.push_str(
            job["result"]
                .as_str()
                .with_context(|| format!("no result: {line}"))?,
        );
    }
    ensure!(results.lines().count() == files.len(), "a job is missing");
    let sums = directory.path().join("SHA256SUMS");
    fs::write(&sums, results).context("could not write the results")?;
    let mut check = Command::new("sha256sum");
    run(check
        .args(["--check", "--quiet"])
        .arg(&sums)
        .current_dir(&root))?;
    eprintln!(
        "# {} jobs succeeded, and every result is right",
        files.len()
    );
    Ok(())
}

/// The files that git tracks; without git, those of the source folders.
fn files(root: &Path) -> Result<Vec<String>> {
    let tracked = Command::new("git")
        .arg("ls-files")
        .current_dir(root)
        .output();
    let mut files: Vec<String> = match tracked {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    };
    if files.is_empty() {
        walk(root, Path::new(""), &mut files)?;
    }
    // A file may be tracked and deleted, and git quotes names that are out of the ordinary.
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    files.retain(|path| path.chars().all(plain) && root.join(path).is_file());
    files.dedup(); // in the middle of a merge git names some files several times
    ensure!(!files.is_empty(), "no files found");
    Ok(files)
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(root.join(folder)).context("could not read a folder")? {
        let entry = entry?;
        let name = entry.file_name();
        if name == "target" || name.to_string_lossy().starts_with('.') {
            continue;
        }
        let path: PathBuf = folder.join(&name);
        if entry.file_type()?.is_dir() {
            walk(root, &path, files)?;
        } else {
            files.extend(path.to_str().map(str::to_owned));
        }
    }
    Ok(())
}
