//! What statements do that no caller can time: between the reading and the writing of one call.

use std::collections::BTreeSet;

use jobstore_core::{NewJob, Timestamp};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Postgres};

use super::plan::{connect, run};
use crate::change::Changed;
use crate::dialect::{Dialect as _, Driver as _, Ids, Statement};
use crate::row::{self, EVERY_COLUMN};
use crate::update::unlocked_statement;

const NOW: Timestamp = Timestamp::from_millis(1000);

async fn strings(connection: &mut PgConnection, sql: &str) -> Vec<String> {
    let query = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()));
    query.fetch_all(connection).await.expect("answers")
}

#[tokio::test]
async fn without_a_lock_all_jobs_are_written_or_none() {
    let (mut connection, name) = connect("unlocked").await;
    let mut jobs: Vec<_> = ["a", "b", "c"]
        .map(|name| NewJob::new(name, "{}").into_job(NOW))
        .into();
    // Each by a transaction of its own.
    for job in &jobs {
        let mut insert = Statement::<Postgres>::new("");
        Postgres::push_insert(
            &mut insert,
            EVERY_COLUMN,
            &[row::every_value(job, NOW)],
            Ids::Made,
        );
        let inserted = Postgres::execute(&mut connection, insert, false).await;
        inserted.expect("inserts");
    }
    let version = Postgres::ROW_VERSION.expect("it has some");
    let read = format!("SELECT {version} FROM jobs");
    // One value for all rows is written otherwise than one for each.
    for (results, transactions) in [(["same"; 3], 3), (["1", "2", "3"], 2)] {
        let versions: BTreeSet<String> =
            strings(&mut connection, &read).await.into_iter().collect();
        assert_eq!(versions.len(), transactions);
        for (job, result) in jobs.iter_mut().zip(results) {
            job.result = Some(result.to_owned());
        }
        let rows: Vec<_> = jobs
            .iter()
            .map(|job| Changed::ALL.values(job, NOW))
            .collect();
        let write = async |connection: &mut PgConnection, versions: &BTreeSet<String>| {
            let names = Changed::ALL.names();
            let statement = unlocked_statement(version, &names, &rows, versions.clone());
            let mut written = None;
            let each = |row: &_| written = Postgres::int(row, 0).expect("a number");
            let done = Postgres::fetch(connection, statement, true, each).await;
            done.map(|()| written)
        };
        let results_of = "SELECT coalesce(result, '') FROM jobs ORDER BY job_name";
        let before = strings(&mut connection, results_of).await;
        // Somebody else was at all of them.
        let others = BTreeSet::from(["1".to_owned()]);
        let written = write(&mut connection, &others).await;
        assert_eq!(written.expect("answers"), Some(0));
        assert_eq!(strings(&mut connection, results_of).await, before);
        // Somebody else was at the last.
        run(
            &mut connection,
            "UPDATE jobs SET priority = 1 WHERE job_name = 'c'".into(),
        )
        .await;
        let refused = write(&mut connection, &versions).await;
        let error = refused.expect_err("one has changed");
        assert!(Postgres::is_conflict(&error), "{error}");
        assert_eq!(strings(&mut connection, results_of).await, before);
        // Nobody was.
        let versions = strings(&mut connection, &read).await.into_iter().collect();
        let written = write(&mut connection, &versions).await;
        assert_eq!(written.expect("answers"), Some(3));
        assert_eq!(strings(&mut connection, results_of).await, results);
        // One is left as this wrote it.
        run(
            &mut connection,
            "UPDATE jobs SET priority = 0 WHERE job_name <> 'c'".into(),
        )
        .await;
    }
    run(&mut connection, format!("DROP SCHEMA {name} CASCADE")).await;
}
