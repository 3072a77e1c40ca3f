//! What a check finds in a configuration that the service accepts.

use std::net::IpAddr;
use std::path::PathBuf;

use gatepost_config::{DirectoryState, Holder, UpstreamTls};

use crate::support::{Machine, Outside};

const APPLICATION: &str = "2f5c7e10-7d0a-4c1e-9f6b-0d4a5b6c7d8e";

/// A configuration in which nothing is found, with these lines in its sections.
fn yaml(listener: &str, microsoft: &str) -> String {
    format!(
        "listeners:\n  imap: {{bind: '127.0.0.1:1143'{listener}}}\n\
         microsoft: {{tenant: fabrikam.com, client_id: {APPLICATION}{microsoft}}}\n"
    )
}

fn findings(yaml: &str) -> Vec<String> {
    Outside::default().findings(yaml)
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    assert_eq!(findings(&yaml("", "")), [""; 0]);
}

#[test]
fn a_placeholder_is_found() {
    let with = |from: &str, to: &str| findings(&yaml("", "").replace(from, to));
    let zero = "00000000-0000-0000-0000-000000000000";
    let of_client = format!(
        "Problem microsoft.client_id: `{zero}` is the placeholder of the documentation; copy the application (client) id from \
         Entra: App registrations, your application, Overview"
    );
    let tenant = "write the directory (tenant) id, or a verified domain of your tenant";
    assert_eq!(with(APPLICATION, zero), std::slice::from_ref(&of_client));
    assert_eq!(
        with("fabrikam.com", zero),
        [format!("Problem microsoft.tenant: `{zero}` is the placeholder of the documentation; {tenant}")]
    );
    for reserved in ["contoso.example", "example.com", "Mail.test"] {
        assert_eq!(
            with("fabrikam.com", reserved),
            [format!(
                "Problem microsoft.tenant: `{}` is a domain that nobody can own, so it is no tenant; {tenant}",
                reserved.to_lowercase()
            )]
        );
    }
    // Only beside the placeholder of the application it is one for sure.
    assert_eq!(with("fabrikam.com", "contoso.com"), [""; 0]);
    assert_eq!(
        findings(&yaml("", "").replace("fabrikam.com", "contoso.com").replace(APPLICATION, zero)),
        [
            format!("Problem microsoft.tenant: `contoso.com` is the placeholder of the documentation; {tenant}"),
            of_client.clone()
        ]
    );
    // Another token service may take any id.
    let elsewhere = yaml("", ", authority: 'https://localhost:7443/'").replace(APPLICATION, zero);
    assert_eq!(findings(&elsewhere.replace("fabrikam.com", "contoso.example")), [""; 0]);
    // A misspelled one of Microsoft's is not another one.
    let misspelled = yaml("", ", authority: 'https://login.microsoftonlin.com/'").replace(APPLICATION, zero);
    assert!(findings(&misspelled).contains(&of_client), "{:?}", findings(&misspelled));
    let of_account =
        yaml("", "") + "accounts: [{login: a@fabrikam.com, client_id: 00000000-0000-0000-0000-000000000000}]\n";
    assert!(findings(&of_account)[0].starts_with("Problem accounts[0].client_id: "), "{:?}", findings(&of_account));
}

#[test]
fn a_placeholder_for_a_secret_is_found_and_not_shown() {
    assert_eq!(
        findings(&yaml("", ", client_secret: '<hunter2>'")),
        [
            "Problem microsoft.client_secret: the secret is a placeholder in angle brackets; write the value of the secret"
        ]
    );
}

#[test]
fn a_misspelled_host_is_found() {
    let passwords = "is not one of Microsoft's hosts, and would get passwords and secrets";
    for (authority, severity, meant) in [
        ("login.microsoftonlin.com", "Problem", "login.microsoftonline.com"),
        ("login.microsoftonline.co", "Problem", "login.microsoftonline.com"),
        ("login.mircosoftonline.com", "Problem", "login.microsoftonline.com"),
        ("login.microsftonlin.com", "Warning", "login.microsoftonline.com"),
        ("login.microsoftonlin.us", "Problem", "login.microsoftonline.us"),
        ("login.windows.ne", "Problem", "login.windows.net"),
    ] {
        assert_eq!(
            findings(&yaml("", &format!(", authority: 'https://{authority}/'"))),
            [format!("{severity} microsoft.authority: `{authority}` {passwords}; did you mean `{meant}`?")]
        );
    }
    let tokens = "is not one of Microsoft's hosts, and would get access tokens";
    for (protocol, upstream, severity, meant) in [
        ("imap", "outlok.office365.com", "Problem", "outlook.office365.com"),
        ("imap", "outlook.ofice356.com", "Warning", "outlook.office365.com"),
        ("pop3", "outlook.office365.cm", "Problem", "outlook.office365.com"),
        ("smtp", "smpt.office365.com", "Problem", "smtp.office365.com"),
        ("ews", "outlook.office365.co", "Problem", "outlook.office365.com"),
        ("graph", "graph.microsoft.co", "Problem", "graph.microsoft.com"),
    ] {
        let yaml = yaml(&format!(", protocol: {protocol}, upstream: '{upstream}:7777'"), "");
        assert_eq!(
            findings(&yaml),
            [format!("{severity} listeners.imap.upstream: `{upstream}` {tokens}; did you mean `{meant}`?")]
        );
    }
    for host in
        ["mail.corp.example", "outlook.office.com", "imap-mail.outlook.com", "127.0.0.1", "outlook.office365.us.corp"]
    {
        assert_eq!(findings(&yaml(&format!(", upstream: '{host}:7777'"), "")), [""; 0], "{host}");
    }
}

#[test]
fn a_misspelled_host_is_told_once() {
    let config = Outside::default().load(&yaml("", ", authority: 'https://login.microsoftonlin.com/'")).unwrap();
    assert_eq!((config.notes.len(), config.findings.len()), (0, 1));
    let line = config.findings[0].to_line();
    assert!(line.starts_with("proxy.yaml:3:") && line.contains(": microsoft.authority: "), "{line}");
}

#[test]
fn a_scope_without_the_permission_of_a_listener_is_found() {
    let listeners = "listeners:\n  imap: {bind: '127.0.0.1:1'}\n  smtp: {bind: '127.0.0.1:2'}\n  graph: {bind: '127.0.0.1:3'}\n  \
                     direct: {protocol: smtp, deliver: graph, bind: '127.0.0.1:4'}\n";
    let of = |scope: &str, accounts: &str| {
        findings(&format!(
            "{listeners}microsoft: {{tenant: fabrikam.com, client_id: {APPLICATION}, scope: '{scope}'}}\n{accounts}"
        ))
    };
    let (imap, smtp) = ("https://outlook.office.com/IMAP.AccessAsUser.All", "https://outlook.office.com/SMTP.Send");
    assert_eq!(
        of(&format!("{imap} offline_access"), ""),
        [format!(
            "Problem microsoft.scope: the scope lacks `SMTP.Send`, which listener `smtp` needs; add `{smtp}`, or remove the key"
        )]
    );
    assert_eq!(
        of(
            smtp,
            "accounts: [{login: a@fabrikam.com}, {login: b@fabrikam.com, scope: 'https://outlook.office.com/.default'}]\n"
        ),
        [format!(
            "Warning microsoft.scope: the scope lacks `IMAP.AccessAsUser.All`, which listener `imap` needs; add `{imap}`, or \
             remove the key"
        )]
    );
    for scope in [format!("{imap} {smtp}"), "https://outlook.office365.com/.default".to_owned()] {
        assert_eq!(of(&scope, ""), [""; 0], "{scope}");
    }
    for (protocol, permission) in [("pop3", "POP.AccessAsUser.All"), ("ews", "EWS.AccessAsUser.All")] {
        let yaml = yaml(&format!(", protocol: {protocol}"), &format!(", scope: '{smtp}'"));
        assert!(findings(&yaml)[0].contains(&format!("lacks `{permission}`")), "{:?}", findings(&yaml));
    }
}

#[test]
fn a_host_for_high_volume_email_is_found() {
    let closes = ". Otherwise write `upstream: hve`, because Microsoft will close this host";
    for (host, closes) in [("smtp-hve.office365.com", closes), ("smtp.hve.mx.microsoft", "")] {
        let yaml = yaml(&format!(", protocol: smtp, upstream: '{host}:587'"), "");
        assert_eq!(
            findings(&yaml),
            [format!(
                "Warning listeners.imap.upstream: `{host}` accepts only accounts of High Volume Email (HVE); if an account here \
                 is a normal mailbox, write `upstream: smtp.office365.com:587`{closes}"
            )]
        );
        assert!(Outside::default().load(&yaml).unwrap().notes.is_empty());
    }
}

#[test]
fn high_volume_email_by_its_word_is_the_current_host_and_noted() {
    let yaml = yaml(", protocol: smtp, upstream: hve", "");
    let config = Outside::default().load(&yaml).unwrap();
    let upstream = config.listeners[0].mail_server().unwrap();
    assert_eq!((&*upstream.host, upstream.port, upstream.tls), ("smtp.hve.mx.microsoft", 587, UpstreamTls::StartTls));
    assert!(upstream.is_high_volume() && config.findings.is_empty(), "{:?}", config.findings);
    assert_eq!(
        config.notes,
        [
            "listener `imap` leads to High Volume Email (HVE), which accepts only HVE accounts, and recipients of the tenant"
        ]
    );
}

#[test]
fn the_permission_of_high_volume_email_is_another() {
    let smtp = "https://outlook.office.com/SMTP.Send";
    let of = |scope: &str| findings(&yaml(", protocol: smtp, upstream: hve", &format!(", scope: '{scope}'")));
    assert_eq!(
        of(smtp),
        ["Problem microsoft.scope: the scope lacks `Mail.Send`, which listener `imap` needs; add \
          `https://outlook.office.com/Mail.Send`, or remove the key"]
    );
    assert_eq!(of("https://outlook.office.com/Mail.Send"), [""; 0]);
}

#[test]
fn a_host_that_microsoft_closes_is_found() {
    for (protocol, host) in [("imap", "imap-legacy.office365.com:993"), ("pop3", "pop-legacy.office365.com:995")] {
        let name = host.split(':').next().unwrap();
        assert_eq!(
            findings(&yaml(&format!(", protocol: {protocol}, upstream: '{host}'"), "")),
            [format!(
                "Warning listeners.imap.upstream: Microsoft closes `{name}` on 31 December 2026; remove the key: clients without \
                 TLS 1.2 can stay, because Gatepost speaks a newer version to Microsoft"
            )]
        );
    }
}

/// A certificate for these names until the end of a year, and its key, as files.
fn certified(names: &[&str], until: (i32, u8, u8)) -> Outside {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params =
        rcgen::CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
    Outside::with_files(&[("c.pem", &params.self_signed(&key).unwrap().pem()), ("k.pem", &key.serialize_pem())])
}

#[test]
fn a_certificate_for_other_names_is_found() {
    const TLS: &str = ", tls: implicit, certificate: c.pem, private_key: k.pem";
    let far = (2099, 1, 1);
    let of = |names: &[&str], bind: &str, more: &str| {
        certified(names, far).findings(&(yaml(TLS, "").replace("127.0.0.1:1143", bind) + more))
    };
    let told = |missing: &str, hint: &str| {
        vec![format!(
            "Warning listeners.imap.certificate: the certificate in `c.pem` is not for {missing}, to which clients of listener \
             `imap` connect; {hint}"
        )]
    };
    assert_eq!(of(&["localhost", "127.0.0.1", "::1"], "127.0.0.1:1143", ""), [""; 0]);
    assert_eq!(of(&["LOCALHOST"], "localhost:1143", ""), [""; 0]);
    assert_eq!(
        of(&["localhost"], "127.0.0.1:1143", ""),
        told("`127.0.0.1`", "create a certificate with `gatepost cert --force --host 127.0.0.1`")
    );
    let open = |names: &[&str], bind: &str, more: &str| {
        let listener = format!("{TLS}, allow_from: ['10.0.0.0/8']");
        certified(names, far).findings(&(yaml(&listener, "").replace("127.0.0.1:1143", bind) + more))
    };
    assert_eq!(
        open(&["mail.corp.example"], "10.1.2.3:993", ""),
        told(
            "`10.1.2.3`",
            "tell clients to connect to `mail.corp.example`, or create a certificate with `gatepost cert --force --host 10.1.2.3`"
        )
    );
    // At any address, clients are given the name.
    assert_eq!(open(&["mail.corp.example"], "0.0.0.0:993", ""), [""; 0]);
    assert_eq!(open(&["*.corp.example"], "0.0.0.0:993", "server_name: mailgw.corp.example\n"), [""; 0]);
    assert_eq!(
        open(&["*.example"], "0.0.0.0:993", "server_name: mailgw.corp.example\n"),
        told("`mailgw.corp.example`", "create a certificate with `gatepost cert --force --host mailgw.corp.example`")
    );
}

#[test]
fn a_certificate_that_expires_soon_is_found_by_a_check() {
    let day = gatepost_core::clock::Clock::system().unix_time().after(std::time::Duration::from_secs(10 * 24 * 3_600));
    let day = day.rfc3339();
    let part = |range: std::ops::Range<usize>| day[range].parse::<u16>().unwrap();
    let until = (i32::from(part(0..4)), part(5..7) as u8, part(8..10) as u8);
    let outside = certified(&["127.0.0.1"], until);
    let yaml = yaml(", tls: implicit, certificate: c.pem, private_key: k.pem", "");
    let found = outside.findings(&yaml);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("Warning listeners.imap.certificate: the certificate in `c.pem` expires on 20"),
        "{found:?}"
    );
    // The service reminds of it by itself.
    assert!(outside.load(&yaml).unwrap().findings.is_empty());
}

fn machine(machine: Machine) -> Outside {
    Outside { machine, ..Outside::default() }
}

#[test]
fn an_address_that_cannot_be_listened_on_is_found() {
    let at = |bind: &str| {
        yaml("", "").replace(
            "'127.0.0.1:1143'",
            &format!("'{bind}', allow_from: ['10.0.0.0/8'], allow_plaintext_from: ['10.0.0.0/8']"),
        )
    };
    let missing = machine(Machine { addresses_missing: vec![IpAddr::from([10, 0, 0, 9])], ..Machine::default() });
    assert_eq!(
        missing.findings(&at("10.0.0.9:143")),
        [
            "Warning listeners.imap.bind: this machine does not have the address `10.0.0.9`; correct it, unless the address comes \
          later"
        ]
    );
    assert_eq!(missing.findings(&at("10.0.0.8:143")), [""; 0]);

    let bob = machine(Machine { user: 1000, first_port: 1024, ..Machine::default() });
    assert_eq!(
        bob.findings(&at("10.0.0.9:143")),
        [
            "Warning listeners.imap.bind: port 143 needs the right CAP_NET_BIND_SERVICE, which user bob does not have here; if the \
          service has it or gets the socket from systemd, ignore this, or write a port from 1024 on"
        ]
    );
    assert_eq!(bob.findings(&at("10.0.0.9:1143")), [""; 0]);

    let address = "127.0.0.1:1143".parse().unwrap();
    let held = |holder: Holder| machine(Machine { holders: [(address, holder)].into(), ..Machine::default() });
    for (holder, by) in [
        (Holder::Process { id: 812, name: "dovecot".into() }, "`dovecot` (process 812)"),
        (Holder::OfUser("bob".into()), "a process of user bob"),
    ] {
        assert_eq!(
            held(holder).findings(&yaml("", "")),
            [format!(
                "Problem listeners.imap.bind: `127.0.0.1:1143` is in use by {by}; stop that program, or write another port"
            )]
        );
    }
    assert_eq!(
        held(Holder::OfUser("root".into())).findings(&yaml("", "")),
        [
            "Warning listeners.imap.bind: `127.0.0.1:1143` is in use by a process of user root; unless it is a socket unit of \
          systemd, stop that program, or write another port"
        ]
    );
    let page = format!("{}admin: {{bind: '127.0.0.1:1143'}}\n", yaml("", "").replace("1143", "1144"));
    let found = held(Holder::Process { id: 812, name: "x".into() }).findings(&page);
    assert!(found[0].starts_with("Problem admin.bind: `127.0.0.1:1143` is in use"), "{found:?}");
}

#[test]
fn the_running_service_of_the_configuration_is_in_nobodys_way() {
    let address = "127.0.0.1:1143".parse().unwrap();
    for (holder, note) in [
        (
            Holder::Service(Some(812)),
            "the service of this configuration is running (process 812), and has these addresses",
        ),
        (Holder::Service(None), "the service of this configuration is running, and has these addresses"),
        (Holder::SocketUnit, "a socket unit of systemd has `127.0.0.1:1143`, and hands it over to the service"),
    ] {
        let outside = machine(Machine { holders: [(address, holder)].into(), first_port: 2000, ..Machine::default() });
        let config = gatepost_config::load::load_text_for(
            gatepost_config::Purpose::Check,
            Some(("proxy.yaml".as_ref(), &yaml("", ""))),
            &[],
            &outside.variables,
            &outside,
        );
        let config = config.unwrap();
        assert_eq!((config.findings.len(), config.notes), (0, vec![note.to_owned()]));
    }
}

#[test]
fn a_state_directory_that_the_service_cannot_use_is_found() {
    let state = "state: {directory: /srv/state}\n";
    let directory = |owner, is_writable, stranger: Option<(&str, u32)>| DirectoryState {
        owner,
        is_writable,
        stranger: stranger.map(|(path, user)| (PathBuf::from(path), user)),
    };
    let of = |file: &str, user, found: Option<DirectoryState>| {
        let outside = machine(Machine {
            user,
            service: Some(997),
            directories: found.map(|found| (PathBuf::from("/srv/state"), found)).into_iter().collect(),
            nothing_can_be_created: user != 0,
            ..Machine::default()
        });
        outside.findings_of(file, &(yaml("", "") + state))
    };
    let unit = "/etc/gatepost/proxy.yaml";
    for (file, user, found, expected) in [
        ("p.yaml", 0, Some(directory(0, true, None)), None),
        ("p.yaml", 0, Some(directory(997, true, None)), None),
        ("p.yaml", 0, None, None),
        (unit, 1000, None, None),
        (
            "p.yaml",
            1000,
            None,
            Some(
                "Problem state.directory: `/srv/state` does not exist, and user bob cannot create it; run `sudo install -d -m 700 -o bob /srv/state`",
            ),
        ),
        (
            unit,
            0,
            Some(directory(0, true, None)),
            Some(
                "Problem state.directory: `/srv/state` belongs to user root, and the service runs as gatepost; run `chown -R gatepost: /srv/state`",
            ),
        ),
        (
            unit,
            1000,
            Some(directory(0, false, None)),
            Some(
                "Problem state.directory: `/srv/state` belongs to user root, and the service runs as gatepost; run `sudo chown -R gatepost: /srv/state`",
            ),
        ),
        (
            "p.yaml",
            0,
            Some(directory(997, true, Some(("/srv/state/gatepost.sqlite", 0)))),
            Some(
                "Problem state.directory: `/srv/state/gatepost.sqlite` belongs to user root, and its directory to gatepost; run `chown -R gatepost: /srv/state`",
            ),
        ),
        (
            "p.yaml",
            1000,
            Some(directory(1000, false, None)),
            Some(
                "Problem state.directory: user bob cannot write into `/srv/state`; make its file system and its mode allow that",
            ),
        ),
        (
            "p.yaml",
            997,
            Some(directory(0, false, None)),
            Some(
                "Problem state.directory: `/srv/state` belongs to user root, and this is user gatepost; if the service runs as gatepost, run `sudo chown -R gatepost: /srv/state`",
            ),
        ),
        (
            "p.yaml",
            1000,
            Some(directory(4711, false, None)),
            Some(
                "Warning state.directory: `/srv/state` belongs to user #4711, and this is user bob; run this command as that user: `sudo -u '#4711' gatepost …`",
            ),
        ),
    ] {
        assert_eq!(of(file, user, found.clone()), Vec::from_iter(expected), "{file}, user {user}, {found:?}");
    }
}
