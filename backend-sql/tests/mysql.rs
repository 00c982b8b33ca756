//! What MySQL and MariaDB do when servers, settings, other programs and other processes are not as
//! one wishes.
#![cfg(feature = "mysql")]

mod common;

use std::time::Duration;

use common::mysql::{Database, create, run, total};
use jobstore_core::{
    Action, ClaimRequest, Error, JobFilter, JobStatus, JobStore, JobStoreExt as _, NewJob,
    PageRequest, Update,
};
use jobstore_sql::{ClaimBy, MySqlOptions};
use jobstore_test_servers::Server;
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

/// A pool whose connections are set so, as another program's may be.
async fn pool(database: &Database, settings: &'static str) -> sqlx::MySqlPool {
    MySqlPoolOptions::new()
        .max_connections(3)
        .after_connect(move |connection, _| {
            Box::pin(async move { connection.execute(settings).await.map(drop) })
        })
        .connect_with(database.connect_options())
        .await
        .expect("connects")
}

/// Texts that some collation takes for equal, each pair beside each other.
const TEXTS: [&str; 14] = [
    "key", "KEY", "key ", "key\t", "é", "e", "e\u{301}", "ß", "ss", "😀", "🔥", "\u{ffff}", "ﬁ",
    "fi",
];

#[tokio::test]
async fn text_is_compared_by_code_point_whatever_the_database_thinks() {
    for options in [
        "CHARACTER SET latin1",
        "CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
        "CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci",
    ] {
        let database = Database::with(options).await;
        let store = database.open().await;
        for text in TEXTS {
            let job = NewJob::new(text, "{}").with_unique_key(text);
            assert!(
                store.create_job(job).await.expect("creates").is_new(),
                "{text:?}"
            );
        }
        for text in TEXTS {
            let filter = JobFilter::default().with_job_name(text);
            let counts = store.count_jobs(&filter).await.expect("counts");
            assert_eq!(counts.total(), 1, "{text:?} on {options}");
            let key = NewJob::new(text, "{}").with_unique_key(text);
            assert!(
                !store.create_job(key).await.expect("finds").is_new(),
                "{text:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_server_that_is_not_strict_stores_nothing_by_halves() {
    let server = Server::mariadb()
        .with("sql-mode", "")
        .with("character-set-server", "latin1")
        .with("transaction-isolation", "REPEATABLE-READ")
        .with("autocommit", "OFF");
    let server = server.start().expect("starts");
    let connect: MySqlConnectOptions = server.url().parse().expect("a URL");
    let store = MySqlOptions::new(connect.clone())
        .open()
        .await
        .expect("opens");
    let settings = store.settings().await.expect("reads");
    assert!(
        settings.sql_mode.contains("STRICT") && settings.autocommit,
        "{settings:?}"
    );
    let longest = "\u{10ffff}".repeat(500);
    let key = "\u{10ffff}".repeat(255);
    let job = NewJob::new(&longest, "{}").with_unique_key(&key);
    let created = create(&store, job).await;
    let found = store.get_job(created.id).await.expect("exists");
    assert_eq!((found.job_name, found.unique_key), (longest, Some(key)));
    // Reads see what others have committed, and nothing stays begun.
    let other = MySqlOptions::new(connect).open().await.expect("opens");
    create(&other, NewJob::new("a", "{}")).await;
    assert_eq!(total(&store).await, 2);
}

#[tokio::test]
async fn a_pool_whose_connections_would_lose_data_is_refused() {
    let database = Database::new().await;
    drop(database.open().await);
    for (settings, named) in [
        ("SET SESSION sql_mode = ''", "sql_mode"),
        ("SET SESSION autocommit = 0", "autocommit"),
    ] {
        let refused = MySqlOptions::existing(pool(&database, settings).await)
            .open()
            .await;
        let Err(Error::InvalidArgument { field, reason }) = refused else {
            panic!("{refused:?}")
        };
        assert!(field == "pool" && reason.contains(named), "{reason}");
    }
}

#[tokio::test]
async fn a_pool_of_the_callers_works_whatever_its_isolation_and_collation() {
    let database = Database::new().await;
    for settings in [
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET NAMES latin1",
        "SET SESSION sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES'",
    ] {
        let pool = pool(&database, settings).await;
        let store = MySqlOptions::existing(pool.clone())
            .open()
            .await
            .expect("opens");
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
    let database = Database::new().await;
    let store = database.open().await;
    let pool = MySqlPoolOptions::new().max_connections(2);
    let pool = pool.connect_with(database.connect_options()).await;
    let pool = pool.expect("connects");
    let options = MySqlOptions::existing(pool.clone());
    let shared = options.open().await.expect("opens");
    let mut forgetful = vec![pool.acquire().await, pool.acquire().await];
    for connection in forgetful.iter_mut().flatten() {
        let job = create(&store, NewJob::new("a", "{}")).await;
        let forgotten = format!(
            "START TRANSACTION; SELECT COUNT(*) FROM jobs; \
             UPDATE jobs SET job_name = 'z' WHERE id = '{}'",
            job.id
        );
        run(connection, &forgotten).await;
    }
    drop(forgetful);
    let late = create(&store, NewJob::new("a", "{}")).await;
    for _ in 0..4 {
        let found = shared.get_job(late.id).await;
        found.expect("no read sees what was long ago");
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
    let database = Database::new().await;
    let store = database.open().await;
    let mut connection = database.connect().await;
    let keyed = || vec![NewJob::new("a", "{}").with_unique_key("k")];
    for (end, expected) in [("ROLLBACK", 0), ("COMMIT", 1)] {
        run(&mut connection, "START TRANSACTION").await;
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
async fn rows_that_cannot_be_read_hide_no_others_and_are_never_claimed() {
    let database = Database::new().await;
    let store = database.open().await;
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(create(&store, NewJob::new("a", "{}")).await.id);
    }
    let spoil = [
        "id = 'not-a-uuid'",
        "job_name = X'6180'",
        "status = 77",
        "params = 'no json'",
        "params = X'ff'",
    ];
    let mut other = database.connect().await;
    for (id, set) in ids.iter().zip(spoil) {
        run(
            &mut other,
            &format!("UPDATE jobs SET {set} WHERE id = '{id}'"),
        )
        .await;
    }
    let page = PageRequest::default().with_size(10);
    let list = store
        .list_jobs(&JobFilter::default(), &page)
        .await
        .expect("lists");
    assert_eq!(
        (list.len(), list.unreadable.len()),
        (2, 3),
        "{:?}",
        list.unreadable
    );
    let named: Vec<String> = list.unreadable.iter().map(Error::to_string).collect();
    let named = named.join("; ");
    assert!(
        named.contains("not-a-uuid") && named.contains("job_name") && named.contains("params"),
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
    let cancel = [ids[2], ids[5]].map(|id| Update::new(id, Action::Cancel));
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
async fn rows_whose_ids_are_no_text_hide_no_others_and_none_is_listed_twice() {
    let database = Database::new().await;
    let store = database.open().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(create(&store, NewJob::new("a", "{}")).await.id);
    }
    let mut other = database.connect().await;
    // All of one millisecond, so that the ids alone say where a page goes on.
    run(&mut other, "UPDATE jobs SET creation_time = 5").await;
    for (index, spoilt) in [(1, "X'ff'"), (3, "CONCAT(LEFT(id, 8), X'80')"), (4, "''")] {
        let id = ids[index];
        let sql = format!("UPDATE jobs SET id = {spoilt} WHERE id = '{id}'");
        run(&mut other, &sql).await;
    }
    common::walk::finds(&store, &[ids[0], ids[2]], 3).await;
    let claim = ClaimRequest::new("w", Duration::from_secs(1)).with_limit(5);
    assert_eq!(store.claim_jobs(&claim).await.expect("claims").len(), 2);
}

#[tokio::test]
async fn numbers_that_no_claim_could_hand_out_are_refused_by_the_table() {
    let database = Database::new().await;
    let store = database.open().await;
    let job = create(&store, NewJob::new("a", "{}")).await;
    let mut other = database.connect().await;
    for set in [
        "priority = 99999",
        "retry_count = -1",
        "fence = -1",
        "timeout = -1",
    ] {
        let sql = format!("UPDATE jobs SET {set} WHERE id = '{}'", job.id);
        let refused = other.execute(AssertSqlSafe(sql)).await;
        assert!(refused.is_err(), "{set}");
    }
}

#[tokio::test]
async fn a_row_that_somebody_holds_is_passed_over_by_claims() {
    let database = Database::new().await;
    let store = database.open().await;
    for name in ["a", "b"] {
        let batch = vec![NewJob::new(name, "{}"); 5];
        store.create_jobs(batch).await.expect("creates");
    }
    let mut holder = database.connect().await;
    let hold = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION; \
        SELECT id FROM jobs ORDER BY id LIMIT 1 FOR UPDATE";
    run(&mut holder, hold).await;
    let request = ClaimRequest::new("w", Duration::from_secs(60)).with_limit(3);
    let both = request.clone().with_job_name("a").with_job_name("b");
    let of_several = store.claim_jobs(&both).await.expect("claims");
    let of_one = store
        .claim_jobs(&request.clone().with_job_name("a"))
        .await
        .expect("claims");
    let of_any = store
        .claim_jobs(&request.with_limit(100))
        .await
        .expect("claims");
    assert_eq!((of_several.len(), of_one.len(), of_any.len()), (3, 1, 5));
}

#[tokio::test]
async fn by_guard_alone_every_job_goes_to_one_claim() {
    let database = Database::new().await;
    let options = database.options().with_claim_by(ClaimBy::Guard);
    let stores = [options.clone().open().await, options.open().await];
    let stores = stores.map(|store| store.expect("opens"));
    let jobs = (0..200).map(|number| NewJob::new(["a", "b"][number % 2], "{}"));
    stores[0]
        .create_jobs(jobs.collect())
        .await
        .expect("creates");
    let claimers = (0..8).map(|number: usize| {
        let store = stores[number % 2].clone();
        tokio::spawn(async move {
            let request = ClaimRequest::new("w", Duration::from_secs(60)).with_limit(3);
            let request = match number % 3 {
                0 => request,
                1 => request.with_job_name("a"),
                _ => request.with_job_name("a").with_job_name("b"),
            };
            let mut claimed = Vec::new();
            let mut idle = 0;
            while idle < 20 {
                match store.claim_jobs(&request).await {
                    Ok(jobs) if jobs.is_empty() => idle += 1,
                    Ok(jobs) => claimed.extend(jobs.into_iter().map(|job| job.id)),
                    Err(error) => assert!(error.is_retryable(), "{error}"),
                }
            }
            claimed
        })
    });
    let mut claimed = Vec::new();
    for claimer in futures_util::future::join_all(claimers).await {
        claimed.extend(claimer.expect("does not panic"));
    }
    claimed.sort_unstable();
    claimed.dedup();
    let counts = stores[0]
        .count_jobs(&JobFilter::default())
        .await
        .expect("counts");
    assert_eq!(counts.get(JobStatus::Running), 200);
    assert_eq!(claimed.len(), 200);
    let page = PageRequest::default().with_size(1000);
    let list = stores[0]
        .list_jobs(&JobFilter::default(), &page)
        .await
        .expect("lists");
    assert!(
        list.iter().all(|job| job.fence == 1),
        "a job was claimed twice"
    );
}

#[tokio::test]
async fn a_job_with_the_longest_params_and_result_is_stored_and_read() {
    let database = Database::new().await;
    let store = database.open().await;
    let length = 8 * 1024 * 1024;
    let params = format!(r#"{{"a":"{}"}}"#, "x".repeat(length - 8));
    assert_eq!(params.len(), length);
    let job = create(&store, NewJob::new("a", &*params)).await;
    let result = "é".repeat(length / 2);
    store.finish_job(job.id, &*result).await.expect("finishes");
    let found = store.get_job(job.id).await.expect("exists");
    assert!(found.params.as_str() == params && found.result.as_deref() == Some(&*result));
    // Several at once are more than one statement may hold.
    let batch = vec![NewJob::new("b", &*params); 4];
    store.create_jobs(batch).await.expect("creates");
    let page = PageRequest::default();
    let list = store
        .list_jobs(&JobFilter::default(), &page)
        .await
        .expect("lists");
    assert_eq!((list.len(), list.unreadable.len()), (5, 0));
}

#[tokio::test]
async fn what_is_longer_than_the_server_takes_is_refused_before_it_is_sent() {
    let server = Server::mariadb().with("max-allowed-packet", "1M");
    let server = server.start().expect("starts");
    let connect: MySqlConnectOptions = server.url().parse().expect("a URL");
    let store = MySqlOptions::new(connect).open().await.expect("opens");
    let long = "x".repeat(1024 * 1024);
    let params = format!(r#"{{"a":"{long}"}}"#);
    let batch = vec![NewJob::new("a", "{}"), NewJob::new("a", &*params)];
    let refused = store.create_jobs(batch).await;
    let Err(Error::InvalidArgument { field, reason }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(field, "jobs[1].params");
    assert!(reason.contains("max_allowed_packet"), "{reason}");
    assert_eq!(total(&store).await, 0);
    // Half of it goes, many at once go in pieces.
    let half = format!(r#"{{"a":"{}"}}"#, &long[..512 * 1024]);
    let created = store.create_jobs(vec![NewJob::new("a", &*half); 5]).await;
    let ids: Vec<_> = created
        .expect("creates")
        .iter()
        .map(|new| new.job().id)
        .collect();
    let finish = |result: &str| Action::Finish {
        result: Some(result.to_owned()),
    };
    let updates = vec![
        Update::new(ids[0], finish(&long)),
        Update::new(ids[1], finish(&long[..512 * 1024])),
        Update::new(ids[2], finish(&long[..900 * 1024])),
        Update::new(ids[3], Action::Cancel),
    ];
    let verdicts = store.update_jobs(updates).await.expect("answers");
    let refused = verdicts[0].as_ref().expect_err("is too long");
    assert!(matches!(refused, Error::InvalidArgument { field, .. } if field == "result"));
    assert!(verdicts[1..].iter().all(Result::is_ok), "{verdicts:?}");
    let job = store.get_job(ids[0]).await.expect("exists");
    assert_eq!(job.status, JobStatus::Pending);
}

#[tokio::test]
async fn a_server_that_may_lose_acknowledged_jobs_says_so() {
    let server = Server::mariadb().with("innodb-flush-log-at-trx-commit", "2");
    let server = server.start().expect("starts");
    let connect: MySqlConnectOptions = server.url().parse().expect("a URL");
    let store = MySqlOptions::new(connect).open().await.expect("opens");
    let settings = store.settings().await.expect("reads");
    assert!(!settings.is_durable(), "{settings:?}");
    let durable = Database::new().await.open().await.settings().await;
    assert!(durable.expect("reads").is_durable());
}

#[tokio::test]
async fn no_error_and_no_debug_form_shows_the_password_or_a_value() {
    let canary = "s3cr3t-canary";
    let connect = common::mysql::server().password(canary);
    let options = MySqlOptions::new(connect.clone());
    let refused = options.clone().open().await;
    let refused = refused.expect_err("has another password");
    let nowhere = MySqlOptions::new(connect.host("127.0.0.1").port(1))
        .open()
        .await;
    let nowhere = nowhere.expect_err("nobody listens");
    assert!(nowhere.is_retryable(), "{nowhere}");
    let database = Database::new().await;
    let store = database.open().await;
    let named = NewJob::new(canary, format!(r#"{{"{canary}": 1}}"#)).with_unique_key(canary);
    let job = create(&store, named.clone()).await;
    // The server says which value stands twice.
    let mut other = database.connect().await;
    run(&mut other, "START TRANSACTION").await;
    let twice = store
        .create_jobs_in(&mut other, vec![NewJob::new("x", "{}").with_id(job.id)])
        .await;
    let twice = twice.expect_err("exists");
    run(
        &mut other,
        "ROLLBACK; ALTER TABLE jobs DROP COLUMN last_error",
    )
    .await;
    let broken = store.create_job(named.with_unique_key("other")).await;
    let broken = broken.expect_err("the table is broken");
    assert!(matches!(broken, Error::Incompatible { .. }), "{broken:?}");
    let mut shown = format!("{options:?} {store:?}");
    for error in [refused, nowhere, twice, broken] {
        shown += &format!(" {error} {error:?}");
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            shown += &format!(" {cause} {cause:?}");
            source = cause.source();
        }
    }
    assert!(!shown.contains(canary), "{shown}");
}

#[tokio::test]
async fn a_missing_database_is_named_as_the_cause() {
    let connect = common::mysql::server().database("jobstore_no_such_database");
    let opened = MySqlOptions::new(connect).open().await;
    let Err(Error::Backend { source }) = opened else {
        panic!("{opened:?}")
    };
    assert!(source.to_string().contains("database"), "{source}");
}

#[tokio::test]
async fn a_store_follows_the_servers_clock() {
    let database = Database::new().await;
    let store = database.open().await;
    let asked = "SELECT CAST(UNIX_TIMESTAMP() * 1000 AS SIGNED)";
    let mut other = database.connect().await;
    let before: i64 = sqlx::query_scalar(asked)
        .fetch_one(&mut other)
        .await
        .expect("asks");
    let job = create(&store, NewJob::new("a", "{}")).await;
    let created = job.creation_time.as_millis();
    // Whole seconds on one side, the way to the server on the other.
    assert!(
        (before - 1_000..=before + 60_000).contains(&created),
        "{before} {created}"
    );
    other.close().await.expect("closes");
}
