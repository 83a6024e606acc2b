//! The words of the tracking server and the registry, in MLflow's meaning: what clients log and register.

use super::Digest;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// MLflow's error codes (`mlflow/exceptions.py`); clients decide by them whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    InvalidParameterValue,
    BadRequest,
    ResourceAlreadyExists,
    Unauthenticated,
    PermissionDenied,
    ResourceDoesNotExist,
    EndpointNotFound,
    ResourceConflict,
    RequestLimitExceeded,
    InternalError,
    InvalidState,
    NotImplemented,
    TemporarilyUnavailable,
    DeadlineExceeded,
}

impl ErrorCode {
    /// As on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidParameterValue => "INVALID_PARAMETER_VALUE",
            Self::BadRequest => "BAD_REQUEST",
            Self::ResourceAlreadyExists => "RESOURCE_ALREADY_EXISTS",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceDoesNotExist => "RESOURCE_DOES_NOT_EXIST",
            Self::EndpointNotFound => "ENDPOINT_NOT_FOUND",
            Self::ResourceConflict => "RESOURCE_CONFLICT",
            Self::RequestLimitExceeded => "REQUEST_LIMIT_EXCEEDED",
            Self::InternalError => "INTERNAL_ERROR",
            Self::InvalidState => "INVALID_STATE",
            Self::NotImplemented => "NOT_IMPLEMENTED",
            Self::TemporarilyUnavailable => "TEMPORARILY_UNAVAILABLE",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
        }
    }

    /// The HTTP status that goes with it.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidParameterValue | Self::BadRequest | Self::ResourceAlreadyExists => 400,
            Self::Unauthenticated => 401,
            Self::PermissionDenied => 403,
            Self::ResourceDoesNotExist | Self::EndpointNotFound => 404,
            Self::ResourceConflict => 409,
            Self::RequestLimitExceeded => 429,
            Self::InternalError | Self::InvalidState => 500,
            Self::NotImplemented => 501,
            Self::TemporarilyUnavailable => 503,
            Self::DeadlineExceeded => 504,
        }
    }
}

/// Why a call of the tracking server or the registry was refused, in MLflow's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackingError {
    pub code: ErrorCode,
    pub message: String,
}

impl TrackingError {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
    /// `INVALID_PARAMETER_VALUE`.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidParameterValue, message)
    }
    /// `RESOURCE_DOES_NOT_EXIST`.
    pub fn missing(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::ResourceDoesNotExist, message)
    }
    /// `RESOURCE_ALREADY_EXISTS`.
    pub fn exists(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::ResourceAlreadyExists, message)
    }
}

impl fmt::Display for TrackingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
impl std::error::Error for TrackingError {}

/// Whether a thing was deleted (and can be restored).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lifecycle {
    Active,
    Deleted,
}

impl Lifecycle {
    /// As on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deleted => "deleted",
        }
    }
}

/// A named set of runs. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Experiment {
    /// Decimal text; `0` is the one that exists from the start.
    pub id: u64,
    pub name: String,
    /// Where artifacts of its runs go.
    pub artifact_location: String,
    pub lifecycle: Lifecycle,
    pub created: i64,
    pub updated: i64,
    pub tags: BTreeMap<String, String>,
}

/// A file that a client uploaded; its content is in the artifact store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactFile {
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// What it came as, when it came in parts: who asks a second time whether it is whole is told so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<Digest>,
}

impl ArtifactFile {
    /// Whether a file is one of a version that a pipeline made: `EXPERIMENT/versions/NUMBER/artifacts/…`, where no client puts any.
    pub fn is_published(path: &[u8]) -> bool {
        let mut names = path.split(|b| *b == b'/').skip(1);
        names.next() == Some(b"versions") && names.nth(1) == Some(b"artifacts")
    }
}
