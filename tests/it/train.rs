//! Pipelines through `trimtab run`: real processes in a work tree, no daemon.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

fn write(root: &Path, path: &str, text: &str) {
    let file = root.join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

fn world(spec: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "trimtab.toml", "schema = \"trimtab/v1\"\n");
    write(
        dir.path(),
        "models/m/model.toml",
        &format!(
            "schema = \"trimtab/v1\"\n[model]\nname = \"m\"\n{}",
            spec.replace("COUNT", &dir.path().join("count").display().to_string())
        ),
    );
    dir
}

fn run(dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trimtab"))
        .args(["run", "m", "--json", "--path"])
        .arg(dir)
        .arg("--state")
        .arg(dir.join("state"))
        .env("PLANTED", "not for children")
        .output()
        .unwrap()
}

/// Both streams.
fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

fn counted(dir: &Path) -> usize {
    fs::read_to_string(dir.join("count")).unwrap_or_default().lines().count()
}

#[test]
fn stages_run_once_for_one_content_and_feed_each_other() {
    let dir = world(
        "[[stage]]\nname = \"prepare\"\nrun = \"echo p >> COUNT; test -z \\\"$PLANTED\\\" && echo 41 > $TRIMTAB_OUTPUT/clean\"\noutputs = [\"clean\"]\n\
         [train]\ninputs = [\"clean\"]\nrun = \"echo t >> COUNT; cp $TRIMTAB_INPUT_CLEAN $TRIMTAB_OUTPUT/model; \
         echo '{\\\"step\\\": 1, \\\"auc\\\": 0.5}' >> $TRIMTAB_METRICS; echo bad >> $TRIMTAB_METRICS; echo '{\\\"auc\\\": 0.9}' >> $TRIMTAB_METRICS\"\n",
    );
    for cached in [false, true] {
        let out = run(dir.path());
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["metrics"]["auc"], 0.9);
        assert!(answer["stages"].as_array().unwrap().iter().all(|s| s["cached"] == cached), "{text}");
        assert_eq!(counted(dir.path()), 2);
    }
}

#[test]
fn a_failing_stage_is_tried_again_and_says_its_last_lines() {
    let dir = world("[train]\nrun = \"echo t >> COUNT; echo the reason >&2; exit 3\"\nretries = 2\n");
    let out = run(dir.path());
    let said = said(&out);
    assert_eq!(out.status.code(), Some(1));
    assert!(said.contains("stage train: exit 3") && said.contains("the reason"), "{said}");
    assert_eq!(counted(dir.path()), 3);
}

/// Each of the two waits for the other to begin: one after the other, they would never end.
#[test]
fn stages_that_need_nothing_of_each_other_run_at_once() {
    let meet = |me: &str, other: &str| {
        format!(
            "[[stage]]\nname = \"{me}\"\ntimeout = \"30s\"\noutputs = [\"{me}\"]\n\
             run = \"touch COUNT.{me}; until test -e COUNT.{other}; do sleep 0.02; done; sleep 1; touch $TRIMTAB_OUTPUT/{me}\"\n"
        )
    };
    let train = "[train]\nrun = \"touch $TRIMTAB_OUTPUT/model\"\ninputs = [\"left\", \"right\"]\n";
    let dir = world(&format!("{}{}{train}", meet("left", "right"), meet("right", "left")));
    let begun = Instant::now();
    let out = run(dir.path());
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    // What it took is what somebody waited for it.
    let answer: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let took = answer["duration_ms"].as_u64().unwrap();
    let one_by_one: u64 = answer["stages"].as_array().unwrap().iter().map(|s| s["duration"].as_u64().unwrap()).sum();
    assert!(took >= 1000 && u128::from(took) <= begun.elapsed().as_millis() && one_by_one >= 2000, "{answer}");
}

/// Two at once for one model: the second waits, says so, and finds what the first made. What failed is tried anew, however soon.
#[test]
fn a_second_run_of_a_model_waits_for_the_first() {
    let script = "echo t >> COUNT; until test -e COUNT.go; do sleep 0.02; done; touch $TRIMTAB_OUTPUT/model";
    let dir = world(&format!("[train]\nrun = \"{script}\"\n"));
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trimtab"));
        command.args(["run", "m", "--json", "--path"]).arg(dir.path()).arg("--state").arg(dir.path().join("state"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let first = start();
    let until = Instant::now() + Duration::from_secs(60);
    while counted(dir.path()) == 0 {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut second = start();
    let mut told = String::new();
    BufReader::new(second.stderr.as_mut().unwrap()).read_line(&mut told).unwrap();
    assert!(told.contains("another `trimtab run m` is under way"), "{told}");
    write(dir.path(), "count.go", "");
    for run in [first, second] {
        let out = run.wait_with_output().unwrap();
        assert!(out.status.success(), "{}", said(&out));
    }
    assert_eq!(counted(dir.path()), 1);

    let fails = world("[train]\nrun = \"echo t >> COUNT; exit 3\"\n");
    (0..3).for_each(|_| assert!(!run(fails.path()).status.success()));
    assert_eq!(counted(fails.path()), 3);
}

#[test]
fn a_stage_that_fails_stops_those_that_run_beside_it() {
    let dir = world(
        "[[stage]]\nname = \"long\"\noutputs = [\"x\"]\nrun = \"echo $$ > COUNT.pid; sleep 600\"\n\
         [[stage]]\nname = \"short\"\noutputs = [\"y\"]\nrun = \"until test -s COUNT.pid; do sleep 0.02; done; echo no rows >&2; exit 4\"\n\
         [train]\nrun = \"touch $TRIMTAB_OUTPUT/model\"\ninputs = [\"x\", \"y\"]\n",
    );
    let out = run(dir.path());
    let said = said(&out);
    assert_eq!(out.status.code(), Some(1));
    assert!(said.contains("stage short: exit 4") && said.contains("no rows"), "{said}");
    assert!(!alive(&dir.path().join("count.pid")), "the other stage still runs");
}

/// Whether the process whose pid the file holds still runs.
fn alive(file: &Path) -> bool {
    let pid: i32 = fs::read_to_string(file).unwrap().trim().parse().unwrap();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

#[test]
fn an_interrupt_ends_the_stage_that_runs() {
    let dir = world("[train]\nrun = \"echo $$ > COUNT.part; mv COUNT.part COUNT.pid; sleep 600\"\n");
    let mut child = Command::new(env!("CARGO_BIN_EXE_trimtab"))
        .args(["run", "m", "--path"])
        .arg(dir.path())
        .arg("--state")
        .arg(dir.path().join("state"))
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let pid = dir.path().join("count.pid");
    let until = Instant::now() + Duration::from_secs(60);
    while !pid.exists() {
        assert!(Instant::now() < until && child.try_wait().unwrap().is_none(), "the stage does not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    let me = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(me, nix::sys::signal::Signal::SIGINT).unwrap();
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("stopped: interrupted"), "{said}");
    assert!(!alive(&pid), "the stage still runs");
}

#[test]
fn a_stage_past_its_time_limit_is_ended_and_said() {
    let dir = world("[train]\nrun = \"echo begun; sleep 600\"\ntimeout = \"300ms\"\n");
    let out = run(dir.path());
    let said = said(&out);
    assert_eq!(out.status.code(), Some(1));
    assert!(said.contains("stopped at its time limit") && said.contains("begun"), "{said}");
}

/// The build of an environment waits for a package index that does not answer; an interrupt ends it, and what it started.
#[test]
fn an_interrupt_ends_the_build_of_an_environment() {
    let index = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = world("[train]\nrun = \"true\"\npython = \"requirements.txt\"\n");
    let address = format!("http://{}/simple", index.local_addr().unwrap());
    write(dir.path(), "models/m/requirements.txt", &format!("--index-url {address}\nno-such-package-here\n"));
    let child = Command::new(env!("CARGO_BIN_EXE_trimtab"))
        .args(["run", "m", "--path"])
        .arg(dir.path())
        .arg("--state")
        .arg(dir.path().join("state"))
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // The installer asks for the package: it is in the middle of the build.
    let (held, _) = index.accept().unwrap();
    let me = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(me, nix::sys::signal::Signal::SIGINT).unwrap();
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains("stopped: interrupted"), "{said}");
    drop(held);
}

/// The log of the only run.
fn log(dir: &Path) -> String {
    let runs = walkdir::WalkDir::new(dir.join("state/runs")).into_iter().flatten();
    runs.filter(|e| e.file_name() == "log").map(|e| fs::read_to_string(e.path()).unwrap()).collect()
}

fn train(script: &str) -> tempfile::TempDir {
    let dir = world("[train]\nrun = [\"sh\", \"train.sh\"]\nsecrets = [\"DB_PASSWORD\"]\n");
    write(dir.path(), "models/m/train.sh", &format!("echo t >> {}\n{script}", dir.path().join("count").display()));
    dir
}

fn run_with_secrets(dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trimtab"))
        .args(["run", "m", "--json", "--path"])
        .arg(dir)
        .arg("--state")
        .arg(dir.join("state"))
        .env("DB_PASSWORD", "hunter2-5ca1ab1e")
        .env("PIP_INDEX_URL", "https://bot:w0nderland@pypi.example/simple")
        .output()
        .unwrap()
}

#[test]
fn secrets_are_kept_out_of_names_and_logs() {
    let dir = train(
        "echo \"index $PIP_INDEX_URL\"; touch $TRIMTAB_OUTPUT/model\n\
         echo \"{\\\"$DB_PASSWORD\\\": 1, \\\"auc\\\": 0.5, \\\"a<b\\\": 1}\" >> $TRIMTAB_METRICS\n",
    );
    let out = run_with_secrets(dir.path());
    let text = said(&out);
    assert!(out.status.success() && text.contains("\"auc\"") && !text.contains("hunter2"), "{text}");
    let log = log(dir.path());
    assert!(log.contains("index https://***@pypi.example/simple"), "{log}");
    assert!(log.contains("metric `***` was left out") && log.contains("metric `a<b` was left out"), "{log}");
    let dir = train("touch $TRIMTAB_OUTPUT/model-$DB_PASSWORD\n");
    let out = run_with_secrets(dir.path());
    let text = said(&out);
    assert!(
        !out.status.success() && text.contains("`model-***` holds a secret") && !text.contains("hunter2"),
        "{text}"
    );
}

#[test]
fn run_files_that_were_replaced_neither_hang_nor_fill_the_daemon() {
    let run_dir = "dir=$(dirname $TRIMTAB_METRICS); touch $TRIMTAB_OUTPUT/model\n";
    for (script, told) in [
        ("rm $TRIMTAB_METRICS; mkfifo $TRIMTAB_METRICS", "no plain file"),
        ("rm $TRIMTAB_METRICS; ln -s /dev/zero $TRIMTAB_METRICS", "cannot be read"),
        ("truncate -s 100M $TRIMTAB_METRICS", "larger than 64 MiB"),
    ] {
        let dir = train(&format!("{run_dir}{script}\n"));
        let out = run_with_secrets(dir.path());
        assert!(out.status.success(), "{script}: {}", said(&out));
        assert!(log(dir.path()).contains(told), "{script}: {}", log(dir.path()));
    }
    let dir = train(&format!("{run_dir}rm $dir/log; mkfifo $dir/log; exit 3\n"));
    let out = run_with_secrets(dir.path());
    assert!(!out.status.success() && said(&out).contains("exit 3"), "{}", said(&out));
}

#[test]
fn an_output_that_can_never_be_taken_is_not_trained_again() {
    for (script, told) in [
        ("ln -s nowhere $TRIMTAB_OUTPUT/model", "leads nowhere"),
        ("mkdir $TRIMTAB_OUTPUT/a; ln -s a $TRIMTAB_OUTPUT/model", "link to a folder"),
        ("rmdir $TRIMTAB_OUTPUT; ln -s /usr $TRIMTAB_OUTPUT", "no folder any more"),
    ] {
        let dir = train(&format!("{script}\n"));
        let out = run_with_secrets(dir.path());
        assert!(!out.status.success() && said(&out).contains(told), "{script}: {}", said(&out));
        assert_eq!(counted(dir.path()), 1);
    }
}

/// A daemon that is killed while an environment is built: the next one sees that very build to its end, and starts no second one.
#[test]
fn a_build_of_an_environment_is_taken_up_by_the_next_daemon() {
    use crate::support::{TRAIN, World, model};
    let mut w = World::new();
    let count = w.path("count");
    let index = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let requirements = format!("--index-url http://{}/simple\nno-such-package-here\n", index.local_addr().unwrap());
    let spec = model("fraud", &count, ", seed = 1", "python = \"requirements.txt\"\n");
    w.commit(
        "fraud",
        &[
            ("specs/models/fraud/model.toml", Some(&spec)),
            ("specs/models/fraud/train.py", Some(TRAIN)),
            ("specs/models/fraud/requirements.txt", Some(&requirements)),
        ],
    );
    w.start();
    // The installer asks for the package and gets no answer yet.
    let (held, _) = index.accept().unwrap();
    w.kill();
    w.start();
    // There is none: the installation that goes on fails, and with it the training.
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for mut caller in std::iter::once(held).chain(index.incoming().flatten()) {
            let mut request = [0; 4096];
            while caller.read(&mut request).is_ok_and(|n| n > 0 && !request[..n].ends_with(b"\r\n\r\n")) {}
            // Whoever went away meanwhile asks again or not.
            let _ = caller.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    let until = Instant::now() + Duration::from_secs(60);
    let said = loop {
        let said = w.json(&["status", "fraud"])["summary"]["message"].as_str().unwrap_or_default().to_owned();
        if said.contains("cannot install the requirements") {
            break said;
        }
        assert!(Instant::now() < until, "{said}\n{}", w.log());
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(said.contains("no-such-package-here"), "{said}");
    let log = String::from_utf8(w.trimtab(&["logs", "fraud"]).stdout).unwrap();
    // Whether it is tried again afterwards is another matter.
    let first = log.split("ERROR: No matching").next().unwrap_or_default();
    assert_eq!(first.matches("building the Python environment").count(), 1, "{log}");
}
