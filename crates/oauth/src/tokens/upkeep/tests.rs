use std::sync::Arc;

use tokio::time::sleep;

use super::*;
use crate::fake::{FakeEndpoint, Logged, Reply};
use crate::tokens::tests::moody::Moody;
use crate::tokens::tests::{self, account, address, application};
use gatepost_config::{Accounts, Application, Credential, Grant, LoginPattern, NotedSecret, Renewable};
use gatepost_core::clock::Clock;
use gatepost_core::secret::ClientSecret;

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test(start_paused = true)]
async fn sign_ins_and_ends_are_looked_at_once_an_hour_and_the_store_once_a_minute() {
    let log = Logged::begin();
    let (clock, store) = (Clock::manual(), Arc::new(Moody::default()));
    let secret = NotedSecret {
        secret: Renewable { value: Arc::new(ClientSecret::new("hush".into())), file: None },
        expires: Some(clock.unix_time().after(20 * DAY)),
    };
    let Application { issuer, client_id, .. } = Arc::into_inner(application()).unwrap();
    let application = Arc::new(Application { issuer, client_id, credential: Credential::Secrets(vec![secret]).into() });
    let of = |login, grant| Arc::new(account(LoginPattern::Address(address(login)), grant, &application));
    let accounts = Accounts::new(vec![
        of("anna@contoso.example", Grant::DeviceCode),
        of("scanner@contoso.example", Grant::ClientCredentials),
    ]);
    let entra = FakeEndpoint::new(|_| Reply::Silence);
    let tokens = tests::manager(accounts, &entra, Arc::clone(&store) as _, &clock);
    let upkeep = tokio::spawn(upkeep(Arc::downgrade(&tokens)));
    // Of the secret that expires, and of the address for which nobody has signed in.
    let said = || ["client secret expires", "nobody has signed in"].map(|words| log.count(words));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!((store.asked(), said()), ([1, 1], [1, 1]), "at once");
    sleep(Duration::from_secs(121)).await;
    assert_eq!((store.asked(), said()), ([3, 1], [1, 1]));
    clock.advance(DAY);
    sleep(Duration::from_secs(3600)).await;
    assert_eq!((store.asked(), said()), ([63, 2], [2, 1]), "each end once a day, and each address once");
    upkeep.abort();
}
