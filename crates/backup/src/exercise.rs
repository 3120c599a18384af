//! What a fuzzer does with arbitrary bytes: read them as what a place holds. The fuzz target calls this function, and so
//! does a plain test. It panics when a promise is broken; on no bytes may it.

use crate::lock::Holder;
use crate::manifest::{BackupId, Manifest};

/// Reads a name, a lock, and a manifest under the name that is right for it.
pub fn manifest(bytes: &[u8]) {
    if let Some(id) = str::from_utf8(bytes).ok().and_then(BackupId::parse) {
        assert_eq!(Some(id.as_str()), str::from_utf8(bytes).ok());
    }
    drop(serde_json::from_slice::<Holder>(bytes));
    let Ok(claimed) = serde_json::from_slice::<Manifest>(bytes) else { return };
    let id = BackupId::of(&claimed, bytes);
    let Ok(manifest) = Manifest::decode(&id, bytes) else { return };
    assert_eq!(manifest, claimed);
    assert_eq!(id.upper(), manifest.upper);
    let (id, text) = manifest.encode();
    assert_eq!(Manifest::decode(&id, &text).ok(), Some(manifest));
    assert_eq!(BackupId::parse(id.as_str()), Some(id));
}
