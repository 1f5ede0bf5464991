# SPDX-License-Identifier: MIT OR Apache-2.0
"""udsoncan as the tester of simulated ECUs on a udp_multicast bus: uds_tester.py GROUP PORT IMAGE

The ECUs are those of `udsoncan.rs` beside this folder. Prints a line per part, with the requests made in it, then
`done` and their sum. The first answer that is not what ISO 14229-1 wants ends it with a traceback.
"""

import hashlib
import logging
import sys
import time

import udsoncan
from udsoncan import DataFormatIdentifier, Filesize, MemoryLocation, Request, services
from udsoncan.client import Client
from udsoncan.connections import BaseConnection
from udsoncan.exceptions import NegativeResponseException, TimeoutException

import bus as peers

Code = udsoncan.Response.Code
FUNCTIONAL = 0x7DF
VERSION, HARDWARE, FINGERPRINT = 0xF195, 0xF191, 0xF15A
ERASE, CHECKSUM, DEPENDENCIES = 0xFF00, 0x0202, 0xFF01
CODES = [0xD00087, 0xC10100, 0x0A9B17]


class Connection(BaseConnection):
    """What udsoncan talks through: a link to one ECU, and one that reaches all of them."""

    def __init__(self, bus, tx, rx, **link):
        super().__init__(f"{tx:X}")
        self.physical = bus.link(tx, rx, **link)
        # It listens where nobody talks: answers to functional requests are physical.
        self.functional = bus.link(FUNCTIONAL, 0x001, **link)
        self.is_functional = False
        self.requests = 0

    def open(self):
        return self

    def close(self):
        self.physical.stop()
        self.functional.stop()

    def is_open(self):
        return True

    def specific_send(self, payload, timeout=None):
        self.requests += 1
        (self.functional if self.is_functional else self.physical).send(payload)

    def specific_wait_frame(self, timeout=None):
        frame = self.physical.recv(block=True, timeout=timeout)
        if frame is None:
            raise TimeoutException("no answer")
        return bytes(frame)

    def empty_rxqueue(self):
        while self.physical.available():
            self.physical.recv()


class Raw(udsoncan.DidCodec):
    def encode(self, value):
        return value

    def decode(self, payload):
        return payload

    def __len__(self):
        raise udsoncan.DidCodec.ReadAllRemainingData


class Version(Raw):
    def __len__(self):
        return len("1.0.0")


def client(connection, algorithm=None):
    config = dict(udsoncan.configs.default_client_config)
    config |= {
        "data_identifiers": {VERSION: Version, "default": Raw},
        "server_address_format": 32,
        "server_memorysize_format": 32,
        # The ECUs' own P2 is 50 ms, which a busy machine alone takes.
        "use_server_timing": False,
        "p2_timeout": 10,
        "p2_star_timeout": 20,
        "request_timeout": 60,
    }
    if algorithm:
        config["security_algo"] = lambda level, seed, params: peers.KEYS[algorithm](level, seed)
    return Client(connection, config=config)


def refused(code, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except NegativeResponseException as error:
        assert error.response.code == code, error
    else:
        raise AssertionError(f"not refused with {code:#x}")


def silent(ecu, call, *arguments, **named):
    """Nothing comes back to it."""
    ecu.set_config("p2_timeout", 0.5)
    try:
        answer = call(*arguments, **named)
    except TimeoutException:
        answer = None
    finally:
        ecu.set_config("p2_timeout", 10)
    assert answer is None, answer


def wait_for(ecu):
    """Until it has booted."""
    ecu.set_config("p2_timeout", 0.2)
    until = time.monotonic() + 20
    while True:
        try:
            ecu.tester_present()
            break
        except TimeoutException:
            assert time.monotonic() < until, "it does not come back"
    ecu.set_config("p2_timeout", 10)


def read(ecu, did):
    return ecu.read_data_by_identifier(did).service_data.values[did]


def sessions(ecu):
    answer = ecu.change_session(3).service_data
    assert (answer.p2_server_max, answer.p2_star_server_max) == (0.05, 5.0), answer
    ecu.change_session(2)
    ecu.change_session(1)
    ecu.tester_present()
    refused(Code.IncorrectMessageLengthOrInvalidFormat, ecu.send_request,
            Request(services.TesterPresent, 0, data=b"\x00"))
    refused(Code.SubFunctionNotSupported, ecu.send_request, Request(services.TesterPresent, 5))
    refused(Code.ServiceNotSupportedInActiveSession, ecu.request_seed, 1)


def suppressed(ecu):
    connection = ecu.conn
    with ecu.suppress_positive_response(wait_nrc=True):
        silent(ecu, ecu.tester_present)
        silent(ecu, ecu.change_session, 3)
        # What goes wrong is said nonetheless.
        refused(Code.SubFunctionNotSupported, ecu.send_request, Request(services.TesterPresent, 5))
    # The session was entered although nobody said so.
    ecu.control_dtc_setting(2)
    ecu.control_dtc_setting(1)
    ecu.communication_control(3, 1)
    ecu.communication_control(0, 1)

    connection.is_functional = True
    ecu.change_session(1)
    ecu.tester_present()
    with ecu.suppress_positive_response(wait_nrc=True):
        silent(ecu, ecu.change_session, 3)
    # What an ECU has not got is for another one: silence, where a physical request is refused.
    silent(ecu, ecu.send_request, Request(services.TesterPresent, 5))
    silent(ecu, ecu.read_data_by_identifier, 0x1234)
    silent(ecu, ecu.send_request, Request(services.LinkControl, 1, data=b"\x05"))
    connection.is_functional = False
    refused(Code.RequestOutOfRange, ecu.read_data_by_identifier, 0x1234)
    refused(Code.ServiceNotSupported, ecu.send_request, Request(services.LinkControl, 1, data=b"\x05"))
    ecu.change_session(1)


def trouble_codes(ecu):
    confirmed = 0x09
    listed = ecu.get_dtc_by_status_mask(0xFF).service_data
    assert [dtc.id for dtc in listed.dtcs] == CODES, listed.dtcs
    assert all(dtc.status.get_byte_as_int() == confirmed for dtc in listed.dtcs)
    assert ecu.get_number_of_dtc_by_status_mask(0x08).service_data.dtc_count == 3
    assert ecu.get_number_of_dtc_by_status_mask(0x04).service_data.dtc_count == 0
    assert ecu.get_dtc_by_status_mask(0x04).service_data.dtcs == []
    assert len(ecu.get_supported_dtc().service_data.dtcs) == 3
    ecu.clear_dtc(CODES[1])
    assert [dtc.id for dtc in ecu.get_dtc_by_status_mask(0x08).service_data.dtcs] == [CODES[0], CODES[2]]
    refused(Code.RequestOutOfRange, ecu.clear_dtc, 0x123456)
    ecu.clear_dtc()
    assert ecu.get_dtc_by_status_mask(0xFF).service_data.dtcs == []
    # Cleared is not unsupported.
    assert len(ecu.get_supported_dtc().service_data.dtcs) == 3
    refused(Code.SubFunctionNotSupported, ecu.get_dtc_fault_counter)


def identifiers(ecu):
    both = ecu.read_data_by_identifier([VERSION, HARDWARE]).service_data.values
    assert both == {VERSION: b"1.0.0", HARDWARE: b"SIM-ECU"}, both
    # One of two is enough for an answer.
    assert read(ecu, VERSION) == b"1.0.0"
    refused(Code.RequestOutOfRange, ecu.read_data_by_identifier, 0x1234)


def security(ecu, level):
    ecu.change_session(2)
    refused(Code.SecurityAccessDenied, ecu.write_data_by_identifier, FINGERPRINT, b"x\x01")
    refused(Code.RequestSequenceError, ecu.send_key, level, bytes(4))
    seed = ecu.request_seed(level).service_data.seed
    assert len(seed) == 4 and seed != bytes(4), seed
    refused(Code.InvalidKey, ecu.send_key, level, bytes(4))
    refused(Code.SubFunctionNotSupported, ecu.request_seed, level + 2)
    ecu.unlock_security_access(level)
    # Unlocked is told by a seed of nothing.
    assert ecu.request_seed(level).service_data.seed == bytes(4)
    # A change of session locks it again.
    ecu.change_session(2)
    refused(Code.SecurityAccessDenied, ecu.write_data_by_identifier, FINGERPRINT, b"x\x01")
    ecu.unlock_security_access(level)


def authentication(ecu):
    ecu.change_session(2)
    refused(Code.AuthenticationRequired, ecu.write_data_by_identifier, FINGERPRINT, b"x\x01")
    refused(Code.RequestSequenceError, ecu.proof_of_ownership, b"nothing was asked", b"")
    challenge = b"what the tester wants signed"
    refused(Code.CertificateVerificationFailed_InvalidSignature, ecu.verify_certificate_bidirectional, 0,
            b"a forged one", challenge)
    for right in (False, True):
        answer = ecu.verify_certificate_bidirectional(0, peers.TESTER, challenge).service_data
        assert answer.certificate_server == peers.SERVER, answer.certificate_server
        assert answer.proof_of_ownership_server == peers.proof(peers.SERVER, challenge)
        mine = peers.proof(peers.TESTER, answer.challenge_server)
        if right:
            ecu.proof_of_ownership(mine, b"")
        else:
            refused(Code.OwnershipVerificationFailed, ecu.proof_of_ownership, mine[:-1] + b"?", b"")


def transfer(ecu, image, longest, start=0):
    """The blocks of an image; `longest` counts service and counter."""
    assert longest > 2, longest
    block = longest - 2
    for number, at in enumerate(range(start, len(image), block), 1):
        ecu.transfer_data(number & 0xFF, image[at:at + block])


def fingerprint(version):
    return b"PEER" + version + bytes([len(version)])


def checked(ecu, image, version):
    """The routines behind a transfer, then the reset."""
    status = ecu.start_routine(CHECKSUM, hashlib.sha256(image).digest()).service_data.routine_status_record
    assert status == b"\x00", status
    status = ecu.start_routine(DEPENDENCIES).service_data.routine_status_record
    assert status == b"\x00", status
    ecu.ecu_reset(1)
    wait_for(ecu)
    assert read(ecu, VERSION) == version


def download(ecu, image, version):
    ecu.write_data_by_identifier(FINGERPRINT, fingerprint(version))
    whole = MemoryLocation(0, len(image), 32, 32)
    range_record = bytes([0x44]) + bytes(4) + len(image).to_bytes(4, "big")
    refused(Code.RequestSequenceError, ecu.transfer_data, 1, b"too early")
    refused(Code.RequestOutOfRange, ecu.start_routine, 0x1234)
    refused(Code.UploadDownloadNotAccepted, ecu.request_download, whole)
    pending = []
    ecu.set_config("nrc78_callback", lambda: pending.append(1))
    status = ecu.start_routine(ERASE, range_record).service_data.routine_status_record
    assert status == b"\x00" and pending, (status, pending)
    longest = ecu.request_download(whole).service_data.max_length
    assert longest == 4095, longest
    refused(Code.WrongBlockSequenceCounter, ecu.transfer_data, 2, image[:10])
    refused(Code.RequestSequenceError, ecu.request_transfer_exit)
    transfer(ecu, image, longest)
    # The last block once more is taken for lost on its way, not for data (clause 15.4).
    blocks = -(-len(image) // (longest - 2))
    ecu.transfer_data(blocks & 0xFF, image[(blocks - 1) * (longest - 2):])
    ecu.request_transfer_exit()


def read_back(ecu, image):
    """Every byte comes back: by 0x35 and by 0x23."""
    longest = ecu.request_upload(MemoryLocation(0, len(image), 32, 32)).service_data.max_length
    back, number = b"", 1
    while len(back) < len(image):
        back += ecu.transfer_data(number & 0xFF).service_data.parameter_records
        number += 1
    ecu.request_transfer_exit()
    assert back == image, "other bytes came back"
    part = ecu.read_memory_by_address(MemoryLocation(100, 200, 32, 32)).service_data.memory_block
    assert part == image[100:300]
    assert longest == 4095, longest
    refused(Code.RequestOutOfRange, ecu.read_memory_by_address, MemoryLocation(len(image), 1, 32, 32))


def file(ecu, image, version):
    """0x38: a file that breaks off half way and is taken up again where it did."""
    name, size = "/app/image.bin", Filesize(uncompressed=len(image), compressed=len(image), width=4)
    refused(Code.RequestOutOfRange, ecu.replace_file, "/other.bin", DataFormatIdentifier(), size)
    ecu.write_data_by_identifier(FINGERPRINT, fingerprint(version))
    longest = ecu.replace_file(name, DataFormatIdentifier(), size).service_data.max_length
    half = 10 * (longest - 2)
    transfer(ecu, image[:half], longest)
    ecu.change_session(1)
    ecu.change_session(2)
    ecu.unlock_security_access(0x11)
    ecu.write_data_by_identifier(FINGERPRINT, fingerprint(version))
    answer = ecu.resume_file(name, DataFormatIdentifier(), size).service_data
    assert answer.fileposition == half, answer.fileposition
    transfer(ecu, image, longest, half)
    ecu.request_transfer_exit()


def main():
    logging.disable(logging.CRITICAL)
    bus = peers.Bus(sys.argv[1], sys.argv[2])
    with open(sys.argv[3], "rb") as it:
        image = it.read()
    brake = client(Connection(bus, 0x731, 0x7B1), "demonstration-xor-rotate")
    door = client(Connection(bus, 0x18DA20F1, 0x18DAF120, fd=False))
    cluster = client(Connection(bus, 0x733, 0x7B3, length=32), "demonstration-multiply-add")
    parts = [
        (brake, sessions, []),
        (brake, suppressed, []),
        (brake, trouble_codes, []),
        (brake, identifiers, []),
        (brake, security, [1]),
        (brake, download, [image, b"2.0.0"]),
        (brake, checked, [image, b"2.0.0"]),
        (brake, security, [1]),
        (brake, read_back, [image]),
        (door, sessions, []),
        (door, suppressed, []),
        (door, identifiers, []),
        (door, authentication, []),
        (door, download, [image[:20_000], b"2.1.0"]),
        (door, checked, [image[:20_000], b"2.1.0"]),
        (cluster, security, [0x11]),
        (cluster, file, [image, b"3.0.0"]),
        (cluster, checked, [image, b"3.0.0"]),
    ]
    total = 0
    for ecu, part, arguments in parts:
        before = ecu.conn.requests
        part(ecu, *arguments)
        count = ecu.conn.requests - before
        total += count
        print(f"{ecu.conn.name} {part.__name__} {count}", flush=True)
    print(f"done {total}", flush=True)
    for ecu in (brake, door, cluster):
        ecu.conn.close()
    bus.close()


main()
