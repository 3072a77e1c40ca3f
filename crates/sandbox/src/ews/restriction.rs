//! Restrictions of FindItem: which messages are looked for.

use super::error::EwsError;
use super::xml::{Element, truth};
use crate::calendar;
use crate::letter::Letter;
use crate::store::{Flags, Message};

/// Whether a message meets a search expression.
pub(super) fn matches(expression: &Element, message: &Message) -> Result<bool, EwsError> {
    let unsupported =
        || EwsError::new("ErrorUnsupportedPathForQuery", "The property can not be used with this type of restriction.");
    match expression.name.as_str() {
        "And" => expression.children.iter().try_fold(true, |all, child| Ok(all && matches(child, message)?)),
        "Or" => expression.children.iter().try_fold(false, |any, child| Ok(any || matches(child, message)?)),
        "Not" => Ok(!matches(expression.children.first().ok_or_else(unsupported)?, message)?),
        comparison => {
            let field = expression.child("FieldURI").and_then(|field| field.attribute("FieldURI")).unwrap_or_default();
            let wanted = expression
                .child("FieldURIOrConstant")
                .map_or(expression, |operand| operand)
                .child("Constant")
                .and_then(|constant| constant.attribute("Value"))
                .ok_or_else(unsupported)?;
            let letter = || Letter::read(&message.content);
            let found = match field {
                "message:IsRead" => {
                    let equal = message.flags.intersects(Flags::SEEN) == truth(wanted);
                    return match comparison {
                        "IsEqualTo" => Ok(equal),
                        "IsNotEqualTo" => Ok(!equal),
                        _ => Err(unsupported()),
                    };
                }
                "item:Subject" => letter().subject(),
                "message:InternetMessageId" => letter().field("message-id").unwrap_or_default(),
                "item:DateTimeReceived" => {
                    let wanted = calendar::parse_iso(wanted).ok_or_else(unsupported)?;
                    return ordering(comparison, message.received_at.cmp(&wanted)).ok_or_else(unsupported);
                }
                _ => return Err(unsupported()),
            };
            match comparison {
                "IsEqualTo" => Ok(found.eq_ignore_ascii_case(wanted)),
                "IsNotEqualTo" => Ok(!found.eq_ignore_ascii_case(wanted)),
                "Contains" => {
                    let (found, wanted) = (found.to_lowercase(), wanted.to_lowercase());
                    Ok(match expression.attribute("ContainmentMode").unwrap_or("Substring") {
                        "FullString" => found == wanted,
                        "Prefixed" => found.starts_with(&wanted),
                        _ => found.contains(&wanted),
                    })
                }
                _ => Err(unsupported()),
            }
        }
    }
}

fn ordering(comparison: &str, found: std::cmp::Ordering) -> Option<bool> {
    Some(match comparison {
        "IsEqualTo" => found.is_eq(),
        "IsNotEqualTo" => found.is_ne(),
        "IsLessThan" => found.is_lt(),
        "IsLessThanOrEqualTo" => found.is_le(),
        "IsGreaterThan" => found.is_gt(),
        "IsGreaterThanOrEqualTo" => found.is_ge(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn expressions_are_judged() {
        let message = Message {
            content: Arc::from(&b"Subject: Invoice 7\r\n\r\n"[..]),
            flags: Flags::SEEN,
            received_at: 10,
            identity: 1,
        };
        let judged =
            |text: &str| matches(&Element::parse(text.as_bytes()).unwrap(), &message).map_err(|error| error.code);
        let equal = |field: &str, value: &str| {
            format!(
                "<IsEqualTo><FieldURI FieldURI='{field}'/><FieldURIOrConstant><Constant Value='{value}'/></FieldURIOrConstant></IsEqualTo>"
            )
        };
        assert_eq!(judged(&equal("message:IsRead", "true")), Ok(true));
        assert_eq!(judged(&format!("<Not>{}</Not>", equal("item:Subject", "invoice 7"))), Ok(false));
        assert_eq!(judged(&equal("message:IsRead", "0")), Ok(false));
        let contains = "<Contains ContainmentMode='Substring'><FieldURI FieldURI='item:Subject'/><Constant Value='VOICE'/></Contains>";
        assert_eq!(judged(&format!("<And>{contains}{}</And>", equal("message:IsRead", "false"))), Ok(false));
        assert_eq!(judged(&format!("<Or>{contains}{}</Or>", equal("message:IsRead", "false"))), Ok(true));
        let later = equal("item:DateTimeReceived", "1970-01-01T00:00:09Z").replace("IsEqualTo", "IsGreaterThan");
        assert_eq!(judged(&later), Ok(true));
        assert_eq!(judged(&equal("item:Size", "7")), Err("ErrorUnsupportedPathForQuery"));
    }
}
