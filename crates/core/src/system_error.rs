//! Errors of the operating system in plain words.

use std::fmt;
use std::io;

/// Shows an error of the system in lower case and without its number: `permission denied`, not
/// `Permission denied (os error 13)`.
///
/// Use it wherever a message names a path or an address.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a>(pub &'a io::Error);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let words = text.split_once(" (os error ").map_or(text.as_str(), |(words, _)| words);
        let mut letters = words.chars();
        let Some(first) = letters.next() else { return f.write_str("unknown error") };
        // A word in capitals, such as TLS, keeps them.
        let is_word = !letters.clone().next().is_some_and(char::is_uppercase);
        match is_word {
            true => write!(f, "{}{}", first.to_lowercase(), letters.as_str()),
            false => f.write_str(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_system_is_told_without_its_number() {
        let told = |error: io::Error| Plain(&error).to_string();
        assert_eq!(told(io::Error::from_raw_os_error(13)), "permission denied");
        assert_eq!(told(io::Error::from_raw_os_error(2)), "no such file or directory");
        assert_eq!(told(io::ErrorKind::NotFound.into()), "entity not found");
        assert_eq!(told(io::Error::other("it is longer than 1 MiB")), "it is longer than 1 MiB");
        assert_eq!(told(io::Error::other("TLS is off")), "TLS is off");
        assert_eq!(told(io::Error::other("")), "unknown error");
    }
}
