//! Checks the host that a request names: the `Host` field (RFC 9110 §7.2), or `:authority` in
//! HTTP/2. If a web page's own name is made to resolve to this machine, the field still holds that
//! name.

use std::net::IpAddr;

/// The names of a listener. Loopback, and the address at which a connection arrived, always count
/// as well.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    /// Names in lower case; a leading `*.` stands for one label, as in certificates.
    pub names: Vec<String>,
    /// Addresses from the certificate, the configuration and the sockets.
    pub addresses: Vec<IpAddr>,
}

impl Hosts {
    /// Whether a request for `authority`, which arrived at `local`, is for this listener.
    pub fn has(&self, authority: &str, local: IpAddr) -> bool {
        let Some(host) = host(authority) else { return false };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if let Ok(address) = bare.unwrap_or(host).parse::<IpAddr>() {
            let address = address.to_canonical();
            // IPv6 addresses are written in brackets here.
            let right_form = bare.is_some() == host.contains(':');
            return right_form
                && (address.is_loopback() || address == local.to_canonical() || self.addresses.contains(&address));
        }
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let fits = |name: &String| match name.strip_prefix("*.") {
            Some(parent) => host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
            None => *name == host,
        };
        host == "localhost" || self.names.iter().any(fits)
    }
}

/// The host of `host[:port]`; `None` for anything else.
fn host(authority: &str) -> Option<&str> {
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at_checked(end)?;
    let port_is_one = match port.strip_prefix(':') {
        Some(digits) => digits.parse::<u16>().is_ok() && digits.bytes().all(|octet| octet.is_ascii_digit()),
        None => port.is_empty(),
    };
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._[]:".contains(&octet);
    (port_is_one && !host.is_empty() && host.bytes().all(plain)).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_listeners_own_names_are_served() {
        let hosts = Hosts {
            names: vec!["mail-gateway.corp.example".to_owned(), "*.gate.example".to_owned()],
            addresses: vec!["192.0.2.7".parse().unwrap()],
        };
        let local = "::ffff:198.51.100.4".parse().unwrap();
        for own in [
            "localhost",
            "LOCALHOST:8443",
            "localhost.",
            "127.0.0.1",
            "127.0.0.1:8443",
            "127.9.9.9",
            "[::1]",
            "[::1]:8443",
            "Mail-Gateway.corp.example:8443",
            "a.gate.example",
            "192.0.2.7:443",
            "198.51.100.4",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(hosts.has(own, local), "{own}");
        }
        for foreign in [
            "",
            ":",
            ":443",
            "evil.example",
            "localhost.evil.example",
            "evil.example:443",
            "169.254.169.254",
            "[fd00:ec2::254]",
            "[::ffff:169.254.169.254]",
            "0x7f.0.0.1",
            "2130706433",
            "127.1",
            "0",
            "0.0.0.0",
            "[::]",
            "::1",
            "[127.0.0.1]",
            "localhost@evil.example",
            "evil.example@localhost",
            "user:pass@localhost",
            "localhost:443:443",
            "localhost:",
            "localhost:99999",
            "localhost:+1",
            "localhost/evil",
            "localhost evil",
            "[::1",
            "[::1]x",
            "[]",
            "a.b.gate.example",
            "gate.example",
            ".gate.example",
            "localhost..",
            "localhost,evil.example",
            "localh\u{f6}st",
            "metadata.google.internal",
            "192.0.2.8",
        ] {
            assert!(!hosts.has(foreign, local), "{foreign:?}");
        }
    }
}
