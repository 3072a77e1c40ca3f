//! Reads the section `forward_proxy`, or the usual environment variables when it is absent.

use std::net::Ipv4Addr;

use ipnet::IpNet;
use url::{Position, Url};

#[cfg(feature = "pac")]
use super::model::forward_proxy::PacLocation;
use super::model::forward_proxy::{ForwardProxy, ProxyChoice, ProxyScheme, ProxyServer};
use super::model::no_proxy::{Exempt, NoProxy};
use super::problem::Place;
use super::proxy_authentication;
use super::purpose::Secret;
use super::reader::{Context, Node, Section};
use super::value::{self, ValueError, quoted, wrong};
use gatepost_core::secret::ProxyPassword;
use gatepost_proto::tunnel::credentials::ProxyAuthentication;

/// Names that curl and most programs use, in this order. `http_proxy` is for plain HTTP only.
const VARIABLES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];

/// Reads the section, or the environment when it is absent. `forward_proxy: none` disables the
/// proxy even if the environment names one.
pub(super) fn read(root: &Section<'_>) -> Option<ForwardProxy> {
    let Some(node) = root.get("forward_proxy") else { return from_environment(root.context()) };
    if node.as_text() == Some("none") {
        return None;
    }
    let section = node.section();
    let choice = match (section.get("url"), section.get("pac")) {
        (Some(_), Some(pac)) => {
            pac.problem("`url` and `pac` are both given", "keep the one that shall decide, and remove the other");
            None
        }
        #[cfg(feature = "pac")]
        (None, Some(pac)) => script(&section, &pac),
        #[cfg(not(feature = "pac"))]
        (None, Some(pac)) => {
            refuse_script(&section, &pac);
            None
        }
        (url, None) => servers(&section, url.as_ref()).map(ProxyChoice::Servers),
    };
    let authentication = proxy_authentication::read(&section);
    let no_proxy = section.get("no_proxy").map_or(Some(Vec::new()), |node| node.read_each(no_proxy_entry));
    section.finish();

    let (choice, authentication) = (choice?, authentication?);
    if choice.names_socks()
        && let Secret::Read(authentication) = &authentication
        && let Err(wrong) = fits_socks(authentication)
    {
        section.problem(wrong.reason, wrong.hint);
        return None;
    }
    Some(ForwardProxy { choice, authentication: authentication.read(), no_proxy: collect(no_proxy?) })
}

fn servers(section: &Section<'_>, url: Option<&Node<'_>>) -> Option<Vec<ProxyServer>> {
    let Some(node) = url else {
        section.missing("url", "", "write `url: http://proxy.corp.example:3128`, or remove `forward_proxy`");
        return None;
    };
    if node.list_is_empty() {
        node.problem("the list is empty", "write at least one proxy, such as `http://proxy.corp.example:3128`");
        return None;
    }
    node.read_each(|text| {
        let url = proxy_url(text)?;
        match url.username().is_empty() && url.password().is_none() {
            true => server(&url),
            false => wrong("the URL holds a user name or a password", "put them into `username` and `password`"),
        }
    })
}

/// What a build without the evaluation of scripts says.
#[cfg(any(test, not(feature = "pac")))]
fn refuse_script(section: &Section<'_>, pac: &Node<'_>) {
    // The key is marked as known, so that there is only one report.
    section.get("authenticate_to");
    pac.problem(
        "this Gatepost was built without the evaluation of PAC scripts",
        "use the container image, build with `cargo build --release --features pac`, or look into the script which \
         proxy it names for \
         `outlook.office365.com`, and write that one as `url` (several as a list, what it sends `DIRECT` as `no_proxy`)",
    );
}

#[cfg(feature = "pac")]
fn script(section: &Section<'_>, pac: &Node<'_>) -> Option<ProxyChoice> {
    let location = pac.read(|text| match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => {
            match url.username().is_empty() && url.password().is_none() {
                true => Ok(PacLocation::Url(url)),
                false => wrong("the URL holds a user name or a password", "name a script that is there for everybody"),
            }
        }
        Ok(url) if url.scheme() == "file" => match url.to_file_path() {
            Ok(path) => Ok(PacLocation::File(path)),
            Err(()) => wrong("the URL names no file of this machine", "write the path of the file"),
        },
        Ok(url) if text.contains("://") => wrong(
            format!("a script cannot be had by `{}://`", url.scheme()),
            "write a path, or a URL that begins with `http://` or `https://`",
        ),
        _ => Ok(PacLocation::File(pac.context().path(text))),
    });
    let authenticate_to = section.get("authenticate_to");
    let wants_credentials = section.get("authentication").is_some_and(|node| node.as_text() != Some("none"));
    match (&authenticate_to, wants_credentials) {
        (None, true) => section.missing(
            "authenticate_to",
            ", which `pac` together with `authentication` needs",
            "list the proxies that may be shown the credentials, such as `[.corp.example]`: a script could name any",
        ),
        (Some(node), false) => node.problem("this is given, but `authentication` is `none`", "remove the key"),
        _ => {}
    }
    let authenticate_to = authenticate_to.map_or(Some(Vec::new()), |node| node.read_each(no_proxy_entry))?;
    Some(ProxyChoice::Script { location: location?, authenticate_to: collect(authenticate_to) })
}

/// RFC 1929 §2: user name and password have 1 to 255 octets each; nothing else is there.
fn fits_socks(authentication: &ProxyAuthentication) -> Result<(), ValueError> {
    if matches!(authentication, ProxyAuthentication::None) {
        return Ok(());
    }
    let ProxyAuthentication::Basic { username, password } = authentication else {
        return wrong(
            "a SOCKS proxy takes a user name and a password, or nothing",
            "write `authentication: basic` or `authentication: none`",
        );
    };
    match [username, password.expose()].iter().all(|text| (1..=255).contains(&text.len())) {
        true => Ok(()),
        false => wrong(
            "user name or password is empty or over 255 bytes, which SOCKS cannot carry",
            "have the proxy's administrator give others",
        ),
    }
}

fn from_environment(context: &Context<'_>) -> Option<ForwardProxy> {
    let variable = |name: &str| context.outside.variable(name).filter(|value| !value.trim().is_empty());
    let (name, text) = VARIABLES.iter().find_map(|name| Some((*name, variable(name)?)))?;
    let report = |name: &str, wrong: ValueError| {
        let hint = format!("{}. Or set `forward_proxy: none` to connect directly", wrong.hint);
        context.problem(Place::Environment(name.to_owned()), "", wrong.reason, hint);
    };
    let text = text.trim();
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let read = proxy_url(&with_scheme).and_then(|url| {
        let (server, authentication) = (server(&url)?, authentication_of(&url)?);
        if server.scheme == ProxyScheme::Socks5h {
            fits_socks(&authentication)?;
        }
        Ok((server, authentication))
    });
    let (server, authentication) = read.map_err(|wrong| report(name, wrong)).ok()?;

    let mut no_proxy = NoProxy::default();
    if let Some((name, list)) = ["no_proxy", "NO_PROXY"].iter().find_map(|name| Some((*name, variable(name)?))) {
        let entries = list.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty());
        match entries.map(no_proxy_entry).collect::<Result<Vec<_>, _>>() {
            Ok(entries) => no_proxy = collect(entries),
            Err(wrong) => report(name, wrong),
        }
    }
    let no_proxy = no_proxy.with_loopback();
    context.note(format!("connections go through the forward proxy `{server}`, because `{name}` is set"));
    let choice = ProxyChoice::Servers(vec![server]);
    Some(ForwardProxy { choice, authentication: Some(authentication), no_proxy })
}

fn proxy_url(text: &str) -> Result<Url, ValueError> {
    let hint =
        "write `http://`, `https://` or `socks5h://` with host and port, such as `http://proxy.corp.example:3128`";
    // The message does not repeat the text, because it may hold a password.
    let Ok(url) = Url::parse(text) else { return wrong("the proxy's address is not a URL", hint) };
    match url.scheme() {
        "http" | "https" | "socks5h" => {}
        "socks5" | "socks" => {
            return wrong(
                format!("`{}://` would resolve names here, before the proxy is asked", url.scheme()),
                "write `socks5h://`: the proxy resolves the names",
            );
        }
        "socks4" | "socks4a" => {
            return wrong("SOCKS version 4 is not spoken", "name a proxy that speaks SOCKS version 5, by `socks5h://`");
        }
        _ => return wrong("the proxy's address has another scheme than `http`, `https` and `socks5h`", hint),
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return wrong("the proxy's address holds more than host and port", hint);
    }
    Ok(url)
}

fn server(url: &Url) -> Result<ProxyServer, ValueError> {
    let scheme = match url.scheme() {
        "https" => ProxyScheme::Https,
        "socks5h" => ProxyScheme::Socks5h,
        _ => ProxyScheme::Http,
    };
    match ProxyServer::parse(scheme, &url[Position::BeforeHost..Position::AfterPort]) {
        Some(server) => Ok(server),
        None => wrong("the proxy's address has no host or no port", "write `http://proxy.corp.example:3128`"),
    }
}

fn authentication_of(url: &Url) -> Result<ProxyAuthentication, ValueError> {
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
pub(super) fn percent_decode(text: &str) -> Option<String> {
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
    Network(Exempt<IpNet>),
    Domain(Exempt<String>),
}

/// A network, an address, a domain (with or without a leading `.` or `*.`), each with or without a
/// port, or `*`.
fn no_proxy_entry(text: &str) -> Result<Entry, ValueError> {
    if text == "*" {
        return Ok(Entry::All);
    }
    let (text, port) = match text.rsplit_once(':') {
        // A colon within an address does not begin a port.
        Some((before, port)) if !before.contains(':') || before.ends_with(']') => match port.parse::<u16>() {
            Ok(port) if port != 0 => (before, Some(port)),
            _ => {
                return wrong(
                    format!("{} has no port from 1 to 65535 behind its colon", quoted(text)),
                    "write `host:port`, or the host alone for every port",
                );
            }
        },
        _ => (text, None),
    };
    if let Ok(network) = value::network(text.trim_matches(['[', ']'])) {
        return Ok(Entry::Network(Exempt { what: network, port }));
    }
    if text.parse::<IpNet>().is_ok() || text.split('/').next().is_some_and(|host| host.parse::<Ipv4Addr>().is_ok()) {
        return value::network(text).map(|what| Entry::Network(Exempt { what, port }));
    }
    let domain = text.strip_prefix("*.").or_else(|| text.strip_prefix('.')).unwrap_or(text);
    value::host_name(domain).map(|what| Entry::Domain(Exempt { what, port })).or_else(|_| {
        wrong(
            format!("{} is neither a network nor a domain", quoted(text)),
            "write entries such as `10.0.0.0/8`, `.corp.example`, `mail.corp.example:25`, or `*` for everything",
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::environment::System;
    use crate::load::merge;
    use crate::purpose::Purpose;

    #[test]
    fn a_build_without_scripts_reports_the_script_alone() {
        let yaml = "forward_proxy: {pac: 'http://wpad/proxy.pac', authentication: basic, username: u, password: p, \
                    authenticate_to: [.corp.example]}\n";
        let (document, _) = merge(Some(("proxy.yaml".as_ref(), yaml)), &[], &BTreeMap::new()).unwrap();
        let system = System::new([]);
        let context = Context::new(&document, &system, Purpose::Service);
        let root = context.root();
        let section = root.section("forward_proxy");
        refuse_script(&section, &section.get("pac").unwrap());
        proxy_authentication::read(&section);
        section.finish();
        let (problems, ..) = context.finish();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].key, "forward_proxy.pac");
        assert!(problems[0].reason.contains("built without"), "{problems:?}");
        assert!(problems[0].hint.contains("`cargo build --release --features pac`"), "{problems:?}");
    }
}
