//! Parameters of services 0x34, 0x35 and 0x38, requests and answers (clauses 15.2, 15.3 and 15.6).

use super::fields::{Fields, push_counted, push_number, width_of};
use super::{RecordError, Request, ServiceId};

/// Address and length with their widths, as in 0x23, 0x34 and 0x35.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryRange {
    /// First address
    pub address: u64,
    /// Bytes
    pub length: u64,
    /// Width of the address in bytes, 1 to 8
    pub address_bytes: u8,
    /// Width of the length in bytes, 1 to 8
    pub length_bytes: u8,
}

impl MemoryRange {
    /// Format byte, address and length. What does not fit in its width loses its high bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut record = vec![self.length_bytes << 4 | self.address_bytes & 0x0F];
        push_number(&mut record, self.address, self.address_bytes);
        push_number(&mut record, self.length, self.length_bytes);
        record
    }

    /// Reads exactly that.
    ///
    /// # Errors
    /// Widths that are none, too few or too many bytes.
    pub fn parse(record: &[u8]) -> Result<Self, RecordError> {
        let mut fields = Fields(record);
        let format = fields.byte()?;
        let (address_bytes, length_bytes) = (format & 0x0F, format >> 4);
        let address = fields.number(address_bytes.into())?;
        let length = fields.number(length_bytes.into())?;
        fields.end()?;
        Ok(Self { address, length, address_bytes, length_bytes })
    }
}

/// The longest block of a transfer from the answer to 0x34 or 0x35, in bytes, service and counter included.
///
/// # Errors
/// A width that is none, too few or too many bytes.
pub fn parse_max_block_length(record: &[u8]) -> Result<u64, RecordError> {
    let mut fields = Fields(record);
    // The high nibble is the width of what follows.
    let width = usize::from(fields.byte()? >> 4);
    let length = fields.number(width)?;
    fields.end()?;
    Ok(length)
}

/// What 0x38 is to do (table G.1). Deleting and reading directories are not spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileMode {
    /// 0x01: a new file
    Add,
    /// 0x03: a file in place of another, or a new one
    Replace,
    /// 0x04: a file from the ECU
    Read,
    /// 0x06: a broken transfer of a file to the ECU
    Resume,
}

impl FileMode {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::Add, Self::Replace, Self::Read, Self::Resume];

    /// The mode on the wire.
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Add => 0x01,
            Self::Replace => 0x03,
            Self::Read => 0x04,
            Self::Resume => 0x06,
        }
    }

    /// `None` for what is reserved or not spoken.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.to_byte() == byte)
    }
}

/// A request of 0x38.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRequest {
    /// What to do
    pub mode: FileMode,
    /// Path and name, at most 65535 bytes
    pub path: Vec<u8>,
    /// Compression and encryption method
    pub data_format: u8,
    /// Bytes of the file, plain and as they are sent; not sent to read one
    pub size: (u64, u64),
}

impl FileRequest {
    /// The request.
    pub fn to_request(&self) -> Request {
        let mut parameters = vec![self.mode.to_byte()];
        push_counted(&mut parameters, &self.path);
        parameters.push(self.data_format);
        if self.mode != FileMode::Read {
            let (plain, sent) = self.size;
            let width = width_of(plain.max(sent));
            parameters.push(width);
            push_number(&mut parameters, plain, width);
            push_number(&mut parameters, sent, width);
        }
        Request::new(ServiceId::RequestFileTransfer, &parameters)
    }

    /// Reads what follows the service identifier.
    ///
    /// # Errors
    /// An unknown mode, widths that are none, too few or too many bytes.
    pub fn parse(parameters: &[u8]) -> Result<Self, RecordError> {
        let mut fields = Fields(parameters);
        let byte = fields.byte()?;
        let mode = FileMode::from_byte(byte).ok_or(RecordError::Value { byte })?;
        let path = fields.counted()?;
        let data_format = fields.byte()?;
        let mut size = (0, 0);
        if mode != FileMode::Read {
            let width = usize::from(fields.byte()?);
            size = (fields.number(width)?, fields.number(width)?);
        }
        fields.end()?;
        Ok(Self { mode, path, data_format, size })
    }
}

/// The answer to 0x38, after the mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileAccepted {
    /// Longest 0x36 in bytes, service and counter included
    pub max_block_length: u64,
    /// As asked for
    pub data_format: u8,
    /// Bytes of the file, plain and as they are sent; only of a file that is read
    pub size: Option<(u64, u64)>,
    /// Where the transfer goes on; only of one that is resumed
    pub position: Option<u64>,
}

impl FileAccepted {
    /// What follows the mode.
    pub fn to_bytes(&self) -> Vec<u8> {
        let width = width_of(self.max_block_length);
        let mut record = vec![width];
        push_number(&mut record, self.max_block_length, width);
        record.push(self.data_format);
        if let Some((plain, sent)) = self.size {
            let width = width_of(plain.max(sent));
            record.extend_from_slice(&[0, width]);
            push_number(&mut record, plain, width);
            push_number(&mut record, sent, width);
        }
        if let Some(position) = self.position {
            push_number(&mut record, position, 8);
        }
        record
    }

    /// Reads what follows the mode in the answer to a request of that mode.
    ///
    /// # Errors
    /// Widths that are none, too few or too many bytes.
    pub fn parse(mode: FileMode, record: &[u8]) -> Result<Self, RecordError> {
        let mut fields = Fields(record);
        let width = usize::from(fields.byte()?);
        let max_block_length = fields.number(width)?;
        let data_format = fields.byte()?;
        let (mut size, mut position) = (None, None);
        match mode {
            FileMode::Read => {
                let width = usize::try_from(fields.number(2)?).unwrap_or(usize::MAX);
                size = Some((fields.number(width)?, fields.number(width)?));
            }
            FileMode::Resume => position = Some(fields.number(8)?),
            FileMode::Add | FileMode::Replace => {}
        }
        fields.end()?;
        Ok(Self { max_block_length, data_format, size, position })
    }
}

/// CRC-16 of ISO/IEC 13239 as in HDLC and X.25 (reflected 0x1021, start and end 0xFFFF): what some ECUs want behind
/// every 0x36.
pub fn crc16_x25(bytes: &[u8]) -> u16 {
    let step =
        |state: u16| (0..8).fold(state, |state, _| (state >> 1) ^ (0x8408 & (state & 1).wrapping_neg()));
    !bytes.iter().fold(u16::MAX, |state, byte| step(state ^ u16::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn crc16_x25_gives_the_check_value_of_its_catalogue_entry() {
        assert_eq!(crc16_x25(b"123456789"), 0x906E);
    }

    #[test]
    fn a_resume_request_and_its_answer_stand_as_the_clause_has_them() {
        let request = FileRequest {
            mode: FileMode::Resume,
            path: b"/a".to_vec(),
            data_format: 0x11,
            size: (0x1234, 0x34),
        };
        assert_eq!(request.to_request().pdu(), [0x38, 6, 0, 2, b'/', b'a', 0x11, 2, 0x12, 0x34, 0x00, 0x34]);
        let record = [2, 0x0F, 0xFF, 0x11, 0, 0, 0, 0, 0, 0, 0x10, 0];
        let accepted = FileAccepted::parse(FileMode::Resume, &record).unwrap();
        assert_eq!((accepted.max_block_length, accepted.position), (4095, Some(4096)));
        assert_eq!(FileAccepted::parse(FileMode::Replace, &record), Err(RecordError::Long { extra: 8 }));
        assert_eq!(FileAccepted::parse(FileMode::Resume, &record[..11]), Err(RecordError::Short));
    }

    #[test]
    fn widths_of_0_and_9_are_none() {
        assert_eq!(parse_max_block_length(&[0x00]), Err(RecordError::Width { width: 0 }));
        assert_eq!(
            parse_max_block_length(&[0x90, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
            Err(RecordError::Width { width: 9 })
        );
        assert_eq!(parse_max_block_length(&[0x20, 0x0F, 0xFF]), Ok(4095));
        assert_eq!(parse_max_block_length(&[0x20, 0x0F, 0xFF, 0]), Err(RecordError::Long { extra: 1 }));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            mode in proptest::sample::select(FileMode::ALL.to_vec()),
            path in proptest::collection::vec(any::<u8>(), 0..40),
            format in any::<u8>(), plain in any::<u64>(), sent in any::<u64>(),
        ) {
            let size = if mode == FileMode::Read { (0, 0) } else { (plain, sent) };
            let request = FileRequest { mode, path, data_format: format, size };
            prop_assert_eq!(FileRequest::parse(&request.to_request().pdu()[1..]), Ok(request));
            let accepted = FileAccepted {
                max_block_length: plain,
                data_format: format,
                size: (mode == FileMode::Read).then_some((plain, sent)),
                position: (mode == FileMode::Resume).then_some(sent),
            };
            prop_assert_eq!(FileAccepted::parse(mode, &accepted.to_bytes()), Ok(accepted));
        }

        #[test]
        fn any_bytes_parse_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = FileRequest::parse(&bytes);
            let _ = parse_max_block_length(&bytes);
            for mode in FileMode::ALL {
                let _ = FileAccepted::parse(mode, &bytes);
            }
            if let Ok(range) = MemoryRange::parse(&bytes) {
                prop_assert_eq!(range.to_bytes(), bytes);
            }
        }
    }
}
