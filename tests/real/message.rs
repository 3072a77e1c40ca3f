//! Messages with everything in them that a relay could damage, the same in every run.

/// A message of some kilobytes: number `number` of a mailbox, lines ended by CRLF.
pub(crate) fn message(number: usize) -> Vec<u8> {
    let mut text = header(&format!("{number}"));
    let mut random = Random::new(number as u64);
    for _ in 0..(number % 97) {
        line(&mut text, &mut random);
    }
    text.into_bytes()
}

/// A message of at least `octets`, lines ended by CRLF.
pub(crate) fn large_message(octets: usize) -> Vec<u8> {
    let mut text = header("large");
    text.reserve(octets + 1_024);
    let mut random = Random::new(octets as u64);
    while text.len() < octets {
        line(&mut text, &mut random);
    }
    text.into_bytes()
}

/// The message as DATA carries it, with its end: a dot before each line that begins with one (RFC
/// 5321 §4.5.2).
pub(crate) fn dotted(message: &[u8]) -> String {
    let text = str::from_utf8(message).unwrap();
    let lines =
        text.split_inclusive('\n').map(|line| format!("{}{line}", if line.starts_with('.') { "." } else { "" }));
    lines.chain([".".to_owned()]).collect()
}

/// As mail stores on Unix keep it: lines ended by LF.
pub(crate) fn unix_lines(message: &[u8]) -> Vec<u8> {
    let mut unix = Vec::with_capacity(message.len());
    for (index, &octet) in message.iter().enumerate() {
        if !(octet == b'\r' && message.get(index + 1) == Some(&b'\n')) {
            unix.push(octet);
        }
    }
    unix
}

/// Panics where two messages begin to differ; `assert_eq` would print all of both.
pub(crate) fn assert_same(actual: &[u8], expected: &[u8], what: &str) {
    if actual == expected {
        return;
    }
    let at = actual.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(actual.len().min(expected.len()));
    let around = |octets: &[u8]| {
        let part = octets.get(at.saturating_sub(40)..octets.len().min(at + 40)).unwrap_or_default();
        part.escape_ascii().to_string()
    };
    panic!(
        "{what}: {} octets instead of {}, different from octet {at} on\n  is: {}\n  not: {}",
        actual.len(),
        expected.len(),
        around(actual),
        around(expected),
    );
}

/// Panics unless `arrived` is `sent` behind some trace header lines (RFC 5321 §4.4), which are all
/// that a submission server may put in front.
pub(crate) fn assert_same_behind_trace(arrived: &[u8], sent: &[u8], what: &str) {
    let added = arrived.len().saturating_sub(sent.len());
    let (trace, rest) = arrived.split_at(added);
    let trace = std::str::from_utf8(trace).unwrap_or_default();
    let allowed =
        |line: &str| line.starts_with([' ', '\t']) || line.starts_with("Received:") || line.starts_with("Return-Path:");
    assert!(trace.len() < 1_024 && trace.lines().all(allowed), "{what}: unexpected in front of the message: {trace}");
    assert_same(rest, sent, what);
}

fn header(name: &str) -> String {
    format!(
        "Message-ID: <{name}@messages.contoso.com>\r\n\
         Date: Mon, 23 Nov 2026 08:00:00 +0000\r\n\
         From: Sender <sender@contoso.com>\r\n\
         To: Recipient <recipient@contoso.com>\r\n\
         Subject: message {name}\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: 8bit\r\n\
         \r\n\
         This is message {name}.\r\n"
    )
}

/// One line; some of them look like the ends and beginnings of things.
fn line(text: &mut String, random: &mut Random) {
    match random.next() % 16 {
        0 => text.push('.'),
        1 => text.push_str(". leading dot"),
        2 => text.push_str("..two dots"),
        3 => text.push_str("From the beginning, as mbox files have it"),
        4 => text.push_str("* BYE a1 OK ) {7}"),
        5 => text.push_str("+OK -ERR 250 354"),
        6 => text.push_str("größere Übermäßigkeit, 日本語, Ελληνικά, 🙂"),
        7 => text.push_str("trailing blanks  \t "),
        8 => {}
        _ => {
            for _ in 0..(random.next() % 90) {
                text.push(char::from(b'!' + u8::try_from(random.next() % 94).unwrap()));
            }
        }
    }
    text.push_str("\r\n");
}

/// A linear congruential generator (constants of MMIX): the same numbers in each run.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}
