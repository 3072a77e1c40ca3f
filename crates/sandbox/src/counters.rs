//! What happened so far, counted for tests and for the demonstration.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::mode::Service;

/// Distinct names counted; what comes later is counted together under `(others)`.
const NAMES: usize = 10_000;

/// How often something was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// How many attempts went well.
    pub succeeded: u64,
    /// How many attempts were refused.
    pub refused: u64,
}

/// The counters of a sandbox at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// HTTP requests that reached the token endpoint's address, whatever became of them.
    pub http_requests: u64,
    /// Token requests that Entra judged, by grant (`password`, `client_credentials`) and by
    /// account: the user name as presented, folded, or the client id.
    pub token_requests: BTreeMap<(String, String), Attempts>,
    /// XOAUTH2 logins, by service and mailbox (the `user=` as presented, folded; empty when
    /// unreadable). A login that ends "authenticated but not connected" counts as refused.
    pub logins: BTreeMap<(Service, String), Attempts>,
    /// Calls to Graph and EWS, by service, mailbox (folded; empty when the token was refused) and
    /// name of the call: method and path behind the mailbox with `{id}` for each identifier
    /// (`GET /messages/{id}/$value`), or the EWS operation.
    pub calls: BTreeMap<(Service, String, String), u64>,
    /// The most calls that were under way together, by service and mailbox.
    pub concurrent_calls: BTreeMap<(Service, String), u64>,
    /// The SMTP sessions that are logged in: now, and the most at once, by mailbox.
    pub smtp_sessions: BTreeMap<String, (u64, u64)>,
    /// Messages handed over for sending, by service and mailbox.
    pub submissions: BTreeMap<(Service, String), Attempts>,
    /// TCP connections accepted.
    pub connections: BTreeMap<Service, u64>,
    /// TCP connections open now.
    pub open_connections: BTreeMap<Service, u64>,
}

impl Counters {
    /// The token requests of one account with one grant.
    pub fn token_requests_of(&self, grant: &str, account: &str) -> Attempts {
        self.token_requests.get(&(grant.to_owned(), account.to_lowercase())).copied().unwrap_or_default()
    }

    /// The logins to one mailbox.
    pub fn logins_of(&self, service: Service, mailbox: &str) -> Attempts {
        self.logins.get(&(service, mailbox.to_lowercase())).copied().unwrap_or_default()
    }

    /// How often a call was made for one mailbox, however it ended.
    pub fn calls_of(&self, service: Service, mailbox: &str, call: &str) -> u64 {
        self.calls.get(&(service, mailbox.to_lowercase(), call.to_owned())).copied().unwrap_or_default()
    }

    /// The messages that were handed over for sending out of one mailbox.
    pub fn submissions_of(&self, service: Service, mailbox: &str) -> Attempts {
        self.submissions.get(&(service, mailbox.to_lowercase())).copied().unwrap_or_default()
    }

    /// The most SMTP sessions of one mailbox that were logged in at once.
    pub fn most_smtp_sessions_of(&self, mailbox: &str) -> u64 {
        self.smtp_sessions.get(&mailbox.to_lowercase()).map_or(0, |(_, most)| *most)
    }

    /// TCP connections accepted by `service`.
    pub fn connections_to(&self, service: Service) -> u64 {
        self.connections.get(&service).copied().unwrap_or_default()
    }
}

/// The live counters.
#[derive(Default)]
pub(super) struct LiveCounters(Mutex<Counters>);

impl LiveCounters {
    pub(super) fn snapshot(&self) -> Counters {
        self.with(|counters| counters.clone())
    }

    pub(super) fn http_request(&self) {
        self.with(|counters| counters.http_requests += 1);
    }

    pub(super) fn token_request(&self, grant: &str, account: &str, succeeded: bool) {
        self.with(|c| count(&mut c.token_requests, (grant.to_owned(), account.to_lowercase()), others, succeeded));
    }

    pub(super) fn login(&self, service: Service, mailbox: &str, succeeded: bool) {
        let key = (service, mailbox.to_lowercase());
        self.with(|c| count(&mut c.logins, key, |_| (service, "(others)".to_owned()), succeeded));
    }

    pub(super) fn call(&self, service: Service, mailbox: &str, call: &str) {
        let key = (service, mailbox.to_lowercase(), call.to_owned());
        self.with(|counters| {
            let calls = &mut counters.calls;
            let full = calls.len() >= NAMES && !calls.contains_key(&key);
            let key = if full { (service, "(others)".to_owned(), String::new()) } else { key };
            *calls.entry(key).or_default() += 1;
        });
    }

    pub(super) fn concurrent_calls(&self, service: Service, mailbox: &str, now: u64) {
        self.with(|counters| {
            let peaks = &mut counters.concurrent_calls;
            let key = (service, mailbox.to_lowercase());
            if peaks.len() < NAMES || peaks.contains_key(&key) {
                let peak = peaks.entry(key).or_default();
                *peak = now.max(*peak);
            }
        });
    }

    pub(super) fn smtp_session_opened(&self, mailbox: &str) {
        self.with(|counters| {
            let (now, most) = counters.smtp_sessions.entry(mailbox.to_owned()).or_default();
            *now += 1;
            *most = (*now).max(*most);
        });
    }

    pub(super) fn smtp_session_closed(&self, mailbox: &str) {
        self.with(|counters| counters.smtp_sessions.entry(mailbox.to_owned()).or_default().0 -= 1);
    }

    pub(super) fn submission(&self, service: Service, mailbox: &str, accepted: bool) {
        let key = (service, mailbox.to_lowercase());
        self.with(|c| count(&mut c.submissions, key, |_| (service, "(others)".to_owned()), accepted));
    }

    pub(super) fn connection_opened(&self, service: Service) {
        self.with(|counters| {
            *counters.connections.entry(service).or_default() += 1;
            *counters.open_connections.entry(service).or_default() += 1;
        });
    }

    pub(super) fn connection_closed(&self, service: Service) {
        self.with(|counters| *counters.open_connections.entry(service).or_default() -= 1);
    }

    fn with<R>(&self, work: impl FnOnce(&mut Counters) -> R) -> R {
        work(&mut self.0.lock())
    }
}

fn others((grant, _): (String, String)) -> (String, String) {
    (grant, "(others)".to_owned())
}

fn count<K: Ord>(map: &mut BTreeMap<K, Attempts>, key: K, overflow: impl FnOnce(K) -> K, succeeded: bool) {
    let key = if map.len() >= NAMES && !map.contains_key(&key) { overflow(key) } else { key };
    let attempts = map.entry(key).or_default();
    if succeeded {
        attempts.succeeded += 1;
    } else {
        attempts.refused += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_folded_and_their_number_is_bounded() {
        let tally = LiveCounters::default();
        tally.token_request("password", "Alice@contoso.example", true);
        for index in 0..NAMES + 5 {
            tally.token_request("password", &format!("user{index}@contoso.example"), false);
        }
        let counters = tally.snapshot();
        assert_eq!(
            counters.token_requests_of("password", "ALICE@contoso.example"),
            Attempts { succeeded: 1, refused: 0 }
        );
        assert_eq!(counters.token_requests_of("password", "(others)").refused, 6);
        assert_eq!(counters.token_requests.len(), NAMES + 1);
    }
}
