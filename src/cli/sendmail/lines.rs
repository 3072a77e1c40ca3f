//! Turns what a program writes into lines that end in CRLF, and finds the end of the message.

/// The converter. A lone CR is taken as the end of a line, because programs write it for a line that
/// they overwrite on a terminal, and mail servers refuse it.
#[derive(Debug)]
pub(super) struct Lines {
    /// Whether a line with a single dot ends the message.
    dot_ends: bool,
    line: Line,
    /// Whether the last octet was a CR, whose line has not ended yet.
    after_cr: bool,
    is_over: bool,
}

/// What the present line has so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Nothing,
    /// A dot, which is held back.
    Dot,
    More,
}

impl Lines {
    pub(super) fn new(dot_ends: bool) -> Self {
        Self { dot_ends, line: Line::Nothing, after_cr: false, is_over: false }
    }

    /// Converts a piece. Returns false once the message is over.
    pub(super) fn push(&mut self, piece: &[u8], into: &mut Vec<u8>) -> bool {
        for &octet in piece {
            if self.is_over {
                break;
            }
            // RFC 5322 §4 has no NUL, and mail servers refuse the whole message for one.
            if octet == 0 {
                self.release_dot(into);
                continue;
            }
            if std::mem::take(&mut self.after_cr) {
                self.end_line(into);
                if octet == b'\n' {
                    continue;
                }
            }
            match octet {
                _ if self.is_over => {}
                b'\r' => self.after_cr = true,
                b'\n' => self.end_line(into),
                b'.' if self.dot_ends && self.line == Line::Nothing => self.line = Line::Dot,
                octet => {
                    self.release_dot(into);
                    self.line = Line::More;
                    into.push(octet);
                }
            }
        }
        !self.is_over
    }

    /// Ends the last line.
    pub(super) fn finish(&mut self, into: &mut Vec<u8>) {
        if !self.is_over && (self.after_cr || self.line != Line::Nothing) {
            self.end_line(into);
        }
        self.is_over = true;
    }

    fn end_line(&mut self, into: &mut Vec<u8>) {
        if self.line == Line::Dot {
            self.is_over = true;
            return;
        }
        self.line = Line::Nothing;
        into.extend_from_slice(b"\r\n");
    }

    fn release_dot(&mut self, into: &mut Vec<u8>) {
        if self.line == Line::Dot {
            self.line = Line::More;
            into.push(b'.');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result, which must be the same for pieces of every size.
    fn converted(text: &str, dot_ends: bool) -> String {
        let convert = |size: usize| {
            let (mut lines, mut into) = (Lines::new(dot_ends), Vec::new());
            for piece in text.as_bytes().chunks(size) {
                if !lines.push(piece, &mut into) {
                    break;
                }
            }
            lines.finish(&mut into);
            String::from_utf8(into).unwrap()
        };
        let whole = convert(text.len().max(1));
        for size in 1..=text.len().max(1) {
            assert_eq!(convert(size), whole, "{text:?} in pieces of {size}");
        }
        whole
    }

    #[test]
    fn every_line_ends_in_crlf() {
        for (text, expected) in [
            ("", ""),
            ("a", "a\r\n"),
            ("a\nb\n", "a\r\nb\r\n"),
            ("a\r\nb\r\n", "a\r\nb\r\n"),
            ("10%\r20%\r\nx\r", "10%\r\n20%\r\nx\r\n"),
            ("\n\n", "\r\n\r\n"),
            ("\r\r\n", "\r\n\r\n"),
        ] {
            assert_eq!(converted(text, true), expected, "{text:?}");
            assert_eq!(converted(text, false), expected, "{text:?}");
        }
    }

    #[test]
    fn nul_octets_are_left_out() {
        for (text, expected) in
            [("a\0b\n\0\n", "ab\r\n\r\n"), ("a\r\0\nb", "a\r\nb\r\n"), ("\0", ""), (".\0\nb\n", ".\r\nb\r\n")]
        {
            assert_eq!(converted(text, true), expected, "{text:?}");
            assert_eq!(converted(text, false), expected, "{text:?}");
        }
    }

    #[test]
    fn a_lone_dot_ends_the_message_unless_told_otherwise() {
        for (text, ending, ignoring) in [
            ("a\n.\nb\n", "a\r\n", "a\r\n.\r\nb\r\n"),
            ("a\r\n.\r\nb\n", "a\r\n", "a\r\n.\r\nb\r\n"),
            ("a\n.", "a\r\n", "a\r\n.\r\n"),
            (".\nb\n", "", ".\r\nb\r\n"),
            ("..\n.b\na.\n", "..\r\n.b\r\na.\r\n", "..\r\n.b\r\na.\r\n"),
            ("a\n.\r.\n", "a\r\n", "a\r\n.\r\n.\r\n"),
        ] {
            assert_eq!(converted(text, true), ending, "{text:?}");
            assert_eq!(converted(text, false), ignoring, "{text:?}");
        }
    }
}
