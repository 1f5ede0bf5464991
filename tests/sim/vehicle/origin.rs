//! The origin of a simulated vehicle: files of a directory, with latency, and whatever goes wrong on the way.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use gatewayd::gateway::message::{Fetch, FetchError, Input};

/// Time to the first byte of an answer.
const LATENCY: Duration = Duration::from_millis(15);
/// Time for each KiB of it: 8 MiB/s.
const PER_KIB: Duration = Duration::from_micros(122);
/// Silence after which the client gives up.
const STALL: Duration = Duration::from_secs(10);

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginFault {
    /// One bit of the byte at this offset is turned.
    Flip(u64),
    /// The file ends before this offset.
    Truncate(u64),
    /// Nothing comes from this offset on, where it is asked for.
    Stall(u64),
    /// The body never ends.
    Endless,
    /// The server answers with this status.
    Refuse(u16),
    /// No connection.
    Unreachable,
}

/// How often a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Every time.
    Always,
    /// The first few times.
    Times(u32),
    /// Until then.
    Until(Instant),
}

#[derive(Debug)]
struct Rule {
    contains: String,
    fault: OriginFault,
    extent: Extent,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct SimOrigin {
    /// The folder that is served; tests may exchange it.
    pub root: PathBuf,
    rules: Vec<Rule>,
    requests: Vec<(String, u64)>,
}

impl SimOrigin {
    pub(super) const fn new(root: PathBuf) -> Self {
        Self { root, rules: Vec::new(), requests: Vec::new() }
    }

    /// Something is wrong with every file whose path contains that text.
    pub fn inject(&mut self, contains: &str, fault: OriginFault, extent: Extent) {
        self.rules.push(Rule { contains: contains.to_owned(), fault, extent });
    }

    /// Nothing is wrong any more.
    pub fn clear_faults(&mut self) {
        self.rules.clear();
    }

    /// What was asked for so far: paths, and the offset of the first byte.
    pub fn requests(&self) -> &[(String, u64)] {
        &self.requests
    }

    /// The answer to a fetch: what arrives, each with its delay from now.
    pub(super) fn answer(&mut self, now: Instant, fetch: &Fetch) -> Vec<(Duration, Input)> {
        let start = fetch.range.as_ref().map_or(0, |range| range.start);
        self.requests.push((fetch.path.clone(), start));
        let mut delay = LATENCY;
        let (parts, result) = self.body(now, fetch);
        let mut inputs = Vec::new();
        for data in parts {
            delay += PER_KIB * u32::try_from(data.len().div_ceil(1024)).unwrap_or(u32::MAX);
            inputs.push((delay, Input::FetchPart { id: fetch.id, data }));
        }
        if matches!(result, Err(FetchError::Stalled { .. })) {
            delay += STALL;
        }
        inputs.push((delay, Input::FetchEnd { id: fetch.id, result }));
        inputs
    }

    fn body(&mut self, now: Instant, fetch: &Fetch) -> (Vec<Vec<u8>>, Result<(), FetchError>) {
        let path = fetch.path.clone();
        let fault = self.fault(now, fetch);
        match fault {
            Some(OriginFault::Refuse(404)) => return (Vec::new(), Err(FetchError::NotFound { path })),
            Some(OriginFault::Refuse(status)) => {
                return (Vec::new(), Err(FetchError::Refused { status, path }));
            }
            Some(OriginFault::Unreachable) => {
                let reason = "connection refused".to_owned();
                return (Vec::new(), Err(FetchError::Unreachable { reason }));
            }
            _ => {}
        }
        let Ok(mut file) = std::fs::read(self.root.join(&path)) else {
            return (Vec::new(), Err(FetchError::NotFound { path }));
        };
        let mut stalled = false;
        match fault {
            Some(OriginFault::Flip(at)) => {
                if let Some(byte) = file.get_mut(index(at)) {
                    *byte ^= 0x10;
                }
            }
            Some(OriginFault::Truncate(at)) => file.truncate(index(at)),
            Some(OriginFault::Stall(at)) => {
                file.truncate(index(at));
                stalled = true;
            }
            Some(OriginFault::Endless) => file.resize(file.len().max(wanted_end(fetch, 0)) + 4096, 0xE5),
            _ => {}
        }
        let start = fetch.range.as_ref().map_or(0, |range| index(range.start)).min(file.len());
        let end = wanted_end(fetch, file.len()).min(file.len()).max(start);
        let body = file.get(start..end).unwrap_or_default();
        let found = body.len() as u64;
        // A server that ignores the range's end, or a whole file that is too long.
        let too_long = fault == Some(OriginFault::Endless) || found > fetch.max_len;
        let body = body.get(..index(fetch.max_len).min(body.len())).unwrap_or_default();
        let mut parts: Vec<Vec<u8>> = body.chunks(fetch.part_len).map(<[u8]>::to_vec).collect();
        let expected = fetch.range.as_ref().map(|range| range.end - range.start);
        let result = if too_long {
            Err(FetchError::TooLong { path, limit: fetch.max_len })
        } else if stalled {
            Err(FetchError::Stalled { path, silence: STALL })
        } else if let Some(expected) = expected.filter(|expected| found < *expected) {
            Err(FetchError::Truncated { path, found, expected })
        } else {
            Ok(())
        };
        // A part that is not full is only handed on at the end of a body that is whole.
        if result.is_err() && parts.last().is_some_and(|part| part.len() < fetch.part_len) {
            parts.pop();
        }
        (parts, result)
    }

    /// The fault that strikes this fetch.
    fn fault(&mut self, now: Instant, fetch: &Fetch) -> Option<OriginFault> {
        let range = fetch.range.clone().unwrap_or(0..u64::MAX);
        for rule in &mut self.rules {
            let concerns = match rule.fault {
                OriginFault::Flip(at) | OriginFault::Stall(at) => range.contains(&at),
                OriginFault::Truncate(at) => at < range.end,
                _ => true,
            };
            if !concerns || !fetch.path.contains(&rule.contains) {
                continue;
            }
            match &mut rule.extent {
                Extent::Times(0) => continue,
                Extent::Times(left) => *left -= 1,
                Extent::Until(until) if now >= *until => continue,
                Extent::Always | Extent::Until(_) => {}
            }
            return Some(rule.fault);
        }
        None
    }
}

fn wanted_end(fetch: &Fetch, whole: usize) -> usize {
    fetch.range.as_ref().map_or(whole, |range| index(range.end))
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
