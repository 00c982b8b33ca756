//! The commands on PostgreSQL and MariaDB.

mod common;

use common::{Place, done};
use jobstore::{ServerKind, ServerUrl, StoreUrl};
use jobstore_test_servers::Kind;
use serde_json::json;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};

/// A schema of its own on PostgreSQL, a database of its own on MariaDB.
struct Own {
    server: ServerUrl,
    name: String,
    place: Place,
}

impl Own {
    fn new(kind: Kind, test: &str) -> Self {
        let server = kind.shared_url().parse().expect("is a URL");
        let (StoreUrl::Postgres(server) | StoreUrl::MySql(server)) = server else {
            panic!("{} is not the URL of a server", kind.variable());
        };
        let name = format!("test_cli_{test}_{}", std::process::id());
        let url = match kind {
            Kind::Postgres => format!("{server}?schema={name}"),
            Kind::MariaDb => server.clone().with_database(&name).to_string(),
        };
        let own = Self {
            server,
            name,
            place: Place::at(&url),
        };
        if kind == Kind::MariaDb {
            own.run(&format!("CREATE DATABASE {}", own.name));
        }
        own
    }

    /// Runs SQL as the server's own programs would, and gives the first column as text.
    fn run(&self, sql: &str) -> Vec<String> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            match self.server.kind() {
                ServerKind::Postgres => {
                    let options = PgConnectOptions::try_from(&self.server).expect("is right");
                    let connection = PgConnection::connect_with(&options).await;
                    let rows = connection.expect("connects").fetch_all(sql).await;
                    rows.expect("runs").iter().map(|row| row.get(0)).collect()
                }
                ServerKind::MySql => {
                    let options = MySqlConnectOptions::try_from(&self.server).expect("is right");
                    let connection = MySqlConnection::connect_with(&options).await;
                    let rows = connection.expect("connects").fetch_all(sql).await;
                    rows.expect("runs").iter().map(|row| row.get(0)).collect()
                }
            }
        })
    }

    /// Schemas and databases whose names begin so.
    fn named(&self, prefix: &str) -> Vec<String> {
        self.run(&format!(
            "SELECT schema_name FROM information_schema.schemata \
             WHERE schema_name LIKE '{prefix}%'"
        ))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let name = &self.name;
        match self.server.kind() {
            ServerKind::Postgres => self.run(&format!("DROP SCHEMA IF EXISTS {name} CASCADE")),
            ServerKind::MySql => self.run(&format!("DROP DATABASE {name}")),
        };
    }
}

/// The same tests for each kind of server.
macro_rules! on_both {
    ($($test:ident)+) => {
        mod postgresql {
            $(#[test] fn $test() { super::$test(super::Kind::Postgres); })+
        }
        mod mariadb {
            $(#[test] fn $test() { super::$test(super::Kind::MariaDb); })+
        }
    };
}

on_both! {
    a_job_goes_through_every_command
    the_schema_is_made_by_hand_and_removed
    info_names_the_server_and_the_schema
    workers_share_the_jobs
    the_suite_runs_in_places_of_its_own_and_leaves_nothing
    a_password_is_never_shown
}

fn a_job_goes_through_every_command(kind: Kind) {
    let own = Own::new(kind, "commands");
    let place = &own.place;
    let id = place.submit(&["mail", r#"{"to": "ada"}"#, "--priority", "2"]);
    let other = place.submit(&["other"]);
    let claimed = place.json(&["claim", "mail", "--owner", "me", "--lease", "1h"]);
    assert_eq!(claimed[0]["id"], id.as_str());
    place.ok(&["renew", &id, "--fence", "1", "--lease", "2h"]);
    place.ok(&["finish", &id, "sent", "--fence", "1"]);
    let job = place.get(&id);
    let fields = ["status", "params", "result", "priority", "fence"];
    assert_eq!(
        json!(fields.map(|field| job[field].clone())),
        json!(["SUCCEEDED", { "to": "ada" }, "sent", 2, 1])
    );
    let found = place.json(&["list", "--params", r#"{"to":"ada"}"#]);
    assert_eq!(found.len(), 1);
    place.ok(&["start", &other, "--lease", "1ms", "--owner", "gone"]);
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(place.json(&["recover"])[0]["id"], other.as_str());
    place.ok(&["cancel", &other]);
    assert_eq!(place.count("CANCELED"), 1);
    assert_eq!(place.ok(&["delete", &id]), format!("{id}\n"));
    assert!(place.refused(1, &["get", &id]).contains("does not exist"));
}

fn the_schema_is_made_by_hand_and_removed(kind: Kind) {
    let own = Own::new(kind, "migrate");
    let place = &own.place;
    // What only reads makes nothing.
    place.refused(1, &["info"]);
    let in_own = |sql: String| match kind {
        Kind::Postgres => sql,
        Kind::MariaDb => format!("USE {};\n{sql}", own.name),
    };
    own.run(&in_own(place.ok(&["migrate", "--print"])));
    assert_eq!(place.json(&["info"])[0]["jobs"], 0);
    assert_eq!(place.ok(&["migrate"]), "schema up to date\n");
    place.submit(&["a"]);
    own.run(&in_own(place.ok(&["migrate", "--print", "--down"])));
    place.refused(1, &["list"]);
    place.ok(&["migrate"]);
    assert_eq!(place.count("PENDING"), 0);
    assert_eq!(place.ok(&["migrate", "--down"]), "schema removed\n");
    place.refused(1, &["list"]);
}

fn info_names_the_server_and_the_schema(kind: Kind) {
    let own = Own::new(kind, "info");
    let place = &own.place;
    place.submit(&["a"]);
    let info = place.json(&["info"]).remove(0);
    let engine = match kind {
        Kind::Postgres => "PostgreSQL",
        Kind::MariaDb => "MariaDB",
    };
    assert_eq!(
        (&info["engine"], &info["jobs"]),
        (&json!(engine), &json!(1))
    );
    assert!(info["schema"].as_i64() >= Some(1), "{info}");
    let version = common::text(&info["version"]);
    let asked = own.run("SELECT version()").remove(0);
    assert!(!version.is_empty() && asked.contains(&version), "{version}");
    assert!(place.ok(&["info"]).contains(engine));
}

fn workers_share_the_jobs(kind: Kind) {
    let own = Own::new(kind, "workers");
    let place = &own.place;
    let line = |number| format!("{{\"job_name\":\"a\",\"params\":{{\"n\":{number}}}}}\n");
    place.write("jobs.jsonl", (0..200).map(line).collect::<String>());
    place.ok(&["submit", "--file", "jobs.jsonl"]);
    let work = [
        "work",
        "a",
        "--concurrency",
        "4",
        "--until-empty",
        "--poll",
        "50ms",
        "--",
        "cat",
    ];
    let workers = [place.spawn(&work), place.spawn(&work)];
    for worker in workers {
        let done = done(worker);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
    }
    assert_eq!(place.count("SUCCEEDED"), 200);
    for job in place.json(&["list", "--all"]) {
        assert_eq!(job["fence"], 1);
    }
}

#[test]
fn on_postgresql_a_worker_is_told_of_what_another_process_submits() {
    let own = Own::new(Kind::Postgres, "told");
    let place = &own.place;
    let work = ["work", "a", "--poll", "1h", "--", "true"];
    let worker = place.spawn(&work);
    // More than it finds by looking when it starts and when it begins to listen. A process that ends
    // right after it has created a job may end before it has told anybody.
    for jobs in 1..=5 {
        place.wait_until("a job that was told of", || {
            place.submit(&["a"]);
            std::thread::sleep(std::time::Duration::from_millis(100));
            place.count("SUCCEEDED") >= jobs
        });
    }
    common::signal(&worker, rustix::process::Signal::TERM);
    assert_eq!(done(worker).code, Some(0));
}

fn the_suite_runs_in_places_of_its_own_and_leaves_nothing(kind: Kind) {
    let own = Own::new(kind, "conformance");
    let verdicts = own.place.json(&["conformance", "unique"]);
    assert!(!verdicts.is_empty());
    for verdict in &verdicts {
        assert_eq!(verdict["verdict"], "passed", "{verdict}");
    }
    assert!(own.named("jobstore_conformance_").is_empty());
    let tables = format!(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = '{}'",
        own.name
    );
    assert!(own.run(&tables).is_empty());
}

fn a_password_is_never_shown(kind: Kind) {
    let own = Own::new(kind, "password");
    let url = own.place.ok(&["migrate", "--print"]);
    assert!(!url.is_empty());
    let scheme = match kind {
        Kind::Postgres => "postgres",
        Kind::MariaDb => "mysql",
    };
    let port = own
        .server
        .port()
        .map_or_else(String::new, |port| format!(":{port}"));
    let host = own.server.host().unwrap_or("127.0.0.1");
    for url in [
        format!("{scheme}://nobody_here:s3cr3t-canary@{host}{port}/test"),
        format!(
            "{scheme}://nobody_here:s3cr3t-canary@{host}{port}/test?no_such_option=s3cr3t-canary"
        ),
        format!("{scheme}://nobody_here:s3cr3t-canary@{host}:1/test?call_timeout=1"),
        format!("{scheme}://nobody_here:s3cr3t-canary/@{host}{port}/test"),
    ] {
        let place = Place::at(&url);
        for args in [
            &["submit", "a"][..],
            &["list"],
            &["migrate"],
            &["migrate", "--down"],
            &["info"],
            &["conformance", "unique"],
            &["--json", "conformance", "UNIQUE-001"],
            &["count", "--no-such-flag"],
        ] {
            let done = place.run(args);
            assert!(matches!(done.code, Some(1 | 2)), "{url} {args:?}: {done:?}");
            let shown = done.stdout + &done.stderr;
            assert!(!shown.contains("s3cr3t"), "{args:?}: {shown}");
        }
        let shown = place.ok(&["--help"]) + &place.ok(&["help", "submit"]);
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
}
