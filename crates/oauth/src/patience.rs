//! How long one token request waits for an Entra that is away. Requests that wait are the probes:
//! about once a second one of them asks, and the first answer lets all others go.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::fetch_error::FetchError;
use crate::grant::TokenRequest;
use crate::retry::backoff;
use crate::source::{Held, Issued, Place, TokenSource, Turn};
use crate::token::Token;
use crate::tokens::explain;
use gatepost_core::jitter;

/// How long a request waits for an authority that has been away for longer than
/// `limits.token_total`: long enough to be there for the next probe, and short enough that waiting
/// clients do not use up the places of others.
const LONG_OUTAGE: Duration = Duration::from_secs(3);

/// Over this time requests go out that waited for the end of the same pause.
const SPREAD: Duration = Duration::from_secs(1);

/// The patience of one token request.
pub struct Patience<'a> {
    source: &'a TokenSource,
    ask: &'a TokenRequest,
    deadline: Instant,
    /// Until when an outage is waited for, once it is known that there is one.
    until: Option<Instant>,
    place: Option<Place>,
    tries: u32,
    failure: Option<FetchError>,
}

impl TokenSource {
    /// Gets a token, within `limits.token_total`; that of a managed identity within 90 seconds.
    ///
    /// # Errors
    /// As [`TokenSource::send`].
    pub async fn fetch(&self, ask: &TokenRequest, waits: bool) -> Result<Token, FetchError> {
        self.issue(ask, waits).await.map(|issued| issued.token)
    }

    /// Like [`TokenSource::fetch`], but returns everything that comes with the access token.
    /// `waits`: whether an Entra that is away is waited for.
    ///
    /// # Errors
    /// As [`TokenSource::send`].
    pub async fn issue(&self, ask: &TokenRequest, waits: bool) -> Result<Issued, FetchError> {
        let mut patience = self.patience(ask, waits);
        loop {
            let turn = patience.turn().await?;
            match self.send(ask, turn).await {
                Err(error) => patience.after(error)?,
                issued => return issued,
            }
        }
    }

    /// The patience of a request that is sent with [`TokenSource::send`].
    pub fn patience<'a>(&'a self, ask: &'a TokenRequest, waits: bool) -> Patience<'a> {
        Patience::new(self, ask, waits)
    }
}

impl<'a> Patience<'a> {
    /// With `waits`, an outage is waited for until `limits.token_total` is over. Without, the first
    /// failure counts, which is right where a valid token is left.
    fn new(source: &'a TokenSource, ask: &'a TokenRequest, waits: bool) -> Self {
        let now = Instant::now();
        let (deadline, until) = (now + source.total(), (!waits).then_some(now));
        Self { source, ask, deadline, until, place: None, tries: 0, failure: None }
    }

    /// Waits until the request may go out.
    ///
    /// # Errors
    /// The last failure of this request, or why it may not go out.
    pub async fn turn(&mut self) -> Result<Turn, FetchError> {
        if let Some(retry) = self.tries.checked_sub(1) {
            sleep_until(Instant::now() + backoff(retry, jitter::fraction())).await;
        }
        self.tries = self.tries.saturating_add(1);
        let well = self.source.well(&self.ask.authority());
        loop {
            let answered = well.notified();
            let held = match self.source.hold(self.ask) {
                Ok(probe) => {
                    // A request that goes out waits in another queue, for its slot.
                    self.place = None;
                    return Ok(Turn { probe, deadline: self.deadline });
                }
                Err(held) => held,
            };
            let now = Instant::now();
            let Held { wait, may_pass, error } = held;
            let (until, paused) = (self.until(), matches!(error, FetchError::Paused { .. }));
            if !may_pass || now >= until || paused && now + wait > until || !self.take_place() {
                return Err(self.failure.take().unwrap_or(error));
            }
            let spread = if paused { SPREAD.mul_f64(jitter::fraction()) } else { Duration::ZERO };
            tokio::select! {
                () = sleep_until((now + wait + spread).min(until)) => {}
                () = answered, if !paused => {}
            }
        }
    }

    /// Whether to ask for another turn after this failure.
    ///
    /// # Errors
    /// The failure, if it is final.
    pub fn after(&mut self, error: FetchError) -> Result<(), FetchError> {
        let repeatable = self.ask.grant.is_repeatable() || error.never_arrived();
        if !error.may_pass() || !repeatable || Instant::now() >= self.until() {
            // The failure of a request matters more than why there was no further one, or none that
            // was decided in time.
            let counts = error.was_sent() && (!error.may_pass() || Instant::now() < self.deadline);
            return Err(if counts { error } else { self.failure.take().unwrap_or(error) });
        }
        let why = explain::of(&error, self.ask).message;
        tracing::debug!(why, "token request failed and is tried again");
        if error.was_sent() {
            self.failure = Some(error);
        }
        Ok(())
    }

    fn until(&mut self) -> Instant {
        if let Some(until) = self.until {
            return until;
        }
        let is_long = self.source.away_for(self.ask) > self.source.total();
        let until = if is_long { self.deadline.min(Instant::now() + LONG_OUTAGE) } else { self.deadline };
        self.until = Some(until);
        until
    }

    fn take_place(&mut self) -> bool {
        self.place = self.place.take().or_else(|| self.source.place());
        self.place.is_some()
    }
}

#[cfg(test)]
mod tests;
