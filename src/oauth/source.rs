//! From an [`Ask`] to a token: a bounded number of requests at once, few retries, respect for `Retry-After`, and no
//! requests to an authority that is out of order.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use dashmap::DashMap;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout_at};

use crate::clock::{Clock, Moment};
use crate::config::{Application, Limits};
use crate::oauth::Token;
use crate::oauth::audience::{self, Mismatch};
use crate::oauth::endpoint::{TokenEndpoint, TransportError, TransportFault};
use crate::oauth::grant::{self, Ask, TokenKey, TokenRequest};
use crate::oauth::response::{self, DeviceAuthorization, NotGranted, OauthError};
use crate::oauth::retry::{self, Breaker, RetryBudget, chance};
use crate::secret::{IdToken, RefreshToken};

/// Retries of one ask.
const RETRIES: u32 = 2;

/// Most endpoints left alone at once: with `tenant: auto` it is the logins that choose them.
const PAUSES: usize = 10_000;

/// How long an endpoint is left alone that was busy to the last try and did not say for how long.
const PAUSE: Duration = Duration::from_secs(60);

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// Entra refused.
    Refused(OauthError),
    /// Entra is busy or out of order.
    Busy {
        /// The HTTP status.
        status: u16,
        /// Entra's own code, if it gave one.
        code: Option<u32>,
    },
    /// Something answered that is not a token endpoint.
    Unclear {
        /// The HTTP status.
        status: u16,
        /// What was wrong with the answer.
        why: &'static str,
    },
    /// A token that is for something else than what was asked for; it is not used.
    Misfit(Mismatch),
    /// No answer.
    Transport(TransportError),
    /// Entra asked to be left alone for a while (`Retry-After`, 429), and that is not over.
    Paused {
        /// How long it still lasts.
        wait: Duration,
    },
    /// The authority has been out of order, and is left alone for a while.
    Suspended {
        /// When it may be asked again.
        wait: Duration,
    },
    /// Too many requests wait already.
    QueueFull,
    /// No turn came in time.
    NoTurn,
}

/// Everything that one answer brought.
#[derive(Debug)]
pub struct Issued {
    /// The access token.
    pub token: Token,
    /// For the next one; absent when the grant gives none, or when the one at hand stays in use.
    pub refresh_token: Option<RefreshToken>,
    /// Who signed in.
    pub id_token: Option<IdToken>,
}

/// A request that goes out, and what decides about its fate.
struct Errand<'a> {
    request: &'a TokenRequest,
    throttle_key: TokenKey,
    /// It may be sent again when its answer was lost.
    repeatable: bool,
}

/// An endpoint is left alone.
#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Moment,
    /// It asked for it.
    asked: bool,
}

/// Asks an endpoint for tokens.
pub struct TokenSource {
    endpoint: Arc<dyn TokenEndpoint>,
    clock: Clock,
    slots: Semaphore,
    waiting: AtomicUsize,
    queue: usize,
    one: Duration,
    total: Duration,
    /// By authority.
    breakers: DashMap<String, Breaker>,
    /// By [`Ask::throttle_key`].
    pauses: DashMap<TokenKey, Pause>,
    retries: Mutex<RetryBudget>,
}

impl TokenSource {
    /// A source with the bounds and deadlines of `limits`.
    pub fn new(endpoint: Arc<dyn TokenEndpoint>, clock: Clock, limits: &Limits) -> Self {
        Self {
            endpoint,
            clock,
            slots: Semaphore::new(limits.token_requests.clamp(1, Semaphore::MAX_PERMITS)),
            waiting: AtomicUsize::new(0),
            queue: limits.token_queue,
            one: limits.token_request,
            total: limits.token_total,
            breakers: DashMap::new(),
            pauses: DashMap::new(),
            retries: Mutex::default(),
        }
    }

    /// Gets a token, within `limits.token_total`.
    ///
    /// # Errors
    /// [`FetchError`]; only [`FetchError::Refused`] is a word about user or application. [`FetchError::Misfit`] needs
    /// another configuration, all others may pass.
    pub async fn fetch(&self, ask: &Ask) -> Result<Token, FetchError> {
        self.issue(ask).await.map(|issued| issued.token)
    }

    /// The same, with everything that comes beside the access token.
    ///
    /// # Errors
    /// As [`TokenSource::fetch`].
    pub async fn issue(&self, ask: &Ask) -> Result<Issued, FetchError> {
        let errand =
            Errand { request: &ask.request(), throttle_key: ask.throttle_key(), repeatable: ask.grant.is_repeatable() };
        let (sent_at, granted) = self.send(errand, response::parse).await?;
        let token = Token {
            access_token: Arc::new(granted.access_token),
            requested_at: sent_at,
            expires_at: sent_at.after(granted.lifetime),
        };
        audience::check(&token.access_token, ask).map_err(FetchError::Misfit)?;
        Ok(Issued { token, refresh_token: granted.refresh_token, id_token: granted.id_token })
    }

    /// Begins a sign-in by device code (RFC 8628 §3.1), and says when it began.
    ///
    /// # Errors
    /// As [`TokenSource::fetch`].
    pub async fn authorize_device(
        &self,
        application: &Application,
        tenant: &str,
        scope: &str,
    ) -> Result<(Moment, DeviceAuthorization), FetchError> {
        let errand = Errand {
            request: &grant::device_authorization_request(application, tenant, scope),
            throttle_key: TokenKey::of_throttle(application, tenant, scope),
            repeatable: true,
        };
        self.send(errand, response::parse_device).await
    }

    /// Sends a request, again where that helps; the result is when it was sent, and what `judge` made of the answer.
    async fn send<T>(
        &self,
        errand: Errand<'_>,
        judge: fn(u16, &[u8]) -> Result<T, NotGranted>,
    ) -> Result<(Moment, T), FetchError> {
        let deadline = Instant::now() + self.total;
        let Errand { request, throttle_key: pause_key, repeatable } = errand;
        let mut retry = 0;
        let mut before = None;
        loop {
            let error = match self.attempt(request, &pause_key, deadline, judge).await {
                Ok(answered) => return Ok(answered),
                Err(error) => error,
            };
            if !error.was_sent() {
                // What went wrong when Entra was asked says more than why it was not asked again.
                return Err(before.unwrap_or(error));
            }
            let wait = retry::backoff(retry, chance());
            let may_retry = retry < RETRIES
                && error.may_pass_at_once()
                && (repeatable || error.never_arrived())
                && !self.pauses.contains_key(&pause_key)
                && Instant::now() + wait < deadline
                && self.retry_budget(RetryBudget::spend);
            if !may_retry {
                if let FetchError::Busy { status, .. } = error {
                    // One that the endpoint asked for counts more.
                    if !self.pauses.contains_key(&pause_key) {
                        self.pause(&pause_key, PAUSE, status == 429);
                    }
                }
                return Err(error);
            }
            tracing::debug!(?error, "token request failed and is tried again");
            before = Some(error);
            sleep(wait).await;
            retry += 1;
        }
    }

    async fn attempt<T>(
        &self,
        request: &TokenRequest,
        key: &TokenKey,
        deadline: Instant,
        judge: fn(u16, &[u8]) -> Result<T, NotGranted>,
    ) -> Result<(Moment, T), FetchError> {
        let _slot = self.slot(deadline).await?;
        let authority = request.url.origin().ascii_serialization();
        // After the wait for a turn: what was learned meanwhile counts.
        self.clear_to_send(&authority, key)?;
        self.retry_budget(|budget| {
            budget.earn();
            true
        });
        let sent_at = self.clock.now();
        let one = deadline.min(Instant::now() + self.one);
        let exchanged = timeout_at(one, self.endpoint.exchange(request)).await.unwrap_or_else(|_| {
            Err(TransportError { fault: TransportFault::Timeout, detail: "no answer in time".into() })
        });
        let result = exchanged.map_err(FetchError::Transport).and_then(|answer| {
            judge(answer.status, &answer.body).map_err(|error| {
                if let (NotGranted::Busy { .. }, Some(value)) = (&error, &answer.retry_after)
                    && let Some(wait) = retry::retry_after(value, SystemTime::now())
                {
                    self.pause(key, wait, true);
                }
                FetchError::from(error)
            })
        });
        self.count(&authority, result.as_ref().err());
        Ok((sent_at, result?))
    }

    async fn slot(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, FetchError> {
        if let Ok(slot) = self.slots.try_acquire() {
            return Ok(slot);
        }
        let _place = Place::take(&self.waiting, self.queue).ok_or(FetchError::QueueFull)?;
        match timeout_at(deadline, self.slots.acquire()).await {
            Ok(Ok(slot)) => Ok(slot),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(FetchError::NoTurn),
        }
    }

    fn clear_to_send(&self, authority: &str, key: &TokenKey) -> Result<(), FetchError> {
        let now = self.clock.now();
        let pause = self.pauses.get(key).map(|pause| *pause);
        if let Some(Pause { until, asked }) = pause {
            if until > now {
                let wait = until.since(now);
                return Err(if asked { FetchError::Paused { wait } } else { FetchError::Suspended { wait } });
            }
            self.pauses.remove_if(key, |_, pause| pause.until <= now);
        }
        if let Some(mut breaker) = self.breakers.get_mut(authority)
            && !breaker.admits(now, chance())
        {
            return Err(FetchError::Suspended { wait: breaker.opens_in(now) });
        }
        Ok(())
    }

    fn pause(&self, key: &TokenKey, wait: Duration, asked: bool) {
        let now = self.clock.now();
        if self.pauses.len() >= PAUSES {
            self.pauses.retain(|_, pause| pause.until > now);
        }
        // Over it the breaker of the authority has to do.
        if self.pauses.len() < PAUSES {
            self.pauses.insert(key.clone(), Pause { until: now.after(wait), asked });
        }
    }

    fn count(&self, authority: &str, error: Option<&FetchError>) {
        let now = self.clock.now();
        match error.filter(|error| error.is_outage()) {
            Some(error) => {
                let opened = self.breakers.entry(authority.to_owned()).or_default().failed(now, chance());
                if opened {
                    tracing::warn!(
                        authority,
                        ?error,
                        "Entra does not answer as it should; tokens at hand stay in use, and a probe goes out every 5 to 30 s"
                    );
                }
            }
            None => {
                let closed = self.breakers.get_mut(authority).is_some_and(|mut breaker| breaker.answered(now));
                if closed {
                    tracing::info!(authority, "Entra answers again");
                }
            }
        }
    }

    fn retry_budget(&self, change: impl FnOnce(&mut RetryBudget) -> bool) -> bool {
        change(&mut self.retries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl FetchError {
    fn was_sent(&self) -> bool {
        !matches!(self, Self::Paused { .. } | Self::Suspended { .. } | Self::QueueFull | Self::NoTurn)
    }

    /// Worth a retry within the same login.
    fn may_pass_at_once(&self) -> bool {
        match self {
            Self::Busy { .. } => true,
            Self::Transport(error) => matches!(error.fault, TransportFault::Connect | TransportFault::Timeout),
            _ => false,
        }
    }

    /// Entra cannot have acted on the request.
    fn never_arrived(&self) -> bool {
        matches!(self, Self::Transport(error) if error.fault == TransportFault::Connect)
    }

    /// The authority, or the way to it, is at fault.
    fn is_outage(&self) -> bool {
        match self {
            Self::Busy { .. } | Self::Transport(_) => true,
            Self::Unclear { status, .. } => !(400..500).contains(status),
            _ => false,
        }
    }
}

impl From<NotGranted> for FetchError {
    fn from(error: NotGranted) -> Self {
        match error {
            NotGranted::Refused(error) => Self::Refused(error),
            NotGranted::Busy { status, code } => Self::Busy { status, code },
            NotGranted::Unclear { status, why } => Self::Unclear { status, why },
        }
    }
}

/// A place in a queue of bounded length.
pub(crate) struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    /// Takes one, unless `most` are taken.
    pub(crate) fn take(taken: &'a AtomicUsize, most: usize) -> Option<Self> {
        if taken.fetch_add(1, Ordering::Relaxed) < most {
            return Some(Self(taken));
        }
        taken.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
