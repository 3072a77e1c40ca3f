//! How Graph says no: status, code and message, in the JSON that Microsoft documents.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use serde_json::json;

use crate::calendar;
use crate::http::body::Answer;
use crate::http::call::{plain, set};
use crate::state::SandboxState;
use crate::submission::Unsent;

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GraphError {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) retry_after: Option<Duration>,
}

/// What a request and its answer are known by.
pub(super) struct Ids {
    pub(super) request: String,
    pub(super) client: String,
}

impl GraphError {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }

    /// A refusal of that status, with the code that usually comes with it unless one is given.
    pub(super) fn of_status(status: u16, code: Option<&'static str>, retry_after: Option<Duration>) -> Self {
        let (usual, message) = match status {
            400 => ("ErrorInvalidRequest", "The request is invalid."),
            401 => ("InvalidAuthenticationToken", "Access token has expired or is not yet valid."),
            403 => ("ErrorAccessDenied", "Access is denied. Check credentials and try again."),
            404 => (
                "MailboxNotEnabledForRESTAPI",
                "The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
            ),
            413 => {
                ("ErrorMessageSizeExceeded", "The message exceeds the maximum supported size., Cannot submit message.")
            }
            429 => ("ApplicationThrottled", "Application is over its MailboxConcurrency limit."),
            503 => ("ServiceUnavailable", "The service is temporarily unavailable. Please retry after some time."),
            504 => ("UnknownError", "The server did not answer in time."),
            _ => ("ErrorInternalServerError", "An internal server error occurred. The operation failed."),
        };
        Self { retry_after, ..Self::new(status, code.unwrap_or(usual), message) }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(super) fn token(message: &str) -> Self {
        Self::new(401, "InvalidAuthenticationToken", message)
    }

    pub(super) fn access_denied() -> Self {
        Self::of_status(403, None, None)
    }

    pub(super) fn item_not_found() -> Self {
        Self::new(404, "ErrorItemNotFound", "The specified object was not found in the store.")
    }

    pub(super) fn answer(&self, shared: &SandboxState, ids: &Ids) -> Answer {
        let date = calendar::iso(shared.time.unix_seconds());
        let body = json!({"error": {
            "code": self.code,
            "message": self.message,
            "innerError": {
                "date": date.trim_end_matches('Z'),
                "request-id": ids.request,
                "client-request-id": ids.client,
            },
        }});
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = plain(status, "application/json", body.to_string());
        let headers = answer.headers_mut();
        if let Some(retry_after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after.as_secs()));
        }
        if self.status == 401 {
            let challenge = format!(
                "Bearer realm=\"\", authorization_uri=\"{}common/oauth2/authorize\", \
                 client_id=\"00000003-0000-0000-c000-000000000000\"",
                shared.authority
            );
            set(headers, "www-authenticate", &challenge);
        }
        answer
    }
}

impl From<Unsent> for GraphError {
    fn from(unsent: Unsent) -> Self {
        match unsent {
            Unsent::NoRecipients => Self::new(
                400,
                "ErrorInvalidRecipients",
                "At least one recipient isn't valid., A message can't be sent because it contains no recipients.",
            ),
            Unsent::BadRecipient(recipient) => Self::new(
                400,
                "ErrorInvalidRecipients",
                format!("At least one recipient isn't valid., Recipient '{recipient}' is not resolved."),
            ),
            Unsent::TooManyRecipients => Self::new(
                400,
                "ErrorInvalidRecipients",
                "At least one recipient isn't valid., The message has too many recipients.",
            ),
            Unsent::SendAsDenied(_) => Self::new(
                403,
                "ErrorSendAsDenied",
                "The user account which was used to submit this request does not have the right to send mail on behalf of the specified sending account., Cannot submit message.",
            ),
            Unsent::MailboxFull => Self::new(
                403,
                "ErrorQuotaExceeded",
                "The message store has reached its maximum size., Cannot save changes.",
            ),
        }
    }
}
