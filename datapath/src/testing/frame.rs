//! A frame in a `Vec`, with the one thing beside its bytes that matters: who fills in the transport
//! checksum.

use maps_schema::fragment::FirstFragment;

use crate::{
    checksum::ChecksumDelta,
    packet::{Covered, PacketRead, PacketWrite, WriteFailed, ZeroChecksum},
};

/// Who fills in the transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumState {
    /// It is in the packet.
    Full,
    /// A device will (the kernel's `CHECKSUM_PARTIAL`); the field holds the pseudo header's sum.
    Partial {
        /// Where the covered bytes begin, from the start of the frame.
        start: usize,
        /// Where the field is, from `start` on.
        field: usize,
    },
    /// A device will, with SCTP's (and `csum_not_inet`); the field holds zero.
    PartialCrc {
        /// Where the covered bytes begin, from the start of the frame.
        start: usize,
    },
}

/// A frame and the state of its transport checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    bytes: Vec<u8>,
    checksum: ChecksumState,
    first_fragment: Option<FirstFragment>,
}

impl Frame {
    /// A frame whose checksums are complete.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self::with_checksum(bytes, ChecksumState::Full)
    }

    /// A frame whose transport checksum is in this state.
    pub fn with_checksum(bytes: Vec<u8>, checksum: ChecksumState) -> Self {
        Self { bytes, checksum, first_fragment: None }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Leaves with the frame what the first fragment of its datagram says.
    pub fn leave_first_fragment(&mut self, first: &FirstFragment) {
        self.first_fragment = FirstFragment::from_words(first.to_words());
    }

    /// The state of the transport checksum.
    pub fn checksum(&self) -> ChecksumState {
        self.checksum
    }

    /// The bytes as a device sends them: a partial checksum is completed.
    #[must_use]
    pub fn completed(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if let ChecksumState::Partial { start, field } = self.checksum
            && let Some(covered) = bytes.get(start..)
        {
            let checksum = match super::checksum::internet_checksum(covered) {
                0 => 0xffff,
                checksum => checksum,
            };
            if let Some(place) = bytes.get_mut(start + field..start + field + 2) {
                place.copy_from_slice(&checksum.to_be_bytes());
            }
        }
        if let ChecksumState::PartialCrc { start } = self.checksum {
            let checksum = super::checksum::crc32c(&bytes[start..]);
            bytes[start + 8..start + 12].copy_from_slice(&checksum.to_le_bytes());
        }
        bytes
    }
}

impl PacketRead for Frame {
    fn length(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }

    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.bytes.get(offset as usize..)?.first_chunk().copied()
    }

    fn first_fragment(&self) -> Option<FirstFragment> {
        self.first_fragment
    }
}

impl PacketWrite for Frame {
    fn sum(&self, offset: u32, length: u32) -> Option<ChecksumDelta> {
        let places = (0..length).step_by(2).map(|place| offset + place);
        places
            .map(|place| self.load::<2>(place))
            .try_fold(ChecksumDelta::ZERO, |sum, word| word.map(|word| sum.add_word(word)))
    }

    fn store<const N: usize>(&mut self, offset: u32, bytes: [u8; N]) -> Result<(), WriteFailed> {
        assert!(offset.is_multiple_of(2), "a store at the odd offset {offset}");
        let place = self.bytes.get_mut(offset as usize..).and_then(<[u8]>::first_chunk_mut);
        *place.ok_or(WriteFailed)? = bytes;
        Ok(())
    }

    /// As `bpf_l4_csum_replace` and `inet_proto_csum_replace_by_diff` do it, in their arithmetic.
    fn correct_checksum(
        &mut self,
        offset: u32,
        delta: ChecksumDelta,
        covered: Covered,
        zero: ZeroChecksum,
    ) -> Result<(), WriteFailed> {
        let field = u16::from_ne_bytes(self.load(offset).ok_or(WriteFailed)?);
        if zero == ZeroChecksum::MeansNone && field == 0 {
            return Ok(());
        }
        let difference = delta.to_wsum();
        let mut corrected = match (self.checksum, covered) {
            (ChecksumState::Full, _) => csum_fold(csum_add(difference, !u32::from(field))),
            (ChecksumState::PartialCrc { .. }, _) => return Err(WriteFailed),
            (ChecksumState::Partial { .. }, Covered::Addresses) => {
                !csum_fold(csum_add(difference, u32::from(field)))
            }
            (ChecksumState::Partial { .. }, Covered::Ports) => field,
        };
        if zero == ZeroChecksum::MeansNone && corrected == 0 {
            corrected = 0xffff;
        }
        self.store(offset, corrected.to_ne_bytes())
    }

    /// As `bpf_skb_change_tail`: not below the field of a partial checksum.
    fn truncate(&mut self, length: u32) -> Result<(), WriteFailed> {
        let least = match self.checksum {
            ChecksumState::Full => 14,
            ChecksumState::Partial { start, field } => start + field + 2,
            ChecksumState::PartialCrc { start } => start + 8 + 2,
        };
        if (length as usize) < least {
            return Err(WriteFailed);
        }
        self.bytes.resize(length as usize, 0);
        Ok(())
    }

    /// As `bpf_skb_adjust_room`: the new bytes are whatever was there.
    fn make_room<const BYTES: u32>(&mut self) -> Result<(), WriteFailed> {
        if self.bytes.len() < 14 {
            return Err(WriteFailed);
        }
        self.bytes.splice(14..14, std::iter::repeat_n(0xa5, BYTES as usize));
        if let ChecksumState::Partial { start, .. } | ChecksumState::PartialCrc { start } =
            &mut self.checksum
        {
            *start += BYTES as usize;
        }
        Ok(())
    }
}

fn csum_add(sum: u32, addend: u32) -> u32 {
    let (sum, carry) = sum.overflowing_add(addend);
    sum + u32::from(carry)
}

#[expect(clippy::cast_possible_truncation, reason = "as the kernel folds")]
fn csum_fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    !(((sum & 0xffff) + (sum >> 16)) as u16)
}
