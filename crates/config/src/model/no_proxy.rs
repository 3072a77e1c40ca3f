//! Which destinations are reached without the forward proxy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Destinations that are reached without the proxy, in addition to link-local ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NoProxy {
    /// `*`: all destinations.
    pub all: bool,
    /// Networks, for destinations given as addresses.
    pub networks: Vec<Exempt<IpNet>>,
    /// Names, folded, without a leading dot: the name itself and everything below it.
    pub domains: Vec<Exempt<String>>,
}

/// An entry of [`NoProxy`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exempt<T> {
    /// Network or name.
    pub what: T,
    /// The only port that it applies to; `None`: all ports.
    pub port: Option<u16>,
}

impl NoProxy {
    /// Adds loopback, by name and by address. A proxy from the environment is not meant for this
    /// machine's own services. One that the configuration names may be, so there loopback is not
    /// added.
    #[must_use]
    pub fn with_loopback(mut self) -> Self {
        let loopback = [
            IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
            IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
        ];
        self.networks.extend(loopback.map(Exempt::from));
        self.domains.push("localhost".to_owned().into());
        self
    }

    /// Whether `port` of `host`, a name or an address (IPv6 with or without brackets), is reached
    /// directly. Link-local destinations always are, because no proxy can reach this machine's own
    /// link.
    pub fn covers(&self, host: &str, port: u16) -> bool {
        address(host).is_ok_and(is_link_local) || self.lists(host, port)
    }

    /// Whether an entry is for `port` of `host`.
    pub fn lists(&self, host: &str, port: u16) -> bool {
        let listed = match address(host) {
            Ok(address) => self.networks.iter().any(|net| net.what.contains(&address) && net.is_for(port)),
            Err(name) => self.covers_name(name, port),
        };
        self.all || listed
    }

    fn covers_name(&self, name: &str, port: u16) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name).to_lowercase();
        self.domains.iter().any(|domain| {
            let below = name.strip_suffix(domain.what.as_str());
            below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.')) && domain.is_for(port)
        })
    }
}

impl<T> Exempt<T> {
    fn is_for(&self, port: u16) -> bool {
        self.port.is_none_or(|own| own == port)
    }
}

impl<T> From<T> for Exempt<T> {
    /// An entry for every port.
    fn from(what: T) -> Self {
        Self { what, port: None }
    }
}

/// The address, or the name if it is not an address.
fn address(host: &str) -> Result<IpAddr, &str> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().map(|address| address.to_canonical()).map_err(|_| bare)
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_covered_with_everything_below_them() {
        let no_proxy = NoProxy {
            domains: ["corp.example", "host"].map(|name| name.to_owned().into()).to_vec(),
            ..NoProxy::default()
        };
        for host in ["corp.example", "a.corp.example", "A.B.Corp.Example", "corp.example.", "host"] {
            assert!(no_proxy.covers(host, 993), "{host}");
        }
        for host in ["notcorp.example", "corp.example.evil", "example", "outlook.office365.com", "", "127.0.0.1"] {
            assert!(!no_proxy.covers(host, 993), "{host}");
        }
    }

    #[test]
    fn addresses_are_covered_by_networks_in_any_spelling() {
        let networks =
            ["10.0.0.0/8", "fd00::/8", "192.0.2.7/32"].map(|net| net.parse::<IpNet>().unwrap().into()).to_vec();
        let no_proxy = NoProxy { networks, ..NoProxy::default() };
        for host in ["10.1.2.3", "::ffff:10.1.2.3", "[fd00::1]", "fd12::1", "192.0.2.7"] {
            assert!(no_proxy.covers(host, 993), "{host}");
        }
        for host in ["11.0.0.1", "[fe00::1]", "192.0.2.8", "ten.example"] {
            assert!(!no_proxy.covers(host, 993), "{host}");
        }
    }

    #[test]
    fn a_port_narrows_an_entry() {
        let no_proxy = NoProxy {
            networks: vec![Exempt { what: "10.0.0.0/8".parse().unwrap(), port: Some(443) }],
            domains: vec![Exempt { what: "corp.example".into(), port: Some(25) }],
            ..NoProxy::default()
        };
        for (host, port) in [("10.1.2.3", 443), ("mail.corp.example", 25)] {
            assert!(no_proxy.covers(host, port), "{host}");
            assert!(!no_proxy.covers(host, 993), "{host}");
        }
    }

    #[test]
    fn loopback_goes_through_a_proxy_only_when_asked_for() {
        let loopback = ["localhost", "imap.localhost", "127.0.0.1", "127.8.9.1", "[::1]", "::ffff:127.0.0.1"];
        for host in loopback {
            assert!(!NoProxy::default().covers(host, 993), "{host}");
            assert!(NoProxy::default().with_loopback().covers(host, 993), "{host}");
        }
        assert!(!NoProxy::default().with_loopback().covers("outlook.office365.com", 993));
    }

    #[test]
    fn link_local_always_goes_straight_and_a_star_covers_everything() {
        for host in ["169.254.169.254", "fe80::1", "[fe80::1]", "::ffff:169.254.169.254"] {
            assert!(NoProxy::default().covers(host, 993), "{host}");
        }
        assert!(NoProxy { all: true, ..NoProxy::default() }.covers("outlook.office365.com", 993));
        assert!(NoProxy { all: true, ..NoProxy::default() }.covers("203.0.113.1", 993));
    }
}
