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

use super::mailbox::{Device, Mailbox, Step, Turn, back_off};
use gatepost_core::account::MailAddress;
use gatepost_core::clock::UnixTime;
use gatepost_store::queue::QueueId;

/// Most attempts to send at once, of all mailboxes. One costs a TLS connection, a piece of the message
/// and two descriptors, together less than 200 KiB. (Messages for Graph have a bound of their own:
/// `limits.graph_messages`.)
const SENDS: usize = 128;

/// Most of them that slow mailboxes take, one each. The rest stays for those that are done in a moment.
const SLOW_SENDS: usize = 96;

/// Most looks into Sent Items at once. Each is one small request, and nobody waits for it.
const LOOKS: usize = 4;

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
    sends: usize,
    /// Those of [`Lanes::sends`] that began when their mailbox was slow.
    slow: HashSet<QueueId>,
    /// Slow mailboxes that wait until others end.
    held: VecDeque<MailAddress>,
    looks_under_way: usize,
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
            sends: 0,
            slow: HashSet::new(),
            held: VecDeque::new(),
            looks_under_way: 0,
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
        if let Some(&(due, id, looks)) = self.looks.first().filter(|_| self.looks_under_way < LOOKS)
            && due <= now
        {
            self.looks.pop_first();
            let mailbox = self.looked_for.get(&id)?.clone();
            self.looks_under_way += 1;
            return Some(Task { id, mailbox, step: Step::Look(looks) });
        }
        while let Some(((due, _), name)) = self.agenda.first().filter(|_| self.sends < SENDS).cloned()
            && due <= now
        {
            self.agenda.pop_first();
            let mailbox = self.mailboxes.get_mut(&name)?;
            mailbox.listed = None;
            let is_slow = mailbox.is_slow(now);
            if is_slow && self.slow.len() >= SLOW_SENDS {
                mailbox.is_held = true;
                self.held.push_back(name);
                continue;
            }
            let taken = mailbox.take(now, self.per_minute);
            self.list(&name, now);
            if let Some((id, step)) = taken {
                self.sends += 1;
                if is_slow {
                    self.slow.insert(id);
                }
                return Some(Task { id, mailbox: name, step });
            }
        }
        None
    }

    /// Returns when there is something to do again, without a new message or the end of a task.
    pub(super) fn next(&self) -> Option<Instant> {
        let look = self.looks.first().filter(|_| self.looks_under_way < LOOKS).map(|(due, _, _)| *due);
        let mailbox = self.agenda.first().filter(|_| self.sends < SENDS).map(|((due, _), _)| *due);
        look.into_iter().chain(mailbox).min()
    }

    /// Notes how a task ended.
    pub(super) fn done(&mut self, task: Task, end: End, now: Instant) {
        let Task { id, mailbox: name, step } = task;
        match step {
            Step::Look(_) => self.looks_under_way = self.looks_under_way.saturating_sub(1),
            Step::Send(..) => self.leave_place(id, now),
        }
        let (device, accepted) = match (step, end) {
            (Step::Look(looks), End::Look(wait)) => {
                self.looks.insert((now + wait, id, looks + 1));
                return;
            }
            (Step::Look(looks), End::Paused(wait) | End::Postponed(wait)) => {
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
        mailbox.ended(id, !matches!(end, End::Postponed(_) | End::Gone), now);
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

    /// Notes that a message left a mailbox at that time, before the lanes began.
    pub(super) fn note_left(&mut self, mailbox: MailAddress, at: Instant, now: Instant) {
        self.mailboxes.entry(mailbox.clone()).or_default().sent.note(at);
        self.list(&mailbox, now);
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

    /// Notes that an attempt to send ended. A slow mailbox that waited for that may have its turn.
    fn leave_place(&mut self, id: QueueId, now: Instant) {
        self.sends = self.sends.saturating_sub(1);
        self.slow.remove(&id);
        if self.slow.len() < SLOW_SENDS
            && let Some(name) = self.held.pop_front()
        {
            if let Some(mailbox) = self.mailboxes.get_mut(&name) {
                mailbox.is_held = false;
            }
            self.list(&name, now);
        }
    }

    /// Puts a mailbox into the agenda for its next turn. One whose turn it is keeps its place.
    fn list(&mut self, name: &MailAddress, now: Instant) {
        let Some(mailbox) = self.mailboxes.get_mut(name).filter(|mailbox| !mailbox.is_held) else { return };
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

#[cfg(test)]
mod tests;
