//! Passes an answer of Microsoft on to the client.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::Either;
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_LOCATION, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{HeaderMap, Response, StatusCode};

use super::answer::Refused;
use super::body::{Answer, Download};
use super::prepare::is_of_type;
use super::watch::{self, AnswerWatch, Answered};
use super::{Connection, Traffic, failures};
use crate::login::AuthorizedLogin;
use crate::session::mailbox_slots::MailboxPermit;
use gatepost_core::cause::Cause;
use gatepost_proto::http::fields;
use gatepost_proto::http::links::{Destination, Places};
use gatepost_proto::http::rules::HttpService;

impl Connection {
    /// Notes a message that Graph has accepted. What clients send by EWS is not looked at.
    pub(super) fn note_sent(&self, path: &str, response: &Response<Incoming>, admission: &AuthorizedLogin) {
        if response.status() == StatusCode::ACCEPTED && path.ends_with("/sendMail") {
            self.shared.journal.passed(self.protocol(), &self.subject, admission.login.as_str(), None);
        }
    }

    /// Passes an answer on.
    pub(super) fn pass(
        &self,
        response: Response<Incoming>,
        admission: &AuthorizedLogin,
        traffic: &Traffic,
        of_mailbox: MailboxPermit,
        here: &str,
    ) -> Result<Response<Answer>, Refused> {
        let config = &self.gateway.config;
        let (mut parts, body) = response.into_parts();
        let status = parts.status;
        if status == StatusCode::FORBIDDEN && config.service == HttpService::Ews {
            let application = &admission.account.application.client_id;
            let failure = failures::ews_barred(&config.origin, application, &parts.headers);
            self.log_refused(admission.login.as_str(), &failure);
            let message = "Exchange Web Services are turned off or blocked for this mailbox or application. Microsoft \
                           ends them on 1 April 2027";
            return Err(Refused { message: message.to_owned(), ..Refused::of(&failure) });
        }
        // The description of EWS (`Services.wsdl` and its schemas) is XML of any of these types.
        let xml = ["text/xml", "application/soap+xml", "application/xml", "application/wsdl+xml"];
        let is_xml = is_of_type(&parts.headers, &xml);
        // A page of a proxy or web filter, because Exchange answers in XML.
        if config.service == HttpService::Ews && status.is_success() && !is_xml {
            let failure = failures::no_ews(&config.origin);
            self.log_refused(admission.login.as_str(), &failure);
            return Err(Refused::of_way(&failure));
        }
        fields::to_client(&mut parts.headers);
        let places = Places::new(&config.origin.name, config.origin.port, here);
        for name in [LOCATION, CONTENT_LOCATION] {
            let Some(value) = parts.headers.remove(&name) else { continue };
            let rewritten = match value.to_str().map(|address| places.destination(address)) {
                Ok(Destination::Here(address)) => HeaderValue::from_str(&address).ok(),
                Ok(Destination::Relative) => Some(value),
                Ok(Destination::Elsewhere) | Err(_) => None,
            };
            match rewritten {
                Some(value) => {
                    parts.headers.insert(name, value);
                }
                None if status.is_redirection() => {
                    let failure = failures::redirected(&config.origin);
                    self.log_refused(admission.login.as_str(), &failure);
                    return Err(Refused::of_way(&failure));
                }
                None => {}
            }
        }
        if status.is_client_error() || status.is_server_error() {
            let wanted = match config.service {
                HttpService::Ews => is_xml,
                HttpService::Graph => is_of_type(&parts.headers, &["application/json"]),
            };
            // A page of an intermediary, meant for people. The program does not expect it, and
            // Gatepost does not repeat it.
            if !wanted {
                let wait = retry_after(&parts.headers, status);
                return Err(Refused { wait, ..in_place(status, status) });
            }
        }
        if status == StatusCode::SWITCHING_PROTOCOLS || status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            return Err(in_place(status, StatusCode::BAD_GATEWAY));
        }
        let rewrites = config.service == HttpService::Graph
            && is_of_type(&parts.headers, &["application/json"])
            && !parts.headers.contains_key(CONTENT_ENCODING);
        let rewriter = rewrites.then(|| places.rewriter());
        let idle = self.shared.limits.http_idle;
        let answered = Answered {
            service: config.service,
            origin: config.origin.clone(),
            mailbox: admission.bearer.user.to_string(),
            status: status.as_u16(),
            request_id: watch::request_id(&parts.headers),
            is_encoded: watch::is_encoded(&parts.headers),
        };
        let watch = answered.may_refuse().then(|| {
            let (journal, account) = (Arc::clone(&self.shared.journal), admission.login.to_string());
            AnswerWatch::new(journal, self.protocol(), self.subject.clone(), account, answered)
        });
        let download = Download::new(body, rewriter, Arc::clone(&traffic.received), idle, of_mailbox).watched(watch);
        let mut response = Response::new(Either::Right(download));
        *response.status_mut() = status;
        *response.headers_mut() = parts.headers;
        Ok(response)
    }
}

/// Returns when Microsoft says to try again, in seconds. An overload without a time means half a
/// minute.
fn retry_after(headers: &HeaderMap, status: StatusCode) -> Option<Duration> {
    let said =
        headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(|value| value.trim().parse().ok());
    match said {
        Some(seconds) => Some(Duration::from_secs(u64::min(seconds, 3_600))),
        None => matches!(status.as_u16(), 429 | 503).then(|| Duration::from_secs(30)),
    }
}

/// Returns the answer in place of one of Microsoft's whose own text is not passed on.
fn in_place(theirs: StatusCode, ours: StatusCode) -> Refused {
    match theirs.as_u16() {
        429 | 503 => Refused::because(Cause::UpstreamUnavailable, ours, "Microsoft is busy, try again later"),
        code => Refused::because(Cause::UpstreamGarbage, ours, format!("Microsoft answered with status {code}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microsofts_time_to_wait_is_taken_up_to_an_hour() {
        let seconds = |said: Option<&'static str>, status| {
            let headers = said.map(|said| (RETRY_AFTER, HeaderValue::from_static(said))).into_iter().collect();
            retry_after(&headers, StatusCode::from_u16(status).unwrap()).map(|wait| wait.as_secs())
        };
        assert_eq!(seconds(Some(" 7 "), 400), Some(7));
        assert_eq!(seconds(Some("3601"), 503), Some(3_600));
        assert_eq!(seconds(Some("Wed, 21 Oct 2026 07:28:00 GMT"), 429), Some(30));
        assert_eq!(seconds(None, 503), Some(30));
        assert_eq!(seconds(None, 502), None);
    }

    #[test]
    fn what_stands_in_place_of_an_answer_says_whether_microsoft_is_busy() {
        for (theirs, cause, message) in [
            (429, Cause::UpstreamUnavailable, "Microsoft is busy, try again later"),
            (503, Cause::UpstreamUnavailable, "Microsoft is busy, try again later"),
            (502, Cause::UpstreamGarbage, "Microsoft answered with status 502"),
        ] {
            let refused = in_place(StatusCode::from_u16(theirs).unwrap(), StatusCode::BAD_GATEWAY);
            assert_eq!((refused.status.as_u16(), &*refused.message), (502, message));
            assert_eq!(refused.unlogged.unwrap().cause, cause);
        }
    }
}
