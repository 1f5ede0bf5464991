//! The records of `DEVICE.md`: where each field lies, and what is refused.
#![cfg(feature = "testing")]

use std::io;
use std::time::Duration;

use crypto_offload::device::abi::{
    AbiError, Capability, Key, Operation, REPLY_SIZE, REQUEST_SIZE, Reply, Request, Status,
};
use crypto_offload::device::{Buffers, ReplyReader, RequestReader, TransportError};
use crypto_offload::job::{HashAlgorithm, HashState};
use crypto_offload::software::hash;
use proptest::prelude::*;
use zeroize::Zeroizing;

fn request() -> Request {
    let mut request = Request::new(0x0102_0304_0506_0708, Operation::Open, 3);
    request.in_place = true;
    request.in_len = 1000;
    request.out_len = 1000;
    request.aux_len = 31;
    request.extra_len = 5;
    request.position = 77;
    request.time = Duration::from_nanos(500);
    request.iv = vec![0xaa; 12];
    request.tag = [0xbb; 16];
    request.key = Key::Raw(Zeroizing::new(vec![0xcc; 16]));
    request
}

fn u32_at(record: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(record[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(record: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(record[at..at + 8].try_into().expect("eight bytes"))
}

#[test]
fn every_field_of_a_request_lies_where_the_document_says() {
    let record = request().encode().unwrap();
    let small =
        [(0, 1), (4, 256), (16, 4), (20, 3), (24, 2), (28, 16), (80, 31), (84, 5), (112, 12), (116, 0)];
    for (at, value) in small {
        assert_eq!(u32_at(&*record, at), value, "offset {at}");
    }
    let large = [(8, 0x0102_0304_0506_0708), (32, 1000), (40, 1000), (48, 0), (56, 0), (64, 0), (72, 0)];
    for (at, value) in large.into_iter().chain([(88, 0), (96, 500), (104, 77)]) {
        assert_eq!(u64_at(&*record, at), value, "offset {at}");
    }
    assert_eq!((&record[120..132], &record[132..136]), (&[0xaa; 12][..], &[0; 4][..]));
    assert_eq!((&record[136..152], &record[152..168]), (&[0xbb; 16][..], &[0xcc; 16][..]));
    assert!(record[168..].iter().all(|&byte| byte == 0));
    let handle = Request { key: Key::Handle(9), ..request() }.encode().unwrap();
    assert_eq!((u32_at(&*handle, 24), u32_at(&*handle, 28), u64_at(&*handle, 88)), (3, 0, 9));
}

#[test]
fn every_field_of_a_reply_and_of_capabilities_lies_where_the_document_says() {
    let reply = Reply { id: 7, status: Status::Ok, degraded: true, out_len: 32, detail: 9 }.encode();
    let small = [u32_at(&reply, 0), u32_at(&reply, 4), u32_at(&reply, 16), u32_at(&reply, 20)];
    assert_eq!((small, reply.len()), ([1, 64, 0, 1], 64));
    assert_eq!([u64_at(&reply, 8), u64_at(&reply, 24), u64_at(&reply, 32)], [7, 32, 9]);
    let record = capability().encode();
    let small: Vec<u32> = (0..8).map(|field| u32_at(&record, 4 * field)).collect();
    assert_eq!((&small[..], record.len()), (&[1, 128, 14, 8, 16, 1, 16, 5][..], 128));
    assert_eq!((u64_at(&record, 32), u64_at(&record, 40), &record[48..53]), (4096, 2, &b"unit\0"[..]));
}

fn capability() -> Capability {
    Capability {
        hashes: 14,
        ciphers: 8,
        schemes: 16,
        midstates: true,
        depth: 16,
        keys: 5,
        max_bytes: 4096,
        firmware: 2,
        name: "unit".to_owned(),
    }
}

#[test]
fn what_the_document_does_not_allow_is_refused() {
    let sound = Reply { id: 7, status: Status::Ok, degraded: false, out_len: 32, detail: 0 }.encode();
    let damaged = |at: usize, value: u8| {
        let mut record = sound;
        record[at] = value;
        Reply::decode(&record)
    };
    assert!(Reply::decode(&sound).is_ok());
    assert_eq!(Reply::decode(&sound[1..]), Err(AbiError::Length { expected: 64, found: 63 }));
    assert_eq!(damaged(63, 1), Err(AbiError::Reserved));
    let low = usize::from(cfg!(target_endian = "big")) * 3;
    assert_eq!(damaged(low, 2), Err(AbiError::Version(2)));
    assert_eq!(damaged(4 + low, 65), Err(AbiError::Size(65)));
    assert_eq!(damaged(16 + low, 10), Err(AbiError::Field("status")));
    assert_eq!(damaged(16 + low, 8), Err(AbiError::Field("out_len")), "a refusal with output");
    assert_eq!(damaged(20 + low, 2), Err(AbiError::Field("flags")));
    for (depth, max_bytes, name) in [(0, 1, "a"), (1025, 1, "a"), (1, 0, "a"), (1, 1, ""), (1, 1, "a b")] {
        let record = Capability { depth, max_bytes, name: name.to_owned(), ..capability() }.encode();
        assert!(Capability::decode(&record).is_err(), "{depth} {max_bytes} {name:?}");
    }
    assert!(Capability::decode(&Capability { keys: 1024, ..capability() }.encode()).is_ok());
    let many = Capability { keys: 1025, ..capability() }.encode();
    assert_eq!(Capability::decode(&many), Err(AbiError::Field("keys")));
    for request in [
        Request { iv: vec![0; 17], ..request() },
        Request { aux_len: 65537, ..request() },
        Request { extra_len: 4097, ..request() },
        Request { in_len: (64 << 20) + 1, ..request() },
        Request { key: Key::Raw(Zeroizing::new(vec![0; 65])), ..request() },
    ] {
        assert!(request.encode().is_err());
    }
}

#[test]
fn midstates_are_laid_out_as_the_document_says() {
    let state = hash::advance(&HashState::new(HashAlgorithm::Sha256), &[7; 64 + 3]).unwrap();
    let fresh = hash::advance(&HashState::new(HashAlgorithm::Sha256), &[7; 3]).unwrap();
    // FIPS 180-4 clause 5.3.3: the chaining value before the first block.
    assert_eq!(fresh.midstate[..8], [0x67, 0xe6, 0x09, 0x6a, 0x85, 0xae, 0x67, 0xbb]);
    assert_eq!(
        (u64_at(&state.midstate, 32).to_le(), state.midstate[40], &state.midstate[41..45]),
        (1, 3, &[7, 7, 7, 0][..])
    );
    assert_eq!(state.midstate.len(), 104);
}

/// A reader that has asked for `lens` bytes under the ids 0, 1, ...
fn asked(lens: &[usize]) -> ReplyReader {
    let mut reader = ReplyReader::default();
    for (id, &out_len) in (0..).zip(lens) {
        let mut request = Request::new(id, Operation::Digest, 1);
        request.out_len = out_len;
        reader
            .push(&request, Buffers { output: vec![0; out_len], ..Buffers::default() })
            .expect("buffers that fit");
    }
    reader.write_to(&mut |bytes| Ok(bytes.len())).expect("a stream that takes everything");
    reader
}

/// Has `reader` read `bytes`, `step` at a time.
fn read(
    reader: &mut ReplyReader,
    mut bytes: &[u8],
    step: usize,
) -> Result<Vec<(u64, Vec<u8>)>, TransportError> {
    let mut answers = Vec::new();
    while let Some(answer) = reader.read_from(&mut |space| {
        let count = space.len().min(bytes.len()).min(step);
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        space[..count].copy_from_slice(&bytes[..count]);
        bytes = &bytes[count..];
        Ok(count)
    })? {
        answers.push((answer.reply.id, answer.buffers.output));
    }
    Ok(answers)
}

fn frame(id: u64, output: &[u8]) -> Vec<u8> {
    let reply = Reply { id, status: Status::Ok, degraded: false, out_len: output.len(), detail: 0 };
    [&reply.encode()[..], output].concat()
}

#[test]
fn replies_are_read_however_they_are_cut_and_in_any_order() {
    let stream = [frame(1, &[5; 20]), frame(0, &[])].concat();
    for step in 1..=stream.len() {
        let answers = read(&mut asked(&[0, 20]), &stream, step).unwrap();
        assert_eq!(answers, [(1, vec![5; 20]), (0, vec![])], "{step} bytes at a time");
    }
}

#[test]
fn a_reply_to_no_request_a_second_reply_and_a_wrong_length_end_the_stream() {
    assert_eq!(read(&mut asked(&[0]), &frame(1, &[]), 64), Err(TransportError::Unasked(1)));
    let twice = [frame(0, &[]), frame(0, &[])].concat();
    assert_eq!(read(&mut asked(&[0]), &twice, 64), Err(TransportError::Unasked(0)));
    let wrong = |found| TransportError::OutputLength { expected: 20, found };
    assert_eq!(read(&mut asked(&[20]), &frame(0, &[1; 19]), 64), Err(wrong(19)));
    assert_eq!(read(&mut asked(&[20]), &frame(0, &[1; 21]), 64), Err(wrong(21)));
}

#[test]
fn a_reply_to_a_request_that_is_not_out_yet_ends_the_stream() {
    let mut reader = ReplyReader::default();
    let mut request = Request::new(0, Operation::Digest, 1);
    request.in_len = 10;
    reader.push(&request, Buffers { data: vec![1; 10], ..Buffers::default() }).unwrap();
    let mut room = REQUEST_SIZE + 9;
    let write = &mut |bytes: &[u8]| match bytes.len().min(room) {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        count => {
            room -= count;
            Ok(count)
        }
    };
    reader.write_to(write).unwrap();
    assert!(reader.wants_write());
    assert_eq!(read(&mut reader, &frame(0, &[]), 64), Err(TransportError::Unasked(0)));
}

#[test]
fn a_device_refuses_more_payload_than_it_takes_before_it_has_come() {
    let mut request = Request::new(0, Operation::Digest, 1);
    request.in_len = 101;
    let record = request.encode().unwrap();
    let found = RequestReader::new(100).handle_bytes(&mut &record[..]);
    assert_eq!(found.err(), Some(AbiError::Field("in_len")));
}

proptest! {
    /// No bytes make a reader panic, and it gives no answer that was not asked for.
    #[test]
    fn any_stream_ends_in_asked_answers_or_an_error(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        flips in prop::collection::vec((0_usize..REPLY_SIZE, any::<u8>()), 0..3),
        step in 1_usize..100,
    ) {
        let mut stream = frame(1, &[5; 20]);
        for (at, value) in flips {
            stream[at] = value;
        }
        stream.extend(bytes);
        if let Ok(answers) = read(&mut asked(&[0, 20, 40]), &stream, step) {
            prop_assert!(answers.len() <= 3);
            for (id, output) in answers {
                prop_assert_eq!(output.len() as u64, id * 20);
            }
        }
    }

    /// What a device reads is what was written.
    #[test]
    fn requests_survive_the_wire(payload in prop::collection::vec(any::<u8>(), 0..300), step in 1_usize..300) {
        let sent = Request { in_len: payload.len(), out_len: payload.len(), aux_len: 0, extra_len: 0, ..request() };
        let stream = [&sent.encode().unwrap()[..], &payload].concat();
        let mut reader = RequestReader::new(300);
        let mut found = None;
        for mut piece in stream.chunks(step) {
            while !piece.is_empty() {
                found = reader.handle_bytes(&mut piece).unwrap();
            }
        }
        let (request, read) = found.unwrap();
        prop_assert_eq!(read, payload);
        prop_assert_eq!(&request.encode().unwrap()[..], &sent.encode().unwrap()[..]);
    }
}
