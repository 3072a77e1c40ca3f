//! What a person types into a mail program or a device.

use std::sync::Arc;

use ipnet::IpNet;

use gatepost_config::{Bind, Config, Listener, ListenerTls};
use gatepost_core::account::MailAddress;
use gatepost_core::protocol::Protocol;

/// What limits a device password. An empty list limits nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scope<'a> {
    pub(crate) protocols: &'a [Protocol],
    pub(crate) from: &'a [IpNet],
}

/// Returns one line for the user name, one for the password, and one for each listener that accepts
/// a password of this scope. `password` is what to type, or words instead of it where it must not
/// be shown.
pub(crate) fn client_settings(config: &Config, login: &MailAddress, password: &str, scope: Scope<'_>) -> String {
    let user_name = user_name(config, login);
    let mut text = format!("  user name   {user_name}\n  password    {password}\n");
    for Place { listener, protocol, hosts, port, encryption, method } in places(config, scope) {
        let line = format!("{protocol:<11} {hosts}, port {port}, {encryption}, {method} (listener `{listener}`)");
        text.push_str(&format!("  {line}\n"));
    }
    text
}

/// Returns what to type as the user name.
pub(crate) fn user_name(config: &Config, login: &MailAddress) -> String {
    let aliases =
        config.accounts.find(login.as_login()).map(|(account, _)| account.aliases.clone()).unwrap_or_default();
    match aliases.as_slice() {
        [] => login.to_string(),
        [alias, ..] => format!("{login}, or {alias} where that is too long"),
    }
}

/// Where a mail program connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) listener: Arc<str>,
    /// As people write it.
    pub(crate) protocol: &'static str,
    /// The addresses, or words where any address of the machine will do.
    pub(crate) hosts: String,
    pub(crate) port: u16,
    pub(crate) encryption: &'static str,
    /// How to log in, and for HTTP the path to begin with.
    pub(crate) method: &'static str,
}

/// Returns one place for each listener, or for each of its ports, that accepts a password of this
/// scope.
pub(crate) fn places(config: &Config, scope: Scope<'_>) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for listener in fitting(config, scope.protocols).filter(|listener| lets_in(listener, scope.from)) {
        let encryption = match listener.tls {
            ListenerTls::None => "no encryption",
            ListenerTls::StartTls(_) => "STARTTLS",
            ListenerTls::Implicit(_) => "TLS",
        };
        let method = match listener.protocol {
            Protocol::Imap | Protocol::Pop3 | Protocol::Smtp => "normal password",
            Protocol::Ews => "HTTP Basic, path /EWS/Exchange.asmx",
            Protocol::Graph => "HTTP Basic, path /v1.0",
        };
        for bind in &listener.bind {
            let host = match bind {
                Bind::Localhost(_) => "localhost".to_owned(),
                Bind::Address(address) if address.ip().is_unspecified() => {
                    "the name or an address of this machine".to_owned()
                }
                Bind::Address(address) => address.ip().to_string(),
            };
            let same = |place: &&mut Place| place.listener == listener.name && place.port == bind.port();
            match places.iter_mut().find(same) {
                Some(place) if place.hosts == host => {}
                Some(place) => place.hosts.push_str(&format!(" or {host}")),
                None => places.push(Place {
                    listener: Arc::clone(&listener.name),
                    protocol: listener.protocol.title(),
                    hosts: host,
                    port: bind.port(),
                    encryption,
                    method,
                }),
            }
        }
    }
    places
}

/// Returns the listeners of one of `protocols` (empty: any).
pub(crate) fn fitting<'a>(config: &'a Config, protocols: &'a [Protocol]) -> impl Iterator<Item = &'a Listener> {
    config.listeners.iter().filter(|listener| protocols.is_empty() || protocols.contains(&listener.protocol))
}

/// Whether a client in one of the networks (empty: anywhere) can connect.
pub(crate) fn lets_in(listener: &Listener, networks: &[IpNet]) -> bool {
    let overlap = |one: &IpNet, other: &IpNet| one.contains(other) || other.contains(one);
    networks.is_empty()
        || networks.iter().any(|network| listener.allow_from.iter().any(|allowed| overlap(allowed, network)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io;
    use std::path::Path;

    use super::*;
    use gatepost_config::environment::Environment;
    use gatepost_config::load::load_text;

    struct Nothing;

    impl Environment for Nothing {
        fn variable(&self, _: &str) -> Option<String> {
            None
        }

        fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
            Err(io::ErrorKind::NotFound.into())
        }

        fn world_readable(&self, _: &Path) -> bool {
            false
        }

        fn run(&self, _: &[String], _: &[String]) -> Result<Vec<u8>, String> {
            Err("nothing runs here".into())
        }
    }

    #[test]
    fn each_listener_that_accepts_the_password_has_a_line_that_can_be_typed() {
        let yaml = "listeners:\n  \
                      imap: {bind: ['127.0.0.1:1143', '[::1]:1143']}\n  \
                      smtp: {bind: '0.0.0.0:587', allow_from: 10.0.0.0/8, allow_plaintext_from: 10.0.0.0/8}\n  \
                      pop3: {bind: 'localhost:1110'}\n\
                    microsoft: {tenant: contoso.com, client_id: 00000000-0000-0000-0000-000000000000}\n\
                    accounts: [{login: scanner@contoso.com, aliases: [scan7]}, {login: '*'}]\n";
        let config = load_text(Some((Path::new("proxy.yaml"), yaml)), &[], &BTreeMap::new(), &Nothing).unwrap();
        let settings = |login: &str, protocols: &[Protocol], from: &[IpNet]| {
            client_settings(&config, &MailAddress::parse(login).unwrap(), "abcdefgh", Scope { protocols, from })
        };
        let anyone = "  user name   a@b\n  password    abcdefgh\n";
        let imap = "  IMAP        127.0.0.1 or ::1, port 1143, no encryption, normal password (listener `imap`)\n";
        let smtp = "  SMTP        the name or an address of this machine, port 587, no encryption, normal password \
                    (listener `smtp`)\n";
        let pop3 = "  POP3        localhost, port 1110, no encryption, normal password (listener `pop3`)\n";
        assert_eq!(settings("a@b", &[], &[]), format!("{anyone}{imap}{smtp}{pop3}"));
        assert_eq!(settings("a@b", &[Protocol::Smtp], &["10.1.2.3/32".parse().unwrap()]), format!("{anyone}{smtp}"));
        assert_eq!(settings("a@b", &[], &["192.0.2.0/24".parse().unwrap()]), anyone);
        assert_eq!(
            settings("scanner@contoso.com", &[Protocol::Pop3, Protocol::Smtp], &[]),
            format!(
                "  user name   scanner@contoso.com, or scan7 where that is too long\n  password    abcdefgh\n{smtp}{pop3}"
            )
        );
    }
}
