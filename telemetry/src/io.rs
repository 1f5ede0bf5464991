//! Block input and output: how long requests took, as histograms with a bucket for each power of two.

use std::sync::Arc;

use crate::additions::read_string;
use crate::decoder::Malformed;
use crate::dictionary::Dictionary;
use crate::limits::MAX_IO_HISTOGRAMS;
use crate::wire::{Reader, put_len, put_varint};

/// Buckets of a histogram: bucket 0 counts 0 and 1 ns, bucket `n` counts 2^n up to 2^(n+1) - 1 ns.
pub const IO_BUCKETS: usize = 64;

/// What a request did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IoOperation {
    /// Data from the device.
    Read,
    /// Data to the device.
    Write,
    /// Its cache to the medium, alone or with a write (FUA).
    Flush,
    /// Blocks given back.
    Discard,
}

/// Which part of a request's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IoTerm {
    /// From the request's making to its issue to the device.
    Queue,
    /// From issue to completion.
    Device,
    /// In which the device wrote its cache out.
    Flush,
    /// From completion until the thread that waited ran again.
    RunQueue,
}

const OPERATIONS: [IoOperation; 4] =
    [IoOperation::Read, IoOperation::Write, IoOperation::Flush, IoOperation::Discard];
const TERMS: [IoTerm; 4] = [IoTerm::Queue, IoTerm::Device, IoTerm::Flush, IoTerm::RunQueue];

/// How long one term of one operation on one device took, over a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoHistogram {
    pub(crate) device: Arc<str>,
    pub(crate) operation: IoOperation,
    pub(crate) term: IoTerm,
    pub(crate) sum_ns: u64,
    pub(crate) buckets: [u64; IO_BUCKETS],
}

impl IoHistogram {
    /// An empty histogram.
    pub fn new(device: Arc<str>, operation: IoOperation, term: IoTerm) -> Self {
        Self { device, operation, term, sum_ns: 0, buckets: [0; IO_BUCKETS] }
    }

    /// The device's name, such as `mmcblk0`.
    pub fn device(&self) -> &Arc<str> {
        &self.device
    }

    /// What the requests did.
    pub fn operation(&self) -> IoOperation {
        self.operation
    }

    /// Which part of their time this is.
    pub fn term(&self) -> IoTerm {
        self.term
    }

    /// Sum of all durations in nanoseconds; at most 2^64 - 1.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// Requests per bucket; see [`IO_BUCKETS`].
    pub fn buckets(&self) -> &[u64; IO_BUCKETS] {
        &self.buckets
    }

    /// Counts one request that took `ns` nanoseconds.
    pub fn record(&mut self, ns: u64) {
        self.sum_ns = self.sum_ns.saturating_add(ns);
        if let Some(count) = self.buckets.get_mut(ns.max(1).ilog2() as usize) {
            *count = count.saturating_add(1);
        }
    }

    /// Adds the requests of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        for (own, more) in self.buckets.iter_mut().zip(other.buckets) {
            *own = own.saturating_add(more);
        }
    }

    /// What tells histograms of a window apart, and orders them.
    pub(crate) fn key(&self) -> (&str, IoOperation, IoTerm) {
        (&self.device, self.operation, self.term)
    }
}

/// Writes histograms, whose devices have the numbers `devices`.
pub(crate) fn put(out: &mut Vec<u8>, histograms: &[IoHistogram], devices: &[u32]) {
    put_len(out, histograms.len());
    for (histogram, device) in histograms.iter().zip(devices) {
        put_varint(out, u64::from(*device));
        // Both enums have four values.
        out.push((histogram.operation as u8) << 2 | histogram.term as u8);
        put_varint(out, histogram.sum_ns);
        let first = histogram.buckets.iter().position(|count| *count > 0).unwrap_or(IO_BUCKETS);
        let end = histogram.buckets.iter().rposition(|count| *count > 0).map_or(first, |last| last + 1);
        let used = histogram.buckets.get(first..end).unwrap_or_default();
        put_len(out, first);
        put_len(out, used.len());
        for count in used {
            put_varint(out, *count);
        }
    }
}

/// Reads what [`put`] wrote.
pub(crate) fn read(reader: &mut Reader<'_>, dictionary: &Dictionary) -> Result<Vec<IoHistogram>, Malformed> {
    let count = reader.count("histograms", MAX_IO_HISTOGRAMS)?;
    let mut histograms: Vec<IoHistogram> = Vec::with_capacity(count);
    for _ in 0..count {
        let device = read_string(reader, dictionary)?;
        let what = usize::from(reader.byte_up_to("operation and term", 15)?);
        let unknown = Malformed::Index { field: "operation and term", value: what as u64, len: 16 };
        let (Some(operation), Some(term)) = (OPERATIONS.get(what >> 2), TERMS.get(what & 3)) else {
            return Err(unknown);
        };
        let mut histogram = IoHistogram::new(device, *operation, *term);
        histogram.sum_ns = reader.varint()?;
        let first = reader.up_to("first bucket", IO_BUCKETS)?;
        let used = reader.up_to("buckets", IO_BUCKETS - first)?;
        for bucket in histogram.buckets.iter_mut().skip(first).take(used) {
            *bucket = reader.varint()?;
        }
        // In order and each once: a window has one form only.
        if histograms.last().is_some_and(|last| last.key() >= histogram.key()) {
            return Err(Malformed::Order("histograms"));
        }
        histograms.push(histogram);
    }
    Ok(histograms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_bucket_of_its_highest_bit() {
        let mut histogram = IoHistogram::new("sda".into(), IoOperation::Read, IoTerm::Device);
        for ns in [0, 1, 2, 3, 4, 1023, 1024, u64::MAX] {
            histogram.record(ns);
        }
        let mut expected = [0; IO_BUCKETS];
        for (bucket, count) in [(0, 2), (1, 2), (2, 1), (9, 1), (10, 1), (63, 1)] {
            expected[bucket] = count;
        }
        assert_eq!(*histogram.buckets(), expected);
        assert_eq!(histogram.sum_ns(), u64::MAX);
    }

    #[test]
    fn merged_histograms_count_both() {
        let mut one = IoHistogram::new("sda".into(), IoOperation::Write, IoTerm::Queue);
        let mut other = one.clone();
        one.record(5);
        other.record(6);
        one.merge(&other);
        assert_eq!((one.sum_ns(), one.buckets()[2]), (11, 2));
    }
}
