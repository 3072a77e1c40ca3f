//! Finds what is new in the queue, and what a person or another process has changed.

use tokio::time::Instant;

use super::courier::Run;
use super::lanes::Entry as Waiting;
use gatepost_core::account::MailAddress;
use gatepost_store::queue::{QueueId, State};

impl Run {
    /// Adds messages that are new, or that a person wants to be tried again.
    pub(super) async fn look_for_changes(&mut self) {
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
}
