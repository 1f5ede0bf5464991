//! What measuring the whole machine costs, by the kernel's accounts: own CPU time of the thread that measures, CPU time that
//! the events take from those measured, and resident memory, with each back end of the machine. The load is another
//! process: two threads that hand a byte back and forth, as fast as they can or 50,000 times a second, and one that
//! computes. The heap sampler is measured by itself.
//!
//! `make bench-profiler`; `profiler_cost measure bpf 50000` measures one of them.
#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a measurement: what goes wrong in it must be seen"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gatewayd::heap::Sampled;
use gatewayd::profiler::config::{BackendChoice, Config};
use gatewayd::profiler::sampler::Sampler;
use gatewayd::profiler::state::ProfilerState;

/// Rounds of measuring and of not measuring in turn, so that a change of the machine's other load hits both alike.
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(10);
/// Switches per second of the load; 0 for as many as there can be.
const PACES: [u32; 2] = [50_000, 0];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["load", pace] => load(pace.parse().unwrap()),
        ["measure", backend, pace] => measure(backend, pace.parse().unwrap()),
        _ => {
            for pace in PACES {
                for backend in ["machine", "bpf"] {
                    // A process of its own each, so that one's memory is not counted for the other.
                    let pace = pace.to_string();
                    let program = std::env::current_exe().unwrap();
                    let status = Command::new(program).args(["measure", backend, &pace]).status().unwrap();
                    assert!(status.success(), "measuring ended with {status}");
                }
            }
            heap();
        }
    }
}

fn measure(name: &str, pace: u32) {
    let backend = if name == "bpf" { BackendChoice::Bpf } else { BackendChoice::Machine };
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["load", &pace.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut ask, mut answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let mut look = || {
        ask.write_all(b"\n").unwrap();
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        let (switches, ns) = line.trim().split_once(' ').unwrap();
        (switches.parse::<f64>().unwrap(), ns.parse::<f64>().unwrap())
    };
    let none = || Sum { switches: 0.0, seconds: 0.0, least: f64::INFINITY };
    let (mut with, mut without) = (none(), none());
    let (mut own, mut accounted, mut maps) = (Duration::ZERO, 0.0, 0);
    let mut last = ProfilerState::default();
    for _ in 0..ROUNDS {
        let (before, start) = (look(), Instant::now());
        std::thread::sleep(ROUND);
        without.add(before, look(), start);
        let config = Config { backend, ..Config::default() };
        let mut sampler = match Sampler::new(std::process::id(), &config, 1, Instant::now()) {
            Ok(sampler) => sampler,
            Err(error) => {
                println!("not checked: {error}");
                end(&mut child);
                return;
            }
        };
        // The first window shows the law at work; the figure is of what it settles at.
        let (mut before, mut start, mut cpu) = (look(), Instant::now(), thread_cpu_time());
        for number in 0..2 {
            while sampler.handle_timeout(Instant::now()).unwrap().is_none() {
                std::thread::sleep(sampler.poll_timeout().saturating_duration_since(Instant::now()));
            }
            last = sampler.state().clone();
            if number == 0 {
                println!("  first window: {:.3} % of one CPU", last.cost_ppm as f64 / 10_000.0);
                (before, start, cpu) = (look(), Instant::now(), thread_cpu_time());
            }
        }
        own += thread_cpu_time() - cpu;
        accounted += last.cost_ppm as f64 / 10_000.0;
        maps = locked_by_maps();
        with.add(before, look(), start);
    }
    end(&mut child);
    // The least of all rounds: what else the machine does makes switches dearer, never cheaper.
    let taken = (with.least - without.least).max(0.0) * with.switches / (with.seconds * 1e9) * 100.0;
    let own = own.as_secs_f64() / with.seconds * 100.0;
    let pace = if pace == 0 { "flat_out".to_owned() } else { format!("{}k", pace / 1_000) };
    println!(
        "  {name}, {pace}: {:.0} switches/s without, {:.0} with; {} events/s allowed at the end",
        without.switches / without.seconds,
        with.switches / with.seconds,
        last.events_per_second,
    );
    println!(
        "  a switch costs the load {:.0} ns without, {:.0} ns with: {taken:.3} % of one CPU",
        without.least, with.least
    );
    for dimension in &last.dimensions {
        println!(
            "  {:<10} {}, looked at {:.1} % of the time",
            dimension.name,
            dimension.state,
            dimension.share_ppm as f64 / 10_000.0
        );
    }
    println!(
        "  last window: {} samples, {} lost, {} without a stack",
        last.samples, last.lost, last.stackless
    );
    println!("  the kernel keeps {} KiB for maps and programs", maps / 1_024);
    let figure =
        |what: &str, value, unit, goal| figure(&format!("{what}_{name}_{pace}"), value, unit, "<=", goal);
    figure("profiler_own_cpu", own, "%", 0.5);
    figure("profiler_cost_as_accounted", accounted / ROUNDS as f64, "%", 0.5);
    figure("profiler_own_cpu_and_taken_from_others", own + taken, "%", 0.5);
    figure("profiler_resident", last.resident_bytes as f64 / f64::from(1 << 20), "MiB", 8.0);
}

/// Bytes that the kernel keeps behind this process' descriptors of maps and programs.
fn locked_by_maps() -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir("/proc/self/fdinfo").unwrap() {
        // A descriptor may be closed meanwhile: that of this folder is.
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
        bytes += line.map_or(0, |number| number.trim().parse::<u64>().unwrap());
    }
    bytes
}

fn end(child: &mut Child) {
    // One that has ended already is no matter.
    let _gone = child.kill();
    child.wait().unwrap();
}

struct Sum {
    switches: f64,
    seconds: f64,
    /// Nanoseconds of a switch in the round in which it was cheapest.
    least: f64,
}

impl Sum {
    fn add(&mut self, before: (f64, f64), after: (f64, f64), start: Instant) {
        self.switches += after.0 - before.0;
        self.least = self.least.min((after.1 - before.1) / (after.0 - before.0).max(1.0));
        self.seconds += start.elapsed().as_secs_f64();
    }
}

fn figure(name: &str, value: f64, unit: &str, op: &str, goal: f64) {
    let verdict = if value <= goal { "met" } else { "short" };
    println!("figure {name} {value:.3} {unit} goal {op} {goal} {verdict}");
}

/// Nanoseconds of one allocation and its return, with and without the sampler.
fn heap() {
    let layout = Layout::from_size_align(64, 8).unwrap();
    let sampled = Sampled::new(System);
    let bare = fastest(|| round(&System, layout));
    let counted = fastest(|| round(&sampled, layout));
    println!("  malloc and free of 64 B: {bare:.2} ns bare, {counted:.2} ns sampled");
    figure("heap_sampler_cost", (counted - bare).max(0.0), "ns", "<=", 2.0);
}

const ALLOCATIONS: u32 = 2_000_000;

#[allow(unsafe_code, reason = "an allocator can be called by hand only so")]
fn round(allocator: &impl GlobalAlloc, layout: Layout) {
    for _ in 0..ALLOCATIONS {
        // SAFETY: the layout is not empty, and each block is given back once, with the same layout.
        unsafe { allocator.dealloc(std::hint::black_box(allocator.alloc(layout)), layout) };
    }
}

fn fastest(mut work: impl FnMut()) -> f64 {
    let time = |_| {
        let start = thread_cpu_time();
        work();
        (thread_cpu_time() - start).as_secs_f64() * 1e9 / f64::from(ALLOCATIONS)
    };
    (0..9).map(time).fold(f64::INFINITY, f64::min)
}

fn thread_cpu_time() -> Duration {
    Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// The load at `pace` switches a second: answers each line with the switches of the two threads so far and their CPU time in nanoseconds.
fn load(pace: u32) {
    let (here, there) = UnixStream::pair().unwrap();
    let threads: Vec<String> = [(here, true), (there, false)]
        .into_iter()
        .map(|(mut stream, first)| {
            let (sender, receiver) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let path = std::fs::read_link("/proc/thread-self").unwrap();
                sender.send(format!("/proc/{}", path.display())).unwrap();
                let mut byte = [0];
                if first {
                    stream.write_all(&byte).unwrap();
                }
                let (start, mut turns) = (Instant::now(), 0_u32);
                while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {
                    turns += 1;
                    // Each turn is a switch of both threads. In portions of a millisecond; what was missed is not made up.
                    if first && pace > 0 && turns >= pace / 2_000 {
                        turns = 0;
                        let into = start.elapsed().subsec_nanos() % 1_000_000;
                        std::thread::sleep(Duration::from_nanos(u64::from(1_000_000 - into)));
                    }
                }
            });
            receiver.recv().unwrap()
        })
        .collect();
    std::thread::spawn(|| {
        let mut number = 1_u64;
        loop {
            number = std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    });
    let mut line = String::new();
    while std::io::stdin().read_line(&mut line).is_ok_and(|len| len > 0) {
        let (mut switches, mut ns) = (0_u64, 0_u64);
        for thread in &threads {
            let schedstat = std::fs::read_to_string(format!("{thread}/schedstat")).unwrap();
            let mut fields = schedstat.split_ascii_whitespace().map(|field| field.parse::<u64>().unwrap());
            ns += fields.next().unwrap();
            switches += fields.nth(1).unwrap();
        }
        println!("{switches} {ns}");
        line.clear();
    }
}
