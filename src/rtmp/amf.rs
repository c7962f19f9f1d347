//! Values of commands and metadata, and what reads them within bounds: what AMF0 and AMF3 have in common.

/// Deepest nesting of objects and arrays. Real commands nest 2 deep, onMetaData 3 (`keyframes`).
pub(crate) const MAX_DEPTH: usize = 16;
/// Longest body in bytes. The longest real ones (onMetaData with a key-frame table, long tcUrls) have a few KiB.
pub const MAX_BYTES: usize = 64 * 1024;
/// Most values in one body, so that 64 KiB of one-byte nulls don't become megabytes.
pub(crate) const MAX_VALUES: usize = 4096;

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
    /// Markers 0x06 and 0x0D (unsupported), and 0x07: references to values before are not followed.
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
    /// A marker that stands for nothing, or for what can't be read without knowing more.
    #[error("the type marker {0:#04x} is not supported")]
    Marker(u8),
    /// AMF3 refers to a string or to traits that never came.
    #[error("there is no string or class number {0} to refer to")]
    Reference(usize),
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

impl AmfError {
    /// Whether somebody sends more than anybody needs, rather than something odd.
    pub fn is_excess(self) -> bool {
        matches!(self, Self::TooDeep | Self::TooLong(_) | Self::TooManyValues)
    }
}

/// A body being read.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
    pub(super) values: usize,
    /// Bytes of all strings made so far: by AMF3's references they can be more than came.
    pub(super) text: usize,
    /// What could not be read. What was read before it, stands.
    pub(super) broken: Option<AmfError>,
}

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], AmfError> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(AmfError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], AmfError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(AmfError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    /// Counts a value that is about to be read.
    pub(super) fn count(&mut self, depth: usize) -> Result<(), AmfError> {
        self.values += 1;
        match (depth > MAX_DEPTH, self.values > MAX_VALUES) {
            (true, _) => Err(AmfError::TooDeep),
            (_, true) => Err(AmfError::TooManyValues),
            _ => Ok(()),
        }
    }

    pub(super) fn text(&mut self, bytes: &[u8]) -> Result<String, AmfError> {
        self.text += bytes.len();
        if self.text > MAX_BYTES { Err(AmfError::TooLong(self.text)) } else { Ok(String::from_utf8_lossy(bytes).into_owned()) }
    }
}
