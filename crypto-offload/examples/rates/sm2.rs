//! SM2 operations per second, against the `sm2` crate, OpenSSL and the programs that `GATEWAYD_SM2_PEERS` names.
//!
//! That variable has words PROGRAM or PROGRAM=GOAL: the program prints lines such as `verify 23966` for any of `sign`,
//! `verify` and `agree`, in operations per second of processor time, and GOAL is the ratio to reach, 0.9 if none is given.
//! Every figure is the median of 15 samples of 40 ms, in which all candidates take turns.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::Command;

use crypto_offload::job::Verdict;
use crypto_offload::sm2::{PreparedKey, PublicKey, SecretKey, SigningKey, UserId};
use sm2::dsa::signature::{Signer as _, Verifier as _};

use crate::clock::cpu_time;
use crate::openssl;
use crate::report::{Goal, figure, not_measured};

const SAMPLES: usize = 15;
/// Times that a peer that measures itself runs.
const ROUNDS: usize = 9;
const SAMPLE: f64 = 0.04;
const MESSAGE: &[u8] = &[7; 32];
const DISTID: &str = "1234567812345678";

/// A name, what it does once, and its samples.
type Candidate<'a> = (&'static str, Box<dyn FnMut() + 'a>, Vec<f64>);

/// All of it.
pub(crate) fn run() -> Result<(), Box<dyn std::error::Error>> {
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
        if let (Some(rate), Some(peer)) = (median(name), median(&format!("crate-{name}"))) {
            figure(&format!("sm2-{name}-by-sm2-crate"), rate / peer, "ratio", Goal::AtLeast(1.0));
        }
    }
    against("openssl", 4.0, &mut candidates, &openssl::sm2);
    let peers = std::env::var("GATEWAYD_SM2_PEERS").unwrap_or_default();
    if peers.is_empty() {
        not_measured("sm2-by-gmssl", "GATEWAYD_SM2_PEERS names no program");
        not_measured(
            "sm2-agree-by-openssl",
            "`openssl speed` has none, and GATEWAYD_SM2_PEERS names no program",
        );
    }
    for word in peers.split_whitespace() {
        let (program, goal) = word.split_once('=').unwrap_or((word, "0.9"));
        let goal = goal.parse()?;
        against(&program.trim_matches('/').replace('/', "-"), goal, &mut candidates, &|| rates_of(program));
    }
    Ok(())
}

/// Operations per second by name, as `program` prints them.
fn rates_of(program: &str) -> Result<Vec<(String, f64)>, String> {
    let output = Command::new(program).output().map_err(|error| error.to_string())?;
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let rates = output.lines().filter_map(|line| line.split_once(' '));
    Ok(rates.filter_map(|(name, rate)| Some((name.to_owned(), rate.trim().parse().ok()?))).collect())
}

/// Ratios to a peer that measures itself. It runs between two samples of ours, several times, since the speed of the
/// machine itself drifts.
fn against(
    peer: &str,
    goal: f64,
    candidates: &mut [Candidate<'_>],
    measure: &dyn Fn() -> Result<Vec<(String, f64)>, String>,
) {
    let mut ratios: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut before = sample(candidates);
    for _ in 0..ROUNDS {
        let theirs = match measure() {
            Ok(theirs) => theirs,
            Err(why) => return not_measured(&format!("sm2-by-{peer}"), &why),
        };
        let after = sample(candidates);
        for (name, rate) in theirs {
            if let (Some((&name, ours)), Some(later)) = (before.get_key_value(&*name), after.get(&*name)) {
                println!("# sm2-{name}: {:.0}/s, {peer} {rate:.0}/s", ours.midpoint(*later));
                ratios.entry(name).or_default().push(ours.midpoint(*later) / rate);
            }
        }
        before = after;
    }
    for (name, mut ratios) in ratios {
        ratios.sort_by(f64::total_cmp);
        // Nobody promises anything about making keys.
        let goal = if name == "generate" { Goal::None } else { Goal::AtLeast(goal) };
        figure(&format!("sm2-{name}-by-{peer}"), ratios[ratios.len() / 2], "ratio", goal);
    }
}

/// What peers are held against, each the median of a few samples.
fn sample(candidates: &mut [Candidate<'_>]) -> BTreeMap<&'static str, f64> {
    let mut rates: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    for _ in 0..5 {
        for (name, run, _) in &mut *candidates {
            if ["verify", "sign", "agree", "generate"].contains(name) {
                rates.entry(name).or_default().push(rate(run));
            }
        }
    }
    let median = |mut rates: Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    rates.into_iter().map(|(name, rates)| (name, median(rates))).collect()
}

fn candidate<'a>(name: &'static str, run: impl FnMut() + 'a) -> Candidate<'a> {
    (name, Box::new(run), Vec::new())
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
            return f64::from(runs) / took;
        }
    }
}
