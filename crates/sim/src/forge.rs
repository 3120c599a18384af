//! A canary's tool: changes a transaction in the log and makes its checksums right, as if nobody checked them.

use log::format::{FrameKind, HEADER_BYTES, Header, Place};

use crate::disk::SimDisk;
use crate::random::Random;

/// Changes one letter of some note in the log.
pub(crate) fn forge(disk: &SimDisk, random: &mut Random) {
    for (path, mut bytes) in disk.contents() {
        let Some(segment) = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok()) else {
            continue;
        };
        let mut offset = 0;
        let mut frames = Vec::new();
        while let Some(rest) = bytes.get(offset..)
            && let Ok(header) = Header::from_bytes(rest, Place { segment, offset: offset as u64 })
        {
            offset = usize::try_from(header.end()).expect("in memory");
            frames.push(header);
        }
        frames.retain(|header| header.kind == FrameKind::Transactions && header.flags & 2 == 0);
        for mut header in frames {
            let start = usize::try_from(header.place.offset).expect("in memory") + HEADER_BYTES;
            let payload = &mut bytes[start..start + header.payload_length as usize];
            let Some(at) = payload.windows(5).position(|window| window == b"note ") else {
                continue;
            };
            if random.one_in(2) {
                continue;
            }
            payload[at] = b'N';
            header.payload_crc = crc32c::crc32c(payload);
            let payload = payload.to_vec();
            disk.forge(&path, start, &payload);
            disk.forge(&path, start - HEADER_BYTES, &header.to_bytes());
            return;
        }
    }
}
