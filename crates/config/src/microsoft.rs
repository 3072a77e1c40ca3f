//! Reads the section `microsoft`, and the keys of accounts whose tokens Entra gives.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::entra::{GrantKind, authority, check_scope, client_id, cloud, default_authority, fit_tenant, grant, tenant};
use super::means::{EXPIRY_MARGIN, Means};
use super::model::account::{Application, LoginPattern};
use super::model::credential::Credential;
use super::model::issuer::{Cloud, Entra, Issuer, Tenant};
use super::reader::Section;
use super::setting::Setting;
use super::value::quoted;
use super::{credential, plausible};

/// The keys that `microsoft` and each account share.
#[derive(Clone)]
struct Shared {
    cloud: Setting<Cloud>,
    authority: Setting<Url>,
    tenant: Setting<Tenant>,
    client_id: Setting<String>,
    grant: Setting<GrantKind>,
    credential: Setting<Arc<Credential>>,
    scope: Setting<String>,
    token_expiry_margin: Setting<Duration>,
}

impl Shared {
    fn read(section: &Section<'_>) -> Self {
        Self {
            cloud: Setting::read(section, "cloud", |node| node.read(cloud)),
            authority: Setting::read(section, "authority", |node| node.read(authority)),
            tenant: Setting::read(section, "tenant", |node| node.read(tenant)),
            client_id: Setting::read(section, "client_id", |node| node.read(client_id)),
            grant: Setting::read(section, "grant", |node| node.read(grant)),
            credential: credential::read(section),
            scope: Setting::read(section, "scope", |node| node.text().map(str::to_owned)),
            token_expiry_margin: Setting::read(section, "token_expiry_margin", |node| node.time()),
        }
    }

    /// These keys; where they are absent, those of `microsoft`.
    fn inherit(self, from: &Self) -> Self {
        // A credential belongs to its application: another application does not inherit it.
        let credential = match self.client_id {
            Setting::Absent => self.credential.or(&from.credential),
            _ => self.credential,
        };
        Self {
            cloud: self.cloud.or(&from.cloud),
            authority: self.authority.or(&from.authority),
            tenant: self.tenant.or(&from.tenant),
            client_id: self.client_id.or(&from.client_id),
            grant: self.grant.or(&from.grant),
            credential,
            scope: self.scope.or(&from.scope),
            token_expiry_margin: self.token_expiry_margin.or(&from.token_expiry_margin),
        }
    }

    /// With workload identity, takes keys that are not configured from the platform's variables
    /// (Azure Workload Identity, "Mutating Admission Webhook").
    fn complete_from_environment(&mut self, section: &Section<'_>) {
        let grant = self.grant.clone().or_default(GrantKind::Password);
        if let (Setting::Absent, Some(GrantKind::ClientCredentials)) = (&self.credential, grant)
            && let Some(credential) = credential::from_environment(section)
        {
            self.credential = Setting::Value(credential);
        }
        if !matches!(&self.credential, Setting::Value(found) if matches!(**found, Credential::FederatedTokenFile(_))) {
            return;
        }
        self.tenant.or_variable(section, "AZURE_TENANT_ID", tenant);
        self.client_id.or_variable(section, "AZURE_CLIENT_ID", client_id);
        self.authority.or_variable(section, "AZURE_AUTHORITY_HOST", authority);
    }

    /// True when the platform gives the token, so that neither tenant nor application is needed.
    fn is_managed_identity(&self) -> bool {
        matches!(&self.credential, Setting::Value(found) if matches!(**found, Credential::ManagedIdentity(_)))
    }
}

/// The section `microsoft`, and the applications of its accounts.
pub(super) struct Microsoft<'r, 'a> {
    section: &'r Section<'a>,
    defaults: Shared,
    applications: Vec<Arc<Application>>,
    /// The credential of applications that have none.
    public: Arc<Credential>,
}

impl<'r, 'a> Microsoft<'r, 'a> {
    pub(super) fn read(section: &'r Section<'a>) -> Self {
        Self { section, defaults: Shared::read(section), applications: Vec::new(), public: Arc::default() }
    }

    /// The cloud, which decides the listeners' upstreams.
    pub(super) fn cloud(&self) -> Cloud {
        self.defaults.cloud.clone().or_default(Cloud::Worldwide).unwrap_or(Cloud::Worldwide)
    }

    /// How an account of Entra gets its tokens. Without a section of its own, it is everybody.
    pub(super) fn means(&mut self, section: Option<&Section<'_>>, pattern: &LoginPattern) -> Means {
        match section {
            Some(section) => {
                let shared = Shared::read(section).inherit(&self.defaults);
                self.of(section, shared, pattern)
            }
            None => self.of(self.section, self.defaults.clone(), pattern),
        }
    }

    fn of(&mut self, section: &Section<'_>, mut shared: Shared, pattern: &LoginPattern) -> Means {
        let kind = shared.grant.clone().or_default(GrantKind::Password);
        shared.complete_from_environment(section);
        let shared = &shared;
        let application = self.application(section, shared, kind, pattern);
        let credential = match &shared.credential {
            Setting::Value(credential) => Some(&**credential),
            Setting::Absent => Some(&*self.public),
            Setting::Wrong => None,
        };
        let has_none = credential == Some(&Credential::None);
        if kind.is_some_and(|kind| matches!(kind, GrantKind::AuthorizationCode | GrantKind::DeviceCode))
            && credential.is_some_and(|credential| !has_none && !matches!(credential, Credential::ManagedIdentity(_)))
        {
            section.context().note(
                "an application with a credential has accounts whose users sign in, and Entra takes no credential there. If the \
                 application is public, set `client_secret: none` on the accounts. If not, register `http://localhost` as a \
                 redirect of the type mobile and desktop, and allow public client flows"
                    .to_owned(),
            );
        }
        if kind == Some(GrantKind::ClientCredentials) && has_none {
            section.missing(
                "client_secret",
                ", which `grant: client_credentials` needs",
                "write `client_secret: {env: GATEPOST_CLIENT_SECRET}`, here or under `microsoft`, or one of \
                 `client_certificate`, `federated_token_file` and `managed_identity`",
            );
        }
        if kind.is_some_and(|kind| kind != GrantKind::ClientCredentials) && shared.is_managed_identity() {
            section.problem(
                "a managed identity gives a token of its own and none for a user",
                "write `grant: client_credentials`, or another credential than `managed_identity`",
            );
        }
        let scope = match (&shared.scope, kind) {
            (Setting::Value(scope), Some(kind)) => {
                let cloud = shared.cloud.clone().or_default(Cloud::Worldwide).unwrap_or(Cloud::Worldwide);
                match check_scope(scope, kind, cloud) {
                    Ok(unknown) => {
                        if let Some(resource) = unknown {
                            section.context().note(format!(
                                "the scope asks for {}, which is not Exchange Online. Its token may open no mailbox",
                                quoted(&resource)
                            ));
                        }
                        Some(Some(scope.clone()))
                    }
                    Err(wrong) => {
                        let node = section.get("scope").or_else(|| self.section.get("scope"));
                        node.inspect(|node| node.wrong(wrong));
                        None
                    }
                }
            }
            (Setting::Absent, _) => Some(None),
            _ => None,
        };
        let token_expiry_margin = shared.token_expiry_margin.clone().or_default(EXPIRY_MARGIN);
        Means { kind, application, scope, token_expiry_margin }
    }

    /// The application of an entry, shared with other entries that name the same one.
    fn application(
        &mut self,
        section: &Section<'_>,
        shared: &Shared,
        kind: Option<GrantKind>,
        pattern: &LoginPattern,
    ) -> Option<Arc<Application>> {
        let cloud = shared.cloud.clone().or_default(Cloud::Worldwide);
        let credential = match &shared.credential {
            Setting::Wrong => None,
            Setting::Absent => Some(Arc::clone(&self.public)),
            Setting::Value(credential) => Some(Arc::clone(credential)),
        };
        let (tenant, client_id) = match credential.as_deref() {
            Some(Credential::ManagedIdentity(identity)) => {
                (Some("".into()), Some(identity.client_id.clone().unwrap_or_else(|| "system".to_owned())))
            }
            _ => (
                self.needed(&shared.tenant, "tenant", "write the directory id or a verified domain of the tenant"),
                self.needed(&shared.client_id, "client_id", "write the application (client) id that Entra shows"),
            ),
        };
        let tenant = tenant.and_then(|tenant| match fit_tenant(tenant, kind, pattern) {
            Ok(tenant) => Some(tenant),
            Err(wrong) => {
                let node = section.get("tenant").or_else(|| self.section.get("tenant"));
                node.inspect(|node| node.wrong(wrong));
                None
            }
        });
        let authority = match &shared.authority {
            Setting::Value(authority) => Some(authority.clone()),
            Setting::Wrong => None,
            Setting::Absent => default_authority(cloud?),
        };
        let (cloud, tenant, client_id, authority, credential) = (cloud?, tenant?, client_id?, authority?, credential?);
        if tenant.takes_personal_accounts() && cloud != Cloud::Worldwide {
            section.problem(
                format!("the cloud `{}` has no personal accounts (`tenant: {}`)", cloud.preset().name, tenant.name()),
                "name the tenant, or remove `cloud`",
            );
        }
        self.check_authority(&authority, cloud);

        let issuer = Issuer::Entra(Entra { authority, tenant, cloud });
        let application = Application { issuer, client_id, credential };
        let same = |known: &&Arc<Application>| {
            known.issuer == application.issuer
                && known.client_id == application.client_id
                && Arc::ptr_eq(&known.credential, &application.credential)
        };
        if let Some(known) = self.applications.iter().find(same) {
            return Some(Arc::clone(known));
        }
        let application = Arc::new(application);
        self.applications.push(Arc::clone(&application));
        Some(application)
    }

    fn needed<T: Clone>(&self, setting: &Setting<T>, key: &str, hint: &str) -> Option<T> {
        match setting {
            Setting::Value(value) => Some(value.clone()),
            Setting::Wrong => None,
            Setting::Absent => {
                // Reported once, however many accounts would inherit it.
                self.section.missing(key, "", hint);
                None
            }
        }
    }

    fn check_authority(&self, authority: &Url, cloud: Cloud) {
        let context = self.section.context();
        let host = authority.host_str().unwrap_or_default();
        let clouds = Cloud::of_authority(host);
        match clouds.first() {
            // A misspelled host is a finding.
            None if plausible::meant_authority(host).is_some() => {}
            None => context.note(format!(
                "the authority `{authority}` is not one of Microsoft's, and will receive passwords and secrets"
            )),
            Some(theirs) if !clouds.contains(&cloud) => {
                self.section.problem(
                    format!("the authority `{authority}` belongs to another cloud than the one configured"),
                    format!("write `cloud: {}`, or remove `authority`", theirs.preset().name),
                );
            }
            Some(_) => {}
        }
    }
}
