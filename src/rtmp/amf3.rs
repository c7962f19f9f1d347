//! AMF3 values (Adobe AMF 3 specification), which Flash clients and a few encoders send inside of AMF0 (marker 0x11) or alone.
//!
//! In: the reader of a body. Out: one value in AMF0's terms. References to strings and traits are followed, within the bound on text;
//! references to whole objects are not: nothing in RTMP needs them, and they make little input into much output.

use super::amf::{AmfError, MAX_VALUES, Reader, Value};

/// What later values refer back to.
#[derive(Debug, Default)]
pub(super) struct Tables<'a> {
    strings: Vec<&'a [u8]>,
    traits: Vec<Traits<'a>>,
}

#[derive(Debug, Clone)]
struct Traits<'a> {
    class: &'a [u8],
    names: Vec<&'a [u8]>,
    dynamic: bool,
    external: bool,
}

pub(super) fn read_value<'a>(reader: &mut Reader<'a>, tables: &mut Tables<'a>, depth: usize) -> Result<Value, AmfError> {
    reader.count(depth)?;
    let [marker] = reader.array()?;
    Ok(match marker {
        0x00 => Value::Undefined,
        0x01 => Value::Null,
        0x02 => Value::Boolean(false),
        0x03 => Value::Boolean(true),
        // 29 bits, the highest is the sign.
        0x04 => Value::Number(f64::from(((integer(reader)? << 3) as i32) >> 3)),
        0x05 => Value::Number(f64::from_be_bytes(reader.array()?)),
        0x06 => {
            let bytes = string(reader, tables)?;
            Value::String(reader.text(bytes)?)
        }
        0x07 | 0x0B => match inline(reader)? {
            Some(len) => {
                let bytes = reader.take(len)?;
                Value::String(reader.text(bytes)?)
            }
            None => Value::Undefined,
        },
        0x08 => match inline(reader)? {
            Some(_) => Value::Number(f64::from_be_bytes(reader.array()?)),
            None => Value::Undefined,
        },
        0x09 => match inline(reader)? {
            Some(dense) => array(reader, tables, dense, depth)?,
            None => Value::Undefined,
        },
        0x0A => object(reader, tables, depth)?,
        0x0C => {
            if let Some(len) = inline(reader)? {
                reader.take(len)?;
            }
            Value::Undefined
        }
        // Vectors of int, uint and double: a flag, then as many numbers.
        0x0D..=0x0F => {
            if let Some(len) = inline(reader)? {
                let size = if marker == 0x0F { 8 } else { 4 };
                reader.take(len.saturating_mul(size).saturating_add(1))?;
            }
            Value::Undefined
        }
        0x10 => match inline(reader)? {
            Some(len) => {
                reader.take(1)?;
                string(reader, tables)?;
                values(reader, tables, len, depth)?
            }
            None => Value::Undefined,
        },
        0x11 => {
            if let Some(len) = inline(reader)? {
                reader.take(1)?;
                values(reader, tables, len.saturating_mul(2), depth)?;
            }
            Value::Undefined
        }
        other => return Err(AmfError::Marker(other)),
    })
}

/// A U29: seven bits per byte, eight in the fourth (section 1.3.1).
fn integer(reader: &mut Reader<'_>) -> Result<u32, AmfError> {
    let mut value = 0;
    for _ in 0..3 {
        let [byte] = reader.array()?;
        value = value << 7 | u32::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    let [byte] = reader.array()?;
    Ok(value << 8 | u32::from(byte))
}

/// A length, or a count, of what follows; `None` for a reference to something before.
fn inline(reader: &mut Reader<'_>) -> Result<Option<usize>, AmfError> {
    let value = integer(reader)?;
    Ok((value & 1 == 1).then_some((value >> 1) as usize))
}

fn string<'a>(reader: &mut Reader<'a>, tables: &mut Tables<'a>) -> Result<&'a [u8], AmfError> {
    let value = integer(reader)?;
    let index = (value >> 1) as usize;
    if value & 1 == 0 {
        return tables.strings.get(index).copied().ok_or(AmfError::Reference(index));
    }
    let bytes = reader.take(index)?;
    if !bytes.is_empty() {
        tables.strings.push(bytes);
    }
    Ok(bytes)
}

fn values<'a>(reader: &mut Reader<'a>, tables: &mut Tables<'a>, count: usize, depth: usize) -> Result<Value, AmfError> {
    let mut values = Vec::new();
    for _ in 0..count {
        values.push(read_value(reader, tables, depth + 1)?);
    }
    Ok(Value::Array(values))
}

/// Named values up to an empty name, then `dense` others.
fn array<'a>(reader: &mut Reader<'a>, tables: &mut Tables<'a>, dense: usize, depth: usize) -> Result<Value, AmfError> {
    let mut named = Vec::new();
    named_values(reader, tables, depth, &mut named)?;
    let rest = values(reader, tables, dense, depth)?;
    match rest {
        Value::Array(rest) if !named.is_empty() => {
            named.extend(rest.into_iter().enumerate().map(|(index, value)| (index.to_string(), value)));
            Ok(Value::Object(named))
        }
        rest => Ok(rest),
    }
}

fn named_values<'a>(
    reader: &mut Reader<'a>,
    tables: &mut Tables<'a>,
    depth: usize,
    out: &mut Vec<(String, Value)>,
) -> Result<(), AmfError> {
    loop {
        let name = string(reader, tables)?;
        if name.is_empty() {
            return Ok(());
        }
        let name = reader.text(name)?;
        let value = read_value(reader, tables, depth + 1)?;
        out.push((name, value));
    }
}

fn object<'a>(reader: &mut Reader<'a>, tables: &mut Tables<'a>, depth: usize) -> Result<Value, AmfError> {
    let header = integer(reader)?;
    if header & 1 == 0 {
        return Ok(Value::Undefined);
    }
    let traits = if header & 2 == 0 {
        let index = (header >> 2) as usize;
        tables.traits.get(index).cloned().ok_or(AmfError::Reference(index))?
    } else {
        let mut traits = Traits { class: string(reader, tables)?, names: Vec::new(), dynamic: header & 8 != 0, external: header & 4 != 0 };
        for _ in 0..header >> 4 {
            if traits.names.len() == MAX_VALUES {
                return Err(AmfError::TooManyValues);
            }
            traits.names.push(string(reader, tables)?);
        }
        tables.traits.push(traits.clone());
        traits
    };
    if traits.external {
        // These write one value; how others write themselves is known to nobody but them.
        return match traits.class {
            b"flex.messaging.io.ArrayCollection" | b"flex.messaging.io.ObjectProxy" => read_value(reader, tables, depth + 1),
            _ => Err(AmfError::Marker(0x0A)),
        };
    }
    let mut properties = Vec::new();
    for name in traits.names {
        let name = reader.text(name)?;
        let value = read_value(reader, tables, depth + 1)?;
        properties.push((name, value));
    }
    if traits.dynamic {
        named_values(reader, tables, depth, &mut properties)?;
    }
    Ok(Value::Object(properties))
}

#[cfg(test)]
mod tests {
    use super::super::amf::MAX_BYTES;
    use super::super::amf0;
    use super::*;

    fn read(bytes: &[u8]) -> Result<Value, AmfError> {
        amf0::read(&[&[0x11][..], bytes].concat()).map(|mut values| values.remove(0))
    }

    #[test]
    fn every_marker() {
        let object = |properties: &[(&str, Value)]| Value::Object(properties.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect());
        let table: &[(&[u8], Result<Value, AmfError>)] = &[
            (&[0], Ok(Value::Undefined)),
            (&[1], Ok(Value::Null)),
            (&[2], Ok(Value::Boolean(false))),
            (&[3], Ok(Value::Boolean(true))),
            (&[4, 0x7F], Ok(Value::Number(127.0))),
            (&[4, 0x81, 0x00], Ok(Value::Number(128.0))),
            (&[4, 0xFF, 0xFF, 0xFF, 0xFF], Ok(Value::Number(-1.0))),
            (&[4, 0x80, 0x80, 0x80, 0x05], Ok(Value::Number(5.0))),
            (&[5, 0x40, 0, 0, 0, 0, 0, 0, 0], Ok(Value::Number(2.0))),
            (&[6, 5, b'h', b'i'], Ok(Value::text("hi"))),
            (&[6, 1], Ok(Value::text(""))),
            (&[7, 5, b'h', b'i'], Ok(Value::text("hi"))),
            (&[8, 1, 0x40, 0, 0, 0, 0, 0, 0, 0], Ok(Value::Number(2.0))),
            (&[8, 0], Ok(Value::Undefined)),
            (&[9, 5, 1, 1, 3], Ok(Value::Array(vec![Value::Null, Value::Boolean(true)]))),
            (&[9, 3, 3, b'a', 1, 1, 3], Ok(object(&[("a", Value::Null), ("0", Value::Boolean(true))]))),
            // An anonymous dynamic object, then two of a class by traits and their reference, names by reference
            (&[0x0A, 0x0B, 1, 3, b'a', 3, 1], Ok(object(&[("a", Value::Boolean(true))]))),
            (
                &[9, 5, 1, 0x0A, 0x13, 3, b'T', 3, b'a', 1, 0x0A, 1, 6, 2],
                Ok(Value::Array(vec![object(&[("a", Value::Null)]), object(&[("a", Value::text("a"))])])),
            ),
            (&[0x0A, 0], Ok(Value::Undefined)),
            (&[0x0C, 5, 9, 9], Ok(Value::Undefined)),
            (&[0x0D, 3, 0, 0, 0, 0, 1], Ok(Value::Undefined)),
            (&[0x0F, 3, 0, 0, 0, 0, 0, 0, 0, 0, 1], Ok(Value::Undefined)),
            (&[0x10, 3, 0, 1, 3], Ok(Value::Array(vec![Value::Boolean(true)]))),
            (&[0x11, 3, 0, 1, 1], Ok(Value::Undefined)),
            (&[0x12], Err(AmfError::Marker(0x12))),
            (&[6, 4], Err(AmfError::Reference(2))),
            (&[0x0A, 5], Err(AmfError::Reference(1))),
            (&[6, 0xFF, 0xFF, 0xFF, 0xFF], Err(AmfError::Truncated)),
            (&[0x0D, 0xFF, 0xFF, 0xFF, 0xFF], Err(AmfError::Truncated)),
            (&[4, 0x80], Err(AmfError::Truncated)),
        ];
        for (bytes, want) in table {
            assert_eq!(read(bytes), *want, "{bytes:02x?}");
        }
    }

    #[test]
    fn references_and_nesting_are_bounded() {
        // One string of 1000 bytes, and a thousand references to it.
        let mut bytes = vec![9, 0x8F, 0x53, 1, 6, 0x8F, 0x51];
        bytes.extend([b'x'; 1000]);
        bytes.extend([6, 0].repeat(1000));
        assert!(matches!(read(&bytes), Err(AmfError::TooLong(_))));
        assert_eq!(read(&[9, 3, 1].repeat(MAX_BYTES / 4)), Err(AmfError::TooDeep));
        // One trait of many names, many objects of it.
        assert!(read(&[&[9, 0xFF, 0x01, 1, 0x0A, 0xFF, 0x73, 1][..], &[1; 4000], &[0x0A, 1].repeat(10_000)].concat()).is_err());
    }
}
