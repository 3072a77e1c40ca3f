//! Sign-ins of persons at a provider beside Microsoft: authorization codes, device codes and
//! refresh tokens, as the RFCs have them. Each provider says no in its own words.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;

use crate::random;
use gatepost_core::clock::Moment;

/// How long a code is good (RFC 6749 §4.1.2: ten minutes at most).
const CODE_LIFETIME: Duration = Duration::from_secs(600);
/// How many codes, device codes and sign-ins are remembered, each.
const ENTRIES: usize = 10_000;
/// How much longer a device must wait after it polled too early (RFC 8628 §3.5).
const SLOW_DOWN: Duration = Duration::from_secs(5);

/// What an application asked a person for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) client_id: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) nonce: Option<String>,
    /// Whether a refresh token is wanted.
    pub(crate) offline: bool,
}

/// The person who signed in.
#[derive(Clone, Debug)]
pub(crate) struct Person(pub(crate) String);

/// A PKCE challenge (RFC 7636 §4.2).
#[derive(Clone)]
pub(crate) enum Challenge {
    Plain(String),
    S256(String),
}

/// The parts of an authorization request that the redemption must fit.
#[derive(Clone)]
pub(crate) struct Binding {
    pub(crate) redirect_uri: String,
    pub(crate) challenge: Option<Challenge>,
}

/// A grant that is about to become tokens.
#[derive(Debug)]
pub(crate) struct Granted {
    /// The number of the sign-in, by which its access tokens end with it.
    pub(crate) number: u64,
    pub(crate) user: String,
    pub(crate) asked: Asked,
    /// A refresh token that the answer names: a first one, or one that replaces the last.
    pub(crate) refresh_token: Option<String>,
}

/// Why there is no grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrantProblem {
    /// A code, device code or refresh token that is not known, or a code that has expired.
    Unknown,
    /// A code that was used before.
    Used,
    OtherClient,
    OtherRedirect,
    MissingVerifier,
    WrongVerifier,
    /// The sign-in was revoked or has expired.
    Ended,
    /// More was asked for than was granted.
    BeyondScope,
    Pending,
    SlowDown,
    Declined,
    /// A device code that has expired.
    Expired,
    /// There is no room, or no randomness.
    Broken,
}

/// What a provider does with refresh tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RefreshRules {
    /// Whether each use gives a new one, and a second use of an old one ends the sign-in.
    pub(crate) rotates: bool,
    /// How long one is good after its last use.
    pub(crate) unused: Duration,
    /// How long one is good at all.
    pub(crate) lifetime: Option<Duration>,
    /// How many sign-ins of one person to one application stay good; the oldest ends.
    pub(crate) most: usize,
}

struct Code {
    asked: Asked,
    binding: Binding,
    user: String,
    expires_at: Moment,
    /// The sign-in that it became.
    redeemed: Option<u64>,
}

enum DeviceState {
    Pending,
    Signed(String),
    Declined,
}

struct Device {
    asked: Asked,
    user_code: String,
    state: DeviceState,
    expires_at: Moment,
    interval: Duration,
    polled_at: Option<Moment>,
}

struct SignIn {
    user: String,
    asked: Asked,
    begun_at: Moment,
    used_at: Moment,
    ended: bool,
}

#[derive(Default)]
struct Records {
    codes: HashMap<String, Code>,
    devices: HashMap<String, Device>,
    sign_ins: HashMap<u64, SignIn>,
    /// The sign-in of each refresh token, and whether another one has replaced it.
    by_token: HashMap<String, (u64, bool)>,
    /// Who has consented to which application.
    consents: HashSet<(String, String)>,
    number: u64,
}

/// What a device shows, and polls with.
pub(crate) struct DeviceCodes {
    pub(crate) device_code: String,
    pub(crate) user_code: String,
}

/// All grants of one provider.
pub(crate) struct Grants {
    kept: Mutex<Records>,
    /// With what a refresh token begins.
    refresh_form: &'static str,
}

impl Grants {
    pub(crate) fn new(refresh_form: &'static str) -> Self {
        Self { kept: Mutex::default(), refresh_form }
    }

    /// A code for a person who signed in and consented.
    pub(crate) fn code(
        &self,
        form: &str,
        asked: Asked,
        binding: Binding,
        Person(user): Person,
        now: Moment,
    ) -> io::Result<String> {
        let code = format!("{form}{}", secret()?);
        self.with(|kept| {
            kept.codes.retain(|_, code| now < code.expires_at);
            if kept.codes.len() >= ENTRIES {
                return Err(io::Error::other("too many codes"));
            }
            kept.consents.insert((asked.client_id.clone(), user.clone()));
            let expires_at = now.after(CODE_LIFETIME);
            kept.codes.insert(code.clone(), Code { asked, binding, user, expires_at, redeemed: None });
            Ok(code)
        })
    }

    /// Whether a person has consented to an application before.
    pub(crate) fn has_consented(&self, client_id: &str, user: &str) -> bool {
        self.with(|kept| kept.consents.contains(&(client_id.to_owned(), user.to_owned())))
    }

    /// Redeems a code.
    pub(crate) fn redeem(
        &self,
        code: &str,
        client_id: &str,
        redirect_uri: Option<&str>,
        verifier: Option<&str>,
        (rules, now): (RefreshRules, Moment),
    ) -> Result<Granted, GrantProblem> {
        self.with(|kept| {
            let found = kept.codes.get(code).filter(|found| now < found.expires_at);
            let found = found.ok_or(GrantProblem::Unknown)?;
            if found.asked.client_id != client_id {
                return Err(GrantProblem::OtherClient);
            }
            if let Some(number) = found.redeemed {
                // Another client may have had the code first (RFC 6749 §4.1.2).
                kept.end(|at, _| at == number);
                return Err(GrantProblem::Used);
            }
            if redirect_uri != Some(found.binding.redirect_uri.as_str()) {
                return Err(GrantProblem::OtherRedirect);
            }
            match (&found.binding.challenge, verifier) {
                (None, None) => {}
                (Some(_), None) => return Err(GrantProblem::MissingVerifier),
                (Some(challenge), Some(verifier)) if challenge.is_met_by(verifier) => {}
                _ => return Err(GrantProblem::WrongVerifier),
            }
            let (asked, user) = (found.asked.clone(), found.user.clone());
            let granted = kept.begin(self.refresh_form, asked, user, rules, now)?;
            if let Some(found) = kept.codes.get_mut(code) {
                found.redeemed = Some(granted.number);
            }
            Ok(granted)
        })
    }

    /// Begins a sign-in by device code.
    pub(crate) fn device(
        &self,
        asked: Asked,
        (lifetime, interval): (Duration, Duration),
        now: Moment,
    ) -> io::Result<DeviceCodes> {
        let device_code = secret()?;
        let octets: [u8; 8] = random::octets()?;
        // The alphabet has no vowels (RFC 8628 §6.1).
        let letter = |octet: &u8| char::from(b"BCDFGHJKLMNPQRSTVWXZ"[usize::from(octet % 20)]);
        let mut user_code: String = octets.iter().map(letter).collect();
        user_code.insert(4, '-');
        self.with(|kept| {
            kept.devices.retain(|_, device| now < device.expires_at.after(CODE_LIFETIME));
            if kept.devices.len() >= ENTRIES {
                return Err(io::Error::other("too many device codes"));
            }
            let device = Device {
                asked,
                user_code: user_code.clone(),
                state: DeviceState::Pending,
                expires_at: now.after(lifetime),
                interval,
                polled_at: None,
            };
            kept.devices.insert(device_code.clone(), device);
            Ok(DeviceCodes { device_code, user_code })
        })
    }

    /// Whether the code that a person typed in is one that waits for that.
    pub(crate) fn is_pending(&self, user_code: &str, now: Moment) -> bool {
        self.with(|kept| kept.pending(user_code, now).is_some())
    }

    /// The person signed in, or (`None`) said no.
    pub(crate) fn decide(&self, user_code: &str, person: Option<Person>, now: Moment) {
        self.with(|kept| {
            if let Some(device) = kept.pending(user_code, now) {
                device.state = person.map_or(DeviceState::Declined, |Person(user)| DeviceState::Signed(user));
            }
        });
    }

    /// Answers a device that asks whether the person is done.
    pub(crate) fn poll(
        &self,
        device_code: &str,
        client_id: &str,
        (rules, now): (RefreshRules, Moment),
    ) -> Result<Granted, GrantProblem> {
        self.with(|kept| {
            let device = kept.devices.get_mut(device_code).filter(|device| device.asked.client_id == client_id);
            let device = device.ok_or(GrantProblem::Unknown)?;
            if now >= device.expires_at {
                return Err(GrantProblem::Expired);
            }
            let early = device.polled_at.is_some_and(|at| now.since(at) < device.interval);
            device.polled_at = Some(now);
            if early {
                device.interval = device.interval.saturating_add(SLOW_DOWN);
                return Err(GrantProblem::SlowDown);
            }
            match &device.state {
                DeviceState::Pending => Err(GrantProblem::Pending),
                DeviceState::Declined => Err(GrantProblem::Declined),
                DeviceState::Signed(user) => {
                    let (asked, user) = (device.asked.clone(), user.clone());
                    kept.devices.remove(device_code);
                    kept.begin(self.refresh_form, asked, user, rules, now)
                }
            }
        })
    }

    /// Exchanges a refresh token; `scopes` are those asked for, by default all.
    pub(crate) fn refresh(
        &self,
        token: &str,
        client_id: &str,
        scopes: Option<Vec<String>>,
        (rules, now): (RefreshRules, Moment),
    ) -> Result<Granted, GrantProblem> {
        self.with(|kept| {
            let (number, replaced) = kept.by_token.get(token).copied().ok_or(GrantProblem::Unknown)?;
            let sign_in = kept.sign_ins.get_mut(&number).ok_or(GrantProblem::Unknown)?;
            if sign_in.asked.client_id != client_id {
                return Err(GrantProblem::OtherClient);
            }
            let too_old = rules.lifetime.is_some_and(|most| now.since(sign_in.begun_at) >= most);
            sign_in.ended |= replaced || too_old || now.since(sign_in.used_at) >= rules.unused;
            if sign_in.ended {
                return Err(GrantProblem::Ended);
            }
            let mut asked = sign_in.asked.clone();
            if let Some(scopes) = scopes {
                if !scopes.iter().all(|scope| asked.scopes.contains(scope)) {
                    return Err(GrantProblem::BeyondScope);
                }
                asked.scopes = scopes;
            }
            sign_in.used_at = now;
            let user = sign_in.user.clone();
            let refresh_token = if rules.rotates {
                kept.by_token.insert(token.to_owned(), (number, true));
                Some(kept.next_token(self.refresh_form, number)?)
            } else {
                None
            };
            Ok(Granted { number, user, asked, refresh_token })
        })
    }

    /// A sign-in without a request.
    pub(crate) fn begin(
        &self,
        asked: Asked,
        Person(user): Person,
        (rules, now): (RefreshRules, Moment),
    ) -> Result<Granted, GrantProblem> {
        self.with(|kept| kept.begin(self.refresh_form, asked, user, rules, now))
    }

    /// Ends all sign-ins of a person.
    pub(crate) fn end_all_of(&self, user: &str) {
        let user = user.to_lowercase();
        self.with(|kept| kept.end(|_, sign_in| sign_in.user == user));
    }

    /// Ends one sign-in.
    pub(crate) fn end(&self, number: u64) {
        self.with(|kept| kept.end(|at, _| at == number));
    }

    pub(crate) fn has_ended(&self, number: u64) -> bool {
        self.with(|kept| kept.sign_ins.get(&number).is_some_and(|sign_in| sign_in.ended))
    }

    /// The number of the sign-in of a refresh token, and whose it is.
    pub(crate) fn sign_in_of(&self, token: &str) -> Option<(u64, String)> {
        self.with(|kept| {
            let (number, _) = *kept.by_token.get(token)?;
            Some((number, kept.sign_ins.get(&number)?.user.clone()))
        })
    }

    fn with<R>(&self, work: impl FnOnce(&mut Records) -> R) -> R {
        work(&mut self.kept.lock())
    }
}

impl Records {
    fn begin(
        &mut self,
        form: &str,
        asked: Asked,
        user: String,
        rules: RefreshRules,
        now: Moment,
    ) -> Result<Granted, GrantProblem> {
        if self.sign_ins.len() >= ENTRIES {
            return Err(GrantProblem::Broken);
        }
        self.number += 1;
        let number = self.number;
        let of_both = |sign_in: &SignIn| sign_in.user == user && sign_in.asked.client_id == asked.client_id;
        let mut good: Vec<u64> =
            self.sign_ins.iter().filter(|(_, one)| !one.ended && of_both(one)).map(|(number, _)| *number).collect();
        good.sort_unstable();
        let too_many = (good.len() + 1).saturating_sub(rules.most);
        self.end(|number, _| good.iter().take(too_many).any(|old| *old == number));
        let sign_in = SignIn { user: user.clone(), asked: asked.clone(), begun_at: now, used_at: now, ended: false };
        self.sign_ins.insert(number, sign_in);
        let refresh_token = if asked.offline { Some(self.next_token(form, number)?) } else { None };
        Ok(Granted { number, user, asked, refresh_token })
    }

    fn next_token(&mut self, form: &str, number: u64) -> Result<String, GrantProblem> {
        let token = format!("{form}{}", secret().map_err(|_| GrantProblem::Broken)?);
        self.by_token.insert(token.clone(), (number, false));
        Ok(token)
    }

    fn end(&mut self, which: impl Fn(u64, &SignIn) -> bool) {
        for (number, sign_in) in &mut self.sign_ins {
            sign_in.ended |= which(*number, sign_in);
        }
    }

    fn pending(&mut self, user_code: &str, now: Moment) -> Option<&mut Device> {
        let plain = |text: &str| text.trim().replace('-', "").to_uppercase();
        let typed = plain(user_code);
        self.devices.values_mut().find(|device| {
            plain(&device.user_code) == typed && now < device.expires_at && matches!(device.state, DeviceState::Pending)
        })
    }
}

impl Challenge {
    fn is_met_by(&self, verifier: &str) -> bool {
        match self {
            Self::Plain(challenge) => challenge == verifier,
            Self::S256(challenge) => {
                *challenge == URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()))
            }
        }
    }
}

fn secret() -> io::Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(random::octets::<48>()?))
}

#[cfg(test)]
mod tests;
