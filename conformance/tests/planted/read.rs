//! What listing and counting do, and what the defects make of them.

use jobstore_core::{
    Error, Job, JobFilter, JobId, JobStatus, Order, PageRequest, PageToken, PagedList, Result,
    StatusCounts,
};
use serde_json::Value;

use crate::defect::Defect;
use crate::store::Disk;

/// A name as a collation that knows neither case nor accents sees it.
pub(crate) fn folded(name: &str) -> String {
    name.to_lowercase().replace('é', "e").trim_end().to_owned()
}

impl Disk {
    pub(crate) fn list(&self, filter: &JobFilter, page: &PageRequest) -> Result<PagedList<Job>> {
        let matcher = filter.compile()?;
        let size = page.size as usize;
        if self.has(Defect::PagesGoByOffset) {
            return self.page_by_offset(filter, page);
        }
        let start = match self.defect {
            Defect::TokensAreGoodForAnyFilter
            | Defect::TokensAreGoodForAnyOrder
            | Defect::TokensForgetTheParams => self.start_of_any(filter, page)?,
            Defect::TokensHaveAnotherAlphabet => {
                let text = page.token.as_ref();
                let text = text.map(|token| token.as_str().replace('+', "-").replace('/', "_"));
                let page = page.clone().with_token(text.map(PageToken::new));
                page.start(&matcher)?
            }
            _ => page.start(&matcher)?,
        };
        let start = start.filter(|_| !self.has(Defect::TokensAreIgnored));
        let start = start.filter(|(_, id)| {
            !self.has(Defect::AWalkBeginsAnewWhereItsJobIsGone) || self.jobs.contains_key(id)
        });
        let order = match self.defect {
            Defect::DescendingIsIgnored => Order::Ascending,
            _ => page.order,
        };
        let after = |job: &&Job| {
            let Some(start) = start else { return true };
            let place = job.list_order();
            match (self.defect, order) {
                (Defect::PagesSkipTheRestOfAMillisecond, Order::Ascending) => place.0 > start.0,
                (Defect::PagesSkipTheRestOfAMillisecond, Order::Descending) => place.0 < start.0,
                (Defect::PagesBeginWithTheLastJob, Order::Ascending) => place >= start,
                (Defect::PagesBeginWithTheLastJob, Order::Descending) => place <= start,
                (_, Order::Ascending) => place > start,
                (_, Order::Descending) => place < start,
            }
        };
        let mut jobs: Vec<&Job> = match self.defect {
            // The page is cut before the filter looks at it.
            Defect::ParamsAreFilteredAfterPaging => self.jobs.values().filter(after).collect(),
            _ => self
                .matching(filter)?
                .into_iter()
                .filter(|job| after(job))
                .collect(),
        };
        match (self.defect, order) {
            (Defect::TiesAreListedAnyhow, _) => {
                jobs.sort_by_key(|job| (job.creation_time, std::cmp::Reverse(job.id)));
            }
            (Defect::ListingsGoByUpdateTime, _) => {
                jobs.sort_by_key(|job| (job.last_update_time, job.id));
            }
            (Defect::DescendingTiesAscend, Order::Descending) => {
                jobs.sort_by_key(|job| (std::cmp::Reverse(job.creation_time), job.id));
                jobs.reverse();
            }
            _ => jobs.sort_by_key(|job| job.list_order()),
        }
        if order == Order::Descending {
            jobs.reverse();
        }
        let more = jobs.len() > size;
        jobs.truncate(size);
        let full = jobs.len() == size;
        let last = jobs.last().copied();
        if self.has(Defect::ParamsAreFilteredAfterPaging) {
            jobs.retain(|job| matcher.matches(job));
        }
        let token = match self.defect {
            Defect::TokensEndBeforeTheLastPage => more && jobs.len() > 1,
            Defect::TheLastPageHasAToken => last.is_some(),
            _ => full,
        };
        let token = last.filter(|_| token).map(|job| match self.defect {
            Defect::TokensAreGoodForAnyFilter => {
                page.token_after(job, &JobFilter::default().compile().expect("is valid"))
            }
            Defect::TokensAreGoodForAnyOrder => {
                let page = page.clone().with_order(Order::Ascending);
                page.token_after(job, &matcher)
            }
            Defect::TokensForgetTheParams => {
                let without = without_params(filter);
                page.token_after(job, &without.compile().expect("is valid"))
            }
            Defect::TokensHaveAnotherAlphabet => {
                let token = page.token_after(job, &matcher);
                PageToken::new(token.as_str().replace('-', "+").replace('_', "/"))
            }
            _ => page.token_after(job, &matcher),
        });
        // A walk would never end.
        let token = token.filter(|_| !(self.has(Defect::TokensAreIgnored) && page.token.is_some()));
        Ok(PagedList {
            items: jobs.into_iter().cloned().collect(),
            token,
            unreadable: Vec::new(),
        })
    }

    /// Where a page starts for a token that was made for no filter or order.
    fn start_of_any(
        &self,
        filter: &JobFilter,
        page: &PageRequest,
    ) -> Result<Option<(jobstore_core::Timestamp, JobId)>> {
        if self.has(Defect::TokensAreGoodForAnyOrder) {
            let page = page.clone().with_order(Order::Ascending);
            return page.start(&filter.compile()?);
        }
        if self.has(Defect::TokensForgetTheParams) {
            return page.start(&without_params(filter).compile()?);
        }
        page.start(&JobFilter::default().compile()?)
    }

    fn page_by_offset(&self, filter: &JobFilter, page: &PageRequest) -> Result<PagedList<Job>> {
        // Checks the size.
        page.clone().with_token(None).start(&filter.compile()?)?;
        let offset = page
            .token
            .as_ref()
            .map_or(Ok(0), |token| token.as_str().parse());
        let offset: usize = offset.map_err(|_| Error::InvalidPageToken)?;
        let mut jobs = self.matching(filter)?;
        jobs.sort_by_key(|job| job.list_order());
        if page.order == Order::Descending {
            jobs.reverse();
        }
        let size = page.size as usize;
        let items: Vec<Job> = jobs.into_iter().skip(offset).take(size).cloned().collect();
        let full = items.len() == size;
        let token = full.then(|| PageToken::new((offset + size).to_string()));
        Ok(PagedList {
            items,
            token,
            unreadable: Vec::new(),
        })
    }

    /// The jobs that meet the filter.
    fn matching(&self, filter: &JobFilter) -> Result<Vec<&Job>> {
        let mut filter = filter.clone();
        match self.defect {
            Defect::NoStatusMeansPending if filter.statuses.is_empty() => {
                filter.statuses = vec![JobStatus::Pending];
            }
            Defect::NoIdsListAll => filter.ids = filter.ids.filter(|ids| !ids.is_empty()),
            Defect::ManyNamesAreCut => filter.job_names.truncate(500),
            Defect::ListingsCutManyNames => filter.job_names.truncate(100),
            Defect::OnlyTheFirstStatusCounts => filter.statuses.truncate(1),
            Defect::TheEndOfTheRangeIsExcluded => {
                let before = |at: jobstore_core::Timestamp| {
                    jobstore_core::Timestamp::from_millis(at.as_millis().saturating_sub(1))
                };
                filter.created_to = filter.created_to.map(before);
            }
            Defect::ExpiredMeansBeforeTheInstant => {
                let before = |at: jobstore_core::Timestamp| {
                    jobstore_core::Timestamp::from_millis(at.as_millis().saturating_sub(1))
                };
                filter.lease_expired_by = filter.lease_expired_by.map(before);
            }
            _ => {}
        }
        let params = filter.params.clone();
        let by_params = self.by_params();
        if by_params.is_some() {
            filter.params = None;
        }
        let matcher = filter.compile()?;
        let matches = |job: &&Job| {
            let met = match self.defect {
                Defect::CreationMeansUpdate => matcher.matches(&Job {
                    creation_time: job.last_update_time,
                    ..(*job).clone()
                }),
                Defect::NamesAreComparedByCollation if !filter.job_names.is_empty() => {
                    let named = |name: &&String| folded(name) == folded(&job.job_name);
                    let found = filter.job_names.iter().find(named);
                    found.is_some_and(|name| {
                        matcher.matches(&Job {
                            job_name: name.clone(),
                            ..(*job).clone()
                        })
                    })
                }
                _ => matcher.matches(job),
            };
            let params_met = match (by_params, &params) {
                (Some(met), Some(wanted)) => met(wanted.as_str(), job.params.as_str()),
                _ => true,
            };
            met && params_met
        };
        Ok(self.jobs.values().filter(matches).collect())
    }

    /// How a defect compares params.
    fn by_params(&self) -> Option<fn(&str, &str) -> bool> {
        match self.defect {
            Defect::NumbersAreFloats => Some(|wanted, params| every_member(wanted, params, floats)),
            Defect::TrueIsOne => Some(|wanted, params| {
                let number = |value: &Value| {
                    value
                        .as_bool()
                        .map_or(value.clone(), |b| i32::from(b).into())
                };
                every_member(wanted, params, |a, b| floats(&number(a), &number(b)))
            }),
            Defect::NestedObjectsMayHaveMore => {
                Some(|wanted, params| every_member(wanted, params, contains))
            }
            Defect::NullMeansAbsent => Some(|wanted, params| {
                let (Some(wanted), Some(params)) = (object(wanted), object(params)) else {
                    return false;
                };
                let met = |(key, value): (&String, &Value)| {
                    let found = params.get(key).unwrap_or(&Value::Null);
                    floats(found, value)
                };
                wanted.iter().all(met)
            }),
            Defect::OneParamIsEnough => Some(|wanted, params| {
                let (Some(wanted), Some(params)) = (object(wanted), object(params)) else {
                    return false;
                };
                let met = |(key, value): (&String, &Value)| {
                    params.get(key).is_some_and(|found| floats(found, value))
                };
                wanted.is_empty() || wanted.iter().any(met)
            }),
            Defect::KeysAreComparedAsWritten => Some(|wanted, params| {
                let key = wanted.split('"').nth(1).unwrap_or_default();
                params.contains(key) && every_member(wanted, params, floats)
            }),
            _ => None,
        }
    }

    pub(crate) fn count(&mut self, filter: &JobFilter) -> Result<StatusCounts> {
        let mut counted = filter.clone();
        if self.has(Defect::CountsIgnoreParams) {
            counted.params = None;
        }
        if let Some((last, counts)) = &self.last_counts
            && self.has(Defect::CountsAreRemembered)
            && last == filter
        {
            return Ok(*counts);
        }
        let mut counts = StatusCounts::default();
        for job in self.matching(&counted)? {
            let ids = filter.ids.iter().flatten();
            let times = match self.defect {
                Defect::IdsGivenTwiceCountTwice if filter.ids.is_some() => {
                    ids.filter(|id| **id == job.id).count()
                }
                _ => 1,
            };
            counts.add(job.status, times as u64);
        }
        self.last_counts = Some((filter.clone(), counts));
        Ok(counts)
    }
}

fn without_params(filter: &JobFilter) -> JobFilter {
    JobFilter {
        params: None,
        ..filter.clone()
    }
}

fn object(text: &str) -> Option<serde_json::Map<String, Value>> {
    serde_json::from_str(text).ok()
}

fn every_member(wanted: &str, params: &str, equal: impl Fn(&Value, &Value) -> bool) -> bool {
    let (Some(wanted), Some(params)) = (object(wanted), object(params)) else {
        return false;
    };
    let met =
        |(key, value): (&String, &Value)| params.get(key).is_some_and(|found| equal(found, value));
    wanted.iter().all(met)
}

/// Equal when numbers are taken for floats.
fn floats(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| floats(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let found = |(key, a): (&String, &Value)| b.get(key).is_some_and(|b| floats(a, b));
            a.len() == b.len() && a.iter().all(found)
        }
        _ => a == b,
    }
}

/// Whether what was found has all that is wanted, at every level.
fn contains(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, wanted)| found.get(key).is_some_and(|found| contains(found, wanted))),
        _ => floats(found, wanted),
    }
}
