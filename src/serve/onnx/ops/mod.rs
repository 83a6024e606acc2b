//! The operators. Each is read from its node once, and then a function over tensors that gives an error and never panics.

mod labels;
mod linear;
mod math;
mod matrix;
mod shape;
mod trees;

use super::{tensor::*, wire::*};

/// Inputs in the node's order, `None` for one that is left out, to outputs.
pub type Op = Box<dyn Fn(&[Option<&Tensor>]) -> Result<Vec<Tensor>, String> + Send + Sync>;

/// An operator that is ready to run.
pub struct Built {
    pub op: Op,
    /// What the columns of its output stand for (`ZipMap`).
    pub classes: Option<Vec<String>>,
}

/// One value from the first input.
fn unary(f: impl Fn(&Tensor) -> Result<Tensor, String> + Send + Sync + 'static) -> Result<Op, String> {
    Ok(Box::new(move |inputs| Ok(vec![f(at(inputs, 0)?)?])))
}

/// One value from the first two inputs.
fn binary(f: impl Fn(&Tensor, &Tensor) -> Result<Tensor, String> + Send + Sync + 'static) -> Result<Op, String> {
    Ok(Box::new(move |inputs| Ok(vec![f(at(inputs, 0)?, at(inputs, 1)?)?])))
}

/// An input that must be there.
fn at<'a>(inputs: &[Option<&'a Tensor>], i: usize) -> Result<&'a Tensor, String> {
    maybe(inputs, i).ok_or_else(|| format!("input {i} is missing"))
}

fn maybe<'a>(inputs: &[Option<&'a Tensor>], i: usize) -> Option<&'a Tensor> {
    inputs.get(i).copied().flatten()
}

impl NodeProto {
    fn find(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|(n, _)| n == name).map(|(_, a)| a)
    }
    fn int(&self, name: &str) -> Option<i64> {
        self.find(name)?.int
    }
    fn float(&self, name: &str) -> Option<f32> {
        self.find(name)?.float
    }
    fn text(&self, name: &str) -> Option<&str> {
        self.find(name)?.text.as_deref()
    }
    fn ints(&self, name: &str) -> &[i64] {
        self.find(name).map_or(&[], |a| &a.ints)
    }
    fn floats(&self, name: &str) -> &[f32] {
        self.find(name).map_or(&[], |a| &a.floats)
    }
    fn texts(&self, name: &str) -> &[String] {
        self.find(name).map_or(&[], |a| &a.texts)
    }
}

/// A dimension counted from the end when negative.
fn axis(axis: i64, rank: usize) -> Result<usize, String> {
    let place = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    let place = place.and_then(|a| usize::try_from(a).ok()).filter(|a| *a < rank);
    place.ok_or_else(|| format!("axis {axis} of a tensor of {rank} dimensions"))
}

/// The operator of a node; `opset` is the version of the standard operators.
pub fn build(node: &NodeProto, opset: i64) -> Result<Built, String> {
    if node.attributes.iter().any(|(_, a)| a.graph) {
        return Err("operators that hold a graph of their own are not supported".into());
    }
    let (op, classes) = match (node.domain.as_str(), node.operator.as_str()) {
        ("ai.onnx.ml", "ZipMap") => (unary(|x| Ok(x.clone()))?, Some(labels::classes(node)?)),
        ("ai.onnx.ml", operator) => (learned(node, operator)?, None),
        ("" | "ai.onnx", operator) => (standard(node, operator, opset)?, None),
        (domain, _) => return Err(unknown(&format!("operators of `{domain}`"))),
    };
    Ok(Built { op, classes })
}

fn unknown(what: &str) -> String {
    format!("{what} are not served by this version; serve the model with runtime = \"python\" and onnxruntime")
}

fn learned(node: &NodeProto, operator: &str) -> Result<Op, String> {
    match operator {
        "Scaler" => linear::scaler(node),
        "Normalizer" => linear::normalizer(node),
        "LinearRegressor" => linear::regressor(node),
        "LinearClassifier" => linear::classifier(node),
        "TreeEnsembleRegressor" => trees::regressor(node),
        "TreeEnsembleClassifier" => trees::classifier(node),
        "ArrayFeatureExtractor" => shape::array_feature_extractor(),
        "FeatureVectorizer" => labels::feature_vectorizer(),
        "Binarizer" => labels::binarizer(node),
        "Imputer" => labels::imputer(node),
        "OneHotEncoder" => labels::one_hot(node),
        "LabelEncoder" => labels::label_encoder(node),
        other => Err(unknown(&format!("`{other}` of ai.onnx.ml"))),
    }
}

fn standard(node: &NodeProto, operator: &str, opset: i64) -> Result<Op, String> {
    match operator {
        "Identity" | "Dropout" => unary(|x| Ok(x.clone())),
        "Constant" => shape::constant(node),
        "ConstantOfShape" => shape::constant_of_shape(node),
        "Cast" => shape::cast(node),
        "Shape" => {
            unary(|x| Ok(Tensor::new(vec![x.shape.len()], Data::I64(x.shape.iter().map(|d| *d as i64).collect()))))
        }
        "Reshape" => shape::reshape(node),
        "Flatten" => shape::flatten(node),
        "Squeeze" => shape::squeeze(node),
        "Unsqueeze" => shape::unsqueeze(node),
        "Transpose" => shape::transpose(node),
        "Concat" => shape::concat(node),
        "Gather" => shape::gather(node),
        "Slice" => shape::slice(node),
        "Expand" => shape::expand(),
        "MatMul" => matrix::matmul(),
        "Gemm" => matrix::gemm(node),
        "Softmax" | "LogSoftmax" => matrix::softmax(node, operator == "LogSoftmax", opset),
        "ArgMax" | "ArgMin" => matrix::arg(node, operator == "ArgMax"),
        _ => match operator.strip_prefix("Reduce") {
            Some(how) => matrix::reduce(node, how),
            None => math::build(node, operator).unwrap_or_else(|| Err(unknown(&format!("`{operator}`")))),
        },
    }
}
