//! Applications over Graph: what an administrator's tool registers exists afterwards, and what Microsoft
//! refuses is refused.

use gatepost_sandbox::Sandbox;
use reqwest::Method;
use serde_json::{Value, json};

use super::mail::{ALICE, V2, granted, refused, sandbox};

/// An administrator with a tool.
struct Administrator {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Administrator {
    fn new(sandbox: &Sandbox, permissions: &[&str]) -> Self {
        let ca = reqwest::Certificate::from_pem(sandbox.ca_pem().as_bytes()).unwrap();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([ca]).build().unwrap();
        let token = sandbox.issue_administrator_token(permissions).unwrap().expose().to_owned();
        Self { http, base: format!("https://localhost:{}/v1.0", sandbox.graph().port()), token }
    }

    /// Status and body of the answer.
    async fn call(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        let request = match body {
            Value::Null => request,
            body => request.header("content-type", "application/json").body(body.to_string()),
        };
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() })
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call(Method::GET, path, Value::Null).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let (status, body) = self.call(Method::POST, path, body).await;
        assert_eq!(status, 201, "{path}: {body}");
        body
    }
}

const EXCHANGE: &str = "/servicePrincipals?$filter=appId%20eq%20'00000002-0000-0ff1-ce00-000000000000'";

#[tokio::test]
async fn a_registered_application_gets_tokens_with_what_was_consented_to() {
    let sandbox = sandbox().await;
    let administrator = Administrator::new(&sandbox, &["Directory.AccessAsUser.All"]);
    let body = json!({"displayName": "Scanner's proxy", "isFallbackPublicClient": true, "tags": ["x"]});
    let application = administrator.post("/applications", body).await;
    let client_id = application["appId"].as_str().unwrap();
    let found = administrator.get("/applications?$filter=displayName%20eq%20'Scanner''s%20proxy'").await;
    assert_eq!(found["value"][0]["appId"], client_id);
    assert_eq!(found["value"][0]["tags"], json!(["x"]));

    // Without a service principal the tenant does not know it.
    let ask = [
        ("grant_type", "password"),
        ("client_id", client_id),
        ("username", ALICE),
        ("password", "alice's secret"),
        ("scope", "https://outlook.office.com/.default"),
    ];
    assert_eq!(refused(&sandbox, V2, &ask).await.1, 700_016);
    let principal = administrator.post("/servicePrincipals", json!({"appId": client_id})).await;
    assert_eq!(refused(&sandbox, V2, &ask).await.1, 65001);
    let exchange = administrator.get(EXCHANGE).await["value"][0].clone();
    let grant = json!({
        "clientId": principal["id"], "consentType": "AllPrincipals", "resourceId": exchange["id"], "scope": "SMTP.Send",
    });
    let grant = administrator.post("/oauth2PermissionGrants", grant).await;
    let token = granted(&sandbox, V2, &ask).await;
    assert_eq!(token["scope"], "https://outlook.office.com/SMTP.Send");
    let path = format!("/oauth2PermissionGrants/{}", grant["id"].as_str().unwrap());
    let (status, _) =
        administrator.call(Method::PATCH, &path, json!({"scope": "SMTP.Send IMAP.AccessAsUser.All"})).await;
    assert_eq!(status, 204);
    assert_eq!(sandbox.applications()[0].scopes, ["IMAP.AccessAsUser.All", "SMTP.Send"]);

    let path = format!("/applications/{}", application["id"].as_str().unwrap());
    assert_eq!(administrator.call(Method::DELETE, &path, Value::Null).await.0, 204);
    assert_eq!(refused(&sandbox, V2, &ask).await.1, 700_016);
}

#[tokio::test]
async fn wrong_calls_are_refused_as_microsoft_does() {
    let sandbox = sandbox().await;
    let administrator = Administrator::new(&sandbox, &["Directory.AccessAsUser.All"]);
    let application = administrator.post("/applications", json!({"displayName": "x"})).await;
    let (id, client_id) = (application["id"].as_str().unwrap(), application["appId"].as_str().unwrap());
    let principal = administrator.post("/servicePrincipals", json!({"appId": client_id})).await;
    let object_id = principal["id"].as_str().unwrap();
    let exchange = administrator.get(EXCHANGE).await["value"][0].clone();
    let role =
        exchange["appRoles"].as_array().unwrap().iter().find(|role| role["value"] == "IMAP.AccessAsApp").unwrap();
    let assignments = format!("/servicePrincipals/{object_id}/appRoleAssignments");
    let assignment = json!({"principalId": object_id, "resourceId": exchange["id"], "appRoleId": role["id"]});
    administrator.post(&assignments, assignment.clone()).await;
    let of = |change: &str, value: Value| {
        let mut changed = assignment.clone();
        changed[change] = value;
        changed
    };
    let application = format!("/applications/{id}");
    let key = |key: &str| json!({"keyCredentials": [{"type": "AsymmetricX509Cert", "usage": "Verify", "key": key}]});
    for (method, path, body, status, code) in [
        (Method::POST, "/applications", json!({}), 400, "Request_BadRequest"),
        (Method::POST, "/applications", json!({"displayName": "y", "colour": 1}), 400, "Request_BadRequest"),
        (Method::GET, "/applications?$filter=colour%20eq%20'x'", Value::Null, 400, "Request_BadRequest"),
        (Method::PATCH, &application, key("no base64!"), 400, "Request_BadRequest"),
        (Method::PATCH, &application, key("AAAA"), 400, "Request_BadRequest"),
        (Method::GET, "/applications/0", Value::Null, 404, "Request_ResourceNotFound"),
        (Method::POST, "/servicePrincipals", json!({"appId": "0"}), 400, "Request_BadRequest"),
        (
            Method::POST,
            "/servicePrincipals",
            json!({"appId": client_id}),
            409,
            "Request_MultipleObjectsWithSameKeyValue",
        ),
        (Method::POST, &assignments, assignment.clone(), 400, "Request_BadRequest"),
        (Method::POST, &assignments, of("principalId", json!("0")), 400, "Request_BadRequest"),
        (Method::POST, &assignments, of("resourceId", json!(object_id)), 404, "Request_ResourceNotFound"),
        (Method::POST, &assignments, of("appRoleId", json!("0")), 400, "Request_BadRequest"),
        (
            Method::POST,
            "/oauth2PermissionGrants",
            json!({"clientId": object_id, "consentType": "AllPrincipals", "resourceId": exchange["id"], "scope": "Mail.Send"}),
            400,
            "Request_BadRequest",
        ),
        (Method::PUT, "/organization", Value::Null, 405, "Request_BadRequest"),
    ] {
        let (got, answer) = administrator.call(method.clone(), path, body).await;
        assert_eq!((got, answer["error"]["code"].as_str()), (status, Some(code)), "{method} {path}: {answer}");
    }
    let reader = Administrator::new(&sandbox, &["User.Read"]);
    let (status, answer) = reader.call(Method::GET, "/applications?$filter=displayName%20eq%20'x'", Value::Null).await;
    assert_eq!((status, answer["error"]["code"].as_str()), (403, Some("Authorization_RequestDenied")));
    assert_eq!(reader.get("/organization").await["value"][0]["id"], sandbox.tenant_id());
    assert_eq!(sandbox.applications()[0].roles, ["IMAP.AccessAsApp"]);
}
