# SPDX-License-Identifier: MIT OR Apache-2.0
# Every test inside the virtual vehicle computer, in three starts of it. Exit 77 asks to be called again after a reboot.
cd "$(dirname "$0")" || exit 1
. ./lib.sh
for part in package socketcan service crypto campaign power journal; do
    . "./$part.sh"
done
selected() { [ -z "${ONLY:-}" ] || [[ " $ONLY " == *" $1 "* ]]; }
[ ! -e /mnt/host/only ] || ONLY=$(cat /mnt/host/only)

case $(cat "$STATE/start" 2>/dev/null) in
"")
    echo second >"$STATE/start"
    selected package && package_tests
    put_in_place || { echo "@@ not-ok 0 the vehicle could not be put together"; exit 1; }
    selected socketcan && socketcan_tests
    sync
    echo "@@ rebooting, with gatewayd enabled"
    systemctl reboot
    exit 77
    ;;
second)
    echo third >"$STATE/start"
    selected service && service_tests
    selected crypto && crypto_tests
    selected campaign && campaign_tests
    if selected power; then
        cut_the_power
        # Not reached, unless the campaign did not come so far.
    fi
    ;;
third)
    selected power && after_the_power_cut
    ;;
esac
selected journal && journal_tests
cp /var/log/syslog "$OUT/" 2>/dev/null
journalctl --no-pager -o short-monotonic >"$OUT/journal.txt" 2>&1
[ ! -e "$OUT/failed" ]
