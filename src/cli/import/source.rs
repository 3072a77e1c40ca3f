//! The file of another proxy: read with a bound, and told apart by its content.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::ini::{self, Dialect};
use super::mistake::Mistake;
use super::{env_file, properties};
use crate::cli::options::ImportFormat as Format;
use gatepost_core::system_error::Plain;

/// Longest file, in bytes. Real ones have a few hundred lines.
const LONGEST: u64 = 1024 * 1024;

impl Format {
    /// The name of the program.
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::EmailOauth2Proxy => "email-oauth2-proxy",
            Self::DavMail => "DavMail",
            Self::Genesys => "Genesys E-mail Server",
            Self::SmtpOauthRelay => "smtp-oauth-relay",
        }
    }
}

/// Variables that only smtp-oauth-relay reads.
const RELAY_VARIABLES: [&str; 12] = [
    "TLS_SOURCE",
    "REQUIRE_TLS",
    "SERVER_GREETING",
    "TLS_CERT_FILEPATH",
    "TLS_KEY_FILEPATH",
    "TLS_CIPHER_SUITE",
    "USERNAME_DELIMITER",
    "AZURE_KEY_VAULT_URL",
    "AZURE_KEY_VAULT_CERT_NAME",
    "AZURE_TABLES_URL",
    "AZURE_TABLES_PARTITION_KEY",
    "AZURE_TABLES_FORCE_USAGE",
];

/// What encrypted files begin with, who made them, and how they are opened.
const ENCRYPTED: [(&str, &str, &str); 6] = [
    ("$ANSIBLE_VAULT;", "Ansible Vault", "ansible-vault view"),
    ("age-encryption.org/", "age", "age --decrypt"),
    ("-----BEGIN AGE ENCRYPTED FILE-----", "age", "age --decrypt"),
    ("-----BEGIN PGP MESSAGE-----", "OpenPGP", "gpg --decrypt"),
    ("U2FsdGVkX1", "OpenSSL", "openssl enc -d -a"),
    ("Salted__", "OpenSSL", "openssl enc -d"),
];

/// Reads a file.
///
/// # Errors
/// It cannot be read, is too long, empty, encrypted or binary.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, Mistake> {
    let mut bytes = Zeroizing::new(Vec::new());
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LONGEST) {
        return Err(Mistake::whole("the file is larger than 1 MiB", "Name the configuration of the other proxy"));
    }
    text(&bytes)
}

fn unreadable(error: &io::Error) -> Mistake {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "this user may not read the file".to_owned(),
        io::ErrorKind::IsADirectory => "this is a directory".to_owned(),
        _ => format!("the file cannot be read: {}", Plain(error)),
    };
    Mistake::whole(reason, "Name the configuration of the other proxy")
}

/// The text of a file, which must be one.
fn text(bytes: &[u8]) -> Result<Zeroizing<String>, Mistake> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(Mistake::whole("the file is UTF-16", "Save it as UTF-8"));
    }
    for (mark, program, command) in ENCRYPTED {
        if bytes.starts_with(mark.as_bytes()) {
            return Err(Mistake::whole(
                format!("the file is encrypted with {program}"),
                format!("Decrypt it with `{command}`, import the result, and delete it"),
            ));
        }
    }
    let line_of = |at: usize| bytes.iter().take(at).filter(|b| **b == b'\n').count() + 1;
    let is_foreign = |b: &u8| b.is_ascii_control() && !matches!(b, b'\t' | b'\n' | b'\r' | 0x0c);
    if let Some(at) = bytes.iter().position(is_foreign) {
        return Err(Mistake::at(
            line_of(at),
            "the file is binary, not text",
            "Name the configuration of the other proxy, not its key store or token cache",
        ));
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Mistake::whole("the file is empty", "Name the configuration of the other proxy"));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        // Properties files are ISO 8859-1 by definition.
        Err(_) if looks_like_properties(bytes) => Ok(Zeroizing::new(bytes.iter().copied().map(char::from).collect())),
        Err(error) => Err(Mistake::at(line_of(error.valid_up_to()), "the text is not UTF-8", "Save the file as UTF-8")),
    }
}

fn looks_like_properties(bytes: &[u8]) -> bool {
    bytes.split(|b| *b == b'\n').any(|line| line.starts_with(b"davmail."))
}

/// Finds out whose configuration a text is.
///
/// # Errors
/// It is nobody's that is known, or Gatepost's own.
pub(super) fn detect(text: &str) -> Result<Format, Mistake> {
    if text.contains("ENC[AES256_GCM,") {
        return Err(Mistake::whole(
            "values of the file are encrypted with SOPS",
            "Decrypt it with `sops --decrypt`, import the result, and delete it",
        ));
    }
    let heads: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix('[')).collect();
    let has_head = |beginnings: &[&str]| heads.iter().any(|head| beginnings.iter().any(|it| head.starts_with(it)));
    let has_key = |keys: &[&str]| {
        let key =
            |line: &str| line.trim_start().split(['=', ':', ' ', '\t']).next().unwrap_or_default().to_ascii_lowercase();
        text.lines().any(|line| keys.contains(&key(line).as_str()))
    };
    if has_head(&["pop-client", "smtp-client"]) {
        return Ok(Format::Genesys);
    }
    if has_head(&["IMAP-", "POP-", "SMTP-", "emailproxy]", "Email OAuth 2.0 Proxy"])
        || has_key(&["permission_url", "token_url"])
    {
        return Ok(Format::EmailOauth2Proxy);
    }
    if text.lines().any(|line| line.trim_start().starts_with("davmail.")) {
        return Ok(Format::DavMail);
    }
    let is_variable = |line: &str| {
        let name = line.trim().trim_start_matches("export ").split('=').next().unwrap_or_default().trim();
        RELAY_VARIABLES.contains(&name)
    };
    if text.lines().any(is_variable) {
        return Ok(Format::SmtpOauthRelay);
    }
    if text.lines().any(|line| line.starts_with("listeners:")) {
        return Err(Mistake::whole("this is a configuration of Gatepost", "Use it with `gatepost run -c`"));
    }
    Err(unknown(text))
}

/// Says why a text is nobody's: damaged as far as its shape tells, or of another program.
fn unknown(text: &str) -> Mistake {
    let remedy = "Name `emailproxy.config`, `davmail.properties`, a `.cfg` export of Genesys E-mail Server or the environment \
                  file of smtp-oauth-relay, or say with `--format` which one it is";
    let begins = text.trim_start();
    if begins.starts_with(['{', '<']) {
        return Mistake::whole("the file is JSON or XML, which none of the known proxies is configured by", remedy);
    }
    let damage = match begins.starts_with('[') {
        true => ini::read(text, Dialect::Python).err(),
        false => properties::read(text).err().or_else(|| env_file::read(text).err()),
    };
    match damage {
        Some(Mistake { line: Some(line), .. }) => {
            Mistake::at(line, "this is not the configuration of a known proxy", remedy)
        }
        _ => Mistake::whole("this is not the configuration of a known proxy", remedy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_content() {
        for (text, format) in [
            ("[Server setup]\n[IMAP-1993]\n", Format::EmailOauth2Proxy),
            ("[x@y.example]\ntoken_url = z\n", Format::EmailOauth2Proxy),
            ("  [SMTP-587]\n    server_port = 587\n", Format::EmailOauth2Proxy),
            ("# c\ndavmail.imapPort=1143\n", Format::DavMail),
            ("[log]\nall=stdout\n[pop-client-2]\n", Format::Genesys),
            ("LOG_LEVEL=INFO\nexport REQUIRE_TLS=true\n", Format::SmtpOauthRelay),
        ] {
            assert_eq!(detect(text), Ok(format), "{text}");
        }
        for text in ["hello\n", "{}", "[a]\nb=c\n", "listeners: {}\n", "A=1\n", "a: ENC[AES256_GCM,data:x]\n"] {
            assert!(detect(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        for (bytes, expected) in [
            (&b"a\nb\0c"[..], "line 2: the file is binary"),
            (b" \n\t", "the file is empty"),
            (b"", "the file is empty"),
            (b"\xff\xfea\0", "the file is UTF-16"),
            (b"[a]\nb=\xe9\n", "line 2: the text is not UTF-8"),
            (b"$ANSIBLE_VAULT;1.1;AES256\n", "the file is encrypted with Ansible Vault"),
            (b"Salted__\x01\x02", "the file is encrypted with OpenSSL"),
        ] {
            let told = text(bytes).unwrap_err().to_string();
            assert!(told.starts_with(expected), "{told}");
        }
        assert_eq!(*text(b"\xef\xbb\xbfdavmail.x=\xe9").unwrap_or_default(), "davmail.x=é");
    }
}
