//! What needs an administrator, out of everything that the status shows: the list at the top of the
//! page, and the word beside its title.

use std::collections::HashMap;

use serde::Serialize;

use super::queued::QueueView;
use super::view::{AccountLine, ExpiryLine, FailureLine, ReloadView};
use crate::session::severity::is_of_strangers;
use gatepost_core::cause::Cause;
use gatepost_core::failure::Actor;

/// An expiry is shown from this many days before it on: time enough for a change that others must
/// approve.
pub(super) const DAYS_BEFORE_EXPIRY: i64 = 30;
/// A certificate that renews itself should have done so before.
const DAYS_OF_LATE_RENEWAL: i64 = 8;
/// A failure needs attention for this long, in seconds. One that lasts happens again within it.
const FAILURE_SECONDS: u64 = 3_600;
/// Most accounts that a sentence names.
const NAMES: usize = 3;

/// How the service is doing, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Health {
    /// Nothing needs an administrator.
    Healthy,
    /// It serves, and something needs an administrator.
    NeedsAttention,
    /// It does not serve logins as it should.
    NotReady,
    /// It is draining.
    Stopping,
}

/// One thing that needs an administrator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Attention {
    /// What it is, a sentence without full stop.
    pub(super) message: String,
    /// More about it, as lines of text; often empty.
    pub(super) details: String,
    /// The section of the page that has the rest.
    pub(super) section: &'static str,
    /// Whether clients fail until somebody acts.
    pub(super) urgent: bool,
}

/// What the list is made from.
pub(super) struct Facts<'a> {
    pub(super) hindrance: Option<&'a str>,
    pub(super) last_reload: Option<&'a ReloadView>,
    pub(super) queue: Option<&'a QueueView>,
    /// Why it could not be read or written a moment ago.
    pub(super) queue_failure: Option<&'a str>,
    pub(super) accounts: &'a [AccountLine],
    pub(super) expiries: &'a [ExpiryLine],
    pub(super) failures: &'a [FailureLine],
}

impl Facts<'_> {
    /// Returns the word for all of it.
    pub(super) fn health(&self, draining: bool, attention: &[Attention]) -> Health {
        match (draining, self.hindrance, attention) {
            (true, _, _) => Health::Stopping,
            (false, Some(_), _) => Health::NotReady,
            (false, None, []) => Health::Healthy,
            (false, None, _) => Health::NeedsAttention,
        }
    }

    /// Returns what needs an administrator, the urgent first.
    pub(super) fn attention(&self) -> Vec<Attention> {
        let mut all: Vec<Attention> = self.hindrance().into_iter().chain(self.reload()).collect();
        all.extend(self.sign_ins());
        all.extend(self.queue());
        all.extend(self.expiries());
        all.extend(self.failures());
        all.sort_by_key(|attention| !attention.urgent);
        all
    }

    fn hindrance(&self) -> Option<Attention> {
        let message = format!("not ready: {}", self.hindrance?);
        Some(Attention { message, details: String::new(), section: "service", urgent: true })
    }

    fn reload(&self) -> Option<Attention> {
        let rejected = self.last_reload.filter(|reload| !reload.succeeded)?;
        Some(Attention {
            message: "the changed configuration was rejected, the former one stays in use".to_owned(),
            details: rejected.error.clone().unwrap_or_default(),
            section: "service",
            urgent: false,
        })
    }

    fn sign_ins(&self) -> Option<Attention> {
        let state = |account: &&AccountLine| account.sign_in.as_ref().is_some_and(|of| of.state != "signed-in");
        let missing: Vec<&str> = self.accounts.iter().filter(state).map(|account| &*account.login).collect();
        let message = match missing.as_slice() {
            [] => return None,
            [one] => format!("{one} needs a sign-in"),
            many => format!("{} accounts need a sign-in: {}", many.len(), names(many)),
        };
        Some(Attention { message, details: String::new(), section: "accounts", urgent: true })
    }

    fn queue(&self) -> impl Iterator<Item = Attention> {
        let row = Cause::QueueUnavailable.row();
        let failure = self.queue_failure.map(|why| Attention {
            message: "messages of the queue wait, because it cannot be read or written".to_owned(),
            details: format!("{why}. {}: {}", row.actor.label(), row.remedy),
            section: "queue",
            urgent: true,
        });
        let complaint = self.queue.and_then(QueueView::complaint).map(|message| Attention {
            message,
            details: String::new(),
            section: "queue",
            urgent: true,
        });
        failure.into_iter().chain(complaint)
    }

    fn expiries(&self) -> impl Iterator<Item = Attention> {
        let from = |expiry: &ExpiryLine| if expiry.renews_itself { DAYS_OF_LATE_RENEWAL } else { DAYS_BEFORE_EXPIRY };
        let is_near = move |expiry: &&ExpiryLine| expiry.days_left < from(expiry) || expiry.renewal_failure.is_some();
        let near = self.expiries.iter().filter(is_near);
        near.map(|expiry| {
            let day = expiry.expires_at.get(..10).unwrap_or(&expiry.expires_at);
            let ends = match expiry.days_left {
                ..0 => format!("expired on {day}"),
                0 => "expires today".to_owned(),
                1 => "expires tomorrow".to_owned(),
                days => format!("expires in {days} days, on {day}"),
            };
            Attention {
                message: match &expiry.renewal_failure {
                    None => format!("{} {ends}", expiry.what),
                    Some(_) => format!("{} {ends}, and was not renewed", expiry.what),
                },
                details: expiry.renewal_failure.clone().unwrap_or_default(),
                section: "service",
                urgent: expiry.days_left < 0,
            }
        })
    }

    fn failures(&self) -> impl Iterator<Item = Attention> {
        let ours = |group: &FailureGroup<'_>| {
            let FailureLine { action_by, cause, seconds_ago, .. } = group.latest;
            let is_of_others = [Actor::ClientOwner.name(), Actor::Nobody.name()].contains(action_by);
            *seconds_ago <= FAILURE_SECONDS && !is_of_others && !is_of_strangers(*cause)
        };
        groups(self.failures).into_iter().filter(ours).map(|group| {
            let accounts = group.accounts();
            let of = if accounts.is_empty() { String::new() } else { format!(" ({})", names(&accounts)) };
            Attention {
                message: format!("{}{of}", group.latest.message),
                details: String::new(),
                section: "failures",
                urgent: true,
            }
        })
    }
}

fn names(all: &[&str]) -> String {
    let named = all.iter().take(NAMES).copied().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(NAMES) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// Failures of one cause: one fault that several clients meet.
pub(super) struct FailureGroup<'a> {
    pub(super) latest: &'a FailureLine,
    /// All of them, the latest first.
    pub(super) lines: Vec<&'a FailureLine>,
}

impl FailureGroup<'_> {
    /// How often they happened.
    pub(super) fn count(&self) -> u64 {
        self.lines.iter().map(|line| line.count).sum()
    }

    /// When the first of them happened.
    pub(super) fn first(&self) -> &str {
        self.lines.iter().map(|line| &*line.first).min().unwrap_or_default()
    }

    /// The accounts, each once.
    pub(super) fn accounts(&self) -> Vec<&str> {
        let mut accounts: Vec<&str> =
            self.lines.iter().map(|line| &*line.account).filter(|account| !account.is_empty()).collect();
        accounts.sort_unstable();
        accounts.dedup();
        accounts
    }
}

/// Groups failures by cause and by who must act. The group of the latest failure comes first.
pub(super) fn groups(failures: &[FailureLine]) -> Vec<FailureGroup<'_>> {
    let mut groups: Vec<FailureGroup<'_>> = Vec::new();
    let mut places: HashMap<(Cause, &str), usize> = HashMap::new();
    for line in failures {
        let place = *places.entry((line.cause, line.action_by)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.lines.push(line),
            None => groups.push(FailureGroup { latest: line, lines: vec![line] }),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::view::SignInLine;

    fn failure(cause: Cause, actor: Actor, account: &str, seconds_ago: u64) -> FailureLine {
        FailureLine {
            cause,
            action_by: actor.name(),
            label: actor.label(),
            code: None,
            message: format!("something is wrong with {account}"),
            remedy: "mend it".into(),
            account: account.into(),
            listener: "imap".into(),
            protocol: "imap",
            peer: "192.0.2.7".into(),
            session: "ABCDEFGH".into(),
            count: 2,
            first: format!("2026-11-30T10:00:{:02}Z", 59 - seconds_ago % 60),
            last: "2026-11-30T11:00:00Z".into(),
            seconds_ago,
        }
    }

    fn account(login: &str, state: Option<&'static str>) -> AccountLine {
        AccountLine {
            login: login.into(),
            grant: "authorization_code",
            mailbox: None,
            tokens: Vec::new(),
            sign_in: state.map(|state| SignInLine { state, username: None, at: None, renewed_at: None, code: None }),
            takes_browser: true,
            takes_code: true,
            device_passwords: 0,
            wrong_passwords: 0,
            sessions: 0,
        }
    }

    fn expiry(days_left: i64) -> ExpiryLine {
        ExpiryLine {
            what: "the secret".into(),
            client_id: String::new(),
            expires_at: "2026-12-24T00:00:00Z".into(),
            days_left,
            renews_itself: false,
            renewal_failure: None,
        }
    }

    #[test]
    fn a_certificate_that_renews_itself_is_listed_when_that_is_late_or_fails() {
        let renewing = |days_left, failure: Option<&str>| ExpiryLine {
            renews_itself: true,
            renewal_failure: failure.map(str::to_owned),
            ..expiry(days_left)
        };
        let expiries = [renewing(20, None), renewing(7, None), renewing(25, Some("no answer"))];
        let all = Facts { expiries: &expiries, ..NOTHING }.attention();
        let told: Vec<_> = all.iter().map(|attention| (&*attention.message, &*attention.details)).collect();
        assert_eq!(
            told,
            [
                ("the secret expires in 7 days, on 2026-12-24", ""),
                ("the secret expires in 25 days, on 2026-12-24, and was not renewed", "no answer"),
            ]
        );
    }

    const NOTHING: Facts<'_> = Facts {
        hindrance: None,
        last_reload: None,
        queue: None,
        queue_failure: None,
        accounts: &[],
        expiries: &[],
        failures: &[],
    };

    fn messages(facts: &Facts<'_>) -> Vec<(String, bool)> {
        facts.attention().into_iter().map(|attention| (attention.message, attention.urgent)).collect()
    }

    #[test]
    fn what_needs_an_administrator_is_listed_the_urgent_first() {
        let reload = ReloadView { at: "now".into(), succeeded: false, error: Some("a: is wrong\n  hint: b".into()) };
        let accounts = [
            account("a@x", Some("missing")),
            account("b@x", Some("signed-in")),
            account("c@x", None),
            account("d@x", Some("refused")),
        ];
        let facts = Facts {
            last_reload: Some(&reload),
            accounts: &accounts,
            expiries: &[expiry(-1), expiry(29), expiry(30)],
            ..NOTHING
        };
        let all = messages(&facts);
        let all: Vec<_> = all.iter().map(|(message, urgent)| (&**message, *urgent)).collect();
        assert_eq!(
            all,
            [
                ("2 accounts need a sign-in: a@x, d@x", true),
                ("the secret expired on 2026-12-24", true),
                ("the changed configuration was rejected, the former one stays in use", false),
                ("the secret expires in 29 days, on 2026-12-24", false),
            ]
        );
        assert_eq!(facts.attention()[2].details, "a: is wrong\n  hint: b");
    }

    #[test]
    fn a_fault_of_many_accounts_is_listed_once_and_a_clients_own_not_at_all() {
        let failures = [
            failure(Cause::ClientCredentialUnusable, Actor::GatepostAdmin, "a@x", 10),
            failure(Cause::WrongPassword, Actor::ClientOwner, "b@x", 11),
            failure(Cause::ClientCredentialUnusable, Actor::GatepostAdmin, "c@x", 12),
            failure(Cause::ClientCredentialUnusable, Actor::GatepostAdmin, "c@x", 13),
            failure(Cause::Refused, Actor::M365Admin, "d@x", FAILURE_SECONDS + 1),
        ];
        let full = Facts { queue_failure: Some("the disk is full"), ..NOTHING };
        let waits = "messages of the queue wait, because it cannot be read or written";
        assert_eq!(messages(&full), [(waits.to_owned(), true)]);
        let what_to_do = "the disk is full. Gatepost admin: check the disk of the queue, and the log of the system";
        assert_eq!(full.attention()[0].details, what_to_do);
        let facts = Facts { failures: &failures, ..NOTHING };
        assert_eq!(messages(&facts), [("something is wrong with a@x (a@x, c@x)".to_owned(), true)]);
        let groups = groups(&failures);
        let counts: Vec<_> = groups.iter().map(|group| (group.count(), group.accounts())).collect();
        assert_eq!(counts, [(6, vec!["a@x", "c@x"]), (2, vec!["b@x"]), (2, vec!["d@x"])]);
        assert_eq!(groups[0].first(), "2026-11-30T10:00:46Z");
    }

    #[test]
    fn the_word_says_the_gravest() {
        let attention = [Attention { message: String::new(), details: String::new(), section: "", urgent: false }];
        let away = Facts { hindrance: Some("the store is away"), ..NOTHING };
        for (facts, draining, attention, health) in [
            (&NOTHING, false, &[][..], Health::Healthy),
            (&NOTHING, false, &attention, Health::NeedsAttention),
            (&away, false, &attention, Health::NotReady),
            (&away, true, &attention, Health::Stopping),
        ] {
            assert_eq!(facts.health(draining, attention), health);
        }
    }
}
