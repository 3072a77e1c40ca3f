//! From the raw configuration to [`Config`], with every mistake on the way.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::load::Surroundings;
use super::problem::{Problem, Problems};
use super::reader::{Context, Document, Section};
use super::value::{self, choice};
use super::{Config, Log, LogFormat, Trust, accounts, forward_proxy, limits, listeners};

const LEVELS: [(&str, tracing::Level); 5] = [
    ("error", tracing::Level::ERROR),
    ("warn", tracing::Level::WARN),
    ("info", tracing::Level::INFO),
    ("debug", tracing::Level::DEBUG),
    ("trace", tracing::Level::TRACE),
];

/// Checks a document; `early` are mistakes that were found before.
pub(super) fn check(document: &Document, outside: &dyn Surroundings, early: Vec<Problem>) -> Result<Config, Problems> {
    let context = Context::new(document, outside);
    for (path, place, first) in &document.merged.duplicates {
        context.problem(
            place.clone(),
            path,
            "the key is written twice",
            format!("keep one of them; the first stands at line {first}"),
        );
    }
    let root = context.root();
    let (accounts, cloud) = accounts::read(&root);
    let listeners = listeners::read(&root.section("listeners"), cloud);
    let forward_proxy = forward_proxy::read(&root);
    let trust = read_trust(&root.section("trust"));
    let limits = limits::read(&root.section("limits"));
    let log = read_log(&root.section("log"));
    root.unavailable(&["state", "admin"]);
    root.finish();
    drop(root);

    let (mut problems, notes) = context.finish();
    problems.extend(early);
    match (Problems::new(problems), trust, log) {
        (None, Some(trust), Some(log)) => Ok(Config { listeners, accounts, forward_proxy, trust, limits, log, notes }),
        (Some(problems), ..) => Err(problems),
        // Nothing is left out without a problem; should it happen, starting without it would be worse than not starting.
        (None, ..) => Err(Problem {
            file: document.file.as_ref().map(|(name, _)| name.clone()),
            place: super::problem::Place::Nowhere,
            key: String::new(),
            reason: "a part of the configuration was not understood".into(),
            hint: "report this as a fault of Gatepost".into(),
            excerpt: None,
        }
        .into()),
    }
}

fn read_trust(section: &Section<'_>) -> Option<Trust> {
    let system_roots = section.get("system_roots").map_or(Some(true), |node| node.read(value::truth));
    let additional_ca = section.get("additional_ca").map(|node| {
        let path = section.context().path(node.text()?);
        let content = match section.context().outside.read(&path) {
            Ok(content) => content,
            Err(error) => {
                node.problem(
                    format!("`{}` cannot be read: {error}", path.display()),
                    "name a PEM file with the certificates of the authorities to trust",
                );
                return None;
            }
        };
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
        if certificates.is_ok_and(|found| !found.is_empty()) {
            return Some((path, content));
        }
        node.problem(
            format!("`{}` holds no certificate in PEM form", path.display()),
            "the file has lines `-----BEGIN CERTIFICATE-----`; convert DER with `openssl x509 -inform der`",
        );
        None
    });
    section.finish();
    if system_roots == Some(false) && additional_ca.is_none() {
        section.problem("nobody would be trusted", "write `system_roots: true`, or name an `additional_ca`");
        return None;
    }
    let additional_ca = match additional_ca {
        Some(read) => Some(read?),
        None => None,
    };
    Some(Trust { system_roots: system_roots?, additional_ca })
}

fn read_log(section: &Section<'_>) -> Option<Log> {
    let format = section.get("format").map_or(Some(LogFormat::Text), |node| {
        node.read(|text| choice(text, &[("text", LogFormat::Text), ("json", LogFormat::Json)]))
    });
    let level = section.get("level").map_or(Some(tracing::Level::INFO), |node| node.read(|text| choice(text, &LEVELS)));
    section.finish();
    Some(Log { format: format?, level: level? })
}

/// Checks an Argon2id hash (PHC string format) for form and for strength, without any use of it.
pub(super) fn check_password_hash(text: &str) -> Result<(), String> {
    const WEAKEST: &str = "m=19456,t=2,p=1";
    let refuse = |reason: &str| Err(format!("this is not a usable password hash: {reason}"));
    let Ok(hash) = argon2::PasswordHash::new(text) else {
        return refuse("it is not a PHC string");
    };
    if hash.algorithm.as_str() != "argon2id" {
        return refuse("only Argon2id is accepted");
    }
    if hash.version != Some(19) {
        return refuse("its version is not 19");
    }
    let Ok(params) = argon2::Params::try_from(&hash) else {
        return refuse("its parameters cannot be read");
    };
    if params.m_cost() < 19_456 || params.t_cost() < 2 {
        return refuse(&format!("it is weaker than {WEAKEST}"));
    }
    if params.m_cost() > 131_072 || params.t_cost() > 16 || params.p_cost() > 16 {
        return refuse("it costs more than m=131072,t=16,p=16, and each login would pay for it");
    }
    if hash.salt.is_none_or(|salt| salt.len() < 16) || hash.hash.is_none_or(|output| output.len() < 16) {
        return refuse("its salt or its output is shorter than 16 octets");
    }
    Ok(())
}
