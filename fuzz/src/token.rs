use jobstore_core::{Error, JobFilter, JobId, NewJob, Order, PageRequest, PageToken, Timestamp};

/// Uses a text as a page token: it is the one of some place or refused. Then makes a token of the
/// bytes, which must lead back to its place, and damages it, which must be noticed.
///
/// # Panics
///
/// When that is not so.
pub fn token(bytes: &[u8]) {
    let filter = JobFilter::default();
    let matcher = filter.compile().expect("the empty filter is valid");
    let job_at = |time: Timestamp, id: JobId| NewJob::new("a", "{}").with_id(id).into_job(time);

    let text = String::from_utf8_lossy(bytes);
    let page = PageRequest::default().with_token(Some(PageToken::new(&*text)));
    match page.start(&matcher) {
        Ok(Some((time, id))) => {
            let token = page.token_after(&job_at(time, id), &matcher);
            assert_eq!(token.as_str(), text, "a second token for one place");
        }
        Ok(None) => panic!("{text:?} is taken for no token"),
        Err(Error::InvalidPageToken) => {}
        Err(error) => panic!("{text:?}: {error}"),
    }

    let mut place = [0; 24];
    let len = bytes.len().min(24);
    place[..len].copy_from_slice(&bytes[..len]);
    let time = Timestamp::from_millis(i64::from_le_bytes(*place.first_chunk().expect("is long")));
    let id = u128::from_le_bytes(*place[8..].first_chunk().expect("is long"));
    let id: JobId = uuid(id).parse().expect("is a UUID");
    for order in [Order::Ascending, Order::Descending] {
        let page = PageRequest::default().with_order(order);
        let token = page.token_after(&job_at(time, id), &matcher);
        let safe = |c: char| c.is_ascii_alphanumeric() || "-_.~".contains(c);
        assert!(token.as_str().chars().all(safe), "{token:?} in a URL");
        let start = page.clone().with_token(Some(token.clone())).start(&matcher);
        assert_eq!(start.ok(), Some(Some((time, id))), "of {token:?}");

        // Bytes after those of the place say what to damage, and how.
        let [at, by, ..] = *bytes.get(24..).unwrap_or_default() else {
            continue;
        };
        let mut damaged = token.as_str().to_owned().into_bytes();
        let at = usize::from(at) % damaged.len();
        damaged[at] ^= by & 0x7f;
        let damaged = String::from_utf8(damaged).expect("is ASCII");
        if damaged != token.as_str() {
            let page = page.with_token(Some(PageToken::new(&*damaged)));
            let start = page.start(&matcher);
            assert!(matches!(start, Err(Error::InvalidPageToken)), "{damaged:?}");
        }
    }
}

fn uuid(number: u128) -> String {
    let hex = format!("{number:032x}");
    let (a, b, c) = (&hex[..8], &hex[8..12], &hex[12..16]);
    format!("{a}-{b}-{c}-{}-{}", &hex[16..20], &hex[20..])
}
