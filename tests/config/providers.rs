//! Providers other than Microsoft, personal Microsoft accounts, and what belongs to two at once.

use std::path::Path;
use std::sync::Arc;

use gatepost_config::load::load_text_for;
use gatepost_config::{
    ClientAuthentication, Config, Credential, Grant, Issuer, LoginPattern, OtherAccounts, PRESETS, Provider, Purpose,
    Tenant, Upstream, UpstreamTls,
};
use gatepost_core::account::LoginName;
use gatepost_core::protocol::MailProtocol;
use gatepost_proto::sasl::Mechanism;

use crate::credentials::secrets;
use crate::support::{HASH, Outside, config, key_file, mistakes, told};

const LISTENERS: &str =
    "listeners: {imap: {bind: '127.0.0.1:1143'}, pop3: {bind: '127.0.0.1:1110'}, smtp: {bind: '127.0.0.1:1587'}}\n";

/// A provider whose addresses nobody knows, with all that it needs.
const OWN: &str = "authorize_url: 'https://id.example/auth', token_url: 'https://id.example/token', client_id: mail, scope: \
                   'mail offline_access', hosts: {imap: 'imap.example:993', smtp: 'smtp.example:587'}";

/// A configuration without `microsoft`.
fn alone(yaml: &str) -> Config {
    Outside::default().load(&format!("{LISTENERS}{yaml}\n")).unwrap_or_else(|problems| panic!("{yaml}\n{problems}"))
}

/// The mistakes of a configuration without `microsoft`.
fn mistakes_alone(yaml: &str) -> Vec<String> {
    match Outside::default().load(&format!("{LISTENERS}{yaml}\n")) {
        Ok(_) => panic!("accepted:\n{yaml}"),
        Err(problems) => told(&problems),
    }
}

/// The name of the issuer of a login, and its grant.
fn found(config: &Config, login: &str) -> Option<(String, Grant)> {
    let (account, _) = config.accounts.find(&LoginName::parse(login).unwrap())?;
    let name = match &account.application.issuer {
        Issuer::Entra(_) => "microsoft".to_owned(),
        Issuer::Provider(provider) => provider.name.clone(),
    };
    Some((name, account.grant))
}

fn provider(config: &Config, login: &str) -> Arc<Provider> {
    let (account, _) = config.accounts.find(&LoginName::parse(login).unwrap()).unwrap();
    Arc::clone(account.application.issuer.provider().unwrap())
}

fn destinations(config: &Config) -> Vec<String> {
    config.listeners.iter().map(gatepost_config::Listener::destination).collect()
}

fn server(upstream: &Upstream) -> (&str, u16, UpstreamTls) {
    (&upstream.host, upstream.port, upstream.tls)
}

#[test]
fn a_preset_needs_an_application_only() {
    let config = alone("providers: {google: {client_id: x.apps.googleusercontent.com, client_secret: y}}");
    for login in ["anna@gmail.com", "Anna@GoogleMail.com"] {
        assert_eq!(found(&config, login), Some(("google".to_owned(), Grant::AuthorizationCode)), "{login}");
    }
    for login in ["anna@contoso.com", "anna@mail.gmail.com", "anna"] {
        assert_eq!(found(&config, login), None, "{login}");
    }
    let google = provider(&config, "anna@gmail.com");
    assert_eq!(google.title, "Google");
    assert_eq!(google.token_url.as_str(), "https://oauth2.googleapis.com/token");
    assert_eq!(google.authorize_parameters, [("access_type", "offline"), ("prompt", "consent")]);
    assert_eq!(google.scope, "https://mail.google.com/ openid email");
    assert!(google.issuers.contains(&"https://accounts.google.com".to_owned()));
    assert_eq!((google.client_authentication, google.pkce), (ClientAuthentication::Post, true));
    assert_eq!(secrets(&config.accounts.entries()[0].application), ["y"]);

    // Clients are told what the provider announces, because there is no other.
    assert_eq!(destinations(&config), ["imap.gmail.com:993", "pop.gmail.com:995", "smtp.gmail.com:465"]);
    let google = "providers: {google: {client_id: x, client_secret: y}}";
    let microsoft = "microsoft: {tenant: contoso.com, client_id: 11111111-2222-3333-4444-555555555555}";
    let both = destinations(&alone(&format!("{google}\n{microsoft}")));
    assert_eq!(both, ["outlook.office365.com:993", "outlook.office365.com:995", "smtp.office365.com:587"]);

    // Each listener knows the server of its protocol.
    let of_listeners: Vec<_> = config
        .listeners
        .iter()
        .map(|listener| {
            let [other] = listener.others.as_slice() else { panic!("{:?}", listener.others) };
            assert_eq!(other.of, OtherAccounts::Provider("google".to_owned()));
            (server(&other.upstream), other.upstream.exchange.mechanism, other.upstream.exchange.pop3_in_one_line)
        })
        .collect();
    let at_google = |host, port| ((host, port, UpstreamTls::Implicit), Mechanism::Xoauth2, true);
    assert_eq!(
        of_listeners,
        [at_google("imap.gmail.com", 993), at_google("pop.gmail.com", 995), at_google("smtp.gmail.com", 465)]
    );
}

#[test]
fn every_preset_serves_the_addresses_that_it_is_named_after() {
    for preset in &PRESETS {
        let config = alone(&format!("providers: {{{}: {{client_id: x}}}}", preset.name));
        let login = format!(
            "anna@{}",
            if preset.name == "google" { "gmail.com".into() } else { format!("{}.com", preset.name) }
        );
        assert_eq!(found(&config, &login), Some((preset.name.to_owned(), Grant::AuthorizationCode)));
        let own = provider(&config, &login);
        for (protocol, (host, port)) in
            [MailProtocol::Imap, MailProtocol::Pop3, MailProtocol::Smtp].into_iter().zip(preset.hosts)
        {
            let upstream = own.mail_server(protocol).unwrap();
            assert_eq!(server(upstream), (host, port, UpstreamTls::Implicit));
            assert_eq!(upstream.exchange.mechanism == Mechanism::Oauthbearer, preset.oauthbearer, "{}", preset.name);
        }
    }
}

#[test]
fn an_account_belongs_to_the_provider_that_it_names_or_that_has_its_domain() {
    let config = config(&format!(
        "providers: {{google: {{client_id: g}}, yahoo: {{client_id: y}}, own: {{{OWN}, domains: [corp.example, \
         yahoo.example]}}}}\naccounts:\n  - {{login: anna@gmail.com}}\n  - {{login: '*@googlemail.com'}}\n  \
         - {{login: bob@yahoo.co.uk}}\n  - {{login: bob@yahoo.example}}\n  - {{login: carl@corp.example}}\n  \
         - {{login: dora@workspace.example, provider: google}}\n  - {{login: guest@gmail.com, provider: microsoft}}\n  \
         - {{login: '*@contoso.com', grant: client_credentials, client_secret: s, passwords: ['{HASH}']}}\n  \
         - {{login: '*'}}\n"
    ));
    for (login, name, grant) in [
        ("anna@gmail.com", "google", Grant::AuthorizationCode),
        ("eve@googlemail.com", "google", Grant::AuthorizationCode),
        ("bob@yahoo.co.uk", "yahoo", Grant::AuthorizationCode),
        // Yahoo's domains begin so, but this one is written out elsewhere.
        ("bob@yahoo.example", "own", Grant::AuthorizationCode),
        ("carl@corp.example", "own", Grant::AuthorizationCode),
        ("dora@workspace.example", "google", Grant::AuthorizationCode),
        ("guest@gmail.com", "microsoft", Grant::Password),
        ("x@contoso.com", "microsoft", Grant::ClientCredentials),
        ("x@fabrikam.com", "microsoft", Grant::Password),
    ] {
        assert_eq!(found(&config, login), Some((name.to_owned(), grant)), "{login}");
    }
    let others: Vec<_> = config.listeners[0].others.iter().map(|other| &other.of).collect();
    assert_eq!(others.len(), 3, "{others:?}");
}

#[test]
fn an_account_overrides_the_application_of_its_provider() {
    let config = alone(
        "providers: {google: {client_id: a, client_secret: [s, t], token_expiry_margin: 10m}}\naccounts:\n  \
         - {login: anna@gmail.com}\n  - {login: bob@gmail.com}\n  - {login: carl@gmail.com, client_id: b, scope: \
         'https://mail.google.com/'}\n",
    );
    let [anna, bob, carl] = config.accounts.entries() else { panic!("three accounts are expected") };
    assert!(Arc::ptr_eq(&anna.application, &bob.application));
    assert_eq!(secrets(&anna.application), ["s", "t"]);
    assert_eq!((anna.token_expiry_margin.as_secs(), &anna.scope), (600, &None));
    assert_eq!(carl.application.client_id, "b");
    assert!(secrets(&carl.application).is_empty(), "a secret belongs to its application");
    assert_eq!(carl.scope.as_deref(), Some("https://mail.google.com/"));
}

#[test]
fn a_free_provider_has_what_is_written() {
    let config = alone(&format!(
        "providers: {{corp: {{{OWN}, device_url: 'https://id.example/device', revoke_url: 'https://id.example/revoke', issuer: \
         'https://id.example/realms/a', grant: device_code, client_secret: s, client_authentication: basic, pkce: \
         false, sasl: oauthbearer, pop3_lines: 1, domains: Corp.Example}}}}"
    ));
    assert_eq!(config.accounts.entries()[0].pattern, LoginPattern::Domain("corp.example".to_owned()));
    assert_eq!(found(&config, "a@corp.example"), Some(("corp".to_owned(), Grant::DeviceCode)));
    let corp = provider(&config, "a@corp.example");
    assert_eq!(corp.title, "corp");
    assert_eq!(corp.issuers, ["https://id.example/realms/a"]);
    assert_eq!(corp.device_url.as_ref().unwrap().as_str(), "https://id.example/device");
    assert_eq!(corp.revoke_url.as_ref().unwrap().as_str(), "https://id.example/revoke");
    assert_eq!((corp.client_authentication, corp.pkce), (ClientAuthentication::Basic, false));
    let imap = corp.mail_server(MailProtocol::Imap).unwrap();
    assert_eq!(server(imap), ("imap.example", 993, UpstreamTls::Implicit));
    assert_eq!(server(corp.mail_server(MailProtocol::Smtp).unwrap()), ("smtp.example", 587, UpstreamTls::StartTls));
    assert_eq!((imap.exchange.mechanism, imap.exchange.pop3_in_one_line), (Mechanism::Oauthbearer, true));
    assert!(corp.mail_server(MailProtocol::Pop3).is_none());
    let others = |name: &str| config.listeners.iter().find(|listener| &*listener.name == name).unwrap().others.len();
    assert_eq!((others("imap"), others("pop3"), others("smtp")), (1, 0, 1), "no server, no way there");
}

#[test]
fn tls_of_a_free_server_is_by_its_port_or_as_written() {
    for (hosts, tls) in [
        ("{imap: 'a.example:993'}", UpstreamTls::Implicit),
        ("{imap: 'a.example:143'}", UpstreamTls::StartTls),
        ("{imap: 'a.example:143', imap_tls: implicit}", UpstreamTls::Implicit),
        ("{imap: 'a.example:9930', imap_tls: starttls}", UpstreamTls::StartTls),
    ] {
        let config = alone(&format!(
            "providers: {{own: {{authorize_url: 'https://a.example/a', token_url: 'https://a.example/t', client_id: x, scope: s, \
             domains: a.example, hosts: {hosts}}}}}"
        ));
        assert_eq!(provider(&config, "x@a.example").mail_server(MailProtocol::Imap).unwrap().tls, tls, "{hosts}");
    }
}

#[test]
fn every_mistake_about_a_provider_has_its_sentence() {
    let corp = format!("providers: {{corp: {{{OWN}, domains: corp.example");
    for (yaml, expected) in [
        (
            "providers: {google: {}}".to_owned(),
            vec![
                "providers.google.client_id: `client_id` is missing; write the ID of the application that you registered at \
                 the provider",
            ],
        ),
        (
            "providers: {gogle: {client_id: x, domains: gmail.com}}".to_owned(),
            vec![
                "providers.gogle.hosts: `hosts` is missing; write the mail servers of the provider, such as `hosts: {imap: \
                 \"imap.example.com:993\"}`",
                "providers.gogle.scope: `scope` is missing; write what opens a mailbox at the provider",
                "providers.gogle.token_url: `token_url` is missing, and `gogle` is no provider whose addresses are known; \
                 write the token endpoint of the provider, or name it `google`, `yahoo`, `aol` or `fastmail`",
            ],
        ),
        (
            "providers: {microsoft: {client_id: x}}\naccounts: [{login: a@b.example, provider: microsoft}]".to_owned(),
            vec![
                "providers.microsoft: Microsoft is no further provider; write its keys under `microsoft`, and remove this",
                "microsoft.client_id: `client_id` is missing; write the application (client) id that Entra shows",
                "microsoft.tenant: `tenant` is missing; write the directory id or a verified domain of the tenant",
            ],
        ),
        (
            "providers: {google: {client_id: x, client_secret: y, grant: device_code}}".to_owned(),
            vec![
                "providers.google.grant: the provider `Google` does not have this grant: no `device_url` is known that gives \
                 codes for mail; write it, or use `grant: authorization_code`",
            ],
        ),
        (
            "providers: {google: {client_id: x, grant: password}}".to_owned(),
            vec![
                "providers.google.grant: `password` is not one of `authorization_code`, `device_code`, `client_credentials`; \
                 write `authorization_code`, `device_code` or `client_credentials`",
            ],
        ),
        (
            "providers: {google: {client_id: x}}\naccounts: [{login: a@gmail.com, grant: password}]".to_owned(),
            vec![
                "accounts[0].grant: the provider `Google` does not have this grant: passwords cannot be exchanged for tokens \
                 there; use `grant: authorization_code`, and `gatepost password add` for the client",
            ],
        ),
        (
            "providers: {google: {client_id: x}}\naccounts: [{login: a@gmail.com, grant: client_credentials}]".to_owned(),
            vec![
                "accounts[0]: no service account acts for addresses of Gmail, which have no administrator; use `grant: \
                 authorization_code`, or an address of your domain",
            ],
        ),
        (
            "providers: {corp: {token_url: 'https://a.example/t', client_id: x, scope: s, domains: a.example, hosts: {imap: \
             'a.example:993'}}}"
                .to_owned(),
            vec![
                "providers.corp.authorize_url: `authorize_url` is missing, which the browser of a person opens; write it, or \
                 use `grant: device_code`",
            ],
        ),
        (
            format!("providers: {{corp: {{{OWN}}}}}"),
            vec![
                "providers.corp.domains: `domains` is missing, and no account is listed, so nobody could log in; write the mail \
                 domains of the provider, or list `accounts`",
            ],
        ),
        (
            format!("{corp}, token_url: x}}}}").replacen("token_url: 'https://id.example/token', ", "", 1),
            vec![
                "providers.corp.token_url: this is not a URL; write the whole address, such as \
                 `https://login.example.com/oauth/token`",
            ],
        ),
        (
            corp.replace("https://id.example/token", "http://id.example/token") + "}}",
            vec![
                "providers.corp.token_url: the address must use `https`, not `http`; write the whole address, such as \
                 `https://login.example.com/oauth/token`",
            ],
        ),
        (
            corp.replace("https://id.example/auth", "https://u:p@id.example/auth") + "}}",
            vec![
                "providers.corp.authorize_url: the address holds a user name or a fragment; leave these parts out",
            ],
        ),
        (
            corp.replace("client_id: mail", "client_id: 'a b'") + "}}",
            vec![
                "providers.corp.client_id: a client ID is up to 512 printable characters without a space; copy it from the \
                 provider's console",
            ],
        ),
        (
            corp.replace("'mail offline_access'", "'mail \"x\"'") + "}}",
            vec![
                "providers.corp.scope: the scope holds a character that no scope has; write scopes with a space between them",
            ],
        ),
        (
            corp.replace("corp.example", "'a b'") + "}}",
            vec![
                "providers.corp.domains: `a b` is not a domain; write the part behind the `@`, such as `gmail.com`",
            ],
        ),
        (
            format!("{corp}}}, other: {{{OWN}, domains: corp.example}}}}"),
            vec![
                "providers.other: the domain `corp.example` belongs to the provider `corp` already; set `domains` so that each \
                 stands at one provider",
            ],
        ),
    ] {
        assert_eq!(mistakes_alone(&yaml), expected, "{yaml}");
    }
    // A table that is none is told once, though several readers look at it.
    for yaml in ["providers: 5", "providers: {google: 5}", "providers: {google: {client_id: x, hosts: 5}}"] {
        assert_eq!(mistakes(yaml).len(), 1, "{yaml}: {:?}", mistakes(yaml));
    }
}

#[test]
fn an_account_names_a_provider_that_there_is() {
    for (provider, hint) in [
        ("google", "add `providers: {google: {client_id: …}}`"),
        ("gogle", "write the name of an entry of `providers`, or `microsoft`"),
    ] {
        assert_eq!(
            mistakes(&format!("accounts: [{{login: a@contoso.com, provider: {provider}}}]")),
            [format!("accounts[0].provider: there is no provider `{provider}`; {hint}")]
        );
    }
    let at_microsoft = config("accounts: [{login: a@contoso.com, provider: microsoft}]");
    assert_eq!(found(&at_microsoft, "a@contoso.com"), Some(("microsoft".to_owned(), Grant::Password)));
}

#[test]
fn keys_of_microsoft_are_not_for_an_account_of_a_provider() {
    for (key, value) in [
        ("cloud", "china"),
        ("authority", "https://login.microsoftonline.com/"),
        ("tenant", "contoso.com"),
        ("client_certificate", "c.pem"),
        ("federated_token_file", "/t"),
        ("managed_identity", "system"),
    ] {
        assert_eq!(
            mistakes(&format!(
                "providers: {{google: {{client_id: x}}}}\naccounts: [{{login: a@gmail.com, {key}: {value}}}]"
            )),
            [format!(
                "accounts[0].{key}: `{key}` belongs to Microsoft, and the account to the provider `google`; remove the key, or \
                 write `provider: microsoft`"
            )],
            "{key}"
        );
    }
}

#[test]
fn personal_accounts_are_those_of_a_person_who_signs_in() {
    let of = |tenant: &str, more: &str| {
        format!("microsoft: {{tenant: {tenant}, client_id: 00000000-0000-0000-0000-000000000000{more}}}\n{LISTENERS}")
    };
    for tenant in ["consumers", "common"] {
        for (grant, kind) in [("authorization_code", Grant::AuthorizationCode), ("device_code", Grant::DeviceCode)] {
            let config = config(&of(tenant, &format!(", grant: {grant}")));
            assert_eq!(found(&config, "anna@outlook.com"), Some(("microsoft".to_owned(), kind)));
            let issuer = &config.accounts.entries()[0].application.issuer;
            assert_eq!(issuer.entra().unwrap().tenant.name(), tenant);
            let others: Vec<_> = config.listeners.iter().map(|listener| listener.others.as_slice()).collect();
            assert!(others.iter().flat_map(|others| others.iter()).all(|other| other.of == OtherAccounts::Personal));
            let smtp = others[2].first().unwrap_or_else(|| panic!("{others:?}"));
            assert_eq!(server(&smtp.upstream), ("smtp-mail.outlook.com", 587, UpstreamTls::StartTls));
        }
        for grant in ["", ", grant: password"] {
            assert_eq!(
                mistakes(&of(tenant, grant)),
                [format!(
                    "microsoft.tenant: passwords cannot be exchanged for tokens at `{tenant}` (AADSTS9001023); write `grant: \
                     authorization_code` or `grant: device_code`, or name the tenant of the users"
                )]
            );
        }
        assert_eq!(
            mistakes(&of(tenant, ", grant: client_credentials, client_secret: s")),
            [format!(
                "microsoft.tenant: no application opens mailboxes by itself at `{tenant}`: a person must sign in; write `grant: \
                 authorization_code` or `grant: device_code`, or the directory id of the tenant"
            )]
        );
        assert_eq!(
            mistakes(&of(tenant, ", grant: device_code, cloud: china")),
            [format!(
                "microsoft: the cloud `china` has no personal accounts (`tenant: {tenant}`); name the tenant, or remove \
                 `cloud`"
            )]
        );
    }
    // A server that is written is meant for all accounts.
    let named = config(
        "microsoft: {tenant: consumers, client_id: 00000000-0000-0000-0000-000000000000, grant: device_code}\nlisteners: {smtp: \
         {bind: '127.0.0.1:1587', upstream: 'smtp.office365.com:587'}}",
    );
    assert!(named.listeners[0].others.is_empty());
    // One account may be personal beside those of a tenant.
    let mixed = config(
        "accounts: [{login: '*@contoso.com'}, {login: anna@outlook.com, tenant: consumers, grant: device_code}]",
    );
    assert_eq!(mixed.listeners[0].others.len(), 1);
}

#[test]
fn the_directory_of_personal_accounts_means_consumers() {
    for tenant in ["9188040d-6c67-4c5b-b112-36a304b66dad", "9188040D-6C67-4C5B-B112-36A304B66DAD"] {
        let application = "client_id: 00000000-0000-0000-0000-000000000000, grant: device_code";
        let alone = config(&format!("microsoft: {{tenant: {tenant}, {application}}}\n{LISTENERS}"));
        assert_eq!(alone.accounts.entries()[0].application.issuer.entra().unwrap().tenant, Tenant::Consumers);
        assert!(
            alone.listeners.iter().any(|listener| listener.others.iter().any(|it| it.of == OtherAccounts::Personal))
        );
        // At an account as well.
        let mixed = config(&format!("accounts: [{{login: anna@outlook.com, tenant: {tenant}, grant: device_code}}]"));
        assert_eq!(mixed.accounts.entries()[0].application.issuer.entra().unwrap().tenant, Tenant::Consumers);
    }
}

#[test]
fn what_belongs_to_two_providers_is_refused() {
    let google = "providers: {google: {client_id: x, client_secret: y}}\n";
    let with = |yaml: &str| format!("{google}{yaml}");
    let own = |of: &str, by: &str| format!("providers: {{corp: {{{OWN}, domains: corp.example}}}}").replace(of, by);
    for (yaml, expected) in [
        (
            with("listeners: {imap: {bind: '127.0.0.1:1143', upstream: 'imap.gmail.com:993'}}"),
            "listeners.imap.upstream: `imap.gmail.com` is a server of Google, to which no token of Microsoft's is sent; remove \
             the key, and add `providers: {google: {client_id: …}}`, which has the servers already",
        ),
        (
            "microsoft: {tenant: contoso.com, client_id: 00000000-0000-0000-0000-000000000000, authority: \
             'https://oauth2.googleapis.com/'}"
                .to_owned(),
            "microsoft.authority: `oauth2.googleapis.com` is a token service of Google, not of Microsoft; remove the key, and \
             add `providers: {google: {client_id: …}}`",
        ),
        (
            "microsoft: {tenant: contoso.com, client_id: 00000000-0000-0000-0000-000000000000, scope: \
             'https://mail.google.com/'}"
                .to_owned(),
            "microsoft.scope: the scope is one of Google, and opens no mailbox at Microsoft; remove the key, so that the right \
             one is asked for, or correct the provider",
        ),
        (
            own("https://id.example/token", "https://oauth2.googleapis.com/token"),
            "providers.corp.token_url: `oauth2.googleapis.com` belongs to Google, and this is the provider `corp`; call the \
             provider `google`, which has the addresses already",
        ),
        (
            own("https://id.example/auth", "https://login.microsoftonline.com/common/oauth2/v2.0/authorize"),
            "providers.corp.authorize_url: `login.microsoftonline.com` belongs to Microsoft, and this is the provider `corp`; \
             write the keys of its accounts under `microsoft`",
        ),
        (
            own("imap.example:993", "outlook.office365.com:993"),
            "providers.corp.hosts.imap: `outlook.office365.com` belongs to Microsoft, and this is the provider `corp`; write the \
             keys of its accounts under `microsoft`",
        ),
        (
            own("smtp.example:587", "smtp.mail.yahoo.com:465"),
            "providers.corp.hosts.smtp: `smtp.mail.yahoo.com` belongs to Yahoo, and this is the provider `corp`; call the \
             provider `yahoo`, which has the addresses already",
        ),
        (
            "providers: {google: {client_id: x, hosts: {imap: 'imap.mail.yahoo.com:993'}}}".to_owned(),
            "providers.google.hosts.imap: `imap.mail.yahoo.com` belongs to Yahoo, and this is the provider `google`; call the \
             provider `yahoo`, which has the addresses already",
        ),
        (
            own("mail offline_access", "https://outlook.office.com/IMAP.AccessAsUser.All"),
            "providers.corp.scope: the scope is one of Microsoft, and opens no mailbox at corp; remove the key, so that the right \
             one is asked for, or correct the provider",
        ),
        (
            with("accounts: [{login: a@gmail.com, scope: 'https://outlook.office365.com/IMAP.AccessAsUser.All'}]"),
            "accounts[0].scope: the scope is one of Microsoft, and opens no mailbox at google; remove the key, so that the right \
             one is asked for, or correct the provider",
        ),
        (
            with("accounts: [{login: A@Contoso.com, scope: 'https://mail.google.com/'}]"),
            "accounts[0].scope: the scope is one of Google, and opens no mailbox at Microsoft; remove the key, so that the right \
             one is asked for, or correct the provider",
        ),
    ] {
        assert_eq!(mistakes(&yaml), [expected], "{yaml}");
    }
    // A provider's own hosts, written out, are its own.
    alone(
        "providers: {google: {client_id: x, token_url: 'https://oauth2.googleapis.com/token', hosts: {imap: 'imap.gmail.com:993'}}}",
    );
}

#[test]
fn an_address_of_another_provider_is_warned_of_at_microsoft() {
    let findings = |yaml: &str| -> Vec<String> {
        let all = Outside::default().findings(&crate::support::complete(yaml));
        all.into_iter().filter(|finding| finding.contains("has no mailbox for them")).collect()
    };
    assert_eq!(
        findings("accounts: [{login: a@gmail.com}]"),
        [
            "Warning accounts[0]: addresses of `gmail.com` are Google's, and Microsoft has no mailbox for them; add `providers: \
             {google: {client_id: …}}`, or write `provider: microsoft`"
        ]
    );
    assert_eq!(
        findings("providers: {google: {client_id: x, domains: corp.example}}\naccounts: [{login: '*@gmail.com'}]"),
        [
            "Warning accounts[0]: addresses of `gmail.com` are Google's, and Microsoft has no mailbox for them; write `provider: \
             google`, or `provider: microsoft` if it has"
        ]
    );
    for silent in [
        "accounts: [{login: a@gmail.com, provider: microsoft}]",
        "accounts: [{login: a@contoso.com}, {login: '*'}]",
        "providers: {google: {client_id: x}}\naccounts: [{login: a@gmail.com}]",
    ] {
        assert!(findings(silent).is_empty(), "{silent}");
    }
}

#[test]
fn without_providers_everything_is_microsofts() {
    for yaml in ["", "providers: {}\n", "providers:\n"] {
        let config = config(yaml);
        assert_eq!(config.accounts.entries().len(), 1, "{yaml}");
        for login in ["alice@contoso.com", "alice@gmail.com", "alice@yahoo.de"] {
            assert_eq!(found(&config, login), Some(("microsoft".to_owned(), Grant::Password)), "{yaml}{login}");
        }
        assert!(config.listeners.iter().all(|listener| listener.others.is_empty()), "{yaml}");
    }
    // With both and without accounts, each has its own.
    let both = config("providers: {google: {client_id: x}}");
    assert_eq!(found(&both, "a@gmail.com"), Some(("google".to_owned(), Grant::AuthorizationCode)));
    assert_eq!(found(&both, "a@contoso.com"), Some(("microsoft".to_owned(), Grant::Password)));
}

const ROBOT: &str = "gatepost@p.iam.gserviceaccount.com";
const WORKSPACE: &str = "providers: {google: {service_account_key: key.json, domains: contoso.com}}\n";

#[test]
fn a_service_account_serves_beside_an_application_of_people_or_alone() {
    let other = "other@p.iam.gserviceaccount.com";
    let outside = Outside::with_files(&[("key.json", &key_file(ROBOT)), ("other.json", &key_file(other))]);
    let load = |yaml: &str| {
        outside.load(&format!("{LISTENERS}{yaml}\n")).unwrap_or_else(|problems| panic!("{yaml}\n{problems}"))
    };
    let both = load(
        "providers: {google: {client_id: x, client_secret: y, service_account_key: key.json, domains: contoso.com}}\n\
         accounts: [{login: anna@contoso.com}, {login: '*@contoso.com', grant: client_credentials}, {login: \
         bob@contoso.com, grant: client_credentials, service_account_key: other.json}]",
    );
    let of = |login: &str| both.accounts.find(&LoginName::parse(login).unwrap()).unwrap().0;
    let told = |login: &str| {
        let account = of(login);
        (account.grant, account.application.client_id.clone(), account.scope.clone())
    };
    let scope = || Some("https://mail.google.com/".to_owned());
    assert_eq!(told("anna@contoso.com"), (Grant::AuthorizationCode, "x".into(), None));
    assert_eq!(told("carl@contoso.com"), (Grant::ClientCredentials, ROBOT.into(), scope()));
    assert_eq!(told("bob@contoso.com"), (Grant::ClientCredentials, other.into(), scope()));
    let key = Credential::ServiceAccountKey("key.json".into());
    assert_eq!(*of("carl@contoso.com").application.credential, key);
    assert!(both.unproved.iter().any(|account| account.pattern.to_string() == "*@contoso.com"));

    let alone = load(&format!("{WORKSPACE}accounts: [{{login: a@contoso.com, grant: client_credentials}}]"));
    assert_eq!(alone.accounts.entries()[0].application.client_id, ROBOT);
    let everybody = load(&WORKSPACE.replace("domains", "grant: client_credentials, domains"));
    assert_eq!(found(&everybody, "a@contoso.com"), Some(("google".to_owned(), Grant::ClientCredentials)));
}

#[test]
fn a_command_that_needs_no_service_account_reads_no_key() {
    let yaml = format!("{LISTENERS}{WORKSPACE}accounts: [{{login: a@contoso.com, grant: client_credentials}}]\n");
    let outside = Outside::default();
    let config =
        load_text_for(Purpose::SignIn, Some((Path::new("proxy.yaml"), &yaml)), &[], &outside.variables, &outside);
    let config = config.unwrap();
    assert_eq!(*config.accounts.entries()[0].application.credential, Credential::NotRead);
}

#[test]
fn every_mistake_of_a_service_account_has_its_sentence() {
    const ACCOUNT: &str = "accounts: [{login: a@contoso.com, grant: client_credentials}]";
    const CREATE: &str =
        "create a key of type JSON in Google Cloud (IAM > Service accounts > Keys), and use the file as it is";
    let good = key_file(ROBOT);
    let of_key = |file: &str, reason: &str, hint: &str| {
        let outside = Outside::with_files(&[("key.json", file)]);
        let yaml = format!("{LISTENERS}{WORKSPACE}{ACCOUNT}\n");
        let Err(problems) = outside.load(&yaml) else { panic!("accepted: {file}") };
        let expected = format!("providers.google.service_account_key: `key.json` is not usable: {reason}; {hint}");
        assert_eq!(told(&problems), [expected]);
    };
    of_key(
        "{\"type\": \"authorized_user\"}",
        "its `type` is `authorized_user`, not `service_account`",
        "name the key file of a service account (IAM > Service accounts > Keys)",
    );
    of_key(
        "{\"installed\": {\"client_id\": \"x\"}}",
        "it is the file of an OAuth client (`installed`), not the key of a service account",
        "write the OAuth client as `client_id` and `client_secret`. Name here the key file of a service account",
    );
    of_key(
        &good.replace("oauth2.googleapis.com", "oauth2.evil.example"),
        "its `token_uri` leads to `oauth2.evil.example`, and `token_url` to `oauth2.googleapis.com`",
        "use the key file as Google gave it, and correct or remove `token_url` of the provider",
    );
    of_key(
        &good.replacen("MII", "MIJ", 1),
        "`private_key` in it is damaged, or not an RSA key of 2048 bits or more",
        CREATE,
    );
    of_key(&good.replace("client_email", "email"), "`client_email` in it is missing or damaged", CREATE);
    of_key("-----BEGIN PRIVATE KEY-----", "it is not the JSON file of a key", CREATE);

    let google = "providers: {google: {client_id: x, domains: contoso.com}}\n";
    let outside = Outside::with_files(&[("key.json", &good)]);
    for (yaml, expected) in [
        (
            format!("{google}{ACCOUNT}"),
            "accounts[0].service_account_key: `service_account_key` is missing, which `grant: client_credentials` needs; \
             write the path of the JSON key file, here or under `providers.google`",
        ),
        (
            google.replace("client_id: x", "grant: client_credentials")
                + "accounts: [{login: a@contoso.com}, {login: b@contoso.com}]",
            "providers.google.service_account_key: `service_account_key` is missing, which `grant: client_credentials` \
             needs; write the path of the JSON key file, here or under `providers.google`",
        ),
        (
            format!("{}{ACCOUNT}", WORKSPACE.replace("key.json", "away.json")),
            "providers.google.service_account_key: `away.json` cannot be read: entity not found; name the JSON key file of \
             the service account, which the user who runs Gatepost can read",
        ),
        (
            format!("{}{ACCOUNT}", WORKSPACE.replace("key.json", "'-----BEGIN PRIVATE KEY-----'")),
            "providers.google.service_account_key: the key itself does not belong here; write the path of its file",
        ),
        (
            format!("{WORKSPACE}accounts: [{{login: a@contoso.com}}]"),
            "providers.google.client_id: `client_id` is missing, which accounts for which a person signs in need; write the \
             ID of the OAuth client, or use `grant: client_credentials`",
        ),
        (
            format!("{google}accounts: [{{login: a@contoso.com, service_account_key: key.json}}]"),
            "accounts[0].service_account_key: the key is only for `grant: client_credentials`; write this grant, or remove \
             the key",
        ),
        (
            format!("{WORKSPACE}accounts: [{{login: a@gmail.com, provider: google, grant: client_credentials}}]"),
            "accounts[0]: no service account acts for addresses of Gmail, which have no administrator; use `grant: \
             authorization_code`, or an address of your domain",
        ),
        (
            "providers: {google: {service_account_key: key.json, grant: client_credentials}}".to_owned(),
            "providers.google: no service account acts for addresses of Gmail, which have no administrator; set `domains` to \
             the domains of your Google Workspace",
        ),
        (
            format!("{WORKSPACE}accounts: [{{login: a@contoso.com, grant: client_credentials, scope: openid email}}]"),
            "accounts[0]: the scope opens no mailbox; write `scope: https://mail.google.com/`, or remove the key",
        ),
        (
            "providers: {yahoo: {client_id: x, service_account_key: key.json}}".to_owned(),
            "providers.yahoo.service_account_key: only the provider `google` has service accounts; remove the key",
        ),
        (
            "providers: {yahoo: {client_id: x, grant: client_credentials}}".to_owned(),
            "providers.yahoo.grant: the provider `Yahoo` does not have this grant: no mailbox opens without a person there; \
             use `grant: authorization_code`",
        ),
        (
            format!(
                "{google}accounts: [{{login: a@contoso.com, provider: microsoft, service_account_key: key.json}}]\nmicrosoft: {{tenant: contoso.com, client_id: 00000000-0000-0000-0000-000000000000}}"
            ),
            "accounts[0].service_account_key: `service_account_key` belongs to Google, and the account to Microsoft; remove \
             the key, or write `provider: google`",
        ),
    ] {
        let Err(problems) = outside.load(&format!("{LISTENERS}{yaml}\n")) else { panic!("accepted: {yaml}") };
        assert_eq!(told(&problems), [expected], "{yaml}");
    }
}
