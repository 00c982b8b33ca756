//! Who is told of jobs that can be claimed, and what the defects make of it.

use std::sync::Mutex;

use jobstore_core::{Arrivals, Bell, Job};
use tokio::task::yield_now;

use crate::defect::Defect;

/// What a handle tells of the jobs that its calls leave due.
#[derive(Debug)]
pub(crate) struct Told {
    defect: Defect,
    bell: Mutex<Bell>,
}

impl Told {
    pub(crate) fn new(defect: Defect) -> Self {
        Self {
            defect,
            bell: Mutex::default(),
        }
    }

    pub(crate) fn listen(&self) -> Arrivals {
        let mut bell = self.bell.lock().expect("no panic");
        if self.defect == Defect::OnlyWhoCameLastIsTold {
            *bell = Bell::default();
        }
        bell.listen()
    }

    /// Before jobs are created.
    pub(crate) async fn before(&self) {
        if self.defect == Defect::HintsComeBeforeTheJob {
            self.bell().ring();
            yield_now().await;
        }
    }

    pub(crate) fn after_create<'a>(&self, mut new: impl Iterator<Item = &'a Job>) {
        match self.defect {
            Defect::NobodyIsTold | Defect::HintsComeBeforeTheJob => {}
            Defect::HintsComeLate => {
                let bell = self.bell();
                tokio::spawn(async move { bell.ring() });
            }
            Defect::OnlyTheFirstOfABatchIsLookedAt => self.bell().ring_for(new.next()),
            Defect::EveryCallIsToldOf => self.bell().ring(),
            _ => self.bell().ring_for(new),
        }
    }

    pub(crate) fn after_update<'a>(&self, jobs: impl Iterator<Item = &'a Job>) {
        match self.defect {
            Defect::OnlyNewJobsAreToldOf => {}
            Defect::EveryCallIsToldOf => self.bell().ring(),
            _ => self.bell().ring_for(jobs),
        }
    }

    fn bell(&self) -> Bell {
        self.bell.lock().expect("no panic").clone()
    }
}
