//! Why a message is not accepted as it is.

/// What is wrong with a message, as the end of the sentence "the message …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MimeError {
    /// The first line is no header field.
    #[error("begins with a line that is no header field; fields such as From and To come first, then an empty line")]
    NoHeader,
    /// The first line is the separator of an mbox file.
    #[error("begins with the `From ` line of a mailbox file, which is not part of a message")]
    MboxLine,
    /// The first octets are a byte order mark, as of a file that an editor saved.
    #[error("begins with a byte order mark, which is not part of a message")]
    ByteOrderMark,
    /// A line of the header is neither a field nor the continuation of one.
    #[error("has a line in its header that is no header field (line {0})")]
    NotAField(usize),
    /// A CR or LF without the other (RFC 5321 §2.3.8).
    #[error("has a bare CR or LF; lines end in CRLF")]
    BareLineEnd,
    /// NUL (RFC 5322 §4).
    #[error("has a NUL octet")]
    Nul,
    /// The header is longer than [`super::HEAD_OCTETS`].
    #[error("has a header of more than 256 KiB")]
    HeadTooLarge,
    /// A field has addresses that cannot be understood with certainty.
    #[error("has a {field} field that cannot be read for certain: {why}")]
    Unreadable {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        why: super::AddressError,
    },
    /// A field that may occur once occurs twice (RFC 5322 §3.6).
    #[error("has more than one {0} field")]
    Repeated(&'static str),
    /// A Bcc field is written so that a reader might not recognise it, and then show it to
    /// everybody.
    #[error(
        "has a Bcc field in a form that some readers do not understand; commas stand between its addresses, the colon right behind its name, and no blank line before it"
    )]
    DoubtfulBcc,
}
