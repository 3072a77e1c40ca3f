//! How far Entra's clock is from this machine's, to tell a wrong clock from a certificate that has
//! expired. Nothing is decided from it.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};

/// What stands for "not known".
const UNKNOWN: i64 = i64::MIN;

/// A smaller difference is not worth a word, in seconds.
const WORTH_A_WORD: u64 = 120;

/// The latest offset that was learned.
#[derive(Debug)]
pub(super) struct ClockOffset(AtomicI64);

impl Default for ClockOffset {
    fn default() -> Self {
        Self(AtomicI64::new(UNKNOWN))
    }
}

impl ClockOffset {
    /// Stores by how many seconds Entra's clock is ahead of this machine's.
    pub(super) fn learn(&self, ahead: i64) {
        self.0.store(ahead, Ordering::Relaxed);
    }

    /// Returns the offset, if it is known.
    pub(super) fn get(&self) -> Option<Offset> {
        Some(self.0.load(Ordering::Relaxed)).filter(|ahead| *ahead != UNKNOWN).map(Offset)
    }
}

/// By how many seconds Entra's clock is ahead of this machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offset(pub(super) i64);

impl fmt::Display for Offset {
    /// Such as `365 days behind Entra's`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.unsigned_abs();
        if seconds <= WORTH_A_WORD {
            return f.write_str("the same as Entra's");
        }
        let (count, unit) = match seconds {
            ..7_200 => (seconds / 60, "minutes"),
            7_200..172_800 => (seconds / 3_600, "hours"),
            _ => (seconds / 86_400, "days"),
        };
        let direction = if self.0 > 0 { "behind" } else { "ahead of" };
        write!(f, "{count} {unit} {direction} Entra's")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_told_in_the_largest_unit_that_fits() {
        for (ahead, told) in [
            (0, "the same as Entra's"),
            (-120, "the same as Entra's"),
            (600, "10 minutes behind Entra's"),
            (-10_800, "3 hours ahead of Entra's"),
            (31_536_000, "365 days behind Entra's"),
        ] {
            assert_eq!(Offset(ahead).to_string(), told);
        }
        let offset = ClockOffset::default();
        assert_eq!(offset.get(), None);
        offset.learn(-5);
        assert_eq!(offset.get(), Some(Offset(-5)));
    }
}
