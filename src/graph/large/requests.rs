//! The requests for one large message, with their time limits.

use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::Bytes;
use hyper::header::{CONTENT_RANGE, CONTENT_TYPE};
use hyper::http::request::Builder;
use hyper::{Method, Request, StatusCode};
use tokio::time::{Instant, sleep, timeout_at};

use super::failed::{self, Step};
use super::patience::Patience;
use super::upload_url::UploadUrl;
use crate::graph::answer::Answer;
use crate::graph::{GraphClient, GraphError, NotSent, authorized, refused};
use gatepost_oauth::endpoint::guid;
use gatepost_proto::sasl::Bearer;

/// Most attempts at one request, of which Graph said that it did not look at it.
const ATTEMPTS: u32 = 3;

/// The requests for one message.
pub(super) struct Requests<'a> {
    pub(super) graph: &'a GraphClient,
    pub(super) bearer: &'a Bearer,
    pub(super) first: Instant,
    pub(super) patience: Patience,
    pub(super) waited: Duration,
    /// Files that the draft has.
    pub(super) attached: usize,
    /// Bytes of files that Graph has, and of all files.
    pub(super) taken: u64,
    pub(super) all: u64,
}

/// A request, which can be made more than once.
pub(super) struct StepRequest<'a> {
    pub(super) step: Step,
    pub(super) address: StepAddress<'a>,
    pub(super) content: Bytes,
    /// Where the content lies in its file.
    pub(super) range: Option<String>,
}

pub(super) enum StepAddress<'a> {
    /// A path at Graph, with the token.
    Path(&'a str),
    /// An address that is its own authorization, and must get no other.
    Upload(&'a UploadUrl),
}

/// A request that failed.
pub(super) struct Failed {
    pub(super) not_sent: NotSent,
    pub(super) processed: Processed,
    /// The status of the answer, if there was one of Graph.
    pub(super) status: Option<u16>,
    /// Whether the same may work a moment later: the connection broke, or the server failed.
    pub(super) may_pass: bool,
}

/// Whether Graph may have done what a failed request wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Processed {
    No,
    Perhaps,
}

impl Failed {
    /// Nothing was asked.
    fn unasked(not_sent: NotSent) -> Self {
        Self { not_sent, processed: Processed::No, status: None, may_pass: false }
    }
}

impl From<Failed> for NotSent {
    fn from(failed: Failed) -> Self {
        failed.not_sent
    }
}

impl Requests<'_> {
    /// Makes a request, again if Graph asks for a short wait. Returns the id of the request and the
    /// body of the answer.
    pub(super) async fn request(
        &mut self,
        request: &StepRequest<'_>,
        expected: &[StatusCode],
    ) -> Result<(String, Vec<u8>), Failed> {
        let mut attempts = 0;
        loop {
            if self.first.elapsed() >= self.patience.upload {
                return Err(Failed::unasked(failed::too_slow(self.patience.upload, self.taken, self.all)));
            }
            let quiet = self.graph.throttle.wait(&self.bearer.user);
            if self.waited + quiet > self.patience.waits {
                return Err(Failed::unasked(refused::quiet(quiet)));
            }
            self.waited += quiet;
            sleep(quiet).await;
            attempts += 1;
            let answer = match self.attempt(request, expected).await? {
                Ok(answered) => return Ok(answered),
                Err(answer) => answer,
            };
            let processed = if answer.status < 500 && answer.status != 408 || refused::not_looked_at(answer.status) {
                Processed::No
            } else {
                Processed::Perhaps
            };
            let wait = answer.retry_after.filter(|_| refused::throttles(answer.status) && answer.is_graphs());
            if let Some(wait) = wait {
                self.graph.throttle.close(&self.bearer.user, wait);
            }
            let again = wait.is_some_and(|wait| self.waited + wait <= self.patience.waits)
                && refused::not_looked_at(answer.status)
                && attempts < ATTEMPTS;
            if !again {
                return Err(Failed {
                    not_sent: failed::refused(request.step, &answer),
                    processed,
                    status: answer.is_graphs().then_some(answer.status),
                    may_pass: is_passing(&answer),
                });
            }
        }
    }

    async fn attempt(
        &self,
        request: &StepRequest<'_>,
        expected: &[StatusCode],
    ) -> Result<Result<(String, Vec<u8>), Answer>, Failed> {
        let StepRequest { step, address, content, range } = request;
        let graph = self.graph;
        let defect = |error: hyper::http::Error| Failed::unasked(refused::defect(&error));
        let (builder, id, client): (Builder, _, _) = match address {
            StepAddress::Path(path) => {
                let builder = Request::post(graph.uri(path)).header("prefer", "IdType=\"ImmutableId\"");
                let (builder, id) = authorized(builder, &self.bearer.token).map_err(|error| defect(error.into()))?;
                (builder, id, graph.client().await)
            }
            StepAddress::Upload(url) => {
                let client = if url.is_graphs { graph.client().await } else { graph.upload_client().await };
                let method = if range.is_some() { Method::PUT } else { Method::GET };
                (Request::builder().method(method).uri(url.uri.clone()), guid(), client)
            }
        };
        // What blocks the server of the uploads does not block Graph, so it is told by its own name.
        let at = match address {
            StepAddress::Upload(url) if !url.is_graphs => &url.origin(),
            _ => graph.origin(),
        };
        let no_answer = |error: GraphError| {
            let processed = if error.connector().is_some() { Processed::No } else { Processed::Perhaps };
            let may_pass = !matches!(error, GraphError::Trust(_));
            Failed { not_sent: failed::no_answer(*step, &error, at, &id), processed, status: None, may_pass }
        };
        let open = |not_sent| Failed { not_sent, processed: Processed::Perhaps, status: None, may_pass: true };
        let client = client.map_err(|error| no_answer(error.into()))?;
        let builder = match (range, content.is_empty()) {
            (Some(range), _) => builder.header(CONTENT_RANGE, range).header(CONTENT_TYPE, "application/octet-stream"),
            (None, true) => builder,
            (None, false) => builder.header(CONTENT_TYPE, "application/json"),
        };
        let request = builder.body(Either::Left(Full::new(content.clone()))).map_err(defect)?;
        let begun = Instant::now();
        let limit = self.first + if *step == Step::Send { self.patience.sent } else { self.patience.upload };
        let deadline = limit.min(begun + graph.connect + graph.answer);
        let exchange = async { client.request(request).await.map_err(GraphError::Exchange) };
        let response = match timeout_at(deadline, exchange).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(no_answer(error)),
            Err(_) => {
                let waited = Duration::from_secs(begun.elapsed().as_secs());
                return Err(open(failed::late(*step, at, waited, &id)));
            }
        };
        let status = response.status();
        tracing::debug!(mailbox = %self.bearer.user, client_request_id = id, status = status.as_u16(), ?step, "draft");
        if !expected.contains(&status) {
            return Ok(Err(Answer::read(response, deadline).await));
        }
        let request_id = response.headers().get("request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        let request_id = request_id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect();
        // Of the answer to `send`, the head says everything.
        if *step == Step::Send {
            return Ok(Ok((request_id, Vec::new())));
        }
        match graph.whole(response).await {
            Ok(body) => Ok(Ok((request_id, body))),
            Err(unserved) => Err(open(failed::not_yet(*step, &unserved.into_failure().message))),
        }
    }
}

/// Whether the server says that it failed, or wants another part of the file. A success of another kind
/// than was expected is a web filter's, or says that the file is not complete yet.
fn is_passing(answer: &Answer) -> bool {
    let has_failed = answer.status >= 500 || matches!(answer.status, 408 | 409 | 416 | 429);
    answer.is_graphs() && has_failed || (200..300).contains(&answer.status)
}
