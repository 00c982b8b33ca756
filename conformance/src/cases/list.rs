//! Listing: order, pages, filters, and walks while jobs change.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use jobstore_core::{
    Action, DeleteRequest, Job, JobFilter, JobId, JobStatus, JobStore, JobStoreExt as _, NewJob,
    Order, PageRequest, Update, validate,
};
use proptest::prelude::RngExt as _;
use tokio::sync::oneshot;

use crate::Cx;
use crate::cx::{finish, start};
use crate::failure::{CaseResult, Failure, check, check_eq, same_all};

const BOTH: [Order; 2] = [Order::Ascending, Order::Descending];

fn any() -> JobFilter {
    JobFilter::default()
}

fn ids(jobs: &[Job]) -> Vec<JobId> {
    jobs.iter().map(|job| job.id).collect()
}

/// Jobs of three milliseconds, several in each.
async fn some(cx: &Cx) -> CaseResult<Vec<Job>> {
    let mut jobs = Vec::new();
    for size in [3, 1, 5] {
        jobs.extend(cx.create_all(vec![NewJob::new("a", "{}"); size]).await?);
        cx.tick();
    }
    Ok(jobs)
}

pub(crate) async fn an_empty_store_lists_nothing(cx: &Cx) -> CaseResult {
    for order in BOTH {
        let page = PageRequest::default().with_order(order);
        let list = cx.store().list_jobs(&any(), &page).await?;
        check_eq!((list.len(), list.token), (0, None));
    }
    Ok(())
}

pub(crate) async fn jobs_come_by_creation_time(cx: &Cx) -> CaseResult {
    // Ids against the order of creation, so that only the time can give it.
    let mut created = Vec::new();
    for id in ["f", "8", "1"] {
        let id: JobId = format!("{id}0000000-0000-7000-8000-000000000000").parse()?;
        created.push(cx.create(NewJob::new("a", "{}").with_id(id)).await?);
        cx.tick();
    }
    // The first was created first, however lately it changed.
    created[0] = cx.update(created[0].id, finish("done")).await?;
    same_all(&cx.list(&any()).await?, &created)
}

pub(crate) async fn ties_come_by_id(cx: &Cx) -> CaseResult {
    let names = ["80", "7f", "ff", "00", "0a", "a0"];
    let id = |start: &str| format!("{start}000000-0000-4000-8000-000000000000").parse();
    for start in names {
        cx.create(NewJob::new("a", "{}").with_id(id(start)?))
            .await?;
    }
    let mut expected = Vec::new();
    for start in ["00", "0a", "7f", "80", "a0", "ff"] {
        expected.push(id(start)?);
    }
    check_eq!(ids(&cx.walk(&any(), 2, Order::Ascending).await?), expected);
    expected.reverse();
    check_eq!(ids(&cx.walk(&any(), 2, Order::Descending).await?), expected);
    Ok(())
}

pub(crate) async fn descending_is_ascending_reversed(cx: &Cx) -> CaseResult {
    let mut jobs = some(cx).await?;
    same_all(&cx.walk(&any(), 100, Order::Ascending).await?, &jobs)?;
    jobs.reverse();
    same_all(&cx.walk(&any(), 100, Order::Descending).await?, &jobs)
}

pub(crate) async fn pages_of_every_size_make_up_the_whole(cx: &Cx) -> CaseResult {
    let mut jobs = some(cx).await?;
    for order in BOTH {
        for size in 1..=jobs.len() as u32 + 1 {
            let walked = cx.walk(&any(), size, order).await?;
            let same = same_all(&walked, &jobs);
            same.map_err(|failure| failure.when(format!("{order:?}, pages of {size}")))?;
        }
        jobs.reverse();
    }
    Ok(())
}

pub(crate) async fn a_page_holds_as_many_as_asked_for(cx: &Cx) -> CaseResult {
    let jobs = some(cx).await?;
    let page = PageRequest::default().with_size(4);
    let list = cx.store().list_jobs(&any(), &page).await?;
    same_all(&list, &jobs[..4])?;
    let page = page.with_token(list.token);
    let list = cx.store().list_jobs(&any(), &page).await?;
    same_all(&list, &jobs[4..8])?;
    let page = page.with_token(list.token);
    let list = cx.store().list_jobs(&any(), &page).await?;
    same_all(&list, &jobs[8..])?;
    check_eq!(list.token, None);
    Ok(())
}

pub(crate) async fn a_stream_goes_over_all_pages(cx: &Cx) -> CaseResult {
    let jobs = some(cx).await?;
    let store = cx.store();
    let page = PageRequest::default().with_size(4);
    let streamed: Vec<Job> = store.stream_jobs(any(), page).try_collect().await?;
    same_all(&streamed, &jobs)
}

pub(crate) async fn a_full_last_page_is_followed_by_the_end(cx: &Cx) -> CaseResult {
    let jobs = some(cx).await?;
    let page = PageRequest::default().with_size(jobs.len() as u32);
    let list = cx.store().list_jobs(&any(), &page).await?;
    check_eq!(list.len(), jobs.len());
    if let Some(token) = list.token {
        let page = page.with_token(Some(token));
        let list = cx.store().list_jobs(&any(), &page).await?;
        check_eq!((list.len(), list.token), (0, None));
    }
    Ok(())
}

pub(crate) async fn a_page_holds_100_by_default_and_1000_at_most(cx: &Cx) -> CaseResult {
    let jobs = cx.create_all(vec![NewJob::new("a", "{}"); 1_000]).await?;
    cx.job("a").await?;
    let page = PageRequest::default();
    let list = cx.store().list_jobs(&any(), &page).await?;
    same_all(&list, &jobs[..100])?;
    let list = cx.store().list_jobs(&any(), &page.with_size(1_000)).await?;
    same_all(&list, &jobs)?;
    check!(list.token.is_some(), "a token while jobs are left");
    Ok(())
}

pub(crate) async fn names_are_alternatives(cx: &Cx) -> CaseResult {
    let jobs = cx
        .create_all(["a", "b", "c", "a"].map(|name| NewJob::new(name, "{}")))
        .await?;
    let filter = any().with_job_name("a");
    same_all(&cx.list(&filter).await?, [&jobs[0], &jobs[3]])?;
    let filter = filter.with_job_name("c").with_job_name("a");
    same_all(&cx.list(&filter).await?, [&jobs[0], &jobs[2], &jobs[3]])?;
    let unknown = any().with_job_name("unknown");
    same_all(&cx.list(&unknown).await?, [])
}

pub(crate) async fn statuses_are_alternatives(cx: &Cx) -> CaseResult {
    let jobs = cx.jobs_in(&JobStatus::ALL).await?;
    for (job, status) in jobs.iter().zip(JobStatus::ALL) {
        same_all(&cx.list(&any().with_statuses([status])).await?, [job])?;
    }
    let two = [JobStatus::Canceled, JobStatus::Running, JobStatus::Canceled];
    let found = cx.list(&any().with_statuses(two)).await?;
    same_all(&found, [&jobs[1], &jobs[5]])
}

pub(crate) async fn no_names_and_no_statuses_mean_any(cx: &Cx) -> CaseResult {
    let jobs = cx.jobs_in(&JobStatus::ALL).await?;
    let filter = JobFilter {
        job_names: Vec::new(),
        statuses: Vec::new(),
        ..any()
    };
    same_all(&cx.list(&filter).await?, &jobs)
}

pub(crate) async fn both_ends_of_the_creation_time_are_included(cx: &Cx) -> CaseResult {
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(cx.job("a").await?);
        cx.tick();
    }
    let at = |index: usize| Some(jobs[index].creation_time);
    let filter = |created_from, created_to| JobFilter {
        created_from,
        created_to,
        ..any()
    };
    same_all(&cx.list(&filter(at(1), None)).await?, &jobs[1..])?;
    same_all(&cx.list(&filter(None, at(2))).await?, &jobs[..3])?;
    same_all(&cx.list(&filter(at(1), at(2))).await?, &jobs[1..3])?;
    same_all(&cx.list(&filter(at(2), at(2))).await?, &jobs[2..3])?;
    same_all(&cx.list(&filter(at(2), at(1))).await?, [])
}

pub(crate) async fn a_filter_by_creation_is_not_one_by_update(cx: &Cx) -> CaseResult {
    let job = cx.job("a").await?;
    cx.advance(Duration::from_secs(10));
    let job = cx.update(job.id, finish("done")).await?;
    let since = JobFilter {
        created_from: Some(cx.now()),
        ..any()
    };
    same_all(&cx.list(&since).await?, [])?;
    let until = JobFilter {
        created_to: Some(cx.at(-1)),
        ..any()
    };
    same_all(&cx.list(&until).await?, [&job])
}

pub(crate) async fn no_ids_mean_no_jobs(cx: &Cx) -> CaseResult {
    some(cx).await?;
    same_all(
        &cx.walk(&any().with_ids([]), 3, Order::Ascending).await?,
        [],
    )?;
    check_eq!(cx.count(&any().with_ids([])).await?.total(), 0);
    Ok(())
}

pub(crate) async fn ids_choose_jobs_and_unknown_ones_none(cx: &Cx) -> CaseResult {
    let jobs = some(cx).await?;
    let chosen = [jobs[7].id, JobId::generate(), jobs[2].id, jobs[7].id];
    let filter = any().with_ids(chosen);
    same_all(&cx.list(&filter).await?, [&jobs[2], &jobs[7]])?;
    let walked = cx.walk(&filter, 1, Order::Descending).await?;
    same_all(&walked, [&jobs[7], &jobs[2]])
}

pub(crate) async fn every_condition_must_hold(cx: &Cx) -> CaseResult {
    let new = |name: &str, n: u32| NewJob::new(name, format!("{{\"n\":{n}}}"));
    let jobs = cx
        .create_all([
            new("a", 1),
            new("a", 2),
            new("b", 1),
            new("a", 1),
            new("a", 1),
        ])
        .await?;
    cx.update(jobs[3].id, start("ada")).await?;
    cx.tick();
    cx.create(new("a", 1)).await?;
    let filter = JobFilter {
        created_to: Some(jobs[0].creation_time),
        ..any()
            .with_job_name("a")
            .with_statuses([JobStatus::Pending])
            .with_params(r#"{"n":1}"#)
            .with_ids(&ids(&jobs)[..4])
    };
    same_all(&cx.list(&filter).await?, [&jobs[0]])
}

pub(crate) async fn long_lists_of_names_and_ids_are_taken(cx: &Cx) -> CaseResult {
    let jobs = some(cx).await?;
    let mut chosen = ids(&jobs);
    chosen.resize_with(validate::MAX_ITEMS, JobId::generate);
    let mut filter = any().with_ids(chosen);
    filter.job_names = (1..validate::MAX_ITEMS).map(|n| format!("n{n}")).collect();
    same_all(&cx.list(&filter).await?, [])?;
    filter.job_names.push("a".to_owned());
    same_all(&cx.walk(&filter, 4, Order::Ascending).await?, &jobs)
}

pub(crate) async fn pages_are_filled_however_rare_the_matches(cx: &Cx) -> CaseResult {
    let new = |n: u32| NewJob::new("a", format!("{{\"n\":{}}}", n % 10));
    let jobs = cx.create_all((0..300).map(new)).await?;
    let expected: Vec<&Job> = jobs.iter().skip(3).step_by(10).collect();
    let filter = any().with_params(r#"{"n":3.0}"#);
    let page = PageRequest::default().with_size(7);
    let first = cx.store().list_jobs(&filter, &page).await?;
    same_all(&first, expected[..7].iter().copied())?;
    let walked = cx.walk(&filter, 7, Order::Ascending).await?;
    same_all(&walked, expected.iter().copied())?;
    let walked = cx.walk(&filter, 7, Order::Descending).await?;
    same_all(&walked, expected.into_iter().rev())
}

pub(crate) async fn a_lease_filter_includes_the_instant_of_expiry(cx: &Cx) -> CaseResult {
    let statuses = [JobStatus::Running, JobStatus::Pending, JobStatus::Succeeded];
    let jobs = cx.jobs_in(&statuses).await?;
    let unleased = cx.job("unleased").await?;
    let lease = None;
    cx.update(unleased.id, Action::Start { lease }).await?;
    let expiry = cx.now().saturating_add(crate::cx::LEASE);
    let by = |lease_expired_by| JobFilter {
        lease_expired_by: Some(lease_expired_by),
        ..any()
    };
    same_all(&cx.list(&by(cx.now())).await?, [])?;
    cx.advance(Duration::from_secs(3_600));
    let before = jobstore_core::Timestamp::from_millis(expiry.as_millis() - 1);
    same_all(&cx.list(&by(before)).await?, [])?;
    same_all(&cx.list(&by(expiry)).await?, [&jobs[0]])?;
    same_all(
        &cx.list(&by(jobstore_core::Timestamp::MAX)).await?,
        [&jobs[0]],
    )
}

pub(crate) async fn a_walk_goes_on_after_its_last_job_was_deleted(cx: &Cx) -> CaseResult {
    let jobs = some(cx).await?;
    for job in &jobs {
        cx.update(job.id, Action::Cancel).await?;
    }
    let filter = any();
    let mut pages = cx.pages(&filter, 3, Order::Ascending);
    let mut seen = Vec::new();
    while let Some(page) = pages.next().await? {
        seen.extend(ids(&page));
        let request = DeleteRequest::Ids(ids(&page));
        check_eq!(cx.store().delete_jobs(&request).await?.len(), page.len());
    }
    check_eq!(seen, ids(&jobs));
    check_eq!(cx.total().await?, 0);
    Ok(())
}

pub(crate) async fn a_walker_may_take_its_jobs_out_of_the_filter(cx: &Cx) -> CaseResult {
    for order in BOTH {
        let mut jobs = some(cx).await?;
        if order == Order::Descending {
            jobs.reverse();
        }
        let filter = any().with_statuses([JobStatus::Pending]);
        let mut pages = cx.pages(&filter, 2, order);
        let mut seen = Vec::new();
        while let Some(page) = pages.next().await? {
            let finished = page.iter().map(|job| Update::new(job.id, finish("done")));
            cx.apply_all(finished.collect()).await?;
            seen.extend(ids(&page));
        }
        check_eq!(seen, ids(&jobs), "{order:?}");
    }
    Ok(())
}

pub(crate) async fn a_walk_is_not_moved_by_new_jobs(cx: &Cx) -> CaseResult {
    for order in BOTH {
        let before: HashSet<JobId> = cx.list(&any()).await?.iter().map(|job| job.id).collect();
        let new = some(cx).await?;
        let before = before.into_iter().chain(ids(&new));
        let before: HashSet<JobId> = before.collect();
        let filter = any();
        let mut pages = cx.pages(&filter, 2, order);
        let mut seen = Vec::new();
        while let Some(page) = pages.next().await? {
            seen.extend(ids(&page));
            if seen.len() < 8 {
                cx.create_all(vec![NewJob::new("late", "{}"); 3]).await?;
            }
        }
        once(&seen, &before)?;
    }
    Ok(())
}

/// Fails unless no job was seen twice, and each of these was.
fn once(seen: &[JobId], present: &HashSet<JobId>) -> CaseResult {
    let distinct: HashSet<JobId> = seen.iter().copied().collect();
    check_eq!(seen.len(), distinct.len(), "jobs seen, and distinct ones");
    let missed: Vec<&JobId> = present.difference(&distinct).collect();
    check!(
        missed.is_empty(),
        "jobs {missed:?}, which were there all the time"
    );
    Ok(())
}

pub(crate) async fn a_long_walk_misses_nothing_while_others_work(cx: &Cx) -> CaseResult {
    let mut all = Vec::new();
    for _ in 0..5 {
        all.extend(cx.create_all(vec![NewJob::new("a", "{}"); 1_000]).await?);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let order = scattered(&ids(&all));
    let (changes, mut first_changes) = oneshot::channel();
    let churning = tokio::spawn(churn(cx.store(), order, changes, Arc::clone(&stop)));
    let filter = any();
    let mut pages = cx.pages(&filter, 7, Order::Ascending);
    let mut seen = Vec::new();
    let mut changed = 0;
    while let Some(page) = pages.next().await? {
        if seen.is_empty() {
            // However fast the walk, something changes in the middle of it. Whether the other task
            // came so far is seen when it is joined.
            let _ = (&mut first_changes).await;
        }
        changed += page.iter().filter(|job| job.fence > 0).count();
        seen.extend(ids(&page));
    }
    stop.store(true, Ordering::SeqCst);
    let churned = churning.await;
    let deleted = churned.map_err(|panic| Failure::new("no panic", panic.to_string()))??;
    check!(seen.is_sorted(), "ids of one millisecond in order");
    let surviving = ids(&all).into_iter().filter(|id| !deleted.contains(id));
    once(&seen, &surviving.collect())?;
    check!(
        changed > 0 && !deleted.is_empty(),
        "changes beside the walk"
    );
    check_eq!(cx.total().await?, 5_000 - deleted.len() as u64);
    Ok(())
}

/// The ids in an order that jumps all over the list.
fn scattered(ids: &[JobId]) -> Vec<JobId> {
    // 1,237 and 5,000 have no common divisor, so this meets each id once.
    (0..ids.len()).map(|n| ids[n * 1_237 % ids.len()]).collect()
}

/// Starts and finishes jobs, and deletes every third, until told to stop; says when it did so first.
async fn churn(
    store: Arc<dyn JobStore>,
    ids: Vec<JobId>,
    changes: oneshot::Sender<()>,
    stop: Arc<AtomicBool>,
) -> CaseResult<HashSet<JobId>> {
    let mut deleted = HashSet::new();
    let mut changes = Some(changes);
    for group in ids.chunks(9) {
        let each = |action: Action| -> Vec<Update> {
            let updates = group.iter().map(|id| Update::new(*id, action.clone()));
            updates.collect()
        };
        store.update_jobs(each(start("ada"))).await?;
        store.update_jobs(each(finish("done"))).await?;
        let request = DeleteRequest::Ids(group.iter().copied().step_by(3).collect());
        deleted.extend(store.delete_jobs(&request).await?);
        if let Some(changes) = changes.take() {
            let _ = changes.send(());
        }
        if stop.load(Ordering::SeqCst) {
            break;
        }
        tokio::task::yield_now().await;
    }
    Ok(deleted)
}

pub(crate) async fn random_filters_find_what_they_mean(cx: &Cx) -> CaseResult {
    let mut random = cx.random();
    let names = ["a", "A", "b"];
    let params = ["{}", r#"{"n":1}"#, r#"{"n":1.0,"s":"x"}"#, r#"{"n":2}"#];
    let mut jobs = Vec::new();
    for _ in 0..4 {
        let new = |_| {
            let params = params[random.random_range(0..params.len())];
            NewJob::new(names[random.random_range(0..names.len())], params)
        };
        let created = cx.create_all((0..10).map(new).collect::<Vec<_>>()).await?;
        let status = |_| JobStatus::ALL[random.random_range(0..JobStatus::ALL.len())];
        let statuses: Vec<_> = created.iter().map(status).collect();
        jobs.extend(cx.bring(&created, &statuses).await?);
        cx.tick();
    }
    for _ in 0..60 {
        let mut filter = JobFilter::default();
        for name in names {
            if random.random_bool(0.4) {
                filter = filter.with_job_name(name);
            }
        }
        let chosen = JobStatus::ALL
            .into_iter()
            .filter(|_| random.random_bool(0.3));
        filter.statuses = chosen.collect();
        if random.random_bool(0.5) {
            filter = filter.with_params(params[random.random_range(0..params.len())]);
        }
        if random.random_bool(0.4) {
            filter.created_from = Some(cx.at(-random.random_range(0..6)));
        }
        if random.random_bool(0.4) {
            filter.created_to = Some(cx.at(-random.random_range(0..6)));
        }
        let meant: Vec<_> = {
            let matcher = filter.compile()?;
            jobs.iter()
                .filter(|job| matcher.matches(job))
                .cloned()
                .collect()
        };
        let found = cx.walk(&filter, random.random_range(1..20), Order::Ascending);
        same_all(&found.await?, &meant).map_err(|failure| failure.when(format!("{filter:?}")))?;
        let total = cx.count(&filter).await?.total();
        check_eq!(total, meant.len() as u64, "counted under {filter:?}");
    }
    Ok(())
}

pub(crate) async fn a_walk_goes_on_after_a_deleted_job_past_those_left(cx: &Cx) -> CaseResult {
    for order in BOTH {
        let mut jobs = some(cx).await?;
        if order == Order::Descending {
            jobs.reverse();
        }
        for job in &jobs {
            cx.update(job.id, Action::Cancel).await?;
        }
        let filter = any();
        let mut pages = cx.pages(&filter, 3, order);
        let mut seen = Vec::new();
        while let Some(page) = pages.next().await? {
            seen.extend(ids(&page));
            // Only the job that the token is about, so that those before it could come again.
            let last = page.last().map(|job| job.id);
            let request = DeleteRequest::Ids(last.into_iter().collect());
            cx.store().delete_jobs(&request).await?;
        }
        check_eq!(seen, ids(&jobs), "{order:?}");
        cx.store().delete_jobs(&DeleteRequest::Ids(seen)).await?;
    }
    Ok(())
}

pub(crate) async fn a_thousand_names_are_all_looked_for(cx: &Cx) -> CaseResult {
    let new = |n: usize| NewJob::new(format!("n{n}"), "{}");
    let jobs = cx
        .create_all([0, 99, 100, 255, 256, 499, 500, 998, 999, 1_000].map(new))
        .await?;
    let (unnamed, named) = (&jobs[9], &jobs[..9]);
    let filter = JobFilter {
        job_names: (0..validate::MAX_ITEMS).map(|n| format!("n{n}")).collect(),
        ..any()
    };
    same_all(&cx.walk(&filter, 2, Order::Ascending).await?, named)?;
    check_eq!(
        cx.count(&filter).await?.total(),
        9,
        "all but {}",
        unnamed.id
    );
    Ok(())
}
