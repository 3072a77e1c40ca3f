//! Sign-ins of persons on the page: by a browser that returns here, by a pasted address, or by a
//! code on another device. Only the session that began a sign-in sees it or its code (RFC 8628
//! §5.4).

use std::sync::Arc;

use parking_lot::Mutex;

use super::pending::{Made, SignIn, Stage, Way, failed};
use crate::admin::sessions::{self, Visitor};
use crate::admin::state::AdminState;
use crate::login::enrol::Enrolment;
use crate::login::person;
use gatepost_config::Grant;
use gatepost_core::account::LoginName;
use gatepost_oauth::sign_in::code::{CodeRequest, NotOurs, Redirect};
use gatepost_oauth::sign_in::{Purpose, SignInError, SignedIn, device};

/// The redirect address for a browser on another machine. It is registered, and nothing listens
/// there.
pub(super) const NOWHERE: &str = "http://localhost";

impl AdminState {
    /// Begins a sign-in. `origin` is where the browser has this page, and the address to which
    /// Entra sends it back.
    ///
    /// # Errors
    /// A sentence: no person signs in for that account, or Entra gives no code.
    pub(super) async fn begin_sign_in(
        self: &Arc<Self>,
        visitor: Visitor,
        login: &LoginName,
        way: Option<Way>,
        replace: bool,
        origin: Option<(String, String)>,
    ) -> Result<Arc<SignIn>, String> {
        let config = self.shared.authenticator.config();
        let enrolment = Enrolment::find(&config, login).map_err(|error| error.to_string())?;
        let usual = if enrolment.account.grant == Grant::DeviceCode { Way::DeviceCode } else { Way::Browser };
        let way = match way.unwrap_or(usual) {
            Way::Browser if origin.is_none() => Way::Paste,
            way => way,
        };
        let (origin, redirect) = origin.filter(|_| way == Way::Browser).unzip();
        // Checked first, so that nobody signs in for nothing when the store fails.
        let stored = self.shared.authenticator.store().sign_in(&enrolment.key).await;
        stored.map_err(|error| format!("the store cannot be read, so nobody is asked to sign in: {error}"))?;
        let explained = |error: SignInError| person::explain(&error, &enrolment.purpose).to_string();
        let randoms = sessions::random().zip(sessions::random());
        let (id, browser) = randoms.ok_or_else(|| explained(SignInError::NoRandomness))?;
        let sign_in = |stage| {
            Arc::new(SignIn {
                id: id.clone().into(),
                enrolment: enrolment.clone(),
                way,
                browser: browser.clone(),
                origin: origin.clone().unwrap_or_default(),
                visitor: visitor.clone(),
                replace,
                began: self.sign_ins.clock.now(),
                stage: Mutex::new(stage),
                task: Mutex::default(),
            })
        };
        let sign_in = match way {
            Way::DeviceCode => {
                let Purpose { application, tenant, scope } = &enrolment.purpose;
                let source = self.shared.authenticator.source();
                let begun = source.authorize_device(application, tenant, scope).await;
                let (asked_at, begun) = begun.map_err(|error| explained(error.into()))?;
                let sign_in = sign_in(Stage::Device {
                    address: begun.verification_uri.clone(),
                    code: begun.user_code.clone(),
                    until: asked_at.after(begun.lifetime),
                });
                self.work(&sign_in, move |site, purpose| async move {
                    let (source, clock) = (site.shared.authenticator.source(), site.shared.authenticator.clock());
                    device::finish(begun, asked_at, purpose, source, clock).await
                });
                sign_in
            }
            Way::Browser | Way::Paste => {
                let redirect = redirect.unwrap_or_else(|| NOWHERE.to_owned());
                let request = CodeRequest::new(enrolment.purpose.clone(), redirect).map_err(explained)?;
                let address = request.address(enrolment.person());
                sign_in(Stage::Browser { request: Box::new(request), address })
            }
        };
        self.sign_ins.add(Arc::clone(&sign_in));
        Ok(sign_in)
    }

    /// Continues a sign-in after a browser has returned, or its address was pasted, if the query
    /// belongs to it. Only one query is accepted.
    ///
    /// # Errors
    /// [`NotOurs`], which does not use the sign-in up.
    pub(super) fn oauth_callback(self: &Arc<Self>, sign_in: &Arc<SignIn>, query: &str) -> Result<(), NotOurs> {
        let (request, redirect) = {
            let mut stage = sign_in.stage();
            let Stage::Browser { request, .. } = &*stage else { return Err(NotOurs::OtherState) };
            let redirect = request.read(query)?;
            match std::mem::replace(&mut *stage, Stage::Working) {
                Stage::Browser { request, .. } => (request, redirect),
                _ => return Err(NotOurs::OtherState),
            }
        };
        self.work(sign_in, move |site, _| async move { finish(*request, redirect, &site).await });
        Ok(())
    }

    /// Runs a sign-in in the background until it is over, cancelled, or the service ends.
    fn work<F>(self: &Arc<Self>, sign_in: &Arc<SignIn>, work: impl FnOnce(Arc<Self>, Purpose) -> F)
    where
        F: Future<Output = Result<SignedIn, SignInError>> + Send + 'static,
    {
        let signing_in = work(Arc::clone(self), sign_in.enrolment.purpose.clone());
        let (site, weak) = (Arc::clone(self), Arc::downgrade(sign_in));
        let task = tokio::spawn(async move {
            let signed_in = tokio::select! {
                signed_in = signing_in => signed_in,
                () = site.shared.draining.cancelled() => Err(SignInError::Expired),
            };
            // Nothing is kept of a cancelled sign-in.
            let Some(sign_in) = weak.upgrade() else { return };
            let stage = match signed_in {
                Ok(signed_in) => site.enrol(&sign_in, signed_in).await,
                Err(error) => failed(&error, &sign_in.enrolment.purpose),
            };
            *sign_in.stage() = stage;
        });
        *sign_in.task.lock() = Some(task.abort_handle());
    }

    /// Keeps the sign-in, and creates the first device password.
    async fn enrol(&self, sign_in: &SignIn, signed_in: SignedIn) -> Stage {
        let SignIn { enrolment, replace, .. } = sign_in;
        let (store, clock) = (self.shared.authenticator.store(), self.shared.authenticator.clock());
        let username = match enrolment.keep(store, signed_in, *replace, clock.unix_time()).await {
            Ok(username) => username,
            Err(error) => return Stage::Failed(format!("{error}. Nothing was saved.")),
        };
        let told = format!("`{username}` has signed in");
        self.shared.journal.act("signed-in", enrolment.login.as_str(), &told);
        let made = match enrolment.first_password(store, clock.unix_time()).await {
            Ok(Some((made, password))) => Made::Password { id: made.id.to_string(), password },
            Ok(None) => Made::Nothing,
            Err(error) => Made::Failed(format!("the sign-in is kept, but there is no device password: {error}")),
        };
        Stage::Done { username, made }
    }
}

async fn finish(request: CodeRequest, redirect: Redirect, site: &AdminState) -> Result<SignedIn, SignInError> {
    let authenticator = &site.shared.authenticator;
    request.finish(redirect, authenticator.source(), authenticator.clock()).await
}
