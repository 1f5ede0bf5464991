//! CAN links: what the kernel has set up against what the configuration says.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::Drift;
use super::running::LinkState;
use crate::policy::child;

/// How long `ip` may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer in bytes.
const MAX_ANSWER: u64 = 64 << 10;
/// CANFD_MTU of linux/can.h.
const FD_MTU: u64 = 72;
const FIX: &str = "mend the link's .network file and `networkctl reload`, or the configuration";

pub(super) fn compare(drift: &mut Drift, link: &LinkState) {
    let what = format!("link {}", link.interface);
    if !Path::new("/sys/class/net").join(&link.interface).exists() {
        drift.add(what, "there", "not there", "load the controller's driver, or mend the bus's url");
        return;
    }
    let mut command = Command::new("ip");
    command.args(["-details", "-json", "link", "show", "dev", &link.interface]);
    match child::run(&mut command, Vec::new(), PATIENCE, MAX_ANSWER) {
        Ok(outcome) if outcome.status.success() => match serde_json::from_slice::<Value>(&outcome.output) {
            Ok(answer) => judge(drift, link, answer.get(0).unwrap_or(&Value::Null)),
            Err(error) => drift.unchecked(what, format!("`ip` answered something else: {error}")),
        },
        Ok(outcome) => drift.unchecked(what, format!("ip: {}", outcome.status)),
        Err(error) => drift.unchecked(what, error.to_string()),
    }
}

fn judge(drift: &mut Drift, link: &LinkState, kernel: &Value) {
    let what = format!("link {}", link.interface);
    let up = kernel.get("flags").and_then(Value::as_array).is_some_and(|it| it.iter().any(|it| it == "UP"));
    if !up {
        drift.add(what.as_str(), "up", "down", FIX);
    }
    let mtu = kernel.get("mtu").and_then(Value::as_u64).unwrap_or_default();
    if link.data_bit_rate > link.nominal_bit_rate && mtu < FD_MTU {
        drift.add(what.as_str(), "CAN FD (mtu 72)", format!("mtu {mtu}"), FIX);
    }
    let timing =
        |name: &str| kernel.pointer(&format!("/linkinfo/info_data/{name}/bitrate")).and_then(Value::as_u64);
    let Some(nominal) = timing("bittiming") else {
        drift.unchecked(format!("bit rates of {}", link.interface), "it is a virtual link");
        return;
    };
    if nominal != u64::from(link.nominal_bit_rate) {
        let declared = format!("{} bit/s", link.nominal_bit_rate);
        drift.add(what.as_str(), declared, format!("{nominal} bit/s"), FIX);
    }
    let data = timing("data_bittiming").unwrap_or(nominal);
    if data != u64::from(link.data_bit_rate) {
        let declared = format!("{} bit/s in the data phase", link.data_bit_rate);
        drift.add(what, declared, format!("{data} bit/s"), FIX);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(kernel: &Value) -> Drift {
        let link =
            LinkState { interface: "can0".to_owned(), nominal_bit_rate: 500_000, data_bit_rate: 2_000_000 };
        let mut drift = Drift::default();
        judge(&mut drift, &link, kernel);
        drift
    }

    fn kernel(nominal: u64, data: u64) -> Value {
        json!({ "flags": ["NOARP", "UP"], "mtu": 72, "linkinfo": { "info_kind": "can", "info_data": {
            "bittiming": { "bitrate": nominal }, "data_bittiming": { "bitrate": data } } } })
    }

    #[test]
    fn a_link_as_declared_is_no_drift() {
        assert_eq!(judged(&kernel(500_000, 2_000_000)), Drift::default());
    }

    #[test]
    fn other_rates_are_drift() {
        assert_eq!(judged(&kernel(250_000, 2_000_000)).items.len(), 1);
        assert_eq!(judged(&kernel(500_000, 4_000_000)).items[0].running, "4000000 bit/s");
    }

    #[test]
    fn a_classical_link_that_is_down_differs_twice_and_a_virtual_one_has_no_rates() {
        let drift = judged(&json!({ "flags": ["NOARP"], "mtu": 16 }));
        assert_eq!((drift.items.len(), drift.unchecked.len()), (2, 1), "{drift}");
    }
}
