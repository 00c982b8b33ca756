//! The command on the embedded key-value stores.

mod common;

use common::Place;

const STORES: [&str; 2] = ["sled://jobs", "redb://jobs.redb"];

#[test]
fn jobs_are_submitted_run_and_listed() {
    for store in STORES {
        let place = Place::new();
        let run = |args: &[&str]| place.json(&[&["--store", store], args].concat());
        run(&["submit", "a", r#"{"n":1}"#]);
        run(&["submit", "a", r#"{"n":2}"#]);
        run(&["work", "a", "--until-empty", "--", "cat"]);
        let jobs = run(&["list", "--status", "SUCCEEDED"]);
        assert_eq!(jobs.len(), 2, "{store}");
        assert_eq!(jobs[1]["result"], r#"{"n":2}"#, "{store}");
        assert_eq!(run(&["info"])[0]["jobs"], 2, "{store}");
        assert_eq!(run(&["migrate"])[0]["schema"], "up to date", "{store}");
    }
}

#[test]
fn a_store_in_order_is_checked_without_a_word_of_complaint() {
    for store in STORES.into_iter().chain(["sqlite://jobs.db"]) {
        let place = Place::new();
        place.ok(&["--store", store, "submit", "a"]);
        let told = place.ok(&["--store", store, "check"]);
        assert_eq!(told, "1 jobs, 0 problems, 0 repaired\n", "{store}");
        let report = place.json(&["--store", store, "check"]).remove(0);
        assert_eq!(report["jobs"], 1, "{store}");
    }
}

#[test]
fn a_check_makes_no_store_and_refuses_what_it_cannot_do() {
    let place = Place::new();
    for store in STORES {
        place.refused(1, &["--store", store, "check"]);
        place.refused(1, &["--store", store, "list"]);
    }
    assert!(
        std::fs::read_dir(place.path())
            .expect("reads")
            .next()
            .is_none()
    );
    place.ok(&["submit", "a"]);
    let line = place.refused(2, &["check", "--repair"]);
    assert!(line.contains("repair"), "{line}");
    place.refused(2, &["--store", "memory:", "check"]);
}

#[test]
fn a_second_process_is_told_who_has_the_store() {
    for store in STORES {
        let place = Place::new();
        place.ok(&["--store", store, "submit", "a"]);
        let args = [
            "--store",
            store,
            "work",
            "a",
            "--",
            "sh",
            "-c",
            "touch ran; sleep 60",
        ];
        let mut worker = place.spawn(&args);
        place.wait_until("the worker", || place.path().join("ran").exists());
        let line = place.refused(1, &["--store", store, "list"]);
        assert!(line.contains("in use by another process"), "{line}");
        worker.kill().expect("is killed");
        worker.wait().expect("ends");
        assert_eq!(place.json(&["--store", store, "list"]).len(), 1);
    }
}
