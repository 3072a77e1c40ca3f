//! Limits how many messages trusted devices send in a minute. Those beyond it get a turn later.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use gatepost_core::account::MailAddress;
use gatepost_core::bounded_map::BoundedMap;
use gatepost_core::rate_limit::SlidingWindow;
use gatepost_core::source::Source;

/// The time that `messages_per_minute` covers.
const WINDOW: Duration = Duration::from_secs(60);
/// Most senders counted. They are trusted, so no stranger can push one out. If there are more
/// within a minute, the one silent for longest is forgotten.
const SENDERS: usize = 65_536;

/// Counts messages by source and by mailbox.
#[derive(Debug)]
pub(super) struct Rates(Mutex<BoundedMap<Counted, SlidingWindow<Instant>>>);

impl Default for Rates {
    fn default() -> Self {
        Self(Mutex::new(BoundedMap::new(SENDERS)))
    }
}

/// What a message is counted for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Counted {
    /// Where it comes from.
    Source(Source),
    /// The user of this machine whose program sends it.
    User(u32),
    /// The mailbox that sends it.
    Mailbox(MailAddress),
}

impl Rates {
    /// Counts a message for the next time at which there have been fewer than `most` within a minute
    /// for each of `counted`, and returns that time. `None` if it is further away than `patience`,
    /// and then the message is not counted.
    ///
    /// Messages are served in the order in which they ask. With a patience of at most a minute, no
    /// more can wait than may be sent in one.
    pub(super) fn turn(&self, counted: Vec<Counted>, most: u32, patience: Duration) -> Option<Instant> {
        let now = Instant::now();
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut sent = self.0.lock();
        sent.remove_oldest_while(|_, times| times.is_over(WINDOW, now));
        let mut turn_of = |counted: &Counted| {
            let in_the_way = sent.peek_mut(counted).and_then(|times| times.in_the_way(WINDOW, now, most));
            in_the_way.map_or(now, |sent| sent + WINDOW)
        };
        let turn = counted.iter().map(&mut turn_of).max().unwrap_or(now);
        if turn - now > patience.min(WINDOW) {
            return None;
        }
        for counted in counted {
            sent.get_or_insert_with(counted, SlidingWindow::default).note(turn);
        }
        Some(turn)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn mailbox(name: &str) -> MailAddress {
        MailAddress::parse(name).unwrap()
    }

    fn counted(peer: impl Into<IpAddr>, mailbox: &MailAddress) -> Vec<Counted> {
        vec![Counted::Source(Source::of(peer.into())), Counted::Mailbox(mailbox.clone())]
    }

    /// In how many seconds it is the turn of a message.
    fn turn(rates: &Rates, peer: u8, mailbox: &MailAddress, most: u32, patience: u64) -> Option<u64> {
        let turn = rates.turn(counted([192, 168, 7, peer], mailbox), most, Duration::from_secs(patience));
        turn.map(|turn| (turn - Instant::now()).as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_minute_has_so_many_messages_and_no_more() {
        let rates = Rates::default();
        let (scanner, other) = (mailbox("scanner@contoso.com"), mailbox("other@contoso.com"));
        for _ in 0..2 {
            assert_eq!(turn(&rates, 1, &scanner, 3, 0), Some(0));
            tokio::time::advance(Duration::from_secs(20)).await;
        }
        assert_eq!(turn(&rates, 1, &scanner, 3, 0), Some(0));
        // The mailbox is full from every address. Another mailbox is not, but the first address is.
        assert_eq!(turn(&rates, 2, &scanner, 3, 0), None);
        assert_eq!(turn(&rates, 1, &other, 3, 19), None);
        assert_eq!(turn(&rates, 2, &other, 3, 0), Some(0));
        // A minute after the first message, there is room for one.
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(turn(&rates, 1, &scanner, 3, 0), Some(0));
        assert_eq!(turn(&rates, 1, &scanner, 3, 0), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_has_a_turn_and_no_more_wait_than_a_minute_has_room_for() {
        let rates = Rates::default();
        let scanner = mailbox("scanner@contoso.com");
        assert_eq!(turn(&rates, 1, &scanner, 2, 60), Some(0));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(turn(&rates, 1, &scanner, 2, 60), Some(0));
        tokio::time::advance(Duration::from_secs(5)).await;
        // A minute after the first, and after the second. Who comes later is refused, and who has
        // less patience takes no turn from anybody.
        assert_eq!(turn(&rates, 1, &scanner, 2, 44), None);
        assert_eq!(turn(&rates, 1, &scanner, 2, 60), Some(45));
        assert_eq!(turn(&rates, 2, &scanner, 2, 600), Some(55));
        assert_eq!(turn(&rates, 1, &scanner, 2, 600), None);
        tokio::time::advance(Duration::from_secs(46)).await;
        assert_eq!(turn(&rates, 1, &scanner, 2, 60), Some(59));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_quiet_is_forgotten() {
        let rates = Rates::default();
        for number in 0..2_000_u32 {
            let counted = counted(number.to_be_bytes(), &mailbox(&format!("m{number}@contoso.com")));
            assert!(rates.turn(counted, 1, Duration::ZERO).is_some());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(rates.0.lock().len() <= SENDERS + 2);
    }
}
