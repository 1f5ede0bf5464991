//! What came of it, judged by what the ECUs hold and not by what anybody says.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use canfd::isotp::{LinkLayer, consecutive_frame_limit};
use gateway_cloud::report::Verdict;

use crate::failure::{Failure, Outcome};
use crate::field::{EcuTruth, TIMING};
use crate::monitor::Monitor;
use crate::state::{Package, Spoiled, State};
use crate::vehicle::{ECUS, EcuSpec, NEW_VERSION, OLD_VERSION};

/// Bytes compared at a time.
const BLOCK: usize = 1 << 20;

/// One ECU, judged.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) spec: EcuSpec,
    pub(crate) package: Package,
    pub(crate) verdict: Verdict,
    pub(crate) version: String,
    /// The running image against its source, byte for byte. For an ECU that was to stay as it was, the source is the
    /// old image.
    pub(crate) equal: Option<bool>,
    pub(crate) erasures: Vec<u64>,
    /// Bytes per second of its transfer, and the most the wire can carry; zero where there is none.
    pub(crate) throughput: f64,
    pub(crate) wire_limit: f64,
    /// Why it was not updated.
    pub(crate) reason: Option<String>,
    pub(crate) spoiled: Option<Spoiled>,
    /// What should have been otherwise.
    pub(crate) problems: Vec<String>,
}

/// Judges every ECU. Reads all images; blocks.
pub(crate) fn judge(state: &State, monitor: &Monitor, truths: &[EcuTruth]) -> Outcome<Vec<Judged>> {
    let parts = ECUS.iter().zip(&state.packages).zip(truths).zip(&monitor.ecus).enumerate();
    parts
        .map(|(place, (((spec, package), truth), track))| {
            let ids = spec.can_ids()?;
            let limit = consecutive_frame_limit(TIMING, ids.request, LinkLayer::FD);
            let failure = monitor.failure(spec.serial).and_then(|it| it.detail.as_ref());
            let mut judged = Judged {
                spec: *spec,
                package: package.clone(),
                verdict: Verdict::Failed,
                version: truth.version.clone().unwrap_or_else(|| "nothing".to_owned()),
                equal: None,
                erasures: truth.erasures.clone(),
                throughput: track.throughput(),
                wire_limit: if state.untimed { 0.0 } else { limit },
                reason: failure.map(|it| it.message.clone()),
                spoiled: state.spoiled.iter().find(|it| it.ecu == place).cloned(),
                problems: Vec::new(),
            };
            match judged.spoiled.clone() {
                None => judged.must_be_updated(truth)?,
                Some(spoiled) => {
                    let chunk = failure.filter(|it| it.code == "CHUNK_REJECTED").and_then(|it| it.chunk);
                    judged.must_be_untouched(truth, &spoiled, chunk)?;
                }
            }
            let told =
                monitor.heard.status.as_ref().and_then(|status| {
                    status.ecus.iter().find(|it| it.serial == spec.serial)?.version.clone()
                });
            if told.as_ref().is_some_and(|it| *it != judged.version) {
                judged.problems.push(format!("gatewayd says it runs {}", told.unwrap_or_default()));
            }
            Ok(judged)
        })
        .collect()
}

impl Judged {
    fn must_be_updated(&mut self, truth: &EcuTruth) -> Outcome<()> {
        let running = truth.running_bank.and_then(|bank| truth.banks.get(bank));
        if let Some(image) = running {
            self.equal = Some(same_files(image, &self.package.path)?);
        }
        if truth.version.as_deref() != Some(NEW_VERSION) {
            self.problems.push(format!("it runs {}, expected {NEW_VERSION}", self.version));
        }
        if self.equal != Some(true) {
            let source = self.package.path.display();
            self.problems.push(format!("its running image is not equal to {source}"));
        }
        if let Some(reason) = &self.reason {
            self.problems.push(format!("an event says it failed: {reason}"));
        }
        self.verdict = match truth.version.as_deref() {
            Some(NEW_VERSION) if self.equal == Some(true) => Verdict::Updated,
            Some(OLD_VERSION) => Verdict::Unchanged,
            _ => Verdict::Failed,
        };
        Ok(())
    }

    fn must_be_untouched(&mut self, truth: &EcuTruth, spoiled: &Spoiled, chunk: Option<u64>) -> Outcome<()> {
        let old_bank = truth.banks.first().ok_or_else(|| Failure::new("an ECU without banks"))?;
        let is_old = holds(old_bank, &self.spec.old_image())?;
        self.equal = Some(is_old);
        if !is_old {
            self.problems.push("its old image has changed".to_owned());
        }
        if truth.version.as_deref() != Some(OLD_VERSION) || truth.running_bank != Some(0) {
            self.problems.push(format!("it runs {}, expected {OLD_VERSION} in its first bank", self.version));
        }
        // The second bank may have been erased and half filled: nothing runs from it.
        if truth.erasures.first() != Some(&0) {
            self.problems
                .push(format!("the bank of its old software was erased, {:?} times", truth.erasures));
        }
        if chunk != Some(spoiled.chunk) {
            self.problems.push(format!(
                "chunk {} was spoiled, but the refusal names {}",
                spoiled.chunk,
                chunk.map_or_else(|| "none".to_owned(), |it| it.to_string())
            ));
        }
        self.verdict = match truth.version.as_deref() {
            Some(OLD_VERSION) if is_old => Verdict::Unchanged,
            Some(NEW_VERSION) => Verdict::Updated,
            _ => Verdict::Failed,
        };
        Ok(())
    }
}

/// Whether two files hold the same bytes.
fn same_files(one: &Path, other: &Path) -> Outcome<bool> {
    let open = |path: &Path| {
        let file = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        file.map_err(Failure::of(format!("cannot compare {}", path.display())))
    };
    let ((len, mut one), (other_len, mut other)) = (open(one)?, open(other)?);
    if len != other_len {
        return Ok(false);
    }
    let (mut left, mut block, mut other_block) = (len, vec![0; BLOCK], vec![0; BLOCK]);
    while left > 0 {
        let step = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        block.truncate(step);
        other_block.truncate(step);
        one.read_exact(&mut block).map_err(Failure::of("cannot compare images"))?;
        other.read_exact(&mut other_block).map_err(Failure::of("cannot compare images"))?;
        if block != other_block {
            return Ok(false);
        }
        left -= step as u64;
    }
    Ok(true)
}

/// Whether a file holds these bytes and no others.
fn holds(path: &Path, expected: &[u8]) -> Outcome<bool> {
    let read = File::open(path).and_then(|file| {
        let mut bytes = Vec::new();
        file.take(expected.len() as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    read.map(|it| it == expected).map_err(Failure::of(format!("cannot compare {}", path.display())))
}
