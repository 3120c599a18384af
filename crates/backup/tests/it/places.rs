//! The same in every kind of place.

use std::fs;
use std::path::{Path, PathBuf};

use backup::limits::PIECE_BYTES_MAX;
use backup::{BackupError, Place};
use servers::S3;

use crate::world::{back_up, bytes, fetched, item, last};

const LARGE: usize = PIECE_BYTES_MAX as usize + 1000;

/// What every place promises.
async fn check(place: &Place) {
    let (first, second) = (bytes(1, LARGE), bytes(2, 500));
    let items = [item("one.log", &first), item("below/two", &second)];
    let (id, pieces, written) = back_up(place, 10, &items).await.unwrap();
    assert_eq!((pieces, written), (3, LARGE as u64 + 500));
    // A file grows, another comes: what was there is not written again.
    let longer = [first.clone(), bytes(3, 700)].concat();
    let items = [item("one.log", &longer), item("below/two", &second), item("empty", &[])];
    let (grown, pieces, written) = back_up(place, 20, &items).await.unwrap();
    assert_eq!((pieces, written), (1, 700));
    let (same, pieces, _) = back_up(place, 20, &items).await.unwrap();
    assert_eq!(pieces, 0);
    assert_eq!(same, grown, "the same backup has the same name");
    let ids = place.backups().await.unwrap();
    assert_eq!(ids, [id.clone(), grown.clone()]);
    let files = fetched(place, &id).await.unwrap();
    let name = |name: &str| name.to_owned();
    assert_eq!(files, [(name("one.log"), first.clone()), (name("below/two"), second.clone())]);
    let files = fetched(place, &grown).await.unwrap();
    let expected =
        [(name("one.log"), longer), (name("below/two"), second.clone()), (name("empty"), vec![])];
    assert!(files == expected, "what comes back is what was put there");
    // Another history of the same file.
    let mut other = [first, bytes(3, 700), bytes(4, 5)].concat();
    other[LARGE + 3] ^= 1;
    let items = [item("one.log", &other), item("below/two", &second)];
    let error = back_up(place, 30, &items).await.unwrap_err();
    assert!(matches!(error, BackupError::Altered { offset, .. } if offset == LARGE as u64));
    assert_eq!(place.backups().await.unwrap().len(), 2);
    // One at a time.
    let lock = place.lock().await.unwrap();
    let error = place.lock().await.unwrap_err();
    assert_eq!(error.code(), "BKP004");
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    // The oldest goes, with what only it had.
    let pruned = place.prune(1, &lock).await.unwrap();
    assert_eq!(pruned.backups, 1);
    // The newer one has all of its pieces; the refused one may have left what is new in it.
    assert!(pruned.pieces <= 1 && pruned.bytes <= 5, "{pruned:?}");
    lock.release().await.unwrap();
    assert!(fetched(place, &grown).await.unwrap() == expected);
    let lock = place.lock().await.unwrap();
    place.prune(0, &lock).await.unwrap();
    lock.release().await.unwrap();
    assert!(last(place).await.is_none());
}

#[tokio::test]
async fn in_memory() {
    check(&Place::in_memory()).await;
}

#[tokio::test]
async fn in_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/place");
    check(&Place::create(path.to_str().unwrap()).unwrap()).await;
    let left: Vec<PathBuf> = files(&path);
    assert_eq!(left, Vec::<PathBuf>::new());
}

#[tokio::test]
async fn in_s3() {
    let server = S3::start("vault").unwrap();
    let environment = || server.environment().map(|(name, value)| (name.to_owned(), value));
    check(&Place::s3("s3://vault/some/where", environment()).unwrap()).await;
    let missing = Place::s3("s3://nobodys", environment()).unwrap();
    assert_eq!(missing.backups().await.unwrap_err().code(), "BKP002");
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[tokio::test]
async fn every_flipped_byte_and_every_missing_object_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::create(dir.path().to_str().unwrap()).unwrap();
    let items = [item("one.log", &bytes(1, 300)), item("two", &bytes(2, 50))];
    let (id, ..) = back_up(&place, 10, &items).await.unwrap();
    let mut flipped = 0;
    for file in files(dir.path()) {
        let whole = fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut wrong = whole.clone();
            wrong[at] ^= 0x20;
            fs::write(&file, &wrong).unwrap();
            let error = fetched(&place, &id).await.unwrap_err();
            assert_eq!(error.code(), "BKP006", "byte {at} of {}: {error}", file.display());
            flipped += 1;
        }
        for wrong in [&whole[..whole.len() - 1], &[&whole[..], b"x"].concat()] {
            fs::write(&file, wrong).unwrap();
            assert_eq!(fetched(&place, &id).await.unwrap_err().code(), "BKP006");
        }
        fs::remove_file(&file).unwrap();
        assert_eq!(fetched(&place, &id).await.unwrap_err().code(), "BKP006");
        fs::write(&file, &whole).unwrap();
    }
    assert!(flipped > 600);
    fetched(&place, &id).await.unwrap();
    // A piece that went is put back by the next backup.
    let piece = files(&dir.path().join("pieces")).remove(0);
    fs::remove_file(piece).unwrap();
    let (id, pieces, _) = back_up(&place, 20, &items).await.unwrap();
    assert_eq!(pieces, 1);
    fetched(&place, &id).await.unwrap();
}

#[tokio::test]
async fn what_a_crash_left_of_a_piece_is_not_relied_on() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::create(dir.path().to_str().unwrap()).unwrap();
    let items = [item("one.log", &bytes(1, 300))];
    // Written, and no manifest: the process ended here.
    place.upload(&items, None).await.unwrap();
    let piece = files(&dir.path().join("pieces")).remove(0);
    let uploaded = place.upload(&items, None).await.unwrap();
    assert_eq!(uploaded.pieces, 0, "what is whole is used");
    fs::write(&piece, vec![0; 300]).unwrap();
    let (id, pieces, _) = back_up(&place, 10, &items).await.unwrap();
    assert_eq!(pieces, 1);
    fetched(&place, &id).await.unwrap();
}

#[tokio::test]
async fn a_lock_of_the_dead_keeps_nobody_away() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::create(dir.path().to_str().unwrap()).unwrap();
    let lock = place.lock().await.unwrap();
    let file = files(&dir.path().join("locks")).remove(0);
    let text = fs::read_to_string(&file).unwrap();
    lock.release().await.unwrap();
    // The same process number, started at another time: another process.
    let started = text.split("\"started\":").nth(1).unwrap().trim_end_matches('}');
    fs::write(&file, text.replace(started, "1")).unwrap();
    place.lock().await.unwrap().release().await.unwrap();
    assert_eq!(files(&dir.path().join("locks")), Vec::<PathBuf>::new());
    // On another machine nobody knows, until he has said nothing for long.
    fs::write(&file, text.replace("\"machine\":\"", "\"machine\":\"x")).unwrap();
    assert_eq!(place.lock().await.unwrap_err().code(), "BKP004");
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(600);
    fs::File::options().write(true).open(&file).unwrap().set_modified(long_ago).unwrap();
    place.lock().await.unwrap().release().await.unwrap();
}
