//! The credentials of applications in use. This module chooses among several, reads files again
//! when they change, and creates the proof for each request.
//!
//! An unusable credential says nothing about the user's password, and the failure passes as soon as
//! the file is corrected. [`CredentialError`] says which file, and what to do.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dashmap::DashMap;
use serde::Deserialize;

use crate::assertion::{Claims, Delegation};
use crate::endpoint::guid;
use crate::grant::{ClientProof, GrantRequest, TokenRequest};
use crate::presented::Presented;
use crate::renewal::place;
use crate::renewal::record::Renewing;
use crate::server;
use crate::skew::Skews;
use crate::token_key;
use crate::watched::{Seen, Watched, content};
use gatepost_config::certificate::{CertificateError, SigningKey};
use gatepost_config::service_account::{ServiceAccountError, ServiceAccountKey};
use gatepost_config::{Application, ClientCertificate, Credential, NotedSecret, Renewable, secret_line};
use gatepost_core::clock::{Clock, UnixTime};
use gatepost_core::secret::{CertificatePassword, ClientAssertion, ClientSecret};
use gatepost_core::system_error::Plain;
use gatepost_core::tuple_key::TupleKey;

/// Why an application cannot prove itself. Entra was not asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// A file cannot be read.
    #[error("`{path}` cannot be read: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// Certificate or key cannot be used.
    #[error("`{path}` is not usable: {error}")]
    Certificate {
        /// The certificate's file, or the key's.
        path: PathBuf,
        /// Why.
        error: CertificateError,
    },
    /// The key of a service account cannot be used.
    #[error("`{path}` is not usable: {error}")]
    ServiceAccountKey {
        /// Its file.
        path: PathBuf,
        /// Why.
        error: ServiceAccountError,
    },
    /// The certificate has expired.
    #[error("the certificate in `{path}` expired on {since}")]
    Expired {
        /// The certificate's file.
        path: PathBuf,
        /// Its last second.
        since: UnixTime,
    },
    /// The certificate is not valid yet.
    #[error("the certificate in `{path}` is not valid before {from}")]
    NotYetValid {
        /// The certificate's file.
        path: PathBuf,
        /// Its first second.
        from: UnixTime,
    },
    /// The file of a secret holds none.
    #[error("`{path}` holds no secret, which is one line of text")]
    NoSecret {
        /// The file.
        path: PathBuf,
    },
    /// The file of a federated token cannot be read.
    #[error("`{path}` cannot be read: {reason}")]
    UnreadableToken {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The file of a federated token holds none.
    #[error("`{path}` holds no token, which is three parts of base64 with dots between them")]
    NoToken {
        /// The file.
        path: PathBuf,
    },
    /// The federated token was not renewed in time.
    #[error("the token in `{path}` expired on {since}")]
    StaleToken {
        /// The file.
        path: PathBuf,
        /// Its end.
        since: UnixTime,
    },
    /// The files could not be read in time, because a disk does not answer.
    #[error("its files cannot be read in time")]
    Slow,
    /// The system gives no randomness to sign with.
    #[error("there is no randomness to sign with")]
    NoRandomness,
    /// A managed identity has no credential to send, and a command that signs nobody in reads none.
    #[error("there is no credential to send")]
    NoProof,
}

impl CredentialError {
    /// What to do, one sentence.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => {
                "make the file readable for the user that runs Gatepost, or name the right one. It is read again by itself"
            }
            Self::Certificate { error, .. } => error.remedy(),
            Self::ServiceAccountKey { error, .. } => error.remedy(),
            Self::Expired { .. } => {
                "upload a new certificate to the application in Entra and replace the files, which needs no restart"
            }
            Self::NotYetValid { .. } => "use the old certificate until then, or let a time service set the clock",
            Self::NoSecret { .. } => "write the secret's value into the file. It is read again by itself",
            Self::UnreadableToken { .. } => {
                "let the platform write the file, readable for the user that runs Gatepost. It is read for every request"
            }
            Self::NoToken { .. } | Self::StaleToken { .. } => {
                "find out why the platform does not renew the file. It is read again for every request"
            }
            Self::Slow => "look at the disk, or at the network behind it",
            Self::NoProof => "run the command as root or as the user of the service, while the service runs",
            Self::NoRandomness => "report it with the log",
        }
    }
}

/// What accompanies a request as the proof of its application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Nothing, although the application has a credential: the sign-in is one of a public client.
    Nothing,
    /// The credential with this index.
    Credential(usize),
}

type WatchedFiles<T> = Watched<T, CredentialError>;

/// The file of a certificate, and that of its key.
type CertificateFiles = (PathBuf, Option<PathBuf>);

/// The file of a service account's key, and the address that the configuration was read with.
type ServiceAccountFile = (PathBuf, String);

/// The credentials of all applications that were used.
#[derive(Debug)]
pub struct Credentials {
    clock: Clock,
    certificates: DashMap<CertificateFiles, Arc<WatchedFiles<SigningKey>>>,
    secrets: DashMap<PathBuf, Arc<WatchedFiles<ClientSecret>>>,
    service_accounts: DashMap<ServiceAccountFile, Arc<WatchedFiles<ServiceAccountKey>>>,
    /// What Entra took last.
    preferred: DashMap<TupleKey, Choice>,
    /// How the renewal of each certificate goes, by its file.
    renewals: DashMap<PathBuf, Renewing>,
    skews: Skews,
}

impl Credentials {
    /// Creates the store without reading any file.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            certificates: DashMap::new(),
            secrets: DashMap::new(),
            service_accounts: DashMap::new(),
            preferred: DashMap::new(),
            renewals: DashMap::new(),
            skews: Skews::default(),
        }
    }

    /// What to try, the one that Entra took last first. A code that came to `http://localhost`, a
    /// device code, and a refresh token of either belong to a public client, which must not send a
    /// credential (AADSTS90023, AADSTS700025). Only if Entra wants one after all, it is sent.
    pub fn order(&self, ask: &TokenRequest) -> Vec<Choice> {
        let count = match &*ask.application.credential {
            Credential::Secrets(secrets) => secrets.len(),
            Credential::Certificates(certificates) => certificates.len(),
            Credential::None
            | Credential::FederatedTokenFile(_)
            | Credential::ServiceAccountKey(_)
            | Credential::ManagedIdentity(_)
            | Credential::NotRead => 1,
        };
        let nothing = is_of_public_client(ask).then_some(Choice::Nothing);
        let mut order: Vec<Choice> = nothing.into_iter().chain((0..count).map(Choice::Credential)).collect();
        let preferred = self.preferred.get(&preference_key(ask)).map(|choice| *choice);
        order.sort_by_key(|choice| Some(*choice) != preferred);
        order
    }

    /// Remembers that the server took this credential, which was not the first in the order.
    pub fn taken(&self, ask: &TokenRequest, choice: Choice) {
        self.preferred.insert(preference_key(ask), choice);
        tracing::info!(
            client_id = ask.application.client_id,
            ?choice,
            "{} takes another credential of the application than before, which serves from now on",
            ask.application.issuer.title()
        );
    }

    /// Learns the time at an authority from an answer that came from there. `title`: its name for people.
    pub fn heard(&self, authority: &str, title: &str, date: Option<&str>) {
        if let Some(date) = date {
            self.skews.learn((authority, title), date, self.clock.unix_time());
        }
    }

    /// Returns the proof of the application for its next request. A file is read only when it has
    /// changed, a federated token always. Reading runs on a blocking thread, so that a slow disk
    /// does not block other tasks.
    ///
    /// # Errors
    /// [`CredentialError`]
    pub async fn prove(&self, ask: &TokenRequest, choice: Choice) -> Result<ClientProof, CredentialError> {
        let Choice::Credential(number) = choice else { return Ok(ClientProof::None) };
        let now = self.skews.there(&ask.authority(), self.clock.unix_time());
        let application = &ask.application;
        match &*application.credential {
            Credential::None => Ok(ClientProof::None),
            Credential::Secrets(secrets) => match secrets.get(number) {
                Some(NotedSecret { secret, .. }) => self.secret(secret).await.map(ClientProof::Secret),
                None => Ok(ClientProof::None),
            },
            Credential::Certificates(certificates) => {
                let Some(certificate) = certificates.get(number) else { return Ok(ClientProof::None) };
                let key = self.signing_key(certificate).await?;
                check_validity(&key, &certificate.certificate, now)?;
                let (audience, id) = (ask.token_url(), guid());
                let claims = Claims { audience: audience.as_str(), client_id: &application.client_id, id: &id, now };
                let assertion = claims.sign(&key, certificate.algorithm).ok_or(CredentialError::NoRandomness)?;
                Ok(ClientProof::Assertion(assertion))
            }
            Credential::FederatedTokenFile(file) => {
                let file = file.clone();
                aside(move || federated_token(&file, now)).await.map(ClientProof::Assertion)
            }
            Credential::ServiceAccountKey(path) => {
                // Without a mailbox there is nothing to assert.
                let GrantRequest::ServiceAccount { mailbox } = &ask.grant else { return Err(CredentialError::NoProof) };
                let (key, audience) = (self.service_account(application, path).await?, ask.token_url());
                let delegation = Delegation { audience: audience.as_str(), mailbox, scope: &ask.scope, now };
                delegation.sign(&key).map(ClientProof::ServiceAccount).ok_or(CredentialError::NoRandomness)
            }
            Credential::ManagedIdentity(_) | Credential::NotRead => Err(CredentialError::NoProof),
        }
    }

    /// Names the credential that [`Credentials::prove`] showed. `None` where there is none to name.
    pub async fn presented(&self, ask: &TokenRequest, choice: Choice) -> Option<Presented> {
        let Choice::Credential(number) = choice else { return None };
        match &*ask.application.credential {
            Credential::Secrets(secrets) => secrets
                .get(number)
                .map(|noted| Presented::Secret { file: noted.secret.file.clone(), expires: noted.expires }),
            Credential::Certificates(certificates) => {
                let certificate = certificates.get(number)?;
                let key = self.signing_key(certificate).await.ok()?;
                Some(Presented::Certificate {
                    path: certificate.certificate.clone(),
                    thumbprint: key.thumbprint(),
                    not_after: key.not_after,
                })
            }
            Credential::ServiceAccountKey(path) => {
                let key = self.service_account(&ask.application, path).await.ok()?;
                let (key_id, client_id) = (key.key_id.clone(), key.client_id.clone());
                Some(Presented::ServiceAccountKey { path: path.clone(), key_id, client_id })
            }
            Credential::None
            | Credential::FederatedTokenFile(_)
            | Credential::ManagedIdentity(_)
            | Credential::NotRead => None,
        }
    }

    /// The end of a certificate's validity, if it can be read.
    pub(super) async fn expiry(&self, certificate: &ClientCertificate) -> Option<UnixTime> {
        self.signing_key(certificate).await.ok().map(|key| key.not_after)
    }

    /// The present time at the authority of an application.
    pub fn time_at(&self, ask: &TokenRequest) -> UnixTime {
        self.skews.there(&ask.authority(), self.clock.unix_time())
    }

    /// Notes how the renewal of the certificate in this file goes.
    pub fn note_renewal(&self, certificate: &Path, renewing: Renewing) {
        self.renewals.insert(certificate.to_owned(), renewing);
    }

    /// How the renewal of a certificate goes; `None` if it is not renewed. A process that renews none
    /// reads what the service has recorded.
    pub(super) async fn renewing(&self, certificate: &ClientCertificate) -> Option<Renewing> {
        certificate.renewal.as_ref()?;
        let path = certificate.certificate.clone();
        if let Some(known) = self.renewals.get(&path) {
            return Some(known.clone());
        }
        let record = aside(move || place::read_record(&path)).await.ok().flatten();
        let failed = record.and_then(|record| record.failed);
        Some(failed.map_or(Renewing::Planned, |failed| Renewing::Failed(failed.message)))
    }

    async fn secret(&self, secret: &Renewable<ClientSecret>) -> Result<Arc<ClientSecret>, CredentialError> {
        let Some(file) = secret.file.clone() else { return Ok(Arc::clone(&secret.value)) };
        let watched = Arc::clone(&self.secrets.entry(file.clone()).or_default());
        let at_start = Arc::clone(&secret.value);
        let seen = aside(move || {
            let mut seen = watched.look(&[&file], || {
                let content = read(&file)?;
                let line = secret_line(&content).ok_or_else(|| CredentialError::NoSecret { path: file.clone() })?;
                Ok(ClientSecret::new(line.to_owned()))
            });
            seen.value.get_or_insert(at_start);
            seen
        });
        in_use(seen.await)
    }

    /// Returns the service account's key in use. Another key of the same service account is taken from
    /// a file that has changed, a key of another one only after a reload.
    async fn service_account(
        &self,
        application: &Application,
        path: &Path,
    ) -> Result<Arc<ServiceAccountKey>, CredentialError> {
        let (path, expected) = (path.to_owned(), application.client_id.clone());
        let token_url = application.issuer.authority().clone();
        let watched = Arc::clone(&self.service_accounts.entry((path.clone(), expected.clone())).or_default());
        let seen = aside(move || {
            watched.look(&[&path], || {
                let unusable = |error| CredentialError::ServiceAccountKey { path: path.clone(), error };
                let key = ServiceAccountKey::read(&read(&path)?, &token_url).map_err(unusable)?;
                if key.email != expected {
                    return Err(unusable(ServiceAccountError::OtherAccount { found: key.email, expected }));
                }
                Ok(key)
            })
        });
        in_use(seen.await)
    }

    /// Returns the certificate and key in use.
    ///
    /// # Errors
    /// [`CredentialError`]
    pub async fn signing_key(&self, certificate: &ClientCertificate) -> Result<Arc<SigningKey>, CredentialError> {
        let files = (certificate.certificate.clone(), certificate.private_key.clone());
        let watched = Arc::clone(&self.certificates.entry(files.clone()).or_default());
        let password =
            certificate.password.as_ref().map(|password| (Arc::clone(&password.value), password.file.clone()));
        let seen = aside(move || {
            let password_file = password.as_ref().and_then(|(_, file)| file.as_deref());
            let (certificate, key) = (files.0.as_path(), files.1.as_deref());
            let all: Vec<&Path> = [Some(certificate), key, password_file].into_iter().flatten().collect();
            watched.look(&all, || signing_key(certificate, key, password.as_ref()))
        });
        in_use(seen.await)
    }
}

fn is_of_public_client(ask: &TokenRequest) -> bool {
    ask.grant.is_native() && server::of(&ask.application).has_public_clients()
}

/// A credential that one kind of grant needs may be wrong for another.
fn preference_key(ask: &TokenRequest) -> TupleKey {
    let kind = if is_of_public_client(ask) { "public" } else { "" };
    token_key::of(&ask.application, &ask.tenant, &ask.scope, kind, "")
}

/// Unwraps the value. If a newer file cannot be used, the older content stays in use and a warning
/// is logged.
fn in_use<T>(seen: Seen<T, CredentialError>) -> Result<Arc<T>, CredentialError> {
    match (seen.value, seen.error) {
        (Some(value), error) => {
            match error {
                Some(error) if seen.news => tracing::warn!(
                    "a changed credential cannot be used, and the one before it stays in use: {error}. \
                     Gatepost admin: {}",
                    error.remedy()
                ),
                None if seen.news => tracing::info!("the changed credential can be used again"),
                _ => {}
            }
            Ok(value)
        }
        (None, error) => Err(error.unwrap_or(CredentialError::NoProof)),
    }
}

/// Runs blocking work on a thread of its own, where it does not block other tasks.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // The work has panicked. The panic goes on in the caller, as without the other thread.
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime shuts down, and nobody waits for the result any more.
        Err(_) => std::future::pending().await,
    }
}

fn read(file: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, CredentialError> {
    content(file)
        .map_err(|error| CredentialError::Unreadable { path: file.to_owned(), reason: Plain(&error).to_string() })
}

fn signing_key(
    certificate: &Path,
    private_key: Option<&Path>,
    password: Option<&(Arc<CertificatePassword>, Option<PathBuf>)>,
) -> Result<SigningKey, CredentialError> {
    match read_pair(certificate, private_key, password) {
        // The files were replaced between the two reads.
        Err(CredentialError::Certificate { error: CertificateError::Mismatch, .. }) => {
            read_pair(certificate, private_key, password)
        }
        read => read,
    }
}

fn read_pair(
    certificate: &Path,
    private_key: Option<&Path>,
    password: Option<&(Arc<CertificatePassword>, Option<PathBuf>)>,
) -> Result<SigningKey, CredentialError> {
    let chain = read(certificate)?;
    let key = private_key.map(read).transpose()?;
    let renewed = match password {
        Some((_, Some(file))) => secret_line(&read(file)?).map(|line| CertificatePassword::new(line.to_owned())),
        _ => None,
    };
    let password = renewed.as_ref().or(password.map(|(at_start, _)| &**at_start));
    SigningKey::read(&chain, key.as_ref().map(|key| key.as_slice()), password).map_err(|error| {
        let path = private_key.filter(|_| error.is_about_key()).unwrap_or(certificate);
        CredentialError::Certificate { path: path.to_owned(), error }
    })
}

fn check_validity(key: &SigningKey, path: &Path, now: UnixTime) -> Result<(), CredentialError> {
    let path = || path.to_owned();
    if now > key.not_after {
        return Err(CredentialError::Expired { path: path(), since: key.not_after });
    }
    if now < key.not_before {
        return Err(CredentialError::NotYetValid { path: path(), from: key.not_before });
    }
    Ok(())
}

/// Reads the token in a file that another issuer renews. A text that is not a JWT (RFC 7519 §3), or
/// a token that has expired, is an error, because sending it is useless.
fn federated_token(file: &Path, now: UnixTime) -> Result<ClientAssertion, CredentialError> {
    #[derive(Deserialize)]
    struct End {
        exp: Option<f64>,
    }
    let octets = content(file).map_err(|error| CredentialError::UnreadableToken {
        path: file.to_owned(),
        reason: Plain(&error).to_string(),
    })?;
    let no_token = || CredentialError::NoToken { path: file.to_owned() };
    let text = std::str::from_utf8(&octets).map_err(|_| no_token())?.trim();
    let is_base64 = |part: &str| {
        !part.is_empty() && part.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_')
    };
    let [header, claims, signature] = text.split('.').collect::<Vec<_>>()[..] else { return Err(no_token()) };
    if ![header, claims, signature].into_iter().all(is_base64) {
        return Err(no_token());
    }
    // A claim that cannot be read is for Entra to judge.
    let end = URL_SAFE_NO_PAD.decode(claims).ok().and_then(|claims| serde_json::from_slice::<End>(&claims).ok()?.exp);
    let end = end.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX).as_secs());
    match end.map(UnixTime) {
        Some(since) if now >= since => Err(CredentialError::StaleToken { path: file.to_owned(), since }),
        _ => Ok(ClientAssertion::new(text.to_owned())),
    }
}

#[cfg(test)]
mod tests;
