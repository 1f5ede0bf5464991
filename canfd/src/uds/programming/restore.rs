//! The way out: session and communication back to normal, after success and after failure alike.

use super::sequence::addressed;
use super::{Asked, Cause, Ending, Event, Programmer, ProgrammingError};
use crate::uds::message::{Request, Session};
use crate::uds::profile::{Phase, SendTo};
use std::time::Instant;

impl Programmer {
    /// Ends the attempt; what was switched off is switched on again first, as far as the ECU still listens.
    pub(super) fn fail(&mut self, now: Instant, cause: Cause) {
        let error = ProgrammingError { phase: self.phase, ecu_state: self.ecu_state, cause };
        self.begin_restore(now, Ending::Failure(error));
    }

    pub(super) fn begin_restore(&mut self, now: Instant, ending: Ending) {
        if self.ending.is_some() {
            return;
        }
        // A version that was current or an ECU that never answered left nothing to restore.
        let untouched = self.phase == Phase::Identification;
        self.ending = Some(ending);
        self.pause = None;
        if self.phase != Phase::Restore {
            self.phase = Phase::Restore;
            self.events.push_back(Event::PhaseEntered(Phase::Restore));
        }
        if !untouched {
            self.queue_restore();
        }
        self.continue_restore(now);
    }

    /// Sends the next request of the way out; its failure is noted and changes nothing.
    pub(super) fn continue_restore(&mut self, now: Instant) {
        if let Some(request) = self.restore.pop_front() {
            self.send(now, Asked::Restore, request);
            return;
        }
        self.client.forget_session();
        match self.ending.replace(Ending::Over) {
            Some(Ending::Success { already_current }) => {
                let version = self.version.clone().unwrap_or_default();
                let restored = self.restored;
                self.events.push_back(Event::Finished { version, already_current, restored });
            }
            Some(Ending::Failure(error)) => self.events.push_back(Event::Failed(error)),
            Some(Ending::Over) | None => {}
        }
    }

    /// 0x28 and 0x85 exist only outside the default session (ISO 14229-1 table 23), so 0x10 03 comes before them.
    fn queue_restore(&mut self) {
        let profile = &self.profile;
        let enable = [
            addressed(Request::communication_control(0x00, 0x01), profile.communication_control),
            addressed(Request::control_dtc_setting(true), profile.dtc_setting),
        ];
        if enable.iter().any(Option::is_some) {
            let to = if profile.extended_session == SendTo::Skip {
                SendTo::Physical
            } else {
                profile.extended_session
            };
            self.restore.extend(addressed(Request::session(Session::Extended), to));
        }
        self.restore.extend(enable.into_iter().flatten());
        self.restore.push_back(Request::session(Session::Default));
    }
}
