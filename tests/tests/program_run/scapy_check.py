"""Builds packets from their descriptions and checks packets, by Scapy: nothing here knows how shunt does it.

Reads a JSON list of descriptions from stdin, each with the frame's bytes. Prints one line for each that is wrong;
exits with 1 if there is any, or with 2 if Scapy is missing.
"""

import json
import sys

try:
    from scapy.config import conf

    conf.ipv6_enabled = True
    from scapy.layers.inet import ICMP, IP, TCP, UDP, in4_chksum
    from scapy.layers.inet6 import (
        IPv6,
        IPv6ExtHdrDestOpt,
        IPv6ExtHdrFragment,
        IPv6ExtHdrHopByHop,
        in6_chksum,
    )
    from scapy.layers.l2 import Ether
    from scapy.layers.sctp import SCTP
    from scapy.packet import Raw
    from scapy.utils import checksum
except ImportError as error:
    print(f"Scapy is missing ({error}): `cargo xtask setup` installs it", file=sys.stderr)
    sys.exit(2)


def transport_bytes(packet, protocol):
    """The transport header and payload as bytes, its checksum made by Scapy."""
    transport = packet["transport"]
    kind = transport["kind"]
    if kind == "raw":
        return bytes.fromhex(transport["bytes"])
    if kind == "tcp":
        options = bytes.fromhex(transport["options"])
        layer = TCP(
            sport=transport["source_port"],
            dport=transport["destination_port"],
            seq=transport["sequence"],
            ack=transport["acknowledgement"],
            flags=transport["flags"],
            window=transport["window"],
            dataofs=5 + len(options) // 4,
            chksum=0,
        )
        body, place = bytes(layer) + options + bytes.fromhex(transport["payload"]), 16
    elif kind == "udp":
        payload = bytes.fromhex(transport["payload"])
        layer = UDP(
            sport=transport["source_port"],
            dport=transport["destination_port"],
            len=8 + len(payload),
            chksum=0,
        )
        body, place = bytes(layer) + payload, 6
        if not transport["checksum"]:
            return body
    elif kind == "sctp":
        rest = bytes.fromhex(transport["rest"])
        layer = SCTP(
            sport=transport["source_port"],
            dport=transport["destination_port"],
            tag=transport["tag"],
        )
        chunk = bytes([transport["chunk"], 0]) + (4 + len(rest)).to_bytes(2, "big")
        return bytes(layer / Raw(chunk + rest))
    else:
        body = bytes([transport["type"], transport["code"], 0, 0]) + bytes.fromhex(transport["body"])
        place = 2
    value = transport_checksum(packet["source"], packet["destination"], protocol, body)
    return body[:place] + value.to_bytes(2, "big") + body[place + 2 :]


def transport_checksum(source, destination, protocol, body):
    """Scapy's checksum over the pseudo header and the body."""
    if protocol == 1:
        value = checksum(body)
    elif ":" in source:
        value = in6_chksum(protocol, IPv6(src=source, dst=destination, nh=protocol), body)
    else:
        value = in4_chksum(protocol, IP(src=source, dst=destination, proto=protocol), body)
    if value == 0 and protocol == 17:
        value = 0xFFFF
    return value


def protocol_of(packet):
    transport = packet["transport"]
    if transport["kind"] == "icmp":
        return 58 if ":" in packet["source"] else 1
    return {"tcp": 6, "udp": 17, "sctp": 132}.get(transport["kind"]) or transport["protocol"]


def build(packet):
    """The frame from its description."""
    protocol = protocol_of(packet)
    body = Raw(transport_bytes(packet, protocol))
    ether = Ether(src=packet["ether_source"], dst=packet["ether_destination"])
    if ":" not in packet["source"]:
        offset, more = packet["fragment"] or (0, False)
        options = bytes.fromhex(packet["options"])
        header = IP(
            src=packet["source"],
            dst=packet["destination"],
            ttl=packet["hop_limit"],
            tos=packet["traffic_class"],
            id=packet["identification"],
            flags=2 * packet["dont_fragment"] + more,
            frag=offset,
            proto=protocol,
        )
        if options:
            header.options = parse_options(options)
        return bytes(ether / header / body) + bytes(packet["padding"])
    header = IPv6(
        src=packet["source"],
        dst=packet["destination"],
        hlim=packet["hop_limit"],
        tc=packet["traffic_class"],
    )
    kinds = [extension["kind"] for extension in packet["extensions"]]
    if packet["fragment"]:
        kinds.append(44)
    kinds.append(protocol)
    header.nh = kinds[0]
    extensions = b""
    for extension, following in zip(packet["extensions"], kinds[1:]):
        content = bytes.fromhex(extension["body"])
        layer = {0: IPv6ExtHdrHopByHop, 60: IPv6ExtHdrDestOpt}[extension["kind"]]
        extensions += bytes(layer(nh=following, len=(len(content) + 2) // 8 - 1, autopad=0))[:2]
        extensions += content
    if packet["fragment"]:
        offset, more = packet["fragment"]
        fragment = IPv6ExtHdrFragment(
            nh=protocol, offset=offset, m=int(more), id=packet["identification"]
        )
        extensions += bytes(fragment)
    return bytes(ether / header / Raw(extensions) / body) + bytes(packet["padding"])


def parse_options(options):
    """Options as Scapy's own objects."""
    header = IP(bytes([0x40 | (5 + len(options) // 4)]) + bytes(19) + options)
    return header.options


ICMPV6_ERRORS = ("ICMPv6DestUnreach", "ICMPv6PacketTooBig", "ICMPv6TimeExceeded")


def recompute(frame, padding):
    """The frame after Scapy has read it and made its lengths and checksums anew."""
    packet = Ether(frame[: len(frame) - padding] if padding else frame)
    layer = packet
    while layer and not isinstance(layer, Raw):
        zero_udp = isinstance(layer, UDP) and layer.chksum == 0
        if isinstance(layer, (IP, IPv6, TCP, UDP, SCTP, ICMP)) or "ICMPv6" in type(layer).__name__:
            for field in ("chksum", "cksum", "len", "plen"):
                if field in layer.fields and not zero_udp:
                    del layer.fields[field]
        if isinstance(layer, ICMP) or type(layer).__name__ in ICMPV6_ERRORS:
            # What an error quotes is quoted as it was.
            quoted = bytes(layer.payload)
            layer.remove_payload()
            layer.add_payload(Raw(quoted))
            break
        layer = layer.payload
    return bytes(packet) + bytes(padding)


def main():
    packets = json.load(sys.stdin)
    wrong = 0
    for packet in packets:
        frame = bytes.fromhex(packet["bytes"])
        built = build(packet)
        if built != frame:
            wrong += 1
            print(f"{packet['name']}: Scapy builds\n  {built.hex()}\nnot\n  {frame.hex()}")
        remade = recompute(frame, packet["padding"]) if packet["remake"] else frame
        if remade != frame:
            wrong += 1
            print(f"{packet['name']}: Scapy corrects it to\n  {remade.hex()}\nfrom\n  {frame.hex()}")
    print(f"{len(packets)} packets, {wrong} wrong")
    sys.exit(1 if wrong else 0)


main()
