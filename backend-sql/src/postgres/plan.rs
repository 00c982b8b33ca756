//! What the planner makes of the statements, asked of a server whose statistics are of another time.

use std::collections::BTreeSet;
use std::str::FromStr as _;
use std::time::Duration;

use jobstore_core::{JobFilter, JobStatus, Lease, NewJob, Order, Timestamp};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Postgres};

use super::PostgresOptions;
use super::claim::{Overdue, Take, promote_statement};
use crate::change::Changed;
use crate::dialect::{ClaimBy, Columns, Dialect as _, Driver as _, Ids, Statement};
use crate::read::{branches, page_statement};
use crate::row::{self, EVERY_COLUMN};
use crate::update::unlocked_statement;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

/// Jobs that are pending, waiting, or finished, each with a unique key.
#[derive(Clone, Copy, Debug)]
enum Jobs {
    Pending,
    Waiting,
    Finished,
}

/// A connection set as the store's are, and a schema of its own.
pub(super) async fn connect(test: &str) -> (PgConnection, String) {
    let url = std::env::var("JOBSTORE_TEST_POSTGRES").expect(
        "JOBSTORE_TEST_POSTGRES is not set; `cargo xtask test` starts a server and sets it",
    );
    let options = PgConnectOptions::from_str(&url).expect("a URL");
    let mut connection = PgConnection::connect_with(&options)
        .await
        .expect("connects");
    let name = format!("jobstore_plan_{}_{test}", std::process::id());
    let settings = PostgresOptions::new(options)
        .with_schema(&name)
        .settings(false);
    let make = format!(
        "DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name}; {settings}; {}",
        super::schema()
    );
    run(&mut connection, make).await;
    (connection, name)
}

pub(super) async fn run(connection: &mut PgConnection, sql: String) {
    let done = connection.execute(sqlx::raw_sql(AssertSqlSafe(sql)));
    done.await.expect("runs");
}

async fn insert(connection: &mut PgConnection, jobs: Jobs, number: i64) {
    let mut rows = Vec::new();
    for number in 0..number {
        let mut job = NewJob::new("a", "{}").into_job(Timestamp::from_millis(number));
        job.unique_key = Some(format!("{jobs:?} {number}"));
        match jobs {
            Jobs::Pending => {}
            Jobs::Waiting => job.next_attempt_at = Timestamp::from_millis(2_000_000),
            Jobs::Finished => job.status = JobStatus::Succeeded,
        }
        rows.push(row::every_value(&job, NOW));
    }
    if rows.is_empty() {
        return;
    }
    let mut insert = Statement::<Postgres>::new("");
    Postgres::push_insert(&mut insert, EVERY_COLUMN, &rows, Ids::Made);
    Postgres::execute(connection, insert, false)
        .await
        .expect("inserts");
}

/// The lines of the plan that is kept for the statement, whatever its arguments.
async fn plan(connection: &mut PgConnection, mut statement: Statement<Postgres>) -> Vec<String> {
    let sql = statement.sql().as_str().to_owned();
    run(connection, "BEGIN".to_owned()).await;
    let query = statement.build().persistent(true);
    query.execute(&mut *connection).await.expect("runs");
    run(connection, "ROLLBACK".to_owned()).await;
    let prepared = "SELECT name, cardinality(parameter_types) FROM pg_prepared_statements \
        WHERE statement = $1";
    let (name, parameters): (String, i32) = sqlx::query_as(prepared)
        .bind(&sql)
        .fetch_one(&mut *connection)
        .await
        .expect("is prepared");
    let nulls = vec!["NULL"; usize::try_from(parameters).expect("is small")];
    let arguments = match nulls.as_slice() {
        [] => String::new(),
        nulls => format!("({})", nulls.join(", ")),
    };
    let explain = format!("EXPLAIN EXECUTE {name}{arguments}");
    let explained = sqlx::query_scalar(AssertSqlSafe(explain)).persistent(false);
    explained.fetch_all(connection).await.expect("explains")
}

/// Refuses a plan that reads an index of jobs other than these, if there are any, or one from end to
/// end, or sorts.
#[track_caller]
fn assert_reads(plan: &[String], indexes: &[&str], of: &str) {
    let shown = plan.join("\n");
    assert!(
        !shown.contains("Sort  (") && !shown.contains("Seq Scan on jobs"),
        "{of}\n{shown}"
    );
    let mut reads = 0;
    for (line, next) in plan.iter().zip(&plan[1..]) {
        let Some((_, index)) = line.split_once(" using ") else {
            continue;
        };
        let index = index.split(' ').next().unwrap_or_default();
        let ranged = next.contains("Index Cond");
        let expected = indexes.is_empty() || indexes.contains(&index);
        assert!(expected && ranged, "{of}\n{shown}");
        reads += 1;
    }
    assert!(reads > 0, "{of}\n{shown}");
}

#[tokio::test]
async fn no_statement_reads_more_when_statistics_are_of_another_time() {
    let all = [Jobs::Pending, Jobs::Waiting, Jobs::Finished];
    let many = all.map(|jobs| (jobs, 3_000));
    // Of an empty table, or one row, the planner believes that it may as well be read from end to end.
    let few = [(Jobs::Finished, 0), (Jobs::Finished, 1)];
    for (number, first) in many.into_iter().chain(few).enumerate() {
        let (mut connection, name) = connect(&format!("stale_{number}")).await;
        let is_few = first.1 < 2;
        insert(&mut connection, first.0, first.1).await;
        run(
            &mut connection,
            "VACUUM ANALYZE jobs, jobs_params".to_owned(),
        )
        .await;
        for later in all {
            // A table of a few rows is planned for while it has them.
            if !is_few && later as usize != number {
                insert(&mut connection, later, first.1).await;
            }
        }
        let lease = Lease {
            owner: "w".to_owned(),
            duration: Duration::from_secs(60),
        };
        let other = Lease {
            owner: "v".to_owned(),
            ..lease.clone()
        };
        let take = |names: &[&str], alike, overdue| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let take = Take {
                names: &names,
                leases: &[&lease, &lease, &lease, if alike { &lease } else { &other }],
                now: NOW,
                by: ClaimBy::SkipLocked,
                overdue,
            };
            take.statement()
        };
        let ways = [true, false].into_iter();
        let ways = ways.flat_map(|alike| [(alike, Overdue::First), (alike, Overdue::Done)]);
        let mut found = Vec::new();
        for (names, index) in [(&["a"][..], "jobs_due_by_name"), (&[], "jobs_due")] {
            for (alike, overdue) in ways.clone() {
                let plan = plan(&mut connection, take(names, alike, overdue)).await;
                found.push((plan, vec![index, "jobs_waiting", "jobs_pkey"], "a claim"));
            }
        }
        for (alike, overdue) in ways {
            let take = take(&["a", "b"], alike, overdue);
            let mut plan = plan(&mut connection, take).await;
            // What is sorted is a few of each name, found in order.
            let lines = plan.len();
            plan.retain(|line| !line.contains("->  Sort"));
            assert!(
                plan.len() + 1 == lines || is_few,
                "sorted once\n{}",
                plan.join("\n")
            );
            found.push((
                plan,
                vec!["jobs_due_by_name", "jobs_waiting", "jobs_pkey"],
                "a claim of two names",
            ));
        }
        let promote = plan(&mut connection, promote_statement(NOW)).await;
        found.push((promote, vec!["jobs_waiting", "jobs_pkey"], "a move"));
        let mut holders = Statement::new("");
        let key = || vec!["a".into(), "Pending 1".into()];
        Postgres::push_holders(&mut holders, &[key()]);
        let holders = plan(&mut connection, holders).await;
        found.push((holders, vec!["jobs_unique_key"], "who holds a key"));
        let job = NewJob::new("a", "{}").into_job(NOW);
        let mut other = job.clone();
        other.result = Some("another".to_owned());
        for others in [&job, &other] {
            let rows = [&job, others].map(|job| Changed::ALL.values(job, NOW));
            let mut update = Statement::new("");
            Postgres::push_update(&mut update, &Changed::ALL.names(), &rows);
            let update = plan(&mut connection, update).await;
            found.push((update, vec!["jobs_pkey"], "an update"));
            let versions = BTreeSet::from(["1".to_owned(), "2".to_owned()]);
            let version = Postgres::ROW_VERSION.expect("it has some");
            let names = Changed::ALL.names();
            let update = unlocked_statement(version, &names, &rows, versions);
            let update = plan(&mut connection, update).await;
            found.push((update, vec!["jobs_pkey"], "an update without a lock"));
        }
        let mut delete = Statement::new("");
        Postgres::push_delete(&mut delete, row::id_values(&[job.id, other.id]));
        let delete = plan(&mut connection, delete).await;
        found.push((delete, vec!["jobs_pkey", "jobs_params_pkey"], "a deletion"));
        let place = job.list_order().into();
        for (start, order) in [
            (None, Order::Ascending),
            (Some(&place), Order::Ascending),
            (Some(&place), Order::Descending),
        ] {
            for filter in [
                JobFilter::default(),
                JobFilter::default().with_job_name("a").with_job_name("b"),
            ] {
                let branches = branches(&filter);
                let page = page_statement(Columns::ROWS, &filter, &branches, start, order, 9);
                let page = plan(&mut connection, page).await;
                let indexes = vec!["jobs_by_status", "jobs_by_name", "jobs_pkey"];
                found.push((page, indexes, "a page"));
            }
        }
        for (plan, mut indexes, of) in found {
            if is_few {
                // All of a few rows are read as soon through any index. What stands behind its condition
                // is not looked up there, but nothing is read again for each row.
                indexes.clear();
            }
            assert_reads(&plan, &indexes, &format!("{of}, statistics of {first:?}"));
        }
        run(&mut connection, format!("DROP SCHEMA {name} CASCADE")).await;
    }
}
