//! SM4's S-box by way of the field of AES: as matrices that GF2P8AFFINEQB and GF2P8AFFINEINVQB take, where the row of bit
//! `n` is byte `7 - n`, and as tables of half bytes around the S-box of AES.

/// From SM4's field into that of AES, with the first affine map, whose constant is [`INTO_CONSTANT`].
pub(super) const INTO: i64 = 0x4c28_7db9_1a22_505d;
pub(super) const INTO_CONSTANT: i32 = 0x3e;
/// Back, with the second affine map, whose constant is [`OUT_CONSTANT`].
pub(super) const OUT: i64 = 0xf3ab_34a9_74a6_b589_u64.cast_signed();
pub(super) const OUT_CONSTANT: i32 = 0xd3;
/// The inverse of [`INTO`].
#[cfg(any(test, target_arch = "x86_64"))]
pub(super) const UNDO_INTO: i64 = 0xb3a4_f586_3284_728b_u64.cast_signed();

/// [`INTO`] with its constant, by the lower and the upper half of a byte.
pub(super) const INTO_AES: [[u8; 16]; 2] = halves(true);
/// The same from the output of the AES S-box: its own affine map undone, then [`OUT`].
pub(super) const OUT_AES: [[u8; 16]; 2] = halves(false);

/// Words turned by 0, 8, 16 and 24 bits to the left.
#[cfg(target_arch = "x86_64")]
pub(super) const IN_ORDER: [[u8; 16]; 4] = turns([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
/// The same after AES has shifted its rows.
pub(super) const SHIFTED_ROWS: [[u8; 16]; 4] = turns([0, 13, 10, 7, 4, 1, 14, 11, 8, 5, 2, 15, 12, 9, 6, 3]);

/// What the diffusion (GB/T 32907 clause 6.2) makes of a byte of the S-box, in the field of AES: its share in the byte
/// that is `places` further up in the word.
#[cfg(any(test, target_arch = "x86_64"))]
pub(super) const fn diffused(places: usize) -> i64 {
    let (mut bit, mut rows) = (0, [0_u8; 8]);
    while bit < 8 {
        let column = affine(INTO, share(affine(OUT, 1 << bit), places));
        let mut row = 0;
        while row < 8 {
            rows[row] |= (column >> row & 1) << bit;
            row += 1;
        }
        bit += 1;
    }
    i64::from_be_bytes(rows)
}

/// What is left over of the constants: each word takes it up once a round.
#[cfg(target_arch = "x86_64")]
pub(super) const DIFFUSED_CONSTANT: i32 = {
    let constant = OUT_CONSTANT.to_le_bytes()[0];
    let all = share(constant, 0) ^ share(constant, 1) ^ share(constant, 2) ^ share(constant, 3);
    affine(INTO, all) as i32
};

/// `t`, and `t` turned by 2, 10, 18 and 24 bits, as far as it comes to stand that many bytes further up.
#[cfg(any(test, target_arch = "x86_64"))]
const fn share(t: u8, places: usize) -> u8 {
    match places {
        0 => t ^ t << 2,
        1 | 2 => t >> 6 ^ t << 2,
        _ => t >> 6 ^ t,
    }
}

const fn turns(place: [u8; 16]) -> [[u8; 16]; 4] {
    let mut turns = [[0; 16]; 4];
    let mut at = 0;
    while at < 64 {
        let (turn, byte) = (at / 16, at % 16);
        turns[turn][byte] = place[byte / 4 * 4 + (byte + 4 - turn) % 4];
        at += 1;
    }
    turns
}

const fn halves(into: bool) -> [[u8; 16]; 2] {
    let mut tables = [[0; 16]; 2];
    let mut at = 0;
    while at < 16 {
        tables[0][at as usize] = if into { into_aes(at) } else { out_of_aes(at) };
        // The constant is in the first table already.
        tables[1][at as usize] =
            if into { into_aes(at << 4) ^ into_aes(0) } else { out_of_aes(at << 4) ^ out_of_aes(0) };
        at += 1;
    }
    tables
}

const fn into_aes(x: u8) -> u8 {
    affine(INTO, x) ^ INTO_CONSTANT.to_le_bytes()[0]
}

const fn out_of_aes(x: u8) -> u8 {
    // FIPS 197 clause 5.3.2: the inverse of the affine map of the S-box.
    let inverse = x.rotate_left(1) ^ x.rotate_left(3) ^ x.rotate_left(6) ^ 0x05;
    affine(OUT, inverse) ^ OUT_CONSTANT.to_le_bytes()[0]
}

/// The product of a matrix and a byte.
const fn affine(matrix: i64, x: u8) -> u8 {
    let rows = matrix.to_be_bytes();
    let (mut bit, mut y) = (0, 0);
    while bit < 8 {
        if (rows[bit] & x).count_ones() % 2 == 1 {
            y |= 1 << bit;
        }
        bit += 1;
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_maps_undo_each_other_and_keep_to_the_s_box() {
        for x in 0..=255 {
            assert_eq!(affine(UNDO_INTO, affine(INTO, x)), x);
            assert_eq!(affine(INTO, affine(UNDO_INTO, x)), x);
        }
        for places in 0..4 {
            for x in 0..=255 {
                let expected = affine(INTO, share(affine(OUT, x), places));
                assert_eq!(affine(diffused(places), x), expected, "{places} {x}");
            }
        }
    }
}
