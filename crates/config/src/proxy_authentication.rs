//! Reads how Gatepost authenticates to the forward proxy: `forward_proxy.authentication` and the
//! keys that belong to it.

use super::purpose::{Purpose, Secret};
use super::reader::{Node, Section};
use super::secrets;
use super::value::{self, ValueError, wrong};
use gatepost_core::secret::ProxyPassword;
use gatepost_proto::tunnel::credentials::{NtlmCredentials, ProxyAuthentication};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Choice {
    None,
    Basic,
    Digest,
    Ntlm,
    Negotiate,
}

const CHOICES: [(&str, Choice); 5] = [
    ("none", Choice::None),
    ("basic", Choice::Basic),
    ("digest", Choice::Digest),
    ("ntlm", Choice::Ntlm),
    ("negotiate", Choice::Negotiate),
];

impl Choice {
    fn name(self) -> &'static str {
        CHOICES.iter().find(|(_, choice)| *choice == self).map_or("none", |(name, _)| name)
    }

    /// The keys that belong to it.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::Basic | Self::Digest => &["username", "password"],
            Self::Ntlm => &["username", "password", "domain"],
            Self::Negotiate => &["username", "keytab", "service_name"],
        }
    }
}

/// Reads the authentication from the section `forward_proxy`.
pub(super) fn read(section: &Section<'_>) -> Option<Secret<ProxyAuthentication>> {
    let choice = match section.get("authentication") {
        None => Some(Choice::None),
        Some(node) => node.read(|text| {
            value::choice(text, &CHOICES).and_then(|choice| available(choice, cfg!(feature = "negotiate")))
        }),
    };
    let keys = ["username", "password", "domain", "keytab", "service_name"].map(|key| (key, section.get(key)));
    let choice = choice?;
    let mut fits = true;
    for (key, node) in &keys {
        if let Some(node) = node.as_ref().filter(|_| !choice.keys().contains(key)) {
            node.problem(
                format!("this is given, but `authentication` is `{}`", choice.name()),
                match (choice, *key) {
                    (Choice::None, _) => "write `authentication: basic`, or another kind, or remove the key",
                    (Choice::Negotiate, "password") => {
                        "remove the key. Kerberos takes a keytab (`ktutil` makes one from a password) or a credential cache"
                    }
                    _ => "remove the key, or write the `authentication` that it belongs to",
                },
            );
            fits = false;
        }
    }
    let [username, password, domain, keytab, service_name] = keys.map(|(_, node)| node);
    let authentication = match choice {
        Choice::None => Some(Secret::Read(ProxyAuthentication::None)),
        Choice::Basic => with_password(section, choice, username, password, basic_user)
            .map(|read| read.map(|(username, password)| ProxyAuthentication::Basic { username, password })),
        Choice::Digest => with_password(section, choice, username, password, plain)
            .map(|read| read.map(|(username, password)| ProxyAuthentication::Digest { username, password })),
        Choice::Ntlm => ntlm(section, username, password, domain.as_ref()),
        Choice::Negotiate => negotiate(username.as_ref(), keytab.as_ref(), service_name.as_ref()),
    };
    authentication.filter(|_| fits)
}

/// Refuses a choice that this build does not support.
fn available(choice: Choice, has_kerberos: bool) -> Result<Choice, ValueError> {
    if choice == Choice::Negotiate && !has_kerberos {
        return wrong(
            "this Gatepost was built without Kerberos",
            "use the container image, build with `cargo build --release --features negotiate`, or write another kind of \
             authentication that the proxy offers",
        );
    }
    Ok(choice)
}

fn with_password(
    section: &Section<'_>,
    choice: Choice,
    username: Option<Node<'_>>,
    password: Option<Node<'_>>,
    user: impl FnOnce(&str) -> Result<String, ValueError>,
) -> Option<Secret<(String, ProxyPassword)>> {
    for (key, given) in [("username", &username), ("password", &password)] {
        if given.is_none() {
            section.missing(
                key,
                &format!(", which `authentication: {}` needs", choice.name()),
                "add it, or write `authentication: none`",
            );
        }
    }
    let username = username.map(|node| node.read(user));
    let password = password.map(|node| secrets::read(&node, Purpose::SignIn));
    let username = username??;
    Some(password??.map(|password| (username, ProxyPassword::new(password))))
}

fn ntlm(
    section: &Section<'_>,
    username: Option<Node<'_>>,
    password: Option<Node<'_>>,
    domain: Option<&Node<'_>>,
) -> Option<Secret<ProxyAuthentication>> {
    let name = |text: &str| match plain(text)?.split_once('\\') {
        Some((_, user)) if domain.is_some() => {
            wrong("the user name holds a domain, and `domain` is given too", format!("write `username: {user}`"))
        }
        Some((domain, user)) if !domain.is_empty() && !user.is_empty() => Ok((domain.to_owned(), user.to_owned())),
        Some(_) => wrong("there is nothing before or behind the backslash", "write `DOMAIN\\user` or `user@domain`"),
        None => Ok((String::new(), text.to_owned())),
    };
    let mut names = None;
    let keep = |text: &str| {
        let (domain, user) = name(text)?;
        names = Some(domain);
        Ok(user)
    };
    let account = with_password(section, Choice::Ntlm, username, password, keep);
    let domain = match domain {
        None => names,
        Some(node) => node.read(plain),
    };
    let (account, domain) = (account?, domain?);
    Some(account.map(|(username, password)| ProxyAuthentication::Ntlm(NtlmCredentials { username, domain, password })))
}

#[cfg(feature = "negotiate")]
fn negotiate(
    username: Option<&Node<'_>>,
    keytab: Option<&Node<'_>>,
    service_name: Option<&Node<'_>>,
) -> Option<Secret<ProxyAuthentication>> {
    let username = username.map(|node| node.read(plain));
    let keytab = keytab.map(read_keytab);
    let service_name = service_name.map(|node| {
        node.read(|text| match text.split_once(['/', '@']) {
            Some((service, host)) if !service.is_empty() && !host.is_empty() && !text.contains(char::is_whitespace) => {
                Ok(text.to_owned())
            }
            _ => wrong("this is not the name of a service", "write it as `HTTP/proxy.corp.example`"),
        })
    });
    // A value that could not be read has been reported.
    if matches!(username, Some(None)) || matches!(keytab, Some(None)) || matches!(service_name, Some(None)) {
        return None;
    }
    Some(Secret::Read(ProxyAuthentication::Negotiate(std::sync::Arc::new(
        gatepost_proto::tunnel::credentials::NegotiateCredentials {
            service_name: service_name.flatten(),
            username: username.flatten(),
            keytab: keytab.flatten(),
        },
    ))))
}

/// In a build without Kerberos the choice has been refused before.
#[cfg(not(feature = "negotiate"))]
fn negotiate(_: Option<&Node<'_>>, _: Option<&Node<'_>>, _: Option<&Node<'_>>) -> Option<Secret<ProxyAuthentication>> {
    None
}

/// Reads a file that exists and looks like a keytab (its first octet is 5). Only the library knows
/// its content.
#[cfg(feature = "negotiate")]
fn read_keytab(node: &Node<'_>) -> Option<std::path::PathBuf> {
    let path = secrets::path(node)?;
    let shown = path.display();
    let hint = "name a keytab that the user who runs Gatepost can read";
    match node.content(&path, Purpose::SignIn, hint)?.map(zeroize::Zeroizing::new) {
        Secret::Read(octets) if octets.first() != Some(&5) => {
            node.problem(
                format!("`{shown}` is not a keytab"),
                "export one with `ktpass`, `msktutil`, `ktutil` or `kadmin`",
            );
            return None;
        }
        Secret::Read(_) => {}
        Secret::NotRead => return Some(path),
    }
    if node.context().outside.world_readable(&path) {
        node.context()
            .note(format!("every user of this machine can read the keys in `{shown}`. Run `chmod o-r {shown}`"));
    }
    Some(path)
}

/// RFC 7617 §2: the first colon ends the user name.
pub(super) fn basic_user(text: &str) -> Result<String, ValueError> {
    if text.contains(':') || text.chars().any(char::is_control) {
        return wrong("the user name holds a colon or a control character", "Basic authentication cannot carry it");
    }
    Ok(text.to_owned())
}

fn plain(text: &str) -> Result<String, ValueError> {
    if text.chars().any(char::is_control) {
        return wrong("the value holds a control character", "remove it");
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_kerberos_says_so() {
        assert!(available(Choice::Negotiate, true).is_ok());
        assert!(available(Choice::Basic, false).is_ok());
        let Err(wrong) = available(Choice::Negotiate, false) else { panic!("accepted") };
        assert!(wrong.reason.contains("built without Kerberos"), "{}", wrong.reason);
        assert!(wrong.hint.contains("`cargo build --release --features negotiate`"), "{}", wrong.hint);
    }
}
