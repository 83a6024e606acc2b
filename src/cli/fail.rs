//! Errors at the edge: a kind, which is the exit code, and a sentence.

use crate::{api::client::ClientError, ports::PortError, store::StoreError};
use std::process::ExitCode;

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
}

/// What commands return.
pub type Outcome = Result<ExitCode, Failure>;

impl Failure {
    /// An ordinary failure: exit 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }
    /// With an exit code of its own.
    pub fn with(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
    /// The same failure under another exit code.
    pub fn code(self, code: u8) -> Self {
        Self { code, ..self }
    }
    /// Tells the person, or the script that asked for JSON.
    pub fn tell(self, json: bool) -> ExitCode {
        if json {
            println!("{}", serde_json::json!({ "error": self.message, "exit": self.code }));
        } else {
            eprintln!("trimtab: {}", super::text::visible_lines(&self.message));
        }
        ExitCode::from(self.code)
    }
}

impl From<ClientError> for Failure {
    fn from(e: ClientError) -> Self {
        let code = match &e {
            ClientError::Unreachable(_) => 69,
            ClientError::Denied(_) => 77,
            _ => 1,
        };
        Self::with(code, e.to_string())
    }
}
impl From<PortError> for Failure {
    fn from(e: PortError) -> Self {
        Self::new(e.message)
    }
}
impl From<StoreError> for Failure {
    fn from(e: StoreError) -> Self {
        Self::new(e.to_string())
    }
}
impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        Self::new(e.to_string())
    }
}
impl From<serde_json::Error> for Failure {
    fn from(e: serde_json::Error) -> Self {
        Self::new(e.to_string())
    }
}
