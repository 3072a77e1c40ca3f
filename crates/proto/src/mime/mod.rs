//! The parts of a message's format (RFC 5322, RFC 6532) that are needed to find its recipients and
//! sender, and to change header fields without changing any other octet. Pure: octets in, ranges
//! and octets out.
//!
//! Later readers, Exchange first of all, interpret a message in their own way, so nothing is
//! guessed here. What two readers could understand differently is written so that they cannot: the
//! header gets its end ([`Head`]), and To, Cc and Bcc name the recipients ([`address_to`]). Where a
//! message has no one meaning, it is refused as a [`MimeError`].
//!
//! [`Head`] splits the header from the body. [`Address`] and [`AddressList`] parse the fields with
//! addresses. [`sender`] reads and replaces From. MIME itself (parts, encodings) is read only where a
//! message is taken apart: [`StructureReader`] finds its parts, [`TransferDecoder`] decodes them, and
//! [`words`] reads names and subjects.

mod address;
mod error;
mod head;
mod lexer;
mod parameters;
mod recipients;
pub mod sender;
mod structure;
mod transfer;
pub mod words;

pub use address::{Address, AddressList};
pub use error::MimeError;
pub use head::{Change, Field, HEAD_OCTETS, Head, check_lines};
pub use lexer::AddressError;
pub use parameters::{Parameterized, percent_decoded};
pub use recipients::address_to;
pub use structure::{PARTS, Part, StructureError, StructureReader};
pub use transfer::{TransferDecoder, TransferEncoding, TransferError};
