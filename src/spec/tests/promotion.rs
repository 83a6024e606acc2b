//! `soak`, `approve`, `freeze`, `[groups]` and `approvals/`.

use super::*;

const WEEKEND: &str = "{ start = \"0 16 * * FRI\", duration = \"64h\", zone = \"Europe/Berlin\", why = \"weekend\" }";

/// The model with staging before production and these lines at the end of the latter.
fn promoting(lines: &str) -> Files {
    let staging = "[[deploy]]\nenvironment = \"staging\"\n[[deploy]]\n";
    let spec = format!("{}after = \"staging\"\n{lines}\n", MODEL.replace("[[deploy]]\n", staging));
    let environment = "schema = \"trimtab/v1\"\n[environment]\nname = \"staging\"\n";
    base().with("environments/staging.toml", environment).with("models/fraud/model.toml", &spec)
}

fn settings(files: Files, lines: &str) -> Files {
    files.with("trimtab.toml", &format!("schema = \"trimtab/v1\"\n{lines}\n"))
}

const GROUPS: &str = "[groups]\nrisk-team = [\"ada@example.com\", \"lin@example.com\"]";

#[test]
fn every_word_of_a_promotion_is_read() {
    let lines = format!("soak = \"1h\"\napprove = [\"bob@example.com\", \"@risk-team\"]\nfreeze = [{WEEKEND}]");
    let loaded = settings(promoting(&lines), GROUPS).load();
    assert_eq!(loaded.state().diagnostics, []);
    let deploy = &loaded.state().models["fraud"].spec.deploy[1];
    assert_eq!(deploy.soak, Some(Millis(3_600_000)));
    assert_eq!(deploy.approve, ["bob@example.com", "@risk-team"]);
    let window = FreezeSpec {
        start: "0 16 * * FRI".into(),
        duration: Millis(64 * 3_600_000),
        zone: "Europe/Berlin".into(),
        why: Some("weekend".into()),
    };
    assert_eq!(deploy.freeze.as_slice(), std::slice::from_ref(&window));
    assert!(may_approve(&deploy.approve, &loaded.state().settings.groups, "lin@example.com"));

    let environment = format!("schema = \"trimtab/v1\"\n[environment]\nname = \"production\"\nfreeze = [{WEEKEND}]\n");
    let loaded = base().with("environments/production.toml", &environment).load();
    assert_eq!(loaded.state().diagnostics, []);
    assert_eq!(loaded.state().models["fraud"].environments[&Name::new("production").unwrap()].freeze, [window]);
}

#[test]
fn each_mistake_is_told_with_its_place() {
    let window = |from: &str, to: &str| format!("freeze = [{}]", WEEKEND.replace(from, to));
    let cases = [
        ("soak = 60".to_owned(), "write a number and a unit"),
        ("approve = [\"ada\"]".to_owned(), "`ada` is nobody who could approve"),
        ("approve = []".to_owned(), "nobody is named who may approve"),
        ("approve = [\"@Risk\"]".to_owned(), "`@Risk` is nobody who could approve"),
        ("approve = [\"@risk\"]".to_owned(), "there is no group `risk`"),
        (window("* * FRI", "* *"), "write minute, hour, day of the month"),
        (window("0 16 * * FRI", "0 0 30 2 *"), "this never comes"),
        (window("Berlin", "Berlun"), "write a name of the IANA time zone database"),
        (window("64h", "71d"), "at most 70d"),
        (window("64h", "8d"), "the window overlaps itself"),
        (window(", zone = \"Europe/Berlin\"", ""), "missing key `zone`"),
        (window("why", "reason"), "unknown key `reason`"),
    ];
    for (lines, said) in cases {
        let files = settings(promoting(&lines), GROUPS);
        let text = diagnostics(&files);
        assert!(text.contains(said), "{lines}: {text}");
        assert!(text.contains("models/fraud/model.toml:1"), "{text}");
        assert!(files.load().state().broken.contains_key("fraud"), "{lines}");
    }
    let first = base().with("models/fraud/model.toml", &format!("{MODEL}soak = \"1h\"\n"));
    assert!(diagnostics(&first).contains("`soak` needs `after`"));
    let text = diagnostics(&settings(promoting(""), "[groups]\nrisk = [\"ada\"]\n\"@x\" = []"));
    assert!(text.contains("`ada` is no address") && text.contains("bad key `@x`"), "{text}");
    assert!(text.contains("trimtab.toml:3"), "{text}");
}

#[test]
fn an_unknown_group_is_shown_where_it_stands() {
    let files = settings(promoting("approve = [\"bob@example.com\", \"@fraud-team\"]"), GROUPS);
    let text = diagnostics(&files);
    assert!(text.contains("there is no group `fraud-team`") && text.contains("groups of trimtab.toml are: risk-team"));
    assert!(text.contains("model.toml:16:31"), "{text}");
    // Who the members are cannot be said while the settings are broken: that alone is told.
    let text = diagnostics(&settings(promoting("approve = [\"@fraud-team\"]"), "[groups]\nx = 1"));
    assert!(!text.contains("there is no group") && text.contains("trimtab.toml:3"), "{text}");
}

#[test]
fn a_group_that_comes_goes_or_changes_is_followed_to_who_names_it() {
    let before = settings(promoting("approve = [\"@risk-team\"]"), "");
    let loaded = before.load();
    assert!(loaded.state().broken.contains_key("fraud"));
    let next = |files: &Files, last: &Loaded, was: &Files| {
        last.update(&files.changes_from(was), &revision(), "", files).unwrap()
    };
    let there = settings(before.clone(), GROUPS);
    let (second, touched) = next(&there, &loaded, &before);
    assert!(touched.contains("fraud") && second.state().models.contains_key("fraud"));
    let other = settings(there.clone(), "[groups]\nrisk-team = [\"bob@example.com\"]");
    assert!(next(&other, &second, &there).1.contains("fraud"));
    let elsewhere = settings(there.clone(), &format!("{GROUPS}\nothers = [\"bob@example.com\"]"));
    assert!(next(&elsewhere, &second, &there).1.is_empty());
}

fn approval() -> Approval {
    Approval {
        model: Name::new("fraud").unwrap(),
        environment: Name::new("production").unwrap(),
        fingerprint: Digest::of(b"content"),
        version: Some(VersionNumber(7)),
        comment: Some("checked the \"drift\" report".into()),
    }
}

#[test]
fn an_approval_is_found_by_what_it_approves_and_touches_its_model() {
    let a = approval();
    let path = crate::spec::promotion::approval_file("", &a.model, &a.environment, &a.fingerprint);
    let text = crate::spec::promotion::approval_text(&a, "Ada <ada@example.com>");
    let before = promoting("approve = [\"ada@example.com\"]");
    let files = before.clone().with(&path, &text);
    let (loaded, _) = before.load().update(&files.changes_from(&before), &revision(), "", &files).unwrap();
    assert_eq!(loaded.state().diagnostics, []);
    assert_eq!(loaded.approvals().touched().iter().map(Name::as_str).collect::<Vec<_>>(), ["fraud"]);
    let find = |loaded: &Loaded, environment: &str| {
        loaded.approvals().of("", &a.model, &Name::new(environment).unwrap(), &a.fingerprint).cloned()
    };
    assert_eq!(find(&loaded, "production").unwrap().path, path);
    assert_eq!(find(&loaded, "staging"), None);
    assert_eq!(crate::spec::promotion::approval(&path, text.as_bytes()).unwrap().0, a);

    // Taken back.
    let (last, _) = loaded.update(&before.changes_from(&files), &revision(), "", &before).unwrap();
    assert_eq!((find(&last, "production"), last.approvals().touched().len()), (None, 1));
    let (same, _) = last.update(&[], &revision(), "", &before).unwrap();
    assert!(same.approvals().touched().is_empty());
}

#[test]
fn an_approval_that_lies_elsewhere_or_says_too_little_counts_for_nothing() {
    let a = approval();
    let text = crate::spec::promotion::approval_text(&a, "Ada <ada@example.com>");
    let good = crate::spec::promotion::approval_file("", &a.model, &a.environment, &a.fingerprint);
    for (path, text, said) in [
        (good.replace("production", "staging"), text.clone(), "an approval of this content lies at"),
        ("approvals/v7.toml".to_owned(), text.clone(), "an approval of this content lies at"),
        (good.clone(), text.replace("fingerprint", "finger"), "missing key `fingerprint`"),
        (good.clone(), text.replace("b3:", "b3"), "is not a valid content digest"),
        (good.clone(), text.replace("\"v7\"", "\"seven\""), "write a version such as"),
    ] {
        let files = promoting("").with(&path, &text);
        let loaded = files.load();
        let shown = diagnostics(&files);
        assert!(shown.contains(said) && shown.contains("approvals/"), "{path}: {shown}");
        assert_eq!(loaded.approvals().of("", &a.model, &a.environment, &a.fingerprint), None, "{path}");
        assert!(loaded.state().models.contains_key("fraud"), "the model itself is fine");
    }
}
