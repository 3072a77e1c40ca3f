//! What an application proves itself by: what is accepted, and what each mistake is told.

use std::path::Path;

use gatepost_config::{Application, Config, Credential};

use crate::support::{HASH, Outside, complete, microsoft, mistakes};

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
    assert_eq!((a.application.client_id.as_str(), &a.application.tenant), ("system", &"".into()));
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
