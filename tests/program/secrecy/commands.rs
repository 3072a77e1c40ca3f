//! The commands that end by themselves: whatever is wrong with a configuration, no secret of it is
//! repeated.

use crate::secrecy::canaries::{self, *};
use crate::secrecy::program::Place;
use crate::secrecy::scanner::Scanner;

const NEEDED: &str = "listeners: {smtp: {bind: '127.0.0.1:0'}}\n";

/// Configurations with secrets where they belong and where they do not, right and wrong.
fn configurations() -> Vec<String> {
    let microsoft = |lines: &str| {
        format!(
            "{NEEDED}microsoft:\n  tenant: contoso.com\n  client_id: 00000000-0000-0000-0000-000000000000\n{lines}\n"
        )
    };
    let account = |lines: &str| format!("{}accounts:\n  - login: a@contoso.com\n{lines}\n", microsoft(""));
    vec![
        microsoft(&format!("  client_secret: '{LITERAL}'")),
        microsoft(&format!("  client_secret: '{LITERAL}'\n  client_secret: '{FROM_FILE}'")),
        microsoft(&format!("  client_secert: '{MISSPELT}'")),
        microsoft(&format!("  client_secret: ['{LITERAL}', {{x: '{MISSPELT}'}}]")),
        microsoft(&format!("  client_secret: {{evn: '{MISSPELT}', fiel: '{LITERAL}'}}")),
        microsoft(&format!("  client_secret: \"{LITERAL}\\n{MISSPELT}\"")),
        microsoft(&format!("  client_secret: \"{LITERAL}")),
        microsoft(&format!("  client_secret: &x '{LITERAL}'\n  scope: *x")),
        microsoft(&format!("  client_secret: |\n    {LITERAL}\n   {MISSPELT}\n  tenant: [")),
        microsoft("  client_secret: {env: APP_SECRET}\n  grant: client_credentials"),
        microsoft("  client_secret: {env: TWO_LINES}"),
        microsoft("  client_secret: {file: secret}\n  tsl: x"),
        microsoft("  client_secret: {file: octets}"),
        microsoft("  client_secret: {command: [sh, give]}\n  tsl: x"),
        microsoft("  client_secret: {command: [sh, fail]}"),
        microsoft("  client_secret: {credential: app}\n  tsl: x"),
        account(&format!("    grant: client_credentials\n    client_secret: s\n    passwords: ['{UNHASHED}']")),
        account(&format!("    grant: client_credentials\n    client_secret: s\n    passwords: '{UNHASHED}'")),
        account(&format!("    password: '{UNHASHED}'\n    mailbx: '{MISSPELT}'")),
        format!("{}forward_proxy: {{url: 'http://svc:{PROXY_IN_URL}@proxy:3128'}}\n", microsoft("")),
        format!("{}forward_proxy: {{url: 'socks5://svc:{PROXY_IN_URL}@proxy:3128'}}\n", microsoft("")),
        format!(
            "{}forward_proxy: {{url: 'http://p:1', authentication: basic, username: 'a:b', password: '{PROXY_PASSWORD}'}}\n",
            microsoft("")
        ),
        format!("{}forward_proxy: {{url: 'http://p:1', pasword: '{PROXY_PASSWORD}'}}\n", microsoft("")),
        format!("{}state: {{store: 'redis://u:{STORE_PASSWORD}@host:port/'}}\n", microsoft("")),
        format!("{}state: {{store: 'rediss://u:{STORE_PASSWORD}@host/x?y'}}\n", microsoft("")),
        format!("{}state: {{key: '{LITERAL}', direktory: '{MISSPELT}'}}\n", microsoft("")),
        format!("microsoft: '{MISSPELT}'\naccounts: '{UNHASHED}'\n{NEEDED}"),
        format!("{{microsoft: {{client_secret: '{LITERAL}', tenant: }}, listeners: [}}\n"),
    ]
}

#[test]
fn commands() {
    let mut place = Place::new();
    place.put("secret", FROM_FILE);
    place.put("credentials/app", FROM_SYSTEMD);
    place.put("give", &format!("printf '%s' '{FROM_COMMAND}'\n"));
    place.put("fail", &format!("printf '%s' '{FROM_COMMAND}'; exit 1\n"));
    let octets = place.path().join("octets");
    place.put("octets", "");
    std::fs::write(octets, [CLIENT_SECRET.as_bytes(), b"\xff"].concat()).unwrap();
    let credentials = place.path().join("credentials").display().to_string();
    let two_lines = format!("{CLIENT_SECRET}\n{MISSPELT}");
    let proxy = format!("http://svc:{PROXY_IN_URL}@proxy:port/");
    let variables = [
        ("CREDENTIALS_DIRECTORY", credentials.as_str()),
        ("APP_SECRET", CLIENT_SECRET),
        ("TWO_LINES", &two_lines),
        ("HTTPS_PROXY", &proxy),
    ];
    let scanner = Scanner::new(&canaries::ALL.map(|(name, secret)| (name, secret.to_owned())));
    let clean = |what: &str, written: &[u8]| {
        if let Some((name, form, around)) = scanner.find(written) {
            panic!("{name} stands in what {what} writes ({form}):\n{around}");
        }
    };

    for yaml in configurations() {
        place.put("proxy.yaml", &yaml);
        for arguments in [&["check"][..], &["check", "--json"], &["run", "--log-level", "trace"]] {
            // The variable of the proxy is wrong, so that `run` never serves.
            let (code, written) = place.run(arguments, "", &variables);
            assert_eq!(code, Some(3), "{yaml}{}", String::from_utf8_lossy(&written));
            clean(&format!("{arguments:?} for\n{yaml}"), &written);
        }
    }
    // Secrets in the environment, and on the command line.
    place.put("proxy.yaml", NEEDED);
    let own = [("GATEPOST__MICROSOFT__CLIENT_SECRET", LITERAL), ("GATEPOST__MICROSOFT__CLIENTSECRET", MISSPELT)];
    clean("check", &place.run(&["check"], "", &own).1);
    for set in [
        "microsoft.client_secret=",
        "microsoft.secret=",
        "forward_proxy.password=",
        "accounts=[{passwords: x",
        "state.store=redis://u@",
    ] {
        let set = format!("{set}{ON_COMMAND_LINE}");
        let (code, written) = place.run(&["check", "--set", &set], "", &[]);
        assert!(matches!(code, Some(2 | 3)), "{code:?}");
        clean(&format!("check --set {set}"), &written);
    }

    // What is typed is not shown; what is made is shown once, and is no canary.
    let (code, written) = place.run(&["password", "hash"], &format!("{HASHED}\n"), &[]);
    assert_eq!(code, Some(0));
    assert!(written.starts_with(b"$argon2id$"));
    clean("password hash", &written);
    let (code, written) = place.run(&["password", "hash"], &HASHED.repeat(100), &[]);
    assert_eq!(code, Some(1));
    clean("password hash", &written);

    assert_eq!(place.made(), []);
}
