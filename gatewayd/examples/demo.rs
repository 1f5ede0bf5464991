//! The whole product in one terminal: a published file becomes programmed ECUs, with the real gatewayd in the middle.
//!
//! In this process: the cloud, an MQTT broker, two CAN FD buses and three simulated ECUs. Beside it, as child
//! processes: `gatewayd run` and `gatewayd profile`, the same binaries that go into a vehicle. Exit codes: 0 everything
//! expected happened, 1 something else did, 64 usage, 66 a package cannot be used, 130 stopped by a signal.
#![forbid(unsafe_code)]

#[path = "demo/args.rs"]
mod args;
#[path = "demo/campaign.rs"]
mod campaign;
#[path = "demo/children.rs"]
mod children;
#[path = "demo/cloud.rs"]
mod cloud;
#[path = "demo/config.rs"]
mod config;
#[path = "demo/failure.rs"]
mod failure;
#[path = "demo/field.rs"]
mod field;
#[path = "demo/link.rs"]
mod link;
#[path = "demo/monitor.rs"]
mod monitor;
#[path = "demo/outcome.rs"]
mod outcome;
#[path = "demo/plan.rs"]
mod plan;
#[path = "demo/state.rs"]
mod state;
#[path = "demo/summary.rs"]
mod summary;
#[path = "demo/track.rs"]
mod track;
#[path = "demo/units.rs"]
mod units;
#[path = "demo/vehicle.rs"]
mod vehicle;
#[path = "demo/view.rs"]
mod view;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Args;
use crate::failure::{Failure, Outcome};
use crate::view::View;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help is an answer, not an error.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("demo: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(&args));
    // A publication under way may still hold a thread; it is of no use any more.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message }) => {
            eprintln!("demo: {message}");
            ExitCode::from(code)
        }
    }
}

async fn run(args: &Args) -> Outcome<()> {
    args.check()?;
    let mut view = View::new();
    let outcome = tokio::select! {
        outcome = campaign::run(args, &mut view) => outcome,
        stopped = stop() => stopped.and_then(|()| Err(Failure::interrupted())),
    };
    view.leave();
    outcome
}

/// Done on SIGINT, SIGTERM or SIGHUP.
async fn stop() -> Outcome<()> {
    let listen = |kind| signal(kind).map_err(Failure::of("cannot listen to signals"));
    let (mut interrupt, mut terminate, mut hang_up) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    Ok(())
}
