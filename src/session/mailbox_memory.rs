//! Remembers what mail servers said about mailboxes: that one answers, and that one wants a pause.

use std::time::Duration;

use parking_lot::Mutex;

use crate::graph::Throttle;
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

/// The longest pause that a server may ask for. Exchange was seen to ask for five minutes and, at
/// times, for most of an hour.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

/// What mail servers said about mailboxes.
pub struct MailboxMemory {
    clock: Clock,
    answered: Mutex<BoundedMap<(MailProtocol, Identity, MailAddress), Moment>>,
    pauses: Throttle<(MailProtocol, MailAddress)>,
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
        Self { clock, answered: Mutex::new(BoundedMap::new(LOGINS)), pauses: Throttle::default() }
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

    /// Lets no login of the mailbox through for this long, as its server asked, but an hour at
    /// most.
    pub(super) fn pause(&self, protocol: MailProtocol, mailbox: &MailAddress, pause: Duration) {
        self.pauses.close(&(protocol, mailbox.clone()), pause.min(LONGEST_PAUSE));
    }

    /// Returns how much longer no login of the mailbox may be let through.
    pub(super) fn pause_left(&self, protocol: MailProtocol, mailbox: &MailAddress) -> Duration {
        self.pauses.wait(&(protocol, mailbox.clone()))
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

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_no_longer_than_an_hour() {
        let memory = MailboxMemory::new(Clock::manual());
        let anna = MailAddress::parse("anna@contoso.com").unwrap();
        memory.pause(MailProtocol::Imap, &anna, Duration::from_secs(90_000));
        assert_eq!(memory.pause_left(MailProtocol::Imap, &anna), LONGEST_PAUSE);
        assert_eq!(memory.pause_left(MailProtocol::Pop3, &anna), Duration::ZERO);
        tokio::time::advance(LONGEST_PAUSE).await;
        assert_eq!(memory.pause_left(MailProtocol::Imap, &anna), Duration::ZERO);
    }
}
