//! What `benches/peers` measured.

use serde::Deserialize;

/// The part of `peers.json` that the report needs.
#[derive(Debug, Deserialize)]
pub(crate) struct Peers {
    pub(crate) comparisons: Vec<Comparison>,
}

/// An operation of a peer and of ours, measured in the same rounds.
#[derive(Debug, Deserialize)]
pub(crate) struct Comparison {
    pub(crate) engine: String,
    pub(crate) title: String,
    unit: String,
    pub(crate) peer: Side,
    pub(crate) ours: Side,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Side {
    pub(crate) name: String,
    pub(crate) durability: String,
    rounds: Vec<f64>,
}

impl Side {
    fn median(&self) -> f64 {
        let mut rounds = self.rounds.clone();
        rounds.sort_by(f64::total_cmp);
        rounds[rounds.len() / 2]
    }
}

impl Comparison {
    /// How many times as fast ours is.
    pub(crate) fn ratio(&self) -> f64 {
        let ratio = self.ours.median() / self.peer.median();
        match self.unit.as_str() {
            "ms" => 1.0 / ratio,
            _ => ratio,
        }
    }
}
