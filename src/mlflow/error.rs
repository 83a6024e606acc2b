//! Why a call to another server failed, in words for people.

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody answers, or the server has a trouble of its own: the same call may go through later.
    Unreachable,
    /// The login was refused, or may not do this.
    Denied,
    /// There is no such thing.
    Missing,
    /// It is there already.
    Exists,
    /// Refused for another reason.
    Refused,
    /// What answers is no MLflow server.
    Foreign,
}

/// By which rustls tells that what answers does not begin as TLS does.
const NO_TLS: &str = "InvalidContentType";

/// A call that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct RemoteError {
    pub trouble: Trouble,
    pub message: String,
}

impl RemoteError {
    pub fn new(trouble: Trouble, message: impl Into<String>) -> Self {
        Self { trouble, message: message.into() }
    }

    /// A call that brought no answer. The innermost cause says what is wrong.
    pub fn of(base: &str, error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::new(Trouble::Unreachable, format!("{base} does not answer in time"));
        }
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let cause = cause.to_string();
        if cause.contains(NO_TLS) {
            let plain = base.replacen("https://", "http://", 1);
            let words = format!("{base}: that port does not speak TLS; if it is a plain one, write {plain}");
            return Self::new(Trouble::Foreign, words);
        }
        Self::new(Trouble::Unreachable, format!("{base} cannot be reached: {cause}"))
    }

    /// An answer that is no success: its own words, where it has any.
    pub fn answered(base: &str, path: &str, status: u16, body: &str) -> Self {
        #[derive(serde::Deserialize, Default)]
        #[serde(default)]
        struct Said {
            error_code: String,
            message: String,
        }
        let said: Said = serde_json::from_str(body).unwrap_or_default();
        let words = if said.message.is_empty() { format!("status {status}") } else { said.message };
        let trouble = match (status, said.error_code.as_str()) {
            (401 | 403, _) => Trouble::Denied,
            (_, "RESOURCE_DOES_NOT_EXIST") => Trouble::Missing,
            (_, "RESOURCE_ALREADY_EXISTS") => Trouble::Exists,
            (404, "") => Trouble::Foreign,
            (404, _) => Trouble::Missing,
            (408 | 429 | 500.., _) => Trouble::Unreachable,
            (300..=399, _) => Trouble::Foreign,
            _ => Trouble::Refused,
        };
        let message = match trouble {
            Trouble::Denied => format!("{base} refuses the login: {words}"),
            Trouble::Foreign => format!("{base} is no MLflow server: it answers {path} with status {status}"),
            _ => format!("{base} answers {path}: {words}"),
        };
        Self::new(trouble, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_speaks_no_tls_is_told_in_plain_words() {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").unwrap();
        });
        let base = format!("https://127.0.0.1:{port}");
        let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
        let error = RemoteError::of(&base, &client.get(&base).send().unwrap_err());
        assert_eq!(error.trouble, Trouble::Foreign, "trying again does not help: {error}");
        let said = format!("{base}: that port does not speak TLS; if it is a plain one, write http://127.0.0.1:{port}");
        assert_eq!(error.message, said);
    }

    #[test]
    fn refusals_are_told_apart() {
        for (status, body, trouble) in [
            (401, "nope", Trouble::Denied),
            (403, r#"{"error_code": "PERMISSION_DENIED", "message": "no"}"#, Trouble::Denied),
            (404, r#"{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no run"}"#, Trouble::Missing),
            (404, "<html>", Trouble::Foreign),
            (302, "", Trouble::Foreign),
            (400, r#"{"error_code": "RESOURCE_ALREADY_EXISTS", "message": "taken"}"#, Trouble::Exists),
            (400, r#"{"error_code": "INVALID_PARAMETER_VALUE", "message": "bad"}"#, Trouble::Refused),
            (500, "", Trouble::Unreachable),
            (503, "", Trouble::Unreachable),
        ] {
            let error = RemoteError::answered("http://x", "runs/get", status, body);
            assert_eq!(error.trouble, trouble, "{error}");
            assert!(error.message.starts_with("http://x "), "{error}");
        }
    }
}
