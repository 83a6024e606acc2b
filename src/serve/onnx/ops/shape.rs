//! Operators that move elements and change none.

use super::{Op, at, axis, binary, maybe, unary};
use crate::serve::onnx::{tensor::*, wire::NodeProto};

pub fn constant(node: &NodeProto) -> Result<Op, String> {
    let one = |data| Tensor::new(vec![], data);
    let find = |name: &str| node.find(name);
    let value = if let Some(t) = find("value").and_then(|a| a.tensor.clone()) {
        t
    } else if let Some(x) = node.float("value_float") {
        one(Data::F32(vec![x]))
    } else if let Some(x) = node.int("value_int") {
        one(Data::I64(vec![x]))
    } else if let Some(x) = node.text("value_string") {
        one(Data::Text(vec![x.to_owned()]))
    } else if let Some(a) = find("value_floats") {
        Tensor::new(vec![a.floats.len()], Data::F32(a.floats.clone()))
    } else if let Some(a) = find("value_ints") {
        Tensor::new(vec![a.ints.len()], Data::I64(a.ints.clone()))
    } else if let Some(a) = find("value_strings") {
        Tensor::new(vec![a.texts.len()], Data::Text(a.texts.clone()))
    } else {
        return Err("it has no value".into());
    };
    Ok(Box::new(move |_| Ok(vec![value.clone()])))
}

fn sizes(x: &Tensor) -> Result<Vec<usize>, String> {
    let negative = |n: i64| usize::try_from(n).map_err(|_| format!("a dimension of {n}"));
    x.whole()?.into_iter().map(negative).collect()
}

pub fn constant_of_shape(node: &NodeProto) -> Result<Op, String> {
    let value = node.find("value").and_then(|a| a.tensor.clone());
    let value = value.map_or(Data::F32(vec![0.0]), |t| t.data);
    if value.len() != 1 {
        return Err("its value is not one number".into());
    }
    unary(move |x| {
        let shape = sizes(x)?;
        let n = room(&shape)?;
        Ok(Tensor::new(shape, value.pick((0..n).map(|_| 0))?))
    })
}

pub fn expand() -> Result<Op, String> {
    binary(|x, shape| {
        let shape = super::math::common(&x.shape, &sizes(shape)?)?;
        let places = super::math::stretched(&x.shape, &shape);
        Ok(Tensor::new(shape, x.data.pick(places.into_iter())?))
    })
}

pub fn cast(node: &NodeProto) -> Result<Op, String> {
    let number = node.int("to").unwrap_or(0);
    let to = Kind::of(number).ok_or_else(|| format!("a cast to {}", crate::serve::onnx::wire::kind_name(number)))?;
    /// Bytes of a text that a number becomes, about: some times as much as the number.
    const TEXT: usize = 8;
    unary(move |x| {
        if to == Kind::Text && x.data.len() > MOST_MADE / TEXT {
            return Err(format!("{} is too large to become texts", x.describe()));
        }
        Ok(Tensor::new(x.shape.clone(), cast_to(&x.data, to)?))
    })
}

fn cast_to(data: &Data, to: Kind) -> Result<Data, String> {
    macro_rules! all {
        ($v:ident, $x:ident => $f32:expr, $f64:expr, $i64:expr, $i32:expr, $bool:expr, $text:expr) => {
            match to {
                Kind::F32 => Data::F32($v.iter().map(|$x| $f32).collect()),
                Kind::F64 => Data::F64($v.iter().map(|$x| $f64).collect()),
                Kind::I64 => Data::I64($v.iter().map(|$x| $i64).collect()),
                Kind::I32 => Data::I32($v.iter().map(|$x| $i32).collect()),
                Kind::Bool => Data::Bool($v.iter().map(|$x| $bool).collect()),
                Kind::Text => Data::Text($v.iter().map(|$x| $text).collect()),
            }
        };
    }
    Ok(match data {
        Data::F32(v) => all!(v, x => *x, f64::from(*x), *x as i64, *x as i32, *x != 0.0, x.to_string()),
        Data::F64(v) => all!(v, x => *x as f32, *x, *x as i64, *x as i32, *x != 0.0, x.to_string()),
        Data::I64(v) => all!(v, x => *x as f32, *x as f64, *x, *x as i32, *x != 0, x.to_string()),
        Data::I32(v) => all!(v, x => *x as f32, f64::from(*x), i64::from(*x), *x, *x != 0, x.to_string()),
        Data::Bool(v) => {
            all!(v, x => f32::from(u8::from(*x)), f64::from(u8::from(*x)), i64::from(*x), i32::from(*x), *x, u8::from(*x).to_string())
        }
        Data::Text(v) if to == Kind::Text => Data::Text(v.clone()),
        Data::Text(v) => {
            let number = |s: &String| s.trim().parse::<f64>().map_err(|_| format!("`{s}` is no number"));
            let numbers: Vec<f64> = v.iter().map(number).collect::<Result<_, _>>()?;
            return cast_to(&Data::F64(numbers), to);
        }
    })
}

pub fn reshape(node: &NodeProto) -> Result<Op, String> {
    let keep_zero = node.int("allowzero").unwrap_or(0) != 0;
    binary(move |x, shape| {
        let wanted = shape.whole()?;
        dimensions(wanted.len())?;
        let wrong = || format!("{} cannot become {wanted:?}", x.describe());
        let mut out = Vec::with_capacity(wanted.len());
        for (i, d) in wanted.iter().enumerate() {
            out.push(match d {
                0 if !keep_zero => *x.shape.get(i).ok_or_else(wrong)?,
                -1 => 1,
                d => usize::try_from(*d).map_err(|_| wrong())?,
            });
        }
        if let Some(free) = wanted.iter().position(|d| *d == -1) {
            let others = room(&out)?;
            out[free] = x.data.len().checked_div(others).ok_or_else(wrong)?;
        }
        if count(&out) != Some(x.data.len()) {
            return Err(wrong());
        }
        Ok(Tensor::new(out, x.data.clone()))
    })
}

pub fn flatten(node: &NodeProto) -> Result<Op, String> {
    let which = node.int("axis").unwrap_or(1);
    unary(move |x| {
        let rank = x.shape.len();
        let a = if which == rank as i64 { rank } else { axis(which, rank)? };
        let shape = vec![x.shape[..a].iter().product(), x.shape[a..].iter().product()];
        Ok(Tensor::new(shape, x.data.clone()))
    })
}

/// Axes are an attribute, or an input in later versions.
fn axes(attribute: &[i64], inputs: &[Option<&Tensor>], rank: usize) -> Result<Vec<usize>, String> {
    let given = maybe(inputs, 1).map_or(Ok(attribute.to_vec()), Tensor::whole)?;
    given.iter().map(|a| axis(*a, rank)).collect()
}

pub fn squeeze(node: &NodeProto) -> Result<Op, String> {
    let attribute = node.ints("axes").to_vec();
    Ok(Box::new(move |inputs| {
        let x = at(inputs, 0)?;
        let mut gone = axes(&attribute, inputs, x.shape.len())?;
        if gone.is_empty() {
            gone = (0..x.shape.len()).filter(|i| x.shape[*i] == 1).collect();
        }
        if gone.iter().any(|i| x.shape[*i] != 1) {
            return Err(format!("axes {gone:?} of {} are not all 1", x.describe()));
        }
        let kept = x.shape.iter().enumerate().filter(|(i, _)| !gone.contains(i)).map(|(_, d)| *d);
        Ok(vec![Tensor::new(kept.collect(), x.data.clone())])
    }))
}

pub fn unsqueeze(node: &NodeProto) -> Result<Op, String> {
    let attribute = node.ints("axes").to_vec();
    Ok(Box::new(move |inputs| {
        let x = at(inputs, 0)?;
        let more = maybe(inputs, 1).map_or(attribute.len(), |t| t.data.len());
        dimensions(x.shape.len() + more)?;
        let new = axes(&attribute, inputs, x.shape.len() + more)?;
        let mut old = x.shape.iter();
        let each = (0..x.shape.len() + more).map(|i| if new.contains(&i) { Some(1) } else { old.next().copied() });
        let shape: Option<Vec<usize>> = each.collect();
        let shape = shape.filter(|s| count(s) == Some(x.data.len())).ok_or("an axis stands twice")?;
        Ok(vec![Tensor::new(shape, x.data.clone())])
    }))
}

pub fn transpose(node: &NodeProto) -> Result<Op, String> {
    let order = node.ints("perm").to_vec();
    unary(move |x| {
        let rank = x.shape.len();
        let order: Vec<usize> = match order.is_empty() {
            true => (0..rank).rev().collect(),
            false => order.iter().map(|a| axis(*a, rank)).collect::<Result<_, _>>()?,
        };
        if (0..rank).any(|i| !order.contains(&i)) || order.len() != rank {
            return Err(format!("the order {order:?} for {}", x.describe()));
        }
        let mut steps = vec![1; rank];
        for i in (1..rank).rev() {
            steps[i - 1] = steps[i] * x.shape[i].max(1);
        }
        let mut places = vec![0];
        for a in order.iter().rev() {
            places = (0..x.shape[*a])
                .flat_map(|i| places.iter().map(move |p| (i, *p)))
                .map(|(i, p)| p + i * steps[*a])
                .collect();
        }
        Ok(Tensor::new(order.iter().map(|a| x.shape[*a]).collect(), x.data.pick(places.into_iter())?))
    })
}

pub fn concat(node: &NodeProto) -> Result<Op, String> {
    let which = node.int("axis").unwrap_or(1);
    Ok(Box::new(move |inputs| {
        let first = at(inputs, 0)?;
        let all: Vec<&Tensor> = inputs.iter().flatten().copied().collect();
        let a = axis(which, first.shape.len())?;
        let fits = |t: &&Tensor| {
            let same = |i: usize| i == a || t.shape[i] == first.shape[i];
            t.shape.len() == first.shape.len() && (0..t.shape.len()).all(same)
        };
        if let Some(other) = all.iter().find(|t| !fits(t)) {
            return Err(format!("{} beside {}", first.describe(), other.describe()));
        }
        let mut shape = first.shape.clone();
        shape[a] = all.iter().map(|t| t.shape[a]).sum();
        room(&shape)?;
        if all.iter().map(|t| t.data.bytes()).sum::<usize>() > MOST_HELD {
            return Err("so many long texts are too large".into());
        }
        let outer: usize = shape[..a].iter().product();
        let mut joined = first.data.kind().zeros(0);
        let mut starts = vec![];
        for t in &all {
            starts.push(joined.len());
            joined.append(t.data.clone())?;
        }
        // Of each, the elements that stand below one place of the dimensions before.
        let width = |t: &Tensor| t.shape[a..].iter().product::<usize>();
        let places = (0..outer).flat_map(|o| {
            all.iter().zip(&starts).flat_map(move |(t, s)| (0..width(t)).map(move |i| s + o * width(t) + i))
        });
        let data = joined.pick(places)?;
        Ok(vec![Tensor::new(shape, data)])
    }))
}

pub fn gather(node: &NodeProto) -> Result<Op, String> {
    let which = node.int("axis").unwrap_or(0);
    binary(move |x, indices| {
        let a = axis(which, x.shape.len())?;
        let length = x.shape[a];
        let place = |i: i64| axis(i, length).map_err(|_| format!("index {i} along axis {a} of {}", x.describe()));
        let picked: Vec<usize> = indices.whole()?.into_iter().map(place).collect::<Result<_, _>>()?;
        let shape = [&x.shape[..a], &indices.shape, &x.shape[a + 1..]].concat();
        room(&shape)?;
        Ok(Tensor::new(shape, x.data.pick(take(&x.shape, a, &picked))?))
    })
}

/// The places of a tensor's elements with these indices along an axis.
fn take<'a>(shape: &[usize], axis: usize, picked: &'a [usize]) -> impl Iterator<Item = usize> + use<'a> {
    let (length, inner): (usize, usize) = (shape[axis], shape[axis + 1..].iter().product());
    let outer: usize = shape[..axis].iter().product();
    (0..outer).flat_map(move |o| picked.iter().flat_map(move |p| (0..inner).map(move |i| (o * length + p) * inner + i)))
}

/// Columns of the last dimension.
pub fn array_feature_extractor() -> Result<Op, String> {
    binary(|x, indices| {
        let length = *x.shape.last().ok_or("a tensor without dimensions")?;
        let place = |i: i64| {
            usize::try_from(i)
                .ok()
                .filter(|i| *i < length)
                .ok_or_else(|| format!("there is no column {i} in {}", x.describe()))
        };
        let picked: Vec<usize> = indices.whole()?.into_iter().map(place).collect::<Result<_, _>>()?;
        let mut shape = x.shape.clone();
        let last = shape.len() - 1;
        shape[last] = picked.len();
        if last == 0 {
            shape.insert(0, 1);
        }
        room(&shape)?;
        Ok(Tensor::new(shape, x.data.pick(take(&x.shape, last, &picked))?))
    })
}

/// Bounds are attributes before version 10 and inputs since.
pub fn slice(node: &NodeProto) -> Result<Op, String> {
    let (starts, ends, which) = (node.ints("starts").to_vec(), node.ints("ends").to_vec(), node.ints("axes").to_vec());
    Ok(Box::new(move |inputs| {
        let mut x = at(inputs, 0)?.clone();
        let given = |i: usize, attribute: &[i64]| maybe(inputs, i).map_or(Ok(attribute.to_vec()), Tensor::whole);
        let (starts, ends, axes, steps) = (given(1, &starts)?, given(2, &ends)?, given(3, &which)?, given(4, &[])?);
        if starts.len() != ends.len() {
            return Err(format!("{} starts beside {} ends", starts.len(), ends.len()));
        }
        dimensions(starts.len())?;
        for (i, (start, end)) in starts.into_iter().zip(ends).enumerate() {
            let a = axis(axes.get(i).copied().unwrap_or(i as i64), x.shape.len())?;
            let step = steps.get(i).copied().unwrap_or(1);
            let length = x.shape[a] as i64;
            let from = |n: i64| if n < 0 { n.saturating_add(length) } else { n };
            let picked: Vec<usize> = match step {
                1.. => (from(start).clamp(0, length)..from(end).clamp(0, length))
                    .step_by(step as usize)
                    .map(|i| i as usize)
                    .collect(),
                0 => return Err("a step of 0".into()),
                _ => {
                    let (first, last) = (from(start).clamp(-1, length - 1), from(end).clamp(-1, length - 1));
                    let back = usize::try_from(step.unsigned_abs()).unwrap_or(usize::MAX);
                    (last + 1..=first).rev().step_by(back).map(|i| i as usize).collect()
                }
            };
            let mut shape = x.shape.clone();
            shape[a] = picked.len();
            x = Tensor::new(shape, x.data.pick(take(&x.shape, a, &picked))?);
        }
        Ok(vec![x])
    }))
}
