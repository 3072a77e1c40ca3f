//! Asks Entra whether a tenant exists, by the tenant's public metadata (OpenID Connect Discovery
//! 1.0 §4). No application, credential or user is involved.

use std::time::{Duration, UNIX_EPOCH};

use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use crate::endpoint::{HttpEndpoint, TransportError};
use crate::fetch_error::FetchError;
use crate::response::{self, Dialect};
use gatepost_config::Entra;
use gatepost_core::account::is_guid;
use gatepost_core::clock::UnixTime;

/// What Entra says about a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    /// The directory id; `None` for `organizations`.
    pub tenant_id: Option<String>,
    /// Entra's time when it answered, in whole seconds.
    pub date: Option<UnixTime>,
    /// From the beginning of the request to the end of the answer.
    pub took: Duration,
}

/// Why nothing is known about a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotDiscovered {
    /// There was no answer.
    Transport(TransportError),
    /// The answer says that there is no such tenant, or is not one of Entra's.
    Answered {
        /// What it says.
        error: FetchError,
        /// Entra's time when it answered, in whole seconds.
        date: Option<UnixTime>,
    },
}

impl NotDiscovered {
    /// The error of a token request that would have failed in the same way.
    pub fn into_error(self) -> FetchError {
        match self {
            Self::Transport(error) => FetchError::Transport(error),
            Self::Answered { error, .. } => error,
        }
    }
}

/// Asks about `tenant`, once.
///
/// # Errors
/// [`NotDiscovered`].
pub async fn discover(endpoint: &HttpEndpoint, entra: &Entra, tenant: &str) -> Result<Discovered, NotDiscovered> {
    let began = Instant::now();
    let answer = endpoint.get(&url(entra, tenant)).await.map_err(NotDiscovered::Transport)?;
    let date = answer.date.as_deref().and_then(time);
    match read(answer.status, &answer.body) {
        Ok(tenant_id) => Ok(Discovered { tenant_id, date, took: began.elapsed() }),
        Err(error) => Err(NotDiscovered::Answered { error, date }),
    }
}

/// The address of the metadata of a tenant.
fn url(entra: &Entra, tenant: &str) -> Url {
    let mut url = entra.authority.clone();
    // The authority is an `https` URL, which always has path segments. The tenant is pushed as one
    // segment, so it cannot change the rest of the path.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend([tenant, "v2.0", ".well-known", "openid-configuration"]);
    }
    url
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
}

/// Returns the directory id in the issuer (`https://login.microsoftonline.com/‹id›/v2.0`).
fn read(status: u16, body: &[u8]) -> Result<Option<String>, FetchError> {
    if status == 200
        && let Ok(Metadata { issuer }) = serde_json::from_slice(body)
        && let Ok(issuer) = Url::parse(&issuer)
    {
        let first = issuer.path_segments().and_then(|mut segments| segments.next().map(str::to_owned));
        return Ok(first.filter(|id| is_guid(id)));
    }
    match response::parse(status, body, Dialect::ENTRA) {
        Err(error) => Err(error.into()),
        Ok(_) => Err(FetchError::Unclear { status, why: "it is not the metadata of a tenant" }),
    }
}

fn time(date: &str) -> Option<UnixTime> {
    let date = httpdate::parse_http_date(date).ok()?;
    date.duration_since(UNIX_EPOCH).ok().map(|since| UnixTime(since.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aadsts::Class;
    use gatepost_config::{Cloud, Tenant};

    #[test]
    fn the_metadata_names_the_directory() {
        let id = "8d6b9a5e-1111-2222-3333-444455556666";
        let of = |issuer: &str| read(200, format!(r#"{{"issuer":"{issuer}","x":1}}"#).as_bytes());
        assert_eq!(of(&format!("https://login.microsoftonline.com/{id}/v2.0")), Ok(Some(id.to_owned())));
        assert_eq!(of("https://login.microsoftonline.com/{tenantid}/v2.0"), Ok(None));
        assert!(matches!(read(200, b"<html>"), Err(FetchError::Unclear { status: 200, .. })));
        assert!(matches!(read(200, br#"{"issuer":"x"}"#), Err(FetchError::Unclear { .. })));
        assert!(matches!(read(503, b""), Err(FetchError::Busy { status: 503, .. })));
    }

    #[test]
    fn a_tenant_that_does_not_exist_is_refused_with_entras_code() {
        let body = br#"{"error":"invalid_tenant","error_description":"AADSTS90002: Tenant 'contosso.com' not found.",
                        "error_codes":[90002]}"#;
        let Err(FetchError::Refused(error)) = read(400, body) else { panic!("not refused") };
        assert_eq!((error.code, error.class), (Some(90002), Class::Administrator));
    }

    #[test]
    fn a_tenant_is_one_segment_of_the_address() {
        let entra = Entra {
            authority: Url::parse("https://login.example/").unwrap(),
            tenant: Tenant::Organizations,
            cloud: Cloud::Worldwide,
        };
        assert_eq!(url(&entra, "a/b").as_str(), "https://login.example/a%2Fb/v2.0/.well-known/openid-configuration");
    }

    #[test]
    fn a_date_is_read_in_seconds() {
        assert_eq!(time("Thu, 01 Jan 2026 00:00:00 GMT"), Some(UnixTime(1_767_225_600)));
        assert_eq!(time("yesterday"), None);
    }
}
