use std::fs;

use rcgen::{CertificateParams, PKCS_RSA_SHA256, RsaKeySize};
use tempfile::{TempDir, tempdir};
use url::Url;

use super::*;
use crate::fake::Logged;
use crate::renewal::record::{Failed, Phase, Record, Registered};
use gatepost_config::certificate::SigningAlgorithm;
use gatepost_config::{Cloud, Entra, Issuer, Renewal};

fn write(directory: &TempDir, name: &str, octets: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, octets).unwrap();
    path
}

fn ask(credential: Credential) -> TokenRequest {
    let entra =
        Entra { authority: Url::parse("https://login.example/").unwrap(), tenant: "t".into(), cloud: Cloud::Worldwide };
    let (issuer, credential) = (Issuer::Entra(entra), Arc::new(credential));
    TokenRequest {
        application: Arc::new(Application { issuer, client_id: "app".into(), credential }),
        tenant: "t".into(),
        scope: "s".into(),
        grant: GrantRequest::ClientCredentials,
    }
}

/// A certificate of the years 2026 and 2027 with its key, in one file.
fn certificate(directory: &TempDir) -> ClientCertificate {
    let key = rcgen::KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let mut params = CertificateParams::new(["gatepost.example".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2028, 1, 1);
    let pem = format!("{}{}", params.self_signed(&key).unwrap().pem(), key.serialize_pem());
    ClientCertificate {
        certificate: write(directory, "app.pem", pem),
        private_key: None,
        password: None,
        algorithm: SigningAlgorithm::default(),
        renewal: None,
    }
}

#[test]
fn a_federated_token_is_sent_only_while_it_is_one_and_valid() {
    const NOW: UnixTime = UnixTime(1_800_000_000);
    let directory = tempdir().unwrap();
    let jwt = |claims: &str| format!("eyJ0.{}.s-_9", URL_SAFE_NO_PAD.encode(claims));
    let read = |content: &[u8]| {
        let path = write(&directory, "token", content);
        federated_token(&path, NOW).map(|token| token.expose().to_owned()).map_err(|error| match error {
            CredentialError::NoToken { path: named } if named == path => "none",
            CredentialError::StaleToken { path: named, .. } if named == path => "stale",
            other => panic!("{other:?}"),
        })
    };
    for (claims, sent) in [
        (r#"{"exp":1800000001}"#, true),
        (r#"{"exp":1800000000}"#, false),
        (r#"{"exp":1799999999.5}"#, false),
        (r#"{"exp":-1}"#, false),
        (r#"{"exp":1e300}"#, true),
        (r#"{"sub":"no end"}"#, true),
        (r#"{"exp":"soon"}"#, true),
        ("not JSON", true),
    ] {
        let token = jwt(claims);
        let told = read(format!("\n {token} \n").as_bytes());
        assert_eq!(told, if sent { Ok(token) } else { Err("stale") }, "{claims}");
    }
    for content in [
        &b""[..],
        b"eyJ0",
        b"a.b",
        b"a.b.c.d",
        b"a..c",
        b".b.c",
        b"a.b.",
        b"a.b+.c",
        b"a.b/.c",
        b"a.b c.d",
        b"\xFF.b.c",
    ] {
        assert_eq!(read(content), Err("none"), "{}", content.escape_ascii());
    }
    let missing = federated_token(&directory.path().join("missing"), NOW);
    assert!(matches!(missing, Err(CredentialError::UnreadableToken { .. })), "{missing:?}");
}

#[tokio::test]
async fn a_certificate_is_used_from_its_first_second_to_its_last() {
    let directory = tempdir().unwrap();
    let certificate = certificate(&directory);
    let credentials = Credentials::new(Clock::manual());
    let key = credentials.signing_key(&certificate).await.unwrap();
    let (first, last) = (UnixTime(1_767_225_600), UnixTime(1_830_297_600));
    let path = || certificate.certificate.clone();
    let second = Duration::from_secs(1);
    for (now, told) in [
        (first.before(second), Err(CredentialError::NotYetValid { path: path(), from: first })),
        (first, Ok(())),
        (last, Ok(())),
        (last.after(second), Err(CredentialError::Expired { path: path(), since: last })),
    ] {
        assert_eq!(check_validity(&key, &path(), now), told, "{now}");
    }
    // What is shown and listed of it.
    assert_eq!(credentials.expiry(&certificate).await, Some(last));
    let shown = Presented::Certificate { path: path(), thumbprint: key.thumbprint(), not_after: last };
    let ask = ask(Credential::Certificates(vec![certificate]));
    assert_eq!(credentials.presented(&ask, Choice::Credential(0)).await, Some(shown));
    assert_eq!(credentials.presented(&ask, Choice::Credential(1)).await, None);
    assert_eq!(credentials.presented(&ask, Choice::Nothing).await, None);
    let lost = ClientCertificate { certificate: directory.path().join("lost"), ..self::certificate(&directory) };
    assert_eq!(credentials.expiry(&lost).await, None);
}

#[tokio::test]
async fn how_a_renewal_goes_is_known_from_this_process_or_from_the_record() {
    let directory = tempdir().unwrap();
    let credentials = Credentials::new(Clock::manual());
    let mut certificate = certificate(&directory);
    assert_eq!(credentials.renewing(&certificate).await, None);
    certificate.renewal = Some(Renewal { before: Duration::from_secs(1), object_id: None, graph: None });
    assert_eq!(credentials.renewing(&certificate).await, Some(Renewing::Planned));
    let registered = |thumbprint: &str| Registered { thumbprint: thumbprint.to_owned(), key_id: None };
    let failed = |message: &str| Record {
        phase: Phase::Created,
        old: registered("OLD"),
        old_expires: UnixTime(2),
        new: registered("NEW"),
        failed: Some(Failed { at: UnixTime(1), message: message.to_owned() }),
    };
    let record = place::record(&certificate.certificate);
    assert_eq!(record, directory.path().join("app.pem.renewal"));
    fs::write(&record, serde_json::to_vec(&failed("no access")).unwrap()).unwrap();
    assert_eq!(place::read_record(&certificate.certificate).unwrap(), Some(failed("no access")));
    assert_eq!(credentials.renewing(&certificate).await, Some(Renewing::Failed("no access".into())));
    credentials.note_renewal(&certificate.certificate, Renewing::Failed("no disk".into()));
    assert_eq!(credentials.renewing(&certificate).await, Some(Renewing::Failed("no disk".into())));
    // A record that cannot be read is not taken for none.
    fs::write(&record, "{").unwrap();
    assert!(place::read_record(&certificate.certificate).is_err());
    fs::remove_file(&record).unwrap();
    fs::create_dir(&record).unwrap();
    assert!(place::read_record(&certificate.certificate).is_err());
    assert_eq!(place::read_record(&directory.path().join("other.pem")).unwrap(), None);
    let beside = [place::next(&certificate.certificate), place::before(&certificate.certificate)];
    assert_eq!(beside, ["app.pem.next", "app.pem.before"].map(|name| directory.path().join(name)));
}

#[tokio::test]
async fn a_secret_is_named_by_its_file_and_its_end() {
    let noted = |file: Option<&str>, expires| NotedSecret {
        secret: Renewable { value: Arc::new(ClientSecret::new("hush".into())), file: file.map(PathBuf::from) },
        expires,
    };
    let end = Some(UnixTime(7));
    let ask = ask(Credential::Secrets(vec![noted(None, None), noted(Some("secret.txt"), end)]));
    let credentials = Credentials::new(Clock::manual());
    let of = |number| credentials.presented(&ask, Choice::Credential(number));
    assert_eq!(of(0).await, Some(Presented::Secret { file: None, expires: None }));
    assert_eq!(of(1).await, Some(Presented::Secret { file: Some("secret.txt".into()), expires: end }));
    assert_eq!(of(2).await, None);
}

#[test]
fn the_time_at_an_authority_is_learnt_from_its_answers() {
    let (credentials, ask) = (Credentials::new(Clock::manual()), ask(Credential::None));
    credentials.heard(&ask.authority(), "Entra", Some("Thu, 01 Jan 2026 00:00:07 GMT"));
    assert_eq!(credentials.time_at(&ask), UnixTime(1_767_225_607));
    credentials.heard(&ask.authority(), "Entra", None);
    credentials.heard("https://elsewhere.example", "Entra", Some("Fri, 02 Jan 2026 00:00:00 GMT"));
    assert_eq!(credentials.time_at(&ask), UnixTime(1_767_225_607));
}

#[tokio::test]
async fn a_panic_while_reading_files_goes_on_in_the_caller() {
    let told = tokio::spawn(aside(|| panic!("on purpose"))).await.map(|(): ()| ());
    assert!(told.unwrap_err().is_panic());
}

#[tokio::test]
async fn a_changed_secret_that_cannot_be_used_is_told_once_and_so_is_its_return() {
    let directory = tempdir().unwrap();
    let (credentials, path) = (Credentials::new(Clock::manual()), directory.path().join("secret"));
    let secret = Renewable { value: Arc::new(ClientSecret::new("at start".into())), file: Some(path.clone()) };
    let log = Logged::begin();
    let said = || ["stays in use", "can be used again"].map(|words| log.count(words));
    for _ in 0..3 {
        assert_eq!(credentials.secret(&secret).await.unwrap().expose(), "at start");
        assert_eq!(said(), [1, 0]);
    }
    assert_eq!(log.count("make the file readable for the user that runs Gatepost"), 1);
    write(&directory, "secret", "later\n");
    for _ in 0..3 {
        assert_eq!(credentials.secret(&secret).await.unwrap().expose(), "later");
        assert_eq!(said(), [1, 1]);
    }
}

#[tokio::test]
async fn the_password_of_a_key_is_read_from_its_file_each_time() {
    let directory = tempdir().unwrap();
    let credentials = Credentials::new(Clock::manual());
    let path = directory.path().join("password");
    let password = Renewable { value: Arc::new(CertificatePassword::new("pw".into())), file: Some(path.clone()) };
    let certificate = ClientCertificate { password: Some(password), ..certificate(&directory) };
    let error = credentials.signing_key(&certificate).await.map(drop).unwrap_err();
    assert!(matches!(&error, CredentialError::Unreadable { path: named, .. } if *named == path), "{error:?}");
    fs::write(&path, "pw").unwrap();
    assert!(credentials.signing_key(&certificate).await.is_ok());
}

#[test]
fn each_unusable_credential_has_a_remedy_of_its_own() {
    let path = || PathBuf::from("app.pem");
    for (error, words) in [
        (CredentialError::Unreadable { path: path(), reason: String::new() }, "make the file readable"),
        (CredentialError::Expired { path: path(), since: UnixTime(0) }, "upload a new certificate"),
        (CredentialError::NotYetValid { path: path(), from: UnixTime(0) }, "use the old certificate until then"),
        (CredentialError::NoSecret { path: path() }, "write the secret's value into the file"),
        (CredentialError::UnreadableToken { path: path(), reason: String::new() }, "let the platform write the file"),
        (CredentialError::NoToken { path: path() }, "why the platform does not renew the file"),
        (CredentialError::Slow, "look at the disk"),
        (CredentialError::NoProof, "run the command as root"),
    ] {
        assert!(error.remedy().contains(words), "{error:?}");
    }
}
