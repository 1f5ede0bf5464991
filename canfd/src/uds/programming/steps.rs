//! Answers of the steps that only some dialects take: certificates, polled erasing, files.

use super::{Asked, Cause, EcuState, Event, Misbehaviour, Programmer};
use crate::uds::message::{AuthenticationRequest, FileAccepted, FileMode, ServerChallenge, ServiceId};
use crate::uds::profile::{Phase, Security};
use std::time::Instant;

impl Programmer {
    /// What was feared of a step has not happened.
    pub(super) fn forget_danger(&mut self, asked: Asked) {
        let later = asked == Asked::Erase && self.erasing.begun;
        if !later {
            self.ecu_state = self.state_before;
        }
    }

    /// The ECU took the certificate: it wants its challenge answered, and may have to prove itself first.
    pub(super) fn send_proof(&mut self, now: Instant, record: &[u8]) -> Result<(), Cause> {
        let wrong = || Cause::record(ServiceId::Authentication, record);
        let bidirectional =
            matches!(self.profile.security, Security::Certificate { bidirectional: true, .. });
        let server = ServerChallenge::parse(bidirectional, record).map_err(|_| wrong())?;
        let Some(credential) = &self.secrets.credential else { return Err(wrong()) };
        if let Some((certificate, proof)) = &server.server
            && !credential.accepts_server(&self.challenge, certificate, proof)
        {
            return Err(Cause::ServerNotTrusted);
        }
        let (proof, ephemeral_key) = credential.prove(&server);
        let request = AuthenticationRequest::ProofOfOwnership { proof, ephemeral_key }.to_request();
        self.send(now, Asked::Proof, request);
        Ok(())
    }

    /// A segment is erased, or an ECU that is asked again and again says how far it is.
    pub(super) fn handle_erase(&mut self, now: Instant, record: &[u8]) -> Result<(), Cause> {
        let status = record.first().copied();
        let (busy, done) = match self.profile.erase.poll {
            None => (false, matches!(status, None | Some(0))),
            Some(poll) => (status == Some(poll.busy), status == Some(poll.done)),
        };
        if !busy && !done {
            return Err(Cause::record(ServiceId::RoutineControl, record));
        }
        self.erasing.begun = true;
        if !self.profile.keeps_old_software() {
            self.ecu_state = EcuState::NoApplication;
        }
        if let Some(poll) = self.profile.erase.poll.filter(|_| busy) {
            let waited = now.saturating_duration_since(self.erasing.since.unwrap_or(now));
            if waited >= self.profile.timings.pending_total {
                return Err(Misbehaviour::EndlessErase { waited }.into());
            }
            self.pause = Some((now + poll.interval, Asked::Erase));
            return Ok(());
        }
        self.erasing.index += 1;
        if self.profile.erase.address_and_length && self.transfer.erasures().nth(self.erasing.index).is_some()
        {
            self.ask(now, Asked::Erase);
            return Ok(());
        }
        self.transfer.restart_at(self.transfer.driver_len());
        self.events.push_back(Event::Erased);
        self.advance(now);
        Ok(())
    }

    /// The ECU takes a file, anew or from where a broken transfer ended.
    pub(super) fn handle_file(&mut self, now: Instant, asked: Asked, record: &[u8]) -> Result<(), Cause> {
        let service = ServiceId::RequestFileTransfer;
        let mode = if asked == Asked::FileResume { FileMode::Resume } else { FileMode::Replace };
        let accepted = FileAccepted::parse(mode, record).map_err(|_| Cause::record(service, record))?;
        self.recovering = None;
        match accepted.position {
            Some(position) if position > self.plan.image_len => return Err(Cause::record(service, record)),
            Some(offset) => {
                self.transfer.restart_at(offset);
                self.events.push_back(Event::Resumed { offset });
                if self.transfer.is_complete() {
                    self.jump(now, Phase::TransferExit);
                    return Ok(());
                }
            }
            None => {
                if !self.profile.keeps_old_software() {
                    self.ecu_state = EcuState::NoApplication;
                }
                self.transfer.restart_at(0);
                self.events.push_back(Event::Erased);
            }
        }
        self.open(now, service, record, accepted.max_block_length)
    }
}
