//! The other tests prove something only if the mailbox does take nothing but a token of Entra's,
//! and only if Squid is the one way to it: that is shown here, without Gatepost.

use std::net::Ipv4Addr;
use std::process::Command;

use super::authority::UPSTREAM_NAME;
use super::kerberos::Kdc;
use super::process::{Finished, run};
use super::squid::{self, Asks, Squid};
use super::world::World;

/// Signs in to Dovecot itself.
fn sign_in(world: &World, scheme: &str, port: u16, options: &[&str]) -> Finished {
    let mut command = Command::new("curl");
    command.args(["--silent", "--verbose", "--noproxy", "*", "--max-time", "60", "--ssl-reqd", "--cacert"]);
    command.arg(&world.authority.root).args(options).arg(format!("{scheme}://localhost:{port}/"));
    run(&mut command)
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn the_mailbox_takes_only_tokens() {
    let world = World::shared();
    let person = world.person("control", []);
    let token = world.entra.grant(&person.login);
    let services = [("imaps", world.dovecot.imap), ("pop3s", world.dovecot.pop3), ("smtp", world.dovecot.submission)];
    for (scheme, port) in services {
        let with_password =
            sign_in(&world, scheme, port, &["--user", &format!("{}:{}", person.login, person.password)]);
        assert_eq!(with_password.status.code(), Some(67), "{scheme}: {}", with_password.stderr);

        let bearer = ["--user", &person.login, "--login-options", "AUTH=XOAUTH2", "--oauth2-bearer"];
        let made_up = sign_in(&world, scheme, port, &[&bearer[..], &["eyJh.bGl.lZA"]].concat());
        assert_eq!(made_up.status.code(), Some(67), "{scheme}: {}", made_up.stderr);
        let logins = world.dovecot.logins(&person.login).len();
        sign_in(&world, scheme, port, &[&bearer[..], &[&token]].concat());
        assert_eq!(world.dovecot.logins(&person.login).len(), logins + 1, "{scheme}: a login with a token");
    }
    assert_eq!(world.entra.introspections(&person.login), 3);

    let other = world.person("control", []);
    let bearer = ["--user", &other.login, "--login-options", "AUTH=XOAUTH2", "--oauth2-bearer", &token];
    let foreign = sign_in(&world, "imaps", world.dovecot.imap, &bearer);
    assert_eq!(foreign.status.code(), Some(67), "a token opens its own mailbox only: {}", foreign.stderr);
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn the_proxy_is_the_only_way_to_the_upstream_names() {
    let world = World::shared();
    let person = world.person("control-proxy", []);
    let token = world.entra.grant(&person.login);
    for squid in [Asks::Nothing, Asks::Basic].map(Squid::start) {
        let basic = matches!(squid.asks, Asks::Basic);
        let dial = |options: &[&str]| {
            let mut command = Command::new("curl");
            command.args(["--silent", "--verbose", "--max-time", "60", "--cacert"]).arg(&world.authority.root);
            command.args(["--user", &person.login, "--login-options", "AUTH=XOAUTH2", "--oauth2-bearer", &token]);
            run(command.args(options).arg(format!("imaps://{UPSTREAM_NAME}:{}/", world.dovecot.imap)))
        };
        // 6: the host could not be resolved.
        assert_eq!(dial(&["--noproxy", "*"]).status.code(), Some(6));
        let proxy = format!("http://127.0.0.1:{}", squid.port);
        let through = ["--proxytunnel", "--proxy", &proxy];
        let without_password = dial(&through);
        assert_eq!(without_password.status.success(), !basic, "{}", without_password.stderr);
        let user = format!("{}:{}", squid::USER, squid::PASSWORD);
        dial(&[&through[..], &["--proxy-user", &user]].concat()).expect_success("through Squid");

        let from = format!("rip={}", squid.leaves_from);
        assert!(world.dovecot.logins(&person.login).last().unwrap().contains(&from));
        let (user, tunnels) = (squid.user(), squid.stop());
        let last = tunnels.last().unwrap();
        assert_eq!(last.result, "TCP_TUNNEL/200", "{tunnels:#?}");
        assert_eq!(last.user, user);
    }
}

#[test]
#[ignore = "needs Dovecot, Squid, MIT Kerberos and mail clients: run tests/run"]
fn the_kerberos_proxy_wants_a_ticket() {
    let world = World::shared();
    let kdc = Kdc::start(Ipv4Addr::LOCALHOST);
    kdc.sign_in(&kdc.user_keytab("user.keytab"), "1h");
    let environment = kdc.environment();
    let squid = Squid::start(Asks::Negotiate(kdc));
    let dial = |cache: &str| {
        let mut command = Command::new("curl");
        command.envs(environment.clone()).env("KRB5CCNAME", cache).args(["--silent", "--verbose", "--max-time", "60"]);
        command.arg("--cacert").arg(&world.authority.root).args([
            "--proxytunnel",
            "--proxy-negotiate",
            "--proxy-user",
            ":",
        ]);
        command.args(["--proxy", &format!("http://localhost:{}", squid.port)]);
        run(command.arg(format!("imaps://{UPSTREAM_NAME}:{}/", world.dovecot.imap)))
    };
    let cache = &environment.iter().find(|(name, _)| *name == "KRB5CCNAME").unwrap().1;
    let (with_ticket, without) = (dial(cache), dial("FILE:/nonexistent/cache"));
    assert!(with_ticket.stderr.contains("200 Connection established"), "{}", with_ticket.stderr);
    assert!(!without.stderr.contains("200 Connection established"), "{}", without.stderr);
    let user = squid.user();
    let good = squid.stop().into_iter().filter(|tunnel| tunnel.result == "TCP_TUNNEL/200").map(|tunnel| tunnel.user);
    assert_eq!(good.collect::<Vec<_>>(), [user]);
}
