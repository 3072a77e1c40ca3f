//! With the direct route closed: Gatepost and the mail program sit in a network namespace that only
//! a proxy leads out of. IMAP, POP3, SMTP and the token request must go through it, each of them.

use std::thread;

use super::curl::curl;
use super::gatepost::{ClientTls, Gatepost, Protocol};
use super::island::Island;
#[cfg(feature = "negotiate")]
use super::kerberos::{Kdc, OTHER_SERVICE};
use super::message::{assert_same, assert_same_behind_trace, message};
use super::process::Directory;
use super::proxies::Proxy;
use super::squid::Asks;
use super::world::World;

/// Reads by IMAP and POP3, sends by SMTP, and asks Dovecot and Entra from where that came.
fn works_through(proxy: impl FnOnce(&World, &Island) -> Proxy) {
    let world = World::shared();
    let island = Island::new();
    let proxy = proxy(&world, &island);
    let gatepost = Gatepost::start_on(&world, &island, Some(&proxy.section), proxy.environment.clone());
    let person = world.person("closed", [message(1), message(2)]);

    let fetched = curl(&gatepost, Protocol::Imap, ClientTls::Implicit, "/INBOX;UID=2", &person, &[]);
    assert_same(&fetched.expect_success("IMAP").stdout, &message(2), "IMAP");
    let retrieved = curl(&gatepost, Protocol::Pop3, ClientTls::StartTls, "/1", &person, &[]);
    assert_same(&retrieved.expect_success("POP3").stdout, &message(1), "POP3");
    let directory = Directory::new();
    let letter = directory.write("letter", message(3)).display().to_string();
    let mail = ["--mail-from", &person.login, "--mail-rcpt", "somebody@contoso.com", "--upload-file", &letter];
    curl(&gatepost, Protocol::Smtp, ClientTls::None, "", &person, &mail).expect_success("SMTP");
    assert_same_behind_trace(&world.sink.take(&person.login).data, &message(3), "SMTP");
    gatepost.stop();

    let logins = world.dovecot.logins(&person.login);
    let from = format!("rip={},", proxy.leaves_from);
    assert!(logins.len() == 3 && logins.iter().all(|line| line.contains(&from)), "{from}: {logins:#?}");
    let requests = world.entra.requests(&person.login);
    assert!(requests.len() == 1 && requests[0].granted && requests[0].peer == proxy.leaves_from, "{requests:?}");
}

#[test]
#[ignore = "needs Dovecot, proxies and network namespaces: run tests/run"]
fn squid_without_authentication() {
    works_through(|_, island| Proxy::squid(island, Asks::Nothing));
}

#[test]
#[ignore = "needs Dovecot, proxies and network namespaces: run tests/run"]
fn squid_with_basic_authentication() {
    works_through(|_, island| Proxy::squid(island, Asks::Basic));
}

#[test]
#[ignore = "needs Dovecot, proxies and network namespaces: run tests/run"]
fn squid_with_digest_authentication() {
    works_through(|_, island| Proxy::squid(island, Asks::Digest));
}

#[test]
#[ignore = "needs Dovecot, proxies and network namespaces: run tests/run"]
fn squid_with_ntlm() {
    works_through(|_, island| Proxy::squid(island, Asks::Ntlm));
}

#[test]
#[ignore = "needs Dovecot, proxies and network namespaces: run tests/run"]
fn squid_over_tls_with_ntlm() {
    works_through(|world, island| Proxy::squid_with_tls(world, island, Asks::Ntlm));
}

#[cfg(feature = "negotiate")]
#[test]
#[ignore = "needs Dovecot, proxies and network namespaces: run tests/run"]
fn squid_with_kerberos() {
    works_through(|_, island| {
        let kdc = Kdc::start(island.outside);
        let keytab = kdc.user_keytab("user.keytab");
        let mut proxy = Proxy::squid(island, Asks::Negotiate(kdc));
        proxy.section += &format!("  keytab: {}\n  service_name: {OTHER_SERVICE}\n", keytab.display());
        proxy
    });
}

#[test]
#[ignore = "needs Dovecot, proxies and network namespaces: run tests/run"]
fn squid_over_tls() {
    works_through(|world, island| Proxy::squid_with_tls(world, island, Asks::Nothing));
}

#[test]
#[ignore = "needs Dovecot, proxies and network namespaces: run tests/run"]
fn squid_over_tls_with_basic_authentication() {
    works_through(|world, island| Proxy::squid_with_tls(world, island, Asks::Basic));
}

#[test]
#[ignore = "needs Dovecot, proxies and network namespaces: run tests/run"]
fn tinyproxy() {
    works_through(|_, island| Proxy::tinyproxy(island));
}

#[test]
#[ignore = "needs Dovecot, proxies and network namespaces: run tests/run"]
fn socks_by_microsocks() {
    works_through(|_, island| Proxy::microsocks(island, false));
}

#[test]
#[ignore = "needs Dovecot, proxies and network namespaces: run tests/run"]
fn socks_by_microsocks_with_a_password() {
    works_through(|_, island| Proxy::microsocks(island, true));
}

#[test]
#[ignore = "needs Dovecot, proxies and network namespaces: run tests/run"]
fn socks_by_dante() {
    works_through(|_, island| Proxy::dante(island));
}

/// A proxy that is not there comes first: the second one carries everything.
#[test]
#[ignore = "needs Dovecot, proxies and network namespaces: run tests/run"]
fn the_second_of_two_proxies() {
    works_through(|_, island| {
        let mut proxy = Proxy::tinyproxy(island);
        let dead = format!("http://{}:9", island.outside);
        let url = proxy.section.trim().trim_start_matches("url: ").to_owned();
        proxy.section = format!("  url: [\"{dead}\", \"{url}\"]\n");
        proxy
    });
}

/// What makes the other tests prove something: without the proxy, nothing is reached from in there.
#[test]
#[ignore = "needs Dovecot, proxies and network namespaces: run tests/run"]
fn without_a_proxy_nothing_is_reached() {
    let world = World::shared();
    let island = Island::new();
    for section in [None, Some("  url: http://127.0.0.1:9\n")] {
        let gatepost = Gatepost::start_on(&world, &island, section, Vec::new());
        let person = world.person("closed", [message(1)]);
        // Side by side, because each login waits for Entra as long as it may.
        thread::scope(|scope| {
            for (protocol, path) in [(Protocol::Imap, "/INBOX;UID=1"), (Protocol::Pop3, "/1")] {
                let (gatepost, person) = (&gatepost, &person);
                scope.spawn(move || {
                    assert!(!curl(gatepost, protocol, ClientTls::None, path, person, &[]).status.success());
                });
            }
        });
        gatepost.stop();
        assert!(world.entra.requests(&person.login).is_empty() && world.dovecot.logins(&person.login).is_empty());
    }
}
