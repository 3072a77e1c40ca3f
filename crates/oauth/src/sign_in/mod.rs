//! A person's sign-in: by authorization code with PKCE ([`code`], returned by a browser over
//! [`loopback`] or by hand) or by device code ([`device`]). The result is a refresh token and the
//! person's identity ([`id_token`]).
//!
//! No sign-in starts by itself, or on behalf of a mail client. A program that shows codes to
//! anybody who connects is a tool for phishing (RFC 8628 §5.4).

pub mod code;
pub mod device;
pub mod id_token;
pub(crate) mod identity;
pub mod loopback;
mod signed_in;

pub use signed_in::{Purpose, SignInError, SignedIn};
