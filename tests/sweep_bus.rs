//! Seeded fault campaigns over the bus, `gateway_sim::ecu::sweep`: every run ends programmed and equal, or refused with
//! the ECU in the state that is claimed, and none hangs.
//!
//! `make sweep-bus COUNT=10000 SEED=1` runs many; here are few. `GATEWAYD_SWEEP` is the count, `GATEWAYD_SWEEP_SEED`
//! the first seed.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway_sim::ecu::sweep::{self, Report, Scenario, Violation};

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn every_run_ends_programmed_or_refused_in_a_known_state() {
    let count = from_environment("GATEWAYD_SWEEP", 200);
    let first = from_environment("GATEWAYD_SWEEP_SEED", 1);
    let (mut sum, mut runs) = (Report::default(), BTreeMap::<&str, u32>::new());
    let (mut clean, mut hung, mut failed) = (0_u32, 0_u32, Vec::new());
    for seed in first..first + count {
        let scenario = Scenario::new(seed).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let report = match sweep::run(&scenario, directory.path()) {
            Ok(report) => report,
            Err(violation) => {
                println!("seed {seed}, dialect {}: {violation}", scenario.dialect);
                println!("  repeat with: make sweep-bus COUNT=1 SEED={seed}");
                hung += u32::from(matches!(violation, Violation::Hang { .. }));
                failed.push(seed);
                continue;
            }
        };
        *runs.entry(scenario.dialect).or_default() += 1;
        clean += u32::from(report.refused + report.cut == 0);
        sum.programmed += report.programmed;
        sum.refused += report.refused;
        sum.cut += report.cut;
        sum.simulated += report.simulated;
    }
    println!("figure bus_sweep_runs {count} runs seeds {first}..{}", first + count - 1);
    let verdict = |figure: usize| if figure == 0 { "met" } else { "short" };
    println!("figure bus_sweep_violations {} runs goal = 0 {}", failed.len(), verdict(failed.len()));
    println!("figure bus_sweep_hung {hung} runs goal = 0 {}", verdict(hung as usize));
    println!("figure bus_sweep_programmed_at_once {clean} runs");
    println!("figure bus_sweep_programmed_under_faults {} attempts", sum.programmed);
    println!("figure bus_sweep_refused_in_known_state {} attempts", sum.refused);
    println!("figure bus_sweep_cut {} attempts", sum.cut);
    println!("figure bus_sweep_simulated {} s", sum.simulated.as_secs());
    for (dialect, runs) in runs {
        println!("figure bus_sweep_{} {runs} runs", dialect.replace('-', "_"));
    }
    assert!(failed.is_empty(), "failing seeds: {failed:?}");
    // A campaign in which nothing went wrong would show nothing.
    assert!(count < 100 || (sum.refused > 0 && sum.cut > 0 && sum.programmed > 0));
    assert!(sum.simulated > Duration::ZERO);
}
