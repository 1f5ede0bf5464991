//! What the brain tells `gatewayctl`.

use ota::journal::CampaignState;

use super::Gateway;
use crate::control::{CampaignStatus, EcuStatus, Status};

impl Gateway {
    /// The brain's part of the status; the event loop knows the rest.
    pub fn status(&self) -> Status {
        let campaign = self.campaign.as_ref().map(|it| CampaignStatus {
            campaign: it.record.verified.campaign.campaign.to_string(),
            ota_trace_id: it.record.verified.campaign.ota_trace_id.to_string(),
            state: match it.record.state {
                CampaignState::Reported | CampaignState::Superseded => "finished".to_owned(),
                _ => "running".to_owned(),
            },
        });
        let ecus = self.setup.ecus.iter().enumerate().map(|(at, ecu)| {
            let mut status = EcuStatus {
                serial: ecu.serial.to_string(),
                bus: ecu.bus_name.clone(),
                stage: "IDLE".to_owned(),
                version: self.versions.get(at).cloned().flatten(),
                ..EcuStatus::default()
            };
            if let Some(it) = self.installations().find(|it| it.around.ecu.0 == at) {
                it.stage_code().clone_into(&mut status.stage);
                status.target = Some(it.target_version());
                (status.done, status.total) = it.progress;
                status.error = it.failure();
            }
            status
        });
        Status {
            vin: self.setup.vin.to_string(),
            boot: self.boot,
            campaign,
            ecus: ecus.collect(),
            ..Status::default()
        }
    }
}
