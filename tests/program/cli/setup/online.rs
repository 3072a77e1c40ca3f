//! `gatepost setup --graph-token`: sets up Entra against the embedded Microsoft 365, and nothing that
//! was not asked for.

use std::process::Output;

use gatepost_sandbox::{HttpFault, RegisteredApplication, Sandbox, SandboxAccount, SandboxConfig, Service};
use serde_json::json;

use super::*;
use crate::common::port::free_port;

const SCANNER: &str = "scanner@contoso.example";

/// An administrator who may do everything, as with the Azure CLI.
const ADMINISTRATOR: &[&str] = &["Directory.AccessAsUser.All"];

/// A directory, and the Microsoft 365 that is set up from it.
struct World {
    directory: Directory,
    sandbox: Sandbox,
    settings: Vec<String>,
}

impl World {
    async fn new() -> Self {
        let accounts = vec![SandboxAccount::new(SCANNER, "correct-horse-battery")];
        let sandbox = Sandbox::start(SandboxConfig { accounts, ..SandboxConfig::default() }).await.unwrap();
        let directory = Directory::new();
        directory.write("ca.pem", sandbox.ca_pem());
        let mut settings = vec![
            format!("microsoft.authority={}", sandbox.authority()),
            "trust.system_roots=false".to_owned(),
            "trust.additional_ca=ca.pem".to_owned(),
        ];
        let servers = [("imap", sandbox.imap()), ("smtp", sandbox.smtp())];
        for (name, server) in servers {
            settings.push(format!("listeners.{name}.upstream=localhost:{}", server.port()));
            settings.push(format!("listeners.{name}.bind=127.0.0.1:{}", free_port()));
        }
        let world = Self { directory, sandbox, settings };
        world.token(ADMINISTRATOR);
        world
    }

    /// Runs the command a second time, as after the script for Exchange, with a password for the scanner.
    fn finish(&self, protocols: &[&str]) -> Output {
        let settings: Vec<&str> =
            self.settings_of(protocols).into_iter().flat_map(|setting| ["--set", setting]).collect();
        let added = self.directory.gatepost(&[&["password", "add", SCANNER, "--name", "test"], &settings[..]].concat());
        assert_eq!(code(&added), 0, "{}", stderr(&added));
        self.setup(protocols, "nobody", &["--yes"])
    }

    fn settings_of(&self, protocols: &[&str]) -> Vec<&str> {
        let of_listener = |setting: &&str| {
            !setting.starts_with("listeners.")
                || protocols.iter().any(|name| setting.starts_with(&format!("listeners.{name}.")))
        };
        self.settings.iter().map(String::as_str).filter(of_listener).collect()
    }

    /// Puts a token with these permissions where the command finds it.
    fn token(&self, permissions: &[&str]) {
        self.directory.write("token", self.sandbox.issue_administrator_token(permissions).unwrap().expose());
    }

    fn setup(&self, protocols: &[&str], sign_in: &str, more: &[&str]) -> Output {
        let graph = format!("localhost:{}", self.sandbox.graph().port());
        let mut arguments = vec!["setup", "--mailbox", SCANNER, "--sign-in", sign_in, "--state", "state"];
        if !more.contains(&"--tenant") {
            arguments.extend(["--tenant", self.sandbox.tenant_id()]);
        }
        arguments.extend(protocols.iter().flat_map(|protocol| ["--protocol", protocol]));
        arguments.extend(["--graph-token", "/bin/cat token", "--graph", &graph]);
        arguments.extend(more);
        arguments.extend(self.settings_of(protocols).into_iter().flat_map(|setting| ["--set", setting]));
        let output = self.directory.gatepost(&arguments);
        let token = read(&self.directory, "token");
        assert!(!stdout(&output).contains(&token) && !stderr(&output).contains(&token), "the token is a secret");
        output
    }

    /// The one application that was registered.
    fn application(&self) -> RegisteredApplication {
        let applications = self.sandbox.applications();
        assert_eq!(applications.len(), 1, "{applications:?}");
        applications.into_iter().next().unwrap()
    }

    fn calls(&self, name: &str) -> u64 {
        self.sandbox.counters().calls_of(Service::Graph, "", name)
    }

    /// Registers an application as somebody else would. Returns its client id.
    async fn register(&self, name: &str) -> String {
        let ca = reqwest::Certificate::from_pem(self.sandbox.ca_pem().as_bytes()).unwrap();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([ca]).build().unwrap();
        let address = format!("https://localhost:{}/v1.0/applications", self.sandbox.graph().port());
        let request = http.post(address).bearer_auth(read(&self.directory, "token"));
        let request = request.header("content-type", "application/json").body(json!({"displayName": name}).to_string());
        let answer: serde_json::Value =
            serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap();
        answer["appId"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_set_up_from_nothing_to_a_green_doctor() {
    let world = World::new().await;
    let output = world.setup(&["imap", "smtp"], "nobody", &["--yes"]);
    assert_eq!(code(&output), 0, "{}{}", stdout(&output), stderr(&output));
    let application = world.application();
    assert_eq!(
        application,
        RegisteredApplication {
            name: "Gatepost".into(),
            public: false,
            certificates: 1,
            roles: vec!["IMAP.AccessAsApp".into(), "SMTP.SendAsApp".into()],
            scopes: Vec::new(),
            ..application.clone()
        }
    );
    let object_id = application.principal.clone().unwrap();
    for line in [
        format!("created: the application {}", application.client_id),
        "created: the certificate of the application".to_owned(),
        format!("created: the service principal {object_id}"),
        "created: the permission IMAP.AccessAsApp, with consent".to_owned(),
        "updated: `proxy.yaml`".to_owned(),
        format!("gatepost password add {SCANNER}"),
        "Exchange may need up to two hours".to_owned(),
    ] {
        assert!(stdout(&output).contains(&line), "{line}: {}", stdout(&output));
    }
    // A password would stay in the log of a pipeline, and Exchange has not been set up yet.
    for not_yet in ["Created device password", "\nMailboxes "] {
        assert!(!stdout(&output).contains(not_yet), "{not_yet}: {}", stdout(&output));
    }
    assert!(read(&world.directory, "proxy.yaml").contains(&application.client_id));
    let script = read(&world.directory, "exchange-setup.ps1");
    assert!(
        script.contains(&format!("$clientId = '{}'\n$objectId = '{object_id}'\n", application.client_id)),
        "{script}"
    );
    assert!(script.contains("Add-MailboxPermission") && !script.contains("MgGraph"), "{script}");

    // Another run finds everything.
    let before = world.sandbox.applications();
    let output = world.finish(&["imap", "smtp"]);
    assert_eq!(code(&output), 0, "{}{}", stdout(&output), stderr(&output));
    assert!(!stdout(&output).contains("created"), "{}", stdout(&output));
    assert!(stdout(&output).contains("\nMailboxes       OK\n"), "{}", stdout(&output));
    assert_eq!(world.sandbox.applications(), before);
    assert_eq!(["POST /applications", "PATCH /applications/{id}"].map(|name| world.calls(name)), [1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_pages_of_a_list_are_read() {
    let world = World::new().await;
    let setup = || world.setup(&["imap", "pop3", "smtp"], "nobody", &["--yes"]);
    assert_eq!(code(&setup()), 0);
    // With a new script, nothing is examined.
    std::fs::remove_file(world.directory.file("exchange-setup.ps1")).unwrap();
    let output = setup();
    assert_eq!(code(&output), 0, "{}{}", stdout(&output), stderr(&output));
    for role in ["IMAP", "POP", "SMTP"] {
        assert!(stdout(&output).contains(&format!("kept: the permission {role}.")), "{}", stdout(&output));
    }
    assert_eq!(world.calls("POST /servicePrincipals/{id}/appRoleAssignments"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_get_a_public_client_with_their_permissions() {
    let world = World::new().await;
    let output = world.setup(&["imap", "smtp"], "person", &["--yes"]);
    assert_eq!(code(&output), 0, "{}{}", stdout(&output), stderr(&output));
    let output = world.setup(&["imap", "smtp"], "person", &["--yes"]);
    // Nobody has signed in yet.
    assert_eq!(code(&output), 1, "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("nobody has signed in"), "{}", stdout(&output));
    let application = world.application();
    assert!(application.public && application.certificates == 0 && application.roles.is_empty(), "{application:?}");
    assert_eq!(application.scopes, ["IMAP.AccessAsUser.All", "SMTP.Send", "offline_access"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sending_alone_leaves_the_application_without_a_permission() {
    let world = World::new().await;
    let output = world.setup(&["smtp"], "nobody", &["--yes"]);
    assert_eq!(code(&output), 0, "{}{}", stdout(&output), stderr(&output));
    // The role of Exchange comes with the script, which nobody has run.
    let output = world.finish(&["smtp"]);
    assert_eq!(code(&output), 1, "{}{}", stdout(&output), stderr(&output));
    assert!(read(&world.directory, "exchange-setup.ps1").contains("Application SMTP.SendAsApp"));
    world.sandbox.set_exchange_roles(&["SMTP.SendAsApp"]);
    let output = world.setup(&["smtp"], "nobody", &["--yes"]);
    assert_eq!(code(&output), 0, "{}{}", stdout(&output), stderr(&output));
    let application = world.application();
    assert!(application.roles.is_empty() && application.scopes.is_empty(), "{application:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_beside_which_a_role_confines_nothing_is_told_and_stays() {
    let world = World::new().await;
    assert_eq!(code(&world.setup(&["imap", "smtp"], "nobody", &["--yes"])), 0);
    let output = world.setup(&["smtp"], "nobody", &["--yes", "--replace"]);
    let warning = "warning: the application has the permission SMTP.SendAsApp in Entra, with which Exchange does not use \
                   the role for sending. Remove it there.";
    assert!(stdout(&output).contains(warning), "{}", stdout(&output));
    assert_eq!(world.application().roles, ["IMAP.AccessAsApp", "SMTP.SendAsApp"]);
    assert_eq!(world.application().certificates, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_renewed_once_entra_has_its_certificate() {
    let world = World::new().await;
    let renew = || world.setup(&["imap", "smtp"], "nobody", &["--yes", "--renew-key"]);
    assert_eq!(code(&world.setup(&["imap", "smtp"], "nobody", &["--yes"])), 0);
    let before = read(&world.directory, "app.key");
    world.token(&["Organization.Read.All"]);
    assert_eq!(code(&renew()), 1);
    assert_eq!(read(&world.directory, "app.key"), before);
    assert!(!world.directory.file("app.key.old").exists());
    world.token(ADMINISTRATOR);
    let output = renew();
    assert!(stdout(&output).contains("renewed: `app.pem` and `app.key`"), "{}{}", stdout(&output), stderr(&output));
    assert_eq!(read(&world.directory, "app.key.old"), before);
    // The certificate of the first run is still there, beside the new one.
    assert_eq!(world.application().certificates, 2);
    assert_eq!(code(&world.finish(&["imap", "smtp"])), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_with_another_content_is_found_before_entra_is_changed() {
    let world = World::new().await;
    world.directory.write("exchange-undo.ps1", "mine\n");
    let output = world.setup(&["imap"], "nobody", &["--yes"]);
    assert_eq!(code(&output), 1, "{}", stdout(&output));
    assert!(stderr(&output).contains("`exchange-undo.ps1` is there with another content"), "{}", stderr(&output));
    assert_eq!(world.sandbox.applications(), Vec::new());
    std::fs::remove_file(world.directory.file("exchange-undo.ps1")).unwrap();

    // That of a run for the Azure CLI takes the ids as parameters.
    let az = ["setup", "--tenant", world.sandbox.tenant_id(), "--mailbox", SCANNER, "--protocol", "imap"];
    let output =
        world.directory.gatepost(&[&az[..], &["--sign-in", "nobody", "--state", "state", "--script", "az"]].concat());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(read(&world.directory, "exchange-setup.ps1").contains("[Parameter(Mandatory)]"));
    let output = world.setup(&["imap"], "nobody", &["--yes"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("updated: `exchange-setup.ps1`"), "{}", stdout(&output));
    // So does that of another application.
    let script = read(&world.directory, "exchange-setup.ps1");
    let another = script.replace(&world.application().client_id, CLIENT_ID);
    assert_ne!(another, script);
    world.directory.write("exchange-setup.ps1", &another);
    let output = world.setup(&["imap"], "nobody", &["--yes"]);
    assert!(stdout(&output).contains("updated: `exchange-setup.ps1`"), "{}", stdout(&output));
    assert_eq!(read(&world.directory, "exchange-setup.ps1"), script);
}

#[tokio::test(flavor = "multi_thread")]
async fn graph_is_reached_as_the_settings_say() {
    let world = World::new().await;
    let refused = |graph: &str, setting: &str, told: &str| {
        let arguments =
            ["setup", "--mailbox", SCANNER, "--protocol", "imap", "--sign-in", "nobody", "--state", "state"];
        let token = ["--tenant", world.sandbox.tenant_id(), "--graph-token", "/bin/cat token", "--yes"];
        let output =
            world.directory.gatepost(&[&arguments[..], &token, &["--graph", graph, "--set", setting]].concat());
        assert_eq!(code(&output), 1, "{}", stdout(&output));
        assert!(stderr(&output).contains(told), "{told}: {}", stderr(&output));
    };
    let port = free_port();
    // Loopback is reached without the proxy.
    let (proxy, told) =
        (format!("forward_proxy.url=http://127.0.0.1:{port}"), format!("proxy http://127.0.0.1:{port}"));
    refused("graph.microsoft.com:443", &proxy, &told);
    let sandbox = format!("localhost:{}", world.sandbox.graph().port());
    refused(&sandbox, "trust.additional_ca=app.pem", "certificate");
    assert_eq!(world.sandbox.applications(), Vec::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_changed_without_consent() {
    let world = World::new().await;
    let output = world.setup(&["imap"], "nobody", &[]);
    assert_eq!(code(&output), 1);
    assert!(
        stderr(&output).contains("there is no terminal to ask: Create the application `Gatepost` in Entra?"),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("add `--yes`"), "{}", stderr(&output));
    assert_eq!(world.sandbox.applications(), Vec::new());

    // A token of another tenant would set up the wrong one.
    let other =
        world.setup(&["imap"], "nobody", &["--yes", "--replace", "--tenant", "11111111-2222-4333-8444-555555555555"]);
    assert_eq!(code(&other), 1);
    assert!(stderr(&other).contains("the token is not one of the tenant 11111111-"), "{}", stderr(&other));
    assert_eq!(world.sandbox.applications(), Vec::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_of_somebody_else_is_used_only_when_it_is_named() {
    let world = World::new().await;
    let client_id = world.register("Gatepost").await;
    let output = world.setup(&["imap"], "nobody", &["--yes"]);
    assert_eq!(code(&output), 1, "{}", stdout(&output));
    assert!(
        stderr(&output)
            .contains(&format!("To use it, add `--client-id {client_id}`. For a new one, choose another `--name`")),
        "{}",
        stderr(&output)
    );
    assert_eq!(world.application().certificates, 0);

    let output = world.setup(&["imap"], "nobody", &["--yes", "--client-id", &client_id]);
    assert_eq!(code(&output), 0, "{}{}", stdout(&output), stderr(&output));
    let application = world.application();
    assert_eq!((application.client_id, application.certificates), (client_id, 1));

    let absent = world.setup(&["imap"], "nobody", &["--yes", "--replace", "--client-id", CLIENT_ID]);
    assert!(stderr(&absent).contains(&format!("the tenant has no application {CLIENT_ID}")), "{}", stderr(&absent));
    // The configuration keeps its application.
    std::fs::remove_file(world.directory.file("proxy.yaml")).unwrap();
    world.register("Twice").await;
    world.register("Twice").await;
    let twice = world.setup(&["imap"], "nobody", &["--yes", "--replace", "--name", "Twice"]);
    assert!(stderr(&twice).contains("the tenant has 2 applications with the name `Twice`"), "{}", stderr(&twice));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_told_with_the_role_that_is_missing() {
    let world = World::new().await;
    let refused = |permissions: &[&str], sign_in: &str, told: &str| {
        world.token(permissions);
        let output = world.setup(&["imap"], sign_in, &["--yes", "--replace"]);
        assert_eq!(code(&output), 1, "{permissions:?}: {}", stdout(&output));
        assert!(stderr(&output).contains(told), "{permissions:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("HTTP 403 `Authorization_RequestDenied"), "{}", stderr(&output));
    };
    refused(&["Application.ReadWrite.All"], "nobody", "needs Organization.Read.All");
    refused(&["User.Read"], "nobody", "the role Cloud Application Administrator or Application Administrator");
    assert_eq!(world.sandbox.applications(), Vec::new());
    refused(&["Organization.Read.All", "Application.ReadWrite.All"], "nobody", "Privileged Role Administrator");

    // What was done stays, and another token continues.
    let application = world.application();
    world.token(&["Organization.Read.All", "Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All"]);
    let output = world.setup(&["imap"], "nobody", &["--yes", "--replace"]);
    assert_eq!(code(&output), 0, "{}{}", stdout(&output), stderr(&output));
    assert_eq!(world.application().client_id, application.client_id);
    assert_eq!(world.application().roles, ["IMAP.AccessAsApp"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn consent_for_users_needs_its_role_and_a_public_client_takes_no_certificate() {
    let world = World::new().await;
    world.token(&["Organization.Read.All", "Application.ReadWrite.All"]);
    let output = world.setup(&["imap"], "person", &["--yes"]);
    assert_eq!(code(&output), 1, "{}", stdout(&output));
    assert!(stderr(&output).contains("the token may not consent for the users (HTTP 403"), "{}", stderr(&output));
    let output = world.setup(&["imap"], "nobody", &["--yes", "--replace"]);
    assert_eq!(code(&output), 1, "{}", stdout(&output));
    assert!(
        stderr(&output).contains("allows public client flows, so Entra refuses its certificate"),
        "{}",
        stderr(&output)
    );
    assert_eq!(world.application().certificates, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_off_run_continues_and_faults_of_graph_are_told() {
    let world = World::new().await;
    let fault = |call: &str, status| {
        let fault = HttpFault::Refuse { status, code: None, retry_after: None };
        world.sandbox.fail_http(Service::Graph, call, fault, 1);
    };
    for (call, status, told) in [
        ("POST /servicePrincipals", 500, "refused the request (HTTP 500"),
        ("POST /servicePrincipals/{id}/appRoleAssignments", 401, "Graph refused the token"),
    ] {
        fault(call, status);
        let output = world.setup(&["imap"], "nobody", &["--yes"]);
        assert_eq!(code(&output), 1, "{call}: {}", stdout(&output));
        assert!(stderr(&output).contains(told), "{call}: {}", stderr(&output));
        world.sandbox.clear_http_faults(Service::Graph);
    }
    // What Graph does not know yet, and what it has not looked at, is asked again.
    let later = |status, code, retry_after| HttpFault::Refuse { status, code, retry_after };
    let pause = Some(std::time::Duration::from_secs(1));
    let role = "POST /servicePrincipals/{id}/appRoleAssignments";
    let absent = || later(404, Some("Request_ResourceNotFound"), None);
    for call in ["GET /servicePrincipals/{id}/appRoleAssignments", "GET /applications/{id}"] {
        world.sandbox.fail_http(Service::Graph, call, absent(), 1);
    }
    world.sandbox.fail_http(Service::Graph, role, absent(), 1);
    world.sandbox.fail_http(Service::Graph, role, later(429, None, pause), 1);
    let output = world.setup(&["imap"], "nobody", &["--yes"]);
    assert_eq!(code(&output), 0, "{}{}", stdout(&output), stderr(&output));
    assert_eq!(world.calls(role), 4);
    for line in
        ["kept: the application", "kept: the certificate", "kept: the service principal", "created: the permission"]
    {
        assert!(stdout(&output).contains(line), "{line}: {}", stdout(&output));
    }
    assert_eq!(world.application().certificates, 1);
}

#[test]
fn a_command_that_gives_no_token_changes_nothing() {
    let directory = Directory::new();
    for (command, exit, told) in [
        ("sh -c 'echo x'", 2, "`--graph-token` runs without a shell"),
        ("eyJ0eXAiOiJKV1QifQ.eyJhdWQiOiJ4In0.c2ln", 2, "takes the command that prints the token, and not the token"),
        ("/bin/false", 1, "the command of `--graph-token` gave no token: it failed"),
        ("/nonexistent/az", 1, "cannot be started"),
        ("/bin/echo two words", 1, "has to print one line, which is the token alone"),
    ] {
        let arguments = ["setup", "--tenant", "contoso.com", "--protocol", "imap", "--mailbox", "scan@contoso.com"];
        let more = ["--sign-in", "nobody", "--graph-token", command, "--yes"];
        let output = directory.gatepost(&[&arguments[..], &more].concat());
        assert_eq!(code(&output), exit, "{command}: {}", stderr(&output));
        assert!(stderr(&output).contains(told), "{command}: {}", stderr(&output));
        assert!(!stderr(&output).contains("eyJ") && !stderr(&output).contains("nonexistent"), "{}", stderr(&output));
    }
    assert_eq!(names(&directory), Vec::<String>::new());
    let both = directory.gatepost(&["setup", "--graph-token", "/bin/cat token", "--script", "az"]);
    assert_eq!(code(&both), 2);
    assert!(stderr(&both).contains("`--graph-token` and `--script az` contradict each other"), "{}", stderr(&both));
}
