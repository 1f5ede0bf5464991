//! Points of the curve y^2 = x^3 - 3x + b (GB/T 32918.5 clause A.1), affine and in Jacobian coordinates.

use zeroize::Zeroize;

use super::field::Field;

/// The base point G.
pub(super) const GENERATOR: Affine = Affine { x: Field::GENERATOR_X, y: Field::GENERATOR_Y };

/// A point that is not at infinity.
#[derive(Clone, Copy, PartialEq, Eq, Zeroize)]
pub(super) struct Affine {
    pub(super) x: Field,
    pub(super) y: Field,
}

impl Affine {
    /// What [`Affine::merge`] starts from; not a point.
    pub(super) const BLANK: Self = Self { x: Field::ZERO, y: Field::ZERO };

    /// The curve's b, which every SM2 digest of a key begins with.
    pub(super) fn b() -> [u8; 32] {
        Field::B.to_be_bytes()
    }

    /// The curve's a, -3.
    pub(super) fn a() -> [u8; 32] {
        Field::ONE.double().add(&Field::ONE).negate().to_be_bytes()
    }

    /// The point with these coordinates. `None` unless both are below p and satisfy the curve's equation. The group has
    /// prime order, so every such point belongs to it.
    pub(super) fn from_coordinates(x: &[u8; 32], y: &[u8; 32]) -> Option<Self> {
        let (x, y) = (Field::from_be_bytes(x)?, Field::from_be_bytes(y)?);
        let three_x = x.double().add(&x);
        let right = x.square().mul(&x).sub(&three_x).add(&Field::B);
        (y.square() == right).then_some(Self { x, y })
    }

    /// The point or, where `mask` is all ones, its negative.
    #[inline(always)]
    pub(super) fn negate_if(&self, mask: u64) -> Self {
        Self { x: self.x, y: Field::select(&self.y, &self.y.negate(), mask) }
    }

    /// Merges in `other` where `mask` is all ones; see [`Field::merge`].
    #[inline(always)]
    pub(super) fn merge(&mut self, other: &Self, mask: u64) {
        self.x.merge(&other.x, mask);
        self.y.merge(&other.y, mask);
    }
}

/// The point (x / z^2, y / z^3), or that at infinity where z is zero.
#[derive(Clone, Copy, Zeroize)]
pub(super) struct Jacobian {
    pub(super) x: Field,
    pub(super) y: Field,
    pub(super) z: Field,
}

impl Jacobian {
    pub(super) const INFINITY: Self = Self { x: Field::ONE, y: Field::ONE, z: Field::ZERO };
    /// What [`Jacobian::merge`] starts from: at infinity too.
    pub(super) const BLANK: Self = Self { x: Field::ZERO, y: Field::ZERO, z: Field::ZERO };

    pub(super) fn from_affine(point: &Affine) -> Self {
        Self { x: point.x, y: point.y, z: Field::ONE }
    }

    /// The affine form, meaningless for the point at infinity. Constant time.
    pub(super) fn to_affine(self) -> Affine {
        let inverse = self.z.invert();
        self.to_affine_with(&inverse)
    }

    /// The affine form, `inverse` being that of z.
    pub(super) fn to_affine_with(self, inverse: &Field) -> Affine {
        let square = inverse.square();
        Affine { x: self.x.mul(&square), y: self.y.mul(&square.mul(inverse)) }
    }

    /// Twice the point. Holds for every point: the group's order is odd, so that no y is zero.
    #[inline]
    pub(super) fn double(&self) -> Self {
        let twice_y = self.y.double();
        let z_squared = self.z.square();
        let y_squared = twice_y.square();
        let z = twice_y.mul(&self.z);
        let slope = self.x.sub(&z_squared).mul(&self.x.add(&z_squared));
        let slope = slope.double().add(&slope);
        let s = y_squared.mul(&self.x);
        let x = slope.square().sub(&s.double());
        let y = slope.mul(&s.sub(&x)).sub(&y_squared.square().half());
        Self { x, y, z }
    }

    /// The point doubled so many times. Carries z^4 along, and twice y, to save work on the way.
    #[inline]
    pub(super) fn double_times(&self, times: usize) -> Self {
        let (mut x, mut y, mut z) = (self.x, self.y.double(), self.z);
        let mut z_fourth = z.square().square();
        for left in (0..times).rev() {
            let slope = x.square().sub(&z_fourth);
            let slope = slope.double().add(&slope);
            let y_squared = y.square();
            let y_fourth = y_squared.square();
            let s = x.mul(&y_squared);
            z = z.mul(&y);
            if left > 0 {
                z_fourth = z_fourth.mul(&y_fourth);
            }
            x = slope.square().sub(&s.double());
            y = slope.mul(&s.sub(&x)).double().sub(&y_fourth);
        }
        Self { x, y: y.half(), z }
    }

    /// The sum of two points neither of which is at infinity and which are not the same. Constant time.
    #[inline]
    pub(super) fn add_distinct(&self, other: &Self) -> Self {
        let z1_squared = self.z.square();
        let z2_squared = other.z.square();
        let u1 = self.x.mul(&z2_squared);
        let s1 = self.y.mul(&z2_squared.mul(&other.z));
        let h = other.x.mul(&z1_squared).sub(&u1);
        let r = other.y.mul(&z1_squared.mul(&self.z)).sub(&s1);
        Self::chord(&u1, &s1, &h, &r, &self.z.mul(&other.z))
    }

    /// [`Jacobian::add_distinct`] of an affine point.
    #[inline]
    pub(super) fn add_distinct_affine(&self, other: &Affine) -> Self {
        let z_squared = self.z.square();
        let h = other.x.mul(&z_squared).sub(&self.x);
        let r = other.y.mul(&z_squared.mul(&self.z)).sub(&self.y);
        Self::chord(&self.x, &self.y, &h, &r, &self.z)
    }

    /// The third point on the line through two: (`x`, `y`) over `z` is one, `h` and `r` lead to the other.
    #[inline(always)]
    fn chord(x: &Field, y: &Field, h: &Field, r: &Field, z: &Field) -> Self {
        let h_squared = h.square();
        let h_cubed = h_squared.mul(h);
        let v = x.mul(&h_squared);
        let x = r.square().sub(&h_cubed).sub(&v.double());
        Self { x, y: r.mul(&v.sub(&x)).sub(&y.mul(&h_cubed)), z: z.mul(h) }
    }

    /// The sum of any two points. Not constant time: for public ones.
    pub(super) fn add_public(&self, other: &Self) -> Self {
        if self.z.is_zero() {
            return *other;
        }
        if other.z.is_zero() {
            return *self;
        }
        let sum = self.add_distinct(other);
        // z vanishes when x is the same: then they are one point, whose double it is, or each other's negative.
        if sum.z.is_zero() && self.is_public(other) { self.double() } else { sum }
    }

    /// [`Jacobian::add_public`] of an affine point.
    #[inline]
    pub(super) fn add_public_affine(&self, other: &Affine) -> Self {
        if self.z.is_zero() {
            return Self::from_affine(other);
        }
        let sum = self.add_distinct_affine(other);
        if sum.z.is_zero() && self.is_public(&Self::from_affine(other)) { self.double() } else { sum }
    }

    pub(super) fn negate(&self) -> Self {
        Self { x: self.x, y: self.y.negate(), z: self.z }
    }

    /// The point or, where `mask` is all ones, its negative.
    #[inline(always)]
    pub(super) fn negate_if(&self, mask: u64) -> Self {
        Self { x: self.x, y: Field::select(&self.y, &self.y.negate(), mask), z: self.z }
    }

    /// `a` where `mask` is zero, `b` where it is all ones.
    #[inline(always)]
    pub(super) fn select(a: &Self, b: &Self, mask: u64) -> Self {
        Self {
            x: Field::select(&a.x, &b.x, mask),
            y: Field::select(&a.y, &b.y, mask),
            z: Field::select(&a.z, &b.z, mask),
        }
    }

    /// Merges in `other` where `mask` is all ones; see [`Field::merge`].
    #[inline(always)]
    pub(super) fn merge(&mut self, other: &Self, mask: u64) {
        self.x.merge(&other.x, mask);
        self.y.merge(&other.y, mask);
        self.z.merge(&other.z, mask);
    }

    /// Whether two points, neither at infinity, are the same.
    fn is_public(&self, other: &Self) -> bool {
        let (z1, z2) = (self.z.square(), other.z.square());
        self.x.mul(&z2) == other.x.mul(&z1) && self.y.mul(&z2.mul(&other.z)) == other.y.mul(&z1.mul(&self.z))
    }
}

/// The affine forms of points none of which is at infinity, for the price of one inversion (Montgomery's trick).
pub(super) fn to_affine_all(points: &[Jacobian]) -> Vec<Affine> {
    let mut product = Field::ONE;
    let before: Vec<Field> = points
        .iter()
        .map(|point| {
            let before = product;
            product = product.mul(&point.z);
            before
        })
        .collect();
    let mut inverse = product.invert();
    let mut affine: Vec<Affine> = points
        .iter()
        .zip(&before)
        .rev()
        .map(|(point, before)| {
            let own = inverse.mul(before);
            inverse = inverse.mul(&point.z);
            point.to_affine_with(&own)
        })
        .collect();
    affine.reverse();
    affine
}
