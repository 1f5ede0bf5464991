# SPDX-License-Identifier: MIT OR Apache-2.0
# The whole vehicle loses power in the middle of a campaign: what the kernel has not written is gone.

# Not a case of its own: it does not come back. What it prepared is judged after the boot.
cut_the_power() {
    local before
    publish outage 3.0.0 20 384 BRAKE-0001 CLUSTER-0001 >>"$OUT/cases.log" 2>&1
    erases BRAKE-0001 >"$OUT/erases-before"
    pace vcan0
    {
        announce outage
        until_ 120 done_at_least BRAKE-0001 TRANSFER 60000 || until_ 60 done_at_least CLUSTER-0001 TRANSFER 60000
    } >>"$OUT/cases.log" 2>&1 || { echo "@@ not-ok 0 no transfer to cut the power in"; echo power >>"$OUT/failed"; return; }
    gatewayctl status >>"$OUT/cases.log"
    date +%s >"$OUT/cut-at"
    sync -f "$STATE" "$OUT"
    echo "@@ the power is cut in the middle of a transfer"
    sleep 1
    # As from a switch: no unmount, no write-back.
    echo b >/proc/sysrq-trigger
    sleep 60
}

after_the_power_cut() {
    case_ "after a power cut the campaign goes on by itself to its end" went_on_by_itself
    case_ "what was erased before the power cut is not erased again" erased_once
}

went_on_by_itself() {
    until_ 120 is_up
    until_ 240 in_state outage finished
    gatewayctl status
    all_run 3.0.0 BRAKE-0001 CLUSTER-0001
}

erased_once() { [ "$(erases BRAKE-0001)" -eq $(($(cat "$OUT/erases-before") + 1)) ]; }
