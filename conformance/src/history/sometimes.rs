//! What a run must have seen to prove anything.

use std::fmt;
use std::ops::AddAssign;

use jobstore_core::{Action, Creation, Error, Job};

use super::record::{Call, Event, History, Reply};

/// How often something interesting happened.
///
/// Histories in which callers never met, no lease ran out and no reply was lost would be explained on
/// a store that keeps no promise at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sometimes {
    /// Calls that were on their way at once.
    pub overlaps: u64,
    /// Refusals and jobs found existing beside a call of another caller that changed the same job.
    pub lost_races: u64,
    /// Leases that were over and recovered.
    pub expired_leases: u64,
    /// Outcomes refused because the claim was not the current one.
    pub stale_claims: u64,
    /// Calls whose outcome the caller never learned.
    pub ambiguous_outcomes: u64,
    /// Pages that were full, with more behind them.
    pub full_pages: u64,
    /// The most states that were tried to explain one history.
    pub most_states: u64,
}

impl Sometimes {
    /// What a history shows.
    pub(super) fn of(history: &History) -> Self {
        let mut seen = Self::default();
        for (index, event) in history.events.iter().enumerate() {
            let later = history.events[index + 1..].iter();
            seen.overlaps += later.filter(|other| overlap(event, other)).count() as u64;
            let Some((_, reply)) = &event.reply else {
                seen.ambiguous_outcomes += 1;
                continue;
            };
            match (&event.call, reply) {
                (Call::Update(updates), Reply::Updated(verdicts)) => {
                    for (update, verdict) in updates.iter().zip(verdicts) {
                        match verdict {
                            Ok(_) if matches!(update.action, Action::Recover { .. }) => {
                                seen.expired_leases += 1;
                            }
                            Err(Error::LeaseLost { .. }) => seen.stale_claims += 1,
                            _ => {}
                        }
                        if verdict.is_err()
                            && beaten(history, event, |job| job.id == update.target.id())
                        {
                            seen.lost_races += 1;
                        }
                    }
                }
                (_, Reply::Created(Ok(creations))) => {
                    let existing = creations.iter().filter(|creation| !creation.is_new());
                    let existing = existing.map(Creation::job);
                    let beaten =
                        existing.filter(|found| beaten(history, event, |job| job.id == found.id));
                    seen.lost_races += beaten.count() as u64;
                }
                (_, Reply::Listed(_, true)) => seen.full_pages += 1,
                _ => {}
            }
        }
        seen
    }

    /// What never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        let seen = self.named();
        let missing = seen.into_iter().filter(|(_, times)| *times == 0);
        missing.map(|(name, _)| name).collect()
    }

    fn named(&self) -> [(&'static str, u64); 6] {
        let Self {
            overlaps,
            lost_races,
            expired_leases,
            stale_claims,
            ambiguous_outcomes,
            full_pages,
            most_states: _,
        } = *self;
        [
            ("overlapping calls", overlaps),
            ("lost races", lost_races),
            ("expired leases", expired_leases),
            ("stale claims", stale_claims),
            ("ambiguous outcomes", ambiguous_outcomes),
            ("full pages", full_pages),
        ]
    }
}

impl AddAssign for Sometimes {
    fn add_assign(&mut self, other: Self) {
        self.overlaps += other.overlaps;
        self.lost_races += other.lost_races;
        self.expired_leases += other.expired_leases;
        self.stale_claims += other.stale_claims;
        self.ambiguous_outcomes += other.ambiguous_outcomes;
        self.full_pages += other.full_pages;
        self.most_states = self.most_states.max(other.most_states);
    }
}

impl fmt::Display for Sometimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("seen:")?;
        for (index, (name, times)) in self.named().into_iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma} {times} {name}")?;
        }
        write!(f, "; explained in at most {} states", self.most_states)
    }
}

fn overlap(one: &Event, other: &Event) -> bool {
    let end = |event: &Event| event.reply.as_ref().map_or(event.invoked, |(end, _)| *end);
    one.caller != other.caller && other.invoked < end(one) && one.invoked < end(other)
}

/// Whether a call of another caller changed such a job meanwhile.
fn beaten(history: &History, event: &Event, is_it: impl Fn(&Job) -> bool) -> bool {
    let others = history.events.iter();
    let mut others = others.filter(|other| overlap(event, other));
    others.any(|other| {
        let writes = !matches!(other.call, Call::Get(_) | Call::List(..));
        let reply = other.reply.as_ref();
        writes && reply.is_some_and(|(_, reply)| reply.jobs().into_iter().any(&is_it))
    })
}
