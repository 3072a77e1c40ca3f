//! The page that explains each cause, for the links of the status page. It is the catalogue alone,
//! and says nothing about this service.

use askama::Template;
use axum::http::StatusCode;

use super::{filters, page};
use gatepost_core::cause::{Cause, Row};

struct Group {
    title: &'static str,
    causes: Vec<(Cause, Row)>,
}

#[derive(Template)]
#[template(path = "causes.html")]
struct CausesPage {
    groups: Vec<Group>,
}

/// Returns the page.
pub(super) fn causes() -> super::answer::Page {
    let mut groups: Vec<Group> = Vec::new();
    for &cause in Cause::ALL {
        let row = cause.row();
        match groups.last_mut() {
            Some(group) if group.title == row.group => group.causes.push((cause, row)),
            _ => groups.push(Group { title: row.group, causes: vec![(cause, row)] }),
        }
    }
    page::answer(StatusCode::OK, &CausesPage { groups })
}
