//! The form for a new device password: what was entered, what is wrong with it, and the password.

use super::form::Form;
use crate::admin::state::AdminState;
use crate::login::issue::{self, NotIssued, Order};
use gatepost_config::Grant;
use gatepost_core::account::LoginName;
use gatepost_core::clock::UnixTime;
use gatepost_core::protocol::Protocol;
use gatepost_core::secret::Password;
use gatepost_store::DevicePassword;

/// What a person has entered. The form shows it again when something is wrong with it.
#[derive(Clone, Debug, Default)]
pub(super) struct Entered {
    pub(super) login: String,
    pub(super) name: String,
    pub(super) from: String,
    pub(super) expires: String,
    protocols: Vec<Protocol>,
    wrong: Option<Wrong>,
}

/// What is wrong, and the field that it is about; empty when it is about none.
#[derive(Clone, Debug)]
struct Wrong {
    field: &'static str,
    text: String,
}

impl Entered {
    pub(super) fn read(form: &Form) -> Self {
        let protocols = form.values("protocol");
        Self {
            login: form.text("login").to_owned(),
            name: form.text("name").to_owned(),
            from: form.text("from").to_owned(),
            expires: form.text("expires").to_owned(),
            protocols: protocols.filter_map(|name| Protocol::ALL.into_iter().find(|of| of.name() == name)).collect(),
            wrong: None,
        }
    }

    /// Whether the protocol of that name is chosen.
    pub(super) fn has(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|of| of.name() == protocol)
    }

    /// Returns what is wrong with a field.
    pub(super) fn wrong(&self, field: &str) -> Option<&str> {
        self.wrong.as_ref().filter(|wrong| wrong.field == field).map(|wrong| &*wrong.text)
    }

    /// Creates the password.
    ///
    /// # Errors
    /// The form again, with what is wrong.
    pub(super) async fn create(self, site: &AdminState) -> Result<(DevicePassword, Password), Self> {
        let created = self.try_create(site).await;
        created.map_err(|wrong| Self { wrong: Some(wrong), ..self })
    }

    async fn try_create(&self, site: &AdminState) -> Result<(DevicePassword, Password), Wrong> {
        let wrong = |field| move |text: String| Wrong { field, text };
        let authenticator = &site.shared.authenticator;
        let config = authenticator.config();
        let login = LoginName::parse(&self.login).map_err(|error| wrong("login")(error.to_string()))?;
        let found = config.accounts.find(&login);
        let (account, login) =
            found.ok_or_else(|| wrong("login")(format!("no entry of `accounts` matches `{login}`")))?;
        if account.grant == Grant::Password {
            return Err(wrong("login")(format!(
                "`{login}` has `grant: password`: Entra checks its password, and would refuse a device password"
            )));
        }
        let networks = self.from.split([',', ' ']).filter(|text| !text.is_empty());
        let from = networks
            .map(gatepost_config::value::network)
            .collect::<Result<_, _>>()
            .map_err(|error| wrong("from")(error.to_string()))?;
        let expires_at = match &*self.expires {
            "" => None,
            day => Some(UnixTime::parse_day(day).ok_or_else(|| wrong("expires")(format!("`{day}` is not a day")))?),
        };
        let order = Order { login, name: self.name.clone(), protocols: self.protocols.clone(), from, expires_at };
        let issued = issue::generate(authenticator.store(), order, authenticator.clock().unix_time()).await;
        issued.map_err(|error| wrong(field(&error))(error.to_string()))
    }
}

/// Returns the field that an error is about.
fn field(error: &NotIssued) -> &'static str {
    match error {
        NotIssued::NoName | NotIssued::LongName | NotIssued::ControlCharacter | NotIssued::SameName { .. } => "name",
        NotIssued::TooMany(_) | NotIssued::UnderWay(_) => "login",
        NotIssued::Expired => "expires",
        NotIssued::Unfit(_) | NotIssued::SamePassword(_) | NotIssued::Hashing(_) | NotIssued::Store(_) => "",
    }
}
