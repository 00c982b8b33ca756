//! What SQLite does when files, disks, other programs and other processes are not as one wishes.
#![cfg(feature = "sqlite")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryFutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use jobstore_core::{
    Action, ClaimRequest, Clock as _, Creation, Error, Job, JobFilter, JobStatus, JobStore,
    JobStoreExt, ManualClock, NewJob, PageRequest, Result, Timestamp, Update,
};
use jobstore_sql::sqlite::Synchronous;
use jobstore_sql::{SqliteJobStore, SqliteOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, Executor as _, SqliteConnection};
use tempfile::TempDir;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("makes a folder");
    let file = folder.path().join("jobs.db");
    (folder, file)
}

async fn open(file: &Path) -> SqliteJobStore {
    SqliteOptions::new(file).open().await.expect("opens")
}

/// Another program's connection to the file.
async fn foreign(file: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true);
    SqliteConnection::connect_with(&options)
        .await
        .expect("connects")
}

async fn run(connection: &mut SqliteConnection, sql: &'static str) {
    connection.execute(sql).await.expect("runs");
}

fn incompatible(opened: Result<SqliteJobStore>) -> String {
    match opened {
        Err(Error::Incompatible { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn jobs_are_there_after_reopening() {
    let (_folder, file) = folder();
    let job = open(&file)
        .await
        .create_job(NewJob::new("a", "{}"))
        .await
        .expect("creates");
    let found = open(&file)
        .await
        .get_job(job.job().id)
        .await
        .expect("exists");
    assert_eq!(&found, job.job());
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let (_folder, file) = folder();
    let text = "this is a letter and no database at all".repeat(50);
    std::fs::write(&file, &text).expect("writes");
    let reason = incompatible(SqliteOptions::new(&file).open().await);
    assert!(reason.contains("not a SQLite database"), "{reason}");
    assert_eq!(std::fs::read_to_string(&file).expect("reads"), text);
}

#[tokio::test]
async fn a_table_of_jobs_that_is_not_ours_is_refused_and_left_alone() {
    let (_folder, file) = folder();
    let mut other = foreign(&file).await;
    run(
        &mut other,
        "CREATE TABLE jobs (title TEXT); INSERT INTO jobs VALUES ('cook')",
    )
    .await;
    let reason = incompatible(SqliteOptions::new(&file).open().await);
    assert!(reason.contains("did not make"), "{reason}");
    let title: String = sqlx::query_scalar("SELECT title FROM jobs")
        .fetch_one(&mut other)
        .await
        .expect("reads");
    assert_eq!(title, "cook");
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let (_folder, file) = folder();
    drop(open(&file).await);
    run(
        &mut foreign(&file).await,
        "INSERT INTO jobstore_migrations VALUES (1000, 0)",
    )
    .await;
    let reason = incompatible(SqliteOptions::new(&file).open().await);
    assert!(reason.contains("1000"), "{reason}");
}

#[tokio::test]
async fn without_migrating_an_empty_file_is_refused_and_a_ready_one_opens() {
    let (_folder, file) = folder();
    let options = SqliteOptions::new(&file).with_migrate(false);
    assert!(matches!(
        options.clone().open().await,
        Err(Error::Backend { .. })
    ));
    run(&mut foreign(&file).await, "CREATE TABLE other (n)").await;
    assert!(incompatible(options.clone().open().await).contains("migrate first"));
    drop(open(&file).await);
    options.open().await.expect("opens");
}

#[tokio::test]
async fn a_schema_made_by_hand_is_taken_for_ours() {
    let (_folder, file) = folder();
    let sql = sqlx::AssertSqlSafe(jobstore_sql::sqlite::schema());
    foreign(&file).await.execute(sql).await.expect("runs");
    let options = SqliteOptions::new(&file).with_migrate(false);
    let store = options.open().await.expect("opens");
    let created = store.create_job(NewJob::new("a", "{}")).await;
    assert!(created.expect("creates").is_new());
}

#[tokio::test]
async fn the_schema_goes_away_and_comes_back_and_other_tables_stay() {
    let (_folder, file) = folder();
    run(&mut foreign(&file).await, "CREATE TABLE other (n)").await;
    let store = open(&file).await;
    store
        .create_job(NewJob::new("a", "{}"))
        .await
        .expect("creates");
    drop(store);
    SqliteOptions::new(&file)
        .remove_schema()
        .await
        .expect("removes");
    let names: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_schema")
        .fetch_all(&mut foreign(&file).await)
        .await
        .expect("reads");
    assert_eq!(names, ["other"]);
    let counts = open(&file)
        .await
        .count_jobs(&JobFilter::default())
        .await
        .expect("counts");
    assert_eq!(counts.total(), 0);
}

#[tokio::test]
async fn a_missing_directory_is_named_as_the_cause() {
    let (folder, _) = folder();
    let opened = SqliteOptions::new(folder.path().join("no/jobs.db"))
        .open()
        .await;
    let Err(Error::Backend { source }) = opened else {
        panic!("{opened:?}")
    };
    assert!(source.to_string().contains("directory"), "{source}");
}

#[tokio::test]
async fn a_full_disk_refuses_the_call_and_keeps_what_there_was() {
    let (_folder, file) = folder();
    drop(open(&file).await);
    let connect = SqliteConnectOptions::new()
        .filename(&file)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        // The page limit raises the very error of a disk that is full.
        .pragma("max_page_count", "40");
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_lazy_with(connect);
    let store = SqliteOptions::existing(pool).open().await.expect("opens");
    let kept = store
        .create_job(NewJob::new("a", "{}"))
        .await
        .expect("creates")
        .into_job();
    let big = format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20));
    let refused = store
        .create_job(NewJob::new("a", big))
        .await
        .expect_err("no room");
    assert!(
        refused.is_retryable() && refused.to_string().contains("full"),
        "{refused}"
    );
    assert_eq!(store.get_job(kept.id).await.expect("exists"), kept);
    store
        .finish_job(kept.id, "done")
        .await
        .expect("still works");
}

#[tokio::test]
async fn a_read_only_file_is_named_as_the_cause() {
    let (_folder, file) = folder();
    drop(open(&file).await);
    let connect = SqliteConnectOptions::new()
        .filename(&file)
        .read_only(true)
        .synchronous(SqliteSynchronous::Full);
    let pool = SqlitePoolOptions::new().connect_lazy_with(connect);
    let store = SqliteOptions::existing(pool).open().await.expect("opens");
    let refused = store.create_job(NewJob::new("a", "{}")).await;
    let Err(Error::Backend { source }) = refused else {
        panic!("{refused:?}")
    };
    assert!(source.to_string().contains("read-only"), "{source}");
    store
        .count_jobs(&JobFilter::default())
        .await
        .expect("reads");
}

#[tokio::test]
async fn a_pool_that_promises_less_is_refused_unless_less_is_asked_for() {
    let (_folder, file) = folder();
    let pool = |journal, level| {
        let connect = SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(true);
        let connect = connect.journal_mode(journal).synchronous(level);
        SqlitePoolOptions::new()
            .max_connections(2)
            .connect_lazy_with(connect)
    };
    for (journal, level) in [
        (SqliteJournalMode::Wal, SqliteSynchronous::Normal),
        (SqliteJournalMode::Delete, SqliteSynchronous::Full),
    ] {
        let refused = SqliteOptions::existing(pool(journal, level)).open().await;
        assert!(matches!(refused, Err(Error::InvalidArgument { field, .. }) if field == "pool"));
    }
    let weak = pool(SqliteJournalMode::Wal, SqliteSynchronous::Normal);
    let options = SqliteOptions::existing(weak).with_synchronous(Synchronous::Normal);
    options.open().await.expect("opens");
}

#[tokio::test]
async fn what_the_options_say_is_what_the_connections_do() {
    let (_folder, file) = folder();
    for (level, expected) in [(Synchronous::Full, 2), (Synchronous::Normal, 1)] {
        let store = SqliteOptions::new(&file)
            .with_synchronous(level)
            .open()
            .await
            .expect("opens");
        let settings = store.settings().await.expect("reads");
        assert_eq!(
            (settings.journal_mode.as_str(), settings.synchronous),
            ("wal", expected)
        );
    }
}

#[tokio::test]
async fn jobs_created_in_a_transaction_exist_once_it_commits() {
    let (_folder, file) = folder();
    let store = open(&file).await;
    let mut connection = foreign(&file).await;
    let keyed = || vec![NewJob::new("a", "{}").with_unique_key("k")];
    for (end, expected) in [("ROLLBACK", 0), ("COMMIT", 1)] {
        run(&mut connection, "BEGIN IMMEDIATE").await;
        let created = store
            .create_jobs_in(&mut connection, keyed())
            .await
            .expect("creates");
        assert!(created[0].is_new());
        let found = store.get_jobs(&[created[0].job().id]).await.expect("reads");
        assert_eq!(found, [None]);
        run(&mut connection, end).await;
        let counts = store
            .count_jobs(&JobFilter::default())
            .await
            .expect("counts");
        assert_eq!(counts.total(), expected);
    }
    assert!(!store.create_jobs(keyed()).await.expect("finds")[0].is_new());
}

#[tokio::test]
async fn a_job_that_the_file_refuses_takes_no_other_with_it() {
    let (_folder, file) = folder();
    let store = open(&file).await;
    let refuses = "CREATE TRIGGER picky BEFORE INSERT ON jobs WHEN NEW.job_name = 'bad' \
                   BEGIN SELECT RAISE(ABORT, 'not here'); END";
    run(&mut foreign(&file).await, refuses).await;
    let names = ["good", "bad", "good", "good"];
    let calls = names.map(|name| store.create_job(NewJob::new(name, "{}")));
    for (name, created) in names.into_iter().zip(join_all(calls).await) {
        assert_eq!(created.is_ok(), name == "good", "{name}: {created:?}");
    }
}

/// Otherwise a job could be older than one that was there before it.
#[tokio::test]
async fn a_call_that_waits_for_another_writer_has_the_time_at_which_it_is_done() {
    let (_folder, file) = folder();
    let clock = ManualClock::new(Timestamp::from_millis(0));
    let options = SqliteOptions::new(&file).with_clock(Arc::new(clock.clone()));
    let store = options.open().await.expect("opens");
    let mut other = foreign(&file).await;
    let mut waits = async |call: BoxFuture<'static, Result<Job>>| {
        run(&mut other, "BEGIN IMMEDIATE").await;
        let call = tokio::spawn(call);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!call.is_finished());
        clock.advance(Duration::from_secs(1));
        run(&mut other, "COMMIT").await;
        let job = call.await.expect("no panic").expect("is done");
        assert_eq!(job.last_update_time, clock.now(), "{}", job.status);
        job
    };
    let (creator, claimer) = (store.clone(), store.clone());
    let create = async move { creator.create_job(NewJob::new("a", "{}")).await };
    waits(Box::pin(create.map_ok(Creation::into_job))).await;
    let claim = async move {
        let request = ClaimRequest::new("w", Duration::from_secs(60));
        let mut claimed = claimer.claim_jobs(&request).await?;
        Ok(claimed.pop().expect("one is there"))
    };
    let claim = waits(Box::pin(claim)).await.claim();
    let finish = async move { store.finish_job(claim, "done").await };
    waits(Box::pin(finish)).await;
}

#[tokio::test]
async fn rows_that_cannot_be_read_hide_no_others_and_are_never_claimed() {
    let (_folder, file) = folder();
    let store = open(&file).await;
    for _ in 0..5 {
        store
            .create_job(NewJob::new("a", "{}"))
            .await
            .expect("creates");
    }
    let spoil = "UPDATE jobs SET id = 'not-a-uuid' WHERE rowid = 1;
        UPDATE jobs SET priority = 99999 WHERE rowid = 2;
        UPDATE jobs SET status = 77 WHERE rowid = 3;
        UPDATE jobs SET params = 'no json' WHERE rowid = 4;";
    run(&mut foreign(&file).await, spoil).await;
    let page = PageRequest::default().with_size(2);
    let list = store
        .list_jobs(&JobFilter::default(), &page)
        .await
        .expect("lists");
    assert_eq!((list.len(), list.unreadable.len()), (2, 2));
    let named = list
        .unreadable
        .iter()
        .map(Error::to_string)
        .collect::<Vec<_>>()
        .join("; ");
    assert!(
        named.contains("not-a-uuid") && named.contains("priority"),
        "{named}"
    );
    let filter = JobFilter::default().with_params(r#"{"a":1}"#);
    assert!(
        store
            .list_jobs(&filter, &page)
            .await
            .expect("lists")
            .is_empty()
    );
    let claim = ClaimRequest::new("w", Duration::from_secs(1)).with_limit(2);
    assert_eq!(store.claim_jobs(&claim).await.expect("claims").len(), 2);
    let counts = store
        .count_jobs(&JobFilter::default())
        .await
        .expect("counts");
    assert_eq!(counts.get(JobStatus::Running), 2);
}

#[tokio::test]
async fn rows_whose_ids_are_no_text_hide_no_others_and_none_is_listed_twice() {
    let (_folder, file) = folder();
    let store = open(&file).await;
    let created = store.create_jobs(vec![NewJob::new("a", "{}"); 5]).await;
    let created = created.expect("creates");
    // All of one millisecond, so that the ids alone say where a page goes on.
    let spoil = "UPDATE jobs SET creation_time = 5;
        UPDATE jobs SET id = CAST(x'ff' AS TEXT) WHERE rowid = 2;
        UPDATE jobs SET id = CAST(substr(id, 1, 8) || x'80' AS TEXT) WHERE rowid = 4;
        UPDATE jobs SET id = '' WHERE rowid = 5;";
    run(&mut foreign(&file).await, spoil).await;
    let ids = [0, 2].map(|index: usize| created[index].job().id);
    common::walk::finds(&store, &ids, 3).await;
    let claim = ClaimRequest::new("w", Duration::from_secs(1)).with_limit(5);
    assert_eq!(store.claim_jobs(&claim).await.expect("claims").len(), 2);
}

#[tokio::test]
async fn an_update_of_a_row_that_cannot_be_read_leaves_the_others_of_its_batch_alone() {
    let (_folder, file) = folder();
    let store = open(&file).await;
    let batch = vec![NewJob::new("a", "{}"); 2];
    let created = store.create_jobs(batch).await.expect("creates");
    run(
        &mut foreign(&file).await,
        "UPDATE jobs SET status = 77 WHERE rowid = 1",
    )
    .await;
    let ids = [created[0].job().id, created[1].job().id];
    let cancel = ids.map(|id| Update::new(id, Action::Cancel));
    let verdicts = store.update_jobs(cancel.to_vec()).await.expect("answers");
    assert!(matches!(&verdicts[0], Err(Error::Unreadable { id, .. }) if *id == ids[0].to_string()));
    assert_eq!(
        verdicts[1].as_ref().expect("cancels").status,
        JobStatus::Canceled
    );
    assert!(matches!(
        store.get_jobs(&ids).await,
        Err(Error::Unreadable { .. })
    ));
}

#[tokio::test]
async fn a_transaction_left_open_on_a_callers_connection_does_no_harm() {
    let (_folder, file) = folder();
    drop(open(&file).await);
    let connect = SqliteConnectOptions::new()
        .filename(&file)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_lazy_with(connect);
    let store = SqliteOptions::existing(pool.clone())
        .open()
        .await
        .expect("opens");
    pool.execute("BEGIN; DELETE FROM jobs")
        .await
        .expect("begins and forgets");
    store
        .create_job(NewJob::new("a", "{}"))
        .await
        .expect("creates");
    pool.close().await;
    let refused = store
        .create_job(NewJob::new("a", "{}"))
        .await
        .expect_err("is closed");
    assert!(refused.is_retryable(), "{refused}");
    let counts = open(&file)
        .await
        .count_jobs(&JobFilter::default())
        .await
        .expect("counts");
    assert_eq!(counts.total(), 1);
}

#[tokio::test]
async fn dropped_calls_happen_wholly_or_not_at_all_and_the_store_works_on() {
    let (_folder, file) = folder();
    let store = open(&file).await;
    for polls in 0..200_u64 {
        let pair = vec![NewJob::new("a", "{}"), NewJob::new("a", "{}")];
        let create = store.create_jobs(pair);
        let _ = tokio::time::timeout(Duration::from_micros(polls * 20), create).await;
        let request = ClaimRequest::new("w", Duration::from_secs(9));
        let claim = store.claim_jobs(&request);
        let _ = tokio::time::timeout(Duration::from_micros(polls * 20), claim).await;
    }
    store
        .create_jobs(vec![NewJob::new("b", "{}")])
        .await
        .expect("creates");
    let counts = store
        .count_jobs(&JobFilter::default().with_job_name("a"))
        .await
        .expect("counts");
    assert_eq!(counts.total() % 2, 0);
    assert!(counts.total() > 0);
}

#[tokio::test]
async fn a_store_in_memory_stays_while_it_has_a_handle() {
    let store = SqliteOptions::in_memory().open().await.expect("opens");
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.create_job(NewJob::new("a", "{}")).await.map(drop) })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic").expect("creates");
    }
    let counts = store
        .count_jobs(&JobFilter::default())
        .await
        .expect("counts");
    assert_eq!(counts.total(), 20);
}

/// What a child process of the tests below does; without the variable, nothing.
#[tokio::test]
async fn child_process() {
    let Some(file) = std::env::var_os("JOBSTORE_TEST_FILE") else {
        return;
    };
    let store = open(Path::new(&file)).await;
    let store = Arc::new(store);
    store
        .create_jobs(vec![NewJob::new("a", "{}"); 20])
        .await
        .expect("creates");
    let request = ClaimRequest::new(std::process::id().to_string(), Duration::from_secs(600));
    let request = request.with_limit(3);
    loop {
        let jobs = store.claim_jobs(&request).await.expect("claims");
        if jobs.is_empty() {
            return;
        }
        for job in jobs {
            store
                .finish_job(job.claim(), &request.lease.owner[..])
                .await
                .expect("finishes");
        }
    }
}

#[tokio::test]
async fn ten_processes_start_at_once_on_a_new_file_and_share_the_jobs() {
    let (_folder, file) = folder();
    let children: Vec<_> = (0..10)
        .map(|_| {
            Command::new(std::env::current_exe().expect("is running"))
                .args(["--exact", "child_process"])
                .env("JOBSTORE_TEST_FILE", &file)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("starts")
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().expect("ends");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    let store = open(&file).await;
    let counts = store
        .count_jobs(&JobFilter::default())
        .await
        .expect("counts");
    assert_eq!(
        (counts.get(JobStatus::Succeeded), counts.total()),
        (200, 200)
    );
    let page = PageRequest::default().with_size(1000);
    let list = store
        .list_jobs(&JobFilter::default(), &page)
        .await
        .expect("lists");
    assert!(
        list.iter().all(|job| job.fence == 1),
        "a job was claimed twice"
    );
}
