//! Limits how many messages trusted devices send in a minute.

use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use gatepost_core::account::LoginName;
use gatepost_core::bounded_map::BoundedMap;
use gatepost_core::rate_limit::SlidingWindow;
use gatepost_core::source::Source;

/// The time that `messages_per_minute` covers.
const WINDOW: Duration = Duration::from_secs(60);
/// Most senders counted. They are trusted, so no stranger can push one out. If there are more
/// within a minute, the one silent for longest is forgotten.
const SENDERS: usize = 65_536;

/// Counts messages by source and by account.
#[derive(Debug)]
pub(super) struct Rates(Mutex<BoundedMap<Counted, SlidingWindow<Instant>>>);

impl Default for Rates {
    fn default() -> Self {
        Self(Mutex::new(BoundedMap::new(SENDERS)))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Counted {
    Source(Source),
    Account(LoginName),
}

impl Rates {
    /// Counts a message, unless `most` were sent within a minute from this address or by this
    /// account. Returns false in that case.
    pub(super) fn count(&self, peer: IpAddr, account: &LoginName, most: u32) -> bool {
        let now = Instant::now();
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut sent = self.0.lock();
        sent.remove_oldest_while(|_, times| times.is_over(WINDOW, now));
        let counted = [Counted::Source(Source::of(peer)), Counted::Account(account.clone())];
        let mut has_room =
            |counted: &Counted| sent.peek_mut(counted).is_none_or(|times| times.count(WINDOW, now) < most);
        // Both are checked before either is counted, so that a refused message counts for neither.
        if !counted.iter().all(&mut has_room) {
            return false;
        }
        for counted in counted {
            sent.get_or_insert_with(counted, SlidingWindow::default).note(now);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_minute_has_so_many_messages_and_no_more() {
        let rates = Rates::default();
        let account = |name: &str| LoginName::parse(name).unwrap();
        let (first, second) = (IpAddr::from([192, 168, 7, 1]), IpAddr::from([192, 168, 7, 2]));
        let scanner = account("scanner@contoso.com");
        for _ in 0..2 {
            assert!(rates.count(first, &scanner, 3));
            tokio::time::advance(Duration::from_secs(20)).await;
        }
        assert!(rates.count(first, &scanner, 3));
        // The account is full from every address. Another account is not, but the first address is.
        assert!(!rates.count(second, &scanner, 3));
        assert!(!rates.count(first, &account("other@contoso.com"), 3));
        assert!(rates.count(second, &account("other@contoso.com"), 3));
        // A minute after the first message, there is room for one.
        tokio::time::advance(Duration::from_secs(20)).await;
        assert!(rates.count(first, &scanner, 3));
        assert!(!rates.count(first, &scanner, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_quiet_is_forgotten() {
        let rates = Rates::default();
        for number in 0..2_000_u32 {
            let account = LoginName::parse(&format!("m{number}@contoso.com")).unwrap();
            assert!(rates.count(IpAddr::from(number.to_be_bytes()), &account, 1));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(rates.0.lock().len() <= SENDERS + 2);
    }
}
