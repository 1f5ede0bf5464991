# SPDX-License-Identifier: MIT OR Apache-2.0
"""An ECU in Python on a udp_multicast bus, with can-isotp below and udsoncan's messages: uds_server.py GROUP PORT ECU

ECU is JSON: its identifiers, the profile it speaks, and what goes wrong. It says `ready`, answers until its standard
input ends, writes its memory to a file and says in JSON what it was asked.
"""

import hashlib
import json
import sys
import threading
import time
import zlib

from udsoncan import Request, Response, services
from udsoncan.services.Authentication import AuthenticationReturnParameter as Authenticated

import bus as peers

Code = Response.Code
MAX_BLOCK = 1026
# What a functional request is not refused with (table 5 of ISO 14229-1).
UNSAID = {
    Code.ServiceNotSupported,
    Code.SubFunctionNotSupported,
    Code.RequestOutOfRange,
    Code.SubFunctionNotSupportedInActiveSession,
    Code.ServiceNotSupportedInActiveSession,
}


class Refused(Exception):
    def __init__(self, code):
        super().__init__(code)
        self.code = code


def number(data):
    return int.from_bytes(data, "big")


class Ecu:
    def __init__(self, ecu):
        self.ecu = ecu
        self.profile = ecu["profile"]
        self.session, self.seed, self.trusted = 1, None, False
        self.banks = [bytearray(b"factory image") for _ in self.profile["banks"]]
        self.versions = [b"1.0.0" for _ in self.banks]
        self.active, self.target, self.checked = 0, 0, None
        self.coming, self.erased, self.download = b"", False, None
        self.reset_at = None
        self.asked, self.blocks, self.pending, self.busy, self.lost = [], 0, 0, 0, 0
        security = self.profile["security"]
        self.kind = security if isinstance(security, str) else next(iter(security))
        self.secret = None if isinstance(security, str) else security[self.kind]

    # Each returns what follows the service identifier in the positive answer.

    def session_control(self, request):
        if request.subfunction not in (1, 2, 3):
            raise Refused(Code.SubFunctionNotSupported)
        self.session, self.trusted, self.download = request.subfunction, False, None
        # P2 of 50 ms and P2* of 5 s.
        return bytes([self.session, 0x00, 0x32, 0x01, 0xF4])

    def echo(self, request):
        return bytes([request.subfunction])

    def reset(self, request):
        self.reset_at = time.monotonic()
        return bytes([request.subfunction])

    def security(self, request):
        if self.kind != "seed_key" or request.subfunction - self.secret["level"] not in (0, 1):
            raise Refused(Code.SubFunctionNotSupported)
        level = self.secret["level"]
        if request.subfunction == level:
            self.seed = bytes(4) if self.trusted else b"\x12\x34\xAB\xCD"
            return bytes([level]) + self.seed
        if self.seed is None:
            raise Refused(Code.RequestSequenceError)
        key, self.seed = peers.KEYS[self.secret["algorithm"]](level, self.seed), None
        if request.data != key:
            raise Refused(Code.InvalidKey)
        self.trusted = True
        return bytes([level + 1])

    def authentication(self, request):
        if self.kind != "certificate":
            raise Refused(Code.ServiceNotSupported)
        task, data = request.subfunction, request.data or b""
        if task in (1, 2):
            length = number(data[1:3])
            certificate, rest = data[3:3 + length], data[3 + length:]
            if certificate != peers.TESTER:
                raise Refused(Code.CertificateVerificationFailed_InvalidSignature)
            challenge = rest[2:2 + number(rest[:2])]
            self.seed = b"what the ECU wants signed"
            fields = [self.seed]
            if task == 2:
                fields += [peers.SERVER, peers.proof(peers.SERVER, challenge)]
            # No ephemeral key.
            fields.append(b"")
            counted = b"".join(len(field).to_bytes(2, "big") + field for field in fields)
            return bytes([task, Authenticated.CertificateVerified_OwnershipVerificationNecessary]) + counted
        if task == 3 and self.seed:
            wanted, self.seed = peers.proof(peers.TESTER, self.seed), None
            if data[2:2 + number(data[:2])] != wanted:
                raise Refused(Code.OwnershipVerificationFailed)
            self.trusted = True
            return bytes([task, Authenticated.OwnershipVerified_AuthenticationComplete, 0, 0])
        raise Refused(Code.RequestSequenceError)

    def read(self, request):
        did, profile = number(request.data), self.profile
        values = {profile["version_did"]: self.versions[self.active], profile["hardware_did"]: b"PYTHON"}
        if profile["active_bank_did"] is not None:
            values[profile["active_bank_did"]] = bytes([self.active])
        if profile["resume"] != "none":
            held = len(self.banks[self.target]) if self.erased else 0
            values[profile["resume"]["reported_offset"]["did"]] = held.to_bytes(4, "big")
        if did not in values:
            raise Refused(Code.RequestOutOfRange)
        return request.data + values[did]

    def write(self, request):
        self.check_trusted()
        did, record = request.data[:2], request.data[2:]
        if number(did) != self.profile["fingerprint"]["did"]:
            raise Refused(Code.RequestOutOfRange)
        self.coming = record[-1 - record[-1]:-1]
        return did

    def routine(self, request):
        if request.subfunction != 1:
            raise Refused(Code.SubFunctionNotSupported)
        self.check_trusted()
        profile, routine, option = self.profile, number(request.data[:2]), request.data[2:]
        if routine == profile["erase"]["routine"]:
            self.erase(option)
        elif profile["checksum"] and routine == profile["checksum"]["routine"]:
            return request.data[:2] + self.checksum(option)
        elif routine == profile["dependencies_routine"]:
            if self.checked is None:
                raise Refused(Code.RequestSequenceError)
            self.versions[self.checked] = self.coming
        elif profile["activation"] != "reset" and routine == profile["activation"]["switch_bank"]["routine"]:
            if option != bytes([self.checked]):
                raise Refused(Code.RequestOutOfRange)
            self.active = self.checked
        else:
            raise Refused(Code.RequestOutOfRange)
        return request.data[:2] + b"\x00"

    def erase(self, option):
        if self.profile["erase"]["address_and_length"]:
            address, _length = self.range(option)
            self.target = [bank["address"] for bank in self.profile["banks"]].index(address)
        else:
            self.target = option[0]
        self.empty()

    def empty(self):
        self.banks[self.target].clear()
        self.erased, self.checked = True, None

    def checksum(self, expected):
        if self.profile["checksum"]["algorithm"] == "crc32":
            actual = zlib.crc32(self.banks[self.target]).to_bytes(4, "big")
        else:
            actual = hashlib.sha256(self.banks[self.target]).digest()
        if actual != expected or self.ecu["wrong_checksum"]:
            return b"\x01"
        self.checked = self.target
        return b"\x00"

    def request_download(self, request):
        self.check_trusted()
        address, length = self.range(request.data[1:])
        base = self.profile["banks"][self.target]["address"]
        if not self.erased or address - base != len(self.banks[self.target]):
            raise Refused(Code.UploadDownloadNotAccepted)
        return b"\x20" + self.accept(length)

    def file(self, request):
        self.check_trusted()
        data = request.data
        mode, end = data[0], 3 + number(data[1:3])
        if data[3:end].decode() != self.profile["file"]["path"]:
            raise Refused(Code.RequestOutOfRange)
        width = data[end + 1]
        size = number(data[end + 2:end + 2 + width])
        if mode == 6:
            if not self.erased:
                raise Refused(Code.UploadDownloadNotAccepted)
            held = len(self.banks[self.target])
            return bytes([mode, 2]) + self.accept(size - held) + data[end:end + 1] + held.to_bytes(8, "big")
        self.empty()
        return bytes([mode, 2]) + self.accept(size) + data[end:end + 1]

    def accept(self, length):
        self.download = [1, length]
        return MAX_BLOCK.to_bytes(2, "big")

    def transfer(self, request):
        if self.download is None:
            raise Refused(Code.RequestSequenceError)
        counter, data = request.data[0], request.data[1:]
        if len(request.data) + 1 > MAX_BLOCK:
            raise Refused(Code.IncorrectMessageLengthOrInvalidFormat)
        if self.profile["block_check"] == "crc16_x25":
            data, check = data[:-2], data[-2:]
            if check != peers.crc16_x25(b"\x36" + request.data[:-2]):
                raise Refused(Code.IncorrectMessageLengthOrInvalidFormat)
        if counter != self.download[0] or len(data) > self.download[1]:
            raise Refused(Code.WrongBlockSequenceCounter)
        self.banks[self.target] += data
        self.download = [(counter + 1) & 0xFF, self.download[1] - len(data)]
        return bytes([counter])

    def transfer_exit(self, request):
        if self.download is None or self.download[1]:
            raise Refused(Code.RequestSequenceError)
        self.download = None
        return b""

    def check_trusted(self):
        if self.kind != "none" and not self.trusted:
            raise Refused(Code.SecurityAccessDenied)

    def range(self, record):
        """Format byte, address, length."""
        memory = self.profile["memory"]
        address, length = memory["address_bytes"], memory["length_bytes"]
        if record[0] != length << 4 | address or len(record) != 1 + address + length:
            raise Refused(Code.RequestOutOfRange)
        return number(record[1:1 + address]), number(record[1 + address:])

    HANDLERS = {
        services.DiagnosticSessionControl: session_control,
        services.ECUReset: reset,
        services.TesterPresent: echo,
        services.ControlDTCSetting: echo,
        services.CommunicationControl: echo,
        services.SecurityAccess: security,
        services.Authentication: authentication,
        services.ReadDataByIdentifier: read,
        services.WriteDataByIdentifier: write,
        services.RoutineControl: lambda self, request: bytes([request.subfunction]) + self.routine(request),
        services.RequestDownload: request_download,
        services.RequestFileTransfer: file,
        services.TransferData: transfer,
        services.RequestTransferExit: transfer_exit,
    }

    def answers(self, payload, functional):
        """The payloads to send for one request."""
        request = Request.from_payload(payload)
        self.asked.append(payload[0])
        handler = self.HANDLERS.get(request.service)
        if handler is None:
            if request.service and not functional:
                yield Response(request.service, Code.ServiceNotSupported).get_payload()
            return
        if request.service is services.TransferData:
            self.blocks += 1
            # The request was not carried out, says this code: it may be sent again.
            if self.blocks == self.ecu["busy_at"]:
                self.busy += 1
                yield Response(request.service, Code.BusyRepeatRequest).get_payload()
                return
        if request.service is services.RoutineControl:
            # Twice, or a tester that takes the second for an answer is not found out.
            for _ in range(2):
                self.pending += 1
                yield Response(request.service, Code.RequestCorrectlyReceived_ResponsePending).get_payload()
                time.sleep(0.02)
        try:
            data = handler(self, request)
        except Refused as refused:
            if not (functional and refused.code in UNSAID):
                yield Response(request.service, refused.code).get_payload()
            return
        if request.service is services.TransferData and self.blocks == self.ecu["lose_answer"]:
            self.lost += 1
            return
        if not request.suppress_positive_response:
            yield Response(request.service, Code.PositiveResponse, data).get_payload()

    def reboot(self):
        """Deaf for a moment after the answer to the reset is out."""
        if self.reset_at is not None:
            time.sleep(0.1)
            self.reset_at = None
            self.session, self.trusted, self.download = 1, False, None
            # An ECU of one bank starts what is in it.
            return True
        return False


def serve(bus, ecu, stop):
    config = ecu.ecu
    link = {"length": config["tx_dl"], "blocksize": config["block_size"], "stmin": config["st_min"]}
    tester, own, everybody = config["addresses"] or (None, None, None)
    pair = lambda listened: None if tester is None else (tester, listened)
    physical = bus.link(config["response"], config["request"], addresses=pair(own), **link)
    functional = bus.link(config["response"], config["functional"], addresses=pair(everybody), **link)
    print("ready", flush=True)
    while not stop.is_set():
        found = None
        for stack in (functional, physical):
            if found is None and stack.available():
                found = (bytes(stack.recv()), stack is functional)
        if found is None:
            time.sleep(0.0005)
            continue
        for answer in ecu.answers(*found):
            physical.send(answer)
            while physical.transmitting():
                time.sleep(0.0005)
        if ecu.reboot():
            for stack in (functional, physical):
                while stack.available():
                    stack.recv()
    physical.stop()
    functional.stop()


def main():
    bus = peers.Bus(sys.argv[1], sys.argv[2])
    ecu = Ecu(json.loads(sys.argv[3]))
    stop = threading.Event()
    server = threading.Thread(target=serve, args=(bus, ecu, stop))
    server.start()
    sys.stdin.read()
    stop.set()
    server.join()
    bus.close()
    with open(ecu.ecu["memory"], "wb") as it:
        it.write(ecu.banks[ecu.target])
    told = {"asked": len(ecu.asked), "services": sorted(set(ecu.asked)), "blocks": ecu.blocks}
    told |= {"pending": ecu.pending, "busy": ecu.busy, "lost": ecu.lost}
    print(json.dumps(told | {"version": ecu.versions[ecu.active].decode()}), flush=True)


main()
