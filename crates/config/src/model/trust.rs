//! The certificate authorities that are trusted.

use std::path::PathBuf;

/// The authorities that are trusted at upstreams. Verification itself cannot be switched off.
#[derive(Clone, Debug, PartialEq)]
pub struct Trust {
    /// Whether the platform's roots are trusted.
    pub system_roots: bool,
    /// A PEM file with more roots, and its content as read by the check.
    pub additional_ca: Option<(PathBuf, Vec<u8>)>,
    /// Additional roots for single servers.
    pub destinations: Vec<DestinationTrust>,
}

/// Additional roots for one server.
#[derive(Clone, Debug, PartialEq)]
pub struct DestinationTrust {
    /// The name that its certificate must carry, folded.
    pub host: String,
    /// A PEM file with its roots, and its content as read by the check.
    pub additional_ca: (PathBuf, Vec<u8>),
}
