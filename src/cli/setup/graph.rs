//! Sets up Entra over Microsoft Graph: the application, its certificate, its service principal, and
//! consent. It looks before each change, asks, and gives nothing that was not asked for.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::tenant::{Api, Kind, Permission, TAG, Tenant, percent};
use crate::graph::GraphClient;
use crate::graph::answer::Answer;
use crate::graph::directory::DirectoryError;
use gatepost_core::account::is_guid;
use gatepost_core::escape::escaped;
use gatepost_core::secret::AccessToken;

/// A new object is not everywhere in Entra at once: pauses and attempts of what needs it, which are a
/// minute together.
const PAUSE: Duration = Duration::from_secs(3);
const ATTEMPTS: usize = 21;

/// How often the application is searched for before one is created.
const SEARCHES: usize = 2;

/// Most pages of a list.
const PAGES: usize = 100;

/// Longest name of the tenant's that is shown, in bytes.
const SHOWN: usize = 80;

/// Asks whether to make a change.
pub(super) trait Confirm {
    /// Returns whether to make the change that a question names.
    ///
    /// # Errors
    /// A sentence: nobody can be asked.
    fn confirm(&mut self, question: &str) -> Result<bool, String>;

    /// The same for what a person alone may decide, even where everything else is agreed to. `None`:
    /// there is no person.
    fn confirm_in_person(&mut self, question: &str) -> Option<Result<bool, String>>;

    /// Tells what was done or found.
    fn tell(&mut self, line: &str);
}

/// The ids of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Registered {
    pub(super) client_id: String,
    /// That of the service principal, which Exchange needs.
    pub(super) object_id: String,
}

/// Sets up the application of `tenant`.
///
/// # Errors
/// A sentence. What was done before stays, and another run continues.
pub(super) async fn register(
    graph: &GraphClient,
    token: &AccessToken,
    tenant: &Tenant,
    confirm: &mut dyn Confirm,
) -> Result<Registered, String> {
    Entra { graph, token, tenant, confirm }.register().await
}

struct Entra<'a> {
    graph: &'a GraphClient,
    token: &'a AccessToken,
    tenant: &'a Tenant,
    confirm: &'a mut dyn Confirm,
}

/// What a request is for, and thereby which role it needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Organization,
    Applications,
    Roles,
    Scopes,
}

impl Entra<'_> {
    async fn register(mut self) -> Result<Registered, String> {
        self.check_tenant().await?;
        let application = self.application().await?;
        let (id, client_id) = (guid(&application, "id")?, guid(&application, "appId")?);
        self.certificate(&id).await?;
        let object_id = self.principal(&client_id).await?;
        let assignments = format!("servicePrincipals/{object_id}/appRoleAssignments");
        let assigned = self.list(Need::Applications, &assignments).await?;
        self.warn(&assigned);
        for api in self.tenant.apis() {
            let resource = self.resource(api).await?;
            let resource_id = guid(&resource, "id")?;
            let roles: Vec<Permission> = self.tenant.of(Kind::Role).copied().filter(|role| role.api == api).collect();
            for role in roles {
                self.role(role, (&object_id, &resource_id), &resource, &assigned).await?;
            }
            if !self.tenant.scopes(api).is_empty() {
                self.scopes(api, (&object_id, &resource_id)).await?;
            }
        }
        Ok(Registered { client_id, object_id })
    }

    /// A token of another tenant would set up the wrong one.
    async fn check_tenant(&self) -> Result<(), String> {
        let found = self.list(Need::Organization, "organization?$select=id,verifiedDomains").await?;
        let wanted = &self.tenant.tenant;
        let is_it = |organization: &Value| {
            let domains = organization["verifiedDomains"].as_array().map_or(&[][..], Vec::as_slice);
            let names = domains.iter().map(|domain| &domain["name"]).chain([&organization["id"]]);
            names.filter_map(Value::as_str).any(|name| name.eq_ignore_ascii_case(wanted))
        };
        match found.iter().any(is_it) {
            true => Ok(()),
            false => Err(format!("the token is not one of the tenant {wanted}. Sign in at that tenant first")),
        }
    }

    /// Finds the application, or creates it.
    async fn application(&mut self) -> Result<Value, String> {
        let found = self.find_application().await?;
        let (name, named) = (self.tenant.name.clone(), self.tenant.client_id.clone());
        match (found.as_slice(), &named) {
            ([], Some(id)) => Err(format!(
                "the tenant has no application {id}. Correct the ID in `--client-id` or in the configuration"
            )),
            ([], None) => {
                self.agree(&format!("Create the application `{name}` in Entra?"))?;
                let body = self.tenant.application();
                let created = self.post(Need::Applications, "applications", &body).await?;
                self.confirm.tell(&format!("created: the application {}", guid(&created, "appId")?));
                Ok(created)
            }
            ([one], _) => {
                let client_id = guid(one, "appId")?;
                let is_ours = one["tags"].as_array().is_some_and(|tags| tags.iter().any(|tag| tag == TAG));
                if named.is_none() && !is_ours {
                    self.take_over(&name, &client_id)?;
                }
                self.confirm.tell(&format!("kept: the application {client_id}"));
                match (self.tenant.is_public(), one["isFallbackPublicClient"] == true) {
                    (true, false) => self.allow_public(&guid(one, "id")?).await?,
                    (false, true) => {
                        return Err(format!(
                            "the application {client_id} allows public client flows, so Entra refuses its certificate \
                             (AADSTS700025). Choose another `--name`, or turn them off in Entra: Authentication, Settings"
                        ));
                    }
                    _ => {}
                }
                Ok(one.clone())
            }
            (several, _) => {
                let ids: Vec<String> = several.iter().filter_map(|one| guid(one, "appId").ok()).collect();
                Err(format!(
                    "the tenant has {} applications with the name `{name}` ({}). Choose one with `--client-id`, or \
                     another `--name`",
                    several.len(),
                    ids.join(", ")
                ))
            }
        }
    }

    /// Searches again when nothing is found, because a run may have created it a moment ago.
    async fn find_application(&self) -> Result<Vec<Value>, String> {
        for _ in 1..SEARCHES {
            let found = self.list(Need::Applications, &self.tenant.find_application()).await?;
            if !found.is_empty() {
                return Ok(found);
            }
            sleep(PAUSE).await;
        }
        self.list(Need::Applications, &self.tenant.find_application()).await
    }

    /// An application that somebody else has created is not used unless a person says so.
    fn take_over(&mut self, name: &str, client_id: &str) -> Result<(), String> {
        let remedy = format!("To use it, add `--client-id {client_id}`. For a new one, choose another `--name`");
        let question =
            format!("The application `{name}` ({client_id}) exists, and `gatepost setup` did not create it. Use it?");
        match self.confirm.confirm_in_person(&question) {
            Some(Ok(true)) => Ok(()),
            Some(Err(why)) => Err(why),
            Some(Ok(false)) | None => Err(format!(
                "the application `{name}` ({client_id}) exists, and `gatepost setup` did not create it. {remedy}"
            )),
        }
    }

    async fn allow_public(&mut self, id: &str) -> Result<(), String> {
        let path = format!("applications/{id}");
        self.agree("Allow public client flows for the application, which the sign-in needs?")?;
        self.patch(Need::Applications, &path, &json!({"isFallbackPublicClient": true})).await?;
        self.confirm.tell("changed: the application allows public client flows");
        Ok(())
    }

    async fn certificate(&mut self, id: &str) -> Result<(), String> {
        let Some(credential) = self.tenant.key_credential() else { return Ok(()) };
        let path = format!("applications/{id}");
        let with_keys = format!("{path}?$select=keyCredentials");
        let shown = self.get(Need::Applications, &with_keys).await?;
        let known = shown.get("keyCredentials").and_then(Value::as_array);
        let mut keys = known.cloned().unwrap_or_default();
        if keys.iter().any(|known| known.get("key") == credential.get("key")) {
            self.confirm.tell("kept: the certificate of the application");
            return Ok(());
        }
        self.agree("Add the certificate to the application?")?;
        // The list is replaced as a whole, so the certificates that are there are sent again.
        keys.push(credential);
        self.patch(Need::Applications, &path, &json!({"keyCredentials": keys})).await?;
        self.confirm.tell("created: the certificate of the application");
        Ok(())
    }

    /// Returns the object id of the service principal.
    async fn principal(&mut self, client_id: &str) -> Result<String, String> {
        let found = self.list(Need::Applications, &principal_of(client_id)).await?;
        if let [one, ..] = found.as_slice() {
            let id = guid(one, "id")?;
            self.confirm.tell(&format!("kept: the service principal {id}"));
            return Ok(id);
        }
        self.agree("Create the service principal of the application?")?;
        let body = json!({"appId": client_id});
        let created = self.post(Need::Applications, "servicePrincipals", &body).await?;
        let id = guid(&created, "id")?;
        self.confirm.tell(&format!("created: the service principal {id}"));
        Ok(id)
    }

    fn warn(&mut self, assigned: &[Value]) {
        for permission in &self.tenant.unwanted {
            if assigned.iter().any(|assignment| assignment["appRoleId"] == permission.id) {
                self.confirm.tell(&format!(
                    "warning: the application has the permission {} in Entra, {}. Remove it there.",
                    permission.value,
                    permission.harm()
                ));
            }
        }
    }

    /// Returns the service principal of an api, which has the tenant's own list of permissions.
    async fn resource(&self, api: Api) -> Result<Value, String> {
        let found = self.list(Need::Applications, &principal_of(api.app_id())).await?;
        found.into_iter().next().ok_or_else(|| {
            let name = if api == Api::Exchange { "Exchange Online" } else { "Microsoft Graph" };
            format!("the tenant has no service principal of {name}, so it has no mailboxes there")
        })
    }

    async fn role(
        &mut self,
        role: Permission,
        (object_id, resource_id): (&str, &str),
        resource: &Value,
        assigned: &[Value],
    ) -> Result<(), String> {
        let Permission { value, id, .. } = role;
        let offered = resource["appRoles"].as_array().map_or(&[][..], Vec::as_slice);
        if !offered.iter().any(|known| known["id"] == id && known["value"] == value) {
            return Err(format!("the permission {value} has another ID in this tenant. Report it"));
        }
        if assigned.iter().any(|known| known["appRoleId"] == id && known["resourceId"] == resource_id) {
            self.confirm.tell(&format!("kept: the permission {value}"));
            return Ok(());
        }
        self.agree(&format!("Give the application the permission {value}, with consent for the tenant?"))?;
        let body = json!({"principalId": object_id, "resourceId": resource_id, "appRoleId": id});
        let path = format!("servicePrincipals/{object_id}/appRoleAssignments");
        self.post(Need::Roles, &path, &body).await?;
        self.confirm.tell(&format!("created: the permission {value}, with consent"));
        Ok(())
    }

    async fn scopes(&mut self, api: Api, (object_id, resource_id): (&str, &str)) -> Result<(), String> {
        let filter = percent(&format!("clientId eq '{object_id}'"));
        let grants = self.list(Need::Scopes, &format!("oauth2PermissionGrants?$filter={filter}")).await?;
        let is_it = |grant: &&Value| grant["resourceId"] == resource_id && grant["consentType"] == "AllPrincipals";
        let grant = grants.iter().find(is_it);
        let held = grant.and_then(|grant| grant["scope"].as_str()).unwrap_or_default();
        let held: Vec<&str> = held.split(' ').filter(|scope| !scope.is_empty()).collect();
        let wanted = self.tenant.scopes(api);
        let new: Vec<&str> = wanted.split(' ').filter(|scope| !held.contains(scope)).collect();
        if new.is_empty() {
            self.confirm.tell(&format!("kept: consent to {wanted}"));
            return Ok(());
        }
        let (shown, all) = (new.join(", "), [held, new].concat().join(" "));
        self.agree(&format!("Consent to {shown} for the users of the tenant?"))?;
        match grant {
            Some(grant) => {
                let id = grant["id"].as_str().unwrap_or_default();
                self.patch(Need::Scopes, &format!("oauth2PermissionGrants/{}", percent(id)), &json!({"scope": all}))
                    .await?;
            }
            None => {
                let body = json!({
                    "clientId": object_id, "consentType": "AllPrincipals", "resourceId": resource_id, "scope": all,
                });
                self.post(Need::Scopes, "oauth2PermissionGrants", &body).await?;
            }
        }
        self.confirm.tell(&format!("created: consent to {shown}"));
        Ok(())
    }

    fn agree(&mut self, question: &str) -> Result<(), String> {
        match self.confirm.confirm(question)? {
            true => Ok(()),
            false => Err("stopped as you asked. What was done before stays, and another run continues".to_owned()),
        }
    }

    /// Returns all pages of a list.
    async fn list(&self, need: Need, path: &str) -> Result<Vec<Value>, String> {
        let (mut all, mut path) = (Vec::new(), path.to_owned());
        for _ in 0..PAGES {
            let answer = self.get(need, &path).await?;
            let Some(Value::Array(values)) = answer.get("value") else {
                return Err(format!("{} answered without a list", self.graph.origin()));
            };
            all.extend(values.iter().cloned());
            let Some(next) = answer.get("@odata.nextLink").and_then(Value::as_str) else { return Ok(all) };
            // Only the path is taken, so that the token goes to no other server.
            let (_, next) = next
                .split_once("/v1.0/")
                .ok_or_else(|| format!("{} answered with a next page that is not one of Graph", self.graph.origin()))?;
            next.clone_into(&mut path);
        }
        Err(format!("{} answered with more than {PAGES} pages", self.graph.origin()))
    }

    async fn get(&self, need: Need, path: &str) -> Result<Value, String> {
        self.known(Method::GET, path, None).await.map_err(|error| self.told(need, error))
    }

    async fn post(&self, need: Need, path: &str, body: &Value) -> Result<Value, String> {
        self.known(Method::POST, path, Some(body)).await.map_err(|error| self.told(need, error))
    }

    async fn patch(&self, need: Need, path: &str, body: &Value) -> Result<(), String> {
        self.known(Method::PATCH, path, Some(body)).await.map(drop).map_err(|error| self.told(need, error))
    }

    /// Repeats a request about an object that may just have been created, until Entra knows it
    /// everywhere.
    async fn known(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, DirectoryError> {
        let mut attempts = 1;
        loop {
            match self.graph.directory(self.token, &method, path, body).await {
                Err(DirectoryError::Refused(answer)) if attempts < ATTEMPTS && is_not_known_yet(&answer) => {
                    sleep(PAUSE).await;
                    attempts += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// The words for a person, with the role that is missing.
    fn told(&self, need: Need, error: DirectoryError) -> String {
        let answer = match error {
            DirectoryError::Failed(failure) => return failure.message,
            DirectoryError::Refused(answer) => answer,
        };
        let words = answer.words();
        match (answer.status, need) {
            (401, _) => {
                format!("Graph refused the token ({words}). Sign in again, so that the command prints a new one")
            }
            (403, Need::Organization) => format!(
                "the token may not read to which tenant it belongs ({words}). A token of another tool than the Azure CLI needs \
                 Organization.Read.All"
            ),
            (403, Need::Applications) => format!(
                "the token may not register applications ({words}). Sign in with the role Cloud Application Administrator or \
                 Application Administrator. A token of another tool needs Application.ReadWrite.All"
            ),
            (403, Need::Roles) => format!(
                "the token may not consent to application permissions ({words}). Sign in with the role Cloud Application \
                 Administrator or Privileged Role Administrator. A token of another tool needs \
                 AppRoleAssignment.ReadWrite.All"
            ),
            (403, Need::Scopes) => format!(
                "the token may not consent for the users ({words}). Sign in with the role Cloud Application Administrator. A \
                 token of another tool needs DelegatedPermissionGrant.ReadWrite.All"
            ),
            _ => format!("{} refused the request ({words})", self.graph.origin()),
        }
    }
}

/// Whether it is the answer about an object that has not reached every server yet.
fn is_not_known_yet(answer: &Answer) -> bool {
    let says = |words: &str| answer.message.contains(words);
    match answer.status {
        404 => answer.says(&["Request_ResourceNotFound"]),
        400 => says("does not reference a valid application object") || says("not a valid reference"),
        403 => says("the backing application of the service principal being created must in the local tenant"),
        _ => false,
    }
}

fn principal_of(client_id: &str) -> String {
    format!("servicePrincipals?$filter={}", percent(&format!("appId eq '{client_id}'")))
}

/// An id of an answer, which becomes a part of paths and files.
fn guid(object: &Value, name: &str) -> Result<String, String> {
    let text = object[name].as_str().unwrap_or_default();
    match is_guid(text) {
        true => Ok(text.to_lowercase()),
        false => Err(format!("Graph answered with `{}` where an ID has to be", escaped(text.as_bytes(), SHOWN))),
    }
}
