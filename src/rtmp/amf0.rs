//! AMF0, the value format of RTMP's commands and metadata (Adobe AMF 0 specification).
//!
//! In: the body of a command or data message from anybody. Out: its values, or an error; and values written in the order given.
//! What switches to AMF3 in the middle is read too.
//! Depth, bytes and number of values are bounded while reading, because the body comes before any authentication.

pub(crate) use super::amf::AmfError;
use super::amf::Reader;
pub use super::amf::{MAX_BYTES, Value};
use super::amf3;

/// Reads all values of a body.
pub fn read(body: &[u8]) -> Result<Vec<Value>, AmfError> {
    match read_until_broken(body) {
        (values, None) => Ok(values),
        (_, Some(error)) => Err(error),
    }
}

/// Reads the values of a body up to the first thing that can't be read, also within an object or array; says what that was.
pub(crate) fn read_until_broken(body: &[u8]) -> (Vec<Value>, Option<AmfError>) {
    read_all(body, |reader| reader.value(0))
}

/// As [`read_until_broken`], of a body that is AMF3 from its beginning.
pub fn read_amf3_until_broken(body: &[u8]) -> (Vec<Value>, Option<AmfError>) {
    let mut tables = amf3::Tables::default();
    read_all(body, |reader| amf3::read_value(reader, &mut tables, 0))
}

fn read_all<'a>(body: &'a [u8], mut next: impl FnMut(&mut Reader<'a>) -> Result<Value, AmfError>) -> (Vec<Value>, Option<AmfError>) {
    if body.len() > MAX_BYTES {
        return (Vec::new(), Some(AmfError::TooLong(body.len())));
    }
    let mut reader = Reader { rest: body, values: 0, text: 0, broken: None };
    let mut values = Vec::new();
    while !reader.rest.is_empty() && reader.broken.is_none() {
        match next(&mut reader) {
            Ok(value) => values.push(value),
            Err(error) => reader.broken = reader.broken.or(Some(error)),
        }
    }
    (values, reader.broken)
}

impl<'a> Reader<'a> {
    fn string(&mut self, len: usize) -> Result<String, AmfError> {
        let bytes = self.take(len)?;
        self.text(bytes)
    }

    fn short_string(&mut self) -> Result<String, AmfError> {
        let len = u16::from_be_bytes(self.array()?);
        self.string(usize::from(len))
    }

    fn value(&mut self, depth: usize) -> Result<Value, AmfError> {
        self.count(depth)?;
        let [marker] = self.array()?;
        Ok(match marker {
            0x00 => Value::Number(f64::from_be_bytes(self.array()?)),
            0x01 => Value::Boolean(self.array::<1>()? != [0]),
            0x02 => Value::String(self.short_string()?),
            0x03 => Value::Object(self.properties(depth)),
            0x05 => Value::Null,
            0x06 | 0x0D => Value::Undefined,
            0x07 => {
                self.array::<2>()?;
                Value::Undefined
            }
            0x08 => {
                // The count is only a hint, and encoders get it wrong: the end marker decides.
                self.array::<4>()?;
                Value::Object(self.properties(depth))
            }
            0x0A => {
                let count = u32::from_be_bytes(self.array()?);
                let mut values = Vec::new();
                for _ in 0..count {
                    match self.value(depth + 1) {
                        Ok(value) => values.push(value),
                        Err(error) => self.broken = self.broken.or(Some(error)),
                    }
                    if self.broken.is_some() {
                        break;
                    }
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
                Value::Object(self.properties(depth))
            }
            0x11 => amf3::read_value(self, &mut amf3::Tables::default(), depth)?,
            other => return Err(AmfError::Marker(other)),
        })
    }

    /// Properties up to the end marker 00 00 09. The end of the body counts as one too: some encoders leave it out.
    fn properties(&mut self, depth: usize) -> Vec<(String, Value)> {
        let mut properties = Vec::new();
        while !self.rest.is_empty() && self.broken.is_none() {
            match self.property(depth) {
                Ok(Some(property)) => properties.push(property),
                Ok(None) => break,
                Err(error) => self.broken = self.broken.or(Some(error)),
            }
        }
        properties
    }

    fn property(&mut self, depth: usize) -> Result<Option<(String, Value)>, AmfError> {
        let name = self.short_string()?;
        if name.is_empty() && self.rest.first() == Some(&0x09) {
            self.take(1)?;
            return Ok(None);
        }
        Ok(Some((name, self.value(depth + 1)?)))
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
            (&[0x11, 0x05], Err(AmfError::Truncated)),
            (&[0x11, 0x06, 0x05, b'h', b'i'], Ok(Value::text("hi"))),
            (&[0x07, 0, 0], Ok(Value::Undefined)),
            (&[0x04, 0], Err(AmfError::Marker(0x04))),
            (&[0x0E], Err(AmfError::Marker(0x0E))),
            (&[0x12], Err(AmfError::Marker(0x12))),
            // A count that is too high, and none of what it counts.
            (&[0x08, 0, 0, 0, 9, 0, 0, 9], Ok(Value::Object(vec![]))),
            (&[0x02, 0, 1, 0xFF], Ok(Value::text("\u{FFFD}"))),
        ];
        for (bytes, want) in table {
            assert_eq!(read(bytes).map(|mut v| v.remove(0)), want.clone(), "{bytes:02x?}");
        }
    }

    #[test]
    fn what_stands_before_something_unreadable_is_kept() {
        let good = write(&[Value::text("onMetaData"), Value::Object(vec![("width".into(), Value::Number(640.0))])]);
        let object = |bytes: &[u8]| [&good[..good.len() - 3], bytes].concat();
        let table = [
            (object(&[0, 1, b'x', 0x04, 9, 9]), AmfError::Marker(0x04)),
            (object(&[0, 1, b'x', 0x0C, 0xFF, 0, 0, 0]), AmfError::Truncated),
            (object(&[0, 200, b'x']), AmfError::Truncated),
            (object(&[0, 1, b'x', 0x03, 0, 1, b'y', 0x0E, 0]), AmfError::Marker(0x0E)),
            (object(&[0, 1, b'x', 0x0A, 0, 0, 0, 9, 0x05, 0x13]), AmfError::Marker(0x13)),
            ([&good[..], &[0x0E]].concat(), AmfError::Marker(0x0E)),
        ];
        for (bytes, error) in table {
            let (values, broken) = read_until_broken(&bytes);
            assert_eq!((values[0].as_str(), broken), (Some("onMetaData"), Some(error)), "{bytes:02x?}");
            assert_eq!(values[1].get("width"), Some(&Value::Number(640.0)), "{bytes:02x?}");
            assert_eq!(read(&bytes), Err(error));
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
            let _ = (read(&bytes), read_amf3_until_broken(&bytes));
        }

        #[test]
        fn garbage_with_likely_markers_never_panics(bytes in proptest::collection::vec(0u8..18, 0..2000)) {
            let _ = (read(&bytes), read_amf3_until_broken(&bytes));
        }
    }
}
