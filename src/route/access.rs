//! `DIR/access.log`: a sample of the requests, a line of JSON each, bounded in size.

use super::AccessLog;
use crate::process::SystemClock;
use serde::Serialize;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

/// Lines that may wait for the disk; beyond that they are left out.
const WAITING: usize = 1024;
/// Thousandths of a percent in a whole.
const WHOLE: u64 = 100_000;

/// One request. The query is left out: it may carry what is nobody's business.
#[derive(Serialize)]
pub struct Line {
    pub id: String,
    pub peer: String,
    pub method: String,
    pub path: String,
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Milliseconds until the answer began.
    pub ms: f64,
}

/// Takes lines without waiting for the disk.
pub struct Access {
    share: u64,
    counted: AtomicU64,
    lines: SyncSender<Line>,
}

impl Access {
    /// `None` when nothing is to be noted.
    pub fn open(dir: &Path, settings: AccessLog) -> Option<Self> {
        if settings.share == 0 {
            return None;
        }
        let (lines, inbox) = sync_channel(WAITING);
        let path = dir.join("access.log");
        std::thread::spawn(move || write(&path, settings.max_bytes, &inbox));
        Some(Self { share: u64::from(settings.share).min(WHOLE), counted: AtomicU64::new(0), lines })
    }
    /// Whether this request is one of the sample.
    pub fn is_noted(&self) -> bool {
        let n = self.counted.fetch_add(1, Relaxed);
        // As many whole steps of the share as requests: evenly spread, and exact.
        (n + 1).wrapping_mul(self.share) / WHOLE != n.wrapping_mul(self.share) / WHOLE
    }
    pub fn note(&self, line: Line) {
        // Full: requests come before their log.
        let _ = self.lines.try_send(line);
    }
}

#[derive(Serialize)]
struct Dated {
    /// Milliseconds since 1970.
    at: i64,
    #[serde(flatten)]
    line: Line,
}

fn write(path: &Path, max_bytes: u64, inbox: &Receiver<Line>) {
    let clock = SystemClock::continuing(None);
    let mut log: Option<(File, u64)> = None;
    let mut told = false;
    while let Ok(line) = inbox.recv() {
        let Ok(mut text) = serde_json::to_vec(&Dated { at: clock.base().wall, line }) else { continue };
        text.push(b'\n');
        match append(path, max_bytes, log.take(), &text) {
            Ok(open) => (log, told) = (Some(open), false),
            Err(e) if !told => {
                told = true;
                tracing::warn!("{}: {e}", path.display());
            }
            Err(_) => {}
        }
    }
}

fn append(path: &Path, max_bytes: u64, log: Option<(File, u64)>, text: &[u8]) -> io::Result<(File, u64)> {
    let open = || -> io::Result<(File, u64)> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let size = file.metadata()?.len();
        Ok((file, size))
    };
    let (mut file, mut size) = log.map_or_else(open, Ok)?;
    if size > 0 && size + text.len() as u64 > max_bytes {
        let mut before = PathBuf::from(path).into_os_string();
        before.push(".1");
        fs::rename(path, before)?;
        (file, size) = open()?;
    }
    file.write_all(text)?;
    Ok((file, size + text.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_exact_and_the_file_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let access = Access::open(dir.path(), AccessLog { share: 1_000, max_bytes: 1 }).unwrap();
        assert_eq!((0..10_000).filter(|_| access.is_noted()).count(), 100);
        assert!(Access::open(dir.path(), AccessLog { share: 0, max_bytes: 1 }).is_none());
        let path = dir.path().join("log");
        let mut log = None;
        for n in 0..10 {
            log = Some(append(&path, 12, log, format!("line{n}\n").as_bytes()).unwrap());
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "line8\nline9\n");
        assert_eq!(fs::read_to_string(dir.path().join("log.1")).unwrap(), "line6\nline7\n");
    }
}
