//! Asks Entra whether it knows an application whose tokens need a user, without any user: it begins
//! a sign-in by device code, looks at it once, and drops it.

use std::sync::Arc;

use tokio::time::Instant;

use crate::aadsts::Class;
use crate::fetch_error::FetchError;
use crate::grant::{GrantRequest, TokenRequest};
use crate::source::{TokenSource, Turn};
use gatepost_config::Application;

impl TokenSource {
    /// Checks tenant, client id, scope and the application's credential. An application without a
    /// credential must allow public client flows. Nobody learns the code, so nobody can use it.
    ///
    /// # Errors
    /// [`FetchError`], as for a token request.
    pub async fn probe_application(
        &self,
        application: &Arc<Application>,
        tenant: &str,
        scope: &str,
    ) -> Result<(), FetchError> {
        let (_, begun) = self.authorize_device(application, tenant, scope).await?;
        let ask = TokenRequest {
            application: Arc::clone(application),
            tenant: tenant.into(),
            scope: scope.into(),
            grant: GrantRequest::DeviceCode(Arc::new(begun.device_code)),
        };
        let turn = Turn { probe: false, deadline: Instant::now() + self.total() };
        match self.send(&ask, turn).await {
            Ok(_) => Ok(()),
            // The application was accepted before Entra looked for the person.
            Err(FetchError::Refused(refused)) if refused.class == Class::Polling => Ok(()),
            Err(error) => Err(error),
        }
    }
}
