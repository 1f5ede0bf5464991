//! What a coprocessor sends, as a stream cut anywhere: refused, or an answer to a request that was made.
#![no_main]

use std::io;

use crypto_offload::device::abi::{Capability, Operation, Reply, Request};
use crypto_offload::device::{Buffers, ReplyReader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(reply) = Reply::decode(bytes) {
        assert_eq!(reply.encode(), bytes);
    }
    if let Ok(capability) = Capability::decode(bytes) {
        assert_eq!(capability.encode(), bytes);
    }
    if let Ok(request) = Request::decode(bytes) {
        assert_eq!(&request.encode().expect("what can be read can be written")[..], bytes);
    }
    let Some((&step, mut stream)) = bytes.split_first() else { return };
    let mut reader = ReplyReader::default();
    for id in 0..4_u8 {
        let mut request = Request::new(id.into(), Operation::Digest, 1);
        request.out_len = usize::from(id) * 16;
        let output = vec![0; request.out_len];
        reader.push(&request, Buffers { output, ..Buffers::default() }).expect("buffers that fit");
    }
    reader.write_to(&mut |bytes| Ok(bytes.len())).expect("a stream that takes everything");
    let mut answers = 0;
    loop {
        let answer = reader.read_from(&mut |space| {
            let count = space.len().min(stream.len()).min(usize::from(step) + 1);
            if count == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            space[..count].copy_from_slice(&stream[..count]);
            stream = &stream[count..];
            Ok(count)
        });
        match answer {
            Ok(Some(answer)) => {
                assert!(answer.reply.out_len == 0 || answer.reply.out_len == answer.buffers.output.len());
                answers += 1;
            }
            Ok(None) | Err(_) => break,
        }
    }
    assert!(answers <= 4);
});
