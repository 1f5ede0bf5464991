//! In place of the programs in a build without them: nothing, and the reason.

use std::sync::Arc;
use std::time::Duration;

use telemetry::IoHistogram;

use super::super::poisson::SplitMix64;
use super::Gated;
use super::blockio::Device;
use super::events::Group;
use super::gate::Stretch;
use super::measured::Measured;

/// There are none.
#[derive(Debug)]
pub(super) enum Programs {}

/// What a turn would bring.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) told: Vec<(Stretch, Vec<Measured>)>,
    pub(super) cost: Duration,
    pub(super) met: Vec<(u32, u32, [u8; 16])>,
    pub(super) lost: u64,
    pub(super) refused: Vec<(Group, String)>,
    pub(super) busy: bool,
}

impl Programs {
    pub(super) fn open(_: &[Group], _: &[u32], _: u64) -> Result<(Self, Vec<(Group, String)>), String> {
        Err("this build has none (feature bpf)".to_owned())
    }

    pub(super) fn groups(&self) -> Vec<Group> {
        match *self {}
    }

    pub(super) fn turn(&mut self, _: &mut [Gated], _: u64, _: f64, _: &mut SplitMix64) -> Turn {
        match *self {}
    }

    pub(super) fn poll_histograms(&mut self, _: impl FnMut(Device) -> Arc<str>) -> Vec<IoHistogram> {
        match *self {}
    }

    pub(super) fn take_stackless(&mut self) -> u64 {
        match *self {}
    }
}
