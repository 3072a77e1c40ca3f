//! The page and endpoints for whoever runs Gatepost.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use aws_lc_rs::{constant_time, digest};

use super::listener::Identity;

/// The page and endpoints for whoever runs Gatepost. The default has none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Admin {
    /// Where HTTP is served; other addresses than loopback only with TLS and a token.
    pub bind: Vec<SocketAddr>,
    /// The Unix socket of `gatepost status`, of commands such as `gatepost reload`, and of the process
    /// that takes over.
    pub socket: Option<PathBuf>,
    /// Certificate and key of the page.
    pub tls: Option<Identity>,
    /// What opens the page, besides one-time links.
    pub token: Option<AdminToken>,
    /// Names under which browsers reach the page, besides those of loopback and the addresses of `bind`; folded.
    pub hosts: Vec<String>,
    /// `/metrics` is for everybody who reaches it.
    pub open_metrics: bool,
}

/// The digest of a token of at least 128 bits: whoever presents the token is let in, and the token itself is kept nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken([u8; 32]);

impl AdminToken {
    pub(crate) fn new(token: &str) -> Self {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        Self(sha256)
    }

    /// True for the token; takes the same time for any two texts of one length.
    pub fn is(&self, presented: &str) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &Self::new(presented).0).is_ok()
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(…)")
    }
}
