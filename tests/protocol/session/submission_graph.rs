//! Messages that leave through Graph where SMTP would have been the way: what SMTP takes is taken,
//! and what Graph cannot do is said.

use gatepost_core::protocol::MailProtocol::Smtp;
use gatepost_sandbox::{HttpFault, SandboxAccount, SandboxConfig, Service, UpstreamMode};

use crate::session::support::{ALICE, ALICES, BOB, BOBS, Client, Setup, World};

const BY_SMTP: &str = "upstream: 'localhost:{smtp}', legacy: true";
const BY_GRAPH: &str = "deliver: graph, graph: 'localhost:{graph}'";
const AUTO: &str = "deliver: auto, upstream: 'localhost:{smtp}', graph: 'localhost:{graph}'";
const TRUSTED: &str = "trusted_senders: [{from: 127.0.0.1, login: alice@contoso.example, messages_per_minute: 1000}]";

/// Alice and Bob, and a listener with these keys. With [`TRUSTED`], nobody logs in.
fn setup(keys: &str) -> Setup {
    let (accounts, microsoft) = match keys.contains(TRUSTED) {
        true => (
            "\n  - {login: alice@contoso.example}",
            "  grant: client_credentials\n  client_id: '{confidential}'\n  client_secret: sandbox-secret",
        ),
        false => ("\n  - login: '*'", ""),
    };
    let users = vec![SandboxAccount::new(ALICE, ALICES), SandboxAccount::new(BOB, BOBS)];
    Setup {
        listeners: format!("\n  smtp: {{bind: '127.0.0.1:0', {keys}}}"),
        sandbox: SandboxConfig { accounts: users, ..SandboxConfig::default() },
        accounts: accounts.to_owned(),
        microsoft,
        ..Setup::default()
    }
}

/// A client that has logged in, and the size that it was told then.
async fn sender(world: &World) -> (Client, u64) {
    let mut client = world.session(Smtp, ALICE, ALICES).await;
    let size = announced(&mut client).await;
    (client, size)
}

/// A device that does not log in, and the size that it was told.
async fn device(world: &World) -> (Client, u64) {
    let mut client = Client::connect(world.address("smtp"), Smtp).await;
    client.hear("220 ").await;
    let size = announced(&mut client).await;
    (client, size)
}

/// The SIZE in the reply to EHLO.
async fn announced(client: &mut Client) -> u64 {
    let from = client.heard.len();
    client.ask("EHLO client.example", "250 ").await;
    let heard = String::from_utf8_lossy(&client.heard[from..]).into_owned();
    let size = heard.lines().find_map(|line| line.get(4..)?.strip_prefix("SIZE ")).unwrap_or_else(|| panic!("{heard}"));
    size.parse().unwrap()
}

/// The reply to a message from Alice to Bob.
async fn send(client: &mut Client, content: &[u8]) -> String {
    client.ask(&format!("MAIL FROM:<{ALICE}>"), "250 ").await;
    client.ask(&format!("RCPT TO:<{BOB}>"), "250 ").await;
    client.ask("DATA", "354 ").await;
    client.send([content, b"\r\n.\r\n"].concat()).await;
    client.hear("").await
}

/// What a header may look like that names Bob, others, or nobody.
const HEADERS: [&[u8]; 20] = [
    b"To: Miller, Bob <bob@contoso.example>\r\n\r\nText",
    b"To: undisclosed recipients\r\n\r\nText",
    b"To: undisclosed-recipients:;\r\n\r\nText",
    b"To: undisclosed-recipients:\r\n\r\nText",
    b"To: anna@fabrikam.example, bob@contoso.example\r\nCc: bert@fabrikam.example\r\n\r\nText",
    b"Bcc: anna@fabrikam.example\r\n\r\nText",
    b"To: Team: bob@contoso.example, Anna <anna@fabrikam.example>;\r\n\r\nText",
    b"To: bob@contoso.example\r\nTo: anna@fabrikam.example\r\n\r\nText",
    b"To : bob@contoso.example\r\nBcc : bert@fabrikam.example\r\n\r\nText",
    b"Resent-To: anna@fabrikam.example\r\nTo: bob@contoso.example\r\n\r\nText",
    b"To: bob\r\nCc: root@localhost\r\n\r\nText",
    b"To: B\xF6b <b\xF6b@contoso.example>\r\n\r\nText",
    b"To: \"Bob\r\n\r\nText",
    b"\r\nText",
    b"Text",
    b"Text: more\r\n\r\nTo: anna@fabrikam.example\r\n\r\nText",
    b"Subject: scan\r\nText",
    b"Subject: scan\r\nPlease find attached:\r\nTo: anna@fabrikam.example\r\n\r\nText",
    b"From root Mon Nov 23 09:00:00 2026\r\nTo: bob@contoso.example\r\n\r\nText",
    b"Subject: scan\r\n \r\nTo: anna@fabrikam.example\r\n\r\nText",
];

#[tokio::test]
async fn every_way_takes_what_smtp_takes_and_sends_it_to_the_envelope_alone() {
    let trusted = [BY_GRAPH, AUTO, "upstream: 'localhost:{smtp}'"].map(|keys| format!("{keys}, {TRUSTED}"));
    for keys in [BY_SMTP, BY_GRAPH, AUTO, "auto, without SMTP"].into_iter().chain(trusted.iter().map(String::as_str)) {
        let without_smtp = keys == "auto, without SMTP";
        let world = setup(if without_smtp { AUTO } else { keys }).start().await;
        if without_smtp {
            world.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::SmtpAuthDisabled);
        }
        world.sandbox.empty(BOB);
        let (mut client, _) = if keys.contains(TRUSTED) { device(&world).await } else { sender(&world).await };
        for content in HEADERS {
            let reply = send(&mut client, content).await;
            assert!(reply.starts_with("250 "), "{keys}: {}: {reply}", content.escape_ascii());
            let arrived = world.sandbox.messages(BOB, "INBOX");
            assert_eq!(arrived.len(), 1, "{keys}: {}", content.escape_ascii());
            assert!(world.sandbox.outbox().is_empty(), "{keys}: {}", content.escape_ascii());
            assert!(arrived[0].ends_with(b"Text\r\n"));
            if keys == BY_SMTP {
                assert!(arrived[0].ends_with(&[content, b"\r\n"].concat()), "SMTP changes nothing");
            }
            world.sandbox.empty(BOB);
        }
        let by_graph = world.log.lines(|line| line.contains("way=graph outcome=sent")).len();
        let is_by_graph = keys.contains("deliver: graph") || without_smtp;
        assert_eq!(by_graph, if is_by_graph { HEADERS.len() } else { 0 }, "{keys}");
        assert_eq!(world.log.has("To was set aside, because "), is_by_graph, "{keys}");
    }
}

#[tokio::test]
async fn an_outcome_that_graph_does_not_tell_is_looked_up_and_logged() {
    let world = setup(BY_GRAPH).start().await;
    let (mut client, _) = sender(&world).await;
    world.sandbox.fail_http(Service::Graph, "sendMail", HttpFault::RefuseWhenDone(504), 1);
    let reply = send(&mut client, b"Subject: s\r\n\r\nText").await;
    assert_eq!(reply, "250 2.0.0 Accepted by Microsoft Graph, a copy is in Sent Items");
    let lines = world.log.lines(|line| line.contains("way=graph outcome=sent"));
    assert!(
        lines[0].contains("message sent: its copy is in Sent Items (Microsoft did not confirm the message: "),
        "{lines:?}"
    );

    // Without the permission to read, it stays open.
    let world = setup(BY_GRAPH).start().await;
    world.sandbox.set_graph_consent(Some(&["Mail.Send"]));
    let (mut client, _) = sender(&world).await;
    world.sandbox.fail_http(Service::Graph, "sendMail", HttpFault::CutWhenDone, 1);
    let reply = send(&mut client, b"Subject: s\r\n\r\nText").await;
    assert_eq!(reply, "451 4.4.2 Microsoft did not confirm the message. It may have been sent");
    let lines = world.log.lines(|line| line.contains("way=graph outcome=unknown cause=outcome-unknown"));
    assert!(lines[0].contains("message status unknown: ") && lines[0].contains("`Mail.Read`"), "{lines:?}");
}

#[tokio::test]
async fn fields_that_graph_drops_are_told_once_for_a_session() {
    let content = b"Auto-Submitted: auto-generated\r\nList-Id: <l>\r\nX-Loop: scanner\r\nX-Mailer: m\r\n\r\nText";
    let told = |world: &World| world.log.lines(|line| line.contains("cause=fields-dropped"));
    let world = setup(BY_GRAPH).start().await;
    let (mut client, _) = sender(&world).await;
    send(&mut client, b"X-Mailer: m\r\n\r\nAuto-Submitted: body").await;
    assert!(told(&world).is_empty());
    for _ in 0..2 {
        assert!(send(&mut client, content).await.starts_with("250 "));
    }
    let lines = told(&world);
    assert!(lines.len() == 1 && lines[0].contains("WARN"), "{lines:?}");
    assert!(
        lines[0]
            .contains("Microsoft Graph drops fields of the message: Auto-Submitted, List-Id, X-Loop. Gatepost admin: "),
        "{lines:?}"
    );
    let (mut another, _) = sender(&world).await;
    send(&mut another, content).await;
    assert_eq!(told(&world).len(), 2);

    let world = setup(BY_SMTP).start().await;
    let (mut client, _) = sender(&world).await;
    send(&mut client, content).await;
    assert!(told(&world).is_empty());
}

const WIDE: u64 = 157_286_400;
const NARROW: u64 = 3_000_000;

#[tokio::test]
async fn auto_announces_what_graph_takes_once_it_is_known_that_messages_go_there() {
    let world = setup(AUTO).start().await;
    // Before the login it is not known whose messages they are.
    let mut early = world.client(Smtp).await;
    assert_eq!(sender(&world).await.1, WIDE);
    world.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::SmtpAuthDisabled);
    let (mut client, size) = sender(&world).await;
    assert_eq!((size, announced(&mut early).await), (NARROW, WIDE));
    assert!(early.log_in(BOB, BOBS).await.starts_with("235 "));
    let reply = client.ask(&format!("MAIL FROM:<{ALICE}> SIZE=3000001"), "").await;
    assert_eq!(reply, "552 5.3.4 The message is too large. Microsoft Graph takes at most 3000000 bytes");
    let reply = send(&mut client, &b"x".repeat(3_000_100)).await;
    assert_eq!(reply, "552 5.3.4 The message is too large. The limit is 3000000 bytes");
    assert!(
        world.log.has(
            "message refused, because it has more than the 3000000 bytes that Microsoft Graph takes. Device owner: "
        )
    );

    // A device that needs no login is known by its address.
    let world = setup(&format!("{AUTO}, {TRUSTED}")).start().await;
    world.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::SmtpAuthDisabled);
    let (mut scanner, size) = device(&world).await;
    assert_eq!(size, WIDE);
    assert!(send(&mut scanner, b"Subject: s\r\n\r\nText").await.starts_with("250 "));
    assert_eq!((announced(&mut scanner).await, device(&world).await.1), (NARROW, NARROW));
}

#[tokio::test]
async fn a_barred_port_is_known_for_every_mailbox() {
    let nobody = crate::common::port::free_address();
    let world = setup(&AUTO.replace("{smtp}", &nobody.port().to_string())).start().await;
    assert_eq!(announced(&mut world.client(Smtp).await).await, WIDE);
    assert_eq!(sender(&world).await.1, NARROW);
    assert_eq!(announced(&mut world.client(Smtp).await).await, NARROW);
}

#[tokio::test]
async fn a_bare_lf_that_a_relay_passes_on_is_named_when_exchange_refuses_it() {
    let world = World::new().await;
    world.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::RefusesBareLf);
    let mut client = world.session(Smtp, ALICE, ALICES).await;
    assert!(send(&mut client, b"Subject: s\r\n\r\nText").await.starts_with("250 "));
    assert_eq!(
        send(&mut client, b"Subject: s\r\n\r\none\ntwo").await,
        "550 5.6.11 SMTPSEND.BareLinefeedsAreIllegal; message contains bare linefeeds"
    );
    client.ask("QUIT", "221 ").await;
    drop(client);
    world.until("the session has ended", || world.log.has("outcome=ended")).await;
    let lines = world.log.lines(|line| line.contains("cause=bare-line-end"));
    assert!(lines.len() == 1 && lines[0].contains("Gatepost admin: set `legacy: true`"), "{lines:?}");
}
