//! What a claim costs MariaDB beside few and many other jobs, in turns, and why: by the store and by the
//! least SQL, on the same servers and tables. Prints a table of what each claim took: time, the server's
//! processor time, pages looked at, and pages read from the disk; with `innodb_adaptive_hash_index`
//! off, as the server comes, and on, which finds most pages without the way down their trees. The jobs
//! are those of `measure mariadb --growth 10000,10000000`, made when they are not there.
//!
//! `cargo run --release --package jobstore-benches --bin mariadb-claims [-- ROWS ...]`
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fs;
use std::ops::Sub;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jobstore::{Claim, DeleteRequest};
use jobstore_benches::limit::Write;
use jobstore_benches::{DataSet, Engine, NAME, Side};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySqlConnection};
use tokio::sync::Mutex;

const ROUNDS: usize = 9;
/// Jobs to a claim, and claims in a round.
const CLAIMS: [(usize, usize); 3] = [(1, 600), (10, 200), (100, 60)];
const HASH_INDEX: [&str; 2] = ["OFF", "ON"];

#[tokio::main]
async fn main() {
    let mut sizes: Vec<usize> = std::env::args()
        .skip(1)
        .map(|rows| rows.parse().expect("a number of rows"))
        .collect();
    if sizes.is_empty() {
        sizes = vec![10_000, 10_000_000];
    }
    let mut places = Vec::new();
    for rows in sizes {
        places.push(Place::open(rows).await);
    }
    println!(
        "| hash index | jobs to a claim | by | other jobs | µs | of the server's processor | \
         pages looked at | read from disk |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for hash_index in HASH_INDEX {
        for place in &mut places {
            let set = format!("SET GLOBAL innodb_adaptive_hash_index = {hash_index}");
            let set = place.connection.execute(AssertSqlSafe(set)).await;
            set.expect("sets");
        }
        for (batch, calls) in CLAIMS {
            for by in ["the store", "the least SQL"] {
                let mut rounds = vec![Vec::new(); places.len()];
                // The first warms up what the other cases did not.
                for round in 0..=ROUNDS {
                    for (place, costs) in places.iter_mut().zip(&mut rounds) {
                        let cost = place.claim(by, batch, calls).await;
                        if round > 0 {
                            costs.push(cost);
                        }
                    }
                }
                for (place, costs) in places.iter().zip(&rounds) {
                    let median = |of: fn(&Cost) -> f64| {
                        let mut all: Vec<f64> = costs.iter().map(of).collect();
                        all.sort_by(f64::total_cmp);
                        all[all.len() / 2]
                    };
                    println!(
                        "| {hash_index} | {batch} | {by} | {} | {:.0} | {:.0} | {:.0} | {:.2} |",
                        place.set.rows(),
                        median(|cost| cost.micros),
                        median(|cost| cost.processor),
                        median(|cost| cost.looked_at),
                        median(|cost| cost.read),
                    );
                }
            }
        }
    }
    for place in places {
        place.close();
    }
}

/// Other jobs, and both ways to claim beside them.
struct Place {
    set: DataSet,
    store: Side,
    limit: Side,
    /// To ask the server what it did.
    connection: MySqlConnection,
}

/// What one claim took, on an average of a round's.
#[derive(Clone, Debug)]
struct Cost {
    micros: f64,
    processor: f64,
    looked_at: f64,
    read: f64,
}

/// What the server did since it was started.
#[derive(Clone, Copy)]
struct Work {
    processor: Duration,
    looked_at: u64,
    read: u64,
}

impl Place {
    async fn open(rows: usize) -> Self {
        let set = DataSet::open(Engine::MariaDb, rows).await;
        let url = set.url();
        // The engine's own statements meet the store's own table.
        let mut limits = Engine::MariaDb.limit(&url, 1).await;
        let limit = limits.pop().expect("one writer");
        Self {
            store: Side::Store(Arc::clone(&set.store)),
            limit: Side::Limit(Arc::new(Mutex::new(limit))),
            connection: MySqlConnection::connect(&url).await.expect("connects"),
            set,
        }
    }

    /// Claims this many jobs that often, and leaves nothing behind.
    async fn claim(&mut self, by: &str, batch: usize, calls: usize) -> Cost {
        let side = if by == "the store" {
            &self.store
        } else {
            &self.limit
        };
        let side = side.clone();
        side.fill(batch * calls).await;
        let limit = u32::try_from(batch).expect("few");
        let before = self.work().await;
        let start = Instant::now();
        let mut claimed: Vec<Claim> = Vec::new();
        for _ in 0..calls {
            let name = NAME.to_owned();
            claimed.extend(side.write(Write::Claim { name, limit }).await);
        }
        let took = start.elapsed();
        let work = self.work().await - before;
        assert_eq!(claimed.len(), batch * calls, "as many were created");
        side.finish_all(claimed.clone()).await;
        let ids: Vec<_> = claimed.iter().map(|claim| claim.id).collect();
        for ids in ids.chunks(1000) {
            let request = DeleteRequest::Ids(ids.to_vec());
            let deleted = self.set.store.delete_jobs(&request).await;
            assert_eq!(deleted.expect("deletes").len(), ids.len());
        }
        let each = |count: u64| count as f64 / calls as f64;
        Cost {
            micros: took.as_secs_f64() * 1e6 / calls as f64,
            processor: work.processor.as_secs_f64() * 1e6 / calls as f64,
            looked_at: each(work.looked_at),
            read: each(work.read),
        }
    }

    async fn status(&mut self) -> HashMap<String, u64> {
        let ask = sqlx::query_as("SHOW GLOBAL STATUS LIKE 'Innodb_%'");
        let rows: Vec<(String, String)> =
            ask.fetch_all(&mut self.connection).await.expect("answers");
        let number = |(name, value): (String, String)| Some((name, value.parse().ok()?));
        rows.into_iter().filter_map(number).collect()
    }

    async fn work(&mut self) -> Work {
        let status = self.status().await;
        Work {
            processor: processor(&self.set),
            looked_at: status["Innodb_buffer_pool_read_requests"],
            read: status["Innodb_buffer_pool_reads"],
        }
    }

    fn close(self) {
        drop((self.store, self.limit, self.connection));
        self.set.close();
    }
}

impl Sub for Work {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            processor: self.processor - before.processor,
            looked_at: self.looked_at - before.looked_at,
            read: self.read - before.read,
        }
    }
}

/// How long the server has been on a processor, as Linux counts it in hundredths of a second.
fn processor(set: &DataSet) -> Duration {
    let server = set.server().expect("it has a server").directory();
    let pid = fs::read_to_string(server.join("pid")).expect("a process id");
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).expect("it runs");
    // What follows the name in parentheses, which may have spaces.
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|text| text.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}
