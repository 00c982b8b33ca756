//! What was promised, and whether it was kept.

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail};
use jobstore::{JobId, JobStatus};

/// How far a job has come. Every accepted change takes it to a greater state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    fence: u64,
    /// Whether its latest run is over, or it never had one.
    rests: bool,
}

/// What is known of a job.
#[derive(Clone, Debug)]
struct Entry {
    /// What was promised last; none while its creation was only begun.
    promised: Option<(State, JobStatus)>,
    /// Which creation it came with.
    batch: usize,
    /// Whether its deletion was begun, and promised.
    deleting: bool,
    deleted: bool,
}

/// Everything that was begun or promised.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    jobs: HashMap<JobId, Entry>,
    batches: usize,
}

/// What a store holds after it was ended.
#[derive(Debug)]
pub(crate) struct Dump {
    pub(crate) opened: bool,
    jobs: HashMap<JobId, (u64, JobStatus)>,
    problems: Vec<String>,
}

impl Dump {
    /// Of a store that cannot even be asked.
    pub(crate) fn none() -> Self {
        Self {
            opened: false,
            jobs: HashMap::new(),
            problems: Vec::new(),
        }
    }

    pub(crate) fn parse(text: &str, success: bool) -> Result<Self> {
        let mut dump = Self::none();
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("J", rest)) => {
                    let (id, fence, status) = job(rest)?;
                    if dump.jobs.insert(id, (fence, status)).is_some() {
                        dump.problems.push(format!("job {id} is listed twice"));
                    }
                }
                Some(("P", problem)) => dump.problems.push(problem.to_owned()),
                _ if line == "E" => dump.opened = success,
                _ => bail!("a line of a dump is not understood: {line}"),
            }
        }
        Ok(dump)
    }
}

/// Reads an id, a fence and a status.
fn job(text: &str) -> Result<(JobId, u64, JobStatus)> {
    let mut words = text.split(' ');
    let mut word = || words.next().context("a line is too short");
    let (id, fence, status) = (word()?, word()?, word()?);
    Ok((id.parse()?, fence.parse()?, status.parse()?))
}

fn state(fence: u64, status: JobStatus) -> State {
    State {
        fence,
        rests: status != JobStatus::Running,
    }
}

impl Ledger {
    /// A ledger that promises what a store holds.
    pub(crate) fn of(dump: Dump) -> Self {
        let jobs = dump.jobs.into_iter().map(|(id, (fence, status))| {
            let entry = Entry {
                promised: Some((state(fence, status), status)),
                batch: 0,
                deleting: false,
                deleted: false,
            };
            (id, entry)
        });
        Self {
            jobs: jobs.collect(),
            batches: 0,
        }
    }

    /// Takes down what a child said; returns how many changes were promised.
    pub(crate) fn extend(&mut self, lines: &[String]) -> Result<u64> {
        let mut acknowledged = 0;
        for line in lines {
            let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
            match kind {
                "c" => {
                    self.batches += 1;
                    for id in ids(rest)? {
                        let entry = Entry {
                            promised: None,
                            batch: self.batches,
                            deleting: false,
                            deleted: false,
                        };
                        self.jobs.insert(id, entry);
                    }
                }
                "C" => {
                    for id in ids(rest)? {
                        self.promise(id, 0, JobStatus::Pending)?;
                        acknowledged += 1;
                    }
                }
                "R" | "U" => {
                    let running = format!("{rest} RUNNING");
                    let (id, fence, status) = job(if kind == "R" { &running } else { rest })?;
                    self.promise(id, fence, status)?;
                    acknowledged += 1;
                }
                "d" => {
                    for id in ids(rest)? {
                        self.entry(id)?.deleting = true;
                    }
                }
                "D" => {
                    for id in ids(rest)? {
                        self.entry(id)?.deleted = true;
                        acknowledged += 1;
                    }
                }
                _ => bail!("a line of a child is not understood: {line}"),
            }
        }
        Ok(acknowledged)
    }

    fn entry(&mut self, id: JobId) -> Result<&mut Entry> {
        let entry = self.jobs.get_mut(&id);
        entry.with_context(|| format!("job {id} came from nowhere"))
    }

    /// Promises come in any order, so the furthest counts.
    fn promise(&mut self, id: JobId, fence: u64, status: JobStatus) -> Result<()> {
        let promised = &mut self.entry(id)?.promised;
        let state = state(fence, status);
        if promised.is_none_or(|(before, _)| before < state) {
            *promised = Some((state, status));
        }
        Ok(())
    }

    /// What was not kept, a line each.
    pub(crate) fn compare(&self, dump: &Dump) -> Vec<String> {
        if !dump.opened {
            return vec!["the store does not open or work".to_owned()];
        }
        let mut failures = dump.problems.clone();
        let mut begun: HashMap<usize, Vec<bool>> = HashMap::new();
        for (id, entry) in &self.jobs {
            let found = dump.jobs.get(id);
            if entry.promised.is_none() {
                begun.entry(entry.batch).or_default().push(found.is_some());
            }
            failures.extend(entry.failure(found).map(|what| format!("job {id} {what}")));
        }
        let torn = |found: &&Vec<bool>| found.contains(&true) && found.contains(&false);
        let torn = begun.values().filter(torn).count();
        failures.extend((torn > 0).then(|| format!("{torn} creations happened by half")));
        let unknown = dump.jobs.keys().filter(|id| !self.jobs.contains_key(id));
        failures.extend(unknown.map(|id| format!("job {id} was never created")));
        failures
    }
}

impl Entry {
    fn failure(&self, found: Option<&(u64, JobStatus)>) -> Option<String> {
        let Some((fence, status)) = found else {
            return match &self.promised {
                Some(_) if !self.deleting => Some("is lost".to_owned()),
                _ => None,
            };
        };
        if self.deleted {
            return Some("was deleted, and is back".to_owned());
        }
        let (promised, promised_status) = self
            .promised
            .unwrap_or((state(0, JobStatus::Pending), JobStatus::Pending));
        let found = state(*fence, *status);
        // Promises that nobody heard may have been kept as well: the end of a run, and the claim
        // of another caller. More cannot be, because callers say what they hold before they go on.
        let next = State {
            fence: promised.fence + 1,
            rests: false,
        };
        if found < promised {
            Some(format!("went back from {promised:?} to {found:?}"))
        } else if found == promised && *status != promised_status {
            Some(format!("was {promised_status}, and is {status}"))
        } else if found > next {
            Some(format!(
                "went from {promised:?} to {found:?}, which nobody asked for"
            ))
        } else {
            None
        }
    }
}

fn ids(text: &str) -> Result<Vec<JobId>> {
    let ids = text.split(' ').filter(|id| !id.is_empty());
    Ok(ids.map(str::parse).collect::<jobstore::Result<_>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "01890000-0000-7000-8000-00000000000a";
    const B: &str = "01890000-0000-7000-8000-00000000000b";

    /// What is found wrong when the child said this and the store holds that.
    fn failures(said: &[&str], held: &[&str]) -> Vec<String> {
        let expand = |line: &&str| line.replace("@A", A).replace("@B", B);
        let said: Vec<String> = said.iter().map(expand).collect();
        let mut ledger = Ledger::default();
        ledger.extend(&said).expect("is understood");
        let held: String = held.iter().map(|line| expand(line) + "\n").collect();
        let dump = Dump::parse(&format!("{held}E\n"), true).expect("is understood");
        ledger.compare(&dump)
    }

    #[test]
    fn a_promise_that_is_kept_is_no_failure() {
        let said = [
            "c @A @B",
            "C @A @B",
            "R @A 1",
            "U @A 1 SUCCEEDED",
            "d @B",
            "D @B",
        ];
        assert_eq!(failures(&said, &["J @A 1 SUCCEEDED"]), [""; 0]);
    }

    #[test]
    fn what_was_begun_may_have_happened_or_not() {
        assert_eq!(failures(&["c @A @B"], &[]), [""; 0]);
        assert_eq!(
            failures(&["c @A @B"], &["J @A 0 PENDING", "J @B 0 PENDING"]),
            [""; 0]
        );
        assert_eq!(failures(&["c @A", "C @A", "d @A"], &[]), [""; 0]);
        assert_eq!(
            failures(&["c @A", "C @A", "d @A"], &["J @A 0 PENDING"]),
            [""; 0]
        );
        assert_eq!(failures(&["c @A", "C @A"], &["J @A 1 RUNNING"]), [""; 0]);
        let ran = ["c @A", "C @A", "R @A 1"];
        assert_eq!(failures(&ran, &["J @A 2 RUNNING"]), [""; 0]);
        assert_eq!(failures(&ran, &["J @A 1 CANCELED"]), [""; 0]);
    }

    #[test]
    fn every_broken_promise_is_found() {
        let broken: [(&[&str], &[&str], &str); 8] = [
            (&["c @A", "C @A"], &[], "is lost"),
            (
                &["c @A", "C @A", "R @A 1"],
                &["J @A 0 PENDING"],
                "went back",
            ),
            (
                &["c @A", "C @A", "R @A 1", "U @A 1 SUCCEEDED"],
                &["J @A 1 RUNNING"],
                "went back",
            ),
            (
                &["c @A", "C @A", "R @A 1", "U @A 1 SUCCEEDED"],
                &["J @A 1 CANCELED"],
                "was SUCCEEDED",
            ),
            (
                &["c @A", "C @A", "d @A", "D @A"],
                &["J @A 0 PENDING"],
                "is back",
            ),
            (&["c @A @B"], &["J @A 0 PENDING"], "by half"),
            (&[], &["J @A 0 PENDING"], "never created"),
            (&["c @A", "C @A"], &["J @A 1 SUCCEEDED"], "nobody asked for"),
        ];
        for (said, held, what) in broken {
            let found = failures(said, held);
            assert!(
                matches!(&found[..], [one] if one.contains(what)),
                "{said:?}: {found:?}"
            );
        }
    }

    #[test]
    fn a_store_that_does_not_open_is_a_failure() {
        for (text, success) in [("", false), ("", true), ("E\n", false)] {
            let dump = Dump::parse(text, success).expect("is understood");
            assert_eq!(Ledger::default().compare(&dump).len(), 1);
        }
    }
}
