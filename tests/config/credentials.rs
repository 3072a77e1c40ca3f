//! What an application proves itself by: what is accepted, and what each mistake is told.

use std::path::Path;

use gatepost_config::{Application, Config, Credential};

use crate::support::{HASH, Outside, complete, microsoft, mistakes, rsa_pair, told};

/// The secrets of an application, in the order of the configuration.
pub(crate) fn secrets(application: &Application) -> Vec<String> {
    match &*application.credential {
        Credential::Secrets(secrets) => secrets.iter().map(|noted| noted.secret.value.expose().to_owned()).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn a_secret_may_have_a_successor_and_an_end() {
    let outside = Outside::with_files(&[("s", "from-file\n")]);
    let lines = "client_secret:\n  - {file: s, expires: 2027-01-31}\n  - literal";
    let config = outside.load(&complete(&microsoft(lines))).unwrap_or_else(|problems| panic!("{problems}"));
    let application = &config.accounts.entries()[0].application;
    assert_eq!(secrets(application), ["from-file", "literal"]);
    let Credential::Secrets(noted) = &*application.credential else { panic!("{application:?}") };
    let ends: Vec<_> = noted.iter().map(|noted| noted.expires.map(|end| end.to_string())).collect();
    assert_eq!(ends, [Some("2027-01-31 00:00 UTC".to_owned()), None]);
    // Only what stands in a file can change while the program runs.
    let files: Vec<_> = noted.iter().map(|noted| noted.secret.file.as_deref()).collect();
    assert_eq!(files, [Some(Path::new("s")), None]);
}

/// Whatever is not asked for by the platform is not needed, and what an account says counts before
/// what it inherits.
#[test]
fn an_account_may_prove_itself_in_another_way_than_the_rest() {
    let yaml = format!(
        "listeners: {{smtp: {{bind: 127.0.0.1:1587}}}}\nmicrosoft: {{managed_identity: system, grant: client_credentials}}\n\
         accounts:\n  - {{login: a@contoso.com, passwords: ['{HASH}']}}\n  - {{login: b@contoso.com, passwords: ['{HASH}'], \
         tenant: contoso.com, client_id: 00000000-0000-0000-0000-000000000000, client_secret: hunter2}}\n"
    );
    let config = Outside::default().load(&yaml).unwrap_or_else(|problems| panic!("{problems}"));
    let [a, b] = config.accounts.entries() else { panic!("two accounts are expected") };
    assert!(matches!(&*a.application.credential, Credential::ManagedIdentity(_)));
    assert_eq!(
        (a.application.client_id.as_str(), &a.application.issuer.entra().unwrap().tenant),
        ("system", &"".into())
    );
    assert_eq!(secrets(&b.application), ["hunter2"]);
}

#[test]
fn excerpts_show_files_of_credentials_and_no_password() {
    let lines = "client_certificate: {certificate: app.pem, private_key: app.key, password: hunter2, algorithm: none}";
    let problems = Outside::default().load(&complete(&microsoft(lines))).unwrap_err().to_string();
    assert!(problems.contains("app.pem") && !problems.contains("hunter2"), "{problems}");
}

#[test]
fn every_mistake_has_its_sentence() {
    for (yaml, expected) in [
        (
            microsoft("client_certificate: {certificate: a, private_key: b}"),
            "microsoft.client_certificate.certificate: `a` cannot be read: entity not found; name a file that the user \
             who runs Gatepost can read",
        ),
        (
            microsoft("client_certificate: {private_key: b}"),
            "microsoft.client_certificate.certificate: `certificate` is missing; name a PEM file, or a PKCS#12 file with \
             the key in it",
        ),
        (
            microsoft("client_certificate: {certificate: a, algorithm: ES256}"),
            "microsoft.client_certificate.algorithm: `ES256` is not one of `PS256`, `RS256`; did you mean `PS256`?",
        ),
        (
            microsoft("client_certificate: app.pem"),
            "microsoft.client_certificate: keys with values are expected here, not one value; write the keys below, each \
             on its own line and further to the right",
        ),
        (
            microsoft("client_secret: x\nfederated_token_file: x"),
            "microsoft.federated_token_file: `client_secret` and `federated_token_file` are both given, but an application \
             proves itself in one way; keep one of them. To replace one, list two under the same key",
        ),
        (
            microsoft("client_secret: [a, b, c]"),
            "microsoft.client_secret: 3 entries are listed, but one serves and one more may replace it; list one or two",
        ),
        (
            microsoft("client_secret: []"),
            "microsoft.client_secret: 0 entries are listed, but one serves and one more may replace it; list one or two",
        ),
        (
            microsoft("client_secret: {command: [print], expires: 31.1.2027}"),
            "microsoft.client_secret.expires: `31.1.2027` is not a date; write year, month and day, such as `2027-01-31`",
        ),
        (
            microsoft("client_secret: {command: [print], expiry: 2027-01-31}"),
            "microsoft.client_secret.expiry: `expiry` is not a known key; did you mean `expires`?",
        ),
        (
            microsoft("managed_identity: system"),
            "microsoft: a managed identity gives a token of its own and none for a user; write `grant: \
             client_credentials`, or another credential than `managed_identity`",
        ),
        (
            microsoft("managed_identity: mine"),
            "microsoft.managed_identity: `mine` is not a managed identity; write `system`, or the client id of a \
             user-assigned identity",
        ),
    ] {
        assert_eq!(mistakes(&yaml), [expected], "{yaml}");
    }
}

#[test]
fn an_account_can_do_without_the_credential_that_it_would_inherit() {
    let load = |of_account: &str| {
        let yaml = format!(
            "microsoft: {{tenant: contoso.com, client_id: 00000000-0000-0000-0000-000000000000, client_secret: hunter2}}\n\
             accounts: [{{login: '*@contoso.com'}}, {{login: anna@contoso.com, grant: device_code{of_account}}}]\n"
        );
        Outside::default().load(&complete(&yaml)).unwrap_or_else(|problems| panic!("{problems}"))
    };
    let is_noted = |config: &Config| config.notes.iter().any(|note| note.contains("`client_secret: none`"));
    assert!(is_noted(&load("")));
    let config = load(", client_secret: none");
    assert!(!is_noted(&config), "{:?}", config.notes);
    let accounts = config.accounts.entries().iter();
    let mut public: Vec<bool> = accounts.map(|account| *account.application.credential == Credential::None).collect();
    public.sort_unstable();
    assert_eq!(public, [false, true]);
}

/// An application with a certificate in `app.pem` and `app.key`.
fn renewing() -> Outside {
    let (certificate, key) = rsa_pair();
    Outside::with_files(&[("app.pem", &certificate), ("app.key", &key)])
}

#[test]
fn a_certificate_renews_itself_so_long_before_its_end() {
    let lines = "client_certificate: {certificate: app.pem, private_key: app.key, renew: 30d, object_id: \
                 9D1A6E5D-93b7-4d28-b0f2-7e8d4a9c1f36, graph: 'https://localhost:8443'}";
    let config = renewing().load(&complete(&microsoft(lines))).unwrap_or_else(|problems| panic!("{problems}"));
    let Credential::Certificates(found) = &*config.accounts.entries()[0].application.credential else { panic!() };
    let renewal = found[0].renewal.as_ref().unwrap();
    assert_eq!(renewal.before.as_secs(), 30 * 24 * 3_600);
    assert_eq!(renewal.object_id.as_deref(), Some("9d1a6e5d-93b7-4d28-b0f2-7e8d4a9c1f36"));
    assert_eq!(renewal.graph.as_ref().map(|graph| graph.as_str()), Some("https://localhost:8443/"));
    let note = "names `localhost`, which is not one of Microsoft's servers, and will receive access tokens";
    assert!(config.notes.iter().any(|told| told.contains(note)), "{:?}", config.notes);
    // Nobody can write there, as a check sees it.
    let found = renewing().findings(&complete(&microsoft(lines)));
    let expected = "Problem microsoft.client_certificate.renew: Gatepost cannot write into `.`, so it cannot renew the \
                    certificate; move both files into a directory of the user that runs Gatepost, such as \
                    `/var/lib/gatepost`";
    assert!(found.iter().any(|told| told == expected), "{found:?}");
    // By default a person replaces the files.
    let lines = "client_certificate: {certificate: app.pem, private_key: app.key}";
    let config = renewing().load(&complete(&microsoft(lines))).unwrap_or_else(|problems| panic!("{problems}"));
    let Credential::Certificates(found) = &*config.accounts.entries()[0].application.credential else { panic!() };
    assert_eq!(found[0].renewal, None);
}

#[test]
fn a_renewal_that_would_not_be_safe_is_refused() {
    let certificate =
        |keys: &str| microsoft(&format!("client_certificate: {{certificate: app.pem, private_key: app.key, {keys}}}"));
    let account =
        |keys: &str| format!("accounts:\n  - {{login: a@contoso.com}}\n  - {{login: b@contoso.com, {keys}}}\n");
    for (yaml, expected) in [
        (
            certificate("renew: 12h"),
            "microsoft.client_certificate.renew: `12h` is out of range; write a time from 1d to 180d",
        ),
        (
            certificate("renew: 30d, object_id: gatepost"),
            "microsoft.client_certificate.object_id: `gatepost` is not an object id; copy the Object ID from Entra: App \
             registrations, your application, Overview",
        ),
        (
            certificate("renew: 30d, graph: 'http://graph.microsoft.com'"),
            "microsoft.client_certificate.graph: `http://graph.microsoft.com` is not an `https` address without a path; \
             write it as `https://graph.microsoft.com/`, or remove the key",
        ),
        (
            certificate("object_id: 9d1a6e5d-93b7-4d28-b0f2-7e8d4a9c1f36"),
            "microsoft.client_certificate.object_id: `object_id` is only for `renew`; add `renew: 30d`, or remove this key",
        ),
        (
            certificate("renew: 30d, password: x"),
            "microsoft.client_certificate.renew: a renewed key is written as PEM without a password, and these files are \
             not of that form; convert them to PEM without a password (mode 0600), or remove `renew`",
        ),
        (
            microsoft(
                "client_certificate: [{certificate: app.pem, private_key: app.key, renew: 30d}, {certificate: app.pem, \
                 private_key: app.key}]",
            ),
            "microsoft.client_certificate[0].renew: two certificates are listed, and a renewal needs one; list the one in \
             use. Gatepost adds and removes the others",
        ),
        (
            format!("{}state: {{store: 'redis://localhost', key: {{env: KEY}}}}\n", certificate("renew: 30d")),
            "microsoft.client_certificate.renew: replicas share the store, but each has files of its own. After a renewal \
             by one of them, the others would keep a certificate that is soon removed from the application; remove \
             `renew`, and replace the certificate on all replicas before it expires",
        ),
        (
            format!(
                "{}{}",
                certificate("renew: 30d"),
                account(
                    "client_id: 11111111-0000-0000-0000-000000000000, client_certificate: {certificate: app.pem, \
                     private_key: app.key}"
                )
            ),
            "microsoft.client_certificate.renew: accounts with another `client_id` or `tenant` use `app.pem` as well; give \
             each application a certificate of its own",
        ),
        (
            format!(
                "{}accounts: [{{login: '*'}}]\n",
                certificate("renew: 30d").replace("contoso.com", "organizations")
            ),
            "microsoft.client_certificate.renew: the application signs in at its own tenant to renew the certificate, and \
             no tenant is named; write the directory id or a verified domain into `tenant`",
        ),
    ] {
        let mut outside = renewing();
        outside.variables.insert("KEY".to_owned(), "0".repeat(64));
        let problems = match outside.load(&complete(&yaml)) {
            Ok(_) => panic!("accepted:\n{yaml}"),
            Err(problems) => told(&problems),
        };
        assert_eq!(problems, [expected], "{yaml}");
    }
}
