//! Asks Graph for other things than mail: applications, service principals, consent.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Response};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use super::answer::Answer;
use super::refused::not_looked_at;
use super::{GraphClient, authorized};
use gatepost_core::cause::Cause;
use gatepost_core::failure::Failure;
use gatepost_core::secret::AccessToken;

/// Most bytes of an answer. A service principal with all permissions of Graph has about 600 KiB.
const ANSWER_BYTES: usize = 4 * 1_024 * 1_024;

/// Longest pause that is made when Graph asks for one, and most requests for one answer.
const PAUSE: Duration = Duration::from_secs(30);
const ATTEMPTS: u32 = 3;

/// Why there is no result.
#[derive(Debug)]
pub(crate) enum DirectoryError {
    /// Graph has refused the request.
    Refused(Answer),
    /// There is no answer of Graph.
    Failed(Failure),
}

impl GraphClient {
    /// Sends a request with an administrator's token, and returns the object of the answer, which is
    /// null if it has none. A request that Graph did not process is sent again.
    ///
    /// # Errors
    /// See [`DirectoryError`].
    pub(crate) async fn directory(
        &self,
        token: &AccessToken,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, DirectoryError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.directory_once(token, method, path, body).await {
                Err(DirectoryError::Refused(answer)) if attempts < ATTEMPTS && not_looked_at(answer.status) => {
                    let Some(pause) = answer.retry_after.filter(|pause| *pause <= PAUSE) else {
                        return Err(DirectoryError::Refused(answer));
                    };
                    sleep(pause).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn directory_once(
        &self,
        token: &AccessToken,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, DirectoryError> {
        let defect = |error: hyper::http::Error| {
            let message = format!("a request for {} could not be made: {error}", self.origin());
            DirectoryError::Failed(Failure::new(Cause::RequestNotMade, message))
        };
        let request = Request::builder().method(method).uri(self.uri(&format!("/v1.0/{path}")));
        let (request, id) = authorized(request, token).map_err(|error| defect(error.into()))?;
        let request = match body {
            Some(body) => {
                request.header(CONTENT_TYPE, "application/json").body(Full::new(Bytes::from(body.to_string())))
            }
            None => request.body(Full::default()),
        };
        let deadline = Instant::now() + self.connect + self.answer;
        let response = match timeout_at(deadline, self.send(request.map_err(defect)?)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(DirectoryError::Failed(error.failure(self.origin()))),
            Err(_) => return Err(DirectoryError::Failed(self.late())),
        };
        let status = response.status();
        tracing::debug!(client_request_id = id, status = status.as_u16(), "{method} of the directory");
        if !status.is_success() {
            return Err(DirectoryError::Refused(Answer::read(response, deadline).await));
        }
        let body = self.body(response, deadline).await?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|_| DirectoryError::Failed(self.not_graph("the answer is not JSON")))
    }

    async fn body(&self, response: Response<Incoming>, deadline: Instant) -> Result<Vec<u8>, DirectoryError> {
        let mut incoming = response.into_body();
        let mut body = Vec::new();
        loop {
            let piece = match timeout_at(deadline, incoming.frame()).await {
                Ok(None) => return Ok(body),
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(Some(Err(_))) | Err(_) => return Err(DirectoryError::Failed(self.late())),
            };
            if body.len() + piece.len() > ANSWER_BYTES {
                return Err(DirectoryError::Failed(self.not_graph("the answer is longer than it can be")));
            }
            body.extend_from_slice(&piece);
        }
    }
}
