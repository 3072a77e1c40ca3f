//! Upload sessions: the address at which the ranges of a large file arrive (Microsoft, "Attach large
//! files to Outlook messages or events"). It is its own authorization, and a token with it is an
//! error.

use std::io;
use std::sync::Arc;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::admitted::{AuthorizedCall, empty};
use super::drafts::{FILE_OCTETS, RANGE_OCTETS, SMALLEST_FILE, Taken};
use super::error::{GraphError, Ids};
use super::send;
use crate::calendar;
use crate::http::body::Answer;
use crate::http::call::{Call, perform, plain, set};
use crate::letter::Attachment;
use crate::mode::Service;
use crate::state::SandboxState;

const PATH: &str = "/api/gv1.0/AttachmentSessions/";

impl AuthorizedCall<'_> {
    /// Opens a session.
    pub(super) fn create_upload_session(&self, message: &str) -> Result<Answer, GraphError> {
        let body = self.read_json()?;
        let item = body.get("AttachmentItem").or_else(|| body.get("attachmentItem"));
        let item = item.ok_or_else(|| GraphError::bad_request("The parameter 'AttachmentItem' is missing."))?;
        if item.get("attachmentType").and_then(Value::as_str) != Some("file") {
            return Err(GraphError::bad_request("Only file attachments can be uploaded."));
        }
        let size = item.get("size").and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
        let size = size.ok_or_else(|| GraphError::bad_request("The size of the attachment is missing."))?;
        if size > FILE_OCTETS {
            return Err(GraphError::new(
                413,
                "ErrorAttachmentSizeLimitExceeded",
                "Attachment size must be less than 150MB.",
            ));
        }
        if size < SMALLEST_FILE {
            return Err(GraphError::bad_request("A file of less than 3 MB is attached with POST."));
        }
        let file = Attachment { content: Vec::new(), ..send::attachment(item, false).ok_or_else(send::no_attachment)? };
        let (identity, now) = (self.draft(message)?, self.shared.time.unix_seconds());
        let opened = self.shared.drafts.open(&self.address, identity, file, size, now);
        let (token, expires) = opened.ok_or_else(send::no_draft)?;
        let base = self.shared.upload_host().map_or_else(|| self.base(), |host| format!("https://{host}"));
        let session = json!({
            "uploadUrl": format!("{base}{PATH}{token}?authtoken={token}"),
            "expirationDateTime": calendar::iso(expires),
            "nextExpectedRanges": ["0-"],
        });
        Ok(self.json(StatusCode::CREATED, "microsoft.graph.uploadSession", session))
    }
}

/// Answers a call to the address of a session; `None` if it is to another one.
pub(super) async fn respond(shared: &Arc<SandboxState>, call: &Call, ids: &Ids) -> Option<io::Result<Answer>> {
    let token = call.head.uri.path().strip_prefix(PATH)?;
    let name = format!("{} /upload/{{id}}", call.head.method);
    let mailbox = shared.drafts.mailbox(token).unwrap_or_default();
    shared.tally.call(Service::Graph, &mailbox, &name);
    let refuse = |status, code, retry_after| GraphError::of_status(status, code, retry_after).answer(shared, ids);
    let work = || take(shared, call, token).unwrap_or_else(|error| error.answer(shared, ids));
    Some(perform(shared, Service::Graph, &name, refuse, work).await)
}

fn take(shared: &SandboxState, call: &Call, token: &str) -> Result<Answer, GraphError> {
    let is_authorized = call.head.uri.query() == Some(&format!("authtoken={token}"));
    if call.header("authorization").is_some() || !is_authorized {
        return Err(GraphError::token("The upload URL is the authorization. Send no other."));
    }
    match call.head.method {
        Method::PUT => put(shared, call, token),
        Method::GET => show(shared, token),
        Method::DELETE if shared.drafts.cancel(token) => Ok(empty(StatusCode::NO_CONTENT)),
        Method::DELETE => Err(GraphError::item_not_found()),
        _ => Err(GraphError::new(405, "Request_BadRequest", "Only GET, PUT and DELETE are allowed.")),
    }
}

/// Shows how far an upload has come.
fn show(shared: &SandboxState, token: &str) -> Result<Answer, GraphError> {
    let (next, expires) = shared.drafts.progress(token, shared.time.unix_seconds()).ok_or_else(no_session)?;
    let body = json!({"expirationDateTime": calendar::iso(expires), "nextExpectedRanges": [next.to_string()]});
    Ok(plain(StatusCode::OK, "application/json", body.to_string()))
}

fn no_session() -> GraphError {
    GraphError::new(404, "ErrorItemNotFound", "The upload session is not found.")
}

fn put(shared: &SandboxState, call: &Call, token: &str) -> Result<Answer, GraphError> {
    let range = call.header("content-range").and_then(content_range);
    let (start, end, total) = range.ok_or_else(|| GraphError::bad_request("The Content-Range header is invalid."))?;
    if call.body.len() > RANGE_OCTETS {
        return Err(GraphError::of_status(413, None, None));
    }
    if call.body.is_empty() || end - start + 1 != call.body.len() {
        return Err(GraphError::bad_request("The Content-Range header does not fit the length of the content."));
    }
    match shared.drafts.put(token, start, total, &call.body, shared.time.unix_seconds()) {
        Taken::More => show(shared, token),
        Taken::OutOfOrder(_) => {
            Err(GraphError::new(416, "InvalidRange", "The range is not the next one that is expected."))
        }
        Taken::NoSession => Err(no_session()),
        Taken::Attached(number) => {
            let mut answer = empty(StatusCode::CREATED);
            set(
                answer.headers_mut(),
                "location",
                &format!("https://outlook.office.com/api/v2.0/Attachments('{number}')"),
            );
            Ok(answer)
        }
    }
}

/// Reads `bytes first-last/total`.
fn content_range(text: &str) -> Option<(usize, usize, usize)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, total) = (first.parse().ok()?, last.parse().ok()?, total.parse().ok()?);
    (first <= last && last < total).then_some((first, last, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_they_are_written() {
        assert_eq!(content_range("bytes 0-9/10"), Some((0, 9, 10)));
        for wrong in ["bytes 0-10/10", "bytes 5-4/10", "0-9/10", "bytes */10", "bytes 0-9/*", "bytes 0-9"] {
            assert_eq!(content_range(wrong), None, "{wrong}");
        }
    }
}
