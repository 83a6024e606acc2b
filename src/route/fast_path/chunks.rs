//! What a chunked body holds, and where it ends (RFC 9112, 7.1).

use super::Malformed;

/// Digits of a chunk's size, at most: what a `u64` holds.
const DIGITS: u8 = 16;
/// Bytes of one line besides data: a size with its extensions, or a trailer.
const LINE: u32 = 8 << 10;

/// How far a chunked body has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunks {
    /// In the digits of a size.
    Size {
        size: u64,
        digits: u8,
    },
    /// In blanks behind the digits.
    Blank {
        size: u64,
        length: u32,
    },
    /// Behind a semicolon, until the line's end.
    Extension {
        size: u64,
        length: u32,
    },
    /// At the line feed behind a size.
    SizeEnd {
        size: u64,
    },
    /// So many bytes of data are left.
    Data(u64),
    /// At the carriage return behind data.
    DataReturn,
    /// At the line feed behind data.
    DataEnd,
    /// In a trailer, or the empty line that ends all of them.
    Trailer {
        length: u32,
    },
    /// At the line feed behind that.
    TrailerEnd {
        length: u32,
    },
    Ended,
}

impl Chunks {
    pub fn new() -> Self {
        Self::Size { size: 0, digits: 0 }
    }

    /// Takes bytes in, and adds what they hold to `data`; how many of them belong to the body. Extensions and trailers go nowhere.
    pub fn take(&mut self, bytes: &[u8], data: &mut Vec<u8>) -> Result<usize, Malformed> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at).copied().filter(|_| *self != Self::Ended) {
            if let Self::Data(left) = self {
                let part = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                data.extend_from_slice(&bytes[at..at + part]);
                *left -= part as u64;
                at += part;
                if *left == 0 {
                    *self = Self::DataReturn;
                }
                continue;
            }
            *self = self.next(byte).ok_or(Malformed("the size of a chunk"))?;
            at += 1;
        }
        Ok(at)
    }

    fn next(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Size { size, digits }, _) if byte.is_ascii_hexdigit() && digits < DIGITS => {
                let digit = char::from(byte).to_digit(16)?;
                Self::Size { size: (size << 4) | u64::from(digit), digits: digits + 1 }
            }
            (Self::Size { digits: 0, .. }, _) => return None,
            (Self::Size { size, .. } | Self::Blank { size, .. } | Self::Extension { size, .. }, b'\r') => {
                Self::SizeEnd { size }
            }
            (Self::Size { size, .. }, b' ' | b'\t') => Self::Blank { size, length: 1 },
            (Self::Blank { length: LINE.., .. } | Self::Extension { length: LINE.., .. }, _) => return None,
            (Self::Blank { size, length }, b' ' | b'\t') => Self::Blank { size, length: length + 1 },
            (Self::Size { size, .. } | Self::Blank { size, .. }, b';') => Self::Extension { size, length: 1 },
            (Self::Extension { .. }, b'\n') => return None,
            (Self::Extension { size, length }, _) => Self::Extension { size, length: length + 1 },
            (Self::SizeEnd { size: 0 }, b'\n') => Self::Trailer { length: 0 },
            (Self::SizeEnd { size }, b'\n') => Self::Data(size),
            (Self::DataReturn, b'\r') => Self::DataEnd,
            (Self::DataEnd, b'\n') => Self::new(),
            (Self::Trailer { length }, b'\r') => Self::TrailerEnd { length },
            (Self::Trailer { length: LINE.. }, _) | (Self::Trailer { .. }, b'\n') => return None,
            (Self::Trailer { length }, _) => Self::Trailer { length: length + 1 },
            (Self::TrailerEnd { length: 0 }, b'\n') => Self::Ended,
            (Self::TrailerEnd { .. }, b'\n') => Self::Trailer { length: 0 },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_end_is_found_and_nothing_behind_it_is_taken() {
        for (body, holds) in [
            ("0\r\n\r\n", ""),
            ("5\r\nhello\r\n0\r\n\r\n", "hello"),
            ("A;x=\"y\"\r\n0123456789\r\n1 ;z\r\n!\r\n00\r\nt: 1\r\nu: 2\r\n\r\n", "0123456789!"),
            ("1 \t\r\n\r\r\n0\r\n\r\n", "\r"),
        ] {
            let bytes = [body.as_bytes(), b"HTTP/1.1 200 OK"].concat();
            let (mut chunks, mut data) = (Chunks::new(), vec![]);
            assert_eq!(chunks.take(&bytes, &mut data), Ok(body.len()), "{body:?}");
            assert_eq!((chunks, &*data), (Chunks::Ended, holds.as_bytes()));
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for body in [
            "\r\n",
            "x\r\n",
            "5\nhello\r\n",
            "5\r\nhello0\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "0\r\n\n",
            "+5\r\n",
            "0x5\r\n",
            "-1\r\n",
            "5 5\r\n",
            " 5\r\n",
            "12345678123456781\r\n",
            "5;a\nb\r\n",
            "0\r\nt: 1\n\r\n",
            "5\r\rhello",
        ] {
            assert!(Chunks::new().take(body.as_bytes(), &mut vec![]).is_err(), "{body:?}");
        }
        for begins in ["5;", "5 ", "0\r\nt"] {
            let long = format!("{begins}{}", " ".repeat(LINE as usize + 1));
            assert!(Chunks::new().take(long.as_bytes(), &mut vec![]).is_err());
        }
    }

    proptest! {
        /// However a body is cut into chunks, and its bytes into reads, it is the same.
        #[test]
        fn reads_of_any_size(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8), step in 1usize..50) {
            let mut body = vec![];
            for part in &parts {
                body.extend(format!("{:x}\r\n", part.len()).bytes());
                body.extend(part);
                body.extend(b"\r\n");
            }
            body.extend(b"0\r\n\r\n");
            let (mut chunks, mut taken, mut data) = (Chunks::new(), 0, vec![]);
            for piece in body.chunks(step) {
                prop_assert_ne!(chunks, Chunks::Ended);
                taken += chunks.take(piece, &mut data).unwrap();
            }
            prop_assert_eq!((chunks, taken, data), (Chunks::Ended, body.len(), parts.concat()));
        }

        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(n) = Chunks::new().take(&bytes, &mut vec![]) {
                prop_assert!(n <= bytes.len());
            }
        }
    }
}
