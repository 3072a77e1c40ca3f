//! The README's five minutes, word for word, with an embedded Microsoft 365 in the place of
//! Microsoft's: what it lets type in the terminal, and the file that it lets write.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use gatepost_sandbox::{Sandbox, SandboxAccount, SandboxConfig, Service as Upstream};

use super::{Directory, code, stderr, stdout};
use crate::common::port::free_port;
use crate::common::wait::wait_until;
use crate::service::{Service, log_in, shown};

const SCANNER: &str = "scanner@contoso.example";

/// The block of the section about the first login that begins with this line.
fn block(section: &str, begin: &str) -> String {
    let (_, from) = section.split_once(&format!("```{begin}\n")).unwrap_or_else(|| panic!("no block `{begin}`"));
    let lines = from.lines().take_while(|line| line.trim() != "```");
    lines.map(|line| format!("{}\n", line.strip_prefix("   ").unwrap())).collect()
}

/// A terminal in a directory, in which `gatepost` is on the path.
struct Terminal {
    directory: Directory,
    /// Where Microsoft 365 is.
    variables: Vec<(String, String)>,
}

impl Terminal {
    fn command(&self, line: &str) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_gatepost")).parent().unwrap();
        let mut command = Command::new("sh");
        let exec = format!("exec {line}");
        command.args(["-c", &exec]).current_dir(self.directory.0.path()).env_clear();
        command.env("PATH", format!("{}:/usr/bin:/bin", program.display()));
        command.envs(self.variables.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// What a command that succeeds writes.
    fn told(&self, line: &str) -> String {
        let output = self.run(line);
        assert_eq!(code(&output), 0, "{line}: {}{}", stdout(&output), stderr(&output));
        stdout(&output).to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs openssl"]
async fn the_readme_leads_to_a_service_that_takes_the_device_password() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, section) = readme.split_once("## First login in five minutes\n").unwrap();
    let accounts = vec![SandboxAccount::new(SCANNER, "known-to-entra-only")];
    let sandbox = Sandbox::start(SandboxConfig { accounts, ..SandboxConfig::default() }).await.unwrap();
    let upstream = |service: std::net::SocketAddr| format!("localhost:{}", service.port());
    let variables = [
        ("LISTENERS__IMAP__UPSTREAM", upstream(sandbox.imap())),
        ("LISTENERS__SMTP__UPSTREAM", upstream(sandbox.smtp())),
        ("MICROSOFT__AUTHORITY", sandbox.authority()),
        ("TRUST__ADDITIONAL_CA", "ca.pem".to_owned()),
        ("TRUST__SYSTEM_ROOTS", "false".to_owned()),
    ];
    let terminal = Terminal {
        directory: Directory::new(),
        variables: variables.map(|(name, value)| (format!("GATEPOST__{name}"), value)).into(),
    };
    terminal.directory.write("ca.pem", sandbox.ca_pem());

    terminal.told(block(section, "sh").trim());
    let certificate = std::fs::read_to_string(terminal.directory.file("app.pem")).unwrap();
    sandbox.add_certificate(&certificate).unwrap();

    let (imap, smtp) = (free_port(), free_port());
    let yaml = block(section, "yaml").replace("1143", &imap.to_string()).replace("1587", &smtp.to_string());
    let placeholder = "00000000-0000-0000-0000-000000000000";
    assert!(yaml.contains(placeholder) && yaml.contains("contoso.com"), "{yaml}");
    let yaml = yaml.replace(placeholder, sandbox.confidential_client_id()).replace("contoso.com", "contoso.example");
    terminal.directory.write("proxy.yaml", &yaml);

    let (_, last) = section.split_once("5. ").unwrap();
    let commands = block(last, "sh").replace("contoso.com", "contoso.example");
    let [add, check, run, doctor] = commands.lines().collect::<Vec<_>>()[..] else { panic!("{commands}") };
    let password = shown(&terminal.told(add));
    let checked = terminal.told(check);
    assert!(checked.contains("proxy.yaml: no problems found"), "{checked}");
    let log = std::fs::File::create(terminal.directory.file("log")).unwrap();
    let service = terminal.command(run).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let _service = Service::listening(service, imap);
    wait_until("it takes commands", || terminal.directory.file("state/gatepost.sock").exists());
    let healthy = terminal.told(doctor);
    assert!(healthy.contains("in the running service"), "{healthy}");

    assert!(log_in(imap, SCANNER, &password).1.starts_with("OK"));
    assert!(!log_in(imap, SCANNER, "wrong").1.starts_with("OK"));
    assert!(sandbox.counters().logins_of(Upstream::Imap, SCANNER).succeeded > 0);
}
