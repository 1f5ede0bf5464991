//! SM4-GCM by class of machine, SM3 and AES-GCM.

use std::hint::black_box;

use aes_gcm::KeyInit;
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{AeadInOut, Nonce};
use crypto_offload::sm3::{Sm3, digest_many};
use crypto_offload::sm4::{Backend, Sm4Ccm, Sm4Gcm, Sm4Key};

use crate::libgcrypt::Libgcrypt;
use crate::medians::medians;
use crate::openssl;
use crate::report::{Goal, figure, not_measured};

const KEY: [u8; 16] = [7; 16];
const NONCE: [u8; 12] = [1; 12];
const AAD: [u8; 13] = [2; 13];

/// A class of machine: what it has, and what must be hidden from libgcrypt so that it has no more.
pub(crate) struct Class {
    pub(crate) name: &'static str,
    pub(crate) backend: Backend,
    hidden: &'static [&'static str],
    /// The least share of libgcrypt's rate, for messages of 1 MiB and 16 KiB and for packets of 1350 bytes.
    goals: [f64; 3],
}

/// The classes of this architecture.
#[cfg(target_arch = "x86_64")]
pub(crate) const CLASSES: &[Class] = &[
    Class { name: "gfni-avx512", backend: Backend::Gfni512, hidden: &[], goals: [1.0, 1.0, 1.3] },
    Class { name: "gfni-avx2", backend: Backend::Gfni256, hidden: &["intel-avx512"], goals: [1.0, 1.0, 1.0] },
    Class {
        name: "vaes-avx2",
        backend: Backend::Vaes,
        hidden: &["intel-avx512", "intel-gfni"],
        goals: [1.0, 1.0, 1.0],
    },
    Class {
        name: "aesni-avx2",
        backend: Backend::AesNi,
        hidden: &["intel-avx512", "intel-gfni", "intel-vaes-vpclmul"],
        goals: [1.0, 1.0, 1.0],
    },
    Class {
        name: "portable",
        backend: Backend::Portable,
        hidden: &[
            "intel-avx512",
            "intel-gfni",
            "intel-vaes-vpclmul",
            "intel-avx2",
            "intel-avx",
            "intel-aesni",
        ],
        goals: [0.0, 0.0, 0.0],
    },
];
/// The classes of this architecture.
#[cfg(target_arch = "aarch64")]
pub(crate) const CLASSES: &[Class] = &[
    Class { name: "armv8-sm4", backend: Backend::Armv8Sm4, hidden: &[], goals: [0.0; 3] },
    Class { name: "neon", backend: Backend::Neon, hidden: &["arm-sm4"], goals: [0.0; 3] },
    Class { name: "portable", backend: Backend::Portable, hidden: &["arm-sm4", "arm-aes"], goals: [0.0; 3] },
];
/// The classes of this architecture.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) const CLASSES: &[Class] =
    &[Class { name: "portable", backend: Backend::Portable, hidden: &[], goals: [0.0; 3] }];

/// SM4-GCM as a class of machine does it, beside libgcrypt and the `sm4` crate.
pub(crate) fn run_class(name: &str) {
    let Some(class) = CLASSES.iter().find(|class| class.name == name) else {
        return not_measured(name, "there is no such class");
    };
    let Some(ours) = Sm4Gcm::with_backend(&KEY, class.backend) else {
        return not_measured(name, "this CPU is of another class");
    };
    let peer = Libgcrypt::load(class.hidden, &KEY)
        .inspect_err(|error| not_measured(&format!("sm4-gcm-{name}-by-libgcrypt"), error))
        .ok();
    if let Some(peer) = &peer {
        println!("# {name}: libgcrypt {} without {:?}", peer.version, class.hidden);
    }
    let cipher = Sm4Key::with_backend(&KEY, class.backend).expect("as above");
    let generic = aes_gcm::AesGcm::<sm4::Sm4, U12>::new(&KEY.into());
    for ((len, label), goal) in
        [(1 << 20, "1MiB"), (16384, "16KiB"), (1350, "1350B")].into_iter().zip(class.goals)
    {
        let [mut a, mut b, mut c, mut d] = [0, 1, 2, 3].map(|_| vec![0x5a; len]);
        let mut seal = || _ = black_box(ours.seal_in_place(&NONCE, &AAD, black_box(&mut a)));
        let mut keystream = || cipher.xor_keystream(&KEY, black_box(&mut b));
        let mut crate_seal = || {
            let nonce = Nonce::<aes_gcm::AesGcm<sm4::Sm4, U12>>::from(NONCE);
            _ = black_box(generic.encrypt_inout_detached(&nonce, &AAD, black_box(c.as_mut_slice()).into()));
        };
        let mut peer_seal = || {
            if let Some(peer) = &peer {
                _ = black_box(peer.seal(&NONCE, &AAD, black_box(&mut d)));
            }
        };
        let times = medians(&mut [&mut seal, &mut keystream, &mut crate_seal, &mut peer_seal]);
        let [ours, ctr, generic, theirs] = [0, 1, 2, 3].map(|at| megabytes(len) / times[at]);
        let title = format!("sm4-gcm-{label}-{name}");
        println!("# {title}: {ours:.0} MB/s, CTR alone {ctr:.0}, the sm4 crate {generic:.0}");
        if peer.is_some() {
            println!("# {title}: libgcrypt {theirs:.0} MB/s");
            let goal = if goal == 0.0 { Goal::None } else { Goal::AtLeast(goal) };
            figure(&format!("{title}-by-libgcrypt"), ours / theirs, "ratio", goal);
        }
    }
}

/// SM4-CCM and SM4-GCM as this CPU does them best, beside libgcrypt and OpenSSL.
pub(crate) fn run_modes() {
    const LEN: usize = 16384;
    let (gcm, ccm) = (Sm4Gcm::new(&KEY), Sm4Ccm::new(&KEY));
    let [mut a, mut b, mut c] = [0, 1, 2].map(|_| vec![0x5a; LEN]);
    let peer = Libgcrypt::load(&[], &KEY).ok();
    if let Some(peer) = &peer {
        let (mut theirs, mut ours) = (a.clone(), a.clone());
        let tags = (peer.seal_ccm(&NONCE, &AAD, &mut theirs), ccm.seal_in_place(&NONCE, &AAD, &mut ours));
        assert!(theirs == ours && tags.0.ok() == tags.1.ok(), "libgcrypt and this crate differ");
    }
    let mut seal_gcm = || _ = black_box(gcm.seal_in_place(&NONCE, &AAD, black_box(&mut a)));
    let mut seal_ccm = || _ = black_box(ccm.seal_in_place(&NONCE, &AAD, black_box(&mut b)));
    let mut peer_ccm = || {
        if let Some(peer) = &peer {
            _ = black_box(peer.seal_ccm(&NONCE, &AAD, black_box(&mut c)));
        }
    };
    let times = medians(&mut [&mut seal_gcm, &mut seal_ccm, &mut peer_ccm]);
    let [gcm, ccm, peer_ccm] = [0, 1, 2].map(|at| megabytes(LEN) / times[at]);
    println!("# 16 KiB: SM4-GCM {gcm:.0} MB/s, SM4-CCM {ccm:.0} MB/s");
    if peer.is_some() {
        println!("# sm4-ccm-16KiB: libgcrypt {peer_ccm:.0} MB/s");
        figure("sm4-ccm-16KiB-by-libgcrypt", ccm / peer_ccm, "ratio", Goal::None);
    } else {
        not_measured("sm4-ccm-16KiB-by-libgcrypt", "there is no libgcrypt with it");
    }
    against_openssl("sm4-gcm", LEN, &mut seal_gcm, 20.0);
    against_openssl("sm4-ccm", LEN, &mut seal_ccm, 1.0);
}

/// Against the command, which measures itself: between two samples of ours, three times, since the machine's speed drifts.
fn against_openssl(name: &str, len: usize, seal: &mut dyn FnMut(), goal: f64) {
    let title = format!("{name}-16KiB-by-openssl");
    let mut ratios = Vec::new();
    let mut before = megabytes(len) / medians(&mut [&mut *seal])[0];
    for _ in 0..3 {
        let theirs = match openssl::aead(name, len) {
            Ok(theirs) => theirs,
            Err(why) => return not_measured(&title, &why),
        };
        let after = megabytes(len) / medians(&mut [&mut *seal])[0];
        let ours = before.midpoint(after);
        println!("# {title}: {ours:.0} MB/s, openssl {theirs:.0} MB/s");
        ratios.push(ours / theirs);
        before = after;
    }
    ratios.sort_by(f64::total_cmp);
    figure(&title, ratios[ratios.len() / 2], "ratio", Goal::AtLeast(goal));
}

/// SM3 of one message and of many, beside libgcrypt and the `sm3` crate.
pub(crate) fn run_hashes() {
    let peer = Libgcrypt::load(&[], &KEY).inspect_err(|error| not_measured("sm3-by-libgcrypt", error)).ok();
    let message = vec![0x5a; 16384];
    let mut one = || _ = black_box(Sm3::digest(black_box(&message)));
    let mut crate_one = || _ = black_box(<sm3::Sm3 as sm3::Digest>::digest(black_box(&message)));
    let mut peer_one = || {
        if let Some(peer) = &peer {
            _ = black_box(peer.sm3(black_box(&message)));
        }
    };
    let chunk = vec![0x5a; 65536];
    let messages = [[&[0; 9][..], &chunk[..]]; 16];
    let nodes = [[&[0; 9][..], &chunk[..4096]]; 16];
    let mut many = || _ = black_box(digest_many(black_box(&messages)));
    let mut many_nodes = || _ = black_box(digest_many(black_box(&nodes)));
    let times = medians(&mut [&mut one, &mut crate_one, &mut peer_one, &mut many, &mut many_nodes]);
    let rates: Vec<f64> = times
        .iter()
        .zip([16384, 16384, 16384, 16 * 65536, 16 * 4096])
        .map(|(time, len)| megabytes(len) / time)
        .collect();
    println!("# sm3-16KiB: {:.0} MB/s, the sm3 crate {:.0}", rates[0], rates[1]);
    if peer.is_some() {
        println!("# sm3-16KiB: libgcrypt {:.0} MB/s", rates[2]);
        figure("sm3-16KiB-by-libgcrypt", rates[0] / rates[2], "ratio", Goal::AtLeast(1.0));
    }
    for (name, rate) in [("sm3-16x64KiB", rates[3]), ("sm3-16x4KiB", rates[4])] {
        println!("# {name}: {rate:.0} MB/s");
        figure(&format!("{name}-by-sm3-crate"), rate / rates[1], "ratio", Goal::AtLeast(4.0));
        if peer.is_some() {
            figure(&format!("{name}-by-libgcrypt-single"), rate / rates[2], "ratio", Goal::None);
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "lengths here are below 2^52")]
fn megabytes(len: usize) -> f64 {
    len as f64 / 1e6
}
