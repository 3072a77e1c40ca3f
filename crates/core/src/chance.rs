//! Chance for spreading things out: delays, early drops, session ids. Not for secrets: those come from `aws_lc_rs::rand`,
//! whose first use takes some 20 ms and has no place on the way to the first greeting.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that nobody outside can foresee: SipHash of a count, under a key from the operating system.
pub fn number() -> u64 {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    KEY.get_or_init(RandomState::new).hash_one(COUNT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_differ() {
        assert_ne!(super::number(), super::number());
    }
}
