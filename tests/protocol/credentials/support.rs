//! A token source in front of a sandbox, configured by files in a directory that goes when the test
//! ends.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use gatepost_config::Config;
use gatepost_config::problem::Problems;
use gatepost_core::clock::Clock;
use gatepost_net::dial::Dialer;
use gatepost_net::tls::client::UpstreamTrust;
use gatepost_oauth::endpoint::HttpEndpoint;
use gatepost_oauth::fetch_error::FetchError;
use gatepost_oauth::grant::{GrantRequest, TokenRequest};
use gatepost_oauth::managed_identity::ManagedIdentities;
use gatepost_oauth::source::TokenSource;
use gatepost_sandbox::{Attempts, Sandbox, SandboxConfig};
use rcgen::{CertificateParams, PKCS_RSA_SHA256, RsaKeySize};

use crate::common::directory::Directory;
use crate::common::outside::Outside;

const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$4IfZJ2nU2ZRHrYYvlzcKcSSuTKW0pCHaqw9Y5ZpVHjw";

/// Scope of everything that an application may do with mail.
const SCOPE: &str = "https://outlook.office365.com/.default";

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A self-signed certificate with an RSA key, valid from the first day of one year to that of
/// another.
pub(crate) fn pair(years: (i32, i32)) -> Pair {
    let key = rcgen::KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let mut params = CertificateParams::new(["gatepost.example".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    Pair { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

/// A certificate that is valid for the years around this one.
pub(crate) fn good() -> Pair {
    pair((2020, 2060))
}

/// What `openssl` makes of its input.
pub(crate) fn openssl(arguments: &[&str], input: &str) -> Vec<u8> {
    let child = Command::new("openssl").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.as_ref().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    output.stdout
}

/// What a test wants other than usual.
pub(crate) struct Setup {
    pub(crate) sandbox: SandboxConfig,
    /// Gatepost's.
    pub(crate) clock: Clock,
    /// Further lines of `microsoft`; `{confidential}` and so on stand for what the sandbox knows,
    /// also in `variables`.
    pub(crate) microsoft: String,
    /// Further sections.
    pub(crate) sections: &'static str,
    pub(crate) variables: Vec<(&'static str, String)>,
    pub(crate) directory: Directory,
}

impl Setup {
    /// An application that the usual tenant knows, with this credential.
    pub(crate) fn credential(lines: &str) -> Self {
        Self {
            microsoft: format!("  tenant: contoso.example\n  client_id: {{confidential}}\n  {lines}\n"),
            ..Self::bare()
        }
    }

    /// Nothing but the authority.
    pub(crate) fn bare() -> Self {
        Self {
            sandbox: SandboxConfig::default(),
            clock: Clock::system(),
            microsoft: String::new(),
            sections: "",
            variables: Vec::new(),
            directory: Directory::new(),
        }
    }

    /// The certificate as `app.pem` and `app.key`.
    pub(crate) fn certificate(pair: &Pair) -> Self {
        let setup = Self::credential("client_certificate: {certificate: app.pem, private_key: app.key}");
        setup.directory.write("app.pem", &pair.certificate);
        setup.directory.write("app.key", &pair.key);
        setup
    }

    pub(crate) async fn start(self) -> World {
        self.try_start().await.unwrap_or_else(|problems| panic!("{problems}"))
    }

    pub(crate) async fn try_start(mut self) -> Result<World, Problems> {
        let sandbox = Sandbox::start(std::mem::take(&mut self.sandbox)).await.unwrap();
        self.directory.write("ca.pem", sandbox.ca_pem());
        let authority = if self.microsoft.contains("authority:") { "" } else { "  authority: {authority}\n" };
        let fill = |text: &str| {
            text.replace("{authority}", &sandbox.authority())
                .replace("{confidential}", sandbox.confidential_client_id())
                .replace("{assigned}", sandbox.user_assigned_client_id())
                .replace("{identity}", &sandbox.identity().to_string())
                .replace("{header}", sandbox.identity_header())
                .replace("{graph}", &format!("https://localhost:{}/", sandbox.graph().port()))
                .replace("{object}", &sandbox.application_object_id())
        };
        let yaml = format!(
            "listeners: {{smtp: {{bind: '127.0.0.1:1587'}}}}\n\
             microsoft:\n{authority}{}\n\
             accounts:\n  - {{login: scanner@contoso.example, grant: client_credentials, passwords: ['{HASH}']}}\n\
             trust: {{system_roots: false, additional_ca: ca.pem}}\n{}\n",
            self.microsoft, self.sections,
        );
        let variables = self.variables.iter().map(|(name, value)| ((*name).to_owned(), fill(value))).collect();
        let outside = Outside { authorities: String::new(), variables };
        let file = self.directory.file("proxy.yaml");
        let config = Arc::new(outside.load(&file, &fill(&yaml))?);
        let trust = Arc::new(UpstreamTrust::new(config.trust.clone()));
        let dialer = Arc::new(Dialer::new(Arc::clone(&config), Arc::clone(&trust)));
        let endpoint = Arc::new(HttpEndpoint::new(dialer, trust, config.limits.token_request));
        let imds = format!("http://{}/metadata/identity/oauth2/token", sandbox.identity());
        let source = TokenSource::new(endpoint, self.clock.clone(), &config.limits)
            .with_identities(ManagedIdentities::elsewhere(&imds, self.directory.path()));
        let application = Arc::clone(&config.accounts.entries()[0].application);
        let ask = TokenRequest {
            application,
            tenant: "contoso.example".into(),
            scope: SCOPE.into(),
            grant: GrantRequest::ClientCredentials,
        };
        Ok(World { sandbox, source: Arc::new(source), ask, config, directory: self.directory, clock: self.clock })
    }
}

pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) source: Arc<TokenSource>,
    pub(crate) ask: TokenRequest,
    pub(crate) config: Arc<Config>,
    pub(crate) directory: Directory,
    pub(crate) clock: Clock,
}

impl World {
    /// A token is granted.
    pub(crate) async fn granted(&self) {
        if let Err(error) = self.source.fetch(&self.ask, true).await {
            panic!("{error:?}");
        }
    }

    pub(crate) async fn error(&self) -> FetchError {
        match self.source.fetch(&self.ask, true).await {
            Ok(_) => panic!("a token was granted"),
            Err(error) => error,
        }
    }

    /// Entra refuses with this code.
    pub(crate) async fn refused(&self, code: u32) {
        match self.error().await {
            FetchError::Refused(error) => assert_eq!(error.code, Some(code)),
            other => panic!("{other:?}"),
        }
    }

    /// The application cannot prove itself, and nobody was asked.
    pub(crate) async fn not_proved(&self, words: &str) {
        let before = self.sandbox.counters().http_requests;
        match self.error().await {
            FetchError::Credential(error) => assert!(error.to_string().contains(words), "{error}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(self.sandbox.counters().http_requests, before);
    }

    /// Requests that Entra judged.
    pub(crate) fn asked(&self) -> Attempts {
        self.sandbox.counters().token_requests_of("client_credentials", self.sandbox.confidential_client_id())
    }

    pub(crate) fn has_note(&self, words: &str) -> bool {
        self.config.notes.iter().any(|note| note.contains(words))
    }

    /// Registers the certificate, and no other.
    pub(crate) fn register_only(&self, pair: &Pair) {
        self.sandbox.remove_certificates();
        self.sandbox.add_certificate(&pair.certificate).unwrap();
    }
}
