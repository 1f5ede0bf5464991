//! Multiples computed ahead: of G for secret scalars, of any point for public ones.

use std::sync::LazyLock;

use super::limbs::equal_mask;
use super::point::{Affine, GENERATOR, Jacobian, to_affine_all};
use super::scalar::Scalar;

/// Bits per digit of a scalar that multiplies G in secret.
const WIDTH: usize = 6;
/// Digits of such a scalar: 43 * 6 bits hold 256 and the last carry.
pub(super) const WINDOWS: usize = 43;
/// Largest magnitude of a digit.
const MAGNITUDES: usize = 1 << (WIDTH - 1);

/// 1 to 32 times 2^(6i) G for every window i. 86 KiB, made at the first use.
static WINDOWED: LazyLock<Vec<Affine>> = LazyLock::new(|| {
    let mut points = Vec::with_capacity(WINDOWS * MAGNITUDES);
    let mut base = Jacobian::from_affine(&GENERATOR);
    for _ in 0..WINDOWS {
        let mut multiple = base;
        for _ in 0..MAGNITUDES {
            points.push(multiple);
            multiple = multiple.add_public(&base);
        }
        base = (0..WIDTH).fold(base, |base, _| base.double());
    }
    to_affine_all(&points)
});

/// The comb of G.
pub(super) static COMB: LazyLock<Comb> = LazyLock::new(|| Comb::new(&GENERATOR));

/// `magnitude` times 2^(6 `window`) G, read with every entry of the window touched alike; [`Affine::BLANK`] for zero.
#[inline]
pub(super) fn generator_multiple(window: usize, magnitude: u64) -> Affine {
    let mut chosen = Affine::BLANK;
    let entries = WINDOWED.get(window * MAGNITUDES..).unwrap_or_default();
    for (entry, number) in entries.iter().take(MAGNITUDES).zip(1..) {
        chosen.merge(entry, equal_mask(number, magnitude));
    }
    chosen
}

/// Teeth of a comb, and the bit positions between two of them: 8 * 32 = 256.
const TEETH: usize = 8;
/// Doublings that a comb takes.
pub(super) const COLUMNS: usize = 32;

/// Sums of 2^(32i) P over every choice of i in 0..8 but none (Lim and Lee's comb). 16 KiB. For public scalars.
#[derive(Clone)]
pub(super) struct Comb(Box<[Affine]>);

impl Comb {
    /// Takes as long as three multiplications.
    pub(super) fn new(point: &Affine) -> Self {
        let mut tooth = Jacobian::from_affine(point);
        let mut teeth = Vec::with_capacity(TEETH);
        for _ in 0..TEETH {
            teeth.push(tooth);
            tooth = (0..COLUMNS).fold(tooth, |tooth, _| tooth.double());
        }
        let mut sums: Vec<Jacobian> = Vec::with_capacity(1 << TEETH);
        for tooth in to_affine_all(&teeth) {
            let lower = sums.len();
            sums.push(Jacobian::from_affine(&tooth));
            for at in 0..lower {
                sums.push(sums[at].add_public_affine(&tooth));
            }
        }
        Self(to_affine_all(&sums).into_boxed_slice())
    }

    /// What `scalar` adds in this column, counted from the least significant.
    pub(super) fn entry(&self, scalar: &Scalar, column: usize) -> Option<&Affine> {
        let index = scalar.limbs().iter().rev().fold(0, |index, limb| {
            (index << 2) | ((limb >> (column + COLUMNS) & 1) << 1) | (limb >> column & 1)
        });
        self.0.get(usize::try_from(index).ok()?.checked_sub(1)?)
    }
}
