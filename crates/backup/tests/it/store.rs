//! A store that fails: what an interrupted backup leaves behind.

use backup::faults::FaultyStore;

use crate::world::{back_up, bytes, fetched, item};

#[tokio::test]
async fn a_backup_that_ends_anywhere_is_not_there_and_in_nobodys_way() {
    let files: Vec<_> = (0..4).map(|n| item(&format!("file {n}"), &bytes(n, 100))).collect();
    // A lock, four pieces, a manifest.
    for puts in 0..6 {
        for is_done in [false, true] {
            let store = FaultyStore::default();
            let place = store.place();
            if is_done {
                store.leave_after(puts);
            } else {
                store.leave_before(puts);
            }
            let error = back_up(&place, 10, &files).await.unwrap_err();
            assert_eq!(error.code(), "BKP002", "after {puts} objects");
            assert!(error.help().is_some_and(|help| help.contains("AWS_ENDPOINT_URL")));
            store.come_back();
            // The manifest may be there, and nobody was told: then the backup is whole.
            let there = place.backups().await.unwrap();
            assert_eq!(there.len(), usize::from(puts == 5 && is_done));
            for id in &there {
                assert_eq!(fetched(&place, id).await.unwrap().len(), 4);
            }
            store.unlock().await.unwrap();
            let (id, pieces, _) = back_up(&place, 10, &files).await.unwrap();
            let kept = (puts + u64::from(is_done)).saturating_sub(1).min(4);
            assert_eq!(pieces, 4 - kept, "only what is missing, after {puts}");
            assert_eq!(fetched(&place, &id).await.unwrap().len(), 4);
        }
    }
}
