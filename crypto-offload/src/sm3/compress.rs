//! The compression function (GB/T 32905 clause 5.3), one message.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use super::BLOCK_LEN;

/// The round constant, turned as round `round` wants it.
#[allow(clippy::cast_possible_truncation, reason = "less than 32")]
pub(super) const fn constant(round: usize) -> u32 {
    let constant: u32 = if round < 16 { 0x79cc_4519 } else { 0x7a87_9d8a };
    constant.rotate_left((round % 32) as u32)
}

/// A way to compress.
type Compress = fn(&mut [u32; 8], &[[u8; BLOCK_LEN]]);
/// The question whether this CPU has a way, and the way.
type Asked = (fn() -> bool, Compress);

/// Hashes `blocks` into `chain`, the fastest way that this CPU has.
pub(super) fn compress(chain: &mut [u32; 8], blocks: &[[u8; BLOCK_LEN]]) {
    let fastest =
        ALL.iter().find(|(available, _)| available()).map_or(portable as Compress, |(_, compress)| *compress);
    fastest(chain, blocks);
}

/// Ways that only some CPUs have, the fastest first.
pub(super) const ALL: &[Asked] = &[
    #[cfg(target_arch = "x86_64")]
    (x86_64::avx512::is_available, x86_64::avx512::compress),
    #[cfg(target_arch = "x86_64")]
    (x86_64::avx::is_available, x86_64::avx::compress),
    #[cfg(target_arch = "aarch64")]
    (aarch64::is_available, aarch64::compress),
];

/// Plain Rust. The rounds wait for each other: merely compiled for BMI2 and AVX2 it was no faster.
pub(super) fn portable(chain: &mut [u32; 8], blocks: &[[u8; BLOCK_LEN]]) {
    for block in blocks {
        let words = block.as_chunks::<4>().0;
        let mut w: [u32; 16] = std::array::from_fn(|at| u32::from_be_bytes(words[at]));
        let mut s = *chain;
        // The expansion keeps the last 16 words: word `at` is needed when round `at - 4` begins.
        macro_rules! round {
            ($at:expr, $early:expr, [$a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident]) => {{
                const AT: usize = $at;
                let turned = $a.rotate_left(12);
                let ss1 = turned.wrapping_add($e).wrapping_add(const { constant(AT) }).rotate_left(7);
                let word = w[AT % 16];
                if AT >= 12 {
                    w[(AT + 4) % 16] = expand(&w, AT + 4);
                }
                let later = w[(AT + 4) % 16];
                let (ff, gg) = if $early {
                    ($a ^ $b ^ $c, $e ^ $f ^ $g)
                } else {
                    (($a & $b) | (($a | $b) & $c), ($e & $f) | (!$e & $g))
                };
                let tt1 = ff.wrapping_add($d).wrapping_add(word ^ later).wrapping_add(ss1 ^ turned);
                let tt2 = gg.wrapping_add($h).wrapping_add(word).wrapping_add(ss1);
                $d = tt1;
                $b = $b.rotate_left(9);
                $h = tt2 ^ tt2.rotate_left(9) ^ tt2.rotate_left(17);
                $f = $f.rotate_left(19);
            }};
        }
        macro_rules! rounds {
            ($from:expr, $early:expr) => {{
                rounds!(@four $from, $early);
                rounds!(@four $from + 4, $early);
                rounds!(@four $from + 8, $early);
                rounds!(@four $from + 12, $early);
            }};
            (@four $from:expr, $early:expr) => {{
                let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = s;
                round!($from, $early, [a b c d e f g h]);
                round!($from + 1, $early, [d a b c h e f g]);
                round!($from + 2, $early, [c d a b g h e f]);
                round!($from + 3, $early, [b c d a f g h e]);
                s = [a, b, c, d, e, f, g, h];
            }};
        }
        rounds!(0, true);
        rounds!(16, false);
        rounds!(32, false);
        rounds!(48, false);
        chain.iter_mut().zip(s).for_each(|(chain, word)| *chain ^= word);
    }
}

/// Word `at` of the expanded message, from the 16 before it.
#[inline(always)]
fn expand(w: &[u32; 16], at: usize) -> u32 {
    let mixed = w[at % 16] ^ w[(at + 7) % 16] ^ w[(at + 13) % 16].rotate_left(15);
    let mixed = mixed ^ mixed.rotate_left(15) ^ mixed.rotate_left(23);
    mixed ^ w[(at + 3) % 16].rotate_left(7) ^ w[(at + 10) % 16]
}
