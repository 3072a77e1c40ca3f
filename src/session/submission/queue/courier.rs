//! Runs the attempts to deliver the messages of the queue, as the lanes order them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::attempt::{Attempt, Present};
use super::lanes::{End, Lanes, Task};
use super::report::Reports;
use super::spares::Spares;
use super::task::{Finished, What, perform};
use super::told::Telling;
use super::trouble::Trouble;
use gatepost_config::Queue as QueueConfig;
use gatepost_core::account::MailAddress;
use gatepost_core::clock::{Clock, UnixTime};
use gatepost_store::queue::{Courier, Outcome, Queue, QueueId, Revision, Seen, State};

/// How often the queue is asked whether another process has changed it, and how long until the right
/// to deliver is asked for again.
const TICK: Duration = Duration::from_secs(1);

/// How often files that belong to nothing are looked for, and sent messages are forgotten.
const SWEEP: Duration = Duration::from_secs(3_600);

/// The wait after the index did not answer.
const INDEX_WAIT: Duration = Duration::from_secs(10);

/// Delivers the messages of a queue until `draining` ends, then lets the attempts end that cannot be
/// taken back. Another process may have the right to deliver before and after.
///
/// # Cancel safety
/// A message that is being handed over when the future is dropped is looked for later.
pub async fn deliver(queue: Queue, present: watch::Receiver<Arc<Present>>, draining: CancellationToken) {
    let mut trouble = Trouble::new(&present.borrow().shared.journal);
    let courier = loop {
        match queue.courier().await {
            Ok(Some(courier)) => break courier,
            Ok(None) => {}
            Err(error) => trouble.tell(&error),
        }
        tokio::select! {
            () = sleep(TICK) => {}
            () = draining.cancelled() => return,
        }
    };
    if courier.left_behind() > 0 {
        tracing::warn!(
            messages = courier.left_behind(),
            "Gatepost ended while it handed messages of the queue over. It looks for them in Sent Items"
        );
    }
    let config = present.borrow().config.clone();
    let per_minute = config.as_ref().map_or(1, |config| config.messages_per_minute);
    let clock = Clock::system();
    let mut lanes = Lanes::new(usize::try_from(per_minute).unwrap_or(usize::MAX));
    let (now, at) = (Instant::now(), clock.unix_time());
    for (mailbox, left) in courier.last_minute() {
        let Ok(mailbox) = MailAddress::parse(mailbox) else { continue };
        // The time is in whole seconds, and the message left up to one later.
        let since = at.since(left.after(Duration::from_secs(1)));
        lanes.note_left(mailbox, now.checked_sub(since).unwrap_or(now), now);
    }
    let run = Run {
        courier: Arc::new(courier),
        present,
        draining,
        clock,
        lanes,
        attempts: JoinSet::new(),
        tasks: HashMap::new(),
        spares: Spares::default(),
        unsettled: Vec::new(),
        reports: Reports::default(),
        left_unreported: Some(QueueId(0)),
        last: QueueId(0),
        revision: None,
        stale: BTreeSet::new(),
        trouble,
    };
    run.until_drained().await;
}

pub(super) struct Run {
    pub(super) courier: Arc<Courier>,
    pub(super) present: watch::Receiver<Arc<Present>>,
    draining: CancellationToken,
    pub(super) clock: Clock,
    pub(super) lanes: Lanes,
    attempts: JoinSet<Finished>,
    /// What each attempt is about.
    tasks: HashMap<Id, Task>,
    spares: Spares,
    /// What could not be kept. Nothing else is tried meanwhile.
    unsettled: Vec<Unsettled>,
    pub(super) reports: Reports,
    /// Up to which message those were read that a former process did not report; `None`: all of them.
    pub(super) left_unreported: Option<QueueId>,
    /// The last message that was seen.
    pub(super) last: QueueId,
    /// Up to which change the queue is known; `None` until all of it was read once.
    pub(super) revision: Option<Revision>,
    /// Messages that are no longer as they were known, and are read once more.
    pub(super) stale: BTreeSet<QueueId>,
    pub(super) trouble: Trouble,
}

/// What is to be kept as soon as that is possible.
#[derive(Clone)]
enum Unsettled {
    Outcome(Seen, Outcome),
    /// The attempt broke off, and the message is touched again at this time.
    BrokenOff(QueueId, UnixTime),
}

impl Run {
    async fn until_drained(mut self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut swept = Instant::now();
        let queue = self.courier.queue().clone();
        let draining = self.draining.clone();
        loop {
            let is_draining = draining.is_cancelled();
            if is_draining && self.attempts.is_empty() {
                break;
            }
            if !is_draining {
                self.begin();
            }
            let next = self.lanes.next().filter(|_| self.may_begin());
            tokio::select! {
                Some(ended) = self.attempts.join_next_with_id() => self.ended(ended).await,
                () = async { sleep_until(next.unwrap_or_else(Instant::now)).await }, if next.is_some() && !is_draining => {}
                () = queue.stirred(), if !is_draining => self.look_for_changes().await,
                Ok(()) = self.present.changed(), if !is_draining => self.reloaded(),
                () = draining.cancelled(), if !is_draining => {}
                _ = ticks.tick() => {
                    self.settle_rest().await;
                    self.count().await;
                    if !is_draining {
                        self.look_for_changes().await;
                        self.report().await;
                        if swept.elapsed() >= SWEEP {
                            swept = Instant::now();
                            self.sweep().await;
                        }
                    }
                }
            }
        }
        self.settle_rest().await;
        self.spares.close().await;
    }

    pub(super) fn config(&self) -> Option<QueueConfig> {
        self.present.borrow().config.clone()
    }

    fn may_begin(&self) -> bool {
        self.unsettled.is_empty()
    }

    /// Begins what can be begun now.
    fn begin(&mut self) {
        while self.may_begin() {
            let Some(task) = self.lanes.take(Instant::now()) else { return };
            let (courier, present) = (Arc::clone(&self.courier), Arc::clone(&self.present.borrow()));
            let (of, stop, at) = (task.clone(), self.draining.clone(), self.clock.unix_time());
            let spares = self.spares.clone();
            let attempt = async move { perform(courier, present, of, spares, stop, at).await };
            self.tasks.insert(self.attempts.spawn(attempt).id(), task);
        }
    }

    /// Follows a new configuration. What could not be sent may be possible now.
    fn reloaded(&mut self) {
        if let Some(config) = self.config() {
            self.lanes.adjust(usize::try_from(config.messages_per_minute).unwrap_or(usize::MAX));
        }
        self.lanes.resume(Instant::now());
    }

    async fn ended(&mut self, ended: Result<(Id, Finished), JoinError>) {
        let (id, finished) = match ended {
            Ok((id, finished)) => (id, Some(finished)),
            Err(error) => (error.id(), None),
        };
        let Some(task) = self.tasks.remove(&id) else { return };
        let now = Instant::now();
        let Some(Finished { what, of }) = finished else { return self.panicked(task).await };
        if let What::Unread(error) = &what {
            self.trouble.tell(error);
            return self.lanes.done(task, End::Postponed(INDEX_WAIT), now);
        }
        let Some((entry, message, present)) = of else {
            // Somebody has changed it, and it may wait in another way now.
            self.stale.insert(task.id);
            return self.lanes.done(task, End::Gone, now);
        };
        let mailbox = task.mailbox.clone();
        let attempt = Attempt {
            present: &present,
            courier: &Arc::clone(&self.courier),
            entry: &entry,
            message: &message,
            mailbox: &mailbox,
            at: self.clock.unix_time(),
        };
        let telling = Telling { journal: &present.shared.journal, attempt: &attempt };
        match what {
            What::Tried(attempted) => self.tried(task, attempted, telling).await,
            What::Looked(copy) => self.looked(task, copy, telling).await,
            What::Unread(_) => {}
        }
    }

    /// Keeps what became of a message. What cannot be kept now is kept later. Returns false when somebody
    /// has changed the message meanwhile.
    pub(super) async fn settle(&mut self, seen: Seen, outcome: Outcome) -> bool {
        match self.courier.settle(seen, outcome.clone()).await {
            Ok(true) => true,
            Ok(false) => {
                self.stale.insert(seen.id);
                false
            }
            Err(error) => {
                self.trouble.tell(&error);
                self.unsettled.push(Unsettled::Outcome(seen, outcome));
                true
            }
        }
    }

    /// Keeps that an attempt broke off. Returns the state of the message; `None` where that is not known.
    pub(super) async fn break_off(&mut self, id: QueueId, due: UnixTime) -> Option<State> {
        self.courier.break_off(id, due).await.unwrap_or_else(|error| {
            self.trouble.tell(&error);
            self.unsettled.push(Unsettled::BrokenOff(id, due));
            None
        })
    }

    async fn settle_rest(&mut self) {
        while let Some(first) = self.unsettled.first().cloned() {
            let kept = match first {
                // What is no longer as it was seen was kept before, or a person has acted since.
                Unsettled::Outcome(seen, outcome) => self.courier.settle(seen, outcome).await.map(drop),
                Unsettled::BrokenOff(id, due) => self.courier.break_off(id, due).await.map(drop),
            };
            if kept.is_err() {
                return;
            }
            self.unsettled.remove(0);
        }
    }

    /// Says in the metrics how much there is.
    async fn count(&self) {
        let Ok(totals) = self.courier.queue().totals().await else { return };
        let present = self.present.borrow();
        let metrics = &present.shared.journal.metrics().queue;
        for state in State::ALL {
            metrics.messages(state.name(), totals.of(state).messages);
        }
        let oldest = totals.oldest.map_or(Duration::ZERO, |oldest| self.clock.unix_time().since(oldest));
        metrics.size(totals.all().bytes, self.courier.queue().size(), oldest.as_secs());
    }

    async fn sweep(&mut self) {
        let keep = self.config().map_or(Duration::ZERO, |config| config.keep_sent);
        let forgotten = self.courier.forget_sent(self.clock.unix_time().before(keep)).await;
        if let Err(error) = forgotten.map(drop) {
            self.trouble.tell(&error);
        }
        if let Err(error) = self.courier.sweep().await {
            self.trouble.tell(&error);
        }
    }
}
