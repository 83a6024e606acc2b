//! Scalers and linear models of ai.onnx.ml, in 32-bit floats as the standard has them.

use super::{Op, at, unary};
use crate::serve::onnx::{tensor::*, wire::NodeProto};

/// What is done with scores before they are given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transform {
    None,
    Logistic,
    Softmax,
    SoftmaxZero,
}

impl Transform {
    pub fn of(node: &NodeProto) -> Result<Self, String> {
        Ok(match node.text("post_transform") {
            None | Some("NONE") => Self::None,
            Some("LOGISTIC") => Self::Logistic,
            Some("SOFTMAX") => Self::Softmax,
            Some("SOFTMAX_ZERO") => Self::SoftmaxZero,
            Some(other) => return Err(format!("post_transform {other} is not supported")),
        })
    }

    pub fn apply(self, scores: &mut [f32]) {
        match self {
            Self::None => {}
            Self::Logistic => scores.iter_mut().for_each(|s| *s = logistic(*s)),
            Self::Softmax => softmax(scores),
            Self::SoftmaxZero => {
                // A score of 0 says that nothing spoke for the class: it stays 0.
                const NOTHING: f32 = 1e-7;
                let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let away = (-max).exp();
                for s in scores.iter_mut() {
                    *s = if s.abs() > NOTHING { (*s - max).exp() } else { *s * away };
                }
                let sum: f32 = scores.iter().sum();
                scores.iter_mut().for_each(|s| *s /= sum);
            }
        }
    }
}

pub fn logistic(x: f32) -> f32 {
    let v = 1.0 / (1.0 + (-x.abs()).exp());
    if x < 0.0 { 1.0 - v } else { v }
}

fn softmax(scores: &mut [f32]) {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores.iter_mut().for_each(|s| *s = (*s - max).exp());
    let sum: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|s| *s /= sum);
}

/// Two scores of one: what speaks for the second class, and its opposite.
pub fn two(score: f32, transform: Transform, probability: bool) -> [f32; 2] {
    match transform {
        Transform::Logistic if !probability => [logistic(-score), logistic(score)],
        _ if probability => [1.0 - score, score],
        _ => [-score, score],
    }
}

/// Class labels, which are numbers or texts.
pub struct Labels(Data);

impl Labels {
    pub fn of(node: &NodeProto, ints: &str) -> Result<Self, String> {
        match (node.ints(ints), node.texts("classlabels_strings")) {
            ([], []) => Err("it has no class labels".into()),
            (ints, []) => Ok(Self(Data::I64(ints.to_vec()))),
            ([], texts) => Ok(Self(Data::Text(texts.to_vec()))),
            _ => Err("its class labels are both numbers and texts".into()),
        }
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// As texts.
    pub fn texts(&self) -> Vec<String> {
        super::labels::keys(&self.0).map(std::borrow::Cow::into_owned).collect()
    }

    /// The labels of places that are below [`Labels::len`].
    pub fn pick(&self, places: &[usize]) -> Result<Data, String> {
        self.0.pick(places.iter().copied())
    }
}

/// The first place of the largest.
pub fn largest(scores: &[f32]) -> usize {
    let mut best = 0;
    for (i, s) in scores.iter().enumerate() {
        if *s > scores[best] {
            best = i;
        }
    }
    best
}

/// A row for each row of the input; rows of nothing are rows, too.
pub fn rows(x: &[f32], rows: usize, columns: usize) -> impl Iterator<Item = &[f32]> {
    (0..rows).map(move |r| &x[r * columns..(r + 1) * columns])
}

pub fn scaler(node: &NodeProto) -> Result<Op, String> {
    let (offset, scale) = (node.floats("offset").to_vec(), node.floats("scale").to_vec());
    if offset.is_empty() || offset.len() != scale.len() {
        return Err(format!("{} offsets beside {} scales", offset.len(), scale.len()));
    }
    unary(move |x| {
        let (_, columns) = x.matrix();
        if offset.len() != 1 && offset.len() != columns {
            return Err(format!("{} where {} columns are needed", x.describe(), offset.len()));
        }
        let each = |(i, v): (usize, &f32)| {
            let c = if offset.len() == 1 { 0 } else { i % columns };
            (v - offset[c]) * scale[c]
        };
        Ok(Tensor::new(x.shape.clone(), Data::F32(x.floats()?.iter().enumerate().map(each).collect())))
    })
}

pub fn normalizer(node: &NodeProto) -> Result<Op, String> {
    let length: fn(&[f32]) -> f32 = match node.text("norm").unwrap_or("MAX") {
        "MAX" => |row| row.iter().copied().fold(f32::NEG_INFINITY, f32::max),
        "L1" => |row| row.iter().map(|x| x.abs()).sum(),
        "L2" => |row| row.iter().map(|x| x * x).sum::<f32>().sqrt(),
        other => return Err(format!("norm {other} is unknown")),
    };
    unary(move |x| {
        let (n, columns) = x.matrix();
        let mut out = x.floats()?.into_owned();
        for r in 0..n {
            let row = &mut out[r * columns..(r + 1) * columns];
            let norm = length(row);
            if norm != 0.0 {
                row.iter_mut().for_each(|v| *v /= norm);
            }
        }
        Ok(Tensor::new(x.shape.clone(), Data::F32(out)))
    })
}

/// Coefficients of several targets, row by row.
struct Linear {
    coefficients: Vec<f32>,
    intercepts: Vec<f32>,
    targets: usize,
}

impl Linear {
    fn new(node: &NodeProto, targets: usize) -> Result<Self, String> {
        let coefficients = node.floats("coefficients").to_vec();
        let mut intercepts = node.floats("intercepts").to_vec();
        if intercepts.is_empty() {
            intercepts = vec![0.0; targets];
        }
        if targets == 0
            || coefficients.is_empty()
            || !coefficients.len().is_multiple_of(targets)
            || intercepts.len() != targets
        {
            let (c, i) = (coefficients.len(), intercepts.len());
            return Err(format!("{c} coefficients and {i} intercepts for {targets} targets"));
        }
        Ok(Self { coefficients, intercepts, targets })
    }

    fn scores(&self, x: &Tensor) -> Result<(usize, Vec<f32>), String> {
        let (n, columns) = x.matrix();
        let wanted = self.coefficients.len() / self.targets;
        if columns != wanted {
            return Err(format!("{} where {wanted} columns are needed", x.describe()));
        }
        steps(x.data.len(), self.targets)?;
        let mut out = Vec::with_capacity(room(&[n, self.targets])?);
        for row in rows(&x.floats()?, n, columns) {
            for (c, b) in self.coefficients.chunks_exact(columns).zip(&self.intercepts) {
                out.push(super::matrix::dot(row, c) + b);
            }
        }
        Ok((n, out))
    }
}

pub fn regressor(node: &NodeProto) -> Result<Op, String> {
    let targets = usize::try_from(node.int("targets").unwrap_or(1)).map_err(|_| "a negative number of targets")?;
    let (linear, transform) = (Linear::new(node, targets)?, Transform::of(node)?);
    unary(move |x| {
        let (n, mut scores) = linear.scores(x)?;
        scores.chunks_exact_mut(targets).for_each(|s| transform.apply(s));
        Ok(Tensor::new(vec![n, targets], Data::F32(scores)))
    })
}

pub fn classifier(node: &NodeProto) -> Result<Op, String> {
    let (labels, transform) = (Labels::of(node, "classlabels_ints")?, Transform::of(node)?);
    let classes = labels.len();
    // One line of coefficients may tell two classes apart.
    let one = node.floats("intercepts").len() == 1 && classes == 2;
    let linear = Linear::new(node, if one { 1 } else { classes })?;
    Ok(Box::new(move |inputs| {
        let (n, mut scores) = linear.scores(at(inputs, 0)?)?;
        let picked: Vec<usize> = match one {
            true => scores.iter().map(|s| usize::from(*s > 0.0)).collect(),
            false => scores.chunks_exact(classes).map(largest).collect(),
        };
        if one {
            scores = scores.iter().flat_map(|s| two(*s, transform, transform != Transform::Logistic)).collect();
        } else {
            scores.chunks_exact_mut(classes).for_each(|s| transform.apply(s));
        }
        Ok(vec![Tensor::new(vec![n], labels.pick(&picked)?), Tensor::new(vec![n, classes], Data::F32(scores))])
    }))
}
