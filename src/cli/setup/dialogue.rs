//! Asks a person at the terminal for the answers that are missing.

use std::io::{self, BufRead, Read as _, Write};

use clap::ValueEnum as _;

use super::contradictions::{clouds_of, contradictions};
use crate::cli::parse::{address, cloud, protocol, yes_or_no};
use crate::cli::setup_options::{GraphUse, SetupAnswers, SignInBy};
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
            self.answer(given, "Tenant (directory ID or verified domain)", None, |text, given| {
                given.tenant = Some(text.to_owned());
                Ok(())
            })?;
            if given.cloud.is_none() {
                let of_tenant = given.tenant.as_deref().and_then(clouds_of).and_then(|clouds| clouds.first());
                let preset = of_tenant.copied().unwrap_or(Cloud::Worldwide).preset().name;
                let question = "Cloud: worldwide, us-gov-gcc-high, us-gov-dod or china";
                self.answer(given, question, Some(preset), |text, given| {
                    cloud(text).map(|cloud| given.cloud = Some(cloud))
                })?;
            }
        }
        if given.protocols.is_empty() {
            let question = "What do the programs speak? imap, pop3, smtp, ews, graph (several with commas)";
            self.answer(given, question, None, |text, given| {
                list(text, protocol).map(|protocols| given.protocols = protocols)
            })?;
        }
        if given.leaves_open_what_graph_is_for() {
            let question = "What do the programs do over Graph? send, read or both";
            self.answer(given, question, Some("send"), |text, given| {
                GraphUse::from_str(text, true).map(|used| given.graph_for = Some(used))
            })?;
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

    /// Asks for one answer, which must not contradict the others.
    fn answer(
        &mut self,
        given: &mut SetupAnswers,
        question: &str,
        preset: Option<&str>,
        take: impl Fn(&str, &mut SetupAnswers) -> Result<(), String>,
    ) -> Result<(), String> {
        *given = self.ask(question, preset, |text| {
            let mut with_it = given.clone();
            take(text, &mut with_it)?;
            contradictions(&with_it).map_err(|found| found.join("\n  "))?;
            Ok(with_it)
        })?;
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
        assert_eq!((given.graph_for, given.sign_in), (Some(GraphUse::Send), Some(SignInBy::Person)));
        assert_eq!(given.mailboxes.len(), 2);
        assert_eq!(shown.matches("What do the programs speak?").count(), 2, "{shown}");
        let (_, shown) = asked("", given);
        assert_eq!(shown, "");
    }

    #[test]
    fn an_answer_that_contradicts_another_is_asked_again_at_once() {
        let (given, shown) = asked(
            "common\n\ncontoso.onmicrosoft.us\nworldwide\nus-gov-dod\nimap\na@contoso.us\n\n",
            SetupAnswers::default(),
        );
        let given = given.unwrap();
        assert_eq!(given.tenant.as_deref(), Some("contoso.onmicrosoft.us"));
        assert_eq!((given.cloud, given.mailboxes.len()), (Some(Cloud::UsGovDod), 1));
        assert_eq!((shown.matches("Tenant (").count(), shown.matches("Cloud: worldwide, us-gov").count()), (3, 2));
        assert!(shown.contains("or china [us-gov-gcc-high]: "), "{shown}");
        let given = SetupAnswers { send_only: Some(true), ..given };
        let (given, shown) = asked("imap\nsmtp\n", SetupAnswers { protocols: Vec::new(), ..given });
        assert!(shown.contains("`--send-only` and `--protocol imap` contradict each other"), "{shown}");
        assert_eq!(given.unwrap().protocols, [Protocol::Smtp]);
    }

    #[test]
    fn an_input_that_ends_is_an_error() {
        let (told, _) = asked("contoso.com\n", SetupAnswers::default());
        assert_eq!(told.map(drop).unwrap_err(), "the input has ended before all answers were given");
    }

    #[test]
    fn without_an_answer_nothing_is_confirmed() {
        for (answer, confirmed) in [("\n", false), ("no\n", false), ("yes\n", true), ("Y\n", true)] {
            let mut output = Vec::new();
            let told = Dialogue::new(&mut answer.as_bytes(), &mut output).confirm("Create it?");
            assert_eq!(told, Ok(confirmed), "{answer}");
        }
    }
}
