//! `get`, `list` and `count`.

use jobstore::validate::MAX_ITEMS;
use jobstore::{Error, JobFilter, JobStore, Order, PageRequest, PageToken};

use crate::Result;
use crate::args::{FilterArgs, GetArgs, ListArgs};
use crate::output::{Output, note, report};

/// Shows the jobs that exist before it fails for those that do not.
pub(crate) async fn get(store: &dyn JobStore, args: GetArgs, output: Output) -> Result {
    let mut missing = None;
    let mut first = true;
    for ids in args.ids.chunks(MAX_ITEMS) {
        for (id, job) in ids.iter().zip(store.get_jobs(ids).await?) {
            let Some(job) = job else {
                missing = missing.or(Some(Error::NotFound { id: *id }));
                continue;
            };
            if !first && !output.is_json() {
                output.line("")?;
            }
            first = false;
            output.details(&job, store.now())?;
        }
    }
    missing.map_or(Ok(()), |error| Err(error.into()))
}

pub(crate) async fn list(store: &dyn JobStore, args: ListArgs, output: Output) -> Result {
    let filter = args.filter.into_filter(store.now());
    let order = match args.newest {
        true => Order::Descending,
        false => Order::Ascending,
    };
    let page = PageRequest::default().with_order(order);
    if args.all {
        return list_all(store, filter, page, output).await;
    }
    let pages = args.limit.is_some() || args.page_token.is_some();
    let page = page
        .with_size(args.limit.unwrap_or(100))
        .with_token(args.page_token.map(PageToken::new));
    let jobs = store.list_jobs(&filter, &page).await?;
    if !jobs.is_empty() {
        output.page(&jobs, store.now(), true)?;
    }
    match &jobs.token {
        // A program that reads page by page finds the token where it reads the jobs.
        Some(token) if pages && output.is_json() => {
            output.object(&serde_json::json!({ "page_token": token }))?;
        }
        Some(token) => note(&format!(
            "there may be more: --page-token {}, or --all",
            token.as_str()
        )),
        None => {}
    }
    unreadable(jobs.unreadable)
}

/// Writes page after page as they come.
async fn list_all(
    store: &dyn JobStore,
    filter: JobFilter,
    page: PageRequest,
    output: Output,
) -> Result {
    let mut page = page.with_size(MAX_ITEMS as u32);
    let mut header = true;
    let mut bad = Vec::new();
    loop {
        let jobs = store.list_jobs(&filter, &page).await?;
        if !jobs.is_empty() {
            output.page(&jobs, store.now(), header)?;
            header = false;
        }
        bad.extend(jobs.unreadable);
        match jobs.token {
            Some(token) => page.token = Some(token),
            None => return unreadable(bad),
        }
    }
}

/// Names the rows that are no jobs, after all that are.
fn unreadable(mut rows: Vec<Error>) -> Result {
    let Some(last) = rows.pop() else {
        return Ok(());
    };
    for error in rows {
        report(&error.into());
    }
    Err(last.into())
}

pub(crate) async fn count(store: &dyn JobStore, args: FilterArgs, output: Output) -> Result {
    let filter = args.into_filter(store.now());
    output.counts(&store.count_jobs(&filter).await?)?;
    Ok(())
}
