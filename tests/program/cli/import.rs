//! `gatepost import`: three files of each of the other proxies become configurations that `check`
//! accepts, no secret is shown, and damage is told with file and line.

use std::path::Path;

use super::{Directory, code, stderr, stdout};

/// In every secret of the files here.
const SECRET: &str = "hunter2";

const CLIENT_ID: &str = "0f1e2d3c-4b5a-4968-8776-655443322110";

/// A file of another proxy, and what is needed beside it.
pub(crate) struct Case {
    pub(crate) file: &'static str,
    /// Flags of `import`.
    pub(crate) flags: &'static [&'static str],
    /// Accounts that need a device password before `check` accepts them.
    pub(crate) passwords: &'static [&'static str],
    /// What standard error has to say, besides.
    told: &'static [&'static str],
}

pub(crate) const CASES: [Case; 12] = [
    Case {
        file: "email-oauth2-proxy/desktop.config",
        flags: &[],
        passwords: &[],
        told: &[
            "[anna@contoso.com] refresh_token (line 51)",
            "ignored: [IMAP-2993] (line 27), [SMTP-2465] (line 31): the server is not Microsoft's, and the file has no account",
            "ignored: [anna.private@gmail.com] (line 62), [your.email@yahoo.co.uk] (line 70), \
             [your.office365.address@example.com] (line 78): the account is still that of the sample file.\n",
            "secret: [anna@contoso.com] client_secret (line 45): put the secret into the environment variable \
             `GATEPOST_CLIENT_SECRET` of the service",
            "sign in: [anna@contoso.com] (line 38): `gatepost login anna@contoso.com -c proxy.yaml`.",
            "sign in: [office@contoso.com] (line 54): `gatepost login office@contoso.com -c proxy.yaml`.",
            "note: [POP-1995] (line 17): only this machine can connect.",
        ],
    },
    Case {
        file: "email-oauth2-proxy/server.config",
        flags: &["--allow-from", "192.0.2.0/24", "--allow-from", "2001:db8::/48"],
        passwords: &["scanner@contoso.com", "archive@fabrikam.com"],
        told: &[
            "ignored: [SMTP-1025] plugins (line 25): Gatepost has no plug-ins.\n",
            "ignored: [emailproxy] log_to_the_moon (line 56): the key is not known, perhaps from a newer version.",
            "password: [scanner@contoso.com] (line 36): `gatepost password add scanner@contoso.com --name mail-client \
             -c proxy.yaml`.",
            "note: [SMTP-1025] local_address (line 24): passwords cross the network in the clear",
        ],
    },
    Case {
        file: "email-oauth2-proxy/government.config",
        flags: &["--tenant", "adatum.com"],
        passwords: &[],
        told: &[
            "secret: [fax@adatum.com] client_secret_encrypted (line 33): put the secret into the environment variable \
             `GATEPOST_CLIENT_SECRET` of the service: the file has it encrypted with a client's password.",
            "ignored: [@adatum.com] (line 35): `allow_catch_all_accounts` is not `True`",
            "sign in: [clerk@adatum.com] (line 21): `gatepost login clerk@adatum.com -c proxy.yaml`.",
        ],
    },
    Case {
        file: "davmail/workstation.properties",
        flags: &[],
        passwords: &[],
        told: &[
            "ignored: davmail.caldavPort (line 9), davmail.caldavPastDelay (line 24): Gatepost has no calendars",
            "sign in: davmail.oauth.anna@contoso.com.refreshToken (line 16): `gatepost login anna@contoso.com -c proxy.yaml`.",
            "ignored: davmail.ldapPort (line 10): Gatepost has no address book",
            "davmail.oauth.anna@contoso.com.refreshToken (line 16): tokens are encrypted",
            "note: davmail.smtpPort (line 8): DavMail sends over EWS",
            "note: davmail.oauth.clientId (line 13): the application needs other rights now.",
        ],
    },
    Case {
        file: "davmail/server.properties",
        flags: &["--tenant", "contoso.com", "--client-id", CLIENT_ID, "--allow-from", "192.0.2.0/24"],
        passwords: &[],
        told: &[
            "secret: davmail.proxyPassword (line 17): put the secret into the environment variable `GATEPOST_PROXY_PASSWORD`",
            "note: davmail.proxyUser (line 16): `forward_proxy.authentication` is `ntlm`.",
            "note: davmail.mode (line 3): the password of the mailbox goes on working only",
        ],
    },
    Case {
        file: "davmail/china.properties",
        flags: &[
            "--certificate",
            "certs/server.pem",
            "--private-key",
            "certs/server.key",
            "--allow-from",
            "192.0.2.0/24",
        ],
        passwords: &[],
        told: &[
            "ignored: davmail.ssl.keystoreType (line 13), davmail.ssl.keystorePass (line 15), davmail.ssl.keyPass (line 16): \
             Gatepost reads PEM files",
            "sign in: DavMail's default: `gatepost login USER@DOMAIN -c proxy.yaml`.",
        ],
    },
    Case {
        file: "genesys/imap.cfg",
        flags: &[],
        passwords: &[],
        told: &[
            "ignored: [log] (line 1), [email-processing] (line 5)",
            "change: [pop-client] server (line 24), [pop-client-2] server (line 37), [smtp-client] server (line 50): `localhost`\n",
            "change: [pop-client] port (line 22), [pop-client-2] port (line 35): `1143`\n",
            "change: [smtp-client] port (line 48): `1587`\n",
            "change: [pop-client] mail.imap.auth.mechanisms (line 18), [pop-client-2] mail.imap.auth.mechanisms (line 32), \
             [smtp-client] mail.smtp.auth.mechanisms (line 46): `PLAIN LOGIN`",
            "note: [pop-client] password (line 20), [pop-client-2] password (line 34), [smtp-client] password (line 47): it stays",
            "change: [pop-client] client-id (line 11), [pop-client] directory-id (line 14)",
        ],
    },
    Case {
        file: "genesys/graph.cfg",
        flags: &[],
        passwords: &["support@contoso.com"],
        told: &[
            "ignored: [pop-client] scope (line 7), [smtp-client] scope (line 19): a token for Graph opens no mailbox",
            "ignored: [smtp-client] token-expiry-margin-time (line 21): tokens live for an hour",
            "change: [pop-client] type (line 10): `IMAP`\n",
            "change: [smtp-client] server-type (line 20): `SMTP`\n",
            "secret: [pop-client] password (line 6): put the secret into the environment variable `GATEPOST_CLIENT_SECRET`",
            "password: [pop-client] mailbox (line 5): `gatepost password add support@contoso.com --name mail-client -c proxy.yaml`.",
        ],
    },
    Case {
        file: "genesys/mixed.cfg",
        flags: &[],
        passwords: &["hotline@contoso.com"],
        told: &[
            "ignored: [pop-client] (line 1): it connects to a server that is not Microsoft's.\n",
            "ignored: [pop-client-gmail] (line 29): this import takes over Microsoft 365 only",
            "ignored: [pop-client-off] (line 39): `enable-client` is off in line 40.\n",
            "ignored: [secret-google] (line 44): it is for Google",
            "secret: [pop-client-azure] password (line 15): put the secret into the environment variable \
             `GATEPOST_CLIENT_SECRET` of the service: the export hides it.",
            "change: [pop-client-ews] type (line 27): `IMAP`\n",
        ],
    },
    Case {
        file: "smtp-oauth-relay/production.env",
        flags: &[
            "--tenant",
            "7d3e9f10-aaaa-4bbb-8ccc-0123456789ab",
            "--client-id",
            CLIENT_ID,
            "--mailbox",
            "scanner@contoso.com",
            "--mailbox",
            "alerts@contoso.com",
            "--allow-from",
            "192.0.2.0/24",
        ],
        passwords: &["scanner@contoso.com"],
        told: &[
            "ignored: SERVER_GREETING (line 7): Gatepost greets with its host name",
            "secret: smtp-oauth-relay's default: put the secret into the environment variable `GATEPOST_CLIENT_SECRET` of the \
             service: clients gave it as their password.",
        ],
    },
    Case {
        file: "smtp-oauth-relay/keyvault.env",
        flags: &[
            "--tenant",
            "contoso.com",
            "--client-id",
            CLIENT_ID,
            "--mailbox",
            "scanner@contoso.com",
            "--certificate",
            "certs/server.pem",
            "--private-key",
            "certs/server.key",
            "--allow-from",
            "192.0.2.0/24",
        ],
        passwords: &["scanner@contoso.com"],
        told: &[
            "ignored: AZURE_KEY_VAULT_URL (line 4), AZURE_KEY_VAULT_CERT_NAME (line 5): Gatepost reads the certificate",
            "ignored: AZURE_TENANT_ID (line 6), AZURE_CLIENT_ID (line 7), AZURE_CLIENT_SECRET (line 8): the relay opens",
            "ignored: AZURE_TABLES_URL (line 9), AZURE_TABLES_PARTITION_KEY (line 10): Gatepost has no Azure Tables.",
        ],
    },
    Case {
        file: "smtp-oauth-relay/development.env",
        flags: &["--tenant", "contoso.com", "--client-id", CLIENT_ID, "--mailbox", "scanner@contoso.com"],
        passwords: &["scanner@contoso.com"],
        told: &[
            "ignored: COMPOSE_PROJECT_NAME (line 5): the relay does not read it",
            "note: smtp-oauth-relay's default: only this machine can connect.",
        ],
    },
];

/// A file with accounts of other providers, whom no embedded Microsoft 365 plays.
const HOME: Case = Case {
    file: "email-oauth2-proxy/home.config",
    flags: &[],
    passwords: &[],
    told: &[
        "ignored: [IMAP-3993] (line 25): the server is not Microsoft's, and the file has no account for it that Gatepost serves.\n",
        "ignored: [app@outlook.com] (line 42): a person must sign in for a personal account",
        "ignored: [robot@gmail.com] (line 68): it is for a service account, which this import does not take over. docs/providers.md says how Gatepost \
         serves it.\n",
        "sign in: [carl@campus.example] (line 47): `gatepost login carl@campus.example -c proxy.yaml`.",
    ],
};

/// A directory with a file of another proxy as `theirs`, and a certificate.
fn world(file: &str) -> (Directory, String) {
    let directory = Directory::new();
    let made = directory.gatepost(&["cert", "--directory", "certs", "--key", "rsa"]);
    assert_eq!(code(&made), 0, "{}", stderr(&made));
    let name = Path::new(file).file_name().unwrap().to_str().unwrap().to_owned();
    directory.write(&name, &read(file));
    (directory, name)
}

pub(crate) fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/program/cli/import").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A configuration without its directory, and without the spaces that depend on its length.
fn without_directory(text: &str, directory: &Directory) -> String {
    let text = text.replace(&*directory.file("").to_string_lossy(), "DIRECTORY/");
    let line = |line: &str| match line.split_once("  # from ") {
        Some((value, from)) => format!("{}  # from {from}\n", value.trim_end()),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

const SECRETS: [(&str, &str); 4] = [
    ("GATEPOST_CLIENT_SECRET", "x"),
    ("GATEPOST_CLIENT_SECRET_2", "z"),
    ("GATEPOST_CLIENT_SECRET_3", "w"),
    ("GATEPOST_PROXY_PASSWORD", "y"),
];

#[test]
fn files_of_other_proxies_become_configurations_that_check_accepts() {
    for Case { file, flags, passwords, told } in CASES.into_iter().chain([HOME]) {
        let (directory, name) = world(file);
        let output = directory.gatepost(&[&["import", &name, "--output", "proxy.yaml"], flags].concat());
        assert_eq!((code(&output), stdout(&output)), (0, ""), "{file}: {}", stderr(&output));
        let yaml = std::fs::read_to_string(directory.file("proxy.yaml")).unwrap();
        for text in [stderr(&output), &yaml] {
            assert!(!text.contains(SECRET), "{file}: {text}");
        }
        for line in told {
            assert!(stderr(&output).contains(line), "{file}: {line}\nis not in\n{}", stderr(&output));
        }
        let expected = read(&format!("{}.yaml", file.rsplit_once('.').unwrap().0));
        let [yaml_shape, expected] = [&yaml, &expected].map(|text| without_directory(text, &directory));
        assert_eq!(yaml_shape, expected, "{file}");
        let printed = directory.gatepost(&[&["import", &name], flags].concat());
        let owner = "if the service runs as another user, give it the file: `chown gatepost: proxy.yaml`\n";
        assert!(stderr(&output).contains(owner), "{file}");
        let without_file = stderr(&output).replace(owner, "");
        assert_eq!((code(&printed), stdout(&printed), stderr(&printed)), (0, &*yaml, &*without_file), "{file}");

        let with_state = |arguments: &[&str]| {
            let arguments = [arguments, &["--set", "state.directory=state"]].concat();
            directory.gatepost_with(&arguments, "", &SECRETS)
        };
        for login in passwords {
            let added = with_state(&["password", "add", login, "--name", "mail-client"]);
            assert_eq!(code(&added), 0, "{file}: {}", stderr(&added));
        }
        // Other programs of the machine may have the ports.
        let read: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
        let listeners = read["listeners"].as_object().unwrap();
        let ports: Vec<String> = listeners.keys().map(|name| format!("listeners.{name}.bind=localhost:0")).collect();
        let ports = ports.iter().flat_map(|port| ["--set", port]);
        let checked = with_state(&["check"].into_iter().chain(ports).collect::<Vec<_>>());
        assert_eq!(code(&checked), 0, "{file}: {}", stderr(&checked));
    }
}

#[test]
fn secrets_go_into_files_that_only_their_owner_reads() {
    let (directory, name) = world("email-oauth2-proxy/desktop.config");
    let arguments = ["import", &name, "-o", "proxy.yaml", "--write-secrets", "secrets"];
    let output = directory.gatepost(&arguments);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let path = directory.file("secrets/client-secret");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "Qx8~hunter2-desktop");
    let next = "\nnext: `gatepost check -c proxy.yaml`, then `gatepost doctor -c proxy.yaml`\n";
    assert!(stderr(&output).ends_with(next), "{}", stderr(&output));
    assert!(
        stderr(&output).contains(&format!("it is written to the file `{}`", path.display())),
        "{}",
        stderr(&output)
    );
    assert!(!stderr(&output).contains(SECRET));
    let yaml = std::fs::read_to_string(directory.file("proxy.yaml")).unwrap();
    assert!(yaml.contains(&format!("client_secret: {{file: {}}}", path.display())), "{yaml}");
    #[cfg(unix)]
    for (file, expected) in [("proxy.yaml", 0o600), ("secrets/client-secret", 0o600), ("secrets", 0o700)] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(directory.file(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, expected, "{file}");
    }
    let ports = ["imap", "pop3", "smtp"].map(|name| format!("listeners.{name}.bind=localhost:0"));
    let checked = directory.gatepost(&["check", "--set", &ports[0], "--set", &ports[1], "--set", &ports[2]]);
    assert_eq!(code(&checked), 0, "{}", stderr(&checked));
}

#[test]
fn nothing_that_exists_is_replaced_without_being_told() {
    let (directory, name) = world("davmail/workstation.properties");
    directory.write("proxy.yaml", "mine");
    let refused = directory.gatepost(&["import", &name, "-o", "proxy.yaml"]);
    assert_eq!(
        (code(&refused), stderr(&refused)),
        (1, "gatepost: `proxy.yaml` exists already. Name another file, or replace it with `--force`.\n")
    );
    assert_eq!(std::fs::read_to_string(directory.file("proxy.yaml")).unwrap(), "mine");
    let replaced = directory.gatepost(&["import", &name, "-o", "proxy.yaml", "--force"]);
    assert_eq!(code(&replaced), 0, "{}", stderr(&replaced));
    assert!(std::fs::read_to_string(directory.file("proxy.yaml")).unwrap().contains("listeners:"));

    let (directory, name) = world("email-oauth2-proxy/desktop.config");
    std::fs::create_dir(directory.file("secrets")).unwrap();
    directory.write("secrets/client-secret", "mine");
    let refused = directory.gatepost(&["import", &name, "-o", "proxy.yaml", "--write-secrets", "secrets"]);
    assert_eq!(code(&refused), 1, "{}", stderr(&refused));
    assert_eq!(std::fs::read_to_string(directory.file("secrets/client-secret")).unwrap(), "mine");
    assert!(!directory.file("proxy.yaml").exists());
}

#[test]
fn what_is_missing_is_asked_for_and_nothing_is_written() {
    for (file, flags, missing) in [
        (
            "email-oauth2-proxy/government.config",
            &[][..],
            &["missing: [clerk@adatum.com] token_url (line 23), [fax@adatum.com] token_url (line 29): it names no \
               tenant. Run the command again with `--tenant adatum.com`"][..],
        ),
        (
            "davmail/server.properties",
            &[],
            &[
                "missing: davmail.oauth.tenantId (line 12): it names no tenant.",
                "missing: davmail.oauth.clientId (line 11): no application",
            ],
        ),
        (
            "davmail/china.properties",
            &[],
            &["missing: davmail.ssl.keystoreFile (line 14): Gatepost reads PEM files. Run `openssl pkcs12"],
        ),
        (
            "smtp-oauth-relay/keyvault.env",
            &["--tenant", "contoso.com"],
            &[
                "missing: TLS_SOURCE (line 2): the certificate is in Azure Key Vault.",
                "with each one, such as `--mailbox",
            ],
        ),
        // The certificate is on another machine.
        ("email-oauth2-proxy/server.config", &[], &["server.key` cannot be read: no such file"]),
    ] {
        let (directory, name) = world(file);
        std::fs::remove_file(directory.file("certs/server.key")).unwrap();
        let output = directory.gatepost(&[&["import", &name, "-o", "proxy.yaml"], flags].concat());
        assert_eq!((code(&output), stdout(&output)), (3, ""), "{file}: {}", stderr(&output));
        for line in missing {
            assert!(stderr(&output).contains(line), "{file}: {line}\nis not in\n{}", stderr(&output));
        }
        assert!(
            !stderr(&output).contains(SECRET) && stderr(&output).contains("nothing is written"),
            "{}",
            stderr(&output)
        );
        assert!(!directory.file("proxy.yaml").exists());
        let output = directory.gatepost(&[&["import", &name, "-o", "proxy.yaml", "--incomplete"], flags].concat());
        assert_eq!((code(&output), directory.file("proxy.yaml").exists()), (3, true), "{file}: {}", stderr(&output));
    }
}

#[test]
fn a_file_that_cannot_be_imported_is_told_with_its_line() {
    let microsoft = "token_url = https://login.microsoftonline.com/contoso.com/oauth2/v2.0/token\n";
    let server = "[IMAP-1993]\nserver_address = outlook.office365.com\nserver_port = 993\n";
    let account = format!("[a@contoso.com]\n{microsoft}client_id = {CLIENT_ID}\n");
    for (content, told) in [
        (String::new(), "theirs: the file is empty."),
        ("\n \t\n".into(), "theirs: the file is empty."),
        ("PK\u{3}\u{4}hunter2".into(), "theirs:1: the file is binary, not text."),
        (format!("{server}\0"), "theirs:4: the file is binary, not text."),
        (
            "$ANSIBLE_VAULT;1.1;AES256\n3132\n".into(),
            "theirs: the file is encrypted with Ansible Vault. Decrypt it with `ansible-vault view`",
        ),
        ("-----BEGIN PGP MESSAGE-----\n".into(), "theirs: the file is encrypted with OpenPGP."),
        (
            "[x]\ntoken_url = ENC[AES256_GCM,data:hunter2]\n".into(),
            "theirs: values of the file are encrypted with SOPS.",
        ),
        ("{\"a@b\": {\"refresh_token\": \"hunter2\"}}".into(), "theirs: the file is JSON or XML"),
        ("listeners: {}\n".into(), "theirs: this is a configuration of Gatepost."),
        ("password hunter2\n".into(), "theirs:1: this is not the configuration of a known proxy."),
        ("[log]\nall=stdout\n".into(), "theirs: this is not the configuration of a known proxy."),
        (format!("#{}\n", "x".repeat(1024 * 1024)), "theirs: the file is larger than 1 MiB."),
        // email-oauth2-proxy
        (format!("{server}server_addr"), "theirs:4: this is neither a section nor a key with a value."),
        (format!("{server}{account}[b@contoso.exam"), "theirs:7: the section's name does not end in `]`"),
        (format!("{server}{server}"), "theirs:4: the section is in the file twice, first in line 1."),
        (format!("{server}server_port = 1\n"), "theirs:4: the key is in this section twice, first in line 3."),
        (format!("{microsoft}{server}"), "theirs:1: a key is here before any section."),
        ("[IMAP-hunter2]\n".into(), "theirs:1: the section's name does not end in a port."),
        ("[IMAP-1993]\nserver_port = 993\n".into(), "theirs:1: the server has no `server_address`."),
        (server.replace("= 993", "= hunter2"), "theirs:3: `server_port` is not a port."),
        (format!("{server}starttls = hunter2\n"), "theirs:4: this is neither `True` nor `False`."),
        (format!("{server}[a@contoso.com]\nclient_id = x\n"), "theirs:4: the account has no `token_url`."),
        (
            format!("{server}{account}oauth2_flow = hunter2\n"),
            "theirs:7: this `oauth2_flow` is not known, perhaps from a newer version.",
        ),
        (account.clone(), "theirs: the file has no server of an account that Gatepost serves"),
        (server.into(), "theirs: the file has no account that is filled in"),
        // DavMail
        ("davmail.mode=hunter2\ndavmail.imapPort=1\n".into(), "theirs:1: this `davmail.mode` is not known"),
        ("davmail.mode=WebDav\ndavmail.imapPort=1\n".into(), "theirs:1: DavMail talks to Exchange 2007"),
        (
            "davmail.url=https://mail.contoso.com/ews\ndavmail.imapPort=1\n".into(),
            "theirs:1: DavMail talks to an Exchange Server of your own",
        ),
        ("davmail.imapPort=hunter2\n".into(), "theirs:1: this is not a port."),
        (
            "davmail.imapPort=1\ndavmail.x=\\uhunter2\n".into(),
            "theirs:2: an escape `\\u` has no four hexadecimal digits.",
        ),
        ("davmail.caldavPort=1080\n".into(), "theirs: the file has no port for IMAP, POP3 or SMTP"),
        // Genesys
        (
            "[pop-client]\ntype=hunter2\nmailbox=a@northwindtraders.com\ndirectory-id=northwindtraders.com\n".into(),
            "theirs:2: this kind of server is not known",
        ),
        (
            "[pop-client]\ngrant-type=hunter2\nmailbox=a@northwindtraders.com\ndirectory-id=northwindtraders.com\n"
                .into(),
            "theirs:2: this `grant-type` is not known",
        ),
        ("[pop-client]\ndirectory-id=northwindtraders.com\n".into(), "theirs:1: the section has no `mailbox`."),
        (
            format!(
                "[pop-client]\nmailbox=a@northwindtraders.com\ndirectory-id=northwindtraders.com\nclient-id={CLIENT_ID}\ntoken-expiry-margin-time=hunter2\n"
            ),
            "theirs:5: this is not a time.",
        ),
        (
            "[pop-client]\nserver=mail.northwindtraders.com\n".into(),
            "theirs: the file has no `[pop-client]` or `[smtp-client]` with a mailbox",
        ),
        ("[pop-client]\nhunter2\n".into(), "theirs:2: this is neither a section nor a key with a value."),
        // smtp-oauth-relay
        ("TLS_SOURCE=hunter2\n".into(), "theirs:1: this `TLS_SOURCE` is not known"),
        ("USERNAME_DELIMITER=hunter2\n".into(), "theirs:1: the relay does not know this delimiter."),
        ("TLS_SOURCE=off\nhunter2\n".into(), "theirs:2: this is not `NAME=value`."),
        ("TLS_SOURCE=\"hunter2\n".into(), "theirs:1: the quotation mark of the value is not closed."),
    ] {
        let directory = Directory::new();
        directory.write("theirs", &content);
        let output = directory.gatepost(&["import", "theirs", "-o", "proxy.yaml"]);
        let shown: String = content.chars().take(200).collect();
        assert_eq!((code(&output), stdout(&output)), (1, ""), "{shown}: {}", stderr(&output));
        assert!(stderr(&output).starts_with(&format!("gatepost: {told}")), "{shown}: {}", stderr(&output));
        assert!(!stderr(&output).contains(SECRET), "{}", stderr(&output));
        assert!(!directory.file("proxy.yaml").exists());
    }
    let directory = Directory::new();
    let output = directory.gatepost(&["import", "nowhere"]);
    assert_eq!(
        (code(&output), stderr(&output)),
        (1, "gatepost: nowhere: there is no such file. Name the configuration of the other proxy.\n")
    );
    let output = directory.gatepost(&["import", "."]);
    assert!(stderr(&output).starts_with("gatepost: .: this is a directory."), "{}", stderr(&output));
    // A format that is named holds, whatever the content looks like.
    directory.write("theirs", "davmail.imapPort=1143\n");
    let output = directory.gatepost(&["import", "theirs", "--format", "genesys"]);
    assert!(
        stderr(&output).starts_with("gatepost: theirs:1: a key is here before any section."),
        "{}",
        stderr(&output)
    );
}
