//! Listing in pages.
//!
//! A page starts after the last job of the page before it, not at an offset, so jobs that come, go
//! or change meanwhile shift nothing, and a page costs the same however deep it lies. The token
//! holds that job's place and a fingerprint of the filter and order it is good for.

use std::hash::Hasher as _;
use std::ops::Deref;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;
use uuid::Uuid;

use crate::filter::Matcher;
use crate::validate;
use crate::{Error, Job, JobId, Result, Timestamp};

const VERSION: u8 = 1;
/// Version, fingerprint, creation time, id, checksum.
const TOKEN_BYTES: usize = 1 + 8 + 8 + 16 + 8;

/// The direction of a listing by creation time, then id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    #[default]
    Ascending,
    /// Newest first.
    Descending,
}

/// Where the next page starts: opaque, URL-safe text that may be kept and used on another node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PageToken(String);

impl PageToken {
    /// Takes a token's text; it is checked when used.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which page to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// The most jobs on the page: 1 to 1,000.
    pub size: u32,
    /// Where to go on, from the page before; none for the first.
    pub token: Option<PageToken>,
    /// The direction.
    pub order: Order,
}

impl Default for PageRequest {
    /// The first 100, oldest first.
    fn default() -> Self {
        Self {
            size: 100,
            token: None,
            order: Order::Ascending,
        }
    }
}

impl PageRequest {
    /// Sets the size.
    #[must_use]
    pub fn with_size(self, size: u32) -> Self {
        Self { size, ..self }
    }

    /// Sets where to go on.
    #[must_use]
    pub fn with_token(self, token: Option<PageToken>) -> Self {
        Self { token, ..self }
    }

    /// Sets the direction.
    #[must_use]
    pub fn with_order(self, order: Order) -> Self {
        Self { order, ..self }
    }

    /// Checks the request; gives the place after which the page starts, or none for the first.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for the size; [`Error::InvalidPageToken`] for a token that is
    /// damaged, of another version, or of another filter or order.
    pub fn start(&self, matcher: &Matcher<'_>) -> Result<Option<(Timestamp, JobId)>> {
        validate::limit("size", self.size)?;
        let Some(token) = &self.token else {
            return Ok(None);
        };
        let mut bytes = [0; TOKEN_BYTES];
        // Decoding into a fixed buffer refuses a megabyte of garbage at once.
        let len = URL_SAFE_NO_PAD.decode_slice(&token.0, &mut bytes);
        if len.ok() != Some(TOKEN_BYTES) {
            return Err(Error::InvalidPageToken);
        }
        let (body, checksum) = bytes.split_at(TOKEN_BYTES - 8);
        let fingerprint = fingerprint(matcher, self.order).to_be_bytes();
        if body[0] != VERSION || body[1..9] != fingerprint || hash(body).to_be_bytes() != *checksum
        {
            return Err(Error::InvalidPageToken);
        }
        let mut millis = [0; 8];
        millis.copy_from_slice(&body[9..17]);
        let mut id = [0; 16];
        id.copy_from_slice(&body[17..33]);
        let time = Timestamp::from_millis(i64::from_be_bytes(millis));
        Ok(Some((time, JobId::from_uuid(Uuid::from_bytes(id)))))
    }

    /// The token for the page after one that ends with `last`.
    pub fn token_after(&self, last: &Job, matcher: &Matcher<'_>) -> PageToken {
        let mut bytes = Vec::with_capacity(TOKEN_BYTES);
        bytes.push(VERSION);
        bytes.extend(fingerprint(matcher, self.order).to_be_bytes());
        bytes.extend(last.creation_time.as_millis().to_be_bytes());
        bytes.extend(last.id.as_uuid().as_bytes());
        bytes.extend(hash(&bytes).to_be_bytes());
        PageToken(URL_SAFE_NO_PAD.encode(bytes))
    }
}

fn fingerprint(matcher: &Matcher<'_>, order: Order) -> u64 {
    hash(format!("{order:?} {}", matcher.canonical()).as_bytes())
}

/// A hash that is the same in every process and on every node.
fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    hasher.finish()
}

/// A page of a listing, used like a list.
#[derive(Clone, Debug)]
pub struct PagedList<T> {
    /// The page's items, in order.
    pub items: Vec<T>,
    /// Where the next page starts; none at the end.
    pub token: Option<PageToken>,
    /// Rows met on the way that cannot be read as a job, each an [`Error::Unreadable`]. They hide
    /// none of the others.
    pub unreadable: Vec<Error>,
}

impl<T> Deref for PagedList<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<T> IntoIterator for PagedList<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a PagedList<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{JobFilter, NewJob};

    fn start(filter: &JobFilter, token: &str, order: Order) -> Result<Option<(Timestamp, JobId)>> {
        let request = PageRequest::default().with_token(Some(PageToken::new(token)));
        request.with_order(order).start(&filter.compile()?)
    }

    fn token(filter: &JobFilter, job: &Job) -> PageToken {
        PageRequest::default().token_after(job, &filter.compile().expect("filter is valid"))
    }

    #[test]
    fn a_token_leads_back_to_its_place() {
        let filter = JobFilter::default().with_job_name("b").with_job_name("a");
        let same = JobFilter::default().with_job_name("a").with_job_name("b");
        let job = NewJob::new("a", "{}").into_job(Timestamp::from_millis(-3));
        let found = start(&same, token(&filter, &job).as_str(), Order::Ascending);
        assert_eq!(found.expect("token is valid"), Some(job.list_order()));
    }

    #[test]
    fn a_token_is_good_for_its_filter_and_order_only() {
        let filter = JobFilter::default();
        let job = NewJob::new("a", "{}").into_job(Timestamp::default());
        let token = token(&filter, &job);
        let other = filter.clone().with_job_name("a");
        assert!(start(&filter, token.as_str(), Order::Descending).is_err());
        assert!(start(&other, token.as_str(), Order::Ascending).is_err());
    }

    #[test]
    fn every_damaged_token_is_refused() {
        let filter = JobFilter::default();
        let job = NewJob::new("a", "{}").into_job(Timestamp::default());
        let good = token(&filter, &job).0;
        for index in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            let damaged = String::from_utf8(bytes).expect("ASCII");
            let refused = start(&filter, &damaged, Order::Ascending);
            assert!(
                matches!(refused, Err(Error::InvalidPageToken)),
                "byte {index}"
            );
            assert!(start(&filter, &good[..index], Order::Ascending).is_err());
        }
        for garbage in [format!("{good}A"), "é".to_owned(), "A".repeat(1 << 20)] {
            assert!(start(&filter, &garbage, Order::Ascending).is_err());
        }
    }
}
