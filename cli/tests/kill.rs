//! The main job, with the worker killed halfway.
//!
//! `JOBSTORE_KILL_JOBS` says how many jobs: few by default, 10000 for the real thing.

mod common;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::process::Command;

use common::{Place, done, objects, text};

#[test]
fn every_job_succeeds_exactly_once_although_the_worker_is_killed() {
    let jobs: usize = match std::env::var("JOBSTORE_KILL_JOBS") {
        Ok(jobs) => jobs.parse().expect("JOBSTORE_KILL_JOBS is a number"),
        Err(_) => 400,
    };
    let place = Place::new();
    let expected = write_jobs(&place, jobs);
    place.ok(&["submit", "--file", "jobs.jsonl"]);

    let work = |output: &str| {
        let file = File::create(place.path().join(output)).expect("a file");
        let mut command = place.command(&[
            "--json",
            "work",
            "hash",
            "--concurrency",
            "8",
            "--until-empty",
            "--lease",
            "2s",
            "--backoff",
            "100ms",
            "--poll",
            "50ms",
            "--",
            "sha256sum",
        ]);
        command.stdout(file).spawn().expect("jobstore starts")
    };
    let mut worker = work("first.jsonl");
    place.wait_until("half of the jobs", || {
        place.count("SUCCEEDED") >= jobs as u64 / 2
    });
    worker.kill().expect("SIGKILL");
    worker.wait().expect("ends");
    let before = place.count("SUCCEEDED");
    assert!(
        before < jobs as u64,
        "killed too late: raise JOBSTORE_KILL_JOBS"
    );
    assert_eq!(done(work("second.jsonl")).code, Some(0));

    let all = place.json(&["list", "--all"]);
    assert_eq!(all.len(), jobs);
    let mut numbers = HashSet::new();
    for job in &all {
        let number = job["params"]["n"].as_u64().expect("a number");
        assert!(numbers.insert(number), "job {number} is there twice");
        assert_eq!(job["status"], "SUCCEEDED", "{job}");
        assert_eq!(
            job["result"].as_str(),
            expected.get(&number).map(String::as_str)
        );
        let runs = job["retry_count"].as_u64().map(|retries| retries + 1);
        assert_eq!(job["fence"].as_u64(), runs, "{job}");
    }
    // What a worker says it recorded, it and nobody else recorded. The first died before it could
    // say the last of it.
    let second = objects(&place.read("second.jsonl"));
    assert_eq!(second.len() as u64, jobs as u64 - before);
    let first = place.read("first.jsonl");
    let whole = first.rfind('\n').map_or("", |end| &first[..end]);
    let mut recorded = HashSet::new();
    for job in objects(whole).iter().chain(&second) {
        assert!(
            recorded.insert(text(&job["id"])),
            "{job} was recorded twice"
        );
    }
}

/// Writes the jobs file, and gives the result that each job must have.
fn write_jobs(place: &Place, jobs: usize) -> HashMap<u64, String> {
    let params = |number: usize| format!("{{\"n\":{number}}}");
    let lines = (0..jobs).map(|number| {
        let params = params(number);
        format!("{{\"job_name\":\"hash\",\"params\":{params}}}\n")
    });
    place.write("jobs.jsonl", lines.collect::<String>());
    let mut expected = HashMap::new();
    std::fs::create_dir(place.path().join("params")).expect("a directory");
    let numbers: Vec<usize> = (0..jobs).collect();
    // In several calls: a command line has its limits.
    for numbers in numbers.chunks(1000) {
        for number in numbers {
            place.write(&format!("params/{number}"), params(*number));
        }
        let mut command = Command::new("sha256sum");
        command.current_dir(place.path().join("params"));
        let output = command.args(numbers.iter().map(usize::to_string)).output();
        let output = String::from_utf8(output.expect("sha256sum runs").stdout).expect("ASCII");
        for line in output.lines() {
            let (hash, number) = line.split_once("  ").expect("hash and name");
            let number = number.parse().expect("a number");
            expected.insert(number, format!("{hash}  -\n"));
        }
    }
    expected
}
