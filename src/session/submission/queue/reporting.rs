//! Collects what an administrator is told by mail, and puts the reports into the queue. A message is
//! marked until it is in one, so that the end of a process loses none.

use std::sync::Arc;

use tokio::time::Instant;

use super::attempt::Attempt;
use super::courier::Run;
use super::notes::said;
use super::report::{Line, Reports};
use super::told::Telling;
use gatepost_core::account::MailAddress;
use gatepost_store::queue::{Entry, NewMessage, QueueError, QueueId, State};

impl Run {
    /// Notes what a report says about a message.
    pub(super) fn note_report(&mut self, what: &str, why: &str, telling: Telling<'_>) {
        let Attempt { entry, message, mailbox, .. } = telling.attempt;
        if self.left_unreported.is_some_and(|after| entry.id > after) {
            // It is marked, and read with the others.
            return;
        }
        self.reports.add(mailbox, message, line(entry, message, what, why), Instant::now());
    }

    /// Puts the reports that are due into the queue.
    pub(super) async fn report(&mut self) {
        let present = Arc::clone(&self.present.borrow());
        let to = present.config.as_ref().and_then(|config| config.report_to.as_ref());
        if to.is_some()
            && let Some(after) = self.left_unreported
            && let Err(error) = self.read_unreported(after).await
        {
            self.trouble.tell(&error);
        }
        let (at, now) = (self.clock.unix_time(), Instant::now());
        for report in self.reports.due(to, &present.shared.server_name, at, now) {
            if let Err(error) = report.put(self.courier.queue()).await {
                tracing::warn!(mailbox = report.message.mailbox, "a report could not be put into the queue: {error}");
                self.reports.take_back(report);
                continue;
            }
            // If this fails, a later process reports them once more.
            if let Err(error) = self.courier.reported(report.about()).await {
                self.trouble.tell(&error);
            }
        }
    }

    /// Collects a page of the messages that a former process did not report.
    async fn read_unreported(&mut self, after: QueueId) -> Result<(), QueueError> {
        let page = self.courier.unreported(after).await?;
        self.left_unreported = page.last().map(|last| last.id);
        let mut needless = Vec::new();
        for entry in page.into_iter() {
            let mailbox = entry.message.as_ref().filter(|of| Reports::wants(of));
            let Some((message, mailbox)) = mailbox.and_then(|of| Some((of, MailAddress::parse(&of.mailbox).ok()?)))
            else {
                needless.push(entry.id);
                continue;
            };
            let what = if entry.state == State::Unknown { "may have been sent" } else { "was not sent" };
            let why = entry.note.as_ref().map(said).unwrap_or_default();
            self.reports.add(&mailbox, message, line(&entry, message, what, &why), Instant::now());
        }
        self.courier.reported(needless).await
    }
}

fn line(entry: &Entry, message: &NewMessage, what: &str, why: &str) -> Line {
    let recipients: Vec<&str> = message.recipients.iter().take(5).map(|one| &*one.address).collect();
    let text = format!(
        "from {} to {}, accepted at {}, {what}: {why}",
        message.device,
        recipients.join(", "),
        entry.accepted_at
    );
    Line { id: entry.id, text }
}
