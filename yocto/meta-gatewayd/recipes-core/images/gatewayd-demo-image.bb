# SPDX-License-Identifier: MIT OR Apache-2.0
SUMMARY = "Small image with gatewayd on a virtual CAN FD bus"
DESCRIPTION = "For a first look at the daemon in QEMU or on a board. Not a product: no secure boot, no read-only root."
BUGTRACKER = "https://gatewayd.example/issues"
SECTION = "net"
CVE_PRODUCT = "gatewayd"
LICENSE = "MIT"

inherit core-image gatewayd_requirements

IMAGE_INSTALL = "\
    packagegroup-core-boot \
    packagegroup-gatewayd \
    packagegroup-gatewayd-profile \
    packagegroup-gatewayd-tools \
    gatewayd-demo-config \
    ${CORE_IMAGE_EXTRA_INSTALL} \
"
