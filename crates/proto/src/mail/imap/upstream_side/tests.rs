use crate::mail::reply::transcript::{NOT_UNDERSTOOD, Outcome, bearer, play};
use crate::mail::{Goal, UpstreamFailureKind as Kind};
use gatepost_core::protocol::MailProtocol;

fn sign_in(conversation: &str) -> Outcome {
    play(MailProtocol::Imap, false, &Goal::Authenticate(bearer()), conversation)
}

fn sign_in_after_starttls(conversation: &str) -> Outcome {
    play(MailProtocol::Imap, true, &Goal::Authenticate(bearer()), conversation)
}

fn learn(starttls: bool, conversation: &str) -> Outcome {
    play(MailProtocol::Imap, starttls, &Goal::Learn, conversation)
}

#[test]
fn exchange() {
    let outcome = sign_in(
        "S: * OK The Microsoft Exchange IMAP4 service is ready. [TQBXAEgA]
         C: G1 AUTHENTICATE XOAUTH2 {response}
         S: G1 OK AUTHENTICATE completed.
         C: G2 CAPABILITY
         C: G3 NAMESPACE
         S: * CAPABILITY IMAP4 IMAP4rev1 IDLE NAMESPACE LITERAL+
         S: G2 OK CAPABILITY completed.
         S: * NAMESPACE ((\"\" \"/\")) NIL NIL
         S: G3 OK NAMESPACE completed.
         S: * OK more",
    );
    let announced = ["IMAP4", "IMAP4rev1", "IDLE", "NAMESPACE", "LITERAL+"].map(String::from).to_vec();
    assert_eq!(outcome, Outcome::Authenticated { announced, leftovers: "* OK more\r\n".into() });
}

#[test]
fn a_list_with_the_ok_saves_the_question() {
    let outcome = sign_in(
        "S: * OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2] ready
         C: G1 AUTHENTICATE XOAUTH2 {response}
         S: G1 OK [CAPABILITY IMAP4rev1 IDLE] Logged in
         C: G2 LIST \"\" \"\"
         S: * LIST (\\Noselect) {1}
         S: / \"\"
         S: G2 OK done",
    );
    let announced = ["IMAP4rev1", "IDLE"].map(String::from).to_vec();
    assert_eq!(outcome, Outcome::Authenticated { announced, leftovers: String::new() });
}

#[test]
fn two_steps_without_sasl_ir() {
    let outcome = sign_in(
        "S: * OK [CAPABILITY IMAP4rev1 auth=xoauth2] ready
         C: G1 AUTHENTICATE XOAUTH2
         S: +
         C: {response}
         S: G1 OK [CAPABILITY IMAP4rev1 NAMESPACE] Logged in
         C: G2 NAMESPACE
         S: G2 OK done",
    );
    assert!(matches!(outcome, Outcome::Authenticated { .. }));
}

#[test]
fn authenticated_but_not_connected() {
    let login = "S: * OK ready
         C: G1 AUTHENTICATE XOAUTH2 {response}
         S: G1 OK AUTHENTICATE completed.
         C: G2 CAPABILITY
         C: G3 NAMESPACE
         ";
    let at_the_probe = "S: * CAPABILITY IMAP4rev1
         S: G2 OK CAPABILITY completed.
         S: G3 BAD User is authenticated but not connected.
         S: * BYE Connection closed. 14";
    for answer in [at_the_probe, "S: G2 BAD User is authenticated but not connected.", "S: * BYE Connection closed. 14"]
    {
        assert_eq!(sign_in(&format!("{login}{answer}")).kind(), Kind::MailboxNotConnected, "{answer}");
    }
    let throttled = sign_in(&format!("{login}S: G2 OK\nS: G3 NO [UNAVAILABLE] throttled"));
    assert_eq!(throttled.kind(), Kind::Unavailable);
}

#[test]
fn a_refused_probe_is_followed_by_one_that_cannot_be_refused() {
    let probed = "S: * OK ready
         C: G1 AUTHENTICATE XOAUTH2 {response}
         S: G1 OK
         C: G2 CAPABILITY
         C: G3 NAMESPACE
         S: G2 OK
         S: G3 BAD Unknown command
         C: G4 NOOP
         ";
    assert!(matches!(sign_in(&format!("{probed}S: G4 OK")), Outcome::Authenticated { .. }));
    assert_eq!(sign_in(&format!("{probed}S: G4 BAD what")).kind(), Kind::MailboxNotConnected);
    assert_eq!(sign_in(&format!("{probed}S: * BYE")).kind(), Kind::MailboxNotConnected);
}

#[test]
fn refused_tokens() {
    let login = "S: * OK ready
         C: G1 AUTHENTICATE XOAUTH2 {response}
         ";
    for (answer, kind) in [
        ("G1 NO AUTHENTICATE failed.", Kind::TokenRefused),
        ("G1 NO AUTHENTICATE failed. Error=\"AuthFailed:LogonDenied-None-OAuthLog:x\"", Kind::TokenRefused),
        ("G1 NO [AUTHENTICATIONFAILED] service unavailable to you", Kind::TokenRefused),
        ("G1 NO [UNAVAILABLE] later", Kind::Unavailable),
        ("G1 NO Server Unavailable. 15", Kind::Unavailable),
        ("G1 NO [LIMIT] enough", Kind::Limit),
        ("G1 NO [INUSE] x", Kind::Limit),
        ("G1 NO [CONTACTADMIN] x", Kind::Disabled),
        ("G1 NO Unsupported authentication mechanism.", Kind::NoXoauth2),
        ("G1 BAD Command Argument Error. 12", NOT_UNDERSTOOD),
        ("* BYE Connection is closed. 13", Kind::Unavailable),
        ("* BYE Too many connections", Kind::Limit),
        ("G2 OK not asked", Kind::Protocol),
        ("* PREAUTH now", Kind::Protocol),
    ] {
        assert_eq!(sign_in(&format!("{login}S: {answer}")).kind(), kind, "{answer}");
    }
}

#[test]
fn a_response_to_another_command_ends_the_conversation() {
    let tls = "S: * OK [CAPABILITY STARTTLS] ready\nC: G1 STARTTLS\n";
    let two_steps = "S: * OK [CAPABILITY AUTH=XOAUTH2] ready\nC: G1 AUTHENTICATE XOAUTH2\n";
    let login = "S: * OK ready\nC: G1 AUTHENTICATE XOAUTH2 {response}\n";
    let probed = format!("{login}S: G1 OK\nC: G2 CAPABILITY\nC: G3 NAMESPACE\n");
    for (starttls, before) in [
        (true, "S: * OK ready\nC: G1 CAPABILITY\nS: * CAPABILITY STARTTLS\n"),
        (true, tls),
        (true, &format!("{tls}S: G1 OK\nTLS\nC: G2 CAPABILITY\nS: * CAPABILITY AUTH=XOAUTH2\n")),
        (false, two_steps),
        (false, login),
        (false, &format!("{login}S: + eyJzdGF0dXMiOiI0MDEifQ==\nC:\n")),
        (false, &probed),
        (false, &format!("{probed}S: G2 OK\n")),
        (false, &format!("{probed}S: G2 OK\nS: G3 BAD Unknown command\nC: G4 NOOP\n")),
    ] {
        for answer in ["G9 OK", "G9 NO"] {
            let conversation = format!("{before}S: {answer}");
            let outcome = if starttls { sign_in_after_starttls(&conversation) } else { sign_in(&conversation) };
            assert_eq!(outcome.kind(), Kind::Protocol, "{conversation}");
        }
    }
    assert_eq!(sign_in(&format!("{two_steps}S: G1 OK")).kind(), Kind::Protocol, "without a token");
    for answer in ["G3 OK", "G3 BAD Unknown command"] {
        assert_eq!(sign_in(&format!("{probed}S: {answer}")).kind(), Kind::Protocol, "before the answer to G2");
    }
}

#[test]
fn a_failure_challenge_is_answered_once() {
    let challenged = "S: * OK ready
         C: G1 AUTHENTICATE XOAUTH2 {response}
         S: + eyJzdGF0dXMiOiI0MDEifQ==
         C:
         ";
    assert_eq!(
        sign_in(&format!("{challenged}S: G1 NO AUTHENTICATE failed.")),
        Outcome::Failed(Kind::TokenRefused, "challenge with status 401, then: NO AUTHENTICATE failed.".into())
    );
    assert_eq!(sign_in(&format!("{challenged}S: + more")).kind(), Kind::Protocol);
    assert_eq!(sign_in(&format!("{challenged}S: G1 OK after all")).kind(), Kind::Protocol);
}

#[test]
fn greetings() {
    for (greeting, kind) in [
        ("* PREAUTH [CAPABILITY IMAP4rev1] welcome", Kind::Preauth),
        ("* BYE [UNAVAILABLE] shutting down", Kind::Unavailable),
        ("* NO what", Kind::Protocol),
        ("* CAPABILITY IMAP4rev1", Kind::Protocol),
        ("+ go on", Kind::Protocol),
        ("220 smtp.office365.com", Kind::Protocol),
        ("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready", Kind::NoXoauth2),
    ] {
        assert_eq!(sign_in(&format!("S: {greeting}")).kind(), kind, "{greeting}");
    }
    assert_eq!(sign_in("EOF").kind(), Kind::Closed);
    assert_eq!(
        sign_in("S: * OK ready\nC: G1 AUTHENTICATE XOAUTH2 {response}\nS| G1 O\nEOF"),
        Outcome::Failed(Kind::Closed, "after: * OK ready".into())
    );
}

#[test]
fn starttls_forgets_what_was_said_before() {
    let outcome = sign_in_after_starttls(
        "S: * OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=XOAUTH2 SASL-IR EVIL] ready
         C: G1 STARTTLS
         S: G1 OK Begin TLS negotiation now
         TLS
         C: G2 CAPABILITY
         S: * CAPABILITY IMAP4rev1 AUTH=XOAUTH2
         S: G2 OK
         C: G3 AUTHENTICATE XOAUTH2
         S: +
         C: {response}
         S: G3 OK
         C: G4 CAPABILITY
         C: G5 NAMESPACE
         S: * CAPABILITY IMAP4rev1 IDLE
         S: G4 OK
         S: G5 OK",
    );
    let announced = ["IMAP4rev1", "IDLE"].map(String::from).to_vec();
    assert_eq!(outcome, Outcome::Authenticated { announced, leftovers: String::new() });
}

#[test]
fn without_starttls_nothing_is_said() {
    let asked = "S: * OK ready\nC: G1 CAPABILITY\n";
    for (answers, kind) in [
        ("S: * CAPABILITY IMAP4rev1 AUTH=XOAUTH2\nS: G1 OK", Kind::NoStartTls),
        ("S: G1 OK", Kind::NoStartTls),
        ("S: G1 BAD", Kind::NoStartTls),
        ("S: * CAPABILITY STARTTLS\nS: G1 OK\nC: G2 STARTTLS\nS: G2 NO not now", Kind::NoStartTls),
        ("S: * CAPABILITY STARTTLS\nS: G1 OK\nC: G2 STARTTLS\nS: G2 OK\nS: * CAPABILITY EVIL", Kind::SpokeBeforeTls),
        ("S: * CAPABILITY STARTTLS\nS: G1 OK\nC: G2 STARTTLS\nS: G2 OK\nS| x", Kind::SpokeBeforeTls),
    ] {
        assert_eq!(sign_in_after_starttls(&format!("{asked}{answers}")).kind(), kind, "{answers}");
    }
    assert_eq!(sign_in_after_starttls("S: * PREAUTH hello").kind(), Kind::Preauth);
}

#[test]
fn learning() {
    let list = || Outcome::Learned(vec!["IMAP4rev1".into(), "IDLE".into()]);
    assert_eq!(learn(false, "S: * OK [CAPABILITY IMAP4rev1 IDLE] ready\nC: G1 LOGOUT"), list());
    let asked = "S: * OK ready\nC: G1 CAPABILITY\n";
    assert_eq!(learn(false, &format!("{asked}S: * CAPABILITY IMAP4rev1 IDLE\nS: G1 OK\nC: G2 LOGOUT")), list());
    assert_eq!(learn(false, &format!("{asked}S: G1 OK")).kind(), Kind::Protocol);
    assert_eq!(learn(false, &format!("{asked}S: G1 NO [UNAVAILABLE]")).kind(), Kind::Unavailable);
    let secured = "S: * OK [CAPABILITY STARTTLS] x\nC: G1 STARTTLS\nS: G1 OK\nTLS\nC: G2 CAPABILITY\n";
    assert_eq!(learn(true, &format!("{secured}S: * CAPABILITY IMAP4rev1 IDLE\nS: G2 OK\nC: G3 LOGOUT")), list());
}
