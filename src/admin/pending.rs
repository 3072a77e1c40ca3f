//! Sign-ins that are in progress, or that have just ended.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::task::AbortHandle;
use url::Url;

use crate::admin::sessions::Visitor;
use crate::login::enrol::Enrolment;
use crate::login::person;
use gatepost_core::bounded_map::BoundedMap;
use gatepost_core::clock::{Clock, Moment};
use gatepost_core::failure::{Actor, Failure};
use gatepost_core::secret::Password;
use gatepost_oauth::sign_in::code::CodeRequest;
use gatepost_oauth::sign_in::{Purpose, SignInError};

/// Time limit for signing in with a browser. Entra's codes last as long.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long an ended sign-in can still be read.
const KEPT: Duration = Duration::from_secs(600);
/// Most sign-ins at once. The oldest is evicted.
const MOST: usize = 100;

/// How a person signs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// In the browser that shows the page.
    Browser,
    /// In any browser. The address that it ends at is pasted.
    Paste,
    /// On any device.
    DeviceCode,
}

impl Way {
    /// Every way, with its name in forms.
    const ALL: [(Self, &str); 3] = [(Self::Browser, "browser"), (Self::Paste, "paste"), (Self::DeviceCode, "device")];

    /// Returns the way of that name.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, of)| *of == name).map(|(way, _)| way)
    }

    /// Returns its name in forms.
    pub(super) fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(way, _)| *way == self).map_or("", |(_, name)| name)
    }
}

/// All sign-ins.
pub(super) struct SignIns {
    pub(super) clock: Clock,
    pending: Mutex<BoundedMap<Arc<str>, Arc<SignIn>>>,
}

/// One sign-in.
pub(super) struct SignIn {
    /// Its id, which is part of its address on the page.
    pub(super) id: Arc<str>,
    pub(super) enrolment: Enrolment,
    pub(super) way: Way,
    /// The cookie that a browser returning from Entra must present. Its other cookie is not sent
    /// then (`SameSite=Strict`).
    pub(super) browser: String,
    /// The scheme and authority under which that browser has the page; empty for the other ways.
    pub(super) origin: String,
    pub(super) visitor: Visitor,
    pub(super) replace: bool,
    pub(super) began: Moment,
    pub(super) stage: Mutex<Stage>,
    pub(super) task: Mutex<Option<AbortHandle>>,
}

impl Drop for SignIn {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut() {
            task.abort();
        }
    }
}

/// The progress of a sign-in.
pub(super) enum Stage {
    /// The person is at Entra's page, or about to go there.
    Browser { request: Box<CodeRequest>, address: Url },
    /// The person enters the code on another device.
    Device { address: Url, code: String, until: Moment },
    /// Entra is being asked.
    Working,
    /// It failed.
    Failed(String),
    /// The sign-in is kept.
    Done { username: String, made: Made },
}

/// The first device password.
pub(super) enum Made {
    /// The password, which is shown until the page is left.
    Password { id: String, password: Password },
    /// The account already had one, or this one was already seen.
    Nothing,
    /// It could not be created. The sign-in is kept all the same.
    Failed(String),
}

/// What is shown of a sign-in.
pub(super) enum Shown {
    Browser { address: String },
    Device { address: String, code: String, seconds_left: u64 },
    Working,
    Failed(String),
    Done { username: String, password: Option<(String, String)>, problem: Option<String> },
}

impl SignIns {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, pending: Mutex::new(BoundedMap::new(MOST)) }
    }

    /// Returns a sign-in that this visitor began.
    pub(super) fn of(&self, visitor: &Visitor, id: &str) -> Option<Arc<SignIn>> {
        self.pending().peek(id).filter(|sign_in| sign_in.visitor.is(visitor)).cloned()
    }

    /// Returns the sign-in that a browser returns from, by the cookie that it was given for it.
    pub(super) fn of_browser(&self, id: &str, cookie: &str) -> Option<Arc<SignIn>> {
        let is_it = |secret: &str| {
            aws_lc_rs::constant_time::verify_slices_are_equal(secret.as_bytes(), cookie.as_bytes()).is_ok()
        };
        self.pending().peek(id).filter(|sign_in| is_it(&sign_in.browser)).cloned()
    }

    /// Returns the sign-in in a browser that the query of a return belongs to, by its `state`.
    pub(super) fn of_query(&self, query: &str) -> Option<Arc<SignIn>> {
        let is_it = |sign_in: &&Arc<SignIn>| match &*sign_in.stage() {
            Stage::Browser { request, .. } => sign_in.way == Way::Browser && request.read(query).is_ok(),
            _ => false,
        };
        self.pending().iter().map(|(_, sign_in)| sign_in).find(is_it).cloned()
    }

    /// Cancels a sign-in, or forgets an ended one.
    pub(super) fn end(&self, sign_in: &SignIn) {
        self.pending().remove(&sign_in.id);
    }

    /// Adds a sign-in. Each account has one, so a new one replaces the one before.
    pub(super) fn add(&self, sign_in: Arc<SignIn>) {
        let now = self.clock.now();
        let mut pending = self.pending();
        pending.retain(|_, other| {
            now.since(other.began) < PATIENCE + KEPT && other.enrolment.key != sign_in.enrolment.key
        });
        pending.insert(Arc::clone(&sign_in.id), sign_in);
    }

    fn pending(&self) -> MutexGuard<'_, BoundedMap<Arc<str>, Arc<SignIn>>> {
        self.pending.lock()
    }
}

impl SignIn {
    /// Returns the address of its page.
    pub(super) fn address(&self) -> String {
        self.visitor.at(&format!("/sign-in/{}", self.id))
    }

    /// Returns what is shown of it now.
    pub(super) fn shown(&self, now: Moment) -> Shown {
        let mut stage = self.stage();
        if matches!(*stage, Stage::Browser { .. }) && now.since(self.began) >= PATIENCE {
            *stage = failed(&SignInError::Expired, &self.enrolment.purpose);
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

    pub(super) fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock()
    }
}

pub(super) fn failed(error: &SignInError, purpose: &Purpose) -> Stage {
    let Failure { actor, message, remedy, .. } = person::explain(error, purpose);
    let who = match actor {
        // The reader, who is signing in on this page.
        Actor::ClientOwner | Actor::GatepostAdmin => String::new(),
        actor => format!("{}: ", actor.label()),
    };
    Stage::Failed(format!("{message}. Nothing was saved. To fix it: {who}{remedy}."))
}
