//! What a person types into a mail program or a device.

use gatepost_config::{Bind, Config, Listener, ListenerTls};
use gatepost_core::account::MailAddress;
use gatepost_core::protocol::Protocol;

/// One line for the name, one for the password, and one for each listener that speaks one of
/// `protocols` (empty: any). `password` is what to type, or a word for it where that is not to be
/// shown.
pub(crate) fn client_settings(config: &Config, login: &MailAddress, password: &str, protocols: &[Protocol]) -> String {
    let user_name = user_name(config, login);
    let mut text = format!("  user name   {user_name}\n  password    {password}\n");
    for Place { protocol, host, port, encryption } in places(config, protocols) {
        text.push_str(&format!("  {protocol:<11} {host}, port {port}, {encryption}, normal password\n"));
    }
    text
}

/// What to type as the user name.
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
    /// In capitals.
    pub(crate) protocol: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) encryption: &'static str,
}

/// Every address of the listeners that speak one of `protocols` (empty: any).
pub(crate) fn places(config: &Config, protocols: &[Protocol]) -> Vec<Place> {
    let mut places = Vec::new();
    for listener in fitting(config, protocols) {
        for bind in &listener.bind {
            let host = match bind {
                Bind::Localhost(_) => "localhost".to_owned(),
                Bind::Address(address) if address.ip().is_unspecified() => {
                    "the name or an address of this machine".to_owned()
                }
                Bind::Address(address) => address.ip().to_string(),
            };
            let encryption = match listener.tls {
                ListenerTls::None => "no encryption",
                ListenerTls::StartTls(_) => "STARTTLS",
                ListenerTls::Implicit(_) => "TLS",
            };
            let protocol = listener.protocol.name().to_uppercase();
            places.push(Place { protocol, host, port: bind.port(), encryption });
        }
    }
    places
}

/// The listeners that speak one of `protocols` (empty: any).
pub(crate) fn fitting<'a>(config: &'a Config, protocols: &'a [Protocol]) -> impl Iterator<Item = &'a Listener> {
    config.listeners.iter().filter(|listener| protocols.is_empty() || protocols.contains(&listener.protocol))
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
    fn each_fitting_listener_has_a_line_that_can_be_typed() {
        let yaml = "listeners:\n  \
                      imap: {bind: ['127.0.0.1:1143', '[::1]:1143']}\n  \
                      pop3: {bind: 'localhost:1110'}\n  \
                      smtp: {bind: '0.0.0.0:587', allow_from: 10.0.0.0/8, allow_plaintext_from: 10.0.0.0/8}\n\
                    microsoft: {tenant: contoso.com, client_id: 00000000-0000-0000-0000-000000000000}\n\
                    accounts: [{login: scanner@contoso.com, aliases: [scan7]}, {login: '*'}]\n";
        let config = load_text(Some((Path::new("proxy.yaml"), yaml)), &[], &BTreeMap::new(), &Nothing).unwrap();
        let settings = |login: &str, protocols: &[Protocol]| {
            client_settings(&config, &MailAddress::parse(login).unwrap(), "abcdefgh", protocols)
        };
        assert_eq!(
            settings("a@b", &[]),
            "  user name   a@b\n  \
               password    abcdefgh\n  \
               IMAP        127.0.0.1, port 1143, no encryption, normal password\n  \
               IMAP        ::1, port 1143, no encryption, normal password\n  \
               POP3        localhost, port 1110, no encryption, normal password\n  \
               SMTP        the name or an address of this machine, port 587, no encryption, normal password\n"
        );
        assert_eq!(
            settings("scanner@contoso.com", &[Protocol::Smtp]),
            "  user name   scanner@contoso.com, or scan7 where that is too long\n  \
               password    abcdefgh\n  \
               SMTP        the name or an address of this machine, port 587, no encryption, normal password\n"
        );
    }
}
