//! Frames of classical CAN and CAN FD, and their bytes in `linux/can.h`.

mod dlc;
mod id;

pub use dlc::Dlc;
pub use id::{CanId, CanIds, ExtendedId, IdError, StandardId};

/// Which of the two frame formats, and whether the data phase runs at the higher rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameFormat {
    /// Classical CAN, at most 8 bytes.
    Classical,
    /// CAN FD, at most 64 bytes.
    Fd {
        /// Bit rate switch: the data phase runs at the data bit rate.
        brs: bool,
    },
}

/// One data frame. It is `Copy` and owns no memory; bytes past its length are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
// The data field first and the whole in steps of 16 bytes: then the pieces in which a frame is moved are those in which it
// was written, and a processor hands them on without waiting.
#[repr(C, align(16))]
pub struct FdFrame {
    data: [u8; 64],
    id: CanId,
    format: FrameFormat,
    esi: bool,
    dlc: Dlc,
}

/// Size of `struct canfd_frame` in bytes (CANFD_MTU).
pub const CANFD_FRAME_LEN: usize = 72;

const CANFD_BRS: u8 = 0x01;
const CANFD_ESI: u8 = 0x02;
const CANFD_FDF: u8 = 0x04;
const CAN_EFF_FLAG: u32 = 0x8000_0000;
const CAN_RTR_FLAG: u32 = 0x4000_0000;
const CAN_ERR_FLAG: u32 = 0x2000_0000;

impl FdFrame {
    /// A frame with exactly these bytes.
    ///
    /// # Errors
    /// [`FrameError::Length`] where the format has no data field of that length.
    pub fn new(id: CanId, format: FrameFormat, data: &[u8]) -> Result<Self, FrameError> {
        let dlc = Dlc::exact(data.len()).ok_or(FrameError::Length { len: data.len(), format })?;
        let mut field = [0; 64];
        field[..dlc.len()].copy_from_slice(data);
        Self::from_field(id, format, dlc, field)
    }

    /// A frame whose data field is the first `dlc` bytes of `field`; the rest is cleared.
    ///
    /// # Errors
    /// [`FrameError::Length`] for a classical frame above 8 bytes.
    pub fn from_field(id: CanId, format: FrameFormat, dlc: Dlc, field: [u8; 64]) -> Result<Self, FrameError> {
        if format == FrameFormat::Classical && dlc > Dlc::EIGHT {
            return Err(FrameError::Length { len: dlc.len(), format });
        }
        let mut frame = Self { id, format, esi: false, dlc, data: field };
        frame.shorten(dlc);
        Ok(frame)
    }

    /// A frame of 64 equal bytes to be written over in place and then cut with [`Self::shorten`]. For the one hot path
    /// there is: a data field moved after it was written costs more than everything else about a frame.
    #[inline]
    pub(crate) const fn blank(id: CanId, format: FrameFormat, fill: u8) -> Self {
        Self { id, format, esi: false, dlc: Dlc::MAX, data: [fill; 64] }
    }

    /// The whole data field, whatever the length.
    #[inline]
    pub(crate) const fn field_mut(&mut self) -> &mut [u8; 64] {
        &mut self.data
    }

    /// Sets the length. The caller sees to it that classical frames stay within 8 bytes.
    #[inline]
    pub(crate) fn shorten(&mut self, dlc: Dlc) {
        debug_assert!(self.is_fd() || dlc <= Dlc::EIGHT, "a classical frame holds 8 bytes");
        self.dlc = dlc;
        if dlc != Dlc::MAX {
            self.data[dlc.len()..].fill(0);
        }
    }

    /// The same frame with the error state indicator set as given (FD only, ignored for classical frames).
    #[must_use]
    pub fn with_esi(mut self, esi: bool) -> Self {
        self.esi = esi && self.is_fd();
        self
    }

    /// The identifier.
    pub const fn id(&self) -> CanId {
        self.id
    }

    /// The format.
    pub const fn format(&self) -> FrameFormat {
        self.format
    }

    /// Whether this is a CAN FD frame.
    pub const fn is_fd(&self) -> bool {
        matches!(self.format, FrameFormat::Fd { .. })
    }

    /// Bit rate switch; never set in classical frames.
    pub const fn brs(&self) -> bool {
        matches!(self.format, FrameFormat::Fd { brs: true })
    }

    /// Error state indicator: the sender was error passive. Never set in classical frames.
    pub const fn esi(&self) -> bool {
        self.esi
    }

    /// The data length code.
    pub const fn dlc(&self) -> Dlc {
        self.dlc
    }

    /// The data field, 0 to 64 bytes.
    pub fn data(&self) -> &[u8] {
        // A code never stands for more than the field's 64 bytes.
        &self.data[..self.dlc.len()]
    }

    /// The frame as `struct canfd_frame`, host byte order. CANFD_FDF tells FD from classical.
    pub fn to_bytes(&self) -> [u8; CANFD_FRAME_LEN] {
        let mut bytes = [0; CANFD_FRAME_LEN];
        let mut flags = 0;
        if self.is_fd() {
            flags |= CANFD_FDF;
        }
        if self.brs() {
            flags |= CANFD_BRS;
        }
        if self.esi {
            flags |= CANFD_ESI;
        }
        bytes[..4].copy_from_slice(&self.id.to_can_id().to_ne_bytes());
        bytes[4] = self.dlc.len_byte();
        bytes[5] = flags;
        bytes[8..].copy_from_slice(&self.data);
        bytes
    }

    /// The frame in the bytes of a `struct canfd_frame`, host byte order; the reserved bytes are not looked at.
    ///
    /// # Errors
    /// Remote and error frames, illegal lengths and identifiers above 11 bits without the extended flag.
    pub fn from_bytes(bytes: &[u8; CANFD_FRAME_LEN]) -> Result<Self, FrameError> {
        let [a, b, c, d, len, flags, _, _, field @ ..] = bytes;
        let can_id = u32::from_ne_bytes([*a, *b, *c, *d]);
        if can_id & CAN_ERR_FLAG != 0 {
            return Err(FrameError::ErrorFrame { class: can_id & !CAN_ERR_FLAG });
        }
        if can_id & CAN_RTR_FLAG != 0 {
            return Err(FrameError::Remote);
        }
        let id = if can_id & CAN_EFF_FLAG != 0 {
            CanId::extended(can_id & ExtendedId::MAX)?
        } else {
            CanId::standard(u16::try_from(can_id).map_err(|_| IdError::Extended(can_id))?)?
        };
        let format = if flags & CANFD_FDF != 0 {
            FrameFormat::Fd { brs: flags & CANFD_BRS != 0 }
        } else {
            FrameFormat::Classical
        };
        let len = usize::from(*len);
        let dlc = Dlc::exact(len).ok_or(FrameError::Length { len, format })?;
        Ok(Self::from_field(id, format, dlc, *field)?.with_esi(flags & CANFD_ESI != 0))
    }
}

/// Why bytes are no data frame; their sender, or the caller who asked for the frame, is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No data length code stands for this length in this format.
    #[error("a {format:?} frame has no data field of {len} bytes")]
    Length {
        /// Bytes asked for.
        len: usize,
        /// In which format.
        format: FrameFormat,
    },
    /// A remote frame: none of our protocols uses them.
    #[error("remote frame where a data frame was expected")]
    Remote,
    /// The controller's error message, not a frame.
    #[error("error frame of class {class:#x} from the controller")]
    ErrorFrame {
        /// The error class bits of `linux/can/error.h`.
        class: u32,
    },
    /// Not an identifier.
    #[error(transparent)]
    Id(#[from] IdError),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: u16 = 0x7E0;
    const FD: FrameFormat = FrameFormat::Fd { brs: true };

    #[test]
    fn a_classical_frame_holds_eight_bytes_and_not_twelve() {
        let id = CanId::standard(ID).unwrap();
        assert_eq!(FdFrame::new(id, FrameFormat::Classical, &[7; 8]).unwrap().data(), [7; 8]);
        assert!(FdFrame::new(id, FrameFormat::Classical, &[7; 12]).is_err());
    }

    #[test]
    fn an_fd_frame_holds_64_bytes_and_only_legal_lengths() {
        let id = CanId::standard(ID).unwrap();
        assert_eq!(FdFrame::new(id, FD, &[7; 64]).unwrap().data(), [7; 64]);
        for len in [9, 63, 65, 4096] {
            let error = FdFrame::new(id, FD, &vec![0; len]).unwrap_err();
            assert_eq!(error, FrameError::Length { len, format: FD });
        }
    }

    #[test]
    fn remote_and_error_frames_are_refused_by_name() {
        let mut bytes = FdFrame::new(CanId::standard(ID).unwrap(), FD, &[]).unwrap().to_bytes();
        bytes[..4].copy_from_slice(&(0x4000_0000 | u32::from(ID)).to_ne_bytes());
        assert_eq!(FdFrame::from_bytes(&bytes), Err(FrameError::Remote));
        bytes[..4].copy_from_slice(&0x2000_0040u32.to_ne_bytes());
        assert_eq!(FdFrame::from_bytes(&bytes), Err(FrameError::ErrorFrame { class: 0x40 }));
        bytes[..4].copy_from_slice(&0x800u32.to_ne_bytes());
        assert_eq!(FdFrame::from_bytes(&bytes), Err(IdError::Standard(0x800).into()));
    }

    proptest! {
        #[test]
        fn whatever_parses_comes_back_as_the_same_frame(raw in proptest::collection::vec(any::<u8>(), 72)) {
            let bytes: [u8; 72] = raw.try_into().unwrap();
            if let Ok(frame) = FdFrame::from_bytes(&bytes) {
                prop_assert_eq!(FdFrame::from_bytes(&frame.to_bytes()), Ok(frame));
            }
        }

        #[test]
        fn every_frame_survives_its_bytes(raw in 0u32..0x2000_0000, len in 0usize..=64, brs: bool, esi: bool) {
            let dlc = Dlc::at_least(len).unwrap();
            let frame = FdFrame::from_field(CanId::extended(raw).unwrap(), FrameFormat::Fd { brs }, dlc, [0xA5; 64])
                .unwrap()
                .with_esi(esi);
            prop_assert_eq!(FdFrame::from_bytes(&frame.to_bytes()), Ok(frame));
        }
    }
}
