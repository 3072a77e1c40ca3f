//! Smart lock-out, as Entra documents it: ten failures lock the account for a minute, further ones
//! for longer; the last three wrong passwords are remembered, and repeating one of them does not
//! count.

use std::collections::VecDeque;
use std::time::Duration;

use aws_lc_rs::digest;

use gatepost_core::clock::Moment;

const FIRST_LOCK: Duration = Duration::from_secs(60);
/// Microsoft does not publish how a lock grows; here it doubles, up to an hour.
const LONGEST_LOCK: Duration = Duration::from_secs(3_600);
const REMEMBERED: usize = 3;

/// What became of a user name and password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PasswordVerdict {
    Right,
    Wrong,
    Locked,
    UnknownUser,
}

/// The lock-out state of one account.
pub(crate) struct Lockout {
    threshold: u32,
    failures: u32,
    remembered: VecDeque<digest::Digest>,
    locked: Option<(Moment, Duration)>,
}

impl Lockout {
    /// `threshold`: failures before the first lock; 10 in the worldwide cloud, 3 for the US
    /// Government.
    pub(crate) fn new(threshold: u32) -> Self {
        Self { threshold, failures: 0, remembered: VecDeque::with_capacity(REMEMBERED), locked: None }
    }

    /// Takes one attempt into account. While the account is locked, the right password is refused
    /// too.
    pub(crate) fn judge(&mut self, right: bool, password: &str, now: Moment) -> PasswordVerdict {
        if self.locked.is_some_and(|(since, lasts)| now.since(since) < lasts) {
            return PasswordVerdict::Locked;
        }
        if right {
            *self = Self::new(self.threshold);
            return PasswordVerdict::Right;
        }
        let digest = digest::digest(&digest::SHA256, password.as_bytes());
        if self.remembered.iter().any(|known| known.as_ref() == digest.as_ref()) {
            return PasswordVerdict::Wrong;
        }
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back(digest);
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.threshold {
            let doublings = (self.failures - self.threshold).min(16);
            self.locked = Some((now, FIRST_LOCK.saturating_mul(1 << doublings).min(LONGEST_LOCK)));
        }
        PasswordVerdict::Wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PasswordVerdict::{Locked, Right, Wrong};
    use gatepost_core::clock::Clock;

    #[test]
    fn ten_different_wrong_passwords_lock_for_a_minute() {
        let clock = Clock::manual();
        let mut lockout = Lockout::new(10);
        for n in 0..10 {
            assert_eq!(lockout.judge(false, &n.to_string(), clock.now()), Wrong);
        }
        assert_eq!(lockout.judge(true, "right", clock.now()), Locked);
        clock.advance(Duration::from_secs(59));
        assert_eq!(lockout.judge(true, "right", clock.now()), Locked);
        clock.advance(Duration::from_secs(1));
        assert_eq!(lockout.judge(false, "another", clock.now()), Wrong);
        clock.advance(Duration::from_secs(60));
        assert_eq!(lockout.judge(true, "right", clock.now()), Locked, "the second lock lasts longer");
        clock.advance(Duration::from_secs(60));
        assert_eq!(lockout.judge(true, "right", clock.now()), Right);
        assert_eq!(lockout.judge(false, "0", clock.now()), Wrong, "a success starts the count again");
        assert_eq!(lockout.judge(true, "right", clock.now()), Right);
    }

    #[test]
    fn repeating_one_of_the_last_three_does_not_count() {
        let clock = Clock::manual();
        let mut lockout = Lockout::new(10);
        for n in 0..100 {
            assert_eq!(lockout.judge(false, &(n % 3).to_string(), clock.now()), Wrong);
        }
        assert_eq!(lockout.judge(true, "right", clock.now()), Right);
        for n in 0..10 {
            lockout.judge(false, &(n % 4).to_string(), clock.now());
        }
        assert_eq!(lockout.judge(true, "right", clock.now()), Locked, "the fourth has pushed out the first");
    }
}
