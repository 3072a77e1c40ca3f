//! Tries the credentials of an application in turn, until the server refuses none (RFC 6749 §5.2,
//! `invalid_client`). An application has two of them while one replaces the other.

use std::vec::IntoIter;

use crate::credential::{Choice, CredentialError, Credentials};
use crate::fetch_error::FetchError;
use crate::grant::TokenRequest;

/// The credentials of one application for one request, and what has come of them.
pub(super) struct Choosing<'a> {
    credentials: &'a Credentials,
    ask: &'a TokenRequest,
    left: IntoIter<Choice>,
    /// The one that was given last.
    current: Option<Choice>,
    given: usize,
    refused: Option<FetchError>,
}

impl<'a> Choosing<'a> {
    /// The one that was taken before comes first.
    pub(super) fn new(credentials: &'a Credentials, ask: &'a TokenRequest) -> Self {
        let left = credentials.order(ask).into_iter();
        Self { credentials, ask, left, current: None, given: 0, refused: None }
    }

    /// The next one to try.
    pub(super) fn next(&mut self) -> Option<Choice> {
        self.current = self.left.next();
        self.given += 1;
        self.current
    }

    /// Returns the result of the request, or `None` if it was refused for its credential alone and
    /// another may do.
    pub(super) fn settle<T>(&mut self, result: Result<T, FetchError>) -> Option<Result<T, FetchError>> {
        match result {
            // A refusal of one credential matters more than why the other could not be used.
            Err(error) if error.blames_credential() => {
                if self.refused.is_none() || matches!(error, FetchError::Refused(_)) {
                    self.refused = Some(error);
                }
                None
            }
            Err(error) if !matches!(error, FetchError::Refused(_)) => Some(Err(error)),
            result => {
                if let Some(choice) = self.current.filter(|_| self.given > 1) {
                    self.credentials.taken(self.ask, choice);
                }
                Some(result)
            }
        }
    }

    /// Why none of them did. There is at least one, which may be none at all.
    pub(super) fn failure(self) -> FetchError {
        self.refused.unwrap_or(FetchError::Credential(CredentialError::NoProof))
    }
}
