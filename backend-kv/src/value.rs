//! A job as a value.
//!
//! The id and the creation time stand in the key. A value is a version byte and then fields: a tag byte, the length of what follows as a varint,
//! and that many bytes. A reader passes over tags it does not know, and what it passed over stays
//! when it writes the job again; so a later version may add fields. Absent fields have their
//! defaults. A later version that changes the meaning of a field changes the version byte.
//!
//! Texts past [`MAX_INLINE`] bytes stand apart, in pieces with keys of their own. So an update does
//! not write megabytes of params again, and no value is long, which engines like.

use std::borrow::Cow;
use std::time::Duration;

use jobstore_core::{Error, Job, JobId, JobParams, JobStatus, Result, Timestamp};

use crate::key::Place;

const VERSION: u8 = 1;

/// The most bytes of one text inside the value.
pub(crate) const MAX_INLINE: usize = 512;
/// The most bytes of a piece of a longer text: with its key, a page of 4 KiB.
pub(crate) const PIECE: usize = 3900;

/// A job as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) job: Job,
    /// Whether a pending job was moved to the indexes of due jobs.
    pub(crate) due: bool,
    /// Fields of a later version, as they were found.
    pub(crate) unknown: Vec<u8>,
}

/// The texts that may be long, by the tag of their field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    Params = 2,
    Result = 3,
    LastError = 4,
}

impl Text {
    pub(crate) const ALL: [Self; 3] = [Self::Params, Self::Result, Self::LastError];

    /// The text of a job, when it stands apart.
    pub(crate) fn apart(self, job: &Job) -> Option<&str> {
        let text = match self {
            Self::Params => Some(job.params.as_str()),
            Self::Result => job.result.as_deref(),
            Self::LastError => job.last_error.as_deref(),
        };
        text.filter(|text| text.len() > MAX_INLINE)
    }
}

/// Added to the tag of a text that stands apart; its field holds the length.
const APART: u8 = 64;

mod tag {
    pub(super) const NAME: u8 = 1;
    pub(super) const PARAMS: u8 = super::Text::Params as u8;
    pub(super) const RESULT: u8 = super::Text::Result as u8;
    pub(super) const LAST_ERROR: u8 = super::Text::LastError as u8;
    pub(super) const STATUS: u8 = 5;
    pub(super) const TIMEOUT: u8 = 6;
    pub(super) const RETRY_COUNT: u8 = 7;
    pub(super) const LAST_UPDATE_TIME: u8 = 8;
    pub(super) const PRIORITY: u8 = 9;
    pub(super) const NEXT_ATTEMPT_AT: u8 = 10;
    pub(super) const MAX_RETRIES: u8 = 11;
    pub(super) const UNIQUE_KEY: u8 = 12;
    pub(super) const LEASE_OWNER: u8 = 13;
    pub(super) const LEASE_EXPIRES_AT: u8 = 14;
    pub(super) const FENCE: u8 = 15;
    pub(super) const DUE: u8 = 16;
    /// How many there are, and none.
    pub(super) const COUNT: usize = 17;
}

/// Writes the value of a job, without the texts that stand apart.
pub(crate) fn encode(record: &Record) -> Vec<u8> {
    let Record { job, due, unknown } = record;
    let mut value = Writer(Vec::with_capacity(192));
    value.0.push(VERSION);
    value.bytes(tag::NAME, job.job_name.as_bytes());
    value.text(tag::PARAMS, Some(job.params.as_str()));
    value.text(tag::RESULT, job.result.as_deref());
    value.text(tag::LAST_ERROR, job.last_error.as_deref());
    value.signed(tag::STATUS, i64::from(job.status.as_i32()));
    if let Some(timeout) = job.timeout {
        value.bytes(tag::TIMEOUT, &timeout.as_secs_f64().to_bits().to_be_bytes());
    }
    value.unsigned(tag::RETRY_COUNT, u64::from(job.retry_count));
    value.signed(tag::LAST_UPDATE_TIME, job.last_update_time.as_millis());
    value.signed(tag::PRIORITY, i64::from(job.priority));
    value.signed(tag::NEXT_ATTEMPT_AT, job.next_attempt_at.as_millis());
    if let Some(max_retries) = job.max_retries {
        value.unsigned(tag::MAX_RETRIES, u64::from(max_retries));
    }
    if let Some(key) = &job.unique_key {
        value.bytes(tag::UNIQUE_KEY, key.as_bytes());
    }
    if let Some(owner) = &job.lease_owner {
        value.bytes(tag::LEASE_OWNER, owner.as_bytes());
    }
    if let Some(at) = job.lease_expires_at {
        value.signed(tag::LEASE_EXPIRES_AT, at.as_millis());
    }
    value.unsigned(tag::FENCE, job.fence);
    value.unsigned(tag::DUE, u64::from(*due));
    value.0.extend_from_slice(unknown);
    value.0
}

struct Writer(Vec<u8>);

impl Writer {
    fn bytes(&mut self, tag: u8, bytes: &[u8]) {
        self.0.push(tag);
        push_varint(&mut self.0, bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, tag: u8, text: Option<&str>) {
        match text {
            None => {}
            Some(text) if text.len() <= MAX_INLINE => self.bytes(tag, text.as_bytes()),
            Some(text) => self.unsigned(tag + APART, text.len() as u64),
        }
    }

    fn unsigned(&mut self, tag: u8, number: u64) {
        let len = number.max(1).ilog2() / 7 + 1;
        self.0.push(tag);
        push_varint(&mut self.0, u64::from(len));
        push_varint(&mut self.0, number);
    }

    /// Small numbers of either sign become few bytes.
    fn signed(&mut self, tag: u8, number: i64) {
        self.unsigned(tag, ((number << 1) ^ (number >> 63)).cast_unsigned());
    }
}

/// Writes a varint at the end.
pub(crate) fn push_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

/// Takes a varint from the front.
#[inline]
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    // Lengths and most numbers are one byte.
    if let Some((&byte, rest)) = bytes.split_first()
        && byte < 0x80
    {
        *bytes = rest;
        return Some(u64::from(byte));
    }
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let low = u64::from(byte & 0x7f);
        if low << shift >> shift != low {
            return None;
        }
        number |= low << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// Takes a tag and the bytes of its field from the front.
#[inline]
fn take_field<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&tag, rest) = bytes.split_first()?;
    *bytes = rest;
    let len = usize::try_from(take_varint(bytes)?).ok()?;
    let (field, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some((tag, field))
}

/// Reads the value of the job at a place; `apart` fetches a text that stands apart and is this long.
///
/// # Errors
///
/// [`Error::Unreadable`] naming the field that is wrong, and what `apart` returns.
pub(crate) fn decode(
    (creation_time, id): Place,
    value: &[u8],
    mut apart: impl FnMut(Text, usize) -> Result<Vec<u8>>,
) -> Result<Record> {
    let unreadable = |reason: &str| unreadable(id, reason);
    let (&version, mut rest) = value
        .split_first()
        .ok_or_else(|| unreadable("its value is empty"))?;
    if version != VERSION {
        return Err(unreadable(&format!("its encoding {version} is unknown")));
    }
    let mut fields: [Option<&[u8]>; tag::COUNT] = [None; tag::COUNT];
    let mut lengths: [Option<u64>; 3] = [None; 3];
    let mut unknown = Vec::new();
    while !rest.is_empty() {
        let whole = rest;
        let (tag, field) = take_field(&mut rest).ok_or_else(|| unreadable("its value is cut"))?;
        if let Some(known) = fields.get_mut(usize::from(tag)).filter(|_| tag > 0) {
            *known = Some(field);
        } else if let Some(text) = Text::ALL.iter().position(|text| *text as u8 + APART == tag) {
            let length = number(field).ok_or_else(|| unreadable("a text's length is wrong"))?;
            lengths[text] = Some(length);
        } else {
            unknown.extend_from_slice(&whole[..whole.len() - rest.len()]);
        }
    }
    let mut reader = Reader { id, fields };
    // Not copied yet: params are kept in another form than the other texts.
    let mut text = |index: usize| -> Result<Option<Cow<'_, str>>> {
        let text = Text::ALL[index];
        let inline = reader.str(text as u8, "a text")?;
        let Some(length) = lengths[index] else {
            return Ok(inline.map(Cow::Borrowed));
        };
        // Longer than any that is stored, so not worth looking for.
        let length = usize::try_from(length).ok().filter(|n| *n < 1 << 30);
        let length = length.ok_or_else(|| unreadable("a text's length is wrong"))?;
        let text = String::from_utf8(apart(text, length)?);
        let text = text.map_err(|_| unreadable("a text is not UTF-8"))?;
        Ok(Some(Cow::Owned(text)))
    };
    let params = text(0)?.ok_or_else(|| unreadable("params are missing"))?;
    let params = JobParams::new(params);
    let result = text(1)?.map(Cow::into_owned);
    let last_error = text(2)?.map(Cow::into_owned);
    let status = i32::try_from(reader.signed(tag::STATUS, "status")?.unwrap_or(-1)).unwrap_or(-1);
    let job = Job {
        id,
        job_name: reader
            .text(tag::NAME, "job_name")?
            .ok_or_else(|| unreadable("job_name is missing"))?,
        params,
        timeout: reader.timeout()?,
        status: JobStatus::from_i32(status)
            .ok_or_else(|| unreadable(&format!("status {status} is unknown")))?,
        result,
        retry_count: reader
            .unsigned(tag::RETRY_COUNT, "retry_count")?
            .unwrap_or(0),
        creation_time,
        last_update_time: reader.time(tag::LAST_UPDATE_TIME, "last_update_time")?,
        priority: reader
            .signed(tag::PRIORITY, "priority")?
            .unwrap_or(0)
            .try_into()
            .map_err(|_| unreadable("priority is out of range"))?,
        next_attempt_at: reader.time(tag::NEXT_ATTEMPT_AT, "next_attempt_at")?,
        max_retries: reader.unsigned(tag::MAX_RETRIES, "max_retries")?,
        unique_key: reader.text(tag::UNIQUE_KEY, "unique_key")?,
        lease_owner: reader.text(tag::LEASE_OWNER, "lease_owner")?,
        lease_expires_at: reader
            .signed(tag::LEASE_EXPIRES_AT, "lease_expires_at")?
            .map(Timestamp::from_millis),
        fence: reader.unsigned(tag::FENCE, "fence")?.unwrap_or(0),
        last_error,
    };
    let due = reader.unsigned(tag::DUE, "due")?.unwrap_or(0_u64) != 0;
    Ok(Record { job, due, unknown })
}

/// An [`Error::Unreadable`].
pub(crate) fn unreadable(id: JobId, reason: &str) -> Error {
    Error::Unreadable {
        id: id.to_string(),
        reason: reason.to_owned(),
    }
}

fn number(mut field: &[u8]) -> Option<u64> {
    take_varint(&mut field).filter(|_| field.is_empty())
}

struct Reader<'a> {
    id: JobId,
    fields: [Option<&'a [u8]>; tag::COUNT],
}

impl<'a> Reader<'a> {
    fn field(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.fields[usize::from(tag)].take()
    }

    fn str(&mut self, tag: u8, name: &str) -> Result<Option<&'a str>> {
        let text = self.field(tag).map(str::from_utf8);
        text.transpose()
            .map_err(|_| unreadable(self.id, &format!("{name} is not UTF-8")))
    }

    fn text(&mut self, tag: u8, name: &str) -> Result<Option<String>> {
        Ok(self.str(tag, name)?.map(str::to_owned))
    }

    fn unsigned<N: TryFrom<u64>>(&mut self, tag: u8, name: &str) -> Result<Option<N>> {
        let Some(field) = self.field(tag) else {
            return Ok(None);
        };
        let number = number(field).and_then(|number| N::try_from(number).ok());
        let wrong = || unreadable(self.id, &format!("{name} is out of range"));
        number.ok_or_else(wrong).map(Some)
    }

    fn signed(&mut self, tag: u8, name: &str) -> Result<Option<i64>> {
        let number: Option<u64> = self.unsigned(tag, name)?;
        Ok(number.map(|number| (number >> 1).cast_signed() ^ -(number & 1).cast_signed()))
    }

    fn time(&mut self, tag: u8, name: &str) -> Result<Timestamp> {
        let millis = self.signed(tag, name)?;
        let missing = || unreadable(self.id, &format!("{name} is missing"));
        millis.map(Timestamp::from_millis).ok_or_else(missing)
    }

    fn timeout(&mut self) -> Result<Option<Duration>> {
        let Some(field) = self.field(tag::TIMEOUT) else {
            return Ok(None);
        };
        let bits = field.try_into().map(u64::from_be_bytes).ok();
        let secs = bits.map(f64::from_bits).filter(|secs| *secs >= 0.0);
        let secs = secs.ok_or_else(|| unreadable(self.id, "timeout is out of range"))?;
        Ok(Some(
            Duration::try_from_secs_f64(secs).unwrap_or(Duration::MAX),
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use jobstore_core::NewJob;
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn texts()(text in any::<String>(), times in 0..40_usize) -> String {
            text.repeat(times)
        }
    }

    prop_compose! {
        fn records()(
            (name, params, unique_key, lease_owner) in
                (any::<String>(), texts(), any::<Option<String>>(), any::<Option<String>>()),
            (result, last_error) in
                (proptest::option::of(texts()), proptest::option::of(texts())),
            (created, updated, next, expires) in
                (any::<i64>(), any::<i64>(), any::<i64>(), any::<Option<i64>>()),
            (status, secs, due) in (0..6, proptest::option::of(0.0..1e12_f64), any::<bool>()),
            (retry_count, priority, max_retries, fence, id) in
                (any::<u32>(), any::<i16>(), any::<Option<u32>>(), any::<u64>(), any::<u128>()),
        ) -> Record {
            let job = NewJob::new(name, params).into_job(Timestamp::from_millis(created));
            // Through the stored form and back, as core does at creation.
            let timeout = secs.map(|secs| Duration::from_secs_f64(secs).as_secs_f64());
            let job = Job {
                id: JobId::from_uuid(uuid::Uuid::from_u128(id)),
                timeout: timeout.map(Duration::from_secs_f64),
                status: JobStatus::from_i32(status).expect("is one"),
                last_update_time: Timestamp::from_millis(updated),
                next_attempt_at: Timestamp::from_millis(next),
                lease_expires_at: expires.map(Timestamp::from_millis),
                result, last_error, retry_count, priority, max_retries, unique_key, lease_owner,
                fence,
                ..job
            };
            Record { job, due, unknown: Vec::new() }
        }
    }

    fn read(record: &Record, value: &[u8]) -> Result<Record> {
        let job = &record.job;
        let texts: HashMap<u8, &str> = Text::ALL
            .into_iter()
            .filter_map(|text| Some((text as u8, text.apart(job)?)))
            .collect();
        decode(job.list_order(), value, |text, length| {
            let text = texts.get(&(text as u8)).copied().unwrap_or_default();
            assert_eq!(text.len(), length);
            Ok(text.as_bytes().to_vec())
        })
    }

    proptest! {
        #[test]
        fn a_job_survives_its_value(record in records()) {
            let value = encode(&record);
            prop_assert!(value.len() < 4 * MAX_INLINE + 5000);
            prop_assert_eq!(read(&record, &value).expect("reads"), record);
        }

        #[test]
        fn fields_of_a_later_version_stay(record in records(), field in any::<Vec<u8>>()) {
            let mut later = Writer(encode(&record));
            later.bytes(200, &field);
            later.bytes(99, b"");
            let found = read(&record, &later.0).expect("reads");
            prop_assert_eq!(&found.job, &record.job);
            prop_assert_eq!(encode(&found), later.0);
        }

        #[test]
        fn bytes_that_are_no_job_are_unreadable(bytes in any::<Vec<u8>>()) {
            let place = (Timestamp::default(), JobId::generate());
            for value in [bytes.clone(), [&[VERSION], &*bytes].concat()] {
                let found = decode(place, &value, |_, length| Ok(vec![b'x'; length.min(9)]));
                if let Err(error) = found {
                    let told = matches!(error, Error::Unreadable { .. });
                    prop_assert!(told, "{}", error);
                }
            }
        }

        #[test]
        fn a_damaged_value_never_panics(
            record in records(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let mut value = encode(&record);
            let place = record.job.list_order();
            let at = at.index(value.len());
            value[at] = byte;
            let _ = decode(place, &value, |_, _| Ok(Vec::new()));
            let cut = decode(place, &value[..at], |_, _| Ok(Vec::new()));
            let told = cut.is_ok() || matches!(cut, Err(Error::Unreadable { .. }));
            prop_assert!(told);
        }
    }

    #[test]
    fn another_encoding_and_another_status_are_unreadable() {
        let job = NewJob::new("a", "{}").into_job(Timestamp::default());
        let record = Record {
            job,
            due: false,
            unknown: Vec::new(),
        };
        let mut value = encode(&record);
        value[0] = 2;
        let error = read(&record, &value).expect_err("is unknown");
        assert!(
            error.to_string().contains("encoding 2 is unknown"),
            "{error}"
        );
        let mut value = Writer(encode(&record));
        value.signed(tag::STATUS, 9);
        let error = read(&record, &value.0).expect_err("is unknown");
        assert!(error.to_string().contains("status 9 is unknown"), "{error}");
    }
}
