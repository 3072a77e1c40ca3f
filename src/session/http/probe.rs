//! Asks EWS for the Inbox of a mailbox, for `gatepost doctor`, as a client's smallest request does.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response};
use tokio::time::{Instant, timeout_at};

use super::body::{Progress, Upload};
use super::failures;
use super::gateway::Gateway;
use crate::graph::authorized;
use crate::login::AuthorizedLogin;
use gatepost_config::Grant;
use gatepost_core::escape::escaped;
use gatepost_core::failure::Failure;
use gatepost_proto::http::soap::Arriving;

/// Most octets read of the answer. One folder has about 2 KiB.
const ANSWER_OCTETS: usize = 64 * 1024;
/// Longest excerpt of EWS's own words, in octets.
const WORDS_OCTETS: usize = 200;

/// `GetFolder` for the Inbox ([MS-OXWSFOLD] 3.1.4.6).
const GET_FOLDER: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\
    <soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\" \
    xmlns:t=\"http://schemas.microsoft.com/exchange/services/2006/types\" \
    xmlns:m=\"http://schemas.microsoft.com/exchange/services/2006/messages\">\
    <soap:Header><t:RequestServerVersion Version=\"Exchange2013\"/></soap:Header>\
    <soap:Body><m:GetFolder><m:FolderShape><t:BaseShape>IdOnly</t:BaseShape></m:FolderShape>\
    <m:FolderIds><t:DistinguishedFolderId Id=\"inbox\"/></m:FolderIds></m:GetFolder></soap:Body></soap:Envelope>";

/// Why EWS did not open a mailbox.
#[derive(Debug)]
pub(crate) enum Unserved {
    /// The failure of a client's request.
    Failed(Failure),
    /// EWS answered with an error of its own.
    Refused {
        /// Its code, such as `ErrorNonExistentMailbox`; may be empty.
        code: String,
        /// Its message.
        words: String,
    },
}

impl Gateway {
    /// Asks EWS for the Inbox of the mailbox, until `end`.
    ///
    /// # Errors
    /// [`Unserved`].
    pub(crate) async fn probe_ews(&self, admission: &AuthorizedLogin, end: Instant) -> Result<(), Unserved> {
        let (login, mailbox) = (&admission.login, &admission.bearer.user);
        let person = admission.account.person(login);
        if admission.account.grant.is_of_user() && person != mailbox {
            return Err(Unserved::Failed(failures::other_mailbox(person, mailbox)));
        }
        let acting_for = (admission.account.grant == Grant::ClientCredentials).then_some(mailbox);
        let mut arriving = Arriving::new(ANSWER_OCTETS);
        arriving.push(GET_FOLDER.as_bytes());
        let broken = |what: &str| Unserved::Refused { code: String::new(), words: what.to_owned() };
        let body = match arriving.look(true, acting_for) {
            Ok(Some(ready)) => ready.octets,
            _ => return Err(broken("the request could not be made")),
        };
        let length = body.len() as u64;
        let upload = Upload::new(body.into(), None, Some(length), Arc::new(AtomicU64::new(0)), Progress::new());
        let name = &self.config.origin.name;
        let authority = if name.contains(':') { format!("[{name}]") } else { name.clone() };
        let request = Request::post(format!("https://{authority}/EWS/Exchange.asmx"))
            .header(CONTENT_TYPE, HeaderValue::from_static("text/xml; charset=utf-8"))
            .header("x-anchormailbox", mailbox.as_str());
        let request = match authorized(request, &admission.bearer.token) {
            Ok((request, _)) => request.body(upload).map_err(|_| broken("the request could not be made"))?,
            Err(_) => return Err(broken("the request could not be made")),
        };
        let key = (login.clone(), mailbox.clone());
        let response = match timeout_at(end, self.send(&key, request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(Unserved::Failed(error.failure(&self.config.origin))),
            Err(_) => return Err(broken("no answer in time")),
        };
        self.judge(response, &admission.account.application.client_id, end).await
    }

    async fn judge(&self, response: Response<Incoming>, application: &str, end: Instant) -> Result<(), Unserved> {
        let origin = &self.config.origin;
        let status = response.status().as_u16();
        let xml = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/xml"));
        match status {
            401 => return Err(Unserved::Failed(failures::token_refused(&response, &self.config))),
            403 => return Err(Unserved::Failed(failures::ews_barred(origin, application, response.headers()))),
            300..=399 => return Err(Unserved::Failed(failures::redirected(origin))),
            200 | 500 if xml => {}
            200 => return Err(Unserved::Failed(failures::no_ews(origin))),
            _ => return Err(Unserved::Refused { code: String::new(), words: format!("HTTP {status}") }),
        }
        opened(status, &read(response.into_body(), end).await)
    }
}

/// Whether an answer of EWS itself says that the Inbox is open.
fn opened(status: u16, body: &str) -> Result<(), Unserved> {
    match (status, value(body, "ResponseCode")) {
        (200, Some("NoError")) => Ok(()),
        (_, code) => {
            let words = value(body, "MessageText").or_else(|| value(body, "faultstring")).unwrap_or_default();
            let shown = |text: &str| escaped(text.as_bytes(), WORDS_OCTETS);
            Err(Unserved::Refused { code: shown(code.unwrap_or_default()), words: shown(words) })
        }
    }
}

/// Reads the beginning of a body, until `end`.
async fn read<B>(mut body: B, end: Instant) -> String
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut octets = Vec::new();
    while let Ok(Some(Ok(frame))) = timeout_at(end, body.frame()).await {
        let Some(data) = frame.data_ref() else { continue };
        if octets.len() + data.len() > ANSWER_OCTETS {
            break;
        }
        octets.extend_from_slice(data);
    }
    String::from_utf8_lossy(&octets).into_owned()
}

/// Returns the text of the first element of this local name. It is only shown to people.
fn value<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    xml.match_indices(name).find_map(|(at, _)| {
        let (before, behind) = xml.split_at_checked(at)?;
        if !before.ends_with([':', '<']) {
            return None;
        }
        let (tag, content) = behind.split_once('>')?;
        let is_whole = tag.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
        let content = content.split('<').next()?.trim();
        (is_whole && !tag.ends_with('/')).then_some(content)
    })
}

#[cfg(test)]
mod tests;
