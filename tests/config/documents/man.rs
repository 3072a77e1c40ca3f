//! `docs/man`, from the definition of the command line, with what it does not say.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::commands::{below, command_line, exit_codes};

/// What pages say below the description.
const DETAILS: [(&str, &[&str]); 5] = [
    (
        "gatepost",
        &[
            "Mail clients log in to Gatepost over IMAP, POP3 or SMTP with a plain password. Gatepost gets an access token from \
             Microsoft Entra ID and signs in to Exchange Online with it, through the proxy of the network where there is \
             one. Then it moves bytes.",
            "Without a command, gatepost does the same as gatepost run.",
        ],
    ),
    (
        "gatepost-run",
        &[
            "The service stops at SIGTERM. Sessions may then end by themselves for limits.drain. A second SIGTERM ends them at \
             once.",
            "With --take-over, it gets the listening sockets from the running service, which stops after its sessions. If the \
             running service has an older version, restart it once instead.",
        ],
    ),
    (
        "gatepost-reload",
        &["The command prints the result. The signal SIGHUP does the same, and the log has the result."],
    ),
    (
        "gatepost-check",
        &[
            "The command reports every mistake at once, and what cannot work: placeholders, misspelled hosts of Microsoft, \
           addresses in use, a state directory of another user. It changes nothing.",
        ],
    ),
    (
        "gatepost-doctor",
        &["If the service runs, the test runs inside it. Each problem is named with who can fix it, and how."],
    ),
];

/// Signals, for the pages of the service.
const SIGNALS: [(&str, &str); 3] = [
    ("SIGTERM, SIGINT", "Stop. Sessions may end by themselves for limits.drain. A second one ends them at once."),
    ("SIGHUP", "Reload the configuration."),
    ("SIGUSR1", "The stop that follows is no restart. The unit sends it."),
];

const ENVIRONMENT: [(&str, &str); 4] = [
    (
        "GATEPOST__SECTION__KEY",
        "Sets a key of the configuration, such as GATEPOST__LISTENERS__SMTP__BIND. The command line wins over it, and it \
         wins over the file.",
    ),
    (
        "HTTPS_PROXY, ALL_PROXY, NO_PROXY",
        "Forward proxy, if the configuration has no forward_proxy. The names in lower case also count.",
    ),
    ("STATE_DIRECTORY, RUNTIME_DIRECTORY, CREDENTIALS_DIRECTORY", "Directories that systemd gives to the service."),
    ("KRB5CCNAME", "Kerberos credential cache, with forward_proxy.authentication: negotiate."),
];

const FILES: [(&str, &str); 4] = [
    ("proxy.yaml", "Configuration, if --config names no other file. The service reads /etc/gatepost/proxy.yaml."),
    ("/usr/share/doc/gatepost/proxy.example.yaml", "Every key of the configuration with its default."),
    ("/usr/share/doc/gatepost/proxy.schema.json", "JSON Schema of the configuration, for editors."),
    ("/var/lib/gatepost", "Device passwords and sign-ins, and the key that encrypts them."),
];

fn section(roff: &mut Roff, title: &str, entries: &[(&str, &str)]) {
    roff.control("SH", [title]);
    for (name, meaning) in entries {
        roff.control("TP", []);
        roff.text([bold(*name)]);
        roff.text([roman(*meaning)]);
    }
}

fn page(command: &Command, inherited_exit_codes: &str) -> String {
    let name = command.get_display_name().unwrap_or("gatepost");
    let shown = command.clone().subcommand_value_name("COMMAND").subcommand_help_heading("COMMANDS");
    let man = Man::new(shown)
        .title(name.to_uppercase())
        .date(release_day())
        .source(concat!("Gatepost ", env!("CARGO_PKG_VERSION")))
        .manual("User Commands");
    let mut written = Vec::new();
    man.render_title(&mut written).unwrap();
    man.render_name_section(&mut written).unwrap();
    man.render_synopsis_section(&mut written).unwrap();
    man.render_description_section(&mut written).unwrap();
    let mut details = Roff::new();
    let own = DETAILS.iter().find(|(page, _)| *page == name).map_or(&[][..], |(_, paragraphs)| paragraphs);
    for paragraph in own {
        details.control("PP", []);
        details.text([roman(*paragraph)]);
    }
    details.to_writer(&mut written).unwrap();
    man.render_options_section(&mut written).unwrap();
    if below(command).next().is_some() {
        man.render_subcommands_section(&mut written).unwrap();
    }
    let mut end = Roff::new();
    end.control("SH", ["EXIT STATUS"]);
    end.text([roman(exit_codes(command, inherited_exit_codes).trim_start_matches("Exit codes: "))]);
    if ["gatepost", "gatepost-run"].contains(&name) {
        section(&mut end, "SIGNALS", &SIGNALS);
    }
    if name == "gatepost" {
        section(&mut end, "ENVIRONMENT", &ENVIRONMENT);
        section(&mut end, "FILES", &FILES);
    }
    end.control("SH", ["SEE ALSO"]);
    end.text(see_also(name));
    end.to_writer(&mut written).unwrap();
    tidy(&String::from_utf8(written).unwrap())
}

/// Leaves out what is repeated at the beginning of each section, breaks beside a blank line, and spaces
/// at the ends of lines.
fn tidy(page: &str) -> String {
    let mut kept = String::new();
    for (number, line) in page.replace(".br\n\n.br\n", ".sp\n").lines().enumerate() {
        if number < 2 || !(line.starts_with(".ie \\n(.g ") || line.starts_with(".el .ds Aq ")) {
            kept.push_str(line.trim_end());
            kept.push('\n');
        }
    }
    kept
}

/// The day of the newest version, as the package's changelog has it.
fn release_day() -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let changelog = include_str!("../../../deploy/debian/changelog");
    let signed = changelog.lines().find(|line| line.starts_with(" -- ")).unwrap();
    let words: Vec<&str> = signed.split_once(", ").unwrap().1.split_whitespace().collect();
    let [day, month, year, ..] = words[..] else { panic!("no date: {signed}") };
    let month = MONTHS.iter().position(|name| *name == month).unwrap() + 1;
    format!("{year}-{month:02}-{day:0>2}")
}

fn see_also(name: &str) -> Vec<Inline> {
    match name {
        "gatepost" => {
            vec![italic("/usr/share/doc/gatepost/docs/index.md"), roman(", "), bold("systemctl"), roman("(1)")]
        }
        _ => vec![bold("gatepost"), roman("(1)")],
    }
}

fn collect(command: &Command, inherited_exit_codes: &str, found: &mut Vec<(String, String)>) {
    let name = command.get_display_name().unwrap_or("gatepost");
    found.push((format!("docs/man/{name}.1"), page(command, inherited_exit_codes)));
    let exit_codes = exit_codes(command, inherited_exit_codes);
    below(command).for_each(|below| collect(below, &exit_codes, found));
}

/// The pages with their paths: one for each command.
pub(super) fn pages() -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(&command_line(), "", &mut found);
    found
}
