# SPDX-License-Identifier: MIT OR Apache-2.0
"""An echo over python can-isotp on a udp_multicast bus: isotp_echo.py GROUP PORT.

Reads one case per line of JSON, says "ready", receives one message, sends it back, says "done LENGTH" or "failed WHY".
"""

import json
import sys
import time

import can
import isotp

MODES = isotp.AddressingMode


def address(case):
    mode = MODES[case["mode"]]
    if mode in (MODES.NormalFixed_29bits, MODES.Mixed_29bits):
        kinds = {"target_address": case["target"], "source_address": case["source"]}
    else:
        kinds = {"txid": case["tx"], "rxid": case["rx"]}
    if mode in (MODES.Extended_11bits, MODES.Extended_29bits):
        kinds |= {"target_address": case["target"], "source_address": case["source"]}
    if mode in (MODES.Mixed_11bits, MODES.Mixed_29bits):
        kinds["address_extension"] = case["extension"]
    return isotp.Address(mode, **kinds)


def echo(bus, case):
    errors = []
    parameters = {
        "stmin": case["stmin"],
        "blocksize": case["bs"],
        "tx_data_length": case["dl"],
        "tx_padding": 0xCC,
        "can_fd": case["fd"],
        "bitrate_switch": case["fd"],
        "max_frame_size": 1 << 20,
    }
    stack = isotp.CanStack(bus, address=address(case), error_handler=errors.append, params=parameters)
    stack.start()
    print("ready", flush=True)
    try:
        message = stack.recv(block=True, timeout=20)
        if message is None:
            return f"failed nothing received {errors}"
        stack.send(bytes(message))
        until = time.monotonic() + 20
        while stack.transmitting() and time.monotonic() < until:
            time.sleep(0.001)
        return f"failed {errors}" if errors else f"done {len(message)}"
    finally:
        stack.stop()


def main():
    bus = can.Bus(interface="udp_multicast", channel=sys.argv[1], port=int(sys.argv[2]), fd=True)
    with bus:
        for line in sys.stdin:
            print(echo(bus, json.loads(line)), flush=True)


main()
