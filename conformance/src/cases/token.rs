//! Page tokens.

use jobstore_core::{Error, JobFilter, JobStatus, NewJob, Order, PageRequest, PageToken};
use proptest::prelude::RngExt as _;

use crate::Cx;
use crate::failure::{CaseResult, Failure, check, check_eq, check_err, same_all};

/// Creates five jobs and returns the token after the first two of this listing.
async fn token(cx: &Cx, filter: &JobFilter, order: Order) -> CaseResult<PageToken> {
    cx.create_all(vec![NewJob::new("a", r#"{"n":1}"#); 5])
        .await?;
    let page = PageRequest::default().with_size(2).with_order(order);
    let list = cx.store().list_jobs(filter, &page).await?;
    list.token
        .ok_or_else(|| Failure::new("a token after 2 of 5 jobs", "none"))
}

async fn refused(cx: &Cx, filter: &JobFilter, order: Order, token: &str) -> CaseResult {
    let page = PageRequest::default()
        .with_order(order)
        .with_token(Some(PageToken::new(token)));
    let listed = cx.store().list_jobs(filter, &page).await;
    check_err!(listed, Error::InvalidPageToken);
    Ok(())
}

pub(crate) async fn every_damaged_character_is_noticed(cx: &Cx) -> CaseResult {
    let any = JobFilter::default();
    let good = token(cx, &any, Order::Ascending).await?;
    for (index, byte) in good.as_str().bytes().enumerate() {
        let mut damaged = good.as_str().as_bytes().to_vec();
        damaged[index] = if byte == b'A' { b'B' } else { b'A' };
        let damaged = String::from_utf8_lossy(&damaged);
        let checked = refused(cx, &any, Order::Ascending, &damaged).await;
        checked.map_err(|failure| failure.when(format!("character {index}")))?;
    }
    Ok(())
}

pub(crate) async fn a_token_cut_or_lengthened_is_refused(cx: &Cx) -> CaseResult {
    let any = JobFilter::default();
    let good = token(cx, &any, Order::Ascending).await?;
    let good = good.as_str();
    for end in 0..good.len() {
        refused(cx, &any, Order::Ascending, &good[..end]).await?;
    }
    for longer in [format!("{good}A"), format!("{good}="), format!(" {good}")] {
        refused(cx, &any, Order::Ascending, &longer).await?;
    }
    Ok(())
}

pub(crate) async fn garbage_is_refused(cx: &Cx) -> CaseResult {
    let any = JobFilter::default();
    token(cx, &any, Order::Ascending).await?;
    for garbage in ["", "0", "é😀", "' OR 1=1 --", "../../etc", "a\0b", "null"] {
        refused(cx, &any, Order::Ascending, garbage).await?;
    }
    refused(cx, &any, Order::Ascending, &"A".repeat(1 << 20)).await
}

pub(crate) async fn a_token_is_bound_to_its_order(cx: &Cx) -> CaseResult {
    let any = JobFilter::default();
    let ascending = token(cx, &any, Order::Ascending).await?;
    refused(cx, &any, Order::Descending, ascending.as_str()).await?;
    let descending = token(cx, &any, Order::Descending).await?;
    refused(cx, &any, Order::Ascending, descending.as_str()).await
}

pub(crate) async fn a_token_is_bound_to_its_filter(cx: &Cx) -> CaseResult {
    let any = JobFilter::default;
    let good = token(cx, &any(), Order::Ascending).await?;
    let ids = cx.list(&any()).await?;
    let others = [
        any().with_job_name("a"),
        any().with_statuses([JobStatus::Pending]),
        any().with_params(r#"{"n":1}"#),
        any().with_ids(ids.iter().map(|job| job.id).collect::<Vec<_>>()),
        JobFilter {
            created_from: Some(cx.now()),
            ..any()
        },
        JobFilter {
            created_to: Some(cx.now()),
            ..any()
        },
        JobFilter {
            lease_expired_by: Some(cx.now()),
            ..any()
        },
    ];
    for other in others {
        let checked = refused(cx, &other, Order::Ascending, good.as_str()).await;
        checked.map_err(|failure| failure.when(format!("{other:?}")))?;
    }
    Ok(())
}

pub(crate) async fn a_filter_of_the_same_meaning_will_do(cx: &Cx) -> CaseResult {
    let filter = JobFilter::default()
        .with_job_name("b")
        .with_job_name("a")
        .with_params(r#"{"n":1.0}"#);
    let good = token(cx, &filter, Order::Ascending).await?;
    let same = JobFilter::default()
        .with_job_name("a")
        .with_job_name("b")
        .with_job_name("a")
        .with_params(r#"{ "n": 1 }"#);
    let page = PageRequest::default().with_token(Some(good));
    check_eq!(cx.store().list_jobs(&same, &page).await?.len(), 3);
    Ok(())
}

pub(crate) async fn the_size_may_change_from_page_to_page(cx: &Cx) -> CaseResult {
    let any = JobFilter::default();
    let good = token(cx, &any, Order::Ascending).await?;
    let all = cx.list(&any).await?;
    for (size, end) in [(1, 3), (2, 4), (900, 5)] {
        let page = PageRequest::default()
            .with_size(size)
            .with_token(Some(good.clone()));
        same_all(&cx.store().list_jobs(&any, &page).await?, &all[2..end])?;
    }
    Ok(())
}

pub(crate) async fn a_token_may_stand_in_a_url(cx: &Cx) -> CaseResult {
    let any = JobFilter::default();
    let token = token(cx, &any, Order::Descending).await?;
    let safe = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    check!(
        !token.as_str().is_empty() && token.as_str().chars().all(safe),
        "a token of unreserved characters, not {:?}",
        token.as_str()
    );
    let read = PageToken::new(token.as_str());
    let page = PageRequest::default()
        .with_order(Order::Descending)
        .with_token(Some(read));
    let left = cx.store().list_jobs(&any, &page).await?;
    check_eq!(
        left.into_iter().count(),
        3,
        "the jobs left, from the token's text"
    );
    Ok(())
}

pub(crate) async fn a_refused_token_does_no_harm(cx: &Cx) -> CaseResult {
    let any = JobFilter::default();
    let good = token(cx, &any, Order::Ascending).await?;
    refused(cx, &any, Order::Ascending, "nonsense").await?;
    let page = PageRequest::default().with_token(Some(good));
    check_eq!(cx.store().list_jobs(&any, &page).await?.len(), 3);
    Ok(())
}

pub(crate) async fn a_token_of_a_filter_on_any_text_leads_on(cx: &Cx) -> CaseResult {
    let names = [
        "\u{10ffff}",
        "a b/c?d=e&f#g",
        "'\"\\%_",
        "\n\t\u{7f}",
        "é😀",
    ];
    for name in names {
        cx.create_all(vec![NewJob::new(name, "{}"); 3]).await?;
    }
    let filter = JobFilter {
        job_names: names.map(str::to_owned).to_vec(),
        ..JobFilter::default()
    };
    check_eq!(cx.walk(&filter, 2, Order::Ascending).await?.len(), 15);
    check_eq!(cx.walk(&filter, 4, Order::Descending).await?.len(), 15);
    Ok(())
}

pub(crate) async fn random_text_is_refused(cx: &Cx) -> CaseResult {
    let any = JobFilter::default();
    let good = token(cx, &any, Order::Ascending).await?;
    let mut random = cx.random();
    for _ in 0..300 {
        let mut bytes = good.as_str().as_bytes().to_vec();
        for _ in 0..random.random_range(1..4) {
            let place = random.random_range(0..bytes.len());
            match random.random_range(0..3) {
                0 => bytes[place] = random.random(),
                1 => bytes.truncate(place.max(1)),
                _ => bytes.insert(place, random.random_range(b' '..b'~')),
            }
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if text != good.as_str() {
            let checked = refused(cx, &any, Order::Ascending, &text).await;
            checked.map_err(|failure| failure.when(format!("token {text:?}")))?;
        }
    }
    Ok(())
}

pub(crate) async fn a_token_is_bound_to_what_each_condition_asks_for(cx: &Cx) -> CaseResult {
    let any = JobFilter::default;
    let created = |from, to| JobFilter {
        created_from: from,
        created_to: to,
        ..any()
    };
    let ids: Vec<_> = (0..2).map(|_| jobstore_core::JobId::generate()).collect();
    for n in [1, 2] {
        let job = NewJob::new("a", format!("{{\"n\":{n}}}"));
        cx.create_all(ids[n - 1..n].iter().map(|id| job.clone().with_id(*id)))
            .await?;
        cx.create(job).await?;
    }
    let last = cx.now();
    for (good, other) in [
        (any().with_job_name("a"), any().with_job_name("b")),
        (
            any().with_statuses([JobStatus::Pending]),
            any().with_statuses([JobStatus::Pending, JobStatus::Running]),
        ),
        (
            any().with_params(r#"{"n":1}"#),
            any().with_params(r#"{"n":2}"#),
        ),
        (
            any().with_params(r#"{"n":1}"#),
            any().with_params(r#"{"n":"1"}"#),
        ),
        (created(None, Some(last)), created(None, Some(cx.at(1)))),
        (created(Some(last), None), created(Some(cx.at(-1)), None)),
        (any().with_ids(&ids[..]), any().with_ids(&ids[..1])),
    ] {
        let page = PageRequest::default().with_size(1);
        let list = cx.store().list_jobs(&good, &page).await?;
        let token = list.token.unwrap_or_else(|| PageToken::new(""));
        let on = page.with_token(Some(token.clone()));
        cx.store().list_jobs(&good, &on).await?;
        let checked = refused(cx, &other, Order::Ascending, token.as_str()).await;
        checked.map_err(|failure| failure.when(format!("{other:?}")))?;
    }
    Ok(())
}
