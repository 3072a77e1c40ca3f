use std::sync::Arc;

use gatepost_config::{ProxyScheme, ProxyServer};
use rustls::{AlertDescription, InvalidMessage, OtherError, PeerIncompatible};

use super::*;

const SMTP: Server<'static> =
    Server { host: "smtp.office365.com", port: 587, name: "smtp.office365.com", role: Role::Mail };
const ENTRA: Server<'static> =
    Server { host: "login.microsoftonline.com", port: 443, name: "login.microsoftonline.com", role: Role::Entra };
const GRAPH: Server<'static> =
    Server { host: "graph.microsoft.com", port: 443, name: "graph.microsoft.com", role: Role::Https };

fn proxy() -> ProxyServer {
    ProxyServer { scheme: ProxyScheme::Http, host: "proxy.corp.example".into(), port: 3128 }
}

fn os(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

fn tls(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn refused(status: u16, schemes: &[&str], configured: Option<Scheme>) -> DialError {
    let schemes = schemes.iter().map(|&name| name.to_owned()).collect();
    let kind = ConnectErrorKind::Refused { status, reason: "Reason".into(), schemes, configured };
    DialError::Proxy(ConnectError { destination: "smtp.office365.com:587".into(), kind })
}

/// One error of each variant, also of those inside others.
fn dial_errors() -> Vec<DialError> {
    let destination = || "smtp.office365.com:587".to_owned();
    let connect = |kind| DialError::Proxy(ConnectError { destination: destination(), kind });
    let socks = |kind| DialError::Socks(SocksError { destination: destination(), kind });
    let mut errors = vec![
        DialError::Resolve {
            host: "smtp.office365.com".into(),
            source: io::Error::other("failed to lookup address information: Name or service not known"),
        },
        DialError::Connect { host: "smtp.office365.com".into(), port: 587, tried: 1, source: os(111) },
        DialError::Connect { host: "smtp.office365.com".into(), port: 587, tried: 3, source: os(113) },
        DialError::ProxyUnreachable {
            proxy: proxy(),
            source: Box::new(DialError::Connect {
                host: "proxy.corp.example".into(),
                port: 3128,
                tried: 1,
                source: os(111),
            }),
        },
        DialError::ProxyTrust(TrustError::Empty),
        DialError::ProxyTls {
            proxy: proxy(),
            source: tls(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)),
        },
        DialError::ProxyBroke { proxy: proxy(), target: destination(), source: os(104) },
        connect(ConnectErrorKind::NotHttp("SSH-2.0".into())),
        connect(ConnectErrorKind::TooLong),
        connect(ConnectErrorKind::Closed),
        connect(ConnectErrorKind::Destination),
        connect(ConnectErrorKind::Authentication(AuthenticationError::Refused)),
        connect(ConnectErrorKind::Authentication(AuthenticationError::NotProven)),
        connect(ConnectErrorKind::Authentication(AuthenticationError::Challenge {
            scheme: Scheme::Ntlm,
            reason: "it is cut short".into(),
        })),
        connect(ConnectErrorKind::Authentication(AuthenticationError::Unavailable {
            scheme: Scheme::Negotiate,
            reason: "no ticket".into(),
            remedy: "name a keytab in `forward_proxy`",
            permanent: true,
        })),
        socks(SocksErrorKind::Method { offered_password: true }),
        socks(SocksErrorKind::Method { offered_password: false }),
        socks(SocksErrorKind::Credentials),
        socks(SocksErrorKind::Refused(2)),
        socks(SocksErrorKind::Refused(5)),
        socks(SocksErrorKind::NotSocks(b'H')),
        socks(SocksErrorKind::NotSocks(0)),
        socks(SocksErrorKind::Closed),
        socks(SocksErrorKind::Destination),
        socks(SocksErrorKind::Unsendable),
    ];
    errors.extend([302, 403, 405, 407, 429, 502, 503, 504].map(|status| refused(status, &[], None)));
    errors.push(refused(407, &["NTLM", "Negotiate"], Some(Scheme::Basic)));
    errors.push(refused(407, &["NTLM"], None));
    errors.push(refused(407, &["Bearer"], Some(Scheme::Basic)));
    errors.extend(Scheme::ALL.map(|scheme| refused(407, &[scheme.name()], Some(scheme))));
    errors
}

fn tls_errors() -> Vec<io::Error> {
    let certificate = |problem| tls(rustls::Error::InvalidCertificate(problem));
    let name = rustls::pki_types::ServerName::try_from("smtp.office365.com").unwrap();
    let untrusted = UntrustedIssuer { issuer: "O=Contoso, CN=Inspection".into() };
    let seconds = |n| rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(n));
    vec![
        io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended during the TLS handshake"),
        io::Error::new(io::ErrorKind::TimedOut, "no answer in time"),
        os(104),
        PlainText::in_octets_for_test("220 smtp.office365.com ready"),
        tls(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)),
        tls(rustls::Error::AlertReceived(AlertDescription::HandshakeFailure)),
        tls(rustls::Error::PeerIncompatible(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig)),
        tls(rustls::Error::PeerSentOversizedRecord),
        tls(rustls::Error::General("what".into())),
        certificate(CertificateError::UnknownIssuer),
        certificate(CertificateError::Other(OtherError(Arc::new(untrusted)))),
        certificate(CertificateError::Expired),
        certificate(CertificateError::ExpiredContext {
            time: seconds(1_795_957_955),
            not_after: seconds(1_700_000_000),
        }),
        certificate(CertificateError::NotValidYetContext { time: seconds(1), not_before: seconds(1_700_000_000) }),
        certificate(CertificateError::Revoked),
        certificate(CertificateError::BadEncoding),
        certificate(CertificateError::NotValidForNameContext {
            expected: name,
            presented: vec!["DnsName(\"proxy.corp.example\")".into()],
        }),
    ]
}

fn check(told: &Failure) {
    let text = format!("{}. {}: {}", told.message, told.actor.label(), told.remedy);
    for banned in [
        "os error",
        "Other(",
        "OtherError",
        "InvalidContentType",
        "UNIX",
        "client error",
        "DnsName",
        "DialError",
        ";",
        "HandshakeFailure",
        "1795957955",
        "Context",
        "{ ",
        "  ",
        "..",
    ] {
        assert!(!text.contains(banned), "`{banned}` in: {text}");
    }
    assert!(!told.remedy.is_empty() && !told.remedy.ends_with('.') && !told.message.ends_with('.'), "{text}");
    for label in ["Gatepost admin", "Network admin", "Microsoft 365 admin"] {
        assert!(!told.message.contains(label) && !told.remedy.contains(label), "two voices: {text}");
    }
    for sentence in text.split(". ") {
        assert!(sentence.split(' ').count() <= 30, "too long: {sentence}");
    }
}

#[test]
fn no_error_shows_what_only_a_programmer_reads() {
    for server in [SMTP, ENTRA, GRAPH] {
        for error in dial_errors() {
            check(&server.dial(&error));
        }
        for error in tls_errors() {
            check(&server.tls(&error));
        }
        check(&server.connector(&ConnectorError::Address));
        check(&server.connector(&ConnectorError::EarlyBytes));
    }
}

#[test]
fn a_refused_password_has_one_remedy_and_names_the_schemes() {
    let told = |schemes: &[&str], configured| SMTP.dial(&refused(407, schemes, configured));
    let other = told(&["NTLM", "Negotiate"], Some(Scheme::Basic));
    assert_eq!(
        other.message,
        "the proxy answered `407` to CONNECT `smtp.office365.com:587`: it offers `NTLM`, `Negotiate`, and \
         `forward_proxy.authentication` is `basic`"
    );
    assert!(
        other.remedy.starts_with("set `forward_proxy.authentication` to `negotiate` or `ntlm`, with "),
        "{other:?}"
    );
    assert_eq!((other.cause.name(), other.actor), ("proxy-authentication", Actor::GatepostAdmin));
    let none = told(&["Basic"], None);
    assert!(none.message.ends_with("it offers `Basic`, and `forward_proxy` has no credentials"), "{none:?}");
    let wrong = told(&["Basic"], Some(Scheme::Basic));
    assert_eq!(wrong.remedy, "correct `forward_proxy.username` and `forward_proxy.password`");
    let ticket = told(&["Negotiate"], Some(Scheme::Negotiate));
    assert!(ticket.remedy.contains("Kerberos ticket"), "{ticket:?}");
    let unknown = told(&["Bearer"], Some(Scheme::Basic));
    assert_eq!(unknown.actor, Actor::NetworkAdmin);
    assert!(unknown.remedy.contains("Negotiate, NTLM, Digest or Basic"), "{unknown:?}");
}

#[test]
fn a_proxy_that_is_down_is_the_same_fault_for_tokens_and_mail() {
    let error = || DialError::ProxyUnreachable {
        proxy: proxy(),
        source: Box::new(DialError::Connect {
            host: "proxy.corp.example".into(),
            port: 3128,
            tried: 1,
            source: os(111),
        }),
    };
    assert_eq!(SMTP.dial(&error()), ENTRA.dial(&error()));
    let told = ENTRA.dial(&error());
    assert_eq!(told.cause.name(), "proxy-unreachable");
    assert_eq!(told.message, "cannot connect to the proxy http://proxy.corp.example:3128: connection refused");
}

#[test]
fn a_port_that_the_proxy_does_not_let_pass_is_named() {
    for status in [403, 405, 502, 503] {
        let told = SMTP.dial(&refused(status, &[], None));
        assert_eq!(told.cause.name(), "proxy-refused", "{status}");
        assert!(told.remedy.contains("allow CONNECT to ") && told.remedy.contains("`deliver: auto`"), "{told:?}");
        assert!(!GRAPH.dial(&refused(status, &[], None)).remedy.contains("deliver"), "{status}");
    }
    for status in [302, 429, 504] {
        assert!(!SMTP.dial(&refused(status, &[], None)).remedy.contains("allow CONNECT"), "{status}");
    }
}

#[test]
fn inspection_of_tls_is_worded_alike_for_entra_and_mail() {
    let error = || {
        let untrusted = UntrustedIssuer { issuer: "O=Contoso, CN=Inspection".into() };
        tls(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(untrusted)))))
    };
    let (mail, entra) = (SMTP.tls(&error()), ENTRA.tls(&error()));
    assert_eq!((mail.cause.name(), entra.cause.name()), ("bad-certificate", "entra-certificate-refused"));
    assert_eq!(
        mail.message,
        "the certificate of smtp.office365.com:587 was issued by `O=Contoso, CN=Inspection`, which is not trusted"
    );
    assert_eq!(mail.message.replace("smtp.office365.com:587", "login.microsoftonline.com:443"), entra.message);
    assert_eq!(mail.remedy.replace("smtp.office365.com", "login.microsoftonline.com"), entra.remedy);
    assert!(mail.remedy.contains("`trust.additional_ca`") && mail.remedy.contains("`host: smtp.office365.com`"));
}

#[test]
fn a_date_never_leads_to_the_advice_to_trust_an_authority() {
    let expired = CertificateError::ExpiredContext {
        time: rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_795_957_955)),
        not_after: rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_772_323_200)),
    };
    let told = SMTP.tls(&tls(rustls::Error::InvalidCertificate(expired)));
    assert_eq!(told.message, "the certificate of smtp.office365.com:587 expired on 2026-03-01T00:00:00Z");
    assert!(!told.remedy.contains("trust") && !told.remedy.contains("upstream_name"), "{told:?}");
}

#[test]
fn a_greeting_in_plain_text_names_the_key_to_remove() {
    let told = SMTP.tls(&PlainText::in_octets_for_test("220 smtp.office365.com ready"));
    assert_eq!(told.message, "smtp.office365.com:587 greets in plain text (`220 smtp.office365.com ready`)");
    assert!(told.remedy.starts_with("remove `upstream_tls: implicit` from the listener"), "{told:?}");
}

#[test]
fn a_misspelled_host_of_microsofts_is_corrected() {
    let server = Server { host: "login.microsoftonlin.com", ..ENTRA };
    let source = io::Error::other("failed to lookup address information: Name or service not known");
    let told = server.dial(&DialError::Resolve { host: server.host.into(), source });
    assert_eq!(
        told.message,
        "cannot resolve `login.microsoftonlin.com` (did you mean `login.microsoftonline.com`?): no such name"
    );
    assert_eq!(told.actor, Actor::GatepostAdmin);
    assert_eq!(told.remedy, "correct `microsoft.authority`: write `login.microsoftonline.com`");
}
