//! CRC-32C, as fast as memory is read: a checksum must not be what reading waits for.

use crc_fast::{CrcAlgorithm, Digest, crc32_iscsi};

/// The CRC-32C of bytes.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc32_iscsi(bytes)
}

/// The CRC-32C of bytes in pieces.
pub(crate) fn crc32c_of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let mut pieces = pieces.into_iter();
    let first = pieces.next().unwrap_or_default();
    let Some(second) = pieces.next() else { return crc32c(first) };
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    for piece in [first, second].into_iter().chain(pieces) {
        digest.update(piece);
    }
    u32::try_from(digest.finalize()).expect("a CRC-32C has 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value that catalogues of checksums give, and another implementation for all lengths and cuts.
    #[test]
    fn it_is_castagnoli_s() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c_of([]), 0);
        let bytes: Vec<u8> =
            (0..3000_u32).map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        for length in (0..600).chain([1023, 1024, 1025, 2047, 2048, 3000]) {
            let (bytes, cut) = (&bytes[..length], length / 3);
            let expected = crc32c::crc32c(bytes);
            assert_eq!(crc32c(bytes), expected, "{length}");
            let pieces = [&bytes[..cut], &bytes[cut..cut], &bytes[cut..]];
            assert_eq!(crc32c_of(pieces), expected, "{length} in pieces");
        }
    }

    /// Long inputs are summed by other code than short ones, and payloads begin anywhere.
    #[test]
    fn long_and_odd_ones_are_right_too() {
        let bytes: Vec<u8> = (0..(1 << 20) + 64_u32)
            .map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[3])
            .collect();
        for length in [64 << 10, (64 << 10) + 1, 100_003, (256 << 10) - 1, (512 << 10) + 7, 1 << 20]
        {
            for start in [0, 1, 3, 7, 15, 31, 63] {
                let bytes = &bytes[start..start + length];
                let (expected, cut) = (crc32c::crc32c(bytes), length / 2 + start);
                assert_eq!(crc32c(bytes), expected, "{length} from {start}");
                let pieces = [&bytes[..cut], &bytes[cut..]];
                assert_eq!(crc32c_of(pieces), expected, "{length} from {start} in pieces");
            }
        }
    }
}
