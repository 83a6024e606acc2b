//! Records as bytes: a schema version, a checksum, then JSON (or what the tracking server packs).

use super::StoreError;
use serde::{Serialize, de::DeserializeOwned};

/// The schema that this binary writes.
pub const SCHEMA: u8 = 1;
/// Bytes before a record's content: schema version and checksum.
const HEAD: usize = 5;
/// Most records are no larger: they grow no buffer.
const ROOM: usize = 768;

/// Encodes a record.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::with_capacity(ROOM);
    bytes.extend_from_slice(&[0; HEAD]);
    serde_json::to_writer(&mut bytes, value)
        .map_err(|e| StoreError::Damaged { what: format!("a record cannot be written: {e}") })?;
    Ok(sealed(bytes))
}

/// Puts schema version and checksum before a content.
pub fn seal(content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + content.len());
    bytes.extend_from_slice(&[0; HEAD]);
    bytes.extend_from_slice(content);
    sealed(bytes)
}

/// Fills in the head before a content.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let (head, content) = bytes.split_at_mut(HEAD);
    head[0] = SCHEMA;
    head[1..].copy_from_slice(&crc32fast::hash(content).to_le_bytes());
    bytes
}

/// The content, once schema version and checksum are known to be good.
pub fn open<'b>(key: &[u8], bytes: &'b [u8]) -> Result<&'b [u8], StoreError> {
    let damaged = |what: &str| StoreError::Damaged { what: format!("record {}: {what}", key.escape_ascii()) };
    let (head, content) = bytes.split_at_checked(HEAD).ok_or_else(|| damaged("too short"))?;
    if head[0] > SCHEMA {
        return Err(StoreError::Newer { found: head[0], known: SCHEMA });
    }
    if crc32fast::hash(content).to_le_bytes() != head[1..] {
        return Err(damaged("its checksum does not match"));
    }
    Ok(content)
}

/// Decodes a record; `key` is named when it is damaged.
pub fn decode<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, StoreError> {
    let damaged = |e: serde_json::Error| StoreError::Damaged { what: format!("record {}: {e}", key.escape_ascii()) };
    serde_json::from_slice(open(key, bytes)?).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(text in ".*", number in any::<u64>()) {
            let bytes = encode(&(text.clone(), number)).unwrap();
            prop_assert_eq!(decode::<(String, u64)>(b"k", &bytes).unwrap(), (text, number));
        }

        #[test]
        fn a_flipped_bit_is_noticed(text in ".{1,40}", at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut bytes = encode(&text).unwrap();
            let at = at.index(bytes.len() - 1) + 1;
            bytes[at] ^= 1 << bit;
            prop_assert!(decode::<String>(b"k", &bytes).is_err());
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode::<serde_json::Value>(b"k", &bytes);
        }
    }

    #[test]
    fn a_newer_schema_is_refused_by_name() {
        let mut bytes = encode(&1).unwrap();
        bytes[0] = SCHEMA + 1;
        let error = decode::<i32>(b"k", &bytes).unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 2, known: 1 }), "{error}");
    }
}
