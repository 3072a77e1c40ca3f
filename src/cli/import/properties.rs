//! Reads Java properties (java.util.Properties, `load`), with the line of each key.

use zeroize::Zeroizing;

use super::ini::Entry;
use super::mistake::Mistake;

/// Reads a text. Of a key that is written twice, the last counts, as in Java.
///
/// # Errors
/// An escape `\u` without four hexadecimal digits. It holds nothing of the content.
pub(super) fn read(text: &str) -> Result<Vec<Entry>, Mistake> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let (line, start) = (index + 1, first.trim_start());
        if start.is_empty() || start.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = Zeroizing::new(start.to_owned());
        while ends_open(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start());
        }
        let (key, value) = split(&logical);
        let entry = Entry { key: unescape(key, line)?.to_string(), value: unescape(value, line)?, line };
        match entries.iter_mut().find(|other| other.key == entry.key) {
            Some(other) => *other = entry,
            None => entries.push(entry),
        }
    }
    Ok(entries)
}

/// True when an odd number of backslashes ends the line, so that the next one continues it.
fn ends_open(line: &str) -> bool {
    line.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1
}

/// Splits at the first separator that is not escaped: white space, `=` or `:`.
fn split(logical: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = logical.char_indices().find(|(_, c)| {
        let is_end = !escaped && (matches!(c, '=' | ':') || c.is_whitespace());
        escaped = !escaped && *c == '\\';
        is_end
    });
    let (key, rest) = logical.split_at(end.map_or(logical.len(), |(at, _)| at));
    let rest = rest.trim_start();
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, value.trim_start())
}

fn unescape(text: &str, line: usize) -> Result<Zeroizing<String>, Mistake> {
    let mut plain = Zeroizing::new(String::with_capacity(text.len()));
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let unit = u16::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4);
                let unit = unit.ok_or_else(|| {
                    Mistake::at(
                        line,
                        "an escape `\\u` has no four hexadecimal digits",
                        "Write `\\\\` for a backslash, as in Windows paths",
                    )
                })?;
                // Half of a pair stands for no character by itself.
                plain.push(char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Result<Vec<String>, String> {
        let entries = read(text).map_err(|mistake| mistake.to_string())?;
        Ok(entries.iter().map(|entry| format!("{}={} @{}", entry.key, *entry.value, entry.line)).collect())
    }

    #[test]
    fn properties_are_read_as_java_reads_them() {
        let text = "# c\n! c\na=1\n b : 2\nc 3\n\nd=x\\\n   y\\\\\ne\\=f=\\u00e9\\t\\#\ng\na=4\nh=a\\:b=c\n";
        assert_eq!(
            told(text).unwrap(),
            ["a=4 @11", "b=2 @4", "c=3 @5", "d=xy\\ @7", "e=f=é\t# @9", "g= @10", "h=a:b=c @12"]
        );
    }

    #[test]
    fn an_escape_that_is_none_is_told_with_its_line() {
        for text in ["a=1\nb=\\u12", "a=1\nb=C:\\users\\hunter2"] {
            let told = told(text).unwrap_err();
            assert!(told.starts_with("line 2: ") && !told.contains("hunter"), "{told}");
        }
        assert!(told("a=x\\").is_ok());
    }
}
