//! What the Director wants of this vehicle, and whether the Image repository has it.

use std::collections::BTreeMap;

use super::{Assignment, EcuIdentity, VehicleIdentity, VerifyError};
use crate::name::{EcuSerial, TargetName};
use crate::uptane::metadata::{Signed, Targets};
use crate::uptane::target::{CampaignInfo, Target, TargetCustom};

/// What the Director wants.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) campaign: CampaignInfo,
    pub(super) director_version: u64,
    pub(super) assignments: Vec<Assignment>,
    pub(super) current: Vec<EcuSerial>,
}

/// Checks the Director's targets against the vehicle (Uptane 2.1, section 5.4.4.6, and the Primary's own checks).
pub(super) fn plan(vehicle: &VehicleIdentity, signed: &Signed<Targets>) -> Result<Plan, VerifyError> {
    let targets = signed.body();
    let campaign = targets.custom.clone().ok_or(VerifyError::NoCampaign)?;
    if campaign.vin != vehicle.vin {
        return Err(VerifyError::WrongVehicle { expected: vehicle.vin.clone(), found: campaign.vin });
    }
    let mut taken: BTreeMap<&EcuSerial, &TargetName> = BTreeMap::new();
    let mut plan =
        Plan { campaign, director_version: signed.version(), assignments: Vec::new(), current: Vec::new() };
    for (name, target) in &targets.targets {
        let custom = complete(name, target)?;
        for (serial, assigned) in &custom.ecu_identifiers {
            if let Some(first) = taken.insert(serial, name) {
                return Err(VerifyError::EcuTwice {
                    serial: serial.clone(),
                    first: first.clone(),
                    second: name.clone(),
                });
            }
            let ecu =
                vehicle.ecus.iter().find(|ecu| ecu.serial == *serial).ok_or_else(|| {
                    VerifyError::UnknownEcu { target: name.clone(), serial: serial.clone() }
                })?;
            if assigned.hardware_id != ecu.hardware_id {
                return Err(wrong_hardware(name, ecu));
            }
            check_ecu(name, custom, ecu)?;
            if ecu.installed.is_some_and(|installed| installed.agrees_with(&target.hashes)) {
                plan.current.push(serial.clone());
            } else {
                plan.assignments.push(Assignment {
                    serial: serial.clone(),
                    name: name.clone(),
                    length: target.length,
                    hashes: target.hashes,
                    custom: custom.clone(),
                });
            }
        }
    }
    plan.assignments.sort_by(|a, b| (order(a), &a.serial).cmp(&(order(b), &b.serial)));
    plan.current.sort();
    Ok(plan)
}

/// Checks that the Image repository has every image that is to be installed, and says the same of it
/// (Uptane 2.1, section 5.4.4.2, last step).
pub(super) fn match_image(plan: &Plan, image: &Targets) -> Result<(), VerifyError> {
    for wanted in &plan.assignments {
        let name = &wanted.name;
        let there = image.targets.get(name).ok_or_else(|| VerifyError::NotInImageRepository(name.clone()))?;
        let disagree = |field| VerifyError::Disagree { target: name.clone(), field };
        if wanted.length != there.length {
            return Err(disagree("length"));
        }
        if wanted.hashes != there.hashes {
            return Err(disagree("hashes"));
        }
        let wanted = &wanted.custom;
        let there = there.custom.as_ref().ok_or_else(|| disagree("custom"))?;
        for (field, same) in [
            ("hardware_ids", wanted.hardware_ids == there.hardware_ids),
            ("release_counter", wanted.release_counter == there.release_counter),
            ("version", wanted.version == there.version),
            ("chunks", wanted.chunks == there.chunks),
        ] {
            if !same {
                return Err(disagree(field));
            }
        }
    }
    Ok(())
}

/// The `custom` of a target that has all that an assignment needs.
fn complete<'a>(name: &TargetName, target: &'a Target) -> Result<&'a TargetCustom, VerifyError> {
    let incomplete = |field| VerifyError::Incomplete { target: name.clone(), field };
    let custom = target.custom.as_ref().ok_or_else(|| incomplete("custom"))?;
    if custom.ecu_identifiers.is_empty() {
        return Err(incomplete("ecu_identifiers"));
    }
    if custom.chunks.layout.cipher().is_some() && custom.content_key.is_none() {
        return Err(incomplete("content_key"));
    }
    Ok(custom)
}

fn check_ecu(name: &TargetName, custom: &TargetCustom, ecu: &EcuIdentity) -> Result<(), VerifyError> {
    if !custom.hardware_ids.contains(&ecu.hardware_id) {
        return Err(wrong_hardware(name, ecu));
    }
    if custom.release_counter < ecu.release_counter {
        return Err(VerifyError::ReleaseRollback {
            target: name.clone(),
            serial: ecu.serial.clone(),
            installed: ecu.release_counter,
            offered: custom.release_counter,
        });
    }
    Ok(())
}

fn wrong_hardware(name: &TargetName, ecu: &EcuIdentity) -> VerifyError {
    VerifyError::WrongHardware {
        target: name.clone(),
        serial: ecu.serial.clone(),
        hardware_id: ecu.hardware_id.clone(),
    }
}

/// Targets that name no order come first, at the same time.
fn order(assignment: &Assignment) -> u32 {
    assignment.custom.install.as_ref().map_or(0, |install| install.order)
}
