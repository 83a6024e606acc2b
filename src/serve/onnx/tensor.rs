//! Tensors: a shape and its elements, row by row.

/// Elements of one type.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I64(Vec<i64>),
    I32(Vec<i32>),
    Bool(Vec<bool>),
    Text(Vec<String>),
}

/// The type of the elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    F32,
    F64,
    I64,
    I32,
    Bool,
    Text,
}

/// A tensor; there are as many elements as the shape says.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub data: Data,
}

/// Elements of one tensor, at most: 1 GiB of 32-bit floats.
const MOST: usize = 1 << 28;
/// Dimensions of one tensor, at most; NumPy has as many.
const MOST_DIMENSIONS: usize = 64;
/// Elements of a tensor that a node makes out of smaller ones. Tests come to this limit and the next ones soon.
pub const MOST_MADE: usize = if cfg!(test) { 1 << 14 } else { 1 << 25 };
/// Bytes of all values that a run holds at once.
pub const MOST_HELD: usize = if cfg!(test) { 4 << 20 } else { 1 << 30 };
/// Texts and what they take, of one tensor.
const MOST_TEXT: usize = MOST_HELD / 4;
/// Products, comparisons and the like of one node in one run: some seconds.
const MOST_STEPS: usize = if cfg!(test) { 1 << 20 } else { 1 << 34 };

/// Elements of a shape; `None` when there are too many. No product of some of the dimensions is too large either, though another is 0.
pub fn count(shape: &[usize]) -> Option<usize> {
    if shape.len() > MOST_DIMENSIONS {
        return None;
    }
    shape.iter().try_fold(1usize, |n, d| n.checked_mul((*d).max(1)).filter(|n| *n <= MOST))?;
    Some(shape.iter().product())
}

/// Elements of a shape that a node is about to make.
pub fn room(shape: &[usize]) -> Result<usize, String> {
    dimensions(shape.len())?;
    // No part of it is larger, though a dimension is 0.
    let bound = shape.iter().try_fold(1usize, |n, d| n.checked_mul((*d).max(1)).filter(|n| *n <= MOST_MADE));
    bound.and(count(shape)).ok_or_else(|| format!("a tensor of shape {shape:?} is too large"))
}

/// Whether a tensor may have so many dimensions.
pub fn dimensions(rank: usize) -> Result<(), String> {
    if rank > MOST_DIMENSIONS { Err(format!("a tensor of {rank} dimensions is too large")) } else { Ok(()) }
}

/// Whether a node may take so many steps times so many.
pub fn steps(n: usize, each: usize) -> Result<(), String> {
    let few = n.checked_mul(each).is_some_and(|n| n <= MOST_STEPS);
    if few { Ok(()) } else { Err(format!("{n} times {each} steps are too many")) }
}

/// The same expression over the elements, whatever their type, with the data of the same type as its result.
macro_rules! each {
    ($data:expr, $v:ident => $body:expr) => {
        match $data {
            Data::F32($v) => Data::F32($body),
            Data::F64($v) => Data::F64($body),
            Data::I64($v) => Data::I64($body),
            Data::I32($v) => Data::I32($body),
            Data::Bool($v) => Data::Bool($body),
            Data::Text($v) => Data::Text($body),
        }
    };
}

impl Data {
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::Bool(v) => v.len(),
            Self::Text(v) => v.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::F32(_) => Kind::F32,
            Self::F64(_) => Kind::F64,
            Self::I64(_) => Kind::I64,
            Self::I32(_) => Kind::I32,
            Self::Bool(_) => Kind::Bool,
            Self::Text(_) => Kind::Text,
        }
    }

    /// The elements at these places; the caller knows that they are there. One text may be as large as the file, so that many of them are
    /// too large.
    pub fn pick(&self, places: impl Iterator<Item = usize>) -> Result<Data, String> {
        let Self::Text(texts) = self else { return Ok(each!(self, v => places.map(|i| v[i].to_owned()).collect())) };
        let mut left = MOST_TEXT;
        let one = |i: usize| {
            left = left.checked_sub(text_bytes(&texts[i])).ok_or("so many long texts are too large")?;
            Ok(texts[i].clone())
        };
        places.map(one).collect::<Result<_, String>>().map(Data::Text)
    }

    /// What it takes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::F32(v) => v.len() * 4,
            Self::F64(v) => v.len() * 8,
            Self::I64(v) => v.len() * 8,
            Self::I32(v) => v.len() * 4,
            Self::Bool(v) => v.len(),
            Self::Text(v) => v.iter().map(|text| text_bytes(text)).sum(),
        }
    }

    /// Adds the elements of another of the same type.
    pub fn append(&mut self, other: Data) -> Result<(), String> {
        match (self, other) {
            (Self::F32(a), Self::F32(b)) => a.extend(b),
            (Self::F64(a), Self::F64(b)) => a.extend(b),
            (Self::I64(a), Self::I64(b)) => a.extend(b),
            (Self::I32(a), Self::I32(b)) => a.extend(b),
            (Self::Bool(a), Self::Bool(b)) => a.extend(b),
            (Self::Text(a), Self::Text(b)) => a.extend(b),
            (a, b) => return Err(format!("{} beside {}", b.kind().name(), a.kind().name())),
        }
        Ok(())
    }
}

fn text_bytes(text: &str) -> usize {
    size_of::<String>() + text.len()
}

impl Kind {
    /// As the Open Inference Protocol calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "FP32",
            Self::F64 => "FP64",
            Self::I64 => "INT64",
            Self::I32 => "INT32",
            Self::Bool => "BOOL",
            Self::Text => "BYTES",
        }
    }

    /// Of a number in `TensorProto.DataType`.
    pub fn of(number: i64) -> Option<Self> {
        Some(match number {
            1 => Self::F32,
            6 => Self::I32,
            7 => Self::I64,
            8 => Self::Text,
            9 => Self::Bool,
            11 => Self::F64,
            _ => return None,
        })
    }

    /// So many elements, all the zero of their type.
    pub fn zeros(self, n: usize) -> Data {
        match self {
            Self::F32 => Data::F32(vec![0.0; n]),
            Self::F64 => Data::F64(vec![0.0; n]),
            Self::I64 => Data::I64(vec![0; n]),
            Self::I32 => Data::I32(vec![0; n]),
            Self::Bool => Data::Bool(vec![false; n]),
            Self::Text => Data::Text(vec![String::new(); n]),
        }
    }
}

impl Tensor {
    /// With the shape that the caller has counted the elements for.
    pub fn new(shape: Vec<usize>, data: Data) -> Self {
        debug_assert_eq!(count(&shape), Some(data.len()));
        Self { shape, data }
    }

    /// `FP32[2, 4]`, for messages.
    pub fn describe(&self) -> String {
        format!("{}{:?}", self.data.kind().name(), self.shape)
    }

    /// Rows and columns of something that is taken for a matrix: a vector is one row, as ai.onnx.ml has it.
    pub fn matrix(&self) -> (usize, usize) {
        match *self.shape.as_slice() {
            [] => (1, 1),
            [n] => (1, n),
            [rows, ref rest @ ..] => (rows, rest.iter().product()),
        }
    }

    /// Its numbers as 32-bit floats.
    pub fn floats(&self) -> Result<std::borrow::Cow<'_, [f32]>, String> {
        use std::borrow::Cow;
        Ok(match &self.data {
            Data::F32(v) => Cow::Borrowed(v),
            Data::F64(v) => v.iter().map(|x| *x as f32).collect(),
            Data::I64(v) => v.iter().map(|x| *x as f32).collect(),
            Data::I32(v) => v.iter().map(|x| *x as f32).collect(),
            Data::Bool(v) => v.iter().map(|x| f32::from(u8::from(*x))).collect(),
            Data::Text(_) => return Err(format!("{} where numbers are needed", self.describe())),
        })
    }

    /// Its whole numbers.
    pub fn whole(&self) -> Result<Vec<i64>, String> {
        match &self.data {
            Data::I64(v) => Ok(v.clone()),
            Data::I32(v) => Ok(v.iter().map(|x| i64::from(*x)).collect()),
            _ => Err(format!("{} where whole numbers are needed", self.describe())),
        }
    }

    /// Rows `from..to` of the first dimension.
    pub fn rows(&self, from: usize, to: usize) -> Tensor {
        let width: usize = self.shape.iter().skip(1).product();
        let mut shape = self.shape.clone();
        if let Some(first) = shape.first_mut() {
            *first = to - from;
        }
        Tensor::new(shape, each!(&self.data, v => v[from * width..to * width].to_vec()))
    }
}
