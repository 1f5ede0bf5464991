//! QUIC with one TLS configuration for each family of suites: the ClientHello is read before one of them answers it.

use std::any::Any;
use std::sync::Arc;

use crypto_offload::tls::initial_suite;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::crypto::{
    ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig, Session, UnsupportedVersion,
};
use quinn::{ConnectionId, Side};
use quinn_proto::TransportError;
use quinn_proto::transport_parameters::TransportParameters;
use rustls::server::Acceptor;

use super::BindError;
use super::tls::Choice;

/// Longest ClientHello read ahead, in bytes; rustls takes no longer ones either.
const MAX_HELLO: usize = 0xffff;
/// Bytes of a handshake message before its body: type and length (RFC 8446 clause 4).
const MESSAGE_HEAD: usize = 4;
/// Largest piece of a handshake message in one TLS record (RFC 8446 clause 5.1).
const MAX_RECORD: usize = 1 << 14;
/// A TLS record of type handshake, up to its length.
const RECORD_HEAD: [u8; 3] = [22, 3, 3];

/// What answers a QUIC client.
pub(crate) struct QuicChoice {
    choice: Choice<Arc<QuicServerConfig>>,
    /// One of them, for what comes before the ClientHello and is the same for all.
    any: Arc<QuicServerConfig>,
}

impl QuicChoice {
    pub(crate) fn new(tls: &Choice<Arc<rustls::ServerConfig>>) -> Result<Self, BindError> {
        let initial = initial_suite().ok_or(BindError::NoInitialSuite)?;
        let choice =
            tls.try_map(|config| QuicServerConfig::with_initial(config.clone(), initial).map(Arc::new))?;
        let any = choice.any().ok_or(BindError::NoInitialSuite)?.clone();
        Ok(Self { choice, any })
    }
}

impl ServerConfig for QuicChoice {
    fn initial_keys(&self, version: u32, dst_cid: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.any.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.any.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(self: Arc<Self>, version: u32, params: &TransportParameters) -> Box<dyn Session> {
        let inner = self.any.clone().start_session(version, params);
        Box::new(Choosing { inner, hello: Some(Vec::new()), config: self, version, params: *params })
    }
}

/// A session that changes its configuration once, when the ClientHello is there.
struct Choosing {
    inner: Box<dyn Session>,
    /// What has come of the ClientHello; `None` once a configuration is chosen.
    hello: Option<Vec<u8>>,
    config: Arc<QuicChoice>,
    version: u32,
    params: TransportParameters,
}

impl Choosing {
    /// What is malformed is left to the session to find, which knows the alert for it.
    fn choose(&mut self, hello: &[u8]) {
        let mut acceptor = Acceptor::default();
        let mut records = Vec::with_capacity(hello.len() + 16);
        for piece in hello.chunks(MAX_RECORD) {
            records.extend_from_slice(&RECORD_HEAD);
            // A piece has at most 2^14 bytes.
            records.extend_from_slice(&u16::try_from(piece.len()).unwrap_or(u16::MAX).to_be_bytes());
            records.extend_from_slice(piece);
        }
        let mut rest = records.as_slice();
        while !rest.is_empty() {
            if !acceptor.read_tls(&mut rest).is_ok_and(|read| read > 0) {
                return;
            }
            let accepted = match acceptor.accept() {
                Ok(Some(accepted)) => accepted,
                Ok(None) => continue,
                Err(_) => return,
            };
            if let Some(config) = self.config.choice.for_hello(&accepted.client_hello()) {
                self.inner = config.clone().start_session(self.version, &self.params);
            }
            return;
        }
    }
}

/// Bytes of the handshake message that begins here, once they can be told.
fn message_len(bytes: &[u8]) -> Option<usize> {
    let [_, high, middle, low] = *bytes.first_chunk::<MESSAGE_HEAD>()?;
    Some(usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low))
        .map(|body| body + MESSAGE_HEAD)
}

impl Session for Choosing {
    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        let Some(mut hello) = self.hello.take() else { return self.inner.read_handshake(buf) };
        hello.extend_from_slice(buf);
        match message_len(&hello) {
            // The session refuses it.
            Some(len) if len > MAX_HELLO => {}
            Some(len) if hello.len() >= len => self.choose(&hello[..len]),
            _ => {
                self.hello = Some(hello);
                return Ok(false);
            }
        }
        self.inner.read_handshake(&hello)
    }

    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        self.inner.initial_keys(dst_cid, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.inner.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.inner.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.inner.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.inner.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.inner.is_handshaking()
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.inner.transport_parameters()
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        self.inner.write_handshake(buf)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.inner.next_1rtt_keys()
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.inner.is_valid_retry(orig_dst_cid, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.inner.export_keying_material(output, label, context)
    }
}
