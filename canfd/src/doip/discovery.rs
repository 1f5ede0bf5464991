//! Vehicle identification: who is on this network? The tester's end, by datagrams.
//!
//! The contract: send every datagram of [`Discovery::poll_transmit`] to the broadcast or multicast address (or to one
//! entity) on port 13400, hand in every datagram that comes back, and stop once [`Discovery::is_over`].

use super::header::{MessageError, ProtocolVersion};
use super::payload::{Announcement, Payload};
use super::{Eid, Timings, Vin};
use std::time::{Duration, Instant};

/// Entities kept; a network that has more is not a vehicle's.
const MAX_FOUND: usize = 256;
/// Requests sent, because datagrams get lost.
const REQUESTS: u32 = 3;
/// Longest payload that an answer can have.
const MAX_PAYLOAD: u32 = 33;

/// Whom to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Query {
    /// Everybody
    All,
    /// One entity
    Eid(Eid),
    /// The entities of one vehicle
    Vin(Vin),
}

impl Query {
    fn matches(&self, found: &Announcement) -> bool {
        match self {
            Self::All => true,
            Self::Eid(eid) => found.eid == *eid,
            Self::Vin(vin) => found.vin == *vin,
        }
    }
}

/// One search. `A` is whatever the caller calls the sender of a datagram.
#[derive(Debug)]
pub struct Discovery<A> {
    query: Query,
    next_request: Option<Instant>,
    requests: u32,
    interval: Duration,
    end: Instant,
    found: Vec<(A, Announcement)>,
}

impl<A: PartialEq> Discovery<A> {
    /// Starts now and lasts for A_DoIP_Ctrl.
    pub fn new(now: Instant, query: Query, timings: &Timings) -> Self {
        Self {
            query,
            next_request: Some(now),
            requests: 0,
            interval: timings.control / (REQUESTS + 1),
            end: now + timings.control,
            found: Vec::new(),
        }
    }

    /// The request, when it is time for it.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.next_request.filter(|at| *at <= now && now < self.end)?;
        self.requests += 1;
        self.next_request = (self.requests < REQUESTS).then_some(now + self.interval);
        let request = match self.query {
            Query::All => Payload::IdentificationRequest,
            Query::Eid(eid) => Payload::IdentificationRequestEid(eid),
            Query::Vin(vin) => Payload::IdentificationRequestVin(vin),
        };
        // The tester does not know the edition that the vehicle speaks.
        Some(request.to_bytes(ProtocolVersion::Any))
    }

    /// A datagram from `sender`. One that announces nobody is not kept, nor anybody twice.
    ///
    /// # Errors
    /// What is wrong with the datagram; the search goes on.
    pub fn handle_datagram(&mut self, sender: A, datagram: &[u8]) -> Result<(), MessageError> {
        let (_, payload) = Payload::parse_datagram(datagram, MAX_PAYLOAD)?;
        if let Payload::Announcement(announcement) = payload
            && self.query.matches(&announcement)
            && self.found.len() < MAX_FOUND
            && !self.found.iter().any(|(other, it)| *other == sender && it.eid == announcement.eid)
        {
            self.found.push((sender, announcement));
        }
        Ok(())
    }

    /// Who has answered so far.
    pub fn found(&self) -> &[(A, Announcement)] {
        &self.found
    }

    /// Whether the time is over.
    pub fn is_over(&self, now: Instant) -> bool {
        now >= self.end
    }

    /// When to ask [`Self::poll_transmit`] or [`Self::is_over`] again.
    pub fn poll_timeout(&self) -> Instant {
        self.next_request.map_or(self.end, |at| at.min(self.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doip::LogicalAddress;
    use crate::doip::server::{Server, ServerConfig};

    #[test]
    fn entities_are_found_once_although_they_are_asked_three_times() {
        let start = Instant::now();
        let entities =
            [0x1001, 0x1002].map(|address| Server::new(ServerConfig::new(LogicalAddress(address))));
        let mut discovery = Discovery::new(start, Query::All, &Timings::default());
        let (mut now, mut requests) = (start, 0);
        while !discovery.is_over(now) {
            while let Some(request) = discovery.poll_transmit(now) {
                requests += 1;
                for (at, entity) in entities.iter().enumerate() {
                    discovery.handle_datagram(at, &entity.handle_datagram(&request).unwrap()).unwrap();
                }
            }
            now = discovery.poll_timeout();
        }
        let found: Vec<_> = discovery.found().iter().map(|(at, it)| (*at, it.logical_address.0)).collect();
        assert_eq!((requests, found), (3, vec![(0, 0x1001), (1, 0x1002)]));
        assert_eq!(now - start, Duration::from_secs(2));
    }

    #[test]
    fn who_was_not_asked_for_is_not_found() {
        let now = Instant::now();
        let entity = Server::new(ServerConfig::new(LogicalAddress(0x1001)));
        let mut discovery = Discovery::new(now, Query::Eid(Eid([1; 6])), &Timings::default());
        let request = discovery.poll_transmit(now).unwrap();
        assert_eq!(entity.handle_datagram(&request), None);
        discovery.handle_datagram((), &entity.announcement()).unwrap();
        assert_eq!(discovery.found(), []);
    }

    #[test]
    fn a_flood_of_entities_is_kept_within_bounds() {
        let mut discovery = Discovery::new(Instant::now(), Query::All, &Timings::default());
        for at in 0..=MAX_FOUND {
            let mut config = ServerConfig::new(LogicalAddress(0x1001));
            config.identity.eid = Eid([0, 0, 0, 0, 0, 1]);
            discovery.handle_datagram(at, &Server::new(config).announcement()).unwrap();
        }
        assert_eq!(discovery.found().len(), MAX_FOUND);
        let error = discovery.handle_datagram(0, &[0x02, 0xFD, 0]).unwrap_err();
        assert_eq!(error, MessageError::Datagram { len: 3 });
    }
}
