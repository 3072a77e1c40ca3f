//! Logins to accounts for which a person has signed in: the password is checked first, and the
//! mailbox is the account's own.

use super::*;
use gatepost_core::secret::RefreshToken;
use gatepost_oauth::tokens::sign_ins;
use gatepost_store::{MemoryStore, SignIn, Store};

const ANNA: &str = "anna@contoso.example";
const RECEPTION: &str = "reception@contoso.example";

struct World {
    clock: Clock,
    entra: Arc<FakeEndpoint>,
    store: Arc<MemoryStore>,
    gate: Arc<Authenticator>,
}

/// `anna@` signs in for herself and for `reception@`.
fn accounts() -> Accounts {
    let application = Arc::new(Application {
        issuer: gatepost_config::Issuer::Entra(gatepost_config::Entra {
            authority: Url::parse("https://login.example/").unwrap(),
            tenant: "contoso.example".into(),
            cloud: Cloud::Worldwide,
        }),
        client_id: "app".into(),
        credential: Arc::default(),
    });
    let account = |login, grant, signs_in_as: Option<&str>| {
        Arc::new(Account {
            pattern: LoginPattern::Address(address(login)),
            aliases: Vec::new(),
            grant,
            passwords: vec![LOCAL_HASH.clone()],
            application: Arc::clone(&application),
            scope: Some("https://outlook.office.com/SMTP.Send".into()),
            mailbox: None,
            mailboxes: Mailboxes::default(),
            sending: Sending::default(),
            signs_in_as: signs_in_as.map(address),
            token_expiry_margin: minutes(5),
        })
    };
    Accounts::new(vec![
        account(ANNA, Grant::AuthorizationCode, None),
        account(RECEPTION, Grant::DeviceCode, Some(ANNA)),
    ])
}

impl World {
    fn new(entra: Arc<FakeEndpoint>) -> Self {
        let (clock, store) = (Clock::manual(), Arc::<MemoryStore>::default());
        let config = Arc::new(fake::config(accounts(), Limits::default()));
        let endpoint = Arc::clone(&entra) as Arc<dyn TokenEndpoint>;
        let gate = Authenticator::new(config, endpoint, Arc::clone(&store) as _, clock.clone());
        Self { clock, entra, store, gate }
    }

    /// Like [`Self::new`], after Anna has signed in. Each exchange brings a new refresh token.
    async fn signed_in() -> Self {
        let world = Self::new(FakeEndpoint::new(|_| Reply::Rotated(3600)));
        world.sign_in(ANNA, "r0").await;
        world
    }

    /// Does what `gatepost login` does, in another process.
    async fn sign_in(&self, login: &str, refresh_token: &str) {
        let now = self.clock.unix_time();
        let sign_in = SignIn {
            refresh_token: RefreshToken::new(refresh_token.into()),
            tenant_id: "tid".into(),
            object_id: "oid".into(),
            username: ANNA.into(),
            scope: "s".into(),
            signed_in_at: now,
            rotated_at: now,
            refused: None,
        };
        let (account, login) = self.gate.config().accounts.find(&LoginName::parse(login).unwrap()).unwrap();
        self.store.put_sign_in(&sign_ins::key(&account, &login), &sign_in, None).await.unwrap();
    }

    async fn login(&self, login: &str, password: &str) -> Result<AuthorizedLogin, Failure> {
        let (login, password) = (LoginName::parse(login).unwrap(), Password::new(password.into()));
        let (source, protocol) = (VICTIM.into(), Protocol::Smtp);
        let request = LoginRequest {
            login: &login,
            acting_as: None,
            password: &password,
            source,
            protocol,
            resource: Resource::Exchange,
        };
        self.gate.admit(request, Duration::ZERO).await
    }

    fn sent(&self) -> Vec<String> {
        self.entra.asked().iter().map(|form| form["refresh_token"].clone()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_right_password_nobody_comes_near_the_sign_in() {
    let world = World::signed_in().await;
    world.login(ANNA, LOCAL_PASSWORD).await.unwrap();
    for _ in 0..20 {
        let failure = world.login(ANNA, "wrong").await.unwrap_err();
        assert!(matches!(failure.refusal, Refusal::InvalidCredentials | Refusal::Unavailable), "{failure}");
    }
    assert_eq!(world.entra.count(), 1);
    assert!(world.login(ANNA, LOCAL_PASSWORD).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_shared_mailbox_is_opened_with_the_token_of_the_person_who_signed_in_for_it() {
    let world = World::new(FakeEndpoint::new(|_| Reply::Rotated(3600)));
    world.sign_in(RECEPTION, "annas").await;
    let admission = world.login(RECEPTION, LOCAL_PASSWORD).await.unwrap();
    assert_eq!(admission.bearer.user.as_str(), RECEPTION, "the mailbox, not the person");
    assert_eq!(world.sent(), ["annas"]);
    // Anna's own mailbox has a sign-in of its own.
    assert_eq!(world.login(ANNA, LOCAL_PASSWORD).await.unwrap_err().cause.name(), "sign-in-needed");
}
