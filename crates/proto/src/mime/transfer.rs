//! Transfer encodings (RFC 2045 §6), decoded piece by piece.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::words::hex;

/// Longest run of white space in quoted-printable that may turn out to be the end of a line. RFC
/// 5322 §2.1.1 allows no longer line.
const BLANKS: usize = 998;

/// How the octets of a part are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransferEncoding {
    /// As they are: `7bit`, `8bit`, `binary`.
    #[default]
    Identity,
    /// `quoted-printable`.
    QuotedPrintable,
    /// `base64`.
    Base64,
}

/// The octets of a part are not in its transfer encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not valid {0}")]
pub struct TransferError(&'static str);

/// Decodes a part piece by piece. A clone goes on from the same place.
#[derive(Clone, Debug)]
pub struct TransferDecoder {
    encoding: TransferEncoding,
    /// The beginning of what is not complete yet: fewer than four octets in base64, in
    /// quoted-printable an escape, or white space.
    open: Vec<u8>,
    /// Base64: padding has ended the part.
    is_over: bool,
}

impl TransferEncoding {
    /// Reads the value of Content-Transfer-Encoding; `None` if it is not known.
    pub fn parse(value: &[u8]) -> Option<Self> {
        match value.trim_ascii().to_ascii_lowercase().as_slice() {
            b"" | b"7bit" | b"8bit" | b"binary" => Some(Self::Identity),
            b"quoted-printable" => Some(Self::QuotedPrintable),
            b"base64" => Some(Self::Base64),
            _ => None,
        }
    }
}

impl TransferDecoder {
    /// Creates a decoder for the start of a part.
    pub fn new(encoding: TransferEncoding) -> Self {
        Self { encoding, open: Vec::new(), is_over: false }
    }

    /// Decodes the next octets of the part, and appends the result.
    ///
    /// # Errors
    /// [`TransferError`] if the octets are not in the encoding. Nothing is guessed.
    pub fn decode(&mut self, octets: &[u8], into: &mut Vec<u8>) -> Result<(), TransferError> {
        match self.encoding {
            TransferEncoding::Identity => into.extend_from_slice(octets),
            TransferEncoding::QuotedPrintable => self.quoted_printable(octets, into)?,
            TransferEncoding::Base64 => self.base64(octets, into)?,
        }
        Ok(())
    }

    /// Decodes what is left at the end of the part.
    ///
    /// # Errors
    /// [`TransferError`] if the part breaks off.
    pub fn finish(self) -> Result<(), TransferError> {
        match self.encoding {
            TransferEncoding::Base64 if !self.open.is_empty() => Err(TransferError("base64")),
            // White space at the end of a line is not part of it (RFC 2045 §6.7). A `=` at the very
            // end joins the line with none.
            TransferEncoding::QuotedPrintable if self.open.iter().any(|octet| !b" \t=\r".contains(octet)) => {
                Err(TransferError("quoted-printable"))
            }
            _ => Ok(()),
        }
    }

    fn base64(&mut self, octets: &[u8], into: &mut Vec<u8>) -> Result<(), TransferError> {
        const WRONG: TransferError = TransferError("base64");
        let mut text = std::mem::take(&mut self.open);
        text.reserve(octets.len());
        for line in octets.split(|octet| matches!(octet, b'\r' | b'\n' | b' ' | b'\t')) {
            text.extend_from_slice(line);
        }
        self.open = text.split_off(text.len() - text.len() % 4);
        if (self.is_over && !(text.is_empty() && self.open.is_empty())) || self.open.first() == Some(&b'=') {
            return Err(WRONG);
        }
        self.is_over |= text.last() == Some(&b'=');
        if self.is_over && !self.open.is_empty() {
            return Err(WRONG);
        }
        STANDARD.decode_vec(text, into).map_err(|_| WRONG)
    }

    fn quoted_printable(&mut self, octets: &[u8], into: &mut Vec<u8>) -> Result<(), TransferError> {
        const WRONG: TransferError = TransferError("quoted-printable");
        for &octet in octets {
            match (self.open.first(), octet) {
                // An escape: `=XX`, or `=` with white space up to the end of the line.
                (Some(b'='), b' ' | b'\t' | b'\r') if self.open.len() < BLANKS => match self.open.as_slice() {
                    [b'=', digit] if digit.is_ascii_hexdigit() => return Err(WRONG),
                    _ => self.open.push(octet),
                },
                (Some(b'='), b'\n') if self.open.last() == Some(&b'\r') => self.open.clear(),
                (Some(b'='), octet) => match *self.open.as_slice() {
                    [b'='] if octet.is_ascii_hexdigit() => self.open.push(octet),
                    [b'=', high] => {
                        into.push(hex(high, octet).ok_or(WRONG)?);
                        self.open.clear();
                    }
                    _ => return Err(WRONG),
                },
                // White space, which counts unless the line ends after it.
                (_, b' ' | b'\t') if self.open.len() < BLANKS => self.open.push(octet),
                (_, b'\r') => {
                    self.open.clear();
                    into.push(octet);
                }
                (_, octet) => {
                    into.append(&mut self.open);
                    if octet == b'=' { self.open.push(octet) } else { into.push(octet) }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result for pieces of every size, which must always be the same.
    fn decoded(encoding: TransferEncoding, text: &[u8]) -> Result<Vec<u8>, TransferError> {
        let decode = |size: usize| {
            let (mut decoder, mut octets) = (TransferDecoder::new(encoding), Vec::new());
            for piece in text.chunks(size) {
                decoder.decode(piece, &mut octets)?;
            }
            decoder.finish().map(|()| octets)
        };
        let whole = decode(text.len().max(1));
        for size in [1, 2, 3, 5, 7] {
            assert_eq!(decode(size), whole, "{}", text.escape_ascii());
        }
        whole
    }

    #[test]
    fn base64_is_decoded_and_nothing_else() {
        for (text, octets) in
            [("", &b""[..]), ("AP8B\r\nAg==\r\n", b"\0\xFF\x01\x02"), (" YWJj\tZGU=", b"abcde"), ("YWJj", b"abc")]
        {
            assert_eq!(decoded(TransferEncoding::Base64, text.as_bytes()).unwrap(), octets, "{text}");
        }
        for text in ["YWJ", "YWJj\r\nZ", "YQ==YQ==", "YQ==\r\n=", "YW*j", "=", "Y===", "YR==", "YQ=\r\n"] {
            assert_eq!(decoded(TransferEncoding::Base64, text.as_bytes()), Err(TransferError("base64")), "{text}");
        }
    }

    #[test]
    fn quoted_printable_is_decoded_and_nothing_else() {
        for (text, octets) in [
            ("a=3D=c3=A4 b\r\n", &b"a=\xC3\xA4 b\r\n"[..]),
            ("one=\r\ntwo= \t\r\nthree", b"onetwothree"),
            ("end  \r\n\t x =\r\n", b"end\r\n\t x "),
            ("at the end =", b"at the end "),
        ] {
            assert_eq!(decoded(TransferEncoding::QuotedPrintable, text.as_bytes()).unwrap(), octets, "{text}");
        }
        for text in
            ["=", "=4"].map(|end| format!("x{end}y\r\n")).iter().map(String::as_str).chain(["=4", "=GG", "=4 1"])
        {
            assert!(decoded(TransferEncoding::QuotedPrintable, text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        for text in [&b" "[..], b"= "] {
            let (mut decoder, mut octets) = (TransferDecoder::new(TransferEncoding::QuotedPrintable), Vec::new());
            let text = [text, &b" ".repeat(100_000)].concat();
            let _ = decoder.decode(&text, &mut octets);
            assert!(decoder.open.len() <= BLANKS);
        }
        assert_eq!(decoded(TransferEncoding::Identity, b"a\r\n.=").unwrap(), b"a\r\n.=");
    }

    #[test]
    fn encodings_have_their_names() {
        for (name, encoding) in [
            (" 7Bit", Some(TransferEncoding::Identity)),
            ("BASE64 ", Some(TransferEncoding::Base64)),
            ("Quoted-Printable", Some(TransferEncoding::QuotedPrintable)),
            ("x-uuencode", None),
        ] {
            assert_eq!(TransferEncoding::parse(name.as_bytes()), encoding, "{name}");
        }
    }
}
