//! Asks Graph whether a client's own token opens its mailbox, by the smallest possible request
//! (Microsoft, "Get mailFolder").

use hyper::Method;

use super::GraphClient;
use super::messages::{Broken, Unserved, mailbox};
use gatepost_core::cause::Cause;
use gatepost_core::failure::{Actor, Failure, Refusal};
use gatepost_proto::sasl::Bearer;

impl GraphClient {
    /// Asks whether the token opens the mailbox. It neither observes nor records a pause that Graph
    /// asks for, because the token may have nothing to do with the mailbox.
    ///
    /// # Errors
    /// [`Refusal::InvalidCredentials`] when Graph refused the token, [`Refusal::NotAuthorized`]
    /// when the token gives no right to read the mailbox. Any other failure is temporary.
    pub async fn judge(&self, bearer: &Bearer) -> Result<(), Failure> {
        let path = format!("{}/mailFolders/inbox?$select=id", mailbox(&bearer.user));
        let mut asked = self.ask_once(&Method::GET, &path, bearer, 200).await;
        // A connection that was idle may break during a request.
        if let Err(Broken { again: true, .. }) = asked {
            asked = self.ask_once(&Method::GET, &path, bearer, 200).await;
        }
        let answer = match asked {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(answer)) => answer,
            Err(Broken { failure, .. }) => return Err(failure),
        };
        let refused = |refusal, cause, what, remedy: &'static str| {
            Failure::new(cause, format!("{} {what} ({})", self.origin(), answer.words()))
                .coded(answer.mark())
                .answered(refusal)
                .by(Actor::ClientOwner)
                .to_do(remedy)
                .delayed()
        };
        Err(match answer.status {
            401 if answer.is_graphs() => refused(
                Refusal::InvalidCredentials,
                Cause::TokenRefused,
                "did not accept the client's own token",
                "get a fresh token for Microsoft Graph and try again",
            ),
            403 | 404 if answer.is_graphs() => refused(
                Refusal::NotAuthorized,
                Cause::MailboxDenied,
                "does not let the client's own token read the mailbox",
                "let the application that the client's token is for have `Mail.ReadBasic` or more for Microsoft Graph, which \
                 Gatepost needs to judge the token, and log in to a mailbox that the token's user may open",
            ),
            _ => match self.refused(&answer) {
                Unserved::Failed(failure) => failure,
                Unserved::TokenRefused(_) | Unserved::Gone => {
                    self.not_graph(&format!("the answer was {}", answer.words()))
                }
            },
        })
    }
}
