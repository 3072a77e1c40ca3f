//! What is examined: the running service, or a configuration that no service runs with.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::slots::Slots;
use super::step::{Outcome, Section, Step};
use crate::daemon::StartError;
use crate::daemon::control::Control;
use crate::daemon::generation::{Generation, Outbound, ProcessState};
use crate::session::journal::Journal;
use crate::session::{ListenerState, SessionContext};
use gatepost_config::{Config, State};
use gatepost_store::{MemoryStore, Store};

/// What is examined.
pub(crate) struct Facts {
    pub(super) config: Arc<Config>,
    pub(super) shared: Arc<SessionContext>,
    /// In the order of the configuration.
    pub(super) services: Vec<Arc<ListenerState>>,
    pub(super) outbound: Arc<Outbound>,
    /// The names and addresses of the open sockets; `None` when no service runs here.
    pub(super) listening: Option<Vec<(Arc<str>, SocketAddr)>>,
    /// Where a running service would have answered; empty when it has no socket, or this is it.
    pub(super) service_sockets: Vec<PathBuf>,
    /// The right to ask servers, shared with all other examinations of this process.
    pub(super) slots: Slots,
    /// Why the last reload was rejected.
    pub(super) rejected: Option<String>,
    /// Why the store could not be opened, which only happens without a service.
    pub(super) store_problem: Option<Step>,
    /// The store does not exist yet.
    pub(super) store_is_new: bool,
}

impl Facts {
    /// The running service, as it is now.
    pub(crate) fn of(control: &Control, slots: Slots) -> Self {
        let generation = control.0.generation.get();
        let listeners = control.listeners();
        Self {
            config: Arc::clone(&generation.config),
            shared: Arc::clone(&generation.shared),
            services: generation.services.clone(),
            outbound: Arc::clone(&generation.ways),
            listening: Some(listeners.iter().map(|(service, at)| (Arc::clone(&service.listener.name), *at)).collect()),
            service_sockets: Vec::new(),
            slots,
            rejected: control.last_reload().and_then(|reload| reload.outcome.err()),
            store_problem: None,
            store_is_new: false,
        }
    }

    /// A configuration without a service that answers at one of these sockets. The store is opened
    /// only if it exists.
    ///
    /// # Errors
    /// [`StartError`]: with these files no service would start.
    pub(crate) async fn alone(
        config: Config,
        server_name: Arc<str>,
        service_sockets: Vec<PathBuf>,
    ) -> Result<Self, StartError> {
        let config = Arc::new(config);
        let store_is_new =
            matches!(&config.state, State::Sqlite { directory, .. } if !gatepost_store::exists(directory));
        let (store, store_problem) = match store_is_new {
            true => (memory(), None),
            false => match gatepost_store::open(&config.state).await {
                Ok(store) => (store, None),
                Err(error) => {
                    // The error says what to do, often as which user.
                    let problem = Step::without_remedy(Section::Host, "", Outcome::Failed, error.to_string());
                    (memory(), Some(problem))
                }
            },
        };
        let journal = Journal::new(None);
        let outbound = Outbound::new(&config, &server_name, journal.metrics());
        let process = ProcessState::new(&config, &outbound, store, journal, server_name);
        let generation = Generation::new(Arc::clone(&config), &process, Some(outbound), None)?;
        Ok(Self {
            config,
            shared: generation.shared,
            services: generation.services,
            outbound: generation.ways,
            listening: None,
            service_sockets,
            slots: Slots::default(),
            rejected: None,
            store_problem,
            store_is_new,
        })
    }

    /// Whether a service runs; `None`: there is no socket at which to ask.
    pub(super) fn is_running(&self) -> Option<bool> {
        match &self.listening {
            Some(_) => Some(true),
            None => (!self.service_sockets.is_empty()).then_some(false),
        }
    }

    /// The file of the configuration, if it comes from one.
    pub(super) fn file(&self) -> Option<&Path> {
        let is_configuration =
            |path: &&Path| path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        self.config.files.last().map(std::path::PathBuf::as_path).filter(is_configuration)
    }
}

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::default())
}
