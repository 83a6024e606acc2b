//! What a conversation with a remote failed on, told from git's words.

use super::location::Location;
use crate::model::SourceReason;

/// What git said, sorted.
#[derive(Debug, PartialEq, Eq)]
pub struct Explained {
    pub reason: SourceReason,
    /// The lines that say something, joined.
    pub said: String,
    /// What a person does about it; empty when there is nothing to do but wait.
    pub todo: String,
}

/// Lines that say nothing about the cause.
const NOISE: &[&str] = &[
    "@",
    "IT IS POSSIBLE",
    "Someone could be",
    "It is also possible",
    "Please contact your system",
    "Add correct host key",
    "remove with:",
    "ssh-keygen -f",
    "fatal: Could not read from remote repository.",
    "Please make sure you have the correct access rights",
    "and the repository exists.",
    "Warning: Permanently added",
    "To ",
    "Done",
    "error: failed to push some refs",
];

/// What stands for git's words where it takes a web page for an empty repository.
pub const PAGE: &str = "fatal: what came is no repository but a web page";

/// Words by which git (2.30 and later, with GnuTLS and with OpenSSL), curl and OpenSSH name a cause; the first row that fits counts. What
/// the far side says in words of its own is consulted only behind all of these.
const OWN: &[(SourceReason, &[&str])] = &[
    (
        // Of the mirror here: what the far side says of its own objects begins with `remote: `.
        SourceReason::Damaged,
        &[
            " is corrupt",
            "bad object",
            "object file ",
            "inflate: ",
            "unable to unpack",
            "reference broken",
            "does not match index",
            "index file ",
            "invalid index-pack",
            "not a git repository: ",
            "cannot change to ",
            "not a git repository (",
            "bad config line",
        ],
    ),
    (SourceReason::HostKey, &["Host key verification failed", "HOST IDENTIFICATION HAS CHANGED"]),
    (
        SourceReason::Certificate,
        &["certificate", "SSL: no alternative", "SSL CA cert", "CERT_", "error adding trust anchors"],
    ),
    (SourceReason::Timeout, &["timed out", "timeout", "Operation too slow"]),
    (
        SourceReason::Authentication,
        &[
            "Authentication failed",
            "could not read Username",
            "could not read Password",
            "Permission denied (",
            "Too many authentication failures",
            "returned error: 401",
            "returned error: 403",
        ],
    ),
    (SourceReason::NotFound, PAGES),
    (
        SourceReason::NotFound,
        &["' not found", "does not appear to be a git repository", "returned error: 404", "returned error: 3"],
    ),
    (
        SourceReason::Unreachable,
        &[
            "Could not resolve",
            "Failed to connect",
            "Couldn't connect",
            "Connection refused",
            "Connection reset",
            "Connection closed",
            "Network is unreachable",
            "No route to host",
            "Empty reply",
            "Recv failure",
            "TLS",
            "SSL",
            "returned error: 429",
            "returned error: 5",
            "early EOF",
            "unexpected disconnect",
            "hung up unexpectedly",
        ],
    ),
    (SourceReason::PushDeclined, &["[remote rejected]", "hook declined", "protected branch"]),
];

/// By these git shows that it was given a web page.
const PAGES: &[&str] = &[PAGE, "not valid: is this a git repository?", "protocol error: bad line length character: <"];

/// Words of forges, which come as they are over ssh.
const FORGES: &[(SourceReason, &[&str])] = &[
    (SourceReason::NotFound, &["Repository not found", "could not be found", "repository does not exist"]),
    (
        SourceReason::Authentication,
        &[
            "denied to",
            "marked as read only",
            "not allowed to",
            "do not have permission",
            "access denied",
            "deploy key",
        ],
    ),
];

/// Sorts what git said on its failure. `url` is what git was told, so that a name in it is not taken for a cause.
pub fn explain(text: &str, url: &str, location: &Location) -> Explained {
    let bare = text.replace(url, "").replace(url.trim_end_matches('/'), "");
    let (theirs, ours): (Vec<&str>, Vec<&str>) = bare.lines().partition(|l| l.trim_start().starts_with("remote: "));
    let find = |rows: &[(SourceReason, &[&str])], lines: &[&str]| {
        let fits = |words: &[&str]| lines.iter().any(|l| words.iter().any(|w| l.contains(w)));
        rows.iter().find(|(_, words)| fits(words)).map(|(reason, _)| *reason)
    };
    let all = [ours.clone(), theirs].concat();
    let reason = find(OWN, &ours).or_else(|| find(FORGES, &all)).unwrap_or(SourceReason::Other);
    Explained { reason, said: gist(text), todo: todo(reason, text, location) }
}

/// The first lines that say something; each is cut at 300 characters.
pub fn gist(text: &str) -> String {
    let says = |l: &&str| !l.is_empty() && !NOISE.iter().any(|n| l.starts_with(n));
    let short = |l: &str| l.chars().take(300).collect::<String>();
    text.lines()
        .map(str::trim)
        .filter(says)
        .take(5)
        .map(short)
        .collect::<Vec<_>>()
        .join("; ")
        .trim_end_matches('.')
        .to_owned()
}

fn todo(reason: SourceReason, text: &str, location: &Location) -> String {
    let ssh = matches!(location, Location::Ssh { .. });
    match reason {
        SourceReason::Authentication if ssh => {
            "set TRIMTAB_GIT_SSH_KEY to a key that it lets in, or add one to the ssh agent".into()
        }
        SourceReason::Authentication => {
            "set TRIMTAB_GIT_TOKEN, or TRIMTAB_GIT_USERNAME and TRIMTAB_GIT_PASSWORD, to what it lets in".into()
        }
        SourceReason::HostKey if text.contains("HAS CHANGED") => {
            "the host has another key than the one that is known: ask its owner; if it was meant to change, put the new one in known_hosts".into()
        }
        SourceReason::HostKey => {
            "nobody has said that the host is the right one: check its key and put it in known_hosts, or in a file named by TRIMTAB_GIT_KNOWN_HOSTS".into()
        }
        SourceReason::Certificate => {
            "its TLS certificate does not check out: have it renewed, or name the file of its authority in TRIMTAB_GIT_CA".into()
        }
        SourceReason::NotFound if text.contains("returned error: 3") => {
            "it answers with a redirect: give the URL that it leads to".into()
        }
        SourceReason::NotFound if PAGES.iter().any(|p| text.contains(p)) => {
            "it answers with a web page: check the URL, and whether a login page or a proxy stands in front of it".into()
        }
        SourceReason::NotFound => "check the URL, and that the credentials may see the repository".into(),
        SourceReason::Unreachable => "check host, port, network and proxy".into(),
        SourceReason::Timeout => "if it is only slow, raise --git-timeout".into(),
        SourceReason::PushDeclined => {
            "let the bot push to this branch, or set `push = false` in trimtab.toml".into()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SourceReason::*;

    const HTTP: &str = "https://h/certificate timeout.git";

    #[test]
    fn every_cause_has_its_name() {
        // Words of git 2.39 and 2.47, curl 7.88 with GnuTLS and with OpenSSL, OpenSSH 9.2, GitHub, GitLab, Gitea.
        let table = [
            ("fatal: could not read Username for 'http://127.0.0.1:33461': terminal prompts disabled", Authentication),
            ("fatal: Authentication failed for '{}/'", Authentication),
            (
                "remote: Permission to a/b.git denied to bot.\nfatal: unable to access '{}/': The requested URL returned error: 403",
                Authentication,
            ),
            (
                "root@127.0.0.1: Permission denied (publickey).\nfatal: Could not read from remote repository.",
                Authentication,
            ),
            ("Received disconnect from ::1 port 22:2: Too many authentication failures", Authentication),
            (
                "ERROR: The key you are authenticating with has been marked as read only.\nfatal: Could not read from remote repository.",
                Authentication,
            ),
            (
                "ERROR: Permission to a/b.git denied to deploy key\nfatal: Could not read from remote repository.",
                Authentication,
            ),
            (
                "No ED25519 host key is known for h and you have requested strict checking.\nHost key verification failed.\nfatal: Could not read from remote repository.",
                HostKey,
            ),
            (
                "@@@@@@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@@@@@@@\nIT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!\nHost key verification failed.",
                HostKey,
            ),
            (
                "fatal: unable to access '{}/': server certificate verification failed. CAfile: none CRLfile: none",
                Certificate,
            ),
            ("fatal: unable to access '{}/': SSL certificate problem: self-signed certificate", Certificate),
            ("fatal: unable to access '{}/': SSL certificate problem: certificate has expired", Certificate),
            (
                "fatal: unable to access '{}/': SSL: no alternative certificate subject name matches target host name 'h'",
                Certificate,
            ),
            ("fatal: unable to access '{}/': Problem with the SSL CA cert (path? access rights?)", Certificate),
            ("remote: Repository not found.\nfatal: repository '{}/' not found", NotFound),
            ("ERROR: Repository not found.\nfatal: Could not read from remote repository.", NotFound),
            (
                "remote: The project you were looking for could not be found or you don't have permission to view it.\nfatal: Could not read from remote repository.",
                NotFound,
            ),
            (
                "fatal: '/srv/x.git' does not appear to be a git repository\nfatal: Could not read from remote repository.",
                NotFound,
            ),
            ("fatal: unable to access '{}/': The requested URL returned error: 301", NotFound),
            (
                "fatal: unable to access '{}/': Failed to connect to 127.0.0.1 port 1 after 0 ms: Couldn't connect to server",
                Unreachable,
            ),
            ("fatal: unable to access '{}/': Could not resolve host: nope.invalid", Unreachable),
            (
                "ssh: Could not resolve hostname nope.invalid: Name or service not known\nfatal: Could not read from remote repository.",
                Unreachable,
            ),
            (
                "ssh: connect to host 127.0.0.1 port 1: Connection refused\nfatal: Could not read from remote repository.",
                Unreachable,
            ),
            (
                "kex_exchange_identification: Connection closed by remote host\nConnection closed by 127.0.0.1 port 33461",
                Unreachable,
            ),
            (
                "fatal: unable to access '{}/': gnutls_handshake() failed: An unexpected TLS packet was received.",
                Unreachable,
            ),
            ("fatal: unable to access '{}/': error:0A00010B:SSL routines::wrong version number", Unreachable),
            ("fatal: unable to access '{}/': The requested URL returned error: 503", Unreachable),
            ("remote: slow down\nfatal: unable to access '{}/': The requested URL returned error: 429", Unreachable),
            ("error: RPC failed; curl 18 transfer closed\nfatal: early EOF", Unreachable),
            (
                "ssh: connect to host 10.0.0.1 port 22: Connection timed out\nfatal: Could not read from remote repository.",
                Timeout,
            ),
            (
                "fatal: unable to access '{}/': Failed to connect to h port 443 after 130000 ms: Connection timed out",
                Timeout,
            ),
            (
                "To {}\n!\tabc:refs/heads/main\t[remote rejected] (pre-receive hook declined)\nDone\nremote: error: GH006: Protected branch update failed\nerror: failed to push some refs to '{}'",
                PushDeclined,
            ),
            // A word of the far side, or of the URL, is no cause.
            (
                "remote: certificate, timed out, Host key verification failed\nfatal: unable to access '{}/': The requested URL returned error: 403",
                Authentication,
            ),
            ("fatal: protocol error: bad line length character: <!do", NotFound),
            ("fatal: {}/info/refs not valid: is this a git repository?", NotFound),
            (PAGE, NotFound),
            ("fatal: protocol error: bad line length character: Welc", Other),
        ];
        let location = Location::Http(HTTP.into());
        for (text, reason) in table {
            let text = text.replace("{}", HTTP);
            assert_eq!(explain(&text, HTTP, &location).reason, reason, "{text}");
        }
    }

    #[test]
    fn what_is_said_is_short_and_what_to_do_fits_the_transport() {
        let ssh = Location::parse("git@h:r.git").unwrap().0;
        let text = "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\nand the repository exists.\n";
        let found = explain(text, "git@h:r.git", &ssh);
        assert_eq!(found.said, "git@h: Permission denied (publickey)");
        assert!(found.todo.contains("TRIMTAB_GIT_SSH_KEY"), "{}", found.todo);
        let found = explain(text, HTTP, &Location::Http(HTTP.into()));
        assert!(found.todo.contains("TRIMTAB_GIT_TOKEN"), "{}", found.todo);
        assert!(explain(&"x".repeat(100_000), HTTP, &ssh).said.len() <= 300);
    }
}
