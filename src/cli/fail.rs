//! Errors at the edge: a kind, which is the exit code, and a sentence.

use crate::{api::client::ClientError, ports::PortError, store::StoreError};
use std::process::ExitCode;

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
}

/// What a shell shows of a command that a closed pipe ended: 128 and SIGPIPE.
const READER_GONE: u8 = 141;

static BEFORE_EXIT: std::sync::OnceLock<fn()> = std::sync::OnceLock::new();

/// Does this before a reader that went away ends the process.
pub fn before_exit(clear: fn()) {
    // The first one stands; a process runs one command.
    let _ = BEFORE_EXIT.set(clear);
}

/// Ends the process without a word when standard output's reader went away (`trimtab status | head`): `println!` panics there.
/// SIGPIPE itself stays ignored, as a daemon that goes away must be told as such.
pub fn end_with_the_reader() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let said = info.payload().downcast_ref::<String>();
        if said.is_some_and(|s| s.starts_with("failed printing to stdout") && s.contains("Broken pipe")) {
            if let Some(clear) = BEFORE_EXIT.get() {
                clear();
            }
            std::process::exit(READER_GONE.into());
        }
        before(info);
    }));
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
        if self.code == READER_GONE {
            return ExitCode::from(READER_GONE);
        }
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
        let code = if e.kind() == std::io::ErrorKind::BrokenPipe { READER_GONE } else { 1 };
        Self::with(code, e.to_string())
    }
}
impl From<serde_json::Error> for Failure {
    fn from(e: serde_json::Error) -> Self {
        Self::new(e.to_string())
    }
}
