//! Restarts under load: whatever ends the daemon, the next process goes on where it was.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use gatewayd::control::{Answer, Request, Status};

use crate::Outcome;
use crate::field::Field;
use crate::host::{DAEMON, PROFILE, ask, kill, property, status, status_after, systemctl, wait_for};
use crate::load::Load;
use crate::report::{Report, say};

/// How a process is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// `systemctl restart`.
    Restart,
    /// The kernel, without a word.
    Kill,
    /// What the watchdog sends.
    Abort,
}

impl Way {
    const ALL: [Self; 3] = [Self::Restart, Self::Kill, Self::Abort];

    const fn name(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Kill => "kill",
            Self::Abort => "abort",
        }
    }

    /// Of ten, four restarts, four kills and two aborts, in no order that a period could hide in.
    fn of(number: u32) -> Self {
        match number.wrapping_mul(0x9E37_79B9).rotate_left(13) % 10 {
            0..4 => Self::Restart,
            4..8 => Self::Kill,
            _ => Self::Abort,
        }
    }

    fn carry_out(self) -> Outcome<()> {
        match self {
            Self::Restart => systemctl(&["restart", DAEMON]).map(drop),
            Self::Kill => kill(DAEMON, "SIGKILL"),
            Self::Abort => kill(DAEMON, "SIGABRT"),
        }
    }
}

/// What was lost, and how long it took.
#[derive(Default)]
struct Tally {
    gaps: Vec<(Way, Duration)>,
    lost: Vec<String>,
    campaigns: u64,
    /// ECUs that have taken blocks in the campaign under way: bytes seen, and erasures in their life by then.
    taken: BTreeMap<String, (u64, u64)>,
}

impl Tally {
    /// Looks at the ECUs. One that has taken a block keeps it, whatever happens to the daemon; one that was erased and
    /// has taken none may be erased again.
    fn look(&mut self, field: &Field) -> Outcome<()> {
        let Some(now) = status() else { return Ok(()) };
        for ecu in now.ecus.iter().filter(|it| it.stage == "TRANSFER" && it.done > 0) {
            let erasures = field.erasures(&ecu.serial)?;
            let (bytes, before) = self.taken.entry(ecu.serial.clone()).or_insert((ecu.done, erasures));
            if ecu.done < *bytes || erasures != *before {
                let (serial, done) = (&ecu.serial, ecu.done);
                self.lost.push(format!(
                    "{serial} went from {bytes} to {done} bytes, erased {before} and {erasures} times"
                ));
            }
            (*bytes, *before) = (ecu.done, erasures);
        }
        Ok(())
    }
}

/// The soak as a run of its own.
pub(crate) fn alone(count: u32, report: &mut Report) -> Outcome<()> {
    let mut field = Field::start(Path::new("/run/field"))?;
    systemctl(&["start", DAEMON, PROFILE])?;
    run(count, &mut field, report)
}

/// Restarts the running daemon `count` times.
pub(crate) fn run(count: u32, field: &mut Field, report: &mut Report) -> Outcome<()> {
    let load = Load::start(field)?;
    let mut tally = Tally::default();
    let mut before = wait_for("the daemon", status)?;
    wait_for("the first campaign", || (ask(&Request::Check) == Ok(Answer::Ok)).then_some(()))?;
    for number in 0..count {
        campaign(field, &mut tally)?;
        let way = Way::of(number);
        // A different point of whatever is under way each time.
        std::thread::sleep(Duration::from_millis(u64::from(number.wrapping_mul(7919) % 1200)));
        tally.look(field)?;
        // Each stands for a fault of its own: the back-off between faults in a row is another check's.
        systemctl(&["reset-failed", DAEMON])?;
        let began = Instant::now();
        way.carry_out()?;
        let after = status_after(before.pid)?;
        tally.gaps.push((way, began.elapsed()));
        compare(number, way, &before, &after, &mut tally.lost);
        tally.look(field)?;
        before = after;
        if (number + 1) % 100 == 0 {
            say(&format!(
                "      {} restarts, {} campaigns, {} lost",
                number + 1,
                tally.campaigns,
                tally.lost.len()
            ));
        }
    }
    wait_for("the last campaign", || finished(field).then_some(()))?;
    // What the outbox still holds goes out.
    wait_for("an empty outbox", || status().filter(|it| it.broker.connected && it.broker.waiting == 0))?;
    std::thread::sleep(Duration::from_millis(500));
    judge(count, field, load, tally, report)
}

/// Publishes the next campaign once the last is done, and asks for it.
fn campaign(field: &mut Field, tally: &mut Tally) -> Outcome<()> {
    if !finished(field) {
        return Ok(());
    }
    tally.campaigns += 1;
    verify(field, tally)?;
    field.publish()?;
    // A promise: whatever happens to the process that gave it.
    wait_for("a promise to look", || (ask(&Request::Check) == Ok(Answer::Ok)).then_some(()))?;
    Ok(())
}

fn finished(field: &Field) -> bool {
    let name = format!("campaign-{}", field.campaigns);
    status().and_then(|it| it.campaign).is_some_and(|it| it.campaign == name && it.state == "finished")
}

/// At the end of a campaign: the right software, and nothing erased after the first block.
fn verify(field: &Field, tally: &mut Tally) -> Outcome<()> {
    let taken = std::mem::take(&mut tally.taken);
    let ecus = Field::serials().zip(field.truths()?).zip(field.expected());
    for ((serial, truth), expected) in ecus {
        if truth != expected {
            let right = truth.flash == expected.flash;
            tally.lost.push(format!(
                "after campaign {} {serial} runs {} (image right: {right})",
                field.campaigns, truth.version
            ));
        }
        let erasures = field.erasures(serial)?;
        if let Some((bytes, before)) = taken.get(serial).filter(|(_, before)| *before != erasures) {
            tally
                .lost
                .push(format!("{serial} was erased after {bytes} bytes: {before} and {erasures} times"));
        }
    }
    Ok(())
}

/// What the journal and the fd store must have carried over.
fn compare(number: u32, way: Way, before: &Status, after: &Status, lost: &mut Vec<String>) {
    let mut wrong = |what: String| lost.push(format!("restart {number} ({}): {what}", way.name()));
    if after.boot != before.boot + 1 {
        wrong(format!("the journal counts start {} after {}", after.boot, before.boot));
    }
    if after.generation != before.generation + 1 {
        wrong(format!("generation {} after {}", after.generation, before.generation));
    }
    let name = |status: &Status| status.campaign.as_ref().map(|it| it.campaign.clone());
    if before.campaign.is_some() && after.campaign.is_none() {
        wrong(format!("campaign {:?} is forgotten", name(before)));
    }
    if let Some(ecu) = after.ecus.iter().find(|it| it.error.is_some()) {
        wrong(format!("{} failed: {:?}", ecu.serial, ecu.error));
    }
}

fn judge(count: u32, field: &Field, load: Load, mut tally: Tally, report: &mut Report) -> Outcome<()> {
    verify(field, &mut tally)?;
    let mut lost = std::mem::take(&mut tally.lost);
    let (questions, heard) = load.stop();
    let read = |it: &std::sync::atomic::AtomicU64| it.load(Ordering::Relaxed);
    let (refused, cut) = (read(&questions.refused), read(&questions.cut));
    let kills = tally.gaps.iter().filter(|(way, _)| *way != Way::Restart).count() as u64;
    if refused > 0 {
        lost.push(format!("{refused} connections to the control socket were refused"));
    }
    if read(&questions.late) > 0 || read(&questions.sorry) > 0 {
        lost.push(format!(
            "{} answers came late, {} were apologies",
            read(&questions.late),
            read(&questions.sorry)
        ));
    }
    // A kill in the middle of a conversation cuts it, one of each client at most.
    if cut > kills * 3 {
        lost.push(format!("{cut} conversations were cut by {kills} kills"));
    }
    if heard.holes() > 0 {
        lost.push(format!("{} events are missing between others", heard.holes()));
    }
    if !heard.refused.is_empty() {
        lost.push(format!(
            "{} messages cannot be read, first {:?}",
            heard.refused.len(),
            heard.refused.first()
        ));
    }
    let kept = property(DAEMON, "NFileDescriptorStore")?;
    if kept != "2" {
        lost.push(format!("{kept} descriptors in the store instead of 2"));
    }
    let again: u64 =
        Field::serials().map(|it| field.erasures(it)).sum::<Outcome<u64>>()? - 2 * field.campaigns;
    say(&format!("      {again} erasures were repeated, none of them after a block was seen to be taken"));
    say(&format!(
        "      {} questions answered, {refused} refused, {cut} cut by {kills} kills; {} events, {} telemetry blocks; \
         {} campaigns to 2 ECUs",
        read(&questions.answered),
        heard.events.values().map(std::collections::BTreeSet::len).sum::<usize>(),
        heard.windows,
        field.campaigns,
    ));
    for line in lost.iter().take(20) {
        say(&format!("      lost: {line}"));
    }
    figures(&tally, read(&questions.longest_us), report);
    report.figure("soak_restarts", f64::from(count), "restarts", None);
    report.figure("soak_lost", lost.len() as f64, "states", Some(("<=", 0.0)));
    let remark = format!("{} campaigns finished meanwhile", tally.campaigns);
    let outcome = if lost.is_empty() { Ok(remark) } else { Err(format!("{} losses", lost.len())) };
    report.check(&format!("{count} restarts under load lose nothing"), outcome);
    Ok(())
}

fn figures(tally: &Tally, longest_us: u64, report: &mut Report) {
    let mut all: Vec<Duration> = tally.gaps.iter().map(|(_, gap)| *gap).collect();
    gap("restart_gap", &mut all, report);
    for way in Way::ALL {
        let mut of: Vec<Duration> =
            tally.gaps.iter().filter(|(it, _)| *it == way).map(|(_, gap)| *gap).collect();
        gap(&format!("restart_gap_{}", way.name()), &mut of, report);
    }
    report.figure("control_longest_wait", longest_us as f64 / 1000.0, "ms", None);
}

fn gap(name: &str, gaps: &mut [Duration], report: &mut Report) {
    gaps.sort_unstable();
    for (percentile, suffix) in [(50, "p50"), (99, "p99")] {
        let at = (gaps.len() * percentile).div_ceil(100).saturating_sub(1);
        if let Some(gap) = gaps.get(at) {
            report.figure(&format!("{name}_{suffix}"), gap.as_secs_f64() * 1000.0, "ms", None);
        }
    }
}
