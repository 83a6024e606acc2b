//! Numbers and texts of a JSON body, nested or flat, to tensors and back.

use super::onnx::tensor::{Data, Kind, count};
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use std::fmt;

/// Elements in the order in which they stand, and how they were nested.
#[derive(Debug, Clone, PartialEq)]
pub struct Flat {
    pub dims: Vec<usize>,
    values: Values,
}

/// JSON does not say of which type an array is: whole numbers become floats with the first that is one.
#[derive(Debug, Clone, PartialEq)]
enum Values {
    Whole(Vec<i64>),
    Float(Vec<f64>),
    Bool(Vec<bool>),
    Text(Vec<String>),
}

/// Reads one level of nesting into the whole.
struct Level<'a> {
    all: &'a mut Flat,
    depth: usize,
}

impl Level<'_> {
    fn number<E: serde::de::Error>(self, x: f64) -> Result<(), E> {
        self.scalar()?;
        match &mut self.all.values {
            Values::Float(v) => v.push(x),
            Values::Whole(v) => {
                // Most arrays that begin with a float are floats.
                let mut floats = Vec::with_capacity(v.capacity());
                floats.extend(v.iter().map(|n| *n as f64));
                floats.push(x);
                self.all.values = Values::Float(floats);
            }
            Values::Bool(_) | Values::Text(_) => return Err(E::custom("numbers and other values in one array")),
        }
        Ok(())
    }

    fn scalar<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.depth == self.all.dims.len() { Ok(()) } else { Err(E::custom("the arrays are not nested evenly")) }
    }
}

impl<'de> serde::de::DeserializeSeed<'de> for Level<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("numbers, texts or booleans in arrays")
    }

    fn visit_f64<E: serde::de::Error>(self, x: f64) -> Result<(), E> {
        self.number(x)
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        // JSON has no other word for what is missing.
        self.number(f64::NAN)
    }
    fn visit_u64<E: serde::de::Error>(self, x: u64) -> Result<(), E> {
        match i64::try_from(x) {
            Ok(x) => self.visit_i64(x),
            Err(_) => self.number(x as f64),
        }
    }
    fn visit_i64<E: serde::de::Error>(self, x: i64) -> Result<(), E> {
        match &mut self.all.values {
            Values::Whole(v) if self.depth == self.all.dims.len() => v.push(x),
            _ => return self.number(x as f64),
        }
        Ok(())
    }
    fn visit_bool<E: serde::de::Error>(self, x: bool) -> Result<(), E> {
        self.scalar()?;
        match &mut self.all.values {
            Values::Bool(v) => v.push(x),
            Values::Whole(v) if v.is_empty() => self.all.values = Values::Bool(vec![x]),
            _ => return Err(E::custom("booleans and other values in one array")),
        }
        Ok(())
    }
    fn visit_str<E: serde::de::Error>(self, x: &str) -> Result<(), E> {
        self.scalar()?;
        match &mut self.all.values {
            Values::Text(v) => v.push(x.to_owned()),
            Values::Whole(v) if v.is_empty() => self.all.values = Values::Text(vec![x.to_owned()]),
            _ => return Err(E::custom("texts and other values in one array")),
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Level { all, depth } = self;
        let first = depth == all.dims.len();
        if first && !(all.values.is_empty() && depth < MOST_DIMENSIONS) {
            return Err(serde::de::Error::custom("the arrays are not nested evenly"));
        }
        if first {
            all.dims.push(UNKNOWN);
        }
        let mut n = 0;
        while seq.next_element_seed(Level { all: &mut *all, depth: depth + 1 })?.is_some() {
            n += 1;
        }
        match &mut all.dims[depth] {
            size if *size == UNKNOWN => *size = n,
            size if *size == n => {}
            size => return Err(serde::de::Error::custom(format!("rows of {size} and of {n} values"))),
        }
        Ok(())
    }
}

const MOST_DIMENSIONS: usize = 8;
/// Of a level whose first array has not ended yet.
const UNKNOWN: usize = usize::MAX;

impl Values {
    fn is_empty(&self) -> bool {
        match self {
            Self::Whole(v) => v.is_empty(),
            Self::Float(v) => v.is_empty(),
            Self::Bool(v) => v.is_empty(),
            Self::Text(v) => v.is_empty(),
        }
    }
}

impl<'de> Deserialize<'de> for Flat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut flat = Flat { dims: vec![], values: Values::Whole(vec![]) };
        serde::de::DeserializeSeed::deserialize(Level { all: &mut flat, depth: 0 }, deserializer)?;
        Ok(flat)
    }
}

impl Flat {
    pub fn len(&self) -> usize {
        match &self.values {
            Values::Whole(v) => v.len(),
            Values::Float(v) => v.len(),
            Values::Bool(v) => v.len(),
            Values::Text(v) => v.len(),
        }
    }

    /// As elements of a type; what does not fit into it is an error.
    pub fn of(self, kind: Kind) -> Result<Data, String> {
        if self.values.is_empty() {
            return Ok(kind.zeros(0));
        }
        let float = |x: f64| {
            let narrow = x as f32;
            if narrow.is_infinite() && x.is_finite() { Err(format!("{x:e} is beyond FP32")) } else { Ok(narrow) }
        };
        let narrow = |x: i64| i32::try_from(x).map_err(|_| format!("{x} is beyond INT32"));
        Ok(match (kind, self.values) {
            (Kind::F32, Values::Float(v)) => Data::F32(v.into_iter().map(float).collect::<Result<_, _>>()?),
            (Kind::F32, Values::Whole(v)) => Data::F32(v.into_iter().map(|x| x as f32).collect()),
            (Kind::F64, Values::Float(v)) => Data::F64(v),
            (Kind::F64, Values::Whole(v)) => Data::F64(v.into_iter().map(|x| x as f64).collect()),
            (Kind::I64, Values::Whole(v)) => Data::I64(v),
            (Kind::I32, Values::Whole(v)) => Data::I32(v.into_iter().map(narrow).collect::<Result<_, _>>()?),
            (Kind::Bool, Values::Bool(v)) => Data::Bool(v),
            (Kind::Text, Values::Text(v)) => Data::Text(v),
            (_, found) => return Err(format!("{} where {} is needed", found.name(), kind.name())),
        })
    }
}

impl Values {
    fn name(&self) -> &'static str {
        match self {
            Self::Whole(_) => "whole numbers",
            Self::Float(_) => "floats, or numbers beyond 64 bits,",
            Self::Bool(_) => "booleans",
            Self::Text(_) => "texts",
        }
    }
}

/// Elements `from..to` as JSON, separated by commas. What is no finite number is `null`.
pub fn write(out: &mut Vec<u8>, data: &Data, from: usize, to: usize) {
    fn each<T>(out: &mut Vec<u8>, v: &[T], mut f: impl FnMut(&mut Vec<u8>, &T)) {
        for (i, x) in v.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            f(out, x);
        }
    }
    match data {
        Data::F32(v) => each(out, &v[from..to], value),
        Data::F64(v) => each(out, &v[from..to], value),
        Data::I64(v) => each(out, &v[from..to], value),
        Data::I32(v) => each(out, &v[from..to], value),
        Data::Bool(v) => each(out, &v[from..to], value),
        Data::Text(v) => each(out, &v[from..to], value),
    }
}

/// One value, such as a text with its quotes.
pub fn value(out: &mut Vec<u8>, x: &(impl serde::Serialize + ?Sized)) {
    // Writing to memory does not fail, and nothing that comes here has a map with keys that are no texts.
    let _ = serde_json::to_writer(out, x);
}

/// Elements in arrays that are nested as the shape says.
pub fn nested(out: &mut Vec<u8>, data: &Data, shape: &[usize], from: usize) {
    let Some((first, inner)) = shape.split_first() else { return write(out, data, from, from + 1) };
    out.push(b'[');
    // Of the count no dimension is left out, so it stands for what is below.
    let step = count(inner).unwrap_or(0);
    if inner.is_empty() {
        write(out, data, from, from + first);
    } else {
        for i in 0..*first {
            if i > 0 {
                out.push(b',');
            }
            nested(out, data, inner, from + i * step);
        }
    }
    out.push(b']');
}
