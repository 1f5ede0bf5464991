//! Requests.

use super::{
    Addressing, BlockSequenceCounter, DataIdentifier, MemoryRange, RoutineControl, RoutineId, SecurityLevel,
    ServiceId, Session, crc16_x25,
};

/// Bit 7 of a sub-function: no positive response wanted (clause 8.2.2).
pub const SUPPRESS_POSITIVE_RESPONSE: u8 = 0x80;

/// One request, complete but for the transport's addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    service: ServiceId,
    addressing: Addressing,
    suppress_positive_response: bool,
    pdu: Vec<u8>,
}

impl Request {
    /// A physically addressed request: `parameters` follow the service identifier.
    pub fn new(service: ServiceId, parameters: &[u8]) -> Self {
        let mut pdu = Vec::with_capacity(parameters.len() + 1);
        pdu.push(service.to_byte());
        pdu.extend_from_slice(parameters);
        Self { service, addressing: Addressing::Physical, suppress_positive_response: false, pdu }
    }

    /// Service 0x10.
    pub fn session(session: Session) -> Self {
        Self::new(ServiceId::DiagnosticSessionControl, &[session.to_byte()])
    }

    /// Service 0x22 for one identifier.
    pub fn read_data(did: DataIdentifier) -> Self {
        Self::new(ServiceId::ReadDataByIdentifier, &did.0.to_be_bytes())
    }

    /// Service 0x2E.
    pub fn write_data(did: DataIdentifier, record: &[u8]) -> Self {
        let mut parameters = did.0.to_be_bytes().to_vec();
        parameters.extend_from_slice(record);
        Self::new(ServiceId::WriteDataByIdentifier, &parameters)
    }

    /// Service 0x31.
    pub fn routine(control: RoutineControl, id: RoutineId, option: &[u8]) -> Self {
        let [high, low] = id.0.to_be_bytes();
        let mut parameters = vec![control.to_byte(), high, low];
        parameters.extend_from_slice(option);
        Self::new(ServiceId::RoutineControl, &parameters)
    }

    /// Service 0x36.
    pub fn transfer_data(counter: BlockSequenceCounter, data: &[u8]) -> Self {
        let mut pdu = Vec::with_capacity(data.len() + 2);
        pdu.extend_from_slice(&[ServiceId::TransferData.to_byte(), counter.to_byte()]);
        pdu.extend_from_slice(data);
        Self {
            service: ServiceId::TransferData,
            addressing: Addressing::Physical,
            suppress_positive_response: false,
            pdu,
        }
    }

    /// Service 0x36 with the CRC-16/X-25 of the whole request behind the data, low byte last.
    pub fn transfer_data_with_crc(counter: BlockSequenceCounter, data: &[u8]) -> Self {
        let mut request = Self::transfer_data(counter, data);
        let crc = crc16_x25(&request.pdu);
        request.pdu.extend_from_slice(&crc.to_be_bytes());
        request
    }

    /// Service 0x11.
    pub fn ecu_reset(reset_type: u8) -> Self {
        Self::new(ServiceId::EcuReset, &[reset_type])
    }

    /// Service 0x14 for a group of trouble codes (24 bits; 0xFFFFFF: all).
    pub fn clear_diagnostic_information(group: u32) -> Self {
        let [_, high, middle, low] = group.to_be_bytes();
        Self::new(ServiceId::ClearDiagnosticInformation, &[high, middle, low])
    }

    /// Service 0x19: report type and its parameters, such as a status mask.
    pub fn read_dtc_information(report_type: u8, parameters: &[u8]) -> Self {
        Self::new(ServiceId::ReadDtcInformation, &[&[report_type][..], parameters].concat())
    }

    /// Service 0x22 for several identifiers at once. Only the caller knows where one record ends in the answer.
    pub fn read_several(dids: &[DataIdentifier]) -> Self {
        let parameters: Vec<u8> = dids.iter().flat_map(|did| did.0.to_be_bytes()).collect();
        Self::new(ServiceId::ReadDataByIdentifier, &parameters)
    }

    /// Service 0x23.
    pub fn read_memory(range: &MemoryRange) -> Self {
        Self::new(ServiceId::ReadMemoryByAddress, &range.to_bytes())
    }

    /// Service 0x27: asks for a seed.
    pub fn request_seed(level: SecurityLevel) -> Self {
        Self::new(ServiceId::SecurityAccess, &[level.request_seed()])
    }

    /// Service 0x27: answers a seed.
    pub fn send_key(level: SecurityLevel, key: &[u8]) -> Self {
        Self::new(ServiceId::SecurityAccess, &[&[level.send_key()][..], key].concat())
    }

    /// Service 0x28: control type and communication type.
    pub fn communication_control(control: u8, communication: u8) -> Self {
        Self::new(ServiceId::CommunicationControl, &[control, communication])
    }

    /// Service 0x2F: control option and state behind the identifier.
    pub fn io_control(did: DataIdentifier, option: &[u8]) -> Self {
        let parameters = [&did.0.to_be_bytes()[..], option].concat();
        Self::new(ServiceId::InputOutputControlByIdentifier, &parameters)
    }

    /// Service 0x34.
    pub fn download(data_format: u8, range: &MemoryRange) -> Self {
        Self::new(ServiceId::RequestDownload, &[&[data_format][..], &range.to_bytes()].concat())
    }

    /// Service 0x35.
    pub fn upload(data_format: u8, range: &MemoryRange) -> Self {
        Self::new(ServiceId::RequestUpload, &[&[data_format][..], &range.to_bytes()].concat())
    }

    /// Service 0x36 without data, for a transfer from the ECU.
    pub fn fetch_data(counter: BlockSequenceCounter) -> Self {
        Self::transfer_data(counter, &[])
    }

    /// Service 0x37.
    pub fn transfer_exit() -> Self {
        Self::new(ServiceId::RequestTransferExit, &[])
    }

    /// Service 0x3E.
    pub fn tester_present() -> Self {
        Self::new(ServiceId::TesterPresent, &[0x00])
    }

    /// Service 0x85.
    pub fn control_dtc_setting(on: bool) -> Self {
        Self::new(ServiceId::ControlDtcSetting, &[if on { 0x01 } else { 0x02 }])
    }

    /// The same request, addressed as given.
    #[must_use]
    pub fn addressed(mut self, addressing: Addressing) -> Self {
        self.addressing = addressing;
        self
    }

    /// The same request with bit 7 of its sub-function set; a service without sub-function stays as it is.
    #[must_use]
    pub fn suppress_positive_response(mut self) -> Self {
        if self.service.has_sub_function()
            && let Some(sub_function) = self.pdu.get_mut(1)
        {
            *sub_function |= SUPPRESS_POSITIVE_RESPONSE;
            self.suppress_positive_response = true;
        }
        self
    }

    /// The service asked for.
    pub fn service(&self) -> ServiceId {
        self.service
    }

    /// Whom the request is for.
    pub fn addressing(&self) -> Addressing {
        self.addressing
    }

    /// Whether silence is an acceptable answer: functional, or positive response suppressed.
    pub fn may_stay_unanswered(&self) -> bool {
        self.suppress_positive_response || self.addressing == Addressing::Functional
    }

    /// The bytes to send.
    pub fn pdu(&self) -> &[u8] {
        &self.pdu
    }

    /// Sub-function without its suppress bit, for services that have one.
    pub fn sub_function(&self) -> Option<u8> {
        let byte = self.pdu.get(1)?;
        self.service.has_sub_function().then_some(byte & !SUPPRESS_POSITIVE_RESPONSE)
    }

    /// What follows the repeated part of the request in a positive response's `parameters`; `None` if they repeat
    /// something else, so answer another request.
    pub fn strip_echo<'a>(&self, parameters: &'a [u8]) -> Option<&'a [u8]> {
        let len = self.service.echo_len();
        let (echo, record) = parameters.split_at_checked(len)?;
        let asked = self.pdu.get(1..=len)?;
        let matches = echo.iter().zip(asked).enumerate().all(|(index, (got, want))| {
            let mask = if index == 0 && self.service.has_sub_function() {
                !SUPPRESS_POSITIVE_RESPONSE
            } else {
                0xFF
            };
            got == &(want & mask)
        });
        matches.then_some(record)
    }
}
