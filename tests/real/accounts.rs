//! Accounts whose password Gatepost checks itself, because Entra knows an application there and no
//! person.

use argon2::Argon2;
use argon2::password_hash::PasswordHasher as _;

use super::curl::curl;
use super::gatepost::{ClientTls, Gatepost, Protocol, Route};
use super::message::{assert_same, message};
use super::world::{Person, World};

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn client_credentials_open_the_mailbox_of_the_account() {
    let world = World::shared();
    let client_id = "66666666-7777-8888-9999-000000000000";
    // The device knows a short name; the mailbox has a third one.
    let mailbox = world.person("reception", [message(1)]).login;
    world.entra.add_application(client_id, "application~secret", &mailbox);
    let device = Person { login: "scan7".to_owned(), password: "Grüße vom Drucker".to_owned() };
    let hash = Argon2::default().hash_password(device.password.as_bytes()).unwrap().to_string();
    let accounts = format!(
        "accounts:\n  - login: scanner@contoso.com\n    aliases: [scan7]\n    grant: client_credentials\n    \
         client_id: {client_id}\n    client_secret: application~secret\n    mailbox: {mailbox}\n    passwords: [\"{hash}\"]\n"
    );
    let gatepost = Gatepost::start_with(&world, Route::Straight, &accounts);
    for (protocol, path) in [(Protocol::Imap, "/INBOX;UID=1"), (Protocol::Pop3, "/1")] {
        let fetched = curl(&gatepost, protocol, ClientTls::StartTls, path, &device, &[]).expect_success("curl");
        assert_same(&fetched.stdout, &message(1), path);
    }
    assert_eq!(world.entra.requests(client_id).len(), 1);

    // A token is there, but not for whoever asks.
    let stranger = Person { password: "guessed".to_owned(), ..device };
    let refused = curl(&gatepost, Protocol::Imap, ClientTls::None, "/INBOX;UID=1", &stranger, &[]);
    assert!(refused.stderr.contains("NO [AUTHENTICATIONFAILED]"), "{}", refused.stderr);
    assert_eq!(world.dovecot.logins(&mailbox).len(), 2);
    gatepost.stop();
}
