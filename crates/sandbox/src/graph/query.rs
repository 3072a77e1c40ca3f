//! The OData options of a request, as far as mail programs use them.

use url::form_urlencoded;

use super::error::GraphError;
use crate::calendar;
use crate::letter::Letter;
use crate::store::{Flags, Message};

/// How many values a page has at most, and by default: Graph's own limits.
const TOP: usize = 1_000;
const DEFAULT_TOP: usize = 10;

/// The options of one request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) top: usize,
    pub(super) skip: usize,
    pub(super) count: bool,
    /// Property names, in lower case; none is the usual set.
    pub(super) select: Vec<String>,
    pub(super) filter: Vec<Condition>,
    pub(super) newest_first: bool,
    /// The extended properties that the request asks for.
    pub(super) expand: Vec<String>,
}

/// One condition of a filter; all must hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Condition {
    IsRead(bool),
    Received(Comparison, i64),
    /// The Message-ID is this one.
    MessageId(String),
    /// The extended property of this id has this value.
    Property(String, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

impl Query {
    pub(super) fn parse(query: &str) -> Result<Self, GraphError> {
        let mut parsed = Self {
            top: DEFAULT_TOP,
            skip: 0,
            count: false,
            select: Vec::new(),
            filter: Vec::new(),
            newest_first: true,
            expand: Vec::new(),
        };
        let bad = |name: &str, value: &str| {
            GraphError::bad_request(format!("Invalid value '{value}' for ${name} query option found."))
        };
        let mut ordered_by_receipt = false;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "$top" => {
                    let top = value.parse().ok().filter(|top| (1..=TOP).contains(top));
                    parsed.top = top.ok_or_else(|| bad("top", &value))?;
                }
                "$skip" => parsed.skip = value.parse().map_err(|_| bad("skip", &value))?,
                "$count" => parsed.count = value == "true",
                "$select" => {
                    parsed.select = value.split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
                }
                "$filter" => {
                    let conditions = match property(&value) {
                        Some(property) => Some(vec![property]),
                        None => value.split(" and ").map(condition).collect::<Option<_>>(),
                    };
                    parsed.filter = conditions.ok_or_else(|| bad("filter", &value))?;
                }
                "$orderby" => {
                    let (property, direction) = value.trim().split_once(' ').unwrap_or((value.trim(), "asc"));
                    parsed.newest_first = match direction.trim() {
                        "asc" => false,
                        "desc" => true,
                        _ => return Err(bad("orderby", &value)),
                    };
                    if !property.eq_ignore_ascii_case("receivedDateTime") {
                        return Err(bad("orderby", &value));
                    }
                    ordered_by_receipt = true;
                }
                "$expand" => parsed.expand = extended_properties(&value).ok_or_else(|| bad("expand", &value))?,
                _ => {}
            }
        }
        // Microsoft, "Using $filter and $orderby in the same query": what is sorted by must come
        // first in the filter.
        if ordered_by_receipt && parsed.filter.first().is_some_and(|first| !matches!(first, Condition::Received(..))) {
            return Err(GraphError::new(
                400,
                "InefficientFilter",
                "The restriction or sort order is too complex for this operation.",
            ));
        }
        Ok(parsed)
    }

    /// `has_property` tells of a message's identity whether it has an extended property of this id
    /// and value.
    pub(super) fn matches(&self, message: &Message, has_property: impl Fn(u64, &str, &str) -> bool) -> bool {
        self.filter.iter().all(|condition| match condition {
            Condition::IsRead(read) => message.flags.intersects(Flags::SEEN) == *read,
            Condition::MessageId(id) => Letter::read(&message.content).field("message-id").as_ref() == Some(id),
            Condition::Property(id, value) => has_property(message.identity, id, value),
            Condition::Received(comparison, instant) => match comparison {
                Comparison::Less => message.received_at < *instant,
                Comparison::LessOrEqual => message.received_at <= *instant,
                Comparison::Equal => message.received_at == *instant,
                Comparison::GreaterOrEqual => message.received_at >= *instant,
                Comparison::Greater => message.received_at > *instant,
            },
        })
    }
}

/// The same options, with another `$skip`.
pub(super) fn with_skip(query: &str, skip: usize) -> String {
    let mut next = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "$skip") {
        next.append_pair(&name, &value);
    }
    next.append_pair("$skip", &skip.to_string()).finish()
}

/// `singleValueExtendedProperties/any(ep:ep/id eq 'String …' and ep/value eq '…')`.
fn property(text: &str) -> Option<Condition> {
    let inner = text.strip_prefix("singleValueExtendedProperties/any(ep:ep/id eq '")?.strip_suffix("')")?;
    let (id, value) = inner.split_once("' and ep/value eq '")?;
    Some(Condition::Property(id.to_owned(), value.to_owned()))
}

fn condition(text: &str) -> Option<Condition> {
    let mut words = text.trim().splitn(3, ' ');
    let (property, operator, value) = (words.next()?, words.next()?, words.next()?.trim());
    match (property.to_ascii_lowercase().as_str(), operator) {
        ("isread", "eq") => Some(Condition::IsRead(value.parse().ok()?)),
        ("isread", "ne") => Some(Condition::IsRead(!value.parse::<bool>().ok()?)),
        ("internetmessageid", "eq") => {
            let id = value.strip_prefix('\'')?.strip_suffix('\'')?;
            Some(Condition::MessageId(id.replace("''", "'")))
        }
        ("receiveddatetime", operator) => {
            let comparison = match operator {
                "lt" => Comparison::Less,
                "le" => Comparison::LessOrEqual,
                "eq" => Comparison::Equal,
                "ge" => Comparison::GreaterOrEqual,
                "gt" => Comparison::Greater,
                _ => return None,
            };
            Some(Condition::Received(comparison, calendar::parse_iso(value)?))
        }
        _ => None,
    }
}

/// The names in `singleValueExtendedProperties($filter=id eq 'Integer 0x0E08' or id eq …)`.
fn extended_properties(text: &str) -> Option<Vec<String>> {
    let inner = text.trim().strip_prefix("singleValueExtendedProperties(")?.strip_suffix(')')?;
    let filter = inner.trim().strip_prefix("$filter=")?;
    filter.split(" or ").map(|one| one.trim().strip_prefix("id eq '")?.strip_suffix('\'').map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let query = Query::parse(
            "$top=1000&%24select=id,receivedDateTime&$orderby=receivedDateTime+asc&$skip=20\
             &$expand=singleValueExtendedProperties($filter=id%20eq%20'Integer%200x0E08')",
        )
        .unwrap();
        assert_eq!((query.top, query.skip, query.newest_first), (1_000, 20, false));
        assert_eq!(query.select, ["id", "receiveddatetime"]);
        assert_eq!(query.expand, ["Integer 0x0E08"]);
        let filter =
            Query::parse("$filter=receivedDateTime ge 1970-01-01T00:00:10Z and isRead eq false").unwrap().filter;
        assert_eq!(filter, [Condition::Received(Comparison::GreaterOrEqual, 10), Condition::IsRead(false)]);
        let filter = Query::parse("$filter=internetMessageId%20eq%20'<o''neil@x>'").unwrap().filter;
        assert_eq!(filter, [Condition::MessageId("<o'neil@x>".into())]);
        let filter = Query::parse(
            "$filter=singleValueExtendedProperties/any(ep:ep/id%20eq%20'String%20{x}%20Name%20y'%20and%20ep/value%20eq%20'z')",
        );
        assert_eq!(filter.unwrap().filter, [Condition::Property("String {x} Name y".into(), "z".into())]);
        for (query, code) in [
            ("$filter=internetMessageId eq <1@x>", "BadRequest"),
            ("$top=0", "BadRequest"),
            ("$top=1001", "BadRequest"),
            ("$filter=subject eq 'x'", "BadRequest"),
            ("$orderby=size", "BadRequest"),
            ("$expand=attachments", "BadRequest"),
            ("$filter=isRead eq false&$orderby=receivedDateTime", "InefficientFilter"),
        ] {
            assert_eq!(Query::parse(query).unwrap_err().code, code, "{query}");
        }
    }

    #[test]
    fn the_next_page_is_asked_for_with_the_same_options() {
        let next = with_skip("$top=5&$select=id,subject&$skip=5", 10);
        let query = Query::parse(&next).unwrap();
        assert_eq!((query.top, query.skip, query.select.len()), (5, 10, 2));
    }
}
