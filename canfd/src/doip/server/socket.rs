//! One entry of the connection table.

use super::SocketId;
use crate::doip::LogicalAddress;
use crate::doip::payload::RoutingActivationRequest;
use crate::doip::reader::Reader;
use std::time::{Duration, Instant};

/// One connection.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) id: SocketId,
    pub(super) tls: bool,
    pub(super) state: State,
    /// Last byte in either direction.
    pub(super) last_use: Instant,
    /// When an alive check that was sent must be answered.
    pub(super) alive_until: Option<Instant>,
    reader: Reader,
}

/// How far a connection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// T_TCP_Initial_Inactivity runs
    Fresh { deadline: Instant },
    /// Others are asked whether they are alive; it is turned away once nobody is left to wait for
    Checking {
        request: RoutingActivationRequest,
        waits_for: Vec<SocketId>,
        denial: crate::doip::codes::ActivationCode,
    },
    /// Somebody has to confirm
    Confirming { tester: LogicalAddress },
    /// Diagnostic messages are routed
    Active { tester: LogicalAddress },
}

impl Socket {
    pub(super) const fn new(now: Instant, id: SocketId, tls: bool, deadline: Instant, max: u32) -> Self {
        Self {
            id,
            tls,
            state: State::Fresh { deadline },
            last_use: now,
            alive_until: None,
            reader: Reader::new(max),
        }
    }

    /// The reader, so that the connection may change while a message of it is looked at.
    pub(super) fn take_reader(&mut self, max: u32) -> Reader {
        std::mem::replace(&mut self.reader, Reader::new(max))
    }

    pub(super) fn put_reader(&mut self, reader: Reader) {
        self.reader = reader;
    }

    /// The tester it is registered for.
    pub(super) const fn tester(&self) -> Option<LogicalAddress> {
        match self.state {
            State::Confirming { tester } | State::Active { tester } => Some(tester),
            State::Fresh { .. } | State::Checking { .. } => None,
        }
    }

    /// When it is to be closed if nothing happens.
    pub(super) fn deadline(&self, general: Duration) -> Instant {
        let idle = self.last_use + general;
        match self.state {
            State::Fresh { deadline } => deadline,
            _ => self.alive_until.map_or(idle, |alive| alive.min(idle)),
        }
    }
}
