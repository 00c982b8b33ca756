use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use jobstore_core::{
    Error, Job, JobFilter, JobId, JobParams, JobStatus, JobStore, ManualClock, NewJob, Order,
    PageRequest, Timestamp,
};
use jobstore_sql::sqlite::Synchronous;
use jobstore_sql::{SqliteJobStore, SqliteOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use tempfile::TempDir;

use crate::runtime;

/// Changes columns of one row of a store on SQLite as another program could, and reads: the row is
/// the job that its columns say or is reported, in either order and by its id, and the rows beside
/// it are listed once and as they were. A row of an unknown status is reported by its id only.
///
/// # Panics
///
/// When that is not so.
pub fn row(bytes: &[u8]) {
    thread_local! {
        static PLACE: OnceCell<Rc<Place>> = const { OnceCell::new() };
    }
    let known = PLACE.with(|place| place.get().cloned());
    let place = known.unwrap_or_else(|| {
        let made = Rc::new(runtime::block_on(Place::made()));
        PLACE.with(|place| place.get_or_init(|| made).clone())
    });
    runtime::block_on(async {
        // Before, since the call before may have ended in a panic.
        place.restore().await;
        let mut stored = Stored::of(&place.jobs[VICTIM]);
        if stored.change(bytes) && place.write(&stored).await {
            place.is_read(&stored).await;
        }
    });
}

/// Which job's row is changed.
const VICTIM: usize = 1;

/// A store, the pool that it shares with the other program, and its jobs.
struct Place {
    store: SqliteJobStore,
    pool: SqlitePool,
    jobs: Vec<Job>,
    _folder: TempDir,
}

impl Place {
    async fn made() -> Self {
        let folder = tempfile::tempdir().expect("makes a folder");
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("jobs.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal);
        let pool = SqlitePoolOptions::new().connect_with(options).await;
        let pool = pool.expect("connects");
        let options = SqliteOptions::existing(pool.clone())
            .with_synchronous(Synchronous::Normal)
            .with_clock(Arc::new(ManualClock::new(Timestamp::from_millis(1_000))));
        let store = options.open().await.expect("opens");
        let jobs = (1..=4).map(|n: u128| {
            let id = format!("{:08x}-0000-4000-8000-000000000000", n << 28 | 0xa0);
            NewJob::new("a", r#"{"n":1}"#).with_id(id.parse().expect("is a UUID"))
        });
        let created = store.create_jobs(jobs.collect()).await.expect("creates");
        let keep = "CREATE TABLE kept AS SELECT rowid AS place, * FROM jobs";
        sqlx::query(keep).execute(&pool).await.expect("copies");
        Self {
            store,
            pool,
            jobs: created
                .into_iter()
                .map(|creation| creation.into_job())
                .collect(),
            _folder: folder,
        }
    }

    /// Writes the row; the engine refuses what its schema forbids.
    async fn write(&self, stored: &Stored) -> bool {
        // In the order of what is stored: texts, integers, the timeout.
        let sql = "UPDATE jobs SET id = CAST(? AS TEXT), job_name = CAST(? AS TEXT), \
            params = CAST(? AS TEXT), result = CAST(? AS TEXT), unique_key = CAST(? AS TEXT), \
            lease_owner = CAST(? AS TEXT), last_error = CAST(? AS TEXT), creation_time = ?, \
            status = ?, retry_count = ?, last_update_time = ?, priority = ?, next_attempt_at = ?, \
            max_retries = ?, lease_expires_at = ?, fence = ?, timeout = ? WHERE id = ?";
        let mut update = sqlx::query(sql);
        for text in stored.texts.clone() {
            update = update.bind(text);
        }
        for integer in stored.integers {
            update = update.bind(integer);
        }
        let update = update
            .bind(stored.timeout)
            .bind(self.jobs[VICTIM].id.to_string());
        update
            .execute(&self.pool)
            .await
            .is_ok_and(|done| done.rows_affected() == 1)
    }

    async fn restore(&self) {
        let columns = "id, creation_time, job_name, params, timeout, status, result, retry_count, \
            last_update_time, priority, next_attempt_at, max_retries, unique_key, lease_owner, \
            lease_expires_at, fence, last_error, due";
        let again =
            format!("INSERT INTO jobs (rowid, {columns}) SELECT place, {columns} FROM kept");
        for sql in ["DELETE FROM jobs".to_owned(), again] {
            let done = sqlx::query(sqlx::AssertSqlSafe(sql))
                .execute(&self.pool)
                .await;
            done.expect("restores");
        }
    }

    async fn is_read(&self, stored: &Stored) {
        let expected = stored.job();
        for order in [Order::Ascending, Order::Descending] {
            let (found, reported) = self.walk(order).await;
            for (index, job) in self.jobs.iter().enumerate() {
                if index != VICTIM {
                    let times = found.iter().filter(|found| *found == job).count();
                    assert_eq!(times, 1, "how often {job:?} is listed beside {stored:?}");
                }
            }
            let others = self.jobs.len() - 1;
            match &expected {
                // No index of statuses leads to it; asked for by its id it is reported.
                None if !stored.has_known_status() => {
                    assert_eq!((found.len(), reported.len()), (others, 0), "{stored:?}");
                }
                Some(job) => {
                    assert!(found.contains(job), "{job:?} is listed of {stored:?}");
                    assert_eq!((found.len(), reported.len()), (others + 1, 0), "{stored:?}");
                }
                None => assert_eq!((found.len(), reported.len()), (others, 1), "{stored:?}"),
            }
        }
        let counted = self.store.count_jobs(&JobFilter::default()).await;
        counted.unwrap_or_else(|error| panic!("counting {stored:?}: {error:?}"));
        if let Some(id) = stored.id() {
            match (self.store.get_jobs(&[id]).await, expected) {
                (Ok(found), Some(job)) => assert_eq!(found, [Some(job)], "{stored:?}"),
                (Err(Error::Unreadable { .. }), None) => {}
                (found, _) => panic!("{found:?} of {stored:?}"),
            }
        }
    }

    async fn walk(&self, order: Order) -> (Vec<Job>, Vec<Error>) {
        let mut page = PageRequest::default().with_size(2).with_order(order);
        let (mut found, mut reported) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            let list = self.store.list_jobs(&JobFilter::default(), &page).await;
            let list = list.unwrap_or_else(|error| panic!("listing: {error:?}"));
            for error in &list.unreadable {
                assert!(matches!(error, Error::Unreadable { .. }), "{error:?}");
            }
            found.extend(list.items);
            reported.extend(list.unreadable);
            match list.token {
                Some(token) => page.token = Some(token),
                None => return (found, reported),
            }
        }
        panic!("a walk that does not end");
    }
}

/// The columns of a row by their kind, in the order of the table.
#[derive(Debug)]
struct Stored {
    texts: [Option<Vec<u8>>; 7],
    integers: [Option<i64>; 9],
    timeout: Option<f64>,
}

impl Stored {
    fn of(job: &Job) -> Self {
        let text = |text: &str| Some(text.as_bytes().to_vec());
        Self {
            texts: [
                text(&job.id.to_string()),
                text(&job.job_name),
                text(job.params.as_str()),
                None,
                None,
                None,
                None,
            ],
            integers: [
                Some(job.creation_time.as_millis()),
                Some(0),
                Some(0),
                Some(job.last_update_time.as_millis()),
                Some(0),
                Some(job.next_attempt_at.as_millis()),
                None,
                None,
                Some(0),
            ],
            timeout: None,
        }
    }

    /// Changes columns as the bytes say: which, then its new value. Whether one was changed.
    fn change(&mut self, mut bytes: &[u8]) -> bool {
        let mut changed = false;
        while let Some((&column, rest)) = bytes.split_first() {
            bytes = rest;
            let column = usize::from(column) % 17;
            changed = true;
            if let Some(text) = self.texts.get_mut(column) {
                *text = take_text(&mut bytes);
            } else if let Some(integer) = self.integers.get_mut(column - 7) {
                *integer = take_number(&mut bytes);
            } else {
                let bits = take_number(&mut bytes).map(i64::cast_unsigned);
                // What the engine makes of it: it has no NaN.
                self.timeout = bits.map(f64::from_bits).filter(|secs| !secs.is_nan());
            }
        }
        changed
    }

    fn id(&self) -> Option<JobId> {
        let text = String::from_utf8(self.texts[0].clone()?).ok()?;
        let id: JobId = text.parse().ok()?;
        // In capitals it would be found by no id that anybody can name.
        (id.to_string() == text).then_some(id)
    }

    fn has_known_status(&self) -> bool {
        let status = self.integers[1].and_then(|status| i32::try_from(status).ok());
        status.and_then(JobStatus::from_i32).is_some()
    }

    /// The job that the columns say, if they say one.
    fn job(&self) -> Option<Job> {
        let mut texts = self.texts.iter().skip(1).map(|text| match text {
            None => Some(None),
            Some(bytes) => String::from_utf8(bytes.clone()).ok().map(Some),
        });
        let mut text = || texts.next().expect("there are seven");
        let job_name = text()??;
        let params = JobParams::new(text()??);
        let (result, unique_key, lease_owner, last_error) = (text()?, text()?, text()?, text()?);
        let [
            creation,
            status,
            retries,
            update,
            priority,
            next,
            most,
            expiry,
            fence,
        ] = self.integers;
        let timeout = match self.timeout {
            Some(secs) if secs < 0.0 => return None,
            Some(secs) => Some(Duration::try_from_secs_f64(secs).unwrap_or(Duration::MAX)),
            None => None,
        };
        Some(Job {
            id: self.id()?,
            job_name,
            params,
            timeout,
            status: JobStatus::from_i32(status?.try_into().ok()?)?,
            result,
            retry_count: retries?.try_into().ok()?,
            creation_time: Timestamp::from_millis(creation?),
            last_update_time: Timestamp::from_millis(update?),
            priority: priority?.try_into().ok()?,
            next_attempt_at: Timestamp::from_millis(next?),
            max_retries: most.map(u32::try_from).transpose().ok()?,
            unique_key,
            lease_owner,
            lease_expires_at: expiry.map(Timestamp::from_millis),
            fence: fence?.try_into().ok()?,
            last_error,
        })
    }
}

/// A length and as many bytes, or all there are; none for the length 255.
fn take_text(bytes: &mut &[u8]) -> Option<Vec<u8>> {
    let (&length, rest) = bytes.split_first()?;
    if length == u8::MAX {
        *bytes = rest;
        return None;
    }
    let (text, rest) = rest.split_at(usize::from(length).min(rest.len()));
    *bytes = rest;
    Some(text.to_vec())
}

/// None, a number of one byte, or one of eight.
fn take_number(bytes: &mut &[u8]) -> Option<i64> {
    let (&kind, rest) = bytes.split_first()?;
    *bytes = rest;
    match kind % 3 {
        0 => None,
        1 => {
            let (&byte, rest) = rest.split_first()?;
            *bytes = rest;
            Some(i64::from(byte.cast_signed()))
        }
        _ => {
            let (number, rest) = rest.split_first_chunk()?;
            *bytes = rest;
            Some(i64::from_le_bytes(*number))
        }
    }
}
