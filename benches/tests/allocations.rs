//! What calls allocate, compared with what was recorded: a sign of work that was added, or spared,
//! which no clock and no load of the machine changes.
//!
//! Counted are Rust's allocations, of all threads; SQLite's own are C's and not among them.

use std::alloc::System;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jobstore::{ClaimRequest, JobFilter, PageRequest};
use jobstore_benches::limit::OWNER;
use jobstore_benches::{Engine, Ground, NAME, fill, open};
use serde::{Deserialize, Serialize};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How often each call is made. The median counts: now and then a set grows.
const TIMES: usize = 25;

/// What one call allocates.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
struct Allocated {
    /// How many times, reallocations among them.
    times: usize,
    bytes: usize,
}

type Calls = BTreeMap<String, Allocated>;

/// The calls of both builds: optimized code allocates less.
#[derive(Default, Deserialize, Serialize)]
struct Recorded {
    debug: Calls,
    release: Calls,
}

impl Recorded {
    fn of_this_build(&mut self) -> (&mut Calls, &'static str) {
        match cfg!(debug_assertions) {
            true => (&mut self.debug, ""),
            false => (&mut self.release, " --release"),
        }
    }
}

// The only test of this file: another's allocations would be counted as well.
#[test]
fn claims_and_pages_allocate_what_was_recorded() {
    // One thread, so that it does not matter how many there could be.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("starts");
    let mut calls = Calls::new();
    for engine in [Engine::Memory, Engine::Sqlite] {
        runtime.block_on(measure(engine, &mut calls));
    }
    let path = path();
    let text = fs::read_to_string(&path).unwrap_or_else(|_| "{\"debug\":{},\"release\":{}}".into());
    let mut recorded: Recorded = serde_json::from_str(&text).expect("is what this test wrote");
    let (before, build) = recorded.of_this_build();
    if std::env::var_os("JOBSTORE_BENCH_RECORD").is_some() {
        *before = calls;
        let text = serde_json::to_string_pretty(&recorded).expect("writes");
        fs::write(path, text + "\n").expect("writes");
        return;
    }
    let named = calls.keys().chain(before.keys());
    let differing: Vec<String> = named
        .filter_map(|call| differs(call, before, &calls))
        .collect();
    assert!(
        differing.is_empty(),
        "calls allocate more, or less, than was recorded:\n{}\n\
         Where it is more, find out why: a copy too many? Where it is meant, or less, record it:\n\
         JOBSTORE_BENCH_RECORD=1 cargo test --package jobstore-benches{build} --test allocations",
        differing.join("\n")
    );
}

/// How much a call differs by chance. Each way to SQLite's thread and back takes an allocation more
/// when it has to be waited for; in memory nothing is.
fn chance(call: &str) -> Allocated {
    match call.starts_with("SQLite") {
        true => Allocated {
            times: 10,
            bytes: 1024,
        },
        false => Allocated { times: 0, bytes: 0 },
    }
}

/// Says how a call differs by more than chance, and than a fiftieth.
fn differs(call: &str, before: &Calls, now: &Calls) -> Option<String> {
    let (before, now) = (before.get(call), now.get(call));
    if let (Some(before), Some(now)) = (before, now) {
        let chance = chance(call);
        let is_near = |before: usize, now: usize, chance: usize| {
            now.abs_diff(before) <= chance.max(before / 50)
        };
        if is_near(before.times, now.times, chance.times)
            && is_near(before.bytes, now.bytes, chance.bytes)
        {
            return None;
        }
    }
    let say = |allocated: Option<&Allocated>| {
        allocated.map_or("nothing".to_owned(), |Allocated { times, bytes }| {
            format!("{times} times, {bytes} bytes")
        })
    };
    Some(format!("  {call}: {}, recorded {}", say(now), say(before)))
}

async fn measure(engine: Engine, calls: &mut Calls) {
    let ground = Ground::new(engine);
    let store = open(&ground.place().await).await;
    fill(&*store, NAME, 102 * TIMES).await;
    let mut note = |call: String, allocated| calls.insert(format!("{engine}: {call}"), allocated);
    for limit in [1, 100] {
        let request = ClaimRequest::new(OWNER, Duration::from_secs(3600));
        let request = request.with_job_name(NAME).with_limit(limit);
        let claim = async || store.claim_jobs(&request).await.expect("claims").len();
        note(
            format!("claim {limit}"),
            median(claim, limit as usize).await,
        );
    }
    let (filter, page) = (JobFilter::default(), PageRequest::default());
    let list = async || store.list_jobs(&filter, &page).await.expect("lists").len();
    note("page of 100".to_owned(), median(list, 100).await);
}

/// What the call allocates in at least half of the times.
async fn median(call: impl AsyncFn() -> usize, jobs: usize) -> Allocated {
    let mut seen = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let region = Region::new(ALLOCATOR);
        let found = call().await;
        let change = region.change();
        assert_eq!(found, jobs, "as many were there");
        seen.push(Allocated {
            times: change.allocations + change.reallocations,
            bytes: change.bytes_allocated,
        });
    }
    seen.sort_unstable();
    seen[TIMES / 2]
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("allocations.json")
}
