//! The command line as a person or a script meets it: exit codes, and what goes to which stream.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::common;

#[cfg(feature = "sandbox")]
mod audit;
#[cfg(all(unix, feature = "sandbox"))]
mod beside;
mod demo;
#[cfg(feature = "sandbox")]
mod device_passwords;
#[cfg(all(unix, feature = "sandbox"))]
mod devices;
mod gone_reader;
pub(crate) mod import;
pub(crate) mod queue;
#[cfg(all(unix, feature = "sandbox"))]
mod readme;
mod setup;
#[cfg(unix)]
mod standing;
#[cfg(feature = "sandbox")]
mod state;

/// A directory of its own, removed at the end.
struct Directory(common::directory::Directory);

impl Directory {
    fn new() -> Self {
        Self(common::directory::Directory::new())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.file(name)
    }

    fn write(&self, name: &str, text: &str) {
        self.0.write(name, text);
    }

    fn gatepost(&self, arguments: &[&str]) -> Output {
        self.gatepost_with(arguments, "", &[])
    }

    fn gatepost_with(&self, arguments: &[&str], input: &str, variables: &[(&str, &str)]) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gatepost"))
            .args(arguments)
            .current_dir(self.0.path())
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that does not read its input may be gone already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

const RIGHT: &str = "listeners: {smtp: {bind: '127.0.0.1:21587'}}\n\
                     microsoft: {tenant: contoso.com, client_id: 2f5c7e10-7d0a-4c1e-9f6b-0d4a5b6c7d8e}\n";

#[test]
fn a_right_configuration_is_told_in_short() {
    let directory = Directory::new();
    directory.write("proxy.yaml", RIGHT);
    let output = directory.gatepost(&["check"]);
    assert_eq!(
        (code(&output), stdout(&output), stderr(&output)),
        (
            0,
            "proxy.yaml: no problems found. To test the connection to Microsoft, run `gatepost doctor`.\n\nlisteners\n  smtp  smtp on 127.0.0.1:21587, tls none, to smtp.office365.com:587 \
             (starttls)\naccounts\n  1 entry with grant password\nforward proxy\n  none\n",
            ""
        )
    );
    let variables = [("HTTPS_PROXY", "http://proxy:3128")];
    let output = directory.gatepost_with(&["check", "--json"], "", &variables);
    let value: serde_json::Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!(code(&output), 0);
    assert_eq!(
        value,
        serde_json::json!({
            "ok": true,
            "listeners": [{
                "name": "smtp", "protocol": "smtp", "bind": ["127.0.0.1:21587"], "tls": "none",
                "upstream": "smtp.office365.com:587", "upstream_tls": "starttls",
            }],
            "accounts": {"password": 1, "client_credentials": 0, "authorization_code": 0, "device_code": 0},
            "forward_proxy": ["http://proxy:3128"],
            "notes": ["connections go through the forward proxy `http://proxy:3128`, because `HTTPS_PROXY` is set"],
            "warnings": [],
        })
    );
}

#[test]
fn a_wrong_configuration_ends_with_3() {
    let directory = Directory::new();
    directory.write("x.yaml", &RIGHT.replace("21587", "21587, tsl: none"));
    for arguments in [&["check", "-c", "x.yaml"][..], &["-c", "x.yaml"], &["run", "--config", "x.yaml"]] {
        let output = directory.gatepost(arguments);
        assert_eq!((code(&output), stdout(&output)), (3, ""), "{arguments:?}");
        assert!(stderr(&output).ends_with("1 mistake in the configuration\n"), "{}", stderr(&output));
    }
    let output = directory.gatepost(&["check", "-c", "x.yaml", "--json", "--log-level", "loud"]);
    let value: serde_json::Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!(code(&output), 3);
    assert_eq!(value["problems"][1]["source"], "--set log.level");
    assert_eq!(
        value["problems"][0],
        serde_json::json!({
            "source": "x.yaml", "line": 1, "column": 26, "key": "listeners.smtp.bind",
            "reason": "`127.0.0.1:21587, tsl: none` is not an address with a port",
            "hint": "write `localhost` or a numeric address, and a port, such as `localhost:1143` or `192.0.2.7:143`",
        })
    );
}

#[test]
fn without_a_file_the_environment_is_enough() {
    let directory = Directory::new();
    let output = directory.gatepost(&["check"]);
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).starts_with("proxy.yaml: there is no such file\n  hint: copy `proxy.example.yaml` to it"));
    let variables = [
        ("GATEPOST__LISTENERS__IMAP__BIND", "127.0.0.1:1143"),
        ("GATEPOST__MICROSOFT__TENANT", "contoso.com"),
        ("GATEPOST__MICROSOFT__CLIENT_ID", "2f5c7e10-7d0a-4c1e-9f6b-0d4a5b6c7d8e"),
    ];
    let output = directory.gatepost_with(&["check", "--set", "listeners.imap.bind=[::1]:7"], "", &variables);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("imap on [::1]:7,"), "{}", stdout(&output));
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    let directory = Directory::new();
    for arguments in [
        &["frobnicate"][..],
        &["check", "--frobnicate"],
        &["--set", "novalue"],
        &["cert", "--host", "a b"],
        &["cert", "--days", "0"],
        &["cert", "--key", "dsa"],
        &["password"],
    ] {
        let output = directory.gatepost(arguments);
        assert_eq!((code(&output), stdout(&output)), (2, ""), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
    let help = directory.gatepost(&["--help"]);
    assert_eq!(code(&help), 0);
    for command in ["run", "check", "demo", "login", "logout", "cert", "password"] {
        assert!(stdout(&help).contains(&format!("\n  {command} ")), "{}", stdout(&help));
    }
    let version = directory.gatepost(&["--version"]);
    assert_eq!(stdout(&version), concat!("gatepost ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn of_two_commands_at_once_each_leaves_a_key_and_its_certificate() {
    for _ in 0..10 {
        let directory = Directory::new();
        let at_once = |arguments: &[&str]| {
            let mut codes = std::thread::scope(|scope| {
                let one = scope.spawn(|| code(&directory.gatepost(arguments)));
                [code(&directory.gatepost(arguments)), one.join().unwrap()]
            });
            codes.sort_unstable();
            codes
        };
        assert_eq!(at_once(&["cert"]), [0, 1], "the second one finds them there");
        for _ in 0..2 {
            for name in ["ca", "server"] {
                let read = |kind| std::fs::read(directory.file(&format!("certs/{name}.{kind}"))).unwrap();
                let (_, pem) = x509_parser::pem::parse_x509_pem(&read("pem")).unwrap();
                let key = rcgen::KeyPair::from_pem(std::str::from_utf8(&read("key")).unwrap()).unwrap();
                let certificate = pem.parse_x509().unwrap();
                assert_eq!(certificate.public_key().raw, rcgen::PublicKeyData::subject_public_key_info(&key), "{name}");
            }
            assert_eq!(at_once(&["cert", "--force"]), [0, 0]);
        }
    }
}

#[test]
fn certificates_are_made_once_and_used_by_a_listener() {
    let directory = Directory::new();
    let certs = directory.file("certs");
    let read = |name: &str| std::fs::read_to_string(certs.join(name)).unwrap();

    let output = directory.gatepost(&["cert", "--host", "mail.example", "--host", "192.0.2.7"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).starts_with("Created a local CA and a server certificate.\n"));
    assert!(stdout(&output).contains("certificate: certs/server.pem"));
    #[cfg(unix)]
    for (name, expected) in [("ca.key", 0o600), ("server.key", 0o600)] {
        assert_eq!(mode(&certs.join(name)), expected, "{name}");
    }
    let mut names: Vec<String> =
        std::fs::read_dir(&certs).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["ca.key", "ca.pem", "server.key", "server.pem"]);

    let (authority, server) = (read("ca.pem"), read("server.pem"));
    let again = directory.gatepost(&["cert"]);
    assert_eq!(code(&again), 1);
    assert_eq!(
        stderr(&again),
        "gatepost: `certs/server.pem` already exists. Name another `--directory`, or replace it with `--force`\n"
    );
    assert_eq!(read("server.pem"), server);

    let forced = directory.gatepost(&["cert", "--force"]);
    assert_eq!(code(&forced), 0, "{}", stderr(&forced));
    assert!(stdout(&forced).starts_with("Created a server certificate with the existing CA.\n"));
    assert_eq!(read("ca.pem"), authority);
    assert_ne!(read("server.pem"), server);

    directory.write(
        "proxy.yaml",
        &RIGHT.replace(
            "'127.0.0.1:21587'",
            "'127.0.0.1:21587', tls: implicit, certificate: certs/server.pem, private_key: certs/server.key",
        ),
    );
    assert_eq!(code(&directory.gatepost(&["check"])), 0);
    let mismatch = directory.gatepost(&["check", "--set", "listeners.smtp.private_key=certs/ca.key"]);
    assert_eq!(code(&mismatch), 3);
    assert!(stderr(&mismatch).starts_with(
        "--set listeners.smtp.private_key: listeners.smtp.private_key: the private key does not belong to the certificate\n"
    ));
}

#[test]
fn a_certificate_has_the_wanted_kind_of_key_and_the_name_of_its_first_host() {
    let directory = Directory::new();
    // Its common name, and the algorithms of its key and of its issuer's signature.
    let made = |arguments: &[&str], file: &str| {
        let output = directory.gatepost(&[&["cert"], arguments].concat());
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let pem = std::fs::read(directory.file(file)).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
        let certificate = pem.parse_x509().unwrap();
        let name = certificate.subject().iter_common_name().next().unwrap().as_str().unwrap().to_owned();
        let key = certificate.public_key().algorithm.algorithm.to_id_string();
        let bits = certificate.public_key().parsed().unwrap().key_size();
        (name, key, bits, certificate.signature_algorithm.algorithm.to_id_string(), stdout(&output).to_owned())
    };
    const EC: (&str, &str) = ("1.2.840.10045.2.1", "1.2.840.10045.4.3.2");
    const RSA: (&str, &str) = ("1.2.840.113549.1.1.1", "1.2.840.113549.1.1.11");
    let long = format!("{}.example", "a".repeat(60));
    for (arguments, name, (key, signature), bits) in [
        (&["--directory", "a"][..], "localhost", EC, 256),
        (&["--directory", "b", "--host", "192.0.2.7", "--host", "mail.example"], "192.0.2.7", EC, 256),
        (&["--directory", "c", "--host", &long], "Gatepost", EC, 256),
        (
            &["--directory", "d", "--host", "Mail.example", "--host", "x.example", "--key", "rsa"],
            "mail.example",
            RSA,
            3_072,
        ),
    ] {
        let file = format!("{}/server.pem", arguments[1]);
        let told = made(arguments, &file);
        let (got_name, got_key, got_bits, got_signature, text) = told;
        assert_eq!(
            (got_name.as_str(), got_key.as_str(), got_signature.as_str()),
            (name, key, signature),
            "{arguments:?}"
        );
        assert!((got_bits.saturating_sub(16)..=got_bits).contains(&bits), "{got_bits}");
        assert!(!text.contains("of the other kind"), "{text}");
    }
    let (_, key, _, signature, text) = made(&["--directory", "a", "--key", "rsa", "--force"], "a/server.pem");
    assert_eq!((key.as_str(), signature.as_str()), (RSA.0, EC.1), "the authority stays");
    assert!(text.contains("The CA has a key of the other kind"), "{text}");
}

#[test]
fn an_authority_of_somebody_else_is_not_used() {
    let directory = Directory::new();
    let made = rcgen::generate_simple_self_signed(vec!["somebody".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["somebody".to_owned()]).unwrap();
    directory.write("ca.pem", &made.cert.pem());
    let half = directory.gatepost(&["cert", "--directory", "."]);
    assert_eq!(code(&half), 1);
    assert!(stderr(&half).contains("has only one of ca.pem and ca.key"), "{}", stderr(&half));
    directory.write("ca.key", &other.signing_key.serialize_pem());
    let mismatch = directory.gatepost(&["cert", "--directory", "."]);
    assert!(stderr(&mismatch).contains("the private key does not belong to the certificate"), "{}", stderr(&mismatch));
    directory.write("ca.key", &made.signing_key.serialize_pem());
    let foreign = directory.gatepost(&["cert", "--directory", "."]);
    assert_eq!(code(&foreign), 1);
    assert!(stderr(&foreign).contains("was not created by `gatepost cert`"), "{}", stderr(&foreign));
    assert!(!directory.file("server.pem").exists());
}

#[test]
fn a_password_hash_works_in_the_configuration() {
    let directory = Directory::new();
    let hash = directory.gatepost_with(&["password", "hash"], "correct horse battery\n", &[]);
    assert_eq!((code(&hash), stderr(&hash)), (0, ""));
    let hash = stdout(&hash).trim_end();
    directory.write(
        "proxy.yaml",
        &format!(
            "{RIGHT}accounts: [{{login: a@contoso.com, grant: client_credentials, client_secret: {{file: secret}}, \
             passwords: ['{hash}']}}]\n"
        ),
    );
    directory.write("secret", "hunter2\n");
    let output = directory.gatepost(&["check"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("1 entry with grant client_credentials"));

    let short = directory.gatepost_with(&["password", "hash"], "elevenchars\n", &[]);
    assert_eq!((code(&short), stdout(&short)), (1, ""));
    assert_eq!(stderr(&short), "gatepost: the password has fewer than 12 characters. Take a longer one\n");

    let generated = directory.gatepost(&["password", "hash", "--generate"]);
    let mut lines = stdout(&generated).lines();
    let password = lines.next().unwrap().strip_prefix("password: ").unwrap();
    assert_eq!(password.len(), 20);
    assert!(lines.next().unwrap().starts_with("hash:     $argon2id$v=19$m=32768,t=2,p=1$"));
}

#[cfg(unix)]
#[test]
fn a_secret_that_everybody_can_read_is_noted() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new();
    directory.write("proxy.yaml", &RIGHT.replace("tenant:", "client_secret: hunter2, tenant:"));
    let path = directory.file("proxy.yaml");
    let mut seen = Vec::new();
    for bits in [0o644, 0o640] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(bits)).unwrap();
        let output = directory.gatepost(&["check"]);
        assert_eq!(code(&output), 0);
        assert!(!stdout(&output).contains("hunter2"));
        seen.push(stdout(&output).contains("every user of this machine can read it"));
    }
    assert_eq!(seen, [true, false]);
}
