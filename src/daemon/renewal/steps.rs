//! Renews one certificate, step by step, as far as it goes now. Each step is recorded before others
//! can see it, and told to the audit log after it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;

use super::files::CertificateFiles;
use crate::session::journal::Journal;
use gatepost_config::certificate::SigningKey;
use gatepost_config::{Application, ClientCertificate, Cloud, Credential, Renewal, Tenant};
use gatepost_core::cause::Cause;
use gatepost_core::clock::{Clock, UnixTime};
use gatepost_core::failure::{Actor, Failure};
use gatepost_core::secret::ClientAssertion;
use gatepost_oauth::fetch_error::FetchError;
use gatepost_oauth::grant::{GrantRequest, TokenRequest};
use gatepost_oauth::renewal::graph::{self, Action, Refused};
use gatepost_oauth::renewal::record::{
    self, AfterRefusal, Failed, InUse, Phase, Record, Registered, Step, after_refusal,
};
use gatepost_oauth::renewal::{place, proof};
use gatepost_oauth::source::TokenSource;
use gatepost_oauth::tokens::{explain, scope};
use gatepost_oauth::{Answer, HttpEndpoint};

/// When to look again if another process renews the certificate.
const HELD: Duration = Duration::from_secs(60);

/// Entra does not know the certificate (AADSTS700027), or took long to learn it (AADSTS50012).
const UNKNOWN: [u32; 2] = [700_027, 50012];

/// Most steps without a pause; there are never more than six.
const STEPS: usize = 12;

/// One certificate, and what its renewal needs.
pub(super) struct Work<'a> {
    pub(super) application: &'a Arc<Application>,
    pub(super) certificate: &'a ClientCertificate,
    pub(super) renewal: &'a Renewal,
    pub(super) files: CertificateFiles,
    pub(super) source: &'a TokenSource,
    pub(super) endpoint: &'a HttpEndpoint,
    pub(super) journal: &'a Journal,
    pub(super) clock: &'a Clock,
}

impl Work<'_> {
    /// Goes on as far as possible. Returns when to look again.
    ///
    /// # Errors
    /// The failure of a step. The next call repeats it.
    ///
    /// # Cancel safety
    /// May be dropped at any time: the next call continues.
    pub(super) async fn advance(&self) -> Result<UnixTime, Failure> {
        let mut lock = None;
        for _ in 0..STEPS {
            let (mut record, key, now) = (self.record().await?, self.key().await?, self.clock.unix_time());
            let in_use = InUse { thumbprint: key.thumbprint(), expires: key.not_after };
            let step = record::next(record.as_ref(), &in_use, self.renewal.before, now);
            if let Step::Wait(until) = step {
                return Ok(until);
            }
            if lock.is_none() {
                match self.blocking(CertificateFiles::lock).await? {
                    // Another process may have changed the files meanwhile.
                    Some(held) => {
                        lock = Some(held);
                        continue;
                    }
                    None => return Ok(now.after(HELD)),
                }
            }
            match (step, &mut record) {
                (Step::Create, _) => self.create(record.as_ref(), &in_use, now).await?,
                (Step::Expired, _) => return Err(self.expired(&in_use)),
                (Step::Add, Some(record)) => self.add(record, &key, now).await?,
                (Step::Try, Some(record)) => {
                    if let Some(until) = self.attempt(record, &key, now).await? {
                        return Ok(until);
                    }
                }
                (Step::Install, Some(record)) => self.install(record, now).await?,
                (Step::Remove, Some(record)) => self.remove(record, &key, now).await?,
                (Step::Abandon, Some(record)) => self.abandon(record, &in_use).await?,
                (Step::Wait(_), _) | (_, None) => return Ok(now.after(HELD)),
            }
        }
        Ok(self.clock.unix_time().after(HELD))
    }

    /// Notes a failure in the record, for other processes and for the next start.
    pub(super) async fn note(&self, failure: &Failure) {
        let Ok(Some(mut record)) = self.record().await else { return };
        if record.phase != Phase::Done {
            record.failed = Some(Failed { at: self.clock.unix_time(), message: failure.to_string() });
            // If the disk is what failed, memory and the log have it.
            let _ = self.save(&record).await;
        }
    }

    async fn create(&self, before: Option<&Record>, in_use: &InUse, now: UnixTime) -> Result<(), Failure> {
        let client_id = self.application.client_id.clone();
        self.blocking(move |files| files.create(&client_id, now)).await?;
        let new = self.blocking(CertificateFiles::next).await?;
        let key_id = before.map(|before| &before.new).filter(|known| known.thumbprint == in_use.thumbprint);
        let record = Record {
            phase: Phase::Created,
            old: Registered {
                thumbprint: in_use.thumbprint.clone(),
                key_id: key_id.and_then(|known| known.key_id.clone()),
            },
            old_expires: in_use.expires,
            new: Registered { thumbprint: new.thumbprint(), key_id: None },
            failed: None,
        };
        self.save(&record).await?;
        self.told(
            "certificate-created",
            &format!("created certificate {} to replace {}", record.new.thumbprint, record.old.thumbprint),
        );
        Ok(())
    }

    /// Lets Graph add the new certificate.
    async fn add(&self, record: &mut Record, key: &SigningKey, now: UnixTime) -> Result<(), Failure> {
        let new = self.blocking(CertificateFiles::next).await?;
        let object_id = match &self.renewal.object_id {
            Some(known) => known.clone(),
            None => self.read().await.map_err(NotRead::into_failure)?.id,
        };
        let proof = self.prove(&object_id, key)?;
        record.phase = Phase::Asked;
        self.save(record).await?;
        let answer = self.ask(Action::Add, Some(graph::addition(new.der(), &proof))).await?;
        let added = graph::added(&answer.body).filter(|_| matches!(answer.status, 200 | 201));
        record.new.key_id = added.ok_or_else(|| refused(&answer).explain(Action::Add, Cause::CertificateNotRenewed))?;
        record.phase = Phase::Added(now);
        record.failed = None;
        self.save(record).await?;
        self.told("certificate-added", &format!("added certificate {} to the application", record.new.thumbprint));
        Ok(())
    }

    /// Asks Entra for a token with the new certificate, and uses it if Entra takes it.
    async fn attempt(&self, record: &mut Record, key: &SigningKey, now: UnixTime) -> Result<Option<UnixTime>, Failure> {
        let next = ClientCertificate {
            certificate: place::next(&self.certificate.certificate),
            private_key: None,
            password: None,
            algorithm: self.certificate.algorithm,
            renewal: None,
        };
        let application = Application {
            issuer: self.application.issuer.clone(),
            client_id: self.application.client_id.clone(),
            credential: Arc::new(Credential::Certificates(vec![next])),
        };
        let ask = self.token_request(Arc::new(application));
        match self.source.fetch(&ask, false).await {
            Ok(_) => {
                self.told("certificate-accepted", &format!("Entra accepted certificate {}", record.new.thumbprint));
                self.install(record, now).await?;
                Ok(None)
            }
            Err(error) => {
                let is_unknown = matches!(&error, FetchError::Refused(refused)
                    if refused.code.is_some_and(|code| UNKNOWN.contains(&code)));
                match after_refusal(record.phase, now) {
                    AfterRefusal::Add if is_unknown => self.add(record, key, now).await.map(|()| None),
                    AfterRefusal::Wait(until) if is_unknown => Ok(Some(until)),
                    _ if is_unknown => Err(Failure::new(
                        Cause::CertificateNotRenewed,
                        format!(
                            "Entra still does not know certificate {}, which Microsoft Graph has added",
                            record.new.thumbprint
                        ),
                    )
                    .by(Actor::Nobody)
                    .to_do("Gatepost tries again within hours, and adds it again after a day")),
                    _ => Err(not_renewed(explain::of(&error, &ask))),
                }
            }
        }
    }

    async fn install(&self, record: &mut Record, now: UnixTime) -> Result<(), Failure> {
        self.blocking(CertificateFiles::install).await?;
        record.phase = Phase::Installed(now);
        record.failed = None;
        self.save(record).await?;
        self.blocking(CertificateFiles::remove_next).await?;
        self.journal.metrics().renewed(true);
        self.told(
            "certificate-installed",
            &format!("certificate {} is in use. {} is removed later", record.new.thumbprint, record.old.thumbprint),
        );
        Ok(())
    }

    /// Lets Graph remove the old certificate.
    async fn remove(&self, record: &mut Record, key: &SigningKey, now: UnixTime) -> Result<(), Failure> {
        match self.removed(record, key).await {
            Ok(()) => self.told(
                "certificate-removed",
                &format!("removed certificate {} from the application", record.old.thumbprint),
            ),
            Err((failure, is_final)) => {
                if !is_final && now <= record.old_expires {
                    return Err(failure);
                }
                // It cannot be used much longer, and nobody is asked again.
                self.tell(&failure);
            }
        }
        record.phase = Phase::Done;
        record.failed = None;
        self.save(record).await?;
        self.blocking(CertificateFiles::tidy).await
    }

    /// The second part of the error: whether asking again is in vain.
    async fn removed(&self, record: &Record, key: &SigningKey) -> Result<(), (Failure, bool)> {
        let not_removed = |failure: Failure| Failure { cause: Cause::CertificateNotRemoved, ..failure };
        let (mut object_id, mut key_id) = (self.renewal.object_id.clone(), record.old.key_id.clone());
        if object_id.is_none() || key_id.is_none() {
            match self.read().await {
                Ok(found) => {
                    key_id = key_id.or_else(|| found.key_id(&record.old.thumbprint).map(str::to_owned));
                    if key_id.is_none() {
                        // Somebody has removed it already.
                        return Ok(());
                    }
                    object_id = object_id.or(Some(found.id));
                }
                Err(NotRead::Denied(_)) => {
                    let message = format!(
                        "certificate {} is still registered, and Microsoft Graph does not let the application see its id",
                        record.old.thumbprint
                    );
                    return Err((Failure::new(Cause::CertificateNotRemoved, message), true));
                }
                Err(other) => return Err((not_removed(other.into_failure()), false)),
            }
        }
        let (object_id, key_id) = (object_id.unwrap_or_default(), key_id.unwrap_or_default());
        let proof = self.prove(&object_id, key).map_err(|failure| (failure, false))?;
        let body = graph::removal(&key_id, &proof);
        let answer = self.ask(Action::Remove, Some(body)).await.map_err(|failure| (not_removed(failure), false))?;
        match answer.status {
            200 | 204 => Ok(()),
            _ => Err((refused(&answer).explain(Action::Remove, Cause::CertificateNotRemoved), false)),
        }
    }

    /// Forgets a renewal after somebody has replaced the files.
    async fn abandon(&self, record: &Record, in_use: &InUse) -> Result<(), Failure> {
        self.blocking(CertificateFiles::forget).await?;
        let other = if in_use.thumbprint == record.old.thumbprint { &record.new } else { &record.old };
        self.told(
            "certificate-renewal-abandoned",
            &format!(
                "the files were replaced by hand: certificate {} is in use. If {} is registered and not needed, remove \
                 it in Entra",
                in_use.thumbprint, other.thumbprint
            ),
        );
        Ok(())
    }

    fn expired(&self, in_use: &InUse) -> Failure {
        let message = format!("the certificate expired on {}, so it cannot renew itself any more", in_use.expires);
        Failure::new(Cause::CertificateNotRenewed, message)
            .by(Actor::M365Admin)
            .to_do("upload a new certificate to the application in Entra. Gatepost admin: replace the files")
    }

    /// Asks Graph for the application's object id and certificates.
    async fn read(&self) -> Result<graph::Application, NotRead> {
        let answer = self.ask(Action::Read, None).await.map_err(NotRead::Failed)?;
        if answer.status == 200
            && let Some(found) = graph::Application::read(&answer.body)
        {
            return Ok(found);
        }
        let refused = refused(&answer);
        let failure = refused.explain(Action::Read, Cause::CertificateNotRenewed);
        Err(if refused.is_denied() { NotRead::Denied(failure) } else { NotRead::Failed(failure) })
    }

    /// Sends a request to Graph with the application's own token.
    async fn ask(&self, action: Action, json: Option<zeroize::Zeroizing<String>>) -> Result<Answer, Failure> {
        let ask = self.token_request(Arc::clone(self.application));
        let token = self.source.fetch(&ask, false).await.map_err(|error| not_renewed(explain::of(&error, &ask)))?;
        let preset = self.cloud().preset();
        let base = self.renewal.graph.clone().or_else(|| url::Url::parse(preset.graph).ok());
        let url = base.and_then(|base| action.url(&base, &self.application.client_id));
        let url = url.ok_or_else(|| not_renewed(explain::own_fault()))?;
        self.endpoint.ask_graph(&url, &token.access_token, json).await.map_err(|error| {
            let failure =
                Failure::new(Cause::CertificateNotRenewed, format!("no answer from Microsoft Graph: {error}"));
            match error.connecting {
                Some(known) => failure.by(known.actor).to_do(known.remedy),
                None => failure.by(Actor::Nobody).to_do("Gatepost tries again within hours"),
            }
        })
    }

    fn cloud(&self) -> Cloud {
        // Only Entra's applications have certificates.
        self.application.issuer.cloud().unwrap_or(Cloud::Worldwide)
    }

    fn token_request(&self, application: Arc<Application>) -> TokenRequest {
        let tenant = match application.issuer.entra().map(|entra| &entra.tenant) {
            Some(Tenant::Named(name)) => name.as_str().into(),
            // The check of the configuration excludes the others.
            _ => "".into(),
        };
        let scope = scope::of_graph(self.cloud()).into();
        TokenRequest { application, tenant, scope, grant: GrantRequest::ClientCredentials }
    }

    fn prove(&self, object_id: &str, key: &SigningKey) -> Result<ClientAssertion, Failure> {
        let now = self.source.credentials().time_at(&self.token_request(Arc::clone(self.application)));
        proof::prove(object_id, key, now).ok_or_else(|| not_renewed(explain::own_fault()))
    }

    async fn key(&self) -> Result<Arc<SigningKey>, Failure> {
        self.source.credentials().signing_key(self.certificate).await.map_err(|error| {
            let remedy = error.remedy();
            Failure::new(Cause::CertificateNotRenewed, error.to_string()).to_do(remedy)
        })
    }

    async fn record(&self) -> Result<Option<Record>, Failure> {
        self.blocking(|files| {
            place::read_record(&files.certificate).map_err(|error| {
                let shown = place::record(&files.certificate).display().to_string();
                io::Error::new(error.kind(), format!("`{shown}`: {}", gatepost_core::system_error::Plain(&error)))
            })
        })
        .await
    }

    async fn save(&self, record: &Record) -> Result<(), Failure> {
        let record = record.clone();
        self.blocking(move |files| files.save(&record)).await
    }

    /// Does something with the files on a thread of its own.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&CertificateFiles) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let files = self.files.clone();
        let done = spawn_blocking(move || work(&files)).await.map_err(|_| not_renewed(explain::own_fault()))?;
        done.map_err(|error| {
            Failure::new(
                Cause::CertificateNotRenewed,
                format!("the files of the certificate cannot be changed: {error}"),
            )
            .to_do("let the user that runs Gatepost write into the directory of the certificate")
        })
    }

    /// Tells a failure to the log, the audit log and the metrics. What passes by itself is no warning:
    /// as the end comes near, the reminders of it become louder.
    pub(super) fn tell(&self, failure: &Failure) {
        let (client_id, file) = (&self.application.client_id, self.certificate.certificate.display());
        let (cause, code, action_by) = (failure.cause.name(), failure.code.as_deref(), failure.actor.name());
        let (outcome, what) = match failure.cause {
            Cause::CertificateNotRemoved => {
                ("certificate-not-removed", format!("the certificate before the one in `{file}` was not removed"))
            }
            _ => ("certificate-not-renewed", format!("the certificate in `{file}` was not renewed and stays in use")),
        };
        if failure.actor == Actor::Nobody {
            tracing::info!(client_id, outcome, cause, code, action_by, "{what}: {failure}");
        } else {
            tracing::warn!(client_id, outcome, cause, code, action_by, "{what}: {failure}");
        }
        self.journal.renewal(outcome, Some(failure.cause), &format!("application {client_id}: {failure}"));
        self.journal.metrics().renewed(false);
    }

    fn told(&self, outcome: &'static str, message: &str) {
        let (client_id, file) = (&self.application.client_id, self.certificate.certificate.display());
        tracing::info!(client_id, outcome, "renewal of the certificate in `{file}`: {message}");
        self.journal.renewal(outcome, None, &format!("application {client_id}: {message}"));
    }
}

/// Why the application's registration was not read.
enum NotRead {
    /// The application may not.
    Denied(Failure),
    /// Anything else.
    Failed(Failure),
}

impl NotRead {
    fn into_failure(self) -> Failure {
        match self {
            Self::Denied(failure) | Self::Failed(failure) => failure,
        }
    }
}

fn refused(answer: &Answer) -> Refused {
    Refused::read(answer.status, &answer.body)
}

/// A failure of another part, as one of the renewal.
fn not_renewed(failure: Failure) -> Failure {
    Failure { cause: Cause::CertificateNotRenewed, ..failure }
}
