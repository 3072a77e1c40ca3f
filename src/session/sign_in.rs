//! Signs in at a mail server, and has it remembered that the mailbox answered.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::upstream::{OpenError, Target};
use crate::session::context::SessionContext;
use crate::session::mailbox_memory::Identity;
use gatepost_core::account::MailAddress;
use gatepost_core::source::Source;
use gatepost_net::stream::Stream;
use gatepost_proto::mail::{Authenticated, UpstreamFailureKind};
use gatepost_proto::sasl::Bearer;

/// A server that does not answer is given up this long before the end of the login, so that the
/// failure names it.
const BEFORE_END: Duration = Duration::from_millis(250);

/// Who signs in to a mailbox.
pub(super) enum Claimant {
    /// An account whose password was verified.
    Account(MailAddress),
    /// A client at this address with a token of its own.
    Token(IpAddr),
}

impl Claimant {
    fn identity(&self) -> Identity {
        match self {
            Self::Account(login) => Identity::Account(login.clone()),
            Self::Token(source) => Identity::Source(Source::of(*source)),
        }
    }
}

impl SessionContext {
    /// Signs in to the mailbox of `bearer`, until `end` at the latest.
    ///
    /// # Errors
    /// See [`OpenError`].
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub(super) async fn sign_in(
        &self,
        target: &Target,
        claimant: Claimant,
        bearer: Bearer,
        end: Instant,
    ) -> Result<(Stream, Authenticated), OpenError> {
        let (memory, protocol, mailbox) = (&self.memory, target.upstream.protocol, bearer.user.clone());
        let signed_in = self.opener.sign_in(target, bearer, end.checked_sub(BEFORE_END).unwrap_or(end)).await;
        let failure = match signed_in {
            Ok(signed_in) => {
                memory.note_answer(protocol, claimant.identity(), mailbox);
                return Ok(signed_in);
            }
            Err(OpenError::Upstream(failure)) => failure,
            Err(error) => return Err(error),
        };
        let is_outage = failure.kind == UpstreamFailureKind::MailboxNotConnected
            && memory.answered_lately(protocol, claimant.identity(), mailbox);
        Err(if is_outage { OpenError::Outage(failure) } else { OpenError::Upstream(failure) })
    }
}
