# SPDX-License-Identifier: MIT OR Apache-2.0
"""udsoncan over doipclient programs an ECU: TCP port, TLS port, CA, own certificate, own key, image. Prints `ok`.

First in clear text, then the same inside TLS."""

import hashlib
import ssl
import sys
import time

from doipclient import DoIPClient
from doipclient.connectors import DoIPClientUDSConnector
from udsoncan import AsciiCodec, DataFormatIdentifier, DidCodec, MemoryLocation
from udsoncan.client import Client

tcp, tls = int(sys.argv[1]), int(sys.argv[2])
ca, certificate, key = sys.argv[3:6]
with open(sys.argv[6], "rb") as file:
    image = file.read()
ECU, TESTER = 0x1001, 0x0E80


class Raw(DidCodec):
    def encode(self, value):
        return value

    def decode(self, payload):
        return payload

    def __len__(self):
        raise DidCodec.ReadAllRemainingData


CONFIGURATION = {
    "data_identifiers": {0xF195: AsciiCodec(5), 0xF15A: Raw},
    "request_timeout": 20,
    "p2_timeout": 5,
    "p2_star_timeout": 10,
    "use_server_timing": False,
    "server_address_format": 32,
    "server_memorysize_format": 32,
}


def connect(secure):
    more = {}
    if secure:
        context = ssl.create_default_context(cafile=ca)
        context.load_cert_chain(certificate, key)
        context.check_hostname = False
        more = {"tcp_port": tls, "use_secure": context, "protocol_version": 0x03}
    else:
        more = {"tcp_port": tcp}
    for _ in range(200):
        try:
            return DoIPClient("127.0.0.1", ECU, client_logical_address=TESTER, **more)
        except (ConnectionError, TimeoutError, OSError):
            # It starts.
            time.sleep(0.05)
    raise SystemExit("the ECU does not come back")


def version(secure):
    client = connect(secure)
    with Client(DoIPClientUDSConnector(client, close_connection=True), config=CONFIGURATION) as uds:
        return uds.read_data_by_identifier(0xF195).service_data.values[0xF195]


def program(secure, wanted):
    assert version(secure) != wanted
    client = connect(secure)
    with Client(DoIPClientUDSConnector(client, close_connection=True), config=CONFIGURATION) as uds:
        uds.change_session(3)
        uds.change_session(2)
        uds.write_data_by_identifier(0xF15A, wanted.encode() + bytes([len(wanted)]))
        where = MemoryLocation(address=0, memorysize=len(image), address_format=32, memorysize_format=32)
        place = b"\x44" + (0).to_bytes(4, "big") + len(image).to_bytes(4, "big")
        uds.start_routine(0xFF00, place)
        answer = uds.request_download(where, DataFormatIdentifier(0, 0))
        block = answer.service_data.max_length - 2
        for at in range(0, len(image), block):
            uds.transfer_data((at // block + 1) & 0xFF, image[at : at + block])
        uds.request_transfer_exit()
        uds.start_routine(0x0202, hashlib.sha256(image).digest())
        uds.start_routine(0xFF01)
        uds.ecu_reset(1)
    assert version(secure) == wanted, version(secure)


program(False, "2.0.0")
program(True, "3.0.0")
print("ok")
