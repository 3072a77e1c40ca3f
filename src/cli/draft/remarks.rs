//! What the administrator is told of a plan.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::plan::{Label, Plan, Remark};

/// Most places that one line names.
const PLACES: usize = 40;

/// The remarks of a plan, one line for each thing that is said, in the order of what is to be done.
pub(in crate::cli) fn remarks(plan: &Plan) -> String {
    let mut lines: Vec<(Label, &str, Vec<String>)> = Vec::new();
    let mut known: HashMap<(Label, &str), usize> = HashMap::new();
    for Remark { label, about, text } in &plan.remarks {
        let at = *known.entry((*label, text)).or_insert_with(|| {
            lines.push((*label, text, Vec::new()));
            lines.len() - 1
        });
        let place = about.as_ref().map(ToString::to_string);
        if let (Some((.., places)), Some(place)) = (lines.get_mut(at), place)
            && places.last() != Some(&place)
        {
            places.push(place);
        }
    }
    lines.sort_by_key(|(label, ..)| *label);
    let mut told = String::new();
    for (label, text, places) in lines {
        let more = places.len().saturating_sub(PLACES);
        let mut shown = places.into_iter().take(PLACES).collect::<Vec<_>>().join(", ");
        // Writing to a String cannot fail.
        if more > 0 {
            let _ = write!(shown, " and {more} more");
        }
        let end = if text.ends_with(['.', '`']) && label == Label::Change { "" } else { "." };
        let _ = match shown.as_str() {
            "" => writeln!(told, "{}: {text}{end}", label.word()),
            _ => writeln!(told, "{}: {shown}: {text}{end}", label.word()),
        };
    }
    told
}
