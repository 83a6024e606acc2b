//! Writes ONNX files, good ones and others.

/// A value of an attribute.
#[derive(Debug, Clone)]
pub enum Value {
    Float(f32),
    Int(i64),
    Text(String),
    Tensor(Constant),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Texts(Vec<String>),
    /// Graphs in nodes in graphs, so many deep.
    Nested(usize),
}

#[derive(Debug, Clone)]
pub enum Values {
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Texts(Vec<String>),
    Raw(Vec<u8>),
}

/// A tensor; its dimensions and type need not go with what it holds.
#[derive(Debug, Clone)]
pub struct Constant {
    pub name: String,
    pub dims: Vec<i64>,
    pub kind: i64,
    pub values: Values,
}

#[derive(Debug, Clone, Default)]
pub struct Node {
    pub domain: String,
    pub operator: String,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub attributes: Vec<(String, Value)>,
}

/// -1 where a dimension is free.
#[derive(Debug, Clone)]
pub struct Port {
    pub name: String,
    pub kind: i64,
    pub dims: Vec<i64>,
}

#[derive(Debug, Clone, Default)]
pub struct Graph {
    pub opset: i64,
    pub nodes: Vec<Node>,
    pub constants: Vec<Constant>,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
}

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn number(out: &mut Vec<u8>, field: u64, n: i64) {
    varint(out, field << 3);
    varint(out, n as u64);
}

fn bytes(out: &mut Vec<u8>, field: u64, content: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

/// A message in a field.
fn within(out: &mut Vec<u8>, field: u64, f: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = vec![];
    f(&mut inner);
    bytes(out, field, &inner);
}

fn floats(out: &mut Vec<u8>, field: u64, all: &[f32]) {
    let packed: Vec<u8> = all.iter().flat_map(|x| x.to_le_bytes()).collect();
    bytes(out, field, &packed);
}

fn ints(out: &mut Vec<u8>, field: u64, all: &[i64]) {
    within(out, field, |out| all.iter().for_each(|n| varint(out, *n as u64)));
}

fn constant(out: &mut Vec<u8>, c: &Constant) {
    ints(out, 1, &c.dims);
    number(out, 2, c.kind);
    match &c.values {
        Values::Floats(v) => floats(out, 4, v),
        Values::Ints(v) => ints(out, 7, v),
        Values::Texts(v) => v.iter().for_each(|s| bytes(out, 6, s.as_bytes())),
        Values::Raw(v) => bytes(out, 9, v),
    }
    bytes(out, 8, c.name.as_bytes());
}

fn nested(depth: usize) -> Vec<u8> {
    let mut graph = vec![];
    for _ in 0..depth {
        let mut next = vec![];
        within(&mut next, 1, |node| within(node, 5, |attribute| bytes(attribute, 6, &graph)));
        graph = next;
    }
    graph
}

fn attribute(out: &mut Vec<u8>, name: &str, value: &Value) {
    bytes(out, 1, name.as_bytes());
    match value {
        Value::Float(x) => {
            varint(out, 2 << 3 | 5);
            out.extend_from_slice(&x.to_le_bytes());
        }
        Value::Int(n) => number(out, 3, *n),
        Value::Text(s) => bytes(out, 4, s.as_bytes()),
        Value::Tensor(t) => within(out, 5, |out| constant(out, t)),
        Value::Floats(v) => floats(out, 7, v),
        Value::Ints(v) => ints(out, 8, v),
        Value::Texts(v) => v.iter().for_each(|s| bytes(out, 9, s.as_bytes())),
        Value::Nested(depth) => bytes(out, 6, &nested(*depth)),
    }
}

fn port(out: &mut Vec<u8>, p: &Port) {
    bytes(out, 1, p.name.as_bytes());
    within(out, 2, |out| {
        within(out, 1, |out| {
            number(out, 1, p.kind);
            within(out, 2, |out| {
                for d in &p.dims {
                    within(out, 1, |out| if *d >= 0 { number(out, 1, *d) } else { bytes(out, 2, b"N") });
                }
            });
        });
    });
}

impl Graph {
    /// The file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![];
        bytes(&mut out, 2, b"trimtab");
        within(&mut out, 7, |out| {
            for node in &self.nodes {
                within(out, 1, |out| {
                    node.inputs.iter().for_each(|name| bytes(out, 1, name.as_bytes()));
                    node.outputs.iter().for_each(|name| bytes(out, 2, name.as_bytes()));
                    bytes(out, 4, node.operator.as_bytes());
                    node.attributes.iter().for_each(|(n, v)| within(out, 5, |out| attribute(out, n, v)));
                    bytes(out, 7, node.domain.as_bytes());
                });
            }
            self.constants.iter().for_each(|c| within(out, 5, |out| constant(out, c)));
            self.inputs.iter().for_each(|p| within(out, 11, |out| port(out, p)));
            self.outputs.iter().for_each(|p| within(out, 12, |out| port(out, p)));
        });
        within(&mut out, 8, |out| number(out, 2, self.opset));
        out
    }
}
