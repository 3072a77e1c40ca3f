//! Reads the environment file of smtp-oauth-relay. It says nothing of tenant and application: its
//! clients give them as their user name, and the application's secret as their password.

use gatepost_config::Grant;

use super::answers::{Answers, Reach};
use super::endpoint::TenantName;
use super::env_file;
use super::ini::Entry;
use super::mistake::Mistake;
use crate::cli::draft::origin::{Found, Origin};
use crate::cli::draft::plan::{Account, Application, Credential, Label, Listener, Plan, Tls};
use crate::cli::draft::secrets::Kind;

const PROGRAM: &str = "smtp-oauth-relay";

/// The port on which the relay listens.
const PORT: u16 = 8025;

/// Variables without a counterpart, and why.
const OTHERS: [(&str, &str); 11] = [
    ("LOG_LEVEL", "`log.level` says how much Gatepost logs"),
    ("SERVER_GREETING", "Gatepost greets with its host name, which `server_name` sets"),
    ("TLS_CIPHER_SUITE", "Gatepost has one list of safe cipher suites"),
    ("AZURE_KEY_VAULT_URL", KEY_VAULT),
    ("AZURE_KEY_VAULT_CERT_NAME", KEY_VAULT),
    ("AZURE_CLIENT_ID", IDENTITY),
    ("AZURE_TENANT_ID", IDENTITY),
    ("AZURE_CLIENT_SECRET", IDENTITY),
    ("AZURE_TABLES_URL", TABLES),
    ("AZURE_TABLES_PARTITION_KEY", TABLES),
    ("AZURE_TABLES_FORCE_USAGE", "Gatepost always refuses who is not in `accounts`"),
];

const KEY_VAULT: &str =
    "Gatepost reads the certificate from PEM files. Let the Key Vault agent or `az keyvault` write them";
const IDENTITY: &str = "the relay opens Key Vault and Tables with it, which Gatepost does not use";
const TABLES: &str =
    "Gatepost has no Azure Tables. Write an account for each row, with the row's key and `@lookup` in `aliases`";

/// Makes a plan of a file.
///
/// # Errors
/// Damage; a value that the relay does not take.
pub(super) fn plan(text: &str, answers: &Answers<'_>) -> Result<Plan, Mistake> {
    let entries = env_file::read(text)?;
    let file = File { answers, entries: &entries };
    let mut plan = Plan::default();
    file.listener(&mut plan)?;
    file.accounts(&mut plan)?;
    for entry in &entries {
        let why = OTHERS.iter().find(|(name, _)| *name == entry.key).map(|(_, why)| *why);
        let is_read = ["TLS_SOURCE", "REQUIRE_TLS", "TLS_CERT_FILEPATH", "TLS_KEY_FILEPATH", "USERNAME_DELIMITER"];
        match why {
            Some(why) => plan.ignore(origin(entry), why),
            None if is_read.contains(&entry.key.as_str()) => {}
            None => {
                plan.ignore(origin(entry), "the relay does not read it, or a newer version does. Look up what it did")
            }
        }
    }
    Ok(plan)
}

struct File<'a> {
    answers: &'a Answers<'a>,
    entries: &'a [Entry],
}

impl File<'_> {
    fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key && !entry.value.is_empty())
    }

    /// A path of the file, or the relay's default.
    fn path(&self, key: &str, default: &str) -> Found<String> {
        match self.get(key) {
            Some(entry) => Found::new(self.answers.path(&entry.value), &origin(entry)),
            None => Found::new(self.answers.path(default), &Origin::default_of(PROGRAM)),
        }
    }

    fn tls(&self, plan: &mut Plan) -> Result<Option<Tls>, Mistake> {
        let source = self.get("TLS_SOURCE");
        let from = source.map_or_else(|| Origin::default_of(PROGRAM), origin);
        let files = match source.map(|entry| (entry, entry.value.to_lowercase())) {
            None => self.files(),
            Some((_, word)) if word == "file" => self.files(),
            Some((_, word)) if word == "off" => return Ok(None),
            Some((_, word)) if word == "keyvault" => {
                let Some(files) = self.answers.certificate() else {
                    plan.miss(
                        Some(from),
                        "the certificate is in Azure Key Vault. Write it into PEM files, and run the command again with \
                         `--certificate server.pem --private-key server.key`",
                    );
                    return Ok(None);
                };
                files
            }
            Some((entry, _)) => {
                return Err(Mistake::at(
                    entry.line,
                    "this `TLS_SOURCE` is not known, perhaps from a newer version",
                    "Write `file`, `keyvault` or `off`",
                ));
            }
        };
        let (certificate, private_key) = files;
        Ok(Some(Tls { mode: Found::new("starttls", &from), certificate, private_key }))
    }

    fn files(&self) -> (Found<String>, Found<String>) {
        let of_file =
            || (self.path("TLS_CERT_FILEPATH", "certs/cert.pem"), self.path("TLS_KEY_FILEPATH", "certs/key.pem"));
        self.answers.certificate().unwrap_or_else(of_file)
    }

    fn listener(&self, plan: &mut Plan) -> Result<(), Mistake> {
        let from = Origin::default_of(PROGRAM);
        let tls = self.tls(plan)?;
        let binding = self.answers.binding(plan, &Reach::Everywhere, PORT, &from);
        let optional = self.get("REQUIRE_TLS").filter(|entry| entry.value.eq_ignore_ascii_case("false"));
        let allow_plaintext_from = match (optional, &binding.allow_from) {
            (Some(entry), Some(allowed)) if tls.is_some() => Some(Found::new(allowed.value.clone(), &origin(entry))),
            _ => self.answers.plaintext(plan, &binding, tls.as_ref()),
        };
        plan.listeners.push(Listener {
            name: Found::new("smtp".to_owned(), &from),
            protocol: "smtp",
            bind: binding.bind,
            allow_from: binding.allow_from,
            allow_plaintext_from,
            tls,
            upstream: None,
            upstream_tls: None,
            deliver: Some(Found::new("graph", &from)),
        });
        Ok(())
    }

    fn accounts(&self, plan: &mut Plan) -> Result<(), Mistake> {
        let from = Origin::default_of(PROGRAM);
        let delimiter = match self.get("USERNAME_DELIMITER") {
            Some(entry) if !["@", ":", "|"].contains(&entry.value.as_str()) => {
                return Err(Mistake::at(entry.line, "the relay does not know this delimiter", "Write `@`, `:` or `|`"));
            }
            Some(entry) => Found::new(entry.value.to_string(), &origin(entry)),
            None => Found::new("@".to_owned(), &from),
        };
        let about = Origin::default_of(PROGRAM);
        let mailboxes = &self.answers.options.mailboxes;
        let first = mailboxes.first();
        let tenant = self.answers.tenant(plan, &TenantName::Common, &about, first.map_or("", |first| first.as_str()));
        let client_id = self.answers.client_id(plan, None, &about);
        let Some(first) = first else {
            plan.miss(
                Some(about),
                "clients choose the mailbox by the sender of each message. Run the command again with each one, such as \
                 `--mailbox scanner@contoso.com`",
            );
            return Ok(());
        };
        let owner = client_id.as_ref().map_or("", |found| found.value.as_str());
        let why = "clients gave it as their password. From now on they give a device password";
        let secret = plan.secrets.add_absent(Kind::ClientSecret, owner, why, &from);
        let alias = tenant.as_ref().zip(client_id.as_ref()).map(|(tenant, client_id)| {
            let alias = format!("{}{}{}", tenant.value, delimiter.value, client_id.value);
            Found::new(vec![alias], &delimiter.from)
        });
        let login = Found::new(first.to_string(), &Origin::flag("--mailbox"));
        self.answers.first_use(plan, &login, Grant::ClientCredentials);
        plan.remark(
            Label::Note,
            None,
            "clients keep their user name. Limit the application to the mailboxes with RBAC for Applications in Exchange Online",
        );
        let others: Vec<String> = mailboxes.iter().skip(1).map(ToString::to_string).collect();
        plan.accounts.push(Account {
            login,
            aliases: alias,
            send_as: (!others.is_empty()).then(|| Found::new(others, &Origin::flag("--mailbox"))),
            application: Application {
                cloud: None,
                tenant,
                client_id,
                grant: Found::new(Grant::ClientCredentials, &from),
                credential: Some(Found::new(Credential::Secret(secret), &from)),
                scope: None,
                token_expiry_margin: None,
            },
        });
        Ok(())
    }
}

fn origin(entry: &Entry) -> Origin {
    Origin::key("", &entry.key, entry.line)
}
