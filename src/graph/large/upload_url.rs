//! Checks the address to which Graph wants a file. It carries the right to write to the mailbox, and
//! the file goes there.

use hyper::Uri;

use gatepost_config::Origin;

/// Longest address.
const URL_OCTETS: usize = 16 * 1_024;
/// Where Microsoft keeps the uploads of its clouds.
const DOMAINS: [&str; 6] =
    ["office.com", "office365.com", "office365.us", "outlook.com", "outlook.cn", "microsoft.com"];

/// An address that may be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UploadUrl {
    pub(super) uri: Uri,
    /// It is at the configured Graph, to which connections go as configured.
    pub(super) is_graphs: bool,
}

impl UploadUrl {
    /// Reads an address. `None` if it is not `https`, or neither at this Graph nor at Microsoft.
    pub(super) fn read(graph: &Origin, url: &str) -> Option<Self> {
        let uri: Uri = Some(url).filter(|url| url.len() <= URL_OCTETS)?.parse().ok()?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        if uri.scheme_str() != Some("https") {
            return None;
        }
        let host = authority.host().to_ascii_lowercase();
        let port = authority.port_u16().unwrap_or(443);
        let is_graphs = host == graph.name.to_ascii_lowercase() && (port == 443 || port == graph.port);
        let is_below = |domain| host.strip_suffix(domain).is_some_and(|name: &str| name.ends_with('.'));
        let is_microsofts = port == 443 && DOMAINS.into_iter().any(is_below);
        (is_graphs || is_microsofts).then_some(Self { uri, is_graphs })
    }

    /// The server, without the secret part of the address.
    pub(super) fn origin(&self) -> Origin {
        let host = self.uri.host().unwrap_or_default().to_ascii_lowercase();
        Origin { name: host.clone(), host, port: self.uri.port_u16().unwrap_or(443) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_told_without_the_secret() {
        let graph = Origin { host: "127.0.0.1".into(), port: 8443, name: "graph.contoso.example".into() };
        let url = UploadUrl::read(&graph, "https://Outlook.office.com/api/x?authtoken=a.b").unwrap();
        assert_eq!(url.origin().to_string(), "outlook.office.com:443");
    }

    #[test]
    fn files_go_to_microsoft_or_to_the_configured_graph_only() {
        let graph = Origin { host: "127.0.0.1".into(), port: 8443, name: "graph.contoso.example".into() };
        let read = |url: &str| UploadUrl::read(&graph, url).map(|url| url.is_graphs);
        for url in [
            "https://outlook.office.com/api/gv1.0/users('x')/messages('y')/AttachmentSessions('z')?authtoken=a.b",
            "https://OUTLOOK.office365.com:443/x",
            "https://partner.outlook.cn/x",
        ] {
            assert_eq!(read(url), Some(false), "{url}");
        }
        for url in ["https://graph.contoso.example/x?y", "https://GRAPH.contoso.example:8443/x"] {
            assert_eq!(read(url), Some(true), "{url}");
        }
        for url in [
            "http://outlook.office.com/x",
            "https://outlook.office.com:8443/x",
            "https://outlook.office.com.elsewhere.example/x",
            "https://elsewhereoffice.com/x",
            "https://office.com/x",
            "https://a@outlook.office.com/x",
            "https://outlook.office.com@elsewhere.example/x",
            "https://graph.contoso.example:8444/x",
            "https://127.0.0.1:8443/x",
            "https://169.254.169.254/x",
            "/x",
            "",
            &format!("https://outlook.office.com/{}", "a".repeat(URL_OCTETS)),
        ] {
            assert_eq!(read(url), None, "{url}");
        }
    }
}
