"""Sends and captures raw frames on one interface, in the namespace that it is started in.

Reads hexadecimal frames, one a line, and sends each; the end of input ends it. What arrives is
printed as it comes, in hexadecimal. Its own process, and nothing but the standard library.
"""

from __future__ import annotations

import os
import select
import socket
import sys

ETH_P_ALL = 0x0003
OUTGOING = 4  # PACKET_OUTGOING: what was sent here
INPUT = 0


def main() -> None:
    """Send and capture until the input ends."""
    interface = sys.argv[1]
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**24)
    link.bind((interface, ETH_P_ALL))
    print("ready", flush=True)
    pending = b""
    while True:
        readable, _, _ = select.select([link.fileno(), INPUT], [], [])
        if link.fileno() in readable:
            frame, _, _, sender = link.recvmsg(65535)
            if sender[2] != OUTGOING:
                print(frame.hex(), flush=True)
        if INPUT in readable:
            # Not by lines: what a buffer holds back, select does not tell.
            read = os.read(INPUT, 65536)
            *lines, pending = (pending + read).split(b"\n")
            for line in lines:
                link.send(bytes.fromhex(line.decode()))
            if not read:
                return


main()
