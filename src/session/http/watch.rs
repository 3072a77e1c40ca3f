//! Notes what Microsoft refuses in the answers that pass. Nothing is held back or changed: of an
//! answer that may be a refusal, a copy of its beginning is searched for Microsoft's own code.

use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::CONTENT_ENCODING;

use crate::session::connection_info::ConnectionInfo;
use crate::session::journal::Journal;
use gatepost_config::Origin;
use gatepost_core::cause::Cause;
use gatepost_core::escape::escaped;
use gatepost_core::failure::{Actor, Failure, Refusal};
use gatepost_core::protocol::Protocol;
use gatepost_proto::http::error_code;
use gatepost_proto::http::rules::HttpService;

/// How much of an answer is looked at. Graph has the code in the first 100 bytes, EWS within 1,000.
const HEAD: usize = 2 * 1024;

/// Longest ID of a request that is shown. Microsoft's has 36 characters.
const ID: usize = 64;

/// The codes of EWS that refuse a request whose answer has status 200.
const REFUSALS: [&str; 5] = [
    "ErrorAccessDenied",
    "ErrorImpersonateUserDenied",
    "ErrorNonExistentMailbox",
    "ErrorSendAsDenied",
    "ErrorServerBusy",
];

/// What is known of the answer to one request.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub(super) service: HttpService,
    pub(super) origin: Origin,
    /// The mailbox that the request is for.
    pub(super) mailbox: String,
    pub(super) status: u16,
    /// Microsoft's ID of the request, for a support case.
    pub(super) request_id: Option<String>,
    /// Whether the body is compressed, so that only the status says something.
    pub(super) is_encoded: bool,
}

/// Watches one answer while it passes.
pub(super) struct AnswerWatch {
    journal: Arc<Journal>,
    protocol: Protocol,
    subject: ConnectionInfo,
    account: String,
    answered: Answered,
    head: Vec<u8>,
    is_over: bool,
}

impl AnswerWatch {
    /// Watches an answer to a request of `account`.
    pub(super) fn new(
        journal: Arc<Journal>,
        protocol: Protocol,
        subject: ConnectionInfo,
        account: String,
        answered: Answered,
    ) -> Self {
        Self { journal, protocol, subject, account, answered, head: Vec::new(), is_over: false }
    }

    /// Notes bytes of the body.
    pub(super) fn saw(&mut self, octets: &[u8]) {
        if self.is_over {
            return;
        }
        let room = HEAD.saturating_sub(self.head.len());
        self.head.extend(octets.iter().take(room));
        if self.head.len() >= HEAD || self.answered.code(&self.head).is_some() {
            self.tell();
        }
    }

    fn tell(&mut self) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let head = std::mem::take(&mut self.head);
        if let Some(failure) = self.answered.failure(self.answered.code(&head)) {
            self.journal.request_failed(self.protocol, &self.subject, &self.account, &failure);
        }
    }
}

impl Drop for AnswerWatch {
    fn drop(&mut self) {
        self.tell();
    }
}

impl Answered {
    /// Whether such an answer may be a refusal.
    pub(super) fn may_refuse(&self) -> bool {
        match self.service {
            HttpService::Ews => self.status == 200 && !self.is_encoded || self.status >= 400,
            HttpService::Graph => self.status >= 400,
        }
    }

    fn code<'h>(&self, head: &'h [u8]) -> Option<&'h str> {
        if self.is_encoded { None } else { error_code::find(self.service, head) }
    }

    /// Explains the answer. `None` if it is no refusal, or one that a client meets in normal life,
    /// such as an item that is gone.
    fn failure(&self, code: Option<&str>) -> Option<Failure> {
        let Self { service, mailbox, status, .. } = self;
        if *status == 200 && !code.is_some_and(|code| REFUSALS.contains(&code)) {
            return None;
        }
        // Status 500 alone does not tell a failure of the server from a fault of the request.
        if *status == 500 && self.is_encoded {
            return None;
        }
        let who = match service {
            HttpService::Graph => "Microsoft Graph",
            HttpService::Ews => "Exchange Online",
        };
        let said = self.said(code);
        let failure = |cause, what: &str| {
            Some(
                Failure::new(cause, format!("{who} {what} mailbox `{mailbox}`: {said}"))
                    .coded(code.map_or_else(|| status.to_string(), str::to_owned)),
            )
        };
        match (status, code.unwrap_or_default()) {
            (_, "ErrorServerBusy") | (429, _) => failure(Cause::Throttled, "delays requests for"),
            (_, "ErrorSendAsDenied") => failure(Cause::SendAsDenied, "refused to send another address from")
                .map(|failure| failure.answered(Refusal::NotAuthorized)),
            (_, "MailboxNotEnabledForRESTAPI") => failure(Cause::NoMailbox, "has no"),
            // The request names the mailbox. It need not be the one of the account.
            (_, "ErrorInvalidUser" | "ErrorNonExistentMailbox") => {
                let message = format!("a mailbox that `{mailbox}` asked for does not exist: {said}");
                failure(Cause::NoMailbox, "has no").map(|failure| {
                    Failure { message, ..failure }
                        .answered(Refusal::NotAuthorized)
                        .by(Actor::ClientOwner)
                        .to_do("correct the address of that mailbox in the client")
                })
            }
            (403, _) | (_, "ErrorAccessDenied" | "ErrorImpersonateUserDenied") => {
                failure(Cause::RequestDenied, "refused a request for")
            }
            (503, _) => failure(Cause::UpstreamUnavailable, "is not available for"),
            // A SOAP fault has status 500 for faults of both sides.
            (500.., code) if code.starts_with("Error") && !code.starts_with("ErrorInternalServer") => {
                failure(Cause::RequestRefused, "did not accept a request for")
                    .map(|failure| failure.by(Actor::ClientOwner).to_do("correct the request as Microsoft's code says"))
            }
            (500.., _) => failure(Cause::UpstreamFailed, "failed on a request for"),
            _ => None,
        }
    }

    fn said(&self, code: Option<&str>) -> String {
        let code = code.map_or_else(String::new, |code| format!(" `{code}`"));
        let id = self.request_id.as_deref().map_or_else(String::new, |id| format!(", request-id {id}"));
        format!("{} replied HTTP {}{code}{id}", self.origin, self.status)
    }
}

/// Returns Microsoft's ID of a request.
pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("request-id").or_else(|| headers.get("x-ms-request-id"))?;
    Some(escaped(id.as_bytes(), ID))
}

/// Whether the body of an answer is compressed.
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(service: HttpService, status: u16) -> Answered {
        let origin = Origin { host: "localhost".into(), port: 443, name: "localhost".into() };
        let mailbox = "a@contoso.com".into();
        Answered { service, origin, mailbox, status, request_id: Some("0a1b".into()), is_encoded: false }
    }

    #[test]
    fn of_a_compressed_answer_only_the_status_counts() {
        for (status, expected) in [
            (200, None),
            (500, None),
            (403, Some(Cause::RequestDenied)),
            (429, Some(Cause::Throttled)),
            (503, Some(Cause::UpstreamUnavailable)),
        ] {
            let answered = Answered { is_encoded: true, ..answered(HttpService::Ews, status) };
            assert_eq!(answered.failure(answered.code(b"\x1f\x8b")).map(|failure| failure.cause), expected, "{status}");
        }
        let headers = |coding| HeaderMap::from_iter([(CONTENT_ENCODING, coding)]);
        assert!(is_encoded(&headers(hyper::header::HeaderValue::from_static("gzip"))));
        assert!(!is_encoded(&headers(hyper::header::HeaderValue::from_static("identity"))));
    }

    fn failures(journal: &Journal) -> Vec<String> {
        journal.failures().iter().map(|recent| recent.code.clone().unwrap_or_default().into()).collect()
    }

    #[test]
    fn a_code_is_noted_once_and_at_once_if_it_is_near_the_beginning() {
        let code = b"<s:Fault><e:ResponseCode xmlns:e=\"x\">ErrorAccessDenied</e:ResponseCode>";
        for (blanks, is_noted) in [(0, true), (HEAD - code.len(), true), (HEAD - 20, false), (HEAD, false)] {
            let journal = Journal::new(None);
            let subject = ConnectionInfo::new(&"ews".into(), "192.0.2.7:4000".parse().unwrap());
            let answered = answered(HttpService::Ews, 200);
            let account = "a@contoso.com".to_owned();
            let mut watch = AnswerWatch::new(Arc::clone(&journal), Protocol::Ews, subject, account, answered);
            for octet in " ".repeat(blanks).bytes().chain(*code) {
                watch.saw(&[octet]);
            }
            let expected = if is_noted { vec!["ErrorAccessDenied".to_owned()] } else { vec![] };
            assert_eq!(failures(&journal), expected, "{blanks}");
            watch.saw(code);
            drop(watch);
            assert_eq!(failures(&journal), expected, "{blanks}");
        }
    }

    #[test]
    fn an_answer_that_ends_without_a_code_is_noted_by_its_status() {
        let journal = Journal::new(None);
        let subject = ConnectionInfo::new(&"graph".into(), "192.0.2.7:4000".parse().unwrap());
        let answered = answered(HttpService::Graph, 503);
        let account = "a@contoso.com".to_owned();
        let mut watch = AnswerWatch::new(Arc::clone(&journal), Protocol::Graph, subject, account, answered);
        watch.saw(b"later");
        assert!(failures(&journal).is_empty());
        drop(watch);
        assert_eq!(failures(&journal), ["503"]);
    }

    #[test]
    fn what_may_be_a_refusal_depends_on_the_service_and_the_status() {
        use HttpService::{Ews, Graph};
        for (service, status, is_encoded, may) in [
            (Ews, 200, false, true),
            (Ews, 200, true, false),
            (Ews, 201, false, false),
            (Ews, 399, false, false),
            (Ews, 400, true, true),
            (Graph, 200, false, false),
            (Graph, 399, false, false),
            (Graph, 400, false, true),
        ] {
            let answered = Answered { is_encoded, ..answered(service, status) };
            assert_eq!(answered.may_refuse(), may, "{service:?} {status}");
        }
    }

    #[test]
    fn the_id_of_a_request_is_under_either_name_and_may_be_missing() {
        let value = hyper::header::HeaderValue::from_static;
        let headers = |fields: &[(&'static str, &'static str)]| {
            let fields = fields.iter().map(|(name, text)| (hyper::header::HeaderName::from_static(name), value(text)));
            request_id(&fields.collect())
        };
        assert_eq!(headers(&[]), None);
        assert_eq!(headers(&[("x-ms-request-id", "2")]).as_deref(), Some("2"));
        assert_eq!(headers(&[("x-ms-request-id", "2"), ("request-id", "1")]).as_deref(), Some("1"));
        let answered = Answered { request_id: None, ..answered(HttpService::Graph, 429) };
        let failure = answered.failure(None).unwrap();
        let said = "Microsoft Graph delays requests for mailbox `a@contoso.com`: localhost:443 replied HTTP 429";
        assert_eq!((failure.message.as_str(), failure.code.as_deref()), (said, Some("429")));
    }

    #[test]
    fn a_wrong_address_in_a_request_is_not_blamed_on_the_mailbox_of_the_account() {
        let failure = answered(HttpService::Graph, 404).failure(Some("ErrorInvalidUser")).unwrap();
        assert!(failure.message.starts_with("a mailbox that `a@contoso.com` asked for does not exist: "), "{failure}");
        assert_eq!((failure.refusal, failure.actor), (Refusal::NotAuthorized, Actor::ClientOwner));
    }

    #[test]
    fn each_refusal_has_microsofts_code_and_a_cause() {
        use Actor::{ClientOwner, M365Admin, Nobody};
        use HttpService::{Ews, Graph};
        let graph = |code: &str| format!("{{ \"error\" : {{\"code\": \"{code}\",\"message\":\"no\"}}}}");
        let ews = |code: &str| format!("<s:Fault><detail><e:ResponseCode xmlns:e=\"x\">{code}</e:ResponseCode>");
        for (service, status, code, expected) in [
            (Graph, 403, "ErrorAccessDenied", Some((Cause::RequestDenied, M365Admin))),
            (Graph, 403, "Authorization_RequestDenied", Some((Cause::RequestDenied, M365Admin))),
            (Graph, 403, "ErrorSendAsDenied", Some((Cause::SendAsDenied, M365Admin))),
            (Graph, 404, "MailboxNotEnabledForRESTAPI", Some((Cause::NoMailbox, M365Admin))),
            (Graph, 404, "ErrorItemNotFound", None),
            (Graph, 400, "BadRequest", None),
            (Graph, 429, "ApplicationThrottled", Some((Cause::Throttled, Nobody))),
            (Graph, 500, "ErrorInternalServerError", Some((Cause::UpstreamFailed, Nobody))),
            (Graph, 503, "ServiceUnavailable", Some((Cause::UpstreamUnavailable, Nobody))),
            (Graph, 504, "UnknownError", Some((Cause::UpstreamFailed, Nobody))),
            (Ews, 200, "NoError", None),
            (Ews, 200, "ErrorItemNotFound", None),
            (Ews, 200, "ErrorAccessDenied", Some((Cause::RequestDenied, M365Admin))),
            (Ews, 500, "ErrorImpersonateUserDenied", Some((Cause::RequestDenied, M365Admin))),
            (Ews, 500, "ErrorSchemaValidation", Some((Cause::RequestRefused, ClientOwner))),
            (Ews, 500, "ErrorServerBusy", Some((Cause::Throttled, Nobody))),
            (Ews, 200, "ErrorServerBusy", Some((Cause::Throttled, Nobody))),
            (Ews, 200, "ErrorSendAsDenied", Some((Cause::SendAsDenied, M365Admin))),
            (Ews, 200, "ErrorImpersonateUserDenied", Some((Cause::RequestDenied, M365Admin))),
            (Ews, 200, "ErrorNonExistentMailbox", Some((Cause::NoMailbox, ClientOwner))),
            (Ews, 500, "ErrorInternalServerTransientError", Some((Cause::UpstreamFailed, Nobody))),
            (Ews, 501, "ErrorSchemaValidation", Some((Cause::RequestRefused, ClientOwner))),
            (Graph, 499, "Unknown", None),
        ] {
            let answered = answered(service, status);
            let body = if service == Graph { graph(code) } else { ews(code) };
            let found = answered.code(body.as_bytes());
            assert_eq!(found, Some(code));
            let failure = answered.failure(found);
            let seen = failure.as_ref().map(|failure| (failure.cause, failure.actor));
            assert_eq!(seen, expected, "{status} {code}");
            if let Some(Failure { message, .. }) = failure {
                assert!(message.ends_with(&format!("HTTP {status} `{code}`, request-id 0a1b")), "{message}");
            }
        }
    }
}
