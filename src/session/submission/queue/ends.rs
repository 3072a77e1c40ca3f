//! What follows from the end of each task: what is kept, what the log and the reports say, and when
//! the message is tried next.

use std::time::Duration;

use tokio::time::Instant;

use super::attempt::{Attempt, OTHERS_HAVE_IT, OTHERS_UNKNOWN, partial};
use super::courier::Run;
use super::lanes::{End, Task};
use super::mailbox::{Step, back_off};
use super::notes::{failure_of, note, note_sent};
use super::outcome::Attempted;
use super::told::{Fate, Telling};
use crate::graph::SentCopy;
use gatepost_config::Queue as QueueConfig;
use gatepost_config::value::show_duration;
use gatepost_core::account::MailAddress;
use gatepost_core::cause::Cause;
use gatepost_core::failure::Failure;
use gatepost_core::jitter;
use gatepost_store::queue::{Outcome, State};

/// Tries before the time of a message is over: its own, or those of its mailbox in a row. A clock that
/// was set forward must not let what waits fail at the first one.
const TRIES: u32 = 3;

/// The wait of a message for which Gatepost itself had no room.
const POSTPONED: Duration = Duration::from_secs(10);

/// Waits before the looks for a message of which nobody knows whether it was sent.
const LOOKS: [Duration; 4] =
    [Duration::from_secs(60), Duration::from_secs(300), Duration::from_secs(900), Duration::from_secs(3_600)];

impl Run {
    /// Keeps a message whose attempt a fault of Gatepost ended, by itself and for the longest wait.
    pub(super) async fn panicked(&mut self, task: Task) {
        self.present.borrow().shared.journal.metrics().panicked();
        tracing::error!(
            cause = Cause::InternalError.name(),
            queue_id = task.id.0,
            "a fault of Gatepost ended an attempt to deliver a message of the queue. Gatepost bug: the lines before this \
             one say where"
        );
        let (now, wait) = (Instant::now(), back_off(u32::MAX, jitter::random()));
        let state = self.break_off(task.id, self.clock.unix_time().after(wait)).await;
        let end = if state == Some(State::Looking) { End::Look(wait) } else { End::Aside(wait) };
        self.lanes.done(task, end, now);
    }

    pub(super) async fn tried(&mut self, task: Task, attempted: Attempted, telling: Telling<'_>) {
        let (now, at) = (Instant::now(), self.clock.unix_time());
        let entry = telling.attempt.entry;
        let Some(config) = self.config() else { return self.lanes.done(task, End::Gone, now) };
        let is_late = at.since(entry.retry_from) >= config.retry_for;
        match attempted {
            Attempted::Sent { way, reply, remark, loss } => {
                let note = note_sent(format!("sent: {reply}"), at);
                let keep = !config.keep_sent.is_zero();
                self.settle(entry.seen(), Outcome::Sent { keep, note: Some(note) }).await;
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
                self.settle(entry.seen(), Outcome::Part { left, note }).await;
                self.note_report("was not sent to all", &failure.to_string(), telling);
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
            Attempted::Postponed(failure) => {
                // It was not tried, so nothing is kept.
                telling.not_sent(failure, Fate::Delayed(POSTPONED));
                self.lanes.done(task, End::Postponed(POSTPONED), now);
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
                self.settle(entry.seen(), Outcome::Look { due: at.after(wait), note }).await;
                self.lanes.done(task, End::Look(wait), now);
            }
            Attempted::Withdrawn => {
                self.stale.insert(task.id);
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
        self.settle(telling.attempt.entry.seen(), Outcome::Again { due: at.after(wait), note }).await;
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
                    self.stale.insert(id);
                    continue;
                }
            };
            let Some(message) = entry.message.clone() else { continue };
            let attempt = Attempt { entry: &entry, message: &message, ..*telling.attempt };
            let telling = Telling { attempt: &attempt, ..telling };
            self.failed(over(failure, config), telling).await;
        }
    }

    pub(super) async fn looked(&mut self, task: Task, copy: SentCopy, telling: Telling<'_>) {
        let (now, at) = (Instant::now(), self.clock.unix_time());
        let entry = telling.attempt.entry;
        let Step::Look(looks) = task.step else { return };
        let next = usize::try_from(looks).ok().and_then(|looks| LOOKS.get(looks + 1)).copied();
        match (copy, next) {
            (SentCopy::Found, _) if entry.refused.is_some() => {
                telling.found();
                self.part(telling).await;
            }
            (SentCopy::Found, _) => {
                let keep = self.config().is_some_and(|config| !config.keep_sent.is_zero());
                let note = note_sent("sent: a copy is in Sent Items".to_owned(), at);
                self.settle(entry.seen(), Outcome::Sent { keep, note: Some(note) }).await;
                telling.found();
            }
            (SentCopy::Missing | SentCopy::Unknown(_), Some(wait)) => {
                let kept = self.settle(entry.seen(), Outcome::Look { due: at.after(wait), note: None }).await;
                // A person may want it sent meanwhile, and then it is no longer looked for.
                let end = if kept { End::Look(wait) } else { End::Gone };
                return self.lanes.done(task, end, now);
            }
            (copy, _) => {
                let why = match copy {
                    SentCopy::Barred(why) | SentCopy::Unknown(why) => {
                        format!("Sent Items could not be searched: {why}")
                    }
                    SentCopy::Found | SentCopy::Missing => "no copy is in Sent Items".to_owned(),
                };
                let failure = match &entry.refused {
                    Some(refused) => partial(failure_of(refused), &refused.recipients, OTHERS_UNKNOWN),
                    None => {
                        let message = format!("Microsoft did not confirm the message, and {why}");
                        Failure::new(Cause::OutcomeUnknown, message)
                    }
                };
                self.unknown(failure, telling).await;
            }
        }
        self.lanes.done(task, End::Over, now);
    }

    /// Keeps the recipients that were refused when the message was handed over. The others have it.
    async fn part(&mut self, telling: Telling<'_>) {
        let entry = telling.attempt.entry;
        let Some(refused) = &entry.refused else { return };
        let failure = partial(failure_of(refused), &refused.recipients, OTHERS_HAVE_IT);
        let failure = telling.not_sent(failure, Fate::Failed);
        let note = note(&failure, self.clock.unix_time());
        self.settle(entry.seen(), Outcome::Part { left: refused.recipients.clone(), note }).await;
        self.note_report("was not sent to all", &failure.to_string(), telling);
    }

    async fn failed(&mut self, failure: Failure, telling: Telling<'_>) {
        let failure = telling.not_sent(failure, Fate::Failed);
        let note = note(&failure, self.clock.unix_time());
        if self.settle(telling.attempt.entry.seen(), Outcome::Failed { note }).await {
            self.note_report("was not sent", &failure.to_string(), telling);
        }
    }

    async fn unknown(&mut self, failure: Failure, telling: Telling<'_>) {
        let failure = telling.not_sent(failure, Fate::Unknown);
        let note = note(&failure, self.clock.unix_time());
        if self.settle(telling.attempt.entry.seen(), Outcome::Unknown { note }).await {
            self.note_report("may have been sent", &failure.to_string(), telling);
        }
    }
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
