//! A configuration that a command reads, beside the service: which secrets it needs, and where the
//! service is.

use std::path::{Path, PathBuf};

use gatepost_config::load::load_text_for;
use gatepost_config::problem::Problems;
use gatepost_config::{Config, Credential, ListenerTls, Purpose, State};

use crate::support::{Outside, complete, microsoft, pair, rsa_pair, told};

fn load_file(outside: &Outside, purpose: Purpose, file: &str, yaml: &str) -> Result<Config, Problems> {
    let yaml = complete(yaml);
    load_text_for(purpose, Some((Path::new(file), &yaml)), &[], &outside.variables, outside)
}

fn load(outside: &Outside, purpose: Purpose, yaml: &str) -> Result<Config, Problems> {
    load_file(outside, purpose, "proxy.yaml", yaml)
}

/// Everything that can be a secret, each with the same kind of source.
fn secrets(source: &str) -> String {
    format!(
        "{}listeners:\n  imap: {{bind: 127.0.0.1:1143, tls: implicit, certificate: server.pem, private_key: {}}}\n\
         accounts: [{{login: a@contoso.com, grant: client_credentials, passwords: [{source}]}}]\n\
         forward_proxy: {{url: 'http://p:1', authentication: basic, username: u, password: {source}}}\n\
         trust: {{additional_ca: {}}}\n\
         state: {{directory: /srv, key: {{file: a.key}}}}\n\
         admin: {{bind: 127.0.0.1:9180, token: {source}}}\n",
        microsoft(&format!("client_secret: {source}")),
        source.replace("env", "credential"),
        source.replace("env", "credential"),
    )
}

#[test]
fn a_command_reads_the_secrets_that_it_needs() {
    let outside = Outside::with_files(&[("server.pem", &pair("a").0)]);
    let yaml = secrets("{env: ABSENT}");
    let config = load(&outside, Purpose::Store, &yaml).unwrap();
    let account = &config.accounts.entries()[0];
    assert_eq!(*account.application.credential, Credential::NotRead);
    assert!(account.passwords.is_empty() && config.unproved.is_empty(), "a password is written, whichever");
    assert_eq!(config.forward_proxy.as_ref().unwrap().authentication, None);
    assert!(!config.admin.token.as_ref().unwrap().is(""));
    assert_eq!(config.trust.additional_ca.as_ref().unwrap().1, b"");

    let keys = |purpose| -> Vec<String> {
        let problems = load(&outside, purpose, &yaml).unwrap_err();
        problems.iter().map(|problem| problem.key.clone()).collect()
    };
    let of_sign_in = ["microsoft.client_secret.env", "forward_proxy.password.env"];
    // A person signs in without the credential of the application.
    assert_eq!(keys(Purpose::SignIn), [of_sign_in[1], "trust.additional_ca"]);
    let without = load(&outside, Purpose::SignIn, &microsoft("client_secret: {env: ABSENT}")).unwrap();
    assert_eq!(*without.accounts.entries()[0].application.credential, Credential::NotRead);
    let of_check = ["accounts[0].passwords[0].env", "admin.token.env"];
    assert_eq!(keys(Purpose::Check), [of_sign_in[0], of_check[0], of_sign_in[1], of_check[1]]);
    let of_service = ["listeners.imap.private_key.credential", "trust.additional_ca.credential"];
    assert_eq!(
        keys(Purpose::Service),
        [of_sign_in[0], of_service[0], of_check[0], of_sign_in[1], of_service[1], of_check[1]]
    );
    let trust = load(&outside, Purpose::Store, "trust: {additional_ca: server.pem}").unwrap().trust;
    assert!(!trust.additional_ca.unwrap().1.is_empty(), "a Redis may be reached by it");
    let store = "state: {store: {env: ABSENT}, key: {file: a.key}}";
    assert!(load(&outside, Purpose::Store, store).unwrap_err().to_string().contains("state.store.env"));
}

#[test]
fn a_check_notes_what_only_the_service_has() {
    let outside = Outside::with_files(&[("server.pem", &pair("a").0)]);
    let yaml = secrets("{credential: x}");
    let note = "not checked here, because only the running service has them: `microsoft.client_secret`, \
                `accounts[0].passwords[0]`, `listeners.imap.private_key`, `forward_proxy.password`, `trust.additional_ca`, \
                `admin.token`. To check them, run this command while the service runs, as its user or as root";
    assert!(load(&outside, Purpose::Check, &yaml).unwrap().notes.contains(&note.to_owned()));
    let store = "state: {store: {credential: x}, key: {credential: y}}";
    let config = load(&outside, Purpose::Check, store).unwrap();
    assert_eq!(config.state, State::NotRead);
    assert!(config.notes[0].contains("`state.store`, `state.key`"), "{:?}", config.notes);

    // A path that systemd makes counts, and a missing file elsewhere does not.
    let at = |path: &str| {
        let secret = microsoft(&format!("client_secret: {{file: {path}}}"));
        load(&outside, Purpose::Check, &secret)
    };
    assert!(at("/run/credentials/gatepost.service/x").unwrap().notes[0].contains("`microsoft.client_secret`."));
    assert!(at("/etc/x").is_err());

    // Whoever has the service's environment has its secrets.
    let mut within = Outside::with_variables(&[("CREDENTIALS_DIRECTORY", "/run/credentials/gatepost.service")]);
    assert!(load(&within, Purpose::Check, &microsoft("client_secret: {credential: x}")).is_err());
    within.files.insert("/run/credentials/gatepost.service/x".into(), b"hunter2".to_vec());
    assert!(load(&within, Purpose::Check, &microsoft("client_secret: {credential: x}")).unwrap().notes.is_empty());
    // Beside the running service they are read where they are.
    within.variables.clear();
    let config = load(&within, Purpose::SignIn, &microsoft("client_secret: {credential: x}")).unwrap();
    assert!(matches!(&*config.accounts.entries()[0].application.credential, Credential::Secrets(_)));
}

#[test]
fn a_file_may_be_a_credential() {
    let ((chain, key), (certificate, rsa_key)) = (pair("a"), rsa_pair());
    let mut outside = Outside::with_files(&[
        ("/c/chain", &chain),
        ("/c/key", &key),
        ("/c/app.pem", &certificate),
        ("/c/app.key", &rsa_key),
    ]);
    outside.variables.insert("CREDENTIALS_DIRECTORY".into(), "/c".into());
    let tls = "certificate: {credential: chain}, private_key: {credential: key}";
    let yaml = format!(
        "{}listeners:\n  imap: {{bind: 127.0.0.1:1143, tls: implicit, {tls}}}\n\
         trust: {{additional_ca: {{credential: chain}}, destinations: [{{host: a, additional_ca: {{credential: chain}}}}]}}\n\
         admin: {{bind: 127.0.0.1:9180, {tls}}}\n",
        microsoft("client_certificate: {certificate: {credential: app.pem}, private_key: {credential: app.key}}"),
    );
    let config = load(&outside, Purpose::Service, &yaml).unwrap();
    let path = |name: &str| PathBuf::from("/c").join(name);
    let ListenerTls::Implicit(identity) = &config.listeners[0].tls else { panic!() };
    assert_eq!((&identity.certificate, &identity.private_key), (&path("chain"), &path("key")));
    assert_eq!(config.admin.tls.as_ref(), Some(identity));
    assert_eq!(config.trust.additional_ca.as_ref().unwrap().0, path("chain"));
    assert_eq!(config.trust.destinations[0].additional_ca.0, path("chain"));
    let Credential::Certificates(certificates) = &*config.accounts.entries()[0].application.credential else {
        panic!()
    };
    assert_eq!(certificates[0].private_key, Some(path("app.key")));

    let wrong =
        |with: &str| told(&load(&outside, Purpose::Service, &yaml.replacen("{credential: key}", with, 1)).unwrap_err());
    for (with, expected) in [
        ("{file: key}", "listeners.imap.private_key: a file is expected here; write its path, or `{credential: NAME}`"),
        (
            "{credential: absent}",
            "listeners.imap.private_key: `/c/absent` cannot be read: entity not found; name a PEM file that the user who runs Gatepost can read. `gatepost cert` makes one for tests",
        ),
    ] {
        assert_eq!(wrong(with), [expected]);
    }
    assert!(wrong("{credential: ../key}")[0].contains("`../key` is not the name of a credential"));
    assert!(wrong("{credential: key, file: key}")[0].contains("`file` is not a known key"));
}

#[test]
fn the_configuration_of_the_unit_leads_to_the_directories_of_the_unit() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd/gatepost.service");
    let unit = std::fs::read_to_string(unit).unwrap();
    let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim();
    let (_, file) = value("ExecStart=").split_once("--config ").unwrap();
    let socket = Path::new("/run").join(value("RuntimeDirectory=")).join("gatepost.sock");
    let outside = Outside::default();
    let sockets =
        |file: &str, yaml: &str| load_file(&outside, Purpose::Check, file, yaml).unwrap().admin.service_sockets;
    assert_eq!(sockets(file, ""), std::slice::from_ref(&socket));
    assert_eq!(sockets(file, "state: {directory: /srv}"), [Path::new("/srv/gatepost.sock"), &socket]);
    assert_eq!(sockets(file, "admin: {socket: /srv/s}"), [Path::new("/srv/s")]);
    assert_eq!(sockets(file, "admin: {socket: none}"), [] as [PathBuf; 0]);
    assert_eq!(sockets("proxy.yaml", ""), [] as [PathBuf; 0]);
    // The service itself listens where systemd says, and nowhere without that.
    assert_eq!(load_file(&outside, Purpose::Service, file, "").unwrap().admin.socket, None);
}
