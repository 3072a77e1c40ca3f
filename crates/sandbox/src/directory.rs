//! Who exists: users with their mailboxes, and the two registered applications.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest;
use parking_lot::Mutex;

use super::entra::lockout::{Lockout, PasswordVerdict};
use super::mode::Service;
use super::provider::{AccountKind, Provider};
use super::registration::Registration;
use super::store::{Flags, INBOX, Mailbox, sample_messages};
use super::token::Claims;
use gatepost_core::clock::Moment;
use gatepost_core::secret::{ClientSecret, Password};

/// A user with a mailbox.
#[derive(Debug)]
pub struct SandboxAccount {
    /// User principal name and mailbox address in one.
    pub address: String,
    /// What ROPC must present.
    pub password: Password,
    /// Other users with Full Access to the mailbox and the right to send as it.
    pub delegates: Vec<String>,
    /// Whether the confidential application may open the mailbox with a token of its own.
    pub app_access: bool,
    /// Whose account it is.
    pub kind: AccountKind,
}

impl SandboxAccount {
    /// A user whose mailbox only the user and the application may open.
    pub fn new(address: &str, password: &str) -> Self {
        Self {
            address: address.to_owned(),
            password: Password::new(password.to_owned()),
            delegates: Vec::new(),
            app_access: true,
            kind: AccountKind::Work,
        }
    }

    /// An account that belongs to no tenant: one of outlook.com, or one of another provider.
    pub fn of(kind: AccountKind, address: &str, password: &str) -> Self {
        Self { kind, ..Self::new(address, password) }
    }
}

/// A user with a mailbox.
struct User {
    password: Password,
    lockout: Lockout,
    // Users who have Full Access and SendAs, folded.
    delegates: Vec<String>,
    app_access: bool,
    kind: AccountKind,
    mailbox: Arc<Mailbox>,
}

/// What a mailbox says to the bearer of a token.
pub(super) enum MailboxAccess {
    Open(Arc<Mailbox>),
    NoSuchMailbox,
    Denied,
}

/// The tenant's users and applications.
pub(super) struct Directory {
    pub(super) tenant_id: String,
    pub(super) tenant_domain: String,
    pub(super) public_client_id: String,
    pub(super) confidential_client_id: String,
    /// What the confidential application is registered with.
    pub(super) registration: Registration,
    lockout_threshold: u32,
    users: Mutex<HashMap<String, User>>,
    // AADSTS codes to answer, by user (folded) or client id.
    sign_in_errors: Mutex<HashMap<String, u32>>,
}

impl Directory {
    pub(super) fn new(
        (tenant_id, tenant_domain): (String, String),
        (public_client_id, confidential_client_id): (String, String),
        client_secret: ClientSecret,
        lockout_threshold: u32,
    ) -> Self {
        Self {
            tenant_id: tenant_id.to_lowercase(),
            tenant_domain: tenant_domain.to_lowercase(),
            public_client_id: public_client_id.to_lowercase(),
            confidential_client_id: confidential_client_id.to_lowercase(),
            registration: Registration::new(client_secret),
            lockout_threshold,
            users: Mutex::default(),
            sign_in_errors: Mutex::default(),
        }
    }

    /// Adds a user with a mailbox of sample messages; replaces one of the same address.
    pub(super) fn add(&self, account: SandboxAccount, now: i64) {
        let address = account.address.to_lowercase();
        let mailbox = Mailbox::new(now);
        for (received_at, content) in sample_messages(&address, now) {
            // A fresh mailbox has an INBOX and room.
            let _ = mailbox.append(INBOX, content.into(), Flags::default(), received_at);
        }
        let user = User {
            password: account.password,
            lockout: Lockout::new(self.lockout_threshold),
            delegates: account.delegates.iter().map(|delegate| delegate.to_lowercase()).collect(),
            app_access: account.app_access,
            kind: account.kind,
            mailbox: Arc::new(mailbox),
        };
        self.with_users(|users| users.insert(address, user));
    }

    /// Gives a user another password and clears the lock-out; whether the user exists.
    pub(super) fn set_password(&self, address: &str, password: Password) -> bool {
        let threshold = self.lockout_threshold;
        self.with_users(|users| match users.get_mut(&address.to_lowercase()) {
            Some(user) => {
                user.password = password;
                user.lockout = Lockout::new(threshold);
                true
            }
            None => false,
        })
    }

    /// Whether the application may open a mailbox.
    pub(super) fn set_application_access(&self, address: &str, allowed: bool) {
        self.with_users(|users| {
            if let Some(user) = users.get_mut(&address.to_lowercase()) {
                user.app_access = allowed;
            }
        });
    }

    /// What Entra says to a user name and password.
    pub(super) fn check_password(&self, address: &str, password: &str, now: Moment) -> PasswordVerdict {
        self.check_password_at(Provider::Microsoft, address, password, now)
    }

    /// What a provider says to a user name and password.
    pub(super) fn check_password_at(
        &self,
        provider: Provider,
        address: &str,
        password: &str,
        now: Moment,
    ) -> PasswordVerdict {
        self.with_users(|users| {
            let user = users.get_mut(&address.to_lowercase()).filter(|user| user.kind.provider() == provider);
            let Some(user) = user else { return PasswordVerdict::UnknownUser };
            let right = equal(user.password.expose(), password);
            user.lockout.judge(right, password, now)
        })
    }

    /// The object id of the confidential application's registration.
    pub(super) fn application_object_id(&self) -> String {
        self.object_id(&format!("application {}", self.confidential_client_id))
    }

    /// The object id that stands for a name: always the same one, of the form of a GUID. Half of
    /// that of a personal account is zeros, as at Microsoft.
    pub(super) fn object_id(&self, name: &str) -> String {
        let id = self.object_id_of(name);
        if self.is_personal(name) { format!("00000000-0000-0000-{}", &id[19..]) } else { id }
    }

    fn object_id_of(&self, name: &str) -> String {
        let digest = digest::digest(&digest::SHA256, format!("{} {}", self.tenant_id, name.to_lowercase()).as_bytes());
        let hex: String = digest.as_ref().iter().take(16).map(|octet| format!("{octet:02x}")).collect();
        [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &hex[part]).join("-")
    }

    pub(super) fn set_sign_in_error(&self, who: &str, code: Option<u32>) {
        let mut errors = self.sign_in_errors.lock();
        match code {
            Some(code) => errors.insert(who.to_lowercase(), code),
            None => errors.remove(&who.to_lowercase()),
        };
    }

    pub(super) fn sign_in_error(&self, who: &str) -> Option<u32> {
        self.sign_in_errors.lock().get(&who.to_lowercase()).copied()
    }

    /// What a token must permit for a service.
    pub(super) fn permission(claims: &Claims, service: Service) -> &'static str {
        match claims.user {
            Some(_) => service.delegated_permission(),
            None => service.application_permission(),
        }
    }

    /// Whose mailbox the bearer of a token may enter, whatever the token then permits there.
    pub(super) fn enter(&self, claims: &Claims, address: &str) -> MailboxAccess {
        let address = address.to_lowercase();
        self.with_users(|users| {
            let Some(user) = users.get(&address) else { return MailboxAccess::NoSuchMailbox };
            let may = match &claims.user {
                _ if user.kind.provider() != Provider::Microsoft => false,
                Some(bearer) => *bearer == address || user.delegates.contains(bearer),
                // An application of a tenant has no right outside it.
                None => user.app_access && user.kind == AccountKind::Work,
            };
            if may { MailboxAccess::Open(Arc::clone(&user.mailbox)) } else { MailboxAccess::Denied }
        })
    }

    /// The address (folded) of a user named by address or object id.
    pub(super) fn address_of(&self, name: &str) -> Option<String> {
        let name = name.to_lowercase();
        self.with_users(|users| {
            if users.contains_key(&name) {
                return Some(name);
            }
            let is = |address: &str, user: &User| match user.kind {
                AccountKind::Personal => {
                    name.starts_with("00000000-0000-0000-") && self.object_id_of(address).ends_with(&name[19..])
                }
                _ => self.object_id_of(address) == name,
            };
            users.iter().find(|(address, user)| is(address, user)).map(|(address, _)| address.clone())
        })
    }

    /// Whether someone signed in to `mailbox` may send as `sender`.
    pub(super) fn may_send_as(&self, mailbox: &str, sender: &str) -> bool {
        let (mailbox, sender) = (mailbox.to_lowercase(), sender.to_lowercase());
        mailbox == sender
            || self.with_users(|users| users.get(&sender).is_some_and(|user| user.delegates.contains(&mailbox)))
    }

    pub(super) fn mailbox(&self, address: &str) -> Option<Arc<Mailbox>> {
        self.with_users(|users| users.get(&address.to_lowercase()).map(|user| Arc::clone(&user.mailbox)))
    }

    /// Whether a domain is one of the tenant's, so that mail for it stays in the sandbox.
    pub(super) fn is_local(&self, domain: &str) -> bool {
        let domain = domain.to_lowercase();
        domain == self.tenant_domain
            || self.with_users(|users| users.keys().any(|user| user.rsplit_once('@').is_some_and(|(_, d)| d == domain)))
    }

    /// Whether a domain names the tenant, because accounts of the tenant have it.
    pub(super) fn names_tenant(&self, domain: &str) -> bool {
        let domain = domain.to_lowercase();
        let has_domain = |user: &str| user.rsplit_once('@').is_some_and(|(_, of)| of == domain);
        domain == self.tenant_domain
            || self
                .with_users(|users| users.iter().any(|(name, user)| user.kind == AccountKind::Work && has_domain(name)))
    }

    /// Whose account it is, if there is such a one.
    pub(super) fn kind_of(&self, address: &str) -> Option<AccountKind> {
        self.with_users(|users| users.get(&address.to_lowercase()).map(|user| user.kind))
    }

    pub(super) fn is_personal(&self, address: &str) -> bool {
        self.kind_of(address) == Some(AccountKind::Personal)
    }

    fn with_users<R>(&self, work: impl FnOnce(&mut HashMap<String, User>) -> R) -> R {
        work(&mut self.users.lock())
    }
}

fn equal(secret: &str, presented: &str) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(secret.as_bytes(), presented.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> Directory {
        let directory = Directory::new(
            ("t".into(), "contoso.example".into()),
            ("public".into(), "app".into()),
            ClientSecret::new("s".into()),
            10,
        );
        let mut shared = SandboxAccount::new("shared@contoso.example", "x");
        shared.delegates.push("Alice@contoso.example".into());
        shared.app_access = false;
        directory.add(SandboxAccount::new("Alice@contoso.example", "secret"), 0);
        directory.add(shared, 0);
        directory
    }

    fn claims(user: Option<&str>, permission: &str) -> Claims {
        Claims {
            audience: String::new(),
            issuer: String::new(),
            client_id: String::new(),
            user: user.map(str::to_owned),
            scope: user.map(|_| permission.to_owned()),
            roles: if user.is_none() { vec![permission.to_owned()] } else { Vec::new() },
            issued_at: 0,
            expires_at: 0,
            expires_at_millis: 0,
            object_id: String::new(),
            tenant_id: String::new(),
            application_name: String::new(),
            kind: String::new(),
        }
    }

    #[test]
    fn a_mailbox_opens_for_its_owner_its_delegates_and_permitted_apps() {
        let directory = directory();
        let alice = claims(Some("alice@contoso.example"), "IMAP.AccessAsUser.All");
        let opens = |claims: &Claims, address| matches!(directory.enter(claims, address), MailboxAccess::Open(_));
        assert!(opens(&alice, "ALICE@contoso.example"));
        assert!(opens(&alice, "shared@contoso.example"));
        assert!(!opens(&alice, "nobody@contoso.example"));
        let shared = claims(Some("shared@contoso.example"), "IMAP.AccessAsUser.All");
        assert!(!opens(&shared, "alice@contoso.example"));
        let app = claims(None, "IMAP.AccessAsApp");
        assert!(opens(&app, "alice@contoso.example"));
        assert!(!opens(&app, "shared@contoso.example"));
        assert!(alice.permits(Directory::permission(&alice, Service::Imap)));
        assert!(!alice.permits(Directory::permission(&alice, Service::Pop3)));
        assert!(app.permits(Directory::permission(&app, Service::Imap)));
    }

    #[test]
    fn a_mailbox_outside_the_tenant_opens_for_its_own_person_only() {
        let directory = directory();
        directory.add(SandboxAccount::of(AccountKind::Personal, "pat@outlook.example", "x"), 0);
        directory.add(SandboxAccount::of(AccountKind::Google, "gus@gmail.example", "x"), 0);
        let opens = |claims: &Claims, address| matches!(directory.enter(claims, address), MailboxAccess::Open(_));
        assert!(opens(&claims(Some("pat@outlook.example"), "SMTP.Send"), "Pat@outlook.example"));
        assert!(!opens(&claims(Some("alice@contoso.example"), "SMTP.Send"), "pat@outlook.example"));
        let app = claims(None, "IMAP.AccessAsApp");
        assert!(!opens(&app, "pat@outlook.example") && !opens(&app, "gus@gmail.example"));
        assert!(!opens(&claims(Some("gus@gmail.example"), "SMTP.Send"), "gus@gmail.example"));
        assert!(directory.is_local("gmail.example"), "its mail stays in the sandbox");
        assert!(!directory.names_tenant("outlook.example") && directory.names_tenant("contoso.example"));
        let now = gatepost_core::clock::Clock::manual().now();
        assert_eq!(directory.check_password("pat@outlook.example", "x", now), PasswordVerdict::Right);
        assert_eq!(directory.check_password("gus@gmail.example", "x", now), PasswordVerdict::UnknownUser);
        assert_eq!(
            directory.check_password_at(Provider::Google, "gus@gmail.example", "x", now),
            PasswordVerdict::Right
        );
        let id = directory.object_id("pat@outlook.example");
        assert!(id.starts_with("00000000-0000-0000-") && id.len() == 36, "{id}");
        assert_eq!(directory.address_of(&id).as_deref(), Some("pat@outlook.example"));
        assert_eq!(directory.address_of(&directory.object_id(ALICE)).as_deref(), Some(ALICE));
    }

    const ALICE: &str = "alice@contoso.example";

    #[test]
    fn sending_as_another_needs_its_permission() {
        let directory = directory();
        assert!(directory.may_send_as("alice@contoso.example", "Shared@contoso.example"));
        assert!(!directory.may_send_as("shared@contoso.example", "alice@contoso.example"));
        assert!(directory.is_local("CONTOSO.example"));
        assert!(!directory.is_local("fabrikam.example"));
    }

    #[test]
    fn a_new_password_replaces_the_old_one() {
        let directory = directory();
        let now = gatepost_core::clock::Clock::manual().now();
        assert_eq!(directory.check_password("alice@contoso.example", "secret", now), PasswordVerdict::Right);
        assert!(directory.set_password("alice@contoso.example", Password::new("other".into())));
        assert_eq!(directory.check_password("alice@contoso.example", "secret", now), PasswordVerdict::Wrong);
        assert_eq!(directory.check_password("bob@contoso.example", "secret", now), PasswordVerdict::UnknownUser);
    }
}
