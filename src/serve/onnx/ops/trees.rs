//! Ensembles of trees (ai.onnx.ml). Each tree's nodes lie in one array in the order in which rows pass them, 16 bytes each.
//!
//! What the standard leaves open (two classes with the scores of one, base values) is as onnxruntime has it
//! (`tree_ensemble_aggregator.h`), since that is what models are exported against.

use super::{
    Op, at,
    linear::{Labels, Transform, largest, rows, two},
    unary,
};
use crate::serve::onnx::{tensor::*, wire::NodeProto};
use std::collections::HashMap;

/// A decision, or with `feature == LEAF` a leaf, whose weights are `yes..no`.
#[derive(Debug, Clone, Copy)]
struct Node {
    value: f32,
    /// With [`MISSING`] when a row that lacks the feature goes to `yes`.
    feature: u32,
    yes: u32,
    no: u32,
}

/// Targets of a regressor, at most: each row has a figure for each, whether a leaf speaks for it or not.
const MOST_TARGETS: usize = 1 << 16;
const LEAF: u32 = u32::MAX;
const MISSING: u32 = 1 << 31;

/// How a node compares; mostly all do it in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Leq,
    Lt,
    Gte,
    Gt,
    Eq,
    Neq,
}

impl Mode {
    fn of(text: &str) -> Option<Self> {
        Some(match text {
            "BRANCH_LEQ" => Self::Leq,
            "BRANCH_LT" => Self::Lt,
            "BRANCH_GTE" => Self::Gte,
            "BRANCH_GT" => Self::Gt,
            "BRANCH_EQ" => Self::Eq,
            "BRANCH_NEQ" => Self::Neq,
            _ => return None,
        })
    }

    #[inline]
    fn holds(self, x: f32, value: f32) -> bool {
        match self {
            Self::Leq => x <= value,
            Self::Lt => x < value,
            Self::Gte => x >= value,
            Self::Gt => x > value,
            Self::Eq => x == value,
            Self::Neq => x != value,
        }
    }
}

/// Class or target, and what a leaf adds to it, by tree and node.
type Leaves = HashMap<(i64, i64), Vec<(u32, f32)>>;

struct Ensemble {
    nodes: Vec<Node>,
    /// Only where they differ.
    modes: Vec<Mode>,
    mode: Mode,
    roots: Vec<u32>,
    /// Nodes and weights that a row meets, at most.
    longest: usize,
    /// Class or target, and what a leaf adds to it.
    weights: Vec<(u32, f32)>,
    /// Features that a row needs.
    columns: usize,
    targets: usize,
}

/// The attributes of the nodes, all of the same length.
struct Columns<'a> {
    trees: &'a [i64],
    ids: &'a [i64],
    features: &'a [i64],
    values: &'a [f32],
    modes: &'a [String],
    yes: &'a [i64],
    no: &'a [i64],
    missing: &'a [i64],
}

impl Ensemble {
    /// `target`: what the attributes of the weights begin with (`class` or `target`).
    fn new(node: &NodeProto, target: &str, targets: usize) -> Result<Self, String> {
        if node.attributes.iter().any(|(name, _)| name.ends_with("_as_tensor")) {
            return Err("trees with 64-bit thresholds are not supported: convert the model with 32-bit inputs".into());
        }
        let all = Columns {
            trees: node.ints("nodes_treeids"),
            ids: node.ints("nodes_nodeids"),
            features: node.ints("nodes_featureids"),
            values: node.floats("nodes_values"),
            modes: node.texts("nodes_modes"),
            yes: node.ints("nodes_truenodeids"),
            no: node.ints("nodes_falsenodeids"),
            missing: node.ints("nodes_missing_value_tracks_true"),
        };
        let n = all.trees.len();
        let lengths =
            [all.ids.len(), all.features.len(), all.values.len(), all.modes.len(), all.yes.len(), all.no.len()];
        if n == 0 || lengths.iter().any(|l| *l != n) || !(all.missing.is_empty() || all.missing.len() == n) {
            return Err("its lists of nodes differ in length".into());
        }
        let leaves = leaves(node, target, targets)?;
        let places: HashMap<(i64, i64), usize> = (0..n).map(|i| ((all.trees[i], all.ids[i]), i)).collect();
        if places.len() != n {
            return Err("two nodes have the same id".into());
        }
        let mut out = Self {
            nodes: Vec::with_capacity(n),
            modes: Vec::with_capacity(n),
            mode: Mode::Leq,
            roots: vec![],
            longest: 0,
            weights: Vec::with_capacity(leaves.values().map(Vec::len).sum()),
            columns: 0,
            targets,
        };
        let child = |from: usize, id: i64| places.get(&(all.trees[from], id)).copied();
        let mut is_child = vec![false; n];
        for i in (0..n).filter(|i| all.modes[*i] != "LEAF") {
            for id in [all.yes[i], all.no[i]] {
                let place = child(i, id).ok_or_else(|| format!("a node leads to {id}, which is not there"))?;
                // Every node has one parent at most, so that no row goes round in a circle.
                if std::mem::replace(&mut is_child[place], true) {
                    return Err(format!("two nodes lead to {id}"));
                }
            }
        }
        for root in (0..n).filter(|i| !is_child[*i]) {
            out.roots.push(out.nodes.len() as u32);
            out.lay_out(root, &all, &child, &leaves)?;
        }
        if out.nodes.len() != n {
            return Err("its nodes lead to each other in a circle".into());
        }
        if out.modes.windows(2).all(|w| w[0] == w[1]) {
            out.mode = out.modes.first().copied().unwrap_or(Mode::Leq);
            out.modes = vec![];
        }
        Ok(out)
    }

    /// Adds a tree, each node right before those that it leads to.
    fn lay_out(
        &mut self,
        root: usize,
        all: &Columns,
        child: &impl Fn(usize, i64) -> Option<usize>,
        leaves: &Leaves,
    ) -> Result<(), String> {
        /// The node and the side of it that leads to a place.
        type From = Option<(usize, bool)>;
        // Places that are laid out next, what leads to each, and how deep it is.
        let mut next: Vec<(usize, From, usize)> = vec![(root, None, 1)];
        let mut longest = 0;
        while let Some((i, from, depth)) = next.pop() {
            let here = u32::try_from(self.nodes.len()).map_err(|_| "it has too many nodes")?;
            if let Some((parent, yes)) = from {
                let side = &mut self.nodes[parent];
                *(if yes { &mut side.yes } else { &mut side.no }) = here;
            }
            if all.modes[i] == "LEAF" {
                let begin = self.weights.len() as u32;
                self.weights.extend(leaves.get(&(all.trees[i], all.ids[i])).into_iter().flatten());
                longest = longest.max(depth + self.weights.len() - begin as usize);
                self.nodes.push(Node { value: 0.0, feature: LEAF, yes: begin, no: self.weights.len() as u32 });
                // Never asked for: as its parent's, so that all are the same where they can be.
                self.modes.push(self.modes.last().copied().unwrap_or(Mode::Leq));
                continue;
            }
            let mode = Mode::of(&all.modes[i]).ok_or_else(|| format!("mode {} is not supported", all.modes[i]))?;
            let feature = u32::try_from(all.features[i]).ok().filter(|f| *f < MISSING - 1);
            let feature = feature.ok_or_else(|| format!("there is no feature {}", all.features[i]))?;
            self.columns = self.columns.max(feature as usize + 1);
            let missing = if all.missing.get(i).is_some_and(|m| *m != 0) { MISSING } else { 0 };
            self.nodes.push(Node { value: all.values[i], feature: feature | missing, yes: 0, no: 0 });
            self.modes.push(mode);
            for (id, yes) in [(all.no[i], false), (all.yes[i], true)] {
                next.extend(child(i, id).map(|place| (place, Some((here as usize, yes)), depth + 1)));
            }
        }
        self.longest += longest;
        Ok(())
    }

    /// The weights that a row meets, tree by tree.
    fn leaves<'a>(&'a self, row: &'a [f32]) -> impl Iterator<Item = (u32, f32)> + 'a {
        self.roots.iter().flat_map(move |root| {
            let mut i = *root as usize;
            let leaf = loop {
                let node = &self.nodes[i];
                if node.feature == LEAF {
                    break node;
                }
                let x = row[(node.feature & !MISSING) as usize];
                let mode = if self.modes.is_empty() { self.mode } else { self.modes[i] };
                let yes = mode.holds(x, node.value) || (node.feature & MISSING != 0 && x.is_nan());
                i = if yes { node.yes } else { node.no } as usize;
            };
            self.weights[leaf.yes as usize..leaf.no as usize].iter().copied()
        })
    }

    /// Calls back with each row's number and its row.
    fn each(&self, x: &Tensor, mut f: impl FnMut(&[f32])) -> Result<usize, String> {
        let (n, columns) = x.matrix();
        if columns < self.columns {
            return Err(format!("{} where {} columns are needed", x.describe(), self.columns));
        }
        steps(n, self.longest)?;
        room(&[n, self.targets])?;
        rows(&x.floats()?, n, columns).for_each(&mut f);
        Ok(n)
    }
}

/// The weights of each leaf, by tree and node.
fn leaves(node: &NodeProto, target: &str, targets: usize) -> Result<Leaves, String> {
    let of = |what: &str| node.ints(&format!("{target}_{what}"));
    let (trees, nodes, ids) = (of("treeids"), of("nodeids"), of("ids"));
    let weights = node.floats(&format!("{target}_weights"));
    if [nodes.len(), ids.len(), weights.len()].iter().any(|l| *l != trees.len()) {
        return Err("its lists of weights differ in length".into());
    }
    let mut out: HashMap<_, Vec<_>> = HashMap::new();
    for i in 0..trees.len() {
        let id = u32::try_from(ids[i]).ok().filter(|id| (*id as usize) < targets);
        let id = id.ok_or_else(|| format!("a leaf speaks for {target} {} of {targets}", ids[i]))?;
        out.entry((trees[i], nodes[i])).or_default().push((id, weights[i]));
    }
    Ok(out)
}

fn base_values(node: &NodeProto, targets: usize) -> Result<Vec<f32>, String> {
    let base = node.floats("base_values").to_vec();
    let good = base.is_empty() || base.len() == targets || (base.len() == 1 && targets == 2);
    if good { Ok(base) } else { Err(format!("{} base values for {targets} targets", base.len())) }
}

pub fn regressor(node: &NodeProto) -> Result<Op, String> {
    let targets = node.int("n_targets").and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    let targets = targets.ok_or("it has no `n_targets`")?;
    if targets > MOST_TARGETS {
        return Err(format!("{targets} targets are too many"));
    }
    let trees = Ensemble::new(node, "target", targets)?;
    let base = base_values(node, targets)?;
    let transform = Transform::of(node)?;
    let how = node.text("aggregate_function").unwrap_or("SUM").to_owned();
    let join: fn(f32, f32) -> f32 = match how.as_str() {
        "SUM" | "AVERAGE" => |a, b| a + b,
        "MIN" => f32::min,
        "MAX" => f32::max,
        _ => return Err(format!("aggregate_function {how} is unknown")),
    };
    let share = if how == "AVERAGE" { trees.roots.len() as f32 } else { 1.0 };
    unary(move |x| {
        let mut out = vec![];
        // `None`: no leaf has spoken yet, which matters to MIN and MAX.
        let mut scores: Vec<Option<f32>> = vec![None; targets];
        let n = trees.each(x, |row| {
            scores.fill(None);
            for (target, weight) in trees.leaves(row) {
                let score = &mut scores[target as usize];
                *score = Some(score.map_or(weight, |s| join(s, weight)));
            }
            let begin = out.len();
            for (i, score) in scores.iter().enumerate() {
                out.push(score.unwrap_or(0.0) / share + base.get(i).copied().unwrap_or(0.0));
            }
            transform.apply(&mut out[begin..]);
        })?;
        Ok(Tensor::new(vec![n, targets], Data::F32(out)))
    })
}

pub fn classifier(node: &NodeProto) -> Result<Op, String> {
    let labels = Labels::of(node, "classlabels_int64s")?;
    let classes = labels.len();
    let trees = Ensemble::new(node, "class", classes)?;
    let base = base_values(node, classes)?;
    let transform = Transform::of(node)?;
    // Two classes of which leaves speak for one alone.
    let one = classes == 2 && trees.weights.windows(2).all(|w| w[0].0 == w[1].0);
    let positive = trees.weights.iter().all(|w| w.1 >= 0.0);
    Ok(Box::new(move |inputs| {
        let x = at(inputs, 0)?;
        let (mut picked, mut out) = (vec![], vec![]);
        let mut scores = vec![0f32; classes];
        let n = trees.each(x, |row| {
            scores.fill(0.0);
            for (class, weight) in trees.leaves(row) {
                scores[class as usize] += weight;
            }
            if one {
                let class = trees.weights.first().map_or(0, |w| w.0 as usize);
                let score = scores[class] + base.get(if base.len() == 2 { 1 } else { 0 }).copied().unwrap_or(0.0);
                picked.push(usize::from(score > if positive { 0.5 } else { 0.0 }));
                out.extend(two(score, transform, positive));
            } else {
                scores.iter_mut().zip(&base).for_each(|(s, b)| *s += b);
                picked.push(largest(&scores));
                transform.apply(&mut scores);
                out.extend_from_slice(&scores);
            }
        })?;
        debug_assert_eq!(trees.targets, classes);
        Ok(vec![Tensor::new(vec![n], labels.pick(&picked)?), Tensor::new(vec![n, classes], Data::F32(out))])
    }))
}
