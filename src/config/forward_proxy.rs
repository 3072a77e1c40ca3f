//! The section `forward_proxy`, and the usual environment variables when it is absent.

use std::net::Ipv4Addr;

use ipnet::IpNet;
use url::Url;

use super::reader::{Context, Section};
use super::value::{self, Wrong, quoted, wrong};
use super::{ForwardProxy, NoProxy, ProxyAuthentication, proxy_authentication};
use crate::config::problem::Place;
use crate::secret::ProxyPassword;

/// Names that curl and most programs look at, in this order; `http_proxy` is for plain HTTP alone.
const VARIABLES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];

/// Reads the section; when it is absent, the environment. `forward_proxy: none` means that there is none, whatever the
/// environment says.
pub(super) fn read(root: &Section<'_>) -> Option<ForwardProxy> {
    let Some(node) = root.get("forward_proxy") else { return from_environment(root.context()) };
    if node.as_text() == Some("none") {
        return None;
    }
    let section = node.section();
    let address = match section.get("url") {
        Some(node) => node.read(|text| {
            let url = proxy_url(text)?;
            match url.username().is_empty() && url.password().is_none() {
                true => host_and_port(&url),
                false => wrong("the URL holds a user name or a password", "put them into `username` and `password`"),
            }
        }),
        None => {
            section.missing("url", "", "write `url: http://proxy.corp.example:3128`, or remove `forward_proxy`");
            None
        }
    };
    let authentication = proxy_authentication::read(&section);
    let no_proxy = section.get("no_proxy").map_or(Some(Vec::new()), |node| node.read_each(no_proxy_entry));
    section.finish();

    let (host, port) = address?;
    Some(ForwardProxy { host, port, authentication: authentication?, no_proxy: collect(no_proxy?) })
}

fn from_environment(context: &Context<'_>) -> Option<ForwardProxy> {
    let variable = |name: &str| context.outside.variable(name).filter(|value| !value.trim().is_empty());
    let (name, text) = VARIABLES.iter().find_map(|name| Some((*name, variable(name)?)))?;
    let report = |name: &str, wrong: Wrong| {
        let hint = format!("{}; or write `forward_proxy: none` to connect straight", wrong.hint);
        context.problem(Place::Environment(name.to_owned()), "", wrong.reason, hint);
    };
    let text = text.trim();
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let address = proxy_url(&with_scheme).and_then(|url| Ok((host_and_port(&url)?, authentication_of(&url)?)));
    let ((host, port), authentication) = address.map_err(|wrong| report(name, wrong)).ok()?;

    let mut no_proxy = NoProxy::default();
    if let Some((name, list)) = ["no_proxy", "NO_PROXY"].iter().find_map(|name| Some((*name, variable(name)?))) {
        let entries = list.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty());
        match entries.map(no_proxy_entry).collect::<Result<Vec<_>, _>>() {
            Ok(entries) => no_proxy = collect(entries),
            Err(wrong) => report(name, wrong),
        }
    }
    let no_proxy = no_proxy.with_loopback();
    context.note(format!("connections go through the forward proxy `{host}:{port}`, because `{name}` is set"));
    Some(ForwardProxy { host, port, authentication, no_proxy })
}

fn proxy_url(text: &str) -> Result<Url, Wrong> {
    let hint = "write `http://` with host and port, such as `http://proxy.corp.example:3128`";
    // The text is not repeated: it may hold a password.
    let Ok(url) = Url::parse(text) else { return wrong("the proxy's address is not a URL", hint) };
    match url.scheme() {
        "http" => {}
        "https" | "socks5" | "socks5h" | "socks4" | "socks4a" | "socks" => {
            return wrong(
                format!("a proxy that is reached by `{}://` is not available in this version", url.scheme()),
                "name a proxy that is reached by `http://`",
            );
        }
        _ => return wrong("the proxy's address is not an `http://` URL", hint),
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return wrong("the proxy's address holds more than host and port", hint);
    }
    Ok(url)
}

fn host_and_port(url: &Url) -> Result<(String, u16), Wrong> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    match url.port_or_known_default() {
        Some(port) if port != 0 && !host.is_empty() => Ok((host.to_owned(), port)),
        _ => wrong("the proxy's address has no host or no port", "write `http://proxy.corp.example:3128`"),
    }
}

fn authentication_of(url: &Url) -> Result<ProxyAuthentication, Wrong> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(ProxyAuthentication::None);
    }
    let decoded = |text: &str| match percent_decode(text) {
        Some(text) if !text.chars().any(char::is_control) => Ok(text),
        _ => wrong("the user name or password in the URL is not text", "encode it by percent signs, as UTF-8"),
    };
    let username = proxy_authentication::basic_user(&decoded(url.username())?)?;
    let password = ProxyPassword::new(decoded(url.password().unwrap_or_default())?);
    Ok(ProxyAuthentication::Basic { username, password })
}

/// RFC 3986 §2.1.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

enum Entry {
    All,
    Network(IpNet),
    Domain(String),
}

/// A network, an address, a domain (with or without a leading `.` or `*.`), or `*`.
fn no_proxy_entry(text: &str) -> Result<Entry, Wrong> {
    if text == "*" {
        return Ok(Entry::All);
    }
    if let Ok(network) = value::network(text.trim_matches(['[', ']'])) {
        return Ok(Entry::Network(network));
    }
    if text.parse::<IpNet>().is_ok() || text.split('/').next().is_some_and(|host| host.parse::<Ipv4Addr>().is_ok()) {
        return value::network(text).map(Entry::Network);
    }
    let domain = text.strip_prefix("*.").or_else(|| text.strip_prefix('.')).unwrap_or(text);
    value::host_name(domain).map(Entry::Domain).or_else(|_| {
        wrong(
            format!("{} is neither a network nor a domain", quoted(text)),
            "write entries such as `10.0.0.0/8`, `.corp.example`, or `*` for everything",
        )
    })
}

fn collect(entries: Vec<Entry>) -> NoProxy {
    let mut no_proxy = NoProxy::default();
    for entry in entries {
        match entry {
            Entry::All => no_proxy.all = true,
            Entry::Network(network) => no_proxy.networks.push(network),
            Entry::Domain(domain) => no_proxy.domains.push(domain),
        }
    }
    no_proxy
}
