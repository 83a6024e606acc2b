//! Paths that a spec may name: relative, inside the repository, and nothing of Git's own.

/// Checks a relative path and returns it normalised (`.` for the folder itself). `Err` says what is wrong with it.
pub fn relative(path: &str) -> Result<String, String> {
    if path.is_empty() {
        return Err("the path is empty".into());
    }
    if path.chars().any(char::is_control) || path.contains('\\') {
        return Err("control characters and `\\` are not allowed in a path".into());
    }
    let drive = path.as_bytes().get(1) == Some(&b':');
    if path.starts_with('/') || path.starts_with('~') || drive {
        return Err("absolute paths are refused: write it relative to this file's folder".into());
    }
    if path.starts_with('-') {
        return Err("a path must not begin with `-`".into());
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err("`..` is refused: a spec cannot reach outside its folder".into()),
            p if p.eq_ignore_ascii_case(".git") => return Err("`.git` is refused".into()),
            p => parts.push(p),
        }
    }
    Ok(if parts.is_empty() { ".".into() } else { parts.join("/") })
}

/// Checks a URL of a dataset.
pub fn url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let Some(rest) = rest else { return Err("write a URL that begins with https:// or http://".into()) };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() || host.starts_with('-') {
        return Err("the URL names no host".into());
    }
    if host.contains('@') {
        return Err("credentials do not belong into a spec".into());
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace() || "\"'`<>\\{}|^$;".contains(c)) {
        return Err("the URL holds characters that must be percent-encoded".into());
    }
    Ok(text.to_owned())
}

/// `registry:NAME@ALIAS` or `registry:NAME/VERSION`, without what it begins with.
pub fn registry(text: &str) -> Result<String, String> {
    let help = || "write \"registry:NAME@ALIAS\" or \"registry:NAME/VERSION\"".to_owned();
    let rest = text.strip_prefix("registry:").ok_or_else(help)?;
    let (name, pick) = rest.rsplit_once(['@', '/']).ok_or_else(help)?;
    let alias = rest.as_bytes().get(name.len()) == Some(&b'@');
    let good_pick = match alias {
        true => !pick.is_empty() && pick.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-'),
        false => pick.parse::<u32>().is_ok_and(|n| n > 0),
    };
    let good_name = !name.is_empty() && !name.chars().any(|c| c.is_control() || matches!(c, '/' | ':' | '@'));
    if good_name && good_pick { Ok(rest.to_owned()) } else { Err(help()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_inside_are_taken() {
        for (path, normal) in [("a/b", "a/b"), ("./a//b/", "a/b"), (".", "."), ("a/./b", "a/b")] {
            assert_eq!(relative(path).as_deref(), Ok(normal));
        }
        for path in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a/..",
            "~root",
            ".git/config",
            "a/.GIT/x",
            "a\\b",
            "a\0b",
            "-rf",
            "C:/x",
        ] {
            assert!(relative(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn only_plain_web_addresses_are_taken() {
        assert!(url("https://example.com/data.csv?x=1").is_ok());
        for bad in [
            "ftp://x/y",
            "file:///etc/passwd",
            "https://",
            "https://-x/",
            "https://u:p@h/",
            "http://h/$(id)",
            "http://h/a b",
            "-x",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }
}
