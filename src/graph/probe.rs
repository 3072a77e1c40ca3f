//! Asks Graph whether a mailbox opens with an account's own token, for `gatepost doctor`.

use hyper::Method;

use super::GraphClient;
use super::messages::{Unserved, mailbox};
use gatepost_core::failure::Failure;
use gatepost_proto::sasl::Bearer;

impl GraphClient {
    /// Asks for the Inbox, as the POP3 listener does at each login.
    ///
    /// # Errors
    /// The failure of that login.
    pub(crate) async fn probe(&self, bearer: &Bearer) -> Result<(), Failure> {
        let path = format!("{}/mailFolders/inbox?$select=id", mailbox(&bearer.user));
        match self.ask(&Method::GET, &path, bearer, 200).await {
            Ok(_) => Ok(()),
            Err(Unserved::TokenRefused(failure) | Unserved::Failed(failure)) => Err(failure),
            Err(Unserved::Gone) => Err(self.not_graph("it knows no Inbox")),
        }
    }
}
