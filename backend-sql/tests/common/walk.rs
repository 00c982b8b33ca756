//! Listings from end to end, of rows that another program has spoilt.

use jobstore_core::{Error, JobFilter, JobId, JobStore, Order, PageRequest};

/// Checks that a walk in pages of one finds these jobs, in this order or backwards, and reports so
/// many rows.
pub(crate) async fn finds(store: &dyn JobStore, ids: &[JobId], spoilt: usize) {
    let mut expected = ids.to_vec();
    for order in [Order::Ascending, Order::Descending] {
        let mut page = PageRequest::default().with_size(1).with_order(order);
        let (mut found, mut reported) = (Vec::new(), Vec::new());
        for _ in 0..=ids.len() {
            let list = store.list_jobs(&JobFilter::default(), &page).await;
            let list = list.expect("lists");
            found.extend(list.items.iter().map(|job| job.id));
            reported.extend(list.unreadable.iter().map(Error::to_string));
            page.token = list.token;
            if page.token.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "{order:?}");
        assert_eq!(reported.len(), spoilt, "{order:?}: {reported:?}");
        expected.reverse();
    }
}
