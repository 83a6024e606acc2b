//! Operators that work element by element, with broadcasting.

use super::{Op, at, binary, maybe, unary};
use crate::serve::onnx::{tensor::*, wire::NodeProto};

/// The operator, if it is one of these.
pub fn build(node: &NodeProto, operator: &str) -> Option<Result<Op, String>> {
    if let Some((f, g)) = real(node, operator) {
        return Some(unary(move |x| {
            let data = match &x.data {
                Data::F32(v) => Data::F32(v.iter().map(|x| f(*x)).collect()),
                Data::F64(v) => Data::F64(v.iter().map(|x| g(*x)).collect()),
                _ => return Err(format!("{} where FP32 or FP64 is needed", x.describe())),
            };
            Ok(Tensor::new(x.shape.clone(), data))
        }));
    }
    Some(match operator {
        "Add" => arithmetic(|a, b| a + b, |a, b| a + b, i64::wrapping_add),
        "Sub" => arithmetic(|a, b| a - b, |a, b| a - b, i64::wrapping_sub),
        "Mul" => arithmetic(|a, b| a * b, |a, b| a * b, i64::wrapping_mul),
        "Div" => arithmetic(|a, b| a / b, |a, b| a / b, |a, b| if b == 0 { 0 } else { a.wrapping_div(b) }),
        "Pow" => arithmetic(f32::powf, f64::powf, |a, b| {
            u32::try_from(b).map_or_else(|_| (a as f64).powf(b as f64) as i64, |b| a.wrapping_pow(b))
        }),
        "Max" => several(arithmetic(f32::max, f64::max, i64::max)),
        "Min" => several(arithmetic(f32::min, f64::min, i64::min)),
        "Sum" => several(arithmetic(|a, b| a + b, |a, b| a + b, i64::wrapping_add)),
        "Neg" => whole_too(|x| -x, |x| -x, i64::wrapping_neg),
        "Abs" => whole_too(f32::abs, f64::abs, i64::wrapping_abs),
        "Sign" => whole_too(sign, |x| f64::from(sign(x as f32)), i64::signum),
        "Clip" => clip(node),
        "Less" => compare(|o| o.is_lt()),
        "Greater" => compare(|o| o.is_gt()),
        "LessOrEqual" => compare(|o| o.is_le()),
        "GreaterOrEqual" => compare(|o| o.is_ge()),
        "Equal" => compare(|o| o.is_eq()),
        "And" => logic(|a, b| a && b),
        "Or" => logic(|a, b| a || b),
        "Xor" => logic(|a, b| a != b),
        "Not" => unary(|x| match &x.data {
            Data::Bool(v) => Ok(Tensor::new(x.shape.clone(), Data::Bool(v.iter().map(|b| !b).collect()))),
            _ => Err(format!("{} where BOOL is needed", x.describe())),
        }),
        "IsNaN" => unary(|x| {
            let data = match &x.data {
                Data::F32(v) => v.iter().map(|x| x.is_nan()).collect(),
                Data::F64(v) => v.iter().map(|x| x.is_nan()).collect(),
                _ => return Err(format!("{} where FP32 or FP64 is needed", x.describe())),
            };
            Ok(Tensor::new(x.shape.clone(), Data::Bool(data)))
        }),
        "Where" => choose(),
        _ => return None,
    })
}

type Real = (Box<dyn Fn(f32) -> f32 + Send + Sync>, Box<dyn Fn(f64) -> f64 + Send + Sync>);

/// Functions of real numbers, in both precisions.
fn real(node: &NodeProto, operator: &str) -> Option<Real> {
    macro_rules! both {
        ($x:ident => $body:expr) => {
            (Box::new(move |$x: f32| $body), Box::new(move |$x: f64| $body))
        };
    }
    let alpha = |default: f32| node.float("alpha").unwrap_or(default);
    Some(match operator {
        "Relu" => both!(x => if x < 0.0 { 0.0 } else { x }),
        "Sigmoid" => (Box::new(super::linear::logistic), Box::new(|x: f64| 1.0 / (1.0 + (-x).exp()))),
        "Tanh" => both!(x => x.tanh()),
        "Exp" => both!(x => x.exp()),
        "Log" => both!(x => x.ln()),
        "Sqrt" => both!(x => x.sqrt()),
        "Floor" => both!(x => x.floor()),
        "Ceil" => both!(x => x.ceil()),
        "Round" => both!(x => x.round_ties_even()),
        "Reciprocal" => both!(x => x.recip()),
        "Softplus" => both!(x => x.exp().ln_1p()),
        "Sin" => both!(x => x.sin()),
        "Cos" => both!(x => x.cos()),
        "LeakyRelu" => {
            let a = alpha(0.01);
            (
                Box::new(move |x| if x < 0.0 { a * x } else { x }),
                Box::new(move |x| if x < 0.0 { f64::from(a) * x } else { x }),
            )
        }
        "Elu" => {
            let a = alpha(1.0);
            let wide = f64::from(a);
            (
                Box::new(move |x: f32| if x < 0.0 { a * x.exp_m1() } else { x }),
                Box::new(move |x: f64| if x < 0.0 { wide * x.exp_m1() } else { x }),
            )
        }
        _ => return None,
    })
}

fn sign(x: f32) -> f32 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        x
    }
}

fn whole_too(f: fn(f32) -> f32, g: fn(f64) -> f64, h: fn(i64) -> i64) -> Result<Op, String> {
    unary(move |x| {
        let data = match &x.data {
            Data::F32(v) => Data::F32(v.iter().map(|x| f(*x)).collect()),
            Data::F64(v) => Data::F64(v.iter().map(|x| g(*x)).collect()),
            Data::I64(v) => Data::I64(v.iter().map(|x| h(*x)).collect()),
            Data::I32(v) => Data::I32(v.iter().map(|x| h(i64::from(*x)) as i32).collect()),
            _ => return Err(format!("{} where numbers are needed", x.describe())),
        };
        Ok(Tensor::new(x.shape.clone(), data))
    })
}

/// The shape that two are stretched to.
pub fn common(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let size = |shape: &[usize], i: usize| (i + shape.len()).checked_sub(rank).map_or(1, |i| shape[i]);
    let fit = |i| match (size(a, i), size(b, i)) {
        (a, b) if a == b || b == 1 => Ok(a),
        (1, b) => Ok(b),
        _ => Err(format!("shapes {a:?} and {b:?} do not go together")),
    };
    let shape: Vec<usize> = (0..rank).map(fit).collect::<Result<_, String>>()?;
    room(&shape)?;
    Ok(shape)
}

/// Where each element of a stretched tensor comes from.
pub fn stretched(from: &[usize], to: &[usize]) -> Vec<usize> {
    let n: usize = to.iter().product();
    if from == to {
        return (0..n).collect();
    }
    let missing = to.len() - from.len();
    // Steps of each dimension; 0 where it is repeated.
    let mut steps = vec![0; to.len()];
    let mut step = 1;
    for i in (0..from.len()).rev() {
        steps[missing + i] = if from[i] == 1 { 0 } else { step };
        step *= from[i];
    }
    let mut place = vec![0; to.len()];
    let mut at = 0;
    let mut out = Vec::with_capacity(n);
    for _ in 0..n {
        out.push(at);
        for d in (0..to.len()).rev() {
            place[d] += 1;
            at += steps[d];
            if place[d] < to[d] {
                break;
            }
            at -= steps[d] * to[d];
            place[d] = 0;
        }
    }
    out
}

/// Joins two tensors element by element.
fn zip<T: Copy, U>(
    a: &Tensor,
    b: &Tensor,
    x: &[T],
    y: &[T],
    f: impl Fn(T, T) -> U,
) -> Result<(Vec<usize>, Vec<U>), String> {
    if a.shape == b.shape {
        return Ok((a.shape.clone(), x.iter().zip(y).map(|(a, b)| f(*a, *b)).collect()));
    }
    let shape = common(&a.shape, &b.shape)?;
    // The usual case: a vector, or one number, beside each row.
    if a.shape == shape && shape.ends_with(&b.shape) && !y.is_empty() {
        return Ok((shape, x.chunks(y.len()).flat_map(|row| row.iter().zip(y)).map(|(a, b)| f(*a, *b)).collect()));
    }
    let (left, right) = (stretched(&a.shape, &shape), stretched(&b.shape, &shape));
    let out = left.iter().zip(&right).map(|(l, r)| f(x[*l], y[*r])).collect();
    Ok((shape, out))
}

fn differ(a: &Tensor, b: &Tensor) -> String {
    format!("{} beside {}", a.describe(), b.describe())
}

fn arithmetic(f: fn(f32, f32) -> f32, g: fn(f64, f64) -> f64, h: fn(i64, i64) -> i64) -> Result<Op, String> {
    binary(move |a, b| {
        let (shape, data) = match (&a.data, &b.data) {
            (Data::F32(x), Data::F32(y)) => zip(a, b, x, y, f).map(|(s, v)| (s, Data::F32(v)))?,
            (Data::F64(x), Data::F64(y)) => zip(a, b, x, y, g).map(|(s, v)| (s, Data::F64(v)))?,
            (Data::I64(x), Data::I64(y)) => zip(a, b, x, y, h).map(|(s, v)| (s, Data::I64(v)))?,
            (Data::I32(x), Data::I32(y)) => {
                let narrow = |a: i32, b: i32| h(a.into(), b.into()) as i32;
                zip(a, b, x, y, narrow).map(|(s, v)| (s, Data::I32(v)))?
            }
            _ => return Err(differ(a, b)),
        };
        Ok(Tensor::new(shape, data))
    })
}

/// An operator of two values over as many as there are.
fn several(two: Result<Op, String>) -> Result<Op, String> {
    let two = two?;
    Ok(Box::new(move |inputs| {
        let mut all = at(inputs, 0)?.clone();
        steps(inputs.iter().flatten().map(|t| t.data.len()).max().unwrap_or(0), inputs.len())?;
        for next in inputs.iter().skip(1) {
            all = two(&[Some(&all), *next])?.pop().ok_or("nothing was made")?;
        }
        Ok(vec![all])
    }))
}

fn compare(holds: fn(std::cmp::Ordering) -> bool) -> Result<Op, String> {
    fn by<T: PartialOrd>(holds: fn(std::cmp::Ordering) -> bool) -> impl Fn(T, T) -> bool {
        // What is not a number compares with nothing.
        move |a, b| a.partial_cmp(&b).is_some_and(holds)
    }
    binary(move |a, b| {
        let (shape, data) = match (&a.data, &b.data) {
            (Data::F32(x), Data::F32(y)) => zip(a, b, x, y, by(holds))?,
            (Data::F64(x), Data::F64(y)) => zip(a, b, x, y, by(holds))?,
            (Data::I64(x), Data::I64(y)) => zip(a, b, x, y, by(holds))?,
            (Data::I32(x), Data::I32(y)) => zip(a, b, x, y, by(holds))?,
            (Data::Bool(x), Data::Bool(y)) => zip(a, b, x, y, by(holds))?,
            (Data::Text(x), Data::Text(y)) => {
                let (x, y): (Vec<&str>, Vec<&str>) =
                    (x.iter().map(|s| &**s).collect(), y.iter().map(|s| &**s).collect());
                zip(a, b, &x, &y, by(holds))?
            }
            _ => return Err(differ(a, b)),
        };
        Ok(Tensor::new(shape, Data::Bool(data)))
    })
}

fn logic(f: fn(bool, bool) -> bool) -> Result<Op, String> {
    binary(move |a, b| match (&a.data, &b.data) {
        (Data::Bool(x), Data::Bool(y)) => {
            let (shape, data) = zip(a, b, x, y, f)?;
            Ok(Tensor::new(shape, Data::Bool(data)))
        }
        _ => Err(differ(a, b)),
    })
}

/// Bounds are attributes before version 11 and inputs since.
fn clip(node: &NodeProto) -> Result<Op, String> {
    let (low, high) = (node.float("min").map(f64::from), node.float("max").map(f64::from));
    Ok(Box::new(move |inputs| {
        let x = at(inputs, 0)?;
        let bound = |i: usize, attribute: Option<f64>| match maybe(inputs, i) {
            None => Ok(attribute),
            Some(Tensor { data: Data::F64(v), .. }) => Ok(v.first().copied()),
            Some(t) => t.floats().map(|v| v.first().map(|x| f64::from(*x))),
        };
        let low = bound(1, low)?.unwrap_or(f64::NEG_INFINITY);
        let high = bound(2, high)?.unwrap_or(f64::INFINITY);
        // What is not a number stays it.
        let clip = |x: f64| {
            if x < low {
                low
            } else if x > high {
                high
            } else {
                x
            }
        };
        let data = match &x.data {
            Data::F32(v) => Data::F32(v.iter().map(|x| clip((*x).into()) as f32).collect()),
            Data::F64(v) => Data::F64(v.iter().map(|x| clip(*x)).collect()),
            Data::I64(v) => Data::I64(v.iter().map(|x| clip(*x as f64) as i64).collect()),
            Data::I32(v) => Data::I32(v.iter().map(|x| clip((*x).into()) as i32).collect()),
            _ => return Err(format!("{} where numbers are needed", x.describe())),
        };
        Ok(vec![Tensor::new(x.shape.clone(), data)])
    }))
}

fn choose() -> Result<Op, String> {
    Ok(Box::new(|inputs| {
        let (which, a, b) = (at(inputs, 0)?, at(inputs, 1)?, at(inputs, 2)?);
        let Data::Bool(mask) = &which.data else { return Err(format!("{} where BOOL is needed", which.describe())) };
        let shape = common(&common(&which.shape, &a.shape)?, &b.shape)?;
        let places = stretched(&which.shape, &shape);
        let (left, right) = (stretched(&a.shape, &shape), stretched(&b.shape, &shape));
        // Both one after the other, of which each place takes one.
        let offset = a.data.len();
        let mut both = a.data.clone();
        both.append(b.data.clone())?;
        let pick = |i: usize| if mask[places[i]] { left[i] } else { offset + right[i] };
        let data = both.pick((0..places.len()).map(pick))?;
        Ok(vec![Tensor::new(shape, data)])
    }))
}
