//! What the confidential application is registered with: secrets, certificates, and one federated
//! credential; and the judgement of what a client presents, as strict as Entra's, except that Entra
//! forgets used assertions sooner.

use std::collections::HashSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RSA_PSS_2048_8192_SHA256, RsaParameters,
    UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::{Mutex, MutexGuard};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::json;

use gatepost_core::secret::ClientSecret;

/// The value of `client_assertion_type` for a JWT (RFC 7523 §2.2).
pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How many used assertions are remembered; there are no more within the life of one.
const USED: usize = 100_000;

/// The audience of a proof of possession (Microsoft, "Generate proof of possession tokens for rolling
/// keys").
const PROOF_AUDIENCE: &str = "00000002-0000-0000-c000-000000000000";

/// How long such a proof is valid at most.
const PROOF_SECONDS: i64 = 600;

/// How many seconds the clock of a client may differ from Entra's.
const LEEWAY: i64 = 300;

/// A secret of the confidential application.
#[derive(Debug)]
pub struct SandboxSecret {
    /// The value.
    pub secret: ClientSecret,
    /// Whether Entra still knows the secret but no longer accepts it.
    pub expired: bool,
}

/// What a token of the sandbox's other issuer says; by default what the application's federated
/// credential asks for.
#[derive(Clone, Debug)]
pub struct FederatedToken {
    /// `iss`.
    pub issuer: String,
    /// `sub`.
    pub subject: String,
    /// `aud`.
    pub audience: String,
    /// How long the token is valid: the time from now until `exp`.
    pub lifetime: Duration,
}

impl Default for FederatedToken {
    /// A token as a Kubernetes cluster makes them, valid for an hour.
    fn default() -> Self {
        Self {
            issuer: "https://cluster.contoso.example/".to_owned(),
            subject: "system:serviceaccount:mail:gatepost".to_owned(),
            audience: "api://AzureADTokenExchange".to_owned(),
            lifetime: Duration::from_secs(3_600),
        }
    }
}

/// A certificate in the application's registration.
struct Registered {
    /// The id that Graph gave it.
    key_id: String,
    /// Whether Graph added it, so that the token endpoint learns of it later.
    is_added: bool,
    sha256: Vec<u8>,
    sha1: Vec<u8>,
    public_key: Vec<u8>,
    not_after: i64,
}

/// The registration of the confidential application.
pub(super) struct Registration {
    secrets: Mutex<Vec<SandboxSecret>>,
    certificates: Mutex<Vec<Registered>>,
    /// Whether the token endpoint does not know yet what Graph has added.
    is_spreading: AtomicBool,
    used: Mutex<HashSet<String>>,
    /// The other issuer's key. It is made at its first use, because an RSA key takes a while.
    issuer: OnceLock<Option<KeyPair>>,
}

/// A request's view of itself, for the judgement of an assertion.
pub(super) struct PresentedAssertion<'a> {
    pub(super) assertion: &'a str,
    pub(super) client_id: &'a str,
    /// The address that the request was posted to.
    pub(super) url: &'a str,
    /// The time of the request, in seconds since 1970.
    pub(super) now: i64,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(rename = "x5t#S256")]
    sha256: Option<String>,
    #[serde(rename = "x5t")]
    sha1: Option<String>,
}

#[derive(Deserialize)]
struct AssertionClaims {
    iss: String,
    sub: String,
    aud: String,
    #[serde(default)]
    jti: String,
    nbf: i64,
    exp: i64,
}

impl Registration {
    pub(super) fn new(secret: ClientSecret) -> Self {
        Self {
            secrets: Mutex::new(vec![SandboxSecret { secret, expired: false }]),
            certificates: Mutex::default(),
            is_spreading: AtomicBool::new(false),
            used: Mutex::default(),
            issuer: OnceLock::new(),
        }
    }

    /// Of an application that has nothing yet.
    pub(super) fn without_secret() -> Self {
        let registration = Self::new(ClientSecret::new(String::new()));
        registration.set_secrets(Vec::new());
        registration
    }

    pub(super) fn set_secrets(&self, secrets: Vec<SandboxSecret>) {
        *lock(&self.secrets) = secrets;
    }

    /// Adds a certificate in PEM form.
    pub(super) fn add_certificate(&self, pem: &str) -> std::io::Result<()> {
        self.add_der(&CertificateDer::from_pem_slice(pem.as_bytes()).map_err(std::io::Error::other)?)
    }

    /// Adds a certificate.
    pub(super) fn add_der(&self, der: &CertificateDer<'_>) -> std::io::Result<()> {
        let added = self.register(der, false);
        added.map(drop).ok_or_else(|| std::io::Error::other("it is no certificate"))
    }

    /// Adds a certificate in DER form, as Graph does. Returns its id and its end; `None` if it is no
    /// certificate.
    pub(super) fn add_key(&self, der: &[u8]) -> Option<(String, i64)> {
        self.register(der, true)
    }

    fn register(&self, der: &[u8], is_added: bool) -> Option<(String, i64)> {
        let (_, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
        let key_id = super::random::guid();
        let not_after = parsed.validity().not_after.timestamp();
        lock(&self.certificates).push(Registered {
            key_id: key_id.clone(),
            is_added,
            sha256: digest::digest(&digest::SHA256, der).as_ref().to_vec(),
            sha1: digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der).as_ref().to_vec(),
            public_key: parsed.public_key().subject_public_key.data.to_vec(),
            not_after,
        });
        Some((key_id, not_after))
    }

    /// Removes the certificate of this id; whether there was one.
    pub(super) fn remove_key(&self, key_id: &str) -> bool {
        let mut certificates = lock(&self.certificates);
        let before = certificates.len();
        certificates.retain(|known| !known.key_id.eq_ignore_ascii_case(key_id));
        certificates.len() < before
    }

    /// The ids of all certificates, and their thumbprints in upper-case hexadecimal digits.
    pub(super) fn keys(&self) -> Vec<(String, String)> {
        let key = |known: &Registered| (known.key_id.clone(), hexadecimal(&known.sha1));
        lock(&self.certificates).iter().map(key).collect()
    }

    pub(super) fn set_spreading(&self, is_spreading: bool) {
        self.is_spreading.store(is_spreading, Ordering::Relaxed);
    }

    /// Whether a proof of possession is one of the application with this object id: signed with the
    /// key of a certificate that has not expired, for this audience, now, for ten minutes at most.
    pub(super) fn is_proof(&self, proof: &str, object_id: &str, now: i64) -> bool {
        #[derive(Deserialize)]
        struct Says {
            aud: String,
            iss: String,
            nbf: i64,
            exp: i64,
        }
        let [head, body, signature] = proof.split('.').collect::<Vec<_>>()[..] else { return false };
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
        let (Ok(header), Ok(says)) =
            (serde_json::from_slice::<Header>(&decode(head)), serde_json::from_slice::<Says>(&decode(body)))
        else {
            return false;
        };
        let signed = proof.rsplit_once('.').map_or("", |(signed, _)| signed).as_bytes();
        header.alg == "RS256"
            && says.aud == PROOF_AUDIENCE
            && says.iss.eq_ignore_ascii_case(object_id)
            && says.nbf <= now.saturating_add(LEEWAY)
            && says.exp > now
            && says.exp.saturating_sub(says.nbf) <= PROOF_SECONDS
            && self
                .check_own_signature(&header, &RSA_PKCS1_2048_8192_SHA256, signed, &decode(signature), now, true)
                .is_ok()
    }

    pub(super) fn remove_certificates(&self) {
        lock(&self.certificates).clear();
    }

    /// The AADSTS code of the refusal, if there is one.
    pub(super) fn judge_secret(&self, presented: &str) -> Result<(), u32> {
        let secrets = lock(&self.secrets);
        let equal = |known: &&SandboxSecret| {
            let known = known.secret.expose().as_bytes();
            aws_lc_rs::constant_time::verify_slices_are_equal(known, presented.as_bytes()).is_ok()
        };
        match secrets.iter().find(equal) {
            Some(SandboxSecret { expired: false, .. }) => Ok(()),
            Some(_) => Err(7_000_222),
            None => Err(7_000_215),
        }
    }

    /// The AADSTS code of the refusal, if there is one.
    pub(super) fn judge_assertion(&self, presented: &PresentedAssertion<'_>) -> Result<(), u32> {
        const MALFORMED: u32 = 50027;
        let PresentedAssertion { assertion, client_id, url, now } = *presented;
        let [head, body, signature] = assertion.split('.').collect::<Vec<_>>()[..] else { return Err(MALFORMED) };
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| MALFORMED);
        let header: Header = serde_json::from_slice(&decode(head)?).map_err(|_| MALFORMED)?;
        let claims: AssertionClaims = serde_json::from_slice(&decode(body)?).map_err(|_| MALFORMED)?;
        let signature = decode(signature)?;
        let signed = assertion.rsplit_once('.').map_or("", |(signed, _)| signed).as_bytes();
        let algorithm = match header.alg.as_str() {
            "PS256" => &RSA_PSS_2048_8192_SHA256,
            "RS256" => &RSA_PKCS1_2048_8192_SHA256,
            _ => return Err(MALFORMED),
        };
        if claims.iss.eq_ignore_ascii_case(client_id) {
            self.check_own_signature(&header, algorithm, signed, &signature, now, false)?;
            if claims.sub != claims.iss {
                return Err(50013);
            }
            if claims.aud != url {
                return Err(700_023);
            }
            in_time(&claims, now)?;
            return self.use_once(&claims.jti);
        }
        let wanted = FederatedToken::default();
        if claims.iss != wanted.issuer {
            return Err(700_211);
        }
        let verified = self
            .issuer()
            .is_some_and(|key| UnparsedPublicKey::new(algorithm, key.public_key()).verify(signed, &signature).is_ok());
        match claims {
            _ if !verified => Err(50013),
            claims if claims.aud != wanted.audience => Err(700_212),
            claims if claims.sub != wanted.subject => Err(700_213),
            claims => in_time(&claims, now),
        }
    }

    fn check_own_signature(
        &self,
        header: &Header,
        algorithm: &'static RsaParameters,
        signed: &[u8],
        signature: &[u8],
        now: i64,
        is_proof: bool,
    ) -> Result<(), u32> {
        const NOT_REGISTERED: u32 = 700_027;
        let thumbprint = |text: &Option<String>| text.as_ref().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let (sha256, sha1) = (thumbprint(&header.sha256), thumbprint(&header.sha1));
        let certificates = lock(&self.certificates);
        let names = |known: &&Registered| sha256.as_ref() == Some(&known.sha256) || sha1.as_ref() == Some(&known.sha1);
        let is_spreading = !is_proof && self.is_spreading.load(Ordering::Relaxed);
        let mut known = certificates.iter().filter(|known| !(is_spreading && known.is_added));
        let certificate = known.find(names).ok_or(NOT_REGISTERED)?;
        UnparsedPublicKey::new(algorithm, &certificate.public_key)
            .verify(signed, signature)
            .map_err(|_| NOT_REGISTERED)?;
        if now > certificate.not_after { Err(7_000_222) } else { Ok(()) }
    }

    fn use_once(&self, id: &str) -> Result<(), u32> {
        let mut used = lock(&self.used);
        if used.len() >= USED {
            used.clear();
        }
        if !id.is_empty() && used.insert(id.to_owned()) { Ok(()) } else { Err(50013) }
    }

    fn issuer(&self) -> Option<&KeyPair> {
        self.issuer.get_or_init(|| KeyPair::generate(KeySize::Rsa2048).ok()).as_ref()
    }

    /// A token of the other issuer; `now` in seconds since 1970.
    pub(super) fn federated_token(&self, says: &FederatedToken, now: i64) -> std::io::Result<String> {
        let key = self.issuer().ok_or_else(|| std::io::Error::other("no key for the issuer"))?;
        let lifetime = i64::try_from(says.lifetime.as_secs()).unwrap_or(i64::MAX);
        let claims = json!({
            "iss": says.issuer, "sub": says.subject, "aud": says.audience,
            "iat": now, "nbf": now, "exp": now.saturating_add(lifetime), "jti": super::random::guid(),
        });
        let encode = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&json!({"alg": "RS256", "typ": "JWT", "kid": "1"})), encode(&claims));
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| std::io::Error::other("the token cannot be signed"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// The thumbprint by which an assertion names its certificate, in upper-case hexadecimal digits.
pub(super) fn thumbprint(assertion: &str) -> Option<String> {
    let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(assertion.split('.').next()?).ok()?).ok()?;
    let octets = URL_SAFE_NO_PAD.decode(header.sha1.or(header.sha256)?).ok()?;
    Some(hexadecimal(&octets))
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02X}")).collect()
}

fn in_time(claims: &AssertionClaims, now: i64) -> Result<(), u32> {
    let begun = claims.nbf <= now.saturating_add(LEEWAY);
    // An assertion for hours is not what Microsoft asks for, but is taken.
    let lives = claims.exp > now.saturating_sub(LEEWAY);
    if begun && lives { Ok(()) } else { Err(700_024) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}
