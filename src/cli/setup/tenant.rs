//! What the tenant has to give: the application, its permissions in Entra, and its rights in Exchange
//! Online. The least that works.

use serde_json::{Value, json};

use super::answers::Answers;
use super::recommendation::{confines_smtp_by_role, grant};
use crate::cli::setup_options::{GraphUse, SignInBy};
use gatepost_config::cloud::EXCHANGE_ID;
use gatepost_config::{Cloud, Grant};
use gatepost_core::account::MailAddress;
use gatepost_core::protocol::Protocol;

/// Marks the applications that `gatepost setup` has created.
pub(super) const TAG: &str = "gatepost-setup";

/// The application id of Microsoft Graph in every tenant.
const GRAPH_ID: &str = "00000003-0000-0000-c000-000000000000";

/// Whose permission it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    /// Office 365 Exchange Online.
    Exchange,
    /// Microsoft Graph.
    Graph,
}

impl Api {
    /// Its application id in every tenant.
    pub(super) fn app_id(self) -> &'static str {
        match self {
            Self::Exchange => EXCHANGE_ID,
            Self::Graph => GRAPH_ID,
        }
    }
}

/// Who uses a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The application itself.
    Role,
    /// The application for a person who has signed in.
    Scope,
}

/// A permission of Entra.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Permission {
    pub(super) api: Api,
    pub(super) kind: Kind,
    /// Its name, such as `IMAP.AccessAsApp`.
    pub(super) value: &'static str,
    /// Its id in every tenant. It is compared with the tenant's before it is used.
    pub(super) id: &'static str,
}

impl Permission {
    /// Why it must not be there beside the roles of Exchange.
    pub(super) fn harm(&self) -> &'static str {
        match self.value {
            "SMTP.SendAsApp" => "with which Exchange does not use the role for sending",
            _ => "which opens all mailboxes",
        }
    }
}

const fn permission(api: Api, kind: Kind, value: &'static str, id: &'static str) -> Permission {
    Permission { api, kind, value, id }
}

const IMAP_ROLE: Permission =
    permission(Api::Exchange, Kind::Role, "IMAP.AccessAsApp", "5e5addcd-3e8d-4e90-baf5-964efab2b20a");
const POP_ROLE: Permission =
    permission(Api::Exchange, Kind::Role, "POP.AccessAsApp", "cb842b43-da6e-4506-86fe-bb12199c656d");
const SMTP_ROLE: Permission =
    permission(Api::Exchange, Kind::Role, "SMTP.SendAsApp", "7146a1f0-8703-45b3-9eae-527a64c00995");
const EWS_ROLE: Permission =
    permission(Api::Exchange, Kind::Role, "full_access_as_app", "dc890d15-9560-4a4c-9b7f-a736ec74ec40");
const SEND_ROLE: Permission = permission(Api::Graph, Kind::Role, "Mail.Send", "b633e1c5-b582-4048-a93e-9f11b44c7e96");
const READ_WRITE_ROLE: Permission =
    permission(Api::Graph, Kind::Role, "Mail.ReadWrite", "e2a3a72e-5f79-4c64-b1b1-878b674786c9");
const READ_ROLE: Permission = permission(Api::Graph, Kind::Role, "Mail.Read", "810c84a8-4a9e-49e6-bf7d-12d183f40d01");

const IMAP_SCOPE: Permission =
    permission(Api::Exchange, Kind::Scope, "IMAP.AccessAsUser.All", "195adc35-e27b-454b-a7ed-1ecdffa1c09f");
const POP_SCOPE: Permission =
    permission(Api::Exchange, Kind::Scope, "POP.AccessAsUser.All", "fb698133-92fa-453e-a9ed-688e10f2e5ac");
const SMTP_SCOPE: Permission =
    permission(Api::Exchange, Kind::Scope, "SMTP.Send", "76faac2a-0f20-42f1-928a-50de5b9dbe52");
const EWS_SCOPE: Permission =
    permission(Api::Exchange, Kind::Scope, "EWS.AccessAsUser.All", "3b5f3d61-589b-4a3c-a359-5dd4b5ee5bd5");
const SEND_SCOPE: Permission = permission(Api::Graph, Kind::Scope, "Mail.Send", "e383f46e-2787-4529-855e-0e479a3ffac0");
const READ_SCOPE: Permission = permission(Api::Graph, Kind::Scope, "Mail.Read", "570282fd-fa5c-430d-a7fd-fc8dc98a9dca");
const READ_WRITE_SCOPE: Permission =
    permission(Api::Graph, Kind::Scope, "Mail.ReadWrite", "024d486e-b451-40bb-833d-3e66d98c5c73");
const OFFLINE: Permission =
    permission(Api::Graph, Kind::Scope, "offline_access", "7427e0e9-2fba-42fe-b0c0-848c9e6a8182");

/// What the tenant has to give.
#[derive(Clone, Debug)]
pub(super) struct Tenant {
    /// Directory id or domain.
    pub(super) tenant: String,
    pub(super) cloud: Cloud,
    /// The name of the application.
    pub(super) name: String,
    /// The application, if it exists.
    pub(super) client_id: Option<String>,
    /// Base64 of the application's certificate (DER). None for a public client.
    pub(super) certificate: Option<String>,
    pub(super) permissions: Vec<Permission>,
    /// Permissions with which the roles of Exchange confine nothing.
    pub(super) unwanted: Vec<Permission>,
    pub(super) exchange: ExchangeRights,
}

/// The rights of the application in Exchange Online, and the switches of the mailboxes.
#[derive(Clone, Debug)]
pub(super) struct ExchangeRights {
    pub(super) mailboxes: Vec<MailAddress>,
    pub(super) full_access: bool,
    pub(super) send_as: bool,
    /// Roles of Exchange (RBAC for Applications) for a group of these mailboxes.
    pub(super) roles: Vec<&'static str>,
    /// Protocols that have to be switched on.
    pub(super) protocols: Vec<Protocol>,
}

impl ExchangeRights {
    /// Whether Exchange has to know the application.
    pub(super) fn needs_principal(&self) -> bool {
        self.full_access || self.send_as || !self.roles.is_empty()
    }
}

impl Tenant {
    /// What the answers need.
    pub(super) fn new(answers: &Answers, certificate: Option<String>) -> Self {
        let uses = |protocol| answers.uses(protocol);
        let mut exchange = ExchangeRights {
            mailboxes: answers.mailboxes.clone(),
            full_access: false,
            send_as: false,
            roles: Vec::new(),
            protocols: answers.protocols.iter().copied().filter(|protocol| *protocol != Protocol::Graph).collect(),
        };
        let (mut permissions, mut unwanted) = (Vec::new(), Vec::new());
        let graph_for = uses(Protocol::Graph).then_some(answers.graph_for);
        let sends_graph = matches!(graph_for, Some(GraphUse::Send | GraphUse::Both));
        if answers.sign_in == SignInBy::Nobody {
            let by_role = confines_smtp_by_role(answers);
            for (protocol, role) in
                [(Protocol::Imap, IMAP_ROLE), (Protocol::Pop3, POP_ROLE), (Protocol::Smtp, SMTP_ROLE)]
            {
                if uses(protocol) && !(by_role && protocol == Protocol::Smtp) {
                    permissions.push(role);
                }
            }
            exchange.full_access = uses(Protocol::Imap) || uses(Protocol::Pop3);
            exchange.send_as = uses(Protocol::Smtp) && !by_role;
            for (needed, role) in [
                (by_role, "Application SMTP.SendAsApp"),
                (uses(Protocol::Ews), "Application EWS.AccessAsApp"),
                (sends_graph, "Application Mail.Send"),
                (graph_for == Some(GraphUse::Read), "Application Mail.Read"),
                (graph_for == Some(GraphUse::Both), "Application Mail.ReadWrite"),
            ] {
                exchange.roles.extend(needed.then_some(role));
            }
            unwanted = [SMTP_ROLE, EWS_ROLE, SEND_ROLE, READ_WRITE_ROLE, READ_ROLE]
                .into_iter()
                .filter(|permission| !permissions.contains(permission))
                .collect();
        } else {
            for (needed, scope) in [
                (uses(Protocol::Imap), IMAP_SCOPE),
                (uses(Protocol::Pop3), POP_SCOPE),
                (uses(Protocol::Smtp), SMTP_SCOPE),
                (uses(Protocol::Ews), EWS_SCOPE),
                (sends_graph, SEND_SCOPE),
                (graph_for == Some(GraphUse::Read), READ_SCOPE),
                (graph_for == Some(GraphUse::Both), READ_WRITE_SCOPE),
                (grant(answers) == Grant::DeviceCode, OFFLINE),
            ] {
                permissions.extend(needed.then_some(scope));
            }
        }
        Self {
            tenant: answers.tenant.clone(),
            cloud: answers.cloud,
            name: answers.name.clone(),
            client_id: answers.client_id.clone(),
            certificate,
            permissions,
            unwanted,
            exchange,
        }
    }

    /// Whether people sign in to the application, so that it has no credential.
    pub(super) fn is_public(&self) -> bool {
        self.certificate.is_none()
    }

    /// The apis of the permissions, each once.
    pub(super) fn apis(&self) -> Vec<Api> {
        let used = |api: &Api| self.permissions.iter().any(|permission| permission.api == *api);
        [Api::Exchange, Api::Graph].into_iter().filter(used).collect()
    }

    /// The permissions of a kind.
    pub(super) fn of(&self, kind: Kind) -> impl Iterator<Item = &Permission> {
        self.permissions.iter().filter(move |permission| permission.kind == kind)
    }

    /// The delegated permissions of an api, with a space between them.
    pub(super) fn scopes(&self, api: Api) -> String {
        let values: Vec<&str> = self
            .of(Kind::Scope)
            .filter(|permission| permission.api == api)
            .map(|permission| permission.value)
            .collect();
        values.join(" ")
    }

    /// The body of the request that creates the application (Microsoft Graph, "Create application").
    pub(super) fn application(&self) -> Value {
        let access = |api: Api| {
            let of_api = self.permissions.iter().filter(|permission| permission.api == api);
            let kind = |kind: Kind| if kind == Kind::Role { "Role" } else { "Scope" };
            let entries: Vec<Value> =
                of_api.map(|permission| json!({"id": permission.id, "type": kind(permission.kind)})).collect();
            json!({"resourceAppId": api.app_id(), "resourceAccess": entries})
        };
        json!({
            "displayName": self.name,
            "signInAudience": "AzureADMyOrg",
            "isFallbackPublicClient": self.is_public(),
            "tags": [TAG],
            "requiredResourceAccess": self.apis().into_iter().map(access).collect::<Vec<_>>(),
        })
    }

    /// The certificate, as Graph takes it in `keyCredentials`.
    pub(super) fn key_credential(&self) -> Option<Value> {
        let key = self.certificate.as_ref()?;
        Some(json!({"type": "AsymmetricX509Cert", "usage": "Verify", "key": key, "displayName": "gatepost setup"}))
    }

    /// The query that finds the application, by its id or else by its name.
    pub(super) fn find_application(&self) -> String {
        let filter = match &self.client_id {
            Some(id) => format!("appId eq '{id}'"),
            None => format!("displayName eq '{}'", self.name.replace('\'', "''")),
        };
        format!("applications?$filter={}&$select=id,appId,displayName,tags,isFallbackPublicClient", percent(&filter))
    }

    /// The names of what is created in Exchange.
    pub(super) fn group(&self) -> String {
        format!("{} mailboxes", self.name)
    }

    pub(super) fn scope(&self) -> String {
        format!("{} scope", self.name)
    }

    pub(super) fn assignment(&self, role: &str) -> String {
        format!("{} {}", self.name, role.trim_start_matches("Application "))
    }
}

/// A text as a part of a query.
pub(super) fn percent(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::setup::answers::complete;
    use crate::cli::setup_options::SetupAnswers;

    fn tenant(protocols: &[Protocol], graph_for: Option<GraphUse>, sign_in: SignInBy) -> Tenant {
        let given = SetupAnswers {
            tenant: Some("contoso.com".into()),
            protocols: protocols.to_vec(),
            mailboxes: vec![MailAddress::parse("scan@contoso.com").unwrap()],
            graph_for,
            sign_in: Some(sign_in),
            ..SetupAnswers::default()
        };
        let certificate = (sign_in == SignInBy::Nobody).then(|| "MIIC".to_owned());
        Tenant::new(&complete(given, None).unwrap(), certificate)
    }

    fn values(permissions: &[Permission]) -> Vec<&str> {
        permissions.iter().map(|permission| permission.value).collect()
    }

    #[test]
    fn sending_alone_gets_no_permission_in_entra_and_no_full_access() {
        let tenant = tenant(&[Protocol::Smtp], None, SignInBy::Nobody);
        assert_eq!(values(&tenant.permissions), Vec::<&str>::new());
        assert!(values(&tenant.unwanted).contains(&"SMTP.SendAsApp"));
        let exchange = tenant.exchange;
        assert_eq!((exchange.full_access, exchange.send_as), (false, false));
        assert_eq!(exchange.roles, ["Application SMTP.SendAsApp"]);
    }

    #[test]
    fn each_answer_has_its_rights_and_no_more() {
        use Protocol::{Ews, Graph, Imap, Pop3, Smtp};
        let nobody = |protocols: &[Protocol], graph_for| {
            let Tenant { permissions, exchange, .. } = tenant(protocols, graph_for, SignInBy::Nobody);
            let values = values(&permissions).join(" ");
            (values, exchange.full_access, exchange.send_as, exchange.roles.join(", "))
        };
        for (protocols, graph_for, expected) in [
            (&[Imap][..], None, ("IMAP.AccessAsApp", true, false, "")),
            (&[Pop3, Smtp], None, ("POP.AccessAsApp SMTP.SendAsApp", true, true, "")),
            (&[Graph], Some(GraphUse::Send), ("", false, false, "Application Mail.Send")),
            (&[Graph], Some(GraphUse::Read), ("", false, false, "Application Mail.Read")),
            (&[Graph], Some(GraphUse::Both), ("", false, false, "Application Mail.Send, Application Mail.ReadWrite")),
            (&[Ews, Smtp], None, ("", false, false, "Application SMTP.SendAsApp, Application EWS.AccessAsApp")),
        ] {
            let (values, full, send, roles) = nobody(protocols, graph_for);
            assert_eq!((values.as_str(), full, send, roles.as_str()), expected, "{protocols:?}");
        }
        let person = tenant(&[Imap, Smtp], None, SignInBy::Person);
        assert_eq!(values(&person.permissions), ["IMAP.AccessAsUser.All", "SMTP.Send", "offline_access"]);
        assert_eq!(
            (person.scopes(Api::Exchange).as_str(), person.scopes(Api::Graph).as_str()),
            ("IMAP.AccessAsUser.All SMTP.Send", "offline_access")
        );
        assert!(!person.exchange.needs_principal() && person.unwanted.is_empty());
        let reader = tenant(&[Graph], Some(GraphUse::Read), SignInBy::Person);
        assert_eq!(values(&reader.permissions), ["Mail.Read", "offline_access"]);
        let password = tenant(&[Imap], None, SignInBy::Password);
        assert_eq!(values(&password.permissions), ["IMAP.AccessAsUser.All"]);
        assert_eq!(password.application()["isFallbackPublicClient"], true);
    }

    #[test]
    fn the_application_asks_for_permissions_of_their_own_api() {
        let tenant = tenant(&[Protocol::Imap, Protocol::Smtp], None, SignInBy::Nobody);
        assert_eq!(
            tenant.application(),
            json!({
                "displayName": "Gatepost", "signInAudience": "AzureADMyOrg", "isFallbackPublicClient": false,
                "tags": ["gatepost-setup"],
                "requiredResourceAccess": [{
                    "resourceAppId": "00000002-0000-0ff1-ce00-000000000000",
                    "resourceAccess": [
                        {"id": "5e5addcd-3e8d-4e90-baf5-964efab2b20a", "type": "Role"},
                        {"id": "7146a1f0-8703-45b3-9eae-527a64c00995", "type": "Role"},
                    ],
                }],
            })
        );
        assert_eq!(
            tenant.find_application(),
            "applications?$filter=displayName%20eq%20%27Gatepost%27&$select=id,appId,displayName,tags,isFallbackPublicClient"
        );
    }
}
