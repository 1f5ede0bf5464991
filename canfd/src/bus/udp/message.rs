//! The datagrams of python-can's `udp_multicast` interface: one frame each, a MessagePack map of the attributes of
//! its `Message`.
//!
//! Only what such a map needs of MessagePack is here. The decoder takes flat maps of the attributes it knows, each at
//! most once, and nothing behind them; it allocates nothing.

use crate::frame::{CanId, FdFrame, FrameError, FrameFormat, IdError};

/// Longest datagram written, in bytes: the names take 139, the values at most 95.
pub const MAX_LEN: usize = 256;
/// Entries of the map written, and most that are read.
const FIELDS: u8 = 11;

/// The datagram that carries this frame, time stamp 0: a receiver stamps it itself.
pub fn encode(frame: &FdFrame) -> Datagram {
    let mut out = Datagram { bytes: [0; MAX_LEN], len: 0 };
    let (id, extended) = match frame.id() {
        CanId::Standard(id) => (id.as_raw().into(), false),
        CanId::Extended(id) => (id.as_raw(), true),
    };
    let len = frame.dlc().len_byte();
    out.push(&[0x80 | FIELDS]);
    out.key("timestamp");
    out.push(&[0xCB]);
    out.push(&0.0_f64.to_be_bytes());
    out.key("arbitration_id");
    out.push(&[0xCE]);
    out.push(&id.to_be_bytes());
    out.flag("is_extended_id", extended);
    out.flag("is_remote_frame", false);
    out.flag("is_error_frame", false);
    out.key("channel");
    out.push(&[0xC0]);
    out.key("dlc");
    out.push(&[len]);
    out.key("data");
    out.push(&[0xC4, len]);
    out.push(frame.data());
    out.flag("is_fd", frame.is_fd());
    out.flag("bitrate_switch", frame.brs());
    out.flag("error_state_indicator", frame.esi());
    out
}

/// The bytes of one datagram.
#[derive(Clone, Debug)]
pub struct Datagram {
    bytes: [u8; MAX_LEN],
    len: usize,
}

impl Datagram {
    /// As they go on the network.
    pub fn as_bytes(&self) -> &[u8] {
        // `push` keeps the length within the array.
        &self.bytes[..self.len]
    }

    fn push(&mut self, bytes: &[u8]) {
        // MAX_LEN covers the longest frame; the test of a full frame would see a datagram cut short.
        if let Some(room) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    fn key(&mut self, name: &str) {
        // All names are shorter than the 32 bytes at which the short form ends.
        self.push(&[0xA0 | name.len().to_le_bytes()[0]]);
        self.push(name.as_bytes());
    }

    fn flag(&mut self, name: &str, value: bool) {
        self.key(name);
        self.push(&[0xC2 | u8::from(value)]);
    }
}

/// The frame a datagram carries. The attributes that make the frame must be there, the others may be missing, as
/// with python-can.
///
/// # Errors
/// [`MessageError`]; whoever sent the datagram is at fault.
pub fn decode(datagram: &[u8]) -> Result<FdFrame, MessageError> {
    let mut reader = Reader { rest: datagram };
    let count = reader.map()?;
    if count > usize::from(FIELDS) {
        return Err(MessageError::Fields(count));
    }
    let mut fields = Fields::default();
    for _ in 0..count {
        let key = reader.text()?;
        fields.read(key, &mut reader)?;
    }
    if !reader.rest.is_empty() {
        return Err(MessageError::Trailing(reader.rest.len()));
    }
    fields.frame()
}

/// What the map says so far.
#[derive(Default)]
struct Fields<'a> {
    id: Option<u64>,
    extended: Option<bool>,
    remote: Option<bool>,
    error: Option<bool>,
    dlc: Option<u64>,
    data: Option<&'a [u8]>,
    fd: Option<bool>,
    brs: Option<bool>,
    esi: Option<bool>,
    timestamp: Option<()>,
    channel: Option<()>,
}

impl<'a> Fields<'a> {
    fn read(&mut self, key: &'a str, reader: &mut Reader<'a>) -> Result<(), MessageError> {
        match key {
            "arbitration_id" => once(&mut self.id, "arbitration_id", reader.uint()?),
            "is_extended_id" => once(&mut self.extended, "is_extended_id", reader.flag()?),
            "is_remote_frame" => once(&mut self.remote, "is_remote_frame", reader.flag()?),
            "is_error_frame" => once(&mut self.error, "is_error_frame", reader.flag()?),
            "dlc" => once(&mut self.dlc, "dlc", reader.uint()?),
            "data" => once(&mut self.data, "data", reader.binary()?),
            "is_fd" => once(&mut self.fd, "is_fd", reader.flag()?),
            "bitrate_switch" => once(&mut self.brs, "bitrate_switch", reader.flag()?),
            "error_state_indicator" => once(&mut self.esi, "error_state_indicator", reader.flag()?),
            // The senders' clocks and their names for the bus mean nothing here.
            "timestamp" => once(&mut self.timestamp, "timestamp", reader.skip_scalar()?),
            "channel" => once(&mut self.channel, "channel", reader.skip_scalar()?),
            _ => Err(MessageError::UnknownField),
        }
    }

    fn frame(self) -> Result<FdFrame, MessageError> {
        let raw = self.id.ok_or(MessageError::Missing("arbitration_id"))?;
        let data = self.data.ok_or(MessageError::Missing("data"))?;
        let dlc = self.dlc.ok_or(MessageError::Missing("dlc"))?;
        let extended = self.extended.ok_or(MessageError::Missing("is_extended_id"))?;
        if self.error.unwrap_or(false) {
            return Err(FrameError::ErrorFrame { class: u32::try_from(raw).unwrap_or(u32::MAX) }.into());
        }
        if self.remote.unwrap_or(false) {
            return Err(FrameError::Remote.into());
        }
        if dlc != data.len() as u64 {
            return Err(MessageError::Dlc { dlc, len: data.len() });
        }
        let id = identifier(raw, extended).map_err(FrameError::from)?;
        let brs = self.brs.unwrap_or(false);
        let format = if self.fd.unwrap_or(false) { FrameFormat::Fd { brs } } else { FrameFormat::Classical };
        Ok(FdFrame::new(id, format, data)?.with_esi(self.esi.unwrap_or(false)))
    }
}

fn identifier(raw: u64, extended: bool) -> Result<CanId, IdError> {
    let wide = u32::try_from(raw).unwrap_or(u32::MAX);
    if extended {
        CanId::extended(wide)
    } else {
        u16::try_from(raw).map_or(Err(IdError::Extended(wide)), CanId::standard)
    }
}

fn once<T>(field: &mut Option<T>, name: &'static str, value: T) -> Result<(), MessageError> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(MessageError::Twice(name)),
    }
}

/// MessagePack from the front of some bytes.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], MessageError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(MessageError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, MessageError> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    /// A big-endian number of `count` bytes, at most eight.
    fn number(&mut self, count: usize) -> Result<u64, MessageError> {
        Ok(self.take(count)?.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
    }

    /// A length of `count` bytes; one that no memory holds is one that the datagram does not hold either.
    fn len(&mut self, count: usize) -> Result<usize, MessageError> {
        Ok(usize::try_from(self.number(count)?).unwrap_or(usize::MAX))
    }

    fn map(&mut self) -> Result<usize, MessageError> {
        match self.byte()? {
            short @ 0x80..=0x8F => Ok((short & 0x0F).into()),
            0xDE => self.len(2),
            0xDF => self.len(4),
            tag => Err(MessageError::Type { wanted: "a map", tag }),
        }
    }

    fn text(&mut self) -> Result<&'a str, MessageError> {
        let len = match self.byte()? {
            short @ 0xA0..=0xBF => (short & 0x1F).into(),
            0xD9 => self.len(1)?,
            0xDA => self.len(2)?,
            0xDB => self.len(4)?,
            tag => return Err(MessageError::Type { wanted: "text", tag }),
        };
        std::str::from_utf8(self.take(len)?).map_err(|_| MessageError::Text)
    }

    fn binary(&mut self) -> Result<&'a [u8], MessageError> {
        let len = match self.byte()? {
            0xC4 => self.len(1)?,
            0xC5 => self.len(2)?,
            0xC6 => self.len(4)?,
            tag => return Err(MessageError::Type { wanted: "bytes", tag }),
        };
        self.take(len)
    }

    fn uint(&mut self) -> Result<u64, MessageError> {
        match self.byte()? {
            small @ 0..=0x7F => Ok(small.into()),
            0xCC => self.number(1),
            0xCD => self.number(2),
            0xCE => self.number(4),
            0xCF => self.number(8),
            tag => Err(MessageError::Type { wanted: "an unsigned number", tag }),
        }
    }

    fn flag(&mut self) -> Result<bool, MessageError> {
        match self.byte()? {
            0xC2 => Ok(false),
            0xC3 => Ok(true),
            tag => Err(MessageError::Type { wanted: "true or false", tag }),
        }
    }

    /// Anything but a container: a time stamp is a float or a number, a channel also nil or text.
    fn skip_scalar(&mut self) -> Result<(), MessageError> {
        let len = match self.byte()? {
            0x00..=0x7F | 0xE0..=0xFF | 0xC0 | 0xC2 | 0xC3 => 0,
            0xCC | 0xD0 => 1,
            0xCD | 0xD1 => 2,
            0xCA | 0xCE | 0xD2 => 4,
            0xCB | 0xCF | 0xD3 => 8,
            short @ 0xA0..=0xBF => (short & 0x1F).into(),
            0xD9 => self.len(1)?,
            0xDA => self.len(2)?,
            tag => return Err(MessageError::Type { wanted: "a number or a text", tag }),
        };
        self.take(len).map(|_| ())
    }
}

/// Why a datagram carries no frame; whoever sent it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It ends in the middle of a value.
    #[error("the datagram ends in the middle of a value")]
    Truncated,
    /// Another kind of value than this field has.
    #[error("type byte {tag:#04x} where {wanted} belongs")]
    Type {
        /// What belongs there.
        wanted: &'static str,
        /// The type byte that stands there.
        tag: u8,
    },
    /// A name that is not UTF-8.
    #[error("a field name is no text")]
    Text,
    /// A field that no frame has.
    #[error("a field that no frame has")]
    UnknownField,
    /// A field that stands there twice.
    #[error("field `{0}` stands there twice")]
    Twice(&'static str),
    /// A field without which there is no frame.
    #[error("field `{0}` is missing")]
    Missing(&'static str),
    /// More fields than a frame has.
    #[error("{0} fields, a frame has at most 11")]
    Fields(usize),
    /// Bytes behind the map.
    #[error("{0} bytes behind the frame")]
    Trailing(usize),
    /// The length said is not the length there is.
    #[error("dlc says {dlc} bytes, data has {len}")]
    Dlc {
        /// As said.
        dlc: u64,
        /// As found.
        len: usize,
    },
    /// The fields make no data frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::Dlc;

    /// What python-can 4.6.1 packs for identifier 0x18DA10F1, FD with BRS, data 01 to 0C, channel "a".
    const FROM_PYTHON: &str = "8ba974696d657374616d70cb3ff8000000000000ae6172626974726174696f6e5f6964ce18da10f1\
        ae69735f657874656e6465645f6964c3af69735f72656d6f74655f6672616d65c2ae69735f6572726f725f6672616d65c2\
        a76368616e6e656ca161a3646c630ca464617461c40c0102030405060708090a0b0ca569735f6664c3\
        ae626974726174655f737769746368c3b56572726f725f73746174655f696e64696361746f72c2";

    fn unhex(text: &str) -> Vec<u8> {
        let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    fn full() -> FdFrame {
        FdFrame::new(CanId::extended(0x1FFF_FFFF).unwrap(), FrameFormat::Fd { brs: true }, &[0xA5; 64])
            .unwrap()
            .with_esi(true)
    }

    /// A datagram of a full frame in which `from` is replaced.
    fn edited(from: &[u8], to: &[u8]) -> Vec<u8> {
        let datagram = encode(&full());
        let bytes = datagram.as_bytes();
        let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
        [&bytes[..at], to, &bytes[at + from.len()..]].concat()
    }

    #[test]
    fn a_datagram_of_python_can_is_its_frame() {
        let id = CanId::extended(0x18DA_10F1).unwrap();
        let data: Vec<u8> = (1..=12).collect();
        let frame = FdFrame::new(id, FrameFormat::Fd { brs: true }, &data).unwrap();
        assert_eq!(decode(&unhex(FROM_PYTHON)), Ok(frame));
    }

    #[test]
    fn a_datagram_cut_anywhere_or_with_one_byte_more_is_refused() {
        let datagram = encode(&full());
        let bytes = datagram.as_bytes();
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), Err(MessageError::Truncated), "{end}");
        }
        let longer = [bytes, &[0xC0]].concat();
        assert_eq!(decode(&longer), Err(MessageError::Trailing(1)));
    }

    #[test]
    fn each_way_to_be_no_frame_has_its_name() {
        let twice = edited(b"\xA5is_fd", b"\xA3dlc\x40\xA5is_fd");
        assert_eq!(decode(&[&[0x8C], &twice[1..]].concat()), Err(MessageError::Fields(12)));
        let twice = edited(b"\xA7channel\xC0", b"\xA3dlc\x40");
        assert_eq!(decode(&twice), Err(MessageError::Twice("dlc")));
        assert_eq!(decode(&edited(b"\xA3dlc", b"\xA3dlx")), Err(MessageError::UnknownField));
        assert_eq!(
            decode(&edited(b"\xA3dlc\x40", b"\xA3dlc\x3F")),
            Err(MessageError::Dlc { dlc: 63, len: 64 })
        );
        assert_eq!(
            decode(&edited(b"\xA5is_fd\xC3", b"\xA5is_fd\x01")),
            Err(MessageError::Type { wanted: "true or false", tag: 1 })
        );
        assert_eq!(decode(&edited(b"remote_frame\xC2", b"remote_frame\xC3")), Err(FrameError::Remote.into()));
        assert_eq!(
            decode(&edited(b"error_frame\xC2", b"error_frame\xC3")),
            Err(FrameError::ErrorFrame { class: 0x1FFF_FFFF }.into())
        );
        let classical = decode(&edited(b"\xA5is_fd\xC3", b"\xA5is_fd\xC2"));
        assert_eq!(classical, Err(FrameError::Length { len: 64, format: FrameFormat::Classical }.into()));
        assert_eq!(decode(&[0x80]), Err(MessageError::Missing("arbitration_id")));
        assert_eq!(decode(&[0x90]), Err(MessageError::Type { wanted: "a map", tag: 0x90 }));
    }

    #[test]
    fn an_identifier_fits_its_format_or_is_refused() {
        let standard = edited(b"extended_id\xC3", b"extended_id\xC2");
        assert_eq!(decode(&standard), Err(FrameError::from(IdError::Extended(0x1FFF_FFFF)).into()));
        let wide = edited(b"\xCE\x1F\xFF\xFF\xFF", b"\xCE\x20\x00\x00\x00");
        assert_eq!(decode(&wide), Err(FrameError::from(IdError::Extended(0x2000_0000)).into()));
    }

    #[test]
    fn a_length_beyond_all_memory_is_only_a_datagram_that_ends_too_soon() {
        let huge = edited(b"\xC4\x40", b"\xC6\xFF\xFF\xFF\xFF");
        assert_eq!(decode(&huge), Err(MessageError::Truncated));
    }

    proptest! {
        #[test]
        fn every_frame_survives_its_datagram(
            raw in 0u32..0x2000_0000, extended: bool, len in 0usize..=64, fd: bool, brs: bool, esi: bool,
        ) {
            let id = if extended { CanId::extended(raw) } else { CanId::standard((raw & 0x7FF) as u16) }.unwrap();
            let format = if fd { FrameFormat::Fd { brs } } else { FrameFormat::Classical };
            let dlc = Dlc::at_least(if fd { len } else { len.min(8) }).unwrap();
            let frame = FdFrame::from_field(id, format, dlc, [0x5A; 64]).unwrap().with_esi(esi);
            prop_assert_eq!(decode(encode(&frame).as_bytes()), Ok(frame));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..234, to: u8) {
            let _ = decode(&bytes);
            // Nearly right: one byte of a good datagram changed.
            let mut near = encode(&full()).as_bytes().to_vec();
            if let Some(byte) = near.get_mut(at) {
                *byte = to;
            }
            let _ = decode(&near);
        }
    }
}
