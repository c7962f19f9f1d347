//! AMF0, the value format of RTMP's commands and metadata (Adobe AMF 0 specification).
//!
//! In: the body of a command or data message from anybody. Out: its values, or an error; and values written in the order given.
//! Depth, bytes and number of values are bounded while reading, because the body comes before any authentication.

/// Deepest nesting of objects and arrays. Real commands nest 2 deep, onMetaData 3 (`keyframes`).
pub const MAX_DEPTH: usize = 16;
/// Longest body in bytes. The longest real ones (onMetaData with a key-frame table, long tcUrls) have a few KiB.
pub const MAX_BYTES: usize = 64 * 1024;
/// Most values in one body, so that 64 KiB of one-byte nulls don't become megabytes.
pub const MAX_VALUES: usize = 4096;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Marker 0x00; dates (0x0B) are read as their milliseconds.
    Number(f64),
    /// Marker 0x01.
    Boolean(bool),
    /// Markers 0x02, 0x0C (long) and 0x0F (XML). Bytes that are not UTF-8 are replaced.
    String(String),
    /// Markers 0x03 (object), 0x08 (ECMA array) and 0x10 (typed object), in the order sent.
    Object(Vec<(String, Value)>),
    /// Marker 0x0A.
    Array(Vec<Value>),
    /// Marker 0x05.
    Null,
    /// Markers 0x06 and 0x0D (unsupported).
    Undefined,
}

/// Why a body can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AmfError {
    /// It ends within a value.
    #[error("it ends within a value")]
    Truncated,
    /// Deeper than [`MAX_DEPTH`].
    #[error("objects are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// Longer than [`MAX_BYTES`].
    #[error("{0} bytes, at most {MAX_BYTES} are allowed")]
    TooLong(usize),
    /// More than [`MAX_VALUES`].
    #[error("more than {MAX_VALUES} values")]
    TooManyValues,
    /// A marker that isn't used in RTMP (references, AMF3).
    #[error("the type marker {0:#04x} is not supported")]
    Marker(u8),
}

impl Value {
    /// A text value.
    pub fn text(text: impl Into<String>) -> Self {
        Value::String(text.into())
    }

    /// The number, if it is one.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Value::Number(n) => Some(*n),
            _ => None,
        }
    }

    /// The truth, if it is one; numbers count, as some players send 0 and 1.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Boolean(b) => Some(*b),
            Value::Number(n) => Some(*n != 0.0),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(s) => Some(s),
            _ => None,
        }
    }

    /// The property `name` of an object.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Object(properties) => properties.iter().find(|(n, _)| n == name).map(|(_, v)| v),
            _ => None,
        }
    }
}

/// Reads all values of a body.
pub fn read(body: &[u8]) -> Result<Vec<Value>, AmfError> {
    if body.len() > MAX_BYTES {
        return Err(AmfError::TooLong(body.len()));
    }
    let mut reader = Reader { rest: body, values: 0 };
    let mut values = Vec::new();
    while !reader.rest.is_empty() {
        values.push(reader.value(0)?);
    }
    Ok(values)
}

struct Reader<'a> {
    rest: &'a [u8],
    values: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], AmfError> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(AmfError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], AmfError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(AmfError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    fn string(&mut self, len: usize) -> Result<String, AmfError> {
        Ok(String::from_utf8_lossy(self.take(len)?).into_owned())
    }

    fn short_string(&mut self) -> Result<String, AmfError> {
        let len = u16::from_be_bytes(self.array()?);
        self.string(usize::from(len))
    }

    fn value(&mut self, depth: usize) -> Result<Value, AmfError> {
        if depth > MAX_DEPTH {
            return Err(AmfError::TooDeep);
        }
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(AmfError::TooManyValues);
        }
        let [marker] = self.array()?;
        Ok(match marker {
            0x00 => Value::Number(f64::from_be_bytes(self.array()?)),
            0x01 => Value::Boolean(self.array::<1>()? != [0]),
            0x02 => Value::String(self.short_string()?),
            0x03 => Value::Object(self.properties(depth)?),
            0x05 => Value::Null,
            0x06 | 0x0D => Value::Undefined,
            0x08 => {
                // The count is only a hint, and encoders get it wrong: the end marker decides.
                self.array::<4>()?;
                Value::Object(self.properties(depth)?)
            }
            0x0A => {
                let count = u32::from_be_bytes(self.array()?);
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(self.value(depth + 1)?);
                }
                Value::Array(values)
            }
            0x0B => {
                let ms = f64::from_be_bytes(self.array()?);
                self.array::<2>()?;
                Value::Number(ms)
            }
            0x0C | 0x0F => {
                let len = u32::from_be_bytes(self.array()?);
                Value::String(self.string(len as usize)?)
            }
            0x10 => {
                self.short_string()?;
                Value::Object(self.properties(depth)?)
            }
            other => return Err(AmfError::Marker(other)),
        })
    }

    /// Properties up to the end marker 00 00 09. The end of the body counts as one too: some encoders leave it out.
    fn properties(&mut self, depth: usize) -> Result<Vec<(String, Value)>, AmfError> {
        let mut properties = Vec::new();
        while !self.rest.is_empty() {
            let name = self.short_string()?;
            if name.is_empty() && self.rest.first() == Some(&0x09) {
                self.take(1)?;
                break;
            }
            properties.push((name, self.value(depth + 1)?));
        }
        Ok(properties)
    }
}

/// Writes values one after the other.
pub fn write(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    values.iter().for_each(|value| write_value(value, &mut out));
    out
}

fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Number(n) => {
            out.push(0x00);
            out.extend_from_slice(&n.to_be_bytes());
        }
        Value::Boolean(b) => out.extend_from_slice(&[0x01, u8::from(*b)]),
        Value::String(text) => match u16::try_from(text.len()) {
            Ok(len) => {
                out.push(0x02);
                out.extend_from_slice(&len.to_be_bytes());
                out.extend_from_slice(text.as_bytes());
            }
            Err(_) => {
                out.push(0x0C);
                out.extend_from_slice(&(text.len() as u32).to_be_bytes());
                out.extend_from_slice(text.as_bytes());
            }
        },
        Value::Object(properties) => {
            out.push(0x03);
            for (name, value) in properties {
                let name = &name.as_bytes()[..name.len().min(usize::from(u16::MAX))];
                out.extend_from_slice(&(name.len() as u16).to_be_bytes());
                out.extend_from_slice(name);
                write_value(value, out);
            }
            out.extend_from_slice(&[0, 0, 0x09]);
        }
        Value::Array(values) => {
            out.push(0x0A);
            out.extend_from_slice(&(values.len() as u32).to_be_bytes());
            values.iter().for_each(|value| write_value(value, out));
        }
        Value::Null => out.push(0x05),
        Value::Undefined => out.push(0x06),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_the_reference_writes_and_back() {
        use rml_amf0::Amf0Value;
        let theirs = vec![
            Amf0Value::Utf8String("connect".into()),
            Amf0Value::Number(1.0),
            Amf0Value::Object([("app".to_owned(), Amf0Value::Utf8String("live".into()))].into()),
            Amf0Value::StrictArray(vec![Amf0Value::Boolean(true), Amf0Value::Undefined]),
            Amf0Value::Null,
        ];
        let ours = vec![
            Value::text("connect"),
            Value::Number(1.0),
            Value::Object(vec![("app".into(), Value::text("live"))]),
            Value::Array(vec![Value::Boolean(true), Value::Undefined]),
            Value::Null,
        ];
        let bytes = rml_amf0::serialize(&theirs).unwrap();
        assert_eq!(write(&ours), bytes);
        assert_eq!(read(&bytes), Ok(ours));
        assert_eq!(rml_amf0::deserialize(&mut std::io::Cursor::new(bytes)).unwrap(), theirs);
    }

    #[test]
    fn markers_the_reference_lacks() {
        let table: &[(&[u8], Result<Value, AmfError>)] = &[
            (&[0x0B, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0], Ok(Value::Number(2.0))),
            (&[0x0C, 0, 0, 0, 2, b'h', b'i'], Ok(Value::text("hi"))),
            (&[0x10, 0, 1, b'T', 0, 1, b'a', 0x05, 0, 0, 9], Ok(Value::Object(vec![("a".into(), Value::Null)]))),
            (&[0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0, 1, b'a', 0x05, 0, 0, 9], Ok(Value::Object(vec![("a".into(), Value::Null)]))),
            (&[0x03, 0, 1, b'a', 0x05], Ok(Value::Object(vec![("a".into(), Value::Null)]))),
            (&[0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0x05], Err(AmfError::Truncated)),
            (&[0x0C, 0xFF, 0xFF, 0xFF, 0xFF, 0x05], Err(AmfError::Truncated)),
            (&[0x02, 0xFF, 0xFF, 0x05], Err(AmfError::Truncated)),
            (&[0x11, 0x05], Err(AmfError::Marker(0x11))),
            (&[0x02, 0, 1, 0xFF], Ok(Value::text("\u{FFFD}"))),
        ];
        for (bytes, want) in table {
            assert_eq!(read(bytes).map(|mut v| v.remove(0)), want.clone(), "{bytes:02x?}");
        }
    }

    /// Regression: the reference parser recurses once per level and overflows the stack on this body.
    #[test]
    fn a_bomb_of_nested_objects_is_an_error() {
        for unit in [&[0x03, 0, 1, b'a'][..], &[0x0A, 0, 0, 0, 1], &[0x08, 0, 0, 0, 1, 0, 1, b'a']] {
            let bomb = unit.repeat(400 * 1024 / unit.len());
            assert_eq!(read(&bomb), Err(AmfError::TooLong(bomb.len())));
            assert_eq!(read(&bomb[..MAX_BYTES]), Err(AmfError::TooDeep));
        }
        assert_eq!(read(&[0x05; MAX_BYTES]), Err(AmfError::TooManyValues));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = read(&bytes);
        }

        #[test]
        fn garbage_with_likely_markers_never_panics(bytes in proptest::collection::vec(0u8..18, 0..2000)) {
            let _ = read(&bytes);
        }
    }
}
