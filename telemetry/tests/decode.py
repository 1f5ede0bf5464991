"""A second reader of telemetry blocks, in another language: prints the windows of a file of blocks as text.

Usage: decode.py BLOCKS DICTIONARY_1     (each block behind its length, four bytes, big endian)
"""
import struct
import sys

import zstandard

SCORE_GAIN, SCORE_DECAY = 65536, 4


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


class Dictionary:
    def __init__(self):
        self.strings, self.mappings, self.frames, self.threads = [], [], [], []
        self.nodes = [(0, None)]  # parent, frame
        self.newest_child, self.newest_offset, self.next_symbol = {}, {}, 0
        self.cells, self.score, self.unit, self.order = [], [], [], []
        self.end, self.trends = 0, {}

    def offset_in(self, node, mapping):
        if node:
            frame = self.frames[self.nodes[node][1]]
            if frame[0] == mapping:
                return frame[1]
        return None

    def predicted_offset(self, parent, mapping):
        near = self.offset_in(self.newest_child.get(parent, 0), mapping)
        if near is None:
            near = self.offset_in(parent, mapping)
        return self.newest_offset.get(mapping, 0) if near is None else near

    def read_nodes(self, r):
        parents, branch, first = [], 0, len(self.nodes)
        for at in range(r.varint()):
            code = r.varint()
            if code:
                branch += unzigzag(code - 1)
                parents.append(branch)
            else:
                parents.append(first + at - 1)
        codes = [r.varint() for _ in parents]
        kinds = iter([r.varint() for code in codes if code == 0])
        for parent, code in zip(parents, codes):
            if code:
                frame = (self.nodes[parent][1] + 1 if parent else 0) + unzigzag(code - 1)
            else:
                kind, value, frame = next(kinds), r.signed(), len(self.frames)
                if kind:
                    offset = u64(self.predicted_offset(parent, kind - 1) + value)
                    self.frames.append((kind - 1, offset))
                else:
                    self.frames.append((None, self.next_symbol + value))
                    self.next_symbol += value + 1
            self.newest_child[parent] = len(self.nodes)
            self.nodes.append((parent, frame))
            mapping, offset = self.frames[frame]
            if mapping is not None:
                self.newest_offset[mapping] = offset

    def read_additions(self, r):
        for _ in range(r.varint()):
            self.strings.append(r.bytes(r.varint()).decode())
        for _ in range(r.varint()):
            build_id = r.bytes(r.varint()).hex()
            self.mappings.append((build_id, self.strings[r.varint()]))
        self.read_nodes(r)
        for _ in range(r.varint()):
            self.threads.append((r.varint(), r.varint(), self.strings[r.varint()], r.byte()))
        count, thread, stack = r.varint(), 0, 0
        threads = []
        for _ in range(count):
            thread += r.signed()
            threads.append(thread)
        for thread in threads:
            stack += r.signed()
            self.cells.append((thread, stack))
            self.score.append(0)
            self.unit.append(0)

    def settle(self, used):
        self.score = [score - (score >> SCORE_DECAY) for score in self.score]
        for cell in used:
            self.score[cell] += SCORE_GAIN
        self.order = sorted(range(len(self.cells)), key=lambda cell: (-self.score[cell], -cell))

    def text(self, cell):
        thread, node = self.cells[cell]
        names = []
        while node:
            node, frame = self.nodes[node]
            mapping, value = self.frames[frame]
            if mapping is None:
                names.append(self.strings[value])
            else:
                names.append("%s@%s+%#x" % (self.mappings[mapping] + (value,)))
        return "%d %d %s %d " % self.threads[thread] + ";".join(names)


def moments(r, count):
    at, out = 0, []
    for _ in range(count):
        at += r.varint()
        out.append(at)
    return out


def read_samples(d, r, first_new):
    """Returns lines, and the cells of the block."""
    cells, rank = [], 0
    for _ in range(r.varint()):
        rank += r.varint()
        cells.append(d.order[rank])
        rank += 1
    new = len(cells)
    cells += range(first_new, len(d.cells))
    before, lines = 0, []
    if r.byte() == 1:
        counts = [r.varint() + 1 for _ in cells]
        for row, (cell, count) in enumerate(zip(cells, counts)):
            weight = u64((d.unit[cell] if row < new else before) * count + r.signed())
            d.unit[cell] = before = weight // count
            lines.append("sample 0 %d %d %s" % (count, weight, d.text(cell)))
        return sorted(lines), cells
    times = moments(r, r.varint())
    rows = [r.varint() for _ in times]
    for at, row in zip(times, rows):
        cell = cells[row]
        weight = u64((d.unit[cell] if row < new else before) + r.signed())
        d.unit[cell] = before = weight
        lines.append("sample %d 1 %d %s" % (at, weight, d.text(cell)))
    return lines, cells


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
        assert (magic, version) == (b"GT", 2), "not a block of version 2"
        _stream, _seq, dictionary, plain = r.varint(), r.varint(), r.varint(), r.varint()
        frame = b"\x28\xb5\x2f\xfd" + r.data[r.at:]
        body = zstandard.ZstdDecompressor(dict_data=known[dictionary]).decompress(frame, max_output_size=plain)
        if flags & 1:
            d = Dictionary()
        r, first_new = Reader(body), len(d.cells)
        start, duration, lost = u64(d.end + r.signed()), r.varint(), r.varint()
        d.read_additions(r)
        print("window %d %d %d" % (start, duration, lost))
        lines, cells = read_samples(d, r, first_new)
        for line in lines + read_metrics(d, r) + read_histograms(d, r):
            print(line)
        assert r.at == len(body), "bytes left over"
        d.settle(cells)
        d.end = u64(start + duration)


main(*sys.argv[1:])
