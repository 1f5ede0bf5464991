//! Requests and replies as a stream of bytes: the record, then its buffers without anything between them.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use zeroize::Zeroizing;

use super::abi::{AbiError, REPLY_SIZE, REQUEST_SIZE, Reply, Request};
use super::transport::{Answer, Buffers, TransportError};

/// The asker's end of a stream: requests out, replies in.
#[derive(Debug, Default)]
pub struct ReplyReader {
    outgoing: VecDeque<Outgoing>,
    in_flight: BTreeMap<u64, InFlight>,
    incoming: Incoming,
}

#[derive(Debug)]
struct Outgoing {
    id: u64,
    record: Zeroizing<[u8; REQUEST_SIZE]>,
    in_len: usize,
    /// Bytes of record and buffers that are out.
    sent: usize,
}

#[derive(Debug)]
struct InFlight {
    in_place: bool,
    out_len: usize,
    buffers: Buffers,
    /// Whether the last byte is out. Before, there can be no reply.
    sent: bool,
}

#[derive(Debug)]
enum Incoming {
    Record { bytes: [u8; REPLY_SIZE], filled: usize },
    Output { reply: Reply, filled: usize },
}

impl Default for Incoming {
    fn default() -> Self {
        Self::Record { bytes: [0; REPLY_SIZE], filled: 0 }
    }
}

impl ReplyReader {
    /// Queues a request.
    ///
    /// # Errors
    /// The buffers, untouched, and [`TransportError::Request`] when they do not fit the request or its id is in use.
    pub fn push(&mut self, request: &Request, buffers: Buffers) -> Result<(), (Buffers, TransportError)> {
        if !buffers.fit(request) || self.in_flight.contains_key(&request.id) {
            return Err((buffers, TransportError::Request));
        }
        let Ok(record) = request.encode() else { return Err((buffers, TransportError::Request)) };
        self.outgoing.push_back(Outgoing { id: request.id, record, in_len: request.in_len, sent: 0 });
        let Request { in_place, out_len, .. } = *request;
        self.in_flight.insert(request.id, InFlight { in_place, out_len, buffers, sent: false });
        Ok(())
    }

    /// Whether there is something to write.
    pub fn wants_write(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Hands what is to be written to `write` until that takes no more ([`io::ErrorKind::WouldBlock`]).
    ///
    /// # Errors
    /// [`TransportError::Gone`] for any other error.
    pub fn write_to(
        &mut self,
        write: &mut dyn FnMut(&[u8]) -> io::Result<usize>,
    ) -> Result<(), TransportError> {
        while let Some(next) = self.outgoing.front_mut() {
            let Some(flight) = self.in_flight.get_mut(&next.id) else {
                self.outgoing.pop_front();
                continue;
            };
            let buffers = &flight.buffers;
            let pieces = [&next.record[..], &buffers.aux, &buffers.extra, &buffers.data[..next.in_len]];
            let Some(piece) = remaining(pieces, next.sent) else {
                flight.sent = true;
                self.outgoing.pop_front();
                continue;
            };
            match write(piece) {
                Ok(0) => return Err(TransportError::Gone(io::ErrorKind::WriteZero)),
                Ok(written) => next.sent += written.min(piece.len()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TransportError::Gone(error.kind())),
            }
        }
        Ok(())
    }

    /// Has `read` fill replies until one is whole, or until it has no more ([`io::ErrorKind::WouldBlock`]).
    ///
    /// # Errors
    /// [`TransportError`] when the stream ends or is not what the interface allows. Nothing can be read after that.
    pub fn read_from(
        &mut self,
        read: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> Result<Option<Answer>, TransportError> {
        loop {
            if let Some(answer) = self.take_whole()? {
                return Ok(Some(answer));
            }
            let (space, filled) = match &mut self.incoming {
                Incoming::Record { bytes, filled } => (&mut bytes[*filled..], filled),
                Incoming::Output { reply, filled } => {
                    let flight =
                        self.in_flight.get_mut(&reply.id).ok_or(TransportError::Unasked(reply.id))?;
                    let output = flight.buffers.output_of(flight.in_place, flight.out_len);
                    (&mut output[*filled..], filled)
                }
            };
            match read(space) {
                Ok(0) => return Err(TransportError::Gone(io::ErrorKind::UnexpectedEof)),
                Ok(count) => *filled += count.min(space.len()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TransportError::Gone(error.kind())),
            }
        }
    }

    /// Moves on from a whole record to its output, and from whole output to the answer.
    fn take_whole(&mut self) -> Result<Option<Answer>, TransportError> {
        if let Incoming::Record { bytes, filled: REPLY_SIZE } = &self.incoming {
            let reply = Reply::decode(bytes)?;
            let flight = self.in_flight.get(&reply.id).filter(|flight| flight.sent);
            let flight = flight.ok_or(TransportError::Unasked(reply.id))?;
            check_output(&reply, flight.out_len)?;
            self.incoming = Incoming::Output { reply, filled: 0 };
        }
        let Incoming::Output { reply, filled } = self.incoming else { return Ok(None) };
        if filled < reply.out_len {
            return Ok(None);
        }
        self.incoming = Incoming::default();
        let flight = self.in_flight.remove(&reply.id).ok_or(TransportError::Unasked(reply.id))?;
        Ok(Some(Answer { reply, buffers: flight.buffers }))
    }
}

/// Whether a reply brings what its request asked for.
pub(super) fn check_output(reply: &Reply, expected: usize) -> Result<(), TransportError> {
    // A refusal brings nothing, which the record's own check has made sure of.
    let asked = if reply.status == super::abi::Status::Ok { expected } else { 0 };
    if reply.out_len == asked {
        return Ok(());
    }
    Err(TransportError::OutputLength { expected: asked, found: reply.out_len })
}

/// What is left of the piece that byte `sent` of all pieces falls into; `None` behind the last.
fn remaining(pieces: [&[u8]; 4], mut sent: usize) -> Option<&[u8]> {
    for piece in pieces {
        if sent < piece.len() {
            return Some(&piece[sent..]);
        }
        sent -= piece.len();
    }
    None
}

/// The device's end of a stream: takes requests in, however they are cut.
#[derive(Debug)]
pub struct RequestReader {
    max_payload: usize,
    record: Zeroizing<Vec<u8>>,
    request: Option<Request>,
    payload: Vec<u8>,
}

impl RequestReader {
    /// A reader that refuses requests with more than `max_payload` bytes behind them.
    pub fn new(max_payload: usize) -> Self {
        Self { max_payload, record: Zeroizing::default(), request: None, payload: Vec::new() }
    }

    /// Takes bytes from the front of `bytes`, and gives out a request and its payload once both are whole.
    ///
    /// # Errors
    /// [`AbiError`] for a stream that breaks the interface. Nothing can be read after that.
    pub fn handle_bytes(&mut self, bytes: &mut &[u8]) -> Result<Option<(Request, Vec<u8>)>, AbiError> {
        if self.request.is_none() {
            let missing = REQUEST_SIZE - self.record.len();
            self.record.extend_from_slice(take(bytes, missing));
            if self.record.len() < REQUEST_SIZE {
                return Ok(None);
            }
            let request = Request::decode(&self.record)?;
            if request.payload_len() > self.max_payload {
                return Err(AbiError::Field("in_len"));
            }
            self.record = Zeroizing::default();
            self.request = Some(request);
        }
        let missing = self.request.as_ref().map_or(0, Request::payload_len) - self.payload.len();
        self.payload.extend_from_slice(take(bytes, missing));
        if self.payload.len() < self.request.as_ref().map_or(0, Request::payload_len) {
            return Ok(None);
        }
        let payload = std::mem::take(&mut self.payload);
        Ok(self.request.take().map(|request| (request, payload)))
    }
}

fn take<'a>(bytes: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(most.min(bytes.len()));
    *bytes = rest;
    taken
}
