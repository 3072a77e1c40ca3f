//! As much of a message's format (RFC 5322, RFC 6532) as it takes to say whom a message names, and to change one header field
//! while every other octet stays as it was. Pure: octets in, ranges and octets out.
//!
//! Whoever reads a message later, Exchange first of all, reads it by its own lights. So nothing is guessed here: what two
//! readers could understand in two ways is refused as a [`MimeError`], or told apart as doubtful ([`Recipients::doubtful`]).
//!
//! [`Head`] splits the header from the body, [`Address`] and [`AddressList`] read the fields with addresses, [`Recipients`]
//! collects To, Cc and Bcc and adds blind copies, [`sender`] reads and replaces From. MIME proper (parts, encodings) is never
//! looked at.

mod address;
mod error;
mod head;
mod lexer;
mod recipients;
pub mod sender;

pub use address::{Address, AddressList};
pub use error::MimeError;
pub use head::{Field, HEAD_OCTETS, Head, check_lines};
pub use lexer::AddressError;
pub use recipients::{Insertion, Recipients};
