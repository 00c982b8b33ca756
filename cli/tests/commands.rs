//! Every command but `submit --file` and `work`, as a program sees it.

mod common;

use common::Place;
use serde_json::json;

#[test]
fn a_job_goes_from_submit_to_its_result() {
    let place = Place::new();
    let id = place.submit(&[
        "mail",
        r#"{"to": "ada"}"#,
        "--priority",
        "-2",
        "--timeout",
        "90s",
    ]);
    let claimed = place.json(&["claim", "mail", "--owner", "me", "--lease", "1h"]);
    assert_eq!(claimed[0]["id"], id.as_str());
    assert_eq!(claimed[0]["lease_owner"], "me");
    assert!(place.json(&["claim"]).is_empty());
    place.ok(&["renew", &id, "--fence", "1", "--lease", "2h"]);
    place.ok(&["finish", &id, "sent", "--fence", "1"]);
    let job = place.get(&id);
    let fields = ["status", "params", "result", "priority", "timeout", "fence"];
    assert_eq!(
        json!(fields.map(|field| job[field].clone())),
        json!(["SUCCEEDED", { "to": "ada" }, "sent", -2, 90.0, 1])
    );
    assert!(place.ok(&["get", &id]).contains("result            sent\n"));
}

#[test]
fn each_verb_leads_to_its_status() {
    let place = Place::new();
    let verbs: [(&[&str], &str); 7] = [
        (&["start"], "RUNNING"),
        (&["finish"], "SUCCEEDED"),
        (&["fail", "why"], "FAILED"),
        (&["timeout"], "TIMEOUT"),
        (&["cancel"], "CANCELED"),
        (&["reset"], "PENDING"),
        (&["start", "--lease", "1m", "--owner", "me"], "RUNNING"),
    ];
    for (verb, status) in verbs {
        let id = place.submit(&["a"]);
        let args = [&verb[..1], &[id.as_str()], &verb[1..]].concat();
        assert_eq!(place.json(&args)[0]["status"], status, "{verb:?}");
    }
    let id = place.submit(&["a"]);
    place.ok(&["start", &id]);
    let job = place.json(&[
        "retry",
        &id,
        "why",
        "--backoff",
        "1h",
        "--max-backoff",
        "1h",
    ]);
    assert_eq!(job[0]["status"], "PENDING");
    assert_eq!(job[0]["last_error"], "why");
}

#[test]
fn a_refusal_is_one_line_and_exit_code_1() {
    let place = Place::new();
    let id = place.submit(&["a"]);
    let error = place.refused(1, &["renew", &id]);
    assert_eq!(error, format!("error: job {id} is PENDING, cannot renew\n"));
    assert!(
        place
            .refused(1, &["finish", &id, "--fence", "7"])
            .contains("lost")
    );
    let unknown = "00000000-0000-7000-8000-000000000000";
    assert!(
        place
            .refused(1, &["get", unknown])
            .contains("does not exist")
    );
    let error = place.refused(1, &["submit", "a", "[1]"]);
    assert_eq!(
        error,
        "error: invalid params: expected an object at byte 0\n"
    );
    assert!(
        place
            .refused(1, &["list", "--page-token", "x"])
            .contains("page token")
    );
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let place = Place::new();
    for args in [
        &["submit"][..],
        &["submit", "a", "--file", "b"],
        &["get", "7"],
        &["claim", "--lease", "soon"],
        &["delete"],
        &["work", "a"],
        &["list", "--status", "DONE"],
    ] {
        assert_eq!(place.run(args).code, Some(2), "{args:?}");
    }
    let error = place.refused(2, &["--store", "oracle://ada:canary@host/db", "count"]);
    assert!(error.contains("unknown scheme") && !error.contains("canary"));
}

#[test]
fn commands_that_read_make_no_store() {
    let place = Place::new();
    for args in [&["list"][..], &["count"], &["info"]] {
        place.refused(1, args);
    }
    assert!(!place.path().join("jobstore.db").exists());
    assert_eq!(place.ok(&["migrate"]), "schema up to date\n");
    assert_eq!(place.json(&["info"])[0]["jobs"], 0);
    assert!(
        place
            .ok(&["migrate", "--print"])
            .contains("CREATE TABLE jobs")
    );
    place.ok(&["migrate", "--down"]);
    place.refused(1, &["list"]);
}

#[test]
fn the_store_comes_from_the_environment_unless_given() {
    let place = Place::new();
    let submit = |args: &[&str]| {
        let mut command = place.command(args);
        command.env("JOBSTORE_URL", "sqlite://environment.db");
        command.status().expect("runs")
    };
    assert!(submit(&["submit", "a"]).success());
    assert!(place.path().join("environment.db").exists());
    assert!(submit(&["submit", "a", "--store", "sqlite://given.db"]).success());
    assert!(place.path().join("given.db").exists());
}

#[test]
fn a_listing_is_filtered_counted_and_read_page_by_page() {
    let place = Place::new();
    for number in 0..5 {
        place.submit(&["odd-or-even", &format!(r#"{{"odd":{}}}"#, number % 2 == 1)]);
    }
    place.submit(&["other"]);
    let odd = ["--name", "odd-or-even", "--params", r#"{"odd":true}"#];
    assert_eq!(place.json(&[&["list"], &odd[..]].concat()).len(), 2);
    assert_eq!(
        place.json(&[&["count"], &odd[..]].concat())[0]["PENDING"],
        2
    );
    assert_eq!(
        place.json(&["list", "--all", "--created-from", "1h"]).len(),
        6
    );
    assert!(place.json(&["list", "--created-to", "1h"]).is_empty());
    assert!(
        place
            .json(&["list", "--status", "FAILED,CANCELED"])
            .is_empty()
    );

    let mut ids = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let mut args = vec!["list", "--newest", "--limit", "4"];
        if let Some(token) = &token {
            args.extend(["--page-token", token]);
        }
        let mut page = place.json(&args);
        token = None;
        if page
            .last()
            .is_some_and(|last| last.get("page_token").is_some())
        {
            token = page.pop().map(|last| common::text(&last["page_token"]));
        }
        ids.extend(page.into_iter().map(|job| common::text(&job["id"])));
        if token.is_none() {
            break;
        }
    }
    ids.reverse();
    let all = place.json(&["list", "--all"]);
    let all: Vec<_> = all.iter().map(|job| common::text(&job["id"])).collect();
    assert_eq!(ids, all);
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let place = Place::new();
    let line = "{\"job_name\":\"a\",\"params\":{}}\n";
    place.write("jobs.jsonl", line.repeat(5000));
    place.ok(&["submit", "--file", "jobs.jsonl"]);
    let mut child = place.spawn(&["list", "--all"]);
    drop(child.stdout.take());
    let done = common::done(child);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
}

#[test]
fn expired_leases_are_recovered_by_command() {
    let place = Place::new();
    let id = place.submit(&["a"]);
    place.ok(&["claim", "--lease", "1ms", "--owner", "gone"]);
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(place.json(&["list", "--lease-expired"]).len(), 1);
    assert!(place.json(&["recover", "b"]).is_empty());
    assert_eq!(place.json(&["recover", "a"])[0]["id"], id.as_str());
    let error = common::text(&place.get(&id)["last_error"]);
    assert!(error.contains("lease of gone expired"), "{error}");
}

#[test]
fn finished_jobs_are_deleted_by_id_and_by_age() {
    let place = Place::new();
    let ids: Vec<String> = (0..4).map(|_| place.submit(&["a"])).collect();
    for id in &ids[..3] {
        place.ok(&["finish", id]);
    }
    let deleted = place.ok(&["delete", &ids[0], &ids[3]]);
    assert_eq!(deleted, format!("{}\n", ids[0]));
    assert_eq!(place.ok(&["delete", "--older-than", "1h"]), "");
    std::thread::sleep(std::time::Duration::from_millis(20));
    let deleted = place.json(&["delete", "--older-than", "1ms", "--limit", "1"]);
    assert_eq!(deleted, [json!({ "id": ids[1] })]);
    place.ok(&[
        "delete",
        "--older-than",
        "1ms",
        "--status",
        "SUCCEEDED",
        "--name",
        "a",
    ]);
    assert_eq!(place.json(&["list"]).len(), 1);
}

#[test]
fn long_texts_come_through_standard_input() {
    let place = Place::new();
    let params = format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20));
    let done = place.with_input(&["--json", "submit", "a", "-"], params.as_bytes());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let id = common::text(&common::objects(&done.stdout)[0]["id"]);
    let done = place.with_input(&["finish", &id, "-"], b"a\nb\xff");
    assert_eq!(done.code, Some(1));
    let done = place.with_input(&["finish", &id, "-"], b"a\nb\n");
    assert_eq!(done.code, Some(0));
    assert_eq!(place.get(&id)["result"], "a\nb\n");
}

#[test]
fn the_suite_runs_beside_the_store_and_leaves_nothing() {
    let place = Place::new();
    let verdicts = place.json(&["conformance", "unique"]);
    assert!(!verdicts.is_empty());
    for verdict in &verdicts {
        assert_eq!(verdict["verdict"], "passed", "{verdict}");
    }
    let left = std::fs::read_dir(place.path()).expect("reads").count();
    assert_eq!(left, 0);
    assert!(place.run(&["conformance", "no such rule"]).code == Some(1));
}

#[test]
fn the_suite_writes_a_certificate_and_repeats_a_seed() {
    let place = Place::new();
    let told = place.ok(&[
        "conformance",
        "handle",
        "--certificate",
        "found.json",
        "--date",
        "2026-11-26",
        "--seed",
        "7",
    ]);
    assert!(told.contains("seed 7"), "{told}");
    assert!(told.contains("the backend is shared"), "{told}");
    let found = std::fs::read_to_string(place.path().join("found.json")).expect("is written");
    let found: serde_json::Value = serde_json::from_str(&found).expect("is JSON");
    assert_eq!(found["backend"], "SQLite, in a file");
    assert_eq!(
        (&found["date"], &found["seed"]),
        (&json!("2026-11-26"), &json!(7))
    );
    assert_eq!(found["does_not_apply"]["exclusive"][0], "EXCLUSIVE-001");
}
