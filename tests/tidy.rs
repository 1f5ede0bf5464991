//! The house rules that no compiler checks. ARCHITECTURE.md names the invariants, CONTRIBUTING.md the reasons.
//!
//! Every rule is a pure function from a text to findings (`tidy/rules.rs`, `tidy/fences.rs`), so that each has two
//! tests: here it finds nothing in the tree, there it finds what was planted.

#[path = "tidy/fences.rs"]
mod fences;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use rules::Finding;
use source::{File, Tree};

/// Files that may hold `unsafe`, each with what it touches.
const UNSAFE_FILES: &[(&str, &str)] = &[
    ("canfd/src/bus/socketcan/message.rs", "a frame's mark and time, which no safe interface has both"),
    ("crypto-offload/examples/rates/libgcrypt.rs", "a C library, as a peer in the benchmark"),
    ("crypto-offload/src/device/chardev.rs", "a coprocessor's ioctl"),
    ("crypto-offload/src/ghash/x86_64.rs", "carry-less multiplication"),
    ("crypto-offload/src/guarded.rs", "target features behind a check"),
    ("crypto-offload/src/sm3/compress/aarch64.rs", "instructions without stable intrinsics"),
    ("crypto-offload/src/sm3/compress/x86_64.rs", "instructions in an order that a compiler would change"),
    ("crypto-offload/src/sm3/many/avx512.rs", "vector instructions"),
    ("crypto-offload/src/sm4/aarch64/neon.rs", "vector instructions"),
    ("crypto-offload/src/sm4/aarch64/sm4.rs", "instructions without stable intrinsics"),
    ("crypto-offload/src/sm4/x86_64/avx2.rs", "vector instructions"),
    ("crypto-offload/src/sm4/x86_64/avx512.rs", "vector instructions"),
    ("crypto-offload/src/sm4/x86_64/chain.rs", "vector instructions"),
    ("gatewayd/examples/profiler_cost.rs", "an allocator called by hand, to be measured"),
    ("gatewayd/src/heap.rs", "the allocator's trait"),
    ("gatewayd/src/profiler/perf.rs", "perf events and their ring buffers"),
    ("gatewayd/src/systemd/passed.rs", "descriptors that the service manager hands over"),
    ("tests/nspawn/hostile.rs", "the system calls that a sandbox must refuse"),
    ("topology/src/affinity.rs", "scheduler affinity and memory policy"),
];

/// Crates that are cores: no runtime, no clock, no socket, except in the folder named.
const CORES: &[(&str, Option<&str>)] =
    &[("canfd/src/", Some("canfd/src/bus/")), ("ota/src/", None), ("telemetry/src/", None)];

fn assert_clean(rule: &str, findings: &[Finding]) {
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{rule}: {} finding(s)\n{}", findings.len(), lines.join("\n"));
}

fn over<'t>(files: impl IntoIterator<Item = &'t File>, rule: impl Fn(&File) -> Vec<Finding>) -> Vec<Finding> {
    files.into_iter().flat_map(rule).collect()
}

fn is_core(file: &File) -> bool {
    CORES.iter().any(|(folder, except)| {
        file.path.starts_with(folder) && !except.is_some_and(|except| file.path.starts_with(except))
    })
}

#[test]
fn the_tree_is_seen() {
    let tree = Tree::read();
    assert!(tree.members().len() >= 8, "members: {:?}", tree.members());
    assert!(tree.rust().any(|file| file.path == "topology/src/cpuset.rs"));
}

#[test]
fn no_file_is_longer_than_the_limit() {
    assert_clean("split by mechanism", &over(Tree::read().rust(), rules::length));
}

#[test]
fn nothing_is_left_undone() {
    assert_clean("finish it, or name it in SPECIFICATION.md", &over(Tree::read().all(), rules::unfinished));
}

#[test]
fn every_allowance_gives_its_reason() {
    assert_clean("add reason = \"...\"", &over(Tree::read().rust(), rules::allow_without_reason));
}

#[test]
fn unsafe_stands_only_where_it_is_listed_and_says_why_it_is_sound() {
    let allowed: Vec<&str> = UNSAFE_FILES.iter().map(|(path, _)| *path).collect();
    assert_clean("unsafe", &over(Tree::read().rust(), |file| rules::unsafe_code(file, &allowed)));
}

#[test]
fn every_file_that_may_be_unsafe_exists_and_is() {
    let tree = Tree::read();
    for (path, _) in UNSAFE_FILES {
        let file = tree.rust().find(|file| file.path == *path);
        assert!(file.is_some_and(rules::has_unsafe), "{path} has no unsafe: take it off the list");
    }
}

#[test]
fn every_crate_forbids_unsafe_or_denies_it_around_its_listed_files() {
    let tree = Tree::read();
    for root in tree.rust().filter(|file| source::is_library_root(&file.path)) {
        let folder = root.path.trim_end_matches("lib.rs");
        let excepted = UNSAFE_FILES.iter().any(|(path, _)| path.starts_with(folder));
        let wanted = if excepted { "#![deny(unsafe_code)]" } else { "#![forbid(unsafe_code)]" };
        assert!(root.text.contains(wanted), "{}: {wanted} is missing", root.path);
    }
}

#[test]
fn cores_have_no_clock_no_sleep_no_socket_and_no_runtime() {
    let tree = Tree::read();
    let files = tree.rust().filter(|file| is_core(file));
    assert_clean("pass it in instead", &over(files, rules::impure));
}

#[test]
fn ota_knows_only_the_job_types_of_crypto_offload() {
    let tree = Tree::read();
    let files = tree.rust().filter(|file| file.path.starts_with("ota/src/"));
    assert_clean("use crypto_offload::job", &over(files, rules::beyond_job_types));
}

#[test]
fn libraries_do_not_import_each_other() {
    for library in fences::LIBRARIES {
        assert_clean(library, &fences::siblings(library, &fences::cargo_tree(library)));
    }
}

#[test]
fn cores_pull_in_no_runtime_and_no_protocol_stack() {
    for core in fences::CORES {
        assert_clean(core, &fences::runtimes(core, &fences::cargo_tree(core)));
    }
}

#[test]
fn every_path_in_the_architecture_exists_and_every_member_is_mentioned() {
    let tree = Tree::read();
    let findings =
        fences::architecture(&tree.text("ARCHITECTURE.md"), &tree.members(), |path| tree.exists(path));
    assert_clean("ARCHITECTURE.md", &findings);
}

#[test]
fn every_member_states_licence_and_lints_once_for_all() {
    let tree = Tree::read();
    for member in tree.members() {
        let manifest = tree.text(&format!("{member}/Cargo.toml"));
        assert_clean(&member, &fences::manifest(&member, &manifest));
    }
    assert!(tree.text("Cargo.toml").contains("license = \"MIT OR Apache-2.0\""));
    assert!(tree.exists("LICENSE-MIT") && tree.exists("LICENSE-APACHE"));
}

#[test]
fn what_cargo_does_not_license_carries_an_spdx_line() {
    let tree = Tree::read();
    let files = tree.all().filter(|file| {
        ["systemd/", "yocto/", "scripts/", ".ci/"].iter().any(|folder| file.path.starts_with(folder))
            && !file.path.ends_with(".md")
    });
    assert_clean("SPDX-License-Identifier", &over(files, rules::spdx));
}

#[test]
fn no_path_of_one_machine_is_in_the_tree() {
    assert_clean("one machine's path", &over(Tree::read().all(), rules::machine_path));
}
