//! Answers that the client gets in place of one from Microsoft.

use std::borrow::Cow;
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};

use super::body::Answer;
use gatepost_core::cause::Cause;
use gatepost_core::failure::{Actor, Failure, Refusal};
use gatepost_proto::http::rules::HttpService;
use gatepost_proto::http::{basic, fault};

/// When to try again after a temporary failure, unless Microsoft says when.
const LATER: Duration = Duration::from_secs(30);

/// When to try again where a repeated request is enough.
const SOON: Duration = Duration::from_secs(1);

/// A refused request.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    /// The text for the client. It never repeats the other side's text.
    pub(super) message: String,
    /// When to try again.
    pub(super) wait: Option<Duration>,
    /// The methods that are served, with 405 (RFC 9110 §15.5.6).
    pub(super) allow: String,
    /// The connection is closed after the answer.
    pub(super) close: bool,
    /// Why, and what to do, unless the log has the refusal already or needs no line about it.
    pub(super) unlogged: Option<Box<Failure>>,
}

impl Refused {
    /// Refuses a request that is not of a form that is served.
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self::because(Cause::Refused, status, message)
    }

    /// Refuses a request for this cause.
    pub(super) fn because(cause: Cause, status: StatusCode, message: impl Into<String>) -> Self {
        let message = message.into();
        let failure = Failure::new(cause, message.clone());
        let unlogged = Some(Box::new(match failure.remedy.is_empty() {
            true => failure.by(Actor::ClientOwner).to_do("check the client and its network"),
            false => failure,
        }));
        Self { status, message, wait: None, allow: String::new(), close: false, unlogged }
    }

    /// Tells in the log who must act, and what to do.
    pub(super) fn mended_by(self, actor: Actor, remedy: impl Into<Cow<'static, str>>) -> Self {
        Self { unlogged: self.unlogged.map(|failure| Box::new(failure.by(actor).to_do(remedy))), ..self }
    }

    /// Tells in the log what happened in more words than the client is told.
    pub(super) fn logged_as(self, message: String) -> Self {
        Self { unlogged: self.unlogged.map(|failure| Box::new(Failure { message, ..*failure })), ..self }
    }

    /// Asks for a user name and a password. Many libraries send their first request without, so
    /// the log has no line about it.
    pub(super) fn challenge() -> Self {
        Self { unlogged: None, ..Self::new(StatusCode::UNAUTHORIZED, "A user name and a password are needed") }
    }

    /// A fault of Gatepost.
    pub(super) fn broken(cause: Cause) -> Self {
        Self::because(cause, StatusCode::INTERNAL_SERVER_ERROR, "Internal error, try again later")
    }

    /// Also closes the connection.
    pub(super) fn and_close(self) -> Self {
        Self { close: true, ..self }
    }

    /// The request must be repeated at once: the token was stale, and the body was not kept for a
    /// second try.
    pub(super) fn repeat() -> Self {
        let message = "The access token has just been renewed, repeat the request";
        Self { wait: Some(SOON), ..Self::because(Cause::TokenRefused, StatusCode::SERVICE_UNAVAILABLE, message) }
    }

    /// The request must be repeated after the first login of the connection is decided, because too
    /// many requests wait for it already.
    pub(super) fn before_login() -> Self {
        let message = "Too many requests at once before a login has succeeded, repeat the request";
        Self { wait: Some(SOON), ..Self::because(Cause::TooManyCommands, StatusCode::SERVICE_UNAVAILABLE, message) }
    }

    /// Returns the HTTP answer to a failure that the journal has. A temporary failure is never 401,
    /// which programs take for a wrong password.
    pub(super) fn of(failure: &Failure) -> Self {
        let (status, message, wait) = match failure.refusal {
            Refusal::InvalidCredentials => (StatusCode::UNAUTHORIZED, "Invalid user name or password", None),
            Refusal::NotAuthorized => (StatusCode::FORBIDDEN, "Not allowed to use this mailbox", None),
            Refusal::ContactAdmin => {
                (StatusCode::FORBIDDEN, "An administrator needs to fix this. Your password is not the problem", None)
            }
            Refusal::Unavailable => {
                let status = match failure.cause {
                    Cause::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
                    _ => StatusCode::SERVICE_UNAVAILABLE,
                };
                (status, "Temporarily unavailable, try again later", Some(LATER))
            }
            Refusal::Limit => (
                StatusCode::TOO_MANY_REQUESTS,
                "Too many requests for this mailbox at once, try again later",
                Some(LATER),
            ),
            Refusal::ServerBug => (StatusCode::INTERNAL_SERVER_ERROR, "Internal error, try again later", None),
        };
        Self { wait, unlogged: None, ..Self::new(status, message) }
    }

    /// Returns the answer to a failed connection to Microsoft: 502.
    pub(super) fn of_way(failure: &Failure) -> Self {
        let refused = Self::of(failure);
        if refused.status == StatusCode::SERVICE_UNAVAILABLE {
            return Self { status: StatusCode::BAD_GATEWAY, ..refused };
        }
        refused
    }

    /// Returns the whole answer in the format of the service, with the session's id for searching
    /// the log.
    pub(super) fn answer(&self, service: HttpService, session: &str) -> Response<Answer> {
        let message = format!("{} (session {session})", self.message);
        let mut response = respond(self.status, fault::body(service, self.status.as_u16(), &message, self.wait));
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(basic::CHALLENGE));
        }
        if let Some(allow) = HeaderValue::from_str(&self.allow).ok().filter(|allow| !allow.is_empty()) {
            headers.insert(ALLOW, allow);
        }
        if let Some(wait) = self.wait {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        response
    }
}

/// Returns an answer of Gatepost's own.
pub(super) fn respond(status: StatusCode, body: fault::Body) -> Response<Answer> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(body.text))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(body.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_wrong_credentials_are_answered_with_401_and_only_what_passes_has_a_time_to_wait() {
        for (refusal, cause, status, wait) in [
            (Refusal::InvalidCredentials, Cause::WrongPassword, 401, None),
            (Refusal::NotAuthorized, Cause::NoMailbox, 403, None),
            (Refusal::ContactAdmin, Cause::EwsBarred, 403, None),
            (Refusal::Unavailable, Cause::UpstreamTimeout, 504, Some(30)),
            (Refusal::Unavailable, Cause::EntraUnreachable, 503, Some(30)),
            (Refusal::Limit, Cause::MailboxOccupied, 429, Some(30)),
            (Refusal::ServerBug, Cause::InternalError, 500, None),
        ] {
            let failure = Failure::new(cause, "it did not work").answered(refusal);
            let refused = Refused::of(&failure);
            let seen = (refused.status.as_u16(), refused.wait.map(|wait| wait.as_secs()));
            assert_eq!(seen, (status, wait), "{refusal:?}");
            assert!(refused.unlogged.is_none() && !refused.close);
            let way = Refused::of_way(&failure);
            assert_eq!(way.status.as_u16(), if status == 503 { 502 } else { status }, "{refusal:?}");
            let answer = refused.answer(HttpService::Graph, "s1");
            let field = |name| answer.headers().get(name).map(|value| value.to_str().unwrap());
            assert_eq!(field(WWW_AUTHENTICATE).is_some(), status == 401, "{refusal:?}");
            assert_eq!(field(RETRY_AFTER), wait.map(|_| "30"), "{refusal:?}");
            assert_eq!((field(CACHE_CONTROL), field(ALLOW)), (Some("no-store"), None));
        }
    }

    #[test]
    fn a_refusal_says_when_to_come_again_and_which_methods_are_served() {
        let refused = Refused { allow: "GET, POST".into(), wait: Some(Duration::ZERO), ..Refused::before_login() };
        let answer = refused.answer(HttpService::Ews, "s1");
        assert_eq!((answer.status(), answer.headers()[ALLOW].to_str().unwrap()), (refused.status, "GET, POST"));
        assert_eq!(answer.headers()[RETRY_AFTER], "1");
        for (refused, cause) in
            [(Refused::before_login(), Cause::TooManyCommands), (Refused::repeat(), Cause::TokenRefused)]
        {
            assert_eq!((refused.status.as_u16(), refused.wait), (503, Some(SOON)));
            assert_eq!(refused.unlogged.unwrap().cause, cause);
        }
        assert!(Refused::challenge().unlogged.is_none());
        assert!(Refused::broken(Cause::InternalError).and_close().close);
    }

    #[test]
    fn the_log_may_say_more_than_the_client_is_told() {
        let refused = Refused::new(StatusCode::FORBIDDEN, "no");
        let failure = refused.unlogged.as_ref().unwrap();
        assert_eq!((failure.actor, &*failure.remedy), (Actor::ClientOwner, "correct the settings of the client"));
        let refused = refused.logged_as("not this host".into()).mended_by(Actor::GatepostAdmin, "name it");
        let failure = refused.unlogged.unwrap();
        assert_eq!((failure.actor, &*failure.remedy), (Actor::GatepostAdmin, "name it"));
        assert_eq!((&*failure.message, &*refused.message), ("not this host", "no"));
    }
}
