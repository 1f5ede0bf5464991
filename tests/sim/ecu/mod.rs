//! A simulated ECU: a UDS server over a flash model that survives the simulator.
//!
//! The contract: PDUs and instants go in through `handle_*`, PDUs come out through `poll_response`, and
//! `poll_timeout` says when to call `handle_timeout`. What the flash holds lies in a directory, so that dropping a
//! [`SimEcu`], or killing its process, is a power cut: RAM is lost, flash is kept, `open` is power-on.

pub mod bench;
mod board;
pub mod command;
mod config;
mod digest;
pub mod doip;
mod drive;
mod fault;
mod flash;
mod node;
pub mod sweep;
pub mod telemetry;
mod tester;
#[cfg(test)]
mod tests;
mod thread;
mod wire;

pub use config::EcuConfig;
pub use drive::{Progress, drive};
pub use fault::Fault;
pub use flash::FlashStateError;
pub use node::{EcuNode, EcuPort, NodeConfig, NodeError};
pub use tester::Tester;
pub use wire::{WireDirection, WireFault, WireFaultKind};

use board::Board;
use canfd::uds::message::{Nrc, ServiceId, Session, negative_response};
use canfd::uds::server::Server;
use flash::Flash;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pause between the answers of [`Fault::EndlessPending`].
const ENDLESS_PENDING_PERIOD: Duration = Duration::from_secs(2);

/// One simulated ECU, at the level of PDUs.
#[derive(Debug)]
pub struct SimEcu {
    config: Arc<EcuConfig>,
    server: Server<Board>,
    faults: Vec<Fault>,
    /// Service answered with "response pending" for ever, and when next
    stuck: Option<(u8, Instant)>,
    own_responses: VecDeque<Vec<u8>>,
    /// 0x36 requests since the fault was injected
    blocks: u32,
    /// The next positive answer to 0x36 goes astray
    loses_answer: bool,
}

impl SimEcu {
    /// Power-on. A directory without state gets a new ECU, with the factory image of `config`.
    ///
    /// # Errors
    /// The state cannot be read or written, or is not one of this simulator.
    pub fn open(now: Instant, directory: &Path, config: Arc<EcuConfig>) -> Result<Self, FlashStateError> {
        let mut board = Board::new(Flash::open(directory, &config)?, Arc::clone(&config));
        board.boot()?;
        let server = Server::new(now, board, config.server);
        Ok(Self {
            config,
            server,
            faults: Vec::new(),
            stuck: None,
            own_responses: VecDeque::new(),
            blocks: 0,
            loses_answer: false,
        })
    }

    /// Makes something go wrong from now on. Faults add up.
    pub fn inject(&mut self, fault: Fault) {
        self.blocks = 0;
        if let Fault::SeedLockout { until } = fault {
            self.server.lock_security(until);
        }
        self.faults.push(fault);
        self.server.application_mut().set_faults(self.faults.clone());
    }

    /// Nothing goes wrong any more.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
        self.stuck = None;
        self.server.application_mut().set_faults(Vec::new());
    }

    /// A request PDU, addressed to this ECU or to all.
    pub fn handle_request(&mut self, now: Instant, functional: bool, pdu: &[u8]) {
        self.handle_timeout(now);
        let service = pdu.first().copied().unwrap_or_default();
        if self.is_silent() || self.stuck.is_some() || self.is_endless(now, service) {
            return;
        }
        if let Some(nrc) = self.refusal(service) {
            self.own_responses.push_back(negative_response(service, nrc));
            return;
        }
        let is_block = service == ServiceId::TransferData.to_byte();
        self.blocks += u32::from(is_block);
        if is_block && self.resets_at_this_block() {
            self.server.application_mut().tear(pdu.get(2..).unwrap_or_default());
            self.restart(now);
            return;
        }
        self.server.handle_request(now, functional, pdu);
        self.loses_answer |= is_block && self.loses_this_answer();
        if self.server.application_mut().take_reset() {
            self.faults.retain(|fault| !matches!(fault, Fault::DeadAfterReset));
            if self.server.application().is_dead_after_reset() {
                self.faults.push(Fault::Silent);
            }
        }
    }

    /// Call when the instant of `poll_timeout` has come; earlier calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.server.handle_timeout(now);
        if let Some((service, due)) = self.stuck
            && now >= due
        {
            self.stuck = Some((service, now + ENDLESS_PENDING_PERIOD));
            self.own_responses.push_back(negative_response(service, Nrc::ResponsePending));
        }
    }

    /// The next response PDU.
    pub fn poll_response(&mut self) -> Option<Vec<u8>> {
        let response = self.own_responses.pop_front().or_else(|| self.server.poll_response())?;
        let is_block = response.first() == Some(&(ServiceId::TransferData.to_byte() | 0x40));
        if is_block && std::mem::take(&mut self.loses_answer) {
            return self.server.poll_response();
        }
        Some(response)
    }

    /// When to call `handle_timeout`.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let stuck = self.stuck.map(|(_, due)| due);
        self.server.poll_timeout().into_iter().chain(stuck).min()
    }

    /// The version that runs; `None` if there is no application.
    pub fn running_version(&self) -> Option<&[u8]> {
        self.server.application().running_version()
    }

    /// The version of the image in the bank that runs, whatever a fault makes of it; `None` if there is no application.
    pub fn stored_version(&self) -> Option<&[u8]> {
        self.server.application().stored_version()
    }

    /// The bank that runs; `None` if there is no application.
    pub fn running_bank(&self) -> Option<usize> {
        self.server.application().running_bank()
    }

    /// Where the contents of a bank lie; erased cells after the last programmed one are not in the file.
    pub fn bank_path(&self, bank: usize) -> PathBuf {
        self.server.application().flash().bank_path(bank)
    }

    /// What the running bank holds; `None` if there is no application.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn running_image(&self) -> std::io::Result<Option<Vec<u8>>> {
        self.running_bank().map(|bank| std::fs::read(self.bank_path(bank))).transpose()
    }

    /// How often a bank was erased in the ECU's life.
    pub fn erase_count(&self, bank: usize) -> u64 {
        self.server.application().flash().erase_count(bank)
    }

    /// How often the ECU started in its life.
    pub fn boots(&self) -> u64 {
        self.server.application().flash().boots()
    }

    /// The diagnostic session.
    pub fn session(&self) -> Session {
        self.server.session()
    }

    /// Whether normal communication and the setting of trouble codes are both on.
    pub fn is_restored(&self) -> bool {
        self.server.is_communication_enabled() && self.server.is_dtc_setting_enabled()
    }

    /// What went wrong with the files behind the flash, if anything; the ECU answers 0x72 from then on.
    pub fn storage_error(&self) -> Option<&FlashStateError> {
        self.server.application().storage_error()
    }

    fn is_silent(&self) -> bool {
        self.faults.iter().any(|fault| matches!(fault, Fault::Silent))
    }

    fn is_endless(&mut self, now: Instant, byte: u8) -> bool {
        let endless =
            |fault: &Fault| matches!(fault, Fault::EndlessPending { service } if service.to_byte() == byte);
        let stuck = self.faults.iter().any(endless);
        if stuck {
            self.stuck = Some((byte, now));
            self.handle_timeout(now);
        }
        stuck
    }

    fn refusal(&mut self, byte: u8) -> Option<Nrc> {
        self.faults.iter_mut().find_map(|fault| match fault {
            Fault::Refuse { service, nrc, times } if service.to_byte() == byte && *times > 0 => {
                *times -= 1;
                Some(*nrc)
            }
            _ => None,
        })
    }

    /// The fault strikes once.
    fn resets_at_this_block(&mut self) -> bool {
        let blocks = self.blocks;
        self.strike_once(
            |fault| matches!(fault, Fault::ResetDuringTransfer { after_blocks } if blocks > *after_blocks),
        )
    }

    fn loses_this_answer(&mut self) -> bool {
        let blocks = self.blocks;
        self.strike_once(
            |fault| matches!(fault, Fault::LoseBlockAnswer { after_blocks } if blocks > *after_blocks),
        )
    }

    fn strike_once(&mut self, strikes: impl Fn(&Fault) -> bool) -> bool {
        let position = self.faults.iter().position(strikes);
        position.map(|position| self.faults.remove(position)).is_some()
    }

    fn restart(&mut self, now: Instant) {
        self.server.application_mut().boot_or_note();
        self.server.restart(now, now + self.config.boot_time);
    }
}
