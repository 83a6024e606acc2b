//! A model: its graph, checked and put in order once, then run over tensors.

use super::{
    ops::{self, Op},
    tensor::{Data, Kind, MOST_HELD, MOST_MADE, Tensor},
    wire::{self, PortProto},
};
use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

/// How long a run may take; what a node began is not cut off.
const LONGEST: Duration = Duration::from_secs(60);
/// Nodes between two looks at the clock, which takes as long as a small node.
const CLOCK_EVERY: usize = 16;
/// Values of a sample, at most.
const LARGEST_SAMPLE: usize = 1 << 20;

/// An input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub name: String,
    pub kind: Kind,
    /// `None` where a dimension is free.
    pub shape: Vec<Option<usize>>,
    /// For what ends in a `ZipMap`: the class that each column stands for, as text.
    pub classes: Option<Vec<String>>,
}

/// A model that can be run; shared by threads.
pub struct Model {
    pub producer: String,
    pub description: String,
    pub properties: BTreeMap<String, String>,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    nodes: Vec<Node>,
    /// In the first slots; the inputs are in those after them.
    constants: Vec<Tensor>,
    slots: usize,
    /// Slot of each output.
    results: Vec<usize>,
}

struct Node {
    label: String,
    op: Op,
    inputs: Vec<Option<usize>>,
    outputs: Vec<Option<usize>>,
    /// Slots that nothing asks for after this node.
    over: Vec<usize>,
}

/// Names of values, each with its slot.
#[derive(Default)]
struct Slots(HashMap<String, usize>);

impl Slots {
    fn add(&mut self, name: &str) -> Result<usize, String> {
        let slot = self.0.len();
        match self.0.insert(name.to_owned(), slot) {
            None => Ok(slot),
            Some(_) => Err(format!("`{name}` is made twice")),
        }
    }
}

impl Model {
    /// Reads a model; the error says what of it cannot be served.
    pub fn load(bytes: &[u8]) -> Result<Self, String> {
        let proto = wire::read(bytes)?;
        let mut slots = Slots::default();
        let mut constants = Vec::with_capacity(proto.constants.len());
        for (name, value) in proto.constants {
            slots.add(&name)?;
            constants.push(value);
        }
        // Old writers list constants among the inputs, too.
        let inputs = proto.inputs.into_iter().filter(|i| !slots.0.contains_key(&i.name)).collect::<Vec<_>>();
        let inputs: Vec<Port> = inputs.into_iter().map(input).collect::<Result<_, _>>()?;
        for input in &inputs {
            slots.add(&input.name)?;
        }
        let mut nodes = Vec::with_capacity(proto.nodes.len());
        let mut classes = HashMap::new();
        for node in &proto.nodes {
            let label = match node.name.as_str() {
                "" => node.operator.clone(),
                name => format!("{} `{name}`", node.operator),
            };
            let told = |e: String| format!("{label}: {e}");
            let built = ops::build(node, proto.opset).map_err(told)?;
            let find = |name: &String| match (name.as_str(), slots.0.get(name)) {
                ("", _) => Ok(None),
                (_, Some(slot)) => Ok(Some(*slot)),
                (_, None) => Err(told(format!("input `{name}` is made by no node before it"))),
            };
            let inputs = node.inputs.iter().map(find).collect::<Result<_, _>>()?;
            if let (Some(labels), Some(output)) = (built.classes, node.outputs.first()) {
                classes.insert(output.clone(), labels);
            }
            let mut outputs = Vec::with_capacity(node.outputs.len());
            for output in &node.outputs {
                outputs.push(if output.is_empty() { None } else { Some(slots.add(output).map_err(told)?) });
            }
            nodes.push(Node { label, op: built.op, inputs, outputs, over: vec![] });
        }
        let result = |port: &PortProto| {
            slots.0.get(&port.name).copied().ok_or_else(|| format!("output `{}` is made by no node", port.name))
        };
        let results: Vec<usize> = proto.outputs.iter().map(result).collect::<Result<_, _>>()?;
        release(&mut nodes, &results, constants.len(), slots.0.len())?;
        let outputs: Vec<Port> = proto
            .outputs
            .into_iter()
            .map(|port| {
                let classes = classes.remove(&port.name);
                let (kind, shape) = port.tensor.unwrap_or_else(|| (1, vec![None, classes.as_ref().map(Vec::len)]));
                Port { name: port.name, kind: Kind::of(kind).unwrap_or(Kind::F32), shape, classes }
            })
            .collect();
        if inputs.is_empty() || outputs.is_empty() {
            return Err("the model has no inputs or no outputs".into());
        }
        Ok(Self {
            producer: proto.producer,
            description: proto.description,
            properties: proto.properties.into_iter().collect(),
            inputs,
            outputs,
            nodes,
            constants,
            slots: slots.0.len(),
            results,
        })
    }

    /// Runs the graph; inputs in the model's order, of its types. The error names the node that could not go on.
    pub fn run(&self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, String> {
        let began = (self.nodes.len() >= CLOCK_EVERY).then(Instant::now);
        let mut held: usize = inputs.iter().map(|t| t.data.bytes()).sum();
        let mut made: Vec<Option<Tensor>> = std::iter::repeat_with(|| None).take(self.slots).collect();
        for (slot, input) in made.iter_mut().skip(self.constants.len()).zip(inputs) {
            *slot = Some(input);
        }
        for (i, node) in self.nodes.iter().enumerate() {
            if i % CLOCK_EVERY == CLOCK_EVERY - 1 && began.is_some_and(|b| b.elapsed() > LONGEST) {
                return Err(format!("{}: the run takes longer than {} s", node.label, LONGEST.as_secs()));
            }
            let found: Vec<Option<&Tensor>> = node.inputs.iter().map(|slot| self.value(&made, (*slot)?)).collect();
            let outputs = (node.op)(&found).map_err(|e| format!("{}: {e}", node.label))?;
            if outputs.len() < node.outputs.iter().flatten().count() {
                return Err(format!("{}: it makes {} values, not {}", node.label, outputs.len(), node.outputs.len()));
            }
            for (slot, output) in node.outputs.iter().zip(outputs) {
                if let Some(slot) = slot {
                    held += output.data.bytes();
                    made[*slot] = Some(output);
                }
            }
            if held > MOST_HELD {
                return Err(format!("{}: the values of the run take more than {} MiB", node.label, MOST_HELD >> 20));
            }
            for slot in &node.over {
                held -= made[*slot].take().map_or(0, |t| t.data.bytes());
            }
        }
        let take = |slot: &usize| {
            let value = self.constants.get(*slot).cloned().or_else(|| made[*slot].take());
            value.ok_or_else(|| "an output was not made".to_owned())
        };
        let results: Vec<Tensor> = self.results.iter().map(take).collect::<Result<_, _>>()?;
        within(&results)?;
        Ok(results)
    }

    fn value<'a>(&'a self, made: &'a [Option<Tensor>], slot: usize) -> Option<&'a Tensor> {
        self.constants.get(slot).or_else(|| made[slot].as_ref())
    }

    /// Whether every input and output has the rows of a request as its first dimension.
    pub fn has_rows(&self) -> bool {
        let free = |port: &Port| port.shape.first() == Some(&None);
        self.inputs.iter().all(free) && self.outputs.iter().all(|o| free(o) || o.shape.is_empty())
    }

    /// Inputs of so many rows, made of a seed; `None` where another dimension is free.
    pub fn sample(&self, rows: usize, seed: u64) -> Option<Vec<Tensor>> {
        let mut state = seed | 1;
        // Xorshift: the figures need only differ.
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let make = |port: &Port| {
            let mut shape = vec![rows];
            for dimension in port.shape.iter().skip(1) {
                shape.push((*dimension)?);
            }
            let n = super::tensor::count(&shape).filter(|n| *n <= LARGEST_SAMPLE)?;
            let float = |n: u64| (n % 20_001) as f32 / 5_000.0 - 2.0;
            let data = match port.kind {
                Kind::F32 => Data::F32((0..n).map(|_| float(next())).collect()),
                Kind::F64 => Data::F64((0..n).map(|_| f64::from(float(next()))).collect()),
                Kind::I64 => Data::I64((0..n).map(|_| (next() % 3) as i64).collect()),
                Kind::I32 => Data::I32((0..n).map(|_| (next() % 3) as i32).collect()),
                Kind::Bool => Data::Bool((0..n).map(|_| next() % 2 == 0).collect()),
                Kind::Text => Data::Text((0..n).map(|_| (next() % 3).to_string()).collect()),
            };
            Some(Tensor::new(shape, data))
        };
        self.inputs.iter().map(make).collect()
    }
}

/// Notes at each node what is over with it; no value is given out twice.
fn release(nodes: &mut [Node], results: &[usize], constants: usize, slots: usize) -> Result<(), String> {
    // Nothing of the constants and the results is ever over.
    let mut done = vec![false; slots];
    done.iter_mut().take(constants).for_each(|d| *d = true);
    let mut seen = vec![false; slots];
    for slot in results {
        if std::mem::replace(&mut seen[*slot], true) {
            return Err("two outputs of the model are the same value".into());
        }
        done[*slot] = true;
    }
    for node in nodes.iter_mut().rev() {
        for slot in node.inputs.iter().chain(&node.outputs).flatten() {
            if !std::mem::replace(&mut done[*slot], true) {
                node.over.push(*slot);
            }
        }
    }
    Ok(())
}

/// Whether an answer is small enough to be written: as text it takes some times as much.
pub fn within(results: &[Tensor]) -> Result<(), String> {
    let many = results.iter().map(|t| t.data.len()).sum::<usize>() > MOST_MADE;
    let large = results.iter().map(|t| t.data.bytes()).sum::<usize>() > MOST_HELD / 2;
    if many || large { Err("the answer is too large".into()) } else { Ok(()) }
}

fn input(port: PortProto) -> Result<Port, String> {
    let (number, shape) = port.tensor.ok_or_else(|| format!("input `{}` is no tensor", port.name))?;
    let kind = Kind::of(number).ok_or_else(|| {
        format!(
            "input `{}` is {}: FP32, FP64, INT32, INT64, BOOL and BYTES are served",
            port.name,
            wire::kind_name(number)
        )
    })?;
    Ok(Port { name: port.name, kind, shape, classes: None })
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("inputs", &self.inputs).field("outputs", &self.outputs).finish_non_exhaustive()
    }
}
