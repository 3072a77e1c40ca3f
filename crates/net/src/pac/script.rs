//! Runs the script with QuickJS, with a limit for everything that it can use up. Each call gets a
//! new engine, so that a script cannot keep state or affect the next call. Creating an engine takes
//! less than a millisecond.

use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use rquickjs::{CatchResultExt, CaughtError, Context, Ctx, Function, Runtime};

use super::error::PacError;

/// The standard PAC functions that are written in JavaScript.
const HELPERS: &str = include_str!("helpers.js");

/// Most memory of one engine, in octets.
const MEMORY_OCTETS: usize = 16 * 1024 * 1024;
/// Most stack of one engine, in octets. It is well below the stack of a thread for blocking work (2
/// MiB).
const STACK_OCTETS: usize = 256 * 1024;
/// Longest error message of a script that is kept, in characters.
const MESSAGE_CHARACTERS: usize = 200;

/// Asks `script` for the way to `host` at `url`. Blocks: the script may resolve names.
///
/// # Errors
/// The script has a mistake, has no `FindProxyForURL`, answers something other than text, or
/// exceeds a bound: `time`, 16 MiB of memory, 256 KiB of stack.
pub(super) fn find_proxy(script: &str, url: &str, host: &str, time: Duration) -> Result<String, PacError> {
    let engine = |error: rquickjs::Error| PacError::Script(error.to_string());
    let runtime = Runtime::new().map_err(engine)?;
    runtime.set_memory_limit(MEMORY_OCTETS);
    runtime.set_max_stack_size(STACK_OCTETS);
    #[expect(clippy::disallowed_methods, reason = "the script blocks a thread, and no clock stands still for that")]
    let now = Instant::now;
    let deadline = now() + time;
    runtime.set_interrupt_handler(Some(Box::new(move || now() >= deadline)));
    let context = Context::full(&runtime).map_err(engine)?;
    context.with(|context| {
        ask(&context, script, url, host).catch(&context).map_err(|error| match now() >= deadline {
            true => PacError::TimedOut,
            false => PacError::Script(message(&error)),
        })
    })
}

fn ask<'js>(context: &Ctx<'js>, script: &str, url: &str, host: &str) -> rquickjs::Result<String> {
    let globals = context.globals();
    globals.set("resolve_ipv4", Function::new(context.clone(), resolve_ipv4)?)?;
    globals.set("myIpAddress", Function::new(context.clone(), my_ip_address)?)?;
    context.eval::<(), _>(HELPERS)?;
    context.eval::<(), _>(script)?;
    globals.get::<_, Function<'js>>("FindProxyForURL")?.call((url, host))
}

fn message(error: &CaughtError<'_>) -> String {
    let text = match error {
        // Without the stack trace, which repeats the script.
        CaughtError::Exception(exception) => exception.message().unwrap_or_default(),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MESSAGE_CHARACTERS).collect()
}

/// The first IPv4 address of a name, as text; `None` if there is none. (The PAC functions for
/// networks know IPv4 only.)
#[expect(clippy::needless_pass_by_value, reason = "the engine hands over what it has")]
fn resolve_ipv4(host: String) -> Option<String> {
    let found = (host.as_str(), 0).to_socket_addrs().ok()?;
    found.map(|address| address.ip()).find(IpAddr::is_ipv4).map(|address| address.to_string())
}

/// The address from which this machine would reach others. Nothing is sent to find it.
fn my_ip_address() -> String {
    let own = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        // RFC 5737: an address that belongs to nobody, so the default route applies.
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr().map(|address| address.ip())
    };
    own().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)).to_string()
}
