#!/usr/bin/env python3
"""A service manager that listens: prints what arrives at a socket (sd_notify(3)), with the pid that
the kernel recorded, one JSON object a line.

    service_manager.py ADDRESS [deaf]        ADDRESS: a path, or @ and an abstract name

`deaf` reads nothing until a line comes on standard input.
"""
import json
import socket
import struct
import sys

address = sys.argv[1]
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
manager.bind("\0" + address[1:] if address.startswith("@") else address)
print(json.dumps({"listening": address}), flush=True)
if sys.argv[2:] == ["deaf"]:
    sys.stdin.readline()
while True:
    data, control, _, _ = manager.recvmsg(65536, socket.CMSG_SPACE(12))
    pid = struct.unpack("iii", control[0][2])[0]
    print(json.dumps({"pid": pid, "lines": data.decode().split("\n")}), flush=True)
