//! What can go wrong in a device.

use std::collections::BTreeMap;
use std::time::Duration;

use super::frame;
use crate::device::abi::{Reply, Status};

/// What happens to one request, and perhaps to all after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmulatorFault {
    /// Its reply comes that much later.
    Slow(Duration),
    /// It ends with a device error.
    Fail,
    /// It is said to have a wrong tag, or a wrong signature.
    WrongTag,
    /// One bit of its output is wrong; where there is no output, a refusal becomes an approval.
    WrongAnswer,
    /// Its reply brings half of the output, and says so.
    ShortWrite,
    /// Its reply comes after that of the next request.
    Reorder,
    /// Its reply never comes.
    Drop,
    /// No reply comes any more, until a reset.
    Stall,
    /// The device dies on receiving it, until a reset.
    Die,
    /// The device dies halfway through its reply, until a reset.
    DieInReply,
    /// Its reply is noise.
    Garble,
    /// Its reply is to a request that nobody made.
    WrongId,
    /// It goes well, and the device says that it is degraded.
    Degraded,
    /// The device has no keys any more when it comes.
    ForgetKeys,
}

/// Which request meets which fault.
#[derive(Debug, Default)]
pub(super) struct Faults {
    ordered: BTreeMap<u64, EmulatorFault>,
    seen: u64,
    stalled: bool,
    /// Set from the request on that brings death in a reply.
    deadly: bool,
}

impl Faults {
    pub(super) fn order(&mut self, number: u64, fault: EmulatorFault) {
        self.ordered.insert(number, fault);
    }

    pub(super) const fn seen(&self) -> u64 {
        self.seen
    }

    /// The fault of the request that has just come.
    pub(super) fn next(&mut self) -> Option<EmulatorFault> {
        let fault = self.ordered.remove(&self.seen);
        self.seen += 1;
        self.stalled |= fault == Some(EmulatorFault::Stall);
        self.deadly |= fault == Some(EmulatorFault::DieInReply);
        if self.stalled { Some(EmulatorFault::Stall) } else { fault }
    }

    /// Whether the reply that goes out now is the last, and only in part.
    pub(super) const fn dies_in_reply(&self) -> bool {
        self.deadly
    }

    pub(super) const fn handle_reset(&mut self) {
        self.stalled = false;
        self.deadly = false;
    }
}

/// The bytes that go out for a sound answer under `fault`.
pub(super) fn spoil(fault: Option<EmulatorFault>, mut reply: Reply, mut output: Vec<u8>) -> Vec<u8> {
    match fault {
        Some(EmulatorFault::Fail) => {
            reply.status = Status::DeviceError;
            reply.detail = 0xdead;
            output.clear();
        }
        Some(EmulatorFault::WrongTag) => {
            // An empty output is a signature's; its refusal has another name.
            reply.status = if output.is_empty() { Status::BadSignature } else { Status::TagMismatch };
            output.clear();
        }
        Some(EmulatorFault::WrongAnswer) => match output.first_mut() {
            Some(byte) => *byte ^= 1,
            None => reply.status = Status::Ok,
        },
        Some(EmulatorFault::ShortWrite) => output.truncate(output.len() / 2),
        Some(EmulatorFault::Garble) => return vec![0xa5; 64],
        Some(EmulatorFault::WrongId) => reply.id ^= 1 << 40,
        Some(EmulatorFault::Degraded) => reply.degraded = true,
        _ => {}
    }
    reply.out_len = output.len();
    frame(&reply, &output)
}
