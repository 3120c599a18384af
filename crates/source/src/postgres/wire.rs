//! Reading the bytes of PostgreSQL's messages: nothing here can panic, whatever the bytes are.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

/// Bytes that are not what the protocol says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// A message that is read from its beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    whole: &'a [u8],
    left: &'a [u8],
}

/// One column of a tuple; a value is a range of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    /// NULL, or not sent because it is not part of the key.
    Null,
    /// Not sent because it did not change.
    Unchanged,
    /// A value.
    Value {
        /// Where it begins in the message.
        start: usize,
        /// Where it ends.
        end: usize,
        /// How it is written.
        form: Form,
    },
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As its type is sent.
    Binary,
    /// As its type is shown.
    Text,
}

impl<'a> Reader<'a> {
    /// Begins to read.
    pub(crate) fn new(whole: &'a [u8]) -> Self {
        Self { whole, left: whole }
    }

    /// What was not read yet.
    pub(crate) fn left(&self) -> &'a [u8] {
        self.left
    }

    /// How much was read.
    pub(crate) fn position(&self) -> usize {
        self.whole.len().saturating_sub(self.left.len())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, left) =
            self.left.split_first_chunk::<N>().ok_or(Malformed("a message ends too early"))?;
        self.left = left;
        Ok(*taken)
    }

    /// Reads a byte.
    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.take::<1>().map(|[byte]| byte)
    }

    /// Reads a signed 16-bit integer.
    pub(crate) fn i16(&mut self) -> Result<i16, Malformed> {
        self.take().map(i16::from_be_bytes)
    }

    /// Reads a signed 32-bit integer.
    pub(crate) fn i32(&mut self) -> Result<i32, Malformed> {
        self.take().map(i32::from_be_bytes)
    }

    /// Reads an object id.
    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.take().map(u32::from_be_bytes)
    }

    /// Reads a time.
    pub(crate) fn i64(&mut self) -> Result<i64, Malformed> {
        self.take().map(i64::from_be_bytes)
    }

    /// Reads an LSN.
    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.take().map(u64::from_be_bytes)
    }

    /// Reads a text that ends with a zero byte.
    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        let end = self.left.iter().position(|&byte| byte == 0);
        let end = end.ok_or(Malformed("a text without an end"))?;
        let (text, rest) = self.left.split_at_checked(end).unwrap_or_default();
        self.left = rest.get(1..).unwrap_or_default();
        str::from_utf8(text).map_err(|_error| Malformed("a name that is not UTF-8"))
    }

    /// Reads a length and that many bytes.
    fn value(&mut self, form: Form) -> Result<Cell, Malformed> {
        let length =
            usize::try_from(self.i32()?).map_err(|_error| Malformed("a negative length"))?;
        self.skip_value(length, form)
    }

    fn skip_value(&mut self, length: usize, form: Form) -> Result<Cell, Malformed> {
        let start = self.position();
        let (_value, left) =
            self.left.split_at_checked(length).ok_or(Malformed("a value ends too early"))?;
        self.left = left;
        Ok(Cell::Value { start, end: start.saturating_add(length), form })
    }

    /// Reads a tuple of pgoutput.
    pub(crate) fn tuple(&mut self, cells: &mut Vec<Cell>) -> Result<(), Malformed> {
        cells.clear();
        let columns = self.i16()?;
        for _ in 0..columns {
            let cell = match self.u8()? {
                b'n' => Cell::Null,
                b'u' => Cell::Unchanged,
                b'b' => self.value(Form::Binary)?,
                b't' => self.value(Form::Text)?,
                _ => return Err(Malformed("an unknown kind of value")),
            };
            cells.push(cell);
        }
        Ok(())
    }

    /// Reads a row of `COPY … (FORMAT binary)`; false at the end of the copy.
    pub(crate) fn copy_row(&mut self, cells: &mut Vec<Cell>) -> Result<bool, Malformed> {
        cells.clear();
        let columns = self.i16()?;
        if columns == -1 {
            return Ok(false);
        }
        for _ in 0..columns {
            let cell = match usize::try_from(self.i32()?) {
                Ok(length) => self.skip_value(length, Form::Binary)?,
                Err(_negative) => Cell::Null,
            };
            cells.push(cell);
        }
        Ok(true)
    }
}
