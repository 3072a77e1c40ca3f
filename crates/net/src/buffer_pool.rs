//! Buffers for data in transit: leased while there is data, and given back before a session sleeps.
//!
//! With a large buffer, few system calls move much data. But a slow receiver keeps its buffer for
//! long, and there may be thousands of slow receivers. So there are only a few large buffers per
//! core. When all of them are leased, small ones are used.

use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;

use parking_lot::{Mutex, MutexGuard};

/// Room beyond what is received at a time: for an incomplete record (16 KiB and its overhead) kept
/// from before, and for what encryption adds.
const MARGIN_BYTES: usize = 24 * 1024;

/// Large buffers that can be leased at a time, per core.
const LARGE_PER_CORE: usize = 8;

/// Size of a small buffer.
const SMALL_BYTES: usize = 16 * 1024;

/// Small buffers kept for later use; more are allocated as needed.
const SMALL_KEPT: usize = 16;

/// A leased buffer; dropping it gives it back.
pub(super) struct Buffer {
    octets: Vec<u8>,
    size: Size,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Large,
    Small,
    /// The buffer does not belong to the pool.
    Own,
}

/// Octets in transit.
pub(super) struct Chunk {
    pub(super) buffer: Buffer,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// The buffers that are not leased.
struct Pool {
    large: Vec<Vec<u8>>,
    small: Vec<Vec<u8>>,
    /// Large buffers that can still be leased.
    left: usize,
}

/// Locks the pool. The lock is held for a few instructions only, and never while data moves.
fn pool() -> MutexGuard<'static, Pool> {
    static POOL: OnceLock<Mutex<Pool>> = OnceLock::new();
    let pool = POOL.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Mutex::new(Pool::new(cores * LARGE_PER_CORE))
    });
    // The lists of buffers are intact even if a thread panicked.
    pool.lock()
}

impl Buffer {
    /// Leases a buffer with room for `bytes` and a margin, or a small one if all large ones are
    /// leased.
    pub(super) fn take(bytes: usize) -> Self {
        pool().take(bytes)
    }

    /// How many octets may be received into the buffer; the margin is not counted.
    pub(super) fn bytes(&self) -> usize {
        self.octets.len().saturating_sub(MARGIN_BYTES)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.octets
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.octets
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.size != Size::Own {
            pool().take_back(std::mem::take(&mut self.octets), self.size);
        }
    }
}

impl Chunk {
    /// A chunk of the octets left over from the login; `None` if there are none.
    pub(super) fn own(octets: Vec<u8>) -> Option<Self> {
        let end = octets.len();
        (end > 0).then_some(Self { buffer: Buffer { octets, size: Size::Own }, start: 0, end })
    }
}

impl Pool {
    fn new(large: usize) -> Self {
        Self { large: Vec::new(), small: Vec::new(), left: large }
    }

    fn take(&mut self, bytes: usize) -> Buffer {
        let (size, bytes, kept) = if self.left > 0 {
            self.left -= 1;
            (Size::Large, bytes, self.large.pop())
        } else {
            (Size::Small, SMALL_BYTES.min(bytes), self.small.pop())
        };
        let room = bytes + MARGIN_BYTES;
        // After a change of `limits.relay_buffer`, an old buffer does not fit and is dropped.
        let octets = kept.filter(|octets| octets.len() == room).unwrap_or_else(|| vec![0; room]);
        Buffer { octets, size }
    }

    fn take_back(&mut self, octets: Vec<u8>, size: Size) {
        match size {
            Size::Large => {
                self.left += 1;
                self.large.push(octets);
            }
            Size::Small if self.small.len() < SMALL_KEPT => self.small.push(octets),
            Size::Small | Size::Own => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 256 * 1024;

    /// Gives a buffer back to this pool instead of the pool of the process.
    fn give_back(pool: &mut Pool, mut buffer: Buffer) {
        let size = std::mem::replace(&mut buffer.size, Size::Own);
        pool.take_back(std::mem::take(&mut buffer.octets), size);
    }

    #[test]
    fn slow_receivers_do_not_use_up_memory() {
        let mut pool = Pool::new(2);
        let (first, second, third) = (pool.take(BYTES), pool.take(BYTES), pool.take(BYTES));
        assert_eq!((first.bytes(), second.len()), (BYTES, BYTES + MARGIN_BYTES));
        assert_eq!((third.bytes(), third.len()), (SMALL_BYTES, SMALL_BYTES + MARGIN_BYTES));
        give_back(&mut pool, third);
        give_back(&mut pool, first);
        let (again, small) = (pool.take(BYTES), pool.take(BYTES));
        assert_eq!((again.bytes(), small.bytes()), (BYTES, SMALL_BYTES));
        for buffer in [again, small, second] {
            give_back(&mut pool, buffer);
        }
        assert_eq!((pool.large.len(), pool.small.len(), pool.left), (2, 1, 2));
    }

    #[test]
    fn buffers_are_used_again_unless_their_size_changed() {
        let mut pool = Pool::new(1);
        let mut buffer = pool.take(BYTES);
        buffer[0] = 7;
        give_back(&mut pool, buffer);
        let buffer = pool.take(BYTES);
        assert_eq!(buffer[0], 7);
        give_back(&mut pool, buffer);
        let buffer = pool.take(BYTES / 2);
        assert_eq!((buffer.len(), buffer[0]), (BYTES / 2 + MARGIN_BYTES, 0));
        give_back(&mut pool, buffer);
    }
}
