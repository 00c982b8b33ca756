//! The loads, and the loop that takes requests.

use std::io::{BufRead as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{Answer, BATCH, Contender, Figure, Handled, Operation, Request};

/// How long creates are measured.
const CREATING: Duration = Duration::from_millis(1200);

/// How long workers are measured at most, when they do not come to the end of the jobs before.
const WORKING: Duration = Duration::from_secs(3);

/// How often the unfinished jobs are counted once all have been handled.
const COUNTING: Duration = Duration::from_millis(5);

/// Takes requests from standard input until it ends.
///
/// # Errors
///
/// When standard input or output breaks. What goes wrong with the contender is answered.
pub async fn serve(contender: impl Contender) -> Result<()> {
    let contender: Arc<dyn Contender> = Arc::new(contender);
    loop {
        let line = tokio::task::spawn_blocking(|| std::io::stdin().lock().lines().next()).await?;
        let Some(line) = line.transpose()? else {
            return Ok(());
        };
        let request = serde_json::from_str(&line).context("no request")?;
        let answer = match answer(&contender, request).await {
            Ok(answer) => answer,
            Err(error) => Answer::Failed(format!("{error:#}")),
        };
        let mut line = serde_json::to_string(&answer)?;
        line.push('\n');
        let mut output = std::io::stdout().lock();
        output.write_all(line.as_bytes())?;
        output.flush()?;
    }
}

async fn answer(contender: &Arc<dyn Contender>, request: Request) -> Result<Answer> {
    Ok(match request {
        Request::About => Answer::About(contender.about()),
        Request::Fill(jobs) => {
            fill(contender, jobs).await?;
            Answer::Done
        }
        Request::Measure(operation) => Answer::Figure(measure(contender, operation).await?),
    })
}

async fn measure(contender: &Arc<dyn Contender>, operation: Operation) -> Result<Figure> {
    let value = match operation.needs() {
        Operation::Create1 => create(contender, 1).await,
        Operation::Create16 => create(contender, 16).await,
        Operation::Create64 => create(contender, 64).await,
        Operation::CreateBatch => create_batches(contender).await,
        Operation::Work
        | Operation::WorkDelete
        | Operation::WorkOpen
        | Operation::WorkDeleteOpen => return work(contender).await,
        Operation::FirstPage => page(contender, 0).await,
        Operation::DeepPage => page(contender, 90_000).await,
        Operation::Walk => {
            let start = Instant::now();
            let jobs = contender.walk().await?;
            ensure!(jobs == 40_000, "a walk over 40,000 jobs gave {jobs}");
            Ok(jobs as f64 / start.elapsed().as_secs_f64())
        }
        Operation::PickUp => pick_up(contender).await,
    };
    value.map(Figure::from)
}

async fn fill(contender: &Arc<dyn Contender>, jobs: usize) -> Result<()> {
    if contender
        .about()
        .operations
        .contains(&Operation::CreateBatch)
    {
        for _ in 0..jobs.div_ceil(BATCH) {
            contender.create_batch().await?;
        }
        return Ok(());
    }
    let callers = (0..64).map(|index| {
        let contender = Arc::clone(contender);
        let share = jobs / 64 + usize::from(index < jobs % 64);
        tokio::spawn(async move {
            for _ in 0..share {
                contender.create_one().await?;
            }
            Ok::<_, anyhow::Error>(())
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await??;
    }
    Ok(())
}

async fn create(contender: &Arc<dyn Contender>, callers: usize) -> Result<f64> {
    let start = Instant::now();
    let callers = (0..callers).map(|_| {
        let contender = Arc::clone(contender);
        tokio::spawn(async move {
            let mut created = 0;
            while start.elapsed() < CREATING {
                contender.create_one().await?;
                created += 1;
            }
            Ok::<_, anyhow::Error>(created)
        })
    });
    let mut created = 0;
    for caller in callers.collect::<Vec<_>>() {
        created += caller.await??;
    }
    Ok(f64::from(created) / start.elapsed().as_secs_f64())
}

async fn create_batches(contender: &Arc<dyn Contender>) -> Result<f64> {
    let start = Instant::now();
    let mut created = 0;
    while start.elapsed() < CREATING {
        contender.create_batch().await?;
        created += BATCH;
    }
    Ok(created as f64 / start.elapsed().as_secs_f64())
}

/// Lets the workers take and finish what waits, for at most [`WORKING`], and counts what is finished in the table: a
/// handler that ran is not yet a job that was finished.
async fn work(contender: &Arc<dyn Contender>) -> Result<Figure> {
    let waiting = contender.unfinished().await?;
    let handled = Arc::new(Handled::default());
    let (rate, measured) = tokio::sync::oneshot::channel();
    let until = {
        let (contender, handled) = (Arc::clone(contender), Arc::clone(&handled));
        async move {
            // Workers have been started by whoever waits for this.
            let start = Instant::now();
            while handled.count() < waiting && start.elapsed() < WORKING {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let finished = async {
                loop {
                    let time = start.elapsed();
                    let unfinished = contender.unfinished().await?;
                    if unfinished == 0 || time >= WORKING {
                        return Ok::<_, anyhow::Error>((waiting - unfinished, time));
                    }
                    tokio::time::sleep(COUNTING).await;
                }
            };
            let _ = rate.send(finished.await);
        }
    };
    contender
        .work(Arc::clone(&handled), Box::pin(until))
        .await?;
    let (finished, time) = measured.await.context("the workers ended early")??;
    ensure!(finished > 0, "no job was finished");
    Ok(Figure {
        value: finished as f64 / time.as_secs_f64(),
        again: handled.again(),
    })
}

/// The median time of twenty reads of the same page, in milliseconds.
async fn page(contender: &Arc<dyn Contender>, behind: usize) -> Result<f64> {
    contender.turn_to(behind).await?;
    let mut times = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        let jobs = contender.page().await?;
        times.push(start.elapsed());
        ensure!(jobs == BATCH, "a page had {jobs} jobs");
    }
    Ok(median(times))
}

/// The median of ten times, in milliseconds, from a create to the handler.
async fn pick_up(contender: &Arc<dyn Contender>) -> Result<f64> {
    let handled = Arc::new(Handled::default());
    let (times, measured) = tokio::sync::oneshot::channel();
    let until = {
        let (contender, handled) = (Arc::clone(contender), Arc::clone(&handled));
        async move {
            // Workers may poll quickly at first, and less when they find nothing.
            tokio::time::sleep(Duration::from_millis(500)).await;
            let mut latencies = Vec::new();
            let picked_up = async {
                for jobs in 1..=10 {
                    let start = Instant::now();
                    contender.create_one().await?;
                    let picked_up = handled.reached(jobs);
                    let Ok(at) = tokio::time::timeout(Duration::from_secs(20), picked_up).await
                    else {
                        bail!("a job was not picked up within 20 seconds");
                    };
                    latencies.push(at.duration_since(start));
                    tokio::time::sleep(Duration::from_millis(30 + 7 * jobs as u64)).await;
                }
                Ok(median(latencies))
            };
            let _ = times.send(picked_up.await);
        }
    };
    contender.work(handled, Box::pin(until)).await?;
    measured.await.context("the workers ended early")?
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1000.0
}
