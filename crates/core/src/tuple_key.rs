//! A key for maps and records, made of several names.

use std::sync::Arc;

/// A tuple of names as octets. Each part follows its length, so two different tuples never have the
/// same encoding.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TupleKey(Arc<[u8]>);

impl TupleKey {
    /// Encodes the parts, each after its length in eight octets.
    pub fn encode<const N: usize>(parts: [&str; N]) -> Self {
        let mut key = Vec::with_capacity(parts.iter().map(|part| 8 + part.len()).sum());
        for part in parts {
            key.extend_from_slice(&(part.len() as u64).to_be_bytes());
            key.extend_from_slice(part.as_bytes());
        }
        Self(key.into())
    }

    /// The encoded octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
