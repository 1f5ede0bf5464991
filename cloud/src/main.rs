#![forbid(unsafe_code)]
//! `gateway-cloud`: the cloud side of gatewayd in one binary. Exit codes: 0 done, 1 failed, 64 usage.

mod cli;

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::{CommandFactory, Parser};
use cli::{Cli, Command, PublishCommand, ServeArgs, SubscribeArgs};
use gateway_cloud::certs::CertificateFiles;
use gateway_cloud::export::prometheus::{Endpoint, RemoteWrite, Scrape};
use gateway_cloud::publish::{self, KeyRing, Progress};
use gateway_cloud::serve::{Config, Limits, Server};
use gateway_cloud::subscribe::{Message, Output, Subscriber};
use gateway_cloud::{certs, report};
use ota::uptane::UtcTime;

/// `EX_USAGE` of sysexits(3).
const USAGE: u8 = 64;

/// How often files of a running subscription are brought up to date.
const FLUSH: Duration = Duration::from_secs(2);

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not errors.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("GATEWAY_CLOUD_LOG");
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter.unwrap_or_else(|_| "gateway_cloud=info".into()))
        .init();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gateway-cloud: {error}");
            let mut source = error.source();
            while let Some(error) = source {
                eprintln!("  because: {error}");
                source = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Publish(PublishCommand::Keys(args)) => {
            KeyRing::create(&args.keys)?;
            println!("keys in {}", args.keys.display());
            let files = certs::issue(&args.certs, &args.name, certs::DEFAULT_VALIDITY)?;
            println!("certificates for {} in {}", args.name.join(", "), args.certs.display());
            println!("give a gateway {} and {}", files.ca.display(), files.gateway.display());
            let files = certs::issue_sm(&args.certs, &args.name, certs::DEFAULT_VALIDITY)?;
            println!("or, for SM suites, {} and {}", files.ca.display(), files.gateway.display());
            Ok(())
        }
        Command::Publish(PublishCommand::Campaign(args)) => publish_campaign(&args),
        Command::Serve(args) => runtime()?.block_on(serve(args)),
        Command::Subscribe(args) => runtime()?.block_on(subscribe(*args)),
        Command::Report { dir, vehicle } => {
            println!("{}", report::write(&dir, vehicle.as_deref())?.display());
            Ok(())
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "gateway-cloud", &mut std::io::stdout());
            Ok(())
        }
        Command::Man { dir } => Ok(clap_mangen::generate_to(Cli::command(), dir)?),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

fn publish_campaign(args: &cli::CampaignArgs) -> Outcome {
    let campaign = args.campaign()?;
    let keys = KeyRing::load(&args.keys)?;
    let now = UtcTime::from_unix(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs());
    let mut shown = None;
    let terminal = std::io::stderr().is_terminal();
    let published = publish::publish(&args.root, &keys, &campaign, &args.expiry(), now, &mut |progress| {
        if terminal {
            show(&progress, &mut shown);
        }
    })?;
    for target in &published.targets {
        println!(
            "{} for {}: {} bytes, {}",
            target.name, target.ecu_serial, target.target.length, target.path
        );
    }
    println!(
        "campaign {} ({}): director version {}, image version {}",
        campaign.campaign, campaign.trace_id, published.director_version, published.image_version
    );
    Ok(())
}

/// Redraws the progress line, ten times a second at most.
fn show(progress: &Progress<'_>, shown: &mut Option<Instant>) {
    let end = progress.done == progress.total;
    if !end && shown.is_some_and(|it| it.elapsed() < Duration::from_millis(100)) {
        return;
    }
    *shown = Some(Instant::now());
    let mebibytes = |bytes: u64| bytes >> 20;
    eprint!(
        "\r{}: {} of {} MiB, {} %\x1b[K{}",
        progress.target,
        mebibytes(progress.done),
        mebibytes(progress.total),
        u128::from(progress.done) * 100 / u128::from(progress.total.max(1)),
        if end { "\n" } else { "" }
    );
    let _ = std::io::stderr().flush();
}

async fn serve(args: ServeArgs) -> Outcome {
    let server = Server::bind(Config {
        root: args.root.clone(),
        addr: args.listen,
        suites: args.suites,
        international: Some(CertificateFiles::below(&args.certs).into()),
        sm: Some(CertificateFiles::sm_below(&args.certs).into()),
        limits: Limits::default(),
        faults: Default::default(),
    })
    .await?;
    println!(
        "serving {} at https://{} (HTTP/3 and HTTP/2, suites {})",
        args.root.display(),
        server.local_addr(),
        args.suites
    );
    let statistics = server.statistics();
    server.run(stop()).await;
    println!("{}", serde_json::to_string(&statistics.snapshot())?);
    Ok(())
}

async fn subscribe(args: SubscribeArgs) -> Outcome {
    let mut output = Output::open(&args.out)?.with_formats(&args.format);
    if let Some(dir) = &args.debug_dir {
        output = output.with_debug_dir(dir);
    }
    if let Some(url) = &args.remote_write {
        output = output.with_remote_write(RemoteWrite::start(Endpoint::parse(url)?));
    }
    let scrape = match args.scrape {
        Some(address) => Some(Scrape::bind(address, output.registry()).await?),
        None => None,
    };
    if let Some(scrape) = &scrape {
        println!("metrics at http://{}/metrics", scrape.local_addr());
    }
    let mut subscriber = Subscriber::connect(args.options()?).await?;
    println!("listening to {}, writing to {}", args.broker, args.out.display());
    let mut flush = tokio::time::interval(FLUSH);
    let stop = stop();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            _ = flush.tick() => output.flush()?,
            message = subscriber.recv() => match message {
                Some(message) => {
                    if let Message::Disconnected { reason } = &message {
                        tracing::warn!(reason, "connection to the broker broke, connecting again");
                    }
                    if let Message::Failed { reason } = message {
                        output.flush()?;
                        return Err(reason.into());
                    }
                    output.write(&message)?;
                }
                None => break,
            }
        }
    }
    println!("{} duplicate blocks dropped", subscriber.duplicates());
    subscriber.close().await;
    output.finish(FLUSH).await?;
    Ok(())
}

/// Done on SIGINT or SIGTERM.
async fn stop() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! { _ = tokio::signal::ctrl_c() => {}, _ = terminate.recv() => {} }
        }
        // Without a handler the signal's default holds, which ends the process too.
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}
