//! The submission client that sends messages to an upstream after a successful login: one command,
//! one reply.
//!
//! A message is always sent with DATA, however it was received. Only the stuffed dots can differ.

use std::mem;

use super::content::Stuffing;
use super::reply::Reply;
use super::response::Replies;
use super::transaction::{Mail, Recipient};
use crate::mail::line::{Line, LineBuffer};
use crate::mail::{Authenticated, Capabilities};

/// Longest line of a reply, without its end.
const LINE_OCTETS: usize = 8_192;
/// Longest reply.
const REPLY_LINES: usize = 128;

/// The machine. Write what [`Forward::poll_output`] gives. Each command but [`Forward::content`] is
/// answered by one reply.
pub struct Forward {
    announced: Capabilities,
    input: LineBuffer,
    replies: Replies,
    lines: usize,
    output: Vec<u8>,
    stuffing: Stuffing,
}

/// The upstream sent something that is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the upstream sent something that is no SMTP reply")]
pub struct Garbled;

impl Forward {
    /// Creates a machine after a login.
    pub fn new(authenticated: Authenticated) -> Self {
        let announced = authenticated.capabilities().clone();
        let mut forward = Self::with(announced);
        forward.handle_input(&authenticated.into_leftovers());
        forward
    }

    fn with(announced: Capabilities) -> Self {
        let (input, replies, stuffing) = (LineBuffer::default(), Replies::default(), Stuffing::default());
        Self { announced, input, replies, lines: 0, output: Vec::new(), stuffing }
    }

    /// Creates a machine towards a server that asks for no login. The first reply is its greeting.
    pub fn without_login() -> Self {
        Self::with(Capabilities::default())
    }

    /// Introduces the client, as the first command without a login. The reply goes to
    /// [`Forward::learn`].
    pub fn introduce(&mut self, name: &str) {
        self.line(&format!("EHLO {name}"));
    }

    /// Takes the extensions from the reply to [`Forward::introduce`].
    pub fn learn(&mut self, reply: &Reply) {
        let texts = reply.texts.iter().skip(1).map(|text| String::from_utf8_lossy(text).into_owned());
        self.announced = Capabilities(texts.collect());
    }

    /// Begins a message.
    pub fn mail(&mut self, mail: &Mail) {
        let line = mail.to_line(|keyword| self.announces(keyword));
        self.line(&line);
    }

    /// Adds a recipient.
    pub fn recipient(&mut self, recipient: &Recipient) {
        let line = recipient.to_line(|keyword| self.announces(keyword));
        self.line(&line);
    }

    /// Asks to send the message itself; the reply 354 allows it.
    pub fn data(&mut self) {
        self.stuffing = Stuffing::default();
        self.line("DATA");
    }

    /// Sends a piece of the message, whose lines end in CRLF.
    pub fn content(&mut self, piece: &[u8]) {
        self.stuffing.write(piece, &mut self.output);
    }

    /// Ends the message.
    pub fn end(&mut self) {
        mem::take(&mut self.stuffing).finish(&mut self.output);
    }

    /// Discards the message before its content has been sent.
    pub fn reset(&mut self) {
        self.line("RSET");
    }

    /// Ends the session.
    pub fn quit(&mut self) {
        self.line("QUIT");
    }

    /// All pending octets for the upstream, if any.
    pub fn poll_output(&mut self) -> Option<Vec<u8>> {
        let output = mem::take(&mut self.output);
        (!output.is_empty()).then_some(output)
    }

    /// Takes octets from the upstream. Call it when [`Self::poll_reply`] has nothing.
    pub fn handle_input(&mut self, input: &[u8]) {
        self.input.push(input);
    }

    /// The next reply, once it is complete.
    ///
    /// # Errors
    /// [`Garbled`]; the connection cannot be used any more.
    pub fn poll_reply(&mut self) -> Result<Option<Reply>, Garbled> {
        loop {
            let line = match self.input.take_line(LINE_OCTETS + 2, false) {
                None => return Ok(None),
                Some(Line::Text(line)) => line,
                Some(Line::Flawed | Line::TooLong) => return Err(Garbled),
            };
            self.lines += 1;
            // A control character in a text could become a line of its own in the reply to the
            // client.
            if self.lines > REPLY_LINES || line.iter().any(|octet| *octet < b' ' && *octet != b'\t') {
                return Err(Garbled);
            }
            if let Some(reply) = self.replies.take(&line).map_err(|_| Garbled)? {
                self.lines = 0;
                return Ok(Some(reply));
            }
        }
    }

    fn line(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    /// Whether the upstream announces an extension.
    pub fn announces(&self, keyword: &str) -> bool {
        self.announced.0.iter().any(|entry| entry.split(' ').next().is_some_and(|it| it.eq_ignore_ascii_case(keyword)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(announced: &[&str]) -> Forward {
        let announced = Capabilities(announced.iter().copied().map(String::from).collect());
        Forward::new(Authenticated::new(announced, Vec::new()))
    }

    fn output(forward: &mut Forward) -> String {
        String::from_utf8(forward.poll_output().unwrap_or_default()).unwrap()
    }

    #[test]
    fn commands_carry_what_the_upstream_knows() {
        let mail = Mail { sender: None, size: Some(9), body: None, smtputf8: false, dsn: vec!["RET=HDRS".into()] };
        let recipient = Recipient { address: "a@b".into(), dsn: vec!["NOTIFY=NEVER".into()] };
        let mut all = forward(&["size 157286400", "DSN"]);
        all.mail(&mail);
        all.recipient(&recipient);
        all.data();
        all.content(b".a\r");
        all.content(b"\n.");
        all.end();
        all.quit();
        assert_eq!(
            output(&mut all),
            "MAIL FROM:<> SIZE=9 RET=HDRS\r\nRCPT TO:<a@b> NOTIFY=NEVER\r\nDATA\r\n..a\r\n..\r\n.\r\nQUIT\r\n"
        );
        let mut none = forward(&[]);
        none.mail(&mail);
        none.recipient(&recipient);
        assert_eq!(output(&mut none), "MAIL FROM:<>\r\nRCPT TO:<a@b>\r\n");
    }

    #[test]
    fn replies_come_whole_and_word_for_word() {
        let mut forward = forward(&[]);
        for piece in ["250 2.1.0 OK\r\n550-5.7.1 no", "\r\n550 5.7.1 [host]\r", "\n25"] {
            forward.handle_input(piece.as_bytes());
        }
        let mut wire = Vec::new();
        while let Some(reply) = forward.poll_reply().unwrap() {
            reply.write_to(&mut wire);
        }
        assert_eq!(wire, b"250 2.1.0 OK\r\n550-5.7.1 no\r\n550 5.7.1 [host]\r\n");
    }

    #[test]
    fn a_server_without_login_is_greeted_and_its_extensions_are_learned() {
        let mut forward = Forward::without_login();
        forward.introduce("gatepost.example");
        forward.handle_input(b"250-DSN.example\r\n250-SIZE 9\r\n250 smtputf8\r\n");
        let reply = forward.poll_reply().unwrap().unwrap();
        forward.learn(&reply);
        let announced = ["SIZE", "SMTPUTF8", "DSN.example", "SIZE 9"].map(|keyword| forward.announces(keyword));
        assert_eq!(announced, [true, true, false, false]);
        forward.reset();
        assert_eq!(output(&mut forward), "EHLO gatepost.example\r\nRSET\r\n");
        assert_eq!(forward.poll_output(), None);
    }

    #[test]
    fn a_reply_may_have_long_lines_and_many() {
        let long = format!("250 {}\r\n", "\tx".repeat((LINE_OCTETS - 4) / 2));
        let many = format!("{}250 x\r\n", "250-x\r\n".repeat(REPLY_LINES - 1));
        let mut forward = forward(&[]);
        for input in [&long, &many, &many] {
            forward.handle_input(input.as_bytes());
            let mut wire = Vec::new();
            forward.poll_reply().unwrap().unwrap().write_to(&mut wire);
            assert_eq!(wire, input.as_bytes());
        }
        let (longest, rest) = long.split_at(LINE_OCTETS + 1);
        forward.handle_input(longest.as_bytes());
        assert_eq!(forward.poll_reply(), Ok(None));
        forward.handle_input(rest.as_bytes());
        assert!(forward.poll_reply().unwrap().is_some());
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        let long = format!("250 {}\r\n", "x".repeat(LINE_OCTETS - 3));
        let endless = "2".repeat(LINE_OCTETS + 2);
        let many = "250-x\r\n".repeat(REPLY_LINES + 1);
        let flawed = ["* OK\r\n", "250 x\n", "250-a\r\n550 b\r\n", "250 a\u{1b}\r\n", "250 a\rb\r\n"];
        for input in flawed.into_iter().chain([&*long, &endless, &many]) {
            let mut forward = forward(&[]);
            forward.handle_input(input.as_bytes());
            assert_eq!(forward.poll_reply(), Err(Garbled), "{input:?}");
        }
    }
}
