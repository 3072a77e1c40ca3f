//! Finds what is new in the queue, and what a person or another process has changed. It reads only
//! that, however many messages wait.

use tokio::time::Instant;

use super::courier::Run;
use super::lanes::Entry as Waiting;
use gatepost_core::account::MailAddress;
use gatepost_store::queue::{Pending, QueueError, QueueId, State};

/// Why a message is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The courier begins. Everything is tried in its order.
    Start,
    /// It is new.
    New,
    /// Somebody has changed it.
    Changed,
}

impl Run {
    /// Adds messages that are new, or that a person wants to be tried again.
    pub(super) async fn look_for_changes(&mut self) {
        if let Err(error) = self.read_changes().await {
            self.trouble.tell(&error);
        }
    }

    async fn read_changes(&mut self) -> Result<(), QueueError> {
        while let Some(id) = self.stale.first().copied() {
            if let Some(pending) = self.courier.pending_one(id).await? {
                self.meet(pending, Why::Changed);
            }
            self.stale.remove(&id);
        }
        let revision = self.courier.queue().revision().await?;
        if self.revision == Some(revision) {
            return Ok(());
        }
        let why = if self.revision.is_none() { Why::Start } else { Why::New };
        loop {
            let page = self.courier.pending(self.last).await?;
            let Some(last) = page.last() else { break };
            self.last = last.id;
            page.into_iter().for_each(|pending| self.meet(pending, why));
        }
        if let Some(former) = self.revision.filter(|former| former.acts != revision.acts) {
            let mut after = (former.acts, QueueId(u64::MAX));
            loop {
                let page = self.courier.changed(after).await?;
                let Some(last) = page.last() else { break };
                after = (last.changed, last.id);
                page.into_iter().for_each(|pending| self.meet(pending, Why::Changed));
            }
        }
        self.revision = Some(revision);
        Ok(())
    }

    fn meet(&mut self, pending: Pending, why: Why) {
        let (now, at) = (Instant::now(), self.clock.unix_time());
        // The configuration of a damaged record is not known, and pending() lets it fail.
        let Ok(mailbox) = MailAddress::parse(&pending.mailbox) else { return };
        let due = now + pending.due_at.since(at);
        match pending.state {
            State::Looking => return self.lanes.add_look(pending.id, mailbox, due),
            // A person wants it sent. The end of a look under way leads here once more.
            _ if self.lanes.is_looked_for(pending.id) => self.lanes.drop_look(pending.id),
            _ => {}
        }
        let id = pending.id;
        if !self.lanes.has(id) {
            let due = if why == Why::Start { now } else { due };
            let waiting =
                Waiting { id, mailbox: mailbox.clone(), device: pending.device.into(), accepted: pending.retry_from };
            self.lanes.add(waiting, due, now);
        }
        if why == Why::Changed {
            self.lanes.hasten(&mailbox, id, now);
        }
    }
}
