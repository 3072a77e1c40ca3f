//! SIGHUP, `gatepost reload`, and files that change.

use std::os::unix::fs::symlink;

use rustix::process::Signal;

use crate::life::client::Client;
use crate::life::program::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_and_the_command_reload_and_the_command_says_what_came_of_it() {
    let world = World::new().await;
    world.configure("  reload_check: 0s");
    let mut program = world.start(&[]);
    let mut session = Client::imap(world.imap).await;

    let said = world.run(&["reload"]);
    assert_eq!(said.status.code(), Some(0), "{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(String::from_utf8_lossy(&said.stdout), "nothing has changed\n");

    world.configure_with("  reload_check: 0s", "log: {format: json}\n");
    program.signal(Signal::HUP);
    program.says("\"message\":\"configuration reloaded: taken over: log\"");

    world.configure("  reload_check: 0s\n  drain: whenever\n  login: never");
    for arguments in [&["reload"][..], &["reload", "--socket", "gatepost.sock"]] {
        let said = world.run(arguments);
        assert_eq!(said.status.code(), Some(3));
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(text.contains("limits.drain") && text.contains("limits.login"), "{text}");
    }
    assert!(world.run(&["reload", "--config", "absent.yaml"]).status.code() == Some(3));

    world.configure("  reload_check: 0s\n  drain: 1s");
    let said = world.run(&["reload"]);
    assert_eq!(String::from_utf8_lossy(&said.stdout), "taken over: limits, log\n");
    session.works().await;
    program.signal(Signal::TERM);
    assert!(program.ended().success());
    let said = world.run(&["reload"]);
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&said.stderr).contains("no service is running here"));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_change_are_noticed_whatever_leads_to_them() {
    let world = World::new().await;
    world.configure("  reload_check: 100ms");
    let mut program = world.start(&[]);
    world.configure("  reload_check: 100ms\n  login: 50s");
    program.says("taken over: limits");

    // As Kubernetes replaces a mounted secret: the file is a link into a directory, which is a link
    // as well.
    let mut ca = std::fs::read_to_string(world.path("ca.pem")).unwrap();
    for version in ["one", "two"] {
        std::fs::create_dir(world.path(version)).unwrap();
        ca.push_str("# another version\n");
        world.write(&format!("{version}/ca.pem"), &ca);
    }
    symlink("one", world.path("current")).unwrap();
    symlink("current/ca.pem", world.path("ca.link")).unwrap();
    std::fs::rename(world.path("ca.link"), world.path("ca.pem")).unwrap();
    program.says("taken over: trust");
    symlink("two", world.path("next")).unwrap();
    std::fs::rename(world.path("next"), world.path("current")).unwrap();
    program.says_times("taken over: trust", 2);

    // A mistake is told once, however long it stays, and mending it is noticed as well.
    world.write("ca.pem", "nothing of the kind\n");
    program.says("reload failed, the former configuration stays active");
    Client::imap(world.imap).await.works().await;
    world.write("ca.pem", world.sandbox.ca_pem());
    program.says_times("taken over: trust", 3);
    assert_eq!(program.log().matches("reload failed, the former configuration stays active").count(), 1);
    Client::imap(world.imap).await.works().await;
}

#[tokio::test]
async fn a_listeners_certificate_that_expires_is_told_from_the_start_on() {
    let world = World::new().await;
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 31);
    world.write("c.pem", &params.self_signed(&key).unwrap().pem());
    world.write("c.key", &key.serialize_pem());
    world.configure("");
    let tls = "tls: starttls, certificate: c.pem, private_key: c.key";
    let yaml = std::fs::read_to_string(world.path("proxy.yaml")).unwrap();
    world.write("proxy.yaml", &yaml.replacen("imap: {", &format!("imap: {{{tls}, "), 1));
    let mut program = world.start(&[]);
    program.says("ERROR the certificate of listener `imap` in `");
    assert!(program.log().contains("c.pem` expired on 2020-01-31 00:00 UTC. "), "{}", program.log());
    let told = String::from_utf8(world.run(&["status"]).stdout).unwrap();
    assert!(told.contains("needs attention (1)") && told.contains(" expired on 2020-01-31"), "{told}");
}
