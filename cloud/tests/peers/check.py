#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Reads the golden files with readers that others wrote. `check.py KIND DIR`; says `not checked` without them."""

import importlib.util
import os
import subprocess
import sys
import tempfile

# What profile.proto says of the fields used here, written down for protoc; names and numbers are the format's.
PPROF = """
syntax = "proto3";
package perftools.profiles;
message Profile {
  repeated ValueType sample_type = 1; repeated Sample sample = 2; repeated Mapping mapping = 3;
  repeated Location location = 4; repeated Function function = 5; repeated string string_table = 6;
  int64 time_nanos = 9; int64 duration_nanos = 10; repeated int64 comment = 13; int64 default_sample_type = 14;
}
message ValueType { int64 type = 1; int64 unit = 2; }
message Sample { repeated uint64 location_id = 1; repeated int64 value = 2; repeated Label label = 3; }
message Label { int64 key = 1; int64 str = 2; int64 num = 3; int64 num_unit = 4; }
message Mapping { uint64 id = 1; uint64 memory_start = 2; uint64 memory_limit = 3; uint64 file_offset = 4;
  int64 filename = 5; int64 build_id = 6; bool has_functions = 7; }
message Location { uint64 id = 1; uint64 mapping_id = 2; uint64 address = 3; repeated Line line = 4; }
message Line { uint64 function_id = 1; int64 line = 2; }
message Function { uint64 id = 1; int64 name = 2; int64 system_name = 3; int64 filename = 4; }
"""


def missing(name):
    print(f"not checked: python has no {name}")
    sys.exit(0)


def pprof(folder):
    if importlib.util.find_spec("grpc_tools") is None:
        missing("grpcio-tools")
    with tempfile.TemporaryDirectory() as build:
        with open(os.path.join(build, "profile.proto"), "w") as file:
            file.write(PPROF)
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{build}", f"--python_out={build}",
                        "profile.proto"], check=True)
        sys.path.insert(0, build)
        import profile_pb2
        names = [name for name in sorted(os.listdir(folder)) if name.endswith(".pb")]
        assert len(names) == 7, names
        for name in names:
            profile = profile_pb2.Profile()
            with open(os.path.join(folder, name), "rb") as file:
                profile.ParseFromString(file.read())
            valid_pprof(profile, name)


def valid_pprof(profile, name):
    """The rules of pprof's own CheckValid."""
    strings = profile.string_table
    assert strings[0] == "" and len(set(strings)) == len(strings), name
    for table in (profile.mapping, profile.location, profile.function):
        assert [entry.id for entry in table] == list(range(1, len(table) + 1)), name
    for mapping in profile.mapping:
        assert strings[mapping.filename] == "/usr/bin/gatewayd"
        assert strings[mapping.build_id] == "ab" * 20
    for location in profile.location:
        assert location.mapping_id <= len(profile.mapping)
        for line in location.line:
            assert 1 <= line.function_id <= len(profile.function)
        if location.mapping_id:
            mapping = profile.mapping[location.mapping_id - 1]
            assert mapping.memory_start <= location.address < mapping.memory_limit
    kinds = [(strings[it.type], strings[it.unit]) for it in profile.sample_type]
    slug = name[:-3]
    unit = "bytes" if slug in ("heap", "pages") else "nanoseconds"
    assert kinds == [("samples", "count"), (slug, unit)], kinds
    assert strings[profile.default_sample_type] == slug
    assert profile.sample
    totals = {"cpu": 480_000_000, "heap": 524_288, "lock": 2_000_000, "block-io": 3_100_000}
    for sample in profile.sample:
        assert len(sample.value) == len(kinds)
        assert all(1 <= it <= len(profile.location) for it in sample.location_id)
        keys = [strings[label.key] for label in sample.label]
        assert keys == ["thread", "scheduling", "tid", "pid"], keys
    total = sum(sample.value[1] for sample in profile.sample)
    assert totals.get(slug, total) == total, (slug, total)
    print(f"pprof {name}: {len(profile.sample)} samples, {total} {unit}")


def otlp(folder):
    try:
        from opentelemetry.proto.profiles.v1development import profiles_pb2
    except ImportError:
        missing("opentelemetry-proto with profiles")
    data = profiles_pb2.ProfilesData()
    with open(os.path.join(folder, "window.otlp"), "rb") as file:
        data.ParseFromString(file.read())
    tables = data.dictionary
    strings = tables.string_table
    assert strings[0] == ""
    for table in (tables.mapping_table, tables.location_table, tables.function_table, tables.link_table,
                  tables.attribute_table, tables.stack_table):
        assert table[0].ByteSize() == 0, "entry 0 is the zero value"
    profiles = data.resource_profiles[0].scope_profiles[0].profiles
    kinds = {strings[it.sample_type.type_strindex]: it for it in profiles}
    assert sorted(kinds) == ["block-io", "blocked", "cpu", "heap", "lock", "pages", "run-queue"], kinds
    assert len({it.profile_id for it in profiles}) == 7 and all(len(it.profile_id) == 16 for it in profiles)

    def names(sample):
        stack = tables.stack_table[sample.stack_index]
        for index in stack.location_indices:
            location = tables.location_table[index]
            lines = [strings[tables.function_table[it.function_index].name_strindex] for it in location.lines]
            mapping = tables.mapping_table[location.mapping_index]
            yield lines or [f"{strings[mapping.filename_strindex]}+{location.address:#x}"]

    stacks = {tuple(name for lines in names(it) for name in lines): it.values[0] for it in kinds["cpu"].samples}
    assert stacks[("isotp::Link::handle_frame", "bus::run", "main")] == 80_000_000, stacks
    assert stacks[("/usr/bin/gatewayd+0x41200", "/usr/bin/gatewayd+0x10000", "main")] == 300_000_000, stacks
    attributes = {strings[tables.attribute_table[it].key_strindex]: tables.attribute_table[it].value
                  for it in kinds["cpu"].samples[0].attribute_indices}
    assert {"thread.name", "thread.id", "process.pid"} <= set(attributes), attributes
    assert kinds["cpu"].time_unix_nano == 1_772_366_400_000_000_000 and kinds["cpu"].duration_nano == 10_000_000_000
    print(f"otlp: {len(profiles)} profiles, {len(strings)} strings")


def openmetrics(folder):
    try:
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
        from prometheus_client.parser import text_string_to_metric_families as plain_families
    except ImportError:
        missing("prometheus_client")
    for name, parse in (("metrics.openmetrics", open_families), ("metrics.prom", plain_families)):
        with open(os.path.join(folder, name)) as file:
            families = {it.name: it for it in parse(file.read())}
        io = families["gatewayd_block_io_duration_seconds"]
        assert io.type == "histogram", io
        inf = [it.value for it in io.samples if it.labels.get("le") == "+Inf" and it.labels["term"] == "device"]
        assert inf == [6.0], inf
        assert families["gatewayd_cpu_busy_ppm"].samples[0].value == 209_001.0
        print(f"{name}: {len(families)} families")


if __name__ == "__main__":
    {"pprof": pprof, "otlp": otlp, "openmetrics": openmetrics}[sys.argv[1]](sys.argv[2])
