"""Sends SCTP packets that Scapy makes, one after the other, each once the one before is answered.

Takes the target's address and port, the port to send from, how long to wait for an answer, and the chunks' names.
Prints a JSON list: for each chunk what came back, or null.
"""

import json
import select
import socket
import struct
import sys
import time

from scapy.layers.sctp import (
    SCTP,
    SCTPChunkAbort,
    SCTPChunkCookieEcho,
    SCTPChunkData,
    SCTPChunkInit,
    SCTPChunkInitAck,
    SCTPChunkParamStateCookie,
    SCTPChunkShutdown,
    SCTPChunkShutdownComplete,
)

OWN_TAG = 0xC1C1C1C1
SERVERS_TAG = 0x5E5E5E5E

CHUNKS = {
    "INIT": lambda: SCTPChunkInit(init_tag=OWN_TAG, a_rwnd=65535),
    "COOKIE-ECHO": lambda: SCTPChunkCookieEcho(cookie=b"a cookie"),
    "DATA": lambda: SCTPChunkData(data=b"shunt " * 200),
    "SHUTDOWN": SCTPChunkShutdown,
    "SHUTDOWN-COMPLETE": SCTPChunkShutdownComplete,
    "ABORT": SCTPChunkAbort,
}


def without_header(family, packet):
    return packet[(packet[0] & 15) * 4 :] if family == socket.AF_INET else packet


def chunk_seen(packet, address, own_port):
    """An answer, if it is one to us."""
    parsed = SCTP(packet)
    if parsed.dport != own_port:
        return None
    again = parsed.copy()
    del again.chksum
    seen = {
        "from": address[0],
        "port": parsed.sport,
        "chunk": type(parsed.payload).__name__.removeprefix("SCTPChunk"),
        "checksum_is_right": bytes(again) == packet,
        "tag": parsed.tag,
    }
    if parsed.haslayer(SCTPChunkInitAck):
        params = parsed[SCTPChunkInitAck].params
        cookies = [it.cookie for it in params if isinstance(it, SCTPChunkParamStateCookie)]
        seen["seen"] = json.loads(cookies[0])
    return seen


def error_seen(family, message, address, own_port):
    """An ICMP error about a packet of ours."""
    kind, code = message[0], message[1]
    quoted = message[8:]
    if family == socket.AF_INET:
        if kind not in (3, 11, 12) or quoted[9] != socket.IPPROTO_SCTP:
            return None
        destination, transport = quoted[16:20], quoted[(quoted[0] & 15) * 4 :]
    else:
        if kind not in (1, 2, 3, 4) or quoted[6] != socket.IPPROTO_SCTP:
            return None
        destination, transport = quoted[24:40], quoted[40:]
    ports = struct.unpack("!HH", transport[:4])
    if ports[0] != own_port:
        return None
    about = {"to": socket.inet_ntop(family, destination), "port": ports[1]}
    return {"from": address[0], "icmp": [kind, code], "about": about}


def answer_within(patience, sctp, icmp, target, own_port):
    end = time.monotonic() + patience
    while (left := end - time.monotonic()) > 0:
        for ready in select.select([sctp, icmp], [], [], left)[0]:
            packet, address = ready.recvfrom(65536)
            packet = without_header(ready.family, packet)
            if ready is sctp:
                seen = chunk_seen(packet, address, own_port)
            else:
                seen = error_seen(ready.family, packet, address, own_port)
            if seen:
                return seen
    return None


def main():
    target, port, own_port, patience = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if ":" in target else socket.IPPROTO_ICMP
    icmp = socket.socket(family, socket.SOCK_RAW, protocol)
    sctp = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_SCTP)
    answers = []
    for name in sys.argv[5:]:
        tag = 0 if name == "INIT" else SERVERS_TAG
        packet = SCTP(sport=own_port, dport=port, tag=tag) / CHUNKS[name]()
        sctp.sendto(bytes(packet), (target, 0))
        answers.append(answer_within(patience, sctp, icmp, target, own_port))
    print(json.dumps(answers))


main()
