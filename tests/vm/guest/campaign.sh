# SPDX-License-Identifier: MIT OR Apache-2.0
# Whole campaigns on SocketCAN, undisturbed and disturbed.

campaign_tests() {
    case_ "three ECUs on two buses end with their images byte for byte" an_undisturbed_campaign
    case_ "every stage was told over MQTT, none failed" told_over_mqtt
    case_ "memory and processor time of a campaign are within the limits" a_campaign_within_limits
    case_ "a bus of a real bus's pace carries a campaign" a_paced_campaign
    case_ "kill -9 in the middle of a transfer: resumed, nothing erased twice" killed_in_a_transfer
    case_ "a restart in the middle of a transfer: resumed, nothing erased twice" restarted_in_a_transfer
    case_ "a bus flooded by its neighbours carries a campaign" a_flooded_bus
    case_ "an interface that goes down and comes back costs no ECU its software" an_interface_down
    case_ "an interface without CAN FD is named as such, and used once it has it" an_interface_without_fd
}

an_undisturbed_campaign() {
    publish spring 2.0.0 2 512
    local began
    began=$(uptime_ms)
    announce spring
    until_ 240 in_state spring finished
    local took=$(($(uptime_ms) - began))
    gatewayctl status
    all_run 2.0.0
    figure vm_campaign_time "$(seconds "$took")" s
    # The longest of the transfers: the ECUs of one bus take turns.
    transfer_rate spring
}

# The bytes of all ECUs over the sum of their transfers' times.
transfer_rate() {
    local ms bytes
    ms=$(grep "\"campaign\":\"$1\"" "$OUT/events.jsonl" | grep '"stage_code":"TRANSFER"' | grep -i '"status":"ok"' \
        | sed 's/.*"span_duration_ms":\([0-9]*\).*/\1/' | awk '{ sum += $1 } END { print sum + 0 }')
    bytes=$(cat "$STATE"/images/* | wc -c)
    figure "vm_campaign_transfer_${2:-vcan}" "$(awk -v b="$bytes" -v ms="$ms" 'BEGIN { printf "%.0f", b / 1.024 / (ms ? ms : 1) }')" KiB/s
}

told_over_mqtt() {
    local stage
    for stage in ANNOUNCE METADATA CONSENT PRE_CHECK DOWNLOAD VERIFY DECRYPT TRANSFER INSTALL ACTIVATE REPORT; do
        grep '"campaign":"spring"' "$OUT/events.jsonl" | grep -q "\"stage_code\":\"$stage\""
    done
    ! grep '"campaign":"spring"' "$OUT/events.jsonl" | grep -qi '"status":"failed"'
    ! grep '"campaign":"spring"' "$OUT/events.jsonl" | grep -q '"stage_code":"ROLLBACK"'
}

a_campaign_within_limits() {
    local group events
    group=$(cgroup)
    events=$(cat "$group/memory.events")
    echo "$events"
    echo "$events" | grep -q '^oom_kill 0$'
    echo "$events" | grep -q '^max 0$'
    figure vm_memory_peak "$(awk '{ printf "%.1f", $1 / 1048576 }' "$group/memory.peak")" MiB '<=' 192
    cat "$group/cpu.stat"
    figure vm_campaign_cpu "$(awk '/usage_usec/ { printf "%.1f", $2 / 1e6 }' "$group/cpu.stat")" s
}

a_paced_campaign() {
    pace vcan0
    publish paced 2.1.0 3 128 BRAKE-0001
    announce paced
    until_ 120 in_state paced finished
    tc -s qdisc show dev vcan0
    unpace vcan0
    all_run 2.1.0 BRAKE-0001
    transfer_rate paced vcan_paced_2m
}

# in_the_middle_of CAMPAIGN VERSION COUNTER COMMAND...: runs the command in the transfer to the one-bank brake.
in_the_middle_of() {
    local campaign=$1 before_brake before_door version=$2
    publish "$campaign" "$version" "$3" 256
    shift 3
    before_brake=$(erases BRAKE-0001)
    before_door=$(erases DOOR-0001)
    pace vcan0
    announce "$campaign"
    until_ 120 done_at_least BRAKE-0001 TRANSFER 40000
    "$@"
    until_ 240 in_state "$campaign" finished
    unpace vcan0
    gatewayctl status
    all_run "$version"
    [ "$(erases BRAKE-0001)" -eq $((before_brake + 1)) ]
    [ "$(erases DOOR-0001)" -eq $((before_door + 1)) ]
}

kill_it() {
    local before
    before=$(pid)
    kill -KILL "$before"
    until_ 30 is_another "$before"
}
killed_in_a_transfer() { in_the_middle_of killed 2.2.0 4 kill_it; }
restarted_in_a_transfer() { in_the_middle_of restarted 2.3.0 5 systemctl restart gatewayd; }

a_flooded_bus() {
    publish flooded 2.4.0 6 64 BRAKE-0001
    cangen vcan0 -g 0.3 -f -b -I 100 -L 64 &
    local first=$!
    cangen vcan0 -g 0.3 -I 200 -L 8 &
    local second=$!
    announce flooded
    until_ 180 in_state flooded finished
    kill "$first" "$second"
    all_run 2.4.0 BRAKE-0001
    ip -s link show vcan0
}

an_interface_down() {
    publish down 2.5.0 7 256 BRAKE-0001 DOOR-0001
    pace vcan0
    announce down
    until_ 120 done_at_least BRAKE-0001 TRANSFER 40000
    ip link set vcan0 down
    sleep 3
    gatewayctl status
    ip link set vcan0 up
    until_ 120 in_state down finished
    unpace vcan0
    gatewayctl status
    all_run 2.5.0 DOOR-0001
    # What was cut off is taken up again when its campaign is told again.
    if ! all_run 2.5.0 BRAKE-0001; then
        until_ 120 retried
        all_run 2.5.0 BRAKE-0001
    fi
    log | grep -q 'bus not usable.*vcan0'
}
retried() { gatewayctl check; sleep 3; in_state down finished && gatewayctl versions | grep -q '^BRAKE-0001  *2.5.0$'; }

an_interface_without_fd() {
    ip link set vcan1 down
    ip link set vcan1 mtu 16
    ip link set vcan1 up
    publish classical 2.6.0 8 8 DOOR-0001
    announce classical
    until_ 60 sh -c "journalctl -u gatewayd --no-pager -o cat | grep -q 'vcan1.*CAN FD'"
    until_ 60 in_state classical finished
    ip link set vcan1 down
    ip link set vcan1 mtu 72
    ip link set vcan1 up
    until_ 60 door_retried
    all_run 2.6.0 DOOR-0001
}
door_retried() { gatewayctl check; sleep 3; gatewayctl versions | grep -q '^DOOR-0001  *2.6.0$'; }
