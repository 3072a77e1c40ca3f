//! Microsoft Graph, as far as mail goes: sendMail, messages and folders, for the bearers of Graph's tokens.
//!
//! As strict as Microsoft where it matters to a proxy: audience and permissions, strict base64, sizes, four calls at once
//! for each application and mailbox, identifiers that change with a move unless immutable ones are preferred.

mod attachments;
mod error;
mod folders;
mod messages;
mod query;
mod route;
mod send;
mod view;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use self::error::{GraphError, Ids};
use self::route::{Action, Target, Who, route};
use self::view::Naming;
use super::directory::Entry;
use super::http::body::{Answer, whole};
use super::http::{Call, perform, plain, set};
use super::mode::Service;
use super::random;
use super::state::Shared;
use super::store::Mailbox;
use super::token::{Claims, GRAPH_RESOURCES};

/// A request's body, in octets (Microsoft, "sendMail": 4 MB).
const REQUEST_OCTETS: usize = 4 << 20;
/// Calls at once for each application and mailbox (Microsoft, "Graph throttling limits").
const CALLS: u64 = 4;

/// The calls under way, by application and mailbox.
#[derive(Default)]
pub(super) struct UnderWay(Mutex<HashMap<(String, String), u64>>);

/// One of them.
struct Place<'a> {
    under_way: &'a UnderWay,
    key: (String, String),
}

impl UnderWay {
    /// A place, and how many are then taken.
    fn take(&self, client_id: &str, mailbox: &str) -> (Place<'_>, u64) {
        let key = (client_id.to_owned(), mailbox.to_owned());
        let taken = self.with(|calls| {
            let taken = calls.entry(key.clone()).or_default();
            *taken += 1;
            *taken
        });
        (Place { under_way: self, key }, taken)
    }

    fn with<R>(&self, work: impl FnOnce(&mut HashMap<(String, String), u64>) -> R) -> R {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.under_way.with(|calls| {
            if let Some(taken) = calls.get_mut(&self.key) {
                *taken -= 1;
                if *taken == 0 {
                    calls.remove(&self.key);
                }
            }
        });
    }
}

/// A call whose token gives a right to the mailbox.
struct Admitted<'a> {
    shared: &'a Shared,
    call: &'a Call,
    claims: Claims,
    /// Folded.
    address: String,
    object_id: String,
    mailbox: Arc<Mailbox>,
}

/// Answers a call. An error closes the connection without an answer.
pub(super) async fn respond(shared: &Arc<Shared>, call: &Call) -> io::Result<Answer> {
    let request = random::guid();
    let client = call.header("client-request-id").map_or_else(|| request.clone(), str::to_owned);
    let ids = Ids { request, client };
    let mut answer = match admit(shared, call) {
        Ok((admitted, target)) => {
            let (_place, taken) = shared.under_way.take(&admitted.claims.client_id, &admitted.address);
            let name = target.name(&call.head.method);
            shared.tally.call(Service::Graph, &admitted.address, &name);
            shared.tally.concurrent_calls(Service::Graph, &admitted.address, taken);
            if taken > CALLS {
                GraphError::of_status(429, None, Some(Duration::from_secs(1))).answer(shared, &ids)
            } else {
                let refuse =
                    |status, code, retry_after| GraphError::of_status(status, code, retry_after).answer(shared, &ids);
                let work = || admitted.perform(&target).unwrap_or_else(|error| error.answer(shared, &ids));
                perform(shared, Service::Graph, &name, refuse, work).await?
            }
        }
        Err(error) => {
            shared.tally.call(Service::Graph, "", "");
            error.answer(shared, &ids)
        }
    };
    let headers = answer.headers_mut();
    set(headers, "request-id", &ids.request);
    set(headers, "client-request-id", &ids.client);
    set(headers, "cache-control", "no-store, no-cache");
    set(headers, "strict-transport-security", "max-age=31536000");
    Ok(answer)
}

/// Who calls, and for what.
fn admit<'a>(shared: &'a Shared, call: &'a Call) -> Result<(Admitted<'a>, Target), GraphError> {
    let token = call.bearer().ok_or_else(|| GraphError::token("Access token is empty."))?;
    let claims = shared
        .mint
        .verify(token, shared.time.unix())
        .ok_or_else(|| GraphError::token("Access token has expired or is not yet valid."))?;
    if !GRAPH_RESOURCES.contains(&claims.audience.as_str()) {
        return Err(GraphError::token("Access token validation failure. Invalid audience."));
    }
    let (who, target) = route(call.head.uri.path())
        .map_err(|segment| GraphError::bad_request(format!("Resource not found for the segment '{segment}'.")))?;
    let address = match (who, &claims.user) {
        (Who::Me, Some(user)) => user.clone(),
        (Who::Me, None) => {
            return Err(GraphError::bad_request("/me request is only valid with delegated authentication flow."));
        }
        (Who::User(name), _) => shared.directory.address_of(&name).ok_or_else(|| {
            GraphError::new(404, "ErrorInvalidUser", format!("The requested user '{name}' is invalid."))
        })?,
    };
    let mailbox = match shared.directory.enter(&claims, &address) {
        Entry::Open(mailbox) => mailbox,
        Entry::NoSuchMailbox => return Err(GraphError::of_status(404, None, None)),
        Entry::Denied if claims.user.is_none() => {
            return Err(GraphError::new(
                403,
                "ErrorAccessDenied",
                "Access to OData is disabled: [RAOP] : Blocked by tenant configured AppOnly AccessPolicy settings.",
            ));
        }
        Entry::Denied => return Err(GraphError::access_denied()),
    };
    let object_id = shared.directory.object_id(&address);
    Ok((Admitted { shared, call, claims, address, object_id, mailbox }, target))
}

impl Admitted<'_> {
    fn perform(&self, target: &Target) -> Result<Answer, GraphError> {
        const READ: &[&str] = &["Mail.Read", "Mail.ReadWrite"];
        const WRITE: &[&str] = &["Mail.ReadWrite"];
        const SEND: &[&str] = &["Mail.Send"];
        if self.call.body.len() > REQUEST_OCTETS {
            return Err(GraphError::of_status(413, None, None));
        }
        match (&self.call.head.method, target) {
            (&Method::GET, Target::Profile) => self.profile(),
            (&Method::POST, Target::SendMail) => self.permitted(SEND)?.send_mail(),
            (&Method::GET, Target::Messages(folder)) => self.permitted(READ)?.list_messages(folder.as_deref()),
            (&Method::POST, Target::Messages(folder)) => self.permitted(WRITE)?.create_message(folder.as_deref()),
            (&Method::GET, Target::Message(id)) => self.permitted(READ)?.show_message(id),
            (&Method::PATCH, Target::Message(id)) => self.permitted(WRITE)?.change_message(id),
            (&Method::DELETE, Target::Message(id)) => self.permitted(WRITE)?.delete_message(id, false),
            (&Method::GET, Target::Value(id)) => self.permitted(READ)?.message_value(id),
            (&Method::GET, Target::Attachments(message, one)) => {
                self.permitted(READ)?.show_attachments(message, one.as_deref())
            }
            (&Method::GET, Target::AttachmentValue(message, one)) => {
                self.permitted(READ)?.attachment_value(message, one)
            }
            (&Method::POST, Target::Action(id, action)) => match action {
                Action::Move => self.permitted(WRITE)?.move_message(id, true),
                Action::Copy => self.permitted(WRITE)?.move_message(id, false),
                Action::Send => self.permitted(SEND)?.send_draft(id),
                Action::DeleteForGood => self.permitted(WRITE)?.delete_message(id, true),
            },
            (&Method::GET, Target::Folders(parent)) => self.permitted(READ)?.list_folders(parent.as_deref()),
            (&Method::GET, Target::Folder(id)) => self.permitted(READ)?.show_folder(id),
            (method, _) => Err(GraphError::new(
                405,
                "Request_BadRequest",
                format!("Specified HTTP method is not allowed for the request target: {method}."),
            )),
        }
    }

    fn permitted(&self, any_of: &[&str]) -> Result<&Self, GraphError> {
        let permitted = any_of.iter().any(|permission| self.claims.permits(permission));
        permitted.then_some(self).ok_or_else(GraphError::access_denied)
    }

    fn profile(&self) -> Result<Answer, GraphError> {
        if !self.claims.permits("User.Read") {
            return Err(GraphError::new(
                403,
                "Authorization_RequestDenied",
                "Insufficient privileges to complete the operation.",
            ));
        }
        let name = self.address.split('@').next().unwrap_or_default();
        Ok(self.json(
            StatusCode::OK,
            "users/$entity",
            json!({
                "displayName": name,
                "mail": self.address,
                "userPrincipalName": self.address,
                "id": self.object_id,
            }),
        ))
    }

    fn naming(&self) -> Naming<'_> {
        let mut prefers = self.call.head.headers.get_all("prefer").into_iter().filter_map(|value| value.to_str().ok());
        let immutable = prefers.any(|value| value.to_ascii_lowercase().contains("idtype=\"immutableid\""));
        Naming { mailbox: &self.object_id, immutable }
    }

    fn query(&self) -> &str {
        self.call.head.uri.query().unwrap_or_default()
    }

    /// Where the caller finds this service.
    fn base(&self) -> String {
        format!("https://{}", self.call.header("host").unwrap_or("graph.microsoft.com"))
    }

    /// An object, with the context that OData puts before it.
    fn json(&self, status: StatusCode, context: &str, object: Value) -> Answer {
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
    fn page(&self, context: &str, values: Vec<Value>, next: Option<usize>, count: Option<usize>) -> Answer {
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

    fn read_json(&self) -> Result<Value, GraphError> {
        serde_json::from_slice(&self.call.body).map_err(|_| {
            GraphError::bad_request(
                "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON format.",
            )
        })
    }
}

fn empty(status: StatusCode) -> Answer {
    let mut answer = whole("");
    *answer.status_mut() = status;
    answer
}
