//! Python environments, built from packages of this machine.

use crate::{
    load::eventually,
    support::{SERVE, SERVED, TRAIN, World, model},
};
use std::{fs, process::Command, time::Duration};

/// The environment of a live version is gone: it is built anew, with the packages of then, though newer ones would do.
#[test]
fn a_python_environment_that_is_gone_is_built_anew_as_it_was() {
    const WHEEL: &str = r#"
import sys, zipfile
folder, version = sys.argv[1:]
info = f"thing-{version}.dist-info"
with zipfile.ZipFile(f"{folder}/thing-{version}-py3-none-any.whl", "w") as z:
    z.writestr("thing.py", f"version = '{version}'")
    z.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: thing\nVersion: {version}\n")
    z.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    z.writestr(f"{info}/RECORD", "")
"#;
    let mut w = World::new();
    let wheels = w.path("wheels");
    fs::create_dir(&wheels).unwrap();
    let wheel = |version: &str| {
        let made = Command::new("python3").args(["-c", WHEEL]).arg(&wheels).arg(version).status();
        assert!(made.unwrap().success());
    };
    wheel("1.0");
    let requirements = format!("--no-index\n--find-links {}\nthing\n", wheels.display());
    let spec = model("fraud", &w.path("count"), ", seed = 1", &format!("python = \"requirements.txt\"\n{SERVED}"));
    // It serves what it imports.
    let serve = SERVE.replace("model = open(", "import thing\nmodel = thing.version.encode() or open(");
    let at = |file: &str| format!("specs/models/fraud/{file}");
    w.commit(
        "fraud",
        &[
            (&at("model.toml"), Some(&spec)),
            (&at("train.py"), Some(TRAIN)),
            (&at("serve.py"), Some(&serve)),
            (&at("requirements.txt"), Some(&requirements)),
        ],
    );
    // Two environments are built, which takes its time on a busy machine.
    let wait = |w: &World, what: &str| {
        let out = w.trimtab(&["wait", "fraud", "--for", what, "--timeout", "4m"]);
        assert!(out.status.success(), "{}\n{}", String::from_utf8_lossy(&out.stderr), w.log());
    };
    w.start();
    wait(&w, "version=v1");
    assert_eq!(w.get("/models/fraud/x").2, "1.0");
    let python = w.json(&["show", "fraud@v1"])["python"].as_str().unwrap().to_owned();
    fs::remove_dir_all(w.state().join("env")).unwrap();
    wheel("2.0");
    w.kill();
    trimtab::deploy::local::stop_everything(&w.state());
    w.start();
    wait(&w, "healthy");
    eventually("it serves again", Duration::from_secs(120), || (w.get("/models/fraud/x").0 == 200).then_some(()));
    assert_eq!(w.get("/models/fraud/x").2, "1.0");
    assert!(w.state().join("env").join(python.trim_start_matches("b3:")).join("bin/python").exists());
    assert_eq!(w.trained("count").len(), 1);
}
