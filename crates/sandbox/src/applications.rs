//! The applications that were registered over Graph: their certificates, their service principals,
//! and what an administrator has consented to.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use serde_json::Value;

use super::directory::Directory;
use super::random;
use super::registration::Registration;
use super::token::GRAPH_RESOURCES;

/// Most applications; a tenant has more, and no test.
const APPLICATIONS: usize = 1_000;

/// An api that has permissions: Exchange Online or Graph.
pub(super) struct Api {
    pub(super) app_id: &'static str,
    pub(super) name: &'static str,
    /// Value and id of each permission of applications.
    pub(super) roles: &'static [(&'static str, &'static str)],
    /// Value and id of each delegated permission.
    pub(super) scopes: &'static [(&'static str, &'static str)],
}

/// As every tenant has them.
pub(super) const APIS: [Api; 2] = [
    Api {
        app_id: "00000002-0000-0ff1-ce00-000000000000",
        name: "Office 365 Exchange Online",
        roles: &[
            ("full_access_as_app", "dc890d15-9560-4a4c-9b7f-a736ec74ec40"),
            ("IMAP.AccessAsApp", "5e5addcd-3e8d-4e90-baf5-964efab2b20a"),
            ("POP.AccessAsApp", "cb842b43-da6e-4506-86fe-bb12199c656d"),
            ("SMTP.SendAsApp", "7146a1f0-8703-45b3-9eae-527a64c00995"),
        ],
        scopes: &[
            ("EWS.AccessAsUser.All", "3b5f3d61-589b-4a3c-a359-5dd4b5ee5bd5"),
            ("IMAP.AccessAsUser.All", "195adc35-e27b-454b-a7ed-1ecdffa1c09f"),
            ("POP.AccessAsUser.All", "fb698133-92fa-453e-a9ed-688e10f2e5ac"),
            ("SMTP.Send", "76faac2a-0f20-42f1-928a-50de5b9dbe52"),
        ],
    },
    Api {
        app_id: "00000003-0000-0000-c000-000000000000",
        name: "Microsoft Graph",
        roles: &[
            ("Mail.Read", "810c84a8-4a9e-49e6-bf7d-12d183f40d01"),
            ("Mail.ReadWrite", "e2a3a72e-5f79-4c64-b1b1-878b674786c9"),
            ("Mail.Send", "b633e1c5-b582-4048-a93e-9f11b44c7e96"),
        ],
        scopes: &[
            ("Mail.Read", "570282fd-fa5c-430d-a7fd-fc8dc98a9dca"),
            ("Mail.ReadWrite", "024d486e-b451-40bb-833d-3e66d98c5c73"),
            ("Mail.Send", "e383f46e-2787-4529-855e-0e479a3ffac0"),
            ("User.Read", "e1fe6dd8-ba31-4d61-89e7-88639da4683d"),
            ("offline_access", "7427e0e9-2fba-42fe-b0c0-848c9e6a8182"),
        ],
    },
];

/// An application that was registered over Graph, as a test sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredApplication {
    /// The application (client) id.
    pub client_id: String,
    /// Its display name.
    pub name: String,
    /// Whether public client flows are allowed.
    pub public: bool,
    /// How many certificates it has.
    pub certificates: usize,
    /// The object id of its service principal, if it has one.
    pub principal: Option<String>,
    /// The application permissions with consent, sorted.
    pub roles: Vec<String>,
    /// The delegated permissions with consent, sorted.
    pub scopes: Vec<String>,
}

/// An application.
pub(super) struct Application {
    pub(super) id: String,
    pub(super) client_id: String,
    /// The properties that a request may set, as it has set them.
    pub(super) properties: serde_json::Map<String, Value>,
    pub(super) keys: Vec<Value>,
    pub(super) registration: Arc<Registration>,
    pub(super) principal: Option<Principal>,
}

/// A service principal.
pub(super) struct Principal {
    pub(super) id: String,
    pub(super) assignments: Vec<Assignment>,
    pub(super) grants: Vec<Grant>,
}

/// Consent to a permission of applications.
#[derive(Clone)]
pub(super) struct Assignment {
    pub(super) id: String,
    pub(super) resource: String,
    pub(super) role: String,
}

/// Consent to delegated permissions of one api, for all users.
#[derive(Clone)]
pub(super) struct Grant {
    pub(super) id: String,
    pub(super) resource: String,
    /// With a space between them.
    pub(super) scope: String,
}

impl Application {
    pub(super) fn is_public(&self) -> bool {
        self.properties.get("isFallbackPublicClient").and_then(Value::as_bool).unwrap_or_default()
    }

    /// Takes these certificates in the place of all that it had.
    ///
    /// # Errors
    /// When one is no certificate.
    pub(super) fn set_keys(&mut self, keys: &[Value]) -> Result<(), String> {
        let registration = Registration::without_secret();
        let mut kept = Vec::new();
        for key in keys {
            let text = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default();
            if text("type") != "AsymmetricX509Cert" || text("usage") != "Verify" {
                return Err("Key credential type or usage is invalid.".to_owned());
            }
            let der = STANDARD.decode(text("key")).map_err(|_| "Cannot convert the literal to type 'Edm.Binary'.")?;
            registration
                .add_der(&CertificateDer::from(der))
                .map_err(|_| "Key credential is not a valid certificate.".to_owned())?;
            let mut key = key.clone();
            if let Some(properties) = key.as_object_mut() {
                properties.entry("keyId").or_insert_with(|| random::guid().into());
            }
            kept.push(key);
        }
        (self.keys, self.registration) = (kept, Arc::new(registration));
        Ok(())
    }

    fn consented(&self, directory: &Directory, api: &Api, of_user: bool) -> Vec<String> {
        let Some(principal) = &self.principal else { return Vec::new() };
        let resource = directory.object_id(api.app_id);
        if of_user {
            let of_api = principal.grants.iter().filter(|grant| grant.resource == resource);
            return of_api.flat_map(|grant| grant.scope.split(' ').map(str::to_owned)).collect();
        }
        let of_api = principal.assignments.iter().filter(|assignment| assignment.resource == resource);
        of_api
            .filter_map(|assignment| api.roles.iter().find(|(_, id)| *id == assignment.role))
            .map(|(value, _)| (*value).to_owned())
            .collect()
    }
}

/// How Entra sees an application that was registered over Graph.
pub(super) enum Client {
    /// Without credential.
    Public,
    /// With certificates.
    Confidential(Arc<Registration>),
}

/// All of them.
#[derive(Default)]
pub(super) struct Applications(Mutex<Vec<Application>>);

impl Applications {
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut Vec<Application>) -> R) -> R {
        work(&mut self.0.lock())
    }

    /// Adds an application. `None` when there is no room.
    pub(super) fn add(&self, properties: serde_json::Map<String, Value>) -> Option<String> {
        self.with(|all| {
            let id = random::guid();
            let application = Application {
                id: id.clone(),
                client_id: random::guid(),
                properties,
                keys: Vec::new(),
                registration: Arc::new(Registration::without_secret()),
                principal: None,
            };
            (all.len() < APPLICATIONS).then(|| all.push(application))?;
            Some(id)
        })
    }

    /// Adds an application with a client id of its own, with consent to every permission of applications.
    pub(super) fn add_known(&self, directory: &Directory, client_id: &str, registration: Registration) {
        let assignments = APIS.iter().flat_map(|api| {
            let resource = directory.object_id(api.app_id);
            let assignment =
                move |role: &str| Assignment { id: random::guid(), resource: resource.clone(), role: role.to_owned() };
            api.roles.iter().map(move |(_, role)| assignment(role))
        });
        let principal =
            Principal { id: directory.object_id(client_id), assignments: assignments.collect(), grants: Vec::new() };
        let application = Application {
            id: random::guid(),
            client_id: client_id.to_lowercase(),
            properties: serde_json::Map::new(),
            keys: Vec::new(),
            registration: Arc::new(registration),
            principal: Some(principal),
        };
        self.with(|all| all.push(application));
    }

    /// The application of this client id, if it exists in the tenant.
    pub(super) fn client(&self, client_id: &str) -> Option<Client> {
        self.with(|all| {
            let known = |one: &&mut Application| one.client_id == client_id && one.principal.is_some();
            let application = all.iter_mut().find(known)?;
            Some(match application.is_public() {
                true => Client::Public,
                false => Client::Confidential(Arc::clone(&application.registration)),
            })
        })
    }

    /// What was consented to for an application at a resource; `None` for one that was not registered
    /// over Graph.
    pub(super) fn consent(
        &self,
        directory: &Directory,
        client_id: &str,
        resource: &str,
        of_user: bool,
    ) -> Option<Vec<String>> {
        let [exchange, graph] = &APIS;
        let api = if GRAPH_RESOURCES.contains(&resource) { graph } else { exchange };
        self.with(|all| {
            let application = all.iter().find(|one| one.client_id == client_id)?;
            Some(application.consented(directory, api, of_user))
        })
    }

    /// What a test sees.
    pub(super) fn snapshot(&self, directory: &Directory) -> Vec<RegisteredApplication> {
        let all_of = |application: &Application, of_user| {
            let mut all: Vec<String> =
                APIS.iter().flat_map(|api| application.consented(directory, api, of_user)).collect();
            all.sort();
            all
        };
        self.with(|all| {
            let of = |application: &Application| RegisteredApplication {
                client_id: application.client_id.clone(),
                name: application.properties.get("displayName").and_then(Value::as_str).unwrap_or_default().to_owned(),
                public: application.is_public(),
                certificates: application.keys.len(),
                principal: application.principal.as_ref().map(|principal| principal.id.clone()),
                roles: all_of(application, false),
                scopes: all_of(application, true),
            };
            all.iter().map(of).collect()
        })
    }
}
