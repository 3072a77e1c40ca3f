//! What Exchange Online says about a mailbox and its token.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol;

use crate::session::support::{ALICE, ALICES, Setup, xoauth2};
use crate::session::upstream::{Upstream, scripted};

use MailProtocol::Imap;

/// An IMAP server. `login` says for each login, with the mailbox, what the reply to AUTHENTICATE and
/// the one to NAMESPACE are, with `TAG` for the tag.
async fn imap(
    mut upstream: Upstream,
    login: impl Fn(&str) -> (&'static str, &'static str) + Send + Sync,
) -> Option<()> {
    upstream.say("* OK ready\r\n").await?;
    let mut probed = "TAG OK done\r\n";
    loop {
        let (tag, command) = upstream.command().await?;
        let answer = match command.strip_prefix("AUTHENTICATE XOAUTH2 ") {
            Some(message) => {
                let message = String::from_utf8(STANDARD.decode(message).ok()?).ok()?;
                let (authenticated, namespace) = login(message.strip_prefix("user=")?.split('\x01').next()?);
                probed = namespace;
                authenticated
            }
            None if command == "CAPABILITY" => {
                "* CAPABILITY IMAP4rev1 AUTH=XOAUTH2 SASL-IR NAMESPACE\r\nTAG OK done\r\n"
            }
            None if command == "NAMESPACE" => probed,
            None => "TAG OK done\r\n",
        };
        upstream.say(&answer.replace("TAG", &tag)).await?;
    }
}

#[tokio::test]
async fn a_token_that_is_too_long_is_told_with_its_length_and_the_remedy() {
    let world =
        scripted(Setup::default(), |upstream| imap(upstream, |_| ("TAG BAD Command Argument Error. 12\r\n", ""))).await;
    world.refuses(Imap, ALICE, ALICES, Refusal::ContactAdmin, "token-not-understood").await;
    let told = world.log.lines(|line| line.contains("cause=token-not-understood"));
    assert!(told[0].contains("characters") && told[0].contains(ALICE) && !told[0].contains("eyJ"), "{told:?}");

    // One of a client's own has as many claims as it brings.
    let token = world.sandbox.issue_token(ALICE).unwrap();
    let long = format!("{}.{}.c2ln", token.expose().split('.').next().unwrap(), "e30x".repeat(1_200));
    let mut client = world.client(Imap).await;
    let reply = client.ask(&format!("a AUTHENTICATE XOAUTH2 {}", xoauth2(ALICE, &long)), "a ").await;
    world.was_refused(Imap, &reply, Refusal::InvalidCredentials, "token-not-understood");
    let length = format!("an access token of {} characters", long.len());
    assert!(world.log.has(&length) && world.log.has("`groupMembershipClaims`"));
}
