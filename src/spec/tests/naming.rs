//! Properties of the fingerprint, from TOML to the name: how a spec is written changes nothing, anything that trains changes it.

use super::*;
use proptest::prelude::Strategy;

/// All that decides what a training makes.
#[derive(Debug, Clone, PartialEq)]
struct Asked {
    params: BTreeMap<String, String>,
    argument: String,
    input: String,
    code: String,
    requirements: Option<String>,
    data: String,
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i32>().prop_map(|n| n.to_string()),
        any::<bool>().prop_map(|b| b.to_string()),
        (-1000..1000).prop_map(|n| format!("{n}.5")),
        "[a-z =#.]{0,8}".prop_map(|s| format!("{s:?}")),
        proptest::collection::vec(0..9, 0..4).prop_map(|all| format!("{all:?}")),
    ]
}

fn asked() -> impl Strategy<Value = Asked> {
    let params = proptest::collection::btree_map("[a-z][a-z_]{0,5}", value(), 0..5);
    (params, "[a-z-]{1,6}", "[a-z]{1,6}", "[a-z\n]{0,9}", proptest::option::of("[a-z]{1,6}"), "[0-9]{1,4}").prop_map(
        |(params, argument, input, code, requirements, data)| Asked {
            params,
            argument,
            input,
            code,
            requirements,
            data,
        },
    )
}

/// One field of `a` as `b` has it.
fn edited(a: &Asked, b: &Asked, field: usize) -> Asked {
    let mut out = a.clone();
    match field {
        0 => out.params = b.params.clone(),
        1 => out.argument = b.argument.clone(),
        2 => out.input = b.input.clone(),
        3 => out.code = b.code.clone(),
        4 => out.requirements = b.requirements.clone(),
        5 => out.data = b.data.clone(),
        // One value alone, the smallest edit there is.
        _ => {
            let new = b.params.values().next().cloned().unwrap_or_else(|| "1".into());
            out.params.entry("depth".into()).and_modify(|v| v.clone_from(&new)).or_insert(new);
        }
    }
    out
}

/// In an order that the seed decides.
fn shuffled(seed: u64, mut lines: Vec<String>) -> Vec<String> {
    lines.sort_by_key(|line| Digest::of(format!("{seed} {line}").as_bytes()));
    lines
}

/// The model's file: tables, keys of tables and keys of parameters in an order, and in a form, that the seed decides.
fn written(asked: &Asked, seed: u64) -> String {
    let table = |head: &str, keys: Vec<String>| format!("{head}\n{}\n", shuffled(seed, keys).join("\n"));
    let params = asked.params.iter().map(|(k, v)| format!("{k} = {v}")).collect();
    let mut train = vec![format!("run = [\"python\", \"train.py\", \"{}\"]", asked.argument), "retries = 1".into()];
    train.extend(asked.requirements.iter().map(|_| "python = \"requirements.txt\"".into()));
    let mut tables = vec![
        table("[model]", vec!["name = \"fraud\"".into(), "owner = \"risk@example.com\"".into()]),
        table("[data]", vec![format!("{} = \"transactions\"", asked.input)]),
        table("[serve]", vec!["run = [\"python\", \"serve.py\"]".into(), "replicas = 2".into()]),
        table("[[deploy]]", vec!["environment = \"production\"".into()]),
    ];
    if seed.is_multiple_of(2) {
        train.push(format!("params = {{ {} }}", shuffled(seed, params).join(", ")));
    } else {
        tables.push(table("[train.params]", params));
    }
    tables.push(table("[train]", train));
    format!("schema = \"trimtab/v1\"\n{}", shuffled(seed, tables).concat())
}

/// The name of what is asked for.
fn fingerprint(asked: &Asked, seed: u64) -> Digest {
    let mut files =
        base().with("models/fraud/model.toml", &written(asked, seed)).with("models/fraud/train.py", &asked.code);
    if let Some(text) = &asked.requirements {
        files = files.with("models/fraud/requirements.txt", text);
    }
    let loaded = files.load();
    let state = loaded.state();
    let model = state.models.get("fraud").unwrap_or_else(|| panic!("{:?}\n{}", state.broken, written(asked, seed)));
    let input = Name::new(&asked.input).unwrap();
    crate::plan::fingerprint(model, &BTreeMap::from([(input, Digest::of(asked.data.as_bytes()))]))
}

proptest! {
    #[test]
    fn the_same_content_has_the_same_name_however_it_is_written(a in asked(), one: u64, other: u64) {
        prop_assert_eq!(fingerprint(&a, one), fingerprint(&a, other), "{}\n{}", written(&a, one), written(&a, other));
    }

    #[test]
    fn any_edit_that_trains_something_else_has_another_name(a in asked(), b in asked(), field in 0..7usize, one: u64, other: u64) {
        let edited = edited(&a, &b, field);
        prop_assert_eq!(a == edited, fingerprint(&a, one) == fingerprint(&edited, other), "{:?}", edited);
    }
}
