//! What of an image goes where.

use super::Profile;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// A stretch of the image in its bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// Where it goes, from the bank's address on.
    pub offset: u64,
    /// Bytes of the image. Only the last segment may leave it out: it takes the rest.
    #[serde(default)]
    pub length: Option<u64>,
}

/// The code that programs the flash: the first bytes of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FlashDriver {
    /// Where in RAM it goes.
    pub address: u64,
    /// Bytes of the image.
    pub length: u64,
}

/// Moving the image as a file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FileTransfer {
    /// Path and name on the ECU.
    pub path: String,
    /// A broken transfer is taken up again with mode 6 (ResumeFile). Default: false.
    #[serde(default)]
    pub resume: bool,
}

/// What stands behind the data of a 0x36.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockCheck {
    /// Nothing
    #[default]
    None,
    /// CRC-16/X-25 over the whole request, two bytes big endian
    Crc16X25,
}

impl BlockCheck {
    /// Its length in bytes.
    pub const fn len(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Crc16X25 => 2,
        }
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        matches!(self, Self::None)
    }
}

/// One download: a stretch of the image and its first address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) image: Range<u64>,
    pub(crate) address: u64,
    pub(crate) is_driver: bool,
}

impl Profile {
    /// The downloads of an image, the flash driver first; `None` where image and layout do not fit together.
    pub(crate) fn parts(&self, image_len: u64, bank: usize) -> Option<Vec<Part>> {
        let base = self.banks.get(bank)?.address;
        let mut parts = Vec::new();
        let mut at = 0;
        if let Some(driver) = self.flash_driver {
            parts.push(Part { image: 0..driver.length, address: driver.address, is_driver: true });
            at = driver.length;
        }
        let whole = [Segment { offset: 0, length: None }];
        let segments = if self.segments.is_empty() { &whole[..] } else { &self.segments };
        for segment in segments {
            let end = segment.length.map_or(Some(image_len), |length| at.checked_add(length))?;
            let address = base.checked_add(segment.offset)?;
            parts.push(Part { image: at..end, address, is_driver: false });
            at = end;
        }
        let whole = at == image_len && parts.iter().all(|part| part.image.start < part.image.end);
        whole.then_some(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        Profile {
            flash_driver: Some(FlashDriver { address: 0x2000_0000, length: 16 }),
            segments: vec![
                Segment { offset: 0, length: Some(100) },
                Segment { offset: 0x1000, length: None },
            ],
            ..Profile::default()
        }
    }

    #[test]
    fn driver_and_segments_cut_the_image_without_a_gap() {
        let parts = profile().parts(200, 0).unwrap();
        let cuts: Vec<_> = parts.iter().map(|part| (part.image.clone(), part.address)).collect();
        assert_eq!(cuts, [(0..16, 0x2000_0000), (16..116, 0), (116..200, 0x1000)]);
    }

    #[test]
    fn an_image_that_leaves_a_part_empty_or_a_rest_does_not_fit() {
        assert!(profile().parts(117, 0).is_some());
        assert_eq!(profile().parts(116, 0), None);
        let fixed =
            Profile { segments: vec![Segment { offset: 0, length: Some(100) }], ..Profile::default() };
        assert!(fixed.parts(100, 0).is_some());
        assert_eq!((fixed.parts(99, 0), fixed.parts(101, 0)), (None, None));
    }
}
