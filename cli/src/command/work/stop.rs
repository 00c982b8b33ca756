//! How a worker is told to stop.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How far stopping has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Run,
    /// Claim no more, and wait for what runs.
    Finish,
    /// Kill what runs, and hand it back.
    HandBack,
}

/// The phase that a worker is in.
#[derive(Clone, Debug)]
pub(super) struct Stop(watch::Receiver<Phase>);

impl Stop {
    /// Goes on to finish at the first SIGTERM or SIGINT, and to hand back at the second or after
    /// `grace`.
    pub(super) fn on_signals(grace: Duration) -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (phase, receiver) = watch::channel(Phase::Run);
        tokio::spawn(async move {
            let mut next = async || {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            };
            next().await;
            phase.send_replace(Phase::Finish);
            tokio::select! {
                () = next() => {}
                () = tokio::time::sleep(grace) => {}
            }
            phase.send_replace(Phase::HandBack);
            // Dropping the sender now would make every wait for a change return at once.
            phase.closed().await;
        });
        Ok(Self(receiver))
    }

    pub(super) fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Returns when the phase is another than when this was last called.
    pub(super) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Returns when running jobs are to be handed back.
    pub(super) async fn hand_back(&mut self) {
        if self
            .0
            .wait_for(|phase| *phase == Phase::HandBack)
            .await
            .is_err()
        {
            std::future::pending().await
        }
    }
}
