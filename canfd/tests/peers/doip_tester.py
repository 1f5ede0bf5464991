# SPDX-License-Identifier: MIT OR Apache-2.0
"""doipclient and udsoncan as testers of the entity whose TCP and UDP ports are given. Prints `ok` and counts, or fails."""

import socket
import sys

from doipclient import DoIPClient
from doipclient.connectors import DoIPClientUDSConnector
from doipclient.messages import RoutingActivationRequest, RoutingActivationResponse
from udsoncan import AsciiCodec
from udsoncan.client import Client

tcp, udp = int(sys.argv[1]), int(sys.argv[2])
ECU, TESTER = 0x1001, 0x0E80
BLOCK = 4093
BLOCKS = 50


def connect(tester=TESTER, version=0x02, **more):
    return DoIPClient(
        "127.0.0.1", ECU, tcp_port=tcp, udp_port=udp, client_logical_address=tester, protocol_version=version, **more
    )


def datagrams(client):
    found = client.request_vehicle_identification()
    assert found.logical_address == ECU and found.vin == "LSVAG2180E2100001", found
    again = client.request_vehicle_identification(vin=found.vin)
    assert again.eid == found.eid, again
    assert client.request_vehicle_identification(eid=found.eid).gid == found.gid
    status = client.request_entity_status()
    assert (status.node_type, status.max_concurrent_sockets, status.currently_open_sockets) == (1, 2, 1), status
    assert client.request_diagnostic_power_mode().diagnostic_power_mode == 1


def diagnostics(client):
    configuration = {"data_identifiers": {0xF195: AsciiCodec(5)}, "request_timeout": 5}
    with Client(DoIPClientUDSConnector(client), config=configuration) as uds:
        uds.change_session(3)
        answer = uds.read_data_by_identifier(0xF195)
        assert answer.service_data.values[0xF195] == "1.0.0", answer
        uds.tester_present()
        for counter in range(1, BLOCKS + 1):
            uds.transfer_data(counter, bytes(BLOCK))
    return BLOCKS


def denials():
    for tester, kind, wanted in [(0x1000, 0x00, 0x00), (TESTER + 1, 0xE1, 0x06)]:
        client = connect(tester, activation_type=None)
        answer = client.request_activation(kind)
        assert answer.response_code == wanted, (hex(tester), answer)
        client.close()


def places(first):
    """Two places: the third tester gets in only once one of the others is dead."""
    second = connect(TESTER + 1)
    # Neither of them reads now, so neither answers the alive check: both are dead to the entity.
    third = connect(TESTER + 2)
    for dead in (first, second):
        dead._tcp_sock.settimeout(2)
        # The question whether it is alive, then the end.
        try:
            while dead._tcp_sock.recv(1024):
                pass
        except (ConnectionResetError, socket.timeout):
            pass
    third.send_diagnostic(b"\x3e\x00")
    assert third.receive_diagnostic(timeout=2) == b"\x7e\x00"
    third.close()


count = 0
for version in (0x02, 0x03):
    with connect(version=version) as client:
        datagrams(client)
        count += diagnostics(client)
denials()
places(connect())
print(f"ok {count}")
