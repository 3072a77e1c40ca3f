//! `deploy/completions`, from the definition of the command line.

use clap_complete::Shell;

use super::commands::command_line;

fn script(shell: Shell) -> String {
    let mut written = Vec::new();
    clap_complete::generate(shell, &mut command_line(), "gatepost", &mut written);
    String::from_utf8(written).unwrap()
}

/// The scripts with their paths.
pub(super) fn scripts() -> Vec<(String, String)> {
    [
        ("gatepost.bash", Shell::Bash),
        ("_gatepost", Shell::Zsh),
        ("gatepost.fish", Shell::Fish),
        ("gatepost.ps1", Shell::PowerShell),
    ]
    .map(|(name, shell)| (format!("deploy/completions/{name}"), script(shell)))
    .into()
}
