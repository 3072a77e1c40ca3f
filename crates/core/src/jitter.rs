//! Random numbers for spreading things out: delays, early drops, session IDs. They are not for
//! secrets. Secrets come from `aws_lc_rs::rand`, whose first use takes some 20 ms and would delay
//! the first greeting.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that nobody outside can predict: SipHash of a counter, with a key from the operating
/// system.
pub fn random() -> u64 {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    KEY.get_or_init(RandomState::new).hash_one(COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A number from 0 up to, but not including, 1.
pub fn fraction() -> f64 {
    // The upper 32 bits, all of which fit into an `f64`.
    f64::from(u32::try_from(random() >> 32).unwrap_or(0)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_differ() {
        assert_ne!(super::random(), super::random());
    }
}
