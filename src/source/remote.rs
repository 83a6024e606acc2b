//! Talking to remotes: the `git` program fetches and pushes, so that every transport, proxy, key and certificate setting of the user's
//! git holds here too. It is given an argument list, never a shell line, a bounded time, and no hooks.

use super::{
    failure::{self, Explained},
    location::{Credentials, Location},
    mirror::Mirror,
    talk::{self, End, Said},
};
use crate::{
    model::SourceReason,
    ports::{Cancel, PortError, PortResult},
    process::Mask,
};
use std::{
    ffi::OsStr,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

/// A remote and how to talk to it.
#[derive(Debug)]
pub struct Remote {
    pub location: Location,
    pub credentials: Credentials,
    pub timeout: Duration,
    /// Holds what was fetched.
    pub mirror: Mirror,
    /// More certificate authorities.
    pub ca: Option<PathBuf>,
    /// Ends what is being said, and refuses more.
    pub stop: Cancel,
}

impl Remote {
    fn url(&self) -> String {
        match &self.location {
            Location::Local(path) => path.display().to_string(),
            Location::Http(url) => url.clone(),
            Location::Ssh { user, host, port, path } => {
                let user = user.as_ref().map(|u| format!("{u}@")).unwrap_or_default();
                let port = port.map(|p| format!(":{p}")).unwrap_or_default();
                match path.starts_with('/') {
                    true => format!("ssh://{user}{host}{port}{path}"),
                    // Only this form can say "relative to where a login begins". Its brackets hold a port, too.
                    false if port.is_empty() => format!("{user}{host}:{path}"),
                    false => format!("{user}[{}{port}]:{path}", host.trim_matches(['[', ']'])),
                }
            }
        }
    }

    fn command(&self) -> Command {
        let mut git = Command::new("git");
        git.env_clear();
        for name in [
            "PATH",
            "HOME",
            "SSH_AUTH_SOCK",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "NO_PROXY",
            "http_proxy",
            "https_proxy",
            "no_proxy",
        ] {
            if let Some(value) = std::env::var_os(name) {
                git.env(name, value);
            }
        }
        git.env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0").env("GIT_ALLOW_PROTOCOL", "http:https:ssh");
        let mut ssh = format!(
            "ssh -o BatchMode=yes -o ControlMaster=no -o ControlPath=none -o ConnectTimeout={}",
            self.timeout.as_secs().max(1)
        );
        if let Some(key) = &self.credentials.ssh_key {
            ssh.push_str(&format!(" -o IdentitiesOnly=yes -i {}", quoted(&key.display().to_string())));
        }
        if let Some(known) = &self.credentials.known_hosts {
            // ssh takes its own quotes and `%` in this option.
            let file = known.display().to_string().replace('%', "%%");
            ssh.push_str(&format!(" -o {}", quoted(&format!("UserKnownHostsFile=\"{file}\""))));
        }
        git.env("GIT_SSH_COMMAND", ssh).env("GIT_SSH_VARIANT", "ssh");
        if let Some(ca) = &self.ca {
            git.env("GIT_SSL_CAINFO", ca);
        }
        self.authorise(&mut git);
        git.arg("-C").arg(&self.mirror.path).args([
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "gc.auto=0",
            "-c",
            "maintenance.auto=false",
            "-c",
            "http.followRedirects=false",
        ]);
        git.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        git
    }

    /// Credentials go through the environment and only to this very host, never through arguments that others can list.
    fn authorise(&self, git: &mut Command) {
        use base64::Engine;
        let Location::Http(url) = &self.location else { return };
        let root: String = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        let (key, value) = match (&self.credentials.username, &self.credentials.secret) {
            (user, Some(secret)) => {
                let user = user.as_deref().unwrap_or("x-access-token");
                let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{secret}"));
                (format!("http.{root}/.extraHeader"), format!("Authorization: Basic {pair}"))
            }
            // A credential helper of the user's git may have the password.
            (Some(user), None) => (format!("credential.{root}.username"), user.clone()),
            (None, None) => return,
        };
        git.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", key).env("GIT_CONFIG_VALUE_0", value);
    }

    /// Runs git within a time limit.
    fn converse(&self, mut command: Command, args: &[&OsStr], limit: Duration) -> PortResult<Said> {
        if self.stop.is_cancelled() {
            return Err(PortError::retryable(self.stop.reason()));
        }
        let child = command
            .args(args)
            .spawn()
            .map_err(|e| PortError::retryable(format!("cannot start git: {e}; install it")))?;
        talk::listen(child, limit, &self.stop)
    }

    /// Says something to the remote within the time limit; returns the answer.
    fn run(&self, args: &[&OsStr]) -> PortResult<String> {
        let said = self.converse(self.command(), args, self.timeout)?;
        match said.end {
            End::Exited(status) if status.success() => return Ok(said.out),
            End::Exited(_) => {}
            End::Stopped => return Err(PortError::retryable(self.stop.reason())),
            End::TimedOut => {
                let limit = self.timeout.as_secs();
                let told = format!(
                    "{} did not answer within {limit} s: if it is only slow, raise --git-timeout",
                    self.location
                );
                return Err(PortError::retryable(told).because(SourceReason::Timeout));
            }
        }
        // What a push was refused for stands on standard output.
        Err(self.explain(&format!("{}\n{}", said.out, said.err)))
    }

    /// Git's words without credentials, sorted, and what to do.
    fn explain(&self, text: &str) -> PortError {
        // Servers are known to repeat what they were sent.
        let secrets: Vec<String> = self.credentials.secret.iter().cloned().collect();
        let text = Mask::hide(&secrets, text);
        let Explained { reason, said, todo } = failure::explain(&text, &self.url(), &self.location);
        let todo = if todo.is_empty() { String::new() } else { format!(": {todo}") };
        PortError::retryable(format!("{} {}: {said}{todo}", self.location, reason.words())).because(reason)
    }

    /// The name of the default branch, if the remote has any. Git asks for all names to learn it, so this is for the first contact.
    pub fn default_branch(&self) -> PortResult<Option<String>> {
        let url = self.url();
        let said = self.run(&["ls-remote", "--symref", "--", &url, "HEAD"].map(OsStr::new))?;
        let branch = said.lines().find_map(|l| l.strip_prefix("ref: refs/heads/")?.strip_suffix("\tHEAD"));
        if branch.is_none() {
            self.refuse_page()?;
        }
        match branch {
            Some(branch) => Ok(Some(branch.to_owned())),
            None if said.trim().is_empty() => Ok(None),
            None => Err(PortError::permanent(format!(
                "{} names no default branch: say which one to follow with --branch",
                self.location
            ))),
        }
    }

    /// Refuses a web page in the place of a repository, such as the login of a proxy: git takes one for an old server without branches.
    fn refuse_page(&self) -> PortResult<()> {
        if !matches!(self.location, Location::Http(_)) {
            return Ok(());
        }
        let mut command = self.command();
        // Headers only, on standard error; git itself leaves credentials out.
        command.env("GIT_TRACE_CURL", "2").env("GIT_TRACE_CURL_NO_DATA", "1").env("GIT_TRACE_REDACT", "1");
        let said = self.converse(command, &["ls-remote", "--", &self.url(), "HEAD"].map(OsStr::new), self.timeout)?;
        let header = said.err.to_ascii_lowercase();
        if header.lines().any(|l| l.contains("<= recv header: content-type: text/html")) {
            return Err(self.explain(failure::PAGE));
        }
        Ok(())
    }

    /// Names of branches, if only of some.
    pub fn branches(&self) -> PortResult<Vec<String>> {
        let url = self.url();
        let said = self.run(&["ls-remote", "--heads", "--", &url].map(OsStr::new))?;
        Ok(said.lines().filter_map(|l| Some(l.split_once("\trefs/heads/")?.1.to_owned())).collect())
    }

    /// What git finds damaged in the mirror, reading all of it. Not being done in time is no damage.
    pub fn damage(&self) -> Option<String> {
        /// Of the limit for a conversation: the disk is slow, but it answers.
        const LONGER: u32 = 10;
        let check = ["fsck", "--no-dangling", "--no-reflogs", "--no-progress"].map(OsStr::new);
        let said = self.converse(self.command(), &check, self.timeout.saturating_mul(LONGER)).ok()?;
        let failed = matches!(said.end, End::Exited(status) if !status.success());
        failed.then(|| failure::gist(&format!("{}\n{}", said.err, said.out)))
    }

    /// Brings a branch into the mirror; `false` when the remote does not have it. Nothing but this one name is asked for (`git ls-remote`
    /// would have all of them listed), and where nothing moved nothing more is said.
    pub fn fetch(&self, branch: &str) -> PortResult<bool> {
        let spec = format!("+refs/heads/{branch}:refs/heads/{branch}");
        let url = self.url();
        let options = ["--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"];
        let args: Vec<&OsStr> =
            ["fetch"].into_iter().chain(options).chain(["--", &url, &spec]).map(OsStr::new).collect();
        match self.run(&args) {
            Ok(_) => Ok(true),
            Err(e) if e.message.contains(&format!("couldn't find remote ref refs/heads/{branch}")) => {
                self.refuse_page().map(|()| false)
            }
            Err(e) => Err(e),
        }
    }

    /// Brings what a name stands for (a branch, a tag, `refs/pull/7/head`, a commit where the server allows it) into the mirror, under a name
    /// of our own that nothing follows.
    pub fn fetch_aside(&self, name: &str) -> PortResult<()> {
        let spec = format!("+{name}:refs/trimtab/asked");
        let url = self.url();
        let options = ["--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"];
        let args: Vec<&OsStr> =
            ["fetch"].into_iter().chain(options).chain(["--", &url, &spec]).map(OsStr::new).collect();
        self.run(&args).map(drop)
    }

    /// Pushes a commit; `Ok(false)` when the remote's branch moved meanwhile.
    pub fn push(&self, commit: &str, branch: &str) -> PortResult<bool> {
        let spec = format!("{commit}:refs/heads/{branch}");
        let url = self.url();
        match self.run(&["push", "--quiet", "--no-verify", "--porcelain", "--", &url, &spec].map(OsStr::new)) {
            Ok(_) => Ok(true),
            Err(e) if RACES.iter().any(|w| e.message.contains(w)) => Ok(false),
            Err(e) => Err(e),
        }
    }
}

/// How git and its servers say that a branch moved meanwhile.
const RACES: &[&str] = &[
    "fetch first",
    "non-fast-forward",
    "cannot lock ref",
    "stale info",
    "failed to update ref",
    "incorrect old value",
];

/// One word of the line that git hands to a shell to start ssh.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}
