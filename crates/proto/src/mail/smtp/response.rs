//! Parses the replies of an SMTP server (RFC 5321 §4.2).

use super::reply::Reply;

/// One line of a reply, without its CRLF.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReplyLine<'a> {
    /// The code, 200 to 559.
    pub(crate) code: u16,
    /// Whether this is the last line of the reply.
    pub(crate) last: bool,
    /// The text after the code.
    pub(crate) text: &'a [u8],
}

/// Parses `250-text`, `250 text` or `250`.
pub(crate) fn parse(line: &[u8]) -> Option<ReplyLine<'_>> {
    let (&[first, second, third], rest) = line.split_first_chunk()?;
    if !(b'2'..=b'5').contains(&first) || !(b'0'..=b'5').contains(&second) || !third.is_ascii_digit() {
        return None;
    }
    let code = [first, second, third].iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    match rest {
        [] => Some(ReplyLine { code, last: true, text: b"" }),
        [b' ', text @ ..] => Some(ReplyLine { code, last: true, text }),
        [b'-', text @ ..] => Some(ReplyLine { code, last: false, text }),
        _ => None,
    }
}

/// Combines lines into replies.
#[derive(Default)]
pub(crate) struct Replies {
    begun: Option<Reply>,
}

impl Replies {
    /// Takes a line; returns the reply if this was its last line.
    pub(crate) fn take(&mut self, line: &[u8]) -> Result<Option<Reply>, NotAReply> {
        let line = parse(line).ok_or(NotAReply)?;
        let mut reply = self.begun.take().unwrap_or(Reply { code: line.code, texts: Vec::new() });
        if reply.code != line.code {
            return Err(NotAReply);
        }
        reply.texts.push(line.text.to_vec());
        if line.last {
            Ok(Some(reply))
        } else {
            self.begun = Some(reply);
            Ok(None)
        }
    }
}

/// A line is no reply, or belongs to another one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotAReply;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_lines() {
        assert_eq!(parse(b"250-SIZE 1"), Some(ReplyLine { code: 250, last: false, text: b"SIZE 1" }));
        assert_eq!(parse(b"334 "), Some(ReplyLine { code: 334, last: true, text: b"" }));
        assert_eq!(parse(b"334"), Some(ReplyLine { code: 334, last: true, text: b"" }));
        for line in [&b""[..], b"25", b"2500 x", b"250x", b"150 x", b"650 x", b"260 x", b"25a x", b"* OK"] {
            assert_eq!(parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn a_reply_has_one_code() {
        let mut replies = Replies::default();
        assert!(replies.take(b"535-5.7.139 Authentication unsuccessful").unwrap().is_none());
        let reply = replies.take(b"535 see the administrator").unwrap().unwrap();
        assert_eq!(reply.words(), b"535 5.7.139 Authentication unsuccessful see the administrator");
        assert!(reply.has_enhanced("5.7.139") && !reply.has_enhanced("5.7.13"));
        assert!(replies.take(b"250-a").unwrap().is_none());
        assert_eq!(replies.take(b"251 b").unwrap_err(), NotAReply);
    }
}
