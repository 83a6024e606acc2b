//! Operators of ai.onnx.ml over features and labels.

use super::{Op, linear::rows, unary};
use crate::serve::onnx::{tensor::*, wire::NodeProto};
use std::{borrow::Cow, collections::HashMap};

/// What the columns of a `ZipMap` stand for.
pub fn classes(node: &NodeProto) -> Result<Vec<String>, String> {
    Ok(super::linear::Labels::of(node, "classlabels_int64s")?.texts())
}

/// All inputs side by side, as 32-bit floats.
pub fn feature_vectorizer() -> Result<Op, String> {
    Ok(Box::new(|inputs| {
        let all: Vec<&Tensor> = inputs.iter().flatten().copied().collect();
        let n = all.first().map_or(0, |t| t.matrix().0);
        if let Some(other) = all.iter().find(|t| t.matrix().0 != n) {
            return Err(format!("{} where {n} rows are needed", other.describe()));
        }
        let width = all.iter().map(|t| t.matrix().1).sum();
        let mut out = Vec::with_capacity(room(&[n, width])?);
        let parts = all.iter().map(|t| Ok((t.floats()?, t.matrix().1))).collect::<Result<Vec<_>, String>>()?;
        for r in 0..n {
            for (values, columns) in &parts {
                out.extend_from_slice(&values[r * columns..(r + 1) * columns]);
            }
        }
        Ok(vec![Tensor::new(vec![n, width], Data::F32(out))])
    }))
}

pub fn binarizer(node: &NodeProto) -> Result<Op, String> {
    let threshold = node.float("threshold").unwrap_or(0.0);
    unary(move |x| {
        let above = |x: &f32| f32::from(u8::from(*x > threshold));
        Ok(Tensor::new(x.shape.clone(), Data::F32(x.floats()?.iter().map(above).collect())))
    })
}

/// What is missing is replaced, column by column.
pub fn imputer(node: &NodeProto) -> Result<Op, String> {
    let values = node.floats("imputed_value_floats").to_vec();
    let replaced = node.float("replaced_value_float").unwrap_or(0.0);
    if values.is_empty() {
        return Err("only values that are 32-bit floats are imputed".into());
    }
    unary(move |x| {
        let (n, columns) = x.matrix();
        if values.len() != 1 && values.len() != columns {
            return Err(format!("{} where {} columns are needed", x.describe(), values.len()));
        }
        let is_missing = |v: f32| if replaced.is_nan() { v.is_nan() } else { v == replaced };
        let value = |c: usize| values[if values.len() == 1 { 0 } else { c }];
        let input = x.floats()?;
        let whole = rows(&input, n, columns);
        let out = whole.flat_map(|row| row.iter().enumerate()).map(|(c, v)| if is_missing(*v) { value(c) } else { *v });
        Ok(Tensor::new(x.shape.clone(), Data::F32(out.collect())))
    })
}

/// What labels are looked up by: themselves as texts.
pub fn keys(data: &Data) -> Box<dyn Iterator<Item = Cow<'_, str>> + '_> {
    match data {
        Data::Text(v) => Box::new(v.iter().map(|s| Cow::Borrowed(&**s))),
        Data::I64(v) => Box::new(v.iter().map(|x| x.to_string().into())),
        Data::I32(v) => Box::new(v.iter().map(|x| x.to_string().into())),
        Data::Bool(v) => Box::new(v.iter().map(|x| if *x { "1" } else { "0" }.into())),
        Data::F32(v) => Box::new(v.iter().map(|x| float_key(*x).into())),
        Data::F64(v) => Box::new(v.iter().map(|x| float_key(*x as f32).into())),
    }
}

fn float_key(x: f32) -> String {
    if x.is_nan() { "NaN".into() } else { (x + 0.0).to_string() }
}

pub fn one_hot(node: &NodeProto) -> Result<Op, String> {
    let (ints, texts) = (node.ints("cats_int64s"), node.texts("cats_strings"));
    let categories: Vec<String> =
        if texts.is_empty() { ints.iter().map(i64::to_string).collect() } else { texts.to_vec() };
    let strict = node.int("zeros").unwrap_or(1) == 0;
    let places: HashMap<String, usize> = categories.into_iter().enumerate().map(|(i, c)| (c, i)).collect();
    let width = places.len();
    unary(move |x| {
        let shape = [x.shape.as_slice(), &[width]].concat();
        let mut out = vec![0.0; room(&shape)?];
        for (i, key) in keys(&x.data).enumerate() {
            match places.get(&*key) {
                Some(place) => out[i * width + place] = 1.0,
                None if strict => return Err(format!("`{key}` is none of the categories")),
                None => {}
            }
        }
        Ok(Tensor::new(shape, Data::F32(out)))
    })
}

/// One label for another; what is not known becomes the default.
pub fn label_encoder(node: &NodeProto) -> Result<Op, String> {
    if node.attributes.iter().any(|(name, _)| name.ends_with("_tensor") || name == "classes_strings") {
        return Err("label encoders of this version are not supported".into());
    }
    let from: Vec<String> = match (node.texts("keys_strings"), node.ints("keys_int64s"), node.floats("keys_floats")) {
        ([], [], floats) => floats.iter().map(|x| float_key(*x)).collect(),
        ([], ints, _) => ints.iter().map(i64::to_string).collect(),
        (texts, ..) => texts.to_vec(),
    };
    // The default comes behind the values.
    let (texts, ints, floats) =
        (node.texts("values_strings"), node.ints("values_int64s"), node.floats("values_floats"));
    let to = match (texts, ints) {
        ([], []) => Data::F32([floats, &[node.float("default_float").unwrap_or(-0.0)]].concat()),
        ([], ints) => Data::I64([ints, &[node.int("default_int64").unwrap_or(-1)]].concat()),
        (texts, _) => Data::Text([texts, &[node.text("default_string").unwrap_or("_Unused").to_owned()]].concat()),
    };
    if to.len() != from.len() + 1 {
        return Err(format!("{} keys beside {} values", from.len(), to.len() - 1));
    }
    let default = from.len();
    let places: HashMap<String, usize> = from.into_iter().enumerate().map(|(i, key)| (key, i)).collect();
    unary(move |x| {
        let found = keys(&x.data).map(|key| places.get(&*key).copied().unwrap_or(default));
        Ok(Tensor::new(x.shape.clone(), to.pick(found)?))
    })
}
