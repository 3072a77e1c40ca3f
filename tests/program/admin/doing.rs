//! What is shown, and what is done on the page.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::admin::support::{ALICE, ALICES, ANNA, World};
use crate::common::directory::Directory;
use crate::common::wait::until;

#[tokio::test]
async fn sessions_failures_and_accounts_are_shown_as_they_are() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let mut alice = world.imap(ALICE, ALICES).await.unwrap();
    assert!(alice.ask("NOOP").await.starts_with("a OK"));
    for _ in 0..2 {
        assert!(world.imap(ALICE, "wrong-password").await.is_err());
    }
    assert!(world.imap("'<i>'@unknown.example", "x").await.is_err());
    let name = [("login", ANNA), ("name", "<script>alert(1)</script>")];
    assert!(!visitor.fill_in("/passwords/add", &name).await.body.contains("<script>alert"));
    let page = visitor.visit("/").await.body;
    assert!(!page.contains("<script>alert"), "{page}");
    assert!(page.contains("&#60;script&#62;alert(1)&#60;/script&#62;"), "{page}");
    assert!(page.contains("href=\"#attention\">Needs attention (1)<"), "{page}");
    assert!(page.contains(&format!("<a href=\"#accounts\">{ANNA} needs a sign-in</a>")), "{page}");

    let status: serde_json::Value = serde_json::from_str(&visitor.visit("/status.json").await.body).unwrap();
    assert_eq!(status["ready"], true);
    assert_eq!(status["sessions"][0]["account"], ALICE);
    assert!(status["sessions"][0]["bytes_received"].as_u64().unwrap() > 0, "while it lives: {status:#}");
    let wrong = status["failures"].as_array().unwrap().iter().find(|of| of["cause"] == "wrong-password").unwrap();
    assert_eq!((&wrong["count"], &wrong["account"]), (&2.into(), &ALICE.into()), "{wrong:#}");
    let account = |login: &str| {
        status["accounts"]
            .as_array()
            .unwrap()
            .iter()
            .find(|of| of["login"] == login)
            .unwrap_or_else(|| panic!("{status:#}"))
    };
    assert_eq!(account(ALICE)["grant"], "password");
    assert!(account(ALICE)["tokens"][0]["seconds_left"].as_u64().unwrap() > 600);
    assert_eq!(account(ANNA)["sign_in"]["state"], "missing");
    assert_eq!((&status["logins_accepted"], &status["logins_refused"]), (&1.into(), &3.into()));
    assert_eq!(status["listeners"][0]["sessions"], 1);
}

/// What a scanner of ports does is shown, and is no reason to act.
#[tokio::test]
async fn connections_that_fail_before_their_login_are_shown_and_need_nobody() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let before = visitor.visit("/status.json").await.body.contains("\"needs-attention\"");
    for said in [&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        for _ in 0..2 {
            let mut socket = TcpStream::connect(world.imap).await.unwrap();
            socket.write_all(said).await.unwrap();
            let _broke = socket.read_to_end(&mut Vec::new()).await;
        }
    }
    let status =
        async || -> serde_json::Value { serde_json::from_str(&visitor.visit("/status.json").await.body).unwrap() };
    let count = |status: &serde_json::Value, cause: &str| {
        let failures = status["failures"].as_array().unwrap();
        failures.iter().find(|of| of["cause"] == cause).map_or(0, |of| of["count"].as_u64().unwrap())
    };
    until("both are shown", async || {
        let status = status().await;
        count(&status, "http") == 2 && count(&status, "tls-on-plain-port") == 2
    })
    .await;
    let page = visitor.visit("/").await.body;
    assert!(page.contains("HTTP request came to a listener for IMAP"), "{page}");
    let after = visitor.visit("/status.json").await.body.contains("\"needs-attention\"");
    assert_eq!(before, after);
}

#[tokio::test]
async fn a_device_password_made_on_the_page_opens_the_mailbox_until_it_is_revoked() {
    let world = World::with("  - {login: fax@contoso.example, grant: authorization_code}\n").await;
    let visitor = world.visitor().await;
    let add = |fields: &'static [(&'static str, &'static str)]| visitor.fill_in("/passwords/add", fields);
    for (fields, told) in [
        (&[("login", "alice@contoso.example"), ("name", "Phone")][..], "<code>grant: password</code>"),
        (&[("login", ANNA), ("name", "")], "The name is empty"),
        (&[("login", ANNA), ("name", "Phone"), ("from", "10.0.0.0/99")], "10.0.0.0/99"),
        (&[("login", ANNA), ("name", "Phone"), ("expires", "1999-01-01")], "expired"),
        (&[("login", "a b"), ("name", "Phone")], ""),
    ] {
        let answer = add(fields).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.body.contains(told), "{told}: {answer:?}");
        for (_, entered) in fields {
            assert!(answer.body.contains(&format!("value=\"{entered}\"")), "what was entered is kept: {answer:?}");
        }
    }
    let answer = add(&[("login", ANNA), ("name", "Phone"), ("protocol", "pop3"), ("expires", "never")]).await;
    assert!(answer.body.contains("value=\"pop3\" checked"), "{answer:?}");
    assert!(
        answer.body.contains("<p class=\"wrong\" role=\"alert\"><code>never</code> is not a day</p>"),
        "{answer:?}"
    );
    let answer =
        add(&[("login", ANNA), ("name", "Phone"), ("protocol", "imap"), ("protocol", "smtp"), ("from", "127.0.0.0/8")])
            .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let password = answer.body.split_once("<code id=\"new-password\">").unwrap().1.split_once('<').unwrap().0;
    assert!(answer.body.contains(&format!("port <b>{}</b>", 0)) || answer.body.contains("IMAP"), "{answer:?}");
    // It is right, but nobody has signed in: not a matter of the password.
    let reply = world.imap(ANNA, password).await.err().unwrap();
    assert!(reply.contains("CONTACTADMIN"), "{reply}");
    let page = visitor.visit("/").await.body;
    assert!(page.contains("Phone") && page.contains("IMAP, SMTP") && page.contains("from 127.0.0.0/8"), "{page}");
    assert!(!page.contains(password), "it was shown once");

    let id = page.split_once("Revoke “Phone”").unwrap().0.rsplit_once("name=\"id\" value=\"").unwrap().1;
    let id = id.split_once('"').unwrap().0.to_owned();
    assert_eq!(visitor.fill_in("/passwords/revoke", &[("id", &id)]).await.status, 303);
    until("the password is refused", async || {
        world.imap(ANNA, password).await.err().is_some_and(|reply| reply.contains("AUTHENTICATIONFAILED"))
    })
    .await;
}

#[tokio::test]
async fn reading_the_configuration_again_says_when_it_cannot() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let answer = visitor.fill_in("/reload", &[]).await;
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(answer.body.contains("stays in use"), "{answer:?}");
}

#[tokio::test]
async fn a_session_that_is_ended_on_the_page_ends_in_order() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let directory = Directory::new();
    let files = [directory.write("c.pem", made.cert.pem()), directory.write("c.key", made.signing_key.serialize_pem())];
    let [certificate, key] = files.each_ref().map(|path| path.display());
    let tls = format!("bind: '127.0.0.1:0', tls: implicit, certificate: '{certificate}', private_key: '{key}'");
    let world = World::with_listeners(&format!(
        "  pop3: {{{tls}, upstream: graph, graph: 'localhost:{{graph}}'}}\n  \
         smtp: {{{tls}, upstream: 'localhost:{{smtp}}', legacy: true}}\n"
    ))
    .await;
    drop(directory);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(gatepost_net::tls::provider());
    let config = config.with_safe_default_protocol_versions().unwrap();
    let connector = TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
    let visitor = world.visitor().await;
    let plain = STANDARD.encode(format!("\0{ALICE}\0{ALICES}"));
    let has_session = async || visitor.visit("/").await.body.contains("name=\"id\"");
    for (protocol, login) in
        [("pop3", format!("USER {ALICE}\r\nPASS {ALICES}\r\n")), ("smtp", format!("EHLO x\r\nAUTH PLAIN {plain}\r\n"))]
    {
        let socket = TcpStream::connect(world.listeners[protocol]).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = connector.connect(name, socket).await.unwrap();
        client.write_all(login.as_bytes()).await.unwrap();
        until("its session is shown", has_session).await;
        let page = visitor.visit("/").await.body;
        let id = page.split_once("name=\"id\" value=\"").unwrap().1.split_once('"').unwrap().0;
        assert_eq!(visitor.fill_in("/sessions/end", &[("id", id)]).await.status, 303);
        // Without close_notify it is an error (`UnexpectedEof`).
        let ended = client.read_to_end(&mut Vec::new()).await;
        assert!(ended.is_ok(), "{protocol}: {ended:?}");
        until("its session is gone", async || !has_session().await).await;
    }
}

#[tokio::test]
async fn each_account_is_shown_with_the_wrong_passwords_that_count() {
    let world = World::with(&format!("  - {{login: {ALICE}}}\n")).await;
    let visitor = world.visitor().await;
    let form = format!("action=\"{}\"", visitor.at("/accounts/unlock"));
    let shown = async || {
        let status: serde_json::Value = serde_json::from_str(&visitor.visit("/status.json").await.body).unwrap();
        let accounts = status["accounts"].as_array().unwrap().iter();
        let counted = accounts.map(|of| (of["login"].to_string(), of["wrong_passwords"].as_u64().unwrap()));
        let counted: Vec<_> = counted.filter(|(_, wrong)| *wrong > 0).collect();
        let page = visitor.visit("/").await.body;
        let accounts = page.split_once("<section id=\"accounts\"").unwrap().1.split_once("</section>").unwrap().0;
        (counted, accounts.matches(&form).count())
    };
    assert_eq!(shown().await, (vec![], 0));
    // The same one again counts once.
    for guess in ["one", "two", "two", "three"] {
        assert!(world.imap(ALICE, guess).await.is_err());
    }
    assert_eq!(shown().await, (vec![(format!("\"{ALICE}\""), 3)], 1));
    let answer = visitor.fill_in("/accounts/unlock", &[("login", ALICE)]).await;
    assert!(answer.body.contains("3 wrong passwords no longer count"), "{answer:?}");
    assert_eq!(shown().await, (vec![], 0));
}

#[tokio::test]
async fn an_account_whose_guesses_are_spent_is_unlocked_on_the_page() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let form = format!("action=\"{}\"", visitor.at("/accounts/unlock"));
    assert!(!visitor.visit("/").await.body.contains(&form), "nothing is spent");
    let guesses = (0..20).map(|number| format!("guess {number}"));
    for guess in guesses {
        assert!(world.imap(ALICE, &guess).await.is_err());
    }
    let reply = world.imap(ALICE, ALICES).await.err().unwrap();
    assert!(reply.contains("UNAVAILABLE"), "the budget is spent: {reply}");
    assert!(visitor.visit("/").await.body.contains(&form));

    let without_form = visitor.post(&visitor.at("/accounts/unlock"), &[("login", ALICE)]).await;
    assert_eq!(without_form.status, 403, "{without_form:?}");
    let answer = visitor.fill_in("/accounts/unlock", &[("login", "no name")]).await;
    assert!(answer.status == 400 && answer.body.contains("was not unlocked"), "{answer:?}");
    let answer = visitor.fill_in("/accounts/unlock", &[("login", ALICE)]).await;
    assert!(answer.status == 200 && answer.body.contains("no longer count"), "{answer:?}");
    assert!(world.imap(ALICE, ALICES).await.is_ok());
    let audit = world.socket.with_file_name("audit.jsonl");
    until("it is in the audit log", async || {
        let text = std::fs::read_to_string(&audit).unwrap();
        text.lines().any(|line| line.contains("\"account-unlocked\"") && line.contains(ALICE))
    })
    .await;
}
