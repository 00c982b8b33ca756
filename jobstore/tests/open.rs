//! Opening stores by URL.

use jobstore::Opener;

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_sqlite_file_keeps_its_jobs_and_is_made_only_when_asked() {
    keeps_its_jobs_and_is_made_only_when_asked("sqlite").await;
}

#[cfg(feature = "sled")]
#[tokio::test]
async fn a_sled_folder_keeps_its_jobs_and_is_made_only_when_asked() {
    keeps_its_jobs_and_is_made_only_when_asked("sled").await;
}

#[cfg(feature = "redb")]
#[tokio::test]
async fn a_redb_file_keeps_its_jobs_and_is_made_only_when_asked() {
    keeps_its_jobs_and_is_made_only_when_asked("redb").await;
}

#[cfg(any(feature = "redb", feature = "sled", feature = "sqlite"))]
async fn keeps_its_jobs_and_is_made_only_when_asked(scheme: &str) {
    use jobstore::{JobStoreExt as _, NewJob};

    let directory = tempfile::tempdir().expect("a directory");
    let url = format!("{scheme}://{}/jobs", directory.path().display());
    let unmade = Opener::new(&url).with_migrate(false).open().await;
    assert!(unmade.is_err());
    let store = jobstore::open(&url).await.expect("opens");
    let job = store
        .create_job(NewJob::new("a", "{}"))
        .await
        .expect("is created")
        .into_job();
    drop(store);
    let again = Opener::new(&url)
        .with_migrate(false)
        .open()
        .await
        .expect("opens");
    assert_eq!(again.get_job(job.id).await.expect("is there"), job);
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn sqlite_is_opened_with_the_clock_given() {
    let clock = jobstore::ManualClock::new(jobstore::Timestamp::from_millis(7));
    let opener = Opener::new("sqlite::memory:").with_clock(std::sync::Arc::new(clock));
    let store = opener.open().await.expect("opens");
    assert_eq!(store.now().as_millis(), 7);
}

#[cfg(feature = "memory")]
#[tokio::test]
async fn memory_is_opened_with_the_clock_given() {
    let clock = jobstore::ManualClock::new(jobstore::Timestamp::from_millis(7));
    let opener = Opener::new("memory:").with_clock(std::sync::Arc::new(clock));
    let store = opener.open().await.expect("opens");
    assert_eq!(store.now().as_millis(), 7);
}

#[cfg(not(feature = "memory"))]
#[tokio::test]
async fn a_scheme_whose_feature_is_off_names_the_feature() {
    let error = jobstore::open("memory:").await.expect_err("is refused");
    assert!(error.to_string().contains("feature `memory`"), "{error}");
}

#[tokio::test]
async fn an_opener_shows_no_password() {
    for url in [
        "postgres://ada:canary@host/db",
        "oracle://ada:canary@host/db",
    ] {
        let opener = Opener::new(url);
        assert!(!format!("{opener:?}").contains("canary"));
    }
    let error = jobstore::open("oracle://ada:canary@host/db").await;
    let error = error.expect_err("is refused").to_string();
    assert!(error.contains("unknown scheme `oracle`"), "{error}");
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn postgresql_is_opened_with_the_options_of_its_url() {
    use jobstore::{JobStoreExt as _, NewJob, StoreUrl, postgres};

    let server = jobstore_test_servers::Kind::Postgres.shared_url();
    let url = format!(
        "{server}?schema=test_open_{}&max_connections=3",
        std::process::id()
    );
    let store = jobstore::open(&url).await.expect("opens");
    let job = NewJob::new("a", "{}").with_unique_key("once");
    let created = store.create_job(job.clone()).await.expect("is created");
    let again = jobstore::open(&url).await.expect("opens");
    let found = again.create_job(job).await.expect("exists");
    assert_eq!(found.into_job().id, created.into_job().id);
    let Ok(StoreUrl::Postgres(place)) = url.parse() else {
        panic!("{url} is not read");
    };
    let options = || postgres::PostgresOptions::try_from(&place).expect("is right");
    assert!(format!("{:?}", options()).contains("max_connections: 3"));
    options().remove_schema().await.expect("is removed");
    let gone = Opener::new(&url).with_migrate(false).open().await;
    assert!(
        matches!(gone, Err(jobstore::Error::Incompatible { .. })),
        "{gone:?}"
    );
    drop_schema(&place).await;
}

#[cfg(feature = "postgres")]
async fn drop_schema(place: &jobstore::ServerUrl) {
    use sqlx::{AssertSqlSafe, Connection as _, Executor as _, postgres as driver};

    let connect = driver::PgConnectOptions::try_from(place).expect("is right");
    let connection = driver::PgConnection::connect_with(&connect).await;
    let drop = format!("DROP SCHEMA {}", place.option("schema").expect("is given"));
    let dropped = connection
        .expect("connects")
        .execute(AssertSqlSafe(drop))
        .await;
    dropped.expect("is empty");
}

#[cfg(feature = "mysql")]
#[tokio::test]
async fn mysql_is_opened_by_its_url() {
    use jobstore::{JobStoreExt as _, NewJob, StoreUrl, mysql};
    use sqlx::{AssertSqlSafe, Connection as _, Executor as _, mysql as driver};

    let server = jobstore_test_servers::Kind::MariaDb.shared_url();
    let Ok(StoreUrl::MySql(server)) = server.parse() else {
        panic!("JOBSTORE_TEST_MYSQL is not a URL");
    };
    let connect = driver::MySqlConnectOptions::try_from(&server).expect("is right");
    let connection = driver::MySqlConnection::connect_with(&connect).await;
    let mut connection = connection.expect("connects");
    let database = format!("test_open_{}", std::process::id());
    let make = format!("CREATE DATABASE {database}");
    connection
        .execute(AssertSqlSafe(make))
        .await
        .expect("is made");

    let place = server.with_database(&database);
    let store = Opener::from(StoreUrl::MySql(place.clone())).open().await;
    let store = store.expect("opens");
    let job = store.create_job(NewJob::new("a", "{}")).await;
    let job = job.expect("is created").into_job();
    let url = format!("{place}?max_connections=2&call_timeout=5&claim_by=guard");
    let again = jobstore::open(&url).await.expect("opens");
    assert_eq!(again.get_job(job.id).await.expect("is there"), job);
    let options = mysql::MySqlOptions::try_from(&place).expect("is right");
    options.remove_schema().await.expect("is removed");

    let drop = format!("DROP DATABASE {database}");
    connection
        .execute(AssertSqlSafe(drop))
        .await
        .expect("is dropped");
}

#[cfg(all(feature = "postgres", feature = "mysql"))]
#[tokio::test]
async fn a_wrong_value_of_an_option_is_refused_without_it() {
    for (url, option) in [
        ("postgres://h/d?sslmode=canary", "`sslmode`"),
        ("postgres://h/d?sslrootcert=/canary", "`sslrootcert`"),
        ("postgres://h/d?pooler=canary", "`pooler`"),
        ("postgres://h/d?max_connections=canary", "`max_connections`"),
        ("postgres://h/d?max_connections=1", "max_connections"),
        ("postgres://h/d?call_timeout=-1", "`call_timeout`"),
        ("postgres://h/d?call_timeout=0", "call_timeout"),
        ("postgres://h/d?claim_by=canary", "`claim_by`"),
        ("postgres://h/d?schema=Canary", "schema"),
        ("mysql://h/d?ssl-mode=canary", "`ssl-mode`"),
        ("mysql://h/d?ssl-ca=/canary", "`ssl-ca`"),
        ("mysql://h/d?claim_by=canary", "`claim_by`"),
    ] {
        let error = jobstore::open(url).await.expect_err(url);
        assert!(
            matches!(error, jobstore::Error::InvalidArgument { .. }),
            "{url}: {error}"
        );
        let error = error.to_string();
        assert!(
            error.contains(option) && !error.to_lowercase().contains("canary"),
            "{error}"
        );
    }
}
