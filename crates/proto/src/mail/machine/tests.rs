//! Properties of the machines of all three protocols, for any input of a client.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::mail::imap::client_side::Imap;
use crate::mail::pop3::client_side::Pop3;
use crate::mail::smtp::client_side::Smtp;
use crate::mail::{imap, pop3, smtp};

/// Settings with STARTTLS, before TLS.
pub(super) fn settings(limits: Limits) -> ClientSettings {
    ClientSettings {
        limits: Arc::new(limits),
        announced: Arc::default(),
        starttls: true,
        implicit_tls: false,
        plaintext_login: true,
        client_tokens: ClientTokens::Accept,
        bare_lf: false,
        legacy: false,
        trusted: false,
        server_name: "gatepost.example".into(),
        session_id: "7F3K2A".into(),
    }
}

/// Limits that no test input reaches.
pub(super) fn wide() -> Limits {
    Limits { commands: u32::MAX, bad_commands: u32::MAX, attempts: u32::MAX, ..Limits::default() }
}

/// An event as text for comparison. The library itself never offers this, because of the secrets.
pub(super) fn describe(event: &ClientEvent) -> String {
    match event {
        ClientEvent::Login(Credentials::Password { login, acting_as, password }) => {
            format!("login {login} {acting_as:?} {}", password.expose())
        }
        ClientEvent::Login(Credentials::Token(bearer)) => format!("token {} {}", bearer.user, bearer.token.expose()),
        other => format!("{other:?}"),
    }
}

/// Acts as the caller: answers every event at once, and refuses every login until one is to be
/// accepted.
struct Caller<D: Dialect> {
    machine: Machine<D>,
    refusals: u32,
    starting_tls: bool,
    events: Vec<String>,
    output: Vec<u8>,
}

impl<D: Dialect> Caller<D> {
    fn new(limits: Limits, refusals: u32) -> Self {
        let mut machine = Machine::new(settings(limits));
        let output = machine.poll_output().unwrap();
        Self { machine, refusals, starting_tls: false, events: Vec::new(), output }
    }

    fn send(&mut self, input: &[u8]) {
        self.machine.handle_input(input);
        while let Some(event) = self.machine.poll_event() {
            self.starting_tls = matches!(event, ClientEvent::StartTls);
            // Whether StartTls or its Close comes depends on time, so only the last of them is
            // recorded.
            if !self.starting_tls {
                self.events.push(describe(&event));
            }
            match event {
                ClientEvent::Login(_) if self.refusals == 0 => {
                    self.machine.accept(&Capabilities(vec!["IDLE".into()]));
                }
                ClientEvent::Login(_) => {
                    self.refusals -= 1;
                    self.machine.refuse(Refusal::Unavailable);
                }
                ClientEvent::Rejected(_) => self.machine.resume(),
                ClientEvent::StartTls | ClientEvent::Submission | ClientEvent::Close(_) => {}
            }
        }
        self.collect();
    }

    fn collect(&mut self) {
        self.output.extend(self.machine.poll_output().unwrap_or_default());
    }

    fn end(mut self) -> (Vec<String>, Vec<u8>) {
        if self.starting_tls {
            self.events.push("StartTls".into());
        }
        self.output.extend(self.machine.take_leftovers());
        (self.events, self.output)
    }
}

/// Input of clients for any of the protocols, well formed or not; a session is a sequence of these.
fn session() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&'static [u8]> = vec![
        b"a CAPABILITY\r\n",
        b"b ID (\"name\" \"x\")\r\n",
        b"c LOGIN alice@contoso.com secret\r\n",
        b"d LOGIN {17}\r\nalice@contoso.com {6+}\r\nsecret\r\n",
        b"d LOGIN {17+}\r\nalice@contoso.com \"sec\\\"ret\"\r\n",
        b"d LOGIN \"\" \"\"\r\n",
        b"e AUTHENTICATE PLAIN\r\n",
        b"e AUTHENTICATE PLAIN AGFAYgBj\r\n",
        b"f AUTHENTICATE LOGIN\r\n",
        b"g STARTTLS\r\n",
        b"h NOOP {9999999999}\r\n",
        b"h SELECT INBOX\r\n",
        b"CAPA\r\n",
        b"USER alice@contoso.com\r\n",
        b"PASS a b c\r\n",
        b"PASS \r\n",
        b"STLS\r\n",
        b"EHLO scanner\r\n",
        b"HELO\r\n",
        b"AUTH\r\n",
        b"AUTH PLAIN AGFAYgBj\r\n",
        b"auth login YUBi\r\n",
        b"AUTH LOGIN\r\n",
        b"AUTH XOAUTH2 dXNlcj1hQGIBYXV0aD1CZWFyZXIgZXlKaGJHY2lPaUp1YjI1bEluMC5lMzAuYzJsbgEB\r\n",
        b"STARTTLS\r\n",
        b"MAIL FROM:<a@b>\r\n",
        b"AGFAYgBj\r\n",
        b"YUBi\r\n",
        b"YQ==\r\n",
        b"\r\n",
        b"*\r\n",
        b"=\r\n",
        b"NOOP\r\n",
        b"bare\n",
        b"nul\0\r\n",
        b"cr\rcr\r\n",
    ];
    let rare: Vec<&'static [u8]> = vec![b"QUIT\r\n", b"z LOGOUT\r\n", b"GET / HTTP/1.1\r\n", b"x LOGIN {9999+}\r\n"];
    let piece = prop_oneof![
        12 => proptest::sample::select(known).prop_map(<[u8]>::to_vec),
        1 => proptest::sample::select(rare).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => "[ -~]{0,40}\r\n".prop_map(String::into_bytes),
    ];
    proptest::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

fn any_split_is_the_same<D: Dialect>(input: &[u8], cuts: &[usize], limits: &Limits, refusals: u32) {
    let mut whole = Caller::<D>::new(limits.clone(), refusals);
    whole.send(input);
    let mut split = Caller::<D>::new(limits.clone(), refusals);
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).chain([0, input.len()]).collect();
    cuts.sort_unstable();
    for range in cuts.windows(2) {
        split.send(&input[range[0]..range[1]]);
    }
    let mut slow = Caller::<D>::new(limits.clone(), refusals);
    input.iter().for_each(|octet| slow.send(&[*octet]));
    let whole = whole.end();
    assert_eq!(split.end(), whole);
    assert_eq!(slow.end(), whole);
}

/// What a client sees in a session after `before`, with limits that are not reached.
fn seen_after<D: Dialect>(before: &[u8], session: &[u8]) -> (Vec<String>, Vec<u8>) {
    let mut caller = Caller::<D>::new(wide(), u32::MAX);
    caller.send(before);
    caller.events.clear();
    caller.output.clear();
    caller.send(session);
    caller.end()
}

fn a_failure_leaves_nothing_behind<D: Dialect>(failures: &[&[u8]], session: &[u8]) {
    let fresh = seen_after::<D>(b"", session);
    let mut first = Caller::<D>::new(wide(), u32::MAX);
    first.output.clear();
    first.send(session);
    assert_eq!(first.end(), fresh);
    for failure in failures {
        assert_eq!(seen_after::<D>(failure, session), fresh, "after {:?}", failure.escape_ascii().to_string());
    }
}

fn memory_is_bounded<D: Dialect>(input: &[u8], piece: usize) {
    let limits = Limits {
        imap_line_bytes: 64,
        imap_literal_bytes: 32,
        line_bytes: 64,
        sasl_line_bytes: 96,
        held_bytes: 48,
        ..wide()
    };
    let longest = limits.sasl_line_bytes;
    let mut caller = Caller::<D>::new(limits, u32::MAX);
    for piece in input.chunks(piece) {
        caller.send(piece);
        assert!(caller.machine.input.len() <= longest, "{} octets of input", caller.machine.input.len());
        caller.output.clear();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_split_gives_the_same_events_and_output(
        input in session(),
        cuts in proptest::collection::vec(any::<usize>(), 0..6),
        refusals in 0..4u32,
        bounded in any::<bool>(),
    ) {
        let limits = if bounded { Limits::default() } else { wide() };
        any_split_is_the_same::<imap::client_side::Dialog>(&input, &cuts, &limits, refusals);
        any_split_is_the_same::<pop3::client_side::Dialog>(&input, &cuts, &limits, refusals);
        any_split_is_the_same::<smtp::client_side::Dialog>(&input, &cuts, &limits, refusals);
    }

    #[test]
    fn after_a_failed_attempt_the_machine_is_as_fresh(session in session()) {
        a_failure_leaves_nothing_behind::<imap::client_side::Dialog>(&[
            b"x LOGIN alice@contoso.com wrong\r\n",
            b"x LOGIN {17}\r\nalice@contoso.com {5}\r\nwrong\r\n",
            b"x LOGIN \"\" \"\"\r\n",
            b"x AUTHENTICATE PLAIN AGFAYgBj\r\n",
            b"x AUTHENTICATE LOGIN YUBi\r\nYw==\r\n",
            b"x AUTHENTICATE LOGIN YUBi\r\n*\r\n",
            b"x AUTHENTICATE LOGIN YUBi\r\n???\r\n",
        ], &session);
        a_failure_leaves_nothing_behind::<pop3::client_side::Dialog>(&[
            b"USER alice@contoso.com\r\nPASS wrong\r\n",
            b"USER a\tb\r\nPASS wrong\r\n",
            b"USER alice@contoso.com\r\nNOOP\r\n",
            b"AUTH PLAIN AGFAYgBj\r\n",
            b"AUTH LOGIN\r\nYUBi\r\n*\r\n",
        ], &session);
        a_failure_leaves_nothing_behind::<smtp::client_side::Dialog>(&[
            b"AUTH PLAIN AGFAYgBj\r\n",
            b"AUTH LOGIN YUBi\r\nYw==\r\n",
            b"AUTH LOGIN\r\nYUBi\r\n*\r\n",
            b"AUTH PLAIN\r\n???\r\n",
        ], &session);
    }

    #[test]
    fn no_input_makes_a_machine_hold_more_than_a_line(
        input in proptest::collection::vec(prop_oneof![session(), proptest::collection::vec(any::<u8>(), 0..400)], 0..4),
        piece in 1..32usize,
    ) {
        let input = input.concat();
        memory_is_bounded::<imap::client_side::Dialog>(&input, piece);
        memory_is_bounded::<pop3::client_side::Dialog>(&input, piece);
        memory_is_bounded::<smtp::client_side::Dialog>(&input, piece);
    }
}

#[test]
fn an_idle_machine_is_small() {
    let mut machine = Imap::new(settings(Limits::default()));
    machine.poll_output();
    machine.handle_input(&[&b"a AUTHENTICATE PLAIN "[..], &[b'A'; 8_000], b"\r\n"].concat());
    machine.poll_output();
    assert_eq!(machine.context.output.capacity(), 0);
    assert!(machine.input.is_empty());
    assert!(size_of::<Imap>().max(size_of::<Pop3>()).max(size_of::<Smtp>()) <= 384, "{}", size_of::<Imap>());
}

#[test]
fn behind_a_login_a_little_is_held_and_then_reading_stops() {
    let mut machine = Pop3::new(settings(Limits { held_bytes: 8, ..Limits::default() }));
    machine.handle_input(b"USER alice@contoso.com\r\nPASS secret\r\nSTAT");
    assert!(machine.wants_input());
    assert!(machine.take_leftovers().is_empty(), "nothing leaves before the login is decided");
    machine.handle_input(b"\r\nQUIT\r\n");
    assert!(!machine.wants_input());
    machine.poll_output();
    machine.refuse(Refusal::Unavailable);
    let output = machine.poll_output().unwrap();
    let output = String::from_utf8(output).unwrap();
    assert_eq!(output.lines().map(|line| &line[..4]).collect::<Vec<_>>(), ["-ERR", "-ERR", "+OK "], "{output}");
    assert!(!machine.wants_input());
}

#[test]
fn octets_behind_starttls_end_the_connection_whenever_they_come() {
    for pieces in [&[&b"STARTTLS\r\nEHLO x\r\n"[..]][..], &[b"STARTTLS\r\n", b"E"], &[b"STARTTLS\r", b"\n\x16"]] {
        let mut machine = Smtp::new(settings(Limits::default()));
        pieces.iter().for_each(|piece| machine.handle_input(piece));
        assert!(
            matches!(machine.poll_event(), Some(ClientEvent::Close(CloseReason::BytesBehindStartTls))),
            "{pieces:?}"
        );
        assert!(machine.poll_event().is_none());
        machine.tls_established();
        machine.handle_input(b"EHLO x\r\n");
        let output = String::from_utf8(machine.poll_output().unwrap()).unwrap();
        assert_eq!(output.lines().count(), 2, "the greeting and the 220, nothing after the end: {output}");
    }
}

#[test]
fn nothing_behind_starttls_is_no_input() {
    let mut machine = Smtp::new(settings(Limits::default()));
    machine.handle_input(b"STARTTLS\r\n");
    machine.handle_input(b"");
    assert!(matches!(machine.poll_event(), Some(ClientEvent::StartTls)));
    assert!(machine.poll_event().is_none());
}

#[test]
fn a_farewell_takes_the_place_of_a_greeting_that_has_not_left() {
    let farewell = |machine: &mut dyn ClientSide, farewell| {
        machine.close(farewell);
        assert!(!machine.wants_input());
        assert!(machine.poll_event().is_none());
        String::from_utf8(machine.poll_output().unwrap_or_default()).unwrap()
    };
    let limits = Limits::default;
    let full = ShutdownReason::TooManyConnections;
    let text = "Too many connections, try again later\r\n";
    assert_eq!(farewell(&mut Imap::new(settings(limits())), full), format!("* BYE [LIMIT] {text}"));
    assert_eq!(farewell(&mut Pop3::new(settings(limits())), full), format!("-ERR [SYS/TEMP] {text}"));
    assert_eq!(farewell(&mut Smtp::new(settings(limits())), full), format!("421 4.3.2 {text}"));
}

#[test]
fn a_farewell_says_why() {
    fn farewell<D: Dialect>(reason: ShutdownReason) -> String {
        let mut machine = Machine::<D>::new(settings(Limits::default()));
        machine.close(reason);
        String::from_utf8(machine.poll_output().unwrap()).unwrap()
    }
    for (reason, imap, pop3, smtp, text) in [
        (
            ShutdownReason::Draining,
            "[UNAVAILABLE] ",
            "[SYS/TEMP] ",
            "4.3.2",
            "The service is stopping, try again later",
        ),
        (ShutdownReason::Timeout, "", "[SYS/TEMP] ", "4.4.2", "That took too long"),
        (
            ShutdownReason::TooManyConnections,
            "[LIMIT] ",
            "[SYS/TEMP] ",
            "4.3.2",
            "Too many connections, try again later",
        ),
    ] {
        assert_eq!(farewell::<imap::client_side::Dialog>(reason), format!("* BYE {imap}{text}\r\n"));
        assert_eq!(farewell::<pop3::client_side::Dialog>(reason), format!("-ERR {pop3}{text}\r\n"));
        assert_eq!(farewell::<smtp::client_side::Dialog>(reason), format!("421 {smtp} {text}\r\n"));
    }
}

#[test]
fn a_farewell_later_on() {
    let mut imap = Imap::new(settings(Limits::default()));
    imap.poll_output();
    imap.close(ShutdownReason::Timeout);
    assert_eq!(imap.poll_output().unwrap(), b"* BYE That took too long\r\n");
    let mut pop3 = Pop3::new(settings(Limits::default()));
    pop3.poll_output();
    pop3.close(ShutdownReason::Draining);
    assert_eq!(pop3.poll_output(), None, "POP3 has no unsolicited replies");
    let mut pop3 = Pop3::new(settings(Limits::default()));
    pop3.handle_input(b"USER alice@contoso.com\r\nPASS secret\r\n");
    pop3.poll_output();
    pop3.close(ShutdownReason::Draining);
    assert!(pop3.poll_output().unwrap().starts_with(b"-ERR [SYS/TEMP] "), "PASS is owed a reply");
    assert!(pop3.poll_event().is_none(), "the login is off");
    pop3.accept(&Capabilities::default());
    assert_eq!(pop3.poll_output(), None);
}

#[test]
fn a_caller_that_decides_without_being_asked_changes_nothing() {
    let mut machine = Smtp::new(settings(Limits::default()));
    machine.poll_output();
    machine.accept(&Capabilities::default());
    machine.refuse(Refusal::InvalidCredentials);
    machine.resume();
    machine.tls_established();
    assert_eq!(machine.poll_output(), None);
    machine.handle_input(b"AUTH PLAIN AABi\r\n");
    assert!(matches!(machine.poll_event(), Some(ClientEvent::Rejected(_))));
    machine.accept(&Capabilities::default());
    assert_eq!(machine.poll_output(), None, "what was rejected cannot be accepted");
    machine.resume();
    assert!(machine.poll_output().unwrap().starts_with(b"535 5.7.8 "));
}

#[test]
fn how_a_client_logs_in_is_known_with_each_attempt() {
    fn methods<D: Dialect>(attempts: &[&str]) -> Vec<&'static str> {
        let mut machine = Machine::<D>::new(settings(wide()));
        let mut attempted = |input: &&str| {
            machine.handle_input(input.as_bytes());
            assert!(matches!(machine.poll_event(), Some(ClientEvent::Login(_))), "{input}");
            let method = machine.login_method();
            machine.refuse(Refusal::Unavailable);
            method
        };
        attempts.iter().map(&mut attempted).collect()
    }
    let (plain, login) = ("AUTH PLAIN AGFAYgBj\r\n", "AUTH LOGIN\r\nYUBi\r\nYw==\r\n");
    assert_eq!(
        methods::<imap::client_side::Dialog>(&["a AUTHENTICATE PLAIN AGFAYgBj\r\n", "b LOGIN a@b c\r\n"]),
        ["PLAIN", "LOGIN"]
    );
    assert_eq!(
        methods::<pop3::client_side::Dialog>(&[login, "USER a@b\r\nPASS c\r\n", plain]),
        ["LOGIN", "USER/PASS", "PLAIN"]
    );
    assert_eq!(methods::<smtp::client_side::Dialog>(&[plain, login]), ["PLAIN", "LOGIN"]);
}

#[test]
fn a_well_formed_command_is_a_short_word_with_printable_arguments() {
    let longest = "x".repeat(COMMAND_OCTETS);
    for command in ["XCLIENT NAME=a", "x", "X-THING_2  a ~", "LANG ", "LANG \u{e4}", &longest] {
        assert!(is_well_formed(command.as_bytes()), "{command:?}");
    }
    for other in ["", " x", "2x", "-x", "x: y", "x\ty", "x a\tb", "x \x7f", &format!("{longest}x")] {
        assert!(!is_well_formed(other.as_bytes()), "{other:?}");
    }
}

/// The last event and the last line of output after one input.
fn after<D: Dialect>(input: &[u8]) -> (Option<String>, String) {
    let mut machine = Machine::<D>::new(settings(Limits::default()));
    machine.handle_input(input);
    let output = String::from_utf8(machine.poll_output().unwrap()).unwrap();
    (machine.poll_event().as_ref().map(describe), output.lines().last().unwrap().to_owned())
}

#[test]
fn a_line_that_begins_authentication_may_be_long_and_no_other() {
    let with_password =
        |octets| sasl::encode(&[&b"\0alice@contoso.com\0"[..], &vec![b'p'; octets]].concat()).as_str().to_owned();
    // Longer than any password may be, and than any other line.
    let message = with_password(6_500);
    let (imap, pop3, smtp) = (
        format!("a AUTHENTICATE PLAIN {message}\r\n"),
        format!("AUTH PLAIN {message}\r\n"),
        format!("auth plain {message}\r\n"),
    );
    let rejected = Some("Rejected(Password)".to_owned());
    assert_eq!(after::<imap::client_side::Dialog>(imap.as_bytes()).0, rejected);
    assert_eq!(after::<pop3::client_side::Dialog>(pop3.as_bytes()).0, rejected);
    assert_eq!(after::<smtp::client_side::Dialog>(smtp.as_bytes()).0, rejected);
    let too_long = Some("Close(TooLong)".to_owned());
    assert_eq!(after::<imap::client_side::Dialog>(imap.replace("AUTHENTICATE", "LOGIN").as_bytes()).0, too_long);
    assert_eq!(after::<pop3::client_side::Dialog>(pop3.replace("AUTH", "PASS").as_bytes()).0, too_long);
    assert_eq!(after::<smtp::client_side::Dialog>(smtp.replace("auth", "EHLO").as_bytes()).0, too_long);
    for line in
        [format!("a AUTHENTICATE PLAIN {}", with_password(9_300)), format!("AUTH PLAIN {}", with_password(9_300))]
    {
        assert_eq!(after::<imap::client_side::Dialog>(line.as_bytes()).0, too_long);
        assert_eq!(after::<smtp::client_side::Dialog>(line.as_bytes()).0, too_long);
    }
}

#[test]
fn a_malformed_login_is_told_from_other_malformed_commands() {
    for login in ["a LOGIN alice@contoso.com\r\n", "a login \"alice\r\n", "a AUTHENTICATE PLAIN a b\r\n"] {
        assert_eq!(after::<imap::client_side::Dialog>(login.as_bytes()).0.as_deref(), Some("Rejected(Malformed)"));
    }
    let other = after::<imap::client_side::Dialog>(b"a NOOP x\r\n");
    assert_eq!(other, (None, "a BAD Command unknown or malformed".to_owned()));
}

#[test]
fn the_literals_of_a_command_are_counted() {
    let literal = |octets: usize| format!("{{{octets}+}}\r\n{}", "x".repeat(octets));
    let imap = |input: &str| after::<imap::client_side::Dialog>(input.as_bytes());
    let too_large = (Some("Close(TooLong)".to_owned()), "* BYE [TOOBIG] Literal too large".to_owned());
    let fine = (None, "a OK ID completed".to_owned());
    let four = [literal(1), literal(1), literal(1), literal(1)].join(" ");
    assert_eq!(imap(&format!("a ID ({four})\r\n")).1, fine.1);
    assert_eq!(imap(&format!("a ID ({four} {}", literal(1))), too_large);
    let two = [literal(4_096), literal(4_096)].join(" ");
    assert_eq!(imap(&format!("a ID ({two})\r\n")), fine);
    assert_eq!(imap(&format!("a ID ({two} {}", literal(1))), too_large);
    assert_eq!(imap(&format!("a ID ({}", literal(4_097))), too_large);
}

#[test]
fn the_lines_of_a_command_are_counted_together() {
    let words = "y".repeat(4_000);
    let input = format!("a ID (\"{words}\" {{2+}}\r\nxx \"{words}\" ");
    assert_eq!(after::<imap::client_side::Dialog>(format!("{input}NIL)\r\n").as_bytes()).1, "a OK ID completed");
    let (event, _) = after::<imap::client_side::Dialog>(format!("{input}\"{}\")\r\n", "z".repeat(200)).as_bytes());
    assert_eq!(event.as_deref(), Some("Close(TooLong)"));
}

#[test]
fn http_gets_no_reply_in_any_protocol() {
    for request in
        [&b"GET / HTTP/1.1\r\n"[..], b"CONNECT a:1 HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"PUT "]
    {
        for protocol in [
            after::<imap::client_side::Dialog>(request),
            after::<pop3::client_side::Dialog>(request),
            after::<smtp::client_side::Dialog>(request),
        ] {
            assert_eq!(protocol.0.as_deref(), Some("Close(Http)"));
            assert!(protocol.1.contains("Gatepost"), "nothing after the greeting: {}", protocol.1);
        }
    }
}

#[test]
fn a_hello_in_the_old_form_is_known_however_it_is_cut() {
    // Its length looks like the end of a line.
    let hello = b"\x80\x0a\x01\x03\x01\x00\x15\r\n";
    for cut in 0..hello.len() {
        any_split_is_the_same::<imap::client_side::Dialog>(hello, &[cut], &wide(), 0);
        any_split_is_the_same::<pop3::client_side::Dialog>(hello, &[cut], &wide(), 0);
        any_split_is_the_same::<smtp::client_side::Dialog>(hello, &[cut], &wide(), 0);
    }
    for (event, _) in [
        after::<imap::client_side::Dialog>(hello),
        after::<pop3::client_side::Dialog>(hello),
        after::<smtp::client_side::Dialog>(hello),
    ] {
        assert_eq!(event.as_deref(), Some("Close(TlsHello)"));
    }
}

/// A client may send as much as it likes and take nothing: what waits for it at a time, and in all,
/// is bounded.
fn replies_stay_few<D: Dialect>(mut machine: Machine<D>, commands: &str) {
    let read = commands.repeat(2_048 / commands.len());
    let (mut most, mut all) = (0, 0);
    for _ in 0..512 {
        machine.handle_input(read.as_bytes());
        while machine.poll_event().is_some() {}
        let output = machine.poll_output().map_or(0, |output| output.len());
        (most, all) = (most.max(output), all + output);
    }
    assert!(most <= 16 * 1_024 && all <= 16 * 1_024, "{commands:?}: {most} at a time, {all} in all");
}

#[test]
fn replies_to_pipelined_commands_stay_few() {
    for command in ["a NOOP\r\n", "a CAPABILITY\r\n", "a NOOP\r\na CAPABILITY\r\n", "a ID NIL\r\n"] {
        replies_stay_few(Imap::new(settings(Limits::default())), command);
    }
    for command in ["NOOP\r\n", "CAPA\r\n", "USER a\r\n"] {
        replies_stay_few(Pop3::new(settings(Limits::default())), command);
    }
    for command in ["NOOP\r\n", "EHLO x\r\n", "HELP\r\n"] {
        replies_stay_few(Smtp::new(settings(Limits::default())), command);
    }
}
