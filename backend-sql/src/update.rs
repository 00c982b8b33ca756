//! Updates: rows are read, core says what becomes of each, and what changed is written.

use std::collections::{BTreeSet, HashMap, HashSet};

use jobstore_core::{
    Applied, Clock as _, Error, Job, JobId, Result, StoreClock, Timestamp, Update,
};
use sqlx::QueryBuilder;

use crate::change::Changed;
use crate::dialect::{Dialect, Value, fits, fitting};
use crate::error::Failure;
use crate::read::by_id;
use crate::row::{self, COLUMNS};
use crate::wire::Wire;
use crate::write::{Key, holders, owned};

/// What came of each update of each call.
type Verdicts = Vec<Vec<Result<Job>>>;

/// Applies the updates of each call, as if one after another, to rows that are locked until the
/// transaction ends.
pub(crate) async fn update<D: Dialect>(
    wire: &mut Wire<'_, D>,
    calls: &[&[Update]],
    clock: &StoreClock,
) -> Result<Verdicts, Failure> {
    let jobs = by_id::<D>(wire, &ids(calls), D::LOCK_ROWS).await?;
    // Taken while the rows are ours, so that times follow the order of changes.
    let now = clock.now();
    let before: HashMap<JobId, Option<Key>> = jobs
        .values()
        .flatten()
        .map(|job| (job.id, owned(job.held_unique_key())))
        .collect();
    let holders = holders::<D>(wire, keys_to_take(&jobs)).await?;
    let holders = holders.into_iter().map(|(key, job)| (key, job.id));
    let decided = Decided::of(calls, jobs, holders.collect(), wire.packet, now);
    // A key must be let go before another row takes it: engines check each row as they write it.
    let takes_key =
        |job: &&Job| before.get(&job.id) == Some(&None) && job.held_unique_key().is_some();
    let (taking, others): (Vec<&Job>, Vec<&Job>) = decided.written().partition(takes_key);
    write_changes::<D>(wire, &others, decided.changed, now).await?;
    write_changes::<D>(wire, &taking, decided.changed, now).await?;
    Ok(decided.verdicts)
}

/// Applies updates without a transaction: reads the rows, and writes them if all are still of the versions
/// that were read. Otherwise, or where a key is to be looked for, writes nothing and returns none, and
/// [`update`] must do it.
///
/// Nobody else changes the job of a worker, so that hardly ever happens, and it takes two round trips
/// instead of four. `version` is [`Dialect::ROW_VERSION`].
pub(crate) async fn update_unlocked<D: Dialect>(
    wire: &mut Wire<'_, D>,
    version: &str,
    calls: &[&[Update]],
    clock: &StoreClock,
) -> Result<Option<Verdicts>, Failure> {
    let ids = ids(calls);
    let mut statement = QueryBuilder::<D>::new(format!("SELECT {COLUMNS}, {version} FROM "));
    statement.push(D::jobs_by(D::PRIMARY_KEY)).push(" WHERE id");
    D::push_one_of(&mut statement, row::id_values(&ids));
    let mut jobs = HashMap::new();
    let mut versions = BTreeSet::new();
    let each = |row: &D::Row| {
        let found = row::find::<D>(row);
        jobs.extend(found.id().map(|id| (id, found.job)));
        versions.extend(D::text(row, row::WIDTH).ok().flatten());
    };
    wire.fetch(statement, each).await?;
    if !keys_to_take(&jobs).is_empty() {
        return Ok(None);
    }
    // What is written under this time was changed by nobody since it was read, so times follow the order
    // of changes.
    let now = clock.now();
    let decided = Decided::of(calls, jobs, HashMap::new(), wire.packet, now);
    if decided.changed == Changed::default() {
        return Ok(Some(decided.verdicts));
    }
    let mut jobs: Vec<&Job> = decided.written().collect();
    // So locked, as everywhere, in the order of ids.
    jobs.sort_unstable_by_key(|job| job.id);
    let rows = jobs.iter().map(|job| decided.changed.values(job, now));
    let rows: Vec<Vec<Value>> = rows.collect();
    if fitting(&rows, wire.packet)
        .flat_map(D::update_pieces)
        .count()
        > 1
    {
        return Ok(None);
    }
    let columns = decided.changed.names();
    let statement = unlocked_statement::<D>(version, &columns, &rows, versions);
    let mut written = 0;
    let each = |row: &D::Row| written = D::int(row, 0).ok().flatten().unwrap_or_default();
    match wire.fetch(statement, each).await {
        Err(Failure::Conflict(_)) => Ok(None),
        done => Ok(done.map(|()| (written > 0).then_some(decided.verdicts))?),
    }
}

/// Writes all of these rows or none, and gives how many it wrote: all that are not of one of these versions
/// any more have been changed.
///
/// Which row had which version need not be said. One that was read together with the others, and was
/// changed after that, was changed by a transaction of which none of them had shown anything yet.
pub(crate) fn unlocked_statement<D: Dialect>(
    version: &str,
    columns: &[&str],
    rows: &[Vec<Value>],
    versions: BTreeSet<String>,
) -> QueryBuilder<D> {
    let mut statement = QueryBuilder::<D>::new("WITH written AS (");
    D::push_update(&mut statement, columns, rows);
    statement.push(format_args!(" AND {version}"));
    D::push_one_of(
        &mut statement,
        versions.into_iter().map(Value::from).collect(),
    );
    statement.push(" RETURNING 1) SELECT CASE WHEN count(*) IN (0, ");
    D::push_value(
        &mut statement,
        i64::try_from(rows.len()).unwrap_or(i64::MAX).into(),
    );
    // No number, so this fails, and what it says can be read in the server's log.
    statement.push(
        ") THEN count(*) ELSE CAST('none of these jobs, ' || count(*) || ' are as they were' \
         AS BIGINT) END FROM written",
    );
    statement
}

/// The jobs that the updates are of.
fn ids(calls: &[&[Update]]) -> Vec<JobId> {
    let updates = calls.iter().copied().flatten();
    let mut ids: Vec<JobId> = updates.map(|update| update.target.id()).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The unique keys that an update may take. Only a finalized job can come to hold one, so few calls
/// have to look who holds it now.
fn keys_to_take(jobs: &HashMap<JobId, Result<Job>>) -> Vec<Key> {
    let jobs = jobs.values().flatten();
    let finalized = jobs.filter(|job| job.status.is_finalized());
    let keys = finalized.filter_map(|job| Some((job.job_name.clone(), job.unique_key.clone()?)));
    keys.collect()
}

/// What becomes of rows that were read.
struct Decided {
    verdicts: Verdicts,
    /// As they are from now on.
    jobs: HashMap<JobId, Result<Job>>,
    /// Those that change.
    written_ids: HashSet<JobId>,
    /// In these columns, taken together.
    changed: Changed,
}

impl Decided {
    /// Asks core about each update in turn, while these jobs hold these keys.
    fn of(
        calls: &[&[Update]],
        mut jobs: HashMap<JobId, Result<Job>>,
        mut holders: HashMap<Key, JobId>,
        packet: usize,
        now: Timestamp,
    ) -> Self {
        let mut written_ids = HashSet::new();
        let mut changed = Changed::default();
        let mut apply = |update: &Update| -> Result<Job> {
            let id = update.target.id();
            let found = jobs.get_mut(&id).ok_or(Error::NotFound { id })?;
            let job = found.as_mut().map_err(|error| error.clone())?;
            let Applied::Changed(next) = update.apply(job, now)? else {
                return Ok(job.clone());
            };
            fits(row::changed_bytes(&next), packet, || "result".into())?;
            let (held, holds) = (owned(job.held_unique_key()), owned(next.held_unique_key()));
            if held != holds {
                if let Some(&holder) = holds.as_ref().and_then(|key| holders.get(key)) {
                    return Err(Error::AlreadyExists { id: holder });
                }
                held.map(|key| holders.remove(&key));
                holds.map(|key| holders.insert(key, id));
            }
            written_ids.insert(id);
            changed.extend(Changed::between(job, &next));
            *job = next;
            Ok(job.clone())
        };
        let verdicts = calls
            .iter()
            .map(|call| call.iter().map(&mut apply).collect());
        Self {
            verdicts: verdicts.collect(),
            jobs,
            written_ids,
            changed,
        }
    }

    /// The jobs that change.
    fn written(&self) -> impl Iterator<Item = &Job> {
        let jobs = self.jobs.values().flatten();
        jobs.filter(|job| self.written_ids.contains(&job.id))
    }
}

/// Writes these columns of the jobs.
pub(crate) async fn write_changes<D: Dialect>(
    wire: &mut Wire<'_, D>,
    jobs: &[&Job],
    changed: Changed,
    now: Timestamp,
) -> Result<(), Failure> {
    if changed == Changed::default() {
        return Ok(());
    }
    let columns = changed.names();
    let rows: Vec<Vec<Value>> = jobs.iter().map(|job| changed.values(job, now)).collect();
    for rows in fitting(&rows, wire.packet).flat_map(D::update_pieces) {
        let mut statement = QueryBuilder::<D>::new("");
        D::push_update(&mut statement, &columns, rows);
        wire.execute(statement).await?;
    }
    Ok(())
}
