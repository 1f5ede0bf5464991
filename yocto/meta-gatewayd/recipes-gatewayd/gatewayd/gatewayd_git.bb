# SPDX-License-Identifier: MIT OR Apache-2.0
SUMMARY = "Update and telemetry daemon of a vehicle gateway"
SUMMARY:${PN}-profile = "Profiling service of gatewayd"
SUMMARY:gatewayctl = "Asks the running gatewayd"
DESCRIPTION = "\
    Fetches signed update campaigns, verifies every byte, programs the ECUs behind the gateway over CAN FD and \
    reports; profiles the gateway on the way. \
"
HOMEPAGE = "https://gatewayd.example/"
BUGTRACKER = "https://gatewayd.example/issues"
SECTION = "net"
CVE_PRODUCT = "gatewayd"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = "\
    file://LICENSE-MIT;md5=6a1b8e13599dbe0629cb10adcc558fde \
    file://LICENSE-APACHE;md5=12e02e65674943cae0ac0c9ddc70e914 \
"

PV = "0.1.0+git"

# Every crate with its checksum: the build itself has no network.
require ${BPN}-crates.inc

# By default the commit that is checked out around this layer, so that layer and source cannot drift apart. A product
# sets both variables to a repository it mirrors and a commit it has reviewed.
GATEWAYD_URI ??= "git://${@os.path.realpath(d.expand('${THISDIR}/../../../..'))};protocol=file;usehead=1;nobranch=1"
SRC_URI += "${GATEWAYD_URI};destsuffix=${BP}"
# nooelint: oelint.vars.autorev - it only follows the local checkout
SRCREV ??= "${AUTOREV}"

inherit cargo cargo-update-recipe-crates gatewayd_requirements pkgconfig systemd useradd

# hwloc reads the hardware; without it gatewayd reads sysfs. Its recipe is in meta-oe, and for the target only.
GATEWAYD_HWLOC = "${@bb.utils.contains('BBFILE_COLLECTIONS', 'openembedded-layer', 'hwloc', '', d)}"
GATEWAYD_HWLOC:class-native = ""
PACKAGECONFIG ??= "${GATEWAYD_HWLOC}"
PACKAGECONFIG[hwloc] = ",,hwloc udev"
# The profiler's programs in the kernel; clang-native is in newer cores and in meta-clang.
PACKAGECONFIG[bpf] = ",,clang-native"

# What is shipped: thin LTO, one codegen unit.
BUILD_MODE = "--profile dist"
BUILD_DIR = "dist"
# Only what runs on the vehicle: not the cloud side, not the simulators.
CARGO_BUILD_FLAGS += "-p gatewayd --bins --no-default-features"
CARGO_BUILD_FLAGS += "${@bb.utils.contains('PACKAGECONFIG', 'hwloc', '--features hwloc', '', d)}"
CARGO_BUILD_FLAGS += "${@bb.utils.contains('PACKAGECONFIG', 'bpf', '--features bpf', '', d)}"
# Stripping is left to the package step, which keeps what it strips in the -dbg package.
export CARGO_PROFILE_DIST_STRIP = "none"
export CARGO_PROFILE_DIST_DEBUG = "line-tables-only"

# Named one by one, because the class would install every executable that the build leaves behind.
do_install() {
    install -d ${D}${bindir}
    install -m 0755 ${B}/target/${CARGO_TARGET_SUBDIR}/gatewayd ${D}${bindir}/gatewayd
    install -m 0755 ${B}/target/${CARGO_TARGET_SUBDIR}/gatewayctl ${D}${bindir}/gatewayctl
}

do_install:append:class-target() {
    install -d ${D}${systemd_system_unitdir}
    install -m 0644 ${S}/systemd/gatewayd.service ${D}${systemd_system_unitdir}/
    install -m 0644 ${S}/systemd/gatewayd.socket ${D}${systemd_system_unitdir}/
    install -m 0644 ${S}/systemd/gatewayd-profile.service ${D}${systemd_system_unitdir}/
    install -m 0644 ${S}/systemd/gateway.slice ${D}${systemd_system_unitdir}/

    install -d ${D}${nonarch_libdir}/tmpfiles.d
    install -m 0644 ${S}/systemd/gatewayd.tmpfiles ${D}${nonarch_libdir}/tmpfiles.d/gatewayd.conf

    # As tmpfiles would make them, for root file systems that are read-only from the first boot on.
    install -d -m 0750 ${D}${sysconfdir}/gatewayd
    chgrp gatewayd ${D}${sysconfdir}/gatewayd
    install -d -m 0700 ${D}${sysconfdir}/gatewayd/credentials
}

# Users are made when the image is built: a read-only root file system cannot gain them at boot.
USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "--system gatewayd"
USERADD_PARAM:${PN} = "\
    --system --no-create-home --shell ${base_sbindir}/nologin --gid gatewayd gatewayd; \
    --system --no-create-home --shell ${base_sbindir}/nologin --gid gatewayd gatewayd-profile \
"

PACKAGE_BEFORE_PN = "gatewayctl ${PN}-profile"

FILES:${PN} += "${systemd_system_unitdir}/gateway.slice ${nonarch_libdir}/tmpfiles.d"
FILES:gatewayctl += "${bindir}/gatewayctl"

# Two units, one program: an image without this package has no service with capabilities.
FILES:${PN}-profile += "${systemd_system_unitdir}/gatewayd-profile.service"
RDEPENDS:${PN}-profile = "${PN}"

# The buses and the kernel's cryptography; built-in or absent, the daemon works on without.
RRECOMMENDS:${PN}:append:class-target = " \
    gatewayctl \
    kernel-module-algif-aead kernel-module-algif-hash kernel-module-can-isotp kernel-module-can-raw \
"

SYSTEMD_PACKAGES:class-target = "${PN} ${PN}-profile"
SYSTEMD_SERVICE:${PN} = "gatewayd.service gatewayd.socket"
SYSTEMD_SERVICE:${PN}-profile = "gatewayd-profile.service"

BBCLASSEXTEND = "native"
