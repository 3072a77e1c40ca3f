//! Remembers that SMTP is unavailable, so that `deliver: auto` sends through Graph for a while.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::session::upstream::OpenError;
use gatepost_core::account::MailAddress;
use gatepost_core::bounded_map::BoundedMap;
use gatepost_net::error::DialError;
use gatepost_proto::mail::UpstreamFailureKind;

/// How long a finding is kept before SMTP is tried again.
const REMEMBERED: Duration = Duration::from_secs(10 * 60);

/// How long the limit of Graph is announced after a finding, unless SMTP works again before. A
/// device that sends a few times a day must hear of it at its next message.
const ANNOUNCED: Duration = Duration::from_secs(24 * 60 * 60);

/// Most mailboxes remembered. The oldest finding is forgotten first.
const MAILBOXES: usize = 100_000;

/// Why a message cannot go by SMTP, now or in the next minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SmtpUnavailable {
    /// SMTP AUTH is switched off for the mailbox or the tenant.
    Disabled,
    /// The server's port cannot be reached.
    Unreachable,
}

impl SmtpUnavailable {
    /// Classifies an error; `None` when it may be temporary, or says nothing about SMTP itself.
    pub(super) fn of(error: &OpenError) -> Option<Self> {
        match error {
            OpenError::Upstream(failure) if failure.kind == UpstreamFailureKind::Disabled => Some(Self::Disabled),
            OpenError::Dial(DialError::Connect { .. } | DialError::Proxy(_) | DialError::Socks(_)) => {
                Some(Self::Unreachable)
            }
            _ => None,
        }
    }
}

/// The findings.
#[derive(Debug)]
pub(super) struct GraphFallback {
    disabled: Mutex<BoundedMap<MailAddress, Instant>>,
    unreachable: Mutex<Option<Instant>>,
}

impl Default for GraphFallback {
    fn default() -> Self {
        Self { disabled: Mutex::new(BoundedMap::new(MAILBOXES)), unreachable: Mutex::default() }
    }
}

impl GraphFallback {
    /// Whether a message of this mailbox should go through Graph.
    pub(super) fn lead_through_graph(&self, mailbox: &MailAddress) -> bool {
        let fresh = |found: &Instant| found.elapsed() < REMEMBERED;
        self.unreachable.lock().as_ref().is_some_and(fresh) || self.disabled.lock().peek(mailbox).is_some_and(fresh)
    }

    /// Whether messages of this mailbox went through Graph last; without a mailbox, those of every
    /// mailbox.
    pub(super) fn led_through_graph(&self, mailbox: Option<&MailAddress>) -> bool {
        let last = |found: &Instant| found.elapsed() < ANNOUNCED;
        self.unreachable.lock().as_ref().is_some_and(last)
            || mailbox.is_some_and(|mailbox| self.disabled.lock().peek(mailbox).is_some_and(last))
    }

    /// Forgets what was found, because the mailbox has signed in by SMTP.
    pub(super) fn forget(&self, mailbox: &MailAddress) {
        *self.unreachable.lock() = None;
        self.disabled.lock().remove(mailbox);
    }

    /// Remembers a new finding.
    pub(super) fn note(&self, mailbox: &MailAddress, barred: SmtpUnavailable) {
        let now = Instant::now();
        match barred {
            SmtpUnavailable::Unreachable => *self.unreachable.lock() = Some(now),
            SmtpUnavailable::Disabled => {
                let mut disabled = self.disabled.lock();
                disabled.remove_oldest_while(|_, found| found.elapsed() >= ANNOUNCED);
                disabled.insert(mailbox.clone(), now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_found_holds_for_ten_minutes() {
        let fallback = GraphFallback::default();
        let (alice, bob) =
            (MailAddress::parse("alice@contoso.com").unwrap(), MailAddress::parse("bob@contoso.com").unwrap());
        let lead = || (fallback.lead_through_graph(&alice), fallback.lead_through_graph(&bob));
        assert_eq!(lead(), (false, false));
        fallback.note(&alice, SmtpUnavailable::Disabled);
        assert_eq!(lead(), (true, false));
        tokio::time::advance(Duration::from_secs(300)).await;
        // An unreachable port affects every mailbox.
        fallback.note(&alice, SmtpUnavailable::Unreachable);
        assert_eq!(lead(), (true, true));
        tokio::time::advance(Duration::from_secs(599)).await;
        assert_eq!(lead(), (true, true));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(lead(), (false, false));
    }

    #[tokio::test(start_paused = true)]
    async fn what_went_through_graph_last_is_known_for_a_day_or_until_smtp_works() {
        let fallback = GraphFallback::default();
        let (alice, bob) =
            (MailAddress::parse("alice@contoso.com").unwrap(), MailAddress::parse("bob@contoso.com").unwrap());
        let led = || [Some(&alice), Some(&bob), None].map(|mailbox| fallback.led_through_graph(mailbox));
        fallback.note(&alice, SmtpUnavailable::Disabled);
        assert_eq!(led(), [true, false, false]);
        tokio::time::advance(Duration::from_secs(23 * 60 * 60)).await;
        fallback.note(&bob, SmtpUnavailable::Unreachable);
        assert_eq!(led(), [true, true, true]);
        fallback.forget(&bob);
        assert_eq!(led(), [true, false, false]);
        tokio::time::advance(Duration::from_secs(60 * 60)).await;
        assert_eq!(led(), [false, false, false]);
        fallback.note(&alice, SmtpUnavailable::Disabled);
        fallback.forget(&alice);
        assert_eq!(led(), [false, false, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_found_of_one_mailbox_says_nothing_of_another_and_is_not_kept_for_ever() {
        let fallback = GraphFallback::default();
        let mailbox = |number: u32| MailAddress::parse(&format!("m{number}@contoso.com")).unwrap();
        for number in 0..3 {
            fallback.note(&mailbox(number), SmtpUnavailable::Disabled);
            tokio::time::advance(Duration::from_secs(60)).await;
        }
        assert!((0..3).all(|number| fallback.lead_through_graph(&mailbox(number))));
        tokio::time::advance(ANNOUNCED).await;
        fallback.note(&mailbox(3), SmtpUnavailable::Disabled);
        assert_eq!(fallback.disabled.lock().len(), 1);
    }
}
