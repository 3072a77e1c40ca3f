//! The configuration contract: what is accepted, what each mistake is told, which layer wins, what
//! stays hidden.

use std::path::{Path, PathBuf};

use gatepost_config::load::{load, load_text};
use gatepost_config::{
    Cloud, Credential, Exempt, Finding, ForwardProxy, Grant, Limits, ListenerTls, LogFormat, ProxyChoice, State,
    UpstreamTls,
};
use gatepost_core::account::LoginName;
use gatepost_proto::tunnel::credentials::ProxyAuthentication;
use proptest::prelude::*;
use proptest::sample;

use credentials::secrets;
use support::{HASH, Outside, complete, config, key_file, listener, microsoft, mistakes, pair, rsa_pair, told};

mod beside;
mod credentials;
#[path = "../common/directory.rs"]
#[allow(dead_code, reason = "other binaries use more of it")]
mod directory;
mod documented;
mod documents;
mod findings;
mod http;
mod mistakes;
mod providers;
mod queue;
mod reference;
mod report;
mod schema;
mod sendmail;
mod state;
mod submission;
mod support;
mod unproved;
mod words;

#[test]
fn one_listener_a_tenant_and_a_client_id_are_enough() {
    let config = config("");
    let listener = &config.listeners[0];
    let upstream = listener.mail_server().unwrap();
    assert_eq!((upstream.host.as_str(), upstream.port), ("smtp.office365.com", 587));
    assert_eq!(upstream.tls, UpstreamTls::StartTls);
    assert_eq!(listener.tls, ListenerTls::None);
    assert_eq!(listener.allow_from.iter().map(ToString::to_string).collect::<Vec<_>>(), ["127.0.0.0/8", "::1/128"]);
    let (account, address) = config.accounts.find(&LoginName::parse("Alice@Contoso.com").unwrap()).unwrap();
    assert_eq!(address.as_str(), "alice@contoso.com");
    assert!(matches!(account.grant, Grant::Password));
    assert_eq!(account.application.issuer.authority().as_str(), "https://login.microsoftonline.com/");
    assert!(config.notes.is_empty() && config.forward_proxy.is_none());
}

#[test]
fn the_cloud_decides_upstream_and_authority() {
    let config = config(&format!(
        "{}listeners: {{smtp: {{bind: '127.0.0.1:25'}}, imap: {{bind: '127.0.0.1:143'}}}}\n",
        microsoft("cloud: china")
    ));
    let hosts: Vec<&str> =
        config.listeners.iter().map(|listener| listener.mail_server().unwrap().host.as_str()).collect();
    assert_eq!(hosts, ["smtp.partner.outlook.cn", "partner.outlook.cn"]);
    let application = &config.accounts.entries()[0].application;
    assert_eq!(application.issuer.cloud(), Some(Cloud::China));
    assert_eq!(application.issuer.authority().as_str(), "https://login.partner.microsoftonline.cn/");
}

#[test]
fn a_person_signs_in_for_an_account_by_either_grant() {
    let yaml = format!(
        "{}accounts:\n  - login: '*@contoso.com'\n  - {{login: office@contoso.com, signs_in_as: Anna@contoso.com}}\n  \
         - {{login: anna@contoso.com, signs_in_as: ANNA@contoso.com, grant: device_code, passwords: ['{HASH}']}}\n",
        microsoft("grant: authorization_code")
    );
    let config = config(&yaml);
    let [domain, office, anna] = config.accounts.entries() else { panic!("three accounts are expected") };
    assert_eq!([domain.grant, office.grant, anna.grant].map(Grant::is_sign_in), [true; 3]);
    assert_eq!((domain.grant, anna.grant), (Grant::AuthorizationCode, Grant::DeviceCode));
    assert_eq!(office.signs_in_as.as_ref().unwrap().as_str(), "anna@contoso.com");
    assert_eq!((&domain.signs_in_as, &anna.signs_in_as), (&None, &None), "for herself nobody else does");
    assert_eq!(anna.passwords, [HASH]);
    assert!(config.unproved.is_empty(), "the first password comes with the sign-in");
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
    assert_eq!(secrets(&domain.application), ["hunter2"]);
    assert_eq!(scanner.token_expiry_margin.as_secs(), 600);
    assert_eq!(scanner.mailbox.as_ref().unwrap().as_str(), "m@contoso.com");
    assert_eq!((scanner.grant, &scanner.passwords[..]), (Grant::ClientCredentials, &[HASH.to_owned()][..]));
    assert_eq!(other.application.issuer.entra().unwrap().tenant, "fabrikam.com".into());
    assert!(secrets(&other.application).is_empty(), "a secret belongs to its application");
    let (found, address) = config.accounts.find(&LoginName::parse("SCAN7").unwrap()).unwrap();
    assert_eq!((found.aliases.len(), address.as_str()), (1, "b@contoso.com"));
}

#[test]
fn an_alias_is_any_text_and_a_down_level_name_has_its_domain() {
    let config = config(&format!(
        "{}accounts:\n  - {{login: r&d@contoso.com, aliases: ['FABRIKAM\\r d', 'Scan Room 7', 'a@b@c']}}\n  \
         - {{login: '*@contoso.com'}}\n",
        microsoft("netbios_domains: {CONTOSO: contoso.com, Fabrikam: fabrikam.com}")
    ));
    let found = |login: &str| {
        let (_, address) = config.accounts.find(&LoginName::parse(login).unwrap())?;
        Some(address.to_string())
    };
    for (login, address) in [
        ("R&D@Contoso.com", "r&d@contoso.com"),
        ("fabrikam\\R D", "r&d@contoso.com"),
        (" scan room 7 ", "r&d@contoso.com"),
        ("a@b@c", "r&d@contoso.com"),
        ("contoso\\R&D", "r&d@contoso.com"),
        ("CONTOSO\\anna", "anna@contoso.com"),
        ("Contoso\\anna^~#@contoso.com", "anna^~#@contoso.com"),
    ] {
        assert_eq!(found(login).as_deref(), Some(address), "{login}");
    }
    for login in
        ["fabrikam\\anna", "adatum\\anna", "contoso\\", "contoso\\a b", "contoso\\a\\b", "\\anna", "scan room 8"]
    {
        assert_eq!(found(login), None, "{login}");
    }
}

proptest! {
    /// A mailbox behind a user name is found in every form, and nothing that is not listed.
    #[test]
    fn a_mailbox_stands_behind_a_user_name(
        login in sample::select(vec!["anna@contoso.com", "anna7", "CONTOSO\\anna", "CONTOSO\\anna@contoso.com", "a/b\\c"]),
        separator in sample::select(vec!["\\", "/"]),
        mailbox in sample::select(vec!["office", "sales", "r/d", "boss", "anna"]),
        domain in sample::select(vec!["", "@contoso.com", "@fabrikam.com", "@adatum.com"]),
        upper in any::<[bool; 3]>(),
    ) {
        let config = config(&format!(
            "{}accounts:\n  - {{login: anna@contoso.com, aliases: [anna7, 'a/b\\c'], mailboxes: [office@contoso.com, \
             sales@fabrikam.com, r/d@contoso.com]}}\n",
            microsoft("netbios_domains: {CONTOSO: contoso.com}")
        ));
        let cased = |text: &str, upper: bool| if upper { text.to_uppercase() } else { text.to_lowercase() };
        let name = [cased(login, upper[0]), separator.to_owned(), cased(mailbox, upper[1]), cased(domain, upper[2])].concat();
        let found = config.accounts.find_with_mailbox(&LoginName::parse(&name).unwrap()).unwrap();
        prop_assert_eq!(found.login.as_str(), "anna@contoso.com");
        let opened = found.account.mailbox_named(&found.login, &found.mailbox.unwrap());
        let wanted = match (mailbox, domain) {
            ("office", "" | "@contoso.com") => Some("office@contoso.com"),
            ("sales", "" | "@fabrikam.com") => Some("sales@fabrikam.com"),
            ("r/d", "" | "@contoso.com") => Some("r/d@contoso.com"),
            ("anna", "" | "@contoso.com") => Some("anna@contoso.com"),
            _ => None,
        };
        prop_assert_eq!(opened.as_ref().map(|mailbox| mailbox.as_str()), wanted, "{}", name);
    }
}

#[test]
fn a_name_that_is_an_account_as_a_whole_asks_for_no_mailbox() {
    let config = config("accounts: [{login: a@b.c, aliases: ['a@b.c/x']}, {login: 'a/x@b.c'}, {login: '*'}]");
    let found = |name: &str| {
        let found = config.accounts.find_with_mailbox(&LoginName::parse(name).unwrap())?;
        Some((found.login.to_string(), found.mailbox.map(|mailbox| mailbox.to_string())))
    };
    for (name, login, mailbox) in [
        ("a@b.c/x", "a@b.c", None),
        ("a/x@b.c", "a/x@b.c", None),
        ("d/e@b.c", "d/e@b.c", None),
        ("d/e@b.c/f", "d/e@b.c", Some("f")),
        ("d@b.c/e@f.g", "d@b.c", Some("e@f.g")),
        ("d@b.c \\ e", "d@b.c", Some("e")),
    ] {
        assert_eq!(found(name), Some((login.to_owned(), mailbox.map(str::to_owned))), "{name}");
    }
    for name in ["a@b.c/", "a@b.c\\", "/x", "\\x@b.c\\", "x\\y", "a/x"] {
        assert_eq!(found(name), None, "{name}");
    }
}

#[test]
fn the_tenant_is_named_or_the_users_own_or_the_domain_of_the_login() {
    let id = "11111111-1111-1111-1111-111111111111";
    let config = config(&format!(
        "microsoft: {{tenant: auto, client_id: 00000000-0000-0000-0000-000000000000, client_secret: s}}\naccounts:\n  \
         - {{login: '*'}}\n  - {{login: '*@Fabrikam.com'}}\n  - {{login: a@adatum.com, aliases: [a]}}\n  \
         - {{login: b@adatum.com, tenant: Organizations}}\n  - {{login: c@adatum.com, tenant: '{id}'}}\n  \
         - {{login: '*@litware.com', grant: client_credentials, passwords: ['{HASH}']}}\n"
    ));
    let found = |login: &str| {
        let (account, address) = config.accounts.find(&LoginName::parse(login).unwrap())?;
        Some(account.application.issuer.tenant_of(&address).to_owned())
    };
    for (login, tenant) in [
        ("x@Contoso.com", "contoso.com"),
        ("x@contoso.onmicrosoft.com", "contoso.onmicrosoft.com"),
        ("x@fabrikam.com", "fabrikam.com"),
        ("a", "adatum.com"),
        ("b@adatum.com", "organizations"),
        ("c@adatum.com", id),
        ("x@litware.com", "litware.com"),
    ] {
        assert_eq!(found(login).as_deref(), Some(tenant), "{login}");
    }
    // What is no domain gets into no URL.
    for login in ["x@common", "x@organizations", "x@127.0.0.1", "x@a..b", "x@bücher.example", "x@a%2fb.example"] {
        assert_eq!(found(login), None, "{login}");
    }
    let secret = |login: &str| {
        let (account, _) = config.accounts.find(&LoginName::parse(login).unwrap()).unwrap();
        secrets(&account.application).pop()
    };
    assert_eq!(secret("c@adatum.com").as_deref(), Some("s"), "one application in several tenants");
}

#[test]
fn a_scope_of_a_resource_that_nobody_knows_is_noted() {
    let exchange = "00000002-0000-0ff1-ce00-000000000000/.default";
    assert!(config(&microsoft(&format!("scope: {exchange}"))).notes.is_empty());
    assert_eq!(
        config(&microsoft("scope: https://mail.example/.default")).notes,
        ["the scope asks for `https://mail.example`, which is not Exchange Online. Its token may open no mailbox"]
    );
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
fn secrets_come_from_five_places() {
    let mut outside = Outside::with_files(&[("conf/secret", "from-file\r\n"), ("/run/cr/app.secret", "from-systemd")]);
    outside.variables.insert("SECRET".into(), "from-env".into());
    outside.variables.insert("CREDENTIALS_DIRECTORY".into(), "/run/cr".into());
    for (source, expected) in [
        ("literal", "literal"),
        ("{env: SECRET}", "from-env"),
        ("{file: secret}", "from-file"),
        ("{command: [print]}", "from-command"),
        ("{credential: app.secret}", "from-systemd"),
        ("12345", "12345"),
        ("'# {odd}: \"x\" '", "# {odd}: \"x\" "),
    ] {
        let yaml = complete(&microsoft(&format!("client_secret: {source}")));
        let file = Some((Path::new("conf/proxy.yaml"), yaml.as_str()));
        let config = load_text(file, &[], &outside.variables, &outside).unwrap();
        assert_eq!(secrets(&config.accounts.entries()[0].application), [expected]);
    }
}

#[test]
fn a_command_does_not_see_the_secrets_in_the_environment() {
    let outside = Outside::with_variables(&[("PROXY_PASSWORD", "p"), ("APP_SECRET", "s")]);
    let yaml = complete(&format!(
        "{}accounts:\n  - {{login: '*'}}\n  - {{login: a@b.example, client_id: 11111111-1111-1111-1111-111111111111, \
         client_secret: {{env: APP_SECRET}}}}\nforward_proxy: {{url: 'http://p:1', authentication: basic, username: u, \
         password: {{env: PROXY_PASSWORD}}}}\n",
        microsoft("client_secret: {command: [hidden]}")
    ));
    let config = outside.load(&yaml).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(secrets(&config.accounts.entries()[0].application), ["APP_SECRET,PROXY_PASSWORD"]);
}

#[test]
fn the_address_of_a_store_is_a_secret_too() {
    let outside = Outside::with_variables(&[("STORE", "redis://u:p%40ss@redis.example/3"), ("KEY", "k")]);
    let yaml = complete("state: {store: {env: STORE}, key: {env: KEY}}");
    let config = outside.load(&yaml).unwrap_or_else(|problems| panic!("{problems}"));
    let State::Redis { server, .. } = config.state else { panic!("{:?}", config.state) };
    assert_eq!((server.host.as_str(), server.database), ("redis.example", 3));
    assert_eq!(server.password.as_ref().unwrap().expose(), "p@ss");

    let set = [("state.store", "redis://u:hunter2@redis.example/")];
    let problems = outside.load_with(&complete("state: {key: {env: KEY}}"), &set).unwrap_err();
    assert!(
        told(&problems)[0].starts_with("state.store: everybody on this machine can read a secret on the command line")
    );
    assert!(!format!("{problems:?}").contains("hunter2"));
    assert!(
        outside.load_with(&complete("state: {key: {env: KEY}}"), &[("state.store", "redis://redis.example")]).is_ok()
    );
}

#[test]
fn a_secret_does_not_stand_on_the_command_line() {
    let set = [("microsoft.client_secret", "hunter2"), ("accounts", "[{login: '*', passwords: [hunter3]}]")];
    let problems = Outside::default().load_with(&complete(""), &set).unwrap_err();
    let forms = "write `{env: NAME}`, `{file: PATH}`, `{credential: NAME}` or `{command: [PROGRAM, ARGUMENT]}`";
    let expected = ["accounts[0].passwords[0]", "microsoft.client_secret"]
        .map(|key| format!("{key}: everybody on this machine can read a secret on the command line; {forms}"));
    assert_eq!(told(&problems), expected);
    assert!(!format!("{problems}{problems:?}").contains("hunter"));
    // Where it is to be found may stand there.
    let outside = Outside::with_variables(&[("APP_SECRET", "s")]);
    assert!(outside.load_with(&complete(""), &[("microsoft.client_secret", "{env: APP_SECRET}")]).is_ok());
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
            "every user of this machine can read the secret in `s`. Run `chmod o-r s`",
            "microsoft.client_secret has the form of a secret's id. Entra wants the secret's value, which it shows only once",
            "`proxy.yaml` has a secret, and every user of this machine can read it. Run `chmod o-r \
             proxy.yaml`",
            "the authority `https://login.example/entra/` is not one of Microsoft's, and will receive passwords and secrets",
            "everybody who knows one of the `passwords` of the account `*` can open every mailbox that it stands for",
            "upstream `mail.example:993` of listeners.imap is not one of Microsoft's servers, and will receive access tokens",
            "listener `imap` accepts logins without TLS from other machines. Anybody who can listen on those networks learns \
             the passwords",
        ]
    );
}

fn urls(proxy: &ForwardProxy) -> Vec<String> {
    match &proxy.choice {
        ProxyChoice::Servers(servers) => servers.iter().map(ToString::to_string).collect(),
        #[cfg(feature = "pac")]
        ProxyChoice::Script { location, .. } => vec![location.to_string()],
    }
}

fn domains(proxy: &ForwardProxy) -> Vec<String> {
    proxy.no_proxy.domains.iter().map(shown).collect()
}

fn networks(proxy: &ForwardProxy) -> Vec<String> {
    proxy.no_proxy.networks.iter().map(shown).collect()
}

fn shown<T: std::fmt::Display>(entry: &Exempt<T>) -> String {
    entry.port.map_or_else(|| entry.what.to_string(), |port| format!("{}:{port}", entry.what))
}

#[test]
fn an_explicit_forward_proxy_leaves_loopback_alone() {
    let config = config(
        "forward_proxy: {url: 'http://Proxy.Corp:3128', authentication: basic, username: u, password: p, no_proxy: \
         ['.corp.example', 10.0.0.0/8, '192.0.2.7', '*.a.example', '*', 'b.example:25', '[fd00::/8]:443', '198.51.100.1:993']}",
    );
    let proxy = config.forward_proxy.unwrap();
    assert_eq!(urls(&proxy), ["http://proxy.corp:3128"]);
    assert!(matches!(&proxy.authentication, Some(ProxyAuthentication::Basic { username, password })
        if username == "u" && password.expose() == "p"));
    assert_eq!(domains(&proxy), ["corp.example", "a.example", "b.example:25"]);
    assert_eq!(networks(&proxy), ["10.0.0.0/8", "192.0.2.7/32", "fd00::/8:443", "198.51.100.1/32:993"]);
    assert!(proxy.no_proxy.all);
}

#[test]
fn an_ntlm_account_names_its_domain_in_three_ways() {
    for (lines, expected) in [
        ("username: 'CORP\\svc'", ("svc", "CORP")),
        ("username: svc, domain: corp.example", ("svc", "corp.example")),
        ("username: svc@corp.example", ("svc@corp.example", "")),
    ] {
        let config =
            config(&format!("forward_proxy: {{url: 'http://proxy:3128', authentication: ntlm, password: p, {lines}}}"));
        let Some(ProxyAuthentication::Ntlm(found)) = &config.forward_proxy.unwrap().authentication else {
            panic!("{lines}")
        };
        assert_eq!((found.username.as_str(), found.domain.as_str()), expected);
        assert_eq!(found.password.expose(), "p");
    }
}

#[test]
fn digest_takes_what_basic_cannot() {
    let config =
        config("forward_proxy: {url: 'http://proxy:3128', authentication: digest, username: 'a:b', password: p}");
    assert!(matches!(&config.forward_proxy.unwrap().authentication, Some(ProxyAuthentication::Digest { username, .. })
        if username == "a:b"));
}

#[cfg(feature = "negotiate")]
#[test]
fn kerberos_takes_a_keytab_or_what_the_environment_has() {
    let load = |lines: &str| {
        let outside = Outside { world_readable: true, ..Outside::with_files(&[("k", "\u{5}\u{2}"), ("text", "x")]) };
        outside
            .load(&complete(&format!("forward_proxy: {{url: 'http://proxy:3128', authentication: negotiate{lines}}}")))
    };
    let Some(ProxyAuthentication::Negotiate(bare)) = &load("").unwrap().forward_proxy.unwrap().authentication else {
        panic!()
    };
    assert!(bare.keytab.is_none() && bare.service_name.is_none() && bare.username.is_none());
    let config = load(", keytab: k, username: svc, service_name: HTTP/proxy.corp.example").unwrap();
    assert_eq!(config.notes, ["every user of this machine can read the keys in `k`. Run `chmod o-r k`"]);
    let Some(ProxyAuthentication::Negotiate(full)) = &config.forward_proxy.unwrap().authentication else { panic!() };
    assert_eq!(full.service_name.as_deref(), Some("HTTP/proxy.corp.example"));
    assert_eq!((full.keytab.as_deref(), full.username.as_deref()), (Some(Path::new("k")), Some("svc")));

    for (lines, expected) in [
        (
            ", keytab: none",
            "forward_proxy.keytab: `none` cannot be read: entity not found; name a keytab that the user who runs Gatepost \
             can read",
        ),
        (
            ", keytab: text",
            "forward_proxy.keytab: `text` is not a keytab; export one with `ktpass`, `msktutil`, `ktutil` or `kadmin`",
        ),
        (
            ", service_name: proxy.corp.example",
            "forward_proxy.service_name: this is not the name of a service; write it as `HTTP/proxy.corp.example`",
        ),
        (
            ", username: svc, password: p",
            "forward_proxy.password: this is given, but `authentication` is `negotiate`; remove the key. Kerberos takes a keytab (`ktutil` makes one from a password) or a credential cache",
        ),
    ] {
        assert_eq!(told(&load(lines).unwrap_err()), [expected]);
    }
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
    assert_eq!(urls(&proxy), ["http://proxy.corp:3128"]);
    assert!(matches!(&proxy.authentication, Some(ProxyAuthentication::Basic { username, password })
        if username == "u" && password.expose() == "p@ss"));
    assert_eq!(domains(&proxy), ["corp.example", "b.example", "localhost"]);
    assert_eq!(networks(&proxy), ["10.0.0.0/8", "127.0.0.0/8", "::1/128"]);
    assert_eq!(
        config.notes,
        ["connections go through the forward proxy `http://proxy.corp:3128`, because `HTTPS_PROXY` is set"]
    );

    assert!(outside.load(&complete("forward_proxy: none")).unwrap().forward_proxy.is_none());
    let explicit = outside.load(&complete("forward_proxy: {url: 'http://mine:8080'}")).unwrap().forward_proxy.unwrap();
    assert_eq!((urls(&explicit), explicit.no_proxy.networks.len()), (vec!["http://mine:8080".to_owned()], 0));

    let bare = Outside::with_variables(&[("https_proxy", "proxy:3128"), ("HTTPS_PROXY", "ftp://x")]);
    assert_eq!(urls(&bare.load(&complete("")).unwrap().forward_proxy.unwrap()), ["http://proxy:3128"]);
    let socks = Outside::with_variables(&[("all_proxy", "socks5h://u:hunter2@Other")]);
    let socks = socks.load(&complete("")).unwrap().forward_proxy.unwrap();
    assert_eq!(urls(&socks), ["socks5h://other:1080"]);
    assert!(matches!(&socks.authentication, Some(ProxyAuthentication::Basic { username, .. }) if username == "u"));
    let socks = Outside::with_variables(&[("all_proxy", "socks5://u:hunter2@other:1080")]);
    assert_eq!(
        socks.load(&complete("")).unwrap_err().to_string(),
        "environment variable all_proxy: `socks5://` would resolve names here, before the proxy is asked\n  \
         hint: write `socks5h://`: the proxy resolves the names. Or set `forward_proxy: none` to connect directly\n\n\
         1 mistake in the configuration"
    );
}

#[test]
fn forward_proxies_of_every_kind_and_several_of_them() {
    for (url, expected) in [
        ("http://proxy", "http://proxy:80"),
        ("https://Proxy.Corp", "https://proxy.corp:443"),
        ("https://proxy:3129/", "https://proxy:3129"),
        ("socks5h://Proxy.Corp", "socks5h://proxy.corp:1080"),
        ("'socks5h://[FD00::1]:1081'", "socks5h://[fd00::1]:1081"),
        ("http://192.0.2.1:8080", "http://192.0.2.1:8080"),
    ] {
        let proxy = config(&format!("forward_proxy: {{url: {url}}}")).forward_proxy.unwrap();
        assert_eq!(urls(&proxy), [expected], "{url}");
    }
    let several =
        "forward_proxy: {url: ['http://a:3128', 'socks5h://b'], authentication: basic, username: u, password: p}";
    assert_eq!(urls(&config(several).forward_proxy.unwrap()), ["http://a:3128", "socks5h://b:1080"]);
}

#[test]
fn a_certificate_that_has_expired_is_noted() {
    let key = rcgen::KeyPair::generate().unwrap();
    let of_year = |year| {
        let mut params = rcgen::CertificateParams::new(["mail.example".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 31);
        params.self_signed(&key).unwrap().pem()
    };
    let yaml = complete(&listener("tls: implicit\ncertificate: c.pem\nprivate_key: k.pem"));
    let findings = |year| {
        let outside = Outside::with_files(&[("c.pem", &of_year(year)), ("k.pem", &key.serialize_pem())]);
        outside.load(&yaml).unwrap().findings.iter().map(Finding::to_line).collect::<Vec<_>>()
    };
    assert_eq!(
        findings(2020)[..1],
        [
            "proxy.yaml:5:18: listeners.imap.certificate: the certificate in `c.pem` expired on 2020-01-31 00:00 UTC, so \
             clients refuse to connect. Hint: replace the file, which needs no restart"
        ]
    );
    assert_eq!(findings(2099).len(), findings(2020).len() - 1);
}

#[test]
fn a_login_without_tls_is_for_loopback_where_the_listener_has_no_tls() {
    let (certificate, key) = pair("a");
    let outside = Outside::with_files(&[("c.pem", &certificate), ("k.pem", &key)]);
    let allowed = |lines: &str| -> Vec<String> {
        let config = outside.load(&complete(&listener(lines))).unwrap_or_else(|problems| panic!("{problems}"));
        config.listeners[0].allow_plaintext_from.iter().map(ToString::to_string).collect()
    };
    let with_tls = |mode: &str| format!("tls: {mode}\ncertificate: c.pem\nprivate_key: k.pem\n");
    assert_eq!(allowed(""), ["127.0.0.0/8", "::1/128"]);
    for mode in ["starttls", "implicit"] {
        assert_eq!(allowed(&with_tls(mode)), Vec::<String>::new(), "{mode}");
    }
    for tls in [String::new(), with_tls("starttls")] {
        assert_eq!(
            allowed(&format!("{tls}allow_plaintext_from: 192.0.2.0/24")),
            ["192.0.2.0/24"],
            "what is written counts"
        );
    }
}

#[test]
fn a_certificate_and_its_key_belong_together() {
    let ((certificate, key), (_, other)) = (pair("a"), pair("b"));
    let yaml = complete(&listener("tls: starttls\ncertificate: c.pem\nprivate_key: k.pem"));
    let config = Outside::with_files(&[("c.pem", &certificate), ("k.pem", &key)]).load(&yaml).unwrap();
    let absent = "cannot be read: entity not found; name a PEM file that the user who runs Gatepost can read. `gatepost cert` makes one for tests";
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
fn a_destination_may_have_authorities_of_its_own() {
    let (certificate, _) = pair("authority");
    let yaml =
        complete("trust: {system_roots: false, destinations: [{host: Outlook.Office365.com, additional_ca: ca.pem}]}");
    let config = Outside::with_files(&[("ca.pem", &certificate)]).load(&yaml).unwrap();
    let [destination] = &config.trust.destinations[..] else { panic!("{:?}", config.trust) };
    assert_eq!(destination.host, "outlook.office365.com");
    assert_eq!(destination.additional_ca, (PathBuf::from("ca.pem"), certificate.clone().into_bytes()));

    let twice = yaml.replace("}]}", "}, {host: outlook.office365.com, additional_ca: ca.pem}]}");
    let problems = Outside::with_files(&[("ca.pem", &certificate)]).load(&twice).unwrap_err();
    assert_eq!(
        told(&problems),
        [
            "trust.destinations[1].host: `outlook.office365.com` has an entry already; put all its certificates into one \
          file, and remove one of the entries"
        ]
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
        [
            "trust.additional_ca: `ca.pem` holds no certificate in PEM form; the file has lines `-----BEGIN CERTIFICATE-----`. Convert DER with `openssl x509 -inform der`"
        ]
    );
}

#[test]
fn a_login_at_the_upstream_may_take_as_long_as_the_whole_login() {
    let of = |limits: &str| config(&format!("limits: {limits}")).limits;
    for (limits, seconds) in [("{}", 55), ("{login: 90s}", 90), ("{login: 5m}", 120), ("{upstream_login: 30s}", 30)] {
        assert_eq!(of(limits).upstream_login.as_secs(), seconds, "{limits}");
    }
    assert_eq!((of("{}").imap_sessions_per_mailbox, of("{}").pop3_sessions_per_mailbox), (None, None));
    let set = of("{imap_sessions_per_mailbox: 8, pop3_sessions_per_mailbox: none}");
    assert_eq!((set.imap_sessions_per_mailbox, set.pop3_sessions_per_mailbox), (Some(8), None));
}

#[test]
fn the_example_is_right_and_shows_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("proxy.example.yaml");
    let config = load(Some(&path), &[], []).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(format!("{:?}", config.limits), format!("{:?}", Limits::default()));
    assert!(config.notes.is_empty(), "{:?}", config.notes);

    // What it writes is what there is without it: the same listeners from their addresses alone.
    let short =
        "listeners: {imap: {bind: 'localhost:1143'}, pop3: {bind: 'localhost:1995'}, smtp: {bind: 'localhost:1587'}}";
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
    let credentials = ["client_secret", "client_certificate", "federated_token_file", "managed_identity"];
    // Of which an application has one.
    let uncommented = |credential: &str| -> String {
        let is_another = |line: &str| credentials.iter().any(|other| *other != credential && line.starts_with(other));
        example
            .lines()
            .map(|line| match line.split_once("# ") {
                Some((before, rest)) if before.trim().is_empty() && key(rest) && !is_another(rest) => {
                    format!("{before}{rest}\n")
                }
                _ => format!("{line}\n"),
            })
            .collect()
    };
    // The keys of one kind of authentication, and one way to name proxies, at a time.
    let with = |credential: &str, authentication: &str, without: &[&str]| {
        let text = uncommented(credential);
        let kept = text.lines().filter(|line| !without.iter().any(|key| line.trim_start().starts_with(key)));
        kept.collect::<Vec<_>>()
            .join("\n")
            .replace("tls: none ", "tls: implicit ")
            .replace("$argon2id$v=19$…", HASH)
            .replace("from: 192.168.7.21 ", "from: 127.0.0.1 ")
            // With the EWS listener beside it, the person who signs in must be the mailbox.
            .replace("    signs_in_as: anna@", "    mailbox: anna@contoso.com\n    signs_in_as: anna@")
            .replace("authentication: none ", &format!("authentication: {authentication} "))
    };
    let ntlm = |credential: &str| with(credential, "ntlm", &["keytab:", "service_name:", "pac:", "authenticate_to:"]);
    let (certificate, private_key) = pair("x");
    let application = rsa_pair();
    let mut outside = Outside::with_files(&[
        ("certs/server.pem", &certificate),
        ("certs/server.key", &private_key),
        ("corp-root.pem", &certificate),
        ("inspection.pem", &certificate),
        ("/run/secrets/proxy-password", "p"),
        ("/run/secrets/admin-token", "3xhEwCwvyTtjNnH0gXhTQd1p"),
        ("/etc/gatepost/svc.keytab", "\u{5}\u{2}"),
        ("app.pem", &application.0),
        ("app.key", &application.1),
        ("app.password", "p"),
        ("google-key.json", &key_file("gatepost@contoso.iam.gserviceaccount.com")),
    ]);
    outside.variables.insert("GATEPOST_CLIENT_SECRET".into(), "s".into());
    let load = |yaml: String| outside.load(&yaml).unwrap_or_else(|problems| panic!("{yaml}\n{problems}"));
    for credential in &credentials[..3] {
        let config = load(ntlm(credential));
        assert_eq!(config.accounts.entries().len(), 4);
        assert!(config.forward_proxy.is_some() && config.trust.additional_ca.is_some());
        assert_eq!(config.trust.destinations.len(), 1);
        assert!(matches!(config.listeners[0].tls, ListenerTls::Implicit(_)));
        let kind = match &*config.accounts.entries()[0].application.credential {
            Credential::Secrets(_) => "client_secret",
            Credential::Certificates(_) => "client_certificate",
            Credential::FederatedTokenFile(_) => "federated_token_file",
            other => panic!("{other:?}"),
        };
        assert_eq!(kind, *credential);
    }
    #[cfg(feature = "negotiate")]
    {
        let negotiate = with("client_secret", "negotiate", &["password: {file", "domain:", "pac:", "authenticate_to:"]);
        assert!(load(negotiate).forward_proxy.is_some());
    }
    #[cfg(feature = "pac")]
    assert!(load(with("client_secret", "ntlm", &["keytab:", "service_name:", "url:"])).forward_proxy.is_some());
    // The example is for passwords that Entra proves, which no managed identity can ask about.
    let problems = told(&outside.load(&ntlm("managed_identity")).unwrap_err());
    assert!(
        problems.iter().all(|problem| problem.contains("a managed identity gives a token of its own")),
        "{problems:?}"
    );
}

#[test]
fn the_sample_for_a_server_is_right() {
    let sample =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd/proxy.sample.yaml"))
            .unwrap();
    let (certificate, private_key) = pair("x");
    let mut outside = Outside::with_files(&[
        ("/etc/gatepost/server.pem", &certificate),
        ("/run/credentials/gatepost.service/server.key", &private_key),
        ("/run/credentials/gatepost.service/client-secret", "hunter2"),
    ]);
    outside.variables.insert("CREDENTIALS_DIRECTORY".into(), "/run/credentials/gatepost.service".into());
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// The example with a piece replaced: whatever comes of it, it is a configuration or a report.
    #[test]
    fn a_damaged_example_never_makes_it_panic(
        start in 0_usize..10_000,
        length in 0_usize..40,
        piece in "[a-z0-9:{}\\[\\]\"'#&*!|> \n\t,.@$/é-]{0,12}",
    ) {
        let mut text: Vec<char> = include_str!("../../proxy.example.yaml").chars().collect();
        let start = start.min(text.len());
        let end = (start + length).min(text.len());
        text.splice(start..end, piece.chars());
        let text: String = text.into_iter().collect();
        let outside = Outside::default();
        if let Err(problems) = load_text(Some((Path::new("proxy.yaml"), &text)), &[], &outside.variables, &outside) {
            let _ = problems.to_string();
        }
    }
}
