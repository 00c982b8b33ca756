//! Whether the indexes say what the jobs say, and making them say so again.
//!
//! The jobs are what counts: an index that differs from them is wrong. Both are walked in rounds
//! of a bounded size, each with a view of its own, so the store can be in use meanwhile.

use std::fmt;

use jobstore_core::{Error, JobId, Order, Result};

use crate::engine::View;
use crate::key::{self, Key, PLACE_BYTES, Place};
use crate::record::{entries, load_at, range, read};
use crate::transaction::Transaction;
use crate::value::{PIECE, Record, Text};

/// How many jobs or entries a round looks at.
const ROUND: usize = 1000;

/// Whether a check changes anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Repair {
    /// It only tells.
    #[default]
    No,
    /// It rebuilds what differs in the indexes from the jobs. The jobs stay as they are.
    Indexes,
}

/// Something that a check found to be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// A job is not in an index that it belongs to, or stands there wrongly.
    Missing {
        /// The job.
        id: JobId,
        /// The index.
        index: &'static str,
    },
    /// An index has an entry that no job has.
    Stray {
        /// The job it names, as far as it can be read.
        id: Option<JobId>,
        /// The index.
        index: &'static str,
    },
    /// A job cannot be read. Nothing is done about it: another version may read it.
    Unreadable {
        /// The job, as far as it can be read.
        id: Option<JobId>,
        /// What is wrong with it.
        reason: String,
    },
    /// Two unfinished jobs hold the same unique key. Nothing is done about it: who may hold it is
    /// for people to say.
    HeldTwice {
        /// One.
        id: JobId,
        /// The other, which the index names.
        holder: JobId,
    },
}

impl Difference {
    /// Whether [`Repair::Indexes`] does away with it.
    pub fn is_repairable(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Stray { .. })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unnamed =
            |id: &Option<JobId>| id.map_or("without an id".to_owned(), |id| id.to_string());
        match self {
            Self::Missing { id, index } => {
                write!(f, "job {id} is not as it should be in the index {index}")
            }
            Self::Stray { id, index } => {
                write!(
                    f,
                    "the index {index} has an entry of job {} that the job has not",
                    unnamed(id)
                )
            }
            Self::Unreadable { id, reason } => {
                write!(f, "job {} cannot be read: {reason}", unnamed(id))
            }
            Self::HeldTwice { id, holder } => {
                write!(f, "job {id} and job {holder} hold the same unique key")
            }
        }
    }
}

/// What a check saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// The jobs that were looked at.
    pub jobs: u64,
    /// The entries of indexes that were looked at.
    pub entries: u64,
    /// What was found to be wrong.
    pub differences: u64,
    /// How much of it is right again.
    pub repaired: u64,
}

/// One walk over everything.
pub(crate) struct Check {
    /// Where the next round starts; none at the end.
    next: Option<Vec<u8>>,
    pub(crate) report: CheckReport,
}

impl Check {
    pub(crate) fn new() -> Self {
        Self {
            next: Some(Key::new(key::JOB).into_bytes()),
            report: CheckReport::default(),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.next.is_none()
    }

    /// Looks at some more, tells the differences, and leaves in the transaction what repairs them.
    pub(crate) fn round(
        &mut self,
        transaction: &mut Transaction<'_>,
        each: &mut dyn FnMut(&Difference),
    ) -> Result<()> {
        let Some(from) = self.next.take() else {
            return Ok(());
        };
        let to = Key::new(key::END).into_bytes();
        // The pieces of a long text lie side by side: their job is read once.
        let mut owner: Option<(Place, Result<Option<Record>>)> = None;
        let mut seen = 0;
        let found: Vec<_> = range(transaction, &from, &to, Order::Ascending)?
            .take(ROUND)
            .collect::<Result<_>>()?;
        for (key, value) in found {
            seen += 1;
            let mut differ = |difference: Difference| {
                self.report.differences += 1;
                each(&difference);
                difference.is_repairable()
            };
            match key[0] {
                key::JOB => {
                    self.report.jobs += 1;
                    let changes = job(transaction, &key, &value, &mut differ)?;
                    self.report.repaired += changes.len() as u64;
                    for (key, value) in changes {
                        transaction.put(key, value);
                    }
                }
                range => {
                    self.report.entries += 1;
                    // What was put right a moment ago is not what was found.
                    if !transaction.changes_key(&key)
                        && is_stray(transaction, &key, &value, &mut owner)?
                    {
                        let id = key::place_of(&key, &value).map(|(_, id)| id);
                        let index = name(range);
                        if differ(Difference::Stray { id, index }) {
                            self.report.repaired += 1;
                            transaction.remove(key.clone());
                        }
                    }
                }
            }
            self.next = Some(key);
        }
        self.next = self.next.take().filter(|_| seen == ROUND).map(key::after);
        Ok(())
    }
}

/// Looks at a job; returns the entries that it lacks.
fn job(
    view: &dyn View,
    key: &[u8],
    value: &[u8],
    differ: &mut dyn FnMut(Difference) -> bool,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let Some(place) = key::place_of(key, value) else {
        let reason = "its key is not one of a job".to_owned();
        differ(Difference::Unreadable { id: None, reason });
        return Ok(Vec::new());
    };
    let id = place.1;
    let record = match read(view, place, value) {
        Ok(record) => record,
        Err(Error::Unreadable { reason, .. }) => {
            let id = Some(id);
            differ(Difference::Unreadable { id, reason });
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut lacking = Vec::new();
    for (key, value) in entries(&record) {
        let found = view.get(&key)?;
        if found.as_ref() == Some(&value) {
            continue;
        }
        let other = found.and_then(|value| key::place_of(&key, &value));
        let other = match other.map(|place| load_at(view, place)).transpose() {
            Ok(other) => other.flatten().map(|record| record.job),
            Err(Error::Unreadable { .. }) => None,
            Err(error) => return Err(error),
        };
        let held = record.job.held_unique_key();
        let difference = match (key[0], other) {
            (key::UNIQUE, Some(holder)) if holder.held_unique_key() == held => {
                Difference::HeldTwice {
                    id,
                    holder: holder.id,
                }
            }
            (key::ID, Some(_)) => Difference::Unreadable {
                id: Some(id),
                reason: "another job has its id".to_owned(),
            },
            _ => Difference::Missing {
                id,
                index: name(key[0]),
            },
        };
        if differ(difference) {
            lacking.push((key, value));
        }
    }
    Ok(lacking)
}

/// Whether no job has this entry. What belongs to a job that cannot be read is left alone.
fn is_stray(
    view: &dyn View,
    key: &[u8],
    value: &[u8],
    owner: &mut Option<(Place, Result<Option<Record>>)>,
) -> Result<bool> {
    let Some(place) = key::place_of(key, value) else {
        return Ok(true);
    };
    if owner.as_ref().is_none_or(|(other, _)| *other != place) {
        *owner = Some((place, load_at(view, place)));
    }
    match owner {
        Some((_, Ok(Some(record)))) if key[0] == key::TEXT => Ok(!has_piece(record, key)),
        Some((_, Ok(Some(record)))) => {
            let entries = entries(record);
            Ok(entries.iter().all(|(other, _)| other.as_slice() != key))
        }
        Some((_, Err(Error::Unreadable { .. }))) => Ok(false),
        Some((_, Err(error))) => Err(error.clone()),
        _ => Ok(true),
    }
}

/// Whether the job's text reaches to the piece with this key.
fn has_piece(record: &Record, key: &[u8]) -> bool {
    let field = key.get(1 + PLACE_BYTES..).and_then(<[u8]>::split_first);
    let Some((field, number)) = field else {
        return false;
    };
    let number = number.try_into().map(u32::from_be_bytes);
    let text = Text::ALL.into_iter().find(|text| *text as u8 == *field);
    let pieces = text
        .and_then(|text| text.apart(&record.job))
        .map_or(0, |text| text.len().div_ceil(PIECE));
    number.is_ok_and(|number| (number as usize) < pieces)
}

fn name(range: u8) -> &'static str {
    match range {
        key::TEXT => "of long texts",
        key::ID => "of ids",
        key::BY_STATUS => "by status",
        key::BY_NAME => "by name and status",
        key::DUE => "of due jobs",
        key::DUE_BY_NAME => "of due jobs by name",
        key::WAITING => "of waiting jobs",
        key::ENDED => "of ended jobs",
        key::UNIQUE => "of unique keys",
        key::LEASE => "of leases",
        _ => "that is unknown",
    }
}
