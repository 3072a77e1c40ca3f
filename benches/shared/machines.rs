//! One login through each protocol machine: what a client and an upstream send, without sockets.

use std::hint::black_box;
use std::sync::Arc;

use gatepost_core::account::MailAddress;
use gatepost_core::protocol::MailProtocol;
use gatepost_core::secret::AccessToken;
use gatepost_proto::mail::{
    Capabilities, ClientEvent, ClientSettings, ClientSide, Goal, Limits, TokenExchange, UpstreamEvent,
    UpstreamSettings, UpstreamSide,
};
use gatepost_proto::sasl::{Bearer, ClientTokens};

/// What Office 365 announces.
pub(crate) fn announced(protocol: MailProtocol) -> Capabilities {
    let entries: &[&str] = match protocol {
        MailProtocol::Imap => &[
            "IMAP4",
            "IMAP4rev1",
            "AUTH=PLAIN",
            "AUTH=XOAUTH2",
            "SASL-IR",
            "UIDPLUS",
            "MOVE",
            "ID",
            "UNSELECT",
            "CHILDREN",
            "IDLE",
            "NAMESPACE",
            "LITERAL+",
        ],
        MailProtocol::Pop3 => &["TOP", "UIDL", "SASL PLAIN XOAUTH2", "USER"],
        MailProtocol::Smtp => &[
            "SIZE 157286400",
            "PIPELINING",
            "DSN",
            "ENHANCEDSTATUSCODES",
            "AUTH LOGIN XOAUTH2",
            "8BITMIME",
            "CHUNKING",
            "SMTPUTF8",
        ],
    };
    Capabilities(entries.iter().map(|entry| (*entry).to_owned()).collect())
}

/// Each string is one read from the socket: clients wait for the reply before they go on.
pub(crate) fn client_reads(protocol: MailProtocol) -> &'static [&'static str] {
    match protocol {
        MailProtocol::Imap => &["1 CAPABILITY\r\n", "2 LOGIN reception@contoso.com \"correct horse\"\r\n"],
        MailProtocol::Pop3 => &["CAPA\r\n", "USER reception@contoso.com\r\n", "PASS correct horse\r\n"],
        MailProtocol::Smtp => &["EHLO scanner\r\n", "AUTH PLAIN AHJlY2VwdGlvbkBjb250b3NvLmNvbQBjb3JyZWN0IGhvcnNl\r\n"],
    }
}

pub(crate) fn client_login(machine: &mut dyn ClientSide, reads: &[&str], upstream: &Capabilities) {
    black_box(machine.poll_output());
    let mut logins = 0;
    for read in reads {
        machine.handle_input(read.as_bytes());
        while let Some(event) = machine.poll_event() {
            match event {
                ClientEvent::Login(credentials) => {
                    logins += 1;
                    black_box(credentials);
                    machine.accept(upstream);
                }
                other => panic!("unexpected: {other:?}"),
            }
        }
        black_box(machine.poll_output());
    }
    assert_eq!(logins, 1, "the machine has not come to the login");
    black_box(machine.take_leftovers());
}

/// The server that an upstream-side machine talks to; it answers whatever order the machine
/// chooses.
pub(crate) struct Server {
    protocol: MailProtocol,
    announced: String,
    /// The tag of an AUTHENTICATE whose response is still to come; empty outside IMAP.
    authenticating: Option<String>,
}

impl Server {
    pub(crate) fn new(protocol: MailProtocol) -> Self {
        let entries = announced(protocol).0;
        let announced = match protocol {
            MailProtocol::Imap => format!("* CAPABILITY {}\r\n", entries.join(" ")),
            MailProtocol::Pop3 => format!("+OK\r\n{}\r\n.\r\n", entries.join("\r\n")),
            MailProtocol::Smtp => {
                let lines: String = entries.iter().map(|entry| format!("250-{entry}\r\n")).collect();
                format!("250-contoso Hello\r\n{lines}250 OK\r\n")
            }
        };
        Self { protocol, announced, authenticating: None }
    }

    fn greeting(&self) -> &'static str {
        match self.protocol {
            MailProtocol::Imap => "* OK The Microsoft Exchange IMAP4 service is ready.\r\n",
            MailProtocol::Pop3 => "+OK The Microsoft Exchange POP3 service is ready.\r\n",
            MailProtocol::Smtp => "220 contoso Microsoft ESMTP MAIL Service ready\r\n",
        }
    }

    fn answer(&mut self, line: &str) -> String {
        let (success, challenge) = match self.protocol {
            MailProtocol::Imap => ("OK done", "+ \r\n"),
            MailProtocol::Pop3 => ("+OK done", "+ \r\n"),
            MailProtocol::Smtp => ("235 2.7.0 Authentication successful", "334 \r\n"),
        };
        if let Some(tag) = self.authenticating.take() {
            return format!("{tag}{success}\r\n");
        }
        let (tag, command) = match self.protocol {
            MailProtocol::Imap => line.split_once(' ').map_or(("", line), |(tag, command)| (tag, command)),
            _ => ("", line),
        };
        let tag = if tag.is_empty() { String::new() } else { format!("{tag} ") };
        let mut words = command.split(' ');
        match words.next().unwrap_or("").to_ascii_uppercase().as_str() {
            "AUTHENTICATE" | "AUTH" if words.nth(1).is_none() => {
                self.authenticating = Some(tag);
                challenge.to_owned()
            }
            "CAPABILITY" => format!("{}{tag}{success}\r\n", self.announced),
            "CAPA" | "EHLO" => self.announced.clone(),
            _ => format!("{tag}{success}\r\n"),
        }
    }
}

pub(crate) fn upstream_login(machine: &mut dyn UpstreamSide, mut server: Server) {
    machine.handle_input(server.greeting().as_bytes());
    // Far more turns than a login has.
    for _ in 0..32 {
        match machine.poll_event() {
            Some(UpstreamEvent::Authenticated(authenticated)) => {
                black_box(authenticated);
                return;
            }
            Some(other) => panic!("unexpected: {other:?}"),
            None => {}
        }
        let output = machine.poll_output().unwrap_or_default();
        let reply: String = String::from_utf8_lossy(&output).lines().map(|line| server.answer(line)).collect();
        machine.handle_input(reply.as_bytes());
    }
    panic!("the machine has not come to an end");
}

pub(crate) fn client_settings(protocol: MailProtocol) -> ClientSettings {
    ClientSettings {
        limits: Arc::new(Limits::default()),
        announced: Arc::new(announced(protocol)),
        starttls: false,
        implicit_tls: false,
        plaintext_login: true,
        client_tokens: ClientTokens::Accept,
        bare_lf: false,
        legacy: false,
        trusted: false,
        server_name: "gatepost.contoso.com".into(),
        session_id: "0123456789abcdef".into(),
    }
}

/// The settings of a login with a token of 64 octets, so many times. Microsoft's tokens have some 3 KiB.
pub(crate) fn upstream_settings(token: usize) -> UpstreamSettings {
    let user = MailAddress::parse("reception@contoso.com").expect("an address");
    let token = Arc::new(AccessToken::new("eyJ0eXAiOiJKV1QiLCJub25jZSI6Imdh".repeat(2 * token)));
    UpstreamSettings {
        exchange: TokenExchange::EXCHANGE_ONLINE,
        limits: Arc::new(Limits::default()),
        starttls: false,
        client_name: "gatepost.contoso.com".into(),
        goal: Goal::Authenticate(Bearer { user, token }),
    }
}
