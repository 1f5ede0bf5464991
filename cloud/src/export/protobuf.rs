//! Writing protocol buffers, as far as the exporters need them: 70 lines against a code generator in the build.

/// A message being written. Fields that have their default value are left out, as proto3 does.
#[derive(Debug, Default)]
pub(crate) struct Message(Vec<u8>);

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;

impl Message {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// `uint64`, and every other integer that is not negative.
    pub(crate) fn uint(&mut self, field: u32, value: u64) -> &mut Self {
        if value != 0 {
            self.key(field, VARINT);
            self.varint(value);
        }
        self
    }

    /// An integer that is 0, where leaving it out would say something else.
    pub(crate) fn zero(&mut self, field: u32) -> &mut Self {
        self.key(field, VARINT);
        self.varint(0);
        self
    }

    /// `fixed64`.
    pub(crate) fn fixed64(&mut self, field: u32, value: u64) -> &mut Self {
        if value != 0 {
            self.key(field, FIXED64);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
        self
    }

    /// `double`; written even when 0, which in a list is a value.
    pub(crate) fn double(&mut self, field: u32, value: f64) -> &mut Self {
        self.key(field, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// `string`, `bytes` or a message; written even when empty, which in a list is an entry.
    pub(crate) fn bytes(&mut self, field: u32, value: &[u8]) -> &mut Self {
        self.key(field, BYTES);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// A message.
    pub(crate) fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) -> &mut Self {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(field, &inner.0)
    }

    /// A packed list of integers.
    pub(crate) fn packed(&mut self, field: u32, values: impl IntoIterator<Item = u64>) -> &mut Self {
        let mut inner = Self::default();
        for value in values {
            inner.varint(value);
        }
        if inner.0.is_empty() { self } else { self.bytes(field, &inner.0) }
    }

    fn key(&mut self, field: u32, wire_type: u64) {
        self.varint(u64::from(field) << 3 | wire_type);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            // The low seven bits.
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push((value & 0x7f) as u8);
    }
}

/// A table of texts whose number 0 is the empty one.
#[derive(Debug)]
pub(crate) struct Strings {
    numbers: std::collections::HashMap<String, u64>,
    texts: Vec<String>,
}

impl Strings {
    pub(crate) fn new() -> Self {
        Self { numbers: [(String::new(), 0)].into(), texts: vec![String::new()] }
    }

    pub(crate) fn number(&mut self, text: &str) -> u64 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.texts.len() as u64;
        self.numbers.insert(text.to_owned(), number);
        self.texts.push(text.to_owned());
        number
    }

    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_the_bytes_of_the_encoding_guide() {
        let mut message = Message::default();
        message.uint(1, 150).bytes(2, b"testing").packed(6, [3, 270, 86_942]).uint(3, u64::MAX).uint(4, 0);
        let expected = [
            &[0x08, 0x96, 0x01][..],
            b"\x12\x07testing",
            &[0x32, 0x06, 0x03, 0x8e, 0x02, 0x9e, 0xa7, 0x05],
            &[0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        ];
        assert_eq!(message.into_bytes(), expected.concat());
    }

    #[test]
    fn the_empty_text_is_number_zero_and_each_text_has_one_number() {
        let mut strings = Strings::new();
        assert_eq!((strings.number("a"), strings.number(""), strings.number("a")), (1, 0, 1));
        assert_eq!(strings.texts().collect::<Vec<_>>(), ["", "a"]);
    }
}
