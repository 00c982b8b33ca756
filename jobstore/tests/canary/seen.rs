//! Everything that was shown, to be searched for what must not be.

use std::error::Error as StdError;
use std::fmt::Debug;
use std::io;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jobstore::{
    Action, ClaimRequest, DeleteRequest, Error, JobFilter, JobId, JobParams, JobStatus, JobStore,
    JobStoreExt as _, Lease, NewJob, PageRequest, PageToken, Result, RetryPolicy, Timestamp,
    Update,
};

/// Stands in every password, params and result of these tests, and in nothing else.
pub(crate) const CANARY: &str = "s3cr3t-canary";

/// What was shown so far.
#[derive(Default)]
pub(crate) struct Seen {
    texts: Vec<String>,
    troubles: usize,
    /// The last jobs created, which trouble may have come over since.
    ids: Vec<JobId>,
}

impl Seen {
    /// Starts to collect, what is traced included.
    pub(crate) fn start() -> Self {
        static ONCE: OnceLock<()> = OnceLock::new();
        ONCE.get_or_init(|| {
            tracing_subscriber::fmt()
                .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
                .with_writer(|| Log)
                .init();
        });
        Self::default()
    }

    pub(crate) fn debug(&mut self, value: impl Debug) {
        self.texts.push(format!("{value:?} {value:#?}"));
    }

    /// Looks at an error when there is one.
    pub(crate) fn result<T: Debug>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => {
                self.debug(&value);
                Some(value)
            }
            Err(error) => {
                self.error(&error);
                None
            }
        }
    }

    pub(crate) fn error(&mut self, error: &Error) {
        let trouble = matches!(
            error,
            Error::Unavailable { .. }
                | Error::Incompatible { .. }
                | Error::Backend { .. }
                | Error::Unreadable { .. }
        );
        self.troubles += usize::from(trouble);
        let mut next: Option<&dyn StdError> = Some(error);
        while let Some(error) = next {
            self.texts.push(format!("{error} {error:?} {error:#?}"));
            next = error.source();
        }
    }

    /// Fails unless the engine refused something since the last time, so that no trouble is one in
    /// name only.
    #[track_caller]
    pub(crate) fn must_have_failed(&mut self, what: &str) {
        assert_ne!(self.troubles, 0, "nothing failed: {what}");
        self.troubles = 0;
    }

    #[track_caller]
    pub(crate) fn check(&self) {
        for text in &self.texts {
            assert!(!text.contains(CANARY), "{text}");
        }
        let log = String::from_utf8_lossy(&log()).into_owned();
        assert!(!log.is_empty(), "nothing was traced");
        for line in log.lines() {
            assert!(!line.contains(CANARY), "{line}");
        }
    }

    /// Calls everything a store can do, with payloads that nobody may see.
    pub(crate) async fn use_store(&mut self, store: &dyn JobStore) {
        self.debug(store);
        self.result(store.get_jobs(&self.ids).await);
        self.ids.clear();
        let params = format!(r#"{{"secret": "{CANARY}"}}"#);
        let new = || NewJob::new("a", params.as_str());
        self.debug(new());
        let created = self.result(store.create_job(new()).await);
        let jobs = vec![new().with_unique_key("k"), new()];
        let created_too = self.result(store.create_jobs(jobs).await);
        let created_too = created_too.unwrap_or_default();
        self.ids
            .extend(created_too.iter().map(|created| created.job().id));
        let request = ClaimRequest::new("me", Duration::from_secs(60)).with_limit(2);
        self.debug(&request);
        for job in self
            .result(store.claim_jobs(&request).await)
            .unwrap_or_default()
        {
            let finish = Update::new(
                job.claim(),
                Action::Finish {
                    result: Some(CANARY.into()),
                },
            );
            self.debug(&finish);
            self.result(store.update_job(finish).await);
            // The second outcome is refused, and so is the repeated id.
            self.result(store.fail_job(job.claim(), CANARY).await);
            self.result(store.create_job(new().with_id(job.id)).await);
        }
        if let Some(created) = created {
            let id = created.job().id;
            self.result(store.get_job(id).await);
            self.result(store.start_job(id).await);
            let retry = store.retry_or_fail_job(id, CANARY, RetryPolicy::default());
            self.result(retry.await);
            self.result(store.reset_job(id).await);
            self.result(store.fail_job(id, CANARY).await);
            self.result(store.delete_jobs(&DeleteRequest::Ids(vec![id])).await);
        }
        let filter = JobFilter::default().with_params(params.as_str());
        self.debug(&filter);
        let page = PageRequest::default().with_size(2);
        if let Some(page) = self.result(store.list_jobs(&filter, &page).await) {
            for unreadable in page.unreadable {
                self.error(&unreadable);
            }
        }
        self.result(store.count_jobs(&filter).await);
        let delete = DeleteRequest::Before {
            cutoff: Timestamp::from_millis(1),
            job_names: Vec::new(),
            statuses: Vec::new(),
            limit: 1,
        };
        self.result(store.delete_jobs(&delete).await);
    }

    /// Calls what stands for the others where each call waits for long.
    pub(crate) async fn use_briefly(&mut self, store: &dyn JobStore) {
        let job = NewJob::new("a", format!(r#"{{"secret": "{CANARY}"}}"#));
        let id = job.id;
        self.result(store.create_job(job).await);
        self.result(store.get_jobs(&id.into_iter().collect::<Vec<_>>()).await);
        self.result(store.count_jobs(&JobFilter::default()).await);
    }

    /// Refuses every argument there is to refuse.
    pub(crate) async fn refuse_arguments(&mut self, store: &dyn JobStore) {
        let nul = format!("{CANARY}\0");
        let long = CANARY.repeat(100);
        let params = format!(r#"{{"secret": "{CANARY}"}}"#);
        let big = format!(r#"{{"secret": "{}"}}"#, CANARY.repeat(700_000));
        let new = || NewJob::new("a", params.as_str());
        for job in [
            NewJob::new("", params.as_str()),
            NewJob::new(nul.as_str(), params.as_str()),
            NewJob::new(long.as_str(), params.as_str()),
            NewJob::new("a", format!("[\"{CANARY}\"]")),
            NewJob::new("a", CANARY),
            NewJob::new("a", format!(r#"{{"{CANARY}": "#)),
            NewJob::new(
                "a",
                format!(
                    r#"{{"a": {}"{CANARY}"{}}}"#,
                    "[".repeat(200),
                    "]".repeat(200)
                ),
            ),
            NewJob::new("a", big.as_str()),
            new().with_unique_key(""),
            new().with_unique_key(long.as_str()),
            new().with_unique_key(nul.as_str()),
            new().with_timeout(Duration::ZERO),
        ] {
            self.refused(store.create_job(job).await);
        }
        self.refused(store.create_jobs(vec![new(); 1001]).await);
        let id = store.create_job(new()).await.expect("is created").job().id;
        for action in [
            Action::Finish {
                result: Some(nul.clone()),
            },
            Action::Finish {
                result: Some(CANARY.repeat(700_000)),
            },
            Action::Start {
                lease: Some(Lease {
                    owner: long.clone(),
                    duration: Duration::ZERO,
                }),
            },
        ] {
            self.refused(store.update_job(Update::new(id, action)).await);
        }
        let minute = Duration::from_secs(60);
        for request in [
            ClaimRequest::new(nul.as_str(), minute),
            ClaimRequest::new(long.as_str(), minute),
            ClaimRequest::new("me", Duration::ZERO),
            ClaimRequest::new("me", minute).with_limit(0),
            ClaimRequest::new("me", minute).with_job_name(nul.as_str()),
        ] {
            self.refused(store.claim_jobs(&request).await);
        }
        let any = JobFilter::default();
        for token in [CANARY, "", &long, "czNjcjN0LWNhbmFyeQ"] {
            let page = PageRequest::default().with_token(Some(PageToken::new(token)));
            self.refused(store.list_jobs(&any, &page).await);
        }
        for filter in [
            any.clone().with_params(CANARY),
            any.clone()
                .with_params(JobParams::new(format!("[\"{CANARY}\"]"))),
            any.clone().with_job_name(nul.as_str()),
        ] {
            self.refused(store.count_jobs(&filter).await);
        }
        self.refused(
            store
                .list_jobs(&any, &PageRequest::default().with_size(0))
                .await,
        );
        let delete = DeleteRequest::Before {
            cutoff: Timestamp::from_millis(1),
            job_names: vec![nul],
            statuses: vec![JobStatus::Running],
            limit: 0,
        };
        self.refused(store.delete_jobs(&delete).await);
    }

    #[track_caller]
    fn refused<T: Debug>(&mut self, result: Result<T>) {
        let error = result.expect_err("is refused");
        let wrong = matches!(
            error,
            Error::InvalidArgument { .. } | Error::InvalidPageToken
        );
        assert!(wrong, "{error:?}");
        self.error(&error);
    }
}

/// All that was traced in this process.
struct Log;

fn log() -> MutexGuard<'static, Vec<u8>> {
    static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        log().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
