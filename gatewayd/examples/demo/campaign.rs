//! One start of the demo, from the command line to the report.

use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use gateway_cloud::subscribe::{Options, Output, Subscriber};
use gateway_sim::broker::SimBroker;
use tokio::sync::{mpsc, watch};

use crate::args::Args;
use crate::children::{self, Notice, Program, Supervised};
use crate::cloud::{self, Origin};
use crate::config::{self, Sockets, Wiring};
use crate::failure::{Failure, Outcome};
use crate::field::Field;
use crate::link::{self, Commander, Heard};
use crate::monitor::Monitor;
use crate::outcome::{self, Judged};
use crate::state::{Home, Spoiled, State};
use crate::units::percent;
use crate::vehicle::ECUS;
use crate::view::View;
use crate::{plan, summary};

/// Between two looks at daemon and buses.
const TICK: Duration = Duration::from_millis(125);
/// Between two writes of the files that the report is made from.
const FLUSH: Duration = Duration::from_secs(2);
/// Between two announcements that the vehicle has not followed yet.
const ANNOUNCE: Duration = Duration::from_secs(10);
/// How long nothing may move.
const STALL: Duration = Duration::from_secs(60);
/// How long the last events and the first telemetry may take after the campaign's end.
const GRACE: Duration = Duration::from_secs(15);

/// Everything that a campaign needs around it. Fields end in this order: daemons before what they talk to.
struct Scene {
    profiler: Supervised,
    daemon: Supervised,
    field: Field,
    origin: Origin,
    commander: Commander,
    subscriber: Subscriber,
    output: Output,
    notices: mpsc::UnboundedReceiver<Notice>,
    heard: watch::Receiver<Heard>,
}

/// Runs or goes on with a campaign and judges it.
pub(crate) async fn run(args: &Args, view: &mut View) -> Outcome<()> {
    let home = Home::open(&args.dir)?;
    let mut state = plan::choose(args, &home, view)?;
    let broker = match &args.broker {
        Some(url) => url.clone(),
        None => SimBroker::start().map_err(Failure::of("the embedded broker; try --broker"))?.url(),
    };
    let client_id = format!("gatewayd-demo-{}-events", std::process::id());
    let subscriber = Subscriber::connect(Options::new(&broker, &client_id))
        .await
        .map_err(|error| Failure::new(error.to_string()))?;
    if !state.published {
        state.spoiled = publish(&home.dir, &state, view).await?;
        state.published = true;
    }
    home.save(&state)?;
    let mut monitor = Monitor::new(Instant::now(), &home.dir);
    let mut scene = raise(&home.dir, &state, &broker, subscriber, view).await?;
    watch(&mut scene, &home.dir, &state, &mut monitor, view).await?;

    let fetched = scene.origin.statistics.snapshot().body_bytes;
    let Scene { profiler, daemon, field, origin, subscriber, output, .. } = scene;
    let stopped = blocking(move || (profiler.stop(), daemon.stop())).await?.1;
    let truths = blocking(move || field.stop()).await??;
    subscriber.close().await;
    origin.stop().await;
    drop(output);
    state.finished = true;
    home.save(&state)?;

    view.show(Instant::now(), &state, &monitor, true);
    view.leave();
    let judged = outcome::judge(&state, &monitor, &truths)?;
    for line in summary::table(&state, &monitor, &judged, fetched) {
        view.print(&line);
    }
    let page = summary::write(&home.dir, &state, &monitor, &judged, fetched)?;
    view.print(&format!("report        {}", page.display()));
    verdict(&monitor, &judged, stopped).map(|line| view.print(&line))
}

/// Publishes in a thread that may block, and shows how far it is.
async fn publish(dir: &Path, state: &State, view: &mut View) -> Outcome<Vec<Spoiled>> {
    let began = Instant::now();
    let (sender, mut progress) = watch::channel((String::new(), 0, 0));
    let (dir, state) = (dir.to_owned(), state.clone());
    let work = tokio::task::spawn_blocking(move || {
        cloud::publish(&dir, &state, &mut |it| {
            sender.send_replace((it.target.to_string(), it.done, it.total));
        })
    });
    let mut tick = tokio::time::interval(TICK);
    // The sender goes with the thread that publishes.
    while progress.has_changed().is_ok() {
        tick.tick().await;
        let (target, done, total) = progress.borrow_and_update().clone();
        if total > 0 {
            view.publishing(&target, done, total);
        }
    }
    let spoiled = work.await.map_err(Failure::of("publication"))??;
    view.print(&format!(
        "published     {} images, signed by Ed25519 and SM2, in {:.1} s",
        ECUS.len(),
        began.elapsed().as_secs_f64()
    ));
    Ok(spoiled)
}

/// Raises everything around the daemon, then the daemon.
async fn raise(
    dir: &Path,
    state: &State,
    broker: &str,
    subscriber: Subscriber,
    view: &mut View,
) -> Outcome<Scene> {
    let binary = children::binary()?;
    let output = Output::open(dir).map_err(Failure::of("events"))?;
    let origin = Origin::start(dir, &state.spoiled).await?;
    let sockets = Sockets::below(dir)?;
    let field = Field::start(dir, &sockets, state)?;
    let wiring = Wiring { dir, sockets: &sockets, origin: &origin.url, broker };
    let config = config::write(&wiring, state)?;
    let commander = Commander::start(broker)?;
    let setpriv = children::has_setpriv();
    if !setpriv {
        view.print("no setpriv (util-linux) here: if this demo is killed, stop gatewayd by hand");
    }
    view.print(&format!("origin        {} (HTTP/3, HTTP/2)", origin.url));
    view.print(&format!("broker        {broker}"));
    view.print(&format!("log           {}", dir.join("gatewayd.log").display()));
    let (notify, notices) = mpsc::unbounded_channel();
    let program = |name, subcommand, log: &str| Program {
        name,
        binary: binary.clone(),
        subcommand,
        config: config.clone(),
        log: dir.join(log),
        setpriv,
    };
    let daemon = Supervised::start(program("gatewayd", "run", "gatewayd.log"), notify.clone())?;
    let profiler = Supervised::start(program("profiler", "profile", "profile.log"), notify)?;
    let heard = link::poll_status(sockets.control);
    Ok(Scene { profiler, daemon, field, origin, commander, subscriber, output, notices, heard })
}

/// Looks on until the campaign is over.
async fn watch(
    scene: &mut Scene,
    dir: &Path,
    state: &State,
    monitor: &mut Monitor,
    view: &mut View,
) -> Outcome<()> {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut flushed = Instant::now();
    let mut announced: Option<Instant> = None;
    let mut finished: Option<Instant> = None;
    loop {
        tokio::select! {
            message = scene.subscriber.recv() => {
                let message = message.ok_or_else(|| Failure::new("the subscription has ended; is the broker alive?"))?;
                if monitor.handle_message(Instant::now(), &message) {
                    scene.output.write(&message).map_err(Failure::of("events"))?;
                }
            }
            Some(notice) = scene.notices.recv() => monitor.handle_notice(Instant::now(), notice),
            _ = tick.tick() => {}
        }
        let now = Instant::now();
        let heard = scene.heard.borrow_and_update().clone();
        monitor.handle_heard(now, heard);
        monitor.handle_buses(&scene.field.statistics());
        monitor.telemetry.bytes = scene.commander.telemetry_bytes();
        view.show(now, state, monitor, false);
        if now.saturating_duration_since(flushed) >= FLUSH {
            scene.output.flush().map_err(Failure::of("events"))?;
            flushed = now;
        }
        if let Some(why) = &monitor.given_up {
            return Err(Failure::new(format!("{why}: {}", dir.join("gatewayd.log").display())));
        }
        let knows = campaign_state(state, monitor);
        if monitor.online
            && knows == Some(None)
            && announced.is_none_or(|it| now.saturating_duration_since(it) >= ANNOUNCE)
        {
            scene.commander.announce(state.trace);
            monitor.say("told the vehicle to look for a campaign, on ota/command");
            announced = Some(now);
        }
        if knows == Some(Some("finished".to_owned())) {
            let since = *finished.get_or_insert(now);
            let complete =
                monitor.end().is_some() && monitor.telemetry.windows > 0 && monitor.telemetry.bytes > 0;
            if complete || now.saturating_duration_since(since) >= GRACE {
                scene.output.flush().map_err(Failure::of("events"))?;
                return Ok(());
            }
        }
        if now.saturating_duration_since(monitor.moved) >= STALL {
            return Err(Failure::new(format!(
                "nothing has moved for {} s: {}; see {}",
                STALL.as_secs(),
                waiting_for(state, monitor),
                dir.join("gatewayd.log").display()
            )));
        }
    }
}

/// What the daemon says of our campaign: nothing while it does not answer, `None` in it where it knows another one or
/// none.
fn campaign_state(state: &State, monitor: &Monitor) -> Option<Option<String>> {
    let status = monitor.heard.status.as_ref()?;
    let ours = status.campaign.as_ref().filter(|it| it.ota_trace_id == state.trace.to_string());
    Some(ours.map(|it| it.state.clone()))
}

fn waiting_for(state: &State, monitor: &Monitor) -> String {
    match campaign_state(state, monitor) {
        None => "gatewayd does not answer on its control socket".to_owned(),
        Some(None) if !monitor.online => "the vehicle does not come online at the broker".to_owned(),
        Some(None) => "the vehicle does not take the campaign".to_owned(),
        Some(Some(_)) => {
            let open = ECUS.iter().zip(&monitor.ecus);
            let open = open.filter(|(_, it)| !matches!(it.stage.as_str(), "DONE" | "FAILED"));
            let open = open
                .map(|(spec, it)| format!("{} is in {} at {}", spec.serial, it.stage, percent(it.share())));
            open.collect::<Vec<_>>().join(", ")
        }
    }
}

/// The last word.
fn verdict(monitor: &Monitor, judged: &[Judged], stopped: Option<ExitStatus>) -> Outcome<String> {
    let mut problems: Vec<String> = judged
        .iter()
        .flat_map(|it| it.problems.iter().map(|problem| format!("{}: {problem}", it.spec.serial)))
        .collect();
    if monitor.end().is_none() {
        problems.push("no REPORT event arrived over MQTT".to_owned());
    }
    if monitor.telemetry.windows == 0 {
        problems.push("no telemetry arrived".to_owned());
    }
    if !stopped.is_some_and(|it| it.success()) {
        let how = stopped.map_or_else(|| "did not run".to_owned(), |it| it.to_string());
        problems.push(format!("gatewayd did not stop cleanly ({how})"));
    }
    if !problems.is_empty() {
        return Err(Failure::new(format!("not what was expected: {}", problems.join("; "))));
    }
    let kept = judged.iter().filter(|it| it.spoiled.is_some()).map(|it| it.spec.serial).collect::<Vec<_>>();
    let updated = judged.len() - kept.len();
    Ok(if kept.is_empty() {
        format!("all {updated} ECUs run their new software, equal to its source byte for byte")
    } else {
        format!(
            "{updated} ECUs run their new software; {} kept the old one untouched, as it had to",
            kept.join(" and ")
        )
    })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Outcome<T> {
    tokio::task::spawn_blocking(work).await.map_err(Failure::of("a thread of the demo"))
}
