# SPDX-License-Identifier: MIT OR Apache-2.0
# What the machine's journal says about all that, and the end of the packages.

journal_tests() {
    case_ "the daemon never panicked and never logged an error" no_errors
    case_ "the kernel saw no refused system call, no oops and no lack of memory" a_quiet_kernel
    case_ "the services of the machine are all well" nothing_failed
    case_ "a used installation is purged but for what the administrator brought" purged_after_use
}

no_errors() {
    # Of what the tests themselves have asked for.
    log | grep -v 'reload refused' >/tmp/said
    [ "$(wc -l </tmp/said)" -gt 100 ]
    silent grep -E 'ERROR|panicked' /tmp/said
}

a_quiet_kernel() {
    journalctl --no-pager -o cat _TRANSPORT=kernel >/tmp/said
    grep -q 'Linux version' /tmp/said
    silent grep -E 'Oops|BUG:|Out of memory|oom-kill|hung task|type=1326.*gatewayd' /tmp/said
}

nothing_failed() {
    silent systemctl --failed --no-legend --plain
    [ "$(systemctl is-active gatewayd)" = active ]
}

purged_after_use() {
    systemctl disable --now ecu-sim origin events
    dpkg -r gatewayd-profile gatewayd gateway-cloud
    [ "$(systemctl is-active gatewayd || true)" != active ]
    fails pgrep gatewayd
    [ -e /var/lib/gatewayd/journal.redb ]
    dpkg -P gatewayd gatewayd-profile gateway-cloud
    # Certificates and first roots came from elsewhere. Private keys do not stay.
    [ "$(ls -A /etc/gatewayd | xargs)" = "cloud-ca.pem director-root.json gateway.pem image-root.json" ]
    rm -r /etc/gatewayd
    purged
}
