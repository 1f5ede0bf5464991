//! Multiplication of points: in constant time for secret scalars, fast for public ones.
//!
//! Why the secret ones never meet a case that the addition formulas leave out is said where they are used.

use zeroize::Zeroizing;

use super::limbs::{Limbs, equal_mask, secret_mask};
use super::point::{Affine, Jacobian};
use super::scalar::Scalar;
use super::table::{self, COLUMNS, Comb, WINDOWS};

/// `scalar` times G, for a scalar that is not zero. Constant time.
///
/// Digits are taken from the least significant. What the digits below position i sum up to is smaller than one unit of
/// position i, so the sum is no multiple of the next addend's point, and the last sum is the scalar, which is below n:
/// no addition meets a point with itself. Against n itself: that would take a last digit of 16 and digits below it that
/// sum up to 2^256 - n, which is more than n in all.
pub(super) fn generator(scalar: &Scalar) -> Jacobian {
    let digits: Zeroizing<[i8; WINDOWS]> = Zeroizing::new(signed_digits::<6, WINDOWS>(scalar.limbs()));
    let mut sum = Jacobian::INFINITY;
    for (window, &digit) in digits.iter().enumerate() {
        let (magnitude, negative) = magnitude(digit);
        let addend = table::generator_multiple(window, magnitude).negate_if(negative);
        let added = sum.add_distinct_affine(&addend);
        let first = Jacobian::from_affine(&addend);
        let next = Jacobian::select(&added, &first, sum.z.zero_mask());
        sum = Jacobian::select(&next, &sum, equal_mask(magnitude, 0));
    }
    sum
}

/// Digits of a scalar that multiplies an arbitrary point in secret: 52 * 5 bits.
const POINT_WINDOWS: usize = 52;
/// Largest magnitude of such a digit.
const POINT_MAGNITUDES: usize = 16;

/// `scalar` times `point`, for a scalar that is not zero. Constant time.
///
/// The scalar is replaced by the smaller of itself and its negative. Then what the leading digits stand for, times 32,
/// is zero or larger than any digit, and with any digit added or taken away still below n: no addition meets a point
/// with itself or its negative.
pub(super) fn point(scalar: &Scalar, point: &Affine) -> Jacobian {
    let high = scalar.high_mask();
    let scalar = Zeroizing::new(Scalar::select(scalar, &scalar.negate(), high));
    let digits: Zeroizing<[i8; POINT_WINDOWS]> =
        Zeroizing::new(signed_digits::<5, POINT_WINDOWS>(scalar.limbs()));
    let multiples = first_multiples(point);

    let mut sum = Jacobian::INFINITY;
    for &digit in digits.iter().rev() {
        sum = sum.double_times(5);
        let (magnitude, negative) = magnitude(digit);
        let mut addend = Jacobian::BLANK;
        for (entry, number) in multiples.iter().zip(1..) {
            addend.merge(entry, equal_mask(number, magnitude));
        }
        let addend = addend.negate_if(negative);
        let added = sum.add_distinct(&addend);
        let next = Jacobian::select(&added, &addend, sum.z.zero_mask());
        sum = Jacobian::select(&next, &sum, equal_mask(magnitude, 0));
    }
    sum.negate_if(high)
}

/// 1 to 16 times a public point.
fn first_multiples(point: &Affine) -> [Jacobian; POINT_MAGNITUDES] {
    let mut multiples = [Jacobian::from_affine(point); POINT_MAGNITUDES];
    for at in 1..POINT_MAGNITUDES {
        multiples[at] =
            if at % 2 == 1 { multiples[at / 2].double() } else { multiples[at - 1].add_public_affine(point) };
    }
    multiples
}

/// `a` times G plus `b` times `point`. Not constant time: for public scalars.
pub(super) fn public_sum(a: &Scalar, b: &Scalar, point: &Affine) -> Jacobian {
    let (digits, len) = sparse_digits(b.limbs());
    let odd = odd_multiples(point);
    let mut sum = Jacobian::INFINITY;
    // Doublings that are due, done together before the next addition.
    let mut due = 0;
    for position in (0..len.max(COLUMNS)).rev() {
        due += 1;
        let digit = digits[position];
        if let Some(multiple) = odd.get(usize::from(digit.unsigned_abs() / 2)).filter(|_| digit != 0) {
            let addend = if digit < 0 { multiple.negate() } else { *multiple };
            sum = sum.double_times(std::mem::take(&mut due)).add_public(&addend);
        }
        let entry = if position < COLUMNS { table::COMB.entry(a, position) } else { None };
        if let Some(entry) = entry {
            sum = sum.double_times(std::mem::take(&mut due)).add_public_affine(entry);
        }
    }
    sum.double_times(due)
}

/// [`public_sum`] with the point's comb at hand: a third of the work.
pub(super) fn public_sum_combed(a: &Scalar, b: &Scalar, comb: &Comb) -> Jacobian {
    let mut sum = Jacobian::INFINITY;
    for column in (0..COLUMNS).rev() {
        sum = sum.double();
        for entry in [table::COMB.entry(a, column), comb.entry(b, column)].into_iter().flatten() {
            sum = sum.add_public_affine(entry);
        }
    }
    sum
}

/// 1, 3, 5 to 15 times a public point.
fn odd_multiples(point: &Affine) -> [Jacobian; 8] {
    let mut multiples = [Jacobian::from_affine(point); 8];
    let twice = multiples[0].double();
    for at in 1..8 {
        multiples[at] = multiples[at - 1].add_public(&twice);
    }
    multiples
}

/// The digit's magnitude, and all ones if it is negative.
#[inline(always)]
fn magnitude(digit: i8) -> (u64, u64) {
    (u64::from(digit.unsigned_abs()), secret_mask(u64::from(digit < 0)))
}

/// `number` in `COUNT` digits from -2^(WIDTH - 1) + 1 to 2^(WIDTH - 1), least significant first. Constant time.
fn signed_digits<const WIDTH: usize, const COUNT: usize>(number: &Limbs) -> [i8; COUNT] {
    let mut digits = [0; COUNT];
    let mut carry = 0;
    for (at, digit) in digits.iter_mut().enumerate() {
        let position = at * WIDTH;
        let (limb, shift) = (position / 64, position % 64);
        let low = number.get(limb).map_or(0, |limb| limb >> shift);
        let high = number.get(limb + 1).map_or(0, |limb| if shift == 0 { 0 } else { limb << (64 - shift) });
        let window = ((low | high) & ((1 << WIDTH) - 1)) + carry;
        // One if the window exceeds half: then 2^WIDTH is lent by the next.
        carry = (window + (1 << (WIDTH - 1)) - 1) >> WIDTH;
        let [value, ..] = window.wrapping_sub(carry << WIDTH).to_le_bytes();
        *digit = i8::from_le_bytes([value]);
    }
    digits
}

/// `number` in digits that are zero or odd and below 16 in magnitude, four zeros at least after each that is not, and
/// how many digits there are. Not constant time.
fn sparse_digits(number: &Limbs) -> ([i8; 257], usize) {
    let mut digits = [0; 257];
    let mut len = 0;
    let (mut position, mut carry) = (0, 0);
    while position < 257 {
        let (limb, shift) = (position / 64, position % 64);
        let low = number.get(limb).map_or(0, |limb| limb >> shift);
        let high = number.get(limb + 1).map_or(0, |limb| if shift == 0 { 0 } else { limb << (64 - shift) });
        let window = ((low | high) & 31) + carry;
        if window & 1 == 0 {
            position += 1;
            continue;
        }
        carry = window >> 4 & 1;
        let [value, ..] = window.wrapping_sub(carry << 5).to_le_bytes();
        digits[position] = i8::from_le_bytes([value]);
        len = position + 1;
        position += 5;
    }
    (digits, len)
}
