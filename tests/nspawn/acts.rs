//! A hostile child inside the sandboxes: what a daemon that was taken over would try. Runs `hostile` (its own source file)
//! with a copy of the unit whose only difference is the program, then without any sandbox: an act that fails there too
//! proves nothing.

use std::collections::BTreeMap;
use std::path::Path;

use crate::Outcome;
use crate::host::{run as command, systemctl};
use crate::report::{Report, say};

/// Where the sandboxes let programs be executed from.
const PROGRAM: &str = "/usr/lib/gatewayd-hostile";
/// Units as they are installed.
const UNITS: &str = "/usr/lib/systemd/system";
/// Fewer acts than this that are refused inside and succeed outside prove too little.
const ENOUGH: usize = 20;

pub(crate) fn run(report: &mut Report) -> Outcome<()> {
    let outside = outcomes("gatewayd-hostile-free", &free("network"))?;
    judge("gatewayd.service", "network", &outside, report)?;
    judge("gatewayd-profile.service", "profile", &outside, report)
}

/// Acts and what came of them: `refused`, `done`, or why it could not be tried.
type Acts = BTreeMap<String, String>;

fn judge(unit: &str, list: &str, outside: &Acts, report: &mut Report) -> Outcome<()> {
    let inside = outcomes(&format!("gatewayd-hostile-{list}"), &sandboxed(unit, list)?)?;
    let mut done = Vec::new();
    let mut proven = 0;
    say(&format!("      {unit}: act, inside, outside"));
    for (act, outcome) in &inside {
        let control = outside.get(act).map_or("not tried", String::as_str);
        say(&format!("      {act:<34} {outcome:<22} {control}"));
        if !outcome.starts_with("refused") {
            done.push(format!("{act}: {outcome}"));
        } else if control.starts_with("done") {
            proven += 1;
        }
    }
    let unproven = inside.len() - proven - done.len();
    let remark = format!(
        "{} of {} refused, {proven} of them succeed outside, {unproven} prove nothing here",
        inside.len() - done.len(),
        inside.len()
    );
    let outcome = match (done.is_empty(), proven >= ENOUGH) {
        (true, true) => Ok(remark),
        (true, false) => Err(format!("{remark}; {ENOUGH} are wanted")),
        (false, _) => Err(format!("{remark}; {}", done.join(", "))),
    };
    report.check(&format!("a hostile child in {unit}"), outcome);
    Ok(())
}

/// The unit, with another program that ends by itself.
fn sandboxed(unit: &str, list: &str) -> Outcome<String> {
    let text =
        std::fs::read_to_string(Path::new(UNITS).join(unit)).map_err(|error| format!("{unit}: {error}"))?;
    let other = [
        "ExecReload=",
        "Sockets=",
        "Restart=",
        "WatchdogSec=",
        "WatchdogSignal=",
        "PropagatesReloadTo=",
        "Wants=",
        "After=",
    ];
    let keep = |line: &&str| !other.iter().any(|it| line.starts_with(it));
    let lines = text.lines().filter(keep).map(|line| match line.split_once('=') {
        Some(("ExecStart", _)) => format!("ExecStart={PROGRAM} {list}"),
        Some(("Type", _)) => "Type=oneshot".to_owned(),
        _ => line.to_owned(),
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

fn free(list: &str) -> String {
    // The network list holds every act of the profiling service's list too.
    format!("[Service]\nType=oneshot\nExecStart={PROGRAM} {list} all\n")
}

fn outcomes(name: &str, unit: &str) -> Outcome<Acts> {
    let path = format!("/run/systemd/system/{name}.service");
    std::fs::write(&path, unit).map_err(|error| format!("{path}: {error}"))?;
    systemctl(&["daemon-reload"])?;
    let started = systemctl(&["start", name]);
    command("journalctl", &["--sync"])?;
    let said = command("journalctl", &["-q", "-o", "cat", "--no-pager", "-u", name])?;
    started.map_err(|error| format!("{error}\n{said}"))?;
    let acts = said.lines().filter_map(|line| line.strip_prefix("act: ")?.split_once(" = "));
    let acts: Acts = acts.map(|(act, outcome)| (act.to_owned(), outcome.to_owned())).collect();
    if acts.is_empty() { Err(format!("{name} said nothing: {said}")) } else { Ok(acts) }
}
