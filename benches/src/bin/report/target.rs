//! What the store should reach, as a part of what the engine does driven directly.

use jobstore_benches::Engine;
use jobstore_benches::results::Figure;

/// How the cost at ten million rows may compare with that at ten thousand.
pub(crate) const GROWTH: f64 = 1.2;

/// The target for a case beside one of the other sides; none where there is none.
pub(crate) fn of(engine: Engine, figure: &Figure, side: &str) -> Option<f64> {
    let is_server = matches!(engine, Engine::Postgres | Engine::MariaDb);
    match (figure.group.as_str(), figure.callers, figure.batch, side) {
        ("list", ..) if is_server => Some(0.7),
        ("list", ..) => Some(0.5),
        ("create" | "claim" | "finish", 1, 100, "limit") => Some(match engine {
            Engine::Postgres | Engine::MariaDb => 0.7,
            Engine::Sqlite => 0.6,
            _ => 0.5,
        }),
        ("create" | "claim" | "finish" | "lifecycle", 64, 1, "group") if is_server => Some(0.6),
        ("create" | "claim" | "finish" | "lifecycle", 64, 1, "single") if is_server => Some(1.0),
        ("create" | "claim" | "finish" | "lifecycle", 64, 1, "group") => Some(0.5),
        _ => None,
    }
}
