//! The registration of the confidential application, as it may see and change it itself: its object
//! id and its certificates (Microsoft, "application: addKey" and "application: removeKey").

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::admitted::empty;
use super::error::GraphError;
use crate::calendar;
use crate::http::body::Answer;
use crate::http::call::{Call, plain};
use crate::state::SandboxState;
use crate::token::Claims;

/// What a call asks of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Show,
    AddKey,
    RemoveKey,
}

/// The application that a path names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named {
    ClientId(String),
    ObjectId(String),
}

/// A call that is for an application.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) named: Named,
    pub(super) action: Action,
}

impl Target {
    /// Reads a path. `None` if it is about something else.
    pub(super) fn read(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/v1.0/applications").or_else(|| path.strip_prefix("/beta/applications"))?;
        let (named, rest) = match rest.strip_prefix("(appId='") {
            Some(rest) => rest.split_once("')").map(|(id, rest)| (Named::ClientId(id.to_lowercase()), rest))?,
            None => {
                let rest = rest.strip_prefix('/')?;
                let (id, _) = rest.split_once('/').unwrap_or((rest, ""));
                (Named::ObjectId(id.to_lowercase()), rest.get(id.len()..)?)
            }
        };
        let action = match rest.trim_start_matches('/').trim_start_matches("microsoft.graph.") {
            "" if matches!(named, Named::ClientId(_)) => Action::Show,
            "addKey" => Action::AddKey,
            "removeKey" => Action::RemoveKey,
            _ => return None,
        };
        Some(Self { named, action })
    }

    /// The name of a call: method and path, with `{id}` for identifiers.
    pub(super) fn name(&self, method: &Method) -> String {
        let path = match self.action {
            Action::Show => "",
            Action::AddKey => "/addKey",
            Action::RemoveKey => "/removeKey",
        };
        format!("{method} /applications/{{id}}{path}")
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Addition {
    key_credential: KeyCredential,
    #[serde(default)]
    password_credential: Value,
    proof: String,
}

#[derive(Deserialize)]
struct KeyCredential {
    #[serde(rename = "type")]
    kind: String,
    usage: String,
    key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Removal {
    key_id: String,
    proof: String,
}

/// Does what a call asks for, if its bearer is the application itself. Only that may change its keys
/// without a permission.
pub(super) fn perform(
    shared: &SandboxState,
    call: &Call,
    claims: &Claims,
    target: &Target,
) -> Result<Answer, GraphError> {
    let directory = &shared.directory;
    let client_id = &directory.confidential_client_id;
    let object_id = directory.application_object_id();
    let known = match &target.named {
        Named::ClientId(id) => id == client_id,
        Named::ObjectId(id) => *id == object_id,
    };
    if !known {
        let message = "Resource does not exist or one of its queried reference-property objects are not present.";
        return Err(GraphError::new(404, "Request_ResourceNotFound", message));
    }
    let is_own = claims.user.is_none() && claims.client_id == *client_id;
    let registration = &directory.registration;
    let now = shared.time.unix_seconds();
    match (&call.head.method, target.action) {
        (&Method::GET, Action::Show) if is_own && shared.may_read_application() => {
            let keys = registration.keys().into_iter().map(|(id, thumbprint)| {
                json!({"keyId": id, "customKeyIdentifier": thumbprint, "type": "AsymmetricX509Cert", "usage": "Verify"})
            });
            Ok(body(&json!({"id": object_id, "appId": client_id, "keyCredentials": keys.collect::<Vec<_>>()})))
        }
        (&Method::GET, Action::Show) => Err(denied()),
        (&Method::POST, _) if !is_own => Err(denied()),
        (&Method::POST, Action::AddKey) => {
            let Addition { key_credential, password_credential, proof } = read(call)?;
            check_proof(shared, &proof, &object_id, now)?;
            if key_credential.kind != "AsymmetricX509Cert" || key_credential.usage != "Verify" {
                return Err(bad("Key credential type or usage is invalid."));
            }
            if !password_credential.is_null() {
                return Err(bad("Password credential is not allowed with this type of key."));
            }
            let der = STANDARD.decode(key_credential.key).unwrap_or_default();
            let (key_id, end) = registration.add_key(&der).ok_or_else(|| bad("Key credential value is invalid."))?;
            Ok(body(&json!({
                "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#microsoft.graph.keyCredential",
                "keyId": key_id,
                "type": "AsymmetricX509Cert",
                "usage": "Verify",
                "endDateTime": calendar::iso(end),
            })))
        }
        (&Method::POST, Action::RemoveKey) => {
            let Removal { key_id, proof } = read(call)?;
            check_proof(shared, &proof, &object_id, now)?;
            if !registration.remove_key(&key_id) {
                return Err(bad("No credentials found to be removed."));
            }
            Ok(empty(StatusCode::NO_CONTENT))
        }
        (method, _) => Err(GraphError::new(
            405,
            "Request_BadRequest",
            format!("Specified HTTP method is not allowed for the request target: {method}."),
        )),
    }
}

fn check_proof(shared: &SandboxState, proof: &str, object_id: &str, now: i64) -> Result<(), GraphError> {
    if shared.directory.registration.is_proof(proof, object_id, now) {
        return Ok(());
    }
    Err(GraphError::new(401, "Authentication_MissingOrMalformed", "Access Token missing or malformed."))
}

fn read<'a, T: Deserialize<'a>>(call: &'a Call) -> Result<T, GraphError> {
    serde_json::from_slice(&call.body).map_err(|_| bad("Unable to read JSON request payload."))
}

fn body(value: &Value) -> Answer {
    plain(StatusCode::OK, "application/json; odata.metadata=minimal", value.to_string())
}

fn bad(message: &str) -> GraphError {
    GraphError::new(400, "Request_BadRequest", message)
}

fn denied() -> GraphError {
    GraphError::new(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_an_application_and_what_is_done_with_it() {
        let target = |named, action| Some(Target { named, action });
        let (by_client, by_object) = (|| Named::ClientId("ab-1".into()), || Named::ObjectId("cd-2".into()));
        for (path, expected) in [
            ("/v1.0/applications(appId='AB-1')", target(by_client(), Action::Show)),
            ("/v1.0/applications(appId='ab-1')/addKey", target(by_client(), Action::AddKey)),
            ("/beta/applications/cd-2/removeKey", target(by_object(), Action::RemoveKey)),
            ("/v1.0/applications/cd-2", None),
            ("/v1.0/applications/cd-2/owners", None),
            ("/v1.0/applications", None),
            ("/v1.0/me/messages", None),
        ] {
            assert_eq!(Target::read(path), expected, "{path}");
        }
        let target = Target { named: by_object(), action: Action::AddKey };
        assert_eq!(target.name(&Method::POST), "POST /applications/{id}/addKey");
    }
}
