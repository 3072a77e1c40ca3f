//! Every login attempt must look like the first one. The tests run connections with attempts of all
//! kinds in any order, and each attempt must look exactly as on a fresh connection. (CVE-2025-53859
//! and CVE-2026-27651 came from state that a failed attempt left behind.)

use std::collections::HashMap;

use super::tests::{describe, settings, wide};
use super::*;
use crate::mail::{imap, pop3, smtp};

/// Connections per protocol: a hundred thousand over all three.
const CONNECTIONS: u64 = 33_334;
/// Attempts on one connection, at most.
const ATTEMPTS: u64 = 6;

const REFUSALS: [Refusal; 6] = [
    Refusal::InvalidCredentials,
    Refusal::NotAuthorized,
    Refusal::ContactAdmin,
    Refusal::Unavailable,
    Refusal::Limit,
    Refusal::ServerBug,
];

/// Attempts of each kind: well formed, malformed, with unknown mechanisms, cancelled at each step,
/// and with a user name that another attempt could inherit. After each of them a new command is
/// awaited.
const IMAP: &[&str] = &[
    "a LOGIN alice@contoso.com wrong\r\n",
    "a LOGIN bob@contoso.com {5}\r\nwrong\r\n",
    "a LOGIN {15}\r\nbob@contoso.com {5+}\r\nwrong\r\n",
    "a LOGIN {15}\r\nbob@contoso.com\r\n",
    "a LOGIN alice@contoso.com\r\n",
    "a LOGIN \"\" \"\"\r\n",
    "a LOGIN \"a\tb\" wrong\r\n",
    "a AUTHENTICATE PLAIN AGFAYgBj\r\n",
    "a AUTHENTICATE PLAIN\r\nAGFAYgBj\r\n",
    "a AUTHENTICATE PLAIN\r\n*\r\n",
    "a AUTHENTICATE PLAIN\r\n???\r\n",
    "a AUTHENTICATE PLAIN AGFAYg==\r\n",
    "a AUTHENTICATE LOGIN\r\nYUBi\r\nYw==\r\n",
    "a AUTHENTICATE LOGIN YUBi\r\nYw==\r\n",
    "a AUTHENTICATE LOGIN YUBi\r\n*\r\n",
    "a AUTHENTICATE LOGIN YUBi\r\n\r\n",
    "a AUTHENTICATE LOGIN\r\n*\r\n",
    "a AUTHENTICATE XOAUTH2 dXNlcj1hQGIBYXV0aD1CZWFyZXIgZXlKaGJHY2lPaUp1YjI1bEluMC5lMzAuYzJsbgEB\r\n",
    "a AUTHENTICATE XOAUTH2\r\n*\r\n",
    "a AUTHENTICATE CRAM-MD5\r\n",
    "a NOOP\r\n",
    "a CAPABILITY\r\n",
];

const POP3: &[&str] = &[
    "USER alice@contoso.com\r\nPASS wrong\r\n",
    "USER a\tb\r\nPASS wrong\r\n",
    "USER alice@contoso.com\r\nUSER bob@contoso.com\r\nPASS wrong\r\n",
    "USER alice@contoso.com\r\nPASS \r\n",
    "USER alice@contoso.com\r\nNOOP\r\n",
    "USER alice@contoso.com\r\nAUTH PLAIN AGFAYgBj\r\n",
    "USER alice@contoso.com\r\nAUTH LOGIN\r\n*\r\n",
    "PASS wrong\r\n",
    "AUTH PLAIN AGFAYgBj\r\n",
    "AUTH PLAIN\r\nAGFAYgBj\r\n",
    "AUTH PLAIN\r\n*\r\n",
    "AUTH PLAIN ???\r\n",
    "AUTH LOGIN\r\nYUBi\r\nYw==\r\n",
    "AUTH LOGIN\r\nYUBi\r\n*\r\n",
    "AUTH LOGIN YUBi\r\n???\r\n",
    "AUTH XOAUTH2 dXNlcj1hQGIBYXV0aD1CZWFyZXIgZXlKaGJHY2lPaUp1YjI1bEluMC5lMzAuYzJsbgEB\r\n",
    "AUTH NTLM\r\n",
    "CAPA\r\n",
    "STAT\r\n",
];

const SMTP: &[&str] = &[
    "AUTH PLAIN AGFAYgBj\r\n",
    "AUTH PLAIN\r\nAGFAYgBj\r\n",
    "AUTH PLAIN\r\n*\r\n",
    "AUTH PLAIN\r\n???\r\n",
    "AUTH PLAIN AABi\r\n",
    "AUTH LOGIN\r\nYUBi\r\nYw==\r\n",
    "AUTH LOGIN YUBi\r\nYw==\r\n",
    "AUTH LOGIN YUBi\r\n*\r\n",
    "AUTH LOGIN\r\n*\r\n",
    "AUTH LOGIN\r\nYUBi\r\n???\r\n",
    "AUTH XOAUTH2 dXNlcj1hQGIBYXV0aD1CZWFyZXIgZXlKaGJHY2lPaUp1YjI1bEluMC5lMzAuYzJsbgEB\r\n",
    "AUTH XOAUTH2\r\n*\r\n",
    "AUTH GSSAPI\r\n",
    "AUTH\r\n",
    "MAIL FROM:<a@b>\r\n",
    "EHLO scanner\r\n",
    "RSET\r\n",
];

/// A reproducible sequence of numbers (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators").
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound) as usize
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64)]
    }
}

fn machine<D: Dialect>(tls: bool, plaintext_login: bool) -> Machine<D> {
    let mut machine = Machine::new(ClientSettings { implicit_tls: tls, plaintext_login, ..settings(wide()) });
    machine.poll_output();
    machine
}

/// The events and output of an attempt.
fn attempt<D: Dialect>(machine: &mut Machine<D>, input: &str, refusal: Refusal) -> String {
    let mut seen = String::new();
    // Line by line, as from a client that waits for each reply.
    for line in input.split_inclusive("\r\n") {
        machine.handle_input(line.as_bytes());
        while let Some(event) = machine.poll_event() {
            seen.push_str(&describe(&event));
            match event {
                ClientEvent::Login(_) => machine.refuse(refusal),
                ClientEvent::Rejected(_) => machine.resume(),
                ClientEvent::StartTls | ClientEvent::Submission | ClientEvent::Close(_) => {
                    panic!("not an attempt: {input}")
                }
            }
        }
        seen.push_str(&String::from_utf8(machine.poll_output().unwrap_or_default()).unwrap());
    }
    seen
}

fn every_attempt_is_the_first<D: Dialect>(attempts: &[&str], starttls: &str) {
    let mut numbers = Numbers(7);
    // The events and output of each attempt on a fresh connection, with TLS from the start.
    let mut first = HashMap::new();
    for connection in 0..CONNECTIONS {
        let plaintext_login = connection % 2 == 0;
        let mut tls = false;
        let mut used = machine::<D>(tls, plaintext_login);
        let mut before = Vec::new();
        for _ in 0..=numbers.below(ATTEMPTS) {
            if !tls && numbers.below(4) == 0 {
                used.handle_input(starttls.as_bytes());
                assert!(matches!(used.poll_event(), Some(ClientEvent::StartTls)));
                used.poll_output();
                used.tls_established();
                tls = true;
            }
            let (input, refusal) = (numbers.one_of(attempts), numbers.one_of(&REFUSALS));
            let seen = attempt(&mut used, input, refusal);
            let alone = || attempt(&mut machine::<D>(tls, plaintext_login), input, refusal);
            let expected = first.entry((tls, plaintext_login, input, refusal as u8)).or_insert_with(alone);
            assert_eq!(seen, *expected, "{input:?} ({refusal:?}) after {before:?}");
            before.push((input, refusal, tls));
        }
    }
}

#[test]
fn imap() {
    every_attempt_is_the_first::<imap::client_side::Dialog>(IMAP, "s STARTTLS\r\n");
}

#[test]
fn pop3() {
    every_attempt_is_the_first::<pop3::client_side::Dialog>(POP3, "STLS\r\n");
}

#[test]
fn smtp() {
    every_attempt_is_the_first::<smtp::client_side::Dialog>(SMTP, "STARTTLS\r\n");
}
