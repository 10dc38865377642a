//! Protobuf as bytes, written in place. Messages of OTLP nest five deep and come by the ten thousand: building each as
//! a structure first costs several times what the bytes do.

use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

/// A message that is being written: its length goes in front of it, and is known at its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    /// Where its content begins.
    content: usize,
    /// Bytes kept free for its length.
    reserved: usize,
}

impl Open {
    /// Begins the field `tag`. `reserved` is how long its length is expected to be when written, bytes; another guess
    /// costs a move of the content.
    pub(super) fn new(buffer: &mut Vec<u8>, tag: u32, reserved: usize) -> Self {
        encode_key(tag, WireType::LengthDelimited, buffer);
        buffer.resize(buffer.len() + reserved, 0);
        Self {
            content: buffer.len(),
            reserved,
        }
    }

    /// Ends it with the end of the buffer.
    pub(super) fn close(self, buffer: &mut Vec<u8>) {
        let length = buffer.len() - self.content;
        let width = encoded_len_varint(length as u64);
        let content = self.content - self.reserved + width;
        if content > self.content {
            buffer.resize(content + length, 0);
        }
        if content != self.content {
            buffer.copy_within(self.content..self.content + length, content);
            buffer.truncate(content + length);
        }
        let mut place = &mut buffer[content - width..content];
        encode_varint(length as u64, &mut place);
    }

    /// The same message after the first `bytes` of the buffer are gone.
    pub(super) fn moved_up(self, bytes: usize) -> Self {
        Self {
            content: self.content - bytes,
            ..self
        }
    }
}

/// A message of a few hundred bytes at most.
pub(super) fn message(buffer: &mut Vec<u8>, tag: u32, write: impl FnOnce(&mut Vec<u8>)) {
    let open = Open::new(buffer, tag, 1);
    write(buffer);
    open.close(buffer);
}

/// Anything whose bytes are there already: a text, a message, packed numbers.
pub(super) fn bytes(buffer: &mut Vec<u8>, tag: u32, content: &[u8]) {
    head(buffer, tag, content.len());
    buffer.extend_from_slice(content);
}

/// The beginning of a message of `length` bytes, which are to follow.
pub(super) fn head(buffer: &mut Vec<u8>, tag: u32, length: usize) {
    encode_key(tag, WireType::LengthDelimited, buffer);
    encode_varint(length as u64, buffer);
}

/// A text; empty ones, being the default, are left out.
pub(super) fn text(buffer: &mut Vec<u8>, tag: u32, text: &str) {
    if !text.is_empty() {
        bytes(buffer, tag, text.as_bytes());
    }
}

/// An unsigned or non-negative number, an enumeration's value, a flag.
pub(super) fn varint(buffer: &mut Vec<u8>, tag: u32, value: u64) {
    encode_key(tag, WireType::Varint, buffer);
    encode_varint(value, buffer);
}

/// `fixed64`, `sfixed64` or `double`, as its eight bytes.
pub(super) fn eight(buffer: &mut Vec<u8>, tag: u32, value: [u8; 8]) {
    encode_key(tag, WireType::SixtyFourBit, buffer);
    buffer.extend_from_slice(&value);
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn lengths_of_every_width_are_written_in_their_shortest_form() {
        // Beside each boundary of the varints' widths, from guesses that are too long, right and too short.
        for length in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
            for reserved in 1..=4 {
                let mut buffer = b"before".to_vec();
                let open = Open::new(&mut buffer, 7, reserved);
                let content: Vec<u8> = (0..length).map(|n: u32| n.to_le_bytes()[0]).collect();
                buffer.extend_from_slice(&content);
                open.close(&mut buffer);
                let mut expected = b"before".to_vec();
                prost::encoding::bytes::encode(7, &content, &mut expected);
                assert!(buffer == expected, "{length} bytes, {reserved} reserved");
            }
        }
    }

    #[test]
    fn fields_read_as_they_were_written() {
        #[derive(Clone, PartialEq, Message)]
        struct Told {
            #[prost(string, tag = "1")]
            text: String,
            #[prost(uint64, tag = "2")]
            number: u64,
            #[prost(double, tag = "3")]
            double: f64,
            #[prost(sfixed64, tag = "20")]
            signed: i64,
            #[prost(message, tag = "5")]
            inner: Option<Box<Told>>,
        }
        let mut buffer = Vec::new();
        text(&mut buffer, 1, "a");
        text(&mut buffer, 1, "");
        varint(&mut buffer, 2, 300);
        eight(&mut buffer, 3, 0.5_f64.to_le_bytes());
        message(&mut buffer, 5, |inner| {
            eight(inner, 20, (-7_i64).to_le_bytes());
        });
        let told = Told::decode(buffer.as_slice()).expect("a message");
        let inner = Told {
            signed: -7,
            ..Told::default()
        };
        assert_eq!(
            told,
            Told {
                text: "a".to_owned(),
                number: 300,
                double: 0.5,
                inner: Some(Box::new(inner)),
                ..Told::default()
            }
        );
    }
}
