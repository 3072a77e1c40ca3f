//! What a client is told in place of an answer of Microsoft's.

use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};

use super::body::Answer;
use gatepost_core::cause::Cause;
use gatepost_core::failure::{Failure, Refusal};
use gatepost_proto::http::rules::HttpService;
use gatepost_proto::http::{basic, fault};

/// When to try again after a fault that passes, unless Microsoft says so.
const LATER: Duration = Duration::from_secs(30);

/// When to try again where all it takes is another request.
const SOON: Duration = Duration::from_secs(1);

/// A request that does not go on.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    /// For the client: never the other side's words.
    pub(super) message: String,
    /// When to try again.
    pub(super) wait: Option<Duration>,
    /// The methods that are served, with 405 (RFC 9110 §15.5.6).
    pub(super) allow: String,
    /// Nothing more is heard on this connection.
    pub(super) close: bool,
}

impl Refused {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), wait: None, allow: String::new(), close: false }
    }

    /// Also ends the connection.
    pub(super) fn and_close(self) -> Self {
        Self { close: true, ..self }
    }

    /// To be repeated at once: the token was stale, and the request could not be kept for a second try.
    pub(super) fn repeat() -> Self {
        let message = "The access token has just been renewed, repeat the request";
        Self { wait: Some(SOON), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message) }
    }

    /// To be repeated when the first login of the connection is decided: too much waits for that already.
    pub(super) fn before_login() -> Self {
        let message = "Too many requests at once before a login has succeeded, repeat the request";
        Self { wait: Some(SOON), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message) }
    }

    /// What a failure means in HTTP. A passing fault is never 401, which programs take for a wrong password.
    pub(super) fn of(failure: &Failure) -> Self {
        let (status, message, wait) = match failure.refusal {
            Refusal::InvalidCredentials => (StatusCode::UNAUTHORIZED, "Invalid user name or password", None),
            Refusal::NotAuthorized => (StatusCode::FORBIDDEN, "Not allowed to use this mailbox", None),
            Refusal::ContactAdmin => (
                StatusCode::FORBIDDEN,
                "Not possible before an administrator has acted, the password is not at fault",
                None,
            ),
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
        Self { wait, ..Self::new(status, message) }
    }

    /// The same for a fault on the way to Microsoft: 502.
    pub(super) fn of_way(failure: &Failure) -> Self {
        let refused = Self::of(failure);
        if refused.status == StatusCode::SERVICE_UNAVAILABLE {
            return Self { status: StatusCode::BAD_GATEWAY, ..refused };
        }
        refused
    }

    /// The whole answer, in the words of the service, with the session's name, by which the log can be searched.
    pub(super) fn answer(&self, service: HttpService, session: &str) -> Response<Answer> {
        let message = format!("{} (session {session})", self.message);
        let body = fault::body(service, self.status.as_u16(), &message, self.wait);
        let mut response = Response::new(Either::Left(Full::new(Bytes::from(body.text))));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(body.content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
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
