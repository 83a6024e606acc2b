//! Import from, and mirror to, a real MLflow server. TRIMTAB_TEST_MLFLOW is a Python that has `mlflow`.

use crate::{
    peer::{Peer, mirrored_over_everything, same},
    support::{World, eventually},
};
use serde_json::Value;
use std::{
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// `mlflow server`, with the workers that it starts.
struct Server {
    dir: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Server {
    fn new() -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut server = Self { dir: tempfile::tempdir().unwrap(), port: free.port(), child: None };
        server.start();
        server
    }

    fn peer(&self) -> Peer {
        Peer::new(&format!("http://127.0.0.1:{}", self.port), "")
    }

    fn start(&mut self) {
        let python = std::env::var("TRIMTAB_TEST_MLFLOW").expect("TRIMTAB_TEST_MLFLOW: a Python that has mlflow");
        let at = |name: &str| self.dir.path().join(name).display().to_string();
        let mut command = Command::new(python);
        command.args(["-m", "mlflow", "server", "--workers", "1", "--port", &self.port.to_string()]);
        command.args([
            "--backend-store-uri",
            &format!("sqlite:///{}", at("m.db")),
            "--artifacts-destination",
            &at("art"),
        ]);
        let log = std::fs::File::create(self.dir.path().join("log")).unwrap();
        command.env_remove("PYTHONDONTWRITEBYTECODE").current_dir(&self.dir).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        self.child = Some(command.spawn().unwrap());
        let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
        let health = format!("http://127.0.0.1:{}/health", self.port);
        eventually("mlflow answers", Duration::from_secs(180), || {
            client.get(&health).send().ok().filter(|a| a.status().is_success())
        });
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let group = nix::unistd::Pid::from_raw(child.id() as i32);
            nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL).unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn import(state: &Path, url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trimtab"));
    command.args(["import", "mlflow", url, "--json", "--state"]).arg(state).stdin(Stdio::null());
    command
}

fn imported(state: &Path, url: &str) -> Value {
    let out = import(state, url).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn what_mlflow_has_is_here_after_an_import_that_was_killed_and_twice() {
    let server = Server::new();
    let from = server.peer();
    from.fill(8);
    let mut here = World::new();
    here.start();
    let mut kills = 0;
    for n in 1.. {
        let mut child = import(&here.state(), &from.url).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(150 * n));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        kills += 1;
        here.kill();
        here.start();
        child.wait().unwrap();
    }
    assert!(kills > 0, "it was too fast to be killed");
    let last = imported(&here.state(), &from.url);
    assert_eq!((&last["points"], &last["notes"]), (&0.into(), &serde_json::json!([])), "{last}");
    for (kind, tally) in last["counts"].as_object().unwrap() {
        assert_eq!(
            (&tally["new"], &tally["changed"], &tally["left"]),
            (&0.into(), &0.into(), &0.into()),
            "{kind}: {last}"
        );
    }
    same(&from.whole(), &Peer::of(&here.state()).whole());
}

#[test]
fn mlflow_has_every_version_once_over_kills_of_either_side() {
    let mut server = Server::new();
    let peer = server.peer();
    mirrored_over_everything(&peer, &mut |up| if up { server.start() } else { server.kill() });
}
