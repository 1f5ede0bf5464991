# SPDX-License-Identifier: MIT OR Apache-2.0
SUMMARY = "Configuration of gatewayd for the demo image"
DESCRIPTION = "\
    One virtual CAN FD bus with one ECU; a pattern for a product's own configuration recipe, which replaces this one. \
    It holds no keys: those of `gateway-cloud publish keys` are copied onto the image, and the daemon waits for them. \
"
HOMEPAGE = "https://gatewayd.example/"
BUGTRACKER = "https://gatewayd.example/issues"
SECTION = "net"
CVE_PRODUCT = "gatewayd"
LICENSE = "MIT | Apache-2.0"
# nooelint: oelint.var.licenseremotefile - there is no source beside the layer
LIC_FILES_CHKSUM = "\
    file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302 \
    file://${COMMON_LICENSE_DIR}/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10 \
"

SRC_URI = "\
    file://80-vcan0.netdev \
    file://80-vcan0.network \
    file://demo.conf \
    file://gatewayd.toml \
"

inherit allarch gatewayd_requirements

S = "${UNPACKDIR}"

# Nothing to build.
do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -d ${D}${sysconfdir}/gatewayd
    install -m 0644 ${S}/gatewayd.toml ${D}${sysconfdir}/gatewayd/gatewayd.toml

    install -d ${D}${systemd_unitdir}/network
    install -m 0644 ${S}/80-vcan0.netdev ${D}${systemd_unitdir}/network/
    install -m 0644 ${S}/80-vcan0.network ${D}${systemd_unitdir}/network/

    install -d ${D}${systemd_system_unitdir}/gatewayd.service.d
    install -m 0644 ${S}/demo.conf ${D}${systemd_system_unitdir}/gatewayd.service.d/demo.conf
}

FILES:${PN} += "${sysconfdir}/gatewayd ${systemd_unitdir}"
CONFFILES:${PN} = "${sysconfdir}/gatewayd/gatewayd.toml"
RDEPENDS:${PN} = "gatewayd"

# For a target only.
BBCLASSEXTEND = ""
