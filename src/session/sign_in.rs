//! Signs in at a mail server, and has what the server says about the mailbox remembered: that it
//! answers, that it wants a pause, or that it has too many sessions.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::refused_login::NotSignedIn;
use super::upstream::{MailServers, OpenError, Target};
use crate::login::AuthorizedLogin;
use crate::session::context::SessionContext;
use crate::session::mailbox_memory::Identity;
use crate::session::mailbox_slots::MailboxPermit;
use crate::session::token_holder::TokenHolder;
use gatepost_core::account::MailAddress;
use gatepost_core::source::Source;
use gatepost_net::stream::Stream;
use gatepost_proto::mail::{Authenticated, UpstreamFailureKind};
use gatepost_proto::sasl::Bearer;

/// What a login needs after a pause.
const AFTER_PAUSE: Duration = Duration::from_secs(5);

/// A server that does not answer is given up this long before the end of the login, so that the
/// failure names it.
const BEFORE_END: Duration = Duration::from_millis(250);

/// Who signs in to a mailbox.
pub(super) enum Claimant<'a> {
    /// An account whose password was verified, with its permit for the mailbox.
    Account(MailAddress, &'a MailboxPermit),
    /// A client at this address with a token of its own. Before the server has judged it, it may be
    /// anybody, so a refusal counts for no one else.
    Token(IpAddr),
}

impl Claimant<'_> {
    fn identity(&self) -> Identity {
        match self {
            Self::Account(login, _) => Identity::Account(login.clone()),
            Self::Token(source) => Identity::Source(Source::of(*source)),
        }
    }
}

impl SessionContext {
    /// Signs in to `mailbox` for an account, like [`SessionContext::sign_in`].
    ///
    /// # Errors
    /// [`NotSignedIn`], explained with what the token says.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub(super) fn sign_in_as<'s>(
        &'s self,
        servers: &'s MailServers,
        admission: &AuthorizedLogin,
        mailbox: &MailAddress,
        permit: &'s MailboxPermit,
        end: Instant,
    ) -> impl Future<Output = Result<(Stream, Authenticated), NotSignedIn>> + use<'s> {
        let claimant = Claimant::Account(admission.login.clone(), permit);
        let holder = TokenHolder::new(admission, mailbox);
        let is_personal = self.authenticator.is_personal(admission);
        async move {
            let target = match servers.of(holder.issuer(), is_personal) {
                Ok(target) => target,
                Err(error) => return Err(NotSignedIn::new(error, &servers.own().upstream, &holder)),
            };
            let signed_in = self.sign_in(target, claimant, holder.bearer().clone(), end).await;
            signed_in.map_err(|error| NotSignedIn::new(error, &target.upstream, &holder))
        }
    }

    /// Signs in to the mailbox of `bearer`, until `end` at the latest. If the server asked for a
    /// pause, waits until it is over.
    ///
    /// # Errors
    /// See [`OpenError`].
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub(super) async fn sign_in(
        &self,
        target: &Target,
        claimant: Claimant<'_>,
        bearer: Bearer,
        end: Instant,
    ) -> Result<(Stream, Authenticated), OpenError> {
        let (memory, protocol, mailbox) = (&self.memory, target.upstream.protocol, bearer.user.clone());
        let pause = memory.pause_left(protocol, &mailbox);
        if !pause.is_zero() {
            if Instant::now() + pause + AFTER_PAUSE > end {
                return Err(OpenError::Paused(pause));
            }
            sleep(pause).await;
        }
        let signed_in = self.opener.sign_in(target, bearer, end.checked_sub(BEFORE_END).unwrap_or(end)).await;
        let failure = match signed_in {
            Ok(signed_in) => {
                memory.note_answer(protocol, claimant.identity(), mailbox);
                return Ok(signed_in);
            }
            Err(OpenError::Upstream(failure)) => failure,
            Err(error) => return Err(error),
        };
        if let Claimant::Account(_, permit) = &claimant {
            if let Some(pause) = failure.retry_after {
                memory.pause(protocol, &mailbox, pause);
            }
            if failure.kind == UpstreamFailureKind::Limit {
                permit.refused_as_too_many();
            }
        }
        let is_outage = failure.kind == UpstreamFailureKind::MailboxNotConnected
            && memory.answered_lately(protocol, claimant.identity(), mailbox);
        Err(if is_outage { OpenError::Outage(failure) } else { OpenError::Upstream(failure) })
    }
}
