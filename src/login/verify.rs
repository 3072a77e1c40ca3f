//! Verifies passwords that Entra never sees: device passwords, and those of the configuration.
//!
//! A generated device password is found by its hash, without a queue and regardless of how much
//! others guess. Any other password costs at least one Argon2id hash, even for an unknown name, and
//! counts as a guess when it is wrong.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::login::authenticator::Authenticator;
use crate::login::device::{KnownPassword, Outside};
use crate::login::explain;
use crate::login::local::{Claim, Hashes, NotProved};
use crate::login::request::LoginRequest;
use gatepost_config::{Account, LoginPattern};
use gatepost_core::account::{self, MailAddress};
use gatepost_core::failure::Failure;
use gatepost_core::secret::Password;
use gatepost_core::source::Source;
use gatepost_core::tuple_key::TupleKey;
use gatepost_oauth::tokens::explain::own_fault;
use gatepost_store::StoreError;

/// The device password that was presented; `None` for one of the configuration.
type Proved = Option<Arc<KnownPassword>>;

/// Why no password was accepted.
struct Refused {
    why: NotProved,
    /// The device password that was presented, if it is right but may not be used like this. This
    /// is only for the log.
    outside: Option<(Arc<KnownPassword>, Outside)>,
}

impl From<NotProved> for Refused {
    fn from(why: NotProved) -> Self {
        Self { why, outside: None }
    }
}

impl Authenticator {
    /// Verifies that the client may use `account`, of which `address` is an address.
    pub(super) async fn verify_password(
        &self,
        account: &Account,
        address: &MailAddress,
        request: LoginRequest<'_>,
    ) -> Result<Proved, Failure> {
        let before = self.devices.mark();
        let refused = match self.try_passwords(account, address, request).await? {
            Ok(proved) => return Ok(self.note(proved, request)),
            Err(refused) => refused,
        };
        // It may be a device password that was created a moment ago.
        match self.devices.look_since(before).await {
            Ok(true) => match self.try_passwords(account, address, request).await? {
                Ok(proved) => Ok(self.note(proved, request)),
                Err(refused) => Err(self.wrong(&refused, account, address, request)),
            },
            Ok(false) => Err(self.wrong(&refused, account, address, request)),
            Err(error) => Err(not_looked_up(&refused, &error, request)),
        }
    }

    /// Explains why no password of `account` was accepted.
    fn wrong(&self, refused: &Refused, account: &Account, address: &MailAddress, request: LoginRequest<'_>) -> Failure {
        let known = self.devices.of(address);
        let is_wrong = matches!(refused.why, NotProved::Wrong);
        // Under a pattern, anybody can make up a name that nobody has signed in for.
        let is_one = matches!(account.pattern, LoginPattern::Address(_));
        if is_wrong && is_one && account.grant.is_sign_in() && account.passwords.is_empty() && known.is_empty() {
            return explain::nobody_signed_in(address);
        }
        // Generated passwords have neither capitals nor blanks, and comparing them costs no
        // Argon2id hash.
        let text = request.password.expose();
        let plain: Zeroizing<String> =
            Zeroizing::new(text.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect());
        let meant = if *plain == text { None } else { known.generated(address, &Password::new(plain.to_string())) };
        not_proved(refused, Some((address, meant.map(Arc::as_ref))), request)
    }

    /// Does for an unknown name what is done for a wrong password.
    pub(super) async fn refuse_unknown(&self, request: LoginRequest<'_>) -> Failure {
        let before = self.devices.mark();
        let who = TupleKey::encode(["unknown", request.login.as_str()]);
        let refused = match self.try_hashes(who.clone(), who, request, Hashes::default).await {
            Ok(Err(refused)) => refused.into(),
            // No password fits an empty list of hashes.
            Ok(Ok(_)) => NotProved::Wrong.into(),
            Err(failure) => return failure,
        };
        match (self.devices.look_since(before).await, refused) {
            (Err(error), refused) => not_looked_up(&refused, &error, request),
            (Ok(_), Refused { why: NotProved::Wrong, .. }) => {
                let name = request.login;
                let shown = if self.recognizes(name) { name.to_string() } else { account::hint(name.as_str()) };
                explain::unknown_account(name, &shown, Some(request.source))
            }
            (Ok(_), refused) => not_proved(&refused, None, request),
        }
    }

    /// Tries the passwords that are known now.
    async fn try_passwords(
        &self,
        account: &Account,
        address: &MailAddress,
        request: LoginRequest<'_>,
    ) -> Result<Result<Proved, Refused>, Failure> {
        let known = self.devices.of(address);
        let now = self.clock.unix_time();
        let outside = |device: &Arc<KnownPassword>| device.admits(request.protocol, request.source, now).err();
        let generated = known.generated(address, request.password);
        let generated_outside = match generated.map(|device| (device, outside(device))) {
            Some((device, None)) => return Ok(Ok(Some(Arc::clone(device)))),
            // This takes as long as a wrong password, and counts as one.
            Some((device, Some(outside))) => Some((Arc::clone(device), outside)),
            None => None,
        };
        let (barred, usable): (Vec<_>, Vec<_>) =
            known.chosen().iter().partition(|(device, _)| outside(device).is_some());
        let tried = self.try_chosen(account, address, &usable, &barred, request).await?;
        Ok(match tried {
            Ok(place) => Ok(usable.get(place).map(|(device, _)| Arc::clone(device))),
            Err(why) => {
                let chosen_outside = match why {
                    NotProved::Outside(place) => barred.get(place).map(|(device, _)| Arc::clone(device)),
                    _ => None,
                };
                let chosen_outside =
                    chosen_outside.and_then(|device| outside(&device).map(|outside| (device, outside)));
                Err(Refused { why, outside: generated_outside.or(chosen_outside) })
            }
        })
    }

    /// Tries the hashes of the login in this order: chosen device passwords that may be used, those
    /// of the configuration, and last those that may not be used like this.
    async fn try_chosen(
        &self,
        account: &Account,
        address: &MailAddress,
        usable: &[&(Arc<KnownPassword>, String)],
        barred: &[&(Arc<KnownPassword>, String)],
        request: LoginRequest<'_>,
    ) -> Result<Result<usize, NotProved>, Failure> {
        // With other hashes the question is a different one, and no answer is remembered for it.
        let ids = |of: &[&(Arc<KnownPassword>, String)]| -> String {
            of.iter().map(|(device, _)| device.password().id.0.as_str()).collect()
        };
        let who = who(address);
        let question = [address.as_str(), &ids(usable), &ids(barred), &account.passwords.join(" ")];
        let question = TupleKey::encode(question);
        let hashes = || {
            let of = |of: &[&(Arc<KnownPassword>, String)]| of.iter().map(|(_, phc)| phc.clone()).collect::<Vec<_>>();
            Hashes { usable: [of(usable), account.passwords.clone()].concat(), barred: of(barred) }
        };
        self.try_hashes(who, question, request, hashes).await
    }

    async fn try_hashes(
        &self,
        who: TupleKey,
        question: TupleKey,
        request: LoginRequest<'_>,
        hashes: impl FnOnce() -> Hashes,
    ) -> Result<Result<usize, NotProved>, Failure> {
        let LoginRequest { password, source, .. } = request;
        let proof = self.tokens.prove(&question, password)?;
        let claim = Claim { who, proof, password, source: Source::of(source) };
        Ok(self.local.prove(claim, hashes, self.devices.most_chosen()).await)
    }

    fn note(&self, proved: Proved, request: LoginRequest<'_>) -> Proved {
        proved.inspect(|device| self.devices.note_use(device, request.source))
    }
}

/// Returns the key under which wrong passwords are counted together.
pub(super) fn who(login: &MailAddress) -> TupleKey {
    TupleKey::encode(["account", login.as_str()])
}

/// For a password outside its scope, the client is told the same as for a wrong one, and waits as
/// long. `of` is the account's address, unless there is none, and the password that was meant.
fn not_proved(
    refused: &Refused,
    of: Option<(&MailAddress, Option<&KnownPassword>)>,
    request: LoginRequest<'_>,
) -> Failure {
    let failure = match (refused.why, of) {
        (NotProved::Wrong | NotProved::Outside(_), Some((address, meant))) => {
            explain::wrong_local_password(address, meant)
        }
        (NotProved::Wrong | NotProved::Outside(_), None) => {
            explain::unknown_account(request.login, &account::hint(request.login.as_str()), Some(request.source))
        }
        (NotProved::Throttled, _) => explain::guessed_too_often(),
        (NotProved::Busy, _) => explain::hashing_busy(),
        (NotProved::Broken, _) => own_fault(),
    };
    match &refused.outside {
        Some((device, outside)) if failure.cause.is_guess() => {
            Failure { refusal: failure.refusal, delay: failure.delay, ..explain::outside(device, *outside, request) }
        }
        _ => failure,
    }
}

/// A password that could not be looked up is not a wrong one.
fn not_looked_up(refused: &Refused, error: &StoreError, request: LoginRequest<'_>) -> Failure {
    match refused.why {
        NotProved::Wrong | NotProved::Outside(_) => explain::store_unavailable(error),
        _ => not_proved(refused, None, request),
    }
}
