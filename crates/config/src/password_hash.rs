//! Passwords that Gatepost itself checks. A chosen one is hashed and checked with Argon2id (RFC
//! 9106) and kept as a PHC string. For a generated one, which nobody can guess, a plain hash
//! suffices.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::{digest, rand};
use ipnet::IpNet;

use gatepost_core::account::MailAddress;
use gatepost_core::secret::Password;

/// Memory of a new hash, in KiB.
const MEMORY_KIB: u32 = 32 * 1024;
/// Passes of a new hash.
const PASSES: u32 = 2;
/// The least of both that is accepted, as OWASP's password storage cheat sheet recommends.
const LEAST_MEMORY_KIB: u32 = 19 * 1024;
const LEAST_PASSES: u32 = 2;
/// The most that is accepted, because with more one login could starve the others.
const MOST_MEMORY_KIB: u32 = 256 * 1024;
const MOST_PASSES: u32 = 16;
const MOST_LANES: u32 = 16;

/// Characters of a generated password: 32, none of which looks like another (no `0`, `1`, `l`,
/// `o`).
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Length of a generated password: 100 bits.
const GENERATED: usize = 20;

/// Why a password could not be hashed or generated: the system gave no randomness or no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gave no randomness or no memory for a password")]
pub struct HashingFailed;

/// What is wrong with a configured hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhcProblem {
    /// No hash at all.
    #[error("this is not a hash. A password must not stand here in plain text")]
    PlainText,
    /// `$2a$`, `$2b$`, `$2y$`.
    #[error("this is a bcrypt hash, only Argon2id is accepted")]
    Bcrypt,
    /// `$1$`, `$apr1$`, or 32 hexadecimal digits.
    #[error("this is an MD5 hash, which can be guessed in no time. Only Argon2id is accepted")]
    Md5,
    /// `$5$`, `$6$`, `{SHA}` and its relatives.
    #[error("this is a SHA hash, which can be guessed quickly. Only Argon2id is accepted")]
    Sha,
    /// Argon2i or Argon2d.
    #[error("this is another variant of Argon2, only Argon2id is accepted")]
    OtherArgon2,
    /// Another algorithm.
    #[error("only Argon2id hashes are accepted")]
    OtherAlgorithm,
    /// Cut off, or otherwise not of the form `$argon2id$v=19$m=…,t=…,p=…$salt$hash`.
    #[error("this Argon2id hash is incomplete or damaged")]
    Malformed,
    /// Below 19 MiB or two passes.
    #[error("this Argon2id hash is too weak: at least `m=19456` and `t=2` are needed")]
    TooWeak,
    /// Above 256 MiB, 16 passes or 16 lanes.
    #[error("this Argon2id hash costs too much for each login: at most `m=262144`, `t=16` and `p=16` are accepted")]
    TooCostly,
}

impl PhcProblem {
    /// What to do about it, one clause.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Malformed => "copy the whole line that `gatepost password hash` printed, in quotes",
            _ => "make a hash with `gatepost password hash`",
        }
    }
}

/// Hashes a password with Argon2id (32 MiB, two passes, one lane, random salt of 16 octets). Takes
/// about 30 ms.
///
/// # Errors
/// [`HashingFailed`].
pub fn hash(password: &Password) -> Result<String, HashingFailed> {
    let mut salt = [0; 16];
    rand::fill(&mut salt).map_err(|_| HashingFailed)?;
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(|_| HashingFailed)?;
    let hash: PasswordHash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_with_salt(password.expose().as_bytes(), &salt)
        .map_err(|_| HashingFailed)?;
    Ok(hash.to_string())
}

/// Whether the password is the one that was hashed. As costly as [`hash`], so do not call it on an
/// async thread.
pub fn verify(password: &Password, phc: &str) -> bool {
    PasswordHash::new(phc)
        .is_ok_and(|hash| Argon2::default().verify_password(password.expose().as_bytes(), &hash).is_ok())
}

/// Checks that a configured string is an Argon2id hash of sufficient strength.
///
/// # Errors
/// [`PhcProblem`] says what it is instead.
pub fn check_phc(phc: &str) -> Result<(), PhcProblem> {
    if let Some(problem) = other_scheme(phc) {
        return Err(problem);
    }
    let hash = PasswordHash::new(phc).map_err(|_| PhcProblem::Malformed)?;
    let params = Params::try_from(&hash).map_err(|_| PhcProblem::Malformed)?;
    let salt = hash.salt.as_ref().map_or(0, |salt| salt.as_ref().len());
    let output = hash.hash.as_ref().map_or(0, |output| output.as_bytes().len());
    if salt < 8 || output < 16 || hash.version != Some(Version::V0x13.into()) {
        return Err(PhcProblem::Malformed);
    }
    if params.m_cost() < LEAST_MEMORY_KIB || params.t_cost() < LEAST_PASSES {
        return Err(PhcProblem::TooWeak);
    }
    if params.m_cost() > MOST_MEMORY_KIB || params.t_cost() > MOST_PASSES || params.p_cost() > MOST_LANES {
        return Err(PhcProblem::TooCostly);
    }
    Ok(())
}

fn other_scheme(phc: &str) -> Option<PhcProblem> {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| phc.starts_with(prefix));
    if starts(&["$argon2id$"]) {
        None
    } else if starts(&["$argon2"]) {
        Some(PhcProblem::OtherArgon2)
    } else if starts(&["$2a$", "$2b$", "$2x$", "$2y$"]) {
        Some(PhcProblem::Bcrypt)
    } else if starts(&["$1$", "$apr1$", "{MD5}", "{SMD5}"]) || is_hex(phc, 32) {
        Some(PhcProblem::Md5)
    } else if starts(&["$5$", "$6$", "{SHA", "{SSHA"]) || is_hex(phc, 40) || is_hex(phc, 64) || is_hex(phc, 128) {
        Some(PhcProblem::Sha)
    } else if starts(&["$", "{"]) {
        Some(PhcProblem::OtherAlgorithm)
    } else {
        Some(PhcProblem::PlainText)
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|octet| octet.is_ascii_hexdigit())
}

/// Generates a password of 100 random bits: 20 lower-case letters and digits.
///
/// # Errors
/// [`HashingFailed`].
pub fn generate() -> Result<Password, HashingFailed> {
    random_text::<GENERATED>().map(Password::new)
}

/// `LENGTH` random characters of a password's alphabet, five bits each.
pub fn random_text<const LENGTH: usize>() -> Result<String, HashingFailed> {
    let mut octets = [0_u8; LENGTH];
    rand::fill(&mut octets).map_err(|_| HashingFailed)?;
    // 256 is a multiple of 32, so every character is as likely as any other.
    #[allow(clippy::indexing_slicing, reason = "the alphabet has 32 characters")]
    let character = |octet: &u8| char::from(ALPHABET[usize::from(octet % 32)]);
    Ok(octets.iter().map(character).collect())
}

/// SHA-256 over a login, preceded by its length, and a generated password. It is what is kept of a
/// password of 100 bits. Because of the login, the password of one account does not open another,
/// and two equal passwords have different records.
pub fn digest(login: &MailAddress, password: &Password) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&(login.as_str().len() as u64).to_be_bytes());
    context.update(login.as_str().as_bytes());
    context.update(password.expose().as_bytes());
    let mut digest = [0; 32];
    // SHA-256 gives 32 octets.
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// Why a chosen password is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnfitPassword {
    /// Fewer than this many characters.
    #[error("the password has fewer than {0} characters. Take a longer one")]
    TooShort(usize),
    /// Fewer than [`CHARACTERS`], for every network.
    #[error(
        "the password has fewer than 12 characters. Take a longer one, or name the network of the device with \
         `--from`, \
         for which 8 are enough"
    )]
    NeedsNetwork,
    /// More than a mail program may present.
    #[error("the password is longer than 1024 bytes. Choose a shorter one")]
    TooLong,
    /// The mail protocols cannot carry it.
    #[error("the password holds a control character, which mail protocols cannot carry. Leave it out")]
    ControlCharacter,
    /// It is the user name, the first thing that anybody tries.
    #[error("the password is the user name. Take another one")]
    UserName,
}

/// Fewest characters of a password that a person chooses.
pub const CHARACTERS: usize = 12;

/// Fewest characters of one that works from named networks only, for devices whose password field
/// takes no more.
pub const CHARACTERS_FROM_NETWORKS: usize = 8;

/// Longest password that a mail program may present, in octets.
pub const LONGEST: usize = 1_024;

/// Checks a password that a person chose for a login, and that works from these networks only;
/// without any, from everywhere.
///
/// # Errors
/// [`UnfitPassword`].
pub fn check_chosen_for(login: &MailAddress, password: &Password, from: &[IpNet]) -> Result<(), UnfitPassword> {
    check_chosen(password, CHARACTERS_FROM_NETWORKS)?;
    let is_everywhere = from.is_empty() || from.iter().any(|network| network.prefix_len() == 0);
    if is_everywhere && is_short(password) {
        return Err(UnfitPassword::NeedsNetwork);
    }
    let folded = password.expose().to_lowercase();
    let local_part = login.as_str().split('@').next();
    if folded == login.as_str() || Some(&*folded) == local_part { Err(UnfitPassword::UserName) } else { Ok(()) }
}

/// Whether a password has fewer than [`CHARACTERS`].
pub fn is_short(password: &Password) -> bool {
    password.expose().chars().count() < CHARACTERS
}

/// Checks a password that a person chose, whatever it is for. It must have at least this many
/// characters.
///
/// # Errors
/// [`UnfitPassword`].
pub fn check_chosen(password: &Password, characters: usize) -> Result<(), UnfitPassword> {
    let text = password.expose();
    if text.chars().count() < characters {
        Err(UnfitPassword::TooShort(characters))
    } else if text.len() > LONGEST {
        Err(UnfitPassword::TooLong)
    } else if text.chars().any(char::is_control) {
        Err(UnfitPassword::ControlCharacter)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::new(text.into())
    }

    #[test]
    fn a_hash_fits_its_password_only_and_is_accepted() {
        let hashed = hash(&password("correct horse")).unwrap();
        assert!(hashed.starts_with("$argon2id$v=19$m=32768,t=2,p=1$"), "{hashed}");
        assert_eq!(check_phc(&hashed), Ok(()));
        assert!(verify(&password("correct horse"), &hashed));
        assert!(!verify(&password("correct horse "), &hashed));
        assert!(!verify(&password("correct horse"), "garbage"));
        assert_ne!(hashed, hash(&password("correct horse")).unwrap(), "the salt is random");
    }

    #[test]
    fn what_is_no_strong_argon2id_hash_is_called_by_its_name() {
        let argon2 = |kind: &str, params: &str| format!("${kind}$v=19${params}$c29tZXNhbHRzb21lc2E${}", "A".repeat(43));
        assert_eq!(check_phc(&argon2("argon2id", "m=19456,t=2,p=1")), Ok(()));
        for (phc, problem) in [
            ("hunter2".to_owned(), PhcProblem::PlainText),
            (String::new(), PhcProblem::PlainText),
            ("$2y$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy".into(), PhcProblem::Bcrypt),
            ("$1$abc$def".into(), PhcProblem::Md5),
            ("$apr1$abc$def".into(), PhcProblem::Md5),
            ("5f4dcc3b5aa765d61d8327deb882cf99".into(), PhcProblem::Md5),
            ("$6$rounds=5000$abc$def".into(), PhcProblem::Sha),
            ("$5$abc$def".into(), PhcProblem::Sha),
            ("{SSHA}abc".into(), PhcProblem::Sha),
            ("5baa61e4c9b93f3f0682250b6cf8331b7ee68fd8".into(), PhcProblem::Sha),
            ("$scrypt$ln=17,r=8,p=1$abc$def".into(), PhcProblem::OtherAlgorithm),
            (argon2("argon2i", "m=32768,t=2,p=1"), PhcProblem::OtherArgon2),
            (argon2("argon2d", "m=32768,t=2,p=1"), PhcProblem::OtherArgon2),
            (argon2("argon2id", "m=19455,t=2,p=1"), PhcProblem::TooWeak),
            (argon2("argon2id", "m=32768,t=1,p=1"), PhcProblem::TooWeak),
            (argon2("argon2id", "m=262145,t=2,p=1"), PhcProblem::TooCostly),
            ("$argon2id$v=19$m=32768,t=2,p=1$c29tZXNhbHQ".into(), PhcProblem::Malformed),
            ("$argon2id$".into(), PhcProblem::Malformed),
        ] {
            assert_eq!(check_phc(&phc), Err(problem), "{phc}");
        }
    }

    #[test]
    fn a_generated_password_has_a_hundred_bits() {
        let (one, other) = (generate().unwrap(), generate().unwrap());
        assert_eq!(one.expose().len(), 20);
        assert!(one.expose().bytes().all(|octet| ALPHABET.contains(&octet)));
        assert_ne!(one.expose(), other.expose());
        assert_eq!(check_chosen(&one, CHARACTERS), Ok(()));
    }

    #[test]
    fn a_digest_fits_one_login_and_one_password() {
        let login = |text: &str| MailAddress::parse(text).unwrap();
        let known = digest(&login("a@contoso.example"), &password("secret"));
        assert_eq!(known, digest(&login("A@Contoso.example"), &password("secret")));
        assert_ne!(known, digest(&login("b@contoso.example"), &password("secret")));
        // Text cannot be moved from the password to the login.
        assert_ne!(digest(&login("a@b"), &password("cd")), digest(&login("a@bc"), &password("d")));
    }

    #[test]
    fn a_chosen_password_is_not_the_user_name() {
        let login = MailAddress::parse("scanner.third.floor@contoso.example").unwrap();
        for text in ["Scanner.Third.Floor@contoso.example", "scanner.third.floor"] {
            assert_eq!(check_chosen_for(&login, &password(text), &[]), Err(UnfitPassword::UserName), "{text}");
        }
        assert_eq!(check_chosen_for(&login, &password("scanner.third.floor!"), &[]), Ok(()));
    }

    #[test]
    fn a_short_password_works_from_named_networks_only() {
        let login = MailAddress::parse("fax@contoso.example").unwrap();
        let networks = |text: &str| -> Vec<IpNet> { text.split_whitespace().map(|net| net.parse().unwrap()).collect() };
        for (text, from, verdict) in [
            ("7 chars", "192.168.7.0/24", Err(UnfitPassword::TooShort(8))),
            ("8 chars!", "192.168.7.0/24", Ok(())),
            ("8 chars!", "192.168.7.9/32 fd00::/8", Ok(())),
            ("8 chars!", "", Err(UnfitPassword::NeedsNetwork)),
            ("8 chars!", "192.168.7.0/24 ::/0", Err(UnfitPassword::NeedsNetwork)),
            ("elevenchars", "", Err(UnfitPassword::NeedsNetwork)),
            ("twelve chars", "", Ok(())),
        ] {
            assert_eq!(check_chosen_for(&login, &password(text), &networks(from)), verdict, "{text} from {from}");
        }
    }

    #[test]
    fn a_chosen_password_is_long_enough_and_can_be_typed() {
        for (text, verdict) in [
            ("elevenchars", Err(UnfitPassword::TooShort(12))),
            ("twelve chars", Ok(())),
            ("twelve\tcharacters", Err(UnfitPassword::ControlCharacter)),
            (&"x".repeat(1_025), Err(UnfitPassword::TooLong)),
            (&"x".repeat(1_024), Ok(())),
        ] {
            assert_eq!(check_chosen(&password(text), CHARACTERS), verdict, "{text}");
        }
    }
}
