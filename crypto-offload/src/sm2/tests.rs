//! Against the standard's example and against the `sm2` crate.

use ::sm2::dsa::signature::{Signer as _, Verifier as _};
use ::sm2::elliptic_curve::PrimeField as _;
use ::sm2::elliptic_curve::sec1::ToSec1Point as _;
use proptest::prelude::*;

use super::scalar::Scalar;
use super::*;
use crate::job::Verdict;

/// GB/T 32918.5 clause A.2.
const PRIVATE: &str = "3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8";
const NONCE: &str = "59276e27d506861a16680f3ad9c02dccef3cc1fa3cdbe4ce6d54b80deac1bc21";
const N: &str = "fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123";

fn bytes(text: &str) -> [u8; 32] {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// n plus a small number, which may be negative.
fn near_n(offset: i64) -> [u8; 32] {
    let mut number = bytes(N);
    let low = u64::from_be_bytes(number[24..].try_into().unwrap());
    number[24..].copy_from_slice(&low.wrapping_add_signed(offset).to_be_bytes());
    number
}

fn small(number: u64) -> [u8; 32] {
    let mut all = [0; 32];
    all[24..].copy_from_slice(&number.to_be_bytes());
    all
}

fn reference_scalar(scalar: &[u8; 32]) -> ::sm2::Scalar {
    ::sm2::Scalar::from_repr((*scalar).into()).unwrap()
}

fn reference_point(point: ::sm2::ProjectivePoint) -> Vec<u8> {
    point.to_affine().to_sec1_point(false).as_bytes().to_vec()
}

fn edge_scalars() -> Vec<[u8; 32]> {
    let mut scalars: Vec<_> = (1..70).map(small).collect();
    scalars.extend((1..70).map(|less| near_n(-less)));
    let half = bytes("7fffffff7fffffffffffffffffffffffb901efb590e30295a9ddfa049ceaa091");
    for offset in 0..40_u8 {
        let mut around = half;
        around[31] = around[31].wrapping_add(offset).wrapping_sub(20);
        scalars.push(around);
    }
    for bit in 0..255 {
        let mut power = [0; 32];
        power[31 - bit / 8] = 1 << (bit % 8);
        scalars.push(power);
    }
    scalars
}

#[test]
fn the_standards_example_comes_out_digit_for_digit() {
    let secret = SecretKey::from_be_bytes(&bytes(PRIVATE)).unwrap();
    let public = secret.public_key();
    assert_eq!(
        hex::encode(public.to_uncompressed()),
        "0409f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020\
         ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13"
    );
    assert_eq!(
        hex::encode(digest::identity(UserId::DEFAULT, &public)),
        "b2e14c5c79c6df5b85f4fe7ed8db7a262b9da7e07ccb0ea9f4747b8ccda8a4f3"
    );
    let e = digest::message(UserId::DEFAULT, &public, &[b"message ", b"digest"]);
    assert_eq!(
        hex::encode(e.to_be_bytes()),
        "f0b43e94ba45accaace692ed534382eb17e6ab5a19ce7b31f4486fdfc0d28640"
    );
    let nonce = Scalar::from_be_bytes(&bytes(NONCE)).unwrap();
    let signature = SigningKey::new(secret).try_nonce(&e, &nonce).unwrap();
    assert_eq!(
        hex::encode(signature.to_be_bytes()),
        "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3\
         b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa"
    );
    assert_eq!(public.verify(UserId::DEFAULT, &[b"message digest"], &signature), Verdict::Valid);
    assert_eq!(public.verify(UserId::TLS13, &[b"message digest"], &signature), Verdict::Invalid);
}

#[test]
fn edge_scalars_multiply_g_as_the_reference_does() {
    for scalar in edge_scalars() {
        let ours = multiply::generator(&Scalar::from_be_bytes(&scalar).unwrap()).to_affine();
        let theirs = reference_point(::sm2::ProjectivePoint::GENERATOR * reference_scalar(&scalar));
        assert_eq!(PublicKey(ours).to_uncompressed()[..], theirs, "{}", hex::encode(scalar));
    }
}

#[test]
fn edge_scalars_multiply_any_point_as_the_reference_does() {
    let base = SecretKey::from_be_bytes(&bytes(PRIVATE)).unwrap().public_key();
    let reference = ::sm2::ProjectivePoint::GENERATOR * reference_scalar(&bytes(PRIVATE));
    for scalar in edge_scalars() {
        let ours = multiply::point(&Scalar::from_be_bytes(&scalar).unwrap(), &base.0).to_affine();
        let theirs = reference_point(reference * reference_scalar(&scalar));
        assert_eq!(PublicKey(ours).to_uncompressed()[..], theirs, "{}", hex::encode(scalar));
    }
}

#[test]
fn public_sums_survive_doublings_and_the_point_at_infinity() {
    // a G + b (d G) for small numbers and their negatives: every addend meets itself and its negative on the way.
    let numbers: Vec<[u8; 32]> = (0..7).map(small).chain((1..7).map(|less| near_n(-less))).collect();
    for d in [small(1), small(2), small(3), near_n(-1), near_n(-3), small(1 << 32)] {
        let point = multiply::generator(&Scalar::from_be_bytes(&d).unwrap()).to_affine();
        let comb = table::Comb::new(&point);
        let reference = ::sm2::ProjectivePoint::GENERATOR * reference_scalar(&d);
        for a in &numbers {
            for b in &numbers {
                let [ours_a, ours_b] = [a, b].map(|number| Scalar::from_be_bytes(number).unwrap());
                let theirs = reference_point(
                    ::sm2::ProjectivePoint::GENERATOR * reference_scalar(a) + reference * reference_scalar(b),
                );
                for sum in [
                    multiply::public_sum(&ours_a, &ours_b, &point),
                    multiply::public_sum_combed(&ours_a, &ours_b, &comb),
                ] {
                    let ours = if sum.z.is_zero() {
                        vec![0]
                    } else {
                        PublicKey(sum.to_affine()).to_uncompressed().to_vec()
                    };
                    assert_eq!(
                        ours,
                        theirs,
                        "{} G + {} * {} G",
                        hex::encode(a),
                        hex::encode(b),
                        hex::encode(d)
                    );
                }
            }
        }
    }
}

#[test]
fn private_keys_lie_between_1_and_n_less_2() {
    for (number, good) in [
        (small(0), false),
        (small(1), true),
        (near_n(-2), true),
        (near_n(-1), false),
        (near_n(0), false),
        (near_n(1), false),
        ([0xff; 32], false),
    ] {
        assert_eq!(SecretKey::from_be_bytes(&number).is_ok(), good, "{}", hex::encode(number));
    }
}

#[test]
fn generating_a_key_draws_again_and_passes_failures_on() {
    let mut draws = vec![small(5), near_n(0), small(0)];
    let key = SecretKey::generate(|out: &mut [u8]| {
        out.copy_from_slice(&draws.pop().unwrap());
        Ok::<_, ()>(())
    });
    assert_eq!(*key.unwrap().to_be_bytes(), small(5));
    assert_eq!(SecretKey::generate(|_: &mut [u8]| Err("dry")).err(), Some("dry"));
}

#[test]
fn user_ids_end_at_8191_bytes() {
    let id = [7; 8192];
    assert!(UserId::new(&id[..8191]).is_ok());
    assert!(UserId::new(&id).is_err());
}

#[test]
fn nonces_that_give_a_zero_are_refused() {
    let key = SigningKey::new(SecretKey::from_be_bytes(&bytes(PRIVATE)).unwrap());
    let nonce = Scalar::from_be_bytes(&bytes(NONCE)).unwrap();
    let x = Scalar::reduce(&multiply::generator(&nonce).to_affine().x.to_limbs());
    let d = key.secret().scalar;
    // r = e + x is 0; r + k is 0; s is 0, which is k = r d.
    let r_for_zero_s = nonce.mul(&d.invert());
    for (name, r) in [("r", Scalar::ONE.sub(&Scalar::ONE)), ("r + k", nonce.negate()), ("s", r_for_zero_s)] {
        assert_eq!(key.try_nonce(&r.sub(&x), &nonce), None, "{name}");
        assert!(key.try_nonce(&r.sub(&x).add(&Scalar::ONE), &nonce).is_some(), "{name}, one past it");
    }
}

#[test]
fn a_refused_nonce_is_followed_by_another() {
    let one = Scalar::ONE;
    let mut nonces = nonce::Nonces::new(&one, &one, &[]);
    let first = nonces.next();
    nonces.refuse();
    let second = nonces.next();
    assert!(*first != *second);
    let mut again = nonce::Nonces::new(&one, &one, &[]);
    assert!(*again.next() == *first);
    assert!(*nonce::Nonces::new(&one, &one, &[1; 32]).next() != *first);
}

#[test]
fn an_x_between_the_order_and_the_modulus_counts_modulo_the_order() {
    use ::sm2::elliptic_curve::point::DecompressPoint as _;
    use ::sm2::elliptic_curve::subtle::Choice;

    // The first point with x from n on. Chance meets one in 2^66 nonces.
    let (x, point) = (0..100)
        .find_map(|offset| {
            let x = near_n(offset);
            let point = ::sm2::AffinePoint::decompress(&x.into(), Choice::from(0));
            Option::from(point).map(|point: ::sm2::AffinePoint| (x, point))
        })
        .unwrap();
    assert!(Scalar::from_be_bytes(&x).is_none());
    // The key for which s G + (r + s) P is that point, for r and s of choice.
    let (r, s) = (small(77), small(88));
    let t_inverse = (reference_scalar(&r) + reference_scalar(&s)).invert().unwrap();
    let key = (::sm2::ProjectivePoint::from(point)
        - ::sm2::ProjectivePoint::GENERATOR * reference_scalar(&s))
        * t_inverse;
    let key = PublicKey::from_uncompressed(&reference_point(key)).unwrap();
    let [r, s] = [r, s].map(|number| Scalar::from_be_bytes(&number).unwrap());
    let e = r.sub(&Scalar::reduce(&limbs::from_be_bytes(&x)));

    let signature = Signature { r, s };
    let combed = |e: &Scalar| {
        verify::verdict(e, &signature, |s, t| multiply::public_sum_combed(s, t, &table::Comb::new(&key.0)))
    };
    let plain = |e: &Scalar| verify::verdict(e, &signature, |s, t| multiply::public_sum(s, t, &key.0));
    assert_eq!((plain(&e), combed(&e)), (Verdict::Valid, Verdict::Valid));
    let other = e.add(&Scalar::ONE);
    assert_eq!((plain(&other), combed(&other)), (Verdict::Invalid, Verdict::Invalid));
}

#[test]
fn numbers_out_of_range_are_no_signature() {
    let one = small(1);
    for (name, r, s) in [
        ("r = 0", small(0), one),
        ("s = 0", one, small(0)),
        ("r = n", near_n(0), one),
        ("s = n", one, near_n(0)),
        ("r = n + 1", near_n(1), one),
        ("s = 2^256 - 1", one, [0xff; 32]),
    ] {
        let both = [r, s].concat().try_into().unwrap();
        assert_eq!(Signature::from_be_bytes(&both), Err(SignatureError::Range), "{name}");
        let der = crate::job::der::write_signature(&both);
        assert_eq!(Signature::from_der(&der), Err(SignatureError::Range), "{name}");
    }
    let largest = [near_n(-1), near_n(-1)].concat().try_into().unwrap();
    assert!(Signature::from_be_bytes(&largest).is_ok());
}

#[test]
fn a_genuine_signature_turned_any_other_way_is_invalid() {
    let key = SigningKey::new(SecretKey::from_be_bytes(&bytes(PRIVATE)).unwrap());
    let public = key.secret().public_key();
    let prepared = PreparedKey::new(public);
    let Signature { r, s } = key.sign(UserId::DEFAULT, &[b"m"]);
    let check = |r: Scalar, s: Scalar| {
        let verdicts = [
            public.verify(UserId::DEFAULT, &[b"m"], &Signature { r, s }),
            prepared.verify(UserId::DEFAULT, &[b"m"], &Signature { r, s }),
        ];
        assert_eq!(verdicts[0], verdicts[1]);
        verdicts[0]
    };
    assert_eq!(check(r, s), Verdict::Valid);
    for (name, r, s) in [
        ("r + s = n", r, r.negate()),
        ("s negated", r, s.negate()),
        ("r negated", r.negate(), s),
        ("both negated", r.negate(), s.negate()),
        ("swapped", s, r),
        ("s one up", r, s.add(&Scalar::ONE)),
        ("r one up", r.add(&Scalar::ONE), s),
    ] {
        assert_eq!(check(r, s), Verdict::Invalid, "{name}");
    }
}

#[test]
fn points_in_any_other_form_or_place_are_no_key() {
    let good = SecretKey::from_be_bytes(&bytes(PRIVATE)).unwrap().public_key().to_uncompressed();
    let with = |at: usize, octet: u8| {
        let mut bad = good;
        bad[at] = octet;
        bad.to_vec()
    };
    let p = bytes("fffffffeffffffffffffffffffffffffffffffff00000000ffffffffffffffff");
    let cases: [(&str, Vec<u8>, KeyError); 9] = [
        ("empty", Vec::new(), KeyError::Form),
        ("at infinity", vec![0], KeyError::Form),
        ("compressed", good[..33].to_vec(), KeyError::Form),
        ("hybrid", with(0, 6), KeyError::Form),
        ("one byte short", good[..64].to_vec(), KeyError::Form),
        ("one byte long", [&good[..], &[0]].concat(), KeyError::Form),
        ("off the curve", with(64, good[64] ^ 1), KeyError::OffCurve),
        ("all zeros", [&[4][..], &[0; 64]].concat(), KeyError::OffCurve),
        ("x = p", [&[4], &p[..], &good[33..]].concat(), KeyError::OffCurve),
    ];
    for (name, bytes, error) in cases {
        assert_eq!(PublicKey::from_uncompressed(&bytes), Err(error), "{name}");
    }
}

#[test]
fn a_private_key_file_is_read_strictly() {
    let key = SecretKey::from_be_bytes(&bytes(PRIVATE)).unwrap();
    let good = *key.to_pkcs8_der();
    let with = |at: usize, octet: u8| {
        let mut bad = good;
        bad[at] = octet;
        SecretKey::from_pkcs8_der(&bad).err()
    };
    assert!(SecretKey::from_pkcs8_der(&good).is_ok());
    assert_eq!(with(5, 2), Some(KeyError::Der), "version 2");
    assert_eq!(with(26, 0x2e), Some(KeyError::Algorithm), "another curve");
    assert_eq!(with(137, good[137] ^ 1), Some(KeyError::OffCurve));
    assert_eq!(with(67, good[67] ^ 1), Some(KeyError::Mismatch));
    let trailing = [&good[..], &[0]].concat();
    assert_eq!(SecretKey::from_pkcs8_der(&trailing).err(), Some(KeyError::Der));
    // The ECPrivateKey inside names no curve, so it does not stand alone.
    assert_eq!(SecretKey::from_sec1_der(&good[29..]).err(), Some(KeyError::Algorithm));
    assert_eq!(SecretKey::from_pem("").err(), Some(KeyError::Pem));
}

prop_compose! {
    /// Numbers with long runs of ones and zeros among them.
    fn scalar()(words in proptest::array::uniform4(prop_oneof![any::<u64>(), Just(0), Just(u64::MAX), Just(1)]), low in any::<u64>())
        -> [u8; 32]
    {
        let mut number = [0; 32];
        for (octets, word) in number.chunks_mut(8).zip(words) {
            octets.copy_from_slice(&word.to_be_bytes());
        }
        match SecretKey::from_be_bytes(&number) {
            Ok(_) => number,
            Err(_) => small(low.max(1)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn signatures_are_those_of_the_reference(d in scalar(), message in proptest::collection::vec(any::<u8>(), 0..200)) {
        let ours = SigningKey::new(SecretKey::from_be_bytes(&d).unwrap());
        let secret = ::sm2::SecretKey::from_slice(&d).unwrap();
        let theirs = ::sm2::dsa::SigningKey::new("1234567812345678", &secret).unwrap();

        let signature = ours.sign(UserId::DEFAULT, &[&message]);
        let expected: ::sm2::dsa::Signature = theirs.sign(&message);
        prop_assert_eq!(signature.to_be_bytes()[..].to_vec(), expected.to_bytes().to_vec());

        let public = ours.secret().public_key();
        let prepared = PreparedKey::new(public);
        let hedged = ours.sign_hedged(UserId::DEFAULT, &[&message], &[7; 32]);
        prop_assert_ne!(hedged, signature);
        theirs.verifying_key().verify(&message, &::sm2::dsa::Signature::from_slice(&hedged.to_be_bytes()).unwrap()).unwrap();
        for signature in [signature, hedged] {
            prop_assert_eq!(public.verify(UserId::DEFAULT, &[&message], &signature), Verdict::Valid);
            prop_assert_eq!(prepared.verify(UserId::DEFAULT, &[&message], &signature), Verdict::Valid);
            prop_assert_eq!(public.verify(UserId::TLS13, &[&message], &signature), Verdict::Invalid);
            prop_assert_eq!(prepared.verify(UserId::TLS13, &[&message], &signature), Verdict::Invalid);
        }
    }

    #[test]
    fn any_two_numbers_are_judged_as_by_the_reference(d in scalar(), r in scalar(), s in scalar()) {
        let ours = SecretKey::from_be_bytes(&d).unwrap().public_key();
        let theirs = ::sm2::dsa::VerifyingKey::from_sec1_bytes("1234567812345678", &ours.to_uncompressed()).unwrap();
        let both: [u8; 64] = [r, s].concat().try_into().unwrap();
        let signature = Signature::from_be_bytes(&both).unwrap();
        let expected = theirs.verify(b"m", &::sm2::dsa::Signature::from_slice(&both).unwrap()).is_ok();
        let expected = if expected { Verdict::Valid } else { Verdict::Invalid };
        prop_assert_eq!(ours.verify(UserId::DEFAULT, &[b"m"], &signature), expected);
        prop_assert_eq!(PreparedKey::new(ours).verify(UserId::DEFAULT, &[b"m"], &signature), expected);
    }

    #[test]
    fn both_sides_agree_on_the_reference_s_secret(a in scalar(), b in scalar()) {
        let ours = [a, b].map(|number| SecretKey::from_be_bytes(&number).unwrap());
        let theirs = ::sm2::SecretKey::from_slice(&b).unwrap();
        let expected = reference_point(theirs.public_key().to_projective() * reference_scalar(&a));
        prop_assert_eq!(&ours[0].agree(&ours[1].public_key())[..], &expected[1..33]);
        prop_assert_eq!(ours[1].agree(&ours[0].public_key()), ours[0].agree(&ours[1].public_key()));
    }

    #[test]
    fn sums_of_multiples_are_those_of_the_reference(a in scalar(), b in scalar(), d in scalar()) {
        let point = SecretKey::from_be_bytes(&d).unwrap().public_key().0;
        let [ours_a, ours_b] = [a, b].map(|number| Scalar::from_be_bytes(&number).unwrap());
        let expected = ::sm2::ProjectivePoint::GENERATOR
            * (reference_scalar(&a) + reference_scalar(&b) * reference_scalar(&d));
        prop_assume!(reference_point(expected).len() == 65);
        for sum in [
            multiply::public_sum(&ours_a, &ours_b, &point),
            multiply::public_sum_combed(&ours_a, &ours_b, &table::Comb::new(&point)),
        ] {
            prop_assert_eq!(PublicKey(sum.to_affine()).to_uncompressed().to_vec(), reference_point(expected));
        }
    }

    #[test]
    fn scalars_calculate_as_the_reference_s(a in scalar(), b in scalar()) {
        let ours = [a, b].map(|number| Scalar::from_be_bytes(&number).unwrap());
        let theirs = [a, b].map(|number| reference_scalar(&number));
        let repr = |scalar: ::sm2::Scalar| <[u8; 32]>::from(scalar.to_repr());
        prop_assert_eq!(ours[0].add(&ours[1]).to_be_bytes(), repr(theirs[0] + theirs[1]));
        prop_assert_eq!(ours[0].sub(&ours[1]).to_be_bytes(), repr(theirs[0] - theirs[1]));
        prop_assert_eq!(ours[0].mul(&ours[1]).to_be_bytes(), repr(theirs[0] * theirs[1]));
        prop_assert_eq!(ours[0].invert().to_be_bytes(), repr(theirs[0].invert().unwrap()));
    }

    #[test]
    fn keys_round_trip_through_their_files(d in scalar()) {
        let key = SecretKey::from_be_bytes(&d).unwrap();
        let again = [
            SecretKey::from_pkcs8_der(&*key.to_pkcs8_der()).unwrap(),
            SecretKey::from_pem(&key.to_pkcs8_pem()).unwrap(),
        ];
        for again in again {
            prop_assert_eq!(again.to_be_bytes(), key.to_be_bytes());
        }
        let public = key.public_key();
        prop_assert_eq!(PublicKey::from_spki_der(&public.to_spki_der()), Ok(public));
        prop_assert_eq!(PublicKey::from_uncompressed(&public.to_uncompressed()), Ok(public));
    }

    #[test]
    fn no_bytes_are_more_than_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..150)) {
        if let Ok(signature) = Signature::from_der(&bytes) {
            prop_assert_eq!(signature.to_der(), bytes.clone());
        }
        let _ = PublicKey::from_spki_der(&bytes);
        let _ = SecretKey::from_pkcs8_der(&bytes);
        let _ = SecretKey::from_sec1_der(&bytes);
    }
}
