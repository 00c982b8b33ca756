//! `work`: real processes for real jobs.

mod common;

use std::time::{Duration, Instant};

use common::{Place, done, signal};
use rustix::process::Signal;

const UNTIL_EMPTY: [&str; 5] = ["work", "a", "--until-empty", "--poll", "20ms"];

fn work(place: &Place, options: &[&str], script: &str) -> common::Done {
    let args = [&UNTIL_EMPTY, options, &["--", "sh", "-c", script]].concat();
    place.run(&args)
}

#[test]
fn the_command_gets_the_job_and_its_output_is_the_result() {
    let place = Place::new();
    let id = place.submit(&["a", r#"{ "n": 1 }"#]);
    let script =
        "cat; printf ' %s %s %s\\n' $JOBSTORE_JOB_ID $JOBSTORE_JOB_NAME $JOBSTORE_JOB_ATTEMPT";
    assert_eq!(work(&place, &[], script).code, Some(0));
    let job = place.get(&id);
    assert_eq!(job["status"], "SUCCEEDED");
    assert_eq!(job["result"], format!("{{ \"n\": 1 }} {id} a 1\n"));
}

#[test]
fn exit_75_retries_until_the_retries_are_spent() {
    let place = Place::new();
    let id = place.submit(&["a", "--max-retries", "2"]);
    let script = "echo try $JOBSTORE_JOB_ATTEMPT >&2; exit 75";
    assert_eq!(work(&place, &["--backoff", "1ms"], script).code, Some(0));
    let job = place.get(&id);
    assert_eq!(job["status"], "FAILED");
    assert_eq!(job["retry_count"], 2);
    assert_eq!(job["result"], "exit code 75: try 3");
}

#[test]
fn other_exit_codes_fail_with_the_end_of_standard_error() {
    let place = Place::new();
    let id = place.submit(&["a"]);
    let done = work(&place, &[], "echo lost; echo no disk >&2; exit 3");
    assert_eq!(done.code, Some(0));
    assert!(done.stderr.contains("1 FAILED"));
    let job = place.get(&id);
    assert_eq!(
        (&job["status"], &job["result"]),
        (&"FAILED".into(), &"exit code 3: no disk".into())
    );
}

#[test]
fn the_timeout_kills_the_whole_process_group() {
    let place = Place::new();
    let id = place.submit(&["a", "--timeout", "300ms"]);
    let start = Instant::now();
    // Not the command itself but its child would write, a second later.
    work(&place, &[], "(sleep 1.5; echo alive > late) & sleep 60");
    assert!(start.elapsed() < Duration::from_secs(30));
    let job = place.get(&id);
    assert_eq!(
        (&job["status"], &job["result"]),
        (&"TIMEOUT".into(), &().into())
    );
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(place.read("late"), "");
}

#[test]
fn a_job_longer_than_its_lease_is_kept_by_renewing() {
    let place = Place::new();
    let id = place.submit(&["a"]);
    // Leases of seconds, so that a busy machine renews in time.
    let script = "echo run >> runs; sleep 5";
    // Two workers: the second would recover and run what the first did not renew.
    let args = [
        &UNTIL_EMPTY[..],
        &["--lease", "2s", "--", "sh", "-c", script],
    ]
    .concat();
    let workers = [place.spawn(&args), place.spawn(&args)];
    for worker in workers {
        assert_eq!(done(worker).code, Some(0));
    }
    assert_eq!(place.read("runs"), "run\n");
    assert_eq!(place.get(&id)["fence"], 1);
}

#[test]
fn a_run_whose_job_was_taken_away_is_killed_and_records_nothing() {
    let place = Place::new();
    let id = place.submit(&["a"]);
    let script = "echo run >> runs; sleep 60; echo late >> runs";
    let args = [
        &UNTIL_EMPTY[..],
        &["--lease", "2s", "--", "sh", "-c", script],
    ]
    .concat();
    let worker = place.spawn(&args);
    place.wait_until("the run", || !place.read("runs").is_empty());
    place.ok(&["cancel", &id]);
    let start = Instant::now();
    let done = done(worker);
    assert!(start.elapsed() < Duration::from_secs(30));
    assert_eq!(done.code, Some(0));
    assert!(
        done.stderr.contains("somebody else's now"),
        "{}",
        done.stderr
    );
    assert_eq!(place.get(&id)["status"], "CANCELED");
}

#[test]
fn a_signal_lets_running_jobs_finish_and_claims_no_more() {
    let place = Place::new();
    for _ in 0..3 {
        place.submit(&["a"]);
    }
    let worker = place.spawn(&["work", "a", "--", "sh", "-c", "echo run >> runs; sleep 1"]);
    place.wait_until("the run", || !place.read("runs").is_empty());
    signal(&worker, Signal::TERM);
    assert_eq!(done(worker).code, Some(0));
    assert_eq!(place.count("SUCCEEDED"), 1);
    assert_eq!(place.count("PENDING"), 2);
}

#[test]
fn what_is_unfinished_after_the_grace_is_handed_back() {
    let place = Place::new();
    let id = place.submit(&["a"]);
    let script = "echo run >> runs; sleep 60";
    let worker = place.spawn(&["work", "a", "--grace", "100ms", "--", "sh", "-c", script]);
    place.wait_until("the run", || !place.read("runs").is_empty());
    signal(&worker, Signal::INT);
    assert_eq!(done(worker).code, Some(0));
    let job = place.get(&id);
    assert_eq!(
        (&job["status"], &job["retry_count"]),
        (&"PENDING".into(), &0.into())
    );
}

#[test]
fn a_second_signal_hands_back_at_once() {
    let place = Place::new();
    place.submit(&["a"]);
    let script = "echo run >> runs; sleep 60";
    let worker = place.spawn(&["work", "a", "--grace", "1h", "--", "sh", "-c", script]);
    place.wait_until("the run", || !place.read("runs").is_empty());
    signal(&worker, Signal::INT);
    std::thread::sleep(Duration::from_millis(200));
    signal(&worker, Signal::INT);
    assert_eq!(done(worker).code, Some(0));
    assert_eq!(place.count("PENDING"), 1);
}

#[test]
fn a_command_that_cannot_be_started_stops_the_worker_and_costs_no_retry() {
    let place = Place::new();
    let id = place.submit(&["a"]);
    let error = place.refused(1, &["--json", "work", "a", "--", "no-such-program"]);
    assert!(
        error.contains("no-such-program cannot be started"),
        "{error}"
    );
    let job = place.get(&id);
    assert_eq!(
        (&job["status"], &job["retry_count"]),
        (&"PENDING".into(), &0.into())
    );
}

#[test]
fn two_workers_share_the_jobs_and_run_each_once() {
    let place = Place::new();
    let line = "{\"job_name\":\"a\",\"params\":{}}\n";
    place.write("jobs.jsonl", line.repeat(60));
    place.ok(&["submit", "-f", "jobs.jsonl"]);
    let script = "echo $JOBSTORE_JOB_ID >> runs; sleep 0.02";
    let args = [&UNTIL_EMPTY[..], &["-c", "4", "--", "sh", "-c", script]].concat();
    let workers = [place.spawn(&args), place.spawn(&args)];
    for worker in workers {
        assert_eq!(done(worker).code, Some(0));
    }
    let runs = place.read("runs");
    let mut ids: Vec<&str> = runs.lines().collect();
    assert_eq!(ids.len(), 60);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 60);
    assert_eq!(place.count("SUCCEEDED"), 60);
}
