//! Runs the attempts to deliver the messages of the queue, and keeps what became of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::attempt::{Attempt, Present};
use super::lanes::{End, Entry as Waiting, Lanes, Step, Task, back_off};
use super::outcome::Attempted;
use super::report::{Line, Reports};
use super::spares::{Origin, Spares};
use super::told::{Fate, Telling, note, note_sent};
use super::trouble::Trouble;
use crate::graph::SentCopy;
use gatepost_config::Queue as QueueConfig;
use gatepost_config::value::show_duration;
use gatepost_core::account::MailAddress;
use gatepost_core::cause::Cause;
use gatepost_core::clock::{Clock, UnixTime};
use gatepost_core::failure::Failure;
use gatepost_core::jitter;
use gatepost_store::queue::{Courier, Entry, NewMessage, Outcome, Queue, QueueError, QueueId, Revision, State};

/// Most attempts at once, of all mailboxes.
const AT_ONCE: usize = 32;

/// How often the queue is asked whether another process has changed it, and how long until the right
/// to deliver is asked for again.
const TICK: Duration = Duration::from_secs(1);

/// How often files that belong to nothing are looked for, and sent messages are forgotten.
const SWEEP: Duration = Duration::from_secs(3_600);

/// Tries before the time of a message is over: its own, or those of its mailbox in a row. A clock that
/// was set forward must not let what waits fail at the first one.
const TRIES: u32 = 3;

/// The wait after the index did not answer.
const INDEX_WAIT: Duration = Duration::from_secs(10);

/// Waits before the looks for a message of which nobody knows whether it was sent.
const LOOKS: [Duration; 4] =
    [Duration::from_secs(60), Duration::from_secs(300), Duration::from_secs(900), Duration::from_secs(3_600)];

/// Delivers the messages of a queue until `draining` ends, then lets the attempts end that cannot be
/// taken back. Another process may have the right to deliver before and after.
///
/// # Cancel safety
/// A message that is being handed over when the future is dropped is looked for later.
pub async fn deliver(queue: Queue, present: watch::Receiver<Arc<Present>>, draining: CancellationToken) {
    let mut trouble = Trouble::default();
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
    let run = Run {
        courier: Arc::new(courier),
        present,
        draining,
        clock: Clock::system(),
        lanes: Lanes::new(usize::try_from(per_minute).unwrap_or(usize::MAX)),
        attempts: JoinSet::new(),
        tasks: HashMap::new(),
        spares: Spares::default(),
        unsettled: Vec::new(),
        reports: Reports::default(),
        last: QueueId(0),
        read_at: UnixTime(0),
        is_first: true,
        revision: None,
        trouble,
    };
    run.until_drained().await;
}

struct Run {
    courier: Arc<Courier>,
    present: watch::Receiver<Arc<Present>>,
    draining: CancellationToken,
    clock: Clock,
    lanes: Lanes,
    attempts: JoinSet<Finished>,
    /// What each attempt is about.
    tasks: HashMap<Id, Task>,
    spares: Spares,
    /// What could not be kept. Nothing else is tried meanwhile.
    unsettled: Vec<(QueueId, Outcome)>,
    reports: Reports,
    /// The last message that was seen.
    last: QueueId,
    /// When the whole queue was read last.
    read_at: UnixTime,
    /// Whether nothing was seen yet.
    is_first: bool,
    /// Up to which change the queue is known; `None`: all of it is to be read again.
    revision: Option<Revision>,
    trouble: Trouble,
}

/// A task that has ended.
struct Finished {
    what: What,
    /// The message and the configuration; `None` when there is nothing more to do.
    of: Option<(Entry, NewMessage, Arc<Present>)>,
}

enum What {
    Tried(Attempted),
    Looked(SentCopy),
    /// The index did not give the message.
    Unread(QueueError),
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

    fn config(&self) -> Option<QueueConfig> {
        self.present.borrow().config.clone()
    }

    fn may_begin(&self) -> bool {
        self.attempts.len() < AT_ONCE && self.unsettled.is_empty()
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

    /// Adds messages that are new, or that a person wants to be tried again.
    async fn look_for_changes(&mut self) {
        let revision = match self.courier.queue().revision().await {
            Ok(revision) => revision,
            Err(error) => return self.trouble.tell(&error),
        };
        let acts = self.revision.is_none_or(|former| former.acts != revision.acts);
        if !acts && self.revision == Some(revision) {
            return;
        }
        let mut after = if acts { QueueId(0) } else { self.last };
        let (now, at) = (Instant::now(), self.clock.unix_time());
        loop {
            let page = match self.courier.pending(after).await {
                Ok(page) => page,
                Err(error) => return self.trouble.tell(&error),
            };
            let Some(last) = page.last() else { break };
            after = last.id;
            self.last = self.last.max(after);
            for pending in page {
                // The configuration of a damaged record is not known, and pending() lets it fail.
                let Ok(mailbox) = MailAddress::parse(&pending.mailbox) else { continue };
                let due = now + pending.due_at.since(at);
                match pending.state {
                    State::Looking => {
                        self.lanes.add_look(pending.id, mailbox, due);
                        continue;
                    }
                    // A person wants it sent. The end of a look under way leads here once more.
                    _ if self.lanes.is_looked_for(pending.id) => self.lanes.drop_look(pending.id),
                    _ => {}
                }
                if self.lanes.has(pending.id) {
                    // Its time was set to that of an act of a person.
                    if (self.read_at..=at).contains(&pending.due_at) && pending.attempts > 0 {
                        self.lanes.hasten(&mailbox, pending.id, now);
                    }
                    continue;
                }
                // After a start, everything is tried in its order.
                let due = if self.is_first { now } else { due };
                let (id, device, accepted) = (pending.id, pending.device.into(), pending.retry_from);
                self.lanes.add(Waiting { id, mailbox, device, accepted }, due, now);
            }
        }
        self.is_first = false;
        self.revision = Some(revision);
        if acts {
            self.read_at = at;
        }
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
            self.revision = None;
            return self.lanes.done(task, End::Gone, now);
        };
        let mailbox = task.mailbox.clone();
        let attempt = Attempt {
            present: &present,
            courier: &Arc::clone(&self.courier),
            entry: &entry,
            message: &message,
            mailbox: &mailbox,
        };
        let telling = Telling { journal: &present.shared.journal, attempt: &attempt };
        match what {
            What::Tried(attempted) => self.tried(task, attempted, telling).await,
            What::Looked(copy) => self.looked(task, copy, telling).await,
            What::Unread(_) => {}
        }
    }

    /// Keeps a message whose attempt a fault of Gatepost ended, by itself and for the longest wait.
    async fn panicked(&mut self, task: Task) {
        self.present.borrow().shared.journal.metrics().panicked();
        tracing::error!(
            cause = Cause::InternalError.name(),
            queue_id = task.id.0,
            "a fault of Gatepost ended an attempt to deliver a message of the queue. Gatepost bug: the lines before this \
             one say where"
        );
        let (now, wait) = (Instant::now(), back_off(u32::MAX, jitter::random()));
        let due = self.clock.unix_time().after(wait);
        // It may have been handed over.
        let look = self.courier.settle(task.id, Outcome::Look { due, note: None }).await;
        if let Ok(true) = look {
            return self.lanes.done(task, End::Look(wait), now);
        }
        let again = match look {
            Ok(_) => self.courier.settle(task.id, Outcome::Again { due, note: None }).await,
            Err(error) => Err(error),
        };
        if let Err(error) = again {
            self.trouble.tell(&error);
            self.unsettled.push((task.id, Outcome::Look { due, note: None }));
        }
        self.lanes.done(task, End::Aside(wait), now);
    }

    async fn tried(&mut self, task: Task, attempted: Attempted, telling: Telling<'_>) {
        let (now, at) = (Instant::now(), self.clock.unix_time());
        let entry = telling.attempt.entry;
        let Some(config) = self.config() else { return self.lanes.done(task, End::Gone, now) };
        let is_late = at.since(entry.retry_from) >= config.retry_for;
        match attempted {
            Attempted::Sent { way, reply, remark, loss } => {
                let note = note_sent(format!("sent: {reply}"), at);
                let keep = !config.keep_sent.is_zero();
                self.settle(task.id, Outcome::Sent { keep, note: Some(note) }).await;
                telling.sent(way, &reply, &remark, at.since(entry.accepted_at));
                if let Some(loss) = loss {
                    telling.loss(&loss);
                }
                self.lanes.done(task, End::Over, now);
            }
            Attempted::Part { reply, left, failure } => {
                telling.sent("smtp", &reply, "some recipients were refused", at.since(entry.accepted_at));
                let failure = telling.not_sent(failure, Fate::Failed);
                let note = note(&failure, at);
                self.settle(task.id, Outcome::Part { left, note }).await;
                self.note_report("was not sent to all", &failure, telling);
                self.lanes.done(task, End::Over, now);
            }
            Attempted::OpenPart(failure) => {
                self.lanes.done(task, End::Over, now);
                self.unknown(failure, telling).await;
            }
            Attempted::Paused { failure, wait, is_suspect } => {
                let of_mailbox = self.lanes.faults(&task.mailbox).saturating_add(1);
                let tries = of_mailbox.max(entry.attempts.saturating_add(1));
                // One that was set aside has waits of its own.
                let is_aside = matches!(task.step, Step::Send(None, _));
                let faults = if is_aside { tries } else { of_mailbox };
                if let Some(wait) = wait {
                    self.lanes.hold(&task.mailbox, now + wait);
                }
                let wait = wait.unwrap_or_else(|| back_off(faults, jitter::random()));
                let (mailbox, same) = (task.mailbox.clone(), failure.clone());
                let end = if is_suspect { End::Broke(wait) } else { End::Paused(wait) };
                let is_over = is_late && tries >= TRIES;
                self.again(task, (failure, is_over, &config), end, wait, telling).await;
                if of_mailbox >= TRIES {
                    self.expire(&mailbox, &same, &config, telling).await;
                }
            }
            Attempted::Aside(failure) | Attempted::Unreadable(failure) => {
                let tries = entry.attempts.saturating_add(1);
                let wait = back_off(tries, jitter::random());
                let is_over = is_late && tries >= TRIES;
                self.again(task, (failure, is_over, &config), End::Aside(wait), wait, telling).await;
            }
            Attempted::Refused(failure) => {
                self.lanes.done(task, End::Refused, now);
                self.failed(failure, telling).await;
            }
            Attempted::Open(failure) if telling.attempt.message.message_id.is_none() => {
                self.lanes.done(task, End::Lost, now);
                self.unknown(failure, telling).await;
            }
            Attempted::Open(failure) => {
                let wait = LOOKS[0];
                let failure = telling.not_sent(failure, Fate::Looked(wait));
                let note = Some(note(&failure, at));
                self.settle(task.id, Outcome::Look { due: at.after(wait), note }).await;
                self.lanes.done(task, End::Look(wait), now);
            }
            Attempted::Withdrawn => {
                self.revision = None;
                self.lanes.done(task, End::Gone, now);
            }
            Attempted::Interrupted => self.lanes.done(task, End::Gone, now),
        }
    }

    /// Lets a message be tried again, unless its time is over.
    async fn again(
        &mut self,
        task: Task,
        (failure, is_over, config): (Failure, bool, &QueueConfig),
        end: End,
        wait: Duration,
        telling: Telling<'_>,
    ) {
        let at = self.clock.unix_time();
        if is_over {
            self.lanes.done(task, End::Gone, Instant::now());
            return self.failed(over(&failure, config), telling).await;
        }
        let failure = telling.not_sent(failure, Fate::Delayed(wait));
        let note = Some(note(&failure, at));
        self.settle(task.id, Outcome::Again { due: at.after(wait), note }).await;
        self.lanes.done(task, end, Instant::now());
    }

    /// Lets the messages of a mailbox fail whose time is over, for the failure of the one that was
    /// tried for all.
    async fn expire(&mut self, mailbox: &MailAddress, failure: &Failure, config: &QueueConfig, telling: Telling<'_>) {
        let before = self.clock.unix_time().before(config.retry_for);
        for id in self.lanes.expired(mailbox, before, Instant::now()) {
            let entry = match self.courier.queue().show(id).await {
                Ok(Some(entry)) => entry,
                Ok(None) => continue,
                Err(error) => {
                    self.trouble.tell(&error);
                    self.revision = None;
                    continue;
                }
            };
            let Some(message) = entry.message.clone() else { continue };
            let attempt = Attempt { entry: &entry, message: &message, ..*telling.attempt };
            let telling = Telling { attempt: &attempt, ..telling };
            self.failed(over(failure, config), telling).await;
        }
    }

    async fn looked(&mut self, task: Task, copy: SentCopy, telling: Telling<'_>) {
        let (now, at) = (Instant::now(), self.clock.unix_time());
        let Step::Look(looks) = task.step else { return };
        let next = usize::try_from(looks).ok().and_then(|looks| LOOKS.get(looks + 1)).copied();
        match (copy, next) {
            (SentCopy::Found, _) => {
                let keep = self.config().is_some_and(|config| !config.keep_sent.is_zero());
                let note = note_sent("sent: a copy is in Sent Items".to_owned(), at);
                self.settle(task.id, Outcome::Sent { keep, note: Some(note) }).await;
                telling.found();
            }
            (SentCopy::Missing | SentCopy::Unknown(_), Some(wait)) => {
                self.settle(task.id, Outcome::Look { due: at.after(wait), note: None }).await;
                // A person may want it sent meanwhile, and then it is no longer looked for.
                let end = if self.revision.is_some() { End::Look(wait) } else { End::Gone };
                return self.lanes.done(task, end, now);
            }
            (copy, _) => {
                let why = match copy {
                    SentCopy::Barred(why) | SentCopy::Unknown(why) => {
                        format!("Sent Items could not be searched: {why}")
                    }
                    SentCopy::Found | SentCopy::Missing => "no copy is in Sent Items".to_owned(),
                };
                let message = format!("Microsoft did not confirm the message, and {why}");
                self.unknown(Failure::new(Cause::OutcomeUnknown, message), telling).await;
            }
        }
        self.lanes.done(task, End::Over, now);
    }

    async fn failed(&mut self, failure: Failure, telling: Telling<'_>) {
        let failure = telling.not_sent(failure, Fate::Failed);
        let note = note(&failure, self.clock.unix_time());
        self.settle(telling.attempt.entry.id, Outcome::Failed { note }).await;
        self.note_report("was not sent", &failure, telling);
    }

    async fn unknown(&mut self, failure: Failure, telling: Telling<'_>) {
        let failure = telling.not_sent(failure, Fate::Unknown);
        let note = note(&failure, self.clock.unix_time());
        self.settle(telling.attempt.entry.id, Outcome::Unknown { note }).await;
        self.note_report("may have been sent", &failure, telling);
    }

    fn note_report(&mut self, what: &str, failure: &Failure, telling: Telling<'_>) {
        let Attempt { entry, message, mailbox, .. } = telling.attempt;
        let recipients: Vec<&str> = message.recipients.iter().take(5).map(|one| &*one.address).collect();
        let text = format!(
            "from {} to {}, accepted at {}, {what}: {failure}",
            message.device,
            recipients.join(", "),
            entry.accepted_at
        );
        self.reports.add(mailbox, message, Line { id: entry.id, text }, Instant::now());
    }

    /// Puts the reports that are due into the queue.
    async fn report(&mut self) {
        let present = Arc::clone(&self.present.borrow());
        let to = present.config.as_ref().and_then(|config| config.report_to.as_ref());
        let (at, now) = (self.clock.unix_time(), Instant::now());
        for report in self.reports.due(to, &present.shared.server_name, at, now) {
            if let Err(error) = report.put(self.courier.queue()).await {
                tracing::warn!(mailbox = report.message.mailbox, "a report could not be put into the queue: {error}");
                self.reports.take_back(report);
            }
        }
    }

    /// Keeps what became of a message. What cannot be kept now is kept later.
    async fn settle(&mut self, id: QueueId, outcome: Outcome) {
        match self.courier.settle(id, outcome.clone()).await {
            Ok(true) => {}
            // Somebody has changed it meanwhile.
            Ok(false) => self.revision = None,
            Err(error) => {
                self.trouble.tell(&error);
                self.unsettled.push((id, outcome));
            }
        }
    }

    async fn settle_rest(&mut self) {
        while let Some((id, outcome)) = self.unsettled.first().cloned() {
            if self.courier.settle(id, outcome).await.is_err() {
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

/// Performs a task. A message that has another state meanwhile is left alone.
async fn perform(
    courier: Arc<Courier>,
    present: Arc<Present>,
    task: Task,
    spares: Spares,
    stop: CancellationToken,
    at: UnixTime,
) -> Finished {
    let nothing = || Finished { what: What::Tried(Attempted::Withdrawn), of: None };
    let entry = match courier.queue().show(task.id).await {
        Ok(Some(entry)) => entry,
        Ok(None) => return nothing(),
        Err(error) => return Finished { what: What::Unread(error), of: None },
    };
    let is_expected = match task.step {
        Step::Send(..) => entry.state == State::Waiting,
        Step::Look(_) => entry.state == State::Looking,
    };
    let Some(message) = entry.message.clone().filter(|_| is_expected) else { return nothing() };
    let attempt =
        Attempt { present: &present, courier: &courier, entry: &entry, message: &message, mailbox: &task.mailbox };
    let what = match task.step {
        Step::Send(..) => {
            let origin = Origin::of(&message);
            let (attempted, spare) = attempt.deliver(spares.take(&origin), stop.cancelled()).await;
            if let Some(spare) = spare {
                spares.keep(origin, spare);
            }
            What::Tried(attempted)
        }
        Step::Look(_) => tokio::select! {
            copy = attempt.look(at) => What::Looked(copy),
            () = stop.cancelled() => What::Tried(Attempted::Interrupted),
        },
    };
    Finished { what, of: Some((entry, message, present)) }
}

/// The failure of a message that was tried for so long.
fn over(failure: &Failure, config: &QueueConfig) -> Failure {
    let time = show_duration(config.retry_for);
    let message = format!("it could not be delivered within {time} (`queue.retry_for`): {}", failure.message);
    let over = Failure::new(Cause::RetryOver, message).by(failure.actor).to_do(failure.remedy.clone());
    match &failure.code {
        Some(code) => over.coded(code.clone()),
        None => over,
    }
}
