//! What the planner makes of the statements, asked of a server.

use jobstore_core::{JobFilter, JobStatus, NewJob, Order, Timestamp};
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{
    AssertSqlSafe, Column as _, Connection as _, Execute as _, Executor as _, MySql, Row as _,
};

use super::write::{again_statement, candidates_statement, claim_statement, push_update};
use crate::change::Changed;
use crate::dialect::{
    Columns, Dialect as _, Driver as _, Statement, TextForm as _, Value, push_rows,
};
use crate::read::{branches, page_statement};
use crate::row::{self, EVERY_COLUMN, Place};

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

/// When the server counted the rows that it plans by.
#[derive(Clone, Copy, Debug)]
enum Counted {
    Now,
    /// As it is after a restart, when the table had not rested since it grew.
    WhileSmall,
}

/// A database with the schema and jobs in it, and its name.
async fn database(test: &str, counted: Counted) -> (MySqlConnection, String) {
    let url = std::env::var("JOBSTORE_TEST_MYSQL")
        .expect("JOBSTORE_TEST_MYSQL is not set; `cargo xtask test` starts a server and sets it");
    let name = format!("jobstore_plan_{}_{test}", std::process::id());
    let mut connection = MySqlConnection::connect(&url).await.expect("connects");
    let make = format!(
        "DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name}; USE {name}; {}",
        super::schema()
    );
    run(&mut connection, make).await;
    let mut rows = Vec::new();
    for number in 0..1000_i64 {
        let name = ["a", "b", "c"][usize::try_from(number % 3).expect("is small")];
        let mut job = NewJob::new(name, "{}").into_job(Timestamp::from_millis(number / 100));
        let status = i32::try_from(number % 6).expect("is small");
        job.status = JobStatus::from_i32(status).expect("is one");
        job.unique_key = Some(number.to_string());
        job.priority = i16::try_from(number % 5).expect("is small");
        // Every second of the pending jobs still waits for its time.
        job.next_attempt_at = Timestamp::from_millis(number + number / 6 % 2 * 1_000_000);
        rows.push(row::every_value(&job, NOW));
    }
    let few = match counted {
        Counted::Now => rows.len(),
        Counted::WhileSmall => 15,
    };
    let by_hand = "ALTER TABLE jobs STATS_AUTO_RECALC = 0".to_owned();
    run(&mut connection, by_hand).await;
    let (first, others) = rows.split_at(few);
    insert(&mut connection, first).await;
    run(&mut connection, "ANALYZE TABLE jobs".to_owned()).await;
    if !others.is_empty() {
        insert(&mut connection, others).await;
    }
    // Has the server forget what it counted since then, as a restart does.
    let forget = "RENAME TABLE jobs TO away; RENAME TABLE away TO jobs".to_owned();
    run(&mut connection, forget).await;
    (connection, name)
}

async fn insert(connection: &mut MySqlConnection, rows: &[Vec<Value>]) {
    let mut insert = Statement::<MySql>::new(format!("INSERT INTO jobs ({EVERY_COLUMN}) VALUES "));
    push_rows(&mut insert, rows);
    let inserted = MySql::execute(connection, insert, false).await;
    inserted.expect("inserts");
}

async fn run(connection: &mut MySqlConnection, sql: String) {
    let done = connection.execute(sqlx::raw_sql(AssertSqlSafe(sql)));
    done.await.expect("runs");
}

/// A line for each table that the statement reads: which, how, by what index, and what else.
async fn plan(connection: &mut MySqlConnection, mut statement: Statement<MySql>) -> Vec<String> {
    let mut query = statement.build();
    let arguments = query.take_arguments().expect("encodes").expect("has some");
    let explain = format!("EXPLAIN {}", query.sql().as_str());
    let explained = sqlx::query_with(AssertSqlSafe(explain), arguments)
        .persistent(false)
        .fetch_all(connection)
        .await
        .expect("explains");
    let text = |row: &MySqlRow, name: &str| -> String {
        let column = row
            .columns()
            .iter()
            .position(|column| column.name() == name);
        let found = MySql::get(row, column.expect("is a column"));
        found.expect("is a text").unwrap_or_default()
    };
    explained
        .iter()
        .map(|row| {
            ["table", "type", "key", "Extra"]
                .map(|name| text(row, name))
                .join(" | ")
        })
        .filter(|line| line.starts_with("jobs") || line.starts_with("waiting"))
        .collect()
}

/// Refuses a plan that reads more than one range of one index, or that sorts.
#[track_caller]
fn assert_reads(plan: &[String], indexes: &[&str], of: &str) {
    let good = |line: &String| {
        let by_index = indexes
            .iter()
            .any(|index| line.contains(&format!("| {index} |")));
        let whole = line.contains("| ALL |") || line.contains("| index |");
        by_index && !whole && !line.contains("filesort") && !line.contains("temporary")
    };
    assert!(!plan.is_empty() && plan.iter().all(good), "{of}: {plan:#?}");
}

#[tokio::test]
async fn every_claim_reads_the_claim_indexes_in_order() {
    for counted in [Counted::Now, Counted::WhileSmall] {
        claims_read_the_claim_indexes_in_order(counted).await;
    }
}

async fn claims_read_the_claim_indexes_in_order(counted: Counted) {
    let (mut connection, name) = database("claims", counted).await;
    let any = ["jobs_due", "jobs_waiting"];
    let of_any = plan(&mut connection, claim_statement(None, 9, NOW)).await;
    assert_reads(&of_any, &any, "any name");
    let by_name = ["jobs_due_by_name", "jobs_waiting"];
    let of_one = plan(&mut connection, claim_statement(Some("a"), 9, NOW)).await;
    assert_reads(&of_one, &by_name, "one name");
    let several = candidates_statement(&["a", "b"], 9, NOW);
    let of_several = plan(&mut connection, several).await;
    assert_reads(&of_several, &by_name, "several names");
    let again = again_statement(&["x".to_owned(), "y".to_owned()], NOW);
    let again = plan(&mut connection, again).await;
    assert_reads(&again, &["PRIMARY"], "by id");
    run(&mut connection, format!("DROP DATABASE {name}")).await;
}

#[tokio::test]
async fn a_claim_locks_no_more_than_it_takes() {
    let (mut first, name) = database("locks", Counted::Now).await;
    let mut second =
        MySqlConnection::connect(&std::env::var("JOBSTORE_TEST_MYSQL").expect("is set"))
            .await
            .expect("connects");
    run(&mut second, format!("USE {name}")).await;
    let mut claimed = Vec::new();
    for (connection, limit) in [(&mut first, 10), (&mut second, 1000)] {
        let begin = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION";
        run(connection, begin.to_owned()).await;
        let mut statement = claim_statement(None, limit, NOW);
        statement.push(MySql::LOCK_FREE_ROWS);
        let mut rows = 0;
        let fetched = MySql::fetch(connection, statement, false, |_| rows += 1).await;
        fetched.expect("claims");
        claimed.push(rows);
    }
    // Of 1,000 jobs each sixth is pending, and of these each second is due.
    assert_eq!(claimed, [10, 84 - 10]);
    run(&mut first, "ROLLBACK".to_owned()).await;
    run(&mut second, format!("ROLLBACK; DROP DATABASE {name}")).await;
}

#[tokio::test]
async fn every_listing_reads_an_index_in_order_from_its_start() {
    for counted in [Counted::Now, Counted::WhileSmall] {
        listings_read_an_index_in_order_from_their_start(counted).await;
    }
}

async fn listings_read_an_index_in_order_from_their_start(counted: Counted) {
    let (mut connection, name) = database("lists", counted).await;
    let any = JobFilter::default;
    let running = || any().with_statuses([JobStatus::Running]);
    let filters = [
        any(),
        running(),
        any().with_job_name("a"),
        running().with_job_name("a").with_job_name("b"),
        JobFilter {
            created_from: Some(Timestamp::from_millis(2)),
            created_to: Some(Timestamp::from_millis(8)),
            ..running()
        },
        JobFilter {
            lease_expired_by: Some(NOW),
            ..any()
        },
    ];
    let place = Place {
        time: 5,
        id: b"0".to_vec(),
    };
    for filter in filters {
        for (order, start) in [
            (Order::Ascending, None),
            (Order::Ascending, Some(&place)),
            (Order::Descending, Some(&place)),
        ] {
            for branch in branches(&filter) {
                let statement =
                    page_statement::<MySql>(Columns::ROWS, &filter, &[branch], start, order, 9);
                let plan = plan(&mut connection, statement).await;
                let indexes = ["jobs_by_status", "jobs_by_name"];
                assert_reads(&plan, &indexes, &format!("{filter:?}"));
                let seeks = start.is_none() || plan[0].contains("| range |");
                assert!(seeks, "{filter:?} reads the walk so far: {plan:#?}");
            }
            let all = branches(&filter);
            let whole = page_statement::<MySql>(Columns::ROWS, &filter, &all, start, order, 9);
            let plan = plan(&mut connection, whole).await;
            let indexes = ["jobs_by_status", "jobs_by_name", "PRIMARY"];
            assert_reads(&plan, &indexes, &format!("{counted:?}, {filter:?}"));
        }
    }
    run(&mut connection, format!("DROP DATABASE {name}")).await;
}

#[tokio::test]
async fn rows_are_changed_by_their_ids_alone() {
    for counted in [Counted::Now, Counted::WhileSmall] {
        rows_are_changed_by_their_ids(counted).await;
    }
}

async fn rows_are_changed_by_their_ids(counted: Counted) {
    let (mut connection, name) = database("updates", counted).await;
    let rows: Vec<_> = (0..3)
        .map(|_| Changed::ALL.values(&NewJob::new("a", "{}").into_job(NOW), NOW))
        .collect();
    let mut update = Statement::<MySql>::new("");
    push_update(&mut update, &Changed::ALL.names(), &rows);
    let update = plan(&mut connection, update).await;
    assert_reads(&update, &["PRIMARY"], "update");
    let mut delete = Statement::<MySql>::new(MySql::DELETE);
    delete.push(" WHERE id");
    MySql::push_one_of(&mut delete, vec!["x".into(), "y".into()]);
    let delete = plan(&mut connection, delete).await;
    assert_reads(&delete, &["PRIMARY"], "delete");
    let mut holders = Statement::<MySql>::new("");
    MySql::push_holders(
        &mut holders,
        &[vec!["a".into(), "1".into()], vec!["a".into(), "2".into()]],
    );
    let holders = plan(&mut connection, holders).await;
    assert_reads(&holders, &["jobs_unique_key"], "keys");
    run(&mut connection, format!("DROP DATABASE {name}")).await;
}
