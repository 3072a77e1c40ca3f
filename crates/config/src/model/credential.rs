//! How an application proves itself to Entra.

use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use super::super::certificate::SigningAlgorithm;
use gatepost_core::clock::UnixTime;
use gatepost_core::secret::{CertificatePassword, ClientSecret, IdentityKey};

/// How an application proves itself to Entra.
#[derive(Debug, Default, PartialEq)]
pub enum Credential {
    /// Not at all: a public client.
    #[default]
    None,
    /// Secrets, one or two.
    Secrets(Vec<NotedSecret>),
    /// Certificates with their keys, one or two.
    Certificates(Vec<ClientCertificate>),
    /// A file with a token of another issuer (workload identity federation), which that issuer renews.
    FederatedTokenFile(PathBuf),
    /// The platform proves it, and gives the token itself.
    ManagedIdentity(ManagedIdentity),
}

/// A secret together with the file that it was read from, which counts again as soon as it changes.
#[derive(Debug)]
pub struct Renewable<T> {
    /// As read with the configuration.
    pub value: Arc<T>,
    /// `{file: …}`; `None`: it stays as it is.
    pub file: Option<PathBuf>,
}

/// What a file says now is found out when it is needed: two are the same when they are read from the same place.
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
    /// When Entra will stop accepting it; nobody but the operator can know.
    pub expires: Option<UnixTime>,
}

/// Where certificate and key are; both are read again when their files change.
#[derive(Debug, PartialEq)]
pub struct ClientCertificate {
    /// PEM, or PKCS#12 with the key in it.
    pub certificate: PathBuf,
    /// PEM; `None`: it stands in the certificate's file.
    pub private_key: Option<PathBuf>,
    /// What opens an encrypted key or a PKCS#12 file.
    pub password: Option<Renewable<CertificatePassword>>,
    /// How assertions are signed.
    pub algorithm: SigningAlgorithm,
}

/// A managed identity, and where its tokens come from.
#[derive(Debug, PartialEq)]
pub struct ManagedIdentity {
    /// Of a user-assigned identity; `None`: the one that the system was given.
    pub client_id: Option<String>,
    /// Told by the platform's environment variables.
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
        /// What has to be shown to it.
        key: Arc<IdentityKey>,
    },
    /// The agent of Azure Arc: `IDENTITY_ENDPOINT` and `IMDS_ENDPOINT`.
    Arc {
        /// `http`, to this machine.
        url: Url,
    },
}
