//! Microsoft Entra ID as an authorization server: addresses, scopes, error codes and claims of its
//! own.

use url::Url;

use crate::response::Dialect;
use crate::server::AuthorizationServer;
use crate::sign_in::identity::{Claims, IdTokenProblem, Identity};
use gatepost_config::{Cloud, Entra};
use gatepost_core::account::{MailAddress, is_guid};

/// The issuers of each cloud besides the configured authority: the v2.0 endpoint's and the v1.0
/// endpoint's.
const ISSUERS: [(Cloud, &[&str]); 4] = [
    (Cloud::Worldwide, &["https://login.microsoftonline.com/", "https://sts.windows.net/"]),
    (Cloud::UsGovGccHigh, &["https://login.microsoftonline.us/", "https://sts.windows.net/"]),
    (Cloud::UsGovDod, &["https://login.microsoftonline.us/", "https://sts.windows.net/"]),
    (Cloud::China, &["https://login.partner.microsoftonline.cn/", "https://sts.chinacloudapi.cn/"]),
];

impl AuthorizationServer for Entra {
    fn token_url(&self, tenant: &str) -> Url {
        endpoint_url(self, tenant, "token")
    }

    fn authorize_url(&self, tenant: &str) -> Option<Url> {
        let mut url = endpoint_url(self, tenant, "authorize");
        url.query_pairs_mut().append_pair("response_mode", "query");
        Some(url)
    }

    fn device_url(&self, tenant: &str) -> Option<Url> {
        Some(endpoint_url(self, tenant, "devicecode"))
    }

    /// The scope, the identity (`openid`, `profile`; OpenID Connect Core §3.1.2.1) and a refresh
    /// token (`offline_access`, §11). The v1.0 endpoint gives refresh tokens without being asked.
    fn sign_in_scope(&self, scope: &str) -> Vec<(&'static str, String)> {
        if is_v1(self) {
            return vec![("resource", scope.to_owned()), ("scope", "openid".to_owned())];
        }
        let mut scopes: Vec<&str> = scope.split(' ').filter(|scope| !scope.is_empty()).collect();
        for needed in ["offline_access", "openid", "profile"] {
            if !scopes.contains(&needed) {
                scopes.push(needed);
            }
        }
        vec![("scope", scopes.join(" "))]
    }

    fn token_scope(&self, is_sign_in: bool, scope: &str) -> Vec<(&'static str, String)> {
        if is_sign_in {
            return self.sign_in_scope(scope);
        }
        vec![(if is_v1(self) { "resource" } else { "scope" }, scope.to_owned())]
    }

    fn device_grant(&self) -> (&'static str, &'static str) {
        if is_v1(self) {
            return ("device_code", "code");
        }
        ("urn:ietf:params:oauth:grant-type:device_code", "device_code")
    }

    /// A credential is refused there (AADSTS90023, AADSTS700025).
    fn has_public_clients(&self) -> bool {
        true
    }

    fn dialect(&self) -> Dialect {
        Dialect::ENTRA
    }

    fn identity(&self, claims: Claims, tenant: &str) -> Result<Identity, IdTokenProblem> {
        let (Some(tid), Some(oid)) = (claims.tid, claims.oid) else { return Err(IdTokenProblem::Malformed) };
        if !is_guid(&tid) || !is_guid(&oid) {
            return Err(IdTokenProblem::Malformed);
        }
        if !is_issuer(&claims.iss, self, &tid) {
            return Err(IdTokenProblem::Issuer);
        }
        let tenant_id = tid.to_ascii_lowercase();
        if is_guid(tenant) && tenant != tenant_id {
            return Err(IdTokenProblem::Tenant { found: tenant_id });
        }
        match (tenant, tenant_id == Entra::PERSONAL_ACCOUNTS) {
            ("consumers", false) => return Err(IdTokenProblem::WorkAccount { tenant: tenant_id }),
            ("common" | "consumers", _) | (_, false) => {}
            (_, true) => return Err(IdTokenProblem::PersonalAccount),
        }
        let mut usernames: Vec<MailAddress> = Vec::new();
        for name in [claims.preferred_username, claims.upn, claims.unique_name].into_iter().flatten() {
            usernames.extend(MailAddress::parse(&name).ok().filter(|name| !usernames.contains(name)));
        }
        Ok(Identity {
            tenant_id,
            object_id: oid.to_ascii_lowercase(),
            issuer: claims.iss,
            usernames,
            email: claims.email.and_then(|email| MailAddress::parse(&email).ok()),
        })
    }
}

/// Microsoft, "Access token claims reference", `iss`: the authority, the directory id, and `/v2.0`
/// or nothing.
fn is_issuer(issuer: &str, entra: &Entra, tenant_id: &str) -> bool {
    let of_cloud = ISSUERS.iter().filter(|(cloud, _)| *cloud == entra.cloud).flat_map(|(_, bases)| *bases);
    of_cloud.copied().chain([entra.authority.as_str()]).any(|base| {
        let rest = issuer.strip_prefix(base).and_then(|rest| rest.strip_prefix(tenant_id));
        matches!(rest, Some("/v2.0" | "/"))
    })
}

fn is_v1(entra: &Entra) -> bool {
    entra.cloud == Cloud::China
}

/// The page on which an administrator of the tenant consents to all permissions that the
/// registration of the application asks for (Microsoft, "Admin consent endpoint").
pub fn consent_url(entra: &Entra, client_id: &str, tenant: &str) -> Url {
    let mut url = entra.authority.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push(tenant).push("adminconsent");
    }
    url.query_pairs_mut().append_pair("client_id", client_id);
    url
}

/// One of the endpoints of the tenant: `token`, `authorize` or `devicecode`.
fn endpoint_url(entra: &Entra, tenant: &str, endpoint: &str) -> Url {
    let mut url = entra.authority.clone();
    // The authority is an `https` URL, which always has path segments. The tenant is pushed as one
    // segment, so it cannot change the rest of the path.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push(tenant).push("oauth2");
        if !is_v1(entra) {
            path.push("v2.0");
        }
        path.push(endpoint);
    }
    url
}
