//! ID tokens, which tell an application who signed in.

use std::io;

use serde_json::{Value, json};

use super::request::Version;
use super::tenant::PERSONAL_TENANT;
use crate::state::SandboxState;
use crate::token;

/// How long an ID token is good, in seconds.
const LIFETIME: u64 = 3_600;

/// Says to the application `client_id` who `user` is, beside a token for `resource`.
pub(super) fn issue(
    shared: &SandboxState,
    (version, resource): (Version, &str),
    client_id: &str,
    user: &str,
    nonce: Option<&str>,
) -> io::Result<String> {
    let now = shared.time.unix().as_secs();
    let is_personal = shared.directory.is_personal(user);
    let tenant_id = if is_personal { PERSONAL_TENANT } else { &shared.directory.tenant_id };
    let mut claims = json!({
        "aud": client_id,
        "iat": now,
        "nbf": now,
        "exp": now + LIFETIME,
        "tid": tenant_id,
        "oid": shared.directory.object_id(user),
        "sub": shared.directory.object_id(&format!("{client_id} {user}")),
    });
    match version {
        Version::V1 => {
            claims["iss"] = Value::from(token::issuer(resource, tenant_id));
            claims["ver"] = Value::from("1.0");
            claims["upn"] = Value::from(user);
            claims["unique_name"] = Value::from(user);
        }
        Version::V2 => {
            claims["iss"] = Value::from(format!("{}{tenant_id}/v2.0", shared.authority));
            claims["ver"] = Value::from("2.0");
            claims["preferred_username"] = Value::from(user);
            // Discovery of `consumers` names this issuer too.
            if is_personal {
                claims["email"] = Value::from(user);
            }
        }
    }
    if let Some(nonce) = nonce {
        claims["nonce"] = Value::from(nonce);
    }
    shared.id_token_key.sign(&claims)
}
