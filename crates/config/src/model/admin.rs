//! The status page and endpoints for the administrator.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use aws_lc_rs::{constant_time, digest};

use super::listener::Identity;

/// The status page and endpoints for the administrator. The default has none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Admin {
    /// The HTTP addresses. Addresses other than loopback need TLS and a token.
    pub bind: Vec<SocketAddr>,
    /// The Unix socket for `gatepost status`, for commands such as `gatepost reload`, and for the
    /// process that takes over.
    pub socket: Option<PathBuf>,
    /// Where a running service of this configuration may listen, the likeliest first. Only the
    /// service's own environment says where it is.
    pub service_sockets: Vec<PathBuf>,
    /// The place that leads to the socket while the service runs, for commands that cannot know the
    /// socket: it depends on the user and the path of the configuration alone.
    pub meeting_place: Option<PathBuf>,
    /// Certificate and key of the page.
    pub tls: Option<Identity>,
    /// The token that opens the page, in addition to one-time links.
    pub token: Option<AdminToken>,
    /// Host names under which browsers reach the page, in addition to those of loopback and the
    /// addresses of `bind`; folded.
    pub hosts: Vec<String>,
    /// Whether everybody who reaches `/metrics` may read it.
    pub open_metrics: bool,
}

/// The digest of a token of at least 128 bits. The token gives access, and is itself not stored.
/// `None`: it was not read, and nothing is this token.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken(Option<[u8; 32]>);

impl AdminToken {
    pub(crate) fn new(token: &str) -> Self {
        Self(Some(sha256(token)))
    }

    pub(crate) fn not_read() -> Self {
        Self(None)
    }

    /// Whether `presented` is the token. Takes the same time for any two texts of one length.
    pub fn is(&self, presented: &str) -> bool {
        self.0.is_some_and(|digest| constant_time::verify_slices_are_equal(&digest, &sha256(presented)).is_ok())
    }
}

fn sha256(text: &str) -> [u8; 32] {
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    sha256
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(…)")
    }
}
