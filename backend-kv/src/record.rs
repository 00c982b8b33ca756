//! Reading and writing jobs with everything that belongs to them.

use jobstore_core::{Error, Job, JobId, JobStatus, Order, Result};

use crate::engine::{Each, Entries, View};
use crate::key::{self, Key, Place};
use crate::transaction::Transaction;
use crate::value::{self, PIECE, Record, Text};

/// How many entries are passed over on the way to a job before it is looked for from the top: a step
/// costs a small part of that.
const STEPS: usize = 8;

/// How many jobs are read at once where not all are kept, so that a thousand long texts are never in
/// memory together.
pub(crate) const CHUNK: usize = 32;

/// The entries of a range, which may be empty. Every range that is read is read through this, or
/// through [`scan`].
pub(crate) fn range<'a>(
    view: &'a (impl View + ?Sized),
    from: &[u8],
    to: &[u8],
    order: Order,
) -> Result<Entries<'a>> {
    match from < to {
        true => view.range(from, to, order),
        false => Ok(Box::new(std::iter::empty())),
    }
}

/// Shows the entries of a range, which may be empty, where they lie.
pub(crate) fn scan(
    view: &(impl View + ?Sized),
    from: &[u8],
    to: &[u8],
    order: Order,
    each: &mut Each<'_>,
) -> Result<()> {
    match from < to {
        true => view.scan(from, to, order, each),
        false => Ok(()),
    }
}

/// Where the job with an id lies.
pub(crate) fn find(view: &(impl View + ?Sized), id: JobId) -> Result<Option<Place>> {
    let key = key::id(id);
    let found = view.get(&key)?;
    Ok(found.and_then(|value| key::place_of(&key, &value)))
}

/// Reads the job with an id.
///
/// # Errors
///
/// [`Error::Unreadable`] when it is none, and what the engine brings about.
pub(crate) fn load(view: &(impl View + ?Sized), id: JobId) -> Result<Option<Record>> {
    match find(view, id)? {
        Some(place) => load_at(view, place),
        None => Ok(None),
    }
}

/// Reads the job at a place.
///
/// # Errors
///
/// As [`load`].
pub(crate) fn load_at(view: &(impl View + ?Sized), place: Place) -> Result<Option<Record>> {
    let Some(value) = view.get(&key::job(place))? else {
        return Ok(None);
    };
    read(view, place, &value).map(Some)
}

/// Reads the jobs at these places, each readable, unreadable or not there.
///
/// # Errors
///
/// What the engine brings about.
pub(crate) fn load_all(
    view: &(impl View + ?Sized),
    places: &[Place],
) -> Result<Vec<Result<Option<Record>>>> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_unstable_by_key(|index| places[*index]);
    let mut found: Vec<Result<Option<Record>>> = places.iter().map(|_| Ok(None)).collect();
    let Some(last) = order.last() else {
        return Ok(found);
    };
    let mut sweep = Sweep {
        view,
        to: Key::new(key::JOB).place(places[*last]).after(),
        entries: Box::new(std::iter::empty()),
        ahead: None,
    };
    for index in order {
        if let Some(value) = sweep.value(&key::job(places[index]))? {
            found[index] = readable(read(view, places[index], value).map(Some))?;
        }
    }
    Ok(found)
}

/// Tells a job that cannot be read from an engine that does not work.
pub(crate) fn readable<T>(read: Result<T>) -> Result<Result<T>> {
    match read {
        Err(error @ Error::Unreadable { .. }) => Ok(Err(error)),
        Err(error) => Err(error),
        read => Ok(read),
    }
}

/// Finds keys that ascend. Neighbors cost a step each, however large the map is.
struct Sweep<'a, V: ?Sized> {
    view: &'a V,
    to: Vec<u8>,
    entries: Entries<'a>,
    /// The entry that the walk has come to.
    ahead: Option<(Vec<u8>, Vec<u8>)>,
}

impl<V: View + ?Sized> Sweep<'_, V> {
    fn value(&mut self, key: &[u8]) -> Result<Option<&[u8]>> {
        let before = |ahead: &Option<(Vec<u8>, Vec<u8>)>| {
            let ahead = ahead.as_ref();
            ahead.is_none_or(|(ahead, _)| ahead.as_slice() < key)
        };
        for _ in 0..STEPS {
            if !before(&self.ahead) {
                break;
            }
            self.ahead = self.entries.next().transpose()?;
            if self.ahead.is_none() {
                break;
            }
        }
        if before(&self.ahead) {
            self.entries = self.view.range(key, &self.to, Order::Ascending)?;
            self.ahead = self.entries.next().transpose()?;
        }
        let found = self.ahead.as_ref().filter(|(ahead, _)| ahead == key);
        Ok(found.map(|(_, value)| value.as_slice()))
    }
}

/// Reads the job that a value is of.
pub(crate) fn read(view: &(impl View + ?Sized), place: Place, value: &[u8]) -> Result<Record> {
    value::decode(place, value, |text, length| {
        let text = Key::new(key::TEXT).place(place).byte(text as u8);
        let (from, to) = (text.clone().into_bytes(), text.end());
        let mut bytes = Vec::new();
        for entry in range(view, &from, &to, Order::Ascending)? {
            bytes.extend_from_slice(&entry?.1);
            if bytes.len() > length {
                break;
            }
        }
        match bytes.len() == length {
            true => Ok(bytes),
            false => Err(value::unreadable(
                place.1,
                "a piece of a long text is missing",
            )),
        }
    })
}

/// What belongs to a job in the indexes.
pub(crate) fn entries(record: &Record) -> Vec<(Vec<u8>, Vec<u8>)> {
    let Record { job, due, .. } = record;
    let created = key::time_bytes(job.creation_time);
    let mut entries = Vec::with_capacity(6);
    let mut push = |key: Key, value: &[u8]| entries.push((key.into_bytes(), value.to_vec()));
    push(Key::new(key::ID).id(job.id), &created);
    let listed = |key: Key| key.status(job.status).place(job.list_order());
    push(listed(Key::new(key::BY_STATUS)), b"");
    push(listed(Key::new(key::BY_NAME).text(&job.job_name)), b"");
    let claimed = |key: Key| {
        key.priority(job.priority)
            .time(job.next_attempt_at)
            .id(job.id)
    };
    match job.status {
        JobStatus::Pending if *due => {
            push(claimed(Key::new(key::DUE)), &created);
            let named = Key::new(key::DUE_BY_NAME).text(&job.job_name);
            push(claimed(named), &created);
        }
        JobStatus::Pending => {
            let waiting = Key::new(key::WAITING).time(job.next_attempt_at);
            push(waiting.id(job.id), &created);
        }
        JobStatus::Running => {
            if let Some(at) = job.lease_expires_at {
                push(Key::new(key::LEASE).time(at).id(job.id), &created);
            }
        }
        _ => {
            let ended = Key::new(key::ENDED).time(job.last_update_time);
            push(ended.id(job.id), &created);
        }
    }
    if let Some(unique) = job.held_unique_key() {
        entries.push((key::unique(unique), key::place_bytes(job.list_order())));
    }
    entries
}

/// Puts `after` in the place of `before`, with everything that belongs to them.
pub(crate) fn replace(
    transaction: &mut Transaction<'_>,
    before: Option<&Record>,
    after: Option<&Record>,
) {
    let Some(place) = after.or(before).map(|record| record.job.list_order()) else {
        return;
    };
    let gone = before.map(entries).unwrap_or_default();
    let new = after.map(entries).unwrap_or_default();
    for (key, _) in &gone {
        if new.iter().all(|(other, _)| other != key) {
            transaction.remove(key.clone());
        }
    }
    for entry in new {
        if !gone.contains(&entry) {
            transaction.put(entry.0, entry.1);
        }
    }
    for text in Text::ALL {
        let gone = before.and_then(|record| pieces(text, &record.job));
        let new = after.and_then(|record| pieces(text, &record.job));
        if gone == new {
            continue;
        }
        let (gone, new) = (gone.unwrap_or_default(), new.unwrap_or_default());
        for (number, piece) in (0..).zip(&new) {
            transaction.put(key::text(place, text as u8, number), piece.to_vec());
        }
        for number in new.len()..gone.len() {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            transaction.remove(key::text(place, text as u8, number));
        }
    }
    match after {
        Some(record) => transaction.put(key::job(place), value::encode(record)),
        None => transaction.remove(key::job(place)),
    }
}

/// The pieces of a text that stands apart.
fn pieces(text: Text, job: &Job) -> Option<Vec<&[u8]>> {
    Some(text.apart(job)?.as_bytes().chunks(PIECE).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jobstore_core::{NewJob, Timestamp};
    use proptest::prelude::*;

    use super::*;
    use crate::memory::MapView;

    /// Places that are near each other, and some that are not.
    fn places() -> impl Strategy<Value = Vec<Place>> {
        let place = (0..2_i64, prop_oneof![0..40_u128, any::<u128>()]).prop_map(|(time, id)| {
            let id = JobId::from_uuid(uuid::Uuid::from_u128(id));
            (Timestamp::from_millis(time), id)
        });
        proptest::collection::vec(place, 0..40)
    }

    proptest! {
        #[test]
        fn many_jobs_read_at_once_are_those_read_one_by_one(stored in places(), wanted in places()) {
            let mut map = BTreeMap::new();
            for place in &stored {
                let mut job = NewJob::new("a", "{}").into_job(place.0);
                job.id = place.1;
                let record = Record { job, due: false, unknown: Vec::new() };
                map.insert(key::job(*place), value::encode(&record));
            }
            let view = MapView::new(&map);
            let wanted: Vec<Place> = wanted.into_iter().chain(stored).collect();
            let found = load_all(&view, &wanted).expect("reads");
            for (place, found) in wanted.iter().zip(found) {
                let alone = load_at(&view, *place).expect("reads");
                prop_assert_eq!(found.expect("is readable"), alone);
            }
        }
    }
}
