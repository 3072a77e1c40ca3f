//! Passwords that were refused, as digests. If one is presented again, the answer is known, and
//! Entra is not asked.

use std::time::Duration;

use crate::password_digest::PasswordDigest;
use crate::tokens::user::User;
use gatepost_core::bounded_map::SharedMap;
use gatepost_core::clock::Moment;
use gatepost_core::reloadable::Reloadable;

/// Most refused passwords remembered. The one that was not seen for longest is dropped first.
const ENTRIES: usize = 10_000;

#[derive(Debug)]
struct Entry {
    whose: User,
    note: Option<usize>,
    until: Moment,
    hold: Duration,
}

/// A bounded memory of refused passwords. Each is answered from memory for a time that doubles with
/// every new refusal.
#[derive(Debug)]
pub struct RefusedPasswords {
    entries: SharedMap<PasswordDigest, Entry>,
    first: Reloadable<Duration>,
    longest: Duration,
}

impl RefusedPasswords {
    /// Answers for `first` after the first refusal, never longer than `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { entries: SharedMap::new(ENTRIES, 1), first: Reloadable::new(first), longest: longest.max(first) }
    }

    /// Changes how long the first refusal of a password is answered from memory.
    pub fn adjust(&self, first: Duration) {
        self.first.set(first);
    }

    /// True when the password is known to be refused.
    pub fn answers(&self, proof: &PasswordDigest, now: Moment) -> bool {
        self.note(proof, now).is_some()
    }

    /// How long ago the password was refused last, when it is known to be refused.
    pub fn age(&self, proof: &PasswordDigest, now: Moment) -> Option<Duration> {
        let mut entries = self.entries.part(proof);
        let entry = entries.get(proof)?;
        let left = entry.until.since(now);
        (!left.is_zero()).then(|| entry.hold.saturating_sub(left))
    }

    /// The note of the refusal, such as Entra's code, when the password is known to be refused.
    pub fn note(&self, proof: &PasswordDigest, now: Moment) -> Option<Option<usize>> {
        let mut entries = self.entries.part(proof);
        let entry = entries.get(proof)?;
        (now < entry.until).then_some(entry.note)
    }

    /// Records that it was refused to this user, perhaps again.
    pub fn add(&self, proof: PasswordDigest, whose: User, now: Moment) {
        self.add_noting(proof, whose, None, now);
    }

    /// Like [`Self::add`], with a note for the next caller of [`Self::note`].
    pub fn add_noting(&self, proof: PasswordDigest, whose: User, note: Option<usize>, now: Moment) {
        let mut entries = self.entries.part(&proof);
        let new = || Entry { whose, note, until: now, hold: Duration::ZERO };
        let entry = entries.get_or_insert_with(proof, new);
        entry.note = note;
        if entry.hold.is_zero() {
            entry.hold = *self.first.get();
        } else if now >= entry.until {
            entry.hold = (entry.hold * 2).min(self.longest);
        }
        entry.until = now.after(entry.hold);
    }

    /// Forgets the refusal, because the password was accepted.
    pub fn forget(&self, proof: &PasswordDigest) {
        self.entries.part(proof).remove(proof);
    }

    /// Forgets everything, because somebody may have corrected what was refused.
    pub fn clear(&self) {
        self.entries.retain(|_, _| false);
    }

    /// Forgets what was refused to a user.
    pub fn forget_all(&self, whose: User) {
        self.entries.retain(|_, entry| entry.whose != whose);
    }

    /// Forgets what was not refused for so long that a new refusal would count as the first.
    pub fn sweep(&self, now: Moment) {
        self.entries.retain(|_, entry| now < entry.until.after(self.longest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::password_digest::PasswordDigestKey;
    use gatepost_core::clock::Clock;
    use gatepost_core::secret::Password;
    use gatepost_core::tuple_key::TupleKey;

    fn proofs(count: usize) -> Vec<PasswordDigest> {
        let key = PasswordDigestKey::generate().unwrap();
        (0..count).map(|n| key.prove(&TupleKey::encode(["a"]), &Password::new(n.to_string()))).collect()
    }

    fn user() -> User {
        User::of(&TupleKey::encode(["a"]))
    }

    fn memory() -> RefusedPasswords {
        RefusedPasswords::new(Duration::from_secs(900), Duration::from_secs(86_400))
    }

    #[test]
    fn a_password_polled_every_minute_is_forwarded_at_most_eight_times_a_day() {
        let (clock, memory, proof) = (Clock::manual(), memory(), proofs(1)[0]);
        let mut asked_at = Vec::new();
        for minute in 0..24 * 60 {
            if !memory.answers(&proof, clock.now()) {
                memory.add(proof, user(), clock.now());
                asked_at.push(minute);
            }
            clock.advance(Duration::from_secs(60));
            memory.sweep(clock.now());
        }
        assert_eq!(asked_at, [0, 15, 45, 105, 225, 465, 945]);
    }

    #[test]
    fn a_refusal_has_an_age_while_it_is_answered_from_memory() {
        let (clock, memory, proofs) = (Clock::manual(), memory(), proofs(2));
        let age = || memory.age(&proofs[0], clock.now()).map(|age| age.as_secs());
        assert_eq!(age(), None);
        memory.adjust(Duration::from_secs(60));
        memory.add(proofs[0], user(), clock.now());
        assert_eq!(age(), Some(0));
        clock.advance(Duration::from_secs(59));
        assert_eq!(age(), Some(59));
        clock.advance(Duration::from_secs(1));
        assert_eq!(age(), None, "its time is over");
        memory.add(proofs[0], user(), clock.now());
        memory.add(proofs[1], User::of(&TupleKey::encode(["b"])), clock.now());
        memory.forget_all(user());
        assert_eq!([0, 1].map(|n| memory.answers(&proofs[n], clock.now())), [false, true]);
        memory.clear();
        assert!(!memory.answers(&proofs[1], clock.now()));
    }

    #[test]
    fn what_was_not_refused_for_long_enough_is_swept() {
        let (clock, memory, proof) = (Clock::manual(), memory(), proofs(1)[0]);
        memory.add(proof, user(), clock.now());
        clock.advance(Duration::from_secs(900 + 86_399));
        memory.sweep(clock.now());
        assert_eq!(memory.entries.len(), 1);
        clock.advance(Duration::from_secs(1));
        memory.sweep(clock.now());
        assert_eq!(memory.entries.len(), 0);
    }

    #[test]
    fn an_accepted_password_is_forgotten() {
        let (clock, memory, proofs) = (Clock::manual(), memory(), proofs(2));
        memory.add(proofs[0], user(), clock.now());
        assert!(memory.answers(&proofs[0], clock.now()));
        assert!(!memory.answers(&proofs[1], clock.now()));
        memory.forget(&proofs[0]);
        assert!(!memory.answers(&proofs[0], clock.now()));
    }

    #[test]
    fn the_memory_is_bounded_and_loses_what_was_not_seen_for_longest() {
        let (clock, memory, proofs) = (Clock::manual(), memory(), proofs(ENTRIES + 1));
        for proof in &proofs[..ENTRIES] {
            clock.advance(Duration::from_millis(1));
            memory.add(*proof, user(), clock.now());
        }
        clock.advance(Duration::from_millis(1));
        assert!(memory.answers(&proofs[0], clock.now()));
        memory.add(proofs[ENTRIES], user(), clock.now());
        assert_eq!(memory.entries.len(), ENTRIES);
        assert!(memory.answers(&proofs[0], clock.now()), "seen lately");
        assert!(!memory.answers(&proofs[1], clock.now()), "seen first");
    }
}
