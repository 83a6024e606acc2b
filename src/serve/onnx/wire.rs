//! ONNX files: protocol buffers, read without copying. Field numbers are those of `onnx.proto` (IR version 14).
//!
//! A file is not trusted: lengths are checked against what is there, and depth is that of the format, so that nothing recurses.

use super::tensor::{Data, Tensor, count};

/// One field: its number and what it holds.
enum Field<'a> {
    Number(u64),
    Four([u8; 4]),
    Eight([u8; 8]),
    Bytes(&'a [u8]),
}

struct Fields<'a>(&'a [u8]);

const BROKEN: &str = "this is no ONNX file, or it ends early";

fn varint(rest: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first().ok_or(BROKEN)?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(BROKEN.into())
}

fn take<'a>(rest: &mut &'a [u8], n: u64) -> Result<&'a [u8], String> {
    let n = usize::try_from(n).ok().filter(|n| *n <= rest.len()).ok_or(BROKEN)?;
    let (head, tail) = rest.split_at(n);
    *rest = tail;
    Ok(head)
}

fn fixed<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], String> {
    take(rest, N as u64)?.try_into().map_err(|_| BROKEN.into())
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let rest = &mut self.0;
        let mut read = || {
            let tag = varint(rest)?;
            let field = match tag & 7 {
                0 => Field::Number(varint(rest)?),
                1 => Field::Eight(fixed(rest)?),
                2 => {
                    let n = varint(rest)?;
                    Field::Bytes(take(rest, n)?)
                }
                5 => Field::Four(fixed(rest)?),
                _ => return Err(BROKEN.into()),
            };
            Ok((tag >> 3, field))
        };
        let read = read();
        if read.is_err() {
            self.0 = &[];
        }
        Some(read)
    }
}

impl<'a> Field<'a> {
    fn number(self) -> Result<i64, String> {
        if let Field::Number(n) = self { Ok(n as i64) } else { Err(BROKEN.into()) }
    }
    fn bytes(self) -> Result<&'a [u8], String> {
        if let Field::Bytes(b) = self { Ok(b) } else { Err(BROKEN.into()) }
    }
    fn text(self) -> Result<String, String> {
        self.bytes().map(|b| String::from_utf8_lossy(b).into_owned())
    }
    /// Repeated numbers come one by one, or packed.
    fn numbers(self, out: &mut Vec<i64>) -> Result<(), String> {
        match self {
            Field::Number(n) => out.push(n as i64),
            Field::Bytes(mut packed) => {
                while !packed.is_empty() {
                    out.push(varint(&mut packed)? as i64);
                }
            }
            _ => return Err(BROKEN.into()),
        }
        Ok(())
    }
    fn floats(self, out: &mut Vec<f32>) -> Result<(), String> {
        match self {
            Field::Four(b) => out.push(f32::from_le_bytes(b)),
            Field::Bytes(packed) => out.extend(chunks(packed)?.map(f32::from_le_bytes)),
            _ => return Err(BROKEN.into()),
        }
        Ok(())
    }
    fn doubles(self, out: &mut Vec<f64>) -> Result<(), String> {
        match self {
            Field::Eight(b) => out.push(f64::from_le_bytes(b)),
            Field::Bytes(packed) => out.extend(chunks(packed)?.map(f64::from_le_bytes)),
            _ => return Err(BROKEN.into()),
        }
        Ok(())
    }
}

fn chunks<const N: usize>(bytes: &[u8]) -> Result<impl Iterator<Item = [u8; N]>, String> {
    let (whole, rest) = bytes.as_chunks::<N>();
    if rest.is_empty() { Ok(whole.iter().copied()) } else { Err(BROKEN.into()) }
}

/// A model file.
#[derive(Debug, Default)]
pub struct Proto {
    /// Who wrote it, such as `skl2onnx 1.20.0`.
    pub producer: String,
    pub description: String,
    /// `metadata_props`.
    pub properties: Vec<(String, String)>,
    pub nodes: Vec<NodeProto>,
    pub constants: Vec<(String, Tensor)>,
    pub inputs: Vec<PortProto>,
    pub outputs: Vec<PortProto>,
    /// Version of the standard operators (`ai.onnx`).
    pub opset: i64,
}

/// A node of the graph; an empty name in `inputs` is one that is left out.
#[derive(Debug, Default)]
pub struct NodeProto {
    pub name: String,
    pub operator: String,
    pub domain: String,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub attributes: Vec<(String, Attribute)>,
}

/// What an attribute holds; the format has one field for each.
#[derive(Debug, Default)]
pub struct Attribute {
    pub float: Option<f32>,
    pub int: Option<i64>,
    pub text: Option<String>,
    pub tensor: Option<Tensor>,
    pub floats: Vec<f32>,
    pub ints: Vec<i64>,
    pub texts: Vec<String>,
    /// A graph in a node (`If`, `Loop`, `Scan`).
    pub graph: bool,
}

/// An input or output of the graph: for one that is a tensor, its element type (of `TensorProto.DataType`) and its shape, `None` where a
/// dimension is free.
#[derive(Debug, Default)]
pub struct PortProto {
    pub name: String,
    pub tensor: Option<(i64, Vec<Option<usize>>)>,
}

/// Reads a model file.
pub fn read(bytes: &[u8]) -> Result<Proto, String> {
    let mut out = Proto::default();
    let (mut version, mut graph) = (String::new(), None);
    for field in Fields(bytes) {
        match field? {
            (2, f) => out.producer = f.text()?,
            (3, f) => version = f.text()?,
            (6, f) => out.description = f.text()?,
            (7, f) => graph = Some(f.bytes()?),
            (8, f) => {
                let (mut domain, mut number) = (String::new(), 0);
                for field in Fields(f.bytes()?) {
                    match field? {
                        (1, f) => domain = f.text()?,
                        (2, f) => number = f.number()?,
                        _ => {}
                    }
                }
                if domain.is_empty() || domain == "ai.onnx" {
                    out.opset = number;
                }
            }
            (14, f) => {
                let (mut key, mut value) = (String::new(), String::new());
                for field in Fields(f.bytes()?) {
                    match field? {
                        (1, f) => key = f.text()?,
                        (2, f) => value = f.text()?,
                        _ => {}
                    }
                }
                out.properties.push((key, value));
            }
            _ => {}
        }
    }
    out.producer = format!("{} {version}", out.producer).trim().to_owned();
    for field in Fields(graph.ok_or(BROKEN)?) {
        match field? {
            (1, f) => out.nodes.push(node(f.bytes()?)?),
            (5, f) => out.constants.push(tensor(f.bytes()?)?),
            (11, f) => out.inputs.push(port(f.bytes()?)?),
            (12, f) => out.outputs.push(port(f.bytes()?)?),
            (15, _) => return Err("sparse constants are not supported".into()),
            _ => {}
        }
    }
    Ok(out)
}

fn node(bytes: &[u8]) -> Result<NodeProto, String> {
    let mut out = NodeProto::default();
    for field in Fields(bytes) {
        match field? {
            (1, f) => out.inputs.push(f.text()?),
            (2, f) => out.outputs.push(f.text()?),
            (3, f) => out.name = f.text()?,
            (4, f) => out.operator = f.text()?,
            (5, f) => out.attributes.push(attribute(f.bytes()?)?),
            (7, f) => out.domain = f.text()?,
            _ => {}
        }
    }
    Ok(out)
}

fn attribute(bytes: &[u8]) -> Result<(String, Attribute), String> {
    let (mut name, mut out) = (String::new(), Attribute::default());
    for field in Fields(bytes) {
        match field? {
            (1, f) => name = f.text()?,
            (2, Field::Four(b)) => out.float = Some(f32::from_le_bytes(b)),
            (3, f) => out.int = Some(f.number()?),
            (4, f) => out.text = Some(f.text()?),
            (5, f) => out.tensor = Some(tensor(f.bytes()?)?.1),
            (6 | 11, _) => out.graph = true,
            (7, f) => f.floats(&mut out.floats)?,
            (8, f) => f.numbers(&mut out.ints)?,
            (9, f) => out.texts.push(f.text()?),
            _ => {}
        }
    }
    Ok((name, out))
}

fn port(bytes: &[u8]) -> Result<PortProto, String> {
    let mut out = PortProto::default();
    for field in Fields(bytes) {
        match field? {
            (1, f) => out.name = f.text()?,
            (2, f) => {
                for field in Fields(f.bytes()?) {
                    if let (1, f) = field? {
                        out.tensor = Some(tensor_type(f.bytes()?)?);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(out)
}

fn tensor_type(bytes: &[u8]) -> Result<(i64, Vec<Option<usize>>), String> {
    let (mut kind, mut shape) = (0, vec![]);
    for field in Fields(bytes) {
        match field? {
            (1, f) => kind = f.number()?,
            (2, f) => {
                for dimension in Fields(f.bytes()?) {
                    if let (1, f) = dimension? {
                        let mut size = None;
                        for field in Fields(f.bytes()?) {
                            if let (1, f) = field? {
                                // Some writers put 0 or -1 where a size is free.
                                size = usize::try_from(f.number()?).ok().filter(|n| *n > 0);
                            }
                        }
                        shape.push(size);
                    }
                }
            }
            _ => {}
        }
    }
    Ok((kind, shape))
}

fn tensor(bytes: &[u8]) -> Result<(String, Tensor), String> {
    let (mut name, mut dims, mut kind) = (String::new(), vec![], 0);
    let (mut floats, mut doubles, mut ints, mut texts, mut raw) = (vec![], vec![], vec![], vec![], None);
    for field in Fields(bytes) {
        match field? {
            (1, f) => f.numbers(&mut dims)?,
            (2, f) => kind = f.number()?,
            (4, f) => f.floats(&mut floats)?,
            (5 | 7 | 11, f) => f.numbers(&mut ints)?,
            (6, f) => texts.push(f.text()?),
            (8, f) => name = f.text()?,
            (9, f) => raw = Some(f.bytes()?),
            (10, f) => f.doubles(&mut doubles)?,
            (14, Field::Number(1)) => {
                return Err(format!("constant `{name}` lies in a file of its own: write the model as one file"));
            }
            _ => {}
        }
    }
    let shape: Option<Vec<usize>> = dims.into_iter().map(|d| usize::try_from(d).ok()).collect();
    let shape = shape.ok_or_else(|| format!("constant `{name}` has a negative dimension"))?;
    let wide = |ints: Vec<i64>| ints.into_iter().map(|i| i as i32).collect();
    let data = match (kind, raw) {
        (1, Some(raw)) => Data::F32(chunks(raw)?.map(f32::from_le_bytes).collect()),
        (1, None) => Data::F32(floats),
        (11, Some(raw)) => Data::F64(chunks(raw)?.map(f64::from_le_bytes).collect()),
        (11, None) => Data::F64(doubles),
        (7, Some(raw)) => Data::I64(chunks(raw)?.map(i64::from_le_bytes).collect()),
        (7, None) => Data::I64(ints),
        (6, Some(raw)) => Data::I32(chunks(raw)?.map(i32::from_le_bytes).collect()),
        (6, None) => Data::I32(wide(ints)),
        (9, Some(raw)) => Data::Bool(raw.iter().map(|b| *b != 0).collect()),
        (9, None) => Data::Bool(ints.into_iter().map(|i| i != 0).collect()),
        (8, _) => Data::Text(texts),
        (other, _) => return Err(format!("constant `{name}` is {}, which is not supported", kind_name(other))),
    };
    if count(&shape) != Some(data.len()) {
        return Err(format!("constant `{name}` of shape {shape:?} has {} values", data.len()));
    }
    Ok((name, Tensor { shape, data }))
}

/// The name of an element type (`TensorProto.DataType`) in the Open Inference Protocol, or ONNX's own.
pub fn kind_name(kind: i64) -> &'static str {
    const NAMES: [&str; 17] = [
        "UNDEFINED",
        "FP32",
        "UINT8",
        "INT8",
        "UINT16",
        "INT16",
        "INT32",
        "INT64",
        "BYTES",
        "BOOL",
        "FP16",
        "FP64",
        "UINT32",
        "UINT64",
        "COMPLEX64",
        "COMPLEX128",
        "BF16",
    ];
    usize::try_from(kind).ok().and_then(|k| NAMES.get(k)).copied().unwrap_or("of an unknown type")
}
