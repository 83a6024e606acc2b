//! The daemon of the binary.

use super::support::Fleet;
use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};
use trimtab::deploy::local::stop_everything;

/// A daemon on a fleet that is at rest.
pub struct Daemon {
    pub child: Child,
    pub state: PathBuf,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Fails when it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The router outlives its daemon by design.
        stop_everything(&self.state);
    }
}

impl Daemon {
    pub fn start(fleet: &Fleet) -> Self {
        let state = fleet.folder.path().join("state");
        let child = Command::new(env!("CARGO_BIN_EXE_trimtab"))
            .args(["daemon", "--repo"])
            .arg(&fleet.path)
            .arg("--state")
            .arg(&state)
            .args(["--router", "127.0.0.1:0"])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(state.join("daemon.log")).unwrap())
            .spawn()
            .unwrap();
        Self { child, state }
    }

    /// Waits until the API says that every model was looked at.
    pub fn wait_ready(&mut self) {
        let socket = self.state.join("trimtab.sock");
        let begun = Instant::now();
        let ready = || {
            let mut stream = std::os::unix::net::UnixStream::connect(&socket).ok()?;
            std::io::Write::write_all(&mut stream, b"GET /readyz HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n")
                .ok()?;
            let mut first = String::new();
            BufReader::new(stream).read_line(&mut first).ok()?;
            first.contains(" 200 ").then_some(())
        };
        while ready().is_none() {
            let log = || std::fs::read_to_string(socket.with_file_name("daemon.log")).unwrap_or_default();
            assert!(self.child.try_wait().unwrap().is_none(), "the daemon ended: {}", log());
            assert!(begun.elapsed() < Duration::from_secs(120), "the daemon is not ready after 120 s");
            sleep(Duration::from_millis(100));
        }
        eprintln!("daemon ready with every model looked at after {:.1} s", begun.elapsed().as_secs_f64());
    }
}

/// Resident memory in MiB, and processor time since the start.
pub fn usage(process: u32) -> (f64, Duration) {
    let proc = PathBuf::from(format!("/proc/{}", process));
    let status = std::fs::read_to_string(proc.join("status")).unwrap();
    let rss = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    let kib: f64 = rss.trim().trim_end_matches(" kB").parse().unwrap();
    let stat = std::fs::read_to_string(proc.join("stat")).unwrap();
    // Fields 14 and 15, counted from 1; the name in field 2 may hold blanks.
    let after = stat.rsplit_once(')').unwrap().1;
    let ticks: u64 = after.split_whitespace().skip(11).take(2).map(|t| t.parse::<u64>().unwrap()).sum();
    (kib / 1024.0, Duration::from_millis(ticks * 10))
}
