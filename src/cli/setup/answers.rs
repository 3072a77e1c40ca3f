//! What has to work: the answers of the command line, of a file, and of a person at the terminal.

use std::path::{Path, PathBuf};

use clap::Parser;
use ipnet::IpNet;
use serde_json::Value;

pub(super) use super::contradictions::PLACEHOLDER;
use super::contradictions::{contradictions, word};
use super::dialogue::Dialogue;
use crate::cli::parse::Host;
use crate::cli::setup_options::{ClientTls, GraphUse, ScriptLanguage, SetupAnswers, SignInBy};
use gatepost_config::Cloud;
use gatepost_config::suggestion::quoted;
use gatepost_core::account::MailAddress;
use gatepost_core::protocol::Protocol;
use gatepost_core::system_error::Plain;

/// The name of the application and the state directory, unless others are chosen.
const NAME: &str = "Gatepost";
const STATE: &str = "/var/lib/gatepost";

/// Largest file of answers, in bytes.
const FILE: u64 = 256 * 1024;

/// All answers. They contradict each other nowhere.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    /// Directory id or domain, in lower case.
    pub(super) tenant: String,
    pub(super) cloud: Cloud,
    /// Each once, in the order of [`Protocol::ALL`].
    pub(super) protocols: Vec<Protocol>,
    /// Each once.
    pub(super) mailboxes: Vec<MailAddress>,
    /// Without Graph, it means nothing.
    pub(super) graph_for: GraphUse,
    pub(super) sign_in: SignInBy,
    /// The name of the application: letters, digits, spaces, `.`, `_` and `-`.
    pub(super) name: String,
    /// The application, if it is known.
    pub(super) client_id: Option<String>,
    /// Empty: this machine alone.
    pub(super) allow_from: Vec<IpNet>,
    pub(super) tls: ClientTls,
    pub(super) hosts: Vec<Host>,
    pub(super) state: PathBuf,
    pub(super) script: Option<ScriptLanguage>,
}

impl Answers {
    /// Whether the programs use this protocol.
    pub(super) fn uses(&self, protocol: Protocol) -> bool {
        self.protocols.contains(&protocol)
    }

    /// The same answers as flags, as a shell takes them.
    pub(super) fn flags(&self) -> String {
        let mut flags = vec![("tenant", self.tenant.clone())];
        if self.cloud != Cloud::Worldwide {
            flags.push(("cloud", self.cloud.preset().name.to_owned()));
        }
        flags.extend(self.protocols.iter().map(|protocol| ("protocol", protocol.name().to_owned())));
        flags.extend(self.mailboxes.iter().map(|mailbox| ("mailbox", mailbox.to_string())));
        flags.push(("sign-in", word(self.sign_in)));
        if self.uses(Protocol::Graph) {
            flags.push(("graph-for", word(self.graph_for)));
        }
        flags.push(("name", self.name.clone()));
        flags.extend(self.allow_from.iter().map(|network| ("allow-from", network.to_string())));
        flags.push(("tls", word(self.tls)));
        flags.extend(self.hosts.iter().map(|host| {
            let host = match host {
                Host::Name(name) => name.clone(),
                Host::Address(address) => address.to_string(),
            };
            ("host", host)
        }));
        flags.push(("state", self.state.to_string_lossy().into_owned()));
        flags.extend(self.script.map(|script| ("script", word(script))));
        let is_usual = |(name, value): &(&str, String)| {
            matches!((*name, value.as_str()), ("name", NAME) | ("tls", "none") | ("state", STATE))
        };
        let shown = flags.iter().filter(|flag| !is_usual(flag));
        shown.map(|(name, value)| format!("--{name}={}", quoted(value))).collect::<Vec<_>>().join(" ")
    }
}

/// A file of answers, read as flags are.
#[derive(Parser)]
#[command(no_binary_name = true)]
struct AnswerFile {
    #[command(flatten)]
    answers: SetupAnswers,
}

/// Adds the answers of a file to those of the command line, which come first.
///
/// # Errors
/// A sentence with the file and what is wrong in it.
pub(super) fn with_file(given: SetupAnswers, file: Option<&Path>) -> Result<SetupAnswers, String> {
    let Some(file) = file else { return Ok(given) };
    let text = read(file).map_err(|error| format!("`{}` cannot be read: {}", file.display(), Plain(&error)))?;
    let answers = parse(&text).map_err(|why| format!("{}: {why}", file.display()))?;
    Ok(merged(given, answers))
}

fn read(file: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(file)?.take(FILE).read_to_string(&mut text)?;
    Ok(text)
}

fn parse(text: &str) -> Result<SetupAnswers, String> {
    let value: Value = serde_saphyr::from_str(text).map_err(|error| format!("this is not YAML: {error}"))?;
    let Value::Object(entries) = value else { return Err("it has no answers, such as `tenant: contoso.com`".into()) };
    let mut flags = Vec::new();
    for (name, value) in entries {
        let items = match value {
            Value::Array(items) => items,
            one => vec![one],
        };
        for item in items {
            let item = match item {
                Value::String(text) => text,
                Value::Bool(_) | Value::Number(_) => item.to_string(),
                _ => return Err(format!("the answer `{name}` is neither a text nor a list of texts")),
            };
            flags.push(format!("--{}={item}", name.replace('_', "-")));
        }
    }
    let parsed = AnswerFile::try_parse_from(flags).map_err(|error| {
        let told = error.to_string();
        told.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })?;
    Ok(parsed.answers)
}

fn merged(first: SetupAnswers, second: SetupAnswers) -> SetupAnswers {
    fn list<T>(first: Vec<T>, second: Vec<T>) -> Vec<T> {
        if first.is_empty() { second } else { first }
    }
    SetupAnswers {
        tenant: first.tenant.or(second.tenant),
        cloud: first.cloud.or(second.cloud),
        protocols: list(first.protocols, second.protocols),
        mailboxes: list(first.mailboxes, second.mailboxes),
        send_only: first.send_only.or(second.send_only),
        graph_for: first.graph_for.or(second.graph_for),
        sign_in: first.sign_in.or(second.sign_in),
        name: first.name.or(second.name),
        client_id: first.client_id.or(second.client_id),
        allow_from: list(first.allow_from, second.allow_from),
        tls: first.tls.or(second.tls),
        hosts: list(first.hosts, second.hosts),
        state: first.state.or(second.state),
        script: first.script.or(second.script),
    }
}

/// Asks for the missing answers if there is somebody to ask, and checks all of them.
///
/// # Errors
/// Each missing answer with its flag, or the answers that contradict each other with the remedy.
pub(super) fn complete(mut given: SetupAnswers, dialogue: Option<&mut Dialogue<'_>>) -> Result<Answers, Vec<String>> {
    // Contradictions of what is known already are told before anything is asked.
    contradictions(&given)?;
    if let Some(dialogue) = dialogue {
        dialogue.complete(&mut given).map_err(|why| vec![why])?;
    }
    given.cloud.get_or_insert(Cloud::Worldwide);
    contradictions(&given)?;
    let mut missing = Vec::new();
    let mut miss = |flag: &str, what: &str| missing.push(format!("missing: {what}. Add `{flag}`"));
    if given.tenant.is_none() {
        miss("--tenant TENANT", "the tenant, by its directory ID or a verified domain");
    }
    if given.protocols.is_empty() {
        miss("--protocol PROTOCOL", "what the programs speak: imap, pop3, smtp, ews or graph");
    }
    if given.mailboxes.is_empty() {
        miss("--mailbox ADDRESS", "the mailboxes that the programs use");
    }
    if given.sign_in.is_none() {
        miss("--sign-in WHO", "who signs in at Microsoft: nobody, person or password");
    }
    if given.leaves_open_what_graph_is_for() {
        miss("--graph-for USE", "what the programs do over Graph: send, read or both");
    }
    let (Some(tenant), Some(sign_in), true) = (given.tenant, given.sign_in, missing.is_empty()) else {
        return Err(missing);
    };
    let protocols: Vec<Protocol> =
        Protocol::ALL.into_iter().filter(|protocol| given.protocols.contains(protocol)).collect();
    let mut mailboxes = given.mailboxes;
    let mut seen = std::collections::HashSet::new();
    mailboxes.retain(|mailbox| seen.insert(mailbox.to_string().to_lowercase()));
    Ok(Answers {
        tenant: tenant.to_lowercase(),
        cloud: given.cloud.unwrap_or(Cloud::Worldwide),
        graph_for: given.graph_for.unwrap_or(match given.send_only {
            Some(true) => GraphUse::Send,
            _ => GraphUse::Both,
        }),
        protocols,
        mailboxes,
        sign_in,
        name: given.name.unwrap_or_else(|| NAME.to_owned()),
        client_id: given.client_id.map(|id| id.to_lowercase()),
        allow_from: given.allow_from,
        tls: given.tls.unwrap_or(ClientTls::None),
        hosts: given.hosts,
        state: given.state.unwrap_or_else(|| PathBuf::from(STATE)),
        script: given.script,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(yaml: &str) -> Result<Answers, Vec<String>> {
        complete(parse(yaml).unwrap(), None)
    }

    const WHOLE: &str = "tenant: Contoso.com\nprotocol: [smtp, imap, smtp]\nmailbox: [Scan@contoso.com, scan@contoso.com]\n\
                         sign-in: nobody\n";

    #[test]
    fn a_file_gives_the_same_answers_as_flags() {
        let answers =
            of(&format!("{WHOLE}tls: implicit\nhost: mail.contoso.com\nallow_from: 192.168.7.0/24\n")).unwrap();
        assert_eq!((answers.tenant.as_str(), answers.cloud), ("contoso.com", Cloud::Worldwide));
        assert_eq!(answers.protocols, [Protocol::Imap, Protocol::Smtp]);
        assert_eq!(answers.mailboxes.len(), 1);
        assert_eq!(answers.allow_from, ["192.168.7.0/24".parse().unwrap()]);
        for (yaml, told) in [
            ("tenan: x", "unexpected argument '--tenan' found"),
            ("protocol: ftp", "invalid value 'ftp' for '--protocol <PROTOCOL>'"),
            ("mailbox: {a: b}", "the answer `mailbox` is neither a text nor a list of texts"),
            ("- x", "it has no answers"),
            ("a: [", "this is not YAML"),
        ] {
            let why = parse(yaml).map(drop).unwrap_err();
            assert!(why.contains(told), "{yaml}: {why}");
        }
    }

    #[test]
    fn answers_as_flags_are_the_same_answers() {
        for more in [
            "",
            "tls: starttls\nhost: [mail.contoso.com, '192.0.2.7']\nname: Ticket system\nscript: az\n",
            "cloud: china\n",
        ] {
            let answers = of(&format!("{WHOLE}{more}allow-from: ['192.0.2.0/24']\n")).unwrap();
            let flags = answers.flags();
            let parsed = AnswerFile::try_parse_from(flags.split(" --").enumerate().map(|(place, flag)| {
                let flag = if place == 0 { flag.to_owned() } else { format!("--{flag}") };
                flag.replace('\'', "")
            }));
            let again = complete(parsed.unwrap().answers, None).unwrap();
            assert_eq!(format!("{again:?}"), format!("{answers:?}"), "{flags}");
        }
        let usual = of(WHOLE).unwrap().flags();
        assert_eq!(
            usual,
            "--tenant=contoso.com --protocol=imap --protocol=smtp --mailbox=scan@contoso.com --sign-in=nobody"
        );
    }

    #[test]
    fn the_command_line_comes_before_the_file() {
        let flags = SetupAnswers { tenant: Some("fabrikam.com".into()), ..SetupAnswers::default() };
        let both = complete(merged(flags, parse(WHOLE).unwrap()), None).unwrap();
        assert_eq!((both.tenant.as_str(), both.mailboxes.len()), ("fabrikam.com", 1));
    }

    #[test]
    fn what_is_missing_is_named_with_its_flag() {
        let missing = complete(SetupAnswers::default(), None).map(drop).unwrap_err();
        for flag in ["--tenant", "--protocol", "--mailbox", "--sign-in"] {
            assert!(missing.iter().any(|line| line.contains(flag)), "{flag}: {missing:?}");
        }
        assert_eq!(missing.len(), 4);
        let open = of(&WHOLE.replace("imap", "graph")).map(drop).unwrap_err();
        assert_eq!(open, ["missing: what the programs do over Graph: send, read or both. Add `--graph-for USE`"]);
    }

    #[test]
    fn answers_that_contradict_each_other_are_named_with_the_remedy() {
        for (more, told) in [
            ("send-only: true", "`--send-only` and `--protocol imap` contradict each other"),
            ("tenant: contoso.onmicrosoft.us", "Use `--cloud us-gov-gcc-high` or `--cloud us-gov-dod`"),
            ("cloud: china\ntenant: contoso.onmicrosoft.com", "Use `--cloud worldwide`"),
            ("tenant: organizations", "names no tenant"),
            ("tenant: 'contoso.com; rm'", "neither a directory ID nor a domain"),
            ("host: mail.contoso.com", "there is no `--tls`"),
            ("name: \"x'y\"", "`--name` has at most 30"),
            ("client-id: 7", "`--client-id` is not an application ID"),
            ("client-id: 00000000-0000-0000-0000-000000000000", "`--client-id` is not an application ID"),
        ] {
            let mut lines: Vec<&str> = WHOLE.lines().collect();
            if more.contains("tenant:") {
                lines.retain(|line| !line.starts_with("tenant:"));
            }
            let told_all = of(&format!("{}\n{more}\n", lines.join("\n"))).map(drop).unwrap_err();
            assert!(told_all.iter().any(|line| line.contains(told)), "{more}: {told_all:?}");
        }
        for (protocols, more, told) in [
            ("ews", "send-only: yes", "EWS has no permission for sending alone"),
            ("smtp", "send-only: no", "SMTP cannot read"),
            ("graph", "send-only: yes\ntls: starttls", "HTTP has no STARTTLS"),
            ("graph", "send-only: yes\ngraph-for: read", "`--send-only` and `--graph-for read` contradict each other"),
            ("imap", "graph-for: read", "`--graph-for` needs `--protocol graph`"),
        ] {
            let yaml = WHOLE.replace("[smtp, imap, smtp]", protocols);
            let told_all = of(&format!("{yaml}{more}\n")).map(drop).unwrap_err();
            assert!(told_all[0].contains(told), "{told_all:?}");
        }
    }
}
