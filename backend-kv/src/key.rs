//! The keys: one ordered map holds the jobs and their indexes, each in a range of its own.
//!
//! The first byte says which range. What follows is encoded so that keys compare as what they
//! stand for:
//!
//! | range | after the first byte | value |
//! | --- | --- | --- |
//! | [`FORMAT`] | | the version of this layout |
//! | [`JOB`] | id | the job |
//! | [`TEXT`] | id, field, number of the piece | a piece of a long text of the job |
//! | [`BY_STATUS`] | status, creation time, id | |
//! | [`BY_NAME`] | name, status, creation time, id | |
//! | [`DUE`] | priority downwards, next attempt, id | |
//! | [`DUE_BY_NAME`] | name, priority downwards, next attempt, id | |
//! | [`WAITING`] | next attempt, id | |
//! | [`ENDED`] | last update, id | |
//! | [`UNIQUE`] | name, unique key | id |
//! | [`LEASE`] | lease expiry, id | creation time |
//!
//! A pending job is in `WAITING` until a claim finds it due and moves it to `DUE` and
//! `DUE_BY_NAME`; so no claim reads past jobs whose time has not come. Numbers are big-endian, with
//! the sign bit of signed ones turned over. Texts end with two zero bytes, and a zero byte in one is
//! followed by 1, so that no text is the beginning of another.

use jobstore_core::{JobId, JobStatus, Timestamp};

pub(crate) const FORMAT: u8 = 0;
pub(crate) const JOB: u8 = 1;
pub(crate) const TEXT: u8 = 2;
pub(crate) const BY_STATUS: u8 = 3;
pub(crate) const BY_NAME: u8 = 4;
pub(crate) const DUE: u8 = 5;
pub(crate) const DUE_BY_NAME: u8 = 6;
pub(crate) const WAITING: u8 = 7;
pub(crate) const ENDED: u8 = 8;
pub(crate) const UNIQUE: u8 = 9;
pub(crate) const LEASE: u8 = 10;
/// Past the last range.
pub(crate) const END: u8 = 11;

/// How long an id is.
const ID: usize = 16;

/// A key being written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(Vec<u8>);

impl Key {
    pub(crate) fn new(range: u8) -> Self {
        let mut bytes = Vec::with_capacity(64);
        bytes.push(range);
        Self(bytes)
    }

    pub(crate) fn id(mut self, id: JobId) -> Self {
        self.0.extend_from_slice(id.as_uuid().as_bytes());
        self
    }

    pub(crate) fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    pub(crate) fn status(self, status: JobStatus) -> Self {
        self.byte(status as u8)
    }

    pub(crate) fn number(mut self, number: u32) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub(crate) fn time(mut self, time: Timestamp) -> Self {
        self.0.extend_from_slice(&time_bytes(time));
        self
    }

    /// Larger ones first.
    pub(crate) fn priority(mut self, priority: i16) -> Self {
        let upwards = priority.cast_unsigned() ^ 0x8000;
        self.0.extend_from_slice(&(!upwards).to_be_bytes());
        self
    }

    pub(crate) fn text(mut self, text: &str) -> Self {
        for byte in text.bytes() {
            self.0.push(byte);
            if byte == 0 {
                self.0.push(1);
            }
        }
        self.0.extend_from_slice(&[0, 0]);
        self
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The first key after all that begin with this one.
    pub(crate) fn end(mut self) -> Vec<u8> {
        while let Some(last) = self.0.pop() {
            if last < u8::MAX {
                self.0.push(last + 1);
                break;
            }
        }
        self.0
    }

    /// The first key after this one.
    pub(crate) fn after(self) -> Vec<u8> {
        self.byte(0).0
    }
}

/// The key of a job.
pub(crate) fn job(id: JobId) -> Vec<u8> {
    Key::new(JOB).id(id).into_bytes()
}

/// The key of one piece of a long text of a job.
pub(crate) fn text(id: JobId, field: u8, piece: u32) -> Vec<u8> {
    Key::new(TEXT).id(id).byte(field).number(piece).into_bytes()
}

/// The key of the holder of a unique key.
pub(crate) fn unique((name, key): (&str, &str)) -> Vec<u8> {
    Key::new(UNIQUE).text(name).text(key).into_bytes()
}

pub(crate) fn time_bytes(time: Timestamp) -> [u8; 8] {
    (time.as_millis().cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

/// The time that these eight bytes stand for.
pub(crate) fn read_time(bytes: &[u8]) -> Option<Timestamp> {
    let bytes = u64::from_be_bytes(bytes.try_into().ok()?);
    Some(Timestamp::from_millis((bytes ^ (1 << 63)).cast_signed()))
}

/// The id that these sixteen bytes stand for.
pub(crate) fn read_id(bytes: &[u8]) -> Option<JobId> {
    let bytes: [u8; ID] = bytes.try_into().ok()?;
    Some(JobId::from_uuid(uuid::Uuid::from_bytes(bytes)))
}

/// The time and id at the end of a key of most indexes.
pub(crate) fn read_place(key: &[u8]) -> Option<(Timestamp, JobId)> {
    let (rest, id) = key.split_at_checked(key.len().checked_sub(ID)?)?;
    let (_, time) = rest.split_at_checked(rest.len().checked_sub(8)?)?;
    Some((read_time(time)?, read_id(id)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids() -> impl Strategy<Value = JobId> {
        any::<u128>().prop_map(|id| JobId::from_uuid(uuid::Uuid::from_u128(id)))
    }

    /// Texts that share beginnings, with zero bytes and the like.
    fn texts() -> impl Strategy<Value = String> {
        prop_oneof!["[\u{0}\u{1}a]{0,4}", any::<String>()]
    }

    fn times() -> impl Strategy<Value = Timestamp> {
        prop_oneof![Just(i64::MIN), Just(i64::MAX), -2..2_i64, any::<i64>()]
            .prop_map(Timestamp::from_millis)
    }

    proptest! {
        #[test]
        fn listing_keys_compare_as_what_they_stand_for(
            a in (texts(), 0..6_i32, times(), ids()),
            b in (texts(), 0..6_i32, times(), ids()),
        ) {
            let key = |(name, status, time, id): &(String, i32, Timestamp, JobId)| {
                let status = JobStatus::from_i32(*status).expect("is one");
                Key::new(BY_NAME).text(name).status(status).time(*time).id(*id)
            };
            prop_assert_eq!(key(&a).cmp(&key(&b)), a.cmp(&b));
        }

        #[test]
        fn claim_keys_compare_as_jobs_are_claimed(
            a in (any::<i16>(), times(), ids()),
            b in (any::<i16>(), times(), ids()),
        ) {
            let key = |(priority, time, id): &(i16, Timestamp, JobId)| {
                Key::new(DUE).priority(*priority).time(*time).id(*id)
            };
            let order = |(priority, time, id)| (std::cmp::Reverse(priority), time, id);
            prop_assert_eq!(key(&a).cmp(&key(&b)), order(a).cmp(&order(b)));
        }

        #[test]
        fn no_pair_of_texts_has_the_key_of_another(
            a in (texts(), texts()),
            b in (texts(), texts()),
        ) {
            let same = unique((&a.0, &a.1)) == unique((&b.0, &b.1));
            prop_assert_eq!(same, a == b);
            prop_assert_eq!(unique((&a.0, &a.1)).cmp(&unique((&b.0, &b.1))), a.cmp(&b));
        }

        #[test]
        fn a_place_is_read_back(name in texts(), time in times(), id in ids()) {
            let key = Key::new(BY_NAME).text(&name).time(time).id(id).into_bytes();
            prop_assert_eq!(read_place(&key), Some((time, id)));
        }

        #[test]
        fn the_end_of_a_range_is_past_every_key_in_it(
            beginning in any::<Vec<u8>>(),
            rest in any::<Vec<u8>>(),
            other in any::<Vec<u8>>(),
        ) {
            let prefix = || Key::new(3).bytes(&beginning);
            let inside = prefix().bytes(&rest).into_bytes();
            let (from, to) = (prefix().into_bytes(), prefix().end());
            prop_assert!(from <= inside && inside < to);
            let other = Key::new(3).bytes(&other).into_bytes();
            let within = from <= other && other < to;
            prop_assert_eq!(within, other.starts_with(&from));
        }
    }

    #[test]
    fn nothing_is_read_of_keys_that_are_too_short() {
        for len in 0..24 {
            assert_eq!(read_place(&vec![0; len]), None, "{len}");
        }
    }
}
