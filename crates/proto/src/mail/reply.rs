//! What the three upstream sides share: bounded lines, the state of the conversation, and how to tell of a failure.
//!
//! An upstream is not trusted before its login succeeded, and its words are never copied raw: a line is parsed, a
//! failure becomes a class and an escaped excerpt without the token, capabilities are kept only when they are plain.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::{memchr, memmem};
use zeroize::Zeroizing;

use crate::mail::{
    Authenticated, Capabilities, Goal, Limits, UpstreamEvent, UpstreamFailure, UpstreamFailureKind, UpstreamSettings,
    UpstreamSide,
};
use crate::sasl::{Bearer, xoauth2};
use gatepost_core::escape::excerpt;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(in crate::mail) mod transcript;

/// Longest [`UpstreamFailure::detail`], in octets.
const DETAIL_OCTETS: usize = 1_024;
/// Longest capability entry kept, in octets; the longest real ones (EHLO `AUTH …`) stay below 100.
const CAPABILITY_OCTETS: usize = 512;
/// Most capability entries kept.
const CAPABILITIES: usize = 128;

/// One protocol's part in a conversation; [`UpstreamSide`] follows from it.
///
/// The implementor keeps its state by value: [`Script::on_line`] takes it out, and puts the next one back on success.
/// After a failure nothing is put back and nothing is called any more.
pub(crate) trait Script: Send {
    /// The conversation.
    fn wire(&mut self) -> &mut Wire;

    /// Takes one line, without its CRLF.
    fn on_line(&mut self, line: &[u8]) -> Result<(), UpstreamFailure>;

    /// The TLS handshake that the script asked for has succeeded.
    fn on_tls(&mut self);
}

impl<S: Script> UpstreamSide for S {
    fn handle_input(&mut self, input: &[u8]) {
        self.wire().receive(input);
        while self.wire().phase == Phase::Open {
            let outcome = match self.wire().next_line() {
                Ok(Some(line)) => self.on_line(&line),
                Ok(None) => break,
                Err(failure) => Err(failure),
            };
            if let Err(failure) = outcome {
                self.wire().end(UpstreamEvent::Failed(failure));
            }
        }
    }

    fn handle_eof(&mut self) {
        let wire = self.wire();
        if wire.phase != Phase::Ended {
            let last = std::mem::take(&mut wire.last);
            let said = if last.is_empty() { "before it said anything".into() } else { [b"after: ", &*last].concat() };
            let failure = wire.failure(UpstreamFailureKind::Closed, &said);
            wire.end(UpstreamEvent::Failed(failure));
        }
    }

    fn poll_event(&mut self) -> Option<UpstreamEvent> {
        self.wire().event.take()
    }

    fn poll_output(&mut self) -> Option<Vec<u8>> {
        let output = std::mem::take(&mut self.wire().output);
        (!output.is_empty()).then_some(output)
    }

    fn tls_established(&mut self) {
        if self.wire().phase == Phase::AwaitsTls {
            self.wire().phase = Phase::Open;
            self.wire().last.clear();
            self.on_tls();
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    AwaitsTls,
    Ended,
}

/// One conversation with an upstream: what came in, what goes out, what the caller is to do.
pub(crate) struct Wire {
    phase: Phase,
    lines: Lines,
    output: Vec<u8>,
    /// At most one is pending: a failure replaces a StartTls that nobody has taken yet.
    event: Option<UpstreamEvent>,
    /// The last line, for the detail when the upstream closes instead of answering.
    last: Vec<u8>,
    login: Option<Login>,
}

/// What is to be sent, and to be kept out of every detail.
struct Login {
    bearer: Bearer,
    response: Zeroizing<String>,
}

impl Wire {
    pub(crate) fn new(settings: &UpstreamSettings) -> Self {
        let login = match &settings.goal {
            Goal::Learn => None,
            Goal::Authenticate(bearer) => {
                Some(Login { bearer: bearer.clone(), response: xoauth2::initial_response(bearer) })
            }
        };
        Self {
            phase: Phase::Open,
            lines: Lines::new(settings.limits.clone()),
            output: Vec::new(),
            event: None,
            last: Vec::new(),
            login,
        }
    }

    /// The XOAUTH2 response in base64; `None` when the goal is to learn.
    pub(crate) fn response(&self) -> Option<&str> {
        self.login.as_ref().map(|login| login.response.as_str())
    }

    /// Sends a line; CRLF is added.
    pub(crate) fn send(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    /// Sends `prefix` and the XOAUTH2 response as one line.
    pub(crate) fn send_response(&mut self, prefix: &str) {
        if let Some(login) = &self.login {
            // Reserved at once: a buffer that grows leaves a copy of the token behind.
            self.output.reserve_exact(prefix.len() + login.response.len() + 2);
            self.output.extend_from_slice(prefix.as_bytes());
            self.output.extend_from_slice(login.response.as_bytes());
            self.output.extend_from_slice(b"\r\n");
        }
    }

    /// Drops the next `octets` octets of input, a literal that nobody needs.
    pub(crate) fn skip(&mut self, octets: usize) {
        self.lines.skip = octets;
    }

    /// Asks for TLS, unless the upstream has already said something behind its reply: that would count as said in TLS.
    pub(crate) fn start_tls(&mut self) -> Result<(), UpstreamFailure> {
        if self.lines.is_empty() {
            self.phase = Phase::AwaitsTls;
            self.event = Some(UpstreamEvent::StartTls);
            Ok(())
        } else {
            Err(self.spoke_before_tls())
        }
    }

    /// Ends the conversation: the list has been read.
    pub(crate) fn learned(&mut self, capabilities: Capabilities) {
        self.end(UpstreamEvent::Learned(capabilities));
    }

    /// Ends the conversation: the login succeeded.
    pub(crate) fn authenticated(&mut self, capabilities: Capabilities) {
        let leftovers = self.lines.take_rest();
        self.end(UpstreamEvent::Authenticated(Authenticated::new(capabilities, leftovers)));
    }

    /// A failure with the upstream's own words.
    pub(crate) fn failure(&self, kind: UpstreamFailureKind, words: &[u8]) -> UpstreamFailure {
        let secrets: [&[u8]; 2] = match &self.login {
            Some(login) => [login.response.as_bytes(), login.bearer.token.expose().as_bytes()],
            None => [b"", b""],
        };
        UpstreamFailure { kind, detail: excerpt(words, DETAIL_OCTETS, &secrets) }
    }

    fn spoke_before_tls(&self) -> UpstreamFailure {
        self.failure(UpstreamFailureKind::SpokeBeforeTls, b"octets behind the reply that announces TLS")
    }

    fn receive(&mut self, input: &[u8]) {
        match (self.phase, &mut self.event) {
            (Phase::Open, _) => self.lines.buffer.extend_from_slice(input),
            (Phase::AwaitsTls, _) if !input.is_empty() => {
                let failure = self.spoke_before_tls();
                self.end(UpstreamEvent::Failed(failure));
            }
            // The proof has not been taken yet: what follows belongs to the client too.
            (Phase::Ended, Some(UpstreamEvent::Authenticated(proof))) => proof.leftovers.extend_from_slice(input),
            _ => {}
        }
    }

    fn next_line(&mut self) -> Result<Option<Vec<u8>>, UpstreamFailure> {
        match self.lines.next() {
            Ok(line) => {
                if let Some(line) = &line {
                    self.last.clone_from(line);
                }
                Ok(line)
            }
            Err(why) => Err(self.failure(UpstreamFailureKind::Protocol, why.as_bytes())),
        }
    }

    fn end(&mut self, event: UpstreamEvent) {
        self.phase = Phase::Ended;
        self.event = Some(event);
        self.login = None;
    }
}

/// Cuts input into lines that end in CRLF, within the bounds on an upstream.
struct Lines {
    limits: Arc<Limits>,
    buffer: Vec<u8>,
    /// Where the next line begins.
    start: usize,
    /// Up to here there is no LF.
    scanned: usize,
    /// Octets to drop before the next line.
    skip: usize,
    taken_lines: usize,
    taken_bytes: usize,
}

impl Lines {
    fn new(limits: Arc<Limits>) -> Self {
        Self { limits, buffer: Vec::new(), start: 0, scanned: 0, skip: 0, taken_lines: 0, taken_bytes: 0 }
    }

    fn is_empty(&self) -> bool {
        self.start == self.buffer.len()
    }

    fn take_rest(&mut self) -> Vec<u8> {
        self.buffer.split_off(self.start)
    }

    /// The next line without its CRLF, if it is complete. The error is a sentence for the log.
    fn next(&mut self) -> Result<Option<Vec<u8>>, &'static str> {
        // Every bound is checked against what has come of a line, complete or not, so that the same octets meet the same
        // bound however they are split.
        let allowance = self.limits.upstream_bytes.saturating_sub(self.taken_bytes);
        if self.skip > 0 {
            if self.skip > allowance {
                return Err("more octets before the login than any server needs");
            }
            let dropped = self.skip.min(self.buffer.len() - self.start);
            self.start += dropped;
            self.scanned = self.start;
            self.skip -= dropped;
            self.taken_bytes += dropped;
            if self.skip > 0 {
                self.compact();
                return Ok(None);
            }
        }
        let allowance = self.limits.upstream_bytes.saturating_sub(self.taken_bytes);
        let end = memchr(b'\n', self.buffer.get(self.scanned..).unwrap_or_default()).map(|at| self.scanned + at + 1);
        let length = end.unwrap_or(self.buffer.len()) - self.start;
        if length > allowance.min(self.limits.upstream_line_bytes) {
            return Err(if allowance < self.limits.upstream_line_bytes {
                "more octets before the login than any server needs"
            } else {
                "a line that is too long"
            });
        }
        let Some(end) = end else {
            self.compact();
            self.scanned = self.buffer.len();
            return Ok(None);
        };
        self.taken_lines += 1;
        self.taken_bytes += length;
        if self.taken_lines > self.limits.upstream_lines {
            return Err("more lines before the login than any server needs");
        }
        let Some(line) = self.buffer.get(self.start..end).and_then(|line| line.strip_suffix(b"\r\n")) else {
            return Err("a line that does not end in CRLF");
        };
        if memchr::memchr2(b'\r', 0, line).is_some() {
            return Err("a CR or NUL inside a line");
        }
        let line = line.to_vec();
        self.start = end;
        self.scanned = end;
        Ok(Some(line))
    }

    fn compact(&mut self) {
        self.buffer.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
    }
}

/// The `status` of an XOAUTH2 failure challenge (base64 of `{"status":"401",…}`), when it looks like one.
pub(crate) fn challenge_status(challenge: &[u8]) -> Option<String> {
    let json = STANDARD.decode(challenge).ok()?;
    let json: serde_json::Value = serde_json::from_slice(&json).ok()?;
    let status = match json.get("status")? {
        serde_json::Value::String(status) => status.clone(),
        serde_json::Value::Number(status) => status.to_string(),
        _ => return None,
    };
    (status.len() <= 16 && status.bytes().all(|b| b.is_ascii_alphanumeric())).then_some(status)
}

/// The upstream's final words after a challenge: both in one.
pub(crate) fn after_challenge(status: Option<&str>, words: &[u8]) -> Vec<u8> {
    match status {
        Some(status) => [b"challenge with status ", status.as_bytes(), b", then: ", words].concat(),
        None => words.to_vec(),
    }
}

/// The class of a refusal that carries no code, or a code that says little, by the words that Exchange and others use.
pub(crate) fn kind_of_words(words: &[u8]) -> Option<UpstreamFailureKind> {
    const WORDS: [(&str, UpstreamFailureKind); 14] = [
        ("authenticated but not connected", UpstreamFailureKind::MailboxNotConnected),
        ("too many", UpstreamFailureKind::Limit),
        ("concurrent connections", UpstreamFailureKind::Limit),
        ("connection limit", UpstreamFailureKind::Limit),
        ("thread limit", UpstreamFailureKind::Limit),
        ("throttl", UpstreamFailureKind::Unavailable),
        ("try again", UpstreamFailureKind::Unavailable),
        ("temporar", UpstreamFailureKind::Unavailable),
        ("unavailable", UpstreamFailureKind::Unavailable),
        ("server busy", UpstreamFailureKind::Unavailable),
        ("disabled", UpstreamFailureKind::Disabled),
        ("mechanism", UpstreamFailureKind::NoXoauth2),
        ("unrecognized authentication", UpstreamFailureKind::NoXoauth2),
        ("protocol error", UpstreamFailureKind::Protocol),
    ];
    let words = words.to_ascii_lowercase();
    WORDS.iter().find(|(word, _)| memmem::find(&words, word.as_bytes()).is_some()).map(|(_, kind)| *kind)
}

/// Keeps the entries that are plain and short.
pub(crate) fn capabilities<'a>(entries: impl Iterator<Item = &'a [u8]>) -> Capabilities {
    let plain = |entry: &&[u8]| {
        !entry.is_empty() && entry.len() <= CAPABILITY_OCTETS && entry.iter().all(|b| (0x20..0x7f).contains(b))
    };
    let text = |entry: &[u8]| entry.iter().copied().map(char::from).collect();
    Capabilities(entries.filter(plain).take(CAPABILITIES).map(text).collect())
}
