//! Through Squid with Kerberos: by keytab, by credential cache, and with what can be wrong about
//! them.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::kerberos::{Kdc, OTHER_SERVICE};
use super::proxied::{is_unavailable, works_with};
use super::squid::{Asks, Squid};

const NEGOTIATE: &str = "  authentication: negotiate\n";

#[test]
#[ignore = "needs Dovecot, Squid, MIT Kerberos and mail clients: run tests/run"]
fn works_with_a_keytab() {
    let kdc = Kdc::start(Ipv4Addr::LOCALHOST);
    let keytab = kdc.user_keytab("user.keytab");
    let squid = Squid::start(Asks::Negotiate(kdc));
    works_with(squid, &format!("{NEGOTIATE}  keytab: {}\n", keytab.display()));
}

#[test]
#[ignore = "needs Dovecot, Squid, MIT Kerberos and mail clients: run tests/run"]
fn works_with_a_credential_cache_and_another_service_name() {
    let kdc = Kdc::start(Ipv4Addr::LOCALHOST);
    kdc.sign_in(&kdc.user_keytab("user.keytab"), "1h");
    works_with(Squid::start(Asks::Negotiate(kdc)), &format!("{NEGOTIATE}  service_name: {OTHER_SERVICE}\n"));
}

#[test]
#[ignore = "needs Dovecot, Squid, MIT Kerberos and mail clients: run tests/run"]
fn says_what_is_wrong_with_the_ticket() {
    let kdc = Kdc::start(Ipv4Addr::LOCALHOST);
    let void = kdc.user_keytab("void.keytab");
    let keytab = kdc.user_keytab("user.keytab");
    let squid = Squid::start(Asks::Negotiate(kdc));
    let Asks::Negotiate(kdc) = &squid.asks else { unreachable!() };
    let says = |keys: &str, expected: &str| {
        let log = is_unavailable(&squid, &format!("{NEGOTIATE}{keys}"));
        assert!(log.contains(expected), "{log}");
    };
    says("", "or get a ticket with `kinit`");
    says(&format!("  keytab: {}\n", void.display()), "export the account's keytab again");
    let unknown = format!("  keytab: {}\n  service_name: HTTP/other.corp.test\n", keytab.display());
    says(&unknown, "set `forward_proxy.service_name` to the proxy's service principal");
    kdc.sign_in(&keytab, "1s");
    // A second of difference between clocks is allowed for.
    std::thread::sleep(Duration::from_secs(4));
    says("", "renew the ticket with `kinit`");
    // None of it reached Squid with a ticket.
    assert!(squid.stop().iter().all(|tunnel| tunnel.result == "TCP_DENIED/407"));
}
