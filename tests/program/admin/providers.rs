//! An administrator signs accounts of other providers than Microsoft in on the page.

use gatepost_sandbox::{GoogleConfig, PlainConfig, ProviderHandle};

use crate::admin::http::{Answer as Page, Browser};
use crate::admin::sign_in::{at_entra, begin, come_back, finished, password};
use crate::admin::support::{World, microsoft};
use crate::sign_in::browser::{Answer, Browser as Person};

const GUS: &str = "gus@workspace.example";
const PIA: &str = "pia@plain.example";
const DORA: &str = "dora@codes.example";
const PASSWORD: &str = "a secret";

/// Google, a plain provider, and the same without a browser's endpoint.
async fn world() -> World {
    let sandbox = microsoft().await;
    let google = sandbox.start_google(GoogleConfig::default()).await.unwrap();
    google.add_account(GUS, PASSWORD);
    let plain = sandbox.start_plain(PlainConfig::default()).await.unwrap();
    plain.add_account(PIA, PASSWORD);
    plain.add_account(DORA, PASSWORD);
    let imap = |handle: &ProviderHandle| format!("hosts: {{imap: 'localhost:{}'}}", handle.imap().port());
    let of_plain = format!(
        "client_id: {}, scope: mail offline_access, token_url: '{base}/token', \
         device_url: '{base}/device_authorization', {}",
        plain.client_id(),
        imap(&plain),
        base = plain.base(),
    );
    let accounts = format!(
        "  - {{login: {GUS}, provider: google}}\n  - {{login: {PIA}, provider: plain}}\n  \
         - {{login: {DORA}, provider: codes}}\n\
         providers:\n  google: {{client_id: {}, client_secret: GOCSPX-sandbox, \
         authorize_url: '{base}/o/oauth2/v2/auth', token_url: '{base}/token', {}}}\n  \
         plain: {{authorize_url: '{}/authorize', {of_plain}}}\n  codes: {{grant: device_code, {of_plain}}}\n",
        google.client_id(),
        imap(&google),
        plain.base(),
        base = google.base(),
    );
    World::before(sandbox, &accounts).await
}

/// The page of a sign-in, which names its provider and nobody else.
async fn shown(visitor: &Browser, page: &str, provider: &str) -> Page {
    let shown = visitor.get(page).await;
    assert!(shown.body.contains(&format!("<td>{provider}</td>")), "{shown:?}");
    names_no_other(&shown.body);
    shown
}

fn names_no_other(body: &str) {
    assert!(!body.contains("Microsoft") && !body.contains("Entra"), "{body}");
}

#[tokio::test]
async fn a_browser_goes_to_the_provider_of_the_account_and_comes_back() {
    let world = world().await;
    let visitor = world.visitor().await;
    for (login, provider) in [(GUS, "Google"), (PIA, "plain")] {
        let page = begin(&visitor, login, "browser").await;
        let address = shown(&visitor, &page, provider).await.link(&format!("Continue to {provider}"));
        let back = at_entra(&world, &address, Answer::SignIn(login, PASSWORD)).await;
        let hop = come_back(&visitor, &back).await;
        assert_eq!(hop.status, 200, "{hop:?}");
        names_no_other(&hop.body);
        let done = finished(&visitor, &page).await;
        names_no_other(&done);
        assert!(world.imap(login, &password(&done)).await.is_ok());
    }
}

#[tokio::test]
async fn an_address_and_a_code_belong_to_the_provider_of_the_account() {
    let world = world().await;
    let visitor = world.visitor().await;
    let page = begin(&visitor, PIA, "paste").await;
    let asked = shown(&visitor, &page, "plain").await;
    let back = at_entra(&world, &asked.link("Open the sign-in page of plain"), Answer::SignIn(PIA, PASSWORD)).await;
    let paste = format!("{page}/paste");
    let fields = [("form", &*asked.form_token(&paste)), ("address", &format!("http://localhost{back}"))];
    assert_eq!(visitor.post(&paste, &fields).await.status, 303);
    assert!(world.imap(PIA, &password(&finished(&visitor, &page).await)).await.is_ok());

    // What is configured for the account is what the page begins with.
    let page = begin(&visitor, DORA, "").await;
    let asked = shown(&visitor, &page, "codes").await;
    let (address, code) = (asked.link("</a>, enter this code"), password(&asked.body));
    Person::new(&world.sandbox).enter(&address, &code, Answer::SignIn(DORA, PASSWORD)).await;
    assert!(world.imap(DORA, &password(&finished(&visitor, &page).await)).await.is_ok());
}

#[tokio::test]
async fn only_the_ways_of_the_provider_are_offered_and_another_is_explained() {
    let world = world().await;
    let visitor = world.visitor().await;
    let status = visitor.visit("/").await.body;
    for (login, browser, code) in [(GUS, true, false), (PIA, true, true), (DORA, false, true)] {
        let (_, rest) = status.split_once(&format!("aria-label=\"How {login} signs in\">")).unwrap();
        let ways = rest.split_once("</select>").unwrap().0;
        for (way, offered) in [("browser", browser), ("paste", browser), ("device", code)] {
            assert_eq!(ways.contains(&format!("value=\"{way}\"")), offered, "{login} {way}: {ways}");
        }
    }
    for (login, way, told) in
        [(GUS, "device", "no <code>device_url</code>"), (DORA, "browser", "no <code>authorize_url</code>")]
    {
        let answer = visitor.fill_in("/sign-in", &[("login", login), ("way", way)]).await;
        assert!(answer.status == 400 && answer.body.contains(told), "{login}: {answer:?}");
    }
}
