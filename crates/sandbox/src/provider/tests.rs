//! The mail servers of all providers: each takes the tokens of its own provider for its own
//! mailboxes, and says no in its own words.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::testing::{Peer, ask, dial, dial_submission, oauthbearer, sandbox, xoauth2};
use crate::{
    AccountKind, ForeignToken, Google, GoogleConfig, Plain, PlainConfig, Provider, Sandbox, SandboxAccount, Service,
    SmtpFault, UpstreamMode,
};

const GUS: &str = "gus@gmail.example";
const PAM: &str = "pam@plain.example";
const ALICE: &str = "alice@contoso.example";
const PAT: &str = "pat@outlook.example";
const CHALLENGE: &str = r#"{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}"#;

async fn world() -> (Sandbox, Google, Plain) {
    let sandbox = sandbox().await;
    sandbox.add_account(SandboxAccount::new(ALICE, "x"));
    sandbox.add_account(SandboxAccount::of(AccountKind::Personal, PAT, "x"));
    let google = sandbox.start_google(GoogleConfig::default()).await.unwrap();
    let plain = sandbox.start_plain(PlainConfig::default()).await.unwrap();
    google.add_account(GUS, "x");
    plain.add_account(PAM, "x");
    (sandbox, google, plain)
}

/// Whether a login over each protocol ends well.
async fn logins(sandbox: &Sandbox, ports: (SocketAddr, SocketAddr, SocketAddr), user: &str, token: &str) -> [bool; 3] {
    let (imap, pop3, submission) = ports;
    let response = xoauth2(user, token);
    let mut peer = dial(sandbox, imap).await;
    peer.hear().await;
    peer.say(&format!("a AUTHENTICATE XOAUTH2 {response}")).await;
    let by_imap = ends_well(&mut peer, "a OK", "a NO").await
        && peer.ask_until("b SELECT INBOX", "b ").await.last().unwrap().starts_with("b OK");
    let mut peer = dial(sandbox, pop3).await;
    peer.hear().await;
    assert!(peer.ask("AUTH XOAUTH2").await.starts_with('+'));
    peer.say(&response).await;
    let by_pop3 = ends_well(&mut peer, "+OK", "-ERR").await;
    let mut peer = dial_submission(sandbox, submission).await;
    peer.say(&format!("AUTH XOAUTH2 {response}")).await;
    let by_smtp = ends_well(&mut peer, "235", "535").await;
    [by_imap, by_pop3, by_smtp]
}

/// Hears the end of a login, and answers a challenge before it.
async fn ends_well<S: AsyncRead + AsyncWrite + Unpin>(peer: &mut Peer<S>, good: &str, bad: &str) -> bool {
    loop {
        let line = peer.hear().await;
        match line {
            _ if line.starts_with(good) => return true,
            _ if line.starts_with(bad) => return false,
            _ if line.starts_with("+ ") || line.starts_with("334 ") => peer.say("").await,
            _ => assert!(line.starts_with("* "), "{line}"),
        }
    }
}

#[tokio::test]
async fn a_token_opens_nothing_at_another_provider_and_is_counted_there() {
    let (sandbox, google, plain) = world().await;
    let (of_gus, of_pam) = (google.sign_in(GUS).unwrap(), plain.sign_in(PAM).unwrap());
    let tokens = [
        (Provider::Microsoft, ALICE, sandbox.issue_token(ALICE).unwrap()),
        (Provider::Microsoft, PAT, sandbox.issue_token(PAT).unwrap()),
        (Provider::Google, GUS, of_gus.access),
        (Provider::Plain, PAM, of_pam.access),
    ];
    let servers = [
        (Provider::Microsoft, (sandbox.imap(), sandbox.pop3(), sandbox.smtp())),
        (Provider::Google, (google.imap(), google.pop3(), google.submission())),
        (Provider::Plain, (plain.imap(), plain.pop3(), plain.submission())),
    ];
    let home = |user: &str| tokens.iter().find(|(_, owner, _)| *owner == user).unwrap().0;
    let mut expected = Vec::new();
    for (of, owner, token) in &tokens {
        for (at, ports) in servers {
            for user in [ALICE, PAT, GUS, PAM] {
                let opens = *of == at && *owner == user;
                let got = logins(&sandbox, ports, user, token.expose()).await;
                assert_eq!(got, [opens; 3], "a token of {owner} at {at:?} for {user}");
                if *of != at || home(user) != *of {
                    for service in [Service::Imap, Service::Pop3, Service::Smtp] {
                        expected.push(ForeignToken { of: *of, at, service: Some(service), mailbox: user.to_owned() });
                    }
                }
            }
        }
    }
    assert_eq!(sandbox.foreign_tokens(), expected);
    assert_eq!(google.counters().logins_of(Service::Imap, GUS).succeeded, 1);
    assert_eq!(sandbox.counters().logins_of(Service::Imap, GUS).succeeded, 0);
    assert!(google.counters().connections_to(Service::Imap) > 0);
}

#[tokio::test]
async fn a_refresh_token_at_another_token_service_is_counted() {
    let (sandbox, google, plain) = world().await;
    let of_alice = sandbox.sign_in(ALICE).unwrap();
    let (of_gus, of_pam) = (google.sign_in(GUS).unwrap(), plain.sign_in(PAM).unwrap());
    let entra = format!("{}common/oauth2/v2.0/token", sandbox.authority());
    let services = [
        (Provider::Microsoft, entra),
        (Provider::Google, format!("{}/token", google.base())),
        (Provider::Plain, format!("{}/token", plain.base())),
    ];
    let tokens = [
        (Provider::Microsoft, of_alice.expose()),
        (Provider::Google, of_gus.refresh.expose()),
        (Provider::Plain, of_pam.refresh.expose()),
    ];
    for (of, token) in tokens {
        for (at, url) in &services {
            let before = sandbox.foreign_tokens().len();
            let form = [("grant_type", "refresh_token"), ("client_id", "x"), ("refresh_token", token)];
            assert!(ask(&sandbox, url, Some(&form)).await.status >= 400);
            let foreign = sandbox.foreign_tokens().split_off(before);
            let expected = ForeignToken { of, at: *at, service: None, mailbox: String::new() };
            assert_eq!(foreign, if of == *at { vec![] } else { vec![expected] }, "{of:?} at {at:?}");
        }
    }
}

#[tokio::test]
async fn a_token_opens_its_own_mailbox_while_it_is_good() {
    let (sandbox, google, plain) = world().await;
    google.add_account("guy@gmail.example", "x");
    let ports = (google.imap(), google.pop3(), google.submission());
    let tokens = google.sign_in(GUS).unwrap();
    assert_eq!(logins(&sandbox, ports, "GUS@gmail.example", tokens.access.expose()).await, [true; 3]);
    assert_eq!(logins(&sandbox, ports, "guy@gmail.example", tokens.access.expose()).await, [false; 3]);
    assert_eq!(logins(&sandbox, ports, GUS, tokens.refresh.expose()).await, [false; 3]);
    assert_eq!(logins(&sandbox, ports, GUS, "ya29.a0forged").await, [false; 3]);
    google.end_sign_ins(GUS);
    assert_eq!(logins(&sandbox, ports, GUS, tokens.access.expose()).await, [false; 3], "revoked");
    let tokens = google.sign_in(GUS).unwrap();
    sandbox.advance(Duration::from_secs(3_599));
    assert_eq!(logins(&sandbox, ports, GUS, tokens.access.expose()).await, [false; 3], "expired");
    assert_eq!(sandbox.foreign_tokens(), []);
    // A token without the scope for mail.
    let shared = &sandbox.shared;
    let scopes = ["openid".to_owned()];
    let token = super::issue(shared, Provider::Plain, (PAM, &scopes, 0)).unwrap();
    let ports = (plain.imap(), plain.pop3(), plain.submission());
    assert_eq!(logins(&sandbox, ports, PAM, token.expose()).await, [false; 3]);
}

#[tokio::test]
async fn gmail_speaks_imap_in_its_own_words() {
    let (sandbox, google, _) = world().await;
    let token = google.sign_in(GUS).unwrap().access;
    let mut peer = dial(&sandbox, google.imap()).await;
    assert!(peer.hear().await.starts_with("* OK Gimap ready for requests from "));
    let capabilities = peer.ask_until("a CAPABILITY", "a ").await.remove(0);
    let words: Vec<&str> = capabilities.split(' ').collect();
    for word in ["X-GM-EXT-1", "SASL-IR", "AUTH=XOAUTH2", "AUTH=OAUTHBEARER"] {
        assert!(words.contains(&word), "{word}: {capabilities}");
    }
    assert!(!words.contains(&"LOGINDISABLED") && !words.contains(&"LITERAL+"), "{capabilities}");
    // A refusal is a challenge first.
    let challenge = peer.ask(&format!("b AUTHENTICATE XOAUTH2 {}", xoauth2(GUS, "wrong"))).await;
    assert_eq!(STANDARD.decode(challenge.strip_prefix("+ ").unwrap()).unwrap(), CHALLENGE.as_bytes());
    assert_eq!(peer.ask("").await, "b NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)");
    let challenge = peer.ask(&format!("c AUTHENTICATE OAUTHBEARER {}", oauthbearer(GUS, "wrong"))).await;
    let json = STANDARD.decode(challenge.strip_prefix("+ ").unwrap()).unwrap();
    assert_eq!(json, br#"{"status":"invalid_request","scope":"https://mail.google.com/"}"#);
    assert!(peer.ask("AQ==").await.starts_with("c NO [AUTHENTICATIONFAILED]"));
    let heard = peer.ask_until(&format!("d AUTHENTICATE OAUTHBEARER {}", oauthbearer(GUS, token.expose())), "d ").await;
    assert!(heard[0].starts_with("* CAPABILITY IMAP4rev1 ") && heard[0].contains("X-GM-EXT-1"), "{heard:?}");
    assert_eq!(heard[1], format!("d OK {GUS} authenticated (Success)"));
}

#[tokio::test]
async fn gmail_takes_a_pop3_login_on_one_line_and_microsoft_does_not() {
    let (sandbox, google, _) = world().await;
    let token = google.sign_in(GUS).unwrap().access;
    let mut peer = dial(&sandbox, google.pop3()).await;
    assert!(peer.hear().await.starts_with("+OK Gpop ready for requests from "));
    assert!(peer.ask_until("CAPA", ".").await.contains(&"SASL PLAIN XOAUTH2 OAUTHBEARER".to_owned()));
    let challenge = peer.ask(&format!("AUTH XOAUTH2 {}", xoauth2(GUS, "wrong"))).await;
    assert_eq!(STANDARD.decode(challenge.strip_prefix("+ ").unwrap()).unwrap(), CHALLENGE.as_bytes());
    assert!(peer.ask("").await.starts_with("-ERR [AUTH]"));
    assert_eq!(peer.ask(&format!("AUTH XOAUTH2 {}", xoauth2(GUS, token.expose()))).await, "+OK Welcome.");
    assert!(peer.ask("STAT").await.starts_with("+OK "));

    let token = sandbox.issue_token(ALICE).unwrap();
    let mut peer = dial(&sandbox, sandbox.pop3()).await;
    peer.hear().await;
    // Such a line is longer than Exchange Online takes; a short one is refused for its form.
    assert!(peer.ask("AUTH XOAUTH2 dXNlcj0=").await.starts_with("-ERR Protocol error."));
    let mut peer = dial(&sandbox, sandbox.pop3()).await;
    peer.hear().await;
    assert!(peer.ask(&format!("AUTH XOAUTH2 {}", xoauth2(ALICE, token.expose()))).await.starts_with("-ERR Protocol"));
    let mut peer = dial(&sandbox, sandbox.pop3()).await;
    peer.hear().await;
    assert_eq!(peer.ask("AUTH OAUTHBEARER").await, "-ERR Unrecognized authentication type.");
}

#[tokio::test]
async fn gmail_sends_over_both_smtp_ports() {
    let (sandbox, google, _) = world().await;
    let token = google.sign_in(GUS).unwrap().access;
    let mut peer = dial(&sandbox, google.smtps()).await;
    assert!(peer.hear().await.starts_with("220 smtp.gmail.com ESMTP "));
    let hello = peer.ask_until("EHLO client.example", "250 ").await;
    assert!(
        hello.contains(&"250-AUTH LOGIN PLAIN XOAUTH2 PLAIN-CLIENTTOKEN OAUTHBEARER XOAUTH".to_owned()),
        "{hello:?}"
    );
    assert!(!hello.iter().any(|line| line.contains("DSN") || line.contains("STARTTLS")), "{hello:?}");
    assert!(peer.ask_until(&format!("MAIL FROM:<{GUS}>"), "530 ").await[0].starts_with("530-5.7.0"));
    let challenge = peer.ask(&format!("AUTH XOAUTH2 {}", xoauth2(GUS, "wrong"))).await;
    assert_eq!(STANDARD.decode(challenge.strip_prefix("334 ").unwrap()).unwrap(), CHALLENGE.as_bytes());
    assert!(peer.ask_until("", "535 ").await[0].starts_with("535-5.7.8 "));
    assert!(peer.ask(&format!("AUTH OAUTHBEARER {}", oauthbearer(GUS, token.expose()))).await.starts_with("235 2.7.0"));
    assert!(peer.ask(&format!("MAIL FROM:<{GUS}> RET=HDRS")).await.starts_with("555 5.5.2"));
    assert!(peer.ask(&format!("MAIL FROM:<{GUS}> SIZE=99999999")).await.starts_with("552 "));
    assert!(peer.ask(&format!("MAIL FROM:<{GUS}>")).await.starts_with("250 "));
    assert!(peer.ask(&format!("RCPT TO:<{PAM}>")).await.starts_with("250 "));
    assert!(peer.ask("DATA").await.starts_with("354 "));
    sandbox.empty(PAM);
    assert!(peer.ask("Subject: hello\r\n\r\n.").await.starts_with("250 2.0.0 OK"));
    assert_eq!(sandbox.messages(PAM, "INBOX").len(), 1, "it arrives at the other provider");

    sandbox.fail_smtp(SmtpFault::RefuseSender("421 4.3.2 of Microsoft"), 1);
    google.fail_smtp(SmtpFault::RefuseSender("421 4.7.28 of Google"), 1);
    for wanted in ["421 4.7.28 of Google", "250 2.1.0 Sender OK"] {
        assert_eq!(peer.ask(&format!("MAIL FROM:<{GUS}>")).await, wanted);
    }

    let mut peer = dial_submission(&sandbox, google.submission()).await;
    assert!(peer.ask(&format!("AUTH XOAUTH2 {}", xoauth2(GUS, token.expose()))).await.starts_with("235 "));
    assert_eq!(google.counters().most_smtp_sessions_of(GUS), 2);
    assert_eq!(sandbox.counters().most_smtp_sessions_of(GUS), 0);
}

#[tokio::test]
async fn each_provider_has_modes_of_its_own() {
    let (sandbox, google, _) = world().await;
    google.set_upstream_mode(Service::Imap, UpstreamMode::Bye);
    assert!(dial(&sandbox, google.imap()).await.hear().await.starts_with("* BYE"));
    assert!(dial(&sandbox, sandbox.imap()).await.hear().await.starts_with("* OK The Microsoft Exchange"));
    google.set_upstream_mode(Service::Smtp, UpstreamMode::Bye);
    assert!(dial(&sandbox, google.smtps()).await.hear().await.starts_with("421 "));
}
