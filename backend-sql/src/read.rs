//! Getting, listing and counting.
//!
//! A listing asks the index of each pair of status and name that the filter means for its first
//! jobs after the start, and merges what it gets. Each branch reads an index in order and stops, so
//! a rare status among many jobs costs no more than a common one, at any depth.

use std::borrow::Cow;
use std::collections::HashMap;

use jobstore_core::{
    Error, Job, JobFilter, JobId, JobStatus, Matcher, Order, PageRequest, PagedList, Result,
    StatusCounts, Timestamp,
};
use sqlx::QueryBuilder;

use crate::dialect::{Columns, Dialect, Value};
use crate::error::Failure;
use crate::row::{self, Found, Place};
use crate::wire::Wire;

/// The most branches in one statement: engines bound the length of a compound SELECT.
pub(crate) const MAX_BRANCHES: usize = 64;
/// The least and the most rows to look at in one statement when only the params decide which of them
/// count.
const SCAN: (usize, usize) = (100, 1000);
/// After so many rows with too few that count, it pays to ask an index of params which could.
const NARROW: usize = 500;

pub(crate) async fn get<D: Dialect>(
    wire: &mut Wire<'_, D>,
    ids: &[JobId],
) -> Result<Vec<Option<Job>>, Failure> {
    let jobs = by_id::<D>(wire, ids, "").await?;
    let found = ids.iter().map(|id| jobs.get(id).cloned().transpose());
    Ok(found.collect::<Result<_>>()?)
}

/// The rows with these ids, each a job or the reason why it is none; `lock` ends the statement.
pub(crate) async fn by_id<D: Dialect>(
    wire: &mut Wire<'_, D>,
    ids: &[JobId],
    lock: &str,
) -> Result<HashMap<JobId, Result<Job>>, Failure> {
    let mut jobs = HashMap::with_capacity(ids.len());
    for ids in ids.chunks(1000) {
        let write = |columns: Columns| {
            let mut statement = QueryBuilder::<D>::new(columns.select);
            statement.push(D::jobs_by(D::PRIMARY_KEY)).push(" WHERE id");
            D::push_one_of(&mut statement, row::id_values(ids));
            statement.push(columns.end).push(lock);
            statement
        };
        let each = |found: Found| jobs.extend(found.id().map(|id| (id, found.job)));
        wire.fetch_jobs(ids.len(), write, each).await?;
    }
    Ok(jobs)
}

pub(crate) async fn list<D: Dialect>(
    wire: &mut Wire<'_, D>,
    filter: &JobFilter,
    page: &PageRequest,
) -> Result<PagedList<Job>, Failure> {
    let matcher = filter.compile()?;
    let start = page.start(&matcher)?;
    let size = page.size as usize;
    let mut start = start.map(Place::from);
    let mut list = PagedList {
        items: Vec::with_capacity(size),
        token: None,
        unreadable: Vec::new(),
    };
    let decided_by_engine = filter.params.is_none();
    let mut filter = Cow::Borrowed(filter);
    let mut to_narrow = !decided_by_engine && D::INDEXES_PARAMS;
    // What many jobs have is found among few rows; what few have costs fewer statements of more rows.
    let mut limit = if decided_by_engine {
        size
    } else {
        size.max(SCAN.0)
    };
    let mut looked_at = 0;
    loop {
        let rows = scan::<D>(wire, &filter, &matcher, start.take(), page.order, limit).await?;
        let end = rows.len() < limit;
        looked_at += rows.len();
        limit = (limit * 4).min(SCAN.1).max(size);
        for row in rows {
            start = Some(row.place);
            match row.job {
                Ok(Some(job)) => list.items.push(job),
                Ok(None) => {}
                Err(error) => list.unreadable.push(error),
            }
            if list.items.len() == size {
                break;
            }
        }
        let full = list.items.len() == size;
        if full {
            list.token = list
                .items
                .last()
                .map(|last| page.token_after(last, &matcher));
        }
        if full || end {
            return Ok(list);
        }
        if looked_at >= NARROW
            && std::mem::take(&mut to_narrow)
            && let Some(found) = narrow::<D>(wire, &filter, &matcher).await?
        {
            filter = Cow::Owned(found);
        }
    }
}

/// The filter for those jobs alone that could have its params, where an index knows them.
async fn narrow<D: Dialect>(
    wire: &mut Wire<'_, D>,
    filter: &JobFilter,
    matcher: &Matcher<'_>,
) -> Result<Option<JobFilter>, Failure> {
    let Some(terms) = matcher.params_terms() else {
        return Ok(None);
    };
    let Some(mut ids) = D::find_by_params(wire, &terms).await? else {
        return Ok(None);
    };
    if let Some(wanted) = &filter.ids {
        ids.retain(|id| wanted.contains(id));
    }
    Ok(Some(JobFilter {
        ids: Some(ids),
        ..filter.clone()
    }))
}

struct Scanned {
    place: Place,
    /// None when the params do not match.
    job: Result<Option<Job>>,
}

/// The next rows in order, at most `limit` of them; fewer only at the end.
async fn scan<D: Dialect>(
    wire: &mut Wire<'_, D>,
    filter: &JobFilter,
    matcher: &Matcher<'_>,
    start: Option<Place>,
    order: Order,
    limit: usize,
) -> Result<Vec<Scanned>, Failure> {
    let branches = branches(filter);
    let mut rows: Vec<Scanned> = Vec::new();
    for branches in branches.chunks(MAX_BRANCHES) {
        let write =
            |columns| page_statement::<D>(columns, filter, branches, start.as_ref(), order, limit);
        let each = |Found { place, job }| {
            let job = job.map(|job| matcher.matches_params(&job.params).then_some(job));
            rows.push(Scanned { place, job });
        };
        wire.fetch_jobs(limit, write, each).await?;
    }
    rows.sort_by(|a, b| match order {
        Order::Ascending => a.place.cmp(&b.place),
        Order::Descending => b.place.cmp(&a.place),
    });
    rows.truncate(limit);
    Ok(rows)
}

/// One status and name, or the ids: what an index finds at once.
#[derive(Clone, Copy)]
pub(crate) enum Branch<'a> {
    Status(JobStatus, Option<&'a str>),
    Ids(&'a [JobId]),
}

pub(crate) fn branches(filter: &JobFilter) -> Vec<Branch<'_>> {
    if let Some(ids) = &filter.ids {
        return if ids.is_empty() {
            Vec::new()
        } else {
            vec![Branch::Ids(ids)]
        };
    }
    let mut statuses = match filter.statuses.as_slice() {
        _ if filter.lease_expired_by.is_some() && filter.statuses.is_empty() => {
            vec![JobStatus::Running]
        }
        [] => JobStatus::ALL.to_vec(),
        statuses => statuses.to_vec(),
    };
    statuses.sort_unstable();
    statuses.dedup();
    let mut names: Vec<Option<&str>> = filter
        .job_names
        .iter()
        .map(|name| Some(name.as_str()))
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        names.push(None);
    }
    let pairs = statuses
        .iter()
        .flat_map(|&status| names.iter().map(move |&name| (status, name)));
    pairs
        .map(|(status, name)| Branch::Status(status, name))
        .collect()
}

pub(crate) fn page_statement<D: Dialect>(
    columns: Columns,
    filter: &JobFilter,
    branches: &[Branch<'_>],
    start: Option<&Place>,
    order: Order,
    limit: usize,
) -> QueryBuilder<D> {
    let (direction, after) = match order {
        Order::Ascending => ("", ">"),
        Order::Descending => (" DESC", "<"),
    };
    let mut statement = QueryBuilder::<D>::new(columns.select);
    let push_branch = |statement: &mut QueryBuilder<D>, branch: &Branch<'_>| {
        push_branch_conditions(statement, filter, branch, start.map(|_| order));
        if let Some(start) = start {
            statement.push(" AND ");
            D::push_after(statement, after, start);
        }
        statement.push(format_args!(
            " ORDER BY creation_time{direction}, id{direction} LIMIT {limit}"
        ));
    };
    if let [branch] = branches {
        push_branch(&mut statement, branch);
        statement.push(columns.end);
        return statement;
    }
    statement.push("(");
    for (index, branch) in branches.iter().enumerate() {
        statement.push(if index == 0 {
            "SELECT * FROM ("
        } else {
            " UNION ALL SELECT * FROM ("
        });
        statement.push(format_args!(
            "SELECT {} AS place, id AS place_id, creation_time AS place_time FROM ",
            D::PLACE
        ));
        push_branch(&mut statement, branch);
        statement.push(format_args!(") AS branch_{index}"));
    }
    statement.push(format_args!(
        // The rows found are put in order here: an engine that sorted them would carry their params
        // through its buffer.
        " ORDER BY place_time{direction}, place_id{direction} LIMIT {limit}) AS page {}{}",
        D::page_join(),
        columns.end
    ));
    statement
}

/// Writes `jobs WHERE …`; `walking` is the order of a listing that has a place to start from.
fn push_branch_conditions<D: Dialect>(
    statement: &mut QueryBuilder<D>,
    filter: &JobFilter,
    branch: &Branch<'_>,
    walking: Option<Order>,
) {
    let index = match branch {
        Branch::Status(_, None) => D::jobs_by("jobs_by_status"),
        Branch::Status(_, Some(_)) => D::jobs_by("jobs_by_name"),
        Branch::Ids(_) => D::jobs_by(D::PRIMARY_KEY),
    };
    statement.push(index).push(" WHERE ");
    match branch {
        Branch::Status(status, name) => {
            statement.push(format_args!("status = {}", status.as_i32()));
            if let Some(name) = name {
                statement.push(" AND job_name = ");
                D::push_value(statement, (*name).into());
            }
        }
        Branch::Ids(ids) => {
            statement.push("id");
            D::push_one_of(statement, row::id_values(ids));
            if !filter.statuses.is_empty() {
                let statuses = filter
                    .statuses
                    .iter()
                    .map(|status| i64::from(status.as_i32()));
                statement.push(" AND status");
                D::push_one_of(statement, statuses.map(Value::from).collect());
            }
            if !filter.job_names.is_empty() {
                let names = filter.job_names.iter().map(|name| name.as_str().into());
                statement.push(" AND job_name");
                D::push_one_of(statement, names.collect());
            }
        }
    }
    push_times(statement, filter, walking);
}

fn push_times<D: Dialect>(
    statement: &mut QueryBuilder<D>,
    filter: &JobFilter,
    walking: Option<Order>,
) {
    let mut push = |condition: &str, time: Option<Timestamp>| {
        if let Some(time) = time {
            statement.push(" AND ").push(condition);
            D::push_value(statement, time.as_millis().into());
        }
    };
    // The bound behind a walk is met by the place it starts from. Said again, it could be the one
    // that the engine looks up in the index, and every page would read the walk so far.
    if walking != Some(Order::Ascending) {
        push("creation_time >= ", filter.created_from);
    }
    if walking != Some(Order::Descending) {
        push("creation_time <= ", filter.created_to);
    }
    push(
        "status = 1 AND lease_expires_at <= ",
        filter.lease_expired_by,
    );
}

pub(crate) async fn count<D: Dialect>(
    wire: &mut Wire<'_, D>,
    filter: &JobFilter,
) -> Result<StatusCounts, Failure> {
    let matcher = filter.compile()?;
    let mut counts = StatusCounts::default();
    let by_engine = filter.params.is_none();
    let narrowed = match D::INDEXES_PARAMS {
        true => narrow::<D>(wire, filter, &matcher).await?,
        false => None,
    };
    let filter = narrowed.as_ref().unwrap_or(filter);
    for branches in branches(filter).chunks(MAX_BRANCHES) {
        let mut statement = QueryBuilder::<D>::new("");
        for (index, branch) in branches.iter().enumerate() {
            statement.push(if index == 0 { "" } else { " UNION ALL " });
            statement.push(if by_engine {
                "SELECT status, COUNT(*) FROM "
            } else {
                "SELECT status, params FROM "
            });
            push_branch_conditions(&mut statement, filter, branch, None);
            if by_engine {
                statement.push(" GROUP BY status");
            }
        }
        let mut broken: Option<Error> = None;
        wire.fetch(statement, |row| {
            let read = || -> sqlx::Result<Option<(i64, i64)>> {
                let status = D::int(row, 0)?;
                if by_engine {
                    return Ok(status.zip(D::int(row, 1)?));
                }
                // Params that are no text were written by another program, and match nothing.
                let params = D::text(row, 1).ok().flatten();
                let matches = params.is_some_and(|text| matcher.matches_params(&text.into()));
                Ok(status.filter(|_| matches).map(|status| (status, 1)))
            };
            match read() {
                Ok(Some((status, jobs))) => {
                    // Rows of an unknown status are in no branch but that of ids, and in no count.
                    let status = i32::try_from(status).ok().and_then(JobStatus::from_i32);
                    if let Some(status) = status {
                        counts.add(status, jobs.unsigned_abs());
                    }
                }
                Ok(None) => {}
                Err(error) => broken = Some(D::error(error)),
            }
        })
        .await?;
        if let Some(error) = broken {
            return Err(error.into());
        }
    }
    Ok(counts)
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;
    use crate::sqlite::plan;
    use sqlx::Sqlite;

    fn filters() -> Vec<JobFilter> {
        let any = JobFilter::default;
        let time = Timestamp::from_millis(5);
        let running = || any().with_statuses([JobStatus::Running]);
        vec![
            any(),
            running(),
            any().with_job_name("a"),
            running().with_job_name("a"),
            running().with_job_name("a").with_job_name("b"),
            JobFilter {
                created_from: Some(time),
                created_to: Some(time),
                ..running()
            },
            JobFilter {
                lease_expired_by: Some(time),
                ..any()
            },
        ]
    }

    #[tokio::test]
    async fn every_listing_reads_an_index_in_order_from_its_start() {
        let place = Place {
            time: 5,
            id: Vec::new(),
        };
        let packed = Sqlite::PACKED.expect("packs").columns;
        for (filter, columns) in filters()
            .into_iter()
            .flat_map(|filter| [(filter.clone(), Columns::ROWS), (filter, packed)])
        {
            for (order, start) in [
                (Order::Ascending, None),
                (Order::Ascending, Some(&place)),
                (Order::Descending, Some(&place)),
            ] {
                for branch in branches(&filter) {
                    let statement =
                        page_statement::<Sqlite>(columns, &filter, &[branch], start, order, 9);
                    let plan = plan(&statement).await;
                    assert!(
                        !plan.contains("SCAN jobs") && !plan.contains("B-TREE"),
                        "{filter:?}\n{plan}"
                    );
                    let seeks = start.is_none() || plan.contains("(creation_time,id)");
                    assert!(seeks, "{filter:?} reads the walk so far\n{plan}");
                }
                let branches = branches(&filter);
                let statement =
                    page_statement::<Sqlite>(columns, &filter, &branches, start, order, 9);
                let plan = plan(&statement).await;
                assert!(!plan.contains("SCAN jobs"), "{filter:?}\n{plan}");
            }
        }
    }
}
