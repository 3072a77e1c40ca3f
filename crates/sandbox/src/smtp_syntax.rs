//! What stands behind the verbs of SMTP.

/// The path and the parameters behind `FROM:` or `TO:` (RFC 5321 §4.1.2). A source route is not
/// taken.
pub(super) fn path<'a>(arguments: &'a str, keyword: &str) -> Option<(String, &'a str)> {
    let (head, rest) = arguments.split_at_checked(keyword.len())?;
    if !head.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let (path, parameters) = rest.trim_start().strip_prefix('<')?.split_once('>')?;
    let plain = !path.starts_with('@') && !path.contains(|c: char| c.is_control() || c == ' ' || c == '<');
    plain.then(|| (path.to_owned(), parameters))
}

/// Whether Exchange takes a name in EHLO: labels of letters, digits and hyphens, or an address in
/// brackets.
pub(super) fn is_name(name: &str) -> bool {
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    name.starts_with('[') && name.ends_with(']') || name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_apart() {
        assert_eq!(path("FROM:<a@b> SIZE=5", "FROM:"), Some(("a@b".into(), " SIZE=5")));
        assert_eq!(path("from: <>", "FROM:"), Some((String::new(), "")));
        for arguments in ["FROM:a@b", "TO:<a@b>", "FROM:<a b@c>", "FROM:<@x:a@b>", "FROM:<a@b", "F"] {
            assert_eq!(path(arguments, "FROM:"), None, "{arguments}");
        }
    }
}
