//! Where a repository is, and with what it may be opened.

use std::{fmt, path::PathBuf};

/// A checked location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A repository on this machine, bare or with a work tree.
    Local(PathBuf),
    /// `http://` or `https://`, without credentials.
    Http(String),
    /// `ssh://[user@]host[:port]/path`.
    Ssh { user: Option<String>, host: String, port: Option<u16>, path: String },
}

/// What a remote asks for. Never shown.
#[derive(Clone, Default)]
pub struct Credentials {
    pub username: Option<String>,
    /// Password or token.
    pub secret: Option<String>,
    /// Private key for ssh; else the agent and the user's own configuration.
    pub ssh_key: Option<PathBuf>,
    /// Host keys that are trusted; else those of the user's own configuration.
    pub known_hosts: Option<PathBuf>,
}
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(***)")
    }
}

impl Location {
    /// Checks a location as a person writes it; credentials in a URL are taken out of it. `Err` says what is wrong.
    pub fn parse(text: &str) -> Result<(Self, Credentials), String> {
        if text.is_empty() || text.starts_with('-') || text.chars().any(char::is_control) {
            return Err(format!(
                "`{}` is no repository: it is empty, begins with `-` or holds control characters",
                text.escape_debug()
            ));
        }
        if let Some(path) = text.strip_prefix("file://") {
            return Ok((Self::Local(PathBuf::from(path)), Credentials::default()));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            if rest.chars().any(|c| c.is_whitespace() || "\"'`<>\\{}|^$;&()!*".contains(c)) {
                return Err("the URL holds characters that must be percent-encoded".into());
            }
            return match scheme {
                "http" | "https" => http(scheme, rest),
                "ssh" => ssh(rest),
                other => Err(format!("`{other}://` is not supported: use a path, file://, http(s):// or ssh://")),
            };
        }
        // git@host:path, as git itself takes it.
        if let Some((host, path)) = text.split_once(':').filter(|(h, _)| h.contains('@') && !h.contains('/')) {
            return ssh(&format!("{host}/{}", path.trim_start_matches('/')));
        }
        Ok((Self::Local(PathBuf::from(text)), Credentials::default()))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::Http(url) => f.write_str(url),
            Self::Ssh { host, path, .. } => write!(f, "ssh://{host}{path}"),
        }
    }
}

fn http(scheme: &str, rest: &str) -> Result<(Location, Credentials), String> {
    let (authority, path) = rest.split_once('/').map_or((rest, ""), |(a, p)| (a, p));
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(u, h)| (Some(u), h));
    if host.is_empty() || host.starts_with('-') {
        return Err("the URL names no host".into());
    }
    let (username, secret) = match user.map(|u| u.split_once(':')) {
        Some(Some((name, secret))) => (Some(name.to_owned()), Some(secret.to_owned())),
        Some(None) => (None, user.map(str::to_owned)),
        None => (None, None),
    };
    let (username, secret) = (username.as_deref().map(decoded), secret.as_deref().map(decoded));
    Ok((
        Location::Http(format!("{scheme}://{host}/{path}")),
        Credentials { username, secret, ..Credentials::default() },
    ))
}

/// Percent-decoded.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let digits = text.get(at + 1..at + 3).filter(|_| byte == b'%');
        match digits.and_then(|d| u8::from_str_radix(d, 16).ok()) {
            Some(value) => {
                out.push(value);
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn ssh(rest: &str) -> Result<(Location, Credentials), String> {
    let (authority, path) = rest.split_once('/').ok_or("the ssh URL names no path")?;
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(u, h)| (Some(u.to_owned()), h));
    let (host, port) = match host.rsplit_once(':') {
        Some((h, p)) => (h, Some(p.parse().map_err(|_| "the port is not a number")?)),
        None => (host, None),
    };
    let plain = |s: &str| {
        !s.is_empty() && !s.starts_with('-') && s.chars().all(|c| c.is_ascii_alphanumeric() || "-._[]:".contains(c))
    };
    if !plain(host) || user.as_deref().is_some_and(|u| !plain(u)) {
        return Err("the ssh URL has no plain user and host".into());
    }
    Ok((Location::Ssh { user, host: host.to_owned(), port, path: format!("/{path}") }, Credentials::default()))
}

/// Checks the name of a branch. `Err` says what is wrong.
pub fn branch(name: &str) -> Result<String, String> {
    let good = git2::Reference::is_valid_name(&format!("refs/heads/{name}")) && !name.starts_with('-');
    let shell = name.chars().any(|c| "$`;&|<>()'\"!*".contains(c));
    if good && !shell { Ok(name.to_owned()) } else { Err(format!("`{}` is no plain branch name", name.escape_debug())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_locations_are_refused() {
        for bad in [
            "",
            "-oProxyCommand=x",
            "ext::sh -c x",
            "https://h/$(id)",
            "ssh://-x/y",
            "ssh://h;id/y",
            "ftp://h/x",
            "ssh://u@h",
            "http:///x",
            "a\nb",
        ] {
            if bad == "ext::sh -c x" {
                // A path that does not exist, never a helper that git would run.
                assert!(matches!(Location::parse(bad), Ok((Location::Local(_), _))));
            } else {
                assert!(Location::parse(bad).is_err(), "{bad:?}");
            }
        }
        for bad in ["-x", "a b", "a..b", "x;id", "$(id)", "", "a/../b"] {
            assert!(branch(bad).is_err(), "{bad:?}");
        }
        assert!(branch("feature/x-1").is_ok());
    }

    #[test]
    fn credentials_leave_the_url() {
        let (location, credentials) = Location::parse("https://ada:s3%63ret@host:8443/r.git").unwrap();
        assert_eq!(location.to_string(), "https://host:8443/r.git");
        assert_eq!(credentials.secret.as_deref(), Some("s3cret"));
        assert_eq!(format!("{credentials:?}"), "Credentials(***)");
        let (location, _) = Location::parse("git@host:team/r.git").unwrap();
        assert_eq!(location.to_string(), "ssh://host/team/r.git");
    }
}
