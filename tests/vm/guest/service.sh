# SPDX-License-Identifier: MIT OR Apache-2.0
# gatewayd as a service: start, limits, placement, reload, restart, watchdog, crash.

service_tests() {
    case_ "gatewayd, enabled, is ready after a boot" ready_after_boot
    case_ "a campaign published while the vehicle was off is taken up when the Director is asked" a_first_campaign
    case_ "the service has no capability, no new privileges and a filter on system calls" no_privileges
    case_ "the unit's limits on memory, tasks and processor time stand in its cgroup" limits_in_the_cgroup
    case_ "threads run where the placement says, and their memory lies on their node" placed
    case_ "the profiling service delivers samples and stays within its limits" profiling
    case_ "reload is acknowledged and keeps the process" reloaded
    case_ "reload refuses a broken configuration and the daemon stays on the old one" reloaded_with_a_mistake
    case_ "a stop is clean and a start takes up the journal" stopped_and_started
    case_ "restart has a short gap" restarted
    case_ "whoever asks during a restart waits at the socket and is answered" asked_during_a_restart
    case_ "a daemon that hangs is killed by the watchdog and comes back" hung
    case_ "a daemon that is killed comes back at once" killed
    case_ "an upgrade of the package restarts the running daemon" upgraded_while_running
}

ready_after_boot() {
    until_ 120 is_up
    local userspace
    figure vm_boot_to_ready "$(seconds "$(stamp ActiveEnter)")" s '<=' 120
    userspace=$(($(systemctl show -p UserspaceTimestampMonotonic --value) / 1000))
    figure vm_userspace_to_ready "$(seconds $(($(stamp ActiveEnter) - userspace)))" s
    figure vm_start_to_ready "$(seconds $(($(stamp ActiveEnter) - $(stamp InactiveExit))))" s '<=' 10
    [ "$(property NRestarts)" = 0 ]
    log | grep -q 'bus open.*can:vcan0'
    log | grep -q 'bus open.*can:vcan1'
}

a_first_campaign() {
    announce factory
    until_ 60 in_state factory finished
    all_run 1.0.1 DOOR-0001
}

no_privileges() {
    local status
    status=/proc/$(pid)/status
    cat "$status"
    grep -q '^CapEff:.0*$' "$status"
    grep -q '^CapPrm:.0*$' "$status"
    grep -q '^CapBnd:.0*$' "$status"
    grep -q '^NoNewPrivs:.1$' "$status"
    grep -q '^Seccomp:.2$' "$status"
    grep -q "^Uid:.$(id -u gatewayd)" "$status"
}

cgroup() { echo "/sys/fs/cgroup$(property ControlGroup)"; }

limits_in_the_cgroup() {
    local group peak
    group=$(cgroup)
    [ "$(cat "$group/memory.max")" -eq $((256 << 20)) ]
    [ "$(cat "$group/memory.high")" -eq $((192 << 20)) ]
    [ "$(cat "$group/memory.swap.max")" -eq 0 ]
    [ "$(cat "$group/pids.max")" -eq 128 ]
    [ "$(cat "$(dirname "$group")/memory.max")" -eq $((384 << 20)) ]
    [ "$(cat "$(dirname "$group")/cpu.weight")" -eq 200 ]
    peak=$(cat "$group/memory.peak")
    figure vm_memory_idle_peak "$(awk -v b="$peak" 'BEGIN { printf "%.1f", b / 1048576 }')" MiB
    [ "$(cat "$group/pids.current")" -lt 32 ]
}

placed() {
    local process thread name cpus said mask
    process=$(pid)
    gatewayctl --json status | tr -d ' \n' | grep -o '"workers":\[[^]]*\]'
    numactl -H
    for thread in /proc/"$process"/task/*; do
        echo "$(cat "$thread/comm") $(grep Cpus_allowed_list "$thread/status" | cut -f 2)"
    done
    # What gatewayctl says is what the kernel says.
    for name in bus-chassis bus-body; do
        said=$(gatewayctl --json status | tr -d ' \n' | sed -n "s/.*\"name\":\"\(bus-\)\?${name#bus-}\",\"cpus\":\"\([^\"]*\)\".*/\2/p")
        for thread in /proc/"$process"/task/*; do
            [ "$(cat "$thread/comm")" = "$name" ] || continue
            cpus=$(grep Cpus_allowed_list "$thread/status" | cut -f 2)
            [ "$said" = "$cpus" ]
        done
    done
    # One core is not everything: at least one thread is pinned to a single processor.
    grep -h Cpus_allowed_list /proc/"$process"/task/*/status | grep -qE '	[01]$'
    grep -o 'prefer[a-z]*[:=][^ ]*' /proc/"$process"/numa_maps | sort | uniq -c
    grep -c ' N[01]=' /proc/"$process"/numa_maps
    # Anonymous pages, per node.
    mask=$(awk '/anon=/ { for (i = 1; i <= NF; i++) if ($i ~ /^N[01]=/) { split($i, it, "="); n[it[1]] += it[2] } }
        END { printf "%d %d", n["N0"], n["N1"] }' /proc/"$process"/numa_maps)
    echo "anonymous pages on node 0 and 1: $mask"
    grep -h . /proc/"$process"/task/*/numa_maps | grep -q 'prefer'
}

profiling() {
    systemctl start gatewayd-profile
    until_ 40 sh -c "gatewayctl status | grep -E '^profiler: connected, [1-9]'"
    journalctl -u gatewayd-profile --no-pager -o cat
    [ "$(sysctl -n kernel.perf_event_paranoid)" -eq 2 ]
    local group
    group=/sys/fs/cgroup$(systemctl show -p ControlGroup --value gatewayd-profile)
    sleep 12
    [ "$(systemctl is-active gatewayd-profile)" = active ]
    figure vm_profiler_memory_peak "$(awk '{ printf "%.1f", $1 / 1048576 }' "$group/memory.peak")" MiB '<=' 48
    figure vm_profiler_cpu "$(awk -v up="$(systemctl show -p ActiveEnterTimestampMonotonic --value gatewayd-profile)" \
        -v now="$(uptime_ms)" '/usage_usec/ { printf "%.2f", $2 * 100 / (now * 1000 - up) }' "$group/cpu.stat")" %
}

reloaded() {
    local before began
    before=$(pid)
    began=$(uptime_ms)
    systemctl reload gatewayd
    figure vm_reload $(($(uptime_ms) - began)) ms '<=' 5000
    [ "$(pid)" = "$before" ]
    is_up
    systemctl reload gatewayd
}

reloaded_with_a_mistake() {
    local before
    before=$(pid)
    cp -p /etc/gatewayd/gatewayd.toml /tmp/good.toml
    sed -i 's/^url = "can:vcan0"/url = "cam:vcan0"/' /etc/gatewayd/gatewayd.toml
    ! systemctl reload gatewayd
    [ "$(pid)" = "$before" ]
    gatewayctl status
    cp -p /tmp/good.toml /etc/gatewayd/gatewayd.toml
    systemctl reload gatewayd
    [ "$(pid)" = "$before" ]
    is_up
}

stopped_and_started() {
    local boot
    boot=$(gatewayctl --json status | tr -d ' \n' | sed 's/.*"boot":\([0-9]*\).*/\1/')
    systemctl stop gatewayd
    [ "$(property Result)" = success ]
    [ "$(property ExecMainStatus)" = 0 ]
    systemctl start gatewayd
    until_ 30 is_up
    gatewayctl --json status | tr -d ' \n' | grep -q "\"boot\":$((boot + 1))"
    gatewayctl versions | grep -q '^DOOR-0001  *1.0.1$'
}

restarted() {
    local before
    for _ in 1 2 3; do
        before=$(pid)
        systemctl restart gatewayd
        until_ 30 is_another "$before"
        echo $(($(stamp ActiveEnter) - $(stamp ActiveExit))) >>/tmp/gaps
    done
    sort -n /tmp/gaps
    figure vm_restart_gap "$(sort -n /tmp/gaps | sed -n 2p)" ms '<=' 10000
}

asked_during_a_restart() {
    local asked=0 before
    before=$(pid)
    systemctl restart gatewayd &
    local restart=$!
    while kill -0 "$restart" 2>/dev/null; do
        gatewayctl status >/tmp/answer
        asked=$((asked + 1))
    done
    wait "$restart"
    [ "$asked" -ge 1 ]
    until_ 30 is_another "$before"
    systemctl is-active gatewayd.socket
    figure vm_answers_during_restart "$asked" answers
}

hung() {
    local before began
    before=$(pid)
    began=$(uptime_ms)
    kill -STOP "$before"
    until_ 40 is_another "$before"
    figure vm_watchdog_recovery "$(seconds $(($(uptime_ms) - began)))" s '<=' 30
    journalctl -u gatewayd --no-pager -o cat | grep -qi 'watchdog timeout'
}

killed() {
    local before began
    before=$(pid)
    began=$(uptime_ms)
    kill -KILL "$before"
    until_ 30 is_another "$before"
    figure vm_crash_recovery "$(seconds $(($(uptime_ms) - began)))" s '<=' 15
}

upgraded_while_running() {
    local before
    before=$(pid)
    dpkg -i "$(next_deb gatewayd)" "$(next_deb gatewayd-profile)"
    until_ 30 is_another "$before"
    [ "$(systemctl is-enabled gatewayd)" = enabled ]
    [ "$(systemctl is-active gatewayd-profile)" = active ]
}
