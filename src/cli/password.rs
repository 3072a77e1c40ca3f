//! `gatepost password hash`: the Argon2id hash of a password, for the configuration.

use std::io::{self, BufRead, IsTerminal, Write};

use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};

use super::{DONE, FAILED};
use crate::secret::Password;

/// Shortest password that a person may choose, in characters.
const SHORTEST: usize = 12;

/// Longest password that a mail program may present, in octets.
const LONGEST: usize = 1_024;

/// Letters of a generated password: 32 of them, none that is taken for another (no `0`, `1`, `l`, `o`).
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Length of a generated password: 20 letters of 5 bits each make 100 bits.
const GENERATED: usize = 20;

/// Memory of a hash in KiB, and passes over it (RFC 9106 §4; OWASP asks for 19 MiB and two passes at least).
const MEMORY_KIB: u32 = 32 * 1_024;
const PASSES: u32 = 2;

/// Reads a password, from the terminal without echo and twice, else one line of standard input, and prints its hash; with
/// `generate` makes the password and prints it, too. Gives the exit code.
pub fn hash(generate: bool) -> u8 {
    match try_hash(generate) {
        Ok(text) => match io::stdout().write_all(text.as_bytes()) {
            Ok(()) => DONE,
            Err(_) => FAILED,
        },
        Err(error) => {
            eprintln!("gatepost: {error:#}");
            FAILED
        }
    }
}

fn try_hash(generated: bool) -> anyhow::Result<String> {
    if generated {
        let password = generate()?;
        let hash = hash_of(&password)?;
        return Ok(format!("password: {}\nhash:     {hash}\n", password.expose()));
    }
    let password = if io::stdin().is_terminal() { prompt()? } else { read_line(io::stdin().lock())? };
    Ok(format!("{}\n", hash_of(&password)?))
}

fn prompt() -> anyhow::Result<Password> {
    let first = Password::new(rpassword::prompt_password("Password: ")?);
    check(&first)?;
    let second = Password::new(rpassword::prompt_password("Again: ")?);
    anyhow::ensure!(first.expose() == second.expose(), "the two passwords differ; start again");
    Ok(first)
}

fn read_line(input: impl BufRead) -> anyhow::Result<Password> {
    let mut line = String::new();
    input.take(LONGEST as u64 + 3).read_line(&mut line)?;
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    let password = Password::new(line);
    check(&password)?;
    Ok(password)
}

fn check(password: &Password) -> anyhow::Result<()> {
    let text = password.expose();
    anyhow::ensure!(
        text.chars().count() >= SHORTEST,
        "the password has fewer than {SHORTEST} characters; take a longer one"
    );
    anyhow::ensure!(text.len() <= LONGEST, "the password is longer than {LONGEST} octets; take a shorter one");
    anyhow::ensure!(
        !text.chars().any(char::is_control),
        "the password holds a control character, which mail protocols cannot carry; leave it out"
    );
    Ok(())
}

fn generate() -> anyhow::Result<Password> {
    let mut random = [0_u8; GENERATED];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
    // 256 is a multiple of 32, so that every letter is equally likely.
    let letter = |byte: &u8| char::from(LETTERS[usize::from(byte % 32)]);
    Ok(Password::new(random.iter().map(letter).collect()))
}

fn hash_of(password: &Password) -> anyhow::Result<String> {
    let mut salt = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(|error| anyhow::anyhow!("{error}"))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2
        .hash_password_with_salt(password.expose().as_bytes(), &salt)
        .map_err(|error| anyhow::anyhow!("the password cannot be hashed: {error}"))?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::PasswordVerifier;

    #[test]
    fn a_hash_verifies_its_password_and_no_other() {
        let hash = hash_of(&Password::new("correct horse battery".into())).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=32768,t=2,p=1$"), "{hash}");
        let parsed = argon2::PasswordHash::new(&hash).unwrap();
        assert!(Argon2::default().verify_password(b"correct horse battery", &parsed).is_ok());
        assert!(Argon2::default().verify_password(b"correct horse batterz", &parsed).is_err());
    }

    #[test]
    fn short_long_and_odd_passwords_are_refused() {
        let refused = |text: &str| read_line(text.as_bytes()).unwrap_err().to_string();
        assert!(refused("elevenchars\n").contains("fewer than 12 characters"));
        assert!(refused(&format!("{}\n", "x".repeat(1_025))).contains("longer than 1024 octets"));
        assert!(refused("twelve\tcharacters\n").contains("control character"));
        assert_eq!(read_line(&b"twelve chars\r\nmore"[..]).unwrap().expose(), "twelve chars");
        assert_eq!(read_line(&b"p\xc3\xa4sswort-lang"[..]).unwrap().expose(), "pässwort-lang");
    }

    #[test]
    fn generated_passwords_are_long_and_differ() {
        let (a, b) = (generate().unwrap(), generate().unwrap());
        assert_eq!(a.expose().len(), 20);
        assert_ne!(a.expose(), b.expose());
        assert!(check(&a).is_ok());
    }
}
