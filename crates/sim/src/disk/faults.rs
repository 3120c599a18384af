//! What a simulated disk may do wrong, and how often.

/// How often each fault comes: once in so many operations of its kind; 0 for never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// A read says that it failed; the next one may succeed.
    pub read_error: u64,
    /// A write says that it failed, having done a part.
    pub write_error: u64,
    /// A sync says that it failed. What it did not write is clean in memory from then on.
    pub sync_error: u64,
    /// A sync finds that there is no room for what was written.
    pub sync_full: u64,
    /// Names cannot be made durable.
    pub names_error: u64,
    /// A sync loses a sector and says that all is well.
    pub lost_write: u64,
    /// A sync writes a sector to another place and says that all is well.
    pub misdirected_write: u64,
    /// Memory is short, so that what counts as clean is read from the platter again.
    pub eviction: u64,
    /// An operation takes seconds.
    pub slow: u64,
}

/// Ways in which the disk does not do what the log asks for: bugs of a log that forgot to ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Omissions {
    /// Files are never synced.
    pub file_sync: bool,
    /// Directories are never synced.
    pub directory_sync: bool,
}

/// How a machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The process is killed: what it wrote is in the system's memory.
    Process,
    /// The power fails: what was not synced may be lost.
    Power,
}
