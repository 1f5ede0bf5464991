# SPDX-License-Identifier: MIT OR Apache-2.0
"""What both ends written in Python share: the bus, ISO-TP links on it, and the demonstration secrets."""

import itertools
import socket
import sys
import time

import can
import isotp

# One of can-isotp's sleeps decides how fast it is; nothing here is about that.
QUICK = {"rx_consecutive_frame_timeout": 5000, "rx_flowcontrol_timeout": 5000, "max_frame_size": 1 << 16}


def tell(error):
    """What a link gave up: whoever waits for it only sees that nothing comes."""
    print(f"{time.monotonic():.3f} {type(error).__name__}: {error}", file=sys.stderr)


class Bus:
    """A udp_multicast bus that several links listen to."""

    def __init__(self, group, port):
        self.bus = can.Bus(interface="udp_multicast", channel=group, port=int(port), fd=True)
        # It hears its own frames too, and is slower than what it talks to: what overflows is lost, an answer with it.
        self.bus._multicast._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.notifier = can.Notifier(self.bus, [], timeout=0.05)

    def link(self, tx, rx, fd=True, length=64, addresses=None, **parameters):
        """A link that sends as `tx` and hears `rx`; identifiers above 0x7FF have 29 bits.

        With `addresses`, those of the other end and its own, it speaks extended addressing.
        """
        kind = "Extended" if addresses else "Normal"
        mode = isotp.AddressingMode[f"{kind}_{29 if tx > 0x7FF else 11}bits"]
        named = dict(zip(("target_address", "source_address"), addresses or ()))
        parameters = QUICK | {
            "can_fd": fd,
            "bitrate_switch": fd,
            "tx_data_length": length if fd else 8,
            "tx_padding": 0xCC,
        } | parameters
        address = isotp.Address(mode, txid=tx, rxid=rx, **named)
        stack = isotp.NotifierBasedCanStack(
            self.bus, self.notifier, address=address, params=parameters, error_handler=tell
        )
        stack.start()
        return stack

    def close(self):
        self.notifier.stop()
        self.bus.shutdown()


def rotate(byte, turn):
    return ((byte << turn) | (byte >> (8 - turn))) & 0xFF


def xor_rotate(level, seed):
    """demonstration-xor-rotate"""
    mask = 0xA5 ^ level
    return bytes(rotate(byte ^ mask, turn) for byte, turn in zip(seed, itertools.cycle(range(1, 8))))


def multiply_add(level, seed):
    """demonstration-multiply-add"""
    state, key = level, []
    for byte in seed:
        state = (state * 31 + byte + 0x3D) & 0xFF
        key.append(state)
    return bytes(key)


KEYS = {"demonstration-xor-rotate": xor_rotate, "demonstration-multiply-add": multiply_add}

# demonstration-certificate
TESTER = b"demonstration tester certificate"
SERVER = b"demonstration ECU certificate"


def proof(certificate, challenge):
    return bytes(rotate(byte, 3) ^ own for byte, own in zip(challenge, itertools.cycle(certificate)))


def crc16_x25(data):
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x8408 if crc & 1 else 0)
    return (crc ^ 0xFFFF).to_bytes(2, "big")
