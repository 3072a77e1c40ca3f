//! Applications, service principals and consent (Microsoft, "Working with applications and service
//! principals"), as far as an administrator needs them to register a mail proxy.

use std::io;
use std::sync::Arc;

use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::error::{GraphError, Ids};
use crate::applications::{APIS, Api, Application, Assignment, Grant, Principal};
use crate::http::body::{Answer, whole};
use crate::http::call::{Call, perform, plain};
use crate::mode::Service;
use crate::random;
use crate::state::SandboxState;
use crate::token::{Claims, GRAPH_RESOURCES};

/// What the permissions of az and of administrators' tools permit.
const EVERYTHING: &str = "Directory.AccessAsUser.All";

/// The properties of an application that a request may set.
const PROPERTIES: [&str; 6] =
    ["displayName", "signInAudience", "isFallbackPublicClient", "tags", "requiredResourceAccess", "keyCredentials"];

/// Most role assignments of a page; Graph has more.
const PAGE: usize = 2;

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Organization,
    Applications,
    Application(String),
    Principals,
    Principal(String),
    Assignments(String),
    Grants,
    Grant(String),
}

impl Target {
    /// Reads a path; `None` if it is about something else.
    pub(super) fn read(path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.strip_prefix("/v1.0/")?.split('/').collect();
        Some(match segments.as_slice() {
            ["organization"] => Self::Organization,
            ["applications"] => Self::Applications,
            ["applications", id] => Self::Application((*id).to_owned()),
            ["servicePrincipals"] => Self::Principals,
            ["servicePrincipals", id] => Self::Principal((*id).to_owned()),
            ["servicePrincipals", id, "appRoleAssignments"] => Self::Assignments((*id).to_owned()),
            ["oauth2PermissionGrants"] => Self::Grants,
            ["oauth2PermissionGrants", id] => Self::Grant((*id).to_owned()),
            _ => return None,
        })
    }

    /// The name of a call: method and path, with `{id}` for identifiers.
    fn name(&self, method: &Method) -> String {
        let path = match self {
            Self::Organization => "/organization",
            Self::Applications => "/applications",
            Self::Application(_) => "/applications/{id}",
            Self::Principals => "/servicePrincipals",
            Self::Principal(_) => "/servicePrincipals/{id}",
            Self::Assignments(_) => "/servicePrincipals/{id}/appRoleAssignments",
            Self::Grants => "/oauth2PermissionGrants",
            Self::Grant(_) => "/oauth2PermissionGrants/{id}",
        };
        format!("{method} {path}")
    }
}

/// Answers a call.
pub(super) async fn respond(shared: &Arc<SandboxState>, call: &Call, target: &Target, ids: &Ids) -> io::Result<Answer> {
    let name = target.name(&call.head.method);
    shared.tally.call(Service::Graph, "", &name);
    let refuse = |status: u16, code: Option<&'static str>, retry_after| {
        let code = code.or((status == 403).then_some("Authorization_RequestDenied"));
        GraphError::of_status(status, code, retry_after).answer(shared, ids)
    };
    let work = || match administrator(shared, call).and_then(|claims| Request { shared, call, claims }.perform(target))
    {
        Ok(answer) => answer,
        Err(error) => error.answer(shared, ids),
    };
    perform(shared, Service::Graph, &name, refuse, work).await
}

fn administrator(shared: &SandboxState, call: &Call) -> Result<Claims, GraphError> {
    let token = call.bearer().ok_or_else(|| GraphError::token("Access token is empty."))?;
    let claims = shared
        .mint
        .verify(token, shared.time.unix())
        .ok_or_else(|| GraphError::token("Access token has expired or is not yet valid."))?;
    if !GRAPH_RESOURCES.contains(&claims.audience.as_str()) {
        return Err(GraphError::token("Access token validation failure. Invalid audience."));
    }
    Ok(claims)
}

struct Request<'a> {
    shared: &'a SandboxState,
    call: &'a Call,
    claims: Claims,
}

type Outcome = Result<Answer, GraphError>;

impl Request<'_> {
    fn perform(&self, target: &Target) -> Outcome {
        const ORGANIZATION: &str = "Organization.Read.All";
        const OWN_PROFILE: &str = "User.Read";
        const APPLICATIONS: &str = "Application.ReadWrite.All";
        const ROLES: &str = "AppRoleAssignment.ReadWrite.All";
        const GRANTS: &str = "DelegatedPermissionGrant.ReadWrite.All";
        let method = &self.call.head.method;
        let (read, post) = (*method == Method::GET, *method == Method::POST);
        let (patch, delete) = (*method == Method::PATCH, *method == Method::DELETE);
        match target {
            Target::Organization if read => self.needs_one_of(&[ORGANIZATION, OWN_PROFILE])?.organization(),
            Target::Applications if read => self.needs(APPLICATIONS)?.list_applications(),
            Target::Applications if post => self.needs(APPLICATIONS)?.create_application(),
            Target::Application(id) if read => self.needs(APPLICATIONS)?.show_application(id),
            Target::Application(id) if patch => self.needs(APPLICATIONS)?.change_application(id),
            Target::Application(id) if delete => self.needs(APPLICATIONS)?.delete_application(id),
            Target::Principals if read => self.needs(APPLICATIONS)?.list_principals(),
            Target::Principals if post => self.needs(APPLICATIONS)?.create_principal(),
            Target::Principal(id) if read => self.needs(APPLICATIONS)?.show_principal(id),
            Target::Assignments(id) if read => self.needs(APPLICATIONS)?.list_assignments(id),
            Target::Assignments(id) if post => self.needs(ROLES)?.assign(id),
            Target::Grants if read => self.needs(GRANTS)?.list_grants(),
            Target::Grants if post => self.needs(GRANTS)?.create_grant(),
            Target::Grant(id) if read => self.needs(GRANTS)?.show_grant(id),
            Target::Grant(id) if patch => self.needs(GRANTS)?.change_grant(id),
            _ => Err(GraphError::new(
                405,
                "Request_BadRequest",
                "Specified HTTP method is not allowed for the request target.",
            )),
        }
    }

    fn needs(&self, permission: &str) -> Result<&Self, GraphError> {
        self.needs_one_of(&[permission])
    }

    fn needs_one_of(&self, permissions: &[&str]) -> Result<&Self, GraphError> {
        let permitted = permissions.iter().chain([&EVERYTHING]).any(|permission| self.claims.permits(permission));
        permitted.then_some(self).ok_or_else(|| {
            GraphError::new(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
        })
    }

    fn organization(&self) -> Outcome {
        let directory = &self.shared.directory;
        let domains = json!([{"name": directory.tenant_domain, "isDefault": true}]);
        Ok(json_answer(StatusCode::OK, &json!({"value": [{"id": directory.tenant_id, "verifiedDomains": domains}]})))
    }

    fn list_applications(&self) -> Outcome {
        let (property, wanted) = self.filter(&["displayName", "appId"])?;
        let found = self.shared.applications.with(|all| {
            let fits = |application: &&mut Application| match property.as_str() {
                "appId" => application.client_id.eq_ignore_ascii_case(&wanted),
                _ => application
                    .properties
                    .get("displayName")
                    .and_then(Value::as_str)
                    .is_some_and(|name| name.eq_ignore_ascii_case(&wanted)),
            };
            all.iter_mut().filter(fits).map(|application| shown(application, false)).collect::<Vec<_>>()
        });
        Ok(json_answer(StatusCode::OK, &json!({"value": found})))
    }

    fn create_application(&self) -> Outcome {
        let mut properties = self.properties()?;
        let has_name = properties.get("displayName").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
        if !has_name {
            return Err(bad("A value is required for property 'displayName' of resource 'Application'."));
        }
        let keys = properties.remove("keyCredentials");
        let id =
            self.shared.applications.add(properties).ok_or_else(|| bad("The directory object quota is exceeded."))?;
        self.of_application(&id, |application| {
            if let Some(keys) = keys {
                application.set_keys(keys.as_array().map_or(&[], Vec::as_slice)).map_err(bad)?;
            }
            Ok(json_answer(StatusCode::CREATED, &shown(application, false)))
        })
    }

    fn show_application(&self, id: &str) -> Outcome {
        // Keys are shown only when they are asked for.
        let with_keys =
            self.option("$select").is_some_and(|select| select.split(',').any(|name| name == "keyCredentials"));
        self.of_application(id, |application| Ok(json_answer(StatusCode::OK, &shown(application, with_keys))))
    }

    fn change_application(&self, id: &str) -> Outcome {
        let mut properties = self.properties()?;
        let keys = properties.remove("keyCredentials");
        self.of_application(id, |application| {
            if let Some(keys) = keys {
                application.set_keys(keys.as_array().map_or(&[], Vec::as_slice)).map_err(bad)?;
            }
            application.properties.extend(properties);
            Ok(no_content())
        })
    }

    fn delete_application(&self, id: &str) -> Outcome {
        self.of_application(id, |_| Ok(()))?;
        self.shared.applications.with(|all| all.retain(|application| application.id != id));
        Ok(no_content())
    }

    fn list_principals(&self) -> Outcome {
        let (_, wanted) = self.filter(&["appId"])?;
        let directory = &self.shared.directory;
        let of_api =
            APIS.iter().filter(|api| api.app_id == wanted).map(|api| shown_api(api, directory.object_id(api.app_id)));
        let mut found: Vec<Value> = of_api.collect();
        self.shared.applications.with(|all| {
            let of_client = all.iter().filter(|application| application.client_id == wanted);
            found.extend(of_client.filter_map(shown_principal));
        });
        Ok(json_answer(StatusCode::OK, &json!({"value": found})))
    }

    fn show_principal(&self, id: &str) -> Outcome {
        let directory = &self.shared.directory;
        let api = APIS.iter().find(|api| directory.object_id(api.app_id) == id);
        if let Some(api) = api {
            return Ok(json_answer(StatusCode::OK, &shown_api(api, id.to_owned())));
        }
        self.of_principal(id, |application| {
            Ok(json_answer(StatusCode::OK, &shown_principal(application).unwrap_or_default()))
        })
    }

    fn create_principal(&self) -> Outcome {
        let body = self.body()?;
        let client_id = body.get("appId").and_then(Value::as_str).unwrap_or_default();
        let id = self.shared.directory.object_id(client_id);
        self.shared.applications.with(|all| {
            let application = all.iter_mut().find(|application| application.client_id == client_id).ok_or_else(|| {
                bad(format!("The appId '{client_id}' of the service principal does not reference a valid application object."))
            })?;
            if application.principal.is_some() {
                return Err(GraphError::new(
                    409,
                    "Request_MultipleObjectsWithSameKeyValue",
                    format!("The service principal cannot be created, updated, or restored because the service principal name {client_id} is already in use."),
                ));
            }
            application.principal = Some(Principal { id, assignments: Vec::new(), grants: Vec::new() });
            Ok(json_answer(StatusCode::CREATED, &shown_principal(application).unwrap_or_default()))
        })
    }

    fn list_assignments(&self, id: &str) -> Outcome {
        self.of_principal(id, |application| {
            let assignments = application.principal.iter().flat_map(|principal| &principal.assignments);
            let shown: Vec<Value> = assignments.map(|assignment| shown_assignment(id, assignment)).collect();
            Ok(self.page(shown))
        })
    }

    fn assign(&self, id: &str) -> Outcome {
        let body = self.body()?;
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (resource, role) = (text("resourceId"), text("appRoleId"));
        if text("principalId") != id {
            return Err(bad("The principal of the assignment is not the one of the request."));
        }
        let api = self.api(&resource)?;
        if !api.roles.iter().any(|(_, known)| *known == role) {
            return Err(bad(format!("Permission being assigned was not found on application '{}'.", api.app_id)));
        }
        self.of_principal(id, |application| {
            let Some(principal) = &mut application.principal else { return Err(not_found(id)) };
            if principal.assignments.iter().any(|known| known.resource == resource && known.role == role) {
                return Err(bad("Permission entry already exists."));
            }
            let assignment = Assignment { id: random::guid(), resource, role };
            principal.assignments.push(assignment.clone());
            Ok(json_answer(StatusCode::CREATED, &shown_assignment(id, &assignment)))
        })
    }

    fn list_grants(&self) -> Outcome {
        let (_, wanted) = self.filter(&["clientId"])?;
        let found = self.shared.applications.with(|all| {
            let principals = all.iter().filter_map(|application| application.principal.as_ref());
            let of_client = principals.filter(|principal| principal.id == wanted);
            of_client
                .flat_map(|principal| principal.grants.iter().map(|grant| shown_grant(&principal.id, grant)))
                .collect::<Vec<_>>()
        });
        Ok(json_answer(StatusCode::OK, &json!({"value": found})))
    }

    fn create_grant(&self) -> Outcome {
        let body = self.body()?;
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (client, resource, scope) = (text("clientId"), text("resourceId"), text("scope"));
        if text("consentType") != "AllPrincipals" {
            return Err(bad("Property consentType is invalid."));
        }
        self.check_scope(&resource, &scope)?;
        self.of_principal(&client, |application| {
            let Some(principal) = &mut application.principal else { return Err(not_found(&client)) };
            if principal.grants.iter().any(|known| known.resource == resource) {
                return Err(GraphError::new(
                    409,
                    "Request_MultipleObjectsWithSameKeyValue",
                    "Permission entry already exists.",
                ));
            }
            let grant = Grant { id: random::guid(), resource, scope };
            principal.grants.push(grant.clone());
            Ok(json_answer(StatusCode::CREATED, &shown_grant(&client, &grant)))
        })
    }

    fn show_grant(&self, id: &str) -> Outcome {
        self.of_grant(id, |client, grant| Ok(json_answer(StatusCode::OK, &shown_grant(client, grant))))
    }

    fn change_grant(&self, id: &str) -> Outcome {
        let body = self.body()?;
        let scope = body.get("scope").and_then(Value::as_str).unwrap_or_default().to_owned();
        let resource = self.of_grant(id, |_, grant| Ok(grant.resource.clone()))?;
        self.check_scope(&resource, &scope)?;
        self.of_grant(id, |_, grant| {
            grant.scope = scope;
            Ok(no_content())
        })
    }

    fn check_scope(&self, resource: &str, scope: &str) -> Result<(), GraphError> {
        let api = self.api(resource)?;
        let known = |name: &str| api.scopes.iter().any(|(value, _)| *value == name);
        match scope.split(' ').find(|name| !known(name)) {
            Some(unknown) => Err(bad(format!("The scope '{unknown}' is not valid for the resource."))),
            None => Ok(()),
        }
    }

    fn api(&self, resource: &str) -> Result<&'static Api, GraphError> {
        let directory = &self.shared.directory;
        APIS.iter().find(|api| directory.object_id(api.app_id) == resource).ok_or_else(|| not_found(resource))
    }

    fn of_application<R>(
        &self,
        id: &str,
        work: impl FnOnce(&mut Application) -> Result<R, GraphError>,
    ) -> Result<R, GraphError> {
        self.shared.applications.with(|all| {
            let application = all.iter_mut().find(|application| application.id == id);
            work(application.ok_or_else(|| not_found(id))?)
        })
    }

    fn of_principal<R>(
        &self,
        id: &str,
        work: impl FnOnce(&mut Application) -> Result<R, GraphError>,
    ) -> Result<R, GraphError> {
        self.shared.applications.with(|all| {
            let is_it = |application: &&mut Application| {
                application.principal.as_ref().is_some_and(|principal| principal.id == id)
            };
            work(all.iter_mut().find(is_it).ok_or_else(|| not_found(id))?)
        })
    }

    fn of_grant<R>(
        &self,
        id: &str,
        work: impl FnOnce(&str, &mut Grant) -> Result<R, GraphError>,
    ) -> Result<R, GraphError> {
        self.shared.applications.with(|all| {
            let mut principals = all.iter_mut().filter_map(|application| application.principal.as_mut());
            let found = principals.find_map(|principal| {
                let grant = principal.grants.iter_mut().find(|grant| grant.id == id)?;
                Some((principal.id.as_str(), grant))
            });
            let (client, grant) = found.ok_or_else(|| not_found(id))?;
            work(client, grant)
        })
    }

    /// One page of a list. The query of the next one says how many were shown.
    fn page(&self, values: Vec<Value>) -> Answer {
        let skipped = self.option("$skiptoken").and_then(|text| text.parse().ok()).unwrap_or(0_usize);
        let (host, path) = (self.call.header("host").unwrap_or("graph.microsoft.com"), self.call.head.uri.path());
        let mut body = json!({});
        if values.len() > skipped + PAGE {
            body["@odata.nextLink"] = json!(format!("https://{host}{path}?$skiptoken={}", skipped + PAGE));
        }
        body["value"] = values.into_iter().skip(skipped).take(PAGE).collect();
        json_answer(StatusCode::OK, &body)
    }

    fn option(&self, name: &str) -> Option<String> {
        let query = self.call.head.uri.query().unwrap_or_default();
        form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// The property and the value of `$filter=property eq 'value'`.
    fn filter(&self, properties: &[&str]) -> Result<(String, String), GraphError> {
        let filter = self.option("$filter").unwrap_or_default();
        let parsed =
            filter.split_once(" eq '").and_then(|(property, value)| Some((property, value.strip_suffix('\'')?)));
        match parsed.filter(|(property, _)| properties.contains(property)) {
            Some((property, value)) => Ok((property.to_owned(), value.replace("''", "'"))),
            None => Err(bad("Invalid filter clause")),
        }
    }

    fn body(&self) -> Result<Value, GraphError> {
        if self.call.media_type() != "application/json" {
            return Err(bad("Write requests (excluding DELETE) must contain the Content-Type header declaration."));
        }
        let unread = || {
            bad(
                "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON format.",
            )
        };
        serde_json::from_slice(&self.call.body).map_err(|_| unread())
    }

    fn properties(&self) -> Result<Map<String, Value>, GraphError> {
        let Value::Object(properties) = self.body()? else { return Err(bad("The request has no properties.")) };
        match properties.keys().find(|name| !PROPERTIES.contains(&name.as_str())) {
            Some(unknown) => Err(bad(format!("Invalid property '{unknown}'."))),
            None => Ok(properties),
        }
    }
}

fn bad(message: impl Into<String>) -> GraphError {
    GraphError::new(400, "Request_BadRequest", message)
}

fn not_found(id: &str) -> GraphError {
    GraphError::new(
        404,
        "Request_ResourceNotFound",
        format!("Resource '{id}' does not exist or one of its queried reference-property objects are not present."),
    )
}

fn shown(application: &Application, with_keys: bool) -> Value {
    let mut shown = application.properties.clone();
    shown.insert("id".to_owned(), application.id.as_str().into());
    shown.insert("appId".to_owned(), application.client_id.as_str().into());
    let keys = application.keys.iter().map(|key| {
        let mut key = key.clone();
        if !with_keys && let Some(properties) = key.as_object_mut() {
            properties.insert("key".to_owned(), Value::Null);
        }
        key
    });
    shown.insert("keyCredentials".to_owned(), keys.collect());
    Value::Object(shown)
}

fn shown_principal(application: &Application) -> Option<Value> {
    let principal = application.principal.as_ref()?;
    let name = application.properties.get("displayName");
    Some(
        json!({"id": principal.id, "appId": application.client_id, "displayName": name, "appRoles": [], "oauth2PermissionScopes": []}),
    )
}

fn shown_api(api: &Api, id: String) -> Value {
    let entries = |permissions: &[(&str, &str)]| -> Vec<Value> {
        permissions.iter().map(|(value, id)| json!({"value": value, "id": id, "isEnabled": true})).collect()
    };
    json!({
        "id": id, "appId": api.app_id, "displayName": api.name,
        "appRoles": entries(api.roles), "oauth2PermissionScopes": entries(api.scopes),
    })
}

fn shown_assignment(principal: &str, assignment: &Assignment) -> Value {
    json!({
        "id": assignment.id, "principalId": principal, "principalType": "ServicePrincipal",
        "resourceId": assignment.resource, "appRoleId": assignment.role,
    })
}

fn shown_grant(client: &str, grant: &Grant) -> Value {
    json!({
        "id": grant.id, "clientId": client, "consentType": "AllPrincipals", "principalId": null,
        "resourceId": grant.resource, "scope": grant.scope,
    })
}

fn json_answer(status: StatusCode, body: &Value) -> Answer {
    plain(status, "application/json", body.to_string())
}

fn no_content() -> Answer {
    let mut answer = whole("");
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}
