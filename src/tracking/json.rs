//! JSON as Python writes it, where clients compare or keep the text.

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use std::io::{self, Write};

/// A blank after every comma and colon, and nothing but ASCII.
struct Python;

impl Formatter for Python {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }
    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }
    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut room = [0; 2];
        for c in fragment.chars() {
            match c {
                ' '..='~' => write!(writer, "{c}")?,
                c => c.encode_utf16(&mut room).iter().try_for_each(|unit| write!(writer, "\\u{unit:04x}"))?,
            }
        }
        Ok(())
    }
}

/// A document as `json.dumps` writes it.
pub fn python(document: &impl Serialize) -> serde_json::Result<String> {
    let mut out = Vec::new();
    document.serialize(&mut Serializer::with_formatter(&mut out, Python))?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn reads_as_python_writes() {
        let document = serde_json::json!({"a": [1, "é\"😀"], "b": null});
        assert_eq!(super::python(&document).unwrap(), r#"{"a": [1, "\u00e9\"\ud83d\ude00"], "b": null}"#);
    }
}
