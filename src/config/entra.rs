//! What Entra takes: tenants, application ids, authorities, grants and scopes, as text of the configuration. Pure.

use url::Url;

use super::Cloud;
use super::value::{self, Wrong, quoted, wrong};

pub(super) const CLOUDS: [(&str, Cloud); 4] = [
    ("worldwide", Cloud::Worldwide),
    ("us-gov-gcc-high", Cloud::UsGovGccHigh),
    ("us-gov-dod", Cloud::UsGovDod),
    ("china", Cloud::China),
];

/// Hosts of Microsoft's token services, per cloud; the first of each cloud is its default.
pub(super) const AUTHORITIES: [(&str, &[Cloud]); 9] = [
    ("login.microsoftonline.com", &[Cloud::Worldwide]),
    ("login.microsoftonline.us", &[Cloud::UsGovGccHigh, Cloud::UsGovDod]),
    ("login.partner.microsoftonline.cn", &[Cloud::China]),
    ("login.windows.net", &[Cloud::Worldwide]),
    ("login.microsoft.com", &[Cloud::Worldwide]),
    ("sts.windows.net", &[Cloud::Worldwide]),
    ("login-us.microsoftonline.com", &[Cloud::Worldwide]),
    ("login.usgovcloudapi.net", &[Cloud::UsGovGccHigh, Cloud::UsGovDod]),
    ("login.chinacloudapi.cn", &[Cloud::China]),
];

/// Scopes that belong to no resource (OpenID Connect Core §5.4, §11).
const OPENID_SCOPES: [&str; 4] = ["offline_access", "openid", "profile", "email"];

/// The grants that this version serves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum GrantKind {
    Password,
    ClientCredentials,
    AuthorizationCode,
    DeviceCode,
}

pub(super) fn default_authority(cloud: Cloud) -> Option<Url> {
    let (host, _) = AUTHORITIES.iter().find(|(_, clouds)| clouds.contains(&cloud))?;
    Url::parse(&format!("https://{host}/")).ok()
}

pub(super) fn grant(text: &str) -> Result<GrantKind, Wrong> {
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

/// The form of a directory id, an application id or an object id.
pub(crate) fn is_guid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|b| b.is_ascii_hexdigit()))
}

pub(super) fn client_id(text: &str) -> Result<String, Wrong> {
    if is_guid(text) {
        return Ok(text.to_ascii_lowercase());
    }
    wrong(
        format!("{} is not an application id", quoted(text)),
        "copy the application (client) id from Entra, such as `00000000-0000-0000-0000-000000000000`",
    )
}

pub(super) fn tenant(text: &str) -> Result<String, Wrong> {
    let folded = text.to_ascii_lowercase();
    if ["common", "organizations", "consumers"].contains(&folded.as_str()) {
        return wrong(
            format!("`{folded}` names no tenant, and passwords cannot be exchanged for tokens there"),
            "write the directory id or a verified domain of the tenant",
        );
    }
    if is_guid(text)
        || (text.contains('.') && value::host_name(text).is_ok() && text.parse::<std::net::IpAddr>().is_err())
    {
        return Ok(folded);
    }
    wrong(
        format!("{} is neither a directory id nor a domain", quoted(text)),
        "write the directory id or a verified domain, such as `contoso.com`",
    )
}

pub(super) fn authority(text: &str) -> Result<Url, Wrong> {
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
    let of_microsoft = AUTHORITIES.iter().any(|(host, _)| url.host_str() == Some(host));
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

/// What Entra would refuse: scopes of two resources, `.default` with others, an application's scope that is not `.default`.
pub(super) fn check_scope(scope: &str, kind: GrantKind, china: bool) -> Result<(), Wrong> {
    if !scope.bytes().all(|b| b == b' ' || (b.is_ascii_graphic() && b != b'"' && b != b'\\')) {
        return wrong("the scope holds a character that no scope has", "write scopes with a space between them");
    }
    let scopes: Vec<&str> =
        scope.split(' ').filter(|scope| !scope.is_empty() && !OPENID_SCOPES.contains(scope)).collect();
    let Some(first) = scopes.first() else {
        return wrong("the scope names no resource", "write `https://outlook.office.com/.default`, or remove the key");
    };
    // Entra takes a scope without a resource for one of Microsoft Graph.
    let resource = |scope: &str| match scope.rsplit_once('/') {
        Some((resource, _)) if resource.contains("//") => resource.trim_end_matches('/').to_ascii_lowercase(),
        _ => "https://graph.microsoft.com".to_owned(),
    };
    if china && kind == GrantKind::ClientCredentials && scopes.len() == 1 {
        return Ok(());
    }
    if let Some(other) = scopes.iter().find(|scope| resource(scope) != resource(first)) {
        return wrong(
            format!("the scope names two resources, {} and {}", quoted(&resource(first)), quoted(&resource(other))),
            "ask for one resource; the mail protocols need `https://outlook.office.com/.default`",
        );
    }
    if !china && resource(first).contains("graph.microsoft") {
        return wrong(
            "a token for Microsoft Graph opens no mailbox over IMAP, POP3 or SMTP",
            "write scopes of `https://outlook.office.com/`, or remove the key",
        );
    }
    let default = scopes.iter().filter(|scope| scope.ends_with("/.default")).count();
    if kind == GrantKind::ClientCredentials && (default, scopes.len()) != (1, 1) {
        return wrong(
            "with `client_credentials` the scope must be one that ends in `/.default`",
            "write `https://outlook.office365.com/.default`, or remove the key",
        );
    }
    if default > 0 && scopes.len() > 1 {
        return wrong("`/.default` cannot be asked for together with other scopes", "keep `/.default`, or the others");
    }
    Ok(())
}
