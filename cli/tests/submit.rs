//! `submit --file`: streams of jobs, good and bad.

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use common::{Place, text};

fn line(number: u32) -> String {
    format!("{{\"job_name\":\"a\",\"params\":{{\"n\":{number}}}}}\n")
}

fn line_with_id(number: u32) -> String {
    let id = format!("00000000-0000-7000-8000-{number:012}");
    format!("{{\"id\":\"{id}\",\"job_name\":\"a\",\"params\":{{\"n\":{number}}}}}\n")
}

#[test]
fn a_file_longer_than_a_batch_is_stored_in_order() {
    let place = Place::new();
    place.write("jobs.jsonl", (0..2500).map(line).collect::<String>());
    let jobs = place.json(&["submit", "--file", "jobs.jsonl"]);
    let numbers: Vec<u64> = jobs
        .iter()
        .filter_map(|job| job["params"]["n"].as_u64())
        .collect();
    assert!(numbers.into_iter().eq(0..2500));
    assert_eq!(place.count("PENDING"), 2500);
}

#[test]
fn a_bad_line_in_a_file_means_that_nothing_is_stored() {
    let place = Place::new();
    let mut lines: Vec<String> = (0..2000).map(line).collect();
    lines[1500] = "{\"job_name\":\"a\",\"params\":{\"n\":}}\n".to_owned();
    lines[1700] = "{}\n".to_owned();
    place.write("jobs.jsonl", lines.concat());
    let error = place.refused(1, &["submit", "--file", "jobs.jsonl"]);
    assert!(
        error.contains("jobs.jsonl: line 1501, column 31: expected value"),
        "{error}"
    );
    assert!(
        error.contains("one more line is bad (nothing was stored)"),
        "{error}"
    );
    assert_eq!(place.count("PENDING"), 0);
}

#[test]
fn a_bad_line_in_a_pipe_leaves_the_lines_before_it_stored() {
    let place = Place::new();
    let input = format!("{}{}[]\n{}", line(1), line(2), line(3));
    let done = place.with_input(&["submit", "--file", "-"], input.as_bytes());
    assert_eq!(done.code, Some(1));
    assert!(
        done.stderr.contains("standard input: line 3, column 1"),
        "{}",
        done.stderr
    );
    assert!(
        done.stderr.contains("before it are stored"),
        "{}",
        done.stderr
    );
    assert_eq!(place.count("PENDING"), 2);
}

#[test]
fn the_same_file_with_ids_can_be_run_again() {
    let place = Place::new();
    place.write(
        "jobs.jsonl",
        (0..1200).map(line_with_id).collect::<String>(),
    );
    assert_eq!(
        place.ok(&["submit", "-f", "jobs.jsonl"]),
        "1200 jobs submitted\n"
    );
    let id = "00000000-0000-7000-8000-000000000007";
    place.ok(&["finish", id, "done"]);
    // One more, and one of them twice.
    let more: String = (0..1201).chain([3]).map(line_with_id).collect();
    place.write("jobs.jsonl", more);
    let again = place.ok(&["submit", "-f", "jobs.jsonl"]);
    assert_eq!(again, "1 job submitted, 1201 existed already\n");
    assert_eq!(place.get(id)["result"], "done");
}

#[test]
fn an_id_that_means_another_job_is_refused_by_line() {
    let place = Place::new();
    place.write("jobs.jsonl", (0..5).map(line_with_id).collect::<String>());
    place.ok(&["submit", "-f", "jobs.jsonl"]);
    let other = line_with_id(4).replace("\"a\"", "\"b\"");
    let input = format!("{}{other}{}", line(9), line(10));
    place.write("jobs.jsonl", input);
    let error = place.refused(1, &["submit", "-f", "jobs.jsonl"]);
    assert!(
        error.contains("line 2") && error.contains("another name"),
        "{error}"
    );
    assert_eq!(place.count("PENDING"), 6);
}

#[test]
fn whoever_writes_line_by_line_hears_of_each_job_at_once() {
    let place = Place::new();
    let mut command = place.command(&["--json", "submit", "-f", "-"]);
    let mut child = command
        .stdin(Stdio::piped())
        .spawn()
        .expect("jobstore starts");
    let mut stdin = child.stdin.take().expect("is piped");
    let mut stdout = BufReader::new(child.stdout.take().expect("is piped"));
    for number in 0..3 {
        stdin.write_all(line(number).as_bytes()).expect("writes");
        let mut answer = String::new();
        stdout.read_line(&mut answer).expect("reads");
        let id = text(&common::objects(&answer)[0]["id"]);
        assert_eq!(place.get(&id)["params"]["n"], number);
    }
    drop(stdin);
    assert!(child.wait().expect("ends").success());
}

#[test]
fn a_missing_file_is_named() {
    let place = Place::new();
    let error = place.refused(1, &["submit", "-f", "none.jsonl"]);
    assert!(error.contains("none.jsonl cannot be opened"), "{error}");
}
