# SPDX-License-Identifier: MIT OR Apache-2.0
SUMMARY = "What a vehicle gateway needs of gatewayd"
SUMMARY:${PN}-profile = "Profiling service of gatewayd"
SUMMARY:${PN}-tools = "Tools for looking at the buses"
DESCRIPTION = "\
    The daemon with its control tool; the profiling service apart, because it has capabilities; tools for looking at \
    buses apart, because a product does not ship them. \
"
BUGTRACKER = "https://gatewayd.example/issues"
SECTION = "net"
LICENSE = "MIT"

inherit packagegroup gatewayd_requirements

PACKAGES = "${PN} ${PN}-profile ${PN}-tools"

RDEPENDS:${PN} = "gatewayctl gatewayd"
RDEPENDS:${PN}-profile = "gatewayd-profile"
RDEPENDS:${PN}-tools = "${@bb.utils.contains('BBFILE_COLLECTIONS', 'openembedded-layer', 'can-utils', '', d)} iproute2"
RRECOMMENDS:${PN}-tools = "kernel-module-vcan"
