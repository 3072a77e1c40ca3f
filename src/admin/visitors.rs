//! Who may see the page: sessions of browsers, begun with the token of the configuration or with a one-time link.
//!
//! Cookies and links are 256 random bits; only their digests are kept. A form carries a token that is made from its session and
//! from where it leads, so that no other page can fill it in.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::{constant_time, digest, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::clock::{Clock, Moment};
use crate::config::AdminToken;

/// A session that nobody uses ends.
const IDLE: Duration = Duration::from_secs(15 * 60);
/// A link that nobody opens.
const LINK: Duration = Duration::from_secs(10 * 60);
/// So many tries to get in, from everybody together,
const ATTEMPTS: usize = 10;
/// in this time.
const ATTEMPTS_IN: Duration = Duration::from_secs(60);
/// Most sessions; the one that was idle longest gives way.
const SESSIONS: usize = 32;
/// Most links that were not opened yet.
const LINKS: usize = 16;

type Digest = [u8; 32];

/// Why somebody does not get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Not the token, or a link that was opened before or is too old.
    Wrong,
    /// Too many tries in a minute.
    TooMany,
    /// No randomness for a session.
    NoRandomness,
}

/// Everybody who may see the page.
pub(super) struct Visitors {
    clock: Clock,
    token: Option<AdminToken>,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    sessions: HashMap<Digest, Session>,
    links: VecDeque<(Digest, Moment)>,
    attempts: VecDeque<Moment>,
}

struct Session {
    last: Moment,
    forms: hmac::Key,
}

/// A session of a browser.
#[derive(Clone)]
pub(super) struct Visitor {
    id: Digest,
    forms: hmac::Key,
}

impl Visitor {
    /// What a form that leads to `action` has to carry.
    pub(super) fn form_token(&self, action: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.forms, action.as_bytes()))
    }

    /// Whether a form that led to `action` carries that.
    pub(super) fn sent(&self, action: &str, token: &str) -> bool {
        let tag = URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
        hmac::verify(&self.forms, action.as_bytes(), &tag).is_ok()
    }

    /// True for the same session.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Visitors {
    pub(super) fn new(token: Option<AdminToken>, clock: Clock) -> Self {
        Self { clock, token, inside: Mutex::default() }
    }

    /// Whether there is a token that opens the page.
    pub(super) fn have_token(&self) -> bool {
        self.token.is_some()
    }

    /// Begins a session with the token; the result is the cookie.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) fn enter_with_token(&self, presented: &str) -> Result<String, Refused> {
        self.attempt()?;
        match &self.token {
            Some(token) if token.is(presented) => self.begin(),
            _ => Err(Refused::Wrong),
        }
    }

    /// Begins a session with a link, which is used up by that.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) fn enter_with_link(&self, presented: &str) -> Result<String, Refused> {
        self.attempt()?;
        let (presented, now) = (sha256(presented), self.clock.now());
        {
            let mut inside = self.inside();
            let links = &mut inside.links;
            links.retain(|(_, made)| now.since(*made) < LINK);
            let is_this =
                |(link, _): &(Digest, Moment)| constant_time::verify_slices_are_equal(link, &presented).is_ok();
            let at = links.iter().position(is_this).ok_or(Refused::Wrong)?;
            links.remove(at);
        }
        self.begin()
    }

    /// Whether `presented` is the token, as a program sends it; wrong ones count as tries.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) fn check_token(&self, presented: &str) -> Result<(), Refused> {
        match &self.token {
            Some(token) if token.is(presented) => Ok(()),
            _ => self.attempt().and(Err(Refused::Wrong)),
        }
    }

    /// Makes a link: its secret part. Nothing when the system gives no randomness.
    pub(super) fn make_link(&self) -> Option<String> {
        let secret = random()?;
        let now = self.clock.now();
        let mut inside = self.inside();
        if inside.links.len() >= LINKS {
            inside.links.pop_front();
        }
        inside.links.push_back((sha256(&secret), now));
        Some(secret)
    }

    /// The session of a cookie. A look by a program (`by_person` is false) does not keep it from ending.
    pub(super) fn find(&self, cookie: &str, by_person: bool) -> Option<Visitor> {
        let (id, now) = (sha256(cookie), self.clock.now());
        let mut inside = self.inside();
        let session = inside.sessions.get_mut(&id)?;
        if now.since(session.last) >= IDLE {
            inside.sessions.remove(&id);
            return None;
        }
        if by_person {
            session.last = now;
        }
        Some(Visitor { id, forms: session.forms.clone() })
    }

    /// Ends a session.
    pub(super) fn leave(&self, visitor: &Visitor) {
        self.inside().sessions.remove(&visitor.id);
    }

    fn begin(&self) -> Result<String, Refused> {
        let cookie = random().ok_or(Refused::NoRandomness)?;
        let forms = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new());
        let session = Session { last: self.clock.now(), forms: forms.map_err(|_| Refused::NoRandomness)? };
        let mut inside = self.inside();
        let now = self.clock.now();
        inside.sessions.retain(|_, session| now.since(session.last) < IDLE);
        if inside.sessions.len() >= SESSIONS {
            let idlest = inside.sessions.iter().min_by_key(|(_, session)| session.last).map(|(id, _)| *id);
            idlest.and_then(|id| inside.sessions.remove(&id));
        }
        inside.sessions.insert(sha256(&cookie), session);
        Ok(cookie)
    }

    fn attempt(&self) -> Result<(), Refused> {
        let now = self.clock.now();
        let mut inside = self.inside();
        inside.attempts.retain(|at| now.since(*at) < ATTEMPTS_IN);
        if inside.attempts.len() >= ATTEMPTS {
            return Err(Refused::TooMany);
        }
        inside.attempts.push_back(now);
        Ok(())
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 256 random bits, for a cookie or an address.
pub(super) fn random() -> Option<String> {
    let mut bits = [0; 32];
    rand::fill(&mut bits).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bits))
}

fn sha256(text: &str) -> Digest {
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    sha256
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visitors() -> (Visitors, Clock) {
        let clock = Clock::manual();
        (Visitors::new(None, clock.clone()), clock)
    }

    #[test]
    fn a_link_opens_the_page_once_and_within_ten_minutes() {
        let (visitors, clock) = visitors();
        let (first, second) = (visitors.make_link().unwrap(), visitors.make_link().unwrap());
        assert!(first.len() >= 43 && first != second);
        assert_eq!(visitors.enter_with_link("").err(), Some(Refused::Wrong));
        let cookie = visitors.enter_with_link(&first).unwrap();
        assert_eq!(visitors.enter_with_link(&first).err(), Some(Refused::Wrong));
        assert!(visitors.find(&cookie, true).is_some());
        assert!(visitors.find(&first, true).is_none(), "a link is no cookie");
        clock.advance(LINK);
        assert_eq!(visitors.enter_with_link(&second).err(), Some(Refused::Wrong));
    }

    #[test]
    fn a_session_ends_when_no_person_uses_it_for_a_quarter_of_an_hour() {
        let (visitors, clock) = visitors();
        let cookie = visitors.enter_with_link(&visitors.make_link().unwrap()).unwrap();
        for _ in 0..3 {
            clock.advance(IDLE - Duration::from_secs(1));
            assert!(visitors.find(&cookie, true).is_some());
        }
        for _ in 0..14 {
            clock.advance(Duration::from_secs(60));
            assert!(visitors.find(&cookie, false).is_some());
        }
        clock.advance(Duration::from_secs(60));
        assert!(visitors.find(&cookie, true).is_none());
        let cookie = visitors.enter_with_link(&visitors.make_link().unwrap()).unwrap();
        let visitor = visitors.find(&cookie, true).unwrap();
        visitors.leave(&visitor);
        assert!(visitors.find(&cookie, true).is_none());
    }

    #[test]
    fn ten_tries_a_minute_are_all_there_are() {
        let (visitors, clock) = visitors();
        for _ in 0..ATTEMPTS {
            assert_eq!(visitors.enter_with_token("guess").err(), Some(Refused::Wrong));
        }
        let link = visitors.make_link().unwrap();
        assert_eq!(visitors.enter_with_token("guess").err(), Some(Refused::TooMany));
        assert_eq!(visitors.enter_with_link(&link).err(), Some(Refused::TooMany));
        assert_eq!(visitors.check_token("guess"), Err(Refused::TooMany));
        clock.advance(ATTEMPTS_IN);
        assert!(visitors.enter_with_link(&link).is_ok());
    }

    #[test]
    fn a_form_of_another_session_or_to_another_place_does_not_count() {
        let (visitors, _) = visitors();
        let enter = || {
            let cookie = visitors.enter_with_link(&visitors.make_link().unwrap()).unwrap();
            visitors.find(&cookie, true).unwrap()
        };
        let (alice, bob) = (enter(), enter());
        let token = alice.form_token("/sessions/end");
        assert!(alice.sent("/sessions/end", &token));
        assert!(!alice.sent("/passwords/add", &token));
        assert!(!bob.sent("/sessions/end", &token));
        assert!(!alice.sent("/sessions/end", ""));
        assert!(alice.is(&alice.clone()) && !alice.is(&bob));
    }

    #[test]
    fn sessions_and_links_take_a_bounded_room() {
        let (visitors, clock) = visitors();
        let mut cookies = Vec::new();
        for _ in 0..2 * SESSIONS {
            for _ in 0..LINKS {
                visitors.make_link().unwrap();
            }
            clock.advance(Duration::from_secs(7));
            cookies.push(visitors.enter_with_link(&visitors.make_link().unwrap()).unwrap());
        }
        assert!(visitors.find(&cookies[0], true).is_none() && visitors.find(&cookies[SESSIONS], true).is_some());
        let inside = visitors.inside();
        assert_eq!((inside.sessions.len(), inside.links.len()), (SESSIONS, LINKS - 1));
    }
}
