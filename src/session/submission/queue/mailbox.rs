//! What waits for one mailbox, and which of it may go next. Pure: the caller brings the time.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use gatepost_core::clock::UnixTime;
use gatepost_core::rate_limit::SlidingWindow;
use gatepost_store::queue::QueueId;

/// The time that the limit of messages covers.
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// Messages of one mailbox that are sent at once. Exchange Online takes three connections, and the
/// limiter shares them with clients that send directly.
const AT_ONCE: usize = 3;

/// An attempt that takes so long is slow. Others take a second or two, and a server that is slow to
/// answer, or a line that is busy with a large message, takes longer.
const SLOW: Duration = Duration::from_secs(20);

/// Times in a row that a mailbox cannot send one message before the next message is tried.
const STUCK: u32 = 3;

/// Messages in a row that cannot be sent before the fault is surely the mailbox's.
const SUSPECTS: usize = 3;

/// Waits before the next try: the first one, and the longest.
pub(super) const FIRST_WAIT: Duration = Duration::from_secs(30);
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(30 * 60);

/// Returns the wait after so many failures in a row: doubled each time, and up to a quarter longer by
/// `random`, so that mailboxes do not try again together.
pub(super) fn back_off(failures: u32, random: u64) -> Duration {
    let wait = FIRST_WAIT.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_WAIT);
    let quarter = u64::try_from(wait.as_millis() / 4).unwrap_or(u64::MAX);
    wait + Duration::from_millis(random % quarter.max(1))
}

/// Where messages come from: the client's address, or another word.
pub(super) type Device = Arc<str>;

/// A step of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Send it. `Some`: as the next one of this device.
    Send(Option<Device>, UnixTime),
    /// Look whether it was sent, after so many looks.
    Look(u32),
}

#[derive(Default)]
pub(super) struct Mailbox {
    pub(super) lanes: HashMap<Device, Lane>,
    /// The lanes whose next message may be sent, by its id.
    pub(super) ready: BTreeSet<(QueueId, Device)>,
    /// Messages set aside, by the time of their next try.
    pub(super) aside: BTreeSet<(Instant, QueueId, UnixTime)>,
    /// Whether a message set aside goes before those of the lanes, so that neither starves.
    pub(super) aside_is_next: bool,
    /// What is under way, and since when.
    pub(super) begun: Vec<(QueueId, Instant)>,
    /// Whether the attempt that ended last took long.
    pub(super) was_slow: bool,
    /// Whether it waits until fewer slow mailboxes send.
    pub(super) is_held: bool,
    pub(super) sent: SlidingWindow<Instant>,
    pub(super) faults: u32,
    pub(super) paused: Option<Instant>,
    /// Until when Microsoft wants nothing of it.
    pub(super) asked: Option<Instant>,
    /// The message at which it could not send last, and how many times in a row.
    pub(super) stuck: Option<(QueueId, u32)>,
    /// Messages set aside one after another to see whether the fault is theirs.
    pub(super) suspects: Vec<(QueueId, Device)>,
    /// Its place in the agenda.
    pub(super) listed: Option<Turn>,
}

/// A time, and a number that tells those of the same time apart.
pub(super) type Turn = (Instant, u64);

#[derive(Default)]
pub(super) struct Lane {
    pub(super) waiting: VecDeque<(QueueId, UnixTime)>,
    pub(super) is_busy: bool,
}

impl Mailbox {
    /// Returns when it may do something next, not before `now`. `None`: when a task ends, or never.
    pub(super) fn next(&mut self, now: Instant, per_minute: usize) -> Option<Instant> {
        // Three connections would help a slow mailbox little, and hold what others need.
        let at_once = if self.faults > 0 || self.is_slow(now) { 1 } else { AT_ONCE };
        let under_way = self.begun.len();
        if under_way >= at_once.min(per_minute) {
            return None;
        }
        let aside = self.aside.first().map(|(due, _, _)| *due);
        let due = if self.ready.is_empty() { aside } else { Some(now) };
        let Some(due) = due else {
            // It is remembered until its minute is over.
            let last = self.sent.in_the_way(MINUTE, now, 1)?;
            return (under_way == 0).then(|| last + MINUTE);
        };
        let mut next = due.max(now).max(self.paused.unwrap_or(now)).max(self.asked.unwrap_or(now));
        if let Some(sent) = self.sent.in_the_way(MINUTE, now, per_minute - under_way) {
            next = next.max(sent + MINUTE);
        }
        Some(next)
    }

    pub(super) fn take(&mut self, now: Instant, per_minute: usize) -> Option<(QueueId, Step)> {
        if self.next(now, per_minute).is_none_or(|next| next > now) {
            return None;
        }
        let aside = self.aside.first().copied().filter(|(due, _, _)| *due <= now);
        let lane = self.ready.first().cloned();
        let (id, step) = match (aside, lane) {
            (Some(first), lane) if self.aside_is_next || lane.is_none() => {
                self.aside.remove(&first);
                self.aside_is_next = false;
                let (_, id, accepted) = first;
                (id, Step::Send(None, accepted))
            }
            (_, Some((_, device))) => {
                self.ready.pop_first();
                self.aside_is_next = true;
                let lane = self.lanes.get_mut(&device)?;
                lane.is_busy = true;
                let (id, accepted) = lane.waiting.pop_front()?;
                (id, Step::Send(Some(device), accepted))
            }
            _ => return None,
        };
        self.begun.push((id, now));
        Some((id, step))
    }

    /// Whether its attempts take long.
    pub(super) fn is_slow(&self, now: Instant) -> bool {
        self.was_slow || self.begun.iter().any(|(_, begun)| now.saturating_duration_since(*begun) >= SLOW)
    }

    /// Notes that an attempt ended, and whether it says how fast the mailbox is.
    pub(super) fn ended(&mut self, id: QueueId, tells: bool, now: Instant) {
        if let Some(at) = self.begun.iter().position(|(begun, _)| *begun == id) {
            let (_, begun) = self.begun.swap_remove(at);
            if tells {
                self.was_slow = now.saturating_duration_since(begun) >= SLOW;
            }
        }
    }

    /// Notes that it cannot send until then.
    pub(super) fn fault(&mut self, until: Instant) {
        self.faults = self.faults.saturating_add(1);
        self.pause(until);
    }

    /// Lets it send nothing until then.
    pub(super) fn pause(&mut self, until: Instant) {
        self.paused = self.paused.max(Some(until));
    }

    /// Whether a message at which it could not send is set aside, so that the next one shows where the
    /// fault is. If several in a row cannot be sent, the fault is the mailbox's, and those set aside
    /// take their places again.
    pub(super) fn suspect(&mut self, id: QueueId, device: &Device) -> bool {
        let times = self.stuck.filter(|(last, _)| *last == id).map_or(1, |(_, times)| times + 1);
        self.stuck = Some((id, times));
        if times < STUCK && self.suspects.is_empty() {
            return false;
        }
        self.stuck = None;
        if self.suspects.len() < SUSPECTS && self.has_waiting() {
            self.suspects.push((id, Arc::clone(device)));
            return true;
        }
        for (suspect, of) in std::mem::take(&mut self.suspects) {
            if let Some(found) = self.aside.iter().find(|(_, other, _)| *other == suspect).copied() {
                self.aside.remove(&found);
                self.put_back(suspect, &of, found.2);
            }
        }
        false
    }

    /// Whether another message of its lanes waits.
    pub(super) fn has_waiting(&self) -> bool {
        self.lanes.values().any(|lane| !lane.waiting.is_empty())
    }

    /// Puts a message back to its place in its lane.
    pub(super) fn put_back(&mut self, id: QueueId, device: &Device, accepted: UnixTime) {
        let lane = self.lanes.entry(Arc::clone(device)).or_default();
        let place = lane.waiting.partition_point(|(other, _)| *other < id);
        let former = lane.waiting.front().map(|(first, _)| *first);
        lane.waiting.insert(place, (id, accepted));
        if !lane.is_busy && place == 0 {
            if let Some(first) = former {
                self.ready.remove(&(first, Arc::clone(device)));
            }
            self.ready.insert((id, Arc::clone(device)));
        }
    }

    /// Lets the next message of a device go.
    pub(super) fn release(&mut self, device: Device) {
        let Some(lane) = self.lanes.get_mut(&device) else { return };
        lane.is_busy = false;
        match lane.waiting.front() {
            Some((id, _)) => {
                self.ready.insert((*id, device));
            }
            None => {
                self.lanes.remove(&device);
            }
        }
    }

    /// Whether nothing needs to be remembered about it.
    pub(super) fn is_idle(&self) -> bool {
        self.lanes.is_empty() && self.aside.is_empty() && self.begun.is_empty()
    }
}
