//! SM2 operations per second of CPU time on one core, against the `sm2` crate, the OpenSSL that `GATEWAYD_OPENSSL4`
//! names or that is installed, and peers of choice.
//!
//! `cargo run --release -p crypto-offload --example sm2_rates [PEER[=GOAL]]...`
//!
//! PEER is a program that prints lines such as `verify 23966` for any of `sign`, `verify` and `agree`; GOAL, 0.9 if none
//! is given, the ratio to reach. Every figure is the median of 15 samples of 40 ms, in which all candidates take turns.

use std::hint::black_box;
use std::process::Command;
use std::time::Duration;

use crypto_offload::job::Verdict;
use crypto_offload::sm2::{PreparedKey, PublicKey, SecretKey, SigningKey, UserId};
use rustix::time::{ClockId, clock_gettime};
use sm2::dsa::signature::{Signer as _, Verifier as _};

const SAMPLES: usize = 15;
const SAMPLE: Duration = Duration::from_millis(40);
const MESSAGE: &[u8] = &[7; 32];
const DISTID: &str = "1234567812345678";

/// A name, what it does once, and its samples.
type Candidate<'a> = (&'static str, Box<dyn FnMut() + 'a>, Vec<f64>);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (ours, other) = (SecretKey::from_be_bytes(&[0x35; 32])?, SecretKey::from_be_bytes(&[0x53; 32])?);
    let signer = SigningKey::new(ours.clone());
    let public = ours.public_key();
    let prepared = PreparedKey::new(public);
    let signature = signer.sign(UserId::DEFAULT, &[MESSAGE]);
    let der = signature.to_der();
    let (spki_point, other_point) = (public.to_uncompressed(), other.public_key());

    let crate_secret = sm2::SecretKey::from_slice(&[0x35; 32])?;
    let crate_signer = sm2::dsa::SigningKey::new(DISTID, &crate_secret)?;
    let crate_signature: sm2::dsa::Signature = crate_signer.sign(MESSAGE);
    let crate_other = sm2::PublicKey::from_sec1_bytes(&other_point.to_uncompressed())?;

    let mut candidates: Vec<Candidate<'_>> = vec![
        candidate("verify", || {
            assert_eq!(public.verify(UserId::DEFAULT, &[MESSAGE], &signature), Verdict::Valid);
        }),
        candidate("verify-from-bytes", || {
            let key = PublicKey::from_uncompressed(&spki_point).expect("on the curve");
            let signature = crypto_offload::sm2::Signature::from_der(&der).expect("der");
            assert_eq!(key.verify(UserId::DEFAULT, &[MESSAGE], &signature), Verdict::Valid);
        }),
        candidate("verify-prepared", || {
            assert_eq!(prepared.verify(UserId::DEFAULT, &[MESSAGE], &signature), Verdict::Valid);
        }),
        candidate("prepare", || {
            black_box(PreparedKey::new(black_box(public)));
        }),
        candidate("sign", || {
            black_box(signer.sign(UserId::DEFAULT, &[black_box(MESSAGE)]));
        }),
        candidate("agree", || {
            black_box(ours.agree(black_box(&other_point)));
        }),
        candidate("generate", || {
            black_box(SecretKey::from_be_bytes(black_box(&[0x53; 32]))).expect("in range");
        }),
        candidate("crate-verify", || {
            crate_signer.verifying_key().verify(MESSAGE, &crate_signature).expect("own signature");
        }),
        candidate("crate-sign", || {
            let signature: sm2::dsa::Signature = crate_signer.sign(black_box(MESSAGE));
            black_box(signature);
        }),
        candidate("crate-agree", || {
            let scalar = crate_secret.to_nonzero_scalar();
            black_box((crate_other.to_projective() * *scalar).to_affine());
        }),
        candidate("crate-generate", || {
            black_box(sm2::SecretKey::from_slice(black_box(&[0x53; 32])).expect("in range").public_key());
        }),
    ];
    for _ in 0..SAMPLES {
        for (_, run, rates) in &mut candidates {
            rates.push(rate(run));
        }
    }
    println!("# operations per second of CPU time, one core, median of {SAMPLES} samples");
    let mut medians = Vec::new();
    for (name, _, rates) in &mut candidates {
        rates.sort_by(f64::total_cmp);
        medians.push((*name, rates[SAMPLES / 2]));
        println!("# sm2-{name} {:.0}/s ({:.0} to {:.0})", rates[SAMPLES / 2], rates[0], rates[SAMPLES - 1]);
    }
    let median = |wanted: &str| medians.iter().find(|(name, _)| *name == wanted).map(|&(_, rate)| rate);

    for name in ["verify", "sign", "agree", "generate"] {
        let Some(rate) = median(name) else { continue };
        report(name, rate, "the sm2 crate", median(&format!("crate-{name}")), 1.0);
    }
    let openssl = openssl();
    for (name, peer) in
        [("verify", openssl.map(|(_, verify)| verify)), ("sign", openssl.map(|(sign, _)| sign))]
    {
        report(name, median(name).unwrap_or(0.0), "openssl", peer, 4.0);
    }
    for argument in std::env::args().skip(1) {
        let (program, goal) = argument.split_once('=').unwrap_or((&argument, "0.9"));
        let goal = goal.parse()?;
        let output = Command::new(program).output()?;
        for (name, peer) in
            String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| line.split_once(' '))
        {
            if let Some(rate) = median(name) {
                report(name, rate, program, peer.trim().parse().ok(), goal);
            }
        }
    }
    Ok(())
}

fn candidate<'a>(name: &'static str, run: impl FnMut() + 'a) -> Candidate<'a> {
    (name, Box::new(run), Vec::new())
}

fn report(name: &str, rate: f64, peer: &str, peer_rate: Option<f64>, goal: f64) {
    match peer_rate {
        Some(peer_rate) => {
            let ratio = rate / peer_rate;
            let verdict = if ratio >= goal { "met" } else { "short" };
            println!("figure sm2-{name} {ratio:.2} times {peer} ({peer_rate:.0}/s) goal >= {goal} {verdict}");
        }
        None => println!("# sm2-{name}: not checked against {peer}, which is not there"),
    }
}

/// Signatures and verifications per second of CPU time, by `openssl speed`.
fn openssl() -> Option<(f64, f64)> {
    let program = std::env::var_os("GATEWAYD_OPENSSL4").unwrap_or_else(|| "openssl".into());
    let output = Command::new(program).args(["speed", "-seconds", "1", "sm2"]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut columns = text.lines().last()?.split_whitespace().rev();
    let verify = columns.next()?.parse().ok()?;
    Some((columns.next()?.parse().ok()?, verify))
}

/// Runs per second of this thread's CPU time, over one sample.
fn rate(run: &mut dyn FnMut()) -> f64 {
    let (start, mut runs) = (cpu_time(), 0_u32);
    loop {
        for _ in 0..16 {
            run();
        }
        runs += 16;
        let took = cpu_time() - start;
        if took >= SAMPLE {
            return f64::from(runs) / took.as_secs_f64();
        }
    }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
