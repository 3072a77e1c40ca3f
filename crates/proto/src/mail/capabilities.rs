//! The capabilities that an upstream announces.

/// The capabilities of an upstream, as it sent them. There is one entry per IMAP capability, POP3
/// CAPA line or EHLO line. Entries with anything but printable ASCII are left out when they are
/// learned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub Vec<String>);

impl Capabilities {
    /// Returns what both lists have, in this one's order: what a client may be told that will be
    /// logged in at one of two servers. Entries are the same if they have the same parameters, with
    /// two exceptions: of SMTP's `SIZE` (RFC 1870 §4) the smaller one counts, and IMAP's `LITERAL-`
    /// is a part of `LITERAL+` (RFC 7888 §5).
    #[must_use]
    pub fn in_common_with(&self, other: &Self) -> Self {
        let common = |entry: &String| match (size(entry), entry) {
            (Some(one), _) => {
                let sizes = other.0.iter().find_map(|entry| size(entry)).map(|other| [one, other]);
                // Zero and no figure mean that there is no fixed limit.
                let least = sizes?.into_iter().filter(|size| *size > 0).min();
                Some(least.map_or_else(|| "SIZE".to_owned(), |least| format!("SIZE {least}")))
            }
            (None, entry) if other.has(entry) => Some(entry.clone()),
            (None, entry) if is_literal(entry) && other.0.iter().any(|other| is_literal(other)) => {
                Some("LITERAL-".to_owned())
            }
            _ => None,
        };
        let mut entries: Vec<String> = Vec::new();
        for entry in self.0.iter().filter_map(common) {
            if !entries.contains(&entry) {
                entries.push(entry);
            }
        }
        Self(entries)
    }

    fn has(&self, entry: &str) -> bool {
        self.0.iter().any(|known| known.eq_ignore_ascii_case(entry))
    }
}

fn is_literal(entry: &str) -> bool {
    entry.eq_ignore_ascii_case("LITERAL+") || entry.eq_ignore_ascii_case("LITERAL-")
}

/// The figure of SMTP's `SIZE`, zero if it has none.
fn size(entry: &str) -> Option<u64> {
    let (keyword, figure) = entry.split_once(' ').unwrap_or((entry, "0"));
    keyword.eq_ignore_ascii_case("SIZE").then(|| figure.trim().parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common(one: &[&str], other: &[&str]) -> Vec<String> {
        let list = |entries: &[&str]| Capabilities(entries.iter().map(|&entry| entry.to_owned()).collect());
        list(one).in_common_with(&list(other)).0
    }

    #[test]
    fn only_what_both_servers_have_remains() {
        assert_eq!(
            common(
                &["a.example", "DSN", "8BITMIME", "LIMITS RCPTMAX=9"],
                &["b.example", "8bitmime", "LIMITS RCPTMAX=8"]
            ),
            ["8BITMIME"]
        );
        assert_eq!(common(&["TOP", "EXPIRE NEVER"], &["EXPIRE 0", "TOP"]), ["TOP"]);
        assert_eq!(common(&["IDLE", "THREAD=REFS", "STATUS=SIZE"], &["STATUS=SIZE", "IDLE"]), ["IDLE", "STATUS=SIZE"]);
        assert!(common(&["IDLE"], &[]).is_empty() && common(&[], &["IDLE"]).is_empty());
    }

    #[test]
    fn of_two_sizes_the_smaller_one_counts() {
        for (one, other, told) in [
            ("SIZE 157286400", "size 35882577", &["SIZE 35882577"][..]),
            ("SIZE 1000", "SIZE 2000", &["SIZE 1000"]),
            ("SIZE 1000", "SIZE", &["SIZE 1000"]),
            ("SIZE 0", "SIZE 1000", &["SIZE 1000"]),
            ("SIZE 0", "SIZE", &["SIZE"]),
            ("SIZE 1000", "DSN", &[]),
        ] {
            assert_eq!(common(&[one], &[other]), told, "{one} {other}");
            assert_eq!(common(&[other], &[one]), told, "{other} {one}");
        }
    }

    #[test]
    fn a_client_that_may_send_short_literals_may_do_so_at_both() {
        for (one, other, told) in [
            (&["LITERAL+"][..], &["LITERAL+"][..], &["LITERAL+"][..]),
            (&["LITERAL+"], &["LITERAL-"], &["LITERAL-"]),
            (&["LITERAL-"], &["LITERAL+"], &["LITERAL-"]),
            (&["LITERAL-"], &["LITERAL-"], &["LITERAL-"]),
            (&["LITERAL+"], &["IDLE"], &[]),
        ] {
            assert_eq!(common(one, other), told, "{one:?} {other:?}");
        }
    }
}
