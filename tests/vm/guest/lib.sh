# SPDX-License-Identifier: MIT OR Apache-2.0
# What the tests inside the virtual vehicle computer share. Lines that begin with @@ are for the host.

VIN=LSVAG2180E2100001
OUT=/mnt/host/out
STATE=/var/lib/vehicle-test
mkdir -p "$OUT" "$STATE"

# case_ NAME FUNCTION: runs a test in a shell of its own and tells the host what became of it.
case_() {
    local name=$1 began ended took status
    # More starts within five minutes than any person asks for: each case begins with a fresh count of them.
    systemctl reset-failed gatewayd.service gatewayd.socket >/dev/null 2>&1
    began=$(uptime_ms)
    (
        set -eE
        shopt -s inherit_errexit
        # A peer that a failed test leaves behind would answer in the next one.
        trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
        trap 'echo "line $LINENO of $(basename "${BASH_SOURCE[0]}"): $BASH_COMMAND" >&2' ERR
        set -x
        "$2"
    ) >"$OUT/case.log" 2>&1
    status=$?
    ended=$(uptime_ms)
    took=$(seconds $((ended - began)))
    { echo "=== $name: $status"; cat "$OUT/case.log"; } >>"$OUT/cases.log"
    if [ "$status" -eq 0 ]; then
        echo "@@ ok $took $name"
    else
        echo "@@ not-ok $took $name"
        tail -n 12 "$OUT/case.log" | cut -c 1-300 | sed 's/^/@@ | /'
        echo "$name" >>"$OUT/failed"
    fi
}

# figure NAME VALUE UNIT [OP GOAL]: as the benchmarks print it.
figure() {
    local verdict=""
    if [ $# -eq 5 ]; then
        verdict=$(awk -v value="$2" -v op="$4" -v goal="$5" 'BEGIN {
            met = op == "<=" ? value <= goal : value >= goal; print met ? "met" : "short" }')
        verdict=" goal $4 $5 $verdict"
    fi
    echo "figure $1 $2 $3$verdict" >>"$OUT/figures"
}

# fails COMMAND...: that it does. (A `!` before a command would never end a test.)
fails() {
    if "$@"; then
        echo "went well and should not: $*"
        return 1
    fi
}
# silent COMMAND...: that nothing comes out of it.
silent() {
    local said
    said=$("$@" || true)
    echo "$said" | head -n 20
    [ -z "$said" ]
}

uptime_ms() { awk '{ printf "%d", $1 * 1000 }' /proc/uptime; }
seconds() { awk -v ms="$1" 'BEGIN { printf "%.1f", ms / 1000 }'; }

# until_ SECONDS COMMAND...: tries until it succeeds. Traces would bury what matters.
until_() {
    local traced=$-
    { set +x; } 2>/dev/null
    local patience=$1 until_ms status=0
    shift
    until_ms=$(($(uptime_ms) + patience * 1000))
    until "$@" >/dev/null 2>&1; do
        if [ "$(uptime_ms)" -gt "$until_ms" ]; then
            echo "not within $patience s: $*"
            status=1
            break
        fi
        sleep 0.2
    done
    case $traced in *x*) set -x ;; esac
    return "$status"
}

property() { systemctl show -p "$1" --value gatewayd.service; }
pid() { property MainPID; }
is_up() { [ "$(property ActiveState)" = active ] && gatewayctl status; }
is_another() { is_up && [ "$(pid)" != "$1" ]; }
# A stamp of the unit in milliseconds since the machine's start.
stamp() { echo $(($(property "$1TimestampMonotonic") / 1000)); }

# The daemon's own lines since a cursor or all of them.
log() { journalctl -u gatewayd --no-pager -o cat _SYSTEMD_UNIT=gatewayd.service "$@"; }

ecu_sim() {
    systemctl is-active --quiet ecu-sim
    echo "$*" >/run/ecu-sim/control
}

# erases ECU: how often its banks were erased, all together.
erases() { grep -o '"erase_count": *[0-9]*' "$OUT/flash/$1/state.json" | awk -F: '{ sum += $2 } END { print sum + 0 }'; }

# publish CAMPAIGN VERSION COUNTER KIBIBYTES [ECU...]: a campaign of random images for these ECUs or all.
publish() {
    local campaign=$1 version=$2 counter=$3 size=$4 ecu targets=() hardware cipher
    shift 4
    [ $# -gt 0 ] || set -- BRAKE-0001 CLUSTER-0001 DOOR-0001
    mkdir -p "$STATE/images"
    for ecu in "$@"; do
        case $ecu in
        BRAKE*) hardware=brake-s32k3 cipher=sm4-gcm,hash=sm3 ;;
        CLUSTER*) hardware=cluster-rh850 cipher=aes-256-gcm ;;
        *) hardware=door-tc3 cipher=none ;;
        esac
        # Not a multiple of the chunk, so that a last, short one is there.
        head -c $((size * 1024 + 77)) /dev/urandom >"$STATE/images/$ecu"
        targets+=(--target "file=$STATE/images/$ecu,name=$ecu-$version.bin,ecu_serial=$ecu,hardware_id=$hardware,version=$version,release_counter=$counter,cipher=$cipher")
    done
    gateway-cloud publish campaign --root /srv/www --keys /srv/keys --vin "$VIN" --campaign "$campaign" "${targets[@]}"
    sync
}

in_state() { gatewayctl --json campaigns | tr -d ' \n' | grep -q "\"campaign\":\"$1\"[^}]*\"state\":\"$2\""; }
in_stage() { gatewayctl --json ecus | tr -d ' \n' | grep -q "\"serial\":\"$1\"[^}]*\"stage\":\"$2\""; }
# done_at_least ECU STAGE BYTES
done_at_least() {
    local bytes
    bytes=$(gatewayctl --json ecus | tr -d ' \n' | sed -n "s/.*\"serial\":\"$1\"[^}]*\"stage\":\"$2\"[^}]*\"done\":\([0-9]*\).*/\1/p")
    [ "${bytes:-0}" -ge "$3" ]
}

# announce CAMPAIGN: has the daemon ask the Director until it knows of it.
announce() {
    local campaign=$1
    until_ 30 is_up
    until_ 30 announced "$campaign"
}
announced() { in_state "$1" '[a-z]*' || { gatewayctl check && sleep 1 && in_state "$1" '[a-z]*'; }; }

# holds ECU: its running bank is the published image byte for byte.
holds() {
    local size image=$STATE/images/$1 bank
    size=$(stat -c %s "$image")
    for bank in "$OUT/flash/$1"/bank*.bin; do
        if cmp -s -n "$size" "$image" "$bank" && [ "$(stat -c %s "$bank")" -ge "$size" ]; then return 0; fi
    done
    echo "$1 does not hold what was published"
    return 1
}

runs() { gatewayctl versions | grep -q "^$1  *$2\$"; }

# all_run VERSION [ECU...]: each ECU says this version and holds its image.
all_run() {
    local version=$1 ecu
    shift
    [ $# -gt 0 ] || set -- BRAKE-0001 CLUSTER-0001 DOOR-0001
    for ecu in "$@"; do
        runs "$ecu" "$version" || return 1
        holds "$ecu" || return 1
    done
}

# pace BUS: frames leave at the pace of CAN FD at 500 kbit/s and 2 Mbit/s, full frames back to back: 2,770 a second.
pace() { tc qdisc replace dev "$1" root tbf rate 1600kbit burst 144 limit 7200; }
unpace() { tc qdisc del dev "$1" root; }
