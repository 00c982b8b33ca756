//! The schema on MySQL and MariaDB: made, found, refused, half made, made by many at once.
#![cfg(feature = "mysql")]

mod common;

use std::process::{Command, Stdio};
use std::time::Duration;

use common::mysql::{Database, create, incompatible, run, total};
use jobstore_core::{
    ClaimRequest, JobFilter, JobStatus, JobStore, JobStoreExt as _, NewJob, PageRequest,
};
use jobstore_sql::MySqlOptions;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};

async fn tables(connection: &mut MySqlConnection) -> Vec<String> {
    let names = "SELECT CAST(table_name AS CHAR) FROM information_schema.tables \
        WHERE table_schema = DATABASE() ORDER BY 1";
    let names = sqlx::query_scalar(names).fetch_all(connection).await;
    names.expect("reads")
}

#[tokio::test]
async fn a_table_of_jobs_that_is_not_ours_is_refused_and_left_alone() {
    let database = Database::new().await;
    let mut other = database.connect().await;
    run(
        &mut other,
        "CREATE TABLE jobs (title TEXT); INSERT INTO jobs VALUES ('cook')",
    )
    .await;
    let reason = incompatible(database.options().open().await);
    assert!(reason.contains("did not make"), "{reason}");
    assert_eq!(tables(&mut other).await, ["jobs"]);
    let titles = sqlx::query_scalar("SELECT title FROM jobs").fetch_all(&mut other);
    let titles: Vec<String> = titles.await.expect("reads");
    assert_eq!(titles, ["cook"]);
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let database = Database::new().await;
    drop(database.open().await);
    let newer = "INSERT INTO jobstore_migrations VALUES (1000, 0)";
    run(&mut database.connect().await, newer).await;
    let reason = incompatible(database.options().open().await);
    assert!(reason.contains("1000"), "{reason}");
}

#[tokio::test]
async fn without_migrating_an_empty_database_is_refused_and_a_ready_one_opens() {
    let database = Database::new().await;
    let options = database.options().with_migrate(false);
    assert!(incompatible(options.clone().open().await).contains("migrate first"));
    assert!(tables(&mut database.connect().await).await.is_empty());
    drop(database.open().await);
    options.open().await.expect("opens");
}

#[tokio::test]
async fn a_schema_made_by_hand_is_taken_for_ours_and_can_be_removed_by_hand() {
    let database = Database::new().await;
    let mut hand = database.connect().await;
    run(&mut hand, &jobstore_sql::mysql::schema()).await;
    let store = database.options().with_migrate(false).open().await;
    create(&store.expect("opens"), NewJob::new("a", "{}")).await;
    run(&mut hand, &jobstore_sql::mysql::schema_down()).await;
    assert!(tables(&mut hand).await.is_empty());
}

#[tokio::test]
async fn the_schema_goes_away_and_comes_back_and_other_tables_stay() {
    let database = Database::new().await;
    let mut other = database.connect().await;
    run(&mut other, "CREATE TABLE other (n INT)").await;
    let store = database.open().await;
    create(&store, NewJob::new("a", "{}")).await;
    drop(store);
    database.options().remove_schema().await.expect("removes");
    assert_eq!(tables(&mut other).await, ["other"]);
    assert_eq!(total(&database.open().await).await, 0);
}

/// Every change of the schema commits by itself, so a process may end between any two.
#[tokio::test]
async fn a_migration_that_was_interrupted_anywhere_is_completed_by_the_next() {
    let schema = jobstore_sql::mysql::schema();
    let statements: Vec<&str> = schema
        .split_inclusive(";\n")
        .filter(|statement| !statement.trim().is_empty())
        .collect();
    assert_eq!(statements.len(), 3, "{schema}");
    for done in 0..=statements.len() {
        let database = Database::new().await;
        let mut connection = database.connect().await;
        for statement in &statements[..done] {
            run(&mut connection, statement).await;
        }
        create(&database.open().await, NewJob::new("a", "{}")).await;
        assert_eq!(
            tables(&mut connection).await,
            ["jobs", "jobstore_migrations"]
        );
    }
    // And so may one that takes the schema away.
    for sql in [
        "DELETE FROM jobstore_migrations",
        "DELETE FROM jobstore_migrations; DROP TABLE jobs",
    ] {
        let database = Database::new().await;
        create(&database.open().await, NewJob::new("a", "{}")).await;
        let mut connection = database.connect().await;
        run(&mut connection, sql).await;
        let store = database.open().await;
        let left = u64::from(!sql.contains("DROP"));
        assert_eq!(total(&store).await, left);
        drop(store);
        run(&mut connection, sql).await;
        database.options().remove_schema().await.expect("removes");
        assert!(tables(&mut connection).await.is_empty());
    }
}

/// What a child process of the test below does.
#[tokio::test]
#[ignore = "run by another test, with the variable that tells it where"]
async fn child_process() {
    let url = std::env::var("JOBSTORE_TEST_URL").expect("is set");
    let connect: MySqlConnectOptions = url.parse().expect("a URL");
    let store = MySqlOptions::new(connect).open().await.expect("opens");
    let jobs = store.create_jobs(vec![NewJob::new("a", "{}"); 20]).await;
    jobs.expect("creates");
    let request = ClaimRequest::new("w", Duration::from_secs(600)).with_limit(3);
    loop {
        let jobs = store.claim_jobs(&request).await.expect("claims");
        if jobs.is_empty() {
            return;
        }
        for job in jobs {
            store
                .finish_job(job.claim(), "done")
                .await
                .expect("finishes");
        }
    }
}

#[tokio::test]
async fn ten_processes_start_at_once_on_a_new_database_and_share_the_jobs() {
    let database = Database::new().await;
    let mut url: String = common::url("JOBSTORE_TEST_MYSQL");
    url.truncate(url.rfind('/').expect("names a database"));
    let url = format!("{url}/{}", database.name);
    let children: Vec<_> = (0..10)
        .map(|_| {
            Command::new(std::env::current_exe().expect("is running"))
                .args(["--exact", "child_process", "--ignored"])
                .env("JOBSTORE_TEST_URL", &url)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("starts")
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().expect("ends");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
    }
    let store = database.open().await;
    // A worker goes home when the others have all that is left.
    let counts = store
        .count_jobs(&JobFilter::default())
        .await
        .expect("counts");
    assert_eq!(
        (counts.get(JobStatus::Succeeded), counts.total()),
        (200, 200)
    );
    let page = PageRequest::default().with_size(1000);
    let list = store.list_jobs(&JobFilter::default(), &page).await;
    let once = list.expect("lists").iter().all(|job| job.fence == 1);
    assert!(once, "a job was claimed twice");
}
