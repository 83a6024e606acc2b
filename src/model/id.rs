//! Identifiers and instants.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Arc};

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a valid name: use 1 to 63 of a-z, 0-9, `-`, `_`, starting with a letter or digit")]
pub struct BadName(pub String);

/// A validated lower-case name: the key of models, datasets and environments in files, URLs and the store.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[a-z0-9][a-z0-9_-]{0,62}$"))]
pub struct Name(Arc<str>);

impl Name {
    /// Checks and takes a name.
    pub fn new(s: &str) -> Result<Self, BadName> {
        let ok_char = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let starts = s.chars().next().is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        if starts && s.len() <= 63 && s.chars().all(ok_char) { Ok(Self(s.into())) } else { Err(BadName(s.to_owned())) }
    }
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
impl TryFrom<String> for Name {
    type Error = BadName;
    fn try_from(s: String) -> Result<Self, BadName> {
        Self::new(&s)
    }
}
impl FromStr for Name {
    type Err = BadName;
    fn from_str(s: &str) -> Result<Self, BadName> {
        Self::new(s)
    }
}
impl From<Name> for String {
    fn from(n: Name) -> String {
        n.0.to_string()
    }
}
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}
impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A blake3 content hash, shown as `b3:` and 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^b3:[0-9a-f]{64}$"))]
pub struct Digest([u8; 32]);

/// Why a digest or object id was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a valid {1}")]
pub struct BadHash(pub String, pub &'static str);

impl Digest {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
    /// From a finished blake3 hash.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
    /// 64 hex digits, without the prefix: for file names.
    pub fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
    /// `b3:` and the first eight digits: for people.
    pub fn short(&self) -> String {
        format!("b3:{}", &self.hex()[..8])
    }
}
impl TryFrom<String> for Digest {
    type Error = BadHash;
    fn try_from(s: String) -> Result<Self, BadHash> {
        s.strip_prefix("b3:")
            .and_then(|h| blake3::Hash::from_hex(h).ok())
            .map(|h| Self(*h.as_bytes()))
            .ok_or(BadHash(s, "content digest (`b3:` and 64 hex digits)"))
    }
}
impl From<Digest> for String {
    fn from(d: Digest) -> String {
        format!("b3:{}", d.hex())
    }
}
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b3:{}", self.hex())
    }
}
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.short())
    }
}

/// A Git object id as lower-case hex (a commit, tree or blob).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("pattern" = "^[0-9a-f]+$"))]
pub struct ObjectId(pub Arc<str>);
impl ObjectId {
    /// The first seven digits: for people.
    pub fn short(&self) -> &str {
        self.0.get(..7).unwrap_or(&self.0)
    }
}
impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

/// A commit of the source, with what people are shown of it. All text is untrusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Revision {
    pub commit: ObjectId,
    pub tree: ObjectId,
    pub author: String,
    pub email: String,
    /// First line of the message.
    pub summary: String,
    /// Author time, wall clock.
    pub time: WallMs,
}

/// Milliseconds since the Unix epoch by the wall clock: for people and schedules only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default, JsonSchema)]
#[serde(transparent)]
pub struct WallMs(pub i64);

/// Milliseconds on a clock that never goes back, also across daemon restarts: for every interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default, JsonSchema)]
#[serde(transparent)]
pub struct SteadyMs(pub u64);
impl SteadyMs {
    /// Milliseconds from `earlier` to here; 0 when `earlier` is later.
    pub fn since(self, earlier: SteadyMs) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
    /// This instant `ms` later.
    pub fn plus(self, ms: u64) -> SteadyMs {
        SteadyMs(self.0.saturating_add(ms))
    }
}

/// One reading of both clocks. The pure core is given it; it never reads a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, JsonSchema)]
pub struct Now {
    pub wall: WallMs,
    pub steady: SteadyMs,
}

/// A duration in milliseconds, written `30m` in specs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default, JsonSchema)]
#[serde(transparent)]
pub struct Millis(pub u64);
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = self.0 / 1000;
        match (self.0, s) {
            (ms, 0) => write!(f, "{ms}ms"),
            (_, s) if s < 60 && !self.0.is_multiple_of(1000) => write!(f, "{:.1}s", self.0 as f64 / 1000.0),
            (_, s) if s < 60 => write!(f, "{s}s"),
            (_, s) if s < 3600 && s % 60 == 0 => write!(f, "{}m", s / 60),
            (_, s) if s < 3600 => write!(f, "{}m {:02}s", s / 60, s % 60),
            (_, s) if s < 86_400 && s % 3600 / 60 == 0 => write!(f, "{}h", s / 3600),
            (_, s) if s < 86_400 => write!(f, "{}h {:02}m", s / 3600, s % 3600 / 60),
            (_, s) => write!(f, "{}d", s / 86_400),
        }
    }
}
