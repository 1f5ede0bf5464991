# SPDX-License-Identifier: MIT OR Apache-2.0
# What everything in this layer needs from the distribution. A recipe that cannot be built is skipped with the reason,
# instead of failing after an hour of compiling the toolchain.
inherit features_check

REQUIRED_DISTRO_FEATURES:class-target = "systemd"

# rust-version in Cargo.toml.
GATEWAYD_RUST_FLOOR = "1.90"

# nooelint: oelint.task.noanonpython - only here can a recipe be skipped with a reason
python () {
    # With a Rust from outside (tests do that), its own version check speaks.
    if "rust-native" in (d.getVar("ASSUME_PROVIDED") or "").split():
        return
    floor = d.getVar("GATEWAYD_RUST_FLOOR")
    rust = (d.getVar("RUSTVERSION") or floor).rstrip("%")
    if bb.utils.vercmp_string_op(rust, floor, "<"):
        raise bb.parse.SkipRecipe("gatewayd needs Rust %s and RUSTVERSION is %s: add meta-lts-mixins, "
            "see README.md of meta-gatewayd" % (floor, rust))
}
