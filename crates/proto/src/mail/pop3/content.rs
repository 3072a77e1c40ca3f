//! Encodes a message for the client (RFC 1939 §3): every line ends in CRLF, and a line that begins
//! with a dot gets a second dot.

use memchr::memchr2;

/// The part of a message that is still to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// Everything.
    Everything,
    /// The header, and then this many lines of the body.
    Header(u64),
    /// This many lines, at least one.
    Lines(u64),
    /// Nothing more.
    Nothing,
}

/// The position after the last octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    LineStart,
    Within,
    /// After a CR. Whether it is half of a CRLF is not known yet.
    Cr {
        /// Nothing precedes it in its line.
        empty: bool,
    },
}

/// Converts a stored message into what is sent. A bare LF or CR ends a line as well. Several CRs
/// before an LF, which some programs write, are one line end.
#[derive(Debug)]
pub(super) struct Content {
    wanted: Wanted,
    at: At,
    octets: u64,
}

impl Content {
    /// Encodes the whole message; or, for TOP, its header and the first `lines` lines of its body.
    pub(super) fn new(lines: Option<u64>) -> Self {
        let wanted = lines.map_or(Wanted::Everything, Wanted::Header);
        Self { wanted, at: At::LineStart, octets: 0 }
    }

    /// False if nothing of the rest will be sent.
    pub(super) fn wants_more(&self) -> bool {
        self.wanted != Wanted::Nothing
    }

    /// Writes the next piece of the message.
    pub(super) fn write(&mut self, mut piece: &[u8], output: &mut Vec<u8>) {
        while let Some(&first) = piece.first()
            && self.wants_more()
        {
            if let At::Cr { empty } = self.at
                && !matches!(first, b'\r' | b'\n')
            {
                self.end_line(empty, output);
                continue;
            }
            let length = match first {
                b'\n' => {
                    self.end_line(matches!(self.at, At::LineStart | At::Cr { empty: true }), output);
                    1
                }
                b'\r' => {
                    if !matches!(self.at, At::Cr { .. }) {
                        self.at = At::Cr { empty: self.at == At::LineStart };
                    }
                    1
                }
                _ => {
                    let text = memchr2(b'\r', b'\n', piece).and_then(|end| piece.get(..end)).unwrap_or(piece);
                    if self.at == At::LineStart && first == b'.' {
                        output.push(b'.');
                    }
                    self.at = At::Within;
                    self.put(text, output);
                    text.len()
                }
            };
            piece = piece.get(length..).unwrap_or_default();
        }
    }

    /// Writes the end of the last line, if it has none, and the final dot. The result is the size
    /// of what was sent, as LIST should show it.
    pub(super) fn finish(mut self, output: &mut Vec<u8>) -> u64 {
        if self.wants_more() && self.at != At::LineStart {
            self.put(b"\r\n", output);
        }
        output.extend_from_slice(b".\r\n");
        self.octets
    }

    fn end_line(&mut self, empty: bool, output: &mut Vec<u8>) {
        self.put(b"\r\n", output);
        self.at = At::LineStart;
        self.wanted = match self.wanted {
            Wanted::Header(0) if empty => Wanted::Nothing,
            Wanted::Header(lines) if empty => Wanted::Lines(lines),
            Wanted::Lines(0 | 1) => Wanted::Nothing,
            Wanted::Lines(lines) => Wanted::Lines(lines - 1),
            as_before => as_before,
        };
    }

    fn put(&mut self, octets: &[u8], output: &mut Vec<u8>) {
        self.octets += octets.len() as u64;
        output.extend_from_slice(octets);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sent(message: &[u8], lines: Option<u64>) -> (String, u64) {
        let mut content = Content::new(lines);
        let mut output = Vec::new();
        content.write(message, &mut output);
        let octets = content.finish(&mut output);
        (String::from_utf8(output).unwrap(), octets)
    }

    #[test]
    fn lines_that_begin_with_a_dot_get_another() {
        assert_eq!(sent(b"a\r\n.\r\n..b\r\nc.\r\n", None), ("a\r\n..\r\n...b\r\nc.\r\n.\r\n".into(), 15));
        assert_eq!(sent(b".", None), ("..\r\n.\r\n".into(), 3));
    }

    #[test]
    fn every_line_ends_in_crlf() {
        for (message, text) in [
            (&b""[..], ""),
            (b"a", "a\r\n"),
            (b"a\n\nb\n", "a\r\n\r\nb\r\n"),
            (b"a\rb\r", "a\r\nb\r\n"),
            (b"a\r\r\nb\r\n", "a\r\nb\r\n"),
            (b"\n.\n", "\r\n..\r\n"),
            (b"a\r.\n", "a\r\n..\r\n"),
            (b"\r\r\r", "\r\n"),
        ] {
            assert_eq!(sent(message, None).0, format!("{text}.\r\n"), "{message:?}");
        }
    }

    #[test]
    fn top_ends_where_it_was_asked_to() {
        let message = b"A: 1\r\n.B: 2\r\n\r\n1\r\n.2\r\n3\r\n";
        for (lines, text) in [
            (0, "A: 1\r\n..B: 2\r\n\r\n"),
            (1, "A: 1\r\n..B: 2\r\n\r\n1\r\n"),
            (2, "A: 1\r\n..B: 2\r\n\r\n1\r\n..2\r\n"),
            (99, "A: 1\r\n..B: 2\r\n\r\n1\r\n..2\r\n3\r\n"),
        ] {
            assert_eq!(sent(message, Some(lines)).0, format!("{text}.\r\n"));
        }
        assert_eq!(sent(b"A: 1", Some(0)).0, "A: 1\r\n.\r\n");
        assert_eq!(sent(b"\r\nbody", Some(0)).0, "\r\n.\r\n");
        assert_eq!(sent(b"A: 1\r\r\n\n1\n2\n", Some(1)).0, "A: 1\r\n\r\n1\r\n.\r\n");
        let mut content = Content::new(Some(0));
        content.write(b"A: 1\r\n\r\n", &mut Vec::new());
        assert!(!content.wants_more(), "the rest need not be fetched");
    }

    /// What a client decodes from the octets it receives, according to RFC 1939.
    fn received(sent: &str) -> Option<String> {
        let mut text = String::new();
        let mut lines = sent.split_inclusive("\r\n");
        for line in lines.by_ref() {
            if line == ".\r\n" {
                return lines.next().is_none().then_some(text);
            }
            text.push_str(line.strip_prefix('.').unwrap_or(line));
        }
        None
    }

    proptest! {
        #[test]
        fn a_client_receives_the_lines_and_no_split_makes_a_difference(
            pieces in prop::collection::vec("[.a\r\n]{0,6}", 0..8),
            lines in prop::option::of(0_u64..4),
        ) {
            let whole = pieces.concat();
            let (output, octets) = sent(whole.as_bytes(), lines);
            let mut content = Content::new(lines);
            let mut in_pieces = Vec::new();
            for piece in &pieces {
                content.write(piece.as_bytes(), &mut in_pieces);
            }
            prop_assert_eq!(content.finish(&mut in_pieces), octets);
            prop_assert_eq!(String::from_utf8(in_pieces).unwrap(), output.clone());

            let text = received(&output);
            prop_assert_eq!(text.as_ref().map(|text| text.len() as u64), Some(octets));
            if lines.is_none() {
                let letters = |text: &str| text.replace(['\r', '\n'], "");
                prop_assert_eq!(text.map(|text| letters(&text)), Some(letters(&whole)));
            }
        }
    }
}
