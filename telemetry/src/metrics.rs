//! How a block tells its metrics: column by column, each going on where the block before left it.

use std::sync::Arc;

use crate::decoder::Malformed;
use crate::dictionary::{Dictionary, Trend, entry};
use crate::limits::{MAX_METRIC_SERIES, MAX_METRIC_VALUES};
use crate::sample::{Metrics, Series};
use crate::wire::{Reader, put_len, put_signed, put_varint};

/// How a column is written; the shorter one is taken.
const DELTA: u8 = 0;
const DELTA_OF_DELTA: u8 = 1;

/// Writes `metrics`, whose names have the numbers `names`.
pub(crate) fn put(out: &mut Vec<u8>, metrics: &Metrics, names: &[u32], dictionary: &mut Dictionary) {
    put_len(out, metrics.series.len());
    if metrics.series.is_empty() {
        return;
    }
    put_len(out, metrics.at_ms.len());
    let mut previous = 0;
    for at_ms in &metrics.at_ms {
        put_varint(out, u64::from(at_ms - previous));
        previous = *at_ms;
    }
    let mut next_name = 0;
    let mut learned = Vec::with_capacity(names.len());
    for (series, name) in metrics.series.iter().zip(names) {
        put_signed(out, i64::from(*name) - next_name);
        next_name = i64::from(*name) + 1;
        let start = dictionary.trends.get(name).copied().unwrap_or_default();
        let (delta, trend) = column(&series.values, DELTA, start);
        let (delta_of_delta, _) = column(&series.values, DELTA_OF_DELTA, start);
        let shorter = delta_of_delta.len() < delta.len();
        out.push(if shorter { DELTA_OF_DELTA } else { DELTA });
        out.extend_from_slice(if shorter { &delta_of_delta } else { &delta });
        learned.push((*name, trend));
    }
    dictionary.trends.extend(learned);
}

/// Reads what [`put`] wrote, and where each column ended, to be told to the dictionary when the whole block is good.
pub(crate) fn read(
    reader: &mut Reader<'_>,
    dictionary: &Dictionary,
) -> Result<(Metrics, Vec<(u32, Trend)>), Malformed> {
    let columns = reader.count("metrics", MAX_METRIC_SERIES)?;
    if columns == 0 {
        return Ok(Default::default());
    }
    let rows = reader.count("rows of metrics", MAX_METRIC_VALUES / columns)?;
    let at_ms = reader.moments(rows)?;
    let mut series = Vec::with_capacity(columns);
    let mut learned = Vec::with_capacity(columns);
    let mut next_name = 0_i64;
    for _ in 0..columns {
        let id = next_name.wrapping_add(reader.signed()?);
        let len = dictionary.strings.len();
        let unknown = Malformed::Index { field: "string", value: id.cast_unsigned(), len };
        let id = u32::try_from(id).map_err(|_| unknown)?;
        let name = Arc::clone(entry(&dictionary.strings, id, "string")?);
        next_name = i64::from(id) + 1;
        let mode = reader.byte_up_to("column mode", DELTA_OF_DELTA)?;
        let mut trend = dictionary.trends.get(&id).copied().unwrap_or_default();
        let mut values = Vec::with_capacity(rows);
        for _ in 0..rows {
            let read = reader.signed()?;
            trend.delta = if mode == DELTA { read } else { trend.delta.wrapping_add(read) };
            trend.value = trend.value.wrapping_add(trend.delta);
            values.push(trend.value);
        }
        series.push(Series { name, values });
        learned.push((id, trend));
    }
    Ok((Metrics { at_ms, series }, learned))
}

fn column(values: &[i64], mode: u8, mut trend: Trend) -> (Vec<u8>, Trend) {
    let mut out = Vec::new();
    for value in values {
        let delta = value.wrapping_sub(trend.value);
        put_signed(&mut out, if mode == DELTA { delta } else { delta.wrapping_sub(trend.delta) });
        trend = Trend { value: *value, delta };
    }
    (out, trend)
}
