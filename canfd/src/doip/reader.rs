//! Messages out of a stream of bytes, however it is cut.

use super::header::{HEADER_LEN, Header, MessageError};
use super::payload::Payload;

/// Takes a stream apart. It holds one message at most, and of that only what has arrived.
#[derive(Debug)]
pub struct Reader {
    max: u32,
    header: [u8; HEADER_LEN],
    /// Bytes of the header that are here.
    filled: usize,
    /// The header, once it is whole.
    current: Option<Header>,
    payload: Vec<u8>,
    /// Bytes of a message that is not wanted and has yet to pass.
    skip: u32,
    lost: bool,
}

impl Reader {
    /// At the start of a stream whose messages have `max` bytes of payload at most.
    pub const fn new(max: u32) -> Self {
        Self {
            max,
            header: [0; HEADER_LEN],
            filled: 0,
            current: None,
            payload: Vec::new(),
            skip: 0,
            lost: false,
        }
    }

    /// Takes bytes off the front of `input` up to the end of the next message; `None` once all are taken.
    ///
    /// # Errors
    /// In the middle of the stream, [`MessageError`] for a message that is passed over, or one after which the stream
    /// cannot be read any more ([`MessageError::skip`] tells which); then the rest of it is swallowed.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Result<Payload<'_>, MessageError>> {
        while !input.is_empty() {
            if self.lost {
                *input = &[];
            } else if self.skip > 0 {
                let passed = take(input, self.skip as usize);
                self.skip -= u32::try_from(passed.len()).unwrap_or(self.skip);
            } else if let Some(header) = self.current {
                let missing = header.len as usize - self.payload.len();
                self.payload.extend_from_slice(take(input, missing));
                if self.payload.len() == header.len as usize {
                    return Some(self.finish(header));
                }
            } else {
                match self.begin(input) {
                    // A message without payload ends with its header.
                    Ok(Some(header)) if header.len == 0 => return Some(self.finish(header)),
                    Ok(_) => {}
                    Err(error) => return Some(Err(error)),
                }
            }
        }
        None
    }

    /// Bytes held of the message under way.
    pub const fn len(&self) -> usize {
        if self.current.is_some() { HEADER_LEN + self.payload.len() } else { self.filled }
    }

    /// Whether the stream stands between two messages.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0 && self.skip == 0
    }

    fn begin(&mut self, input: &mut &[u8]) -> Result<Option<Header>, MessageError> {
        let room = self.header.get_mut(self.filled..).unwrap_or_default();
        let taken = take(input, room.len());
        for (place, byte) in room.iter_mut().zip(taken) {
            *place = *byte;
        }
        self.filled += taken.len();
        if self.filled < HEADER_LEN {
            return Ok(None);
        }
        self.filled = 0;
        self.payload.clear();
        match Header::parse(self.header, self.max) {
            Ok(header) => {
                self.current = Some(header);
                Ok(Some(header))
            }
            Err(error) => {
                self.lost = error.skip().is_none();
                self.skip = error.skip().unwrap_or(0);
                Err(error)
            }
        }
    }

    fn finish(&mut self, header: Header) -> Result<Payload<'_>, MessageError> {
        self.current = None;
        Payload::parse(header.payload_type, &self.payload)
    }
}

/// Up to `len` bytes off the front.
fn take<'a>(input: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (head, rest) = input.split_at(len.min(input.len()));
    *input = rest;
    head
}
