//! The credential that an application showed to Entra or another provider, as messages name it.

use std::path::PathBuf;

use gatepost_core::clock::UnixTime;

/// What an application showed to Entra or another provider, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presented {
    /// A client secret.
    Secret {
        /// The file that holds it; `None`: it is in the configuration or its environment.
        file: Option<PathBuf>,
        /// When it expires, if the operator noted that.
        expires: Option<UnixTime>,
    },
    /// A key of a service account.
    ServiceAccountKey {
        /// Its file.
        path: PathBuf,
        /// Its ID, as the console of Google Cloud shows it.
        key_id: String,
        /// The ID to which a Workspace administrator delegates.
        client_id: String,
    },
    /// A certificate.
    Certificate {
        /// Its file.
        path: PathBuf,
        /// SHA-1 in upper-case hexadecimal digits, as the portal shows it.
        thumbprint: String,
        /// Its last second.
        not_after: UnixTime,
    },
}
