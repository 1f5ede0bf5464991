//! The coprocessor's emulator as a program, for whoever has no coprocessor.
//!
//! `cargo run --release -p crypto-offload --features emulator --example sm-crypto-emulator -- /run/sm-crypto.socket \
//!  --latency 10us --bandwidth 400MB/s --fault 100=die --fault 200=drop`
//!
//! Speaks the interface of `DEVICE.md` over a Unix stream socket; `crypto.device = "socket:/run/sm-crypto.socket"` in
//! the daemon's configuration uses it. `--fault N=KIND` has request number N, counted from 0 over all connections,
//! meet a fault: fail, wrong-tag, wrong-answer, short-write, reorder, drop, stall, die, die-in-reply, garble,
//! wrong-id, degraded, forget-keys.

use std::error::Error;
use std::io::ErrorKind;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use crypto_offload::device::emulator::{Emulator, EmulatorFault, Model};

type Fallible<T> = Result<T, Box<dyn Error>>;

fn main() -> Fallible<()> {
    let Some((path, model, faults)) = arguments(std::env::args().skip(1))? else {
        eprintln!("sm-crypto-emulator SOCKET [--latency 10us] [--bandwidth 400MB/s] [--fault N=KIND]...");
        std::process::exit(64);
    };
    let mut emulator = Emulator::new(model)?;
    for (number, fault) in faults {
        emulator.order(number, fault);
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    println!("listening on {path}");
    // One connection at a time: a device has one driver.
    for stream in listener.incoming() {
        if let Err(error) = emulator.serve(&stream?) {
            eprintln!("connection ended: {error}");
        }
    }
    Ok(())
}

type Arguments = (String, Model, Vec<(u64, EmulatorFault)>);

fn arguments(mut words: impl Iterator<Item = String>) -> Fallible<Option<Arguments>> {
    let Some(path) = words.next() else { return Ok(None) };
    let (mut model, mut faults) = (Model::default(), Vec::new());
    while let Some(option) = words.next() {
        let value = words.next().unwrap_or_default();
        match option.as_str() {
            "--latency" => {
                let micros = value.strip_suffix("us").ok_or("a latency is written like 10us")?;
                model.latency = Duration::from_micros(micros.parse()?);
            }
            "--bandwidth" => {
                let mega = value.strip_suffix("MB/s").ok_or("a bandwidth is written like 400MB/s")?;
                model.bytes_per_second = mega.parse::<u64>()?.max(1).saturating_mul(1_000_000);
            }
            "--fault" => {
                let (number, kind) = value.split_once('=').ok_or("a fault is written like 100=die")?;
                faults.push((number.parse()?, fault(kind)?));
            }
            _ => return Ok(None),
        }
    }
    Ok(Some((path, model, faults)))
}

fn fault(kind: &str) -> Fallible<EmulatorFault> {
    Ok(match kind {
        "fail" => EmulatorFault::Fail,
        "wrong-tag" => EmulatorFault::WrongTag,
        "wrong-answer" => EmulatorFault::WrongAnswer,
        "short-write" => EmulatorFault::ShortWrite,
        "reorder" => EmulatorFault::Reorder,
        "drop" => EmulatorFault::Drop,
        "stall" => EmulatorFault::Stall,
        "die" => EmulatorFault::Die,
        "die-in-reply" => EmulatorFault::DieInReply,
        "garble" => EmulatorFault::Garble,
        "wrong-id" => EmulatorFault::WrongId,
        "degraded" => EmulatorFault::Degraded,
        "forget-keys" => EmulatorFault::ForgetKeys,
        _ => return Err(format!("there is no fault `{kind}`").into()),
    })
}
