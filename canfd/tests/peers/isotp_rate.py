# SPDX-License-Identifier: MIT OR Apache-2.0
"""How fast python can-isotp is without a bus: isotp_rate.py LENGTH COUNT

Messages of LENGTH bytes from one stack into another over a queue in memory, CAN FD with 64 bytes; prints bytes per
second of processor time.
"""

import collections
import random
import sys
import time

import isotp


class End:
    def __init__(self, tx, rx):
        self.sent = collections.deque()
        self.received = collections.deque()
        self.stack = isotp.TransportLayerLogic(
            rxfn=lambda timeout: self.received.popleft() if self.received else None,
            txfn=self.sent.append,
            address=isotp.Address(txid=tx, rxid=rx),
            error_handler=self.fail,
            params={
                "can_fd": True,
                "bitrate_switch": True,
                "tx_data_length": 64,
                "max_frame_size": 1 << 17,
                "blocking_send": False,
            },
        )

    @staticmethod
    def fail(error):
        raise error


def main():
    length, count = int(sys.argv[1]), int(sys.argv[2])
    sender, receiver = End(0x7E0, 0x7E8), End(0x7E8, 0x7E0)
    message = random.Random(1).randbytes(length)
    began = time.process_time()
    for _ in range(count):
        sender.stack.send(message)
        while not receiver.stack.available():
            sender.stack.process()
            receiver.received.extend(sender.sent)
            sender.sent.clear()
            receiver.stack.process()
            sender.received.extend(receiver.sent)
            receiver.sent.clear()
        if receiver.stack.recv() != message:
            sys.exit("the message arrived changed")
    print(length * count / (time.process_time() - began))


main()
