//! That each limit does what it is measured for: the same calls have the same effect on it and on the
//! store. One that leaves work out is no limit.

use std::sync::Arc;
use std::time::Duration;

use jobstore::{
    Claim, ClaimRequest, Clock as _, Job, JobFilter, JobStore, NewJob, PageRequest, SystemClock,
    Timestamp,
};
use jobstore_benches::limit::{Limit, OWNER, Page, Write};
use jobstore_benches::{Engine, Ground, NAME, PARAMS, open};

/// The same calls on both sides, each of which names its jobs by the order of their creation.
struct Pair {
    store: Arc<dyn JobStore>,
    stored: Vec<Claim>,
    limit: Box<dyn Limit>,
    created: Vec<Claim>,
}

impl Pair {
    async fn new(ground: &Ground, engine: Engine) -> (Self, String) {
        let place = ground.place().await;
        let mut limits = engine.limit(&place, 1).await;
        let pair = Self {
            store: open(&ground.place().await).await,
            stored: Vec::new(),
            limit: limits.pop().expect("one writer"),
            created: Vec::new(),
        };
        (pair, place)
    }

    async fn create(&mut self, jobs: Vec<NewJob>) {
        let store = jobstore_benches::write(&*self.store, Write::Create(jobs.clone())).await;
        let limit = self.write(Write::Create(jobs.clone())).await;
        assert_eq!(limit.len(), jobs.len(), "the limit creates each");
        self.stored.extend(store);
        self.created.extend(limit);
    }

    async fn write(&mut self, call: Write) -> Vec<Claim> {
        let mut answers = self.limit.write(vec![call]).await;
        assert_eq!(answers.len(), 1, "one answer for each call");
        answers.remove(0)
    }

    /// Claims on both sides, and returns which jobs the limit claimed.
    async fn claim(&mut self, name: &str, limit: u32) -> Vec<usize> {
        let name = name.to_owned();
        let call = Write::Claim { name, limit };
        let store = jobstore_benches::write(&*self.store, call.clone()).await;
        let limit = self.write(call).await;
        let fences = |claims: &[Claim]| claims.iter().map(|one| one.fence).collect::<Vec<_>>();
        assert_eq!(fences(&limit), fences(&store), "the fences are the store's");
        let limit: Vec<usize> = places(&self.created, &limit);
        let store: Vec<usize> = places(&self.stored, &store);
        assert_eq!(
            limit, store,
            "the limit claims what the store claims, in its order"
        );
        limit
    }

    /// Finishes these jobs as if in this run, and returns how many the limit finished.
    async fn finish(&mut self, jobs: &[usize], fence: u64) -> usize {
        let of = |ids: &[Claim]| -> Vec<Claim> {
            let claims = jobs.iter().map(|&job| Claim { fence, ..ids[job] });
            claims.collect()
        };
        let (store, limit) = (of(&self.stored), of(&self.created));
        jobstore_benches::write(&*self.store, Write::Finish(store)).await;
        self.write(Write::Finish(limit)).await.len()
    }

    /// Reads everything in pages, on both sides, and returns how many jobs there are.
    async fn walk(&mut self, size: u32) -> usize {
        let mut request = PageRequest::default().with_size(size);
        let mut after = None;
        let mut jobs = 0;
        loop {
            let store = self.store.list_jobs(&JobFilter::default(), &request).await;
            let store = store.expect("lists");
            let limit: Page = self.limit.page(after, size as usize).await;
            assert_eq!(limit.jobs, store.len(), "the page has as many jobs");
            if let Some((time, id)) = limit.last {
                let last = place(&self.created, id);
                let of_store = place(&self.stored, store[store.len() - 1].id);
                assert_eq!(last, of_store, "the page ends with the same job");
                assert!(after < Some((time, id)), "pages follow each other");
            }
            jobs += limit.jobs;
            after = limit.last;
            match store.token {
                Some(token) => request = request.with_token(Some(token)),
                None => return jobs,
            }
        }
    }
}

fn place(all: &[Claim], id: jobstore::JobId) -> usize {
    let place = all.iter().position(|one| one.id == id);
    place.expect("it was created here")
}

fn places(all: &[Claim], some: &[Claim]) -> Vec<usize> {
    some.iter().map(|one| place(all, one.id)).collect()
}

/// Jobs that differ in what orders claims, some of which are not due, and two names.
fn jobs() -> Vec<NewJob> {
    let now = SystemClock.now();
    let at = |secs: u64| now.saturating_add(Duration::from_secs(secs));
    let past = |secs: i64| Timestamp::from_millis(now.as_millis() - 1000 * secs);
    let job = || NewJob::new(NAME, PARAMS);
    let mut jobs = vec![
        job().with_priority(9).with_next_attempt_at(at(86_400)),
        job(),
        job().with_priority(-1),
        job().with_priority(5).with_next_attempt_at(past(1)),
        job().with_priority(5).with_next_attempt_at(past(2)),
        NewJob::new("render", PARAMS).with_priority(7),
        job().with_timeout(Duration::from_millis(1500)),
        job().with_max_retries(3),
    ];
    jobs.extend((0..120).map(|_| job()));
    jobs.extend((0..20).map(|_| NewJob::new("render", PARAMS)));
    jobs
}

async fn has_the_effect_of_the_store(engine: Engine) {
    let ground = Ground::new(engine);
    let (mut pair, _) = Pair::new(&ground, engine).await;
    let jobs = jobs();
    let count = jobs.len();
    pair.create(jobs).await;
    assert_eq!(pair.walk(100).await, count);

    let first = pair.claim(NAME, 3).await;
    assert_eq!(
        first,
        [4, 3, 1],
        "{engine}: by priority, then by the time they are due"
    );
    let next = pair.claim(NAME, 100).await;
    assert_eq!(next.len(), 100, "{engine}");
    assert_eq!(
        pair.claim("render", 1).await,
        [5],
        "{engine}: only of the name"
    );
    assert_eq!(
        pair.finish(&next, 1).await,
        100,
        "{engine} finishes what runs"
    );
    assert_eq!(
        pair.walk(7).await,
        count,
        "{engine}: whatever its status, a job is listed once"
    );
    // All but the one that is not due: 126 of the name, three and a hundred of them claimed.
    assert_eq!(pair.claim(NAME, 1000).await.len(), 23, "{engine}");
    assert_eq!(
        pair.claim(NAME, 1000).await,
        [0; 0],
        "{engine} claims no job twice"
    );

    // Merged calls share a step, and each gets what it asked for.
    let claim = |limit| Write::Claim {
        name: "render".to_owned(),
        limit,
    };
    let create = |jobs| Write::Create(vec![NewJob::new("other", PARAMS); jobs]);
    let calls = vec![claim(2), create(1), claim(3), create(2)];
    let mut answers = pair.limit.write(calls).await;
    let lengths: Vec<usize> = answers.iter().map(Vec::len).collect();
    assert_eq!(lengths, [2, 1, 3, 2], "{engine}");
    let mut claimed = places(&pair.created, &answers.remove(2));
    claimed.extend(places(&pair.created, &answers[0]));
    claimed.sort_unstable();
    assert_eq!(
        claimed,
        [128, 129, 130, 131, 132],
        "{engine}: each is claimed once"
    );
}

/// A claim that is over ends no job: the limit says so, or gives up where it only counts.
async fn finishes_only_under_the_claim(engine: Engine) {
    let ground = Ground::new(engine);
    // A server's connection cannot be used any more after it gave up.
    let mut limits = engine.limit(&ground.place().await, 3).await;
    let mut limit = limits.pop().expect("one writer");
    let job = Write::Create(vec![NewJob::new(NAME, PARAMS)]);
    let created = limit.write(vec![job]).await.remove(0)[0];
    let of_run = move |fence| Claim { fence, ..created };
    let claim = Write::Claim {
        name: NAME.to_owned(),
        limit: 1,
    };
    let claims = limit.write(vec![claim]).await.remove(0);
    assert_eq!(claims, [of_run(1)], "{engine}");
    for fence in [0, 2] {
        let task = tokio::spawn(async move {
            let call = Write::Finish(vec![of_run(fence)]);
            (limit.write(vec![call]).await, limit)
        });
        limit = match task.await {
            Ok((finished, same)) => {
                assert_eq!(finished, [[]], "{engine} finished run {fence}");
                same
            }
            Err(_) => limits.pop().expect("servers give as many as asked for"),
        };
    }
    for expected in [vec![of_run(1)], Vec::new()] {
        let finish = Write::Finish(claims.clone());
        let task = tokio::spawn(async move { (limit.write(vec![finish]).await, limit) });
        match task.await {
            Ok((finished, same)) => {
                assert_eq!(finished, [expected], "{engine}: once, under its claim");
                limit = same;
            }
            Err(error) => {
                assert_eq!(expected, [], "{engine} did not finish a run: {error}");
                break;
            }
        }
    }
}

/// What the limit wrote is what the store would have: the store opens it, and reads equal jobs.
async fn writes_what_the_store_reads(engine: Engine) {
    let ground = Ground::new(engine);
    let (mut pair, place) = Pair::new(&ground, engine).await;
    pair.create(jobs()).await;
    let claimed = pair.claim(NAME, 20).await;
    pair.finish(&claimed[..10], 1).await;
    let store = open(&place).await;
    let (of_limit, of_store) = (all(&*store).await, all(&*pair.store).await);
    assert_eq!(of_limit.len(), of_store.len());
    for (index, (limit, store)) in of_limit.iter().zip(&of_store).enumerate() {
        assert_eq!(limit.params, store.params, "{engine}: job {index}");
        assert_eq!(timeless(limit), timeless(store), "{engine}: job {index}");
    }
    let request = ClaimRequest::new(OWNER, Duration::from_secs(60)).with_limit(1000);
    let claims = async |store: &dyn JobStore, all: &[Claim]| {
        let jobs = store.claim_jobs(&request).await.expect("claims");
        let claims: Vec<Claim> = jobs.iter().map(Job::claim).collect();
        places(all, &claims)
    };
    let of_limit = claims(&*store, &pair.created).await;
    let of_store = claims(&*pair.store, &pair.stored).await;
    assert_eq!(of_limit, of_store, "{engine}: the same jobs can be claimed");
    assert!(of_limit.len() > 100, "{engine}");
}

async fn all(store: &dyn JobStore) -> Vec<Job> {
    let page = PageRequest::default().with_size(1000);
    let page = store.list_jobs(&JobFilter::default(), &page).await;
    page.expect("lists").items
}

/// The job without its id, and its times as they are to each other.
fn timeless(job: &Job) -> Job {
    assert!(job.last_update_time >= job.creation_time);
    let since = |time: Timestamp, start: Timestamp| {
        Timestamp::from_millis(time.as_millis() - start.as_millis())
    };
    let lease = job.lease_expires_at;
    let at_once = job.next_attempt_at == job.creation_time;
    Job {
        id: jobstore::JobId::from_uuid(uuid::Uuid::nil()),
        creation_time: Timestamp::default(),
        last_update_time: Timestamp::default(),
        next_attempt_at: if at_once {
            Timestamp::default()
        } else {
            job.next_attempt_at
        },
        lease_expires_at: lease.map(|expires| since(expires, job.last_update_time)),
        ..job.clone()
    }
}

macro_rules! tests {
    ($($name:ident: $engine:ident, $($test:ident)*;)*) => {
        $(mod $name {
            $(#[tokio::test]
            async fn $test() {
                super::$test(jobstore_benches::Engine::$engine).await;
            })*
        })*
    };
}

tests! {
    memory: Memory, has_the_effect_of_the_store finishes_only_under_the_claim;
    sqlite: Sqlite, has_the_effect_of_the_store finishes_only_under_the_claim writes_what_the_store_reads;
    sled: Sled, has_the_effect_of_the_store finishes_only_under_the_claim;
    redb: Redb, has_the_effect_of_the_store finishes_only_under_the_claim;
    postgres: Postgres, has_the_effect_of_the_store finishes_only_under_the_claim writes_what_the_store_reads;
    mariadb: MariaDb, has_the_effect_of_the_store finishes_only_under_the_claim writes_what_the_store_reads;
}
