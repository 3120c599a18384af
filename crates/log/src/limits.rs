//! The limits of the log. What stages agree on is in [`change::limits`].

/// The most bytes of one frame's payload, stored or plain.
pub const FRAME_BYTES_MAX: usize = 1 << 30;

/// The most bytes of a schema frame's payload.
pub const SCHEMA_BYTES_MAX: usize = 4 << 20;

/// How deep the type of a column may nest.
pub const TYPE_DEPTH_MAX: usize = 32;

/// The most bytes of a request id, and of a source's name.
pub const NAME_BYTES_MAX: usize = u16::MAX as usize;

/// The most ends (tables × transactions) of one frame.
pub const ENDS_MAX: usize = 1 << 26;

/// The default of [`LogOptions::segment_bytes_max`](crate::LogOptions): a new segment costs three syncs.
pub const SEGMENT_BYTES_DEFAULT: u64 = 256 << 20;

/// The default of [`LogOptions::queue_bytes_max`](crate::LogOptions).
pub const QUEUE_BYTES_DEFAULT: u64 = 32 << 20;

/// The first and the largest step in which a segment's file is allocated ahead; in between files grow fourfold.
pub(crate) const ALLOCATE_BYTES: (u64, u64) = (4 << 20, 64 << 20);

/// Payloads from here on, when nobody else writes, are handed to the system before their checksum is computed.
pub(crate) const LATE_CHECKSUM_BYTES_MIN: u32 = 64 << 10;

/// What the writer's thread for zeros writes at once.
pub(crate) const PREFILL_CHUNK_BYTES: u64 = 256 << 10;

/// How far ahead of the writer zeros are written.
pub(crate) const PREFILL_AHEAD_BYTES: u64 = 4 << 20;

/// The largest writes, on average, for which zeros are written ahead.
pub(crate) const PREFILL_WRITE_BYTES_MAX: u64 = 64 << 10;

/// What disks and their caches write at least; offsets and lengths past the cache are multiples of it.
pub(crate) const WRITE_ALIGNMENT: usize = 4 << 10;

/// How many bytes lie between two entries of the index from Time to offset.
pub(crate) const INDEX_INTERVAL_BYTES: u64 = 1 << 20;

/// How many bytes a reader reads ahead.
pub(crate) const WINDOW_BYTES: usize = 256 << 10;

/// How many bytes further a reader asks the disk to read on its own, and how many of them are left when it asks again.
pub(crate) const EXPECT_BYTES: (u64, u64) = (4 << 20, 2 << 20);

/// What a reader does not ask the disk for: it reads so much at once, and what was written last is in memory.
pub(crate) const EXPECT_BYTES_MIN: u64 = WINDOW_BYTES as u64;

/// Payloads below this are not worth compressing.
pub(crate) const COMPRESS_BYTES_MIN: usize = 512;

/// How many bytes a scrub reads before it pauses, as long as its rate asks for.
pub(crate) const SCRUB_BYTES_PER_PAUSE: u64 = 256 << 10;

/// How many frames the notary takes in before it looks whether it is asked for something.
pub(crate) const NOTARY_FRAMES_PER_STEP: usize = 64;

/// How many full tiles the notary holds before it writes them.
pub(crate) const NOTARY_TILES_MAX: usize = 64;

/// How many files the notary writes before it makes them durable: after a crash, so many are made anew.
pub(crate) const NOTARY_UNSETTLED_MAX: usize = 4096;

/// How many bytes of the log the notary still takes in when the log is closed; the next start does the rest.
pub(crate) const NOTARY_BACKLOG_BYTES_MAX: u64 = 1 << 30;

/// How many bytes of changes are in memory while they are folded, before a base is written. It takes a few times as much.
pub(crate) const FOLD_BYTES_MAX: usize = 64 << 20;

/// The most rows and bytes of a frame of a base, but for a row that is larger.
pub(crate) const BASE_BATCH_ROWS: usize = 8192;
/// See [`BASE_BATCH_ROWS`].
pub(crate) const BASE_BATCH_BYTES: usize = 1 << 20;

/// How many bytes of a rewritten segment are written at once.
pub(crate) const THIN_BUFFER_BYTES: usize = 256 << 10;

/// The most bytes of a rewritten segment that is held in memory, not open, while a log is copied.
pub(crate) const COPIED_STUB_BYTES_MAX: u64 = 16 << 10;

/// How often the files of a log are listed, when its history is folded meanwhile.
pub(crate) const LISTED_TIMES_MAX: usize = 16;

/// Turns a length that a limit above bounds into one that addresses memory.
pub(crate) fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a machine that runs this addresses 64 bits")
}

/// Turns a length in memory into one on disk.
pub(crate) fn on_disk(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("a length in memory fits 64 bits")
}
