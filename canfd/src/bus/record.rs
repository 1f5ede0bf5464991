//! The records of the `virtual:` transport (ARCHITECTURE.md, "Bus transport `virtual:`").

use std::time::Duration;

use crate::frame::{CANFD_FRAME_LEN, FdFrame, FrameError};

use super::Received;

/// Size of a record in bytes: a `struct canfd_frame` and eight bytes of bus time.
pub const RECORD_LEN: usize = CANFD_FRAME_LEN + 8;

/// Offset of `__res0` in `struct canfd_frame`.
const RES0: usize = 6;
const OWN: u8 = 0x01;

/// Frames as they travel between a node and a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record(Received);

impl Record {
    /// From a node to the hub: a frame to transmit.
    pub const fn request(frame: FdFrame) -> Self {
        Self(Received { frame, timestamp: None, own: false })
    }

    /// From the hub to a node: a frame whose end was seen at bus time `at`; `own` where that node sent it.
    pub const fn delivery(frame: FdFrame, at: Duration, own: bool) -> Self {
        Self(Received { frame, timestamp: Some(at), own })
    }

    /// What the record says.
    pub const fn received(&self) -> &Received {
        &self.0
    }

    /// The bytes of the record, host byte order. Bus time is cut at 2^64 nanoseconds, 584 years.
    pub fn to_bytes(&self) -> [u8; RECORD_LEN] {
        let mut bytes = [0; RECORD_LEN];
        bytes[..CANFD_FRAME_LEN].copy_from_slice(&self.0.frame.to_bytes());
        bytes[RES0] = if self.0.own { OWN } else { 0 };
        let nanos = self.0.timestamp.map_or(0, |at| u64::try_from(at.as_nanos()).unwrap_or(u64::MAX));
        bytes[CANFD_FRAME_LEN..].copy_from_slice(&nanos.to_ne_bytes());
        bytes
    }

    /// The record in these bytes.
    ///
    /// # Errors
    /// [`FrameError`] where they hold no data frame.
    pub fn from_bytes(bytes: &[u8; RECORD_LEN]) -> Result<Self, FrameError> {
        let mut frame = [0; CANFD_FRAME_LEN];
        frame.copy_from_slice(&bytes[..CANFD_FRAME_LEN]);
        let mut nanos = [0; 8];
        nanos.copy_from_slice(&bytes[CANFD_FRAME_LEN..]);
        Ok(Self(Received {
            frame: FdFrame::from_bytes(&frame)?,
            timestamp: Some(Duration::from_nanos(u64::from_ne_bytes(nanos))),
            own: frame[RES0] & OWN != 0,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{CanId, FrameFormat};

    #[test]
    fn a_delivery_survives_its_bytes_and_stands_where_the_transport_says() {
        let id = CanId::standard(0x7E8).unwrap();
        let frame = FdFrame::new(id, FrameFormat::Fd { brs: true }, &[9; 12]).unwrap();
        let record = Record::delivery(frame, Duration::from_nanos(0x0102_0304_0506), true);
        let bytes = record.to_bytes();
        assert_eq!(Record::from_bytes(&bytes), Ok(record));
        assert_eq!(bytes[4..8], [12, 0x05, 0x01, 0]);
        assert_eq!(bytes[72..], 0x0102_0304_0506u64.to_ne_bytes());
    }
}
