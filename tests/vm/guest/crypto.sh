# SPDX-License-Identifier: MIT OR Apache-2.0
# Engines that only a real kernel has: a coprocessor's character device, here that of the module in tests/vm/module, and
# AF_ALG. Each goes through the suite of crypto-offload/tests/conformance.rs.

SUITE=/mnt/host/bin/conformance

crypto_tests() {
    case_ "an engine over /dev/sm_crypto, the module's, passes the suite" device_suite
    case_ "the daemon asks /dev/sm_crypto, measures it, and finds it again after it was away" device_daemon
    modprobe -aq algif_hash algif_aead
    if grep -q '^ALG ' /proc/net/protocols; then
        case_ "an engine over AF_ALG passes the suite" af_alg_suite
    else
        echo "@@ ABSENT: AF_ALG is not in this kernel ($(uname -r)): the engine over it is NOT CHECKED"
    fi
}

suite_passed() { grep -q '^test result: ok\. [1-9][0-9]* passed; 0 failed' "$1"; }

device_suite() {
    modprobe sm_crypto
    [ -c /dev/sm_crypto ]
    GATEWAYD_TEST_DEVICE=/dev/sm_crypto timeout 300 "$SUITE" --nocapture --test-threads 1 >"$STATE/suite" 2>&1 || {
        tail -n 30 "$STATE/suite"
        return 1
    }
    suite_passed "$STATE/suite"
    grep -q 'driver: vm-module firmware 0x1' "$STATE/suite"
    # Nothing is left of it, and nothing of it has troubled the kernel.
    rmmod sm_crypto
    silent sh -c 'dmesg | grep -iE "sm_crypto.*(bug|warn|leak)|general protection|KASAN"'
}

# What the status says about the coprocessor.
device_is() { gatewayctl --json status | tr -d ' \n' | grep -q "\"name\":\"device\"[^}]*\"state\":\"$1\""; }

device_daemon() {
    local unit=/etc/systemd/system/gatewayd.service.d/device.conf config=/etc/gatewayd/gatewayd.toml
    mkdir -p "$(dirname "$unit")"
    cp "$config" "$STATE/config-before"
    # By its group: a node that is not there when the service starts cannot be named.
    printf '[Service]\nPrivateDevices=no\nDeviceAllow=char-misc rw\n' >"$unit"
    printf '\n[crypto]\nengines = ["device", "software"]\n' >>"$config"
    systemctl daemon-reload
    systemctl restart gatewayd
    until_ 30 device_is absent
    modprobe sm_crypto
    chown gatewayd /dev/sm_crypto
    # Looked for after 1, 2, 4, 8... seconds, then asked and measured.
    until_ 90 device_is up
    gatewayctl --json status | tr -d ' \n' | grep -q '"identity":"vm-modulefirmware0x1"'
    cp "$STATE/config-before" "$config"
    rm -f "$unit"
    systemctl daemon-reload
    systemctl restart gatewayd
    until_ 30 is_up
    rmmod sm_crypto
}

af_alg_suite() {
    GATEWAYD_TEST_AF_ALG=yes timeout 300 "$SUITE" --nocapture --test-threads 1 >"$STATE/suite" 2>&1 || {
        tail -n 30 "$STATE/suite"
        return 1
    }
    suite_passed "$STATE/suite"
    grep 'af-alg: AF_ALG' "$STATE/suite"
}
