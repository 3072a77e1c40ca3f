//! `gatepost login`: a person signs in for an account, in a browser here or elsewhere or on another
//! device. The mail program then gets its password.

use std::env;
use std::future::pending;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use super::options::LoginOptions;
use super::output::{complain, show, write};
use super::run;
use crate::cli::store_context::{StoreContext, with_store_context};
use crate::client_settings::{Scope, client_settings};
use crate::login::enrol::{Enrolment, FIRST};
use crate::login::person;
use gatepost_config::{Config, Grant, suggestion};
use gatepost_core::clock::Clock;
use gatepost_net::dial::Dialer;
use gatepost_net::tls::client::UpstreamTrust;
use gatepost_oauth::HttpEndpoint;
use gatepost_oauth::sign_in::code::{CodeRequest, REDIRECT_OCTETS, Redirect, pasted_query};
use gatepost_oauth::sign_in::loopback::Loopback;
use gatepost_oauth::sign_in::{Purpose, SignInError, SignedIn, device};
use gatepost_oauth::source::TokenSource;
use gatepost_store::Store;

/// Time limit for signing in with a browser. Entra's codes last as long.
const PATIENCE: Duration = Duration::from_secs(600);

/// The redirect address for a browser elsewhere. It is registered, and nothing listens there.
const NOWHERE: &str = "http://localhost";

/// How a person signs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// In a browser on this machine.
    Browser,
    /// In a browser on another machine.
    Paste,
    /// On any device.
    DeviceCode,
}

/// Signs a person in, keeps the sign-in, and creates the account's first device password. Returns
/// the exit code.
pub fn login(options: &LoginOptions) -> u8 {
    with_store_context(&options.settings, gatepost_config::Purpose::SignIn, async |opened| {
        try_login(opened, options).await
    })
}

async fn try_login(opened: &StoreContext, options: &LoginOptions) -> anyhow::Result<String> {
    let StoreContext { config, store } = opened;
    let enrolment = Enrolment::find(config, &options.login)?;
    // Checked first, so that nobody signs in for nothing when the store fails.
    store.sign_in(&enrolment.key).await.context("the store cannot be read, so nobody is asked to sign in")?;

    let clock = Clock::system();
    let trust = Arc::new(UpstreamTrust::new(config.trust.clone()));
    let dialer = Arc::new(Dialer::new(Arc::clone(config), Arc::clone(&trust)));
    let endpoint = Arc::new(HttpEndpoint::new(dialer, trust, config.limits.token_request));
    let attempt = Attempt {
        way: way(options, enrolment.account.grant),
        enrolment: &enrolment,
        source: TokenSource::new(endpoint, clock.clone(), &config.limits),
        clock: clock.clone(),
    };
    let signed_in = tokio::select! {
        signed_in = attempt.run() => signed_in?,
        _ = run::signal() => {
            if io::stderr().is_terminal() {
                // The cursor of the terminal is after `^C`.
                complain("");
            }
            bail!("canceled. Nothing was saved");
        }
    };

    let kept = enrolment.keep(&**store, signed_in, options.replace, clock.unix_time()).await;
    let username = kept.context("nothing was saved")?;
    let login = &enrolment.login;
    opened.acted("signed-in", login.as_str(), "").await;
    show(format_args!("`{username}` signed in for `{login}`. A running service uses the sign-in at once.\n"));
    first_password(config, &**store, &enrolment, &clock).await
}

fn way(options: &LoginOptions, grant: Grant) -> Way {
    match (options.device_code, options.paste, grant) {
        (true, ..) => Way::DeviceCode,
        (false, true, _) => Way::Paste,
        (false, false, Grant::DeviceCode) => Way::DeviceCode,
        (false, false, _) => Way::Browser,
    }
}

/// One sign-in.
struct Attempt<'a> {
    way: Way,
    enrolment: &'a Enrolment,
    source: TokenSource,
    clock: Clock,
}

impl Attempt<'_> {
    async fn run(&self) -> anyhow::Result<SignedIn> {
        let signed_in = match self.way {
            Way::Browser => self.with_browser().await,
            Way::Paste => self.with_pasted_address().await,
            Way::DeviceCode => self.with_device_code().await,
        }?;
        signed_in.map_err(|error| anyhow!("nothing was saved: {}", person::explain(&error, &self.enrolment.purpose)))
    }

    fn request(&self, redirect_uri: String) -> Result<CodeRequest, SignInError> {
        CodeRequest::new(self.enrolment.purpose.clone(), redirect_uri)
    }

    /// Returns the person who must sign in, and the account.
    fn who(&self) -> String {
        let (person, login) = (self.enrolment.person(), &self.enrolment.login);
        if person == login { format!("as {person}") } else { format!("as {person}, for {login}") }
    }

    async fn with_browser(&self) -> anyhow::Result<Result<SignedIn, SignInError>> {
        let listener = Loopback::bind().context("no port on this machine can be listened on for the browser")?;
        let request = match self.request(listener.redirect_uri()) {
            Ok(request) => request,
            Err(error) => return Ok(Err(error)),
        };
        let address = request.address(self.enrolment.person());
        show(format_args!(
            "To sign in {}, open this address in a browser on this machine:\n\n  {address}\n",
            self.who()
        ));
        if !open(&address) {
            show("(No browser here? Cancel with Ctrl-C, and use --paste or --device-code.)\n");
        }
        let redirect =
            waiting("the sign-in in the browser", (PATIENCE, Duration::ZERO), listener.redirect(&request)).await;
        match redirect {
            None => Ok(Err(SignInError::Expired)),
            Some(redirect) => {
                let redirect = redirect.context("the browser cannot be listened for any longer")?;
                Ok(request.finish(redirect, &self.source, &self.clock).await)
            }
        }
    }

    async fn with_pasted_address(&self) -> anyhow::Result<Result<SignedIn, SignInError>> {
        let request = match self.request(NOWHERE.to_owned()) {
            Ok(request) => request,
            Err(error) => return Ok(Err(error)),
        };
        let address = request.address(self.enrolment.person());
        show(format_args!("To sign in {}, open this address in a browser anywhere:\n\n  {address}\n", self.who()));
        show(format_args!(
            "At the end the browser shows an error for {NOWHERE}. This is expected. Copy the whole address from its address \
             bar, paste it here, and press Enter:"
        ));
        let redirect = match timeout(PATIENCE, pasted(&request)).await {
            Ok(redirect) => redirect?,
            Err(_) => return Ok(Err(SignInError::Expired)),
        };
        Ok(request.finish(redirect, &self.source, &self.clock).await)
    }

    async fn with_device_code(&self) -> anyhow::Result<Result<SignedIn, SignInError>> {
        let Purpose { application, tenant, scope } = &self.enrolment.purpose;
        let (asked_at, begun) = match self.source.authorize_device(application, tenant, scope).await {
            Ok(begun) => begun,
            Err(error) => return Ok(Err(error.into())),
        };
        show(format_args!(
            "To sign in {}, open this address on any device, and enter the code there:\n\n  {}\n  code  {}\n",
            self.who(),
            begun.verification_uri,
            begun.user_code
        ));
        let lifetime = begun.lifetime;
        let what = "the sign-in on the other device";
        let polling = device::finish(begun, asked_at, self.enrolment.purpose.clone(), &self.source, &self.clock);
        // The polling ends by itself, when its time is over. The margin leaves time for its last
        // answer.
        let margin = Duration::from_secs(60);
        Ok(waiting(what, (lifetime, margin), polling).await.unwrap_or(Err(SignInError::Expired)))
    }
}

/// Reads lines from standard input until one is the redirect of this sign-in.
async fn pasted(request: &CodeRequest) -> anyhow::Result<Redirect> {
    let mut lines = lines();
    while let Some(line) = lines.recv().await {
        let line = line.context("standard input cannot be read")?;
        if line.trim().is_empty() {
            continue;
        }
        match request.read(pasted_query(&line)) {
            Ok(redirect) => return Ok(redirect),
            Err(problem) => {
                show(format_args!("That is not the address: {problem}. Paste the one that begins with {NOWHERE}:"))
            }
        }
    }
    bail!("no address was pasted. Nothing was saved")
}

/// Returns the lines of standard input. A thread of its own reads them, because it may be blocked
/// when the program ends.
fn lines() -> mpsc::Receiver<io::Result<String>> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            // Longer lines come in pieces, none of which is valid.
            let read = (&mut input).take(REDIRECT_OCTETS as u64 + 64).read_until(b'\n', &mut line);
            let line = read.map(|octets| (octets > 0).then(|| String::from_utf8_lossy(&line).into_owned()));
            let Some(line) = line.transpose() else { return };
            let broken = line.is_err();
            if sender.blocking_send(line).is_err() || broken {
                return;
            }
        }
    });
    receiver
}

/// Waits for `work`, at most `patience` and then `margin`, and shows that: on a terminal every
/// second, otherwise every minute.
async fn waiting<T>(what: &str, (patience, margin): (Duration, Duration), work: impl Future<Output = T>) -> Option<T> {
    let terminal = io::stderr().is_terminal();
    let telling = async {
        let until = Instant::now() + patience;
        let every = Duration::from_secs(if terminal { 1 } else { 60 });
        loop {
            let left = until.saturating_duration_since(Instant::now()).as_secs();
            let left = format!("{}:{:02} left, Ctrl-C cancels", left / 60, left % 60);
            match terminal {
                // Overwrites the line before.
                true => _ = write(io::stderr().lock(), format_args!("\rwaiting for {what} ({left}) ")),
                false => complain(format_args!("waiting for {what} ({left})")),
            }
            sleep(every).await;
        }
    };
    let result = tokio::select! {
        result = timeout(patience + margin, work) => result.ok(),
        () = telling => pending().await,
    };
    if terminal {
        complain("");
    }
    result
}

/// Opens the address in a browser, if there is one. Returns whether that was tried.
fn open(address: &Url) -> bool {
    let Some(browser) = browser() else { return false };
    let quiet = || Stdio::null();
    let started = Command::new(browser).arg(address.as_str()).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn();
    started.is_ok()
}

/// Returns `$BROWSER`, or the desktop's command to open an address if there is a desktop.
fn browser() -> Option<String> {
    let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(browsers) = set("BROWSER") {
        // Several are joined by colons; the first is the preferred one.
        return browsers.split(':').next().map(str::to_owned);
    }
    if cfg!(target_os = "macos") {
        return Some("open".to_owned());
    }
    (set("DISPLAY").is_some() || set("WAYLAND_DISPLAY").is_some()).then(|| "xdg-open".to_owned())
}

/// Creates the first device password of a login that has none. The text says what to enter where.
async fn first_password(
    config: &Config,
    store: &dyn Store,
    enrolment: &Enrolment,
    clock: &Clock,
) -> anyhow::Result<String> {
    let login = &enrolment.login;
    let made = enrolment.first_password(store, clock.unix_time()).await.with_context(|| {
        format!("the sign-in is saved, but there is no device password. Run `gatepost password add {login} --name …`")
    })?;
    let Some((made, password)) = made else {
        return Ok(format!("Its device passwords stay valid. To list them, run `gatepost password list {login}`.\n"));
    };
    Ok(format!(
        "Created device password \"{FIRST}\" for {login} (ID {}). Copy it now. It will not be shown again.\n\n{}\n\
         To create one for another device: {}\n",
        made.id,
        client_settings(config, login, password.expose(), Scope::default()),
        suggestion::command(&format!("gatepost password add {login} --name …"))
    ))
}
