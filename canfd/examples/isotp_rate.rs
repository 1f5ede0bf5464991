//! How fast the ISO-TP core is, and how close to the wire's limit it comes.
//!
//! `cargo run --release -p canfd --example isotp_rate`; with `GATEWAYD_PEERS_PYTHON` naming a Python that has can-isotp,
//! also how many times its rate that is, both without a bus and by processor time.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use canfd::bit_timing::BitTiming;
use canfd::frame::{CanId, CanIds, FdFrame};
use canfd::isotp::{Event, Link, LinkConfig, LinkLayer, consecutive_frame_limit};
use canfd::virtual_bus::{NodeId, VirtualBus, VirtualBusConfig};

const BLOCK: usize = 65_535;

fn main() -> Result<(), Box<dyn Error>> {
    let ids = CanIds { request: CanId::standard(0x7E0)?, response: CanId::standard(0x7E8)? };
    let rate = core_rate(ids, 2 << 30)? / 1e9;
    figure("isotp_core_rate", rate, "GB/s", 1.0);
    match python_rate()? {
        Some(python) => println!(
            "figure isotp_core_rate_can_isotp {:.2} MB/s\nfigure isotp_core_times_can_isotp {:.0} x",
            python / 1e6,
            rate * 1e9 / python
        ),
        None => println!(
            "not checked: GATEWAYD_PEERS_PYTHON names no Python with can-isotp; `make test-peers` has one"
        ),
    }
    for (name, timing) in [("2m", BitTiming::FD_500K_2M), ("5m", BitTiming::FD_500K_5M)] {
        let limit = consecutive_frame_limit(timing, ids.request, LinkLayer::FD);
        for (len, goal) in [(BLOCK, 98.0), (4_095, 95.0)] {
            let share = wire_rate(ids, timing, len)? / limit * 100.0;
            figure(&format!("isotp_wire_share_500k_{name}_{len}"), share, "%", goal);
        }
    }
    Ok(())
}

fn figure(name: &str, value: f64, unit: &str, goal: f64) {
    let verdict = if value >= goal { "met" } else { "short" };
    println!("figure {name} {value:.3} {unit} goal >= {goal} {verdict}");
}

/// Bytes that differ from frame to frame, as an encrypted image's do.
fn payload(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..len).map(next).collect()
}

/// Message bytes per second of processor time through a sender and a receiver, the bus being a queue.
fn core_rate(ids: CanIds, total: usize) -> Result<f64, Box<dyn Error>> {
    let mut sender = Link::new(LinkConfig::tester(ids));
    let mut receiver = Link::new(LinkConfig::ecu(ids));
    let mut bus: VecDeque<FdFrame> = VecDeque::with_capacity(64);
    let message = payload(BLOCK);
    let mut buffer = message.clone();
    let now = Instant::now();
    let began = processor_time()?;
    let blocks = total.div_ceil(BLOCK);
    for _ in 0..blocks {
        sender.send(now, buffer)?;
        let (mut sent, mut received) = (None, None);
        while sent.is_none() || received.is_none() {
            while let Some(frame) = sender.poll_transmit(now) {
                bus.push_back(frame);
            }
            while let Some(frame) = bus.pop_front() {
                sender.handle_transmitted(now);
                receiver.handle_frame(now, &frame);
            }
            while let Some(frame) = receiver.poll_transmit(now) {
                receiver.handle_transmitted(now);
                sender.handle_frame(now, &frame);
            }
            for event in [sender.poll_event(), receiver.poll_event()].into_iter().flatten() {
                match event {
                    Event::Sent(sdu) => sent = Some(sdu),
                    Event::Received(sdu) => received = Some(sdu),
                    Event::ReceptionStarted { .. } => {}
                    Event::Failed(error) => return Err(error.into()),
                }
            }
        }
        let received = received.unwrap_or_default();
        if received != message {
            return Err("the message arrived changed".into());
        }
        receiver.recycle(received);
        buffer = sent.unwrap_or_default();
    }
    Ok((blocks * BLOCK) as f64 / (processor_time()? - began).as_secs_f64())
}

/// Message bytes per second of processor time through two stacks of python can-isotp, their bus being a queue.
fn python_rate() -> Result<Option<f64>, Box<dyn Error>> {
    let Some(python) = std::env::var_os("GATEWAYD_PEERS_PYTHON").filter(|it| Path::new(it).exists()) else {
        return Ok(None);
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/isotp_rate.py");
    let output = Command::new(python).args([script, &BLOCK.to_string(), "10"]).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(Some(String::from_utf8_lossy(&output.stdout).trim().parse()?))
}

/// What this thread has computed so far. Wall time would count the machine's other work as ours.
fn processor_time() -> Result<Duration, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = stat.split_whitespace().next().ok_or("schedstat is empty")?.parse()?;
    Ok(Duration::from_nanos(nanos))
}

/// Message bytes per second of bus time, blocks of `len` bytes each answered at once.
fn wire_rate(ids: CanIds, timing: BitTiming, len: usize) -> Result<f64, Box<dyn Error>> {
    const BLOCKS: u32 = 20;
    let start = Instant::now();
    let mut bus = VirtualBus::new(start, VirtualBusConfig { timing: Some(timing), queue_len: 64 });
    let mut ends: [(NodeId, Link); 2] =
        [LinkConfig::tester(ids), LinkConfig::ecu(ids)].map(|config| (bus.attach(), Link::new(config)));
    let message = payload(len);
    let mut now = start;
    let mut answers = 0;
    ends[0].1.send(now, message.clone())?;
    while answers < BLOCKS {
        let [tester, ecu] = &mut ends;
        if let Some(event) = ecu.1.poll_event() {
            match event {
                Event::Received(sdu) => {
                    ecu.1.recycle(sdu);
                    ecu.1.send(now, vec![0x76, answers.to_le_bytes()[0]])?;
                }
                Event::Sent(_) | Event::ReceptionStarted { .. } => {}
                Event::Failed(error) => return Err(error.into()),
            }
        }
        if let Some(event) = tester.1.poll_event() {
            match event {
                Event::Received(_) => {
                    answers += 1;
                    tester.1.send(now, message.clone())?;
                }
                Event::Sent(_) | Event::ReceptionStarted { .. } => {}
                Event::Failed(error) => return Err(error.into()),
            }
        }
        for (node, link) in &mut ends {
            while let Some(frame) = link.poll_transmit(now) {
                bus.handle_transmit(now, *node, frame)?;
            }
        }
        if let Some(delivery) = bus.poll_delivery(now) {
            for (node, link) in &mut ends {
                if delivery.from == *node {
                    link.handle_transmitted(now);
                } else {
                    link.handle_frame(now, &delivery.frame);
                }
            }
        } else {
            let links = ends.iter().filter_map(|(_, link)| link.poll_timeout());
            now = links.chain(bus.poll_timeout()).min().ok_or("both ends wait for ever")?;
            ends.iter_mut().for_each(|(_, link)| link.handle_timeout(now));
        }
    }
    let spent: Duration = now - start;
    // Service identifier and block counter are not payload.
    Ok(f64::from(BLOCKS) * (len - 2) as f64 / spent.as_secs_f64())
}
