//! What clients log in with: device passwords, and the count of wrong passwords.

use std::time::Duration;

use tokio::time::timeout;

use super::accounts::Subject;
use super::entra::day;
use super::facts::Facts;
use super::step::{Section, Step};
use crate::client_settings::{fitting, lets_in};
use gatepost_config::{Config, Grant};
use gatepost_core::account::MailAddress;
use gatepost_core::clock::UnixTime;
use gatepost_core::failure::Actor;
use gatepost_store::DevicePassword;

const HERE: Section = Section::Clients;
/// Time limit of the store.
const STORE: Duration = Duration::from_secs(5);

pub(super) async fn steps(facts: &Facts, subjects: &[Subject], now: UnixTime) -> Vec<Step> {
    if facts.store_problem.is_some() {
        return vec![Step::skipped(HERE, "device passwords", "the store cannot be read (host)")];
    }
    let overview = facts.shared.authenticator.overview(subjects.iter().filter_map(|subject| subject.login.clone()));
    let (views, passwords) = match timeout(STORE, overview).await {
        Ok(Ok(found)) => found,
        Ok(Err(_)) | Err(_) => {
            return vec![Step::skipped(HERE, "device passwords", "the store does not answer (host)")];
        }
    };
    let mut steps = Vec::new();
    for subject in subjects {
        let account = &subject.account;
        let own: Vec<&DevicePassword> = passwords
            .iter()
            .filter(|password| match &subject.login {
                Some(login) => password.login == *login,
                None => facts.config.accounts.find(password.login.as_login()).is_some_and(|(of, _)| of == *account),
            })
            .collect();
        if account.grant != Grant::Password {
            steps.extend(device_passwords(&facts.config, subject, &own, now));
        }
        let Some(login) = &subject.login else { continue };
        if let Some(view) = views.iter().find(|view| view.login == *login)
            && view.wrong_passwords > 0
        {
            let counted = match view.wrong_passwords {
                1 => "1 wrong password counts".to_owned(),
                number => format!("{number} wrong passwords count"),
            };
            let text = format!("{counted}, and Gatepost forwards only a few a day so that Entra locks nobody out");
            let remedy = (
                Actor::ClientOwner,
                format!(
                    "correct the password in the device. Gatepost admin: then run `gatepost account unlock {login}`"
                ),
            );
            steps.push(Step::warning(HERE, login.to_string(), text, remedy));
        }
    }
    steps
}

/// What is to be said of the device passwords of an account.
fn device_passwords(config: &Config, subject: &Subject, own: &[&DevicePassword], now: UnixTime) -> Vec<Step> {
    let of_configuration = subject.account.passwords.len();
    let name = &*subject.name;
    let login = subject.login.as_ref().map_or("LOGIN", MailAddress::as_str);
    let create = (Actor::GatepostAdmin, format!("run `gatepost password add {login} --name NAME`"));
    if own.is_empty() && of_configuration == 0 {
        let text = "no device password, so no client can log in";
        return vec![Step::problem(HERE, name, text, create)];
    }
    let is_over = |password: &&&DevicePassword| password.expires_at.is_some_and(|end| end <= now);
    let over: Vec<&&DevicePassword> = own.iter().filter(is_over).collect();
    let mut steps = Vec::new();
    if over.len() == own.len() && of_configuration == 0 {
        steps.push(Step::problem(HERE, name, "all device passwords have expired, so no client can log in", create));
        return steps;
    }
    for password in over {
        let on = password.expires_at.map(day).unwrap_or_default();
        let text = format!("device password \"{}\" (ID {}) expired on {on}", password.name, password.id);
        let remedy = (
            Actor::GatepostAdmin,
            format!("create another one, or revoke it: `gatepost password revoke {}`", password.id),
        );
        steps.push(Step::warning(HERE, name, text, remedy));
    }
    for password in own.iter().filter(|password| !is_over(password) && !fits(config, password)) {
        let text = format!(
            "device password \"{}\" (ID {}) is limited to protocols or networks that no listener serves",
            password.name, password.id
        );
        let remedy = (
            Actor::GatepostAdmin,
            format!("create one without that limit: `gatepost password add {login} --name NAME`"),
        );
        steps.push(Step::warning(HERE, name, text, remedy));
    }
    let usable = own.iter().filter(|password| !is_over(password)).count() + of_configuration;
    let noun = if usable == 1 { "password" } else { "passwords" };
    steps.insert(0, Step::ok(HERE, name, format!("{usable} device {noun}")));
    steps
}

/// Whether a listener serves the protocols and networks of a device password.
fn fits(config: &Config, password: &DevicePassword) -> bool {
    fitting(config, &password.protocols).any(|listener| lets_in(listener, &password.from))
}
