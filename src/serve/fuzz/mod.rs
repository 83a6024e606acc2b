//! Files that no exporter writes, and requests to what is in them: each has an answer or an error of the protocol, soon, and in little
//! memory. `PROPTEST_CASES` makes it a longer campaign.

mod encode;
mod graphs;
mod meter;

use super::{
    Called,
    engine::{self, Batching, Engine},
    invocations,
    onnx::{
        Model, Port,
        tensor::{Kind, MOST_HELD, Tensor},
    },
    v2,
};
use encode::{Constant, Graph, Value, Values};
use graphs::{Change, node, port, whole};
use meter::metered;
use proptest::prelude::*;
use serde_json::json;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Bytes that reading a file may take beyond some times its size, and that a run may take beyond some times what it may hold.
const LITTLE: usize = 256 << 10;
/// A byte of a file says at most that there is an attribute, or another of the larger things that are kept.
const TIMES: usize = 256;
const SOON: Duration = Duration::from_secs(10);

/// Reads a file, and if that goes asks it in all ways; whether it was read, and whether it answered.
fn survive(bytes: &[u8]) -> (bool, bool) {
    let began = Instant::now();
    let (model, most) = metered(|| Model::load(bytes));
    assert!(most <= TIMES * bytes.len() + LITTLE, "{most} bytes to read {}", bytes.len());
    let model = match model {
        Ok(model) => Arc::new(model),
        Err(e) => {
            assert!(!e.is_empty());
            return (false, false);
        }
    };
    let called = Called { name: "m".into(), version: "v1".into() };
    assert!(v2::metadata(&called, &model).is_object());
    let (answered, most) = metered(|| asked(&model, &called));
    let bound = 8 * MOST_HELD + TIMES * bytes.len() + LITTLE;
    assert!(most <= bound, "{most} bytes to run {} bytes", bytes.len());
    assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
    (true, answered)
}

fn asked(model: &Arc<Model>, called: &Called) -> bool {
    let looked = engine::look(model, 2, Duration::from_millis(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut answered = false;
    // As it is found to be, and as it may turn out to be with other rows than those that it was looked at with.
    for batching in [looked, Batching { apart: model.has_rows(), pays: true, ..looked }] {
        let engine = Engine::new(model.clone(), batching);
        let ask = |inputs: Vec<Tensor>| {
            // Beside another of the same, so that they are put together.
            let two = async { tokio::join!(engine.infer(inputs.clone()), engine.infer(inputs)) };
            let (result, _) = tokio::task::LocalSet::new().block_on(&runtime, two);
            assert!(!result.as_ref().is_err_and(|e| e.contains("broke off")), "a panic");
            result
        };
        for rows in [1, 3, 0] {
            if let Ok(mut call) = v2::read(model, inference(model, rows).as_bytes())
                && let Ok(results) = ask(std::mem::take(&mut call.inputs))
            {
                let reply: serde_json::Value = serde_json::from_slice(&call.reply(called, model, &results)).unwrap();
                for output in reply["outputs"].as_array().unwrap() {
                    let shape = output["shape"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap());
                    assert_eq!(output["data"].as_array().unwrap().len() as u64, shape.product::<u64>());
                }
                answered = true;
            }
            for body in invocation(model, rows) {
                if let Ok(mut call) = invocations::read(model, body.as_bytes())
                    && let Ok(results) = ask(std::mem::take(&mut call.inputs))
                    && let Ok(reply) = call.reply(model, &results)
                {
                    let reply: serde_json::Value = serde_json::from_slice(&reply).unwrap();
                    assert!(reply.get("predictions").is_some());
                }
            }
        }
    }
    answered
}

/// What goes in, as far as it is small.
fn tensor(port: &Port, rows: usize) -> Option<(Vec<usize>, Vec<serde_json::Value>)> {
    const SMALL: usize = 2_000;
    let shape: Vec<usize> = port.shape.iter().map(|d| d.unwrap_or(rows)).collect();
    let n = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d).filter(|n| *n <= SMALL))?;
    let value = |i: usize| match port.kind {
        Kind::F32 | Kind::F64 if i % 7 == 6 => serde_json::Value::Null,
        Kind::F32 | Kind::F64 => json!(i as f64 / 2.0 - 1.0),
        Kind::I64 | Kind::I32 => json!((i as i64 % 5) - 1),
        Kind::Bool => json!(i.is_multiple_of(2)),
        Kind::Text => json!(["red", "1", ""][i % 3]),
    };
    Some((shape, (0..n).map(value).collect()))
}

fn inference(model: &Model, rows: usize) -> String {
    let input = |port: &Port| {
        let (shape, data) = tensor(port, rows).unwrap_or_default();
        json!({ "name": port.name, "shape": shape, "datatype": port.kind.name(), "data": data })
    };
    json!({ "inputs": model.inputs.iter().map(input).collect::<Vec<_>>() }).to_string()
}

fn invocation(model: &Model, rows: usize) -> [String; 2] {
    let flat = |port: &Port| tensor(port, rows).unwrap_or_default().1;
    let columns: Vec<&String> = model.inputs.iter().map(|p| &p.name).collect();
    let row = |i: usize| match model.inputs.as_slice() {
        [port] => flat(port).into_iter().skip(i).take(3).collect(),
        all => all.iter().map(|p| flat(p).into_iter().nth(i).unwrap_or_default()).collect::<Vec<_>>(),
    };
    let data: Vec<Vec<_>> = (0..rows).map(row).collect();
    let names = if model.inputs.len() == 1 { json!(["a", "b", "c"]) } else { json!(columns) };
    let named: serde_json::Map<String, serde_json::Value> =
        model.inputs.iter().map(|p| (p.name.clone(), flat(p).into())).collect();
    [json!({ "dataframe_split": { "columns": names, "data": data } }), json!({ "inputs": named })]
        .map(|b| b.to_string())
}

/// Files of real exporters, and of graphs made here.
fn seeds() -> Vec<Vec<u8>> {
    let real: [&[u8]; 3] = [
        include_bytes!("../../../tests/fixtures/onnx/forest.onnx"),
        include_bytes!("../../../tests/fixtures/onnx/columns.onnx"),
        include_bytes!("../../../tests/fixtures/onnx/centred.onnx"),
    ];
    let made = graphs::good().into_iter().map(|g| g.encode());
    made.chain(real.map(<[u8]>::to_vec)).collect()
}

/// Flips, cuts, inserts, repeats and splices.
fn damage(bytes: &mut Vec<u8>, other: &[u8], (what, at, to): (u8, u32, u16)) {
    let n = bytes.len().max(1);
    let place = at as usize % n;
    let end = (place + to as usize % 64).min(bytes.len());
    match what % 6 {
        0 => bytes.iter_mut().skip(place).take(1).for_each(|b| *b ^= (to % 255 + 1) as u8),
        1 => drop(bytes.drain(place.min(end)..end)),
        2 => drop(bytes.splice(place.min(end)..place.min(end), vec![to as u8; to as usize >> 8])),
        3 => {
            let part = bytes[place.min(end)..end].to_vec();
            bytes.splice(place.min(end)..place.min(end), part);
        }
        4 => {
            let from = to as usize % other.len();
            let part = other[from..(from + 64).min(other.len())].to_vec();
            bytes.splice(place.min(end)..end, part);
        }
        _ => bytes.truncate(place),
    }
}

#[test]
fn the_graphs_that_files_are_made_of_are_answered() {
    for (i, seed) in seeds().iter().enumerate() {
        assert_eq!(survive(seed), (true, true), "seed {i}: {:?}", Model::load(seed).map(|_| ()));
    }
}

proptest! {
    #[test]
    fn a_file_of_damaged_bytes_is_refused_or_served(
        seed in any::<u8>(), other in any::<u8>(), damages in prop::collection::vec(any::<(u8, u32, u16)>(), 1..8)
    ) {
        let seeds = seeds();
        let mut bytes = seeds[seed as usize % seeds.len()].clone();
        for one in damages {
            damage(&mut bytes, &seeds[other as usize % seeds.len()], one);
        }
        survive(&bytes);
    }

    #[test]
    fn a_graph_that_makes_no_sense_is_refused_or_served(
        seed in any::<u8>(), changes in prop::collection::vec(any::<Change>(), 1..10)
    ) {
        let all = graphs::good();
        let mut graph = all[seed as usize % all.len()].clone();
        changes.into_iter().for_each(|change| graph.change(change));
        survive(&graph.encode());
    }
}

/// A graph over `X` of three columns.
fn over(nodes: Vec<encode::Node>, constants: Vec<Constant>) -> Graph {
    let last = nodes.last().and_then(|n| n.outputs.first()).cloned().unwrap_or_default();
    Graph {
        opset: 13,
        nodes,
        constants,
        inputs: vec![port("X", 1, &[-1, 3])],
        outputs: vec![port(&last, 1, &[-1, -1])],
    }
}

fn long(name: &str, text: usize, n: usize) -> Constant {
    let values = Values::Texts(vec!["t".repeat(text); n]);
    Constant { name: name.into(), dims: vec![n as i64], kind: 8, values }
}

/// What was found, and what is said of it: once it took all memory, or time, or the process.
#[test]
fn what_a_small_file_asks_for_is_bounded() {
    let ones = |n: usize| whole("s", &vec![1; n]);
    let zeros = |n: usize| ("axes", Value::Ints(vec![0; n]));
    let mut doubled = vec![node("Concat", &["X", "X"], "0", vec![("axis", Value::Int(0))])];
    doubled.extend((1..60).map(|i| {
        let before = (i - 1).to_string();
        node("Concat", &[&before, &before], &i.to_string(), vec![("axis", Value::Int(0))])
    }));
    let kept: Vec<_> = (0..600).map(|i| node("ConstantOfShape", &["s"], &i.to_string(), vec![])).collect();
    let mut all: Vec<String> = kept.iter().flat_map(|n| n.outputs.clone()).collect();
    let mut kept = kept;
    all.insert(0, "X".into());
    kept.push(node("Sum", &all.iter().map(String::as_str).collect::<Vec<_>>(), "Y", vec![]));
    let leaf = |targets| {
        vec![
            ("nodes_treeids", Value::Ints(vec![0])),
            ("nodes_nodeids", Value::Ints(vec![0])),
            ("nodes_featureids", Value::Ints(vec![0])),
            ("nodes_values", Value::Floats(vec![0.0])),
            ("nodes_modes", Value::Texts(vec!["LEAF".into()])),
            ("nodes_truenodeids", Value::Ints(vec![0])),
            ("nodes_falsenodeids", Value::Ints(vec![0])),
            ("n_targets", Value::Int(targets)),
        ]
    };
    let many = |n: usize| vec![("coefficients", Value::Floats(vec![1.0; n])), ("targets", Value::Int(n as i64))];
    let with = |operator: &str, inputs: &[&str], attributes| vec![node(operator, inputs, "Y", attributes)];
    for (name, graph, said) in [
        ("doubled and doubled", over(doubled, vec![]), "is too large"),
        ("all at once", over(kept, vec![whole("s", &[16_000])]), "the values of the run take more than"),
        ("many dimensions", over(with("Reshape", &["X", "s"], vec![]), vec![ones(100_000)]), "100000 dimensions"),
        ("many axes", over(with("Unsqueeze", &["X"], vec![zeros(100_000)]), vec![]), "100002 dimensions"),
        (
            "many slices",
            over(
                with(
                    "Slice",
                    &["X"],
                    vec![("starts", Value::Ints(vec![0; 9999])), ("ends", Value::Ints(vec![9; 9999]))],
                ),
                vec![],
            ),
            "9999 dimensions",
        ),
        ("many targets", over(with("TreeEnsembleRegressor", &["X"], leaf(i64::MAX)), vec![]), "targets are too many"),
        (
            "rows of many targets",
            over(
                [with("ConstantOfShape", &["s"], vec![]), vec![node("LinearRegressor", &["Y"], "Z", many(9_999))]]
                    .concat(),
                vec![whole("s", &[9_999, 1])],
            ),
            "steps are too many",
        ),
        (
            "rows of many figures",
            over(
                [
                    with("ConstantOfShape", &["s"], vec![]),
                    vec![node("TreeEnsembleRegressor", &["Y"], "Z", leaf(60_000))],
                ]
                .concat(),
                vec![whole("s", &[9_999, 1])],
            ),
            "is too large",
        ),
        (
            "a large product",
            over(
                [with("ConstantOfShape", &["s"], vec![]), vec![node("MatMul", &["Y", "Y"], "Z", vec![])]].concat(),
                vec![whole("s", &[120, 120])],
            ),
            "steps are too many",
        ),
        (
            "long texts",
            over(
                with("ConstantOfShape", &["s"], vec![("value", Value::Tensor(long("", 50_000, 1)))]),
                vec![whole("s", &[9_999])],
            ),
            "long texts are too large",
        ),
        (
            "the same value again and again",
            {
                let mut graph = over(with("Identity", &["X"], vec![]), vec![]);
                graph.outputs = vec![port("Y", 1, &[-1, 3]); 1_000];
                graph
            },
            "two outputs of the model are the same value",
        ),
        (
            "a circle",
            over(vec![node("Neg", &["b"], "a", vec![]), node("Neg", &["a"], "b", vec![])], vec![]),
            "made by no node before it",
        ),
        (
            "graphs in graphs",
            over(with("Loop", &["X"], vec![("body", Value::Nested(3_000))]), vec![]),
            "a graph of their own",
        ),
    ] {
        let bytes = graph.encode();
        survive(&bytes);
        let ran = Model::load(&bytes).and_then(|m| m.run(m.sample(2, 1).unwrap()));
        let e = ran.map(|_| ()).expect_err(name);
        assert!(e.contains(said), "{name}: {e}");
    }
    // What is declared large is not made for a look at it.
    let wide = Graph { inputs: vec![port("X", 8, &[-1, 1 << 27])], ..over(with("Identity", &["X"], vec![]), vec![]) };
    assert_eq!(Model::load(&wide.encode()).unwrap().sample(1, 1), None);
    survive(&wide.encode());
}

#[test]
fn rows_that_a_sample_did_not_show_are_no_answers_of_others() {
    // Alike in up to 16 rows, by which it is looked at; of more it answers 16.
    let slice = vec![("starts", Value::Ints(vec![0])), ("ends", Value::Ints(vec![16]))];
    let bytes = over(vec![node("Slice", &["X"], "Y", slice)], vec![]).encode();
    let model = Arc::new(Model::load(&bytes).unwrap());
    assert!(engine::look(&model, 64, Duration::from_millis(1)).apart);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let batching = Batching { max: 64, wait: Duration::from_millis(1), apart: true, pays: true };
    let engine = Engine::new(model.clone(), batching);
    let sample = |seed| model.sample(10, seed).unwrap();
    let both = async { tokio::join!(engine.infer(sample(1)), engine.infer(sample(2))) };
    let (a, b) = tokio::task::LocalSet::new().block_on(&runtime, both);
    assert_eq!((a.unwrap(), b.unwrap()), (sample(1), sample(2)));
    let pieces = Engine::new(model.clone(), Batching { max: 20, ..batching });
    let e = tokio::task::LocalSet::new().block_on(&runtime, pieces.infer(model.sample(50, 1).unwrap()));
    assert_eq!(e, Err("the model does not answer each row".into()));
}

#[test]
fn an_output_is_asked_for_once() {
    let model = Model::load(&seeds()[0]).unwrap();
    let mut body: serde_json::Value = serde_json::from_str(&inference(&model, 1)).unwrap();
    body["outputs"] = json!([{ "name": "Y" }, { "name": "Y" }]);
    assert_eq!(v2::read(&model, body.to_string().as_bytes()).unwrap_err(), "output `Y` is asked for twice");
}
