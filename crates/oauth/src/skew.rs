//! The offset of the clock of Entra or another provider from this machine's, by the `Date` (RFC 9110
//! §6.6.1) of its answers. Assertions hold times, and are refused outside their time (AADSTS700024).

use std::time::{Duration, SystemTime};

use dashmap::DashMap;

use gatepost_core::clock::UnixTime;

/// A clock that is off by more is logged, in seconds.
const WORTH_A_WORD: i64 = 120;

/// The clock offsets of all authorities.
#[derive(Debug, Default)]
pub struct Skews {
    /// Seconds that an authority's clock is ahead of ours.
    ahead: DashMap<String, i64>,
}

impl Skews {
    /// Learns from the `Date` of an answer that arrived `now`. The error is the time that the
    /// answer was under way. `title`: the name of the authority for people.
    pub fn learn(&self, (authority, title): (&str, &str), date: &str, now: UnixTime) {
        let Some(theirs) = httpdate::parse_http_date(date).ok().and_then(unix) else { return };
        let ahead = signed(theirs).saturating_sub(signed(now));
        let before = self.ahead.insert(authority.to_owned(), ahead).unwrap_or(0);
        let is_off = |seconds: i64| seconds.abs() > WORTH_A_WORD;
        match (is_off(before), is_off(ahead)) {
            (false, true) => tracing::warn!(
                authority,
                seconds = ahead.abs(),
                "this machine's clock is {} that of {title}. Times in assertions are corrected by that. \
                 Gatepost admin: let a time service set the clock",
                if ahead > 0 { "behind" } else { "ahead of" },
            ),
            (true, false) => tracing::info!(authority, "this machine's clock agrees again with that of {title}"),
            _ => {}
        }
    }

    /// The current time at an authority.
    pub fn there(&self, authority: &str, now: UnixTime) -> UnixTime {
        let ahead = self.ahead.get(authority).map_or(0, |ahead| *ahead);
        UnixTime(u64::try_from(signed(now).saturating_add(ahead)).unwrap_or(0))
    }
}

fn signed(time: UnixTime) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

fn unix(time: SystemTime) -> Option<UnixTime> {
    time.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since: Duration| UnixTime(since.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Logged;

    #[test]
    fn each_authority_has_a_clock_of_its_own() {
        let skews = Skews::default();
        let now = UnixTime(1_767_225_600);
        assert_eq!(skews.there("a", now), now);
        skews.learn(("a", "Entra"), "Thu, 01 Jan 2026 01:00:00 GMT", now);
        skews.learn(("b", "Entra"), "Wed, 31 Dec 2025 23:00:00 GMT", now);
        skews.learn(("c", "Entra"), "yesterday", now);
        let later = now.after(Duration::from_secs(10));
        assert_eq!(skews.there("a", later), UnixTime(now.0 + 3_610));
        assert_eq!(skews.there("b", later), UnixTime(now.0 - 3_590));
        assert_eq!(skews.there("c", later), later);
        skews.learn(("a", "Entra"), "Thu, 01 Jan 2026 00:00:00 GMT", now);
        assert_eq!(skews.there("a", now), now);
        assert_eq!(skews.there("b", UnixTime(5)), UnixTime(0));
    }

    #[test]
    fn a_clock_that_is_off_by_more_than_two_minutes_is_told_once_and_when_it_agrees_again() {
        let (skews, log, theirs) = (Skews::default(), Logged::begin(), 1_767_225_600);
        // This machine's time, and what is said of it.
        for (now, said) in [
            (theirs, None),
            (theirs - 120, None),
            (theirs - 121, Some("WARN this machine's clock is behind that of Entra.")),
            (theirs - 500, None),
            (theirs - 120, Some("INFO this machine's clock agrees again with that of Entra")),
            (theirs + 120, None),
            (theirs + 121, Some("WARN this machine's clock is ahead of that of Entra.")),
            (theirs, Some("INFO this machine's clock agrees again with that of Entra")),
        ] {
            let before = log.lines().len();
            skews.learn(("a", "Entra"), "Thu, 01 Jan 2026 00:00:00 GMT", UnixTime(now));
            let lines = log.lines().split_off(before);
            let fits = said.is_some_and(|said| matches!(&lines[..], [line] if line.starts_with(said)));
            assert!(fits || said.is_none() && lines.is_empty(), "{now}: {lines:?}");
        }
    }
}
