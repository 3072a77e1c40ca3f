//! A call whose token gives a right to a mailbox, with the answers that all calls share.

use std::sync::Arc;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::error::GraphError;
use super::query;
use super::view::Naming;
use crate::http::body::{Answer, whole};
use crate::http::call::{Call, plain, set};
use crate::state::SandboxState;
use crate::store::Mailbox;
use crate::token::Claims;

/// A call whose token gives a right to the mailbox.
pub(super) struct AuthorizedCall<'a> {
    pub(super) shared: &'a SandboxState,
    pub(super) call: &'a Call,
    pub(super) claims: Claims,
    /// The mailbox's address in lower case.
    pub(super) address: String,
    pub(super) object_id: String,
    pub(super) mailbox: Arc<Mailbox>,
}

impl AuthorizedCall<'_> {
    pub(super) fn permitted(&self, any_of: &[&str]) -> Result<&Self, GraphError> {
        let permitted = any_of.iter().any(|permission| self.shared.exchange.permits(&self.claims, permission));
        permitted.then_some(self).ok_or_else(GraphError::access_denied)
    }

    pub(super) fn naming(&self) -> Naming<'_> {
        let mut prefers = self.call.head.headers.get_all("prefer").into_iter().filter_map(|value| value.to_str().ok());
        let immutable = prefers.any(|value| value.to_ascii_lowercase().contains("idtype=\"immutableid\""));
        Naming { mailbox: &self.object_id, immutable }
    }

    pub(super) fn query(&self) -> &str {
        self.call.head.uri.query().unwrap_or_default()
    }

    /// Where the caller finds this service.
    pub(super) fn base(&self) -> String {
        format!("https://{}", self.call.header("host").unwrap_or("graph.microsoft.com"))
    }

    /// An object, with the context that OData puts before it.
    pub(super) fn json(&self, status: StatusCode, context: &str, object: Value) -> Answer {
        let mut body = json!({"@odata.context": format!("{}/v1.0/$metadata#{context}", self.base())});
        if let (Value::Object(body), Value::Object(object)) = (&mut body, object) {
            body.extend(object);
        }
        let content_type =
            "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8";
        let mut answer = plain(status, content_type, body.to_string());
        if self.naming().immutable {
            set(answer.headers_mut(), "preference-applied", "IdType=\"ImmutableId\"");
        }
        answer
    }

    /// One page of a collection; `next` is the `$skip` of the next one.
    pub(super) fn page(&self, context: &str, values: Vec<Value>, next: Option<usize>, count: Option<usize>) -> Answer {
        let mut body = json!({});
        if let Some(count) = count {
            body["@odata.count"] = json!(count);
        }
        body["value"] = Value::Array(values);
        if let Some(skip) = next {
            let query = query::with_skip(self.query(), skip);
            body["@odata.nextLink"] = json!(format!("{}{}?{query}", self.base(), self.call.head.uri.path()));
        }
        self.json(StatusCode::OK, context, body)
    }

    pub(super) fn read_json(&self) -> Result<Value, GraphError> {
        serde_json::from_slice(&self.call.body).map_err(|_| {
            GraphError::bad_request(
                "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON format.",
            )
        })
    }
}

pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = whole("");
    *answer.status_mut() = status;
    answer
}
