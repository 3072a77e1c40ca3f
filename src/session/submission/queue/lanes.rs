//! Decides which message of the queue is tried next. Pure: the caller brings the time.
//!
//! A lane is what one device sends from one mailbox. Its messages go one at a time in the order in
//! which they were accepted. A fault of the mailbox (or of Microsoft as a whole) pauses all lanes of
//! the mailbox, and one message at a time then tests whether it is over. A message that is refused
//! for a while itself is set aside, and does not hold up those behind it. Mailboxes never wait for
//! each other.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use gatepost_core::account::MailAddress;
use gatepost_core::clock::UnixTime;
use gatepost_core::rate_limit::SlidingWindow;
use gatepost_store::queue::QueueId;

/// The time that the limit of messages covers.
const MINUTE: Duration = Duration::from_secs(60);

/// Messages of one mailbox that are sent at once. Exchange Online takes three connections, and the
/// limiter shares them with clients that send directly.
const AT_ONCE: usize = 3;

/// Times in a row that a mailbox cannot send one message before the next message is tried.
const STUCK: u32 = 3;

/// Messages in a row that cannot be sent before the fault is surely the mailbox's.
const SUSPECTS: usize = 3;

/// Waits before the next try: the first one, and the longest.
const FIRST_WAIT: Duration = Duration::from_secs(30);
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 60);

/// Returns the wait after so many failures in a row: doubled each time, and up to a quarter longer by
/// `random`, so that mailboxes do not try again together.
pub(super) fn back_off(failures: u32, random: u64) -> Duration {
    let wait = FIRST_WAIT.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_WAIT);
    let quarter = u64::try_from(wait.as_millis() / 4).unwrap_or(u64::MAX);
    wait + Duration::from_millis(random % quarter.max(1))
}

/// Where messages come from: the client's address, or another word.
pub(super) type Device = Arc<str>;

/// A message that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: QueueId,
    pub(super) mailbox: MailAddress,
    /// Where it came from.
    pub(super) device: Device,
    pub(super) accepted: UnixTime,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) id: QueueId,
    pub(super) mailbox: MailAddress,
    pub(super) step: Step,
}

/// A step of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Send it. `Some`: as the next one of this device.
    Send(Option<Device>, UnixTime),
    /// Look whether it was sent, after so many looks.
    Look(u32),
}

/// How a [`Task`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Microsoft took the message.
    Over,
    /// Somebody must act, or Microsoft refused the message for good.
    Refused,
    /// Nobody can tell what became of it, and it cannot be looked for.
    Lost,
    /// It is off the queue without a connection to Microsoft.
    Gone,
    /// The mailbox cannot send now. The message keeps its place, and is tried again after this time.
    Paused(Duration),
    /// The same, and the fault may be the message's.
    Broke(Duration),
    /// Gatepost itself could not try it, which says nothing about the mailbox. The message keeps its
    /// place, and the mailbox waits for this time.
    Postponed(Duration),
    /// Microsoft does not take this message for now. It is tried again after this time, by itself.
    Aside(Duration),
    /// Nobody can tell what became of it. It is looked for after this time.
    Look(Duration),
}

/// All messages that wait.
pub(super) struct Lanes {
    mailboxes: HashMap<MailAddress, Mailbox>,
    /// When each mailbox may do something next, in the order of their turns.
    agenda: BTreeSet<(Turn, MailAddress)>,
    turns: u64,
    looks: BTreeSet<(Instant, QueueId, u32)>,
    looked_for: HashMap<QueueId, MailAddress>,
    known: HashSet<QueueId>,
    per_minute: usize,
}

#[derive(Default)]
struct Mailbox {
    lanes: HashMap<Device, Lane>,
    /// The lanes whose next message may be sent, by its id.
    ready: BTreeSet<(QueueId, Device)>,
    /// Messages set aside, by the time of their next try.
    aside: BTreeSet<(Instant, QueueId, UnixTime)>,
    /// Whether a message set aside goes before those of the lanes, so that neither starves.
    aside_is_next: bool,
    under_way: usize,
    sent: SlidingWindow<Instant>,
    faults: u32,
    paused: Option<Instant>,
    /// Until when Microsoft wants nothing of it.
    asked: Option<Instant>,
    /// The message at which it could not send last, and how many times in a row.
    stuck: Option<(QueueId, u32)>,
    /// Messages set aside one after another to see whether the fault is theirs.
    suspects: Vec<(QueueId, Device)>,
    /// Its place in the agenda.
    listed: Option<Turn>,
}

/// A time, and a number that tells those of the same time apart.
type Turn = (Instant, u64);

#[derive(Default)]
struct Lane {
    waiting: VecDeque<(QueueId, UnixTime)>,
    is_busy: bool,
}

impl Lanes {
    /// Creates empty lanes that let so many messages of a mailbox go in a minute.
    pub(super) fn new(per_minute: usize) -> Self {
        Self {
            mailboxes: HashMap::new(),
            agenda: BTreeSet::new(),
            turns: 0,
            looks: BTreeSet::new(),
            looked_for: HashMap::new(),
            known: HashSet::new(),
            per_minute,
        }
    }

    /// Lets so many messages of a mailbox go in a minute from now on.
    pub(super) fn adjust(&mut self, per_minute: usize) {
        self.per_minute = per_minute;
    }

    /// Whether a message is known, and not yet over.
    pub(super) fn has(&self, id: QueueId) -> bool {
        self.known.contains(&id)
    }

    /// Whether a message is known as one that is looked for.
    pub(super) fn is_looked_for(&self, id: QueueId) -> bool {
        self.looked_for.contains_key(&id)
    }

    /// Forgets a message that is to be looked for. One whose look is under way stays until its end.
    pub(super) fn drop_look(&mut self, id: QueueId) {
        if let Some(found) = self.looks.iter().find(|(_, other, _)| *other == id).copied() {
            self.looks.remove(&found);
            self.looked_for.remove(&id);
            self.known.remove(&id);
        }
    }

    /// Adds a message. One whose time has not come is set aside until then.
    pub(super) fn add(&mut self, entry: Entry, due: Instant, now: Instant) {
        let Entry { id, mailbox: name, device, accepted } = entry;
        if !self.known.insert(id) {
            return;
        }
        let mailbox = self.mailboxes.entry(name.clone()).or_default();
        if due > now {
            mailbox.aside.insert((due, id, accepted));
        } else {
            mailbox.put_back(id, &device, accepted);
        }
        self.list(&name, now);
    }

    /// Adds a message of which nobody knows whether it was sent.
    pub(super) fn add_look(&mut self, id: QueueId, mailbox: MailAddress, due: Instant) {
        if self.known.insert(id) {
            self.looked_for.insert(id, mailbox);
            self.looks.insert((due, id, 0));
        }
    }

    /// Returns what to do now. The caller says with [`Lanes::done`] how it ended.
    pub(super) fn take(&mut self, now: Instant) -> Option<Task> {
        if let Some(&(due, id, looks)) = self.looks.first()
            && due <= now
        {
            self.looks.pop_first();
            let mailbox = self.looked_for.get(&id)?.clone();
            return Some(Task { id, mailbox, step: Step::Look(looks) });
        }
        while let Some(((due, _), name)) = self.agenda.first().cloned()
            && due <= now
        {
            self.agenda.pop_first();
            let mailbox = self.mailboxes.get_mut(&name)?;
            mailbox.listed = None;
            let taken = mailbox.take(now, self.per_minute);
            self.list(&name, now);
            if let Some((id, step)) = taken {
                return Some(Task { id, mailbox: name, step });
            }
        }
        None
    }

    /// Returns when there is something to do again, without a new message or the end of a task.
    pub(super) fn next(&self) -> Option<Instant> {
        let look = self.looks.first().map(|(due, _, _)| *due);
        let mailbox = self.agenda.first().map(|((due, _), _)| *due);
        look.into_iter().chain(mailbox).min()
    }

    /// Notes how a task ended.
    pub(super) fn done(&mut self, task: Task, end: End, now: Instant) {
        let Task { id, mailbox: name, step } = task;
        let (device, accepted) = match (step, end) {
            (Step::Look(looks), End::Look(wait)) => {
                self.looks.insert((now + wait, id, looks + 1));
                return;
            }
            (Step::Look(looks), End::Postponed(wait)) => {
                self.looks.insert((now + wait, id, looks));
                return;
            }
            (Step::Look(_), _) => {
                self.looked_for.remove(&id);
                self.known.remove(&id);
                return;
            }
            (Step::Send(device, accepted), _) => (device, accepted),
        };
        let Some(mailbox) = self.mailboxes.get_mut(&name) else { return };
        mailbox.under_way = mailbox.under_way.saturating_sub(1);
        match end {
            // A message that was set aside says nothing about a mailbox that sends others.
            End::Paused(_) | End::Broke(_) if device.is_none() && mailbox.faults == 0 => {}
            End::Paused(wait) | End::Broke(wait) => mailbox.fault(now + wait),
            End::Postponed(wait) => mailbox.pause(now + wait),
            End::Gone => {}
            End::Over => {
                mailbox.faults = 0;
                mailbox.stuck = None;
                mailbox.suspects.clear();
            }
            // Something that breaks every connection must not cost one message after another.
            End::Look(_) | End::Lost => mailbox.fault(now + back_off(mailbox.faults.saturating_add(1), id.0)),
            End::Aside(_) | End::Refused => mailbox.stuck = None,
        }
        if !matches!(end, End::Paused(_) | End::Broke(_) | End::Postponed(_) | End::Gone) {
            // Microsoft counted it before now.
            mailbox.sent.note(now);
        }
        match (end, &device) {
            // Whatever keeps a mailbox from sending at all leaves the order as it is.
            (End::Paused(_) | End::Postponed(_), Some(device)) => mailbox.put_back(id, device, accepted),
            (End::Broke(wait), Some(device)) => {
                if mailbox.suspect(id, device) {
                    mailbox.aside.insert((now + wait, id, accepted));
                    mailbox.aside_is_next = false;
                } else {
                    mailbox.put_back(id, device, accepted);
                }
            }
            (End::Paused(wait) | End::Broke(wait) | End::Postponed(wait) | End::Aside(wait), _) => {
                mailbox.aside.insert((now + wait, id, accepted));
            }
            (End::Look(wait), _) => {
                self.looked_for.insert(id, name.clone());
                self.looks.insert((now + wait, id, 0));
            }
            (End::Over | End::Refused | End::Lost | End::Gone, _) => {
                self.known.remove(&id);
            }
        }
        if let Some(device) = device {
            mailbox.release(device);
        }
        self.list(&name, now);
    }

    /// Notes that Microsoft wants nothing of a mailbox until then. Nobody's act shortens that. Call it
    /// before [`Lanes::done`].
    pub(super) fn hold(&mut self, mailbox: &MailAddress, until: Instant) {
        if let Some(mailbox) = self.mailboxes.get_mut(mailbox) {
            mailbox.asked = mailbox.asked.max(Some(until));
        }
    }

    /// Returns how many times in a row a mailbox could not send.
    pub(super) fn faults(&self, mailbox: &MailAddress) -> u32 {
        self.mailboxes.get(mailbox).map_or(0, |mailbox| mailbox.faults)
    }

    /// Removes the messages of a mailbox that wait in its lanes and were accepted before this time.
    pub(super) fn expired(&mut self, mailbox: &MailAddress, before: UnixTime, now: Instant) -> Vec<QueueId> {
        let Some(of) = self.mailboxes.get_mut(mailbox) else { return Vec::new() };
        let Mailbox { lanes, ready, .. } = of;
        let mut removed = Vec::new();
        for (device, lane) in lanes.iter_mut() {
            while let Some(&(id, accepted)) = lane.waiting.front()
                && accepted < before
            {
                lane.waiting.pop_front();
                ready.remove(&(id, Arc::clone(device)));
                removed.push(id);
            }
            if let (false, Some((id, _))) = (lane.is_busy, lane.waiting.front()) {
                ready.insert((*id, Arc::clone(device)));
            }
        }
        lanes.retain(|_, lane| lane.is_busy || !lane.waiting.is_empty());
        for id in &removed {
            self.known.remove(id);
        }
        self.list(mailbox, now);
        removed
    }

    /// Tries a message that waits again as soon as Microsoft lets it, because a person wants it.
    pub(super) fn hasten(&mut self, mailbox: &MailAddress, id: QueueId, now: Instant) {
        let Some(of) = self.mailboxes.get_mut(mailbox) else { return };
        of.paused = None;
        if let Some(found) = of.aside.iter().find(|(_, other, _)| *other == id).copied() {
            of.aside.remove(&found);
            of.aside.insert((found.0.min(now), id, found.2));
        }
        self.list(mailbox, now);
    }

    /// Tries every mailbox and every message again as soon as Microsoft lets them, because something
    /// has changed.
    pub(super) fn resume(&mut self, now: Instant) {
        for mailbox in self.mailboxes.values_mut() {
            mailbox.paused = None;
            mailbox.aside = mailbox.aside.iter().map(|(due, id, accepted)| ((*due).min(now), *id, *accepted)).collect();
        }
        let names: Vec<MailAddress> = self.mailboxes.keys().cloned().collect();
        for name in names {
            self.list(&name, now);
        }
    }

    /// Puts a mailbox into the agenda for its next turn. One whose turn it is keeps its place.
    fn list(&mut self, name: &MailAddress, now: Instant) {
        let Some(mailbox) = self.mailboxes.get_mut(name) else { return };
        let next = mailbox.next(now, self.per_minute);
        if let (Some((listed, _)), Some(next)) = (mailbox.listed, next)
            && listed <= now
            && next <= now
        {
            return;
        }
        if let Some(former) = mailbox.listed.take() {
            self.agenda.remove(&(former, name.clone()));
        }
        match next {
            Some(next) => {
                let turn = (next, self.turns);
                self.turns = self.turns.wrapping_add(1);
                mailbox.listed = Some(turn);
                self.agenda.insert((turn, name.clone()));
            }
            None if mailbox.is_idle() => {
                self.mailboxes.remove(name);
            }
            None => {}
        }
    }
}

impl Mailbox {
    /// Returns when it may do something next, not before `now`. `None`: when a task ends, or never.
    fn next(&mut self, now: Instant, per_minute: usize) -> Option<Instant> {
        let at_once = if self.faults > 0 { 1 } else { AT_ONCE };
        if self.under_way >= at_once.min(per_minute) {
            return None;
        }
        let aside = self.aside.first().map(|(due, _, _)| *due);
        let due = if self.ready.is_empty() { aside } else { Some(now) };
        let Some(due) = due else {
            // It is remembered until its minute is over.
            let last = self.sent.in_the_way(MINUTE, now, 1)?;
            return (self.under_way == 0).then(|| last + MINUTE);
        };
        let mut next = due.max(now).max(self.paused.unwrap_or(now)).max(self.asked.unwrap_or(now));
        if let Some(sent) = self.sent.in_the_way(MINUTE, now, per_minute - self.under_way) {
            next = next.max(sent + MINUTE);
        }
        Some(next)
    }

    fn take(&mut self, now: Instant, per_minute: usize) -> Option<(QueueId, Step)> {
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
        self.under_way += 1;
        Some((id, step))
    }

    /// Notes that it cannot send until then.
    fn fault(&mut self, until: Instant) {
        self.faults = self.faults.saturating_add(1);
        self.pause(until);
    }

    /// Lets it send nothing until then.
    fn pause(&mut self, until: Instant) {
        self.paused = self.paused.max(Some(until));
    }

    /// Whether a message at which it could not send is set aside, so that the next one shows where the
    /// fault is. If several in a row cannot be sent, the fault is the mailbox's, and those set aside
    /// take their places again.
    fn suspect(&mut self, id: QueueId, device: &Device) -> bool {
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
    fn has_waiting(&self) -> bool {
        self.lanes.values().any(|lane| !lane.waiting.is_empty())
    }

    /// Puts a message back to its place in its lane.
    fn put_back(&mut self, id: QueueId, device: &Device, accepted: UnixTime) {
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
    fn release(&mut self, device: Device) {
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
    fn is_idle(&self) -> bool {
        self.lanes.is_empty() && self.aside.is_empty() && self.under_way == 0
    }
}

#[cfg(test)]
mod tests;
