//! The life of the services, one step after the other.

use std::path::Path;
use std::time::Duration;

use gatewayd::control::{Answer, Request};

use crate::Outcome;
use crate::field::Field;
use crate::host::{
    CONFIG, DAEMON, PROFILE, ask, journal, kill, property, run as command, status, status_after, systemctl,
    timed, wait_for,
};
use crate::report::{Report, say};
use crate::{acts, soak};

pub(crate) fn run(restarts: u32, report: &mut Report) -> Outcome<()> {
    let mut field = Field::start(Path::new("/run/field"))?;
    let began = std::time::Instant::now();
    start(report)?;
    reload(report)?;
    report.check("a promise to look outlives a kill", promise());
    report.check("a client that connects while the daemon restarts is answered", restarts_with_clients());
    report.check("a hung loop is ended by the watchdog", hang(DAEMON));
    report.check("so is a hung sampling loop", hang(PROFILE));
    report.check("a profiling service that is dead costs nothing", without_profiler());
    report.check("after a crash a broken file does not end the daemon", crash_with_broken_file());
    report.check("exit 78 is not started again, and says why", bad_configuration());
    report.check("a stop is clean and lasts", stop());
    systemctl(&["start", DAEMON, PROFILE])?;
    soak::run(restarts, &mut field, report)?;
    acts::run(report)?;
    report.check("the journal holds no error", errors());
    say(&format!("      in {:.1} s", began.elapsed().as_secs_f64()));
    Ok(())
}

fn milliseconds(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

fn start(report: &mut Report) -> Outcome<()> {
    let (_, took) = timed(|| systemctl(&["start", DAEMON]))?;
    let answer = status().ok_or("no answer after READY");
    report.check("start to READY", answer.map(|it| format!("pid {}", it.pid)).map_err(str::to_owned));
    report.figure("start_to_ready", milliseconds(took), "ms", Some(("<=", 2000.0)));
    systemctl(&["start", PROFILE])?;
    let connected =
        wait_for("the profiling service", || status().filter(|it| it.profiler.starts_with("connected,")));
    report.check("the profiling service hands its samples over", connected.map(|it| it.profiler));
    Ok(())
}

fn edit(change: impl FnOnce(&str) -> String) -> Outcome<String> {
    let before = std::fs::read_to_string(CONFIG).map_err(|error| error.to_string())?;
    std::fs::write(CONFIG, change(&before)).map_err(|error| error.to_string())?;
    Ok(before)
}

fn reload(report: &mut Report) -> Outcome<()> {
    let before = edit(|text| {
        let text = text.replace("poll_interval = \"1h\"", "poll_interval = \"2h\"");
        text.replace("quota = \"64MiB\"", "quota = \"65MiB\"").replace("window = \"1s\"", "window = \"2s\"")
    })?;
    let pid = status().map(|it| it.pid);
    let (_, took) = timed(|| systemctl(&["reload", DAEMON]))?;
    report.figure("reload", milliseconds(took), "ms", Some(("<=", 1000.0)));
    let line = property(DAEMON, "StatusText")?;
    let told = line.contains("cloud.poll_interval") && line.contains("needs a restart: state.quota");
    let asked =
        status().is_some_and(|it| Some(it.pid) == pid && it.configuration.needs_restart == ["state.quota"]);
    report.check(
        "a reload takes over what it can and names the rest",
        if told && asked { Ok(line) } else { Err(line) },
    );
    // The service manager passes it on, and does not wait for that.
    let taken = wait_for("a reload of the profiling service", || {
        journal(PROFILE).ok().filter(|it| it.contains("configuration reloaded"))
    });
    report.check("it reaches the profiling service", taken.map(|_| String::new()));

    edit(|text| text.replace("[mqtt]", "[mqtt]\nno_such_key = 1"))?;
    let refused = systemctl(&["reload", DAEMON]).is_err();
    let line = wait_for("the refusal", || {
        property(DAEMON, "StatusText")
            .ok()
            .filter(|it| it.contains("reload refused") && it.contains("no_such_key"))
    });
    let same = status().is_some_and(|it| Some(it.pid) == pid && it.configuration.refused.is_some());
    let active = property(DAEMON, "ActiveState")? == "active";
    report.check(
        "a broken file is refused, and the reload fails",
        line.and_then(|it| match (refused, same, active) {
            (true, true, true) => Ok(it),
            other => Err(format!("failed, same process, active: {other:?}; {it}")),
        }),
    );
    std::fs::write(CONFIG, before).map_err(|error| error.to_string())?;
    systemctl(&["reload", DAEMON])?;
    let mended = status()
        .is_some_and(|it| it.configuration.refused.is_none() && it.configuration.needs_restart.is_empty());
    report.check(
        "a mended file is taken",
        if mended { Ok(String::new()) } else { Err(format!("{:?}", status())) },
    );
    Ok(())
}

/// Asks for a look and kills the daemon before it can have looked.
fn promise() -> Outcome<String> {
    for attempt in 1..=5 {
        let pid = status().ok_or("no status")?.pid;
        systemctl(&["reset-failed", DAEMON])?;
        if ask(&Request::Check) != Ok(Answer::Ok) {
            return Err("no promise".to_owned());
        }
        kill(DAEMON, "SIGKILL")?;
        status_after(pid)?;
        if journal(DAEMON)?.contains("was promised before the restart") {
            let done = wait_for("the first campaign to finish", || {
                status()?.campaign.filter(|it| it.state == "finished")
            })?;
            return Ok(format!("attempt {attempt}, {} followed", done.campaign));
        }
    }
    Err("five times it looked faster than it could be killed".to_owned())
}

fn restarts_with_clients() -> Outcome<String> {
    let mut longest = Duration::ZERO;
    for _ in 0..3 {
        let before = status().ok_or("no status")?;
        let restart = std::thread::spawn(|| systemctl(&["restart", DAEMON]));
        let mut asked = 0;
        while !restart.is_finished() {
            let (_, took) =
                timed(|| ask(&Request::Status).map_err(|miss| format!("question {asked}: {miss:?}")))?;
            longest = longest.max(took);
            asked += 1;
        }
        restart.join().map_err(|_| "a thread panicked")??;
        let after = status_after(before.pid)?;
        if (after.boot, after.generation) != (before.boot + 1, before.generation + 1) {
            return Err(format!(
                "start {} after {}, generation {} after {}",
                after.boot, before.boot, after.generation, before.generation
            ));
        }
    }
    Ok(format!("longest wait {:.0} ms", milliseconds(longest)))
}

fn hang(unit: &str) -> Outcome<String> {
    let before = property(unit, "MainPID")?;
    let earlier = status().ok_or("no status")?;
    kill(unit, "SIGSTOP")?;
    let (after, took) = timed(|| {
        wait_for("the watchdog", || {
            let pid = property(unit, "MainPID").ok()?;
            let active = property(unit, "ActiveState").ok()? == "active";
            (active && pid != before && pid != "0").then_some(pid)
        })
    })?;
    command("journalctl", &["--sync"])?;
    let said = command("journalctl", &["-q", "-o", "cat", "--no-pager", "-u", unit])?;
    if !said.contains("Watchdog timeout") {
        return Err("it was restarted, and not by the watchdog".to_owned());
    }
    let later = wait_for("the daemon", status)?;
    let expected = earlier.generation + u64::from(unit == DAEMON);
    if later.generation != expected {
        return Err(format!("generation {} instead of {expected}", later.generation));
    }
    Ok(format!("process {before} gave way to {after} after {:.1} s", took.as_secs_f64()))
}

fn without_profiler() -> Outcome<String> {
    systemctl(&["kill", "--signal=SIGKILL", PROFILE])?;
    wait_for("it to come back", || status().filter(|it| it.profiler.starts_with("connected")))?;
    systemctl(&["stop", PROFILE])?;
    let said = wait_for("the daemon to notice", || status().filter(|it| it.profiler == "not connected"))?;
    // It is not there to be reloaded with the daemon.
    systemctl(&["reload", DAEMON])?;
    let active = property(DAEMON, "ActiveState")?;
    systemctl(&["start", PROFILE])?;
    if active == "active" { Ok(said.profiler) } else { Err(format!("the daemon is {active}")) }
}

fn crash_with_broken_file() -> Outcome<String> {
    let before = edit(|text| text.replace("[mqtt]", "[mqtt"))?;
    let pid = status().ok_or("no status")?.pid;
    kill(DAEMON, "SIGKILL")?;
    let after = status_after(pid);
    std::fs::write(CONFIG, before).map_err(|error| error.to_string())?;
    let after = after?;
    systemctl(&["reload", DAEMON])?;
    let line = property(DAEMON, "StatusText")?;
    let mended = status().is_some_and(|it| !it.configuration.fallback);
    match (after.configuration.fallback, mended) {
        (true, true) => Ok(format!("and the mended file: {line}")),
        other => Err(format!("fell back, mended: {other:?}; {line}")),
    }
}

fn bad_configuration() -> Outcome<String> {
    let before = edit(|text| text.replace("[mqtt]", "[mqtt"))?;
    systemctl(&["reset-failed", DAEMON])?;
    let refused = systemctl(&["restart", DAEMON]).is_err();
    let status = wait_for("the end", || property(DAEMON, "ExecMainStatus").ok().filter(|it| it == "78"))?;
    // Somebody who asks is told why, and starts nothing that could not start before.
    let answer = ask(&Request::Status);
    std::thread::sleep(Duration::from_millis(500));
    let restarts = property(DAEMON, "NRestarts")?;
    let state = property(DAEMON, "ActiveState")?;
    std::fs::write(CONFIG, before).map_err(|error| error.to_string())?;
    systemctl(&["reset-failed", DAEMON])?;
    systemctl(&["start", DAEMON])?;
    match (&answer, refused, restarts.as_str(), state.as_str()) {
        (Ok(Answer::Error { message }), true, "0", "failed") => Ok(format!("exit {status}; {message}")),
        other => Err(format!("{other:?}")),
    }
}

fn stop() -> Outcome<String> {
    let (_, took) = timed(|| systemctl(&["stop", "gatewayd.socket", DAEMON]))?;
    let result = property(DAEMON, "Result")?;
    let code = property(DAEMON, "ExecMainStatus")?;
    // The profiling service tries to connect meanwhile.
    std::thread::sleep(Duration::from_millis(1500));
    let state = property(DAEMON, "ActiveState")?;
    let socket = property("gatewayd.socket", "ActiveState")?;
    match (result.as_str(), code.as_str(), state.as_str(), socket.as_str()) {
        ("success", "0", "inactive", "inactive") => Ok(format!("{:.0} ms", milliseconds(took))),
        other => Err(format!("{other:?}")),
    }
}

/// Errors in the journal that no check above provoked.
fn errors() -> Outcome<String> {
    let provoked = [
        "reload refused",
        "cannot be used",
        "no_such_key",
        "CFG-00",
        "Watchdog timeout",
        "Main process exited",
        "Failed with result",
        "Failed to start",
        "Reload failed",
        "Control process exited",
        "Killing process",
    ];
    let units = [DAEMON, PROFILE, "gatewayd.socket"];
    let mut found = Vec::new();
    for unit in units {
        let said = command("journalctl", &["-q", "-o", "cat", "--no-pager", "-p", "warning", "-u", unit])?;
        found.extend(said.lines().map(str::to_owned));
        let own = journal(unit)?;
        found.extend(
            own.lines().filter(|it| it.contains("ERROR") || it.contains("panicked")).map(str::to_owned),
        );
    }
    found.retain(|line| !line.is_empty() && !provoked.iter().any(|it| line.contains(it)));
    found.sort();
    found.dedup();
    if found.is_empty() { Ok(String::new()) } else { Err(found.join(" | ")) }
}
