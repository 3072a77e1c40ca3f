//! Checks values for Entra: tenants, application ids, authorities, grants and scopes. Pure.

use url::Url;

use super::cloud::Preset;
use super::model::account::LoginPattern;
use super::model::issuer::Entra;
use super::model::issuer::{Cloud, Tenant, is_domain};
use super::plausible::is_placeholder;
use super::value::{self, ValueError, quoted, wrong};
use gatepost_core::account::is_guid;

/// Scopes that belong to no resource (OpenID Connect Core §5.4, §11).
pub(super) const OPENID_SCOPES: [&str; 4] = ["offline_access", "openid", "profile", "email"];

/// The grants that this version serves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum GrantKind {
    Password,
    ClientCredentials,
    AuthorizationCode,
    DeviceCode,
}

pub(super) fn cloud(text: &str) -> Result<Cloud, ValueError> {
    value::choice(text, &Cloud::ALL.map(|cloud| (cloud.preset().name, cloud)))
}

pub(super) fn default_authority(cloud: Cloud) -> Option<Url> {
    let host = cloud.preset().authorities.first()?;
    Url::parse(&format!("https://{host}/")).ok()
}

pub(super) fn grant(text: &str) -> Result<GrantKind, ValueError> {
    value::choice(
        text,
        &[
            ("password", GrantKind::Password),
            ("client_credentials", GrantKind::ClientCredentials),
            ("authorization_code", GrantKind::AuthorizationCode),
            ("device_code", GrantKind::DeviceCode),
        ],
    )
}

pub(super) fn client_id(text: &str) -> Result<String, ValueError> {
    if is_guid(text) {
        return Ok(text.to_ascii_lowercase());
    }
    let what = if is_placeholder(text) { "a placeholder" } else { "not an application id" };
    wrong(
        format!("{} is {what}", quoted(text)),
        "copy the application (client) id from Entra, such as `00000000-0000-0000-0000-000000000000`",
    )
}

pub(super) fn tenant(text: &str) -> Result<Tenant, ValueError> {
    let folded = text.to_ascii_lowercase();
    match folded.as_str() {
        "auto" => Ok(Tenant::OfLogin),
        "organizations" => Ok(Tenant::Organizations),
        // Its directory id says the same.
        "consumers" | Entra::PERSONAL_ACCOUNTS => Ok(Tenant::Consumers),
        "common" => Ok(Tenant::Common),
        _ if is_guid(text) || is_domain(text) => Ok(Tenant::Named(folded)),
        _ => wrong(
            match is_placeholder(text) {
                true => format!("{} is a placeholder", quoted(text)),
                false => format!("{} is neither a directory id nor a domain", quoted(text)),
            },
            "write the directory id or a verified domain, such as `contoso.com`",
        ),
    }
}

/// The tenant for an entry: `auto` becomes the entry's own domain, where it has one.
pub(super) fn fit_tenant(
    tenant: Tenant,
    kind: Option<GrantKind>,
    pattern: &LoginPattern,
) -> Result<Tenant, ValueError> {
    match (&tenant, pattern) {
        (Tenant::Organizations, _) if kind == Some(GrantKind::ClientCredentials) => wrong(
            "with `client_credentials` an application signs in at one tenant, and `organizations` names none (AADSTS50059)",
            "write the directory id or a verified domain, or `tenant: auto` for the domain of each login",
        ),
        (Tenant::Consumers | Tenant::Common, _) if kind == Some(GrantKind::Password) => wrong(
            format!("passwords cannot be exchanged for tokens at `{}` (AADSTS9001023)", tenant.name()),
            "write `grant: authorization_code` or `grant: device_code`, or name the tenant of the users",
        ),
        (Tenant::Consumers | Tenant::Common, _) if kind == Some(GrantKind::ClientCredentials) => wrong(
            format!("no application opens mailboxes by itself at `{}`: a person must sign in", tenant.name()),
            "write `grant: authorization_code` or `grant: device_code`, or the directory id of the tenant",
        ),
        (Tenant::OfLogin, LoginPattern::Address(address)) => domain_as_tenant(address.domain()),
        (Tenant::OfLogin, LoginPattern::Domain(domain)) => domain_as_tenant(domain),
        _ => Ok(tenant),
    }
}

fn domain_as_tenant(domain: &str) -> Result<Tenant, ValueError> {
    if is_domain(domain) {
        return Ok(Tenant::Named(domain.to_owned()));
    }
    wrong(
        format!("`tenant: auto` means {} here, which is no domain of a tenant", quoted(domain)),
        "write the directory id or a verified domain into the entry's own `tenant`",
    )
}

pub(super) fn authority(text: &str) -> Result<Url, ValueError> {
    let hint = "write `https://login.microsoftonline.com/`, or remove the key";
    let Ok(mut url) = Url::parse(text) else {
        return wrong("the authority is not a URL", hint);
    };
    if url.scheme() != "https" {
        return wrong(format!("the authority must use `https`, not {}", quoted(url.scheme())), hint);
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return wrong("the authority is a scheme, a host, perhaps a port, and a path at most", hint);
    }
    let of_microsoft = url.host_str().is_some_and(|host| !Cloud::of_authority(host).is_empty());
    if of_microsoft && url.path() != "/" {
        return wrong(
            "the authority holds more than the host",
            "put the tenant into `tenant`, and leave the path out here",
        );
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

/// Checks a scope for what Entra would refuse: scopes of two resources, `.default` with others, an
/// application's scope that is not `.default`; and for resources whose tokens open no mailbox in
/// this cloud. Gives the resource if it is none that is known.
pub(super) fn check_scope(scope: &str, kind: GrantKind, cloud: Cloud) -> Result<Option<String>, ValueError> {
    if !scope.bytes().all(|b| b == b' ' || (b.is_ascii_graphic() && b != b'"' && b != b'\\')) {
        return wrong("the scope holds a character that no scope has", "write scopes with a space between them");
    }
    let preset = cloud.preset();
    let own = if kind == GrantKind::ClientCredentials { preset.application_scope } else { preset.user_scope };
    let scopes: Vec<&str> =
        scope.split(' ').filter(|scope| !scope.is_empty() && !OPENID_SCOPES.contains(scope)).collect();
    let Some(first) = scopes.first() else {
        return wrong("the scope names no resource", format!("write `{own}`, or remove the key"));
    };
    let resource = if cloud == Cloud::China {
        check_v1_resource(first, &scopes, own)?
    } else {
        check_v2_scopes(&scopes, kind, preset, own)?
    };
    if preset.is_exchange(&resource) {
        return Ok(None);
    }
    if Cloud::ALL.iter().any(|other| other.preset().graph == resource) {
        return wrong(
            "a token for Microsoft Graph opens no mailbox over IMAP, POP3 or SMTP",
            format!("write `{own}`, or remove the key"),
        );
    }
    if let Some(other) = Cloud::ALL.iter().find(|other| other.preset().is_exchange(&resource)) {
        let (theirs, ours) = (other.preset().name, preset.name);
        return wrong(
            format!("the scope belongs to the cloud `{theirs}`, and the one configured is `{ours}`"),
            format!("write `cloud: {theirs}`, or remove the key"),
        );
    }
    Ok(Some(resource))
}

fn check_v2_scopes(scopes: &[&str], kind: GrantKind, preset: &Preset, own: &str) -> Result<String, ValueError> {
    // Entra treats a scope without a resource as one of Microsoft Graph.
    let resource = |scope: &str| match scope.rsplit_once('/') {
        Some((resource, _)) if resource.contains("//") || is_guid(resource) => {
            resource.trim_end_matches('/').to_ascii_lowercase()
        }
        _ => preset.graph.to_owned(),
    };
    let of_first = scopes.first().map_or_else(String::new, |scope| resource(scope));
    if let Some(other) = scopes.iter().map(|scope| resource(scope)).find(|other| *other != of_first) {
        return wrong(
            format!("the scope names two resources, {} and {}", quoted(&of_first), quoted(&other)),
            format!("ask for one resource. The mail protocols need `{own}`"),
        );
    }
    let default = scopes.iter().filter(|scope| scope.ends_with("/.default")).count();
    if kind == GrantKind::ClientCredentials && (default, scopes.len()) != (1, 1) {
        return wrong(
            "with `client_credentials` the scope must be one that ends in `/.default`",
            format!("write `{own}`, or remove the key"),
        );
    }
    if default > 0 && scopes.len() > 1 {
        return wrong("`/.default` cannot be asked for together with other scopes", "keep `/.default`, or the others");
    }
    Ok(of_first)
}

/// Checks a scope for the v1.0 endpoint, which takes one resource, without permissions.
fn check_v1_resource(first: &str, scopes: &[&str], own: &str) -> Result<String, ValueError> {
    let resource = first.trim_end_matches('/').to_ascii_lowercase();
    let is_resource = is_guid(&resource) || resource.rsplit_once('/').is_some_and(|(before, _)| before.ends_with('/'));
    if scopes.len() == 1 && is_resource {
        return Ok(resource);
    }
    wrong(
        "in this cloud the scope is one resource, without permissions or `/.default`",
        format!("write `{own}`, or remove the key"),
    )
}
