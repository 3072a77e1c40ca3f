use std::sync::Arc;

use url::Url;

use super::*;
use crate::login::tests::{LOCAL_PASSWORD, VICTIM, World, address, config};
use gatepost_config::{
    Accounts, ClientAuthentication, Cloud, Credential, Entra, Issuer, Limits, LoginPattern, Mailboxes, NotedSecret,
    Renewable, Tenant,
};
use gatepost_core::clock::UnixTime;
use gatepost_core::secret::{ClientSecret, Password};
use gatepost_oauth::fake::{self, FakeEndpoint, provider_application};
use gatepost_store::MemoryStore;

const ANNA: &str = "anna@contoso.example";

fn name(text: &str) -> LoginName {
    LoginName::parse(text).unwrap()
}

/// The accounts of the other tests, with this one before them.
fn gate(account: Account) -> Arc<Authenticator> {
    let mut all = vec![Arc::new(account)];
    all.extend(config(Limits::default()).accounts.entries().iter().skip(1).cloned());
    let config = Arc::new(fake::config(Accounts::new(all), Limits::default()));
    let endpoint = FakeEndpoint::with_password("right") as Arc<dyn TokenEndpoint>;
    Authenticator::new(config, endpoint, Arc::new(MemoryStore::default()), Clock::manual())
}

/// An account of Anna's, of this grant and application.
fn account(grant: Grant, application: &Arc<Application>) -> Account {
    let fax = config(Limits::default()).accounts.find(&name("fax@contoso.example")).unwrap().0;
    let pattern = LoginPattern::Address(address(ANNA));
    Account { pattern, grant, application: Arc::clone(application), ..Arc::into_inner(fax).unwrap() }
}

fn application(tenant: Tenant, credential: Credential) -> Arc<Application> {
    let authority = Url::parse("https://login.example/").unwrap();
    let issuer = Issuer::Entra(Entra { authority, tenant, cloud: Cloud::Worldwide });
    Arc::new(Application { issuer, client_id: "app".into(), credential: Arc::new(credential) })
}

async fn admit(gate: &Arc<Authenticator>, password: &str) -> AuthorizedLogin {
    let (login, password) = (name(ANNA), Password::new(password.into()));
    let request = LoginRequest {
        login: &login,
        acting_as: None,
        password: &password,
        source: VICTIM.into(),
        protocol: Protocol::Imap,
        resource: Resource::Exchange,
    };
    gate.admit(request, Duration::ZERO).await.unwrap()
}

#[test]
fn a_client_may_ask_for_one_mailbox_by_two_names_and_for_two_by_none() {
    let (sales, support) = (address("sales@contoso.example"), address("support@contoso.example"));
    let account = Account {
        mailboxes: Mailboxes::Listed(vec![sales.clone(), support.clone()]),
        ..account(Grant::ClientCredentials, &application(Tenant::Organizations, Credential::None))
    };
    let own = address(ANNA);
    for (one, other, opened) in [
        (None, None, Some(&own)),
        (Some(&own), None, Some(&own)),
        (Some(&sales), None, Some(&sales)),
        (None, Some(&sales), Some(&sales)),
        (Some(&sales), Some(&sales), Some(&sales)),
        (Some(&own), Some(&sales), Some(&sales)),
        (Some(&sales), Some(&own), Some(&sales)),
        (Some(&sales), Some(&support), None),
        (Some(&support), Some(&sales), None),
    ] {
        let names = [one, other].map(|mailbox| mailbox.map(MailAddress::as_login));
        assert_eq!(mailbox(&account, &own, names).ok().as_ref(), opened, "{one:?} {other:?}");
    }
}

#[tokio::test]
async fn a_name_is_recognized_by_its_account_or_its_domain_and_has_the_account_s_address() {
    let gate = World::new(FakeEndpoint::with_password("unused")).gate;
    for (login, of) in [
        ("bobby", Some("bob@contoso.example")),
        ("print", Some("printer@contoso.example")),
        ("Anybody@Contoso.example", Some("anybody@contoso.example")),
        ("nobody", None),
        ("nobody@elsewhere.example", None),
    ] {
        assert_eq!(gate.recognizes(&name(login)), of.is_some(), "{login}");
        assert_eq!(gate.address_of(&name(login)), of.map(address), "{login}");
    }
}

#[tokio::test]
async fn what_expires_is_listed_for_all_applications_and_for_one() {
    let secret = |expires| NotedSecret {
        secret: Renewable { value: Arc::new(ClientSecret::new("hush".into())), file: None },
        expires,
    };
    let (end, credential) = (Some(UnixTime(7)), Credential::Secrets(vec![secret(Some(UnixTime(7))), secret(None)]));
    let application = application(Tenant::Organizations, credential);
    let gate = gate(account(Grant::ClientCredentials, &application));
    let listed: Vec<_> =
        gate.expiries().await.into_iter().map(|of| (of.client_id, of.what, Some(of.expires))).collect();
    assert_eq!(listed, [("app".to_owned(), "client secret 1".to_owned(), end)]);
    let ends: Vec<_> = gate.ends(&application).await.into_iter().map(|of| of.expires).collect();
    assert_eq!(ends, [end, None]);
}

#[tokio::test(start_paused = true)]
async fn a_login_is_personal_where_only_personal_accounts_sign_in() {
    for (tenant, is_personal) in [(Tenant::Consumers, true), (Tenant::Organizations, false)] {
        let gate = gate(account(Grant::Password, &application(tenant, Credential::None)));
        assert_eq!(gate.is_personal(&admit(&gate, "right").await), is_personal);
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_service_account_needs_a_token_of_its_own_for_each_mailbox() {
    let gate = gate(account(Grant::ClientCredentials, &application(Tenant::Organizations, Credential::None)));
    let admission = admit(&gate, LOCAL_PASSWORD).await;
    let (own, other) = (address(ANNA), address("sales@contoso.example"));
    let to = async |admission: &AuthorizedLogin, mailbox| {
        let obtained = gate.admit_to(mailbox, admission, Resource::Exchange, Duration::ZERO).await.unwrap();
        obtained.map(|admitted| admitted.bearer.user)
    };
    assert_eq!(to(&admission, &other).await, None, "Entra's applications open all of them with one");
    let application = provider_application(ClientAuthentication::Post, &[]);
    let of = |grant| AuthorizedLogin { account: Arc::new(account(grant, &application)), ..admission.clone() };
    assert_eq!(to(&of(Grant::DeviceCode), &other).await, None, "a person's token is for the person's mailbox");
    assert_eq!(to(&of(Grant::ClientCredentials), &own).await, None);
    assert_eq!(to(&of(Grant::ClientCredentials), &other).await, Some(other));
}

#[tokio::test]
async fn the_owner_of_a_mailbox_is_found_by_what_an_account_opens_as_well() {
    let application = application(Tenant::Organizations, Credential::None);
    let (reception, sales) = (address("reception@fabrikam.example"), address("sales@fabrikam.example"));
    let opens = |mailbox: Option<&MailAddress>, listed: &[&MailAddress]| {
        gate(Account {
            mailbox: mailbox.cloned(),
            mailboxes: Mailboxes::Listed(listed.iter().copied().cloned().collect()),
            ..account(Grant::ClientCredentials, &application)
        })
    };
    for (gate, mailbox, is_found) in [
        (opens(Some(&reception), &[]), &reception, true),
        (opens(None, &[&sales, &reception]), &reception, true),
        (opens(Some(&sales), &[]), &reception, false),
        (opens(None, &[&sales]), &reception, false),
    ] {
        match gate.owner(mailbox) {
            Ok(owner) => {
                assert!(is_found);
                assert_eq!((&owner.login, &owner.mailbox), (mailbox, mailbox));
                assert!(matches!(&owner.account.pattern, LoginPattern::Address(of) if of.as_str() == ANNA));
            }
            Err(failure) => assert_eq!((is_found, failure.cause.name()), (false, "unknown-account")),
        }
    }
}
