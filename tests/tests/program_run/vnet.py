"""Sends and receives frames together with what the kernel knows of their checksums (PACKET_VNET_HDR).

    vnet.py send INTERFACE               reads JSON lines from stdin, and says "sent" after each
    vnet.py receive INTERFACE FILE       writes "ready" and then JSON lines to FILE, until stdin ends
"""

import json
import select
import socket
import struct
import sys

SOL_PACKET = 263
PACKET_AUXDATA = 8
PACKET_VNET_HDR = 15
PACKET_OUTGOING = 4
ETH_P_ALL = 3

# struct virtio_net_hdr: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset
HEADER = struct.Struct("=BBHHHH")
# struct tpacket_auxdata: tp_status, tp_len, tp_snaplen, tp_mac, tp_net, tp_vlan_tci, tp_vlan_tpid
AUXDATA = struct.Struct("=IIIHHHH")
TP_STATUS_CSUMNOTREADY = 1 << 3


def open_socket(interface, protocol):
    """A packet socket on the interface."""
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
    packets.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    packets.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    packets.bind((interface, protocol))
    return packets


def send(interface):
    """Sends what stdin says."""
    packets = open_socket(interface, 0)
    for line in sys.stdin:
        frame = json.loads(line)
        header = HEADER.pack(
            frame["flags"],
            frame["gso_type"],
            frame["header_length"],
            frame["gso_size"],
            frame["checksum_start"],
            frame["checksum_offset"],
        )
        packets.send(header + bytes.fromhex(frame["bytes"]))
        print("sent", flush=True)


def receive(interface, path):
    """Writes down what comes in."""
    packets = open_socket(interface, ETH_P_ALL)
    packets.setblocking(False)
    wanted = [packets, sys.stdin]
    with open(path, "w", encoding="ascii", buffering=1) as output:
        print("ready", file=output)
        while True:
            ready, _, _ = select.select(wanted, [], [], 0.5)
            if sys.stdin in ready:
                wanted = [packets]
            if packets not in ready:
                if len(wanted) == 1 and not ready:
                    return
                continue
            data, ancillary, _, address = packets.recvmsg(70000, 256)
            if address[2] == PACKET_OUTGOING:
                continue
            flags, gso_type, _, gso_size, start, offset = HEADER.unpack(data[: HEADER.size])
            status = 0
            for level, kind, value in ancillary:
                if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                    status = AUXDATA.unpack(value[: AUXDATA.size])[0]
            received = {
                "bytes": data[HEADER.size :].hex(),
                "flags": flags,
                "gso_type": gso_type,
                "gso_size": gso_size,
                "checksum_start": start,
                "checksum_offset": offset,
                "checksum_not_ready": bool(status & TP_STATUS_CSUMNOTREADY),
            }
            print(json.dumps(received), file=output)


if sys.argv[1] == "send":
    send(sys.argv[2])
else:
    receive(sys.argv[2], sys.argv[3])
