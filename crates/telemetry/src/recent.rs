//! The recent failures for the administrator: each kind once, with its count and its last time.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use gatepost_core::cause::Cause;
use gatepost_core::clock::UnixTime;
use gatepost_core::failure::{Actor, Failure};
use gatepost_core::protocol::Protocol;

/// Most kinds kept.
const KINDS: usize = 100;

/// Longest text of a failure, in octets.
const TEXT: usize = 1_024;

/// A failure, and how often it happened.
#[derive(Clone, Debug)]
pub struct Recent {
    /// Its cause, a fixed word.
    pub cause: Cause,
    /// Who must act.
    pub actor: Actor,
    /// The other side's own code at the last occurrence, if it gave one.
    pub code: Option<Box<str>>,
    /// What happened at the last occurrence.
    pub message: String,
    /// What to do about the last occurrence.
    pub remedy: String,
    /// The user name in a form that may be shown; empty when there was none.
    pub account: String,
    /// The listener.
    pub listener: Arc<str>,
    /// The listener's protocol.
    pub protocol: Protocol,
    /// The last client.
    pub peer: String,
    /// The last session.
    pub session: Arc<str>,
    /// How often it happened.
    pub count: u64,
    /// When it happened first.
    pub first: UnixTime,
    /// When it happened last.
    pub last: UnixTime,
}

/// Where a failure happened.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The session.
    pub session: &'a Arc<str>,
    /// The listener.
    pub listener: &'a Arc<str>,
    /// The listener's protocol.
    pub protocol: Protocol,
    /// The client.
    pub peer: std::net::SocketAddr,
}

/// The recent failures, the latest last.
#[derive(Debug, Default)]
pub struct Recently(Mutex<VecDeque<Recent>>);

impl Recently {
    /// Adds a failed login.
    pub fn add(&self, scene: Scene<'_>, account: &str, failure: &Failure, now: UnixTime) {
        let mut kinds = self.0.lock();
        let account = cut(account);
        let same = |kind: &Recent| {
            kind.cause == failure.cause && kind.account == account && *kind.listener == **scene.listener
        };
        let before = kinds.iter().position(same).and_then(|at| kinds.remove(at));
        let (count, first) = before.map_or((0, now), |before| (before.count, before.first));
        if kinds.len() >= KINDS {
            kinds.pop_front();
        }
        kinds.push_back(Recent {
            cause: failure.cause,
            actor: failure.actor,
            code: failure.code.clone(),
            message: cut(&failure.message).to_owned(),
            remedy: cut(&failure.remedy).to_owned(),
            account: account.to_owned(),
            listener: Arc::clone(scene.listener),
            protocol: scene.protocol,
            peer: scene.peer.ip().to_canonical().to_string(),
            session: Arc::clone(scene.session),
            count: count + 1,
            first,
            last: now,
        });
    }

    /// All recent failures, the latest first.
    pub fn all(&self) -> Vec<Recent> {
        self.0.lock().iter().rev().cloned().collect()
    }
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_core::failure::Refusal;

    fn failure(cause: Cause, message: &str) -> Failure {
        Failure::new(cause, message).answered(Refusal::InvalidCredentials).by(Actor::ClientOwner)
    }

    #[test]
    fn the_same_failure_is_kept_once_and_counted() {
        let recently = Recently::default();
        let (session, listener): (Arc<str>, Arc<str>) = ("ABCDEFGH".into(), "imap".into());
        let scene = Scene {
            session: &session,
            listener: &listener,
            protocol: Protocol::Imap,
            peer: "192.0.2.7:4000".parse().unwrap(),
        };
        for (second, account, cause) in [
            (1, "alice@contoso.com", Cause::WrongPassword),
            (2, "bob@contoso.com", Cause::WrongPassword),
            (3, "alice@contoso.com", Cause::WrongPassword),
        ] {
            recently.add(scene, account, &failure(cause, "no"), UnixTime(second));
        }
        let all: Vec<_> =
            recently.all().into_iter().map(|kind| (kind.account, kind.count, kind.first.0, kind.last.0)).collect();
        assert_eq!(all, [("alice@contoso.com".to_owned(), 2, 1, 3), ("bob@contoso.com".to_owned(), 1, 2, 2)]);
    }

    #[test]
    fn many_names_and_long_texts_take_a_bounded_room() {
        let recently = Recently::default();
        let (session, listener): (Arc<str>, Arc<str>) = ("ABCDEFGH".into(), "imap".into());
        let scene = Scene {
            session: &session,
            listener: &listener,
            protocol: Protocol::Imap,
            peer: "192.0.2.7:4000".parse().unwrap(),
        };
        for number in 0..1_000 {
            let long = format!("{number}{}", "ä".repeat(10_000));
            recently.add(scene, &long, &failure(Cause::UnknownAccount, &long), UnixTime(number));
        }
        let all = recently.all();
        assert_eq!(all.len(), KINDS);
        assert!(all.iter().all(|kind| kind.account.len() <= TEXT && kind.message.len() <= TEXT));
        assert_eq!(all[0].last, UnixTime(999));
    }
}
