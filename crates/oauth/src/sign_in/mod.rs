//! A person signs in: by authorization code with PKCE ([`code`], brought back by a browser over [`loopback`] or by hand)
//! or by device code ([`device`]). The result is a refresh token and who it was ([`id_token`]).
//!
//! Nothing here starts by itself, or on behalf of a mail client: a program that shows codes to whoever connects is a tool
//! for phishing (RFC 8628 §5.4).

pub mod code;
pub mod device;
pub mod id_token;
pub mod loopback;
mod signed_in;

pub use signed_in::{Purpose, SignInError, SignedIn};
