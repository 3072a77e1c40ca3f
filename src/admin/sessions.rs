//! Decides who may see the page: sessions of browsers, begun with the token of the configuration or
//! with a one-time link.
//!
//! Cookies and links are 256 random bits; only their digests are kept. A session has a random path,
//! and its cookie is sent only there. A form carries a token derived from its session and its
//! target, so that no other page can submit it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{constant_time, digest, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::{Mutex, MutexGuard};

use gatepost_config::AdminToken;
use gatepost_core::bounded_map::BoundedMap;
use gatepost_core::clock::{Clock, Moment};
use gatepost_core::rate_limit::SlidingWindow;
use gatepost_core::source::Source;

/// Each session is at a random path below this one.
pub(super) const SESSIONS_PATH: &str = "/s/";

/// How long a session lasts without use.
const IDLE: Duration = Duration::from_secs(15 * 60);
/// How long an unopened link lasts.
const LINK: Duration = Duration::from_secs(10 * 60);
/// Most wrong tokens from one source within [`ATTEMPTS_IN`].
const ATTEMPTS: usize = 10;
/// After that, no token of the source is checked within this time. Links are not counted, because
/// 256 random bits cannot be guessed. So an administrator on this machine can always log in,
/// whatever its other users try.
const ATTEMPTS_IN: Duration = Duration::from_secs(60);
/// Most sources whose wrong tokens are counted. The one without attempts for longest is evicted.
const SOURCES: usize = 1_024;
/// Most sessions. The one idle for longest is evicted.
const SESSIONS: usize = 32;
/// Most unopened links.
const LINKS: usize = 16;

type Digest = [u8; 32];

/// Why access is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The token is wrong, or the link was opened before or is too old.
    Wrong,
    /// Too many wrong tokens of this source in a minute.
    TooMany,
    /// There is no randomness for a session.
    NoRandomness,
}

/// All sessions that may see the page.
pub(super) struct AdminSessions {
    clock: Clock,
    token: Option<AdminToken>,
    inside: Mutex<Inside>,
}

struct Inside {
    sessions: BoundedMap<Digest, Session>,
    links: VecDeque<(Digest, Moment)>,
    /// The times at which each source presented a wrong token.
    attempts: BoundedMap<Option<Source>, SlidingWindow>,
}

impl Default for Inside {
    fn default() -> Self {
        let (sessions, attempts) = (BoundedMap::new(SESSIONS), BoundedMap::new(SOURCES));
        Self { sessions, links: VecDeque::new(), attempts }
    }
}

struct Session {
    base: Arc<str>,
    last: Moment,
    forms: hmac::Key,
}

/// What a browser receives at the beginning of a session.
#[derive(Debug)]
pub(super) struct Entry {
    /// The secret cookie.
    pub(super) cookie: String,
    /// The path of the session, to which the cookie is bound. Cookies know no ports, so the path
    /// keeps the cookie from pages of other programs on the same machine.
    pub(super) base: Arc<str>,
}

/// A session of a browser.
#[derive(Clone)]
pub(super) struct Visitor {
    id: Digest,
    base: Arc<str>,
    forms: hmac::Key,
}

impl Visitor {
    /// Returns the path of the session, without a slash at its end.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Returns a path of the session.
    pub(super) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Returns the token that a form with the target `action` must carry.
    pub(super) fn form_token(&self, action: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.forms, action.as_bytes()))
    }

    /// Whether `token` belongs to a form with the target `action`.
    pub(super) fn sent(&self, action: &str, token: &str) -> bool {
        let tag = URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
        hmac::verify(&self.forms, action.as_bytes(), &tag).is_ok()
    }

    /// Whether both are the same session.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl AdminSessions {
    pub(super) fn new(token: Option<AdminToken>, clock: Clock) -> Self {
        Self { clock, token, inside: Mutex::default() }
    }

    /// Whether the configuration has a token that opens the page.
    pub(super) fn have_token(&self) -> bool {
        self.token.is_some()
    }

    /// Begins a session with the token.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) fn enter_with_token(&self, presented: &str, source: Option<Source>) -> Result<Entry, Refused> {
        self.check_token(presented, source)?;
        self.begin()
    }

    /// Begins a session with a link, which uses the link up.
    ///
    /// # Errors
    /// [`Refused::Wrong`] and [`Refused::NoRandomness`].
    pub(super) fn enter_with_link(&self, presented: &str) -> Result<Entry, Refused> {
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

    /// Checks that `presented` is the token. Wrong ones count against the source.
    ///
    /// # Errors
    /// [`Refused::Wrong`] and [`Refused::TooMany`].
    pub(super) fn check_token(&self, presented: &str, source: Option<Source>) -> Result<(), Refused> {
        let now = self.clock.now();
        let mut inside = self.inside();
        let attempts = &mut inside.attempts;
        attempts.remove_oldest_while(|_, wrong| wrong.is_over(ATTEMPTS_IN, now));
        if attempts.peek_mut(&source).is_some_and(|wrong| wrong.count(ATTEMPTS_IN, now) >= ATTEMPTS) {
            return Err(Refused::TooMany);
        }
        if self.token.as_ref().is_some_and(|token| token.is(presented)) {
            return Ok(());
        }
        attempts.get_or_insert_with(source, SlidingWindow::default).note(now);
        Err(Refused::Wrong)
    }

    /// Creates a link, and returns its secret part; `None` when the system gives no randomness.
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

    /// Returns the session of a cookie, only below the path `base`. A request by a program
    /// (`by_person` is false) does not extend it.
    pub(super) fn find(&self, base: &str, cookie: &str, by_person: bool) -> Option<Visitor> {
        let (id, now) = (sha256(cookie), self.clock.now());
        let mut inside = self.inside();
        let mut session = inside.sessions.peek_mut(&id).filter(|session| *session.base == *base)?;
        if now.since(session.last) >= IDLE {
            inside.sessions.remove(&id);
            return None;
        }
        if by_person {
            session = inside.sessions.get(&id)?;
            session.last = now;
        }
        Some(Visitor { id, base: Arc::clone(&session.base), forms: session.forms.clone() })
    }

    /// Ends a session.
    pub(super) fn leave(&self, visitor: &Visitor) {
        self.inside().sessions.remove(&visitor.id);
    }

    fn begin(&self) -> Result<Entry, Refused> {
        let (cookie, path) = random().zip(random()).ok_or(Refused::NoRandomness)?;
        let base: Arc<str> = format!("{SESSIONS_PATH}{path}").into();
        let forms = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new());
        let forms = forms.map_err(|_| Refused::NoRandomness)?;
        let session = Session { base: Arc::clone(&base), last: self.clock.now(), forms };
        let mut inside = self.inside();
        let now = self.clock.now();
        inside.sessions.remove_oldest_while(|_, session| now.since(session.last) >= IDLE);
        inside.sessions.insert(sha256(&cookie), session);
        Ok(Entry { cookie, base })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock()
    }
}

/// Returns 256 random bits, for a cookie or an address.
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

    fn sessions() -> (AdminSessions, Clock) {
        let clock = Clock::manual();
        (AdminSessions::new(None, clock.clone()), clock)
    }

    fn find(sessions: &AdminSessions, entry: &Entry, by_person: bool) -> Option<Visitor> {
        sessions.find(&entry.base, &entry.cookie, by_person)
    }

    #[test]
    fn a_link_opens_the_page_once_and_within_ten_minutes() {
        let (sessions, clock) = sessions();
        let (first, second) = (sessions.make_link().unwrap(), sessions.make_link().unwrap());
        assert!(first.len() >= 43 && first != second);
        assert_eq!(sessions.enter_with_link("").err(), Some(Refused::Wrong));
        let entry = sessions.enter_with_link(&first).unwrap();
        assert_eq!(sessions.enter_with_link(&first).err(), Some(Refused::Wrong));
        assert!(find(&sessions, &entry, true).is_some());
        assert!(sessions.find(&entry.base, &first, true).is_none(), "a link is no cookie");
        clock.advance(LINK);
        assert_eq!(sessions.enter_with_link(&second).err(), Some(Refused::Wrong));
    }

    #[test]
    fn a_session_ends_when_no_person_uses_it_for_a_quarter_of_an_hour() {
        let (sessions, clock) = sessions();
        let entry = sessions.enter_with_link(&sessions.make_link().unwrap()).unwrap();
        for _ in 0..3 {
            clock.advance(IDLE - Duration::from_secs(1));
            assert!(find(&sessions, &entry, true).is_some());
        }
        for _ in 0..14 {
            clock.advance(Duration::from_secs(60));
            assert!(find(&sessions, &entry, false).is_some());
        }
        clock.advance(Duration::from_secs(60));
        assert!(find(&sessions, &entry, true).is_none());
        let entry = sessions.enter_with_link(&sessions.make_link().unwrap()).unwrap();
        let visitor = find(&sessions, &entry, true).unwrap();
        sessions.leave(&visitor);
        assert!(find(&sessions, &entry, true).is_none());
    }

    #[test]
    fn ten_wrong_tokens_a_minute_are_all_that_a_source_has() {
        let (sessions, clock) = sessions();
        let source = |number| Some(Source::Ipv4(number));
        for _ in 0..ATTEMPTS {
            assert_eq!(sessions.enter_with_token("guess", source(1)).err(), Some(Refused::Wrong));
            assert_eq!(sessions.enter_with_link("guess").err(), Some(Refused::Wrong));
        }
        assert_eq!(sessions.enter_with_token("guess", source(1)).err(), Some(Refused::TooMany));
        assert_eq!(sessions.check_token("guess", source(1)), Err(Refused::TooMany));
        assert_eq!(sessions.check_token("guess", source(2)), Err(Refused::Wrong), "each source has its own");
        assert!(sessions.enter_with_link(&sessions.make_link().unwrap()).is_ok());
        clock.advance(ATTEMPTS_IN);
        assert_eq!(sessions.check_token("guess", source(1)), Err(Refused::Wrong));
    }

    #[test]
    fn the_sources_that_are_counted_are_bounded() {
        let (sessions, clock) = sessions();
        let guess = |number: usize| sessions.check_token("guess", Some(Source::Ipv6(number as u64)));
        for number in 0..2 * SOURCES {
            clock.advance(Duration::from_millis(1));
            assert_eq!(guess(number), Err(Refused::Wrong));
        }
        assert_eq!(sessions.inside().attempts.len(), SOURCES);
        for _ in 1..ATTEMPTS {
            assert_eq!(guess(2 * SOURCES - 1), Err(Refused::Wrong));
        }
        assert_eq!(guess(2 * SOURCES - 1), Err(Refused::TooMany), "the latest are still counted");
    }

    #[test]
    fn a_session_is_at_its_own_path_only() {
        let (sessions, _) = sessions();
        let enter = || sessions.enter_with_link(&sessions.make_link().unwrap()).unwrap();
        let (one, other) = (enter(), enter());
        assert!(one.base.starts_with(SESSIONS_PATH) && one.base.len() >= 43 && one.base != other.base);
        assert!(sessions.find(&one.base, &one.cookie, true).is_some());
        for base in [&*other.base, "", "/", SESSIONS_PATH] {
            assert!(sessions.find(base, &one.cookie, true).is_none(), "{base}");
        }
    }

    #[test]
    fn a_form_of_another_session_or_to_another_place_does_not_count() {
        let (sessions, _) = sessions();
        let enter = || {
            let entry = sessions.enter_with_link(&sessions.make_link().unwrap()).unwrap();
            find(&sessions, &entry, true).unwrap()
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
        let (sessions, clock) = sessions();
        let mut entries = Vec::new();
        for _ in 0..2 * SESSIONS {
            for _ in 0..LINKS {
                sessions.make_link().unwrap();
            }
            clock.advance(Duration::from_secs(7));
            entries.push(sessions.enter_with_link(&sessions.make_link().unwrap()).unwrap());
        }
        assert!(find(&sessions, &entries[0], true).is_none() && find(&sessions, &entries[SESSIONS], true).is_some());
        let inside = sessions.inside();
        assert_eq!((inside.sessions.len(), inside.links.len()), (SESSIONS, LINKS - 1));
    }
}
