//! Why a message is not accepted as it is.

/// What is wrong with a message, as the end of the sentence "the message …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MimeError {
    /// A CR or LF without the other (RFC 5321 §2.3.8).
    #[error("has a bare CR or LF, but lines must end in CRLF")]
    BareLineEnd,
    /// NUL (RFC 5322 §4).
    #[error("has a NUL byte")]
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
}
