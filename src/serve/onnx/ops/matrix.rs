//! Matrix products, and operators that go along a dimension.

use super::{Op, at, axis, binary, maybe, unary};
use crate::serve::onnx::{tensor::*, wire::NodeProto};

/// The sum of products, in eight lanes that the compiler keeps in one register.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; 8];
    let ((x, x_rest), (y, y_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (x, y) in x.iter().zip(y) {
        for i in 0..8 {
            lanes[i] += x[i] * y[i];
        }
    }
    let rest: f32 = x_rest.iter().zip(y_rest).map(|(x, y)| x * y).sum();
    lanes.iter().sum::<f32>() + rest
}

/// `rows x inner` by `inner x columns`, added to what is in `out`.
fn product<T: Copy + std::ops::AddAssign + std::ops::Mul<Output = T>>(
    x: &[T],
    y: &[T],
    inner: usize,
    out: &mut [T],
    columns: usize,
) {
    if inner == 0 || columns == 0 {
        return;
    }
    for (row, out) in x.chunks_exact(inner).zip(out.chunks_exact_mut(columns)) {
        for (x, line) in row.iter().zip(y.chunks_exact(columns)) {
            for (o, y) in out.iter_mut().zip(line) {
                *o += *x * *y;
            }
        }
    }
}

/// Two tensors as numbers of one type.
enum Pair<'a> {
    F32(&'a [f32], &'a [f32]),
    F64(&'a [f64], &'a [f64]),
}

fn pair<'a>(a: &'a Tensor, b: &'a Tensor) -> Result<Pair<'a>, String> {
    match (&a.data, &b.data) {
        (Data::F32(x), Data::F32(y)) => Ok(Pair::F32(x, y)),
        (Data::F64(x), Data::F64(y)) => Ok(Pair::F64(x, y)),
        _ => Err(format!("{} beside {}: both must be FP32 or FP64", a.describe(), b.describe())),
    }
}

/// With a matrix, or a vector, on the right; more dimensions only on the left.
pub fn matmul() -> Result<Op, String> {
    binary(|a, b| {
        let (inner, columns) = match *b.shape.as_slice() {
            [inner] => (inner, None),
            [inner, columns] => (inner, Some(columns)),
            _ => return Err(format!("{} on the right of a product is not supported", b.describe())),
        };
        if a.shape.last() != Some(&inner) {
            return Err(format!("{} by {}", a.describe(), b.describe()));
        }
        let mut shape = a.shape.clone();
        shape.pop();
        shape.extend(columns);
        let n = room(&shape)?;
        steps(n, inner)?;
        let columns = columns.unwrap_or(1);
        let data = match pair(a, b)? {
            Pair::F32(x, y) => {
                let mut out = vec![0.0; n];
                product(x, y, inner, &mut out, columns);
                Data::F32(out)
            }
            Pair::F64(x, y) => {
                let mut out = vec![0.0; n];
                product(x, y, inner, &mut out, columns);
                Data::F64(out)
            }
        };
        Ok(Tensor::new(shape, data))
    })
}

fn transposed(x: &Tensor) -> Result<Tensor, String> {
    let [rows, columns] = *x.shape.as_slice() else { return Err(format!("{} where a matrix is needed", x.describe())) };
    let places = (0..columns).flat_map(|c| (0..rows).map(move |r| r * columns + c));
    Ok(Tensor::new(vec![columns, rows], x.data.pick(places)?))
}

pub fn gemm(node: &NodeProto) -> Result<Op, String> {
    let (alpha, beta) = (node.float("alpha").unwrap_or(1.0), node.float("beta").unwrap_or(1.0));
    let set = |name: &str| node.int(name).unwrap_or(0) != 0;
    let (flip_a, flip_b) = (set("transA"), set("transB"));
    let product = matmul()?;
    Ok(Box::new(move |inputs| {
        let (a, b) = (at(inputs, 0)?, at(inputs, 1)?);
        let flipped = |flip: bool, x: &Tensor| if flip { transposed(x).map(Some) } else { Ok(None) };
        let (a_flipped, b_flipped) = (flipped(flip_a, a)?, flipped(flip_b, b)?);
        let (a, b) = (a_flipped.as_ref().unwrap_or(a), b_flipped.as_ref().unwrap_or(b));
        if a.shape.len() != 2 || b.shape.len() != 2 {
            return Err(format!("{} by {}", a.describe(), b.describe()));
        }
        let mut out = product(&[Some(a), Some(b)])?;
        let result = out.first_mut().ok_or("nothing was made")?;
        let places = match maybe(inputs, 2) {
            Some(c) if super::math::common(&c.shape, &result.shape)? != result.shape => {
                return Err(format!("{} beside {}", result.describe(), c.describe()));
            }
            Some(c) => super::math::stretched(&c.shape, &result.shape),
            None => vec![],
        };
        match (&mut result.data, maybe(inputs, 2).map(|c| &c.data)) {
            (Data::F32(out), None) => out.iter_mut().for_each(|o| *o *= alpha),
            (Data::F32(out), Some(Data::F32(c))) => {
                out.iter_mut().zip(places).for_each(|(o, p)| *o = alpha * *o + beta * c[p]);
            }
            (Data::F64(out), None) => out.iter_mut().for_each(|o| *o *= f64::from(alpha)),
            (Data::F64(out), Some(Data::F64(c))) => {
                let (alpha, beta) = (f64::from(alpha), f64::from(beta));
                out.iter_mut().zip(places).for_each(|(o, p)| *o = alpha * *o + beta * c[p]);
            }
            _ => return Err("its three inputs differ in type".into()),
        }
        Ok(out)
    }))
}

/// A tensor seen along one dimension: so many blocks, each with `length` steps of `inner` elements.
struct Along {
    outer: usize,
    length: usize,
    inner: usize,
}

fn along(shape: &[usize], axis: usize) -> Along {
    let outer = shape[..axis].iter().product();
    Along { outer, length: shape[axis], inner: shape[axis + 1..].iter().product() }
}

impl Along {
    /// The places of each line.
    fn lines(&self) -> impl Iterator<Item = impl Iterator<Item = usize> + Clone + use<>> + use<> {
        let (length, inner) = (self.length, self.inner);
        let starts = (0..self.outer).flat_map(move |o| (0..inner).map(move |i| o * length * inner + i));
        starts.map(move |start| (0..length).map(move |k| start + k * inner))
    }
}

/// Before version 13 over all dimensions from the axis on, since then over the axis alone.
pub fn softmax(node: &NodeProto, log: bool, opset: i64) -> Result<Op, String> {
    let old = opset < 13;
    let which = node.int("axis").unwrap_or(if old { 1 } else { -1 });
    unary(move |x| {
        let a = axis(which, x.shape.len())?;
        let seen = match old {
            true => Along { outer: x.shape[..a].iter().product(), length: x.shape[a..].iter().product(), inner: 1 },
            false => along(&x.shape, a),
        };
        fn run<T: Copy + Into<f64>>(v: &[T], seen: &Along, log: bool, back: fn(f64) -> T) -> Vec<T> {
            let mut out = v.to_vec();
            for line in seen.lines() {
                let max = line.clone().map(|i| v[i].into()).fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = line.clone().map(|i| (v[i].into() - max).exp()).sum();
                for i in line {
                    let x = v[i].into() - max;
                    out[i] = back(if log { x - sum.ln() } else { x.exp() / sum });
                }
            }
            out
        }
        let data = match &x.data {
            Data::F32(v) => Data::F32(run(v, &seen, log, |x| x as f32)),
            Data::F64(v) => Data::F64(run(v, &seen, log, |x| x)),
            _ => return Err(format!("{} where FP32 or FP64 is needed", x.describe())),
        };
        Ok(Tensor::new(x.shape.clone(), data))
    })
}

/// A shape with some dimensions taken out, or left at 1.
fn without(shape: &[usize], axes: &[usize], keep: bool) -> Vec<usize> {
    let each = shape.iter().enumerate();
    let each = each.filter(|(i, _)| keep || !axes.contains(i));
    each.map(|(i, d)| if axes.contains(&i) { 1 } else { *d }).collect()
}

pub fn arg(node: &NodeProto, max: bool) -> Result<Op, String> {
    let which = node.int("axis").unwrap_or(0);
    let keep = node.int("keepdims").unwrap_or(1) != 0;
    let last = node.int("select_last_index").unwrap_or(0) != 0;
    unary(move |x| {
        let a = axis(which, x.shape.len())?;
        let seen = along(&x.shape, a);
        if seen.length == 0 {
            return Err(format!("nothing along axis {which} of {}", x.describe()));
        }
        fn run<T: Copy + PartialOrd>(v: &[T], seen: &Along, max: bool, last: bool) -> Vec<i64> {
            let better = |x: T, y: T| if max { x > y } else { x < y } || (last && x == y);
            let best = |line: &mut dyn Iterator<Item = usize>| {
                let mut best: Option<(i64, T)> = None;
                for (k, i) in line.enumerate() {
                    if best.is_none_or(|(_, b)| better(v[i], b)) {
                        best = Some((k as i64, v[i]));
                    }
                }
                best.map_or(0, |(k, _)| k)
            };
            seen.lines().map(|mut line| best(&mut line)).collect()
        }
        let out = match &x.data {
            Data::F32(v) => run(v, &seen, max, last),
            Data::F64(v) => run(v, &seen, max, last),
            Data::I64(v) => run(v, &seen, max, last),
            Data::I32(v) => run(v, &seen, max, last),
            _ => return Err(format!("{} where numbers are needed", x.describe())),
        };
        Ok(Tensor::new(without(&x.shape, &[a], keep), Data::I64(out)))
    })
}

/// `ReduceSum` and its kin. Axes are an attribute, or an input in later versions; none means all.
pub fn reduce(node: &NodeProto, how: &str) -> Result<Op, String> {
    let attribute = node.ints("axes").to_vec();
    let keep = node.int("keepdims").unwrap_or(1) != 0;
    let idle = node.int("noop_with_empty_axes").unwrap_or(0) != 0;
    let f: fn(&mut dyn Iterator<Item = f64>) -> f64 = match how {
        "Sum" => |v| v.sum(),
        "Mean" => |v| {
            let (n, sum) = v.fold((0u64, 0.0), |(n, s), x| (n + 1, s + x));
            sum / n as f64
        },
        "Max" => |v| v.fold(f64::NEG_INFINITY, f64::max),
        "Min" => |v| v.fold(f64::INFINITY, f64::min),
        "Prod" => |v| v.product(),
        "SumSquare" => |v| v.map(|x| x * x).sum(),
        "L1" => |v| v.map(f64::abs).sum(),
        "L2" => |v| v.map(|x| x * x).sum::<f64>().sqrt(),
        "LogSum" => |v| v.sum::<f64>().ln(),
        other => return Err(super::unknown(&format!("`Reduce{other}`"))),
    };
    Ok(Box::new(move |inputs| {
        let x = at(inputs, 0)?;
        let axes = maybe(inputs, 1).map_or(Ok(attribute.clone()), Tensor::whole)?;
        let axes = match axes.is_empty() {
            true if idle => return Ok(vec![x.clone()]),
            true => (0..x.shape.len()).collect(),
            false => axes.iter().map(|a| axis(*a, x.shape.len())).collect::<Result<Vec<_>, _>>()?,
        };
        let numbers: Vec<f64> = match &x.data {
            Data::F32(v) => v.iter().map(|x| (*x).into()).collect(),
            Data::F64(v) => v.clone(),
            Data::I64(v) => v.iter().map(|x| *x as f64).collect(),
            Data::I32(v) => v.iter().map(|x| (*x).into()).collect(),
            _ => return Err(format!("{} where numbers are needed", x.describe())),
        };
        // The places of each result: those of one line of the dimensions that go, moved by where the others stand.
        let kept = without(&x.shape, &axes, true);
        let gone: Vec<usize> = (0..x.shape.len()).map(|i| if axes.contains(&i) { x.shape[i] } else { 1 }).collect();
        let (starts, line) = (places(&kept, &x.shape), places(&gone, &x.shape));
        let out = starts.iter().map(|s| f(&mut line.iter().map(|l| numbers[s + l])));
        let data = match x.data.kind() {
            Kind::F64 => Data::F64(out.collect()),
            Kind::I64 => Data::I64(out.map(|x| x as i64).collect()),
            Kind::I32 => Data::I32(out.map(|x| x as i32).collect()),
            _ => Data::F32(out.map(|x| x as f32).collect()),
        };
        Ok(vec![Tensor::new(without(&x.shape, &axes, keep), data)])
    }))
}

/// The places in a tensor of shape `whole` of the elements of its corner of shape `part`.
fn places(part: &[usize], whole: &[usize]) -> Vec<usize> {
    let mut out = vec![0];
    let mut step = 1;
    for (p, w) in part.iter().zip(whole).rev() {
        out = (0..*p).flat_map(|i| out.iter().map(move |o| o + i * step)).collect();
        step *= w;
    }
    out
}
