//! Microsoft Graph, as far as mail goes: sendMail, messages and folders, for the bearers of Graph's
//! tokens; and what an administrator needs to register an application.
//!
//! As strict as Microsoft where it matters to a proxy: audience and permissions, strict base64,
//! sizes, four calls at once for each application and mailbox, identifiers that change with a move
//! unless immutable ones are preferred.

mod admitted;
mod applications;
mod attachments;
pub(super) mod concurrency;
pub(super) mod drafts;
mod error;
mod folders;
mod keys;
mod messages;
mod query;
mod route;
mod send;
mod upload;
mod view;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::json;

use self::admitted::AuthorizedCall;
use self::error::{GraphError, Ids};
use self::route::{Action, Target, Who, route};
use super::directory::MailboxAccess;
use super::http::body::Answer;
use super::http::call::{Call, perform, set};
use super::mode::Service;
use super::provider::{Provider, note_foreign};
use super::random;
use super::state::SandboxState;
use super::token::{Claims, GRAPH_RESOURCES};

/// A request's body, in octets (Microsoft, "sendMail": 4 MB).
const REQUEST_OCTETS: usize = 4 << 20;
/// Calls at once for each application and mailbox (Microsoft, "Graph throttling limits").
const CALLS: u64 = 4;

/// Answers a call. An error closes the connection without an answer.
pub(super) async fn respond(shared: &Arc<SandboxState>, call: &Call) -> io::Result<Answer> {
    let request = random::guid();
    let client = call.header("client-request-id").map_or_else(|| request.clone(), str::to_owned);
    let ids = Ids { request, client };
    if let Some(target) = applications::Target::read(call.head.uri.path()) {
        return Ok(with_ids(applications::respond(shared, call, &target, &ids).await?, &ids));
    }
    if let Some(answer) = upload::respond(shared, call, &ids).await {
        return Ok(with_ids(answer?, &ids));
    }
    let answer = match admit(shared, call) {
        Ok(Admitted::ToKeys(claims, target)) => {
            let name = target.name(&call.head.method);
            shared.tally.call(Service::Graph, "", &name);
            let refuse =
                |status, code, retry_after| GraphError::of_status(status, code, retry_after).answer(shared, &ids);
            let work =
                || keys::perform(shared, call, &claims, &target).unwrap_or_else(|error| error.answer(shared, &ids));
            perform(shared, Service::Graph, &name, refuse, work).await?
        }
        Ok(Admitted::ToMailbox(admitted, target)) => {
            let (_permit, taken) = shared.concurrent_calls.take(&admitted.claims.client_id, &admitted.address);
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
    Ok(with_ids(answer, &ids))
}

/// Adds what every answer of Graph has.
fn with_ids(mut answer: Answer, ids: &Ids) -> Answer {
    let headers = answer.headers_mut();
    set(headers, "request-id", &ids.request);
    set(headers, "client-request-id", &ids.client);
    set(headers, "cache-control", "no-store, no-cache");
    set(headers, "strict-transport-security", "max-age=31536000");
    answer
}

/// A call whose token is good.
enum Admitted<'a> {
    ToMailbox(Box<AuthorizedCall<'a>>, Target),
    ToKeys(Box<Claims>, keys::Target),
}

/// Finds out who calls, and for what.
fn admit<'a>(shared: &'a SandboxState, call: &'a Call) -> Result<Admitted<'a>, GraphError> {
    let token = call.bearer().ok_or_else(|| GraphError::token("Access token is empty."))?;
    note_foreign(shared, Provider::Microsoft, Some(Service::Graph), "", token);
    let claims = shared
        .mint
        .verify(token, shared.time.unix())
        .ok_or_else(|| GraphError::token("Access token has expired or is not yet valid."))?;
    if !GRAPH_RESOURCES.contains(&claims.audience.as_str()) {
        return Err(GraphError::token("Access token validation failure. Invalid audience."));
    }
    if let Some(target) = keys::Target::read(call.head.uri.path()) {
        return Ok(Admitted::ToKeys(Box::new(claims), target));
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
        MailboxAccess::Open(mailbox) => mailbox,
        MailboxAccess::NoSuchMailbox => return Err(GraphError::of_status(404, None, None)),
        MailboxAccess::Denied if claims.user.is_none() => {
            return Err(GraphError::new(
                403,
                "ErrorAccessDenied",
                "Access to OData is disabled: [RAOP] : Blocked by tenant configured AppOnly AccessPolicy settings.",
            ));
        }
        MailboxAccess::Denied => return Err(GraphError::access_denied()),
    };
    let object_id = shared.directory.object_id(&address);
    let admitted = AuthorizedCall { shared, call, claims, address, object_id, mailbox };
    Ok(Admitted::ToMailbox(Box::new(admitted), target))
}

impl AuthorizedCall<'_> {
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
            (&Method::POST, Target::Attachments(message, None)) => self.permitted(WRITE)?.attach(message),
            (&Method::POST, Target::UploadSession(message)) => self.permitted(WRITE)?.create_upload_session(message),
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
}
