//! `gatepost password hash`: prints the hash of a chosen password, or of a new one.

use std::io::{self, BufRead, IsTerminal};

use crate::cli::store_context::print_result;
use gatepost_config::password_hash::{self as password, CHARACTERS, LONGEST};
use gatepost_core::secret::Password;

/// Reads a password and prints its hash. It comes from the terminal, without echo and twice, or
/// otherwise from one line of standard input. With `generate`, creates the password and prints it
/// too. Returns the exit code.
pub fn hash(generate: bool) -> u8 {
    print_result(try_hash(generate))
}

fn try_hash(generated: bool) -> anyhow::Result<String> {
    if generated {
        let password = password::generate()?;
        return Ok(format!("password: {}\nhash:     {}\n", password.expose(), password::hash(&password)?));
    }
    let password = read(CHARACTERS)?;
    Ok(format!("{}\n", password::hash(&password)?))
}

/// Reads a password that a person chose, of at least this many characters: from the terminal
/// without echo and twice, otherwise one line of standard input.
pub(super) fn read(characters: usize) -> anyhow::Result<Password> {
    if io::stdin().is_terminal() { prompt(characters) } else { read_line(io::stdin().lock(), characters) }
}

fn prompt(characters: usize) -> anyhow::Result<Password> {
    let first = Password::new(rpassword::prompt_password("Password: ")?);
    password::check_chosen(&first, characters)?;
    let second = Password::new(rpassword::prompt_password("Again: ")?);
    anyhow::ensure!(first.expose() == second.expose(), "the two passwords differ. Start again");
    Ok(first)
}

fn read_line(input: impl BufRead, characters: usize) -> anyhow::Result<Password> {
    let mut line = String::new();
    input.take(LONGEST as u64 + 3).read_line(&mut line)?;
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    let password = Password::new(line);
    password::check_chosen(&password, characters)?;
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_read_and_checked() {
        let refused = |text: &str| read_line(text.as_bytes(), CHARACTERS).unwrap_err().to_string();
        assert!(refused("elevenchars\n").contains("fewer than 12 characters"));
        assert!(refused(&format!("{}\n", "x".repeat(1_025))).contains("longer than 1024 bytes"));
        assert_eq!(read_line(&b"twelve chars\r\nmore"[..], CHARACTERS).unwrap().expose(), "twelve chars");
        assert_eq!(read_line(&b"p\xc3\xa4sswort-lang"[..], CHARACTERS).unwrap().expose(), "pässwort-lang");
    }
}
