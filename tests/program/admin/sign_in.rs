//! An administrator signs accounts in on the page.

use crate::admin::http::{self, Browser};
use crate::admin::support::{ALICE, ANNA, ANNAS, World};
use crate::common::wait::until;
use crate::sign_in::browser::{Answer, Browser as Person};

/// Begins a sign-in; the page that it leads to.
pub(super) async fn begin(visitor: &Browser, login: &str, way: &str) -> String {
    let answer = visitor.fill_in("/sign-in", &[("login", login), ("way", way)]).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    answer.field("location").unwrap().to_owned()
}

/// Path and query of where Entra sends the browser.
pub(super) async fn at_entra(world: &World, address: &str, answer: Answer<'_>) -> String {
    let redirect = Person::new(&world.sandbox).answer(address, answer).await.unwrap();
    assert_eq!(redirect.host_str(), Some("localhost"));
    format!("{}?{}", redirect.path(), redirect.query().unwrap())
}

/// Follows the browser from the name that Entra takes to the address of the page.
pub(super) async fn come_back(browser: &Browser, back: &str) -> http::Answer {
    let answer = browser.get(back).await;
    let Some(there) = answer.field("location") else { return answer };
    assert_eq!(answer.status, 303, "{answer:?}");
    let (_, target) =
        there.strip_prefix("http://127.0.0.1:").unwrap_or_else(|| panic!("{there}")).split_once('/').unwrap();
    browser.get(&format!("/{target}")).await
}

/// The page of a sign-in of another session, at the path of this one.
async fn see_of_other(browser: &Browser, page: &str) -> u16 {
    browser.visit(&page[page.find("/sign-in/").unwrap()..]).await.status
}

pub(super) fn password(page: &str) -> String {
    let (_, rest) = page
        .split_once("<p class=\"secret\"><code")
        .and_then(|(_, rest)| rest.split_once('>'))
        .unwrap_or_else(|| panic!("no password: {page}"));
    rest.split_once('<').unwrap().0.to_owned()
}

/// The page once its sign-in is over.
pub(super) async fn finished(visitor: &Browser, page: &str) -> String {
    until("the sign-in is over", async || {
        let body = visitor.get(page).await.body;
        body.contains("has signed in.") || body.contains("class=\"problem\"")
    })
    .await;
    visitor.get(page).await.body
}

#[tokio::test]
async fn a_browser_that_comes_back_makes_the_password_that_a_mail_program_then_uses() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let page = begin(&visitor, ANNA, "browser").await;
    let shown = visitor.get(&page).await;
    for named in [ANNA, "contoso.example", world.sandbox.public_client_id()] {
        assert!(shown.body.contains(named), "{named}: {shown:?}");
    }
    let back = at_entra(&world, &shown.link("Continue to Microsoft"), Answer::SignIn(ANNA, ANNAS)).await;

    // Whoever else comes with the redirect: another session, or a browser without the cookie of
    // this sign-in.
    assert_eq!(come_back(&world.visitor().await, &back).await.status, 400);
    assert_eq!(come_back(&Browser::new(world.page), &back).await.status, 400);
    // Another sign-in's `state`, and a parameter twice.
    assert_eq!(come_back(&visitor, &format!("{back}x")).await.status, 400);
    let foreign = back.replace("state=", "state=x");
    assert_eq!(come_back(&visitor, &foreign).await.status, 400);

    // As from Entra's page: the cookie of the page itself stays behind.
    let strict = visitor.cookies.lock().unwrap().remove("gatepost").unwrap();
    let hop = come_back(&visitor, &back).await;
    assert_eq!(hop.status, 200, "{hop:?}");
    assert!(hop.body.contains(&format!("url={page}")), "{hop:?}");
    assert_eq!(hop.field("referrer-policy"), Some("no-referrer"));
    assert!(!hop.body.contains("code="), "{hop:?}");
    assert!(!visitor.cookies.lock().unwrap().contains_key("gatepost_sign_in"), "it was good for one return");
    visitor.cookies.lock().unwrap().insert("gatepost".to_owned(), strict);
    // A second time it is worth nothing.
    assert_eq!(come_back(&visitor, &back).await.status, 400);

    let done = finished(&visitor, &page).await;
    assert!(done.contains("User name") && done.contains("127.0.0.1, port <b>"), "{done}");
    let password = password(&done);
    let other = world.visitor().await;
    assert_eq!(other.get(&page).await.field("location"), Some("/login"), "another session sees nothing of it");
    assert_eq!(see_of_other(&other, &page).await, 404);
    let mut anna = world.imap(ANNA, &password).await.unwrap();
    assert!(anna.ask("SELECT INBOX").await.starts_with("a OK"));

    let end = format!("{page}/end");
    let token = visitor.get(&page).await.form_token(&end);
    assert_eq!(visitor.post(&end, &[("form", &token)]).await.status, 303);
    assert_eq!(visitor.get(&page).await.status, 404, "the password is shown no longer");
    assert!(visitor.visit("/").await.body.contains("class=\"pill good\">signed in<"));
}

#[tokio::test]
async fn an_address_of_a_browser_elsewhere_is_pasted() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let page = begin(&visitor, ANNA, "paste").await;
    let shown = visitor.get(&page).await;
    let back = at_entra(&world, &shown.link("Open the sign-in page of Microsoft"), Answer::SignIn(ANNA, ANNAS)).await;
    let paste = format!("{page}/paste");
    let token = shown.form_token(&paste);
    for wrong in ["http://localhost/", "http://localhost/?code=c&state=s", "nonsense"] {
        let answer = visitor.post(&paste, &[("form", &token), ("address", wrong)]).await;
        assert!(answer.status == 200 && answer.body.contains("That is not the address"), "{wrong}: {answer:?}");
    }
    let right = format!("  http://localhost{back}\n");
    assert_eq!(visitor.post(&paste, &[("form", &token), ("address", &right)]).await.status, 303);
    let done = finished(&visitor, &page).await;
    assert!(world.imap(ANNA, &password(&done)).await.is_ok());
}

#[tokio::test]
async fn a_code_is_shown_to_whoever_began_and_to_nobody_else() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let page = begin(&visitor, ANNA, "device").await;
    let shown = visitor.get(&page).await;
    let code = password(&shown.body);
    let address = shown.link("</a>, enter this code");
    assert_eq!(see_of_other(&world.visitor().await, &page).await, 404);
    assert_eq!(Browser::new(world.page).get(&page).await.status, 303);
    assert!(shown.body.contains("http-equiv=\"refresh\""), "it goes on without a script");
    Person::new(&world.sandbox).enter(&address, &code, Answer::SignIn(ANNA, ANNAS)).await;
    let done = finished(&visitor, &page).await;
    assert!(world.imap(ANNA, &password(&done)).await.is_ok());
}

#[tokio::test]
async fn the_wrong_person_and_a_refusal_leave_nothing_behind() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    for (answer, told) in [
        (Answer::SignIn(ALICE, crate::admin::support::ALICES), "needs <code>anna@contoso.example</code>"),
        (Answer::Decline, "Nothing was saved"),
    ] {
        let page = begin(&visitor, ANNA, "browser").await;
        let address = visitor.get(&page).await.link("Continue to Microsoft");
        let back = at_entra(&world, &address, answer).await;
        assert_eq!(come_back(&visitor, &back).await.status, 200);
        let failed = finished(&visitor, &page).await;
        assert!(failed.contains(told), "{told}: {failed}");
    }
    let status = visitor.visit("/status.json").await.body;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let anna = status["accounts"].as_array().unwrap().iter().find(|of| of["login"] == ANNA).unwrap();
    assert_eq!((&anna["sign_in"]["state"], &anna["device_passwords"]), (&"missing".into(), &0.into()));
    // Whose password Entra knows needs no sign-in, and who is not configured has none.
    let answer = visitor.fill_in("/sign-in", &[("login", ALICE), ("way", "device")]).await;
    assert!(answer.status == 400 && answer.body.contains("<code>grant: password</code>"), "{answer:?}");
}

#[tokio::test]
async fn a_new_sign_in_takes_the_place_of_the_one_before() {
    let world = World::new().await;
    let (first, second) = (world.visitor().await, world.visitor().await);
    let page = begin(&first, ANNA, "browser").await;
    let address = first.get(&page).await.link("Continue to Microsoft");
    let back = at_entra(&world, &address, Answer::SignIn(ANNA, ANNAS)).await;
    let other = begin(&second, ANNA, "browser").await;
    assert_eq!(first.get(&page).await.status, 404);
    assert_eq!(come_back(&first, &back).await.status, 400);
    assert_eq!(second.get(&other).await.status, 200);
}
