//! The common part of the three upstream sides: bounded lines, the state of the conversation, and
//! failures.
//!
//! An upstream is not trusted before its login has succeeded, so its text is never copied raw. A
//! line is parsed. A failure becomes a class and an escaped excerpt without the token. Capabilities
//! are kept only if they are plain.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::{memchr, memmem};
use zeroize::Zeroizing;

use crate::mail::{
    Authenticated, Capabilities, Goal, Limits, TokenExchange, UpstreamEvent, UpstreamFailure, UpstreamFailureKind,
    UpstreamSettings, UpstreamSide,
};
use crate::sasl::{Bearer, Mechanism, oauthbearer, xoauth2};
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

/// One protocol's part of a conversation; [`UpstreamSide`] is implemented for it.
///
/// The implementor keeps its state by value: [`Script::on_line`] takes it out, and stores the next
/// one on success. After a failure nothing is stored, and nothing is called any more.
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

/// One conversation with an upstream: input, output, and the event for the caller.
pub(crate) struct Wire {
    phase: Phase,
    lines: Lines,
    output: Vec<u8>,
    /// At most one event is pending: a failure replaces a StartTls that was not taken yet.
    event: Option<UpstreamEvent>,
    /// The last line, which becomes the detail if the upstream closes instead of answering.
    last: Vec<u8>,
    login: Option<Login>,
}

/// The secrets to be sent, which must not appear in any detail.
struct Login {
    bearer: Bearer,
    response: Zeroizing<String>,
    exchange: TokenExchange,
}

impl Wire {
    pub(crate) fn new(settings: &UpstreamSettings) -> Self {
        let login = match &settings.goal {
            Goal::Learn => None,
            Goal::Authenticate(bearer) => {
                let response = match settings.exchange.mechanism {
                    Mechanism::Oauthbearer => oauthbearer::initial_response(bearer),
                    _ => xoauth2::initial_response(bearer),
                };
                Some(Login { bearer: bearer.clone(), response, exchange: settings.exchange })
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

    /// The response with the token in base64; `None` if the goal is only to learn the capabilities.
    pub(crate) fn response(&self) -> Option<&str> {
        self.login.as_ref().map(|login| login.response.as_str())
    }

    /// How the server takes the token.
    pub(crate) fn exchange(&self) -> TokenExchange {
        self.login.as_ref().map_or(TokenExchange::EXCHANGE_ONLINE, |login| login.exchange)
    }

    /// The name of the mechanism.
    pub(crate) fn mechanism(&self) -> &'static str {
        self.exchange().mechanism.name()
    }

    /// Answers a failure challenge, so that the server says the rest: an empty response (XOAUTH2), or
    /// one octet (RFC 7628 §3.2.3).
    pub(crate) fn acknowledge(&mut self) {
        self.send(if self.exchange().mechanism == Mechanism::Oauthbearer { "AQ==" } else { "" });
    }

    /// Sends a line; CRLF is added.
    pub(crate) fn send(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    /// Sends `prefix` and the response with the token as one line.
    pub(crate) fn send_response(&mut self, prefix: &str) {
        if let Some(login) = &self.login {
            // Reserved at once, because a buffer that grows leaves a copy of the token behind.
            self.output.reserve_exact(prefix.len() + login.response.len() + 2);
            self.output.extend_from_slice(prefix.as_bytes());
            self.output.extend_from_slice(login.response.as_bytes());
            self.output.extend_from_slice(b"\r\n");
        }
    }

    /// Drops the next `octets` octets of input, a literal that is not needed.
    pub(crate) fn skip(&mut self, octets: usize) {
        self.lines.skip = octets;
    }

    /// Asks for TLS, unless octets follow the upstream's reply already, because those would count
    /// as protected by TLS.
    pub(crate) fn start_tls(&mut self) -> Result<(), UpstreamFailure> {
        if self.lines.is_empty() {
            self.phase = Phase::AwaitsTls;
            self.event = Some(UpstreamEvent::StartTls);
            Ok(())
        } else {
            Err(self.spoke_before_tls())
        }
    }

    /// Ends the conversation: the capabilities have been read.
    pub(crate) fn learned(&mut self, capabilities: Capabilities) {
        self.end(UpstreamEvent::Learned(capabilities));
    }

    /// Ends the conversation: the login succeeded.
    pub(crate) fn authenticated(&mut self, capabilities: Capabilities) {
        let leftovers = self.lines.take_rest();
        self.end(UpstreamEvent::Authenticated(Authenticated::new(capabilities, leftovers)));
    }

    /// Creates a failure with the upstream's own text.
    pub(crate) fn failure(&self, kind: UpstreamFailureKind, words: &[u8]) -> UpstreamFailure {
        let secrets: [&[u8]; 2] = match &self.login {
            Some(login) => [login.response.as_bytes(), login.bearer.token.expose().as_bytes()],
            None => [b"", b""],
        };
        UpstreamFailure { kind, detail: excerpt(words, DETAIL_OCTETS, &secrets), retry_after: retry_after(words) }
    }

    /// The class of a reply to the token that calls it no valid command or message.
    pub(crate) fn not_understood(&self) -> UpstreamFailureKind {
        let characters = self.login.as_ref().map_or(0, |login| login.bearer.token.expose().chars().count());
        UpstreamFailureKind::TokenNotUnderstood { characters }
    }

    fn spoke_before_tls(&self) -> UpstreamFailure {
        self.failure(UpstreamFailureKind::SpokeBeforeTls, b"bytes after the reply that announces TLS")
    }

    fn receive(&mut self, input: &[u8]) {
        match (self.phase, &mut self.event) {
            (Phase::Open, _) => self.lines.buffer.extend_from_slice(input),
            (Phase::AwaitsTls, _) if !input.is_empty() => {
                let failure = self.spoke_before_tls();
                self.end(UpstreamEvent::Failed(failure));
            }
            // The result has not been taken yet, so these octets belong to the client too.
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

/// Splits input into lines that end in CRLF, within the limits on an upstream.
struct Lines {
    limits: Arc<Limits>,
    buffer: Vec<u8>,
    /// Start of the next line.
    start: usize,
    /// There is no LF before this position.
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
        // Every limit is checked against the octets of a line received so far, complete or not. So
        // the same octets reach the same limit however they are split.
        let allowance = self.limits.upstream_bytes.saturating_sub(self.taken_bytes);
        if self.skip > 0 {
            if self.skip > allowance {
                return Err("more bytes before the login than any server needs");
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
                "more bytes before the login than any server needs"
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

/// The `status` of an XOAUTH2 failure challenge (base64 of `{"status":"401",…}`), if it looks like
/// one.
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

/// The detail of a refusal after a challenge: the challenge's status and the upstream's final text.
pub(crate) fn after_challenge(status: Option<&str>, words: &[u8]) -> Vec<u8> {
    match status {
        Some(status) => [b"challenge with status ", status.as_bytes(), b", then: ", words].concat(),
        None => words.to_vec(),
    }
}

/// The class of a refusal without a useful code, from the text that Exchange and others use.
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

/// How long the upstream wants to be left alone, in the words of Exchange (`Request is throttled.
/// Suggested Backoff Time: 89117 milliseconds`).
pub(crate) fn retry_after(words: &[u8]) -> Option<Duration> {
    const ANNOUNCED: &[u8] = b"backoff time:";
    let words = words.to_ascii_lowercase();
    let at = memmem::find(&words, ANNOUNCED)? + ANNOUNCED.len();
    let mut rest = words.get(at..)?.split(|octet| !octet.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let number = std::str::from_utf8(rest.next()?).ok()?.parse().ok()?;
    match rest.next()? {
        b"milliseconds" => Some(Duration::from_millis(number)),
        b"seconds" => Some(Duration::from_secs(number)),
        _ => None,
    }
}

/// Keeps the entries that are printable and short.
pub(crate) fn capabilities<'a>(entries: impl Iterator<Item = &'a [u8]>) -> Capabilities {
    let plain = |entry: &&[u8]| {
        !entry.is_empty() && entry.len() <= CAPABILITY_OCTETS && entry.iter().all(|b| (0x20..0x7f).contains(b))
    };
    let text = |entry: &[u8]| entry.iter().copied().map(char::from).collect();
    Capabilities(entries.filter(plain).take(CAPABILITIES).map(text).collect())
}
