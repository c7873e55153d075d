//! IPv6 extension headers: what stands between the IP header and the transport's.

use maps_schema::address::Protocol;

use super::Transport;
use crate::packet::PacketRead;

/// How many IPv6 extension headers are looked behind; RFC 8200 section 4.1 lists six that may stand
/// in one packet.
pub(crate) const MAX_EXTENSIONS: usize = 6;

/// Headers that lie further behind are not looked for: some chains of the longest extension headers,
/// which nobody sends.
const FURTHEST: u32 = 0x3f00;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
/// The fragment header's number.
pub(crate) const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// Whether a header of this number is one that says how long it is, and what follows.
#[inline(always)]
pub(crate) const fn is_skipped(header: u8) -> bool {
    matches!(header, HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS)
}

/// The transport protocol, where its header begins, and what kind of fragment the packet is; from
/// the kind and the offset of the header that follows the IPv6 header.
#[inline(always)]
pub(crate) fn skip_extensions(
    packet: &impl PacketRead,
    first: u8,
    offset: u32,
) -> Option<(Protocol, u32, Option<Transport>)> {
    let (mut next, mut offset) = (first, offset);
    let mut fragment = None;
    for _ in 0..MAX_EXTENSIONS {
        match next {
            next_header if is_skipped(next_header) => {
                let [following, length] = packet.load::<2>(offset)?;
                next = following;
                offset = any_way_to(packet, offset + (u32::from(length) + 1) * 8)?;
            }
            FRAGMENT if fragment.is_none() => {
                let [following, _, offset0, offset1] = packet.load::<4>(offset)?;
                next = following;
                offset = any_way_to(packet, offset + 8)?;
                fragment = match u16::from_be_bytes([offset0, offset1]) & 0xfff9 {
                    0 => None, // An atomic fragment (RFC 6946) is a whole packet.
                    1 => Some(Transport::FirstFragment),
                    _ => Some(Transport::LaterFragment),
                };
                if matches!(fragment, Some(Transport::LaterFragment)) {
                    break;
                }
            }
            _ => break,
        }
    }
    Some((Protocol::new(next), offset, fragment))
}

/// Where a header begins: all ways there are one to a verifier.
#[inline(always)]
pub(crate) fn any_way_to(packet: &impl PacketRead, offset: u32) -> Option<u32> {
    let offset = packet.forget(offset);
    // Once more, for the compiler: where it knows the bound, it leaves out the one that is taken where
    // the packet is read, and Linux 6.1 has lost sight of this one by then.
    (offset <= FURTHEST).then(|| packet.forget(offset))
}
