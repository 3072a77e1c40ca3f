//! Asks a person at the terminal for the answers that are missing.

use std::io::{self, BufRead, Read as _, Write};

use clap::ValueEnum as _;

use crate::cli::parse::{address, cloud, protocol, yes_or_no};
use crate::cli::setup_options::{SetupAnswers, SignInBy};
use gatepost_config::Cloud;

/// Longest line that is read, in bytes.
const LINE: u64 = 4 * 1024;

/// Most attempts at one answer.
const ATTEMPTS: usize = 5;

/// A person at the terminal.
pub(super) struct Dialogue<'a> {
    input: &'a mut dyn BufRead,
    output: &'a mut dyn Write,
}

impl<'a> Dialogue<'a> {
    pub(super) fn new(input: &'a mut dyn BufRead, output: &'a mut dyn Write) -> Self {
        Self { input, output }
    }

    /// Asks for each answer that is missing and has no default.
    ///
    /// # Errors
    /// A sentence: the input has ended, or no answer is valid.
    pub(super) fn complete(&mut self, given: &mut SetupAnswers) -> Result<(), String> {
        if given.tenant.is_none() {
            given.tenant = Some(self.ask("Tenant (directory ID or verified domain)", None, |text| match text {
                "" => Err("write a directory ID or a domain, such as contoso.com".to_owned()),
                text => Ok(text.to_owned()),
            })?);
            if given.cloud.is_none() {
                let preset = Some(Cloud::Worldwide.preset().name);
                given.cloud = Some(self.ask("Cloud", preset, cloud)?);
            }
        }
        if given.protocols.is_empty() {
            let question = "What do the programs speak? imap, pop3, smtp, ews, graph (several with commas)";
            given.protocols = self.ask(question, None, |text| list(text, protocol))?;
        }
        if given.leaves_open_whether_send_only() {
            given.send_only = Some(self.ask("Do the programs only send? (yes or no)", Some("yes"), yes_or_no)?);
        }
        if given.mailboxes.is_empty() {
            given.mailboxes = self.ask("Mailboxes (several with commas)", None, |text| list(text, address))?;
        }
        if given.sign_in.is_none() {
            let question = "Who signs in at Microsoft?\n  \
                            nobody    a server works alone. Gatepost checks the clients' passwords\n  \
                            person    somebody signs in once for each mailbox, also with MFA\n  \
                            password  programs keep the Microsoft password, which works without MFA only\n";
            given.sign_in = Some(self.ask(question, Some("nobody"), |text| SignInBy::from_str(text, true))?);
        }
        Ok(())
    }

    /// Asks whether to do something; the default is not to.
    ///
    /// # Errors
    /// As for every question.
    pub(super) fn confirm(&mut self, question: &str) -> Result<bool, String> {
        self.ask(&format!("{question} (yes or no)"), Some("no"), yes_or_no)
    }

    fn ask<T>(
        &mut self,
        question: &str,
        preset: Option<&str>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, String> {
        let failed = |error: io::Error| format!("the terminal cannot be used: {error}");
        for _ in 0..ATTEMPTS {
            let preset_shown = preset.map(|preset| format!(" [{preset}]")).unwrap_or_default();
            write!(self.output, "{question}{preset_shown}: ").and_then(|()| self.output.flush()).map_err(failed)?;
            let mut line = String::new();
            if (&mut *self.input).take(LINE).read_line(&mut line).map_err(failed)? == 0 {
                return Err("the input has ended before all answers were given".to_owned());
            }
            let answer = match (line.trim(), preset) {
                ("", Some(preset)) => preset,
                (answer, _) => answer,
            };
            match read(answer) {
                Ok(value) => return Ok(value),
                Err(why) => writeln!(self.output, "  {why}").map_err(failed)?,
            }
        }
        Err("no valid answer was given".to_owned())
    }
}

fn list<T>(text: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    let items = text.split([',', ' ']).filter(|item| !item.is_empty());
    let items: Vec<T> = items.map(read).collect::<Result<_, _>>()?;
    if items.is_empty() { Err("write at least one".to_owned()) } else { Ok(items) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_core::protocol::Protocol;

    fn asked(input: &str, given: SetupAnswers) -> (Result<SetupAnswers, String>, String) {
        let (mut given, mut output) = (given, Vec::new());
        let told = Dialogue::new(&mut input.as_bytes(), &mut output).complete(&mut given);
        (told.map(|()| given), String::from_utf8(output).unwrap())
    }

    #[test]
    fn only_what_is_missing_is_asked_and_a_wrong_answer_is_asked_again() {
        let (given, shown) = asked(
            "contoso.com\n\nsmtp, ftp\nsmtp,graph\n\na@contoso.com b@contoso.com\nperson\n",
            SetupAnswers::default(),
        );
        let given = given.unwrap();
        assert_eq!(given.tenant.as_deref(), Some("contoso.com"));
        assert_eq!(given.protocols, [Protocol::Smtp, Protocol::Graph]);
        assert_eq!((given.send_only, given.sign_in), (Some(true), Some(SignInBy::Person)));
        assert_eq!(given.mailboxes.len(), 2);
        assert_eq!(shown.matches("What do the programs speak?").count(), 2, "{shown}");
        let (_, shown) = asked("", given);
        assert_eq!(shown, "");
    }

    #[test]
    fn an_input_that_ends_is_an_error() {
        let (told, _) = asked("contoso.com\n", SetupAnswers::default());
        assert_eq!(told.map(drop).unwrap_err(), "the input has ended before all answers were given");
    }

    #[test]
    fn without_an_answer_nothing_is_confirmed() {
        let mut output = Vec::new();
        assert_eq!(Dialogue::new(&mut "\n".as_bytes(), &mut output).confirm("Create it?"), Ok(false));
        assert_eq!(Dialogue::new(&mut "yes\n".as_bytes(), &mut output).confirm("Create it?"), Ok(true));
    }
}
