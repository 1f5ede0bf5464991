//! Whether the time of signing and of key agreement depends on the key: Welch's t-test between one fixed key and random
//! ones (after Reparaz, Balasch and Verbauwhede, "Dude, is my code constant time?").
//!
//! `cargo run --release -p crypto-offload --example sm2_timing [SAMPLES]`
//!
//! A leaky operation of about the same length runs as a control and must be caught, or the machine is too noisy to say
//! anything. Exits with 1 when a leak is found or the control is not.

use std::hint::black_box;
use std::process::ExitCode;

#[path = "rates/clock.rs"]
mod clock;

use clock::cpu_time;
use crypto_offload::sm2::{PublicKey, SecretKey, SigningKey, UserId};

/// Beyond this a difference is taken for real.
const THRESHOLD: f64 = 4.5;
/// Keys per class, used in turn, so that both classes touch as much memory.
const POOL: usize = 128;
/// The slowest samples are interrupts and neighbours; this part of all is kept.
const KEPT: f64 = 0.5;
/// d = 1: the scalar that differs from random ones the most.
const FIXED: u64 = 1;

fn main() -> ExitCode {
    let samples = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(40_000);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let peer = SecretKey::from_be_bytes(&random.number()).expect("in range").public_key();
    let fixed = (0..POOL).map(|_| key(&number(FIXED))).collect();
    let varied = (0..POOL).map(|_| key(&random.number())).collect();
    let classes: [Vec<SigningKey>; 2] = [fixed, varied];

    let sign = |key: &SigningKey| {
        black_box(key.sign(UserId::DEFAULT, &[black_box(b"message")]));
    };
    let agree = |key: &SigningKey| {
        black_box(key.secret().agree(black_box(&peer)));
    };
    let generate = |key: &SigningKey| {
        black_box(SecretKey::from_be_bytes(&key.secret().to_be_bytes())).expect("in range");
    };
    let control = |key: &SigningKey| leaky(key, &peer);

    let mut sound = true;
    for (name, operation, leaks) in [
        ("control", &control as &dyn Fn(&SigningKey), true),
        ("sign", &sign, false),
        ("agree", &agree, false),
        ("generate", &generate, false),
    ] {
        let t = t_value(samples, &classes, &mut random, operation);
        let as_wanted = (t.abs() > THRESHOLD) == leaks;
        sound &= as_wanted;
        let wanted = if leaks { "> 4.5" } else { "<= 4.5" };
        let verdict = if as_wanted { "met" } else { "short" };
        println!("figure sm2-{name}-t {:.2} goal {wanted} {verdict}", t.abs());
    }
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Checks the peer's point once more for each bit of the key's first byte that is set: a twentieth more, in all.
fn leaky(key: &SigningKey, peer: &PublicKey) {
    for _ in 0..key.secret().to_be_bytes()[0].count_ones() {
        let _ = black_box(PublicKey::from_uncompressed(&peer.to_uncompressed()));
    }
    black_box(key.secret().agree(peer));
}

/// How many standard errors lie between the mean times of the two classes.
fn t_value(
    samples: usize,
    classes: &[Vec<SigningKey>; 2],
    random: &mut Random,
    operation: &dyn Fn(&SigningKey),
) -> f64 {
    let mut times: Vec<(usize, f64)> = (0..samples)
        .map(|_| {
            let draw = random.next();
            let class = usize::from(draw & 1 == 1);
            let at = usize::try_from(draw >> 32).unwrap_or(0) % POOL;
            let key = &classes[class][at];
            let start = cpu_time();
            operation(key);
            (class, cpu_time() - start)
        })
        .collect();
    times.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a length")]
    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52 samples")]
    times.truncate((times.len() as f64 * KEPT) as usize);

    let [fixed, varied] = [0, 1].map(|class| Moments::of(&times, class));
    (fixed.mean - varied.mean) / (fixed.variance / fixed.count + varied.variance / varied.count).sqrt()
}

struct Moments {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Moments {
    fn of(times: &[(usize, f64)], class: usize) -> Self {
        let own = || times.iter().filter(|(other, _)| *other == class).map(|(_, time)| *time);
        let count = own().map(|_| 1.0).sum::<f64>();
        let mean = own().sum::<f64>() / count;
        let variance = own().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        Self { count, mean, variance }
    }
}

fn key(number: &[u8; 32]) -> SigningKey {
    SigningKey::new(SecretKey::from_be_bytes(number).expect("in range"))
}

fn number(low: u64) -> [u8; 32] {
    let mut number = [0; 32];
    number[24..].copy_from_slice(&low.to_be_bytes());
    number
}

/// Xorshift: the same samples in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn number(&mut self) -> [u8; 32] {
        let mut number = [0; 32];
        number.chunks_mut(8).for_each(|octets| octets.copy_from_slice(&self.next().to_be_bytes()));
        // Below the order, which begins with ones.
        number[0] &= 0x7f;
        number
    }
}
