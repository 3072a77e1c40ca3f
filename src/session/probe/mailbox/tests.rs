use tokio::net::TcpStream;

use super::super::talk::tests::{ask, soon};
use super::*;

fn address(text: &str) -> MailAddress {
    MailAddress::parse(text).unwrap()
}

/// What was found, or the refused command and what was said to it.
fn shown(result: Result<String, Unopened>) -> Result<String, (String, String)> {
    result.map_err(|unopened| match unopened {
        Unopened::Refused { command, reply } => (command, reply),
        other => panic!("{other:?}"),
    })
}

fn refused_as(command: &str, reply: &str) -> Result<String, (String, String)> {
    Err((command.to_owned(), reply.to_owned()))
}

#[test]
fn a_message_is_ended_by_its_own_dot_alone() {
    assert_eq!(stuffed("a\r\n.b\r\n..\r\n"), "a\r\n..b\r\n...\r\n.");
}

#[tokio::test]
async fn imap_says_how_many_messages_the_inbox_has() {
    const ASKED: &str = "d1 STATUS INBOX (MESSAGES)";
    for (reply, found) in [
        ("* STATUS INBOX (MESSAGES 12)\r\nd1 OK done", Ok("INBOX has 12 messages".to_owned())),
        ("* STATUS INBOX (MESSAGES 1 UNSEEN 0)\r\nd1 ok done", Ok("INBOX has 1 message".to_owned())),
        ("* STATUS INBOX ()\r\nd1 OK done", Ok("INBOX opens".to_owned())),
        ("* BYE\r\nd1 NO no such mailbox", refused_as("STATUS INBOX", "d1 NO no such mailbox")),
        ("d1 OKAY", Ok("INBOX opens".to_owned())),
    ] {
        let (result, said) = ask(&[reply, "* BYE"], imap).await;
        let expected: &[&str] = if found.is_ok() { &[ASKED, "d2 LOGOUT"] } else { &[ASKED] };
        assert_eq!((shown(result), said), (found, expected.iter().map(|line| (*line).to_owned()).collect()), "{reply}");
    }
}

#[tokio::test]
async fn pop3_says_how_many_messages_there_are() {
    for (reply, found) in [
        ("+OK 0 0", Ok("INBOX has 0 messages".to_owned())),
        ("+OK 1 320", Ok("INBOX has 1 message".to_owned())),
        ("+OK some", Ok("the mailbox opens".to_owned())),
        ("-ERR locked", refused_as("STAT", "-ERR locked")),
    ] {
        let (result, said) = ask(&[reply, "+OK"], pop3).await;
        let expected: &[&str] = if found.is_ok() { &["STAT", "QUIT"] } else { &["STAT"] };
        assert_eq!((shown(result), said), (found, expected.iter().map(|line| (*line).to_owned()).collect()), "{reply}");
    }
}

#[tokio::test]
async fn smtp_begins_a_message_to_the_mailbox_and_drops_it_or_sends_one() {
    let alice = address("alice@contoso.example");
    let (from, to) = ("MAIL FROM:<alice@contoso.example>", "RCPT TO:<alice@contoso.example>");
    let message = Message { to: address("bob@contoso.example"), text: "Subject: a\r\n\r\n.b\r\n".to_owned() };
    for (replies, message, found, said) in [
        (
            &["250-more\r\n250 OK", "250 OK", "250 OK", "221 bye"][..],
            None,
            Ok("may send".to_owned()),
            &[from, to, "RSET", "QUIT"][..],
        ),
        (
            &["250 OK", "250 OK", "354 go on", "250 taken", "221 bye"],
            Some(&message),
            Ok("sent a message to bob@contoso.example".to_owned()),
            &[from, "RCPT TO:<bob@contoso.example>", "DATA", "Subject: a", "", "..b", ".", "QUIT"],
        ),
        (&["550 no"], None, refused_as(from, "550 no"), &[from]),
        (&["250 OK", "250-so\r\n450 later"], None, refused_as(to, "450 later"), &[from, to]),
        (&["250 OK", "250 OK", "500 no"], None, refused_as("RSET", "500 no"), &[from, to, "RSET"]),
        (
            &["250 OK", "250 OK", "354 go on", "552 too large"],
            Some(&message),
            refused_as("the message", "552 too large"),
            &[from, "RCPT TO:<bob@contoso.example>", "DATA", "Subject: a", "", "..b", "."],
        ),
    ] {
        let alice = alice.clone();
        let (result, heard) = ask(replies, |talk| async move { smtp(talk, &alice, message).await }).await;
        assert_eq!((shown(result), heard), (found, said.iter().map(|line| (*line).to_owned()).collect()));
    }
}

#[tokio::test]
async fn a_server_that_leaves_or_says_nothing_is_named_with_the_command() {
    let (result, _) = ask(&[], pop3).await;
    assert_eq!(shown(result), refused_as("STAT", "the server closed the connection"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let talk = Talk::new(gatepost_net::stream::Stream::Plain(silent.into()), Vec::new(), soon());
    assert_eq!(shown(imap(talk).await), refused_as("STATUS INBOX", "no answer in time"));
    // The system has given up, and not this side.
    let given_up = broken("STAT")(io::ErrorKind::TimedOut.into());
    assert_eq!(shown(Err(given_up)), refused_as("STAT", "no answer in time"));
}
