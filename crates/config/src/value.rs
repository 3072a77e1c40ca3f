//! Parses typed values: durations, sizes, addresses, words. Pure. Each refusal says why, and what
//! to write instead.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;

use super::model::listener::Bind;
use gatepost_core::server_name::ServerName;

/// Why a text is not a valid value of its key.
#[derive(Debug, PartialEq, Eq)]
pub struct ValueError {
    pub(super) reason: String,
    pub(super) hint: String,
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.reason, self.hint)
    }
}

pub(super) fn wrong<T>(reason: impl Into<String>, hint: impl Into<String>) -> Result<T, ValueError> {
    Err(ValueError { reason: reason.into(), hint: hint.into() })
}

/// Text of the configuration for a message: in backticks, controls escaped, at most 60 characters.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text.escape_debug().take(60).collect();
    if shown.chars().count() == 60 {
        shown.push('…');
    }
    format!("`{}`", shown.replace("\\\"", "\"").replace("\\'", "'"))
}

/// `a`, `b` or `c`.
pub(super) fn either(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// The most similar candidate, if one is similar.
pub(super) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    // No key or word of the configuration is as long, and the cost is the product of the lengths.
    if word.len() > 40 {
        return None;
    }
    let fold = |text: &str| text.to_lowercase().replace(['-', ' '], "_");
    let word = fold(word);
    let edits = |candidate: &str| strsim::osa_distance(&word, &fold(candidate));
    let (distance, found) = candidates.iter().map(|c| (edits(c), *c)).min_by_key(|(distance, _)| *distance)?;
    (distance <= found.len().div_ceil(3).min(3)).then_some(found)
}

/// One of a few words.
///
/// # Errors
/// [`ValueError`] says what to write instead.
pub fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, ValueError> {
    if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    let hint = match nearest(text, &words) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("write {}", either(&words)),
    };
    wrong(format!("{} is not one of {}", quoted(text), either(&words).replace(" or ", ", ")), hint)
}

/// `true` or `false`.
pub(super) fn truth(text: &str) -> Result<bool, ValueError> {
    choice(text, &[("true", true), ("false", false)])
}

/// A whole number without unit.
pub(super) fn count(text: &str, range: &RangeInclusive<u64>) -> Result<u64, ValueError> {
    let between = || format!("write a whole number from {} to {}", range.start(), range.end());
    match text.parse::<u64>() {
        Ok(number) if range.contains(&number) => Ok(number),
        Ok(number) => wrong(format!("{number} is out of range"), between()),
        Err(_) => wrong(format!("{} is not a whole number", quoted(text)), between()),
    }
}

const DURATION_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A whole number with `ms`, `s`, `m`, `h` or `d`. `0` needs no unit.
///
/// # Errors
/// [`ValueError`] says what to write instead.
pub fn duration(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, ValueError> {
    let between = || format!("write a time from {} to {}", show_duration(*range.start()), show_duration(*range.end()));
    let Some((number, unit)) = number_and_unit(text) else {
        return wrong(
            format!("{} is not a time", quoted(text)),
            "write a whole number with `s`, `m`, `h`, `d` or `ms`, such as `30s`",
        );
    };
    if text == "0" && range.contains(&Duration::ZERO) {
        return Ok(Duration::ZERO);
    }
    if unit.is_empty() {
        return wrong(
            format!("{} has no unit", quoted(text)),
            format!("write `{number}s` for seconds, or use `ms`, `m`, `h`, `d`"),
        );
    }
    let Some((_, millis)) = DURATION_UNITS.iter().find(|(name, _)| *name == unit) else {
        return wrong(
            format!("{} has a unit that is not known", quoted(text)),
            "use `ms`, `s`, `m`, `h` or `d`, such as `30s`",
        );
    };
    match number.checked_mul(*millis).map(Duration::from_millis) {
        Some(duration) if range.contains(&duration) => Ok(duration),
        _ => wrong(format!("{} is out of range", quoted(text)), between()),
    }
}

/// The shortest exact form that [`duration`] reads.
pub fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let unit = DURATION_UNITS.iter().rev().find(|(_, size)| millis >= *size && millis.is_multiple_of(*size));
    unit.map_or_else(|| format!("{}s", millis / 1_000), |(name, size)| format!("{}{name}", millis / size))
}

const SIZE_UNITS: [(&str, u64); 4] = [("B", 1), ("KiB", 1_024), ("MiB", 1_048_576), ("GiB", 1_073_741_824)];

/// A whole number with `B`, `KiB`, `MiB` or `GiB`.
pub(super) fn size(text: &str, range: &RangeInclusive<u64>) -> Result<u64, ValueError> {
    let between = || format!("write a size from {} to {}", show_size(*range.start()), show_size(*range.end()));
    let Some((number, unit)) = number_and_unit(text) else {
        return wrong(
            format!("{} is not a size", quoted(text)),
            "write a whole number with `B`, `KiB`, `MiB` or `GiB`, such as `8KiB`",
        );
    };
    if unit.is_empty() {
        return wrong(
            format!("{} has no unit", quoted(text)),
            format!("write `{number}B` for bytes, or use `KiB`, `MiB`, `GiB`"),
        );
    }
    let Some((_, octets)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) else {
        return wrong(
            format!("{} has a unit that is not known", quoted(text)),
            "use `B`, `KiB`, `MiB` or `GiB`, such as `8KiB`",
        );
    };
    match number.checked_mul(*octets) {
        Some(size) if range.contains(&size) => Ok(size),
        _ => wrong(format!("{} is out of range", quoted(text)), between()),
    }
}

/// The shortest exact form of a size in bytes, as the configuration has it.
pub fn show_size(size: u64) -> String {
    let unit = SIZE_UNITS.iter().rev().find(|(_, octets)| size >= *octets && size.is_multiple_of(*octets));
    unit.map_or_else(|| format!("{size}B"), |(name, octets)| format!("{}{name}", size / octets))
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
}

/// `address:port` or `localhost:port` to listen on; port 0 lets the system choose.
pub(super) fn bind(text: &str) -> Result<Bind, ValueError> {
    if let Ok(address) = text.parse() {
        return Ok(Bind::Address(address));
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && host.eq_ignore_ascii_case("localhost")
        && let Ok(port) = port.parse()
    {
        return Ok(Bind::Localhost(port));
    }
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        let shown = SocketAddr::new(address, 1143);
        return wrong(format!("{} has no port", quoted(text)), format!("write address and port, such as `{shown}`"));
    }
    if text.parse::<u16>().is_ok() {
        return wrong(
            format!("{} has no address", quoted(text)),
            format!("write `localhost:{text}` for this machine alone"),
        );
    }
    let hint = match text.rsplit_once(':') {
        Some(("" | "*", port)) => {
            format!("write `[\"0.0.0.0:{port}\", \"[::]:{port}\"]` for every address of this machine")
        }
        _ => {
            "write `localhost` or a numeric address, and a port, such as `localhost:1143` or `192.0.2.7:143`".to_owned()
        }
    };
    wrong(format!("{} is not an address with a port", quoted(text)), hint)
}

/// A network in CIDR form, or one address.
///
/// # Errors
/// [`ValueError`] says what to write instead.
pub fn network(text: &str) -> Result<IpNet, ValueError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    match text.parse::<IpNet>() {
        Ok(network) if network.trunc() == network => Ok(network),
        Ok(network) => {
            wrong(format!("{} has bits set behind its prefix", quoted(text)), format!("write `{}`", network.trunc()))
        }
        Err(_) => wrong(
            format!("{} is not a network", quoted(text)),
            "write an address or a network, such as `192.168.7.0/24` or `::1`",
        ),
    }
}

/// `host:port`; an IPv6 address stands in brackets. The host is folded to lower case.
pub(super) fn host_and_port(text: &str) -> Result<(String, u16), ValueError> {
    let hint = "write host and port, such as `outlook.office365.com:993`";
    if text.contains("//") {
        // The message does not repeat the text, because a URL may hold a password.
        return wrong("a URL does not belong here", hint);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return if address.port() == 0 {
            wrong(format!("{} has port 0", quoted(text)), hint)
        } else {
            Ok((address.ip().to_string(), address.port()))
        };
    }
    if text.parse::<IpAddr>().is_ok() {
        return wrong(format!("{} has no port", quoted(text)), hint);
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return wrong(format!("{} has no port", quoted(text)), hint);
    };
    match port.parse::<u16>() {
        Ok(port) if port != 0 => Ok((host_name(host)?, port)),
        _ => wrong(format!("{} is not a port", quoted(port)), "ports go from 1 to 65535"),
    }
}

/// A DNS name in ASCII (RFC 1123 §2.1, with `_`), or an address; folded to lower case.
pub(super) fn host_name(text: &str) -> Result<String, ValueError> {
    if text.parse::<IpAddr>().is_ok() {
        return Ok(text.to_ascii_lowercase());
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() <= 253 && text.split('.').all(label) {
        return Ok(text.to_ascii_lowercase());
    }
    wrong(format!("{} is not a host name", quoted(text)), "write the name in ASCII letters, digits, `-` and `.`")
}

/// A name for greetings and EHLO.
pub(super) fn server_name(text: &str) -> Result<ServerName, ValueError> {
    let Some(name) = ServerName::parse(text) else {
        return wrong(
            format!("{} is no name that mail servers accept in EHLO", quoted(text)),
            "write a host name in letters, digits, `-` and `.`, without a dot at the end, such as \
             `gatepost.contoso.com`, or an \
             address such as `[192.0.2.7]`",
        );
    };
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_stay_in_range() {
        let range = Duration::from_millis(100)..=Duration::from_secs(3_600);
        assert_eq!(duration("30s", &range), Ok(Duration::from_secs(30)));
        assert_eq!(duration("5 m", &range), Ok(Duration::from_secs(300)));
        assert_eq!(duration("250ms", &range), Ok(Duration::from_millis(250)));
        assert_eq!(duration("30", &range).unwrap_err().reason, "`30` has no unit");
        assert_eq!(duration("0", &range).unwrap_err().reason, "`0` has no unit");
        assert_eq!(duration("0", &(Duration::ZERO..=Duration::MAX)), Ok(Duration::ZERO));
        assert_eq!(duration("2d", &range).unwrap_err().hint, "write a time from 100ms to 1h");
        assert_eq!(duration("99999999999999999d", &range).unwrap_err().reason, "`99999999999999999d` is out of range");
        for text in ["", "s", "-5s", "1.5s", "5 minutes", "99999999999999999999999s", "٣s"] {
            assert!(duration(text, &range).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_shown_as_they_are_read() {
        for text in ["250ms", "90s", "5m", "24h".replace("24h", "1d").as_str(), "11m"] {
            let wide = Duration::ZERO..=Duration::MAX;
            assert_eq!(show_duration(duration(text, &wide).unwrap()), text);
        }
        assert_eq!(show_duration(Duration::ZERO), "0s");
    }

    #[test]
    fn sizes_need_a_unit() {
        let range = 256..=32_768;
        assert_eq!(size("8KiB", &range), Ok(8_192));
        assert_eq!(size("512B", &range), Ok(512));
        assert_eq!(size("8192", &range).unwrap_err().hint, "write `8192B` for bytes, or use `KiB`, `MiB`, `GiB`");
        assert_eq!(size("8KB", &range).unwrap_err().reason, "`8KB` has a unit that is not known");
        assert_eq!(size("1MiB", &range).unwrap_err().hint, "write a size from 256B to 32KiB");
    }

    #[test]
    fn addresses_to_bind_are_localhost_or_numeric_and_have_a_port() {
        assert_eq!(bind("[::1]:1143").unwrap().port(), 1143);
        assert_eq!(bind("::1").unwrap_err().hint, "write address and port, such as `[::1]:1143`");
        assert_eq!(bind("1143").unwrap_err().hint, "write `localhost:1143` for this machine alone");
        for text in ["localhost:25", "LocalHost:25"] {
            let addresses: Vec<_> = bind(text).unwrap().addresses().map(|address| address.to_string()).collect();
            assert_eq!(addresses, ["127.0.0.1:25", "[::1]:25"]);
        }
        for text in ["localhost", "localhost:", "localhost:x", "localhost:70000", "localhost.:25", "x.localhost:25"] {
            assert!(bind(text).is_err(), "{text}");
        }
        assert!(bind("*:25").unwrap_err().hint.contains("every address"));
        assert!(bind("mail.example:25").is_err());
    }

    #[test]
    fn a_network_has_no_bits_behind_its_prefix() {
        assert_eq!(network("::1").unwrap().to_string(), "::1/128");
        assert_eq!(network("192.168.7.1/24").unwrap_err().hint, "write `192.168.7.0/24`");
        assert!(network("10.0.0.0/33").is_err());
    }

    #[test]
    fn hosts_have_a_port_and_a_sane_name() {
        assert_eq!(host_and_port("Outlook.Office365.com:993"), Ok(("outlook.office365.com".into(), 993)));
        assert_eq!(host_and_port("[::1]:993"), Ok(("::1".into(), 993)));
        for text in ["outlook.office365.com", "::1", "a:0", "a:70000", "https://a/", "a b:1", ":1", "-a:1", "a..b:1"] {
            assert!(host_and_port(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_nearest_word_forgives_typing() {
        let words = ["bind", "upstream_tls", "upstream", "certificate"];
        assert_eq!(nearest("bnid", &words), Some("bind"));
        assert_eq!(nearest("upstream-tls", &words), Some("upstream_tls"));
        assert_eq!(nearest("Certifcate", &words), Some("certificate"));
        assert_eq!(nearest("frobnicate", &words), None);
        assert_eq!(nearest(&"x".repeat(100_000), &words), None);
    }
}
