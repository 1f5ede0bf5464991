//! SM2 operations per second, against the `sm2` crate, OpenSSL and the programs that `GATEWAYD_SM2_PEERS` names.
//!
//! That variable has words PROGRAM or PROGRAM=GOAL: the program prints lines such as `verify 23966` for any of `sign`,
//! `verify` and `agree`, in operations per second of processor time, and GOAL is the ratio to reach, 0.9 if none is given.
//! Every figure is the median of 15 samples of 40 ms, in which all candidates take turns.

use std::hint::black_box;
use std::process::Command;

use crypto_offload::job::Verdict;
use crypto_offload::sm2::{PreparedKey, PublicKey, SecretKey, SigningKey, UserId};
use sm2::dsa::signature::{Signer as _, Verifier as _};

use crate::clock::cpu_time;
use crate::openssl;
use crate::report::{Goal, figure, not_measured};

const SAMPLES: usize = 15;
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
            report(name, rate, "sm2-crate", peer, 1.0);
        }
    }
    match openssl::sm2() {
        Ok((sign, verify)) => {
            for (name, peer) in [("verify", verify), ("sign", sign)] {
                report(name, median(name).unwrap_or(0.0), "openssl", peer, 4.0);
            }
        }
        Err(why) => not_measured("sm2-by-openssl", &why),
    }
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
        let output = match Command::new(program).output() {
            Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Err(error) => {
                not_measured(&format!("sm2-by-{program}"), &error.to_string());
                continue;
            }
        };
        let peer = program.trim_matches('/').replace('/', "-");
        for (name, rate) in output.lines().filter_map(|line| line.split_once(' ')) {
            if let (Some(ours), Ok(theirs)) = (median(name), rate.trim().parse()) {
                report(name, ours, &peer, theirs, if name == "generate" { 0.0 } else { goal });
            }
        }
    }
    Ok(())
}

fn candidate<'a>(name: &'static str, run: impl FnMut() + 'a) -> Candidate<'a> {
    (name, Box::new(run), Vec::new())
}

fn report(name: &str, rate: f64, peer: &str, peer_rate: f64, goal: f64) {
    println!("# sm2-{name}: {peer} {peer_rate:.0}/s");
    let goal = if goal == 0.0 { Goal::None } else { Goal::AtLeast(goal) };
    figure(&format!("sm2-{name}-by-{peer}"), rate / peer_rate, "ratio", goal);
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
