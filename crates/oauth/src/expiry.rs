//! Lists certificates and secrets that expire, and logs each once a day from thirty days before.
//! Neither Entra nor a mail program gives a warning: from the end on, they refuse.

use std::collections::HashMap;
use std::sync::Arc;

use tracing::Level;

use crate::credential::Credentials;
pub use crate::renewal::record::Renewing;
use gatepost_config::{Application, Credential};
use gatepost_core::cause::Cause;
use gatepost_core::clock::UnixTime;

const DAY: u64 = 24 * 3600;
/// At this many days before the end and later, it is logged once a day.
const SAID: i64 = 30;
/// At this many days and fewer, it is logged as a warning.
const WARNED: i64 = 7;
/// At this many days and fewer, it is logged as an error.
const URGENT: i64 = 1;

/// What to do about a credential of an application that expires.
pub const RENEW_IN_ENTRA: &str = "Microsoft 365 admin: make a new one in Entra. Gatepost admin: list both, or \
                                  replace the file";

/// A credential that expires.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Expiry {
    /// The application's client id; empty for a certificate of a listener.
    pub client_id: String,
    /// Which credential: a clause for people, without any of its secret.
    pub what: String,
    /// Its end.
    pub expires: UnixTime,
    /// How its renewal goes; `None`: an administrator replaces it.
    pub renewal: Option<Renewing>,
}

impl Expiry {
    /// Whole days until the end; negative once it is past.
    pub fn days_left(&self, now: UnixTime) -> i64 {
        let signed = |time: UnixTime| i64::try_from(time.0).unwrap_or(i64::MAX);
        signed(self.expires).saturating_sub(signed(now)).div_euclid(DAY.cast_signed())
    }
}

/// A credential of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialEnd {
    /// Which credential: a clause for people, without any of its secret.
    pub what: String,
    /// Its end; `None`: not known.
    pub expires: Option<UnixTime>,
    /// How its renewal goes; `None`: an administrator replaces it.
    pub renewal: Option<Renewing>,
}

/// Returns the secrets or certificates of an application with their ends. A certificate's end is read
/// from its file as it is now, a secret's from the configuration.
pub async fn ends(credentials: &Credentials, application: &Application) -> Vec<CredentialEnd> {
    match &*application.credential {
        Credential::Certificates(certificates) => {
            let mut found = Vec::new();
            for certificate in certificates {
                let what = format!("the certificate in `{}`", certificate.certificate.display());
                let renewal = credentials.renewing(certificate).await;
                found.push(CredentialEnd { what, expires: credentials.expiry(certificate).await, renewal });
            }
            found
        }
        Credential::Secrets(secrets) => {
            let named = secrets.iter().enumerate().map(|(place, secret)| {
                let which = if secrets.len() == 1 { String::new() } else { format!(" {}", place + 1) };
                CredentialEnd { what: format!("client secret{which}"), expires: secret.expires, renewal: None }
            });
            named.collect()
        }
        Credential::None
        | Credential::FederatedTokenFile(_)
        | Credential::ServiceAccountKey(_)
        | Credential::ManagedIdentity(_)
        | Credential::NotRead => Vec::new(),
    }
}

/// Every known end, the nearest first.
pub async fn list(credentials: &Credentials, applications: &[Arc<Application>]) -> Vec<Expiry> {
    let mut found = Vec::new();
    for application in applications {
        let known = ends(credentials, application).await.into_iter().filter_map(|end| {
            let CredentialEnd { what, expires, renewal } = end;
            Some(Expiry { client_id: application.client_id.clone(), what, expires: expires?, renewal })
        });
        found.extend(known);
    }
    found.sort_by(|a, b| (a.expires, &a.client_id, &a.what).cmp(&(b.expires, &b.client_id, &b.what)));
    found.dedup();
    found
}

/// Remembers what was logged, so that each end is logged once a day.
#[derive(Debug, Default)]
pub struct Reminder {
    /// The days that were left, by client id, credential and end.
    said: HashMap<(String, String, UnixTime), i64>,
}

fn key(expiry: &Expiry) -> (String, String, UnixTime) {
    (expiry.client_id.clone(), expiry.what.clone(), expiry.expires)
}

impl Reminder {
    /// Returns what to log now, and at which level.
    pub fn due(&mut self, expiries: &[Expiry], now: UnixTime) -> Vec<(Expiry, Level)> {
        // Forgets credentials that were replaced.
        self.said.retain(|said, _| expiries.iter().any(|expiry| key(expiry) == *said));
        let mut due = Vec::new();
        for expiry in expiries {
            let days = expiry.days_left(now);
            // What Gatepost renews in time is nobody's work before it is late.
            let from = if expiry.renewal == Some(Renewing::Planned) { WARNED } else { SAID };
            if days <= from && self.said.insert(key(expiry), days) != Some(days) {
                let level = if days <= URGENT {
                    Level::ERROR
                } else if days <= WARNED {
                    Level::WARN
                } else {
                    Level::INFO
                };
                due.push((expiry.clone(), level));
            }
        }
        due
    }

    /// Logs what is due, with what to do about it.
    pub fn tell(&mut self, expiries: &[Expiry], now: UnixTime, remedy: &str) {
        for (Expiry { client_id, what, expires, renewal }, level) in self.due(expiries, now) {
            let remedy = match &renewal {
                Some(Renewing::Failed(why)) => &format!("It was not renewed: {why}"),
                _ => remedy,
            };
            let days = expires.since(now).as_secs() / DAY;
            let client_id = (!client_id.is_empty()).then_some(client_id);
            let cause = Cause::CredentialExpires.name();
            let when = if now > expires { "expired" } else { "expires" };
            match level {
                Level::ERROR => tracing::error!(client_id, days, cause, "{what} {when} on {expires}. {remedy}"),
                Level::WARN => tracing::warn!(client_id, days, cause, "{what} {when} on {expires}. {remedy}"),
                _ => tracing::info!(client_id, days, cause, "{what} {when} on {expires}. {remedy}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Logged;

    const NOW: UnixTime = UnixTime(1_767_225_600);

    fn after(days: u64) -> UnixTime {
        UnixTime(NOW.0 + days * DAY)
    }

    fn secret(expires: UnixTime) -> Expiry {
        Expiry { client_id: "c".into(), what: "client secret".into(), expires, renewal: None }
    }

    #[test]
    fn an_end_is_said_once_a_day_from_thirty_days_on_and_ever_louder() {
        let mut reminder = Reminder::default();
        let ends = [secret(after(40))];
        let mut said = Vec::new();
        for hour in 0..45 * 24 {
            let now = UnixTime(NOW.0 + hour * 3600);
            let due = reminder.due(&ends, now);
            assert!(due.len() <= 1);
            said.extend(due.into_iter().map(|(expiry, level)| (expiry.days_left(now), level)));
        }
        let days: Vec<i64> = said.iter().map(|(days, _)| *days).collect();
        assert_eq!(days, (-5..=30).rev().collect::<Vec<_>>());
        let level = |of: i64| said.iter().find(|(days, _)| *days == of).unwrap().1;
        assert_eq!(
            [30, 8, 7, 2, 1, 0, -1].map(level).map(|level| level.to_string()),
            ["INFO", "INFO", "WARN", "WARN", "ERROR", "ERROR", "ERROR"]
        );
    }

    #[test]
    fn a_certificate_that_renews_itself_is_spoken_of_when_that_is_late_or_fails() {
        let mut reminder = Reminder::default();
        let certificate = |days, renewal| [Expiry { renewal: Some(renewal), ..secret(after(days)) }];
        assert_eq!(reminder.due(&certificate(20, Renewing::Planned), NOW).len(), 0);
        let failed = |why: &str| Renewing::Failed(why.to_owned());
        assert_eq!(reminder.due(&certificate(20, failed("no")), NOW).len(), 1);
        assert_eq!(reminder.due(&certificate(20, failed("again no")), NOW).len(), 0, "once a day");
        assert_eq!(reminder.due(&certificate(7, Renewing::Planned), NOW).len(), 1);
    }

    #[test]
    fn what_was_replaced_is_not_spoken_of_again() {
        let mut reminder = Reminder::default();
        assert_eq!(reminder.due(&[secret(after(3))], NOW).len(), 1);
        assert_eq!(reminder.due(&[secret(after(3))], NOW).len(), 0);
        assert_eq!(reminder.due(&[secret(after(400))], NOW).len(), 0);
        assert_eq!(reminder.due(&[secret(after(3))], NOW).len(), 1, "the old one is back");
    }

    #[test]
    fn the_log_says_what_ends_when_and_what_to_do_as_loud_as_it_is_urgent() {
        let of = |client_id: &str, expires, renewal| Expiry { client_id: client_id.into(), renewal, ..secret(expires) };
        let failed = || Some(Renewing::Failed("no access".into()));
        let second_ago = UnixTime(NOW.0 - 1);
        for (expiry, said) in [
            (
                of("c", after(20), None),
                "INFO client secret expires on 2026-01-21 00:00 UTC. Make one client_id=c days=20",
            ),
            (of("", after(20), None), "INFO client secret expires on 2026-01-21 00:00 UTC. Make one days=20"),
            (
                of("c", after(7), None),
                "WARN client secret expires on 2026-01-08 00:00 UTC. Make one client_id=c days=7",
            ),
            (
                of("c", after(7), failed()),
                "WARN client secret expires on 2026-01-08 00:00 UTC. It was not renewed: no access client_id=c days=7",
            ),
            (
                of("c", after(7), Some(Renewing::Planned)),
                "WARN client secret expires on 2026-01-08 00:00 UTC. Make one client_id=c days=7",
            ),
            (
                of("c", after(1), None),
                "ERROR client secret expires on 2026-01-02 00:00 UTC. Make one client_id=c days=1",
            ),
            (of("c", NOW, None), "ERROR client secret expires on 2026-01-01 00:00 UTC. Make one client_id=c days=0"),
            (
                of("c", second_ago, None),
                "ERROR client secret expired on 2025-12-31 23:59 UTC. Make one client_id=c days=0",
            ),
        ] {
            let log = Logged::begin();
            Reminder::default().tell(&[expiry], NOW, "Make one");
            assert_eq!(log.lines(), [format!("{said} cause=credential-expires")]);
        }
    }
}
