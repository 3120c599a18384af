//! The limits of backups.

use std::time::Duration;

/// The most bytes of a piece. Some of them are in memory at a time, and one is what a retry sends again.
pub const PIECE_BYTES_MAX: u64 = 16 << 20;

/// How many pieces travel at the same time.
pub const PIECES_AT_ONCE: usize = 4;

/// The most bytes of a manifest: some hundred thousand pieces.
pub const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// How long a connection to an object store may take.
pub(crate) const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// How long one request may take, a piece on a slow line included.
pub(crate) const REQUEST_WAIT: Duration = Duration::from_secs(300);

/// How often a request that failed is sent again, and how long that goes on.
pub(crate) const RETRIES: (usize, Duration) = (8, Duration::from_secs(90));

/// How long a lock is believed whose owner says nothing, when it cannot be seen whether he is alive.
pub(crate) const LEASE: Duration = Duration::from_secs(120);

/// How long a lock that could not be renewed is relied on by its owner: shorter, for what he does then takes time.
pub(crate) const LEASE_TRUSTED: Duration = Duration::from_secs(80);

/// How often a lock says that its owner is alive.
pub(crate) const RENEWAL: Duration = Duration::from_secs(30);
