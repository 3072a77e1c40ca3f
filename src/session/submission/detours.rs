//! Where `deliver: auto` has found the way by SMTP barred, and takes the one through Graph for a while.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::session::upstream::OpenError;
use gatepost_core::account::MailAddress;
use gatepost_net::error::DialError;
use gatepost_proto::mail::UpstreamFailureKind;

/// So long what was found is not looked at again.
const REMEMBERED: Duration = Duration::from_secs(10 * 60);

/// Why a message cannot go by SMTP, and will not in the next minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Barred {
    /// SMTP AUTH is switched off for the mailbox or the tenant.
    Disabled,
    /// The server's port is not reached.
    Unreachable,
}

impl Barred {
    /// What an error means; `None` when it may pass, or says nothing about the way.
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

/// What has been found out.
#[derive(Debug, Default)]
pub(super) struct Detours {
    disabled: Mutex<HashMap<MailAddress, Instant>>,
    unreachable: Mutex<Option<Instant>>,
}

impl Detours {
    /// Whether a message of this mailbox had better go through Graph.
    pub(super) fn lead_through_graph(&self, mailbox: &MailAddress) -> bool {
        let fresh = |found: &Instant| found.elapsed() < REMEMBERED;
        self.unreachable.lock().as_ref().is_some_and(fresh) || self.disabled.lock().get(mailbox).is_some_and(fresh)
    }

    /// Remembers what was found just now.
    pub(super) fn note(&self, mailbox: &MailAddress, barred: Barred) {
        let now = Instant::now();
        match barred {
            Barred::Unreachable => *self.unreachable.lock() = Some(now),
            Barred::Disabled => {
                let mut disabled = self.disabled.lock();
                disabled.retain(|_, found| found.elapsed() < REMEMBERED);
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
        let detours = Detours::default();
        let (alice, bob) =
            (MailAddress::parse("alice@contoso.com").unwrap(), MailAddress::parse("bob@contoso.com").unwrap());
        let lead = || (detours.lead_through_graph(&alice), detours.lead_through_graph(&bob));
        assert_eq!(lead(), (false, false));
        detours.note(&alice, Barred::Disabled);
        assert_eq!(lead(), (true, false));
        tokio::time::advance(Duration::from_secs(300)).await;
        // The port is barred for everybody.
        detours.note(&alice, Barred::Unreachable);
        assert_eq!(lead(), (true, true));
        tokio::time::advance(Duration::from_secs(599)).await;
        assert_eq!(lead(), (true, true));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(lead(), (false, false));
    }
}
