//! Protobuf's wire format: tags, varints, length-delimited pieces.

use super::ProtobufError;

/// The value of one field on the wire.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'a> {
    Varint(u64),
    Fixed64(u64),
    /// Four bytes, which no message of ours has.
    Fixed32,
    Bytes(&'a [u8]),
}

pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// Number and value of the next field; `None` at the end.
    pub fn field(&mut self) -> Result<Option<(u32, Piece<'a>)>, ProtobufError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|&number| number > 0);
        let number = number.ok_or(ProtobufError::Malformed("illegal tag"))?;
        let piece = match tag & 7 {
            0 => Piece::Varint(self.varint()?),
            1 => Piece::Fixed64(u64::from_le_bytes(self.array()?)),
            5 => {
                self.take(4)?;
                Piece::Fixed32
            }
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                Piece::Bytes(self.take(length)?)
            }
            _ => return Err(ProtobufError::Malformed("illegal wireType")),
        };
        Ok(Some((number, piece)))
    }

    pub fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0;
        for (index, &byte) in self.0.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.0 = &self.0[index + 1..];
                return Ok(value);
            }
        }
        Err(if self.0.len() < 10 {
            ProtobufError::Malformed("unexpected EOF")
        } else {
            ProtobufError::Malformed("integer overflow")
        })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtobufError> {
        let bytes = self.take(N)?;
        bytes
            .try_into()
            .map_err(|_| ProtobufError::Malformed("unexpected EOF"))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ProtobufError> {
        let (bytes, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(ProtobufError::Malformed("unexpected EOF"))?;
        self.0 = rest;
        Ok(bytes)
    }
}

#[derive(Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    pub fn varint(&mut self, number: u32, value: u64) {
        self.raw(u64::from(number) << 3);
        self.raw(value);
    }

    pub fn double(&mut self, number: u32, value: f64) {
        self.raw(u64::from(number) << 3 | 1);
        self.0.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    pub fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.raw(u64::from(number) << 3 | 2);
        self.raw(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn raw(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}
