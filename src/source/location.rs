//! Where a repository is, and with what it may be opened.

use std::{fmt, path::PathBuf};

/// A checked location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A repository on this machine, bare or with a work tree.
    Local(PathBuf),
    /// `http://` or `https://`, without credentials.
    Http(String),
    /// `ssh://[user@]host[:port]/path`, or `user@host:path`. An IPv6 address stands in brackets. A path without `/` at its front is
    /// relative to where a login begins.
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
            // A URL may hold a secret.
            let shown = text.split_inclusive("://").next().unwrap_or_default().escape_debug();
            return Err(format!(
                "`{shown}` is no repository: it is empty, begins with `-` or holds control characters"
            ));
        }
        if let Some(path) = text.strip_prefix("file://") {
            return Ok((Self::Local(PathBuf::from(path)), Credentials::default()));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            plain_characters(rest)?;
            return match scheme {
                "http" | "https" => http(scheme, rest),
                "ssh" => ssh(rest),
                other => Err(format!("`{other}://` is not supported: use a path, file://, http(s):// or ssh://")),
            };
        }
        if let Some(parts) = scp(text) {
            return scp_form(parts);
        }
        Ok((Self::Local(PathBuf::from(text)), Credentials::default()))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::Http(url) => f.write_str(url),
            Self::Ssh { host, port, path, .. } => {
                let port = port.map(|p| format!(":{p}")).unwrap_or_default();
                match path.starts_with('/') {
                    true => write!(f, "ssh://{host}{port}{path}"),
                    false if port.is_empty() => write!(f, "{host}:{path}"),
                    false => write!(f, "[{}{port}]:{path}", host.trim_matches(['[', ']'])),
                }
            }
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
        Some(None) if user.is_some_and(is_token) => (None, user.map(str::to_owned)),
        Some(None) => (user.map(str::to_owned), None),
        None => (None, None),
    };
    let (username, secret) = (username.as_deref().map(decoded), secret.as_deref().map(decoded));
    Ok((
        Location::Http(format!("{scheme}://{host}/{path}")),
        Credentials { username, secret, ..Credentials::default() },
    ))
}

/// Whether what stands alone before the `@` is a token, as forges let it stand there, and not the name of a user whose password is given
/// elsewhere.
fn is_token(text: &str) -> bool {
    /// Tokens of all forges are longer than this, names of users are not.
    const SHORTEST: usize = 20;
    text.len() >= SHORTEST
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

fn plain_characters(text: &str) -> Result<(), String> {
    if text.chars().any(|c| c.is_whitespace() || "\"'`<>\\{}|^$;&()!*".contains(c)) {
        return Err("the URL holds characters that must be percent-encoded".into());
    }
    Ok(())
}

fn ssh(rest: &str) -> Result<(Location, Credentials), String> {
    let (authority, path) = rest.split_once('/').ok_or("the ssh URL names no path")?;
    let (user, host) = login(authority);
    let (host, port) = address(host)?;
    at(user, host, port, format!("/{path}"))
}

/// `user@host`, `host`.
fn login(text: &str) -> (Option<&str>, &str) {
    text.rsplit_once('@').map_or((None, text), |(user, host)| (Some(user), host))
}

/// `host`, `host:port`, `[::1]`, `[::1]:port`.
fn address(text: &str) -> Result<(&str, Option<u16>), String> {
    let end =
        if text.starts_with('[') { text.find(']').map_or(0, |i| i + 1) } else { text.find(':').unwrap_or(text.len()) };
    let (host, rest) = text.split_at(end);
    let port = match rest.strip_prefix(':') {
        Some(port) => Some(port.parse().map_err(|_| format!("the port `{port}` is not a number up to 65535"))?),
        None if rest.is_empty() => None,
        None => return Err("the ssh URL has no plain host".into()),
    };
    Ok((host, port))
}

fn at(user: Option<&str>, host: &str, port: Option<u16>, path: String) -> Result<(Location, Credentials), String> {
    let of = |text: &str, others: &str| {
        !text.is_empty()
            && !text.starts_with('-')
            && text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
    };
    let plain_host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(inside) => of(inside, ":.%") && inside.contains(':'),
        None => of(host, "-._"),
    };
    if !plain_host || user.is_some_and(|u| !of(u, "-._+")) {
        return Err("the ssh URL has no plain user and host".into());
    }
    let (user, host) = (user.map(str::to_owned), host.to_owned());
    Ok((Location::Ssh { user, host, port, path }, Credentials::default()))
}

/// `git@host:path`, `git@[::1]:path` and `git@[host:port]:path` as git itself takes them: authority and path.
fn scp(text: &str) -> Option<(&str, &str)> {
    let host = text.find('@')? + 1;
    let bracket = if text[host..].starts_with('[') { text[host..].find(']')? } else { 0 };
    let colon = host + bracket + text[host + bracket..].find(':')?;
    // A slash in front of the colon: a path on this machine.
    (!text[..colon].contains('/')).then(|| (&text[..colon], &text[colon + 1..]))
}

fn scp_form((authority, path): (&str, &str)) -> Result<(Location, Credentials), String> {
    plain_characters(path)?;
    if path.is_empty() || path.starts_with('-') {
        return Err("the location names no path behind its `:`".into());
    }
    let (user, host) = login(authority);
    // One colon in brackets holds a port, more are an address.
    let inside = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).filter(|h| h.matches(':').count() == 1);
    let (host, port) = address(inside.unwrap_or(host))?;
    at(user, host, port, path.to_owned())
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
        let of = |url: &str| Location::parse(url).map(|(_, c)| (c.username, c.secret)).unwrap();
        assert_eq!(of("https://ada@host/r.git"), (Some("ada".into()), None));
        let token = "ghp_0123456789abcdef0123456789abcdef0123";
        assert_eq!(of(&format!("https://{token}@host/r.git")), (None, Some(token.into())));
    }

    #[test]
    fn ssh_locations_lead_where_git_takes_them() {
        let ssh = |user: Option<&str>, host: &str, port, path: &str| Location::Ssh {
            user: user.map(str::to_owned),
            host: host.into(),
            port,
            path: path.into(),
        };
        let git = Some("git");
        for (text, location, shown) in [
            ("git@host:team/r.git", ssh(git, "host", None, "team/r.git"), "host:team/r.git"),
            ("git@host:/srv/r.git", ssh(git, "host", None, "/srv/r.git"), "ssh://host/srv/r.git"),
            ("git@host:~ada/r.git", ssh(git, "host", None, "~ada/r.git"), "host:~ada/r.git"),
            ("git@[host:2222]:r.git", ssh(git, "host", Some(2222), "r.git"), "[host:2222]:r.git"),
            ("git@[::1]:r.git", ssh(git, "[::1]", None, "r.git"), "[::1]:r.git"),
            ("ssh://host/x", ssh(None, "host", None, "/x"), "ssh://host/x"),
            ("ssh://git@host:22/~/x", ssh(git, "host", Some(22), "/~/x"), "ssh://host:22/~/x"),
            ("ssh://[::1]/x", ssh(None, "[::1]", None, "/x"), "ssh://[::1]/x"),
            (
                "ssh://git@[fe80::1%25eth0]:2222/x",
                ssh(git, "[fe80::1%25eth0]", Some(2222), "/x"),
                "ssh://[fe80::1%25eth0]:2222/x",
            ),
        ] {
            let parsed = Location::parse(text).map(|(l, _)| l);
            assert_eq!(parsed, Ok(location), "{text}");
            assert_eq!(parsed.map(|l| l.to_string()), Ok(shown.to_owned()));
        }
        for bad in [
            "ssh://[::1/x",
            "ssh://[::1]x/y",
            "ssh://[-o]/x",
            "ssh://h:99999/x",
            "ssh://a:b@h/x",
            "ssh://::1/x",
            "git@h:",
            "git@h:-x",
            "git@-h:x",
            "git@h:$(id)",
        ] {
            assert!(Location::parse(bad).is_err(), "{bad}");
        }
        assert!(matches!(Location::parse("dir/a@b:c"), Ok((Location::Local(_), _))));
    }
}
