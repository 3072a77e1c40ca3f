//! The configuration contract: what is accepted, what each mistake is told, which layer wins, what stays hidden.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use gatepost::account::LoginName;
use gatepost::config::load::{Surroundings, load, load_text};
use gatepost::config::problem::Problems;
use gatepost::config::{Cloud, Config, Grant, Limits, ListenerTls, LogFormat, ProxyAuthentication, UpstreamTls};

const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$4IfZJ2nU2ZRHrYYvlzcKcSSuTKW0pCHaqw9Y5ZpVHjw";

/// A system of which the test decides everything.
#[derive(Default)]
struct Outside {
    files: BTreeMap<PathBuf, Vec<u8>>,
    variables: BTreeMap<String, String>,
    world_readable: bool,
}

impl Outside {
    fn with_files(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec())).collect();
        Self { files, ..Self::default() }
    }

    fn with_variables(variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { variables, ..Self::default() }
    }

    fn load(&self, yaml: &str) -> Result<Config, Problems> {
        self.load_with(yaml, &[])
    }

    fn load_with(&self, yaml: &str, set: &[(&str, &str)]) -> Result<Config, Problems> {
        let set: Vec<_> = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        load_text(Some((Path::new("proxy.yaml"), yaml)), &set, &self.variables, self)
    }
}

impl Surroundings for Outside {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn world_readable(&self, _path: &Path) -> bool {
        self.world_readable
    }

    fn run(&self, command: &[String]) -> Result<Vec<u8>, String> {
        match command.first().map(String::as_str) {
            Some("print") => Ok(b"from-command\n".to_vec()),
            _ => Err("it failed (exit status: 1)".into()),
        }
    }
}

/// The given lines, with a tenant, a client id and a listener where they say nothing about them.
fn complete(yaml: &str) -> String {
    let mut text = format!("{}\n", yaml.trim_end());
    for (section, lines) in [
        ("listeners:", "listeners: {smtp: {bind: 127.0.0.1:1587}}\n"),
        ("microsoft:", "microsoft: {tenant: contoso.com, client_id: 00000000-0000-0000-0000-000000000000}\n"),
    ] {
        if !yaml.lines().any(|line| line.starts_with(section)) {
            text.push_str(lines);
        }
    }
    text
}

fn config(yaml: &str) -> Config {
    Outside::default().load(&complete(yaml)).unwrap_or_else(|problems| panic!("{yaml}\n{problems}"))
}

/// Each mistake as `key: reason; hint`.
fn told(problems: &Problems) -> Vec<String> {
    problems.iter().map(|problem| format!("{}: {}; {}", problem.key, problem.reason, problem.hint)).collect()
}

fn mistakes(yaml: &str) -> Vec<String> {
    match Outside::default().load(&complete(yaml)) {
        Ok(_) => panic!("accepted:\n{yaml}"),
        Err(problems) => told(&problems),
    }
}

fn listener(lines: &str) -> String {
    format!("listeners:\n  imap:\n    bind: 127.0.0.1:1143\n{}", indent(lines))
}

fn indent(lines: &str) -> String {
    lines.lines().map(|line| format!("    {line}\n")).collect()
}

fn microsoft(lines: &str) -> String {
    let needed = "    tenant: contoso.com\n    client_id: 00000000-0000-0000-0000-000000000000\n";
    format!("microsoft:\n{needed}{}", indent(lines))
}

fn account(lines: &str) -> String {
    format!("accounts:\n  - login: scanner@contoso.com\n{}", indent(lines))
}

#[test]
fn every_mistake_of_a_listener_has_its_sentence() {
    for (lines, expected) in [
        ("bnid: 1", "listeners.imap.bnid: `bnid` is not a known key; did you mean `bind`?"),
        ("port: 1", "listeners.imap.port: `port` is not a known key; did you mean `bind`?"),
        (
            "protocol: ews",
            "listeners.imap.protocol: the protocol `ews` is not available in this version; remove this listener",
        ),
        (
            "protocol: imap4",
            "listeners.imap.protocol: `imap4` is not one of `imap`, `pop3`, `smtp`; did you mean `imap`?",
        ),
        (
            "tls: ssl",
            "listeners.imap.tls: `ssl` is not one of `none`, `starttls`, `implicit`; write `none`, `starttls` or `implicit`",
        ),
        (
            "certificate: server.pem",
            "listeners.imap.certificate: a certificate is given, but `tls` is `none`; write `tls: starttls` or \
             `tls: implicit`, or remove the certificate",
        ),
        (
            "upstream: outlook.office365.com",
            "listeners.imap.upstream: `outlook.office365.com` has no port; write host and port, such as \
             `outlook.office365.com:993`",
        ),
        (
            "upstream: https://u:hunter2@outlook.office365.com/",
            "listeners.imap.upstream: a URL does not belong here; write host and port, such as `outlook.office365.com:993`",
        ),
        ("upstream: a:99999", "listeners.imap.upstream: `99999` is not a port; ports go from 1 to 65535"),
        (
            "upstream: '127.0.0.1:1143'",
            "listeners.imap.upstream: this upstream is Gatepost itself, which listens on `127.0.0.1:1143`; name the mail \
             server of Microsoft, or remove `upstream`",
        ),
        (
            "upstream_tls: none",
            "listeners.imap.upstream_tls: towards the upstream TLS cannot be switched off; write `implicit` or `starttls`",
        ),
        (
            "upstream_tls: starttls",
            "listeners.imap.upstream_tls: port 993 does not go with this kind of TLS; write `upstream_tls: implicit`, or \
             name another port",
        ),
        (
            "upstream_name: 'a b'",
            "listeners.imap.upstream_name: `a b` is not a host name; write the name in ASCII letters, digits, `-` and `.`",
        ),
        (
            "allow_from: [10.0.0.1/8]",
            "listeners.imap.allow_from[0]: `10.0.0.1/8` has bits set behind its prefix; write `10.0.0.0/8`",
        ),
        (
            "allow_from: []",
            "listeners.imap: `allow_from` is empty, so nobody could connect; name the networks of the clients",
        ),
        (
            "allow_plaintext_from: everywhere",
            "listeners.imap.allow_plaintext_from: `everywhere` is not a network; write an address or a network, such as \
             `192.168.7.0/24` or `::1`",
        ),
        ("bare_lf: yes", "listeners.imap.bare_lf: `yes` is not one of `true`, `false`; write `true` or `false`"),
        (
            "proxy_protocol_from: []",
            "listeners.imap.proxy_protocol_from: `proxy_protocol_from` is not available in this version; remove it",
        ),
        (
            "trusted_senders: []",
            "listeners.imap.trusted_senders: `trusted_senders` is not available in this version; remove it",
        ),
        (
            "deliver: graph",
            "listeners.imap.deliver: `deliver` other than `smtp` is not available in this version; remove it",
        ),
        (
            "upstream:\n  host: a",
            "listeners.imap.upstream: one value is expected here, not keys with values; write one value behind the key",
        ),
        ("upstream: ''", "listeners.imap.upstream: the value is empty; write a value, or remove the key"),
    ] {
        assert_eq!(mistakes(&listener(lines)), [expected], "{lines}");
    }
}

#[test]
fn every_mistake_between_listeners_has_its_sentence() {
    for (yaml, expected) in [
        (
            "listeners: {}",
            "listeners: there is no listener; add one, such as `listeners: {smtp: {bind: \"127.0.0.1:1587\"}}`",
        ),
        (
            "listeners: 5",
            "listeners: keys with values are expected here, not one value; write the keys below, each on its own line and \
             further to the right",
        ),
        (
            "listeners: {smtp: }",
            "listeners.smtp.bind: `bind` is missing; write the address and port to listen on, such as \
             `bind: 127.0.0.1:1143`",
        ),
        (
            "listeners: {smtp: {bind: []}}",
            "listeners.smtp.bind: no address is listed; write an address and port, such as `127.0.0.1:1143`",
        ),
        (
            "listeners: {smtp: {bind: '::1'}}",
            "listeners.smtp.bind: `::1` has no port; write address and port, such as `[::1]:1143`",
        ),
        (
            "listeners: {smtp: {bind: ['127.0.0.1:1', 'localhost:25']}}",
            "listeners.smtp.bind[1]: `localhost:25` is not an address with a port; write `[\"127.0.0.1:25\", \"[::1]:25\"]`",
        ),
        (
            "listeners: {mail: {bind: '127.0.0.1:25'}}",
            "listeners.mail.protocol: `protocol` is missing; write `protocol: imap`, `pop3` or `smtp`, or name the listener so",
        ),
        (
            "listeners: {graph: {bind: '127.0.0.1:25'}}",
            "listeners.graph: the protocol `graph` is not available in this version; remove this listener",
        ),
        (
            "listeners: {'a b': {bind: '127.0.0.1:25', protocol: smtp}}",
            "listeners.\"a b\": the name of a listener appears in the log and must be plain; use up to 64 ASCII letters, \
             digits, `-` and `_`",
        ),
        (
            "listeners: {smtp: {bind: '127.0.0.1:25'}, imap: {bind: '127.0.0.1:25'}}",
            "listeners.imap.bind: `127.0.0.1:25` is taken already by `127.0.0.1:25` of listeners.smtp.bind; give each \
             listener a port of its own",
        ),
        (
            "listeners: {smtp: {bind: '0.0.0.0:25', allow_from: 10.0.0.0/8}}",
            "listeners.smtp: without TLS passwords would cross the network in the clear, so nobody could log in; write \
             `tls: starttls` with a certificate, or name the networks that you trust in `allow_plaintext_from`",
        ),
        (
            "listeners: {smtp: {bind: '192.0.2.1:25', allow_plaintext_from: 192.0.2.0/24}}",
            "listeners.smtp.allow_from: `allow_from` is missing, which an address other than loopback needs; name the \
             networks of the clients, such as `allow_from: [192.168.7.0/24]`",
        ),
        (
            "listeners: {smtp: {bind: '127.0.0.1:25', tls: implicit, certificate: x}}",
            "listeners.smtp.private_key: `private_key` is missing, which TLS needs; name a PEM file; `gatepost cert` makes \
             one for tests",
        ),
        (
            "listeners:\n  smtp:\n    bind: '127.0.0.1:25'\n    bind: '127.0.0.1:26'\n",
            "listeners.smtp.bind: the key is written twice; keep one of them; the first stands at line 3",
        ),
    ] {
        assert_eq!(mistakes(yaml), [expected], "{yaml}");
    }
}

#[test]
fn every_mistake_about_microsoft_has_its_sentence() {
    for (yaml, expected) in [
        (
            "microsoft: {tenant: contoso.com}".to_owned(),
            "microsoft.client_id: `client_id` is missing; write the application (client) id that Entra shows",
        ),
        (
            "microsoft: {tenant: contoso.com, client_id: x}".to_owned(),
            "microsoft.client_id: `x` is not an application id; copy the application (client) id from Entra, such as \
             `00000000-0000-0000-0000-000000000000`",
        ),
        (
            "microsoft: {tenant: common, client_id: 00000000-0000-0000-0000-000000000000}".to_owned(),
            "microsoft.tenant: `common` names no tenant, and passwords cannot be exchanged for tokens there; write the \
             directory id or a verified domain of the tenant",
        ),
        (
            "microsoft: {tenant: contoso, client_id: 00000000-0000-0000-0000-000000000000}".to_owned(),
            "microsoft.tenant: `contoso` is neither a directory id nor a domain; write the directory id or a verified \
             domain, such as `contoso.com`",
        ),
        (
            microsoft("directory-id: x"),
            "microsoft.directory-id: `directory-id` is not a known key; did you mean `tenant`?",
        ),
        (
            microsoft("grant: device_code"),
            "microsoft.grant: the grant `device_code` is not available in this version; write `grant: password` or \
             `grant: client_credentials`",
        ),
        (
            microsoft("grant: ropc"),
            "microsoft.grant: `ropc` is not one of `password`, `client_credentials`; write `password` or `client_credentials`",
        ),
        (
            microsoft("cloud: germany"),
            "microsoft.cloud: `germany` is not one of `worldwide`, `us-gov-gcc-high`, `us-gov-dod`, `china`; write \
             `worldwide`, `us-gov-gcc-high`, `us-gov-dod` or `china`",
        ),
        (
            microsoft("authority: http://login.microsoftonline.com/"),
            "microsoft.authority: the authority must use `https`, not `http`; write `https://login.microsoftonline.com/`, \
             or remove the key",
        ),
        (
            microsoft("authority: https://login.microsoftonline.com/contoso.com/"),
            "microsoft.authority: the authority holds more than the host; put the tenant into `tenant`, and leave the path \
             out here",
        ),
        (
            microsoft("authority: https://login.microsoftonline.us/"),
            "microsoft: the authority `https://login.microsoftonline.us/` belongs to another cloud than the one \
             configured; write `cloud: us-gov-gcc-high`, or remove `authority`",
        ),
        (
            microsoft("client_certificate: {certificate: a, private_key: b}"),
            "microsoft.client_certificate: `client_certificate` is not available in this version; remove it",
        ),
        (
            microsoft("federated_token_file: x"),
            "microsoft.federated_token_file: `federated_token_file` is not available in this version; remove it",
        ),
        (
            microsoft("managed_identity: system"),
            "microsoft.managed_identity: `managed_identity` is not available in this version; remove it",
        ),
        (
            microsoft("token_expiry_margin: 2h"),
            "microsoft.token_expiry_margin: `2h` is out of range; write a time from 0s to 50m",
        ),
        (
            microsoft("token_expiry_margin: 300"),
            "microsoft.token_expiry_margin: `300` has no unit; write `300s` for seconds, or use `ms`, `m`, `h`, `d`",
        ),
        (
            microsoft("scope: https://graph.microsoft.com/.default"),
            "microsoft.scope: a token for Microsoft Graph opens no mailbox over IMAP, POP3 or SMTP; write scopes of \
             `https://outlook.office.com/`, or remove the key",
        ),
        (
            microsoft(
                "scope: https://outlook.office.com/SMTP.Send https://graph.microsoft.com/Mail.Send offline_access",
            ),
            "microsoft.scope: the scope names two resources, `https://outlook.office.com` and \
             `https://graph.microsoft.com`; ask for one resource; the mail protocols need \
             `https://outlook.office.com/.default`",
        ),
        (
            microsoft("scope: https://outlook.office.com/.default https://outlook.office.com/SMTP.Send"),
            "microsoft.scope: `/.default` cannot be asked for together with other scopes; keep `/.default`, or the others",
        ),
        (
            microsoft("scope: offline_access"),
            "microsoft.scope: the scope names no resource; write `https://outlook.office.com/.default`, or remove the key",
        ),
        (
            microsoft("client_secret: {env: NOT_SET}"),
            "microsoft.client_secret.env: the environment variable `NOT_SET` is not set; set it where Gatepost is started, \
             or use `{file: PATH}`",
        ),
        (
            microsoft("client_secret: {file: missing}"),
            "microsoft.client_secret.file: `missing` cannot be read: entity not found; name a file that the user who runs \
             Gatepost can read",
        ),
        (
            microsoft("client_secret: {command: [false]}"),
            "microsoft.client_secret.command: the command did not give a secret: it failed (exit status: 1); run it by \
             hand as the user who runs Gatepost",
        ),
        (
            microsoft("client_secret: {env: A, file: B}"),
            "microsoft.client_secret: exactly one source of the secret is expected; write `{env: NAME}`, `{file: PATH}` or \
             `{command: [PROGRAM, ARGUMENT]}`",
        ),
        (
            microsoft("client_secret: \"hunter2\\nhunter3\""),
            "microsoft.client_secret: the secret holds a line break or another control character; a secret is one line of \
             text; one line break at its end is left out",
        ),
        (
            microsoft("grant: client_credentials\nclient_secret: hunter2"),
            "microsoft: with `client_credentials` anybody who reaches the port would own every mailbox; list `accounts` \
             with `passwords`, each made by `gatepost password hash`",
        ),
    ] {
        assert_eq!(mistakes(&yaml), [expected], "{yaml}");
    }
}

#[test]
fn every_mistake_of_an_account_has_its_sentence() {
    let with = |lines: &str| account(&format!("grant: client_credentials\nclient_secret: hunter2\n{lines}"));
    for (yaml, expected) in [
        (
            "accounts: []".to_owned(),
            "accounts: no account is listed, so nobody could log in; add an entry with `login`, or remove `accounts`",
        ),
        (
            "accounts: {login: a@b}".to_owned(),
            "accounts: a list is expected here, not keys with values; write each entry on its own line behind `- `",
        ),
        (
            "accounts: [{mailbox: a@b}]".to_owned(),
            "accounts[0].login: `login` is missing; write an address, `*@domain`, or `*` for everybody else",
        ),
        (
            "accounts: [{login: scan7}]".to_owned(),
            "accounts[0].login: `scan7` is not an address; write the whole address here, and short names under `aliases`",
        ),
        (
            "accounts: [{login: 'a*@contoso.com'}]".to_owned(),
            "accounts[0].login: `a*@contoso.com` is not a pattern that is known; write an address, `*@contoso.com`, or `*` \
             for everybody else",
        ),
        (
            "accounts: [{login: 'a b@contoso.com'}]".to_owned(),
            "accounts[0].login: the name holds a control character or a space; write an address such as \
             `scanner@contoso.com`",
        ),
        (
            "accounts: [{login: A@contoso.com}, {login: a@CONTOSO.com}]".to_owned(),
            "accounts[1].login: `a@contoso.com` is listed twice; names compare without regard to case; keep one; the \
             other stands at accounts[0].login",
        ),
        (
            "accounts: [{login: a@b.c, aliases: [scan]}, {login: d@b.c, aliases: SCAN}]".to_owned(),
            "accounts[1].aliases: `scan` is listed twice; names compare without regard to case; keep one; the other \
             stands at accounts[0].aliases[0]",
        ),
        (
            "accounts: [{login: '*@b.c', aliases: [scan]}]".to_owned(),
            "accounts[0].aliases: an alias stands for one address, but `login` is a pattern; give the address an entry of \
             its own, and the alias there",
        ),
        (
            account("mailbox: reception"),
            "accounts[0].mailbox: the name is not an address of the form user@domain; write an address such as `scanner@contoso.com`",
        ),
        (
            account(&format!("passwords: ['{HASH}']")),
            "accounts[0]: `passwords` are given, but with `grant: password` it is Entra that knows the password; remove \
             `passwords`, or write `grant: client_credentials`",
        ),
        (
            with(""),
            "accounts[0]: `scanner@contoso.com` has no password: with `client_credentials` anybody who reaches the port \
             would own the mailbox; run `gatepost password hash` and put what it prints into `passwords`",
        ),
        (
            with("passwords: [hunter2hunter2]"),
            "accounts[0].passwords[0]: this is not a usable password hash: it is not a PHC string; run `gatepost password \
             hash` and put what it prints here, in single quotes",
        ),
        (
            with(&format!("passwords: ['{}']", HASH.replace("m=19456", "m=4096"))),
            "accounts[0].passwords[0]: this is not a usable password hash: it is weaker than m=19456,t=2,p=1; run \
             `gatepost password hash` and put what it prints here, in single quotes",
        ),
        (
            with(&format!("passwords: ['{}']", HASH.replace("argon2id", "argon2i"))),
            "accounts[0].passwords[0]: this is not a usable password hash: only Argon2id is accepted; run `gatepost \
             password hash` and put what it prints here, in single quotes",
        ),
        (
            with(&format!("passwords: ['{HASH}']\nscope: https://outlook.office365.com/IMAP.AccessAsApp")),
            "accounts[0].scope: with `client_credentials` the scope must be one that ends in `/.default`; write \
             `https://outlook.office365.com/.default`, or remove the key",
        ),
        (
            account(&format!("grant: client_credentials\npasswords: ['{HASH}']")),
            "accounts[0].client_secret: `client_secret` is missing, which `grant: client_credentials` needs; write \
             `client_secret: {env: GATEPOST_CLIENT_SECRET}`, here or under `microsoft`",
        ),
    ] {
        assert_eq!(mistakes(&yaml), [expected], "{yaml}");
    }
}

#[test]
fn every_other_mistake_has_its_sentence() {
    for (yaml, expected) in [
        ("state: {directory: x}", "state: `state` is not available in this version; remove it"),
        ("admin: {bind: '127.0.0.1:9180'}", "admin: `admin` is not available in this version; remove it"),
        (
            "frobnicate: 1",
            "frobnicate: `frobnicate` is not a known key; the keys here are accounts, forward_proxy, limits, listeners, \
             log, microsoft, trust",
        ),
        (
            "log: {level: loud}",
            "log.level: `loud` is not one of `error`, `warn`, `info`, `debug`, `trace`; write `error`, `warn`, `info`, `debug` or `trace`",
        ),
        ("log: {format: jsn}", "log.format: `jsn` is not one of `text`, `json`; did you mean `json`?"),
        (
            "trust: {system_roots: false}",
            "trust: nobody would be trusted; write `system_roots: true`, or name an `additional_ca`",
        ),
        (
            "trust: {additional_ca: missing.pem}",
            "trust.additional_ca: `missing.pem` cannot be read: entity not found; name a PEM file with the certificates of \
             the authorities to trust",
        ),
        (
            "forward_proxy: {}",
            "forward_proxy.url: `url` is missing; write `url: http://proxy.corp.example:3128`, or remove `forward_proxy`",
        ),
        (
            "forward_proxy: {url: 'https://proxy:3128'}",
            "forward_proxy.url: a proxy that is reached by `https://` is not available in this version; name a proxy that \
             is reached by `http://`",
        ),
        (
            "forward_proxy: {url: 'http://u:hunter2@proxy:3128'}",
            "forward_proxy.url: the URL holds a user name or a password; put them into `username` and `password`",
        ),
        (
            "forward_proxy: {url: 'http://proxy:3128', authentication: ntlm}",
            "forward_proxy.authentication: the authentication `ntlm` is not available in this version; write `none` or \
             `basic`, or ask for an exception at the proxy",
        ),
        (
            "forward_proxy: {url: 'http://proxy:3128', authentication: basic, username: u}",
            "forward_proxy.password: `password` is missing, which `authentication: basic` needs; add it, or write \
             `authentication: none`",
        ),
        (
            "forward_proxy: {url: 'http://proxy:3128', username: u}",
            "forward_proxy.username: this is given, but `authentication` is `none`; write `authentication: basic`, or \
             remove the key",
        ),
        (
            "forward_proxy: {url: 'http://proxy:3128', authentication: basic, username: 'a:b', password: c}",
            "forward_proxy.username: the user name holds a colon or a control character; Basic authentication cannot carry \
             it",
        ),
        (
            "forward_proxy: {url: 'http://proxy:3128', no_proxy: [10.0.0.0/33]}",
            "forward_proxy.no_proxy[0]: `10.0.0.0/33` is not a network; write an address or a network, such as \
             `192.168.7.0/24` or `::1`",
        ),
        (
            "limits: {connections: many}",
            "limits.connections: `many` is not a whole number; write a whole number from 1 to 1000000",
        ),
        ("limits: {conections: 5}", "limits.conections: `conections` is not a known key; did you mean `connections`?"),
        ("limits: {imap_line: 64KiB}", "limits.imap_line: `64KiB` is out of range; write a size from 512B to 32KiB"),
        (
            "limits: {imap_line: 8192}",
            "limits.imap_line: `8192` has no unit; write `8192B` for octets, or use `KiB`, `MiB`",
        ),
        ("limits: {attempts: 13}", "limits.attempts: 13 is out of range; write a whole number from 1 to 12"),
        (
            "limits: {token_request: 30s}",
            "limits.token_request: `token_request` is greater than `token_total`, which is 25s; lower `token_request` or \
             raise `token_total`",
        ),
        (
            "limits: {connections: 100}",
            "limits.connections: `pre_auth_connections` is greater than `connections`, which is 100; lower \
             `pre_auth_connections` or raise `connections`",
        ),
    ] {
        assert_eq!(mistakes(yaml), [expected], "{yaml}");
    }
}

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
fn one_listener_a_tenant_and_a_client_id_are_enough() {
    let config = config("");
    let listener = &config.listeners[0];
    assert_eq!((listener.upstream.host.as_str(), listener.upstream.port), ("smtp.office365.com", 587));
    assert_eq!(listener.upstream.tls, UpstreamTls::StartTls);
    assert_eq!(listener.tls, ListenerTls::None);
    assert_eq!(listener.allow_from.iter().map(ToString::to_string).collect::<Vec<_>>(), ["127.0.0.0/8", "::1/128"]);
    let (account, address) = config.accounts.find(&LoginName::parse("Alice@Contoso.com").unwrap()).unwrap();
    assert_eq!(address.as_str(), "alice@contoso.com");
    assert!(matches!(account.grant, Grant::Password));
    assert_eq!(account.application.authority.as_str(), "https://login.microsoftonline.com/");
    assert!(config.notes.is_empty() && config.forward_proxy.is_none());
}

#[test]
fn the_cloud_decides_upstream_and_authority() {
    let config = config(&format!(
        "{}listeners: {{smtp: {{bind: '127.0.0.1:25'}}, imap: {{bind: '127.0.0.1:143'}}}}\n",
        microsoft("cloud: china")
    ));
    let hosts: Vec<&str> = config.listeners.iter().map(|listener| listener.upstream.host.as_str()).collect();
    assert_eq!(hosts, ["smtp.partner.outlook.cn", "partner.outlook.cn"]);
    let application = &config.accounts.entries()[0].application;
    assert_eq!(application.cloud, Cloud::China);
    assert_eq!(application.authority.as_str(), "https://login.partner.microsoftonline.cn/");
}

#[test]
fn accounts_inherit_and_override() {
    let yaml = format!(
        "{}accounts:\n  - login: '*@contoso.com'\n  - login: b@contoso.com\n    aliases: [scan7]\n    grant: \
         client_credentials\n    passwords: ['{HASH}']\n    mailbox: m@contoso.com\n  - login: c@fabrikam.com\n    tenant: \
         fabrikam.com\n    client_id: 11111111-1111-1111-1111-111111111111\n",
        microsoft("client_secret: hunter2\ntoken_expiry_margin: 10m")
    );
    let config = config(&yaml);
    let [domain, scanner, other] = config.accounts.entries() else { panic!("three accounts are expected") };
    assert!(std::sync::Arc::ptr_eq(&domain.application, &scanner.application));
    assert_eq!(domain.application.client_secret.as_ref().unwrap().expose(), "hunter2");
    assert_eq!(scanner.token_expiry_margin.as_secs(), 600);
    assert_eq!(scanner.mailbox.as_ref().unwrap().as_str(), "m@contoso.com");
    assert!(matches!(&scanner.grant, Grant::ClientCredentials { passwords } if passwords == &[HASH]));
    assert_eq!(other.application.tenant, "fabrikam.com");
    assert!(other.application.client_secret.is_none(), "a secret belongs to its application");
    let (found, address) = config.accounts.find(&LoginName::parse("SCAN7").unwrap()).unwrap();
    assert_eq!((found.aliases.len(), address.as_str()), (1, "b@contoso.com"));
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let yaml = complete("listeners: {smtp: {bind: '127.0.0.1:1'}}\nlog: {level: warn, format: json}\n");
    let outside = Outside::with_variables(&[
        ("GATEPOST__LISTENERS__SMTP__BIND", "[\"127.0.0.1:2\", \"[::1]:2\"]"),
        ("GATEPOST__LISTENERS__IMAP__BIND", "127.0.0.1:3"),
        ("GATEPOST__LOG__LEVEL", "debug"),
        ("GATEPOST_CLIENT_SECRET", "not a key"),
    ]);
    let config = outside.load_with(&yaml, &[("log.level", "trace"), ("limits.drain", "1s")]).unwrap();
    let binds: Vec<Vec<String>> =
        config.listeners.iter().map(|listener| listener.bind.iter().map(ToString::to_string).collect()).collect();
    assert_eq!(binds, [vec!["127.0.0.1:2", "[::1]:2"], vec!["127.0.0.1:3"]]);
    assert_eq!(config.log.level, tracing::Level::TRACE);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.limits.drain.as_secs(), 1);
}

#[test]
fn names_of_layers_that_say_nothing_are_mistakes() {
    let outside = Outside::with_variables(&[("GATEPOST__LISTENERS____BIND", "x")]);
    let problems = outside.load_with(&complete(""), &[(".a", "1")]).unwrap_err();
    assert_eq!(
        told(&problems),
        [
            ": the name does not say which key is meant; join the keys of the path by two underscores, as in \
             `GATEPOST__LISTENERS__SMTP__BIND`",
            ": the path does not say which key is meant; join the keys by a dot, as in \
             `--set listeners.smtp.bind=127.0.0.1:1587`",
        ]
    );
}

#[test]
fn secrets_come_from_four_places() {
    let mut outside = Outside::with_files(&[("conf/secret", "from-file\r\n")]);
    outside.variables.insert("SECRET".into(), "from-env".into());
    for (source, expected) in [
        ("literal", "literal"),
        ("{env: SECRET}", "from-env"),
        ("{file: secret}", "from-file"),
        ("{command: [print]}", "from-command"),
        ("12345", "12345"),
        ("'# {odd}: \"x\" '", "# {odd}: \"x\" "),
    ] {
        let yaml = complete(&microsoft(&format!("client_secret: {source}")));
        let file = Some((Path::new("conf/proxy.yaml"), yaml.as_str()));
        let config = load_text(file, &[], &outside.variables, &outside).unwrap();
        let secret = config.accounts.entries()[0].application.client_secret.as_ref().unwrap().expose().to_owned();
        assert_eq!(secret, expected);
    }
}

#[test]
fn what_works_but_should_be_known_is_noted() {
    let mut outside = Outside::with_files(&[("s", "11111111-1111-1111-1111-111111111111")]);
    outside.world_readable = true;
    let yaml = format!(
        "{}listeners:\n  imap: {{bind: '0.0.0.0:143', upstream: 'mail.example:993', allow_from: 10.0.0.0/8, \
         allow_plaintext_from: 10.0.0.0/8}}\naccounts:\n  - {{login: '*', grant: client_credentials, passwords: ['{HASH}']}}\n",
        microsoft("authority: https://login.example/entra\nclient_secret: {file: s}")
    );
    let config = outside.load(&yaml).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(
        config.notes,
        [
            "everybody on this machine can read the secret in `s`; take that right away with `chmod o-r s`",
            "microsoft.client_secret has the form of a secret's id; Entra wants the secret's value, which it shows only once",
            "`proxy.yaml` holds a secret and everybody on this machine can read it; take that right away with `chmod o-r \
             proxy.yaml`",
            "the authority `https://login.example/entra/` is not one of Microsoft's; it will receive passwords and secrets",
            "whoever knows a password of the account `*` can open every mailbox that it stands for",
            "upstream `mail.example:993` of listeners.imap is not one of Microsoft's servers; it will receive access tokens",
            "listener `imap` accepts logins without TLS from other machines; whoever can listen on those networks learns \
             the passwords",
        ]
    );
}

#[test]
fn an_explicit_forward_proxy_leaves_loopback_alone() {
    let config = config(
        "forward_proxy: {url: 'http://Proxy.Corp:3128', authentication: basic, username: u, password: p, no_proxy: \
         ['.corp.example', 10.0.0.0/8, '192.0.2.7', '*.a.example', '*']}",
    );
    let proxy = config.forward_proxy.unwrap();
    assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.corp", 3128));
    assert!(matches!(&proxy.authentication, ProxyAuthentication::Basic { username, password }
        if username == "u" && password.expose() == "p"));
    assert_eq!(proxy.no_proxy.domains, ["corp.example", "a.example"]);
    assert_eq!(
        proxy.no_proxy.networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.0.0.0/8", "192.0.2.7/32"]
    );
    assert!(proxy.no_proxy.all);
}

#[test]
fn the_usual_variables_name_a_forward_proxy_when_the_block_is_absent() {
    let outside = Outside::with_variables(&[
        ("HTTPS_PROXY", "http://u:p%40ss@proxy.corp:3128/"),
        ("ALL_PROXY", "socks5h://other:1080"),
        ("NO_PROXY", "corp.example, .b.example,10.0.0.0/8"),
    ]);
    let config = outside.load(&complete("")).unwrap();
    let proxy = config.forward_proxy.unwrap();
    assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.corp", 3128));
    assert!(matches!(&proxy.authentication, ProxyAuthentication::Basic { username, password }
        if username == "u" && password.expose() == "p@ss"));
    assert_eq!(proxy.no_proxy.domains, ["corp.example", "b.example", "localhost"]);
    let networks: Vec<String> = proxy.no_proxy.networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "127.0.0.0/8", "::1/128"]);
    assert_eq!(
        config.notes,
        ["connections go through the forward proxy `proxy.corp:3128`, because `HTTPS_PROXY` is set"]
    );

    assert!(outside.load(&complete("forward_proxy: none")).unwrap().forward_proxy.is_none());
    let explicit = outside.load(&complete("forward_proxy: {url: 'http://mine:8080'}")).unwrap().forward_proxy.unwrap();
    assert_eq!((explicit.host.as_str(), explicit.no_proxy.networks.len()), ("mine", 0));

    let bare = Outside::with_variables(&[("https_proxy", "proxy:3128"), ("HTTPS_PROXY", "ftp://x")]);
    assert_eq!(bare.load(&complete("")).unwrap().forward_proxy.unwrap().host, "proxy");
    let socks = Outside::with_variables(&[("all_proxy", "socks5h://u:hunter2@other:1080")]);
    assert_eq!(
        socks.load(&complete("")).unwrap_err().to_string(),
        "environment variable all_proxy: a proxy that is reached by `socks5h://` is not available in this version\n  \
         hint: name a proxy that is reached by `http://`; or write `forward_proxy: none` to connect straight\n\n\
         1 mistake in the configuration"
    );
}

fn pair(name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

#[test]
fn a_certificate_and_its_key_belong_together() {
    let ((certificate, key), (_, other)) = (pair("a"), pair("b"));
    let yaml = complete(&listener("tls: starttls\ncertificate: c.pem\nprivate_key: k.pem"));
    let config = Outside::with_files(&[("c.pem", &certificate), ("k.pem", &key)]).load(&yaml).unwrap();
    let absent = "cannot be read: entity not found; name a PEM file that the user who runs Gatepost can read; `gatepost cert` \
                  makes one for tests";
    assert_eq!(
        mistakes(&yaml),
        [
            format!("listeners.imap.certificate: `c.pem` {absent}"),
            format!("listeners.imap.private_key: `k.pem` {absent}"),
        ]
    );
    assert!(
        matches!(&config.listeners[0].tls, ListenerTls::StartTls(identity) if identity.certificate == Path::new("c.pem"))
    );

    let mismatch = Outside::with_files(&[("c.pem", &certificate), ("k.pem", &other)]).load(&yaml).unwrap_err();
    assert_eq!(
        told(&mismatch),
        [
            "listeners.imap.private_key: the private key does not belong to the certificate; name the key that the first \
          certificate of the chain was made for"
        ]
    );
    let swapped = Outside::with_files(&[("c.pem", &key), ("k.pem", &certificate)]).load(&yaml).unwrap_err();
    assert_eq!(
        told(&swapped),
        ["listeners.imap.certificate: there is no certificate in PEM form in it; name a PEM file with the server's \
          certificate first and its issuers behind it"]
    );
}

#[test]
fn an_additional_authority_is_read_once() {
    let (certificate, _) = pair("authority");
    let yaml = complete("trust: {system_roots: false, additional_ca: ca.pem}");
    let config = Outside::with_files(&[("ca.pem", &certificate)]).load(&yaml).unwrap();
    assert_eq!(config.trust.additional_ca.unwrap(), (PathBuf::from("ca.pem"), certificate.into_bytes()));
    let problems = Outside::with_files(&[("ca.pem", "nothing")]).load(&yaml).unwrap_err();
    assert_eq!(
        told(&problems),
        ["trust.additional_ca: `ca.pem` holds no certificate in PEM form; the file has lines `-----BEGIN \
          CERTIFICATE-----`; convert DER with `openssl x509 -inform der`"]
    );
}

#[test]
fn the_example_is_right_and_shows_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("proxy.example.yaml");
    let config = load(Some(&path), &[], []).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(format!("{:?}", config.limits), format!("{:?}", Limits::default()));
    assert!(config.notes.is_empty(), "{:?}", config.notes);

    // What it writes is what there is without it: the same listeners from their addresses alone.
    let short =
        "listeners: {imap: {bind: '127.0.0.1:1143'}, pop3: {bind: '127.0.0.1:1995'}, smtp: {bind: '127.0.0.1:1587'}}";
    let short = Outside::default().load(&complete(short)).unwrap();
    assert_eq!(format!("{:?}", config.listeners), format!("{:?}", short.listeners));
    assert_eq!(format!("{:?}", config.accounts), format!("{:?}", short.accounts));
    assert_eq!(config.log, short.log);
}

#[test]
fn everything_that_the_example_comments_out_is_right_as_well() {
    let example = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("proxy.example.yaml")).unwrap();
    let key = |line: &str| {
        line.trim_start_matches(['-', ' '])
            .split_once(':')
            .is_some_and(|(key, _)| !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
    };
    let uncommented: String = example
        .lines()
        .map(|line| match line.split_once("# ") {
            Some((before, rest)) if before.trim().is_empty() && key(rest) => format!("{before}{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let yaml = uncommented
        .replace("tls: none ", "tls: implicit ")
        .replace("$argon2id$v=19$…", HASH)
        .replace("authentication: none ", "authentication: basic ");
    let (certificate, private_key) = pair("x");
    let mut outside = Outside::with_files(&[
        ("certs/server.pem", &certificate),
        ("certs/server.key", &private_key),
        ("corp-root.pem", &certificate),
        ("/run/secrets/proxy-password", "p"),
    ]);
    outside.variables.insert("GATEPOST_CLIENT_SECRET".into(), "s".into());
    let config = outside.load(&yaml).unwrap_or_else(|problems| panic!("{yaml}\n{problems}"));
    assert_eq!(config.accounts.entries().len(), 3);
    assert!(config.forward_proxy.is_some() && config.trust.additional_ca.is_some());
    assert!(matches!(config.listeners[0].tls, ListenerTls::Implicit(_)));
}

#[test]
fn the_sample_for_a_server_is_right() {
    let sample =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/proxy.sample.yaml")).unwrap();
    let (certificate, private_key) = pair("x");
    let outside = Outside::with_files(&[
        ("/etc/gatepost/server.pem", &certificate),
        ("/run/credentials/gatepost.service/server.key", &private_key),
        ("/run/credentials/gatepost.service/client-secret", "hunter2"),
    ]);
    let config = outside.load(&sample).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((config.listeners.len(), config.accounts.entries().len()), (2, 2));
}

#[test]
fn a_missing_file_says_how_to_get_one() {
    assert_eq!(
        load(Some(Path::new("/nonexistent/proxy.yaml")), &[], []).unwrap_err().to_string(),
        "/nonexistent/proxy.yaml: there is no such file\n  hint: copy `proxy.example.yaml` to it and fill in your tenant, or \
         see `gatepost demo` first\n\n1 mistake in the configuration"
    );
}
