# SPDX-License-Identifier: MIT OR Apache-2.0
# Our ISO-TP on real SocketCAN, against the kernel's ISO-TP (can-isotp, isotpsend and isotprecv of can-utils), up to the
# 8300 bytes that the kernel's takes; longer messages run between two of ours.

LENGTHS="1 7 8 9 61 62 63 64 4095 4096 8300"

socketcan_tests() {
    case_ "our ISO-TP sends over FD frames what the kernel receives" we_send_fd
    case_ "the kernel's ISO-TP sends over FD frames what we receive" we_receive_fd
    case_ "our ISO-TP sends over classical frames what the kernel receives" we_send_classical
    case_ "the kernel's ISO-TP sends over classical frames what we receive" we_receive_classical
    case_ "29-bit identifiers and FD frames of 24 bytes work in both directions" extended_identifiers
    case_ "the kernel's block size and separation are kept" block_size_and_separation
    case_ "our block size and separation are kept by the kernel" our_block_size_and_separation
    case_ "65535 bytes in classical frames, our stack on both ends" long_messages
    case_ "a megabyte on one bus, our stack on both ends" a_megabyte
    case_ "frames go out at the pace of a full interface queue, by the kernel's times of them too" a_full_queue
    case_ "classical neighbours on the bus disturb nothing" classical_neighbours
}

hex() { od -An -v -tx1 | tr -d ' \n' | tr a-f A-F; }
words() { od -An -v -tx1 | tr '\n' ' '; }

# Whether a socket listens to this identifier; a receiver has no other way to say that it is there. The kernel shows 11-bit
# identifiers with three digits, and 29-bit ones with eight and their flag.
listened_to() {
    local shown
    shown=$(printf '%03x' "$((0x$1))")
    [ "${#1}" -le 3 ] || shown=$(printf '%08x' "$((0x$1 | 0x80000000))")
    grep -q " $shown " /proc/net/can/rcvlist_sff /proc/net/can/rcvlist_eff /proc/net/can/rcvlist_fil
}
# Nor has one that is gone.
deaf_to() { ! listened_to "$1"; }

# to_kernel LENGTH TX RX OPTIONS-OF-OURS -- OPTIONS-OF-THE-KERNEL'S
to_kernel() {
    local length=$1 tx=$2 rx=$3 ours=()
    shift 3
    while [ "$1" != -- ]; do ours+=("$1"); shift; done
    shift
    head -c "$length" /dev/urandom >/tmp/message
    until_ 10 deaf_to "$tx"
    timeout 30 isotprecv -s "$rx" -d "$tx" "$@" vcan0 >/tmp/received &
    local receiver=$!
    until_ 10 listened_to "$tx"
    isotp_pipe send can:vcan0 "$tx" "$rx" "${ours[@]}" </tmp/message
    wait "$receiver"
    [ "$(tr -d ' \n' </tmp/received)" = "$(hex </tmp/message)" ]
}

from_kernel() {
    local length=$1 tx=$2 rx=$3 ours=()
    shift 3
    while [ "$1" != -- ]; do ours+=("$1"); shift; done
    shift
    head -c "$length" /dev/urandom >/tmp/message
    until_ 10 deaf_to "$tx"
    timeout 30 isotp_pipe recv can:vcan0 "$rx" "$tx" "${ours[@]}" >/tmp/received &
    local receiver=$!
    until_ 10 listened_to "$tx"
    words </tmp/message | isotpsend -s "$tx" -d "$rx" "$@" vcan0
    wait "$receiver"
    cmp /tmp/message /tmp/received
}

we_send_fd() { for length in $LENGTHS; do to_kernel "$length" 731 7B1 -- -L 72:64:1; done; }
we_receive_fd() { for length in $LENGTHS; do from_kernel "$length" 731 7B1 -- -L 72:64:1; done; }
we_send_classical() { for length in $LENGTHS; do to_kernel "$length" 731 7B1 classical --; done; }
# A virtual bus has no pace: what a receiver that is not running does not take in time, its socket drops. So ours asks for
# blocks that its socket holds where a message has more than 200 frames.
we_receive_classical() { for length in $LENGTHS; do from_kernel "$length" 731 7B1 classical bs=64 --; done; }
extended_identifiers() {
    for length in 7 23 24 500; do
        to_kernel "$length" 18DA10F1 18DAF110 dl=24 -- -L 72:24:1
        from_kernel "$length" 18DA10F1 18DAF110 dl=24 -- -L 72:24:1
    done
}
block_size_and_separation() {
    local began
    began=$(uptime_ms)
    # 3 of 62 bytes after the first 62: with 60 ms between them at least 120 ms.
    to_kernel 240 731 7B1 -- -L 72:64:1 -b 2 -m 3C
    [ $(($(uptime_ms) - began)) -ge 60 ]
    to_kernel 2000 731 7B1 -- -L 72:64:1 -b 3 -m F5
}
our_block_size_and_separation() {
    from_kernel 2000 731 7B1 bs=1 -- -L 72:64:1
    from_kernel 2000 731 7B1 bs=4 stmin=02 -- -L 72:64:1
    from_kernel 500 731 7B1 bs=8 stmin=F3 classical --
}
long_messages() {
    ours_to_ours 65535 classical bs=64
}

# ours_to_ours BYTES [OPTION]: leaves the sender's seconds in `took`.
ours_to_ours() {
    head -c "$1" /dev/urandom >/tmp/message
    shift
    until_ 10 deaf_to 731
    timeout 120 isotp_pipe recv can:vcan0 7B1 731 "$@" >/tmp/received &
    local receiver=$!
    until_ 10 listened_to 731
    isotp_pipe send can:vcan0 731 7B1 "$@" </tmp/message 2>/tmp/said || { cat /tmp/said; return 1; }
    wait "$receiver"
    cmp /tmp/message /tmp/received
    took=$(sed -n 's/.* in \([0-9.]*\) s.*/\1/p' /tmp/said)
    [ -n "$took" ]
}
a_megabyte() {
    local took
    ours_to_ours 1048576 bs=64
    figure vm_isotp_vcan "$(awk -v s="$took" 'BEGIN { printf "%.0f", 1024 / s }')" KiB/s
    kernel_to_kernel
}
# As many bytes between two of the kernel's sockets, in blocks of 64 too; its messages are 8,192 bytes. The kernel answers for
# a receiver that stands still, and isotprecv would spend the time printing. Counted on the bus: a first frame and 130 more
# for each message.
kernel_to_kernel() {
    local receiver began ms frames
    until_ 10 deaf_to 731
    isotprecv -l -s 7B1 -d 731 -b 40 -L 72:64:1 vcan0 >/dev/null &
    receiver=$!
    until_ 10 listened_to 731
    kill -STOP "$receiver"
    frames=$(cat /sys/class/net/vcan0/statistics/tx_packets)
    began=$(uptime_ms)
    isotpsend -b -l 128 -D 8192 -s 731 -d 7B1 -L 72:64:1 vcan0
    ms=$(($(uptime_ms) - began))
    kill -KILL "$receiver"
    [ $(($(cat /sys/class/net/vcan0/statistics/tx_packets) - frames)) -ge $((128 * 131)) ]
    figure vm_isotp_vcan_kernel "$(awk -v ms="$ms" 'BEGIN { printf "%.0f", 1024000 / ms }')" KiB/s
    figure vm_isotp_vcan_of_kernel "$(awk -v s="$took" -v ms="$ms" 'BEGIN { printf "%.2f", ms / 1000 / s }')" x
}
a_full_queue() {
    local took on_bus
    pace vcan0
    ours_to_ours 131072
    tc -s qdisc show dev vcan0
    unpace vcan0
    on_bus=$(sed -n "s/.* s, \([0-9.]*\) s by the bus's clock/\1/p" /tmp/said)
    # 2,115 full frames at 2,770 a second.
    awk -v s="$took" -v t="$on_bus" 'BEGIN { exit !(s > 0.6 && t > 0.6 && t <= s + 0.01) }'
    figure vm_isotp_vcan_paced "$(awk -v s="$took" 'BEGIN { printf "%.0f", 128 / s }')" KiB/s
}
classical_neighbours() {
    cangen vcan0 -g 1 -I 100 -L 8 &
    local noise=$!
    cangen vcan0 -g 1 -I 7B1 -L 0 &
    local more=$!
    to_kernel 4095 731 7B1 -- -L 72:64:1
    from_kernel 4095 731 7B1 -- -L 72:64:1
    kill "$noise" "$more"
}
