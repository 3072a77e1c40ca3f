//! Remembers which mailboxes answered.

use std::time::Duration;

use parking_lot::Mutex;

use gatepost_core::account::MailAddress;
use gatepost_core::bounded_map::BoundedMap;
use gatepost_core::clock::{Clock, Moment};
use gatepost_core::protocol::MailProtocol;
use gatepost_core::source::Source;

/// How long after a login a mailbox that does not answer is taken for an outage, not for a missing
/// right.
const KNOWN: Duration = Duration::from_secs(24 * 3_600);
/// Most logins remembered. The oldest is forgotten first.
const LOGINS: usize = 65_536;

/// The mailboxes that answered.
pub struct MailboxMemory {
    clock: Clock,
    answered: Mutex<BoundedMap<(MailProtocol, Identity, MailAddress), Moment>>,
}

/// Whom a mailbox answered.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Identity {
    /// An account.
    Account(MailAddress),
    /// A client from here with a token of its own.
    Source(Source),
}

impl MailboxMemory {
    /// Creates an empty memory.
    pub fn new(clock: Clock) -> Self {
        Self { clock, answered: Mutex::new(BoundedMap::new(LOGINS)) }
    }

    /// Notes that the mailbox answered.
    pub(super) fn note_answer(&self, protocol: MailProtocol, whom: Identity, mailbox: MailAddress) {
        self.answered.lock().insert((protocol, whom, mailbox), self.clock.now());
    }

    /// Whether the mailbox answered within the last day.
    pub(super) fn answered_lately(&self, protocol: MailProtocol, whom: Identity, mailbox: MailAddress) -> bool {
        let now = self.clock.now();
        let mut answered = self.answered.lock();
        answered.remove_oldest_while(|_, at| now.since(*at) >= KNOWN);
        answered.peek(&(protocol, whom, mailbox)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_remembered_for_a_day_for_its_account_protocol_and_mailbox() {
        let clock = Clock::manual();
        let memory = MailboxMemory::new(clock.clone());
        let [anna, office] = ["anna@contoso.com", "office@contoso.com"].map(|text| MailAddress::parse(text).unwrap());
        let whom = || Identity::Account(anna.clone());
        memory.note_answer(MailProtocol::Imap, whom(), office.clone());
        clock.advance(KNOWN / 2);
        memory.note_answer(MailProtocol::Pop3, whom(), office.clone());
        let known = |protocol, whom, mailbox: &MailAddress| memory.answered_lately(protocol, whom, mailbox.clone());
        assert!(known(MailProtocol::Imap, whom(), &office) && known(MailProtocol::Pop3, whom(), &office));
        assert!(!known(MailProtocol::Imap, whom(), &anna));
        assert!(!known(MailProtocol::Imap, Identity::Account(office.clone()), &office));
        assert!(!known(MailProtocol::Imap, Identity::Source(Source::Ipv4(7)), &office));
        clock.advance(KNOWN / 2);
        assert!(!known(MailProtocol::Imap, whom(), &office) && known(MailProtocol::Pop3, whom(), &office));
    }
}
