//! What may be the case while nobody knows whether a call has happened.

use std::sync::Arc;

use jobstore_core::Timestamp;

use super::call::Call;
use super::jobs::Jobs;
use crate::failure::{CaseResult, Failure};

/// The worlds that explain everything seen so far; never none.
///
/// A call that was dropped may happen at any later time, or never. Until something shows which, the
/// worlds in which it has happened stand beside those in which it has not.
#[derive(Debug)]
pub(super) struct Worlds(Vec<World>);

#[derive(Clone, Debug, PartialEq)]
struct World {
    jobs: Jobs,
    unsettled: Option<Unsettled>,
}

/// A call that may still happen.
#[derive(Clone, Debug, PartialEq)]
struct Unsettled {
    call: Arc<Call>,
    /// The times that the store may have read for it.
    times: Vec<Timestamp>,
}

impl World {
    /// This world, and those that come of it when the unsettled call happens now.
    fn unfold(self) -> impl Iterator<Item = Self> {
        let happened: Vec<Self> = self
            .unsettled
            .iter()
            .flat_map(|Unsettled { call, times }| times.iter().map(move |time| (call, *time)))
            .map(|(call, time)| {
                let mut jobs = self.jobs.clone();
                call.carry_out(&mut jobs, time);
                Self {
                    jobs,
                    unsettled: None,
                }
            })
            .collect();
        std::iter::once(self).chain(happened)
    }
}

impl Worlds {
    /// The one world in which nothing has happened.
    pub(super) fn new() -> Self {
        Self(vec![World {
            jobs: Jobs::default(),
            unsettled: None,
        }])
    }

    /// The jobs of the world that has waited longest to be refuted.
    pub(super) fn likely(&self) -> &Jobs {
        &self.0[0].jobs
    }

    /// Whether a call is unsettled in some world.
    pub(super) fn are_unsettled(&self) -> bool {
        self.0.iter().any(|world| world.unsettled.is_some())
    }

    /// A call is on its way that may happen at any time from now on, or never.
    pub(super) fn unsettle(&mut self, call: Call, now: Timestamp) {
        let call = Arc::new(call);
        for world in &mut self.0 {
            world.unsettled = Some(Unsettled {
                call: Arc::clone(&call),
                times: vec![now],
            });
        }
    }

    /// The clock shows another time, which what is unsettled may have read.
    pub(super) fn tick(&mut self, now: Timestamp) {
        for unsettled in self.0.iter_mut().flat_map(|world| &mut world.unsettled) {
            if !unsettled.times.contains(&now) {
                unsettled.times.push(now);
            }
        }
    }

    /// Keeps the worlds in which this can be seen, and changes them as it says.
    ///
    /// # Errors
    ///
    /// The first world's failure, if there is none left.
    pub(super) fn explain(&mut self, see: impl Fn(&mut Jobs) -> CaseResult) -> CaseResult {
        let mut failure: Option<Failure> = None;
        let mut explaining: Vec<World> = Vec::new();
        for mut world in self.0.drain(..).flat_map(World::unfold) {
            match see(&mut world.jobs) {
                Ok(()) if explaining.contains(&world) => {}
                Ok(()) => explaining.push(world),
                Err(refuted) => _ = failure.get_or_insert(refuted),
            }
        }
        match failure {
            Some(failure) if explaining.is_empty() => Err(failure),
            _ => {
                self.0 = explaining;
                Ok(())
            }
        }
    }
}
