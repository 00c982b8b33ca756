//! Reading and writing jobs with everything that belongs to them.

use jobstore_core::{Job, JobId, JobStatus, Order, Result};

use crate::engine::{Entries, View};
use crate::key::{self, Key};
use crate::transaction::Transaction;
use crate::value::{self, PIECE, Record, Text};

/// The entries of a range, which may be empty. Every range that is read is read through this.
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

/// Reads a job.
///
/// # Errors
///
/// [`Error::Unreadable`](jobstore_core::Error::Unreadable) when it is none, and what the engine
/// brings about.
pub(crate) fn load(view: &(impl View + ?Sized), id: JobId) -> Result<Option<Record>> {
    let Some(value) = view.get(&key::job(id))? else {
        return Ok(None);
    };
    read(view, id, &value).map(Some)
}

/// Reads the job that a value is of.
pub(crate) fn read(view: &(impl View + ?Sized), id: JobId, value: &[u8]) -> Result<Record> {
    value::decode(id, value, |text, length| {
        let (from, to) = (key::text(id, text as u8, 0), text_end(id, text));
        let mut bytes = Vec::new();
        for entry in range(view, &from, &to, Order::Ascending)? {
            bytes.extend_from_slice(&entry?.1);
            if bytes.len() > length {
                break;
            }
        }
        match bytes.len() == length {
            true => Ok(bytes),
            false => Err(value::unreadable(id, "a piece of a long text is missing")),
        }
    })
}

fn text_end(id: JobId, text: Text) -> Vec<u8> {
    Key::new(key::TEXT).id(id).byte(text as u8).end()
}

/// What belongs to a job in the indexes.
pub(crate) fn entries(record: &Record) -> Vec<(Vec<u8>, Vec<u8>)> {
    let Record { job, due, .. } = record;
    let mut entries = Vec::with_capacity(6);
    let mut push = |key: Key, value: Vec<u8>| entries.push((key.into_bytes(), value));
    let listed = |key: Key| key.status(job.status).time(job.creation_time).id(job.id);
    push(listed(Key::new(key::BY_STATUS)), Vec::new());
    push(
        listed(Key::new(key::BY_NAME).text(&job.job_name)),
        Vec::new(),
    );
    let claimed = |key: Key| {
        key.priority(job.priority)
            .time(job.next_attempt_at)
            .id(job.id)
    };
    match job.status {
        JobStatus::Pending if *due => {
            push(claimed(Key::new(key::DUE)), Vec::new());
            push(
                claimed(Key::new(key::DUE_BY_NAME).text(&job.job_name)),
                Vec::new(),
            );
        }
        JobStatus::Pending => {
            let waiting = Key::new(key::WAITING).time(job.next_attempt_at);
            push(waiting.id(job.id), Vec::new());
        }
        JobStatus::Running => {
            if let Some(at) = job.lease_expires_at {
                let lease = Key::new(key::LEASE).time(at).id(job.id);
                push(lease, key::time_bytes(job.creation_time).to_vec());
            }
        }
        _ => {
            let ended = Key::new(key::ENDED).time(job.last_update_time);
            push(ended.id(job.id), Vec::new());
        }
    }
    if let Some(unique) = job.held_unique_key() {
        entries.push((key::unique(unique), job.id.as_uuid().as_bytes().to_vec()));
    }
    entries
}

/// Puts `after` in the place of `before`, with everything that belongs to them.
pub(crate) fn replace(
    transaction: &mut Transaction<'_>,
    before: Option<&Record>,
    after: Option<&Record>,
) {
    let Some(id) = after.or(before).map(|record| record.job.id) else {
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
            transaction.put(key::text(id, text as u8, number), piece.to_vec());
        }
        for number in new.len()..gone.len() {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            transaction.remove(key::text(id, text as u8, number));
        }
    }
    match after {
        Some(record) => transaction.put(key::job(id), value::encode(record)),
        None => transaction.remove(key::job(id)),
    }
}

/// The pieces of a text that stands apart.
fn pieces(text: Text, job: &Job) -> Option<Vec<&[u8]>> {
    Some(text.apart(job)?.as_bytes().chunks(PIECE).collect())
}
