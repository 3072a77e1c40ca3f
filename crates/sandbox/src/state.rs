//! What a sandbox starts with, and what all its parts share once it runs.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::applications::Applications;
use super::audience::Audiences;
use super::certificate::Certificates;
use super::chaos::Weather;
use super::counters::LiveCounters;
use super::deliveries::Deliveries;
use super::directory::{Directory, SandboxAccount};
use super::entra::id_token_key::IdTokenKey;
use super::entra::sign_in::SignIns;
use super::exchange::ExchangeSettings;
use super::graph::concurrency::ConcurrentCalls;
use super::graph::drafts::Drafts;
use super::http::fault::Faults;
use super::mode::{EntraMode, Modes};
use super::platform::Platform;
use super::provider::{ForeignTokens, Provider, ProviderState, RefreshRules, Sealer};
use super::smtp_fault::SmtpFaults;
use super::store::Outbox;
use super::time::Timekeeper;
use super::token::{GRAPH_RESOURCES, Mint};
use gatepost_core::clock::Clock;
use gatepost_core::secret::ClientSecret;

/// What a sandbox starts with.
#[derive(Debug)]
pub struct SandboxConfig {
    /// Where to listen: a loopback address. Ports are the operating system's choice.
    pub address: IpAddr,
    /// The directory id of the one tenant.
    pub tenant_id: String,
    /// A verified domain of the tenant; mail for it is local, as is mail for the domain of any
    /// account.
    pub tenant_domain: String,
    /// An application that allows public client flows: ROPC without a secret.
    pub public_client_id: String,
    /// An application with a secret: client credentials, and ROPC with the secret.
    pub confidential_client_id: String,
    /// The secret of the confidential application.
    pub client_secret: ClientSecret,
    /// The client id of the user-assigned managed identity, which stands beside the system's own.
    pub user_assigned_client_id: String,
    /// Users with mailboxes; more can be added later.
    pub accounts: Vec<SandboxAccount>,
    /// How long a token lives.
    pub token_lifetime: Duration,
    /// Distinct wrong passwords until smart lock-out: 10 in the worldwide cloud, 3 for the US
    /// Government.
    pub lockout_threshold: u32,
    /// How long a device code is good: 15 minutes at Entra.
    pub device_code_lifetime: Duration,
    /// The least time between two polls with a device code, in whole seconds: 5 at Entra.
    pub device_code_interval: Duration,
    /// Decides about token lifetimes and lock-outs; a manual one is moved with
    /// [`super::Sandbox::advance`].
    pub clock: Clock,
}

impl Default for SandboxConfig {
    /// 127.0.0.1, tenant `contoso.example`, no accounts, tokens of one hour, ten failures, the
    /// system's clock. The client secret is `sandbox-secret`: the sandbox guards nothing.
    fn default() -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            tenant_id: "8b9d6c1e-52a4-4c0f-9d3e-0c6f7a1b2c3d".to_owned(),
            tenant_domain: "contoso.example".to_owned(),
            public_client_id: "0f7bd2c4-6f0e-4f6b-8a41-5d1c9e7a3b20".to_owned(),
            confidential_client_id: "c41a6e5d-93b7-4d28-b0f2-7e8d4a9c1f36".to_owned(),
            client_secret: ClientSecret::new("sandbox-secret".to_owned()),
            user_assigned_client_id: "5a2e8f31-6c4d-4b7a-9e10-3f2c8d7b6a59".to_owned(),
            accounts: Vec::new(),
            token_lifetime: Duration::from_secs(3_600),
            lockout_threshold: 10,
            device_code_lifetime: Duration::from_secs(900),
            device_code_interval: Duration::from_secs(5),
            clock: Clock::system(),
        }
    }
}

/// Google's refresh tokens do not rotate, and end after half a year without use. An account has 100
/// of one application.
const GOOGLE_RULES: RefreshRules =
    RefreshRules { rotates: false, unused: Duration::from_secs(180 * 24 * 3_600), lifetime: None, most: 100 };
/// What Google says of its access tokens.
const GOOGLE_LIFETIME: Duration = Duration::from_secs(3_599);
/// The plain provider rotates its refresh tokens unless a test says otherwise.
const PLAIN_RULES: RefreshRules = RefreshRules { rotates: true, most: 1_000, ..GOOGLE_RULES };

/// What all parts share.
pub(super) struct SandboxState {
    /// Where the sandbox listens.
    pub(super) address: IpAddr,
    pub(super) time: Timekeeper,
    /// Where Entra is, with a slash at its end.
    pub(super) authority: String,
    pub(super) mint: Mint,
    pub(super) sealer: Sealer,
    pub(super) google: ProviderState,
    pub(super) plain: ProviderState,
    pub(super) foreign: ForeignTokens,
    pub(super) sign_ins: SignIns,
    pub(super) id_token_key: IdTokenKey,
    pub(super) directory: Directory,
    pub(super) applications: Applications,
    pub(super) audiences: Audiences,
    pub(super) exchange: ExchangeSettings,
    pub(super) outbox: Outbox,
    pub(super) deliveries: Deliveries,
    pub(super) tally: LiveCounters,
    pub(super) certificates: Certificates,
    pub(super) platform: Platform,
    pub(super) modes: Modes,
    pub(super) http_faults: Faults,
    pub(super) smtp_faults: SmtpFaults,
    pub(super) weather: Weather,
    pub(super) concurrent_calls: ConcurrentCalls,
    pub(super) drafts: Drafts,
    /// `None`: everything that Graph offers here.
    graph_consent: Mutex<Option<Vec<String>>>,
    /// Where upload sessions are; `None`: at Graph itself.
    upload_host: Mutex<Option<String>>,
    may_read_application: AtomicBool,
    token_lifetime: Mutex<Duration>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl SandboxState {
    /// The state of a sandbox whose token endpoint is at `authority`, with its accounts.
    pub(super) fn new(config: SandboxConfig, authority: String) -> io::Result<Self> {
        let time = Timekeeper::new(config.clock);
        let now = time.unix_seconds();
        let directory = Directory::new(
            (config.tenant_id, config.tenant_domain),
            (config.public_client_id, config.confidential_client_id),
            config.client_secret,
            config.lockout_threshold,
        );
        for account in config.accounts {
            directory.add(account, now);
        }
        Ok(Self {
            authority,
            sign_ins: SignIns::new(config.device_code_lifetime, config.device_code_interval),
            id_token_key: IdTokenKey::default(),
            mint: Mint::new()?,
            sealer: Sealer::new()?,
            google: ProviderState::new("1//0", GOOGLE_RULES, GOOGLE_LIFETIME),
            plain: ProviderState::new("", PLAIN_RULES, Duration::from_secs(3_600)),
            foreign: ForeignTokens::default(),
            address: config.address,
            directory,
            applications: Applications::default(),
            audiences: Audiences::default(),
            exchange: ExchangeSettings::default(),
            outbox: Outbox::default(),
            deliveries: Deliveries::default(),
            tally: LiveCounters::default(),
            certificates: Certificates::generate(now)?,
            platform: Platform::new(&config.user_assigned_client_id),
            modes: Modes::default(),
            http_faults: Faults::default(),
            smtp_faults: SmtpFaults::default(),
            weather: Weather::default(),
            concurrent_calls: ConcurrentCalls::default(),
            drafts: Drafts::default(),
            graph_consent: Mutex::default(),
            upload_host: Mutex::default(),
            may_read_application: AtomicBool::new(false),
            token_lifetime: Mutex::new(config.token_lifetime),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            time,
        })
    }

    /// The state of a provider beside Microsoft.
    pub(super) fn provider(&self, provider: Provider) -> Option<&ProviderState> {
        match provider {
            Provider::Microsoft => None,
            Provider::Google => Some(&self.google),
            Provider::Plain => Some(&self.plain),
        }
    }

    pub(super) fn tally_of(&self, provider: Provider) -> &LiveCounters {
        self.provider(provider).map_or(&self.tally, |state| &state.tally)
    }

    pub(super) fn modes_of(&self, provider: Provider) -> &Modes {
        self.provider(provider).map_or(&self.modes, |state| &state.modes)
    }

    pub(super) fn entra_mode(&self) -> EntraMode {
        self.modes.entra()
    }

    /// What was consented to for an application at a resource; `None` is everything that the sandbox
    /// knows.
    pub(super) fn consent(&self, client_id: &str, resource: &str, of_user: bool) -> Option<Vec<String>> {
        let own = self.applications.consent(&self.directory, client_id, resource, of_user);
        if own.is_some() {
            return own;
        }
        if GRAPH_RESOURCES.contains(&resource) { self.graph_consent.lock().clone() } else { self.exchange.consent() }
    }

    /// Whether the application was given `Application.Read.All` at Graph.
    pub(super) fn may_read_application(&self) -> bool {
        self.may_read_application.load(Ordering::Relaxed)
    }

    pub(super) fn set_may_read_application(&self, may: bool) {
        self.may_read_application.store(may, Ordering::Relaxed);
    }

    pub(super) fn token_lifetime(&self) -> Duration {
        *self.token_lifetime.lock()
    }

    pub(super) fn set_graph_consent(&self, permissions: Option<Vec<String>>) {
        *self.graph_consent.lock() = permissions;
    }

    pub(super) fn upload_host(&self) -> Option<String> {
        self.upload_host.lock().clone()
    }

    pub(super) fn set_upload_host(&self, host: Option<String>) {
        *self.upload_host.lock() = host;
    }

    pub(super) fn set_token_lifetime(&self, lifetime: Duration) {
        *self.token_lifetime.lock() = lifetime;
    }
}
