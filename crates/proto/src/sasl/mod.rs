//! SASL mechanisms as pure functions: octets in, [`Credentials`] or octets out. No sockets, no
//! clock.
//!
//! Clients may use PLAIN (RFC 4616), LOGIN (draft-murchison-sasl-login), and, if they have a token
//! of their own, XOAUTH2 and OAUTHBEARER (RFC 7628). Towards the upstream Gatepost uses XOAUTH2
//! only.
//!
//! [`Exchange`] runs a mechanism from the server's side. [`decode`] and [`encode`] are the base64
//! in which IMAP, POP3 and SMTP transfer its messages.

mod credentials;
mod encoding;
mod exchange;
pub mod login;
mod mechanism;
pub mod oauthbearer;
pub mod plain;
pub mod text;
pub mod token;
pub mod xoauth2;

pub use credentials::{BadName, Bearer, Credentials, CredentialsError};
pub use encoding::{NotBase64, decode, encode};
pub use exchange::{Exchange, Progress};
pub use mechanism::{ClientTokens, Mechanism};
pub use token::is_b64token;
