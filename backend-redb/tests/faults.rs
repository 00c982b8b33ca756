//! What redb makes of disks that fail.

#[path = "../../backend-kv/tests/faults/mod.rs"]
mod faults;

use jobstore_redb::Redb;

#[tokio::test]
async fn a_full_disk_is_an_error_and_loses_nothing() {
    faults::a_full_disk_is_an_error_and_loses_nothing::<Redb>().await;
}

#[tokio::test]
async fn a_read_only_disk_is_an_error() {
    faults::a_read_only_disk_is_an_error::<Redb>().await;
}

#[tokio::test]
async fn a_truncated_file_is_an_error_and_no_panic() {
    faults::a_truncated_file_is_an_error_and_no_panic::<Redb>(None).await;
}
