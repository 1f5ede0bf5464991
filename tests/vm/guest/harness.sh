#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Runs inside the machine once it is up: the tests from the host's folder, which may reboot the machine and are then
# called again. Lines that begin with @@ are for the host.
echo "@@ up $(cut -d' ' -f1 /proc/uptime)"
if ! mountpoint -q /mnt/host; then
    echo "@@ fail the host's folder is not mounted"
    systemctl --no-block poweroff
    exit 1
fi
cd /mnt/host/guest || exit 1
bash ./run.sh
status=$?
# 77: the tests have asked for a reboot and go on after it.
if [ "$status" -ne 77 ]; then
    echo "@@ end $status"
    sync
    systemctl --no-block poweroff
fi
