# SPDX-License-Identifier: MIT OR Apache-2.0
# For people on the console: `make vm-shell`.
if [ ! -e /var/lib/vehicle-test/shell ]; then
    cd /mnt/host/guest && . ./lib.sh && . ./package.sh && touch /var/lib/vehicle-test/shell
    echo "Putting the vehicle together: packages, keys, configuration, ECUs, origin, broker."
    if put_in_place && publish spring 2.0.0 2 512 >/dev/null; then
        systemctl start mosquitto ecu-sim origin events gatewayd gatewayd-profile
        cd /root || return
        cat <<'TEXT'

The virtual vehicle is running: three simulated ECUs on vcan0 and vcan1, and a campaign for them at the origin.
  gatewayctl status                    watch -n 1 gatewayctl ecus           journalctl -fu gatewayd
  candump vcan0                        mosquitto_sub -v -t 'v1/#'           systemctl restart gatewayd
  ecu-sim --commands                   echo 'inject all slow-erase 30s' > /run/ecu-sim/control
  publish summer 2.1.0 3 512           (a campaign of random images: name, version, release counter, KiB)
poweroff ends it; nothing is kept.
TEXT
    else
        echo "That did not work; see /mnt/host/out/cases.log"
    fi
fi
