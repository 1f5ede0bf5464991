"""A second reader of telemetry blocks, in another language: prints the windows of a file of blocks as text.

Usage: decode.py BLOCKS DICTIONARY_1     (each block behind its length, four bytes, big endian)
"""
import struct
import sys

import zstandard

class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def byte(self):
        self.at += 1
        return self.data[self.at - 1]

    def bytes(self, length):
        self.at += length
        assert self.at <= len(self.data), "truncated"
        return self.data[self.at - length:self.at]

    def varint(self):
        value, shift = 0, 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def signed(self):
        return unzigzag(self.varint())


def unzigzag(raw):
    return (raw >> 1) ^ -(raw & 1)


def u64(value):
    return value % (1 << 64)


def i64(value):
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


class Receiver:
    """The range coder and its contexts."""

    MEMORY = 30

    def __init__(self, data, contexts):
        self.data, self.at, self.code, self.range, self.contexts = data, 0, 0, 0xFFFFFFFF, contexts
        for _ in range(4):
            self.shift()

    def shift(self):
        byte = self.data[self.at] if self.at < len(self.data) else 0
        self.code, self.at = self.code << 8 & 0xFFFFFFFF | byte, self.at + 1

    def bit(self, odds):
        bound = (self.range >> 12) * odds
        one = self.code < bound
        if one:
            self.range = bound
        else:
            self.code, self.range = self.code - bound, self.range - bound
        while self.range < 1 << 24:
            self.range <<= 8
            self.shift()
        return int(one)

    def known(self, tag, x, y):
        hashed = u64(tag * 0x9E3779B97F4A7C15 + x * 0xD6E8FEB86659FD93 + y * 0xA0761D6478BD642F) >> 48
        one, seen = self.contexts.get(hashed, (1 << 15, 0))
        bit = self.bit(min(max(one >> 4, 2), 4094))
        one += (65535 - one) * 2 // (2 * seen + 3) if bit else -(one * 2 // (2 * seen + 3))
        self.contexts[hashed] = (one, min(seen + 1, self.MEMORY))
        return bit

    def number(self, tag, x=0):
        length = 0
        while length < 64 and self.known(tag, x, length):
            length += 1
        value = min(length, 1)
        for at in range(length - 2, -1, -1):
            learned = length - 1 - at <= 2
            value = value << 1 | (self.known(tag, x, 128 + length * 4 + value) if learned else self.bit(2048))
        return value

    def tree(self, tag, x, bits):
        node = 1
        for _ in range(bits):
            node = node << 1 | self.known(tag, x, node)
        return node - (1 << bits)

    def place(self, kind, near=None):
        length = self.tree(LENGTH, kind, 7) if near is None else self.tree(NEAR, 0, 7)
        if not length:
            return near or 0
        value = 1 if near is None else near >> (length - 1) ^ 1
        for at in range(length - 2, -1, -1):
            value = value << 1 | self.known(PLACE, kind * 64 + at, value)
        return value


(TIMED, PRESENT, NEW_CELLS, THREAD, END, NEW, CHILD, FAR_CHILD, SAME_KIND, KIND, NEXT_SYMBOL, LENGTH, PLACE, NEAR, COUNT,
 WEIGHT, SAMPLES, TIME, ROW, TIMED_WEIGHT) = range(1, 21)
OFFERED = 16


class Node:
    def __init__(self, parent, kind, value):
        self.parent, self.kind, self.value = parent, kind, value
        self.depth = parent.depth + 1 if parent else 0
        self.kids, self.uses, self.ends = [], 0, 0  # kids: the one named last first


class Cell:
    def __init__(self, thread, stack, block):
        self.thread, self.stack, self.unit, self.hits, self.first, self.last = thread, stack, 0, 0, block, block


class Dictionary:
    def __init__(self):
        self.strings, self.mappings, self.threads = [], [], []
        self.nodes, self.cells, self.contexts = [Node(None, 0, 0)], [], {}
        self.next_symbol, self.blocks, self.end, self.trends = 0, 0, 0, {}

    def read_additions(self, r):
        for _ in range(r.varint()):
            self.strings.append(r.bytes(r.varint()).decode())
        for _ in range(r.varint()):
            build_id = r.bytes(r.varint()).hex()
            self.mappings.append((build_id, self.strings[r.varint()]))
        for _ in range(r.varint()):
            self.threads.append((r.varint(), r.varint(), self.strings[r.varint()], r.byte()))

    def read_stack(self, c):
        node = self.nodes[0]
        while True:
            leaf = node.depth // 2 if not node.kids else 0
            if c.known(END, min(node.ends, 2) * 4 + min(len(node.kids), 2), node.kind * 64 + leaf):
                node.ends = min(node.ends + 1, 255)
                return node
            uses = min(node.uses.bit_length(), 6)
            if not node.kids or c.known(NEW, min(len(node.kids), 6), uses):
                node = self.read_node(c, node)
            else:
                node = self.read_child(c, node)
            node.uses = min(node.uses + 1, 65535)

    def read_child(self, c, parent):
        for at, child in enumerate(parent.kids[:OFFERED]):
            left = len(parent.kids) - at
            others = left if left < 4 else min(2 + left.bit_length(), 8)
            if left == 1 or c.known(CHILD, min(child.uses.bit_length(), 5), others):
                parent.kids.insert(0, parent.kids.pop(at))
                return child
        child = self.nodes[c.number(FAR_CHILD)]
        assert child.parent is parent, "no child"
        return child

    def read_node(self, c, parent):
        if parent.kind and c.known(SAME_KIND, parent.kind, 0):
            kind = parent.kind
        else:
            kind = c.number(KIND, parent.kind) + 1
        if kind == 1:
            value = self.next_symbol if c.known(NEXT_SYMBOL, 0, 0) else c.place(1)
            self.next_symbol = max(self.next_symbol, value + 1)
        else:
            near = [child.value for child in parent.kids[:OFFERED] if child.kind == kind]
            value = c.place(kind, near[0] if near else None)
        node = Node(parent, kind, value)
        self.nodes.append(node)
        parent.kids.insert(0, node)
        return node

    def settle(self, used):
        for cell in used:
            cell.hits, cell.last = min(cell.hits + 1, 255), self.blocks
        self.blocks += 1

    def text(self, cell):
        node, names = cell.stack, []
        while node.parent:
            if node.kind == 1:
                names.append(self.strings[node.value])
            else:
                names.append("%s@%s+%#x" % (self.mappings[node.kind - 2] + (node.value,)))
            node = node.parent
        return "%d %d %s %d " % self.threads[cell.thread] + ";".join(names)


def moments(r, count):
    at, out = 0, []
    for _ in range(count):
        at += r.varint()
        out.append(at)
    return out


def read_cells(d, c):
    """The cells of the block, and how many of them were named before."""
    used = []
    for cell in d.cells:
        age, life = (min((d.blocks - at).bit_length(), 5) for at in (cell.last, cell.first))
        if c.known(PRESENT, min(cell.hits, 12) * 64 + age * 8 + life, 0):
            used.append(cell)
    known, thread = len(used), 0
    for _ in range(c.number(NEW_CELLS)):
        thread += c.number(THREAD)
        cell = Cell(thread, d.read_stack(c), d.blocks)
        d.cells.append(cell)
        used.append(cell)
    return used, known


def read_samples(d, data):
    if not data:
        d.settle([])
        return []
    c, lines, before = Receiver(data, d.contexts), [], 0
    timed = c.known(TIMED, 0, 0)
    used, known = read_cells(d, c)
    if timed:
        at, bits = 0, max(len(used) - 1, 0).bit_length()
        for _ in range(c.number(SAMPLES)):
            at += c.number(TIME)
            row = c.tree(ROW, bits, bits)
            unit = used[row].unit if row < known else before
            before = used[row].unit = u64(unit + unzigzag(c.number(TIMED_WEIGHT, int(row >= known))))
            lines.append("sample %d 1 %d %s" % (at, before, d.text(used[row])))
    else:
        for row, cell in enumerate(used):
            count = c.number(COUNT, min(cell.hits, 6)) + 1
            unit = cell.unit if row < known else before
            weight = u64(unit * count + unzigzag(c.number(WEIGHT, int(row >= known))))
            before = cell.unit = weight // count
            lines.append("sample 0 %d %d %s" % (count, weight, d.text(cell)))
        lines.sort()
    assert c.at >= len(data), "bytes left over"
    d.settle(used)
    return lines


def read_metrics(d, r):
    columns = r.varint()
    if not columns:
        return []
    times, name, lines = moments(r, r.varint()), -1, []
    for _ in range(columns):
        name += 1 + r.signed()
        mode = r.byte()
        value, delta = d.trends.get(name, (0, 0))
        values = []
        for _ in times:
            delta = r.signed() if mode == 0 else i64(delta + r.signed())
            value = i64(value + delta)
            values.append(value)
        d.trends[name] = (value, delta)
        pairs = " ".join("%d:%d" % pair for pair in zip(times, values))
        lines.append("metric %s %s" % (d.strings[name], pairs))
    return lines


def read_histograms(d, r):
    lines = []
    for _ in range(r.varint()):
        device, what, total, first = d.strings[r.varint()], r.byte(), r.varint(), r.varint()
        counts = ["%d:%d" % (first + at, r.varint()) for at in range(r.varint())]
        lines.append(" ".join(["io", device, str(what >> 2), str(what & 3), str(total)] + counts))
    return lines


def main(blocks, trained):
    data, at, d = open(blocks, "rb").read(), 0, None
    known = {0: None, 1: zstandard.ZstdCompressionDict(open(trained, "rb").read())}
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        r = Reader(data[at + 4:at + 4 + length])
        at += 4 + length
        magic, version, flags, _boot = struct.unpack(">2sBBQ", r.bytes(12))
        assert (magic, version) == (b"GT", 3), "not a block of version 3"
        _stream, _seq, dictionary, plain = r.varint(), r.varint(), r.varint(), r.varint()
        samples = r.bytes(r.varint())
        body = r.data[r.at:]
        if not flags & 2:
            unpacker = zstandard.ZstdDecompressor(dict_data=known[dictionary])
            body = unpacker.decompress(b"\x28\xb5\x2f\xfd" + body, max_output_size=plain)
        if flags & 1:
            d = Dictionary()
        r = Reader(body)
        start, duration, lost = u64(d.end + r.signed()), r.varint(), r.varint()
        d.read_additions(r)
        print("window %d %d %d" % (start, duration, lost))
        rest = read_metrics(d, r) + read_histograms(d, r)
        assert r.at == len(body), "bytes left over"
        for line in read_samples(d, samples) + rest:
            print(line)
        d.end = u64(start + duration)


main(*sys.argv[1:])
