//! Performs the tasks that the lanes give.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::attempt::{Attempt, Present};
use super::lanes::Task;
use super::mailbox::Step;
use super::outcome::Attempted;
use super::spares::{Origin, Spares};
use crate::graph::SentCopy;
use gatepost_core::clock::UnixTime;
use gatepost_store::queue::{Courier, Entry, NewMessage, QueueError, State};

/// A task that has ended.
pub(super) struct Finished {
    pub(super) what: What,
    /// The message and the configuration; `None` when there is nothing more to do.
    pub(super) of: Option<(Entry, NewMessage, Arc<Present>)>,
}

pub(super) enum What {
    Tried(Attempted),
    Looked(SentCopy),
    /// The index did not give the message.
    Unread(QueueError),
}

/// Performs a task. A message that has another state meanwhile is left alone.
pub(super) async fn perform(
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
        Attempt { present: &present, courier: &courier, entry: &entry, message: &message, mailbox: &task.mailbox, at };
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
            copy = attempt.look() => What::Looked(copy),
            () = stop.cancelled() => What::Tried(Attempted::Interrupted),
        },
    };
    Finished { what, of: Some((entry, message, present)) }
}
