//! How long the requests for a large message may take.

use std::time::Duration;

/// The time that every message has up to the request that sends it. With that request and the removal
/// of the draft, this stays within the ten minutes that a client waits (RFC 5321 §4.5.3.2.6).
const UPLOAD: Duration = Duration::from_secs(7 * 60);
/// The time for the request that sends the draft.
const SEND: Duration = Duration::from_secs(2 * 60);
/// Time limit for all waits that Graph asks for.
const WAITS: Duration = Duration::from_secs(60);
/// Bytes in a second of the slowest line on which a queued message goes out: 0.5 Mbit/s.
const SLOWEST: u64 = 62_500;

/// Time limits, each from the first request on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    /// No request begins later, and none but the one that sends the draft ends later.
    pub(super) upload: Duration,
    /// The request that sends the draft ends before.
    pub(super) sent: Duration,
    /// For all waits that Graph asks for.
    pub(super) waits: Duration,
}

impl Patience {
    /// The limits for a message that a client waits for.
    pub(super) const CLIENT: Self = Self::longer(Duration::ZERO);

    /// Returns the limits for a queued message of this many bytes. No client waits, so it has time for
    /// its size besides: for 150 MB, 47 minutes in all, where a line of 2 Mbit/s needs 10.
    pub(super) const fn queued(bytes: u64) -> Self {
        Self::longer(Duration::from_secs(bytes / SLOWEST))
    }

    const fn longer(more: Duration) -> Self {
        let upload = UPLOAD.saturating_add(more);
        Self { upload, sent: upload.saturating_add(SEND), waits: WAITS.saturating_add(more) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::LARGE_OCTETS;

    /// The time that a line of so many Mbit/s needs.
    fn needs(bytes: u64, megabits: u64) -> Duration {
        Duration::from_secs(bytes * 8 / (megabits * 1_000_000))
    }

    #[test]
    fn a_client_hears_the_result_within_ten_minutes() {
        // Both looks at the draft, and its removal, come after the request.
        assert!(Patience::CLIENT.sent + Duration::from_secs(2 * 12 + 20) < Duration::from_secs(600));
        assert!(Patience::CLIENT.upload < needs(LARGE_OCTETS as u64, 2), "why the queue needs more");
    }

    #[test]
    fn a_queued_message_has_time_for_its_size() {
        let largest = Patience::queued(LARGE_OCTETS as u64);
        assert_eq!(largest.upload, Duration::from_secs(47 * 60));
        assert!(largest.upload > 4 * needs(LARGE_OCTETS as u64, 2));
        assert_eq!(largest.sent - largest.upload, SEND);
        assert!(Patience::queued(3_000_000).upload > Patience::CLIENT.upload);
    }
}
