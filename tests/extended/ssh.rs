//! A real SSH server (Debian: `apt-get install openssh-server`) on a free port, with keys and configuration of its own.

use crate::support::{SERVED, World, model};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User, getuid},
};
use std::{
    fs,
    io::Read,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use trimtab::{
    model::*,
    ports::*,
    source::{Credentials, GitSource, SourceConfig},
};

/// A program that ends by SIGTERM to its own process.
struct Running(Child);
impl Drop for Running {
    fn drop(&mut self) {
        kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM).unwrap();
        self.0.wait().unwrap();
    }
}

struct Sshd {
    _server: Running,
    dir: PathBuf,
    user: String,
    port: u16,
    /// Whether it listens on IPv6 too.
    six: bool,
}

fn keygen(file: &Path) {
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(file).status().unwrap();
    assert!(made.success());
}

impl Sshd {
    /// Lets `good` in and nobody else; a login begins in the world's folder.
    fn start(w: &World) -> Self {
        let dir = w.path("ssh keys");
        fs::create_dir(&dir).unwrap();
        for key in ["host", "good", "bad"] {
            keygen(&dir.join(key));
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // Machines without IPv6 have no second address.
        let six = TcpListener::bind(("::1", port)).is_ok();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey \"{dir}/host\"\nPidFile \"{dir}/pid\"\nAuthorizedKeysFile \"{dir}/good.pub\"\n\
             {six_line}StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
             ForceCommand cd {home} && eval \"$SSH_ORIGINAL_COMMAND\"\n",
            six_line = if six { "ListenAddress ::1\n" } else { "" },
            dir = dir.display(),
            home = w.dir.path().display(),
        );
        fs::write(dir.join("config"), config).unwrap();
        if getuid().is_root() {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let log = fs::File::create(dir.join("log")).unwrap();
        let server = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(dir.join("config"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("sshd: apt-get install openssh-server");
        let user = User::from_uid(getuid()).unwrap().unwrap().name;
        let sshd = Self { _server: Running(server), dir, user, port, six };
        sshd.wait();
        sshd.trust("127.0.0.1", "known");
        sshd.trust("::1", "known");
        sshd
    }

    fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(30);
        let greets = || {
            let mut greeting = [0; 4];
            let stream = TcpStream::connect(("127.0.0.1", self.port));
            stream.is_ok_and(|mut s| s.read_exact(&mut greeting).is_ok()) && &greeting == b"SSH-"
        };
        while !greets() {
            assert!(Instant::now() < until, "{}", fs::read_to_string(self.dir.join("log")).unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Adds the server's key to a file of known hosts.
    fn trust(&self, host: &str, file: &str) {
        let key = fs::read_to_string(self.dir.join("host.pub")).unwrap();
        let file = self.dir.join(file);
        let before = fs::read_to_string(&file).unwrap_or_default();
        fs::write(file, format!("{before}[{host}]:{} {key}", self.port)).unwrap();
    }

    fn url(&self, w: &World) -> String {
        format!("ssh://{}@127.0.0.1:{}{}", self.user, self.port, w.path("models.git").display())
    }

    fn open(&self, w: &World, url: &str, key: &str, known: &str) -> GitSource {
        let credentials = Credentials {
            ssh_key: Some(self.dir.join(key)),
            known_hosts: Some(self.dir.join(known)),
            ..Credentials::default()
        };
        let config = SourceConfig {
            location: url.into(),
            branch: Some("main".into()),
            folder: "specs".into(),
            state: w.state(),
            credentials,
            timeout: Duration::from_secs(30),
            ca: None,
            random: || 0,
        };
        GitSource::open(&config).unwrap()
    }
}

fn head(source: &GitSource) -> Revision {
    match source.fetch(None).unwrap() {
        Fetched::Head { revision, .. } => revision,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_right_key_reads_and_pushes() {
    let w = World::new();
    let sshd = Sshd::start(&w);
    let source = sshd.open(&w, &sshd.url(&w), "good", "known");
    let first = head(&source);
    assert_eq!(first.commit.0.as_ref(), w.head().unwrap().id().to_string());
    let lock = BotCommit {
        files: vec![FileChange {
            path: "specs/models/m/trimtab.lock".into(),
            content: FileContent::Bytes(b"lock".to_vec()),
        }],
        message: "lock: m".into(),
        name: "trimtab".into(),
        email: "bot@example.com".into(),
        decided_on: first.commit,
        guard: "specs/models/m".into(),
    };
    assert!(matches!(source.push(&lock).unwrap(), Pushed::Done(_)));
    assert_eq!(w.head().unwrap().summary().unwrap(), Some("lock: m"));
}

#[test]
fn another_key_and_another_host_key_are_refused_each_by_its_name() {
    let w = World::new();
    let sshd = Sshd::start(&w);
    let refused = |key: &str, known: &str, reason, words: [&str; 2]| {
        let error = sshd.open(&w, &sshd.url(&w), key, known).fetch(None).unwrap_err();
        assert_eq!(error.reason, Some(reason), "{error}");
        assert!(words.iter().all(|word| error.message.contains(word)), "{error}");
    };
    refused("bad", "known", SourceReason::Authentication, ["Permission denied", "TRIMTAB_GIT_SSH_KEY"]);
    // Nobody has said yet that this host is the right one.
    refused("good", "empty", SourceReason::HostKey, ["Host key verification failed", "TRIMTAB_GIT_KNOWN_HOSTS"]);
    // Another host answers at the address.
    let other = fs::read_to_string(sshd.dir.join("bad.pub")).unwrap();
    fs::write(sshd.dir.join("other"), format!("[127.0.0.1]:{} {other}", sshd.port)).unwrap();
    refused("good", "other", SourceReason::HostKey, ["Host key verification failed", "has another key"]);
}

#[test]
fn each_form_of_location_leads_to_its_repository_and_a_wrong_one_is_said() {
    let w = World::new();
    let sshd = Sshd::start(&w);
    let (user, port, absolute) = (&sshd.user, sshd.port, w.path("models.git"));
    let mut forms = vec![
        // A login begins in the world's folder.
        format!("{user}@[127.0.0.1:{port}]:models.git"),
        format!("{user}@[127.0.0.1:{port}]:{}", absolute.display()),
        sshd.url(&w),
    ];
    if sshd.six {
        forms.push(format!("ssh://{user}@[::1]:{port}{}", absolute.display()));
    }
    for form in forms {
        head(&sshd.open(&w, &form, "good", "known"));
    }
    for (form, reason) in [
        (format!("{user}@[127.0.0.1:{port}]:/models.git"), SourceReason::NotFound),
        (format!("ssh://{user}@127.0.0.1:{port}/models.git"), SourceReason::NotFound),
        (format!("ssh://{user}@127.0.0.1:1/models.git"), SourceReason::Unreachable),
        (format!("ssh://{user}@host.invalid/models.git"), SourceReason::Unreachable),
    ] {
        let error = sshd.open(&w, &form, "good", "known").fetch(None).unwrap_err();
        assert_eq!(error.reason, Some(reason), "{error}");
    }
}

#[test]
fn the_loop_closes_over_ssh_with_the_key_in_an_agent() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    let sshd = Sshd::start(&w);
    let socket = sshd.dir.join("agent");
    let agent = Command::new("ssh-agent").args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).spawn().unwrap();
    let _agent = Running(agent);
    let until = Instant::now() + Duration::from_secs(30);
    while !socket.exists() {
        assert!(Instant::now() < until, "the agent does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    let added = Command::new("ssh-add").arg("-q").arg(sshd.dir.join("good")).env("SSH_AUTH_SOCK", &socket).status();
    assert!(added.unwrap().success());
    w.url = Some(sshd.url(&w));
    let known = sshd.dir.join("known");
    w.start_with(&[("SSH_AUTH_SOCK", socket.to_str().unwrap()), ("TRIMTAB_GIT_KNOWN_HOSTS", known.to_str().unwrap())]);
    w.wait_api();
    w.wait_for("fraud", "version=v1");
    let until = Instant::now() + Duration::from_secs(60);
    while w.head().unwrap().author().name() != Ok("trimtab") {
        assert!(Instant::now() < until, "the lock was never pushed: {}", w.log());
        std::thread::sleep(Duration::from_millis(30));
    }
    assert!(w.head().unwrap().message().unwrap().contains("Trimtab-Model: fraud"));
    assert_eq!(w.get("/models/fraud/x").1, "v1");
    assert_eq!(w.trained("count").len(), 1);
    let second = w.commit_model("fraud", &model("fraud", &count, ", seed = 2", SERVED));
    assert!(w.trimtab(&["sync"]).status.success(), "{}", w.log());
    w.wait_for("fraud", "version=v2");
    w.revert(second);
    assert!(w.trimtab(&["sync"]).status.success());
    w.wait_for("fraud", "version=v1");
    assert_eq!(w.trained("count").len(), 2);
}
