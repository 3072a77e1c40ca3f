//! The requests that reached a token service, as a test looks at them.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use parking_lot::Mutex;

/// How many requests are remembered; the oldest make room.
const REQUESTS: usize = 1_000;

/// Parameters whose values are no secrets.
const HARMLESS: [&str; 13] = [
    "access_type",
    "client_id",
    "code_challenge_method",
    "error",
    "grant_type",
    "login_hint",
    "nonce",
    "prompt",
    "redirect_uri",
    "response_type",
    "scope",
    "token_type_hint",
    "username",
];

/// A request that reached a token service. `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SeenRequest {
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// The parameters of query and form.
    pub parameters: BTreeMap<String, String>,
    /// Whether the client authenticated by HTTP Basic.
    pub has_basic: bool,
}

impl SeenRequest {
    /// The value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }
}

impl fmt::Debug for SeenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(name, value): (&String, &String)| {
            (name.clone(), if HARMLESS.contains(&name.as_str()) { value.clone() } else { "(hidden)".to_owned() })
        };
        f.debug_struct("SeenRequest")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("parameters", &self.parameters.iter().map(shown).collect::<BTreeMap<_, _>>())
            .field("has_basic", &self.has_basic)
            .finish()
    }
}

/// The latest requests.
#[derive(Default)]
pub(crate) struct Seen(Mutex<VecDeque<SeenRequest>>);

impl Seen {
    pub(crate) fn record(&self, request: SeenRequest) {
        let mut seen = self.0.lock();
        if seen.len() >= REQUESTS {
            seen.pop_front();
        }
        seen.push_back(request);
    }

    pub(crate) fn all(&self) -> Vec<SeenRequest> {
        self.0.lock().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_shows_no_secret() {
        let of = |pairs: &[(&str, &str)]| pairs.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect();
        let parameters =
            of(&[("grant_type", "refresh_token"), ("refresh_token", "s3cret"), ("client_secret", "s3cret")]);
        let request = SeenRequest { method: "POST".into(), path: "/token".into(), parameters, has_basic: false };
        let shown = format!("{request:?}");
        assert!(!shown.contains("s3cret") && shown.contains("client_secret"), "{shown}");
        assert!(shown.contains("\"grant_type\": \"refresh_token\""), "{shown}");
        assert_eq!(request.parameter("refresh_token"), Some("s3cret"), "a test may look at it");
    }

    #[test]
    fn the_oldest_requests_make_room() {
        let seen = Seen::default();
        for number in 0..=REQUESTS {
            let path = number.to_string();
            seen.record(SeenRequest { method: "GET".into(), path, parameters: BTreeMap::new(), has_basic: false });
        }
        let all = seen.all();
        assert_eq!((all.len(), all[0].path.as_str()), (REQUESTS, "1"));
    }
}
