//! Pieces of Markdown.

/// The text of a table's cell.
pub(super) fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// The words as a sentence.
pub(super) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        // A command or key keeps its spelling.
        Some(first) => first.to_uppercase().chain(letters).collect::<String>() + ".",
        None => "–".to_owned(),
    }
}

/// The address of a heading, as GitHub makes it.
pub(super) fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|&c| c.is_alphanumeric() || c == '-' || c == '_').collect()
}
