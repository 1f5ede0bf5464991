//! A load whose causes are known: a thread that keeps a CPU busy, one that takes memory and keeps it, four that queue for
//! one lock, and one that writes and syncs a file. The profiler must find each on top of its dimension.
//!
//! `cargo run -p gatewayd --example load -- [SECONDS] [FILE]`; without a file it writes to one in the working directory.
#![allow(clippy::unwrap_used, reason = "a program for tests: what goes wrong in it must be seen")]

use std::fs::File;
use std::io::{Seek, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = arguments.next().map_or(10, |text| text.parse().unwrap());
    let file = arguments.next().map_or_else(|| PathBuf::from("load.tmp"), PathBuf::from);
    run(Duration::from_secs(seconds), file);
}

/// Makes the load for so long, writing to `file`.
pub(crate) fn run(span: Duration, file: PathBuf) {
    let stop = Arc::new(AtomicBool::new(false));
    let lock = Arc::new(Mutex::new(0_u64));
    let mut threads = vec![
        spawn("cpu-hog", &stop, cpu_hog),
        spawn("leaker", &stop, leaker),
        spawn("fsync-writer", &stop, {
            let file = file.clone();
            move |stop: &AtomicBool| fsync_writer(stop, file)
        }),
    ];
    for number in 0..4 {
        let lock = Arc::clone(&lock);
        threads.push(spawn(&format!("convoy-{number}"), &stop, move |stop: &AtomicBool| convoy(stop, &lock)));
    }
    std::thread::sleep(span);
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    let _gone = std::fs::remove_file(file);
}

fn spawn(
    name: &str,
    stop: &Arc<AtomicBool>,
    work: impl FnOnce(&AtomicBool) + Send + 'static,
) -> JoinHandle<()> {
    let stop = Arc::clone(stop);
    Builder::new().name(name.to_owned()).spawn(move || work(&stop)).unwrap()
}

#[inline(never)]
fn cpu_hog(stop: &AtomicBool) {
    let mut number = 1_u64;
    while !stop.load(Ordering::Relaxed) {
        let mut round = 0_u32;
        while round < 1_000_000 {
            number ^= number << 13;
            number ^= number >> 7;
            number ^= number << 17;
            round += 1;
        }
    }
    std::hint::black_box(number);
}

/// A megabyte each 10 ms, up to 400 MB, touched so that the kernel must give pages.
#[inline(never)]
fn leaker(stop: &AtomicBool) {
    let mut kept = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        if kept.len() >= 400 {
            kept.clear();
        }
        kept.push(vec![1_u8; 1 << 20]);
        std::thread::sleep(Duration::from_millis(10));
    }
    std::hint::black_box(&kept);
}

/// Holds the lock while it sleeps: the other three wait.
#[inline(never)]
fn convoy(stop: &AtomicBool, lock: &Mutex<u64>) {
    while !stop.load(Ordering::Relaxed) {
        let mut held = lock.lock().unwrap();
        *held += 1;
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Writes 16 KiB and syncs, some fifty times a second.
#[inline(never)]
fn fsync_writer(stop: &AtomicBool, path: PathBuf) {
    let mut file = File::create(path).unwrap();
    let block = vec![7_u8; 16 << 10];
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        file.rewind().unwrap();
        file.write_all(&block).unwrap();
        file.sync_all().unwrap();
        std::thread::sleep(Duration::from_millis(20).saturating_sub(start.elapsed()));
    }
}
