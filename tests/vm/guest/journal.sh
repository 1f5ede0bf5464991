# SPDX-License-Identifier: MIT OR Apache-2.0
# What the machine's journal says about all that, and the end of the packages.

journal_tests() {
    case_ "the daemon never panicked and never logged an error" no_errors
    case_ "the kernel saw no refused system call, no oops and no lack of memory" a_quiet_kernel
    case_ "the services of the machine are all well" nothing_failed
    case_ "a used installation is purged without a trace" purged_after_use
}

no_errors() {
    local said
    said=$(log | grep -E 'ERROR|panicked' | grep -v '^$' || true)
    echo "$said" | head -n 20
    [ -z "$said" ]
}

a_quiet_kernel() {
    local said
    said=$(journalctl -k --no-pager -o cat -b all 2>/dev/null || journalctl -k --no-pager -o cat)
    ! echo "$said" | grep -E 'Oops|BUG:|Out of memory|oom-kill|hung task|type=1326.*gatewayd'
}

nothing_failed() {
    systemctl --failed --no-legend --plain
    [ -z "$(systemctl --failed --no-legend --plain)" ]
    [ "$(systemctl is-active gatewayd)" = active ]
}

purged_after_use() {
    systemctl disable --now ecu-sim origin events
    dpkg -r gatewayd-profile gatewayd gateway-cloud
    [ "$(systemctl is-active gatewayd || true)" != active ]
    ! pgrep gatewayd
    [ -e /var/lib/gatewayd/journal.redb ]
    purged
}
