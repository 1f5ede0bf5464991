//! Quantities as people read them.

/// Bytes with a binary unit: `1.50 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = precise(bytes);
    if value < 1024.0 {
        return format!("{bytes} B");
    }
    let mut unit = "B";
    for next in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{} {unit}", three_digits(value))
}

/// Bytes per second with a decimal unit, as bit rates have them: `128 kB/s`.
pub(crate) fn rate(bytes_per_second: f64) -> String {
    match bytes_per_second {
        rate if !rate.is_finite() || rate <= 0.0 => "–".to_owned(),
        rate if rate < 1e3 => format!("{} B/s", three_digits(rate)),
        rate if rate < 1e6 => format!("{} kB/s", three_digits(rate / 1e3)),
        rate => format!("{} MB/s", three_digits(rate / 1e6)),
    }
}

/// Bits per second: `500 kbit/s`, `2 Mbit/s`.
pub(crate) fn bit_rate(bits_per_second: u64) -> String {
    let rate = precise(bits_per_second);
    if rate < 1e6 { format!("{} kbit/s", rate / 1e3) } else { format!("{} Mbit/s", rate / 1e6) }
}

/// Milliseconds: `12 ms`, `3.45 s`, `2 min 05 s`.
pub(crate) fn duration(milliseconds: u64) -> String {
    match milliseconds {
        0..1000 => format!("{milliseconds} ms"),
        1000..60_000 => format!("{} s", three_digits(precise(milliseconds) / 1e3)),
        _ => {
            let seconds = milliseconds.saturating_add(500) / 1000;
            format!("{} min {:02} s", seconds / 60, seconds % 60)
        }
    }
}

/// Nanoseconds: `250 ns`, `1.05 ms`, `3.45 s`, `2 min 05 s`.
pub(crate) fn nanoseconds(nanoseconds: u64) -> String {
    let value = precise(nanoseconds);
    match nanoseconds {
        0..1000 => format!("{nanoseconds} ns"),
        1000..1_000_000 => format!("{} µs", three_digits(value / 1e3)),
        1_000_000..1_000_000_000 => format!("{} ms", three_digits(value / 1e6)),
        1_000_000_000..60_000_000_000 => format!("{} s", three_digits(value / 1e9)),
        _ => duration(nanoseconds / 1_000_000),
    }
}

/// The time of day, UTC, of milliseconds since 1970.
pub(crate) fn clock(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A metric's value in the unit that its name ends with.
pub(crate) fn metric(name: &str, value: i64) -> String {
    let size = value.unsigned_abs();
    let text = if name.ends_with("_bytes") {
        bytes(size)
    } else if name.ends_with("_ppm") {
        share(precise(size) / 1e6)
    } else if name.ends_with("_ms") {
        duration(size)
    } else if name.ends_with("_us") {
        nanoseconds(size.saturating_mul(1000))
    } else if name.ends_with("_ns") {
        nanoseconds(size)
    } else {
        count(size)
    };
    if value < 0 { format!("−{text}") } else { text }
}

/// A share, 0 to 1, in per cent.
pub(crate) fn share(share: f64) -> String {
    format!("{} %", three_digits(100.0 * if share.is_finite() { share } else { 0.0 }))
}

/// A count with thin spaces between thousands.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{2009}');
        }
        text.push(digit);
    }
    text
}

/// As close as a page needs it: exact up to 2^53.
#[allow(clippy::cast_precision_loss, reason = "pages show three digits")]
pub(crate) const fn precise(number: u64) -> f64 {
    number as f64
}

fn three_digits(value: f64) -> String {
    match value {
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_change_where_they_should() {
        assert_eq!(
            (bytes(1023), bytes(1024), bytes(5 << 30)),
            ("1023 B".into(), "1.00 KiB".into(), "5.00 GiB".into())
        );
        assert_eq!(
            (duration(999), duration(1000), duration(59_999)),
            ("999 ms".into(), "1.00 s".into(), "60.0 s".into())
        );
        assert_eq!((duration(60_000), duration(125_499)), ("1 min 00 s".into(), "2 min 05 s".into()));
        assert_eq!(
            (rate(f64::NAN), rate(999.0), rate(128_400.0)),
            ("–".into(), "999 B/s".into(), "128 kB/s".into())
        );
        assert_eq!(
            (nanoseconds(999), nanoseconds(1000), nanoseconds(1_250_000), nanoseconds(60_000_000_000)),
            ("999 ns".into(), "1.00 µs".into(), "1.25 ms".into(), "1 min 00 s".into())
        );
        assert_eq!(clock(1_772_366_400_000 + 3_661_000), "13:01:01");
        assert_eq!(
            (metric("a_bytes", -2048), metric("b_ppm", 250_000), metric("frames", 1000)),
            ("−2.00 KiB".into(), "25.0 %".into(), "1\u{2009}000".into())
        );
        assert_eq!((bit_rate(500_000), bit_rate(2_000_000)), ("500 kbit/s".into(), "2 Mbit/s".into()));
        assert_eq!((share(0.6543), share(1.0)), ("65.4 %".into(), "100 %".into()));
        assert_eq!((count(999), count(1_234_567)), ("999".into(), "1\u{2009}234\u{2009}567".into()));
    }
}
