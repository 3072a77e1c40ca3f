//! Buffers for bytes on their way: leased while there is data, and back before a session sleeps.
//!
//! Large ones make few system calls of much data. But a receiver that is slow keeps its buffer for long, and there may be
//! thousands of those; so there are a few large ones per core only, and when all of them are out, small ones serve.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Room in either buffer for one incomplete record (16 KiB and its overhead) that was held back from earlier reads.
const HELD_BACK_BYTES: usize = 20 * 1024;

/// Large leases per core.
const LARGE_PER_CORE: usize = 4;

/// Size of a small buffer.
const SMALL_BYTES: usize = 16 * 1024;

/// Small buffers kept for the next one; more are made as needed.
const SMALL_KEPT: usize = 16;

/// Two buffers for the time of one receive: what the socket gives, and what it decrypts to.
pub(super) struct Lease {
    /// For the octets of the wire, when the source is TLS.
    pub(super) wire: Vec<u8>,
    /// For the plain octets.
    pub(super) plain: Vec<u8>,
    /// So much may be received. Both buffers have room for one record more.
    pub(super) bytes: usize,
    size: Size,
}

/// Plain octets on their way, in what is left of a lease or in a buffer of their own.
pub(super) struct Chunk {
    pub(super) buffer: Vec<u8>,
    pub(super) start: usize,
    pub(super) end: usize,
    size: Option<Size>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    Large,
    Small,
}

/// The buffers that are not out.
struct Pool {
    large: Buffers,
    small: Buffers,
    /// Large leases that may still be taken.
    left: usize,
}

#[derive(Default)]
struct Buffers {
    wire: Vec<Vec<u8>>,
    plain: Vec<Vec<u8>>,
}

/// The lock is held for a few instructions only, and never while data moves.
fn pool() -> MutexGuard<'static, Pool> {
    static POOL: OnceLock<Mutex<Pool>> = OnceLock::new();
    let pool = POOL.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Mutex::new(Pool::new(cores * LARGE_PER_CORE))
    });
    // Whatever panicked, the lists of buffers are whole.
    pool.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lease {
    /// Buffers of `bytes`, or small ones when all large ones are out.
    pub(super) fn take(bytes: usize) -> Self {
        pool().take(bytes)
    }

    /// Nothing was received after all.
    pub(super) fn give_back(self) {
        let mut pool = pool();
        pool.buffers(self.size).keep_wire(self.wire, self.size);
        pool.take_back(self.plain, self.size);
    }

    /// `plain[..received]` is on its way; the other buffer is free again.
    pub(super) fn into_chunk(self, received: usize) -> Chunk {
        pool().buffers(self.size).keep_wire(self.wire, self.size);
        Chunk { buffer: self.plain, start: 0, end: received, size: Some(self.size) }
    }
}

impl Chunk {
    /// What was left over from the login; `None` when it is empty.
    pub(super) fn own(buffer: Vec<u8>) -> Option<Self> {
        let end = buffer.len();
        (end > 0).then_some(Self { buffer, start: 0, end, size: None })
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Some(size) = self.size {
            pool().take_back(std::mem::take(&mut self.buffer), size);
        }
    }
}

impl Pool {
    fn new(large: usize) -> Self {
        Self { large: Buffers::default(), small: Buffers::default(), left: large }
    }

    fn take(&mut self, bytes: usize) -> Lease {
        let (size, bytes) = if self.left > 0 { (Size::Large, bytes) } else { (Size::Small, SMALL_BYTES.min(bytes)) };
        self.left -= usize::from(size == Size::Large);
        let buffers = self.buffers(size);
        // After a change of `limits.relay_buffer` an old buffer does not fit and is dropped.
        let fit = |kept: Option<Vec<u8>>, bytes: usize| {
            kept.filter(|buffer| buffer.len() == bytes).unwrap_or_else(|| vec![0; bytes])
        };
        let room = bytes + HELD_BACK_BYTES;
        Lease { wire: fit(buffers.wire.pop(), room), plain: fit(buffers.plain.pop(), room), bytes, size }
    }

    fn take_back(&mut self, plain: Vec<u8>, size: Size) {
        self.left += usize::from(size == Size::Large);
        let buffers = self.buffers(size);
        if size == Size::Large || buffers.plain.len() < SMALL_KEPT {
            buffers.plain.push(plain);
        }
    }

    fn buffers(&mut self, size: Size) -> &mut Buffers {
        match size {
            Size::Large => &mut self.large,
            Size::Small => &mut self.small,
        }
    }
}

impl Buffers {
    /// A `wire` buffer comes back before the `plain` one of its lease, so one more than is needed at a time is enough.
    fn keep_wire(&mut self, wire: Vec<u8>, size: Size) {
        if self.wire.len() < if size == Size::Large { LARGE_PER_CORE } else { SMALL_KEPT } {
            self.wire.push(wire);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 256 * 1024;

    #[test]
    fn slow_receivers_do_not_use_up_memory() {
        let mut pool = Pool::new(2);
        let (first, second, third) = (pool.take(BYTES), pool.take(BYTES), pool.take(BYTES));
        assert_eq!((first.bytes, second.plain.len()), (BYTES, BYTES + HELD_BACK_BYTES));
        assert_eq!((third.bytes, third.wire.len()), (SMALL_BYTES, SMALL_BYTES + HELD_BACK_BYTES));
        pool.take_back(third.plain, Size::Small);
        pool.take_back(first.plain, Size::Large);
        assert_eq!(pool.take(BYTES).bytes, BYTES);
        assert_eq!(pool.take(BYTES).bytes, SMALL_BYTES);
    }

    #[test]
    fn buffers_are_used_again_unless_their_size_changed() {
        let mut pool = Pool::new(1);
        let mut lease = pool.take(BYTES);
        lease.plain[0] = 7;
        pool.take_back(lease.plain, lease.size);
        let lease = pool.take(BYTES);
        assert_eq!(lease.plain[0], 7);
        pool.take_back(lease.plain, lease.size);
        assert_eq!(pool.take(BYTES / 2).plain.len(), BYTES / 2 + HELD_BACK_BYTES);
    }
}
