//! The few DER forms that keys and signatures need (ITU-T X.690 clause 10), read strictly: definite lengths in their
//! shortest form, integers in their shortest form, nothing left over.

/// Tag of an INTEGER.
const INTEGER: u8 = 0x02;
/// Tag of a BIT STRING.
const BIT_STRING: u8 = 0x03;
/// Tag of an OCTET STRING.
#[cfg(feature = "software")]
const OCTET_STRING: u8 = 0x04;
/// Tag of a NULL.
const NULL: u8 = 0x05;
/// Tag of an OBJECT IDENTIFIER.
const OBJECT_IDENTIFIER: u8 = 0x06;
/// Tag of a SEQUENCE.
const SEQUENCE: u8 = 0x30;

/// Takes DER elements off the front of a byte string. `None` wherever the bytes are not strict DER.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// `Some` only when every byte was taken.
    pub(crate) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    pub(crate) fn sequence(&mut self) -> Option<Self> {
        self.element(SEQUENCE).map(Self)
    }

    pub(crate) fn object_identifier(&mut self) -> Option<&'a [u8]> {
        self.element(OBJECT_IDENTIFIER)
    }

    pub(crate) fn null(&mut self) -> Option<()> {
        self.element(NULL)?.is_empty().then_some(())
    }

    /// A BIT STRING of whole octets.
    pub(crate) fn bit_string(&mut self) -> Option<&'a [u8]> {
        match self.element(BIT_STRING)? {
            [0, octets @ ..] => Some(octets),
            _ => None,
        }
    }

    #[cfg(feature = "software")]
    pub(crate) fn octet_string(&mut self) -> Option<&'a [u8]> {
        self.element(OCTET_STRING)
    }

    /// What stands in an explicitly tagged `[number]`, a number below 31. Nothing is taken where another tag comes next.
    #[cfg(feature = "software")]
    pub(crate) fn constructed(&mut self, number: u8) -> Option<Self> {
        self.element(0xa0 | number).map(Self)
    }

    /// The octets of an implicitly tagged `[number]` of a primitive type; otherwise as [`Reader::constructed`].
    #[cfg(feature = "software")]
    pub(crate) fn primitive(&mut self, number: u8) -> Option<&'a [u8]> {
        self.element(0x80 | number)
    }

    /// An INTEGER that is not negative, big endian, without its sign octet. Zero is one zero octet.
    pub(crate) fn unsigned_integer(&mut self) -> Option<&'a [u8]> {
        match self.element(INTEGER)? {
            [] => None,
            [0] => Some(&[0]),
            [0, rest @ ..] => (rest.first()? & 0x80 != 0).then_some(rest),
            octets => (octets.first()? & 0x80 == 0).then_some(octets),
        }
    }

    fn element(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&found, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        if found != tag {
            return None;
        }
        let (len, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // Keys and signatures stay below 64 KiB, so longer length forms are not theirs.
            0x81 => {
                let (&len, rest) = rest.split_first()?;
                (usize::from(len), (len >= 0x80).then_some(rest)?)
            }
            0x82 => {
                let (len, rest) = rest.split_first_chunk()?;
                let len = u16::from_be_bytes(*len);
                (usize::from(len), (len > 0xff).then_some(rest)?)
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some(contents)
    }
}

/// `SEQUENCE { r INTEGER, s INTEGER }` of two 32-byte numbers, as `r || s`. Zeros and numbers past the group order are
/// for the caller to refuse.
#[cfg(feature = "software")]
pub(crate) fn read_signature(der: &[u8]) -> Option<[u8; 64]> {
    let mut outer = Reader::new(der);
    let mut pair = outer.sequence()?;
    outer.end()?;
    let r = pair.unsigned_integer()?;
    let s = pair.unsigned_integer()?;
    pair.end()?;

    let mut both = [0; 64];
    let (r_part, s_part) = both.split_at_mut(32);
    for (number, part) in [(r, r_part), (s, s_part)] {
        let start = part.len().checked_sub(number.len())?;
        part.get_mut(start..)?.copy_from_slice(number);
    }
    Some(both)
}

/// The DER form of the signature `r || s`.
#[cfg(feature = "software")]
pub(crate) fn write_signature(both: &[u8; 64]) -> Vec<u8> {
    let (r, s) = both.split_at(32);
    sequence(&[write_unsigned_integer(r), write_unsigned_integer(s)].concat())
}

/// `contents` as a SEQUENCE.
pub(crate) fn sequence(contents: &[u8]) -> Vec<u8> {
    write(SEQUENCE, contents)
}

/// The OBJECT IDENTIFIER whose encoded arcs are `arcs`.
pub(crate) fn object_identifier(arcs: &[u8]) -> Vec<u8> {
    write(OBJECT_IDENTIFIER, arcs)
}

/// A BIT STRING of whole octets.
pub(crate) fn bit_string(octets: &[u8]) -> Vec<u8> {
    write(BIT_STRING, &[&[0], octets].concat())
}

#[cfg(feature = "software")]
fn write_unsigned_integer(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|&&octet| octet == 0).count().min(number.len() - 1);
    let octets = &number[zeros..];
    if octets[0] & 0x80 == 0 { write(INTEGER, octets) } else { write(INTEGER, &[&[0], octets].concat()) }
}

/// One element. `contents` is shorter than 64 KiB.
pub(crate) fn write(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    // Only our own short structures are written.
    match (u8::try_from(contents.len()), u16::try_from(contents.len())) {
        (Ok(len @ 0..=0x7f), _) => out.push(len),
        (Ok(len), _) => out.extend([0x81, len]),
        (_, Ok(len)) => {
            out.push(0x82);
            out.extend(len.to_be_bytes());
        }
        _ => unreachable!("keys and signatures are shorter than 64 KiB"),
    }
    out.extend_from_slice(contents);
    out
}

#[cfg(all(test, feature = "software"))]
mod tests {
    use super::*;

    fn signature(r: &[u8], s: &[u8]) -> Vec<u8> {
        sequence(&[write(INTEGER, r), write(INTEGER, s)].concat())
    }

    #[test]
    fn small_and_full_numbers_are_right_aligned() {
        let full = [&[0][..], &[0xff; 32]].concat();
        let both = read_signature(&signature(&[1], &full)).unwrap();
        assert_eq!(both[..32], [[0; 31].as_slice(), &[1]].concat());
        assert_eq!(both[32..], [0xff; 32]);
    }

    #[test]
    fn every_departure_from_der_is_refused() {
        let good = signature(&[1], &[2]);
        assert!(read_signature(&good).is_some());
        let cases: [(&str, Vec<u8>); 12] = [
            ("empty", vec![]),
            ("trailing byte", [&good[..], &[0]].concat()),
            ("trailing byte inside", sequence(&[&good[2..], &[0]].concat())),
            ("third integer", sequence(&[&good[2..], &write(INTEGER, &[3])].concat())),
            ("r padded with a zero", signature(&[0, 1], &[2])),
            ("s padded with a zero", signature(&[1], &[0, 2])),
            ("negative r", signature(&[0x80], &[2])),
            ("empty integer", signature(&[], &[2])),
            ("33-byte number", signature(&[1; 33], &[2])),
            ("long form of a short length", [&[0x30, 0x81, 6], &good[2..]].concat()),
            ("indefinite length", [&[0x30, 0x80], &good[2..], &[0, 0]].concat()),
            ("truncated", good[..good.len() - 1].to_vec()),
        ];
        for (name, der) in cases {
            assert!(read_signature(&der).is_none(), "{name}");
        }
    }

    #[test]
    fn lengths_around_each_form_round_trip() {
        for len in [0, 127, 128, 255, 256, 65535] {
            let written = write(SEQUENCE, &vec![7; len]);
            let mut reader = Reader::new(&written);
            assert_eq!(reader.sequence().map(|inner| inner.0.len()), Some(len), "{len}");
            assert!(reader.end().is_some());
        }
    }

    #[test]
    fn long_length_forms_must_be_needed() {
        let short_in_two = [&[SEQUENCE, 0x82, 0, 0xff][..], &[0; 255]].concat();
        assert!(Reader::new(&short_in_two).sequence().is_none());
        assert!(Reader::new(&[SEQUENCE, 0x83, 0, 0, 1, 0]).sequence().is_none());
    }
}
