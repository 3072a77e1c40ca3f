//! When the certificates are looked at.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};

use super::files::CertificateFiles;
use super::steps::Work;
use crate::daemon::running::Running;
use crate::session::journal::Journal;
use gatepost_config::{Application, ClientCertificate, Config, Credential, Renewal};
use gatepost_core::cause::Cause;
use gatepost_core::clock::{Clock, UnixTime};
use gatepost_core::jitter;
use gatepost_oauth::HttpEndpoint;
use gatepost_oauth::expiry::Renewing;
use gatepost_oauth::renewal::record::pause;
use gatepost_oauth::source::TokenSource;

/// How often it is looked whether something is due.
const TICK: Duration = Duration::from_secs(60);
/// A certificate is looked at as often at least, because its files may be replaced by hand.
const LOOK: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Renews certificates until the service is told to stop.
pub(crate) async fn keep_renewing(running: Arc<Running>) {
    let renewals = Renewals::new(Clock::system());
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reloads = running.changed.subscribe();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            // `renew` may be new, or what failed may be corrected.
            reloaded = reloads.changed() => match reloaded {
                Ok(()) => renewals.forget_plans(),
                Err(_) => return,
            },
            // Another process may be about to do it.
            () = running.process.draining.cancelled() => return,
        }
        let generation = running.generation.get();
        let source = running.process.authenticator.source();
        renewals.look(&generation.config, source, &generation.ways.endpoint, &running.process.journal).await;
    }
}

/// What is known of one certificate since the start of the process.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// When it is looked at again.
    due: UnixTime,
    /// Failures in a row.
    failures: u32,
}

/// The renewals of all certificates.
#[derive(Debug)]
pub struct Renewals {
    clock: Clock,
    plans: Mutex<HashMap<PathBuf, Plan>>,
}

impl Renewals {
    /// Nothing is known yet, so all certificates are due.
    pub fn new(clock: Clock) -> Self {
        Self { clock, plans: Mutex::default() }
    }

    /// Makes all certificates due, because the configuration has changed.
    fn forget_plans(&self) {
        self.plans.lock().clear();
    }

    /// Looks at each certificate with `renew` that is due, and goes on with its renewal as far as
    /// possible. Every wait in it ends within the limits of token requests.
    pub async fn look(&self, config: &Config, source: &TokenSource, endpoint: &HttpEndpoint, journal: &Journal) {
        for (application, certificate, renewal) in renewable(config) {
            let path = &certificate.certificate;
            let (now, plan) = (self.clock.unix_time(), self.plans.lock().get(path).copied());
            // A clock that was set back does not put it off.
            if plan.is_some_and(|plan| plan.due > now && plan.due < now.after(DAY)) {
                continue;
            }
            let files = CertificateFiles { certificate: path.clone(), private_key: certificate.private_key.clone() };
            let work = Work { application, certificate, renewal, files, source, endpoint, journal, clock: &self.clock };
            let advanced = work.advance().await;
            let now = self.clock.unix_time();
            let plan = match advanced {
                Ok(until) => {
                    source.credentials().note_renewal(path, Renewing::Planned);
                    Plan { due: until.min(now.after(LOOK)), failures: 0 }
                }
                Err(failure) => {
                    if failure.cause == Cause::CertificateNotRenewed {
                        source.credentials().note_renewal(path, Renewing::Failed(failure.to_string()));
                        work.note(&failure).await;
                    }
                    work.tell(&failure);
                    let failures = plan.map_or(0, |plan| plan.failures).saturating_add(1);
                    Plan { due: now.after(pause(failures, jitter::fraction())), failures }
                }
            };
            self.plans.lock().insert(path.clone(), plan);
        }
    }
}

/// The certificates that are renewed, each once.
fn renewable(config: &Config) -> Vec<(&Arc<Application>, &ClientCertificate, &Renewal)> {
    let mut found: Vec<(&Arc<Application>, &ClientCertificate, &Renewal)> = Vec::new();
    for account in config.accounts.entries() {
        let Credential::Certificates(certificates) = &*account.application.credential else { continue };
        for certificate in certificates {
            let is_known = |(_, known, _): &(_, &ClientCertificate, _)| known.certificate == certificate.certificate;
            if let Some(renewal) = &certificate.renewal
                && !found.iter().any(is_known)
            {
                found.push((&account.application, certificate, renewal));
            }
        }
    }
    found
}
