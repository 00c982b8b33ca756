//! The keys: one ordered map holds the jobs and their indexes, each in a range of its own.
//!
//! The first byte says which range. What follows is encoded so that keys compare as what they
//! stand for:
//!
//! | range | after the first byte | value |
//! | --- | --- | --- |
//! | [`FORMAT`] | | the version of this layout |
//! | [`JOB`] | creation time, id | the job |
//! | [`TEXT`] | creation time, id, field, number of the piece | a piece of a long text of the job |
//! | [`ID`] | id | creation time |
//! | [`BY_STATUS`] | status, creation time, id | |
//! | [`BY_NAME`] | name, status, creation time, id | |
//! | [`DUE`] | priority downwards, next attempt, id | creation time |
//! | [`DUE_BY_NAME`] | name, priority downwards, next attempt, id | creation time |
//! | [`WAITING`] | next attempt, id | creation time |
//! | [`ENDED`] | last update, id | creation time |
//! | [`UNIQUE`] | name, unique key | creation time, id |
//! | [`LEASE`] | lease expiry, id | creation time |
//!
//! Jobs lie in the order in which they are listed, so a page is read in one go, whatever the ids
//! are that callers gave. An entry says where its job lies, in its key or in its value.
//!
//! How the entries of the indexes are laid together in the engine is a matter of [`crate::packed`].
//!
//! A pending job is in `WAITING` until a claim finds it due and moves it to `DUE` and
//! `DUE_BY_NAME`; so no claim reads past jobs whose time has not come. Numbers are big-endian, with
//! the sign bit of signed ones turned over. Texts end with two zero bytes, and a zero byte in one is
//! followed by 1, so that no text is the beginning of another.

use jobstore_core::{JobId, JobStatus, Timestamp};

pub(crate) const FORMAT: u8 = 0;
pub(crate) const JOB: u8 = 1;
pub(crate) const TEXT: u8 = 2;
pub(crate) const ID: u8 = 3;
pub(crate) const BY_STATUS: u8 = 4;
pub(crate) const BY_NAME: u8 = 5;
pub(crate) const DUE: u8 = 6;
pub(crate) const DUE_BY_NAME: u8 = 7;
pub(crate) const WAITING: u8 = 8;
pub(crate) const ENDED: u8 = 9;
pub(crate) const UNIQUE: u8 = 10;
pub(crate) const LEASE: u8 = 11;
/// Past the last range.
pub(crate) const END: u8 = 12;

/// The order of listing, and so where a job lies.
pub(crate) type Place = (Timestamp, JobId);

/// How many bytes a time takes.
const TIME_BYTES: usize = 8;
/// How many bytes an id takes.
const ID_BYTES: usize = 16;
/// How many bytes a place takes.
pub(crate) const PLACE_BYTES: usize = TIME_BYTES + ID_BYTES;

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

    pub(crate) fn place(self, (time, id): Place) -> Self {
        self.time(time).id(id)
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
        after(self.0)
    }
}

/// The first key after this one.
pub(crate) fn after(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

/// The key of a job.
pub(crate) fn job(place: Place) -> Vec<u8> {
    Key::new(JOB).place(place).into_bytes()
}

/// The key of one piece of a long text of a job.
pub(crate) fn text(place: Place, field: u8, piece: u32) -> Vec<u8> {
    let text = Key::new(TEXT).place(place).byte(field);
    text.number(piece).into_bytes()
}

/// The key that says where the job with an id lies.
pub(crate) fn id(id: JobId) -> Vec<u8> {
    Key::new(ID).id(id).into_bytes()
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
    let bytes: [u8; ID_BYTES] = bytes.try_into().ok()?;
    Some(JobId::from_uuid(uuid::Uuid::from_bytes(bytes)))
}

/// A place as the value of an entry.
pub(crate) fn place_bytes((time, id): Place) -> Vec<u8> {
    [&time_bytes(time)[..], id.as_uuid().as_bytes()].concat()
}

/// The time and id at the end of these bytes.
pub(crate) fn read_place(bytes: &[u8]) -> Option<Place> {
    let (rest, id) = bytes.split_at_checked(bytes.len().checked_sub(ID_BYTES)?)?;
    let (_, time) = rest.split_at_checked(rest.len().checked_sub(TIME_BYTES)?)?;
    Some((read_time(time)?, read_id(id)?))
}

/// Where the job of an entry lies.
pub(crate) fn place_of(key: &[u8], value: &[u8]) -> Option<Place> {
    let after_range = key.get(1..)?;
    match *key.first()? {
        JOB if after_range.len() == PLACE_BYTES => read_place(after_range),
        TEXT => read_place(after_range.get(..PLACE_BYTES)?),
        BY_STATUS | BY_NAME => read_place(after_range),
        UNIQUE if value.len() == PLACE_BYTES => read_place(value),
        ID | DUE | DUE_BY_NAME | WAITING | ENDED | LEASE => {
            let id = after_range.len().checked_sub(ID_BYTES)?;
            Some((read_time(value)?, read_id(&after_range[id..])?))
        }
        _ => None,
    }
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
            prop_assert_eq!(place_of(&key, b""), Some((time, id)));
            prop_assert_eq!(read_place(&place_bytes((time, id))), Some((time, id)));
        }

        #[test]
        fn the_end_of_a_range_is_past_every_key_in_it(
            beginning in any::<Vec<u8>>(),
            rest in any::<Vec<u8>>(),
            other in any::<Vec<u8>>(),
        ) {
            let prefix = Key([&[BY_STATUS], &*beginning].concat());
            let inside = [&prefix.0, &*rest].concat();
            let (from, to) = (prefix.clone().into_bytes(), prefix.end());
            prop_assert!(from <= inside && inside < to);
            let other = [&[BY_STATUS], &*other].concat();
            let within = from <= other && other < to;
            prop_assert_eq!(within, other.starts_with(&from));
        }
    }

    #[test]
    fn nothing_is_read_of_keys_that_are_too_short() {
        for len in 0..PLACE_BYTES {
            assert_eq!(read_place(&vec![0; len]), None, "{len}");
            for range in 0..=u8::MAX {
                let key = [&[range][..], &vec![0; len]].concat();
                let value = vec![0; TIME_BYTES - 1];
                assert_eq!(place_of(&key, &value), None, "{key:?}");
            }
        }
    }
}
