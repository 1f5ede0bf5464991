# SPDX-License-Identifier: MIT OR Apache-2.0
# The Debian packages: installed, upgraded, removed, purged.

package_tests() {
    case_ "the machine has two NUMA nodes, CAN FD, ISO-TP, AF_ALG and the unified cgroup hierarchy" the_machine
    case_ "the package installs users, folders and pages, and neither enables nor starts anything" a_new_package
    case_ "systemd finds nothing to say about the installed units" verified_units
    case_ "the reference configuration that comes with the package is valid" a_valid_configuration
    case_ "a daemon without keys ends once with 78 and is not tried again" unconfigured
    case_ "an upgrade keeps what the administrator has written" upgraded
    case_ "removal keeps configuration and journal" removed
    case_ "purge leaves nothing behind" purged
}

the_machine() {
    [ "$(ls -d /sys/devices/system/node/node[0-9]* | wc -l)" -eq 2 ]
    grep -q '^0$' /sys/devices/system/node/node0/cpulist
    grep -q '^1$' /sys/devices/system/node/node1/cpulist
    for bus in vcan0 vcan1; do
        until_ 10 grep -qx 72 "/sys/class/net/$bus/mtu"
        until_ 30 is_link_up "$bus"
    done
    lsmod | grep -q '^can_isotp '
    lsmod | grep -q '^algif_aead '
    [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]
    grep -q memory /sys/fs/cgroup/cgroup.controllers
}

# Whether the lowest flag, IFF_UP, is set.
is_link_up() { [ $(($(cat "/sys/class/net/$1/flags") & 1)) -eq 1 ]; }

first_deb() { ls /mnt/host/deb/"$1"_*.deb | grep -v '+next'; }
next_deb() { ls /mnt/host/deb/"$1"_*+next*.deb; }

a_new_package() {
    dpkg -i "$(first_deb gatewayd)" "$(first_deb gatewayd-profile)" "$(first_deb gateway-cloud)"
    gatewayd --version && gatewayctl --version && gateway-cloud --version
    for unit in gatewayd gatewayd-profile; do
        [ "$(systemctl is-enabled $unit || true)" = disabled ]
        [ "$(systemctl is-active $unit || true)" = inactive ]
        id "$unit"
    done
    [ "$(stat -c '%U:%G %a' /etc/gatewayd)" = "root:gatewayd 750" ]
    [ "$(stat -c '%U:%G %a' /etc/gatewayd/credentials)" = "root:root 700" ]
    [ -z "$(find /usr/bin/gateway* /usr/lib/systemd/system/gateway* -perm /022)" ]
    dpkg-query -W -f '${Conffiles}' gatewayd | grep -q /etc/gatewayd/gatewayd.toml
    for file in /usr/share/bash-completion/completions/gatewayd /usr/share/zsh/vendor-completions/_gatewayctl \
        /usr/lib/systemd/system/gateway.slice /usr/lib/sysusers.d/gatewayd.conf; do
        [ -s "$file" ]
    done
    # The image throws documentation away; the package has it.
    for page in man8/gatewayd.8 man8/gatewayd-run.8 man1/gatewayctl.1; do
        dpkg -L gatewayd | grep -qx "/usr/share/man/$page.gz"
    done
    dpkg -L gateway-cloud | grep -qx /usr/share/man/man1/gateway-cloud.1.gz
}

verified_units() {
    local said
    said=$(systemd-analyze verify --man=no gatewayd.service gatewayd-profile.service 2>&1)
    echo "$said"
    [ -z "$said" ]
}

a_valid_configuration() {
    # All of it but the room that is promised to downloads, which this disk does not have, and the check says so.
    [ "$(gatewayd check --config /etc/gatewayd/gatewayd.toml | grep -B 1 ' error: ' | grep -o '\[[A-Z0-9-]*\]')" = "[STO-102]" ]
    sed 's/^quota = .*/quota = "256MiB"/' /etc/gatewayd/gatewayd.toml >/etc/gatewayd/small.toml
    gatewayd check --config /etc/gatewayd/small.toml
    rm /etc/gatewayd/small.toml
    gatewayd reference | cmp - /etc/gatewayd/gatewayd.toml
}

unconfigured() {
    fails systemctl start gatewayd
    sleep 2
    [ "$(property ExecMainStatus)" = 78 ]
    [ "$(property NRestarts)" = 0 ]
    [ "$(property ActiveState)" = failed ]
    systemctl reset-failed gatewayd
}

upgraded() {
    echo "# written by the administrator" >>/etc/gatewayd/gatewayd.toml
    local before
    before=$(sha256sum </etc/gatewayd/gatewayd.toml)
    dpkg -i "$(next_deb gatewayd)" "$(next_deb gatewayd-profile)" "$(next_deb gateway-cloud)"
    dpkg-query -W -f '${Version}\n' gatewayd | grep -q '+next'
    [ "$(sha256sum </etc/gatewayd/gatewayd.toml)" = "$before" ]
    [ -z "$(find /etc/gatewayd -name '*.dpkg-*')" ]
    [ "$(systemctl is-enabled gatewayd || true)" = disabled ]
    [ "$(systemctl is-active gatewayd || true)" = inactive ]
}

removed() {
    mkdir -p /var/lib/gatewayd && touch /var/lib/gatewayd/journal.redb /etc/gatewayd/credentials/key
    dpkg -r gatewayd-profile gatewayd gateway-cloud
    [ ! -e /usr/bin/gatewayd ] && [ ! -e /usr/lib/systemd/system/gatewayd.service ]
    [ -e /etc/gatewayd/gatewayd.toml ] && [ -e /var/lib/gatewayd/journal.redb ]
    fails systemctl cat gatewayd.service
}

purged() {
    dpkg -P gatewayd gatewayd-profile gateway-cloud
    local left
    left=$(find /etc /usr /var /run -xdev \( -name '*gatewayd*' -o -name 'gateway.slice' -o -name '*gateway-cloud*' \) \
        ! -path '/var/log/*' ! -path '/var/lib/systemd/*' ! -path '/run/systemd/*')
    echo "$left"
    [ -z "$left" ]
    fails dpkg-query -W gatewayd
}

# Everything for a whole vehicle: packages, keys, configuration, ECUs, origin, broker. Nothing of ours is started.
put_in_place() {
    (
        set -ex
        dpkg -i "$(first_deb gatewayd)" "$(first_deb gatewayd-profile)" "$(first_deb gateway-cloud)"
        install -m 0755 /mnt/host/bin/* /usr/local/bin/
        install -m 0644 conf/gatewayd.toml /etc/gatewayd/gatewayd.toml
        install -m 0644 conf/bench.toml /etc/ecu-sim.toml
        install -m 0644 conf/*.service /etc/systemd/system/
        gateway-cloud publish keys --keys /srv/keys --certs /srv/certs
        mkdir -p "$OUT/flash"
        publish factory 1.0.1 1 4 DOOR-0001
        cp /srv/certs/ca.pem /etc/gatewayd/cloud-ca.pem
        cp /srv/certs/gateway.pem /etc/gatewayd/gateway.pem
        cp "/srv/www/director/$VIN/1.root.json" /etc/gatewayd/director-root.json
        cp /srv/www/image/1.root.json /etc/gatewayd/image-root.json
        chmod 0644 /etc/gatewayd/*.pem /etc/gatewayd/*.json
        install -m 0600 /srv/certs/gateway.key /etc/gatewayd/credentials/gateway-key
        install -m 0600 /srv/keys/kek-sm4.key /etc/gatewayd/credentials/kek-sm4
        install -m 0600 /srv/keys/kek-aes.key /etc/gatewayd/credentials/kek-aes
        systemctl daemon-reload
        systemctl enable gatewayd mosquitto ecu-sim origin events
    ) >>"$OUT/cases.log" 2>&1
}
