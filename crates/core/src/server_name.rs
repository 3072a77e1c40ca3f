//! The name that Gatepost has for mail clients and servers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Longest domain name, in octets (RFC 1035 §2.3.4, without the length octets at both ends).
const DOMAIN_OCTETS: usize = 253;

/// Longest label of one.
const LABEL_OCTETS: usize = 63;

/// A name for EHLO and greetings: a domain name of letters, digits and hyphens, or an address literal
/// (RFC 5321 §4.1.2 and §4.1.3). Exchange refuses anything else with 501.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerName(Arc<str>);

impl ServerName {
    /// Checks a name. `None` if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let is_name = match text.strip_prefix('[').and_then(|literal| literal.strip_suffix(']')) {
            Some(literal) => match literal.split_once(':') {
                Some((tag, address)) => tag.eq_ignore_ascii_case("IPv6") && address.parse::<Ipv6Addr>().is_ok(),
                None => literal.parse::<Ipv4Addr>().is_ok(),
            },
            None => is_domain(text),
        };
        is_name.then(|| Self(text.into()))
    }

    /// The name for a machine that is called so. A dot at its end belongs to DNS and is left out. If
    /// no server would accept the rest, an address literal stands for it.
    pub fn of_machine(name: &str) -> Self {
        let name = name.strip_suffix('.').unwrap_or(name);
        Self::parse(name).unwrap_or_else(|| Self("[127.0.0.1]".into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, to be shared.
    pub fn into_shared(self) -> Arc<str> {
        self.0
    }

    /// Whether it is an address literal.
    pub fn is_literal(&self) -> bool {
        self.0.starts_with('[')
    }
}

fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=LABEL_OCTETS).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // An address without its brackets is no domain.
    text.len() <= DOMAIN_OCTETS && text.split('.').all(is_label) && text.parse::<IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_exchange_takes_is_a_name_and_nothing_else() {
        let (label, domain) = ("a".repeat(63), format!("{0}.{0}.{0}.{1}", "a".repeat(63), "a".repeat(61)));
        for name in ["gate", "Mail-1.contoso.com", "1.example", "[192.0.2.7]", "[IPv6:2001:db8::1]", &label, &domain] {
            assert_eq!(ServerName::parse(name).map(|name| name.as_str().to_owned()).as_deref(), Some(name));
        }
        let long = [format!("{label}a"), format!("{domain}a")];
        let wrong = [
            "",
            ".",
            "mail.contoso.com.",
            "mail_1.contoso.com",
            "my host",
            "a..b",
            ".a",
            "-a",
            "a-",
            "a.b-.c",
            "m\u{fc}ller",
            "192.0.2.7",
            "2001:db8::1",
            "[]",
            "[2001:db8::1]",
            "[IPv6:192.0.2.7]",
            "[192.0.2]",
            "[mail.example]",
            "a\r\nQUIT",
        ];
        for name in wrong.into_iter().chain(long.iter().map(String::as_str)) {
            assert_eq!(ServerName::parse(name), None, "{name:?}");
        }
    }

    #[test]
    fn the_name_of_a_machine_is_mended() {
        for (machine, name) in [
            ("gate.contoso.com", "gate.contoso.com"),
            ("gate.contoso.com.", "gate.contoso.com"),
            ("gate", "gate"),
            ("gate_1", "[127.0.0.1]"),
            ("my gate", "[127.0.0.1]"),
            ("gate..", "[127.0.0.1]"),
            ("", "[127.0.0.1]"),
            (".", "[127.0.0.1]"),
            ("192.0.2.7", "[127.0.0.1]"),
        ] {
            assert_eq!(ServerName::of_machine(machine).as_str(), name, "{machine:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_machine_is_called_the_name_is_valid(machine in "[a-z0-9_. \\[\\]:-]{0,20}|\\PC{0,300}") {
            let name = ServerName::of_machine(&machine);
            prop_assert_eq!(ServerName::parse(name.as_str()), Some(name.clone()));
            prop_assert!(name.is_literal() || machine.strip_suffix('.').unwrap_or(&machine) == name.as_str());
        }
    }
}
