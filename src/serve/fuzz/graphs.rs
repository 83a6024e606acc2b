//! Graphs that can be served, and ways to spoil them.

use super::encode::{Constant, Graph, Node, Port, Value, Values};

pub fn node(operator: &str, inputs: &[&str], output: &str, attributes: Vec<(&str, Value)>) -> Node {
    let learned = operator.contains("Ensemble")
        || ["Scaler", "ZipMap", "LinearClassifier", "LinearRegressor", "OneHotEncoder", "LabelEncoder", "Imputer"]
            .contains(&operator)
        || ["Binarizer", "Normalizer", "FeatureVectorizer", "ArrayFeatureExtractor"].contains(&operator);
    Node {
        domain: if learned { "ai.onnx.ml" } else { "" }.into(),
        operator: operator.into(),
        inputs: inputs.iter().map(|i| (*i).to_owned()).collect(),
        outputs: output.split(' ').map(str::to_owned).collect(),
        attributes: attributes.into_iter().map(|(n, v)| (n.to_owned(), v)).collect(),
    }
}

pub fn port(name: &str, kind: i64, dims: &[i64]) -> Port {
    Port { name: name.into(), kind, dims: dims.to_vec() }
}

pub fn whole(name: &str, values: &[i64]) -> Constant {
    Constant { name: name.into(), dims: vec![values.len() as i64], kind: 7, values: Values::Ints(values.to_vec()) }
}

pub fn matrix(name: &str, rows: i64, columns: i64) -> Constant {
    let values = (0..rows * columns).map(|i| i as f32 / 3.0 - 1.0).collect();
    Constant { name: name.into(), dims: vec![rows, columns], kind: 1, values: Values::Floats(values) }
}

/// As most exporters write it.
fn raw(c: Constant) -> Constant {
    let Values::Floats(v) = &c.values else { return c };
    Constant { values: Values::Raw(v.iter().flat_map(|x| x.to_le_bytes()).collect()), ..c }
}

fn texts(all: &[&str]) -> Value {
    Value::Texts(all.iter().map(|s| (*s).to_owned()).collect())
}

fn graph(nodes: Vec<Node>, constants: Vec<Constant>, inputs: Vec<Port>, outputs: Vec<Port>) -> Graph {
    Graph { opset: 13, nodes, constants, inputs, outputs }
}

/// Two trees over three columns; `what` is `class` or `target`.
fn trees(what: &str) -> Vec<(&'static str, Value)> {
    let of = |a: &'static str, b: &'static str| if what == "class" { a } else { b };
    vec![
        ("nodes_treeids", Value::Ints(vec![0, 0, 0, 1, 1, 1])),
        ("nodes_nodeids", Value::Ints(vec![0, 1, 2, 0, 1, 2])),
        ("nodes_featureids", Value::Ints(vec![0, 0, 0, 2, 0, 0])),
        ("nodes_values", Value::Floats(vec![0.5, 0.0, 0.0, 1.5, 0.0, 0.0])),
        ("nodes_modes", texts(&["BRANCH_LEQ", "LEAF", "LEAF", "BRANCH_LT", "LEAF", "LEAF"])),
        ("nodes_truenodeids", Value::Ints(vec![1, 0, 0, 1, 0, 0])),
        ("nodes_falsenodeids", Value::Ints(vec![2, 0, 0, 2, 0, 0])),
        ("nodes_missing_value_tracks_true", Value::Ints(vec![1, 0, 0, 0, 0, 0])),
        (of("class_treeids", "target_treeids"), Value::Ints(vec![0, 0, 1, 1])),
        (of("class_nodeids", "target_nodeids"), Value::Ints(vec![1, 2, 1, 2])),
        (of("class_ids", "target_ids"), Value::Ints(vec![0, 1, 0, 1])),
        (of("class_weights", "target_weights"), Value::Floats(vec![0.25, 0.75, 0.5, 0.5])),
    ]
}

/// All of these load, and answer rows.
pub fn good() -> Vec<Graph> {
    let x = || vec![port("X", 1, &[-1, 3])];
    let y = |columns: i64| vec![port("Y", 1, &[-1, columns])];
    let network = vec![
        node("Gemm", &["X", "W", "b"], "h", vec![("alpha", Value::Float(0.5))]),
        node("Relu", &["h"], "r", vec![]),
        node("MatMul", &["r", "V"], "m", vec![]),
        node("Softmax", &["m"], "Y", vec![("axis", Value::Int(1))]),
    ];
    let mut classes = trees("class");
    classes.push(("classlabels_int64s", Value::Ints(vec![0, 1])));
    classes.push(("post_transform", Value::Text("NONE".into())));
    let forest = vec![
        node("Scaler", &["X"], "s", vec![("offset", Value::Floats(vec![0.1])), ("scale", Value::Floats(vec![2.0]))]),
        node("TreeEnsembleClassifier", &["s"], "label p", classes),
        node("ZipMap", &["p"], "Y", vec![("classlabels_int64s", Value::Ints(vec![0, 1]))]),
    ];
    let mut targets = trees("target");
    targets.push(("n_targets", Value::Int(2)));
    targets.push(("aggregate_function", Value::Text("MAX".into())));
    let linear = vec![
        ("coefficients", Value::Floats(vec![1.0, 2.0, 3.0, -1.0, -2.0, -3.0])),
        ("intercepts", Value::Floats(vec![0.5, 0.25])),
        ("classlabels_strings", texts(&["low", "high"])),
        ("post_transform", Value::Text("SOFTMAX".into())),
    ];
    let columns = vec![
        node("OneHotEncoder", &["colour"], "o", vec![("cats_strings", texts(&["red", "green"]))]),
        node("Reshape", &["o", "flat"], "hot", vec![]),
        node(
            "Imputer",
            &["size"],
            "i",
            vec![("imputed_value_floats", Value::Floats(vec![1.0])), ("replaced_value_float", Value::Float(f32::NAN))],
        ),
        node("FeatureVectorizer", &["i", "hot"], "all", vec![]),
        node("LinearClassifier", &["all"], "label p", linear),
        node("ZipMap", &["p"], "Y", vec![("classlabels_strings", texts(&["low", "high"]))]),
    ];
    let moves = vec![
        node("Shape", &["X"], "shape", vec![]),
        node("Transpose", &["X"], "t", vec![("perm", Value::Ints(vec![1, 0]))]),
        node("Transpose", &["t"], "u", vec![]),
        node("Unsqueeze", &["u", "one"], "v", vec![]),
        node("Squeeze", &["v", "one"], "w", vec![]),
        node("Slice", &["w", "zero", "two", "one"], "a", vec![]),
        node("Gather", &["w", "one"], "b", vec![("axis", Value::Int(1))]),
        node("Concat", &["a", "b"], "c", vec![("axis", Value::Int(1))]),
        node("Reshape", &["c", "shape"], "d", vec![]),
        node("Expand", &["d", "shape"], "e", vec![]),
        node("Greater", &["e", "X"], "g", vec![]),
        node("Where", &["g", "e", "X"], "f", vec![]),
        node("ArrayFeatureExtractor", &["f", "one"], "k", vec![]),
        node("Flatten", &["k"], "Y", vec![]),
    ];
    let figures = vec![
        node("ReduceSum", &["X"], "a", vec![("axes", Value::Ints(vec![1]))]),
        node("ReduceMean", &["X"], "b", vec![("axes", Value::Ints(vec![-1]))]),
        node("Max", &["a", "b", "X"], "c", vec![]),
        node("Normalizer", &["c"], "d", vec![("norm", Value::Text("L2".into()))]),
        node("Binarizer", &["d"], "e", vec![("threshold", Value::Float(0.5))]),
        node("ArgMax", &["e"], "f", vec![("axis", Value::Int(1))]),
        node("Cast", &["f"], "g", vec![("to", Value::Int(8))]),
        node(
            "LabelEncoder",
            &["g"],
            "h",
            vec![("keys_strings", texts(&["0", "1"])), ("values_floats", Value::Floats(vec![5.0, 6.0]))],
        ),
        node("Shape", &["h"], "s", vec![]),
        node("ConstantOfShape", &["s"], "z", vec![]),
        node("Add", &["h", "z"], "i", vec![]),
        node("Clip", &["i"], "Y", vec![("max", Value::Float(5.5))]),
    ];
    let regressor =
        vec![("coefficients", Value::Floats(vec![1.0, 2.0, 3.0])), ("intercepts", Value::Floats(vec![0.5]))];
    vec![
        graph(network, vec![matrix("W", 3, 4), matrix("b", 1, 4), raw(matrix("V", 4, 2))], x(), y(2)),
        graph(forest, vec![], x(), vec![port("label", 7, &[-1]), port("Y", 1, &[-1, 2])]),
        graph(vec![node("TreeEnsembleRegressor", &["X"], "Y", targets)], vec![], x(), y(2)),
        graph(
            columns,
            vec![whole("flat", &[-1, 2])],
            vec![port("size", 1, &[-1, 1]), port("colour", 8, &[-1, 1])],
            vec![port("label", 8, &[-1]), port("Y", 1, &[-1, 2])],
        ),
        graph(moves, vec![whole("zero", &[0]), whole("one", &[1]), whole("two", &[2])], x(), y(1)),
        graph(figures, vec![], x(), y(1)),
        graph(vec![node("LinearRegressor", &["X"], "Y", regressor)], vec![], x(), y(1)),
    ]
}

/// One change of a graph: what is changed, where and to what are taken from the numbers, whatever they are.
pub type Change = (u8, u16, u16);

const NUMBERS: [i64; 22] = [
    0,
    1,
    -1,
    2,
    3,
    -2,
    7,
    8,
    11,
    64,
    65,
    1000,
    9000,
    1 << 20,
    1 << 28,
    i32::MAX as i64,
    1 << 31,
    1 << 32,
    i64::MAX,
    i64::MIN,
    i64::MAX / 2,
    -1000,
];
const FIGURES: [f32; 8] = [0.0, -0.0, 1.5, -1.0, 1e38, f32::NAN, f32::INFINITY, f32::MIN_POSITIVE];
const OPERATORS: [&str; 76] = [
    "Identity",
    "Dropout",
    "Constant",
    "ConstantOfShape",
    "Cast",
    "Shape",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Concat",
    "Gather",
    "Slice",
    "Expand",
    "MatMul",
    "Gemm",
    "Softmax",
    "LogSoftmax",
    "ArgMax",
    "ArgMin",
    "ReduceSum",
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceLogSum",
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Pow",
    "Max",
    "Min",
    "Sum",
    "Neg",
    "Abs",
    "Sign",
    "Clip",
    "Less",
    "Greater",
    "LessOrEqual",
    "GreaterOrEqual",
    "Equal",
    "And",
    "Or",
    "Xor",
    "Not",
    "IsNaN",
    "Where",
    "Relu",
    "Sigmoid",
    "Tanh",
    "Exp",
    "Log",
    "Round",
    "Elu",
    "LeakyRelu",
    "Scaler",
    "Normalizer",
    "LinearRegressor",
    "LinearClassifier",
    "TreeEnsembleRegressor",
    "TreeEnsembleClassifier",
    "ArrayFeatureExtractor",
    "FeatureVectorizer",
    "Binarizer",
    "Imputer",
    "OneHotEncoder",
    "LabelEncoder",
    "ZipMap",
    "Loop",
    "Conv",
];
const ATTRIBUTES: [&str; 30] = [
    "axis",
    "axes",
    "to",
    "perm",
    "keepdims",
    "noop_with_empty_axes",
    "value",
    "value_ints",
    "value_strings",
    "value_floats",
    "starts",
    "ends",
    "alpha",
    "transA",
    "transB",
    "allowzero",
    "n_targets",
    "targets",
    "coefficients",
    "intercepts",
    "offset",
    "scale",
    "cats_int64s",
    "cats_strings",
    "keys_int64s",
    "values_strings",
    "classlabels_ints",
    "classlabels_strings",
    "imputed_value_floats",
    "select_last_index",
];

fn number(n: u16) -> i64 {
    NUMBERS[n as usize % NUMBERS.len()]
}

fn figure(n: u16) -> f32 {
    FIGURES[n as usize % FIGURES.len()]
}

/// An element of a list that may be empty.
fn one<T>(list: &mut [T], n: u16) -> Option<&mut T> {
    let len = list.len().max(1);
    list.get_mut(n as usize % len)
}

/// Longer, shorter or with another element.
fn spoil<T: Clone>(list: &mut Vec<T>, n: u16, new: T) {
    match n % 4 {
        0 => list.truncate(n as usize / 4 % (list.len() + 1)),
        1 => list.push(new),
        2 => *list = vec![new; n as usize / 4 % 300],
        _ => {
            if let Some(place) = one(list, n / 4) {
                *place = new;
            }
        }
    }
}

fn spoil_constant(c: &mut Constant, at: u16, to: u16) {
    match at % 4 {
        0 => spoil(&mut c.dims, at / 4, number(to)),
        1 => c.kind = i64::from(to % 18),
        _ => match &mut c.values {
            Values::Floats(v) => spoil(v, at / 4, figure(to)),
            Values::Ints(v) => spoil(v, at / 4, number(to)),
            Values::Texts(v) => spoil(v, at / 4, "x".repeat(to as usize % 3000)),
            Values::Raw(v) => spoil(v, at / 4, to as u8),
        },
    }
}

fn value(at: u16, to: u16) -> Value {
    match at % 8 {
        0 => Value::Float(figure(to)),
        1 => Value::Int(number(to)),
        2 => Value::Text("SOFTMAX".into()),
        3 => Value::Tensor(whole("", &[number(to)])),
        4 => Value::Floats(vec![figure(to); at as usize / 8 % 9]),
        5 => Value::Ints((0..at / 8 % 9).map(|i| number(to.wrapping_add(i))).collect()),
        6 => Value::Texts(vec!["t".repeat(to as usize % 2000); at as usize / 8 % 9]),
        _ => Value::Nested(at as usize % 3000),
    }
}

fn spoil_value(v: &mut Value, at: u16, to: u16) {
    match v {
        Value::Float(x) => *x = figure(to),
        Value::Int(n) => *n = number(to),
        Value::Tensor(t) => spoil_constant(t, at, to),
        Value::Floats(v) => spoil(v, at, figure(to)),
        Value::Ints(v) => spoil(v, at, number(to)),
        Value::Texts(v) => spoil(v, at, "LEAF".into()),
        Value::Text(_) | Value::Nested(_) => *v = value(at, to),
    }
}

impl Graph {
    /// The name of some value, or of none.
    fn name(&self, n: u16) -> String {
        let made = self.nodes.iter().flat_map(|n| &n.outputs);
        let given = self.inputs.iter().map(|p| &p.name).chain(self.constants.iter().map(|c| &c.name));
        let none = [String::new(), "nobody".into()];
        let all: Vec<&String> = given.chain(made).chain(&none).collect();
        all[n as usize % all.len()].clone()
    }

    pub fn change(&mut self, (what, at, to): Change) {
        let fresh = format!("new{}", self.nodes.len() + self.constants.len());
        match what % 14 {
            0..=2 => {
                let place = one(&mut self.nodes, at);
                if let Some((_, v)) = place.and_then(|n| one(&mut n.attributes, at / 7)) {
                    spoil_value(v, to, at ^ to);
                }
            }
            3 => {
                let name = ATTRIBUTES[to as usize % ATTRIBUTES.len()].to_owned();
                if let Some(node) = one(&mut self.nodes, at) {
                    node.attributes.push((name, value(at / 7, to / 7)));
                }
            }
            4 => {
                if let Some(c) = one(&mut self.constants, at) {
                    spoil_constant(c, to, at ^ to);
                }
            }
            5 | 6 => {
                let name = self.name(to);
                if let Some(node) = one(&mut self.nodes, at) {
                    spoil(&mut node.inputs, at / 7, name);
                }
            }
            7 => {
                if let Some(node) = one(&mut self.nodes, at) {
                    node.operator = OPERATORS[to as usize % OPERATORS.len()].into();
                }
            }
            8 => {
                let all = if at.is_multiple_of(2) { &mut self.inputs } else { &mut self.outputs };
                if let Some(port) = one(all, at / 2) {
                    match to % 3 {
                        0 => port.kind = i64::from(to / 3 % 18),
                        _ => spoil(&mut port.dims, to / 3, number(at / 4)),
                    }
                }
            }
            9 => {
                let name = self.name(to);
                self.outputs.push(port(&name, 1, &[-1]));
            }
            10 => {
                // What grows: each node makes twice of what the one before made.
                let mut name = self.name(at);
                for i in 0..to % 200 {
                    let next = format!("{fresh}.{i}");
                    self.nodes.push(node("Concat", &[&name, &name], &next, vec![("axis", Value::Int(0))]));
                    name = next;
                }
                self.outputs.push(port(&name, 1, &[-1, -1]));
            }
            11 => {
                let values: Vec<i64> = (0..at % 6).map(|i| number(to.wrapping_mul(i + 1))).collect();
                self.constants.push(whole(&fresh, &values));
            }
            12 => {
                let list = vec!["t".repeat(to as usize % 5000); 2];
                let values = Values::Texts(list);
                self.constants.push(Constant { name: fresh, dims: vec![2], kind: 8, values });
            }
            _ => {
                let operator = OPERATORS[at as usize % OPERATORS.len()];
                let inputs: Vec<String> = (0..4).map(|i| self.name(to.rotate_left(i * 4))).collect();
                let inputs: Vec<&str> = inputs.iter().take(1 + to as usize % 4).map(String::as_str).collect();
                let attribute = ATTRIBUTES[to as usize % ATTRIBUTES.len()];
                self.nodes.push(node(operator, &inputs, &fresh, vec![(attribute, value(at / 80, to / 30))]));
                self.outputs.push(port(&fresh, 1, &[-1, -1]));
            }
        }
    }
}
