//! The reference of the configuration is what the reader does: each key of it is taken, with the
//! words, the kind and the default that it names. (A key that is not in it is never read.)

use gatepost_config::Config;
use gatepost_config::reference::{Block, IfAbsent, Key, Kind, ROOT};
use gatepost_core::protocol::Protocol;

use crate::support::{HASH, Outside, complete, rsa_pair};

/// One key, in one place.
struct Place {
    block: &'static Block,
    key: &'static Key,
    /// The protocol of the listener around it.
    protocol: Option<Protocol>,
    /// The configuration around it, with `@` in the place of its section's content.
    around: String,
    path: String,
}

impl Place {
    /// The configuration with this value.
    fn with(&self, value: &str) -> String {
        self.of(Some(value))
    }

    fn of(&self, value: Option<&str>) -> String {
        let base = base(self.block.path, self.protocol, self.key.name);
        let own = value.map(|value| format!("{}: {value}", self.key.name));
        let content: Vec<&str> = base.iter().copied().chain(own.as_deref()).collect();
        let yaml = if self.block.path.is_empty() {
            content.join("\n")
        } else {
            self.around.replace('@', &format!("{{{}}}", content.join(", ")))
        };
        let accounts = format!(
            "accounts: [{{login: scanner@contoso.com, grant: client_credentials, client_secret: s, passwords: ['{HASH}']}}]"
        );
        let yaml = yaml.replace("someone", "scanner@contoso.com");
        complete(&if yaml.starts_with("accounts:") { yaml } else { format!("{yaml}\n{accounts}\n") })
    }

    /// What is said about this key with a value, as `reason; hint`.
    fn said(&self, value: &str) -> Vec<String> {
        match outside().load(&self.with(value)) {
            Ok(_) => Vec::new(),
            Err(problems) => {
                let own = problems.iter().filter(|problem| problem.key == self.path);
                own.map(|problem| format!("{}; {}", problem.reason, problem.hint)).collect()
            }
        }
    }

    fn is_of_protocol(&self) -> bool {
        let only = self.key.only;
        only.is_empty() || self.protocol.is_none_or(|protocol| only.contains(&protocol))
    }
}

/// What a provider needs whose addresses are not known.
const PROVIDER: &[(&str, &str)] = &[
    ("client_id", "client_id: mail"),
    ("scope", "scope: mail"),
    ("authorize_url", "authorize_url: 'https://id.example/authorize'"),
    ("token_url", "token_url: 'https://id.example/token'"),
    ("hosts", "hosts: {imap: 'imap.example:993'}"),
];

/// What a section needs besides the key.
fn base(block: &str, protocol: Option<Protocol>, key: &str) -> Vec<&'static str> {
    let all: &[(&str, &str)] = match (block, protocol, key) {
        ("listeners.NAME", Some(Protocol::Pop3), "graph") => {
            &[("bind", "bind: 'localhost:1143'"), ("upstream", "upstream: graph")]
        }
        ("listeners.NAME", _, _) => &[("bind", "bind: 'localhost:1143'")],
        ("listeners.NAME.trusted_senders[]", _, _) => &[("from", "from: 127.0.0.1"), ("login", "login: someone")],
        ("sendmail", _, _) => &[("login", "login: someone")],
        ("microsoft", _, _) => {
            &[("tenant", "tenant: contoso.com"), ("client_id", "client_id: 00000000-0000-0000-0000-000000000000")]
        }
        ("providers.NAME", _, _) => PROVIDER,
        ("providers.NAME.hosts", _, _) => &[("imap", "imap: 'imap.example:993'")],
        ("accounts[]", _, _) => &[("login", "login: someone")],
        ("client_certificate", _, _) => {
            &[("certificate", "certificate: app.pem"), ("private_key", "private_key: app.key")]
        }
        ("forward_proxy", _, "authenticate_to") => &[("pac", "pac: 'http://wpad/proxy.pac'")],
        ("forward_proxy", _, "password") => {
            &[("url", "url: 'http://proxy:3128'"), ("", "authentication: basic"), ("", "username: u")]
        }
        ("forward_proxy", _, _) => &[("url", "url: 'http://proxy:3128'")],
        ("state", _, _) => &[("directory", "directory: /x")],
        ("trust.destinations[]", _, _) => &[("host", "host: x"), ("additional_ca", "additional_ca: app.pem")],
        _ => &[],
    };
    all.iter().filter(|(name, _)| *name != key).map(|(_, text)| *text).collect()
}

fn outside() -> Outside {
    static PAIR: std::sync::LazyLock<(String, String)> = std::sync::LazyLock::new(rsa_pair);
    Outside::with_files(&[("app.pem", &PAIR.0), ("app.key", &PAIR.1)])
}

/// Every key in each of its places.
fn places() -> Vec<Place> {
    let mut found = Vec::new();
    collect(ROOT, "@", "", None, &mut found);
    found
}

fn collect(block: &'static Block, around: &str, path: &str, protocol: Option<Protocol>, found: &mut Vec<Place>) {
    for key in block.keys() {
        let path = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
        let place = Place { block, key, protocol, around: around.to_owned(), path: path.clone() };
        let below = |hole: &str| {
            if around == "@" {
                return format!("{}: {hole}", key.name);
            }
            let content = base(block.path, protocol, key.name).into_iter().map(str::to_owned);
            let content: Vec<String> = content.chain([format!("{}: {hole}", key.name)]).collect();
            around.replace('@', &format!("{{{}}}", content.join(", ")))
        };
        if place.is_of_protocol() {
            of_kind(&key.kind, &below, &path, protocol, found);
        }
        found.push(place);
    }
}

fn of_kind(
    kind: &'static Kind,
    below: &dyn Fn(&str) -> String,
    path: &str,
    protocol: Option<Protocol>,
    found: &mut Vec<Place>,
) {
    match kind {
        Kind::Block(block) => collect(block, &below("@"), path, protocol, found),
        Kind::List(item) | Kind::OneOrMore(item) => {
            of_kind(item, &|hole| below(&format!("[{hole}]")), &format!("{path}[0]"), protocol, found);
        }
        Kind::Map(item) if path == "listeners" => {
            for protocol in Protocol::ALL {
                let name = protocol.name();
                let below = |hole: &str| below(&format!("{{{name}: {hole}}}"));
                of_kind(item, &below, &format!("{path}.{name}"), Some(protocol), found);
            }
        }
        Kind::Map(item) => {
            of_kind(item, &|hole| below(&format!("{{x: {hole}}}")), &format!("{path}.x"), protocol, found);
        }
        Kind::Either(kinds) => kinds.iter().for_each(|kind| of_kind(kind, below, path, protocol, found)),
        _ => {}
    }
}

#[test]
fn each_key_of_the_reference_is_read_where_it_says() {
    let places = places();
    assert!(places.len() > 250, "{}", places.len());
    for place in &places {
        let said = place.said("zzz");
        let is_unknown = said.iter().any(|said| {
            said.contains("is not a known key") || said.starts_with("EWS and Graph listeners take HTTP Basic only")
        });
        assert_eq!(is_unknown, !place.is_of_protocol(), "{}: {said:?}\n{}", place.path, place.with("zzz"));
    }
}

#[test]
fn each_key_has_the_kind_that_the_reference_names() {
    fn refusal(kind: &'static Kind) -> Option<String> {
        Some(match kind {
            Kind::Word(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                format!("`zzz` is not one of {};", words.join(", "))
            }
            Kind::Truth => "`zzz` is not one of `true`, `false`;".to_owned(),
            Kind::Count(..) => "`zzz` is not a whole number;".to_owned(),
            Kind::Time(..) => "`zzz` is not a time;".to_owned(),
            Kind::Size(..) => "`zzz` is not a size;".to_owned(),
            Kind::List(_) => "a list is expected here, not one value;".to_owned(),
            Kind::OneOrMore(item) => return refusal(item),
            Kind::Block(_) | Kind::Map(_) => "keys with values are expected here, not one value;".to_owned(),
            Kind::Text(_) | Kind::Either(_) => return None,
        })
    }
    for place in places().iter().filter(|place| place.is_of_protocol()) {
        let said = place.said("zzz");
        match (&place.key.kind, refusal(&place.key.kind)) {
            // Its form has a sentence of its own.
            (Kind::Block(block), _) if block.path == "state.key" => {
                assert!(said[0].starts_with("the key itself does not belong here;"), "{said:?}");
            }
            (_, Some(refusal)) => {
                assert!(said.iter().any(|said| said.starts_with(&refusal)), "{}: {refusal}: {said:?}", place.path);
            }
            // A word beside other forms.
            (kind, None) => {
                for word in kind.words().into_iter().flatten() {
                    let is_of_another = match *word {
                        "graph" => place.protocol != Some(Protocol::Pop3),
                        "hve" => place.protocol != Some(Protocol::Smtp),
                        _ => false,
                    };
                    let said = place.said(&format!("'{word}'"));
                    assert!(is_of_another || said.is_empty(), "{}: {word}: {said:?}", place.path);
                }
            }
        }
    }
}

#[test]
fn each_key_has_the_default_that_the_reference_names() {
    let parts = |yaml: &str| {
        let read = outside().load(yaml).unwrap_or_else(|problems| panic!("{yaml}\n{problems}"));
        let Config {
            listeners,
            accounts,
            forward_proxy,
            trust,
            state,
            queue,
            limits,
            log,
            admin,
            sendmail,
            confinement,
            ..
        } = read;
        (listeners, accounts, forward_proxy, trust, state, queue, limits, log, admin, sendmail, confinement)
    };
    let mut compared = 0;
    for place in places().iter().filter(|place| place.is_of_protocol()) {
        if let IfAbsent::Value(value) = place.key.if_absent {
            assert!(parts(&place.with(value)) == parts(&place.of(None)), "{}: {value}", place.path);
            compared += 1;
        }
    }
    assert!(compared > 120, "{compared}");
}
