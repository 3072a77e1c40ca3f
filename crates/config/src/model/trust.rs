//! Whose certificates count.

use std::path::PathBuf;

/// Whom to trust upstream. Verification itself has no switch.
#[derive(Clone, Debug, PartialEq)]
pub struct Trust {
    /// The platform's roots.
    pub system_roots: bool,
    /// A PEM file with more roots, and its content as read by the check.
    pub additional_ca: Option<(PathBuf, Vec<u8>)>,
    /// Roots for one server each, besides those for all.
    pub destinations: Vec<DestinationTrust>,
}

/// Whom else to trust at one server.
#[derive(Clone, Debug, PartialEq)]
pub struct DestinationTrust {
    /// The name that its certificate must carry, folded.
    pub host: String,
    /// A PEM file with its roots, and its content as read by the check.
    pub additional_ca: (PathBuf, Vec<u8>),
}
