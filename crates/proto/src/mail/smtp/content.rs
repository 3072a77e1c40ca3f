//! Decodes the octets of a message that DATA and BDAT transfer (RFC 5321 §4.5.2, RFC 3030 §2).
//!
//! If two servers disagree about where a message ends, a client can send a second one after the
//! first, in anybody's name ("SMTP smuggling", CVE-2023-51764 and similar ones). So a message ends
//! only at CRLF `.` CRLF, and no bare CR or LF is ever forwarded. The message is refused. Or, to
//! help old devices, its line ends are corrected, and dots are stuffed again on the resulting
//! lines.

use memchr::memchr3;

/// How a bare CR or LF is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineEnds {
    /// The message is refused, so that nothing is changed that may be signed.
    Exact,
    /// A bare LF becomes CRLF, and a bare CR is removed (it precedes a CRLF of programs that
    /// translate twice).
    Mended {
        /// The client ended its own command with a bare LF. Then its lines and its final dot end in
        /// LF too.
        lf: bool,
    },
}

/// Why a message is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentError {
    /// The message has a bare CR or LF.
    LineEnd,
    /// The message has a NUL, which RFC 5321 does not allow.
    Nul,
    /// The message exceeds its limit.
    TooLarge,
}

/// Decodes the octets of one message.
#[derive(Debug)]
pub(super) struct Content {
    line_ends: LineEnds,
    /// Whether dots are stuffed and a dot ends the message: DATA, not BDAT.
    dots: bool,
    state: State,
    left: u64,
    flaw: Option<ContentError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the beginning of a line.
    LineStart,
    /// Within a line.
    Text,
    /// After a CR within a line.
    Cr,
    /// After a dot at the beginning of a line.
    Dot,
    /// After such a dot and a CR.
    DotCr,
    /// After the final dot.
    Ended,
}

impl Content {
    /// Creates the decoder of a message of at most `limit` octets.
    pub(super) fn new(line_ends: LineEnds, dots: bool, limit: u64) -> Self {
        Self { line_ends, dots, state: State::LineStart, left: limit, flaw: None }
    }

    /// Reads what it needs of `input`, and appends the octets of the message to `message` until an
    /// error is found. From then on it only looks for the end. Returns how many octets it has read.
    pub(super) fn read(&mut self, input: &[u8], message: &mut Vec<u8>) -> usize {
        let mut rest = input;
        while self.state != State::Ended
            && let Some((&octet, behind)) = rest.split_first()
        {
            if self.state == State::Text {
                let plain = memchr3(b'\r', b'\n', 0, rest).unwrap_or(rest.len());
                if plain > 0 {
                    let (text, more) = rest.split_at(plain);
                    self.put(text, message);
                    rest = more;
                    continue;
                }
            }
            rest = behind;
            self.state = self.step(octet, message);
        }
        input.len() - rest.len()
    }

    /// Whether the final dot has been read.
    pub(super) fn ended(&self) -> bool {
        self.state == State::Ended
    }

    /// The first error found so far.
    pub(super) fn flaw(&self) -> Option<ContentError> {
        self.flaw
    }

    /// Notes that the last octet of a BDAT message has been read.
    pub(super) fn finish(&mut self) {
        if self.state == State::Cr {
            self.stray();
        }
        self.state = State::Ended;
    }

    fn step(&mut self, octet: u8, message: &mut Vec<u8>) -> State {
        match (self.state, octet) {
            (_, 0) => {
                self.flaw.get_or_insert(ContentError::Nul);
                State::Text
            }
            (State::LineStart, b'.') if self.dots => State::Dot,
            (State::LineStart | State::Text, b'\r') => State::Cr,
            (State::LineStart | State::Text, b'\n') => self.bare_lf(message),
            (State::LineStart | State::Text, _) => self.text(&[octet], message),
            (State::Cr, b'\n') => {
                self.put(b"\r\n", message);
                State::LineStart
            }
            (State::Cr, b'\r') => {
                self.stray();
                State::Cr
            }
            (State::Cr, _) => {
                self.stray();
                self.text(&[octet], message)
            }
            (State::Dot, b'\r') => State::DotCr,
            (State::Dot, b'\n') if self.lines_end_in_lf() => State::Ended,
            (State::Dot, b'\n') => {
                self.put(b".", message);
                self.bare_lf(message)
            }
            // The dot was stuffed.
            (State::Dot, _) => self.text(&[octet], message),
            (State::DotCr, b'\n') => State::Ended,
            (State::DotCr, b'\r') => {
                self.stray();
                self.put(b".", message);
                State::Cr
            }
            (State::DotCr, _) => {
                self.stray();
                self.text(&[octet], message)
            }
            (State::Ended, _) => State::Ended,
        }
    }

    fn lines_end_in_lf(&self) -> bool {
        self.line_ends == LineEnds::Mended { lf: true }
    }

    fn text(&mut self, text: &[u8], message: &mut Vec<u8>) -> State {
        self.put(text, message);
        State::Text
    }

    fn bare_lf(&mut self, message: &mut Vec<u8>) -> State {
        self.stray();
        self.put(b"\r\n", message);
        // A client whose lines end in CRLF did not stuff dots here.
        if self.lines_end_in_lf() { State::LineStart } else { State::Text }
    }

    /// Notes a bare CR or LF.
    fn stray(&mut self) {
        if self.line_ends == LineEnds::Exact {
            self.flaw.get_or_insert(ContentError::LineEnd);
        }
    }

    fn put(&mut self, octets: &[u8], message: &mut Vec<u8>) {
        if self.flaw.is_some() {
            return;
        }
        match self.left.checked_sub(octets.len() as u64) {
            Some(left) => {
                self.left = left;
                message.extend_from_slice(octets);
            }
            None => self.flaw = Some(ContentError::TooLarge),
        }
    }
}

/// Stuffs the dots of a message for DATA, and ends it.
#[derive(Debug)]
pub struct Stuffing {
    line_start: bool,
}

impl Default for Stuffing {
    fn default() -> Self {
        Self { line_start: true }
    }
}

impl Stuffing {
    /// Appends a piece of a message, whose lines end in CRLF, in the form for DATA.
    pub fn write(&mut self, piece: &[u8], output: &mut Vec<u8>) {
        let mut rest = piece;
        while let Some(&first) = rest.first() {
            if self.line_start && first == b'.' {
                output.push(b'.');
            }
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let (line, more) = rest.split_at(end);
            output.extend_from_slice(line);
            self.line_start = line.ends_with(b"\n");
            rest = more;
        }
    }

    /// Appends the final dot. If the message does not end its last line (BDAT need not), the line
    /// end is added.
    pub fn finish(self, output: &mut Vec<u8>) {
        output.extend_from_slice(if self.line_start { b".\r\n" } else { b"\r\n.\r\n" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MENDED: LineEnds = LineEnds::Mended { lf: false };
    const LF: LineEnds = LineEnds::Mended { lf: true };

    /// The message, its error, whether it ended, and what was left. Read octet by octet, the result
    /// must be the same.
    fn read(line_ends: LineEnds, input: &[u8]) -> (String, Option<ContentError>, bool, usize) {
        let run = |piece: usize| {
            let mut content = Content::new(line_ends, true, 1_000);
            let (mut message, mut taken) = (Vec::new(), 0);
            for piece in input.chunks(piece) {
                taken += content.read(piece, &mut message);
            }
            let text = message.escape_ascii().to_string();
            (text, content.flaw(), content.ended(), input.len() - taken)
        };
        let whole = run(input.len().max(1));
        assert_eq!(whole, run(1), "{}", input.escape_ascii());
        whole
    }

    #[test]
    fn dots_are_unstuffed_and_one_ends_the_message() {
        let input = b"a\r\n..b\r\n.c\r\nd.\r\n\r\n.\r\nQUIT\r\n";
        assert_eq!(read(LineEnds::Exact, input), (r"a\r\n.b\r\nc\r\nd.\r\n\r\n".into(), None, true, 6));
        assert_eq!(read(LineEnds::Exact, b".\r\n"), (String::new(), None, true, 0));
        assert_eq!(read(LineEnds::Exact, b"a\r\n."), (r"a\r\n".into(), None, false, 0));
    }

    /// Line endings about which servers have disagreed (hannob/smtpsmug).
    const SMUGGLED: [&[u8]; 16] = [
        b"\n.\n",
        b"\n.\r\n",
        b"\r.\r",
        b"\r.\r\n",
        b"\r\n.\n",
        b"\r\n.\r",
        b"\r\n\0.\r\n",
        b"\r\n.\0\r\n",
        b"\n.\r",
        b"\r.\n",
        b"\r\n.\r\r\n",
        b"\r\r\n.\r\r\n",
        b"\r\n\r.\r\n",
        b"\n\n.\r\n",
        b"\r\n.\n\r\n",
        b"\n\r.\r\n",
    ];

    #[test]
    fn no_other_ending_ends_a_message() {
        for ending in SMUGGLED {
            let input = [b"a", ending, b"MAIL FROM:<x@y>\r\n.\r\n"].concat();
            let (message, flaw, ended, left) = read(LineEnds::Exact, &input);
            assert!(flaw.is_some() && ended && left == 0, "{}: {message}", ending.escape_ascii());
            // With corrected line ends, all of it is one message, and nothing in it ends it once it
            // is stuffed again.
            let (_, _, ended, left) = read(MENDED, &input);
            assert!(ended && left == 0, "{}", ending.escape_ascii());
            let (mut message, mut wire) = (Vec::new(), Vec::new());
            Content::new(MENDED, true, 1_000).read(&input, &mut message);
            let mut stuffing = Stuffing::default();
            stuffing.write(&message, &mut wire);
            stuffing.finish(&mut wire);
            assert!(!wire.windows(2).any(|pair| (pair[0] == b'\r') != (pair[1] == b'\n')), "{}", wire.escape_ascii());
            assert_eq!(wire.windows(5).filter(|window| window == b"\r\n.\r\n").count(), 1, "{}", wire.escape_ascii());
            assert_eq!(read(LineEnds::Exact, &wire), (message.escape_ascii().to_string(), None, true, 0));
        }
    }

    #[test]
    fn line_ends_are_mended_where_they_may_be() {
        assert_eq!(read(MENDED, b"a\nb\r\r\nc\rd\r\n.\r\n"), (r"a\r\nb\r\ncd\r\n".into(), None, true, 0));
        assert_eq!(read(MENDED, b"a\n.b\n.\r\n.\r\n"), (r"a\r\n.b\r\n.\r\n".into(), None, true, 0));
        assert_eq!(read(MENDED, b"a\n.\nb\r\n.\r\n"), (r"a\r\n.\r\nb\r\n".into(), None, true, 0));
        assert_eq!(read(MENDED, b"a\0\r\n.\r\n").1, Some(ContentError::Nul));
    }

    #[test]
    fn a_client_whose_commands_end_in_lf_ends_its_message_so() {
        assert_eq!(read(LF, b"a\n..b\n.\nQUIT\n"), (r"a\r\n.b\r\n".into(), None, true, 5));
        assert_eq!(read(LF, b"a\r\n.\r\n"), (r"a\r\n".into(), None, true, 0));
    }

    #[test]
    fn a_message_over_its_limit_is_read_to_its_end() {
        for (limit, flaw) in [(7, None), (6, Some(ContentError::TooLarge)), (0, Some(ContentError::TooLarge))] {
            let mut content = Content::new(LineEnds::Exact, true, limit);
            let mut message = Vec::new();
            // Stuffed dots do not belong to it.
            assert_eq!(content.read(b"a\r\n..b\r\n.\r\n", &mut message), 11);
            assert_eq!((content.flaw(), content.ended()), (flaw, true));
            assert!(message.len() as u64 <= limit);
        }
    }

    #[test]
    fn chunks_have_no_dots_to_stuff() {
        let mut content = Content::new(LineEnds::Exact, false, 100);
        let mut message = Vec::new();
        for chunk in [&b".a\r"[..], b"\n..\r\n.\r\nb"] {
            assert_eq!(content.read(chunk, &mut message), chunk.len());
        }
        content.finish();
        assert_eq!((message.as_slice(), content.flaw()), (&b".a\r\n..\r\n.\r\nb"[..], None));
        let mut wire = Vec::new();
        let mut stuffing = Stuffing::default();
        stuffing.write(&message, &mut wire);
        stuffing.finish(&mut wire);
        assert_eq!(wire, b"..a\r\n...\r\n..\r\nb\r\n.\r\n");

        let mut cut_off = Content::new(LineEnds::Exact, false, 100);
        cut_off.read(b"a\r", &mut message);
        assert_eq!(cut_off.flaw(), None);
        cut_off.finish();
        assert_eq!(cut_off.flaw(), Some(ContentError::LineEnd));
    }
}
