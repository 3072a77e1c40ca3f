//! Reads and deletes the messages of an Inbox (Microsoft, "List messages", "Get MIME content of a
//! message", "Delete message").
//!
//! Messages are named by their immutable ids, which stay the same when a message is moved within
//! the mailbox. None of these requests changes whether a message counts as read.

use std::borrow::Cow;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Response, Uri};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::answer::Answer;
use super::refused::throttles;
use super::{GraphClient, authorized};
use gatepost_config::Origin;
use gatepost_core::account::MailAddress;
use gatepost_core::cause::Cause;
use gatepost_core::failure::Failure;
use gatepost_oauth::tokens::explain::JUST_GRANTED;
use gatepost_proto::sasl::Bearer;

/// Most messages in a page; Graph's own bound.
const PAGE: usize = 1_000;
/// Most octets of a page. About 600 for each message are usual.
const PAGE_OCTETS: usize = 4 * 1_024 * 1_024;
/// Longest id of a message, and longest address of a page. Graph's ids have about 150 octets.
pub(super) const ID_OCTETS: usize = 1_024;
const LINK_OCTETS: usize = 8 * 1_024;

/// Time limit for a request and its repetitions, including waits. A mail program hardly waits
/// longer for a reply.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most requests for one answer.
const ATTEMPTS: u32 = 3;
/// Pause before a repetition for which Graph gave no time.
const PAUSE: Duration = Duration::from_secs(1);
/// Time limit for the head of an answer, and for each further piece of it.
const ANSWER: Duration = Duration::from_secs(60);

/// The size shown for a message whose size Exchange does not tell.
const UNKNOWN_OCTETS: u32 = 1_024;

/// A part of a list.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// The messages, the oldest first.
    pub messages: Vec<Listed>,
    /// The next part; `None` at the end.
    pub next: Option<NextPage>,
}

/// A message of a list.
#[derive(Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its immutable id.
    pub id: Box<str>,
    /// Exchange's estimate of its size. The content is generated when it is sent, and may differ.
    pub octets: u32,
}

/// The rest of a list: path and query of Graph's own `@odata.nextLink`, which names the same Graph.
#[derive(Debug, PartialEq, Eq)]
pub struct NextPage(String);

/// Why a request failed.
#[derive(Clone, Debug)]
pub enum Unserved {
    /// The message no longer exists.
    Gone,
    /// The token was refused, before anything else was checked.
    TokenRefused(Failure),
    /// Anything else.
    Failed(Failure),
}

/// The octets of a message, as they arrive.
pub struct MessageContent<'a> {
    graph: &'a GraphClient,
    incoming: Incoming,
}

#[derive(Deserialize)]
struct ListBody<'a> {
    #[serde(borrow)]
    value: Vec<ListItem<'a>>,
    #[serde(borrow, rename = "@odata.nextLink")]
    next: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct ListItem<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, default, rename = "singleValueExtendedProperties")]
    properties: Vec<Property<'a>>,
}

/// The property that was requested.
#[derive(Deserialize)]
struct Property<'a> {
    #[serde(borrow)]
    value: Cow<'a, str>,
}

impl Unserved {
    /// Returns the failure, for a request that was not about a single message, or a caller for
    /// which that does not matter.
    pub(crate) fn into_failure(self) -> Failure {
        match self {
            Self::TokenRefused(failure) | Self::Failed(failure) => failure,
            Self::Gone => Failure::new(Cause::NoInbox, "Microsoft Graph finds no Inbox in this mailbox"),
        }
    }
}

impl NextPage {
    #[cfg(test)]
    pub(crate) fn test(path: &str) -> Self {
        Self(path.to_owned())
    }
}

impl GraphClient {
    /// Returns the first part of the Inbox of the bearer's mailbox, or the part after another one.
    ///
    /// # Errors
    /// See [`Unserved`].
    pub async fn list_inbox(&self, bearer: &Bearer, next: Option<&NextPage>) -> Result<Page, Unserved> {
        let path = match next {
            Some(NextPage(path)) => path.clone(),
            // `PR_MESSAGE_SIZE` ([MS-OXPROPS] 2.797), because Graph has no property of its own for
            // the size.
            None => format!(
                "{}/mailFolders/inbox/messages?$select=id&$orderby=receivedDateTime&$top={PAGE}\
                 &$expand=singleValueExtendedProperties($filter=id%20eq%20'Integer%200x0E08')",
                mailbox(&bearer.user)
            ),
        };
        let response = self.ask(&Method::GET, &path, bearer, 200).await?;
        let body = self.whole(response).await?;
        read_page(&self.origin, &body)
            .ok_or_else(|| Unserved::Failed(self.not_graph("the list of messages cannot be read")))
    }

    /// Returns the octets of a message.
    ///
    /// # Errors
    /// See [`Unserved`].
    pub async fn message(&self, bearer: &Bearer, id: &str) -> Result<MessageContent<'_>, Unserved> {
        let path = format!("{}/$value", message(&bearer.user, id));
        let response = self.ask(&Method::GET, &path, bearer, 200).await?;
        let is_page = |value: &hyper::header::HeaderValue| value.as_bytes().starts_with(b"text/html");
        if response.headers().get(CONTENT_TYPE).is_some_and(is_page) {
            return Err(Unserved::Failed(self.not_graph("a web page came instead of a message")));
        }
        Ok(MessageContent { graph: self, incoming: response.into_body() })
    }

    /// Moves a message to Deleted Items. A message that is already gone counts as deleted.
    ///
    /// # Errors
    /// See [`Unserved`].
    pub async fn delete_message(&self, bearer: &Bearer, id: &str) -> Result<(), Unserved> {
        match self.ask(&Method::DELETE, &message(&bearer.user, id), bearer, 204).await {
            Ok(_) | Err(Unserved::Gone) => Ok(()),
            Err(unserved) => Err(unserved),
        }
    }

    /// Repeats a request until it has the expected answer. Every request here may be made twice.
    pub(super) async fn ask(
        &self,
        method: &Method,
        path: &str,
        bearer: &Bearer,
        expected: u16,
    ) -> Result<Response<Incoming>, Unserved> {
        let first = Instant::now();
        for attempt in 1.. {
            let quiet = self.throttle.wait(&bearer.user);
            if first.elapsed() + quiet > PATIENCE {
                return Err(Unserved::Failed(self.quiet(quiet)));
            }
            sleep(quiet).await;
            let more = attempt < ATTEMPTS && first.elapsed() < PATIENCE;
            match self.ask_once(method, path, bearer, expected).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(answer)) => {
                    let throttled = throttles(answer.status);
                    if let Some(wait) = answer.retry_after.filter(|_| throttled) {
                        self.throttle.close(&bearer.user, wait);
                    } else if more && (throttled || answer.status >= 500) {
                        sleep(PAUSE).await;
                    }
                    if !more || !(throttled || answer.status >= 500) {
                        return Err(self.refused(&answer));
                    }
                }
                // A connection that was idle may break during a request.
                Err(Broken { again: true, .. }) if more => {}
                Err(Broken { failure, .. }) => return Err(Unserved::Failed(failure)),
            }
        }
        Err(Unserved::Failed(self.quiet(Duration::ZERO)))
    }

    pub(super) async fn ask_once(
        &self,
        method: &Method,
        path: &str,
        bearer: &Bearer,
        expected: u16,
    ) -> Result<Result<Response<Incoming>, Answer>, Broken> {
        let request = Request::builder().method(method).uri(self.uri(path)).header("prefer", "IdType=\"ImmutableId\"");
        let (request, id) = authorized(request, &bearer.token).map_err(|error| self.defect(&error.into()))?;
        let request = request.body(Full::default()).map_err(|error| self.defect(&error))?;
        let deadline = Instant::now() + self.connect + ANSWER.min(self.answer);
        let response = match timeout_at(deadline, self.send(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                return Err(Broken { again: error.connector().is_none(), failure: error.failure(self.origin()) });
            }
            Err(_) => return Err(Broken { again: false, failure: self.late() }),
        };
        let status = response.status().as_u16();
        tracing::debug!(mailbox = %bearer.user, client_request_id = id, status, "{method} of messages");
        if status == expected { Ok(Ok(response)) } else { Ok(Err(Answer::read(response, deadline).await)) }
    }

    pub(super) async fn whole(&self, response: Response<Incoming>) -> Result<Vec<u8>, Unserved> {
        let mut content = MessageContent { graph: self, incoming: response.into_body() };
        let mut body = Vec::new();
        while let Some(piece) = content.next().await.map_err(Unserved::Failed)? {
            if body.len() + piece.len() > PAGE_OCTETS {
                return Err(Unserved::Failed(self.not_graph("the list of messages is longer than it can be")));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    pub(super) fn refused(&self, answer: &Answer) -> Unserved {
        const GONE: [&str; 2] = ["ErrorItemNotFound", "ErrorMessageNotFound"];
        let at = &self.origin;
        let failed =
            |cause, what: &str| Failure::new(cause, format!("{at} {what} ({})", answer.words())).coded(answer.mark());
        match answer.status {
            404 if answer.says(&GONE) => Unserved::Gone,
            401 => Unserved::TokenRefused(failed(Cause::TokenRefused, "did not accept the access token")),
            403 if answer.is_graphs() => Unserved::Failed(just_granted(failed(
                Cause::MailboxDenied,
                "does not let the application read this mailbox",
            ))),
            404 if answer.is_graphs() => Unserved::Failed(failed(Cause::NoMailbox, "knows no mailbox of this name")),
            status if throttles(status) => {
                Unserved::Failed(failed(Cause::Throttled, "takes no more requests for this mailbox at the moment"))
            }
            500.. => Unserved::Failed(failed(Cause::UpstreamFailed, "failed")),
            _ if !answer.is_graphs() => Unserved::Failed(self.not_graph(&format!("the answer was {}", answer.words()))),
            _ => Unserved::Failed(failed(Cause::RequestRefused, "did not understand the request")),
        }
    }

    fn quiet(&self, left: Duration) -> Failure {
        let (at, seconds) = (&self.origin, left.as_secs().max(1));
        Failure::new(Cause::Throttled, format!("{at} wants no requests for this mailbox for another {seconds} s"))
    }

    pub(super) fn late(&self) -> Failure {
        Failure::new(Cause::UpstreamTimeout, format!("{} did not answer in time", self.origin))
    }

    pub(super) fn not_graph(&self, what: &str) -> Failure {
        Failure::new(Cause::NotGraph, format!("{} does not speak as Microsoft Graph should: {what}", self.origin))
    }

    fn defect(&self, error: &hyper::http::Error) -> Broken {
        let message = format!("a request for {} could not be made: {error}", self.origin);
        let failure = Failure::new(Cause::RequestNotMade, message);
        Broken { again: false, failure }
    }
}

/// There was no answer.
pub(super) struct Broken {
    /// Whether a second request may succeed.
    pub(super) again: bool,
    pub(super) failure: Failure,
}

impl MessageContent<'_> {
    /// Returns the next piece; `None` at the end. A message that breaks off is an error, never an
    /// end.
    ///
    /// # Errors
    /// The connection broke, or nothing arrived in time.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            match timeout(ANSWER, self.incoming.frame()).await {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(piece) => return Ok(Some(piece)),
                    Err(_trailers) => {}
                },
                Ok(Some(Err(error))) => {
                    let at = &self.graph.origin;
                    return Err(Failure::new(
                        Cause::UpstreamBroke,
                        format!("the connection to {at} broke in the middle of an answer: {error}"),
                    ));
                }
                Err(_) => return Err(self.graph.late()),
            }
        }
    }

    /// Discards the rest. A small rest is read, so that the connection can be used again.
    pub async fn discard(mut self) {
        let mut left = 64 * 1_024_usize;
        while let Ok(Ok(Some(piece))) = timeout(PAUSE, self.next()).await {
            match left.checked_sub(piece.len()) {
                Some(still) => left = still,
                None => return,
            }
        }
    }
}

fn read_page(graph: &Origin, body: &[u8]) -> Option<Page> {
    let ListBody { value, next } = serde_json::from_slice(body).ok()?;
    let listed = |ListItem { id, properties }: ListItem<'_>| {
        let octets = properties.first().and_then(|property| property.value.parse().ok());
        let is_id = (1..=ID_OCTETS).contains(&id.len());
        is_id.then(|| Listed { id: id.into(), octets: octets.unwrap_or(UNKNOWN_OCTETS) })
    };
    let messages = value.into_iter().map(listed).collect::<Option<Vec<_>>>()?;
    let next = match next {
        Some(link) => Some(read_link(graph, &link)?),
        None => None,
    };
    Some(Page { messages, next })
}

/// Reads a link to the next page. The token must not go to any other server, whatever the link
/// says.
fn read_link(graph: &Origin, link: &str) -> Option<NextPage> {
    let uri: Uri = Some(link).filter(|link| link.len() <= LINK_OCTETS)?.parse().ok()?;
    let authority = uri.authority()?;
    let port = authority.port_u16().unwrap_or(443);
    let here = uri.scheme_str() == Some("https")
        && authority.host().eq_ignore_ascii_case(&graph.name)
        && !authority.as_str().contains('@')
        && (port == 443 || port == graph.port);
    here.then(|| uri.path_and_query().map(|path| NextPage(path.as_str().to_owned())))?
}

fn just_granted(failure: Failure) -> Failure {
    let remedy = format!("{}. {JUST_GRANTED}", failure.remedy);
    failure.to_do(remedy)
}

/// Names the mailbox, because a token without a user has no `me`, and because a mailbox need not be
/// the user's own.
pub(super) fn mailbox(address: &MailAddress) -> String {
    format!("/v1.0/users/{}", encoded(address.as_str()))
}

fn message(address: &MailAddress, id: &str) -> String {
    format!("{}/messages/{}", mailbox(address), encoded(id))
}

pub(super) fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph() -> Origin {
        Origin { host: "127.0.0.1".into(), port: 8443, name: "graph.microsoft.com".into() }
    }

    #[test]
    fn a_page_is_read() {
        let body = r#"{"@odata.context":"x","value":[
            {"@odata.etag":"W/\"CQ\"","id":"AAkA-_=","singleValueExtendedProperties":[{"id":"Integer 0xe08","value":"12345"}]},
            {"id":"AAkB","singleValueExtendedProperties":[{"id":"Integer 0xe08","value":"-1"}]},
            {"id":"AAkC"}],
            "@odata.nextLink":"https://graph.microsoft.com/v1.0/users/a%40b/messages?$skip=1000&$select=id"}"#;
        let page = read_page(&graph(), body.as_bytes()).unwrap();
        let listed = |id: &str, octets| Listed { id: id.into(), octets };
        assert_eq!(page.messages, [listed("AAkA-_=", 12_345), listed("AAkB", 1_024), listed("AAkC", 1_024)]);
        assert_eq!(page.next, Some(NextPage::test("/v1.0/users/a%40b/messages?$skip=1000&$select=id")));
        assert_eq!(read_page(&graph(), br#"{"value":[]}"#), Some(Page { messages: vec![], next: None }));
    }

    #[test]
    fn what_is_no_page() {
        let long = format!(r#"{{"value":[{{"id":"{}"}}]}}"#, "a".repeat(1_025));
        for body in [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"value":[{}]}"#,
            r#"{"value":[{"id":""}]}"#,
            r#"{"value":[{"id":1}]}"#,
            &long,
        ] {
            assert_eq!(read_page(&graph(), body.as_bytes()), None, "{body}");
        }
        let body = br#"{"value":[],"@odata.nextLink":"https://elsewhere.example/v1.0/"}"#;
        assert_eq!(read_page(&graph(), body), None, "an incomplete list is none");
    }

    #[test]
    fn the_list_goes_on_at_the_same_graph_only() {
        for link in [
            "https://graph.microsoft.com/v1.0/x?$skiptoken=a%2Bb'c",
            "https://GRAPH.microsoft.com:443/v1.0/x?$skiptoken=a%2Bb'c",
            "https://graph.microsoft.com:8443/v1.0/x?$skiptoken=a%2Bb'c",
        ] {
            assert_eq!(read_link(&graph(), link), Some(NextPage::test("/v1.0/x?$skiptoken=a%2Bb'c")), "{link}");
        }
        for link in [
            "",
            "/v1.0/x",
            "http://graph.microsoft.com/v1.0/x",
            "https://graph.microsoft.com.elsewhere.example/x",
            "https://graph.microsoft.com@elsewhere.example/x",
            "https://someone@graph.microsoft.com/x",
            "https://graph.microsoft.com:444/x",
            "https://127.0.0.1:8443/x",
            "https://graph.microsoft.com\\@elsewhere.example/x",
            &format!("https://graph.microsoft.com/{}", "a".repeat(LINK_OCTETS)),
        ] {
            assert_eq!(read_link(&graph(), link), None, "{link}");
        }
    }

    #[test]
    fn names_are_encoded() {
        let address = MailAddress::parse("o'neil+%x@contoso.example").unwrap();
        assert_eq!(
            message(&address, "AAk/A-_+="),
            "/v1.0/users/o%27neil%2B%25x%40contoso.example/messages/AAk%2FA-_%2B%3D"
        );
    }
}
