//! Identifies a session: its id, its client's address, and the account that logged in.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::login::device::KnownPassword;
use crate::login::{AuthorizedLogin, Principal};
use gatepost_core::account::MailAddress;
use gatepost_core::jitter;

/// The connection that a log line is about.
#[derive(Clone)]
pub(super) struct ConnectionInfo {
    pub(super) session: Arc<str>,
    pub(super) listener: Arc<str>,
    pub(super) peer: SocketAddr,
    pub(super) traits: Arc<Mutex<ClientTraits>>,
}

/// How a client connects, as far as that is known.
#[derive(Clone, Debug, Default)]
pub(super) struct ClientTraits {
    /// The version of TLS; empty: none.
    pub(super) tls: &'static str,
    /// How it logs in; empty: it has not tried.
    pub(super) method: &'static str,
}

impl ConnectionInfo {
    /// Describes a new connection to this listener.
    pub(super) fn new(listener: &Arc<str>, peer: SocketAddr) -> Self {
        Self { session: session_id(), listener: Arc::clone(listener), peer, traits: Arc::default() }
    }

    /// Returns what is known of the client.
    pub(super) fn traits(&self) -> ClientTraits {
        self.traits.lock().clone()
    }

    /// Notes something about the client.
    pub(super) fn note(&self, change: impl FnOnce(&mut ClientTraits)) {
        change(&mut self.traits.lock());
    }
}

/// The account that logged in, and its device password, if it was one.
pub(super) struct SessionUser {
    pub(super) account: Arc<str>,
    pub(super) device: Option<Arc<KnownPassword>>,
    /// The mailbox, when it is not named like the account.
    pub(super) mailbox: Option<Arc<str>>,
}

impl SessionUser {
    /// Whether this is the mailbox that the session has opened.
    pub(super) fn opens(&self, mailbox: &MailAddress) -> bool {
        mailbox.as_str() == self.mailbox.as_deref().unwrap_or(&self.account)
    }
}

impl From<&AuthorizedLogin> for SessionUser {
    fn from(admission: &AuthorizedLogin) -> Self {
        let AuthorizedLogin { login, bearer, device, .. } = admission;
        let mailbox = (bearer.user != *login).then(|| bearer.user.as_str().into());
        Self { account: login.as_str().into(), device: device.clone(), mailbox }
    }
}

impl SessionUser {
    /// The user of a session that needs no token.
    pub(super) fn verified(principal: &Principal, device: Option<Arc<KnownPassword>>) -> Self {
        let Principal { login, mailbox, .. } = principal;
        let mailbox = (mailbox != login).then(|| mailbox.as_str().into());
        Self { account: login.as_str().into(), device, mailbox }
    }

    /// The user of a session without a device password, in the mailbox of the same name.
    pub(super) fn named(account: &str) -> Self {
        Self { account: account.into(), device: None, mailbox: None }
    }

    /// Returns the device password for a log line, which omits the field when there is none.
    pub(super) fn device(&self) -> Option<tracing::field::DisplayValue<&KnownPassword>> {
        self.device.as_deref().map(tracing::field::display)
    }
}

/// Returns a short name for a session, for log lines and for the client: eight characters without
/// look-alikes. It is different for each session of a process, and each process starts at a
/// different one.
fn session_id() -> Arc<str> {
    const ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
    static START: OnceLock<u64> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let start = START.get_or_init(jitter::random);
    let count = start.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed));
    // Multiplying by an odd number keeps different counts different in the low 40 bits.
    let mixed = count.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (0..8).map(|at| char::from(ALPHABET[(mixed >> (5 * at) & 31) as usize])).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;
    use crate::login::issue::{self, Order};
    use crate::login::{Authenticator, LoginRequest};
    use gatepost_config::{
        Account, Accounts, Application, Cloud, Entra, Grant, Issuer, Limits, LoginPattern, Mailboxes, Resource, Sending,
    };
    use gatepost_core::clock::Clock;
    use gatepost_core::protocol::Protocol;
    use gatepost_oauth::fake::{self, FakeEndpoint};
    use gatepost_store::MemoryStore;

    #[test]
    fn session_ids_do_not_repeat() {
        let ids: HashSet<_> = (0..10_000).map(|_| super::session_id()).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.len() == 8));
    }

    #[test]
    fn a_user_opens_the_mailbox_named_like_the_account_or_another_one() {
        let address = |text| MailAddress::parse(text).unwrap();
        let (alice, shared) = (address("alice@contoso.example"), address("shared@contoso.example"));
        let mut user = SessionUser::named(alice.as_str());
        assert!(user.opens(&alice) && !user.opens(&shared) && user.device().is_none());
        user.mailbox = Some(shared.as_str().into());
        assert!(user.opens(&shared) && !user.opens(&alice));
    }

    #[tokio::test]
    async fn a_verified_user_is_shown_with_the_device_and_with_a_mailbox_of_another_name() {
        let address = |text| MailAddress::parse(text).unwrap();
        let alice = address("alice@contoso.example");
        let account = |mailbox: Option<MailAddress>| {
            let issuer = Issuer::Entra(Entra {
                authority: "https://login.example/".parse().unwrap(),
                tenant: "contoso.example".into(),
                cloud: Cloud::Worldwide,
            });
            let application = Application { issuer, client_id: "app".into(), credential: Arc::default() };
            Arc::new(Account {
                pattern: LoginPattern::Address(alice.clone()),
                aliases: Vec::new(),
                grant: Grant::ClientCredentials,
                passwords: Vec::new(),
                application: Arc::new(application),
                scope: None,
                mailbox,
                mailboxes: Mailboxes::default(),
                sending: Sending::default(),
                signs_in_as: None,
                token_expiry_margin: Duration::ZERO,
            })
        };
        let store = Arc::<MemoryStore>::default();
        let order = Order {
            login: alice.clone(),
            name: "ERP".into(),
            protocols: Vec::new(),
            from: Vec::new(),
            expires_at: None,
        };
        let (record, password) = issue::generate(&*store, order, Clock::system().unix_time()).await.unwrap();
        for (mailbox, shown) in
            [(None, None), (Some(address("office@contoso.example")), Some("office@contoso.example"))]
        {
            let config = fake::config(Accounts::new(vec![account(mailbox)]), Limits::default());
            let (endpoint, store) = (FakeEndpoint::with_password("right"), Arc::clone(&store));
            let gate = Authenticator::new(Arc::new(config), endpoint, store, Clock::system());
            let request = LoginRequest {
                login: alice.as_login(),
                acting_as: None,
                password: &password,
                source: [192, 0, 2, 1].into(),
                protocol: Protocol::Smtp,
                resource: Resource::Exchange,
            };
            let (principal, device) = gate.verify(request).await.unwrap().unwrap();
            let user = SessionUser::verified(&principal, device);
            assert_eq!((&*user.account, user.mailbox.as_deref()), (alice.as_str(), shown));
            assert_eq!(user.device().unwrap().to_string(), format!("{} (ERP)", record.id));
        }
    }
}
