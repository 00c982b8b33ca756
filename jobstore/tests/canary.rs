//! Passwords, params and results stand in no error, no trace and no `Debug`, whatever goes wrong.
#![cfg(all(feature = "postgres", feature = "mysql", feature = "sqlite"))]

#[path = "canary/seen.rs"]
mod seen;

use std::time::Duration;

use jobstore::mysql::MySqlOptions;
use jobstore::postgres::PostgresOptions;
use jobstore::sqlite::SqliteOptions;
use jobstore::{JobStore, Opener, StoreUrl};
use jobstore_test_servers::Server;
use seen::{CANARY, Seen};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlPool};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};

/// Where nobody answers.
const SHORT: Duration = Duration::from_secs(2);

/// What is done to the table behind the store's back, and how it is undone.
type Trouble = (&'static str, &'static str);

const POSTGRES: [Trouble; 9] = [
    (
        "TRUNCATE jobs; ALTER TABLE jobs ADD CONSTRAINT bad CHECK (params NOT LIKE '%s3cr3t%')",
        "ALTER TABLE jobs DROP CONSTRAINT bad",
    ),
    (
        "TRUNCATE jobs; ALTER TABLE jobs ADD CONSTRAINT bad CHECK (result NOT LIKE '%s3cr3t%')",
        "ALTER TABLE jobs DROP CONSTRAINT bad",
    ),
    (
        "TRUNCATE jobs; CREATE UNIQUE INDEX bad ON jobs (params)",
        "DROP INDEX bad",
    ),
    (
        "CREATE FUNCTION bad() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         RAISE EXCEPTION '%', NEW.params USING DETAIL = NEW.params, HINT = NEW.params; END $$; \
         CREATE TRIGGER bad BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION bad()",
        "DROP FUNCTION bad CASCADE",
    ),
    ("UPDATE jobs SET status = 77", "TRUNCATE jobs"),
    (
        "ALTER TABLE jobs RENAME COLUMN result TO other",
        "ALTER TABLE jobs RENAME COLUMN other TO result",
    ),
    (
        "ALTER TABLE jobs ALTER COLUMN result TYPE bigint USING NULL",
        "ALTER TABLE jobs ALTER COLUMN result TYPE text",
    ),
    (
        "TRUNCATE jobs; ALTER TABLE jobs ALTER COLUMN params TYPE varchar(5)",
        "ALTER TABLE jobs ALTER COLUMN params TYPE text",
    ),
    ("REVOKE ALL ON jobs FROM ada", "GRANT ALL ON jobs TO ada"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_secret_is_shown_on_postgresql() {
    let mut seen = Seen::start();
    let mut server = Server::postgres().start().expect("starts");
    let run = async |database: &str, sql: &str| {
        let url = format!("postgres://postgres@127.0.0.1:{}/{database}", server.port());
        let options: PgConnectOptions = url.parse().expect("is a URL");
        // What this test itself says to the server is no trace of the store's.
        let options = options.disable_statement_logging();
        let connection = PgConnection::connect_with(&options).await;
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        connection
            .expect("connects")
            .execute(sql)
            .await
            .expect("runs");
    };
    run(
        "postgres",
        &format!("CREATE ROLE ada LOGIN PASSWORD '{CANARY}-password'"),
    )
    .await;
    run("postgres", "CREATE DATABASE jobs OWNER ada").await;
    run(
        "postgres",
        "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0 OWNER ada",
    )
    .await;
    run(
        "jobs",
        "CREATE SCHEMA of_others; CREATE SCHEMA strange AUTHORIZATION ada",
    )
    .await;
    run(
        "jobs",
        &format!("CREATE TABLE strange.jobs AS SELECT '{CANARY}' AS params"),
    )
    .await;

    let place = format!("127.0.0.1:{}", server.port());
    let url = format!("postgres://ada:{CANARY}-password@{place}/jobs?call_timeout=2");
    for wrong in [
        format!("postgres://ada:{CANARY}-wrong@{place}/jobs"),
        format!("postgres://nobody:{CANARY}@{place}/jobs"),
        format!("postgres://ada:{CANARY}-password@{place}/none"),
        format!("postgres://ada:{CANARY}-password@{place}/postgres?schema=new"),
        format!("postgres://ada:{CANARY}-password@{place}/latin"),
        format!("postgres://ada:{CANARY}-password@no-such-host.invalid/jobs?call_timeout=2"),
        format!("postgres://ada:{CANARY}-password@127.0.0.1:1/jobs?call_timeout=1"),
        format!("postgres://ada:{CANARY}-password@%2Fno-such-socket/jobs?call_timeout=1"),
        format!("{url}&schema=of_others"),
        format!("{url}&schema=strange"),
        format!("{url}&schema=Wrong"),
        format!("{url}&sslmode=verify-full"),
        format!("{url}&sslmode=wrong"),
        format!("{url}&sslrootcert=/no/file"),
        format!("{url}&{CANARY}"),
        format!("{url}&password={CANARY}"),
        format!("postgres://ada:{CANARY}/password@{place}/jobs"),
    ] {
        refuse(&mut seen, &wrong).await;
    }
    let unmade = Opener::new(&url).with_migrate(false).open().await;
    seen.error(&unmade.expect_err("has no schema"));

    let parsed = shown(&mut seen, &url);
    let StoreUrl::Postgres(parsed) = parsed else {
        panic!("{parsed:?}");
    };
    let options = PostgresOptions::try_from(&parsed).expect("is right");
    seen.debug(&options);
    let connect = PgConnectOptions::try_from(&parsed).expect("is right");
    let pool = PgPool::connect_with(connect).await.expect("connects");
    let existing = PostgresOptions::existing(pool).with_call_timeout(SHORT);
    seen.debug(&existing);
    let store = options.open().await.expect("opens");
    seen.debug(&store);
    seen.debug(store.about().await);
    let existing = existing.open().await.expect("opens");
    seen.refuse_arguments(&store).await;
    for (trouble, repair) in POSTGRES {
        seen.use_store(&store).await;
        run("jobs", trouble).await;
        seen.use_store(&store).await;
        seen.use_store(&existing).await;
        seen.must_have_failed(trouble);
        run("jobs", repair).await;
    }
    run(
        "jobs",
        &format!("UPDATE jobs SET params = '{CANARY}, not JSON', result = '{CANARY}'"),
    )
    .await;
    seen.use_store(&store).await;
    run(
        "jobs",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ada'",
    )
    .await;
    seen.use_store(&store).await;
    run("jobs", "UPDATE jobstore_migrations SET version = 99").await;
    refuse(&mut seen, &url).await;
    server.kill().expect("is killed");
    seen.use_briefly(&store).await;
    seen.use_briefly(&existing).await;
    seen.must_have_failed("the server is gone");
    seen.check();
}

const MYSQL: [Trouble; 8] = [
    (
        "DELETE FROM jobs; ALTER TABLE jobs ADD CONSTRAINT bad CHECK (params NOT LIKE '%s3cr3t%')",
        "ALTER TABLE jobs DROP CONSTRAINT bad",
    ),
    (
        "DELETE FROM jobs; CREATE UNIQUE INDEX bad ON jobs (params(100))",
        "DROP INDEX bad ON jobs",
    ),
    (
        "CREATE TRIGGER bad BEFORE INSERT ON jobs FOR EACH ROW SIGNAL SQLSTATE '45000' \
         SET MESSAGE_TEXT = NEW.params",
        "DROP TRIGGER bad",
    ),
    ("UPDATE jobs SET status = 77", "DELETE FROM jobs"),
    (
        "ALTER TABLE jobs RENAME COLUMN result TO other",
        "ALTER TABLE jobs RENAME COLUMN other TO result",
    ),
    (
        "DELETE FROM jobs; ALTER TABLE jobs MODIFY result BIGINT",
        "ALTER TABLE jobs MODIFY result LONGBLOB",
    ),
    (
        "DELETE FROM jobs; ALTER TABLE jobs MODIFY params VARBINARY(5) NOT NULL",
        "ALTER TABLE jobs MODIFY params LONGBLOB NOT NULL",
    ),
    ("RENAME TABLE jobs TO other", "RENAME TABLE other TO jobs"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_secret_is_shown_on_mariadb() {
    let mut seen = Seen::start();
    let mut server = Server::mariadb().start().expect("starts");
    let run = async |database: &str, sql: &str| {
        let url = format!("mysql://root@127.0.0.1:{}/{database}", server.port());
        let options: MySqlConnectOptions = url.parse().expect("is a URL");
        // What this test itself says to the server is no trace of the store's.
        let options = options.disable_statement_logging();
        let connection = MySqlConnection::connect_with(&options).await;
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        connection
            .expect("connects")
            .execute(sql)
            .await
            .expect("runs");
    };
    run(
        "test",
        "CREATE DATABASE jobs; CREATE DATABASE of_others; CREATE DATABASE strange",
    )
    .await;
    run(
        "test",
        &format!("CREATE TABLE strange.jobs AS SELECT '{CANARY}' AS params"),
    )
    .await;
    run(
        "test",
        &format!("CREATE USER ada@'%' IDENTIFIED BY '{CANARY}-password'"),
    )
    .await;
    run(
        "test",
        "GRANT ALL ON jobs.* TO ada@'%'; GRANT ALL ON strange.* TO ada@'%'",
    )
    .await;

    let place = format!("127.0.0.1:{}", server.port());
    let url = format!("mysql://ada:{CANARY}-password@{place}/jobs?call_timeout=2");
    for wrong in [
        format!("mysql://ada:{CANARY}-wrong@{place}/jobs"),
        format!("mysql://nobody:{CANARY}@{place}/jobs"),
        format!("mysql://ada:{CANARY}-password@{place}/none"),
        format!("mysql://ada:{CANARY}-password@{place}/of_others"),
        format!("mysql://ada:{CANARY}-password@{place}/strange"),
        format!("mysql://ada:{CANARY}-password@{place}"),
        format!("mysql://ada:{CANARY}-password@no-such-host.invalid/jobs?call_timeout=2"),
        format!("mysql://ada:{CANARY}-password@127.0.0.1:1/jobs?call_timeout=1"),
        format!("{url}&socket=/no-such-socket"),
        format!("{url}&ssl-mode=VERIFY_IDENTITY"),
        format!("{url}&ssl-mode=wrong"),
        format!("{url}&ssl-ca=/no/file"),
        format!("{url}&{CANARY}"),
        format!("mysql://ada:{CANARY}/password@{place}/jobs"),
    ] {
        refuse(&mut seen, &wrong).await;
    }
    let unmade = Opener::new(&url).with_migrate(false).open().await;
    seen.error(&unmade.expect_err("has no schema"));

    let parsed = shown(&mut seen, &url);
    let StoreUrl::MySql(parsed) = parsed else {
        panic!("{parsed:?}");
    };
    let options = MySqlOptions::try_from(&parsed).expect("is right");
    seen.debug(&options);
    let connect = MySqlConnectOptions::try_from(&parsed).expect("is right");
    let pool = MySqlPool::connect_with(connect).await.expect("connects");
    let existing = MySqlOptions::existing(pool).with_call_timeout(SHORT);
    seen.debug(&existing);
    let store = options.open().await.expect("opens");
    seen.debug(&store);
    seen.debug(store.about().await);
    let existing = existing.open().await.expect("opens");
    seen.refuse_arguments(&store).await;
    for (trouble, repair) in MYSQL {
        seen.use_store(&store).await;
        run("jobs", trouble).await;
        seen.use_store(&store).await;
        seen.use_store(&existing).await;
        seen.must_have_failed(trouble);
        run("jobs", repair).await;
    }
    run(
        "jobs",
        &format!("UPDATE jobs SET params = '{CANARY}, not JSON', result = '{CANARY}'"),
    )
    .await;
    seen.use_store(&store).await;
    run("jobs", "KILL USER ada").await;
    seen.use_store(&store).await;
    run("jobs", "UPDATE jobstore_migrations SET version = 99").await;
    refuse(&mut seen, &url).await;
    server.kill().expect("is killed");
    seen.use_briefly(&store).await;
    seen.use_briefly(&existing).await;
    seen.must_have_failed("the server is gone");
    seen.check();
}

const SQLITE: [Trouble; 5] = [
    (
        "DELETE FROM jobs; CREATE UNIQUE INDEX bad ON jobs (params)",
        "DROP INDEX bad",
    ),
    (
        "CREATE TRIGGER bad BEFORE INSERT ON jobs BEGIN SELECT RAISE(ABORT, 'bad'); END",
        "DROP TRIGGER bad",
    ),
    ("UPDATE jobs SET status = 77", "DELETE FROM jobs"),
    (
        "ALTER TABLE jobs RENAME COLUMN result TO other",
        "ALTER TABLE jobs RENAME COLUMN other TO result",
    ),
    (
        "ALTER TABLE jobs RENAME TO other",
        "ALTER TABLE other RENAME TO jobs",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_secret_is_shown_on_sqlite() {
    let mut seen = Seen::start();
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("jobs.db");
    let connect = SqliteConnectOptions::new().filename(&file);
    let connect = connect.disable_statement_logging();
    let run = async |sql: &str| {
        let connection = SqliteConnection::connect_with(&connect).await;
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        connection
            .expect("connects")
            .execute(sql)
            .await
            .expect("runs");
    };
    let garbage = folder.path().join("garbage.db");
    std::fs::write(&garbage, CANARY.repeat(1000)).expect("a file");
    refuse(&mut seen, &format!("sqlite://{}", garbage.display())).await;
    refuse(
        &mut seen,
        &format!("sqlite://{}/no/jobs.db", folder.path().display()),
    )
    .await;
    refuse(&mut seen, &format!("sqlite://ada:{CANARY}@host/jobs.db")).await;

    let options = SqliteOptions::new(&file).with_busy_timeout(Duration::from_millis(100));
    seen.debug(&options);
    let store = options.open().await.expect("opens");
    seen.debug(&store);
    seen.refuse_arguments(&store).await;
    for (trouble, repair) in SQLITE {
        seen.use_store(&store).await;
        run(trouble).await;
        seen.use_store(&store).await;
        seen.must_have_failed(trouble);
        run(repair).await;
    }
    run(&format!(
        "UPDATE jobs SET params = '{CANARY}, not JSON', result = '{CANARY}'"
    ))
    .await;
    seen.use_store(&store).await;
    let mut other = SqliteConnection::connect_with(&connect)
        .await
        .expect("connects");
    other.execute("BEGIN IMMEDIATE").await.expect("locks");
    seen.use_briefly(&store).await;
    seen.must_have_failed("another program has locked the file");
    other.execute("ROLLBACK").await.expect("unlocks");

    // As on a disk that is full.
    let full = SqlitePoolOptions::new().max_connections(1);
    let full = full.connect_with(connect.clone().pragma("max_page_count", "30"));
    let full = SqliteOptions::existing(full.await.expect("connects"));
    seen.debug(&full);
    let full = full.open().await.expect("opens");
    let big = jobstore::NewJob::new("a", format!(r#"{{"a": "{}"}}"#, CANARY.repeat(100_000)));
    seen.result(full.create_jobs(vec![big]).await);
    seen.must_have_failed("the disk is full");
    run("UPDATE jobstore_migrations SET version = 99").await;
    refuse(&mut seen, &format!("sqlite://{}", file.display())).await;
    seen.check();
}

/// Shows what is read of a URL.
fn shown(seen: &mut Seen, url: &str) -> StoreUrl {
    seen.debug(Opener::new(url));
    let parsed: StoreUrl = url.parse().expect("is a URL");
    seen.debug((&parsed, parsed.to_string()));
    parsed
}

#[track_caller]
fn refuse(seen: &mut Seen, url: &str) -> impl Future<Output = ()> {
    let opener = Opener::new(url);
    seen.debug(&opener);
    let url = url.to_owned();
    async move {
        let opened = opener.open().await;
        let Err(error) = opened else {
            panic!("{url} is opened");
        };
        seen.error(&error);
    }
}
