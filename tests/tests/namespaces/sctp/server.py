"""An SCTP endpoint on every port, of packets that Scapy makes: the kernel has none.

Takes its name. Answers each chunk that asks for an answer, and says in the cookie of an INIT ACK what it saw of the
INIT. What has a wrong checksum it does not answer.
"""

import json
import select
import socket
import sys

from scapy.layers.sctp import (
    SCTP,
    SCTPChunkCookieAck,
    SCTPChunkCookieEcho,
    SCTPChunkData,
    SCTPChunkInit,
    SCTPChunkInitAck,
    SCTPChunkParamStateCookie,
    SCTPChunkSACK,
    SCTPChunkShutdown,
    SCTPChunkShutdownAck,
)

TAG = 0x5E5E5E5E


def has_right_checksum(packet):
    parsed = SCTP(packet)
    del parsed.chksum
    return bytes(parsed) == packet


def answer(name, client, packet):
    """The answer to a packet, if there is one."""
    asked = SCTP(packet)
    if asked.haslayer(SCTPChunkInit):
        seen = {"server": name, "port": asked.dport, "client": client, "client_port": asked.sport}
        cookie = SCTPChunkParamStateCookie(cookie=json.dumps(seen).encode())
        tag = asked[SCTPChunkInit].init_tag
        chunk = SCTPChunkInitAck(init_tag=TAG, a_rwnd=65535, params=[cookie])
    elif asked.tag != TAG:
        return None
    else:
        answers = {
            SCTPChunkCookieEcho: SCTPChunkCookieAck,
            SCTPChunkData: SCTPChunkSACK,
            SCTPChunkShutdown: SCTPChunkShutdownAck,
        }
        fitting = [made for wanted, made in answers.items() if asked.haslayer(wanted)]
        if not fitting:
            return None
        tag, chunk = 0xC1C1C1C1, fitting[0]()
    return bytes(SCTP(sport=asked.dport, dport=asked.sport, tag=tag) / chunk)


def main():
    name = sys.argv[1]
    families = (socket.AF_INET, socket.AF_INET6)
    sockets = [socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_SCTP) for family in families]
    print("ready", flush=True)
    while True:
        for end in select.select(sockets, [], [])[0]:
            packet, address = end.recvfrom(65536)
            if end.family == socket.AF_INET:
                packet = packet[(packet[0] & 15) * 4 :]
            if not has_right_checksum(packet):
                print(f"a wrong checksum: {packet.hex()}", file=sys.stderr, flush=True)
                continue
            reply = answer(name, address[0], packet)
            if reply:
                end.sendto(reply, (address[0], 0))


main()
