# SPDX-License-Identifier: MIT OR Apache-2.0
SUMMARY = "Update and telemetry daemon of a vehicle gateway"
DESCRIPTION = "Fetches signed update campaigns, verifies every byte, programs the ECUs behind the gateway over CAN FD \
and reports; profiles the gateway on the way."
SECTION = "net"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = "\
    file://LICENSE-MIT;md5=6a1b8e13599dbe0629cb10adcc558fde \
    file://LICENSE-APACHE;md5=12e02e65674943cae0ac0c9ddc70e914 \
"

PV = "0.1.0+git"
# By default the commit that is checked out beside this layer: layer and source cannot drift apart.
GATEWAYD_URI ??= "git://${GATEWAYD_TREE};protocol=file;nobranch=1"
SRC_URI = "${GATEWAYD_URI};destsuffix=${BP}"
SRCREV ??= "${AUTOREV}"

inherit cargo cargo-update-recipe-crates pkgconfig systemd useradd features_check

# Every crate with its checksum: the build itself has no network.
require ${BPN}-crates.inc

REQUIRED_DISTRO_FEATURES = "systemd"

# hwloc links libudev.
DEPENDS = "hwloc udev"

# Only what runs on the vehicle: not the cloud side, not the simulators.
CARGO_BUILD_FLAGS += "-p gatewayd --bins"

# Named one by one, because the class would install every executable that the build leaves behind.
do_install() {
    install -d ${D}${bindir}
    install -m 0755 ${B}/target/${CARGO_TARGET_SUBDIR}/gatewayd ${D}${bindir}/gatewayd
    install -m 0755 ${B}/target/${CARGO_TARGET_SUBDIR}/gatewayctl ${D}${bindir}/gatewayctl

    install -d ${D}${systemd_system_unitdir}
    install -m 0644 ${S}/systemd/gatewayd.service ${D}${systemd_system_unitdir}/
    install -m 0644 ${S}/systemd/gatewayd.socket ${D}${systemd_system_unitdir}/
    install -m 0644 ${S}/systemd/gatewayd-profile.service ${D}${systemd_system_unitdir}/
    install -m 0644 ${S}/systemd/gateway.slice ${D}${systemd_system_unitdir}/

    install -d ${D}${nonarch_libdir}/tmpfiles.d
    install -m 0644 ${S}/systemd/gatewayd.tmpfiles ${D}${nonarch_libdir}/tmpfiles.d/gatewayd.conf
}

# Users are made when the image is built: a read-only root file system cannot gain them at boot.
USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "--system gatewayd"
USERADD_PARAM:${PN} = "\
    --system --no-create-home --shell ${base_sbindir}/nologin --gid gatewayd gatewayd; \
    --system --no-create-home --shell ${base_sbindir}/nologin --gid gatewayd gatewayd-profile \
"

PACKAGE_BEFORE_PN = "${PN}-profile"
SUMMARY:${PN}-profile = "Profiling service of gatewayd"
# Two units, one program: an image without this package has no service with capabilities.
FILES:${PN}-profile = "${systemd_system_unitdir}/gatewayd-profile.service"
RDEPENDS:${PN}-profile = "${PN}"
FILES:${PN} += "${systemd_system_unitdir}/gateway.slice ${nonarch_libdir}/tmpfiles.d"

SYSTEMD_PACKAGES = "${PN} ${PN}-profile"
SYSTEMD_SERVICE:${PN} = "gatewayd.service gatewayd.socket"
SYSTEMD_SERVICE:${PN}-profile = "gatewayd-profile.service"

# The buses and the kernel's cryptography; built-in or absent, the image works on without.
RRECOMMENDS:${PN} += "kernel-module-can-raw kernel-module-can-isotp kernel-module-algif-aead kernel-module-algif-hash"
