//! Services that move memory and files: 0x34 to 0x38.

use super::services::{LENGTH, memory_range};
use super::{
    Answer, Application, BlockSequenceCounter, Download, FileRequest, Nrc, Outcome, Server, ServiceId,
};
use crate::uds::message::{FileMode, RecordError};
use std::time::Instant;

impl<A: Application> Server<A> {
    pub(super) fn request_download(&mut self, now: Instant, parameters: &[u8]) -> Result<Answer, Nrc> {
        let (format, rest) = parameters.split_first().ok_or(LENGTH)?;
        let range = memory_range(rest)?;
        let context = self.context(now);
        let limit = self.application.request_download(context, *format, range.address, range.length)?;
        self.open(range.length, limit, false);
        Ok(Answer::Positive([&[0x40][..], &limit.to_be_bytes()].concat()))
    }

    pub(super) fn request_upload(&mut self, now: Instant, parameters: &[u8]) -> Result<Answer, Nrc> {
        let (format, rest) = parameters.split_first().ok_or(LENGTH)?;
        let range = memory_range(rest)?;
        let limit = self.application.request_upload(self.context(now), *format, &range)?;
        self.open(range.length, limit, true);
        Ok(Answer::Positive([&[0x40][..], &limit.to_be_bytes()].concat()))
    }

    pub(super) fn request_file_transfer(&mut self, now: Instant, parameters: &[u8]) -> Result<Answer, Nrc> {
        let request = FileRequest::parse(parameters).map_err(|error| match error {
            RecordError::Short | RecordError::Long { .. } => LENGTH,
            _ => Nrc::RequestOutOfRange,
        })?;
        let accepted = self.application.request_file_transfer(self.context(now), &request)?;
        let limit = u32::try_from(accepted.max_block_length).unwrap_or(u32::MAX);
        let (_, sent) = accepted.size.unwrap_or(request.size);
        let remaining = sent.saturating_sub(accepted.position.unwrap_or(0));
        self.open(remaining, limit, request.mode == FileMode::Read);
        Ok(Answer::Positive([&[request.mode.to_byte()][..], &accepted.to_bytes()].concat()))
    }

    fn open(&mut self, remaining: u64, max_block_length: u32, to_tester: bool) {
        let counter = BlockSequenceCounter::FIRST;
        self.download = Some(Download { counter, remaining, max_block_length, last: None, to_tester });
    }

    pub(super) fn transfer_data(&mut self, now: Instant, parameters: &[u8]) -> Result<Answer, Nrc> {
        let context = self.context(now);
        let download = self.download.as_mut().ok_or(Nrc::RequestSequenceError)?;
        if download.to_tester {
            return self.send_data(now, parameters);
        }
        let counter = *parameters.first().ok_or(LENGTH)?;
        if parameters.len() as u64 + 1 > u64::from(download.max_block_length) {
            return Err(LENGTH);
        }
        let request = [&[ServiceId::TransferData.to_byte()][..], parameters].concat();
        let data = self.application.check_block(&request)?.get(2..).unwrap_or_default();
        if data.is_empty() {
            return Err(LENGTH);
        }
        if counter == download.counter.previous().to_byte() && download.counter != BlockSequenceCounter::FIRST
        {
            // Clause 15.4: a repeated block is acknowledged and not written again.
            return Ok(Answer::Positive(vec![counter]));
        }
        if counter != download.counter.to_byte() {
            return Err(Nrc::WrongBlockSequenceCounter);
        }
        let Some(remaining) = download.remaining.checked_sub(data.len() as u64) else {
            return Err(Nrc::TransferDataSuspended);
        };
        let outcome = self.application.transfer_data(context, data);
        if let Outcome::Refused(nrc) = outcome {
            self.download = None;
            return Err(nrc);
        }
        if let Some(download) = &mut self.download {
            download.remaining = remaining;
            download.counter = download.counter.next();
        }
        self.answer(now, ServiceId::TransferData, &[counter], outcome)
    }

    /// One block of an upload; a block that is asked for again is sent again.
    fn send_data(&mut self, now: Instant, parameters: &[u8]) -> Result<Answer, Nrc> {
        let [counter] = *parameters else { return Err(LENGTH) };
        let context = self.context(now);
        let download = self.download.as_mut().ok_or(Nrc::RequestSequenceError)?;
        if let Some(last) = &download.last
            && counter == download.counter.previous().to_byte()
        {
            return Ok(Answer::Positive([&[counter][..], last].concat()));
        }
        if counter != download.counter.to_byte() {
            return Err(Nrc::WrongBlockSequenceCounter);
        }
        if download.remaining == 0 {
            return Err(Nrc::RequestSequenceError);
        }
        let most = u64::from(download.max_block_length.saturating_sub(2).max(1));
        let len = usize::try_from(download.remaining.min(most)).unwrap_or(usize::MAX);
        let data = self.application.upload(context, len)?;
        download.remaining = download.remaining.saturating_sub(data.len() as u64);
        download.counter = download.counter.next();
        download.last = Some(data.clone());
        Ok(Answer::Positive([&[counter][..], &data].concat()))
    }

    pub(super) fn request_transfer_exit(&mut self, now: Instant) -> Result<Answer, Nrc> {
        let complete = self.download.as_ref().is_some_and(|download| download.remaining == 0);
        if !complete {
            return Err(Nrc::RequestSequenceError);
        }
        let to_tester = self.download.take().is_some_and(|download| download.to_tester);
        let outcome = if to_tester {
            Outcome::Done(Vec::new())
        } else {
            self.application.transfer_exit(self.context(now))
        };
        self.answer(now, ServiceId::RequestTransferExit, &[], outcome)
    }
}
