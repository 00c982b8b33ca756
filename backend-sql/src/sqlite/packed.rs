//! Many jobs in one text.
//!
//! `sqlx` hands over a row of 17 columns by copying each of them on SQLite's thread, sending the row,
//! and freeing it on ours: several times what reading it costs SQLite. So SQLite writes all rows into
//! one text, and we read them out of it.
//!
//! A job is its id, its numbers, each behind a `|` and nothing for NULL, the lengths of its texts in
//! bytes in the same way, and the texts. Nothing in a text is mistaken for anything else, since
//! lengths tell where it ends, and the table is STRICT, so that a number is one. What is out of the
//! ordinary is not packed: then nothing is read, and the rows come over one by one.

use std::time::Duration;

use jobstore_core::{Job, JobParams, JobStatus, Timestamp};

use crate::dialect::{Columns, Packed};
use crate::row::parse_id;

/// Longer texts are not packed: they would all be in memory at once.
macro_rules! longest {
    () => {
        "16384"
    };
}

/// The bits of a second's fraction that come over. A whole number of them stands for each fraction
/// of a timeout of a millisecond or more, so none is rounded.
const FRACTION: f64 = (1_u64 << 62) as f64;

pub(super) static PACKED: Packed = Packed {
    columns: Columns {
        select: concat!(
            "SELECT group_concat(packed, '') FROM (SELECT iif(\
             octet_length(jobs.id) = 36 AND octet_length(jobs.params) <= ",
            longest!(),
            " AND ifnull(octet_length(jobs.result), 0) <= ",
            longest!(),
            " AND ifnull(octet_length(jobs.last_error), 0) <= ",
            longest!(),
            ", concat(jobs.id, '|', jobs.creation_time, '|', jobs.status, '|', jobs.retry_count, \
             '|', jobs.last_update_time, '|', jobs.priority, '|', jobs.next_attempt_at, \
             '|', jobs.fence, '|', jobs.max_retries, '|', jobs.lease_expires_at, \
             '|', CAST(jobs.timeout AS INTEGER), '|', \
             CAST((jobs.timeout - CAST(jobs.timeout AS INTEGER)) * 4611686018427387904.0 \
             AS INTEGER), \
             '|', octet_length(jobs.job_name), '|', octet_length(jobs.params), \
             '|', octet_length(jobs.result), '|', octet_length(jobs.unique_key), \
             '|', octet_length(jobs.lease_owner), '|', octet_length(jobs.last_error), '|', \
             jobs.job_name, jobs.params, jobs.result, jobs.unique_key, jobs.lease_owner, \
             jobs.last_error), '|') AS packed FROM "
        ),
        end: ")",
    },
    unpack,
};

/// The jobs of a packed text; none when one of them is out of the ordinary.
fn unpack(text: &str) -> Option<Vec<Job>> {
    let mut rest = Rest(text);
    let mut jobs = Vec::new();
    while !rest.0.is_empty() {
        jobs.push(rest.job()?);
    }
    Some(jobs)
}

/// What was not read yet.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn job(&mut self) -> Option<Job> {
        let id = parse_id(self.take(36)?)?;
        self.take(1).filter(|bar| *bar == "|")?;
        let creation_time = self.time()?;
        let status = JobStatus::from_i32(self.number()?)?;
        let retry_count = self.number()?;
        let last_update_time = self.time()?;
        let priority = self.number()?;
        let next_attempt_at = self.time()?;
        let fence = u64::try_from(self.number::<i64>()?).ok()?;
        let max_retries = self.optional()?;
        let lease_expires_at = self.optional()?.map(Timestamp::from_millis);
        let timeout = self.timeout()?;
        let mut lengths = [None; 6];
        for length in &mut lengths {
            *length = self.optional()?;
        }
        let mut texts = lengths.into_iter().map(|length| match length {
            Some(length) => self.take(length).map(Some),
            None => Some(None),
        });
        Some(Job {
            id,
            job_name: texts.next()??.map(str::to_owned)?,
            params: texts.next()??.map(JobParams::new)?,
            timeout,
            status,
            result: texts.next()??.map(str::to_owned),
            retry_count,
            creation_time,
            last_update_time,
            priority,
            next_attempt_at,
            max_retries,
            unique_key: texts.next()??.map(str::to_owned),
            lease_owner: texts.next()??.map(str::to_owned),
            lease_expires_at,
            fence,
            last_error: texts.next()??.map(str::to_owned),
        })
    }

    fn take(&mut self, length: usize) -> Option<&'a str> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn optional<N: std::str::FromStr>(&mut self) -> Option<Option<N>> {
        let (number, rest) = self.0.split_once('|')?;
        self.0 = rest;
        match number {
            "" => Some(None),
            number => number.parse().ok().map(Some),
        }
    }

    fn number<N: std::str::FromStr>(&mut self) -> Option<N> {
        self.optional()?
    }

    fn time(&mut self) -> Option<Timestamp> {
        self.number().map(Timestamp::from_millis)
    }

    fn timeout(&mut self) -> Option<Option<Duration>> {
        let seconds: Option<u64> = self.optional()?;
        let fraction: Option<u64> = self.optional()?;
        let (seconds, fraction) = match (seconds, fraction) {
            (None, None) => return Some(None),
            (Some(seconds), Some(fraction)) => (seconds, fraction as f64 / FRACTION),
            _ => return None,
        };
        // SQLite's integers end here, and shorter fractions would be rounded.
        let is_exact = seconds < i64::MAX.unsigned_abs() && (seconds > 0 || fraction >= 0.001);
        let timeout = Duration::try_from_secs_f64(seconds as f64 + fraction).ok();
        timeout.filter(|_| is_exact).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use jobstore_core::NewJob;
    use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _, Sqlite, SqliteConnection};

    use super::*;
    use crate::dialect::{Dialect as _, Ids};
    use crate::row;

    async fn connection() -> SqliteConnection {
        let mut connection = SqliteConnection::connect(":memory:").await.expect("opens");
        let schema = AssertSqlSafe(crate::sqlite::schema());
        connection.execute(schema).await.expect("makes the schema");
        connection
    }

    /// The jobs as they come over packed, and one by one.
    async fn both_ways(connection: &mut SqliteConnection) -> (Option<Vec<Job>>, Vec<Job>) {
        let Columns { select, end } = PACKED.columns;
        let packed = AssertSqlSafe(format!("{select} jobs ORDER BY id{end}"));
        let packed = connection.fetch_one(packed).await.expect("packs");
        let packed: Option<String> = packed.try_get(0).expect("is a text");
        let rows = AssertSqlSafe(format!("SELECT {} FROM jobs ORDER BY id", row::COLUMNS));
        let rows = connection.fetch_all(rows).await.expect("reads");
        let rows = rows.iter().filter_map(|row| row::read::<Sqlite>(row).ok());
        (unpack(&packed.unwrap_or_default()), rows.collect())
    }

    async fn insert(connection: &mut SqliteConnection, job: &Job) {
        let mut statement = sqlx::QueryBuilder::<Sqlite>::new("");
        let rows = [row::every_value(job, job.creation_time)];
        Sqlite::push_insert(&mut statement, row::EVERY_COLUMN, &rows, Ids::Made);
        let inserted = statement.build().execute(connection).await;
        inserted.expect("inserts");
    }

    #[tokio::test]
    async fn every_value_comes_over_packed_as_it_does_by_itself() {
        let mut connection = connection().await;
        let texts = ["", "|", "é|7|", "a\n\u{10FFFF}'", "1"];
        let timeouts = [0.001, 0.1, 1.0 / 3.0, 1.5, 86_400.000_1, 4e9, 9.0e15, 1e18];
        for (index, secs) in timeouts.into_iter().enumerate() {
            let text = texts[index % texts.len()];
            let new = NewJob::new("é|name", r#"{"a": "|\" 'é"}"#);
            let mut job = new.into_job(Timestamp::from_millis(-5));
            job.timeout = Some(Duration::from_secs_f64(secs));
            job.result = Some(text.to_owned());
            job.unique_key = (index > 3).then(|| format!("{index}{text}"));
            job.last_error = (index % 2 == 0).then(|| text.to_owned());
            job.lease_owner = Some(text.to_owned());
            job.lease_expires_at = Some(Timestamp::MAX);
            job.next_attempt_at = Timestamp::MIN;
            (job.priority, job.retry_count) = (i16::MIN, u32::MAX);
            (job.max_retries, job.fence) = (Some(u32::MAX), i64::MAX.unsigned_abs());
            insert(&mut connection, &job).await;
            insert(
                &mut connection,
                &NewJob::new("plain", "{}").into_job(Timestamp::MAX),
            )
            .await;
        }
        let (packed, rows) = both_ways(&mut connection).await;
        assert_eq!(rows.len(), 2 * timeouts.len());
        assert_eq!(packed, Some(rows));
    }

    #[tokio::test]
    async fn what_is_out_of_the_ordinary_is_not_read_packed() {
        for odd in [
            "id = '0190163d-8694-739b-aea5-966c26f8ad91|5'",
            "id = upper(id) || '|'",
            "status = 6",
            "fence = -1",
            "priority = 40000",
            "timeout = -1.5",
            "timeout = 1e19",
            "timeout = 1e300 * 1e300",
            "timeout = 1e-9",
            "params = printf('{\"a\": \"%.*c\"}', 20000, 'x')",
            "result = printf('%.*c', 20000, 'x')",
            "last_error = printf('%.*c', 20000, 'x')",
        ] {
            let mut connection = connection().await;
            for name in ["a", "b", "c"] {
                let job = NewJob::new(name, "{}").into_job(Timestamp::from_millis(1));
                insert(&mut connection, &job).await;
            }
            let update = AssertSqlSafe(format!("UPDATE jobs SET {odd} WHERE job_name = 'b'"));
            connection.execute(update).await.expect("updates");
            let (packed, _) = both_ways(&mut connection).await;
            assert_eq!(packed, None, "{odd}");
        }
    }
}
