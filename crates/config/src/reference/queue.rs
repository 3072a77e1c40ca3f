//! The keys of `queue`.

use std::time::Duration;

use super::credential::PATH;
use super::kind::IfAbsent::{Means, Nothing, Value};
use super::kind::{Block, Group, Key, Kind};
use super::network::ADDRESS;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Longest time for which a message may wait, or be kept.
const LONGEST: Duration = DAY.saturating_mul(30);

/// The section `queue`.
pub(super) const QUEUE: &Block = &Block {
    path: "queue",
    meaning: "Where the messages of listeners with `queue: true` wait, encrypted, until Microsoft has them. It needs a state \
              directory. Each replica has its own queue.",
    groups: &[Group {
        title: "",
        keys: &[
            Key::new(
                "directory",
                Kind::Text(PATH),
                Means("`queue` in `state.directory`"),
                "Directory for Gatepost alone, on a disk of this machine. Gatepost creates it.",
            ),
            Key::new(
                "size",
                Kind::Size(MIB, 10_240 * GIB),
                Value("10GiB"),
                "Size of all messages in the queue, including those that failed. If a message does not fit, the client hears \
                 `452` before it sends the content.",
            ),
            Key::new(
                "retry_for",
                Kind::Time(SECOND, LONGEST),
                Value("2d"),
                "Time after which a message that could not be delivered fails.",
            ),
            Key::new(
                "keep_sent",
                Kind::Time(Duration::ZERO, LONGEST),
                Value("0"),
                "Time for which delivered messages are kept. `0`: not at all.",
            ),
            Key::new(
                "report_to",
                Kind::Text(ADDRESS),
                Nothing,
                "Administrator who gets a report by mail of messages that failed or have an unknown outcome.",
            ),
            Key::new(
                "messages_per_minute",
                Kind::Count(1, 10_000),
                Value("30"),
                "Messages that leave one mailbox in a minute. Exchange Online allows 30.",
            ),
        ],
    }],
    one_of: &[],
};
