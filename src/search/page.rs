//! Page tokens: the base64 of `{"offset": N}`, as MLflow's SQL store gives them out.

use crate::model::tracking::TrackingError;
use base64::{
    Engine, alphabet,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::Value;

/// Python's decoder does not mind bits that are left over.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// The token of the page that begins at this place.
pub fn token(offset: usize) -> String {
    encode(&format!("{{\"offset\": {offset}}}"))
}

/// A document as a token.
pub fn encode(document: &str) -> String {
    BASE64.encode(document)
}

/// Where a token's page begins; the first for no token.
pub fn offset(token: &str) -> Result<usize, TrackingError> {
    if token.is_empty() {
        return Ok(0);
    }
    let bytes = decode(token)?;
    let shown = || String::from_utf8_lossy(&bytes).into_owned();
    let parsed: Value = serde_json::from_slice(&bytes)
        .map_err(|_| TrackingError::invalid(format!("Invalid page token, decoded value=b'{}'", shown())))?;
    match parsed.get("offset") {
        Some(Value::Number(n)) if n.as_f64() != Some(0.0) => Ok(n.as_f64().map_or(0, |f| f.max(0.0) as usize)),
        Some(Value::String(s)) if !s.is_empty() => {
            let offset: Result<i64, _> = s.trim().parse();
            let offset =
                offset.map_err(|_| TrackingError::invalid(format!("Invalid page token, not stringable {s}")))?;
            Ok(usize::try_from(offset).unwrap_or(0))
        }
        _ => Err(TrackingError::invalid(format!("Invalid page token, parsed value={}", shown()))),
    }
}

/// The document of a token. Python passes over what is no base64.
pub fn decode(token: &str) -> Result<Vec<u8>, TrackingError> {
    let clean: Vec<u8> =
        token.bytes().filter(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=')).collect();
    BASE64.decode(clean).map_err(|_| TrackingError::invalid("Invalid page token, could not base64-decode"))
}
