//! Replays `tests/transcripts/<protocol>/*.txt` against the client-side machines: one file per RFC
//! example or client quirk.
//!
//! | line | means |
//! |---|---|
//! | `# …` | a comment |
//! | `set …` | at the top: `starttls`, `implicit-tls`, `tls-required`, `bare-lf`, `legacy`, `trusted`, `refuse-tokens`, `announce-tokens`, or `announced A, B` |
//! | `C: …` | the client sends this line, with CRLF |
//! | `C+ …` | the client sends these octets, with `\r`, `\n`, `\0`, `\xNN` and `\\` escaped, and no line end of their own |
//! | `S: …` | the next line of output, exactly; `{version}` stands for Gatepost's own |
//! | `E: …` | the next event |
//! | `! …` | the caller: `accept A, B`, `refuse <Refusal>`, `resume`, `tls`, `close <ShutdownReason>` |
//! | `L: …` | what is left for the upstream, escaped as in `C+` |
//!
//! At the end no output, event or leftover may be left over. Each file is replayed with the input
//! in one piece and octet by octet.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use super::tests::settings;

use crate::mail::{Capabilities, ClientEvent, ClientSettings, ClientSide, Limits, ShutdownReason, client_side};
use crate::sasl::{ClientTokens, Credentials};
use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol;

#[test]
fn imap() {
    replay_all(MailProtocol::Imap);
}

#[test]
fn pop3() {
    replay_all(MailProtocol::Pop3);
}

#[test]
fn smtp() {
    replay_all(MailProtocol::Smtp);
}

fn replay_all(protocol: MailProtocol) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transcripts").join(protocol.name());
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "the transcripts of {} are gone", protocol.name());
    for file in files {
        let script = std::fs::read_to_string(&file).unwrap();
        for piece in [usize::MAX, 1] {
            Replay::start(protocol, &script, &file, piece).run(&script);
        }
    }
}

struct Replay<'a> {
    machine: Box<dyn ClientSide>,
    file: &'a Path,
    line: usize,
    piece: usize,
    unsent: Vec<u8>,
    output: VecDeque<String>,
}

impl<'a> Replay<'a> {
    fn start(protocol: MailProtocol, script: &str, file: &'a Path, piece: usize) -> Self {
        let mut settings = ClientSettings { starttls: false, ..settings(Limits::default()) };
        for setting in script.lines().filter_map(|line| line.strip_prefix("set ")) {
            match setting {
                "starttls" => settings.starttls = true,
                "implicit-tls" => settings.implicit_tls = true,
                "tls-required" => settings.plaintext_login = false,
                "bare-lf" => settings.bare_lf = true,
                "legacy" => settings.legacy = true,
                "trusted" => settings.trusted = true,
                "refuse-tokens" => settings.client_tokens = ClientTokens::Refuse,
                "announce-tokens" => settings.client_tokens = ClientTokens::Announce,
                other => {
                    let announced = other.strip_prefix("announced ").expect("a known setting");
                    settings.announced = Arc::new(capabilities(announced));
                }
            }
        }
        let machine = client_side(protocol, settings);
        Self { machine, file, line: 0, piece, unsent: Vec::new(), output: VecDeque::new() }
    }

    fn run(mut self, script: &str) {
        for (number, line) in script.lines().enumerate() {
            self.line = number + 1;
            let (kind, text) = line.split_at_checked(2).unwrap_or((line, ""));
            let text = text.strip_prefix(' ').unwrap_or(text);
            match kind {
                "" | "# " | "#" | "se" => {}
                "C:" => self.unsent.extend([text.as_bytes(), b"\r\n"].concat()),
                "C+" => self.unsent.extend(unescape(text)),
                "S:" => {
                    self.send();
                    let told = self.output.pop_front();
                    self.check(told.as_deref(), Some(&text.replace("{version}", env!("CARGO_PKG_VERSION"))));
                }
                "E:" => {
                    self.send();
                    let event = self.machine.poll_event().as_ref().map(describe);
                    self.check(event.as_deref(), Some(text));
                }
                "! " => {
                    self.send();
                    self.act(text);
                }
                "L:" => {
                    self.send();
                    let leftovers = self.machine.take_leftovers();
                    self.check(
                        Some(&leftovers.escape_ascii().to_string()),
                        Some(&unescape(text).escape_ascii().to_string()),
                    );
                }
                _ => panic!("{}:{}: what is {line:?}?", self.file.display(), self.line),
            }
        }
        self.send();
        let event = self.machine.poll_event().as_ref().map(describe);
        self.check(event.as_deref(), None);
        let told = self.output.pop_front();
        self.check(told.as_deref(), None);
        assert!(self.machine.take_leftovers().is_empty(), "{}: something is left over", self.file.display());
    }

    fn act(&mut self, text: &str) {
        let (verb, argument) = text.split_once(' ').unwrap_or((text, ""));
        match verb {
            "accept" => self.machine.accept(&capabilities(argument)),
            "refuse" => self.machine.refuse(match argument {
                "InvalidCredentials" => Refusal::InvalidCredentials,
                "NotAuthorized" => Refusal::NotAuthorized,
                "ContactAdmin" => Refusal::ContactAdmin,
                "Unavailable" => Refusal::Unavailable,
                "Limit" => Refusal::Limit,
                "ServerBug" => Refusal::ServerBug,
                other => panic!("{other} is no refusal"),
            }),
            "resume" => self.machine.resume(),
            "tls" => self.machine.tls_established(),
            "close" => self.machine.close(match argument {
                "Draining" => ShutdownReason::Draining,
                "Timeout" => ShutdownReason::Timeout,
                "TooManyConnections" => ShutdownReason::TooManyConnections,
                other => panic!("{other} is no farewell"),
            }),
            other => panic!("{other} is nothing that a caller does"),
        }
        self.collect();
    }

    fn send(&mut self) {
        let unsent = std::mem::take(&mut self.unsent);
        unsent.chunks(self.piece).for_each(|piece| self.machine.handle_input(piece));
        self.collect();
    }

    fn collect(&mut self) {
        let output = String::from_utf8(self.machine.poll_output().unwrap_or_default()).expect("replies are ASCII");
        assert!(output.is_ascii() && (output.is_empty() || output.ends_with("\r\n")), "{output:?}");
        self.output.extend(output.split_terminator("\r\n").map(str::to_owned));
    }

    fn check(&self, seen: Option<&str>, expected: Option<&str>) {
        assert_eq!(seen, expected, "{}:{} in pieces of {}", self.file.display(), self.line, self.piece);
    }
}

fn capabilities(list: &str) -> Capabilities {
    Capabilities(list.split(", ").filter(|entry| !entry.is_empty()).map(str::to_owned).collect())
}

/// An event as text, with the secrets that the library itself never shows.
fn describe(event: &ClientEvent) -> String {
    match event {
        ClientEvent::Login(Credentials::Password { login, acting_as, password }) => {
            let acting_as = acting_as.as_ref().map(|name| format!(" as {name}")).unwrap_or_default();
            format!("login {login}{acting_as} password {}", password.expose().escape_debug())
        }
        ClientEvent::Login(Credentials::Token(bearer)) => {
            format!("login {} token {}", bearer.user, bearer.token.expose())
        }
        other => format!("{other:?}"),
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'\\' => match rest.next().expect("something is escaped") {
                b'r' => b'\r',
                b'n' => b'\n',
                b'0' => 0,
                b'\\' => b'\\',
                b'x' => {
                    let digits = [rest.next().expect("a digit"), rest.next().expect("a digit")];
                    u8::from_str_radix(std::str::from_utf8(&digits).expect("ASCII"), 16)
                        .expect("two hexadecimal digits")
                }
                other => panic!("\\{} is no escape", char::from(other)),
            },
            octet => octet,
        });
    }
    octets
}
