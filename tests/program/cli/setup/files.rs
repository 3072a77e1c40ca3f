//! The files of a run, and of the runs behind it. With `GATEPOST_WRITE_DOCUMENTS=1` the expected files
//! are written instead of compared.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::common::port::free_port;

/// A case: the files that its answers become, the accounts that need a device password, and the
/// listeners.
type Case = (&'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);

const CASES: [Case; 3] = [
    (
        "sending",
        &["proxy.yaml", "tenant-setup.ps1", "tenant-undo.ps1", "exchange-setup.ps1", "exchange-undo.ps1"],
        &["scan@contoso.com", "o'neil@contoso.com"],
        &["smtp"],
    ),
    (
        "reading",
        &["proxy.yaml", "tenant-setup.sh", "tenant-undo.sh", "exchange-setup.ps1", "exchange-undo.ps1"],
        &["tickets@contoso.com"],
        &["imap", "smtp", "ews"],
    ),
    (
        "people",
        &["proxy.yaml", "tenant-setup.ps1", "tenant-undo.ps1", "exchange-setup.ps1", "exchange-undo.ps1"],
        &[],
        &["imap", "graph"],
    ),
];

/// The certificate of the application as the scripts have it.
fn certificate(directory: &Directory) -> Option<String> {
    let pem = std::fs::read(directory.file("app.pem")).ok()?;
    let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
    Some(STANDARD.encode(pem.contents))
}

#[test]
fn answers_become_the_expected_files_and_a_configuration_that_check_accepts() {
    for (case, files, accounts, listeners) in CASES {
        let directory = with_answers(case);
        let output = directory.gatepost(&["setup", "--answers", "answers.yaml"]);
        assert_eq!(code(&output), 0, "{case}: {}", stderr(&output));
        let certificate = certificate(&directory);
        for name in files {
            let written = read(&directory, name);
            let written =
                certificate.iter().fold(written, |text, certificate| text.replace(certificate, "CERTIFICATE"));
            let expected = folder(case).join(name);
            if std::env::var_os("GATEPOST_WRITE_DOCUMENTS").is_some() {
                std::fs::write(&expected, &written).unwrap();
                continue;
            }
            let expected = std::fs::read_to_string(&expected).unwrap_or_default();
            assert!(
                written == expected,
                "{case}/{name} is out of date: GATEPOST_WRITE_DOCUMENTS=1 cargo test --test program setup::files"
            );
        }
        for account in accounts {
            let added = directory.gatepost(&["password", "add", account, "--name", "test"]);
            assert_eq!(code(&added), 0, "{case}: {}", stderr(&added));
        }
        // Before the application exists, the configuration says so.
        let unfinished = directory.gatepost(&["check"]);
        assert!(stderr(&unfinished).contains("is the placeholder of the documentation"), "{}", stderr(&unfinished));

        let output = directory.gatepost(&["setup", "--answers", "answers.yaml", "--client-id", CLIENT_ID]);
        assert_eq!(code(&output), 0, "{case}: {}", stderr(&output));
        assert!(stdout(&output).contains("updated: `proxy.yaml`\n"), "{}", stdout(&output));
        // Another program of this machine may have the usual ports.
        let free = listeners.iter().map(|name| format!("listeners.{name}.bind=127.0.0.1:{}", free_port()));
        let free: Vec<String> = free.collect();
        let free: Vec<&str> = free.iter().flat_map(|setting| ["--set", setting]).collect();
        let checked = directory.gatepost(&[&["check"], &*free].concat());
        assert_eq!(code(&checked), 0, "{case}: {}{}", stdout(&checked), stderr(&checked));
    }
}

#[cfg(unix)]
#[test]
fn keys_and_configuration_belong_to_this_user_alone() {
    let directory = with_answers("reading");
    assert_eq!(code(&directory.gatepost(&["setup", "--answers", "answers.yaml"])), 0);
    for name in ["app.key", "proxy.yaml", "certs/server.key", "certs/ca.key"] {
        assert_eq!(super::super::mode(&directory.file(name)), 0o600, "{name}");
    }
    let pem = std::fs::read(directory.file("app.pem")).unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
    let certificate = pem.parse_x509().unwrap();
    let days = (certificate.validity().not_after.timestamp() - certificate.validity().not_before.timestamp()) / 86_400;
    assert_eq!(days, 365);
    let bits = certificate.public_key().parsed().unwrap().key_size();
    assert!((3_072..=3_088).contains(&bits), "{bits}");
    assert_eq!(certificate.subject().iter_common_name().next().unwrap().as_str(), Ok("Ticket system"));
}

#[test]
fn the_script_for_the_shell_is_one_and_no_answer_leaves_its_place() {
    let directory = with_answers("reading");
    let odd = "it's $(touch x) `y`.yaml";
    let output = directory.gatepost(&["setup", "--answers", "answers.yaml", "-c", odd]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let script = read(&directory, "tenant-setup.sh");
    // Everything before the functions is data.
    let (data, _) = script.split_once("# ----").unwrap();
    let show = format!("{data}\nprintf '%s|' \"$configuration_name\" \"$tenant\" \"$find_application\"");
    let shell =
        std::process::Command::new("bash").arg("-c").arg(show).current_dir(directory.file(".")).output().unwrap();
    assert_eq!(
        String::from_utf8(shell.stdout).unwrap(),
        format!(
            "{odd}|contoso.onmicrosoft.us|applications?$filter=displayName%20eq%20%27Ticket%20system%27\
             &$select=id,appId,displayName,tags,isFallbackPublicClient|"
        )
    );
    assert!(!directory.file("x").exists());
    let parsed = std::process::Command::new("bash").arg("-n").arg(directory.file("tenant-setup.sh")).output().unwrap();
    assert!(parsed.status.success() && parsed.stderr.is_empty(), "{parsed:?}");
}

#[test]
fn a_run_that_was_broken_off_continues_with_what_is_there() {
    let directory = with_answers("sending");
    let setup = || directory.gatepost(&["setup", "--answers", "answers.yaml"]);
    assert_eq!(code(&setup()), 0);
    let key = read(&directory, "app.key");
    // After the key nothing else was written.
    for name in ["app.pem", "proxy.yaml", "tenant-setup.ps1", "tenant-undo.ps1"] {
        std::fs::remove_file(directory.file(name)).unwrap();
    }
    let output = setup();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("created: `app.pem` for `app.key`"), "{}", stdout(&output));
    assert_eq!(read(&directory, "app.key"), key);

    std::fs::remove_file(directory.file("tenant-undo.ps1")).unwrap();
    let output = setup();
    for line in [
        "kept: `app.pem` and `app.key`",
        "kept: `proxy.yaml`",
        "kept: `tenant-setup.ps1`",
        "created: `tenant-undo.ps1`",
    ] {
        assert!(stdout(&output).contains(line), "{line}: {}", stdout(&output));
    }

    // The script has put in the id.
    let yaml = read(&directory, "proxy.yaml").replace(PLACEHOLDER, CLIENT_ID);
    directory.write("proxy.yaml", &yaml);
    let output = setup();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("kept: `proxy.yaml`"), "{}", stdout(&output));
    assert_eq!(read(&directory, "proxy.yaml"), yaml);
}

#[test]
fn nothing_that_is_there_is_overwritten_unless_it_may_be() {
    let directory = with_answers("reading");
    let setup = |more: &[&str]| directory.gatepost(&[&["setup", "--answers", "answers.yaml"], more].concat());
    directory.write("proxy.yaml", "mine\n");
    let output = setup(&[]);
    assert_eq!((code(&output), read(&directory, "proxy.yaml").as_str()), (1, "mine\n"));
    assert!(stderr(&output).contains("`proxy.yaml` is there with another content"), "{}", stderr(&output));
    assert_eq!(names(&directory), ["answers.yaml", "proxy.yaml"]);

    std::fs::remove_file(directory.file("proxy.yaml")).unwrap();
    assert_eq!(code(&setup(&[])), 0);
    let before: Vec<String> = ["app.key", "certs/server.pem"].map(|name| read(&directory, name)).to_vec();
    directory.write("tenant-setup.sh", "mine\n");
    let output = setup(&[]);
    assert_eq!((code(&output), read(&directory, "tenant-setup.sh").as_str()), (1, "mine\n"));
    let output = setup(&["--replace"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("replaced: `tenant-setup.sh`"), "{}", stdout(&output));
    let after: Vec<String> = ["app.key", "certs/server.pem"].map(|name| read(&directory, name)).to_vec();
    assert_eq!(before, after);

    assert_eq!(code(&setup(&["--renew-key"])), 0);
    directory.write("app.key", &before[0]);
    let output = setup(&[]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("the private key does not belong to the certificate"), "{}", stderr(&output));
}

#[test]
fn another_mailbox_keeps_the_application_its_key_and_the_ca() {
    let directory = with_answers("reading");
    let setup = |more: &[&str]| directory.gatepost(&[&["setup", "--answers", "answers.yaml"], more].concat());
    assert_eq!(code(&setup(&["--client-id", CLIENT_ID])), 0);
    let kept = || ["app.key", "app.pem", "certs/ca.pem", "certs/server.pem"].map(|name| read(&directory, name));
    let before = kept();
    let another = ["--mailbox", "tickets@contoso.com", "--mailbox", "sales@contoso.com"];
    let output = setup(&another);
    assert_eq!(code(&output), 1, "{}", stdout(&output));
    assert!(stderr(&output).contains("add `--replace`"), "{}", stderr(&output));
    let output = setup(&[&another[..], &["--replace"]].concat());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let yaml = read(&directory, "proxy.yaml");
    assert!(yaml.contains(CLIENT_ID) && yaml.contains("sales@contoso.com"), "{yaml}");
    assert_eq!(kept(), before);
    // An application belongs to its tenant.
    assert_eq!(code(&setup(&["--replace", "--tenant", "fabrikam.onmicrosoft.us"])), 0);
    assert!(read(&directory, "proxy.yaml").contains(PLACEHOLDER));
}

#[test]
fn a_renewed_key_leaves_the_old_one_beside_it() {
    let directory = with_answers("reading");
    let setup = |more: &[&str]| directory.gatepost(&[&["setup", "--answers", "answers.yaml"], more].concat());
    let pair = |end: &str| ["app.key", "app.pem"].map(|name| read(&directory, &format!("{name}{end}")));
    assert_eq!(code(&setup(&[])), 0);
    let before = pair("");
    let old_certificate = certificate(&directory).unwrap();

    // Nothing is renewed where something else cannot be written.
    let script = read(&directory, "tenant-setup.sh");
    directory.write("tenant-setup.sh", "mine\n");
    assert_eq!(code(&setup(&["--renew-key"])), 1);
    assert_eq!(pair(""), before);
    directory.write("tenant-setup.sh", &script);

    let output = setup(&["--renew-key"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    for line in ["renewed: `app.pem` and `app.key`", "kept: `proxy.yaml`", "updated: `tenant-setup.sh`"] {
        assert!(stdout(&output).contains(line), "{line}: {}", stdout(&output));
    }
    assert_eq!(pair(".old"), before);
    assert!(pair("")[0] != before[0] && pair("")[1] != before[1]);
    let script = read(&directory, "tenant-setup.sh");
    assert!(script.contains(&certificate(&directory).unwrap()) && !script.contains(&old_certificate));

    // The tenant may know the old one alone.
    let output = setup(&["--renew-key"]);
    assert_eq!(code(&output), 1, "{}", stdout(&output));
    assert!(stderr(&output).contains("`app.key.old` is there from an earlier renewal"), "{}", stderr(&output));
    assert_eq!(pair(".old"), before);
    let output = setup(&["--renew-key", "--sign-in", "person"]);
    assert_eq!(code(&output), 2, "{}", stdout(&output));
}

#[test]
fn the_password_of_a_mailbox_needs_no_key_and_comes_with_its_warning() {
    let directory = Directory::new();
    let arguments = ["setup", "--tenant", "contoso.com", "--protocol", "smtp", "--mailbox", "scan@contoso.com"];
    let output = directory.gatepost(&[&arguments[..], &["--sign-in", "password", "--state", "state"]].concat());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("It stops working as soon as MFA applies"), "{}", stdout(&output));
    assert!(stdout(&output).contains("exclude them by Conditional Access"), "{}", stdout(&output));
    assert_eq!(
        names(&directory),
        ["exchange-setup.ps1", "exchange-undo.ps1", "proxy.yaml", "tenant-setup.ps1", "tenant-undo.ps1"]
    );
    assert!(read(&directory, "proxy.yaml").contains("grant: password"));
    // The command for the other machine is the same one.
    let again = stdout(&output).lines().find_map(|line| line.trim().strip_prefix("gatepost ")).unwrap();
    let again = again.replace("=ID", &format!("={CLIENT_ID}"));
    let output = directory.gatepost(&again.split(' ').collect::<Vec<_>>());
    assert_eq!(code(&output), 0, "{again}: {}", stderr(&output));
    assert!(read(&directory, "proxy.yaml").contains(CLIENT_ID), "{}", stdout(&output));
}

#[test]
fn the_answers_of_the_page_are_taken() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/setup.md")).unwrap();
    let (_, behind) = page.split_once("```yaml\n").unwrap();
    let (answers, _) = behind.split_once("```").unwrap();
    let directory = Directory::new();
    directory.write("answers.yaml", answers);
    let output = directory.gatepost(&["setup", "--answers", "answers.yaml", "-c", "etc/proxy.yaml"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    for name in ["proxy.yaml", "app.key", "tenant-setup.ps1", "certs/server.pem"] {
        assert!(directory.file("etc").join(name).exists(), "{name}");
    }
}
