//! Reads answers in which Graph refuses a request.

use std::time::{Duration, SystemTime};

use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use gatepost_core::clock::system_time;
use gatepost_core::escape::escaped;
use gatepost_oauth::retry;

/// Most octets read of an answer that is only of use to people.
const BODY_OCTETS: usize = 64 * 1_024;
/// Longest excerpts of its code and message.
const CODE_OCTETS: usize = 80;
const MESSAGE_OCTETS: usize = 300;

/// An answer, as far as it can be read: `{"error":{"code":"ErrorAccessDenied","message":"…"}}`
/// (Microsoft, "Microsoft Graph error responses"). Its texts are printable ASCII, and short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Microsoft's error code; `None` when the body is not one of Graph's.
    pub code: Option<String>,
    /// Microsoft's message.
    pub message: String,
    /// The id of the request at Microsoft; `None` if the answer comes from another server.
    pub request_id: Option<String>,
    /// How long to pause requests for the mailbox, an hour at most.
    pub retry_after: Option<Duration>,
}

impl Answer {
    /// Returns Microsoft's code, or else the HTTP status.
    pub(super) fn mark(&self) -> String {
        self.code.clone().unwrap_or_else(|| self.status.to_string())
    }

    /// Reads an answer. A body that is late, too long, or no JSON is left out, because the status
    /// says enough.
    pub async fn read(response: Response<Incoming>, deadline: Instant) -> Self {
        let (head, mut incoming) = response.into_parts();
        let mut body = Vec::new();
        while let Ok(Some(Ok(frame))) = timeout_at(deadline, incoming.frame()).await {
            let piece = frame.data_ref().map_or(&b""[..], Bytes::as_ref);
            if body.len() + piece.len() > BODY_OCTETS {
                break;
            }
            body.extend_from_slice(piece);
        }
        Self::new(head.status.as_u16(), &head.headers, &body, system_time())
    }

    fn new(status: u16, headers: &HeaderMap, body: &[u8], now: SystemTime) -> Self {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let plain =
            |id: &&str| id.len() <= 64 && id.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
        let said = serde_json::from_slice(body).map(|ErrorBody { error }| error).unwrap_or_default();
        Self {
            status,
            code: said.code.filter(|code| !code.is_empty()).map(|code| escaped(code.as_bytes(), CODE_OCTETS)),
            message: escaped(said.message.unwrap_or_default().as_bytes(), MESSAGE_OCTETS),
            request_id: header("request-id").filter(plain).map(str::to_owned),
            retry_after: header(RETRY_AFTER.as_str()).and_then(|value| retry::retry_after(value, now)),
        }
    }

    /// Whether Microsoft's error code is one of these.
    pub fn says(&self, words: &[&str]) -> bool {
        self.code.as_deref().is_some_and(|code| words.contains(&code))
    }

    /// Returns its text, for the log.
    pub(crate) fn words(&self) -> String {
        let Self { status, code, message, request_id, .. } = self;
        let words = [code.as_deref().unwrap_or_default(), message];
        let words: Vec<_> = words.into_iter().filter(|words| !words.is_empty()).collect();
        let words = if words.is_empty() { String::new() } else { format!(" `{}`", words.join(": ")) };
        let id = request_id.as_deref().map(|id| format!(", request-id {id}")).unwrap_or_default();
        format!("HTTP {status}{words}{id}")
    }

    /// Whether it comes from Graph, not from an intermediary that answered in its place.
    pub fn is_graphs(&self) -> bool {
        self.code.is_some() || self.request_id.is_some()
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    error: Said,
}

#[derive(Default, Deserialize)]
struct Said {
    code: Option<String>,
    message: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(headers: &[(&'static str, &str)], body: &str) -> Answer {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        Answer::new(403, &map, body.as_bytes(), SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn microsofts_words_are_taken_over() {
        let body = r#"{"error":{"code":"ErrorAccessDenied","message":"Access is denied.","innerError":{"date":"x"}}}"#;
        let headers = [("request-id", "0a1b-2c"), ("retry-after", "120")];
        let expected = Answer {
            status: 403,
            code: Some("ErrorAccessDenied".into()),
            message: "Access is denied.".into(),
            request_id: Some("0a1b-2c".into()),
            retry_after: Some(Duration::from_secs(120)),
        };
        assert_eq!(answer(&headers, body), expected);
        assert!(expected.says(&["Other", "ErrorAccessDenied"]) && !expected.says(&["ErrorAccess"]));
    }

    #[test]
    fn what_somebody_else_says_is_left_out() {
        for body in
            ["", "<html>", "[]", "{}", r#"{"error":"no"}"#, r#"{"error":{"code":1}}"#, r#"{"error":{"message":""}}"#]
        {
            let answer = answer(&[("request-id", "a b"), ("retry-after", "soon")], body);
            assert_eq!(answer, Answer { status: 403, ..Answer::default() }, "{body}");
            assert!(!answer.is_graphs());
        }
    }

    #[test]
    fn hostile_words_are_made_harmless() {
        let body = format!(r#"{{"error":{{"code":"A\r\nB","message":"{}"}}}}"#, r"\u001bx".repeat(500));
        let answer = answer(&[("request-id", &"a".repeat(65))], &body);
        assert_eq!(answer.code.as_deref(), Some(r"A\x0d\x0aB"));
        let Answer { message, request_id, .. } = answer;
        assert!(message.len() <= MESSAGE_OCTETS + 3 && message.bytes().all(|octet| octet.is_ascii_graphic()));
        assert_eq!(request_id, None);
    }
}
