//! What PostgreSQL does when servers, settings, other programs and other processes are not as one
//! wishes.
#![cfg(feature = "postgres")]

mod common;

use std::time::Duration;

use common::load;
use common::postgres::{Schema, server};
use futures_util::future::join_all;
use jobstore_core::{
    Action, ClaimRequest, DeleteRequest, Error, Job, JobFilter, JobId, JobStatus, JobStore,
    JobStoreExt as _, NewJob, Order, PageRequest, Result, RetryPolicy, Update, claimed,
};
use jobstore_sql::{ClaimBy, PostgresJobStore, PostgresOptions};
use sqlx::postgres::{PgConnection, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

async fn open(schema: &Schema) -> PostgresJobStore {
    schema.options().open().await.expect("opens")
}

fn incompatible(opened: Result<PostgresJobStore>) -> String {
    match opened {
        Err(Error::Incompatible { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

async fn create(store: &PostgresJobStore, job: NewJob) -> Job {
    store.create_job(job).await.expect("creates").into_job()
}

async fn total(store: &PostgresJobStore) -> u64 {
    let counts = store.count_jobs(&JobFilter::default()).await;
    counts.expect("counts").total()
}

async fn run(connection: &mut PgConnection, sql: impl Into<String>) {
    let done = connection
        .execute(sqlx::raw_sql(AssertSqlSafe(sql.into())))
        .await;
    done.expect("runs");
}

async fn tables(connection: &mut PgConnection, schema: &Schema) -> Vec<String> {
    let names = "SELECT tablename::text FROM pg_tables WHERE schemaname = $1 ORDER BY 1";
    let names = sqlx::query_scalar(names).bind(&schema.name);
    names.fetch_all(connection).await.expect("reads")
}

/// The schema, there before any store.
async fn made(schema: &Schema) -> PgConnection {
    let mut connection = schema.connect().await;
    run(&mut connection, format!("CREATE SCHEMA {}", schema.name)).await;
    connection
}

#[tokio::test]
async fn a_table_of_jobs_that_is_not_ours_is_refused_and_left_alone() {
    let schema = Schema::new();
    let mut other = made(&schema).await;
    run(
        &mut other,
        "CREATE TABLE jobs (title TEXT); INSERT INTO jobs VALUES ('cook')",
    )
    .await;
    let reason = incompatible(schema.options().open().await);
    assert!(reason.contains("did not make"), "{reason}");
    assert_eq!(tables(&mut other, &schema).await, ["jobs"]);
    let titles = sqlx::query_scalar("SELECT title FROM jobs").fetch_all(&mut other);
    let titles: Vec<String> = titles.await.expect("reads");
    assert_eq!(titles, ["cook"]);
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let schema = Schema::new();
    drop(open(&schema).await);
    let newer = "INSERT INTO jobstore_migrations VALUES (1000, 0)";
    run(&mut schema.connect().await, newer).await;
    let reason = incompatible(schema.options().open().await);
    assert!(reason.contains("1000"), "{reason}");
}

#[tokio::test]
async fn without_migrating_an_empty_schema_is_refused_and_a_ready_one_opens() {
    let schema = Schema::new();
    let options = schema.options().with_migrate(false);
    assert!(incompatible(options.clone().open().await).contains("migrate first"));
    assert!(
        tables(&mut schema.connect().await, &schema)
            .await
            .is_empty()
    );
    drop(open(&schema).await);
    options.open().await.expect("opens");
}

#[tokio::test]
async fn a_schema_made_by_hand_is_taken_for_ours_and_can_be_removed_by_hand() {
    let schema = Schema::new();
    let mut hand = made(&schema).await;
    run(&mut hand, jobstore_sql::postgres::schema()).await;
    let store = schema.options().with_migrate(false).open().await;
    create(&store.expect("opens"), NewJob::new("a", "{}")).await;
    run(&mut hand, jobstore_sql::postgres::schema_down()).await;
    assert!(tables(&mut hand, &schema).await.is_empty());
}

#[tokio::test]
async fn the_schema_goes_away_and_comes_back_and_other_tables_stay() {
    let schema = Schema::new();
    let mut other = made(&schema).await;
    run(&mut other, "CREATE TABLE other (n INT)").await;
    create(&open(&schema).await, NewJob::new("a", "{}")).await;
    schema.options().remove_schema().await.expect("removes");
    assert_eq!(tables(&mut other, &schema).await, ["other"]);
    assert_eq!(total(&open(&schema).await).await, 0);
}

/// What a child process of the test below does.
#[tokio::test]
#[ignore = "run by another test, with the variable that tells it where"]
async fn child_process() {
    let schema = std::env::var("JOBSTORE_TEST_SCHEMA").expect("is set");
    let options = PostgresOptions::new(server()).with_schema(schema);
    let store = options.open().await.expect("opens");
    load::create(&store, 20).await;
    let mut acknowledged = Vec::new();
    load::work(&store, "worker-x", 3, &mut acknowledged).await;
    println!("\n{}", String::from_utf8(acknowledged).expect("UTF-8"));
}

#[tokio::test]
async fn ten_processes_start_at_once_on_a_new_schema_and_share_the_jobs() {
    let schema = Schema::new();
    let child = |_| load::child(&[("JOBSTORE_TEST_SCHEMA", &schema.name)]);
    let acknowledged = load::acknowledged((0..10).map(child).collect()).await;
    assert_eq!(acknowledged.lines().count(), 200);
    let store = open(&schema).await;
    let page = PageRequest::default().with_size(1000);
    let list = store
        .list_jobs(&JobFilter::default(), &page)
        .await
        .expect("lists");
    let once = |job: &Job| job.fence == 1 && job.status == JobStatus::Succeeded;
    assert!(
        list.len() == 200 && list.iter().all(once),
        "a job was claimed twice"
    );
}

#[tokio::test]
async fn a_migration_that_was_cut_off_left_nothing_behind() {
    let schema = Schema::new();
    let mut cut = made(&schema).await;
    let half = jobstore_sql::postgres::schema();
    run(
        &mut cut,
        format!(
            "BEGIN; {}",
            &half[..half.find("CREATE INDEX").expect("has one")]
        ),
    )
    .await;
    drop(cut);
    create(&open(&schema).await, NewJob::new("a", "{}")).await;
}

#[tokio::test]
async fn a_database_whose_encoding_cannot_hold_every_text_is_refused() {
    let name = common::unique_name("latin");
    let mut admin = PgConnection::connect_with(&server())
        .await
        .expect("connects");
    let make = "TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'";
    run(&mut admin, format!("CREATE DATABASE {name} {make}")).await;
    let opened = PostgresOptions::new(server().database(&name)).open().await;
    run(&mut admin, format!("DROP DATABASE {name} WITH (FORCE)")).await;
    let reason = incompatible(opened);
    assert!(
        reason.contains("LATIN1") && reason.contains("UTF8"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_schema_name_that_would_have_to_be_quoted_is_refused() {
    for name in ["", "Jobs", "a-b", "1a", "a b", "a\";--", &"a".repeat(64)] {
        let opened = PostgresOptions::new(server())
            .with_schema(name)
            .open()
            .await;
        let refused =
            matches!(&opened, Err(Error::InvalidArgument { field, .. }) if field == "schema");
        assert!(refused, "{name:?}: {opened:?}");
    }
}

#[tokio::test]
async fn acknowledged_means_on_disk_also_where_the_database_is_set_to_less() {
    let name = common::unique_name("loose");
    let mut admin = PgConnection::connect_with(&server())
        .await
        .expect("connects");
    run(&mut admin, format!("CREATE DATABASE {name}")).await;
    run(
        &mut admin,
        format!("ALTER DATABASE {name} SET synchronous_commit = off"),
    )
    .await;
    let way = server().database(&name).application_name(&name);
    let store = PostgresOptions::new(way.clone())
        .open()
        .await
        .expect("opens");
    create(&store, NewJob::new("a", "{}")).await;
    // Asked in a transaction of the store's own connections.
    let mut commit = PgConnection::connect_with(&way).await.expect("connects");
    let set: String = sqlx::query_scalar("SHOW synchronous_commit")
        .fetch_one(&mut commit)
        .await
        .expect("asks");
    assert_eq!(set, "off", "the database is set to less");
    drop(commit);
    assert_eq!(store.synchronous_commit().await.expect("asks"), "on");
    drop(store);
    run(&mut admin, format!("DROP DATABASE {name} WITH (FORCE)")).await;
}

#[tokio::test]
async fn a_pool_of_the_callers_works_whatever_its_isolation_and_search_path() {
    let schema = Schema::new();
    drop(open(&schema).await);
    for settings in [
        "SET default_transaction_isolation = 'repeatable read'",
        "SET default_transaction_isolation = 'serializable'; SET search_path = pg_catalog",
        "SET standard_conforming_strings = off; SET synchronous_commit = off",
        "SET client_encoding = 'UTF8'; SET DateStyle = 'German'; SET timezone = 'Asia/Kolkata'",
    ] {
        let pool = PgPoolOptions::new().max_connections(3);
        let pool = pool.after_connect(move |connection, _| {
            Box::pin(async move { connection.execute(sqlx::raw_sql(settings)).await.map(drop) })
        });
        let pool = pool.connect_with(server()).await.expect("connects");
        let options = PostgresOptions::existing(pool).with_schema(&schema.name);
        let store = options.open().await.expect("opens");
        let name = "é\\' \u{1f525}";
        let job = create(&store, NewJob::new(name, r#"{"a": "\\é"}"#)).await;
        let request = ClaimRequest::new("w", Duration::from_secs(60)).with_job_name(name);
        let claimed = store
            .claim_job(&request)
            .await
            .expect("claims")
            .expect("is due");
        assert_eq!(
            (claimed.id, claimed.params),
            (job.id, job.params),
            "{settings}"
        );
        store.finish_job(claimed.id, "ñ").await.expect("finishes");
        let found = store.get_job(job.id).await.expect("exists");
        assert_eq!(found.result.as_deref(), Some("ñ"), "{settings}");
    }
}

#[tokio::test]
async fn a_transaction_left_open_on_a_callers_connection_does_no_harm() {
    let schema = Schema::new();
    let store = open(&schema).await;
    let pool = PgPoolOptions::new().max_connections(2);
    let pool = pool.connect_with(server()).await.expect("connects");
    let options = PostgresOptions::existing(pool.clone()).with_schema(&schema.name);
    let shared = options.open().await.expect("opens");
    let mut forgetful = [pool.acquire().await, pool.acquire().await];
    for connection in forgetful.iter_mut().flatten() {
        let job = create(&store, NewJob::new("a", "{}")).await;
        let (id, schema) = (job.id, &schema.name);
        let forgotten = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ; \
             UPDATE {schema}.jobs SET job_name = 'z' WHERE id = '{id}'"
        );
        run(connection, forgotten).await;
    }
    drop(forgetful);
    let late = create(&store, NewJob::new("a", "{}")).await;
    for _ in 0..4 {
        shared
            .get_job(late.id)
            .await
            .expect("no read sees what was long ago");
    }
    create(&shared, NewJob::new("a", "{}")).await;
    drop(shared);
    pool.close().await;
    let filter = JobFilter::default().with_job_name("a");
    let counts = store.count_jobs(&filter).await.expect("counts");
    assert_eq!(counts.total(), 4, "nobody committed what was forgotten");
}

#[tokio::test]
async fn jobs_created_in_a_transaction_exist_once_it_commits() {
    let schema = Schema::new();
    let store = open(&schema).await;
    let mut connection = schema.connect().await;
    let keyed = || vec![NewJob::new("a", "{}").with_unique_key("k")];
    for (end, expected) in [("ROLLBACK", 0), ("COMMIT", 1)] {
        run(&mut connection, "BEGIN").await;
        let created = store
            .create_jobs_in(&mut connection, keyed())
            .await
            .expect("creates");
        assert!(created[0].is_new());
        let found = store.get_jobs(&[created[0].job().id]).await.expect("reads");
        assert_eq!(found, [None]);
        run(&mut connection, end).await;
        assert_eq!(total(&store).await, expected);
    }
    assert!(!store.create_jobs(keyed()).await.expect("finds")[0].is_new());
}

#[tokio::test]
async fn rows_that_cannot_be_read_hide_no_others_and_the_table_refuses_most() {
    let schema = Schema::new();
    let store = open(&schema).await;
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(create(&store, NewJob::new("a", "{}")).await);
    }
    let mut other = schema.connect().await;
    for set in [
        "id = 'x'",
        "priority = 99999",
        "retry_count = -1",
        "fence = -1",
        "timeout = -1",
        "timeout = 'NaN'",
    ] {
        let sql = format!("UPDATE jobs SET {set} WHERE id = '{}'", jobs[0].id);
        assert!(other.execute(AssertSqlSafe(sql)).await.is_err(), "{set}");
    }
    let strange = format!(
        "UPDATE jobs SET status = 77 WHERE id = '{}'; UPDATE jobs SET params = 'no json' WHERE id = '{}'",
        jobs[0].id, jobs[1].id
    );
    run(&mut other, strange).await;
    let found = store.get_jobs(&[jobs[0].id]).await;
    assert!(matches!(found, Err(Error::Unreadable { .. })), "{found:?}");
    let page = PageRequest::default();
    let list = store
        .list_jobs(&JobFilter::default(), &page)
        .await
        .expect("lists");
    assert_eq!(list.len(), 2, "a status of a later version is in no branch");
    let filter = JobFilter::default().with_params(r#"{"a":1}"#);
    assert!(
        store
            .list_jobs(&filter, &page)
            .await
            .expect("lists")
            .is_empty()
    );
    let cancel = [0, 2].map(|index: usize| Update::new(jobs[index].id, Action::Cancel));
    let verdicts = store.update_jobs(cancel.to_vec()).await.expect("answers");
    assert!(
        matches!(&verdicts[0], Err(Error::Unreadable { .. })),
        "{verdicts:?}"
    );
    assert_eq!(
        verdicts[1].as_ref().expect("cancels").status,
        JobStatus::Canceled
    );
}

#[tokio::test]
async fn a_row_that_somebody_holds_is_passed_over_by_claims() {
    let schema = Schema::new();
    let store = open(&schema).await;
    let held = create(&store, NewJob::new("a", "{}")).await;
    let free = create(&store, NewJob::new("a", "{}")).await;
    let mut other = schema.connect().await;
    let hold = format!(
        "BEGIN; SELECT 1 FROM jobs WHERE id = '{}' FOR UPDATE",
        held.id
    );
    run(&mut other, hold).await;
    let request = ClaimRequest::new("w", Duration::from_secs(60)).with_limit(10);
    let claimed = store.claim_jobs(&request).await.expect("claims");
    assert_eq!(
        claimed.iter().map(|job| job.id).collect::<Vec<_>>(),
        [free.id]
    );
    run(&mut other, "ROLLBACK").await;
    let claimed = store.claim_jobs(&request).await.expect("claims");
    assert_eq!(
        claimed.iter().map(|job| job.id).collect::<Vec<_>>(),
        [held.id]
    );
}

#[tokio::test]
async fn a_claim_writes_what_core_makes_of_the_job() {
    // A claim of rows that are locked is one statement, a claim by guard another; both say in SQL what
    // `claimed` says.
    for by in [ClaimBy::SkipLocked, ClaimBy::Guard] {
        let schema = Schema::new();
        let store = schema.options().with_claim_by(by).open().await;
        let store = store.expect("opens");
        let job = NewJob::new("a", r#"{"to": "a@example.org"}"#).with_unique_key("key");
        let job = create(&store, job).await;
        let request = ClaimRequest::new("w", Duration::from_secs(60));
        let first = store.claim_jobs(&request).await.expect("claims");
        // Before it is claimed again it has an error, a retry and a fence.
        let policy = RetryPolicy {
            base: Duration::ZERO,
            ..RetryPolicy::default()
        };
        let retry = Action::RetryOrFail {
            error: "no".to_owned(),
            policy,
        };
        let update = Update::new(first[0].claim(), retry);
        let before = store.update_job(update).await.expect("retries");
        let claimed_jobs = store.claim_jobs(&request).await.expect("claims");
        let [after] = claimed_jobs.as_slice() else {
            panic!("{by:?}: {claimed_jobs:?}");
        };
        let expected = claimed(&before, &request.lease, after.last_update_time);
        assert_eq!(*after, expected, "{by:?}");
        let stored = store.get_job(job.id).await.expect("gets");
        assert_eq!(stored, expected, "{by:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_become_due_while_many_claim_are_claimed_in_order_and_once() {
    let schema = Schema::new();
    let store = open(&schema).await;
    let soon = store.now().saturating_add(Duration::from_millis(200));
    let jobs = vec![NewJob::new("a", "{}").with_next_attempt_at(soon); 300];
    store.create_jobs(jobs).await.expect("creates");
    let claimers = (0..8).map(|index| {
        let store = store.clone();
        tokio::spawn(async move {
            let request =
                ClaimRequest::new(format!("w{index}"), Duration::from_secs(60)).with_limit(7);
            let mut claimed = Vec::new();
            while total_pending(&store).await > 0 {
                claimed.extend(store.claim_jobs(&request).await.expect("claims"));
            }
            claimed
        })
    });
    let mut claimed: Vec<Job> = Vec::new();
    for jobs in join_all(claimers).await {
        claimed.extend(jobs.expect("does not panic"));
    }
    assert_eq!(claimed.len(), 300);
    assert!(
        claimed.iter().all(|job| job.fence == 1),
        "a job was claimed twice"
    );
}

async fn total_pending(store: &PostgresJobStore) -> u64 {
    let counts = store.count_jobs(&JobFilter::default()).await;
    counts.expect("counts").get(JobStatus::Pending)
}

#[tokio::test]
async fn the_index_of_params_finds_every_match_also_of_other_programs() {
    let schema = Schema::new();
    let store = open(&schema).await;
    let many: Vec<String> = (0..150)
        .map(|member| format!(r#""m{member}": {member}"#))
        .collect();
    let texts = [
        r#"{"n": 1}"#.to_owned(),
        r#"{"n": 1.0, "x": 2}"#.to_owned(),
        r#"{"n": 0, "n": 10e-1}"#.to_owned(),
        format!(r#"{{"n": 1, {}}}"#, many.join(", ")),
        r#"{"n": 1, "text": "\u0000 \ud83d\ude00 1e400"}"#.to_owned(),
    ];
    let mut wanted = Vec::new();
    for text in &texts {
        // So many others that no match is on the way.
        let others = vec![NewJob::new("a", r#"{"n": 2}"#); 700];
        store.create_jobs(others).await.expect("creates");
        wanted.push(create(&store, NewJob::new("a", text.as_str())).await.id);
    }
    let foreign = create(&store, NewJob::new("a", "{}")).await;
    let write = format!(
        "UPDATE jobs SET params = '{{\"n\":1}}', indexed = DEFAULT WHERE id = '{}'",
        foreign.id
    );
    run(&mut schema.connect().await, write).await;
    wanted.push(foreign.id);
    for filter in [r#"{"n": 1}"#, r#"{"n": 100e-2}"#] {
        let filter = JobFilter::default().with_params(filter);
        let page = PageRequest::default();
        let list = store.list_jobs(&filter, &page).await.expect("lists");
        assert_eq!(list.iter().map(|job| job.id).collect::<Vec<_>>(), wanted);
        let counts = store.count_jobs(&filter).await.expect("counts");
        assert_eq!(counts.total(), 6);
        // A walk in small pages, in the other order, of some of them.
        let some = filter.with_ids(&wanted[1..5]);
        let mut page = PageRequest::default()
            .with_size(1)
            .with_order(Order::Descending);
        let mut walked = Vec::new();
        loop {
            let list = store.list_jobs(&some, &page).await.expect("lists");
            walked.extend(list.iter().map(|job| job.id));
            let Some(token) = list.token else { break };
            page = page.with_token(Some(token));
        }
        walked.reverse();
        assert_eq!(walked, wanted[1..5]);
    }
    // And what is deleted leaves nothing.
    for id in &wanted {
        store.cancel_job(*id).await.expect("cancels");
    }
    let delete = DeleteRequest::Ids(wanted.clone());
    store.delete_jobs(&delete).await.expect("deletes");
    let left = "SELECT COUNT(*) FROM jobs_params WHERE NOT EXISTS (SELECT FROM jobs WHERE jobs.id = jobs_params.id)";
    let left: i64 = sqlx::query_scalar(left)
        .fetch_one(&mut schema.connect().await)
        .await
        .expect("counts");
    assert_eq!(left, 0);
    // What another program left behind is in nobody's way.
    let again = NewJob::new("a", r#"{"n": 3}"#).with_id(JobId::generate());
    let job = create(&store, again.clone()).await;
    run(&mut schema.connect().await, "DELETE FROM jobs").await;
    let again = again.with_id(job.id);
    assert_eq!(create(&store, again).await.id, job.id);
}
