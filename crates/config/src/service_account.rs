//! The key of a service account of Google Workspace: the JSON file that the console of Google Cloud
//! gives (Google, "Using OAuth 2.0 for Server to Server Applications"). Pure: the caller reads the
//! file.

use std::borrow::Cow;
use std::fmt;

use aws_lc_rs::rsa::KeyPair;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use url::Url;
use zeroize::Zeroizing;

use super::certificate::{self, CertificateError, SigningAlgorithm};
use gatepost_core::account::MailAddress;

/// The longest ID that is taken from a key file, in bytes. Google's have 21 and 40.
const ID: usize = 128;

/// Why a key file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceAccountError {
    /// Not JSON, or JSON of another shape.
    #[error("it is not the JSON file of a key")]
    NotAKeyFile,
    /// The file of an OAuth client, under this name.
    #[error("it is the file of an OAuth client (`{0}`), not the key of a service account")]
    OauthClient(&'static str),
    /// A credential of another type, such as `authorized_user`.
    #[error("its `type` is `{0}`, not `service_account`")]
    OtherType(String),
    /// A field is missing, or its value cannot be one.
    #[error("`{0}` in it is missing or damaged")]
    Field(&'static str),
    /// The private key is damaged, or not an RSA key of 2048 to 8192 bits.
    #[error("`private_key` in it is damaged, or not an RSA key of 2048 bits or more")]
    PrivateKey,
    /// The key is for another token service than the configured one.
    #[error("its `token_uri` leads to `{found}`, and `token_url` to `{configured}`")]
    OtherTokenService {
        /// The host in the file.
        found: String,
        /// The host in the configuration.
        configured: String,
    },
    /// The file has changed, and holds a key of another service account.
    #[error("it holds a key of the service account `{found}`, and the configuration was read with `{expected}`")]
    OtherAccount {
        /// The address in the file.
        found: String,
        /// The address when the configuration was read.
        expected: String,
    },
}

impl ServiceAccountError {
    /// What to do, one sentence.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NotAKeyFile | Self::Field(_) | Self::PrivateKey => {
                "create a key of type JSON in Google Cloud (IAM > Service accounts > Keys), and use the file as it is"
            }
            Self::OauthClient(_) => {
                "write the OAuth client as `client_id` and `client_secret`. Name here the key file of a service account"
            }
            Self::OtherType(_) => "name the key file of a service account (IAM > Service accounts > Keys)",
            Self::OtherTokenService { .. } => {
                "use the key file as Google gave it, and correct or remove `token_url` of the provider"
            }
            Self::OtherAccount { .. } => "run `gatepost reload`, if the other service account is meant",
        }
    }
}

/// A service account and one of its private keys.
pub struct ServiceAccountKey {
    key: KeyPair,
    /// The address of the service account.
    pub email: String,
    /// The ID by which a Workspace administrator delegates to it.
    pub client_id: String,
    /// The ID of the key.
    pub key_id: String,
}

/// The fields of the file that count. The private key stays as it is written, because the parser
/// would leave a copy of it in memory.
#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    installed: Option<IgnoredAny>,
    web: Option<IgnoredAny>,
    #[serde(borrow)]
    private_key_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    private_key: Option<&'a RawValue>,
    #[serde(borrow)]
    client_email: Option<Cow<'a, str>>,
    #[serde(borrow)]
    client_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    token_uri: Option<Cow<'a, str>>,
}

impl ServiceAccountKey {
    /// Reads a key file for the token service at `token_url`.
    ///
    /// # Errors
    /// [`ServiceAccountError`]
    pub fn read(content: &[u8], token_url: &Url) -> Result<Self, ServiceAccountError> {
        let file: File<'_> = serde_json::from_slice(content).map_err(|_| ServiceAccountError::NotAKeyFile)?;
        for (name, given) in [("installed", file.installed.is_some()), ("web", file.web.is_some())] {
            if given {
                return Err(ServiceAccountError::OauthClient(name));
            }
        }
        match file.kind.as_deref() {
            Some("service_account") => {}
            Some(other) if is_id(other) => return Err(ServiceAccountError::OtherType(other.to_owned())),
            _ => return Err(ServiceAccountError::NotAKeyFile),
        }
        let id = |name, id: Option<Cow<'_, str>>| {
            id.filter(|id| is_id(id)).map(Cow::into_owned).ok_or(ServiceAccountError::Field(name))
        };
        let email = file.client_email.as_deref().and_then(|email| MailAddress::parse(email).ok());
        let email =
            email.filter(|email| email.as_str().is_ascii()).ok_or(ServiceAccountError::Field("client_email"))?;
        let (client_id, key_id) = (id("client_id", file.client_id)?, id("private_key_id", file.private_key_id)?);
        check_token_service(file.token_uri.as_deref(), token_url)?;
        let pem = file.private_key.and_then(decoded).ok_or(ServiceAccountError::Field("private_key"))?;
        let key = certificate::key_from_pem(pem.as_bytes(), None).map_err(|error| match error {
            CertificateError::NoPrivateKey => ServiceAccountError::Field("private_key"),
            _ => ServiceAccountError::PrivateKey,
        })?;
        Ok(Self { key, email: email.to_string(), client_id, key_id })
    }

    /// Signs a message with RSASSA-PKCS1-v1_5 and SHA-256 (`RS256`, RFC 7518 §3.3). `None` when the
    /// system gives no randomness.
    pub fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        certificate::sign(&self.key, SigningAlgorithm::Rs256, message)
    }
}

impl fmt::Debug for ServiceAccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceAccountKey(…)")
    }
}

/// An assertion goes to `token_url` only, so a key for another service is a mistake.
fn check_token_service(token_uri: Option<&str>, token_url: &Url) -> Result<(), ServiceAccountError> {
    let own = token_uri.and_then(|uri| Url::parse(uri).ok()).filter(|uri| uri.scheme() == "https");
    let own = own.ok_or(ServiceAccountError::Field("token_uri"))?;
    let host = |url: &Url| url.host_str().unwrap_or_default().to_owned();
    match (host(&own), host(token_url)) {
        (found, configured) if found == configured => Ok(()),
        (found, configured) => Err(ServiceAccountError::OtherTokenService { found, configured }),
    }
}

/// Whether the text can be an ID, and can be shown as it is.
fn is_id(text: &str) -> bool {
    (1..=ID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// The text of a JSON string. `None`: it is none, or not ASCII, which a key in PEM is.
fn decoded(raw: &RawValue) -> Option<Zeroizing<String>> {
    let text = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    // Room for all of it: a buffer that grows leaves copies behind.
    let mut decoded = Zeroizing::new(String::with_capacity(text.len()));
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let character = match character {
            '\\' => match characters.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => {
                    let mut code = 0;
                    for _ in 0..4 {
                        code = code * 16 + characters.next()?.to_digit(16)?;
                    }
                    char::from_u32(code)?
                }
                escaped => escaped,
            },
            plain => plain,
        };
        // One ASCII character is one byte, so that the buffer never grows.
        decoded.push(Some(character).filter(char::is_ascii)?);
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use rcgen::{PKCS_RSA_SHA256, RsaKeySize};
    use serde_json::{Value, json};

    use super::*;

    const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";

    fn pem() -> String {
        rcgen::KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap().serialize_pem()
    }

    fn file(pem: &str) -> Value {
        json!({
            "type": "service_account",
            "project_id": "gatepost",
            "private_key_id": "0123456789abcdef0123456789abcdef01234567",
            "private_key": pem,
            "client_email": "Gatepost@gatepost.iam.gserviceaccount.com",
            "client_id": "112233445566778899000",
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": TOKEN_URL,
            "universe_domain": "googleapis.com",
        })
    }

    fn read(text: &str) -> Result<ServiceAccountKey, ServiceAccountError> {
        ServiceAccountKey::read(text.as_bytes(), &Url::parse(TOKEN_URL).unwrap())
    }

    #[test]
    fn the_file_of_the_console_is_read_and_its_key_signs() {
        let pem = pem();
        let text = file(&pem).to_string();
        // Google's own libraries have written `=` so.
        for text in [text.clone(), text.replace('=', "\\u003d"), text.replace('/', "\\/")] {
            let key = read(&text).unwrap();
            assert_eq!(key.email, "gatepost@gatepost.iam.gserviceaccount.com");
            assert_eq!(key.client_id, "112233445566778899000");
            assert_eq!(key.key_id, "0123456789abcdef0123456789abcdef01234567");
            let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.key.public_key().as_ref().to_vec());
            public.verify(b"message", &key.sign(b"message").unwrap()).unwrap();
            assert_eq!(format!("{key:?}"), "ServiceAccountKey(…)");
        }
    }

    #[test]
    fn a_file_of_another_kind_is_named() {
        use ServiceAccountError::{NotAKeyFile, OauthClient, OtherType};
        for (text, wanted) in [
            (
                r#"{"type": "authorized_user", "client_id": "x", "refresh_token": "y"}"#,
                OtherType("authorized_user".into()),
            ),
            (r#"{"type": "external_account"}"#, OtherType("external_account".into())),
            (r#"{"installed": {"client_id": "x", "client_secret": "y"}}"#, OauthClient("installed")),
            (r#"{"web": {"client_id": "x"}}"#, OauthClient("web")),
            (r#"{"type": "a `strange` one"}"#, NotAKeyFile),
            ("{}", NotAKeyFile),
            ("[]", NotAKeyFile),
            ("-----BEGIN PRIVATE KEY-----", NotAKeyFile),
            ("", NotAKeyFile),
        ] {
            assert_eq!(read(text).unwrap_err(), wanted, "{text}");
        }
    }

    #[test]
    fn each_field_must_be_there_and_fit() {
        let pem = pem();
        let with = |name: &str, value: Value| {
            let mut file = file(&pem);
            file[name] = value;
            read(&file.to_string()).map(|key| key.email)
        };
        for (name, values) in [
            ("private_key_id", [json!(null), json!("a b")]),
            ("client_email", [json!(null), json!("nobody")]),
            ("client_id", [json!(""), json!("1`2")]),
            ("token_uri", [json!(null), json!("http://oauth2.googleapis.com/token")]),
            ("private_key", [json!(null), json!("no key")]),
            ("private_key", [json!("ä"), json!({"n": 1})]),
        ] {
            for value in values {
                assert_eq!(with(name, value.clone()), Err(ServiceAccountError::Field(name)), "{value}");
            }
        }
        let elliptic = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let short = pem.replacen("MII", "MIJ", 1);
        for key in [elliptic, short] {
            assert_eq!(with("private_key", json!(key)), Err(ServiceAccountError::PrivateKey));
        }
        assert_eq!(
            with("token_uri", json!("https://oauth2.evil.example/token")),
            Err(ServiceAccountError::OtherTokenService {
                found: "oauth2.evil.example".into(),
                configured: "oauth2.googleapis.com".into()
            })
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[\\PC]{0,200}", escaped in "[\\\\u0-9a-fn\"]{0,40}") {
            let _ = read(&text);
            let _ = read(&file("KEY").to_string().replace("KEY", &escaped));
        }
    }
}
