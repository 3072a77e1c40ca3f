//! The report as a whole: places, order, and what it never shows.

use crate::directory::Directory;
use crate::support::{HASH, Outside, complete};

#[test]
fn text_that_is_not_yaml_is_told_with_its_place() {
    for (yaml, expected) in [
        ("listeners: [\n", "proxy.yaml:1:12: this is not YAML that can be read: unclosed bracket '['"),
        ("a: &x 1\n", "proxy.yaml:1:7: anchors, aliases and merge keys are not read here"),
        ("a: *x\n", "proxy.yaml:1:4: anchors, aliases and merge keys are not read here"),
        ("- a\n", "proxy.yaml:1:1: the file does not hold keys with values"),
        ("a: 1\n---\nb: 2\n", "proxy.yaml:2:1: the file holds more than one document"),
    ] {
        let problems = Outside::default().load(yaml).unwrap_err().to_string();
        assert!(problems.starts_with(expected), "{problems}");
    }
    let deep = Outside::default().load(&"[".repeat(1_000)).unwrap_err();
    assert_eq!(deep.iter().count(), 1);
}

/// What `gatepost check` says of files in a directory of their own.
fn report_of_files(files: &[(&str, String)]) -> String {
    let directory = Directory::new();
    for (name, content) in files {
        directory.write(name, content);
    }
    let loaded = gatepost_config::load::load(Some(&directory.file("proxy.yaml")), &[], []);
    let report = loaded.map(|_| ()).unwrap_err().to_string();
    report.replace(&format!("{}/", directory.path().display()), "")
}

#[test]
fn a_limit_is_named_where_it_is_passed() {
    let accounts: String =
        (0..12_000).map(|n| format!("  - {{login: a{n}@contoso.com, mailbox: b@contoso.com}}\n")).collect();
    for (yaml, reason, hint) in [
        (
            format!("accounts:\n{accounts}"),
            "the file holds more than 50,000 keys, values and lists",
            "hint: write one account with a wildcard, such as `login: \"*@contoso.com\"`, for those that are alike",
        ),
        (
            format!("listeners: {{{}", "a: {".repeat(20)),
            "the file is nested more than 16 levels deep",
            "hint: `proxy.example.yaml` shows what is needed",
        ),
    ] {
        let problems = Outside::default().load(&yaml).unwrap_err().to_string();
        assert!(problems.contains(reason) && problems.contains(hint), "{problems}");
    }

    let long = "#".repeat(1024 * 1024 + 1);
    let report = report_of_files(&[("proxy.yaml", long.clone())]);
    assert!(
        report.contains("proxy.yaml: the file cannot be read: it is longer than 1 MiB, the most that Gatepost reads"),
        "{report}"
    );
    assert!(report.contains("hint: shorten it"), "{report}");
    assert!(!report.contains("readable for the user"), "{report}");

    for line in [
        "microsoft: {tenant: contoso.com, client_id: 00000000-0000-0000-0000-000000000000, client_secret: {file: long}}",
        "microsoft: {tenant: contoso.com, client_id: 00000000-0000-0000-0000-000000000000, client_certificate: {certificate: long}}",
        "listeners: {imap: {bind: '127.0.0.1:1143', tls: implicit, certificate: long, private_key: long}}",
        "admin: {bind: '127.0.0.1:9180', certificate: long, private_key: long}",
        "trust: {additional_ca: long}",
    ] {
        let report = report_of_files(&[("proxy.yaml", complete(line)), ("long", long.clone())]);
        assert!(
            report.contains("`long` cannot be read: it is longer than 1 MiB, the most that Gatepost reads"),
            "{report}"
        );
        assert!(report.contains("hint: name the right file, or shorten this one"), "{report}");
    }
}

#[test]
fn all_mistakes_come_at_once_in_the_order_of_the_file() {
    let yaml = "listeners:\n  smtp:\n    bind: 127.0.0.1\n    tsl: none\nmicrosoft:\n  tenant: contoso\n\
                accounts: nobody\nlimits:\n  drain: 5\nlog: {level: loud}\n";
    let outside = Outside::with_variables(&[("GATEPOST__LISTENERS__SMTP__TLS", "ssl")]);
    let problems = outside.load_with(yaml, &[("trust.x", "1")]).unwrap_err();
    let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "listeners.smtp.bind",
            "listeners.smtp.tsl",
            "microsoft.tenant",
            "accounts",
            "limits.drain",
            "log.level",
            "listeners.smtp.tls",
            "trust.x",
        ]
    );
    let text = problems.to_string();
    assert!(text.starts_with(
        "proxy.yaml:3:11: listeners.smtp.bind: `127.0.0.1` has no port\n    |\n  3 |     bind: 127.0.0.1\n    \
         |           ^^^^^^^^^\n  hint: write address and port, such as `127.0.0.1:1143`\n"
    ));
    assert!(
        text.contains("\nenvironment variable GATEPOST__LISTENERS__SMTP__TLS: listeners.smtp.tls: `ssl` is not one of")
    );
    assert!(text.contains("\n--set trust.x: trust.x: `x` is not a known key\n"));
    assert!(text.ends_with("\n8 mistakes in the configuration"));
}

#[test]
fn no_secret_appears_in_a_report() {
    let yaml = format!(
        "listeners: {{smtp: {{bind: 1}}}}\nmicrosoft:\n  client_secret: hunter2-a\n  client_secret: hunter2-b\n  \
         client_secert: hunter2-c\n  password: [hunter2-d]\naccounts:\n  - {{login: 5, passwords: [hunter2-e, '{HASH}x']}}\n\
         forward_proxy: {{url: 'http://u:hunter2-f@p:1/x', password: {{evn: hunter2-g}}, authentication: hunter}}\n\
         hunter: {{a: [hunter2-h]}}\n",
    );
    let outside = Outside::with_variables(&[
        ("GATEPOST__MICROSOFT__SECRET", "hunter2-i"),
        ("GATEPOST__FORWARD_PROXY__NO", "hunter2-j"),
    ]);
    let problems = outside.load_with(&yaml, &[("microsoft.client_secrets", "hunter2-k")]).unwrap_err();
    let text = format!("{problems}\n{problems:?}");
    assert!(problems.iter().count() >= 10, "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    assert!(text.contains("********"));

    let broken = "microsoft:\n  client_secret: hunter2\n  tenant: [\n";
    assert!(!Outside::default().load(broken).unwrap_err().to_string().contains("hunter2"));
    let broken = "microsoft:\n  client_secret: \"hunter2\n";
    assert!(!Outside::default().load(broken).unwrap_err().to_string().contains("hunter2"));
}

#[test]
fn no_secret_that_yaml_takes_for_a_key_appears_in_a_report() {
    for secret in [
        "[hunter2:, b, c]",
        "[hunter2:, b]",
        "[[hunter2.x:], b]",
        "{hunter2}",
        "{hunter2: x}",
        "{hunter2: x, hunter2: y}",
        "{hunter2: !x y}",
        "{value: {hunter2: x}}",
        "\n    hunter2: x",
        "\n    - hunter2:",
    ] {
        for key in ["client_secret", "client_secert"] {
            let yaml = format!("microsoft:\n  {key}: {secret}\n");
            let problems = Outside::default().load(&yaml).unwrap_err();
            let text = format!("{problems}\n{problems:?}");
            assert!(!text.contains("hunter2"), "{yaml}{text}");
        }
        let yaml =
            format!("accounts:\n  - login: a@contoso.com\n    passwords: {}\n", secret.replace("    ", "      "));
        let problems = Outside::default().load(&yaml).unwrap_err();
        assert!(!format!("{problems}\n{problems:?}").contains("hunter2"), "{yaml}{problems}");
    }
    let problems = Outside::default().load("microsoft: {client_secret: {hunter2}}\n").unwrap_err().to_string();
    assert!(
        problems.contains("if a value is meant, put it in quotes: YAML reads `{x}` and `x:` as keys"),
        "{problems}"
    );
    let outside = Outside::with_variables(&[("GATEPOST__FORWARD_PROXY__PASSWORD", "{hunter2: x}")]);
    let problems = outside.load_with("", &[("microsoft.client_secret", "[hunter2:]")]).unwrap_err();
    assert!(!format!("{problems}\n{problems:?}").contains("hunter2"), "{problems}");
    // What is mistyped in a section is named still.
    let problems = Outside::default().load("microsoft: {tenants: x, client_secret: {files: s}}\n").unwrap_err();
    let text = problems.to_string();
    assert!(text.contains("`tenants` is not a known key") && text.contains("did you mean `file`?"), "{text}");
}
