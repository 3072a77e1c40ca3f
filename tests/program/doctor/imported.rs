//! Configurations of other proxies, imported and put in front of the embedded Microsoft 365.

use super::support::{ALICE, SCANNER, World};
use crate::common::port::free_port;

/// An import: the text of the other proxy's file, further flags, the listeners of the result with
/// what leads to the sandbox, and the account with whether it needs a device password.
struct Import {
    text: String,
    flags: Vec<String>,
    listeners: &'static [(&'static str, &'static str)],
    account: (&'static str, bool),
}

fn imports(tenant: &str, client: &str, public: &str) -> Vec<Import> {
    vec![
        Import {
            text: format!(
                "[IMAP-1993]\nserver_address = outlook.office365.com\nserver_port = 993\n\n\
                 [SMTP-1587]\nserver_address = smtp.office365.com\nserver_port = 587\nserver_starttls = True\n\n\
                 [{SCANNER}]\ntoken_url = https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token\n\
                 oauth2_scope = https://outlook.office365.com/.default\noauth2_flow = client_credentials\n\
                 client_id = {client}\nclient_secret = sandbox-secret\n"
            ),
            flags: Vec::new(),
            listeners: &[("imap", "upstream"), ("smtp", "upstream")],
            account: (SCANNER, true),
        },
        Import {
            text: format!(
                "davmail.mode=O365Modern\ndavmail.imapPort=1143\ndavmail.smtpPort=1025\ndavmail.popPort=1110\n\
                 davmail.oauth.tenantId={tenant}\ndavmail.oauth.clientId={public}\ndavmail.userWhiteList={ALICE}\n"
            ),
            flags: Vec::new(),
            listeners: &[("imap", "upstream"), ("pop3", "upstream"), ("smtp", "upstream")],
            account: (ALICE, false),
        },
        Import {
            text: format!(
                "[pop-client]\nclient-id={client}\ndirectory-id={tenant}\nmailbox={SCANNER}\npassword=sandbox-secret\n\
                 scope=https://graph.microsoft.com/.default\ntype=GRAPH\n\n\
                 [smtp-client]\nclient-id={client}\ndirectory-id={tenant}\nuser={SCANNER}\npassword=sandbox-secret\n\
                 grant-type=client_credentials\nserver-type=GRAPH\n"
            ),
            flags: Vec::new(),
            listeners: &[("imap", "upstream"), ("smtp", "upstream")],
            account: (SCANNER, true),
        },
        Import {
            text: "TLS_SOURCE=off\nREQUIRE_TLS=false\n".to_owned(),
            flags: ["--tenant", tenant, "--client-id", client, "--mailbox", SCANNER].map(str::to_owned).to_vec(),
            listeners: &[("smtp", "graph")],
            account: (SCANNER, true),
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_imported_works_against_microsoft_365() {
    let world = World::new().await;
    let sandbox = &world.sandbox;
    let imports = imports(sandbox.tenant_id(), sandbox.confidential_client_id(), sandbox.public_client_id());
    for (number, Import { text, flags, listeners, account: (account, needs_password) }) in imports.iter().enumerate() {
        let (state, secrets) = (format!("state.directory=state-{number}"), format!("secrets-{number}"));
        world.directory.write("theirs", text);
        let mut import = vec!["import", "theirs", "-o", "proxy.yaml", "--force", "--write-secrets", &secrets];
        import.extend(flags.iter().map(String::as_str));
        let imported = world.gatepost(&import, "");
        let told = String::from_utf8_lossy(&imported.stderr);
        assert_eq!(imported.status.code(), Some(0), "{told}");
        assert!(!told.contains("sandbox-secret"), "{told}");
        if text.starts_with("TLS_SOURCE") {
            // Only its clients had the secret.
            world.directory.write(&format!("{secrets}/client-secret"), "sandbox-secret\n");
        }

        let mut settings = vec![
            format!("microsoft.authority={}", sandbox.authority()),
            "trust.system_roots=false".to_owned(),
            "trust.additional_ca=ca.pem".to_owned(),
            state,
        ];
        for (name, key) in *listeners {
            let port = match (*name, *key) {
                (_, "graph") => sandbox.graph().port(),
                ("imap", _) => sandbox.imap().port(),
                ("pop3", _) => sandbox.pop3().port(),
                _ => sandbox.smtp().port(),
            };
            settings.push(format!("listeners.{name}.{key}=localhost:{port}"));
            settings.push(format!("listeners.{name}.bind=127.0.0.1:{}", free_port()));
        }
        let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        if *needs_password {
            let added = world.gatepost(&[&["password", "add", account, "--name", "Test"], &*settings].concat(), "");
            assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        }
        let report = world.examine(&settings, "");
        assert_eq!(report.with("failed"), Vec::<&serde_json::Value>::new(), "{text}");
        assert_eq!(report.code, 0, "{text}: {:#?}", report.steps());
    }
}
