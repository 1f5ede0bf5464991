//! The S-box as arithmetic on bit planes: no table, no branch.
//!
//! SM4's S-box is `A inv(A x + c) + c` over GF(2)\[x\]/(x^8 + x^7 + x^6 + x^5 + x^4 + x^2 + 1), with A the circulant matrix
//! of 0xa7 and c = 0xd3. Inversion is done in a tower of fields where it is cheap: GF(4) with w^2 = w + 1, GF(16) with
//! z^2 = z + w, GF(256) with y^2 = y + m for m = 9, that is z^3 + 1 in bits. The map into the tower is folded into the
//! first affine map and the map out of it into the second.

/// Row per output bit: which input bits it is the sum of. `A`, then into the tower.
const INTO: [u8; 8] = [0x26, 0x72, 0xa4, 0x18, 0x57, 0x40, 0x84, 0x7f];
/// The constant of the first affine map, in the tower.
const INTO_CONSTANT: u8 = 0xea;
/// Out of the tower, then `A`.
const OUT: [u8; 8] = [0x55, 0x41, 0x76, 0xd1, 0x8a, 0x2a, 0x03, 0x2f];
const OUT_CONSTANT: u8 = 0xd3;

/// The S-box of the bytes of 16 words.
#[inline]
pub(super) fn substitute(words: &mut [u32; 16]) {
    let mut planes: [u64; 8] =
        std::array::from_fn(|at| u64::from(words[2 * at]) | u64::from(words[2 * at + 1]) << 32);
    transpose(&mut planes);
    planes = on_planes(planes);
    transpose(&mut planes);
    for (pair, plane) in words.as_chunks_mut::<2>().0.iter_mut().zip(planes) {
        let [a, b, c, d, e, f, g, h] = plane.to_le_bytes();
        *pair = [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])];
    }
}

/// The S-box of the bytes of one word.
pub(super) fn substitute_word(word: u32) -> u32 {
    let mut words = [0; 16];
    words[0] = word;
    substitute(&mut words);
    words[0]
}

/// Eight times eight bytes to eight planes, plane `n` holding bit `n` of each byte; and back.
#[inline]
fn transpose(q: &mut [u64; 8]) {
    for (shift, mask) in
        [(1, 0x5555_5555_5555_5555_u64), (2, 0x3333_3333_3333_3333), (4, 0x0f0f_0f0f_0f0f_0f0f)]
    {
        for low in (0..8).filter(|at| at & shift == 0) {
            let (a, b) = (q[low], q[low | shift]);
            q[low] = a & mask | (b & mask) << shift;
            q[low | shift] = (a >> shift) & mask | b & !mask;
        }
    }
}

/// The S-box, given and giving bit planes, lowest bit first.
#[inline]
fn on_planes(planes: [u64; 8]) -> [u64; 8] {
    let x = affine(&INTO, INTO_CONSTANT, &planes);
    let (low, high) = ([x[0], x[1], x[2], x[3]], [x[4], x[5], x[6], x[7]]);
    // The norm: m high^2 + low (high + low).
    let both = add(low, high);
    let [h0, h1, h2, h3] = high;
    let norm = add([h0 ^ h1 ^ h2 ^ h3, h1 ^ h3, h1, h0], multiply(low, both));
    let inverse = invert(norm);
    let ([l0, l1, l2, l3], [h0, h1, h2, h3]) = (multiply(both, inverse), multiply(high, inverse));
    affine(&OUT, OUT_CONSTANT, &[l0, l1, l2, l3, h0, h1, h2, h3])
}

#[inline(always)]
fn affine(rows: &[u8; 8], constant: u8, planes: &[u64; 8]) -> [u64; 8] {
    std::array::from_fn(|row| {
        let start = if constant >> row & 1 == 1 { u64::MAX } else { 0 };
        (0..8).filter(|bit| rows[row] >> bit & 1 == 1).fold(start, |sum, bit| sum ^ planes[bit])
    })
}

/// The sum of two elements of GF(16).
#[inline(always)]
fn add(a: [u64; 4], b: [u64; 4]) -> [u64; 4] {
    std::array::from_fn(|bit| a[bit] ^ b[bit])
}

/// The product of two elements of GF(16).
#[inline(always)]
fn multiply(a: [u64; 4], b: [u64; 4]) -> [u64; 4] {
    let low = multiply_quarter([a[0], a[1]], [b[0], b[1]]);
    let high = multiply_quarter([a[2], a[3]], [b[2], b[3]]);
    let cross = multiply_quarter([a[0] ^ a[2], a[1] ^ a[3]], [b[0] ^ b[2], b[1] ^ b[3]]);
    // w (h1 w + h0) = (h0 + h1) w + h1.
    [low[0] ^ high[1], low[1] ^ high[0] ^ high[1], cross[0] ^ low[0], cross[1] ^ low[1]]
}

/// The product of two elements of GF(4).
#[inline(always)]
fn multiply_quarter(a: [u64; 2], b: [u64; 2]) -> [u64; 2] {
    let (low, high) = (a[0] & b[0], a[1] & b[1]);
    [low ^ high, ((a[0] ^ a[1]) & (b[0] ^ b[1])) ^ low]
}

/// The inverse in GF(16), and 0 for 0.
#[inline(always)]
fn invert(x: [u64; 4]) -> [u64; 4] {
    let (low, high) = ([x[0], x[1]], [x[2], x[3]]);
    let both = [low[0] ^ high[0], low[1] ^ high[1]];
    // The norm w high^2 + low (high + low), and in GF(4) the inverse is the square: (b1, b0) to (b1, b0 + b1).
    let product = multiply_quarter(low, both);
    let norm = [high[1] ^ product[0], high[0] ^ product[1]];
    let inverse = [norm[0] ^ norm[1], norm[1]];
    let (low, high) = (multiply_quarter(both, inverse), multiply_quarter(high, inverse));
    [low[0], low[1], high[0], high[1]]
}
