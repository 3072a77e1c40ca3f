//! Reads files of environment variables, as `docker run --env-file`, Compose and shells take them.

use zeroize::Zeroizing;

use super::ini::Entry;
use super::mistake::Mistake;

/// Reads a text: `NAME=value` lines, perhaps with `export` before and quotes around the value. Of a
/// name that is written twice, the last counts.
///
/// # Errors
/// A line that is no variable. It holds nothing of the content.
pub(super) fn read(text: &str) -> Result<Vec<Entry>, Mistake> {
    let mut entries: Vec<Entry> = Vec::new();
    for (index, raw) in text.lines().enumerate() {
        let (line, trimmed) = (index + 1, raw.trim());
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let assignment = trimmed.strip_prefix("export ").unwrap_or(trimmed).trim_start();
        let split = assignment.split_once('=').map(|(name, value)| (name.trim_end(), value.trim()));
        let Some((name, value)) = split.filter(|(name, _)| is_name(name)) else {
            return Err(Mistake::at(
                line,
                "this is not `NAME=value`",
                "Look whether the file was cut off or edited by mistake",
            ));
        };
        let value = unquoted(value).ok_or_else(|| {
            Mistake::at(line, "the quotation mark of the value is not closed", "Add it, or remove the first one")
        })?;
        let entry = Entry { key: name.to_owned(), value: Zeroizing::new(value.to_owned()), line };
        match entries.iter_mut().find(|other| other.key == entry.key) {
            Some(other) => *other = entry,
            None => entries.push(entry),
        }
    }
    Ok(entries)
}

/// True for what a shell takes as the name of a variable.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The value without its quotes and without a comment behind it.
fn unquoted(value: &str) -> Option<&str> {
    for mark in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(mark) {
            return rest.split_once(mark).map(|(inner, _)| inner);
        }
    }
    Some(value.split_once(" #").map_or(value, |(value, _)| value.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_read_as_shells_read_them() {
        let text = "# c\nA=1\nexport B = \"two # 2\" # c\nC='3'\nD=4 # c\nA=5\nE=\n";
        let told: Vec<String> =
            read(text).unwrap().iter().map(|entry| format!("{}={} @{}", entry.key, *entry.value, entry.line)).collect();
        assert_eq!(told, ["A=5 @6", "B=two # 2 @3", "C=3 @4", "D=4 @5", "E= @7"]);
    }

    #[test]
    fn damage_is_told_with_its_line_and_without_its_content() {
        for text in ["A=1\nhunter2", "A=1\n2B=hunter2", "A=1\nB=\"hunter2", "A=1\nB C=hunter2"] {
            let told = read(text).map(drop).unwrap_err().to_string();
            assert!(told.starts_with("line 2: ") && !told.contains("hunter"), "{told}");
        }
    }
}
