//! Folders.

use hyper::StatusCode;

use super::admitted::AuthorizedCall;
use super::error::GraphError;
use super::query::Query;
use super::view;
use crate::http::body::Answer;

impl AuthorizedCall<'_> {
    /// The folders at the top, or those right below one.
    pub(super) fn list_folders(&self, parent: Option<&str>) -> Result<Answer, GraphError> {
        let query = Query::parse(self.query())?;
        let naming = self.naming();
        self.mailbox.read(|folders| {
            let below = match parent {
                None => String::new(),
                Some("msgfolderroot") => String::new(),
                Some(id) => format!("{}/", naming.find_folder(folders, id).ok_or_else(GraphError::item_not_found)?),
            };
            let all: Vec<_> = folders
                .iter()
                .filter(|(name, _)| name.strip_prefix(&below).is_some_and(|rest| !rest.contains('/')))
                .map(|named| view::folder(naming, folders, named))
                .collect();
            let count = all.len();
            let values: Vec<_> = all.into_iter().skip(query.skip).take(query.top).collect();
            let next = query.skip.saturating_add(values.len());
            let context = format!("users('{}')/mailFolders", self.address);
            Ok(self.page(&context, values, (next < count).then_some(next), query.count.then_some(count)))
        })
    }

    pub(super) fn show_folder(&self, id: &str) -> Result<Answer, GraphError> {
        let naming = self.naming();
        self.mailbox.read(|folders| {
            let name = naming.find_folder(folders, id).ok_or_else(GraphError::item_not_found)?;
            let folder = folders.get(&name).ok_or_else(GraphError::item_not_found)?;
            let context = format!("users('{}')/mailFolders/$entity", self.address);
            Ok(self.json(StatusCode::OK, &context, view::folder(naming, folders, (&name, folder))))
        })
    }
}
