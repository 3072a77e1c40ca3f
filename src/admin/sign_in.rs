//! People who sign in on the page: by a browser that comes back here, by an address that is pasted, or by a code on another device.
//! Only the session that began a sign-in sees it, or its code (RFC 8628 §5.4).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use url::Url;

use super::Site;
use super::visitors::{self, Visitor};
use crate::account::LoginName;
use crate::clock::{Clock, Moment};
use crate::config::Grant;
use crate::login::enrol::Enrolment;
use crate::login::person;
use crate::oauth::sign_in::code::{CodeRequest, NotOurs, Redirect};
use crate::oauth::sign_in::{Purpose, SignInError, SignedIn, device};
use crate::secret::Password;

/// How long a browser may take; Entra's codes last as long.
const PATIENCE: Duration = Duration::from_secs(600);
/// What has ended can still be read so long.
const KEPT: Duration = Duration::from_secs(600);
/// Most sign-ins at once; the oldest gives way.
const MOST: usize = 100;

/// Where a browser goes that runs on another machine: registered, and nothing listens there.
pub(super) const NOWHERE: &str = "http://localhost";

/// How a person signs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// In the browser that shows the page.
    Browser,
    /// In any browser; the address that it ends at is pasted.
    Paste,
    /// On any device.
    DeviceCode,
}

/// All of them.
pub(super) struct SignIns {
    clock: Clock,
    pending: Mutex<HashMap<Arc<str>, Arc<SignIn>>>,
}

/// One sign-in.
pub(super) struct SignIn {
    /// In its address on the page.
    pub(super) id: Arc<str>,
    pub(super) enrolment: Enrolment,
    pub(super) way: Way,
    /// What a browser that comes back from Entra has to show: its other cookie is kept from it then (`SameSite=Strict`).
    pub(super) browser: String,
    /// Scheme and authority under which that browser has the page; empty for the other ways.
    pub(super) origin: String,
    visitor: Visitor,
    replace: bool,
    began: Moment,
    stage: Mutex<Stage>,
    task: Mutex<Option<AbortHandle>>,
}

impl Drop for SignIn {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

/// How far it is.
enum Stage {
    /// The person is at Entra's page, or on the way there.
    Browser { request: Box<CodeRequest>, address: Url },
    /// The person types the code in on another device.
    Device { address: Url, code: String, until: Moment },
    /// Entra is asked.
    Working,
    /// It came to nothing.
    Failed(String),
    /// It is kept.
    Done { username: String, made: Made },
}

/// The first device password.
enum Made {
    /// It is shown until the page is left.
    Password { id: String, password: Password },
    /// The account had some already, or this one has been seen.
    Nothing,
    /// The sign-in is kept all the same.
    Failed(String),
}

/// What of it is shown.
pub(super) enum Shown {
    Browser { address: String },
    Device { address: String, code: String, seconds_left: u64 },
    Working,
    Failed(String),
    Done { username: String, password: Option<(String, String)>, problem: Option<String> },
}

impl SignIns {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, pending: Mutex::default() }
    }

    /// A sign-in that this visitor began.
    pub(super) fn of(&self, visitor: &Visitor, id: &str) -> Option<Arc<SignIn>> {
        self.pending().get(id).filter(|sign_in| sign_in.visitor.is(visitor)).cloned()
    }

    /// The sign-in that a browser comes back from, by the cookie that it was given for it.
    pub(super) fn of_browser(&self, id: &str, cookie: &str) -> Option<Arc<SignIn>> {
        let is_it = |secret: &str| {
            aws_lc_rs::constant_time::verify_slices_are_equal(secret.as_bytes(), cookie.as_bytes()).is_ok()
        };
        self.pending().get(id).filter(|sign_in| is_it(&sign_in.browser)).cloned()
    }

    /// The sign-in in a browser that the query of a return belongs to, by its `state`.
    pub(super) fn of_query(&self, query: &str) -> Option<Arc<SignIn>> {
        let is_it = |sign_in: &&Arc<SignIn>| match &*sign_in.stage() {
            Stage::Browser { request, .. } => sign_in.way == Way::Browser && request.read(query).is_ok(),
            _ => false,
        };
        self.pending().values().find(is_it).cloned()
    }

    /// Gives a sign-in up, or lets go of what it made.
    pub(super) fn end(&self, sign_in: &SignIn) {
        self.pending().remove(&sign_in.id);
    }

    /// One for each account: a new one takes the place of the one before.
    fn add(&self, sign_in: Arc<SignIn>) {
        let now = self.clock.now();
        let mut pending = self.pending();
        pending.retain(|_, other| {
            now.since(other.began) < PATIENCE + KEPT && other.enrolment.key != sign_in.enrolment.key
        });
        if pending.len() >= MOST {
            let oldest = pending.values().min_by_key(|sign_in| sign_in.began).map(|sign_in| Arc::clone(&sign_in.id));
            oldest.and_then(|id| pending.remove(&id));
        }
        pending.insert(Arc::clone(&sign_in.id), sign_in);
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<SignIn>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SignIn {
    /// Its page.
    pub(super) fn address(&self) -> String {
        self.visitor.at(&format!("/sign-in/{}", self.id))
    }

    /// What is shown of it now.
    pub(super) fn shown(&self, now: Moment) -> Shown {
        let mut stage = self.stage();
        if matches!(*stage, Stage::Browser { .. }) && now.since(self.began) >= PATIENCE {
            *stage = failed(&SignInError::Expired);
        }
        match &*stage {
            Stage::Browser { address, .. } => Shown::Browser { address: address.to_string() },
            Stage::Device { address, code, until } => Shown::Device {
                address: address.to_string(),
                code: code.clone(),
                seconds_left: until.since(now).as_secs(),
            },
            Stage::Working => Shown::Working,
            Stage::Failed(text) => Shown::Failed(text.clone()),
            Stage::Done { username, made } => Shown::Done {
                username: username.clone(),
                password: match made {
                    Made::Password { id, password } => Some((id.clone(), password.expose().to_owned())),
                    Made::Nothing | Made::Failed(_) => None,
                },
                problem: match made {
                    Made::Failed(text) => Some(text.clone()),
                    Made::Password { .. } | Made::Nothing => None,
                },
            },
        }
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Site {
    /// Begins a sign-in. `origin` is where the browser has this page, and the address to which Entra sends it back.
    ///
    /// # Errors
    /// A sentence: nobody signs in for that account, or Entra gives no code.
    pub(super) async fn begin_sign_in(
        self: &Arc<Self>,
        visitor: Visitor,
        login: &LoginName,
        way: Option<Way>,
        replace: bool,
        origin: Option<(String, String)>,
    ) -> Result<Arc<SignIn>, String> {
        let config = self.shared.gatekeeper.config();
        let enrolment = Enrolment::find(&config, login).map_err(|error| error.to_string())?;
        let usual = if enrolment.account.grant == Grant::DeviceCode { Way::DeviceCode } else { Way::Browser };
        let way = match way.unwrap_or(usual) {
            Way::Browser if origin.is_none() => Way::Paste,
            way => way,
        };
        let (origin, redirect) = origin.filter(|_| way == Way::Browser).unzip();
        // A store that fails is noticed before somebody signs in in vain.
        let stored = self.shared.gatekeeper.store().sign_in(&enrolment.key).await;
        stored.map_err(|error| format!("the store cannot be read, so nobody is asked to sign in: {error}"))?;
        let no_randomness = || person::explain(&SignInError::NoRandomness).to_string();
        let (id, browser) = visitors::random().zip(visitors::random()).ok_or_else(no_randomness)?;
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
                let source = self.shared.gatekeeper.source();
                let begun = source.authorize_device(application, tenant, scope).await;
                let (asked_at, begun) = begun.map_err(|error| person::explain(&error.into()).to_string())?;
                let sign_in = sign_in(Stage::Device {
                    address: begun.verification_uri.clone(),
                    code: begun.user_code.clone(),
                    until: asked_at.after(begun.lifetime),
                });
                self.work(&sign_in, move |site, purpose| async move {
                    let (source, clock) = (site.shared.gatekeeper.source(), site.shared.gatekeeper.clock());
                    device::finish(begun, asked_at, purpose, source, clock).await
                });
                sign_in
            }
            Way::Browser | Way::Paste => {
                let redirect = redirect.unwrap_or_else(|| NOWHERE.to_owned());
                let request = CodeRequest::new(enrolment.purpose.clone(), redirect).map_err(|_| no_randomness())?;
                let address = request.address(enrolment.person());
                sign_in(Stage::Browser { request: Box::new(request), address })
            }
        };
        self.sign_ins.add(Arc::clone(&sign_in));
        Ok(sign_in)
    }

    /// A browser has come back, or its address was pasted: the sign-in goes on if the query belongs to it. One query is taken.
    ///
    /// # Errors
    /// [`NotOurs`]; the sign-in is not used up by that.
    pub(super) fn come_back(self: &Arc<Self>, sign_in: &Arc<SignIn>, query: &str) -> Result<(), NotOurs> {
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

    /// Sees a sign-in through, whether or not somebody looks: until it is over, given up, or the service ends.
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
            // Whoever gave it up wants nothing kept of it.
            let Some(sign_in) = weak.upgrade() else { return };
            let stage = match signed_in {
                Ok(signed_in) => site.enrol(&sign_in, signed_in).await,
                Err(error) => failed(&error),
            };
            *sign_in.stage() = stage;
        });
        *sign_in.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());
    }

    /// Keeps what the person brought, and makes the first device password.
    async fn enrol(&self, sign_in: &SignIn, signed_in: SignedIn) -> Stage {
        let SignIn { enrolment, replace, .. } = sign_in;
        let (store, clock) = (self.shared.gatekeeper.store(), self.shared.gatekeeper.clock());
        let username = match enrolment.keep(store, signed_in, *replace, clock.unix_time()).await {
            Ok(username) => username,
            Err(error) => return Stage::Failed(format!("nothing was stored: {error}")),
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

async fn finish(request: CodeRequest, redirect: Redirect, site: &Site) -> Result<SignedIn, SignInError> {
    let gatekeeper = &site.shared.gatekeeper;
    request.finish(redirect, gatekeeper.source(), gatekeeper.clock()).await
}

fn failed(error: &SignInError) -> Stage {
    Stage::Failed(format!("nothing was stored: {}", person::explain(error)))
}
