//! The credential of an application.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::super::certificate::SigningAlgorithm;
use gatepost_core::clock::UnixTime;
use gatepost_core::secret::{CertificatePassword, ClientSecret, IdentityKey};

/// The credential of an application at Entra or at another provider.
#[derive(Debug, Default, PartialEq)]
pub enum Credential {
    /// No credential: a public client.
    #[default]
    None,
    /// Secrets, one or two.
    Secrets(Vec<NotedSecret>),
    /// Certificates with their keys, one or two.
    Certificates(Vec<ClientCertificate>),
    /// A file with a token of another issuer (workload identity federation), which that issuer
    /// renews.
    FederatedTokenFile(PathBuf),
    /// The key file of a service account, in the form of Google Cloud. It is read again when it
    /// changes.
    ServiceAccountKey(PathBuf),
    /// The platform knows the identity and gives the token itself.
    ManagedIdentity(ManagedIdentity),
    /// Secrets or certificates that were not read. The service never has it.
    NotRead,
}

/// A secret and the file that it was read from. When the file changes, its new content is used.
#[derive(Debug)]
pub struct Renewable<T> {
    /// The value, as read with the configuration.
    pub value: Arc<T>,
    /// The file of `{file: …}`; `None`: the value never changes.
    pub file: Option<PathBuf>,
}

/// The file's content is read only when it is needed, so two values are equal when they come from
/// the same file.
impl<T: PartialEq> PartialEq for Renewable<T> {
    fn eq(&self, other: &Self) -> bool {
        self.file == other.file && (self.file.is_some() || self.value == other.value)
    }
}

/// A client secret, and what the operator noted about it.
#[derive(Debug, PartialEq)]
pub struct NotedSecret {
    /// The secret.
    pub secret: Renewable<ClientSecret>,
    /// When Entra will stop accepting it. Only the operator can know.
    pub expires: Option<UnixTime>,
}

/// The files of certificate and key; both are read again when they change.
#[derive(Debug, PartialEq)]
pub struct ClientCertificate {
    /// PEM, or PKCS#12 with the key in it.
    pub certificate: PathBuf,
    /// PEM; `None`: the key is in the certificate's file.
    pub private_key: Option<PathBuf>,
    /// The password of an encrypted key or a PKCS#12 file.
    pub password: Option<Renewable<CertificatePassword>>,
    /// How assertions are signed.
    pub algorithm: SigningAlgorithm,
    /// How it is renewed; `None`: an administrator replaces the files.
    pub renewal: Option<Renewal>,
}

/// How Gatepost renews a certificate by itself. The files are PEM without a password, and no other
/// application uses them.
#[derive(Debug, PartialEq)]
pub struct Renewal {
    /// How long before the end.
    pub before: Duration,
    /// The object id of the application; `None`: Graph is asked for it.
    pub object_id: Option<String>,
    /// Base of Microsoft Graph, with `https` and a trailing slash; `None`: that of the cloud.
    pub graph: Option<Url>,
}

/// A managed identity, and the endpoint of its tokens.
#[derive(Debug, PartialEq)]
pub struct ManagedIdentity {
    /// The id of a user-assigned identity; `None`: the system-assigned one.
    pub client_id: Option<String>,
    /// The endpoint that the platform's environment variables name.
    pub endpoint: IdentityEndpoint,
}

/// The local endpoint of a managed identity.
#[derive(Debug, PartialEq)]
pub enum IdentityEndpoint {
    /// Azure's instance metadata service, at its one address: virtual machines and scale sets.
    Imds,
    /// App Service, Functions, Container Apps: `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`.
    AppService {
        /// `http`, to this machine or a private network.
        url: Url,
        /// The key that requests must send.
        key: Arc<IdentityKey>,
    },
    /// The agent of Azure Arc: `IDENTITY_ENDPOINT` and `IMDS_ENDPOINT`.
    Arc {
        /// `http`, to this machine.
        url: Url,
    },
}
