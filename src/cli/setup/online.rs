//! What `--graph-token` needs around the requests: the token, the way to Graph, and a person who
//! agrees. Also the first device passwords, which an examination at the end needs.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::answers::Answers;
use super::dialogue::Dialogue;
use super::graph::{Confirm, Registered, register};
use super::tenant::Tenant;
use crate::cli::output::show;
use crate::cli::setup_options::SetupOptions;
use crate::cli::store_context::StoreContext;
use crate::cli::{output, owner, run};
use crate::client_settings::{Scope, client_settings};
use crate::graph::GraphClient;
use crate::login::enrol::{FIRST, first_password};
use gatepost_config::environment::run_command_within;
use gatepost_config::problem::Problems;
use gatepost_config::{Config, Origin, Purpose, secret_line, suggestion};
use gatepost_core::clock::Clock;
use gatepost_core::secret::AccessToken;
use gatepost_net::dial::Dialer;
use gatepost_net::tls::client::UpstreamTrust;
use gatepost_proto::http::rules::HttpService;

/// The port of HTTPS.
const HTTPS: u16 = 443;

/// How long the command may take. The Azure CLI takes long when it has not run for a while.
const TOKEN_DEADLINE: Duration = Duration::from_secs(60);

/// Why Entra was not set up.
pub(super) enum NotRegistered {
    /// The configuration has mistakes, by which Graph would be reached.
    Configuration(Problems),
    /// Anything else, in a sentence.
    Failed(String),
}

/// Splits the command that prints the token into its words. No shell runs it.
///
/// # Errors
/// A sentence: it has what only a shell understands.
pub(super) fn command(text: &str) -> Result<Vec<String>, String> {
    if text.contains(['\'', '"', '`', '$', ';', '|', '&', '<', '>', '\\']) {
        return Err(
            "`--graph-token` runs without a shell, and its words are divided by spaces only. Put a command with quotation \
             marks, variables or pipes into a script, and name the script"
                .to_owned(),
        );
    }
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    // JWTs begin with `{"` in base64. It is not shown, because it is a secret.
    if words.iter().any(|word| word.starts_with("eyJ") && word.contains('.')) {
        return Err("`--graph-token` takes the command that prints the token, and not the token".to_owned());
    }
    if words.is_empty() { Err("`--graph-token` names no command".to_owned()) } else { Ok(words) }
}

/// Runs the command, and returns the token that it prints. Nothing of the command is shown.
///
/// # Errors
/// A sentence.
pub(super) fn token(command: &[String]) -> Result<AccessToken, String> {
    let printed = run_command_within(command, &[], TOKEN_DEADLINE).map(Zeroizing::new);
    let printed = printed.map_err(|why| {
        let program = command.first().map(|program| suggestion::quoted(program)).unwrap_or_default();
        format!("the command of `--graph-token` gave no token: {}", why.replace(&program, "its program"))
    })?;
    let line = secret_line(&printed).filter(|line| line.bytes().all(|byte| byte.is_ascii_graphic()));
    let line = line.ok_or("the command of `--graph-token` has to print one line, which is the token alone")?;
    Ok(AccessToken::new(line.to_owned()))
}

/// Sets up Entra's part with the token that the command prints.
///
/// # Errors
/// [`NotRegistered`].
pub(super) fn set_up(
    options: &SetupOptions,
    answers: &Answers,
    tenant: &Tenant,
    token: &AccessToken,
) -> Result<Registered, NotRegistered> {
    let config = options.settings.load(Purpose::SignIn, std::env::vars_os()).map_err(NotRegistered::Configuration)?;
    let origin = origin(options.graph.as_deref(), answers).map_err(NotRegistered::Failed)?;
    let config = Arc::new(config);
    let runtime = run::runtime().map_err(|_| NotRegistered::Failed("nothing was changed in Entra".to_owned()))?;
    let registered = runtime.block_on(async {
        let trust = Arc::new(UpstreamTrust::new(config.trust.clone()));
        let dialer = Arc::new(Dialer::new(Arc::clone(&config), Arc::clone(&trust)));
        let graph = GraphClient::new(origin, dialer, trust, &config.limits);
        register(&graph, token, tenant, &mut Person { yes: options.yes }).await
    });
    // Connections that close need not be waited for.
    runtime.shutdown_background();
    registered.map_err(NotRegistered::Failed)
}

fn origin(given: Option<&str>, answers: &Answers) -> Result<Origin, String> {
    let Some(given) = given else {
        let name = answers.cloud.preset().origin(HttpService::Graph).to_owned();
        return Ok(Origin { host: name.clone(), port: HTTPS, name });
    };
    let parsed = given.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    match parsed.filter(|(host, _)| !host.is_empty() && !host.contains(['/', '@'])) {
        Some((host, port)) => Ok(Origin { host: host.to_owned(), port, name: host.to_owned() }),
        None => Err(format!("`--graph {given}` is not a host with a port, such as `graph.microsoft.com:443`")),
    }
}

/// Whoever runs the command.
struct Person {
    /// Everything is agreed to.
    yes: bool,
}

impl Person {
    fn ask(question: &str) -> Option<Result<bool, String>> {
        io::stdin().is_terminal().then(|| {
            let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
            Dialogue::new(&mut input, &mut output).confirm(question)
        })
    }
}

impl Confirm for Person {
    fn confirm(&mut self, question: &str) -> Result<bool, String> {
        if self.yes {
            return Ok(true);
        }
        let none = || Err(format!("there is no terminal to ask: {question} To agree to all changes, add `--yes`"));
        Self::ask(question).unwrap_or_else(none)
    }

    fn confirm_in_person(&mut self, question: &str) -> Option<Result<bool, String>> {
        Self::ask(question)
    }

    fn tell(&mut self, line: &str) {
        show(line);
    }
}

/// Creates the first device password of each mailbox that has none, and shows it once.
///
/// # Errors
/// A sentence: the store cannot be used by this user.
pub(super) fn first_passwords(config: Config, answers: &Answers) -> Result<(), String> {
    if let Some(hindrance) = owner::hindrance(&config) {
        return Err(hindrance);
    }
    let runtime = run::runtime().map_err(|_| "the runtime cannot be started".to_owned())?;
    let made: anyhow::Result<()> = runtime.block_on(async {
        let store = gatepost_store::open(&config.state).await?;
        let opened = StoreContext { config: Arc::new(config), store };
        let now = Clock::system().unix_time();
        for mailbox in &answers.mailboxes {
            let Some((made, password)) = first_password(&*opened.store, mailbox, now).await? else { continue };
            opened.acted("password-made", mailbox.as_str(), &format!("{} ({})", made.id, made.name)).await;
            show(format_args!(
                "Created device password \"{FIRST}\" for {mailbox} (ID {}). Copy it now. It will not be shown again.\n\n{}",
                made.id,
                client_settings(&opened.config, mailbox, password.expose(), Scope::default())
            ));
        }
        Ok(())
    });
    made.map_err(|error| output::told(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_at_spaces_and_nothing_of_a_shell_is_taken() {
        let words = command("az account get-access-token --query accessToken -o tsv").unwrap();
        assert_eq!((words.len(), words[0].as_str(), words[6].as_str()), (7, "az", "tsv"));
        let given = command("eyJ0eXAi.eyJhdWQi.c2ln").unwrap_err();
        assert!(given.contains("takes the command") && !given.contains("eyJ"), "{given}");
        for text in ["", "  ", "echo $TOKEN", "sh -c 'x'", "a | b", "a; b", "a \"b\"", "a > b", "$(a)"] {
            assert!(command(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_the_command_prints_has_to_be_a_token() {
        let printed = |script: &str| token(&["sh".to_owned(), "-c".to_owned(), script.to_owned()]);
        assert_eq!(printed("echo eyJ0.x").unwrap(), AccessToken::new("eyJ0.x".to_owned()));
        for script in ["true", "echo a b", "printf 'a\\nb\\n'", "exit 1"] {
            let why = printed(script).map(drop).unwrap_err();
            assert!(why.contains("`--graph-token`") && !why.contains("a b"), "{script}: {why}");
        }
    }
}
