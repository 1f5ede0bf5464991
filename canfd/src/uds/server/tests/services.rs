//! The services beside those of programming, by their bytes.

use super::*;
use crate::uds::message::{FileMode, OWNERSHIP_VERIFICATION_NECESSARY};

/// Records what it is asked, and answers everything.
#[derive(Debug, Default)]
struct Everything {
    cleared: Vec<u32>,
    sent: u8,
}

impl Application for Everything {
    fn read_data(&mut self, _: Context, did: DataIdentifier) -> Result<Vec<u8>, Nrc> {
        if did.0 < 0x0100 { Ok(vec![did.0.to_be_bytes()[1]]) } else { Err(Nrc::RequestOutOfRange) }
    }

    fn write_data(&mut self, context: Context, _: DataIdentifier, _: &[u8]) -> Result<(), Nrc> {
        if context.authenticated { Ok(()) } else { Err(Nrc::AuthenticationRequired) }
    }

    fn routine(&mut self, _: Context, _: RoutineControl, _: RoutineId, _: &[u8]) -> Outcome {
        Outcome::Done(Vec::new())
    }

    fn seed(&mut self, _: SecurityLevel) -> Option<Vec<u8>> {
        None
    }

    fn accepts_key(&mut self, _: SecurityLevel, _: &[u8], _: &[u8]) -> bool {
        false
    }

    fn request_download(&mut self, _: Context, _: u8, _: u64, _: u64) -> Result<u32, Nrc> {
        Ok(8)
    }

    fn transfer_data(&mut self, _: Context, _: &[u8]) -> Outcome {
        Outcome::Done(Vec::new())
    }

    /// The last byte is the sum of all before it.
    fn check_block<'a>(&mut self, request: &'a [u8]) -> Result<&'a [u8], Nrc> {
        let (sum, rest) = request.split_last().ok_or(Nrc::GeneralReject)?;
        let good = rest.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) == *sum;
        if good { Ok(rest) } else { Err(Nrc::GeneralProgrammingFailure) }
    }

    fn transfer_exit(&mut self, _: Context) -> Outcome {
        Outcome::Done(Vec::new())
    }

    fn clear_diagnostic_information(&mut self, _: Context, group: u32) -> Result<(), Nrc> {
        self.cleared.push(group);
        Ok(())
    }

    fn read_dtc_information(&mut self, _: Context, kind: u8, mask: &[u8]) -> Result<Vec<u8>, Nrc> {
        if kind == 0x01 {
            Ok([mask, &[0x00, 0x00, 0x02]].concat())
        } else {
            Err(Nrc::SubFunctionNotSupported)
        }
    }

    fn read_memory(&mut self, _: Context, range: &MemoryRange) -> Result<Vec<u8>, Nrc> {
        Ok(vec![range.address.to_be_bytes()[7]; usize::try_from(range.length).unwrap()])
    }

    fn io_control(&mut self, _: Context, _: DataIdentifier, option: &[u8]) -> Result<Vec<u8>, Nrc> {
        Ok(option.to_vec())
    }

    fn verify_certificate(
        &mut self,
        _: Context,
        certificate: &[u8],
        challenge: Option<&[u8]>,
    ) -> Result<ServerChallenge, Nrc> {
        if certificate != [0xC1] {
            return Err(Nrc::CertificateInvalidSignature);
        }
        let server = challenge.map(|challenge| (vec![0xC2], challenge.to_vec()));
        Ok(ServerChallenge { challenge: vec![7], server, ephemeral_key: Vec::new() })
    }

    fn accepts_proof(&mut self, challenge: &ServerChallenge, proof: &[u8]) -> bool {
        challenge.challenge == proof
    }

    fn request_upload(&mut self, _: Context, _: u8, _: &MemoryRange) -> Result<u32, Nrc> {
        Ok(4)
    }

    fn upload(&mut self, _: Context, len: usize) -> Result<Vec<u8>, Nrc> {
        let first = self.sent + 1;
        self.sent += u8::try_from(len).unwrap();
        Ok((first..=self.sent).collect())
    }

    fn request_file_transfer(&mut self, _: Context, request: &FileRequest) -> Result<FileAccepted, Nrc> {
        let position = (request.mode == FileMode::Resume).then_some(2);
        Ok(FileAccepted { max_block_length: 8, data_format: request.data_format, size: None, position })
    }

    fn finish(&mut self, _: Instant) -> Result<Vec<u8>, Nrc> {
        Ok(Vec::new())
    }

    fn reset(&mut self, _: Context, _: u8) -> Result<Duration, Nrc> {
        Ok(Duration::ZERO)
    }
}

struct Bench(Server<Everything>, Instant);

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        let mut bench = Self(Server::new(now, Everything::default(), ServerTimings::default()), now);
        assert_eq!(bench.ask(&[0x10, 0x02])[0], 0x50);
        bench
    }

    fn ask(&mut self, pdu: &[u8]) -> Vec<u8> {
        self.0.handle_request(self.1, false, pdu);
        self.0.poll_response().expect("an answer")
    }
}

#[test]
fn trouble_codes_are_counted_and_cleared_by_group() {
    let mut bench = Bench::new();
    assert_eq!(bench.ask(&[0x19, 0x01, 0xFF]), [0x59, 0x01, 0xFF, 0, 0, 2]);
    assert_eq!(bench.ask(&[0x19, 0x55]), [0x7F, 0x19, 0x12]);
    assert_eq!(bench.ask(&[0x14, 0xFF, 0xFF, 0x33]), [0x54]);
    assert_eq!(bench.0.application().cleared, [0xFF_FF33]);
    assert_eq!(bench.ask(&[0x14, 0xFF, 0xFF]), [0x7F, 0x14, 0x13]);
}

#[test]
fn several_identifiers_are_answered_by_the_records_there_are() {
    let mut bench = Bench::new();
    assert_eq!(bench.ask(&[0x22, 0, 5, 0xF1, 0x95, 0, 6]), [0x62, 0, 5, 5, 0, 6, 6]);
    assert_eq!(bench.ask(&[0x22, 0xF1, 0x95, 0xF1, 0x96]), [0x7F, 0x22, 0x31]);
    assert_eq!(bench.ask(&[0x22, 0, 5, 0]), [0x7F, 0x22, 0x13]);
    assert_eq!(bench.ask(&[&[0x22][..], &[0; 128]].concat()).len(), 1 + 64 * 3);
    assert_eq!(bench.ask(&[&[0x22][..], &[0; 130]].concat()), [0x7F, 0x22, 0x14]);
}

#[test]
fn memory_is_read_and_outputs_are_controlled() {
    let mut bench = Bench::new();
    assert_eq!(bench.ask(&[0x23, 0x12, 0x01, 0x44, 3]), [0x63, 0x44, 0x44, 0x44]);
    assert_eq!(bench.ask(&[0x23, 0x02, 0x01, 0x44]), [0x7F, 0x23, 0x31]);
    assert_eq!(bench.ask(&[0x23, 0x12, 0x01, 0x44]), [0x7F, 0x23, 0x13]);
    assert_eq!(bench.ask(&[0x2F, 0x12, 0x34, 0x03, 0x01]), [0x6F, 0x12, 0x34, 0x03, 0x01]);
    assert_eq!(bench.ask(&[0x2F, 0x12, 0x34]), [0x7F, 0x2F, 0x13]);
}

#[test]
fn an_upload_repeats_a_block_that_is_asked_for_again_and_ends_with_its_length() {
    let mut bench = Bench::new();
    assert_eq!(bench.ask(&[0x35, 0x00, 0x11, 0x40, 3]), [0x75, 0x40, 0, 0, 0, 4]);
    assert_eq!(bench.ask(&[0x37]), [0x7F, 0x37, 0x24]);
    assert_eq!(bench.ask(&[0x36, 1]), [0x76, 1, 1, 2]);
    assert_eq!(bench.ask(&[0x36, 1]), [0x76, 1, 1, 2]);
    assert_eq!(bench.ask(&[0x36, 3]), [0x7F, 0x36, 0x73]);
    assert_eq!(bench.ask(&[0x36, 2]), [0x76, 2, 3]);
    assert_eq!(bench.ask(&[0x36, 3]), [0x7F, 0x36, 0x24]);
    assert_eq!(bench.ask(&[0x37]), [0x77]);
}

#[test]
fn a_file_that_is_resumed_misses_only_its_rest() {
    let mut bench = Bench::new();
    let accepted = bench.ask(&[0x38, 0x06, 0, 1, b'f', 0x00, 1, 5, 5]);
    assert_eq!(accepted, [0x78, 0x06, 1, 8, 0x00, 0, 0, 0, 0, 0, 0, 0, 2]);
    // Two of five bytes are there: the third block byte too many is refused.
    assert_eq!(bench.ask(&[0x36, 1, 9, 9, 9, 9, 0x36 + 1 + 36]), [0x7F, 0x36, 0x71]);
    assert_eq!(bench.ask(&[0x36, 1, 9, 9, 9, 0x36 + 1 + 27]), [0x76, 1]);
    assert_eq!(bench.ask(&[0x37]), [0x77]);
    assert_eq!(bench.ask(&[0x38, 0x02, 0, 1, b'f']), [0x7F, 0x38, 0x31]);
    assert_eq!(bench.ask(&[0x38, 0x06, 0, 2, b'f']), [0x7F, 0x38, 0x13]);
}

#[test]
fn a_block_with_a_wrong_checksum_is_refused_and_may_come_again() {
    let mut bench = Bench::new();
    assert_eq!(bench.ask(&[0x34, 0x00, 0x11, 0x40, 1])[0], 0x74);
    assert_eq!(bench.ask(&[0x36, 1, 9, 0]), [0x7F, 0x36, 0x72]);
    assert_eq!(bench.ask(&[0x36, 1, 9, 0x36 + 1 + 9]), [0x76, 1]);
}

#[test]
fn the_owner_of_the_certificate_is_authenticated_until_the_default_session() {
    let mut bench = Bench::new();
    let write = [0x2E, 0, 1, 0];
    let verify = [0x29, 0x02, 0x00, 0, 1, 0xC1, 0, 1, 0x55];
    assert_eq!(bench.ask(&write), [0x7F, 0x2E, 0x34]);
    assert_eq!(bench.ask(&[0x29, 0x03, 0, 1, 7, 0, 0]), [0x7F, 0x29, 0x24]);
    assert_eq!(bench.ask(&[0x29, 0x01, 0x00, 0, 1, 0xEE, 0, 0]), [0x7F, 0x29, 0x51]);
    let challenge = [0x69, 0x02, OWNERSHIP_VERIFICATION_NECESSARY, 0, 1, 7, 0, 1, 0xC2, 0, 1, 0x55, 0, 0];
    assert_eq!(bench.ask(&verify), challenge);
    assert_eq!(bench.ask(&[0x29, 0x03, 0, 1, 8, 0, 0]), [0x7F, 0x29, 0x58]);
    // A challenge is good for one answer.
    assert_eq!(bench.ask(&[0x29, 0x03, 0, 1, 7, 0, 0]), [0x7F, 0x29, 0x24]);
    assert_eq!(bench.ask(&verify), challenge);
    assert_eq!(bench.ask(&[0x29, 0x03, 0, 1, 7, 0, 0]), [0x69, 0x03, 0x12, 0, 0]);
    assert_eq!(bench.ask(&write), [0x6E, 0, 1]);
    assert_eq!(bench.ask(&[0x29, 0x00]), [0x69, 0x00, 0x10]);
    assert_eq!(bench.ask(&write), [0x7F, 0x2E, 0x34]);
    bench.ask(&verify);
    bench.ask(&[0x29, 0x03, 0, 1, 7, 0, 0]);
    bench.ask(&[0x10, 0x01]);
    bench.ask(&[0x10, 0x02]);
    assert_eq!(bench.ask(&write), [0x7F, 0x2E, 0x34]);
}
