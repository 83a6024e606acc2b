use super::{Loaded, render};
use crate::{model::*, ports::*};
use proptest::prelude::*;
use std::collections::BTreeMap;

mod delivery;
mod naming;
mod promotion;
mod serve;
mod unread;

/// Files in memory as a tree.
#[derive(Default, Clone)]
struct Files(BTreeMap<String, (u32, Vec<u8>)>);

impl Files {
    fn with(mut self, path: &str, text: &str) -> Self {
        self.0.insert(path.into(), (0o100644, text.as_bytes().to_vec()));
        self
    }
    fn mode(mut self, path: &str, mode: u32) -> Self {
        self.0.insert(path.into(), (mode, b"x".to_vec()));
        self
    }
    fn entry_of(&self, path: &str) -> Option<TreeEntry> {
        let (mode, bytes) = self.0.get(path)?;
        Some(TreeEntry {
            path: path.into(),
            mode: *mode,
            id: ObjectId(format!("{}|{path}", Digest::of(bytes).hex()).into()),
        })
    }
    fn changes_from(&self, old: &Files) -> Vec<TreeChange> {
        let mut paths: Vec<&String> = self.0.keys().chain(old.0.keys()).collect();
        paths.sort();
        paths.dedup();
        let one = |p: &String| TreeChange { path: p.clone(), old: old.entry_of(p), new: self.entry_of(p) };
        paths.into_iter().map(one).filter(|c| c.old != c.new).collect()
    }
    fn load(&self) -> Loaded {
        Loaded::update(&Loaded::default(), &self.changes_from(&Files::default()), &revision(), "", self).unwrap().0
    }
}

impl GitTree for Files {
    fn changes(&self, _: Option<&ObjectId>, _: &ObjectId, _: &str) -> PortResult<Vec<TreeChange>> {
        Ok(self.changes_from(&Files::default()))
    }
    fn list(&self, _: &ObjectId, folder: &str) -> PortResult<Vec<TreeEntry>> {
        let inside = |p: &&String| folder.is_empty() || p.starts_with(&format!("{folder}/"));
        Ok(self.0.keys().filter(inside).filter_map(|p| self.entry_of(p)).collect())
    }
    fn entry(&self, _: &ObjectId, path: &str) -> PortResult<Option<TreeEntry>> {
        let below = format!("{path}/");
        let folder = || {
            let id = ObjectId("folder".into());
            self.0.keys().any(|p| p.starts_with(&below)).then(|| TreeEntry { path: path.into(), mode: 0o040000, id })
        };
        Ok(self.entry_of(path).or_else(folder))
    }
    fn size(&self, id: &ObjectId) -> PortResult<u64> {
        Ok(self.0[id.0.split_once('|').unwrap().1].1.len() as u64)
    }
    fn blob(&self, id: &ObjectId, limit: u64) -> PortResult<Vec<u8>> {
        let bytes = &self.0[id.0.split_once('|').unwrap().1].1;
        if bytes.len() as u64 > limit {
            Err(PortError::permanent(format!("the file has {} bytes", bytes.len())))
        } else {
            Ok(bytes.clone())
        }
    }
}

fn revision() -> Revision {
    let id = ObjectId("4f1c2ab0".into());
    Revision {
        commit: id.clone(),
        tree: id,
        author: "Ada".into(),
        email: "ada@example.com".into(),
        summary: String::new(),
        time: WallMs(0),
    }
}

const MODEL: &str = "schema = \"trimtab/v1\"\n[model]\nname = \"fraud\"\n[data]\ntrain = \"transactions\"\n[train]\nrun = [\"python\", \"train.py\"]\n\
    params = { depth = 6, rate = 0.5 }\n[serve]\nrun = [\"python\", \"serve.py\"]\n[[deploy]]\nenvironment = \"production\"\n";

fn base() -> Files {
    Files::default()
        .with("environments/production.toml", "schema = \"trimtab/v1\"\n[environment]\nname = \"production\"\n")
        .with(
            "datasets/transactions.toml",
            "schema = \"trimtab/v1\"\n[dataset]\nname = \"transactions\"\n[source]\npath = \"t.csv\"\n",
        )
        .with("models/fraud/model.toml", MODEL)
        .with("models/fraud/train.py", "print()")
}

fn edited(from: &str, to: &str) -> Files {
    assert!(MODEL.contains(from), "{from}");
    base().with("models/fraud/model.toml", &MODEL.replace(from, to))
}

fn diagnostics(files: &Files) -> String {
    render::text(&files.load().state().diagnostics)
}

#[test]
fn the_example_is_clean() {
    let loaded = base().load();
    assert_eq!(loaded.state().diagnostics, []);
    let model = &loaded.state().models["fraud"];
    assert_eq!(model.spec.stages[0].inputs, ["train"]);
    assert_eq!(model.lines.get("train.params.depth"), Some(8));
}

#[test]
fn a_mistake_is_shown_with_its_place_its_line_and_what_to_do() {
    let files = edited("params =", "parms =").with(
        "environments/staging.toml",
        "schema = \"trimtab/v1\"\n[environment]\nname = \"stagging\"\ntarget = \"moon\"\n",
    );
    insta::assert_snapshot!(diagnostics(&files));
}

#[test]
fn a_file_of_code_that_no_training_would_be_given_is_told_by_name_and_size() {
    let large = "x".repeat((MAX_CODE_FILE + 1) as usize);
    let files = base().with("models/fraud/weights.bin", &large);
    let said = diagnostics(&files);
    assert!(said.contains("`models/fraud/weights.bin` has 51 MiB, more than the 50 MiB"), "{said}");
    assert!(said.contains("[data]") && files.load().state().models.is_empty(), "{said}");
    assert_eq!(diagnostics(&base().with("models/fraud/weights.bin", &large[..MAX_CODE_FILE as usize])), "");
}

#[test]
fn what_stands_in_the_place_of_a_folder_of_specs_is_told() {
    let mut files = base();
    files.0.retain(|path, _| !path.starts_with("models/"));
    let files = files.with("models", "elsewhere");
    assert!(diagnostics(&files).contains("`models` is a file, not a folder"), "{}", diagnostics(&files));
    assert_eq!(files.load().replaced().len(), 1);
    assert!(base().load().replaced().is_empty());
}

/// Every mistake alone: what is said of it.
#[test]
fn each_mistake_is_told() {
    let cases: &[(&str, &str, &str)] = &[
        ("depth = 6", "depth = nan", "finite number"),
        ("name = \"fraud\"", "name = \"Fraud!\"", "not a valid name"),
        ("name = \"fraud\"", "name = 7", "must be a string, not integer"),
        ("[model]\nname = \"fraud\"", "[model]", "missing key `model.name`"),
        ("trimtab/v1", "trimtab/v9", "unknown schema `trimtab/v9`"),
        ("run = [\"python\", \"train.py\"]", "run = []", "is no command"),
        (
            "run = [\"python\", \"train.py\"]",
            "run = [\"python\", \"train.py\"]\ntimeout = \"30 parsecs\"",
            "write a number and a unit",
        ),
        (
            "run = [\"python\", \"train.py\"]",
            "run = [\"python\", \"train.py\"]\ntimeout = \"9999999d\"",
            "longer than ten years",
        ),
        (
            "run = [\"python\", \"train.py\"]",
            "run = [\"python\", \"train.py\"]\ncode = \"../other\"",
            "`..` is refused",
        ),
        (
            "run = [\"python\", \"train.py\"]",
            "run = [\"python\", \"train.py\"]\ncode = \"/etc\"",
            "absolute paths are refused",
        ),
        (
            "run = [\"python\", \"train.py\"]",
            "run = [\"python\", \"train.py\"]\npython = \".git/config\"",
            "`.git` is refused",
        ),
        (
            "run = [\"python\", \"train.py\"]",
            "run = [\"python\", \"train.py\"]\npython = \"none.txt\"",
            "there is no file `models/fraud/none.txt`",
        ),
        (
            "run = [\"python\", \"train.py\"]",
            "run = [\"python\", \"train.py\"]\nexecutor = \"slurm\"",
            "executor \"local\"",
        ),
        (
            "run = [\"python\", \"train.py\"]",
            "run = [\"python\", \"train.py\"]\nsecrets = [\"hunter2!\"]",
            "names, never values",
        ),
        (
            "run = [\"python\", \"train.py\"]",
            "run = [\"python\", \"train.py\"]\nsecrets = [\"TRIMTAB_GIT_TOKEN\"]",
            "a variable of trimtab's own",
        ),
        (
            "run = [\"python\", \"train.py\"]",
            "run = [\"python\", \"train.py\"]\nsecrets = [\"PATH\"]",
            "a variable of trimtab's own",
        ),
        (
            "run = [\"python\", \"train.py\"]",
            "run = [\"python\", \"train.py\"]\ninputs = [\"nothing\"]",
            "which nothing makes",
        ),
        ("[serve]", "[[gate]]\nmetric = \"auc\"\n[serve]", "a gate needs"),
        (
            "[serve]",
            "[[stage]]\nname = \"a\"\nrun = \"x\"\ninputs = [\"b\"]\noutputs = [\"a\"]\n[[stage]]\nname = \"b\"\nrun = \"x\"\ninputs = [\"a\"]\noutputs = [\"b\"]\n[serve]",
            "the stages a, b need each other in a circle",
        ),
        ("[serve]", "[[stage]]\nname = \"a\"\nrun = \"x\"\noutputs = [\"../x\"]\n[serve]", "`..` is refused"),
        ("[serve]\n", "[serve]\nruntime = \"onnx\"\n", "by `run` or by `runtime`, not by both"),
        ("train = \"transactions\"", "train = \"nothing\"", "defined in datasets/ are: transactions"),
        ("environment = \"production\"", "environment = \"prod\"", "defined in environments/ are: production"),
        (
            "environment = \"production\"",
            "environment = \"production\"\nafter = \"production\"",
            "does not stand before it",
        ),
        (
            "environment = \"production\"",
            "environment = \"production\"\nstrategy = \"canary\"",
            "a canary needs `steps`",
        ),
        (
            "environment = \"production\"",
            "environment = \"production\"\nstrategy = \"canary\"\nsteps = [{ weight = 50, hold = \"1s\" }, { weight = 5, hold = \"1s\" }]",
            "must not fall",
        ),
        (
            "environment = \"production\"",
            "environment = \"production\"\nstrategy = \"canary\"\nsteps = [{ weight = 500, hold = \"1s\" }]",
            "at most 100",
        ),
        ("[serve]", "[sevre]", "did you mean `serve`?"),
    ];
    for (from, to, said) in cases {
        let files = edited(from, to);
        let text = diagnostics(&files);
        assert!(text.contains(said), "{to}: {text}");
        assert!(text.contains("models/fraud/model.toml"), "{text}");
        assert!(files.load().state().broken.contains_key("fraud"), "{to}");
    }
}

#[test]
fn hostile_trees_are_refused_with_the_path_named() {
    for (files, said) in [
        (base().mode("models/fraud/link", 0o120000), "`models/fraud/link` is a symbolic link"),
        (base().mode("models/fraud/sub", 0o160000), "`models/fraud/sub` is a submodule"),
        (base().mode("models/fraud/model.toml", 0o120000), "the spec is a symbolic link"),
        (base().with("models/fraud/b\u{fffd}d", ""), "is not UTF-8"),
        (base().with("models/fraud/model.toml", &"#".repeat(2 << 20)), "1 MiB"),
        (
            base().with("models/fraud/model.toml", &format!("a = {}{}", "[".repeat(20_000), "]".repeat(20_000))),
            "models/fraud/model.toml:1",
        ),
        (
            base().with(
                "datasets/transactions.toml",
                "schema = \"trimtab/v1\"\n[dataset]\nname = \"transactions\"\n[source]\npath = \"/etc/shadow\"\n",
            ),
            "absolute paths",
        ),
        (
            base().with(
                "datasets/transactions.toml",
                "schema = \"trimtab/v1\"\n[dataset]\nname = \"transactions\"\n[source]\nurl = \"-oProxyCommand=x\"\n",
            ),
            "https://",
        ),
        (
            base().with("models/fraud/trimtab.lock", "schema = \"trimtab/lock/v1\"\n[inputs.train]\ndataset = \"t\"\nsource = \"t.csv\"\nsnapshot = \"b3:zz\"\n"),
            "content digest",
        ),
    ] {
        let loaded = files.load();
        let text = render::text(&loaded.state().diagnostics);
        assert!(text.contains(said), "{said}: {text}");
        assert!(!loaded.state().models.contains_key("fraud"), "{said}");
    }
    let mut invalid = base();
    invalid.0.insert("models/fraud/model.toml".into(), (0o100644, vec![0xff, 0xfe]));
    assert!(diagnostics(&invalid).contains("not UTF-8"));
}

#[test]
fn ten_thousand_nested_tables_are_refused_without_a_crash() {
    let nested: String = (0..10_000).map(|i| format!("[{}]\n", "a.".repeat(i % 200) + "b")).collect();
    let loaded = base().with("models/fraud/model.toml", &nested).load();
    assert!(loaded.state().broken.contains_key("fraud"));
}

#[test]
fn escapes_in_a_spec_are_shown_as_text() {
    let text = diagnostics(&edited("name = \"fraud\"", "name = \"fraud\"\n\"\\u001b[31mred\" = 1"));
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn one_poison_spec_among_a_thousand_holds_back_only_itself() {
    let mut files = base();
    for n in 0..1000 {
        let text = MODEL.replace("\"fraud\"", &format!("\"m{n}\""));
        files = files.with(&format!("models/m{n}/model.toml"), if n == 500 { "\u{0}poison" } else { &text });
    }
    let loaded = files.load();
    assert_eq!(loaded.state().models.size(), 1000);
    assert_eq!(loaded.state().broken.keys().map(Name::as_str).collect::<Vec<_>>(), ["m500"]);
}

/// A folder that was copied and not renamed, before and behind the original in the order of paths.
#[test]
fn of_two_specs_of_one_name_the_one_in_the_folder_of_that_name_is_in_force() {
    for copy in ["models/aaa/model.toml", "models/other/model.toml"] {
        let loaded = base().with(copy, MODEL).load();
        assert_eq!(loaded.state().models["fraud"].file, "models/fraud/model.toml");
        let text = render::text(&loaded.state().diagnostics);
        assert!(text.contains("two specs are called `fraud`") && text.contains(&format!("┌─ {copy}:3:8")), "{text}");
    }
}

#[test]
fn two_specs_of_one_name_that_nothing_tells_apart_hold_back_that_name_only() {
    let mut files = base().with("models/a/model.toml", MODEL).with("models/b/model.toml", MODEL);
    files.0.remove("models/fraud/model.toml");
    let loaded = files.load();
    assert!(!loaded.state().models.contains_key("fraud"));
    assert_eq!(loaded.state().broken["fraud"].len(), 2);
    let text = render::text(&loaded.state().diagnostics);
    assert!(text.contains("also in models/b/model.toml: neither is in force"), "{text}");
    let mended = files.clone().with("models/b/model.toml", &MODEL.replace("\"fraud\"", "\"churn\""));
    let (next, touched) = Loaded::update(&loaded, &mended.changes_from(&files), &revision(), "", &mended).unwrap();
    assert!(next.state().models.contains_key("fraud") && next.state().broken.is_empty());
    assert_eq!(touched.iter().map(Name::as_str).collect::<Vec<_>>(), ["churn", "fraud"]);
}

#[test]
fn a_link_or_a_submodule_in_the_place_of_a_models_folder_is_a_broken_spec() {
    for (mode, said) in [(0o120000, "symbolic link"), (0o160000, "submodule")] {
        let old = base();
        let mut new = old.clone();
        new.0.retain(|path, _| !path.starts_with("models/fraud/"));
        new.0.insert("models/fraud".into(), (mode, b"../elsewhere".to_vec()));
        let (next, _) = Loaded::update(&old.load(), &new.changes_from(&old), &revision(), "", &new).unwrap();
        for loaded in [&next, &new.load()] {
            let found = &loaded.state().broken["fraud"];
            assert!(found[0].message.contains(said), "{found:?}");
        }
    }
}

/// Several mistakes of several kinds in one file: each at its place, all at once.
#[test]
fn everything_that_is_wrong_with_a_spec_is_said_at_once() {
    let text = diagnostics(&base().with(
        "models/fraud/model.toml",
        "schema = \"trimtab/v1\"\n[model]\nname = \"fraud\"\n[data]\ntrain = \"transactions\"\nlate = \"transaction\"\n\
         [train]\nrun = [\"python\", \"train.py\"]\ntimout = \"3m\"\npython = \"missing.txt\"\nresources = { memory = \"2GB\" }\n\
         [serve]\nrun = [\"python\", \"serve.py\"]\n\
         [[deploy]]\nenvironment = \"production\"\n[[deploy]]\nenvironment = \"prod\"\nafter = \"staging\"\n",
    ));
    for said in [
        "unknown key `timout`",
        "did you mean `timeout`?",
        "dataset `transaction` is not defined",
        "models/fraud/model.toml:6:8",
        "did you mean `transactions`?",
        "there is no file `models/fraud/missing.txt`",
        "models/fraud/model.toml:10:10",
        "environment `prod` is not defined",
        "models/fraud/model.toml:17:15",
        "`prod` comes after `staging`",
        "models/fraud/model.toml:18:9",
        "such as \"2Gi\"",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn a_code_folder_has_to_be_a_folder() {
    let with_code = |code: &str| {
        base().with("models/fraud/model.toml", &MODEL.replace("[train]\n", &format!("[train]\ncode = \"{code}\"\n")))
    };
    assert!(diagnostics(&with_code("nowhere")).contains("there is no folder `models/fraud/nowhere`"));
    assert!(diagnostics(&with_code("train.py")).contains("is a file, not a folder"));
    let mut linked = with_code("lib");
    linked.0.insert("models/fraud/lib".into(), (0o120000, b"/etc".to_vec()));
    assert!(diagnostics(&linked).contains("is a symbolic link, not a folder"));
}

#[test]
fn names_that_are_one_variable_are_refused() {
    let text = diagnostics(
        &base().with(
            "models/fraud/model.toml",
            &MODEL
                .replace("train = \"transactions\"", "a-b = \"transactions\"\na_b = \"transactions\"")
                .replace("depth = 6", "a-b = 1, a_b = 2"),
        ),
    );
    assert!(text.contains("would both be TRIMTAB_INPUT_A_B") && text.contains("params `a_b` and `a-b`"), "{text}");
}

#[test]
fn findings_are_bounded() {
    let many: String = (0..10_000).map(|i| format!("p{i} = nan, ")).collect();
    let loaded = edited("depth = 6", &format!("{many} depth = 6")).load();
    let text = render::text(&loaded.state().diagnostics);
    assert!(text.len() < 100_000 && text.contains("more findings in this file"), "{}", text.len());
}

/// An unreadable spec in the folder `fraud`, while another file holds a good model of that name.
#[test]
fn a_broken_spec_holds_back_no_model_that_has_its_folders_name() {
    let loaded = base().with("models/fraud/model.toml", "poison").with("models/zz/model.toml", MODEL).load();
    assert_eq!(loaded.state().models["fraud"].file, "models/zz/model.toml");
    assert!(loaded.state().broken.is_empty());
    assert!(render::text(&loaded.state().diagnostics).contains("models/fraud/model.toml:1"));
}

#[test]
fn a_change_touches_what_depends_on_it_and_nothing_else() {
    let other = MODEL.replace("\"fraud\"", "\"churn\"").replace("train = \"transactions\"", "train = \"people\"");
    let old = base()
        .with(
            "datasets/people.toml",
            "schema = \"trimtab/v1\"\n[dataset]\nname = \"people\"\n[source]\npath = \"p.csv\"\n",
        )
        .with("models/churn/model.toml", &other);
    let loaded = old.load();
    let touched = |new: &Files| -> Vec<String> {
        let (next, touched) = Loaded::update(&loaded, &new.changes_from(&old), &revision(), "", new).unwrap();
        let full = new.load();
        let both = |l: &Loaded| {
            l.state().models.iter().map(|(n, m)| (n.clone(), m.code, m.content, m.lock.clone())).collect::<Vec<_>>()
        };
        assert_eq!(both(&next), both(&full), "an update leads to what a full load gives");
        touched.iter().map(Name::to_string).collect()
    };
    assert_eq!(touched(&old.clone().with("models/fraud/train.py", "print(2)")), ["fraud"]);
    assert_eq!(touched(&old.clone().with("models/fraud/deep/er.py", "x")), ["fraud"]);
    assert_eq!(touched(&old.clone().with("datasets/people.toml", "broken")), ["churn"]);
    assert_eq!(touched(&old.clone().with("README.md", "hello")), Vec::<String>::new());
    let mut gone = old.clone();
    gone.0.remove("models/fraud/model.toml");
    assert_eq!(touched(&gone), ["fraud"]);
    let renamed = old.clone().with("models/fraud/model.toml", &MODEL.replace("\"fraud\"", "\"fraud2\""));
    assert_eq!(touched(&renamed), ["fraud", "fraud2"]);
}

#[test]
fn the_order_of_keys_changes_nothing() {
    let reordered = "schema = \"trimtab/v1\"\n[serve]\nrun = [\"python\", \"serve.py\"]\n[data]\ntrain = \"transactions\"\n[[deploy]]\nenvironment = \"production\"\n\
        [train]\nparams = { rate = 0.5, depth = 6 }\nrun = [\"python\", \"train.py\"]\n[model]\nname = \"fraud\"\n";
    let (a, b) = (base().load(), base().with("models/fraud/model.toml", reordered).load());
    let (a, b) = (&a.state().models["fraud"], &b.state().models["fraud"]);
    assert_eq!((&a.spec, a.content, a.code), (&b.spec, b.content, b.code));
    assert_eq!(crate::plan::fingerprint(a, &BTreeMap::new()), crate::plan::fingerprint(b, &BTreeMap::new()));
}

#[test]
fn a_lock_is_read_as_it_was_written() {
    for source in [DataSource::Path("odd \"name\".csv".into()), DataSource::Url("https://example.com/a.csv?v=1".into())]
    {
        let pin = LockedInput { dataset: Name::new("transactions").unwrap(), source, snapshot: Digest::of(b"data") };
        let pins = BTreeMap::from([(Name::new("train").unwrap(), Box::new(pin))]);
        let files = base().with("models/fraud/trimtab.lock", &super::lock::render(&pins));
        assert_eq!(files.load().state().models["fraud"].lock, pins);
    }
}

/// Everything of a state that only its files decide.
fn facts(loaded: &Loaded) -> (Vec<String>, Vec<String>, Vec<String>) {
    let state = loaded.state();
    let model = |(n, m): (&Name, &std::sync::Arc<DesiredModel>)| {
        format!("{n} {} {:?} {:?} {:?} {:?} {:?}", m.file, m.code, m.content, m.lock, m.datasets, m.environments)
    };
    let mut found: Vec<String> = state.diagnostics.iter().map(|d| format!("{d:?}")).collect();
    found.sort();
    (state.models.iter().map(model).collect(), state.broken.iter().map(|b| format!("{b:?}")).collect(), found)
}

/// What a file of the history may hold: models of two names, with other datasets, code and environment, and broken ones.
fn contents() -> Vec<String> {
    let dataset = |n: &str| format!("schema = \"trimtab/v1\"\n[dataset]\nname = \"{n}\"\n[source]\npath = \"x.csv\"\n");
    vec![
        MODEL.to_owned(),
        MODEL.replace("\"fraud\"", "\"churn\""),
        MODEL.replace("train = \"transactions\"", "train = \"people\""),
        MODEL.replace("[train]", "[train]\ncode = \"../../lib\"").replace("../../lib", "lib"),
        MODEL.replace("depth = 6", "depth = 7"),
        "poison".to_owned(),
        dataset("transactions"),
        dataset("people"),
    ]
}

const HISTORY_PATHS: [&str; 8] = [
    "models/a/model.toml",
    "models/fraud/model.toml",
    "models/churn/model.toml",
    "models/fraud/train.py",
    "models/fraud/lib/x.py",
    "models/fraud/trimtab.lock",
    "datasets/transactions.toml",
    "datasets/people.toml",
];

proptest! {
    #[test]
    fn any_history_read_by_its_changes_leads_to_what_a_full_load_gives(
        steps in prop::collection::vec(prop::collection::vec((0..HISTORY_PATHS.len(), prop::option::of(0..8_usize)), 1..4), 1..12),
    ) {
        let contents = contents();
        let (mut files, mut loaded) = (base(), base().load());
        for step in steps {
            let before = files.clone();
            for (path, content) in step {
                match content {
                    Some(content) => files = files.with(HISTORY_PATHS[path], &contents[content]),
                    None => drop(files.0.remove(HISTORY_PATHS[path])),
                }
            }
            let state = loaded.state().clone();
            let (next, touched) = Loaded::update(&loaded, &files.changes_from(&before), &revision(), "", &files).unwrap();
            loaded = next;
            prop_assert_eq!(facts(&loaded), facts(&files.load()));
            for (name, model) in state.models.iter().filter(|(n, _)| !touched.contains(*n)) {
                prop_assert_eq!(Some(model), loaded.state().models.get(name), "an untouched model is as it was");
            }
        }
    }

    #[test]
    fn any_text_gives_diagnostics_and_no_panic(text in "\\PC{0,200}") {
        let _ = diagnostics(&base().with("models/fraud/model.toml", &text));
    }

    #[test]
    fn any_mangled_spec_gives_diagnostics_and_no_panic(at in any::<prop::sample::Index>(), with in "[\\[\\]{}=\"'.\\n0-9a-z]{0,6}") {
        let at = at.index(MODEL.len());
        let mangled = format!("{}{with}{}", &MODEL[..at], &MODEL[at..]);
        let _ = diagnostics(&base().with("models/fraud/model.toml", &mangled));
    }
}
