//! The words that the text formats share: decimal numbers, hashes and bytes in base64, lines without control
//! characters. Each has exactly one spelling, so that what is parsed and written again is the same bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::hash::{HASH_BYTES, Hash};
use crate::limits::SIZE_MAX;

/// The characters of a hash in base64.
const HASH_CHARACTERS: usize = 44;

/// Reads a number up to [`SIZE_MAX`], written without sign, blanks and leading zeros.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let leading = text.starts_with('0') && text != "0";
    if !digits || leading {
        return None;
    }
    text.parse().ok().filter(|number| *number <= SIZE_MAX)
}

/// Reads standard base64 with padding; the bits that it leaves unused must be zero.
pub(crate) fn bytes(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Writes standard base64 with padding.
pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// Reads a hash in base64.
pub(crate) fn hash(text: &str) -> Option<Hash> {
    if text.len() != HASH_CHARACTERS {
        return None;
    }
    let bytes: [u8; HASH_BYTES] = bytes(text)?.try_into().ok()?;
    Some(Hash(bytes))
}

/// Reads a key id: eight digits in lower-case hexadecimal.
pub(crate) fn key_id(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if text.len() != 8 || !digits {
        return None;
    }
    u32::from_str_radix(text, 16).ok()
}

/// Whether text holds no control character (below U+0020) but line ends.
pub(crate) fn is_clean(text: &str) -> bool {
    text.bytes().all(|byte| byte >= b' ' || byte == b'\n')
}

/// Whether text may be one line: not empty, and without control characters.
pub(crate) fn is_line(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte >= b' ')
}
