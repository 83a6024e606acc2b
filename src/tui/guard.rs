//! The terminal, taken and given back.

use super::crash::Reports;
use crossterm::{
    cursor::Show,
    execute,
    style::Print,
    terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
};
use std::{
    io,
    panic::PanicHookInfo,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

type Hook = Arc<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// Whether the terminal is ours. Given back once: leaving the alternate screen again would move the cursor over what was
/// said since.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Buttons, the wheel and moves with a button held are told, with places beyond the 223rd column. Not crossterm's own, which has
/// every move told as well.
const MOUSE: &str = "\x1b[?1000h\x1b[?1002h\x1b[?1006h";
const NO_MOUSE: &str = "\x1b[?1006l\x1b[?1002l\x1b[?1000l";

/// Holds the terminal raw and on its alternate screen; dropping it gives the terminal back as it was. A panic gives it back
/// before its message is printed, so that the message can be read.
pub(super) struct Guard {
    before: Hook,
    mouse: bool,
}

impl Guard {
    /// Takes the terminal. After an error it is as it was.
    pub fn take(mouse: bool, reports: Reports) -> io::Result<Self> {
        let before: Hook = std::panic::take_hook().into();
        let next = before.clone();
        std::panic::set_hook(Box::new(move |info| {
            give_back();
            next(info);
            match reports.write(info) {
                Ok(path) => eprintln!("trimtab: the terminal UI failed; what is known of it is in {}", path.display()),
                Err(e) => eprintln!("trimtab: no report could be written to {}: {e}", reports.folder.display()),
            }
        }));
        let guard = Self { before, mouse };
        guard.again()?;
        Ok(guard)
    }

    /// Gives the terminal to another program, until it is taken again.
    pub fn lend(&self) {
        give_back();
    }

    /// Takes the terminal again.
    pub fn again(&self) -> io::Result<()> {
        TAKEN.store(true, Ordering::SeqCst);
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen)?;
        if self.mouse {
            execute!(io::stdout(), Print(MOUSE))?;
        }
        Ok(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        give_back();
        // A thread that unwinds may not change the hook, and has no more use for it.
        if !std::thread::panicking() {
            let before = self.before.clone();
            std::panic::set_hook(Box::new(move |info| before(info)));
        }
    }
}

fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // A terminal that is gone cannot be given back, and there is nowhere to say so.
        let _ = execute!(io::stdout(), Print(NO_MOUSE), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::{Message, crash::note};
    use crossterm::event::KeyCode;
    use nix::{
        pty::{Winsize, openpty},
        sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr},
    };
    use std::{
        fs::File,
        io::Read,
        path::Path,
        process::{Command, Stdio},
    };

    /// Set in the copy of this test that runs in a pseudo terminal: how it is to end.
    const ENDING: &str = "TRIMTAB_TEST_ENDING";

    /// Set there as well: where its report goes.
    const FOLDER: &str = "TRIMTAB_TEST_FOLDER";

    fn attributes(t: &Termios) -> impl PartialEq + std::fmt::Debug + use<> {
        (t.input_flags, t.output_flags, t.control_flags, t.local_flags, t.control_chars)
    }

    /// What a copy of this test that ends in this way wrote to its terminal, whether the terminal was raw meanwhile, and
    /// whether its attributes are again those of before.
    fn ends(ending: &str, folder: &Path) -> (String, bool, bool) {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let mut unusual = tcgetattr(&pty.slave).unwrap();
        // What stood before counts, not what a terminal usually has.
        unusual.local_flags.remove(LocalFlags::ECHOCTL);
        tcsetattr(&pty.slave, SetArg::TCSANOW, &unusual).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tui::guard::tests::however_it_ends_the_terminal_is_given_back", "--nocapture"])
            .env(ENDING, ending)
            .env(FOLDER, folder)
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let mut master = File::from(pty.master);
        let mut seen = String::new();
        let mut until = |what: &str, from: &mut File| {
            let mut piece = [0; 4096];
            while !seen.contains(what) {
                let n = from.read(&mut piece).unwrap();
                seen.push_str(&String::from_utf8_lossy(&piece[..n]));
            }
        };
        until("TAKEN", &mut master);
        let raw = attributes(&tcgetattr(&pty.slave).unwrap()) != attributes(&before);
        io::Write::write_all(&mut master, b"x").unwrap();
        until("test result", &mut master);
        child.wait().unwrap();
        let after = tcgetattr(&pty.slave).unwrap();
        (seen, raw, attributes(&after) == attributes(&before))
    }

    fn end_in_this_way(ending: &str) -> io::Result<()> {
        let folder = std::env::var(FOLDER).unwrap().into();
        let guard = Guard::take(true, Reports { folder, now: || 1_700_000_000 })?;
        [Message::Key(KeyCode::Enter.into()), Message::Tick].iter().for_each(note);
        print!("TAKEN");
        io::Write::flush(&mut io::stdout())?;
        // Until the other end has looked at the terminal.
        io::stdin().read_exact(&mut [0])?;
        match ending {
            "error" => Err(io::Error::other("SAID")),
            "panic" => panic!("SAID"),
            "lent" => {
                guard.lend();
                println!("LENT");
                guard.again()?;
                Ok(())
            }
            _ => {
                // A panic of another thread ends nothing by itself; its words must not be lost on the alternate screen.
                std::thread::spawn(|| panic!("SAID")).join().unwrap_err();
                Ok(())
            }
        }
    }

    #[test]
    fn however_it_ends_the_terminal_is_given_back() {
        if let Ok(ending) = std::env::var(ENDING) {
            return end_in_this_way(&ending).unwrap();
        }
        for ending in ["error", "panic", "panic elsewhere"] {
            let folder = tempfile::tempdir().unwrap();
            let (seen, was_raw, as_before) = ends(ending, folder.path());
            let at = |what: &str| seen.find(what).unwrap_or_else(|| panic!("{ending}: no {what:?} in {seen:?}"));
            assert!(was_raw, "{ending}: it was never taken: {seen:?}");
            assert!(as_before, "{ending}: other attributes than before: {seen:?}");
            assert!(at("\x1b[?1049h") < at("TAKEN") && at("TAKEN") < at("\x1b[?1049l"), "{ending}: {seen:?}");
            assert!(
                at(MOUSE) < at("TAKEN") && at("TAKEN") < at(NO_MOUSE) && at(NO_MOUSE) < at("SAID"),
                "{ending}: {seen:?}"
            );
            assert!(at("\x1b[?1049l") < at("SAID") && at("\x1b[?25h") < at("SAID"), "{ending}: {seen:?}");
            assert_eq!(seen.matches("\x1b[?1049l").count(), 1, "{ending}: {seen:?}");
            let report = std::fs::read_to_string(folder.path().join("trimtab-tui-panic-1700000000.txt"));
            assert_eq!(report.is_ok(), ending != "error", "{ending}");
            for told in report
                .iter()
                .flat_map(|_| ["message: SAID\n", "at: src/tui/guard.rs:", "terminal: 80×24\n", ": key tick\n"])
            {
                assert!(report.as_ref().unwrap().contains(told), "{ending}: no {told:?} in {report:?}");
            }
            assert_eq!(seen.contains("trimtab-tui-panic-1700000000.txt"), report.is_ok(), "{ending}: {seen:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        let (seen, _, as_before) = ends("lent", folder.path());
        let (before, after) = seen.split_once("LENT").unwrap();
        assert!(as_before, "{seen:?}");
        for part in [before, after] {
            let (_, taken) = part.split_once("\x1b[?1049h").unwrap();
            assert!(taken.contains(NO_MOUSE) && taken.contains("\x1b[?1049l"), "{seen:?}");
        }
    }
}
