//! Protection of TLS 1.3 records (RFC 8446 clause 5.2) by SM4-GCM and SM4-CCM.

use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter, Nonce,
    OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm,
    UnsupportedOperationError, make_tls13_aad,
};
use rustls::{ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion};

use super::aead::Aead;
use crate::sm4::{KEY_LEN, Sm4Ccm, Sm4Gcm, TAG_LEN};

/// SM4 in one of the two modes of RFC 8998.
#[derive(Clone, Copy)]
pub(super) enum Mode {
    Gcm,
    Ccm,
}

impl Mode {
    pub(super) fn keyed(self, key: &AeadKey) -> Box<dyn Aead> {
        // rustls asks for keys of `key_len` bytes only.
        let mut bytes = zeroize::Zeroizing::new([0; KEY_LEN]);
        bytes.copy_from_slice(key.as_ref());
        match self {
            Self::Gcm => Box::new(Sm4Gcm::new(&bytes)),
            Self::Ccm => Box::new(Sm4Ccm::new(&bytes)),
        }
    }
}

impl Tls13AeadAlgorithm for Mode {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(Protection { aead: self.keyed(&key), iv })
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(Protection { aead: self.keyed(&key), iv })
    }

    fn key_len(&self) -> usize {
        KEY_LEN
    }

    fn extract_keys(&self, _: AeadKey, _: Iv) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        // rustls 0.23 has no form for SM4 keys.
        Err(UnsupportedOperationError)
    }
}

struct Protection {
    aead: Box<dyn Aead>,
    iv: Iv,
}

impl MessageEncrypter for Protection {
    fn encrypt(&mut self, msg: OutboundPlainMessage<'_>, seq: u64) -> Result<OutboundOpaqueMessage, Error> {
        let total_len = self.encrypted_payload_len(msg.payload.len());
        let mut payload = PrefixedPayload::with_capacity(total_len);
        payload.extend_from_chunks(&msg.payload);
        payload.extend_from_slice(&[u8::from(msg.typ)]);
        let tag = self
            .aead
            .seal(&Nonce::new(&self.iv, seq).0, &make_tls13_aad(total_len), payload.as_mut())
            .map_err(|_| Error::EncryptError)?;
        payload.extend_from_slice(&tag);
        Ok(OutboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, payload))
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        payload_len + 1 + TAG_LEN
    }
}

impl MessageDecrypter for Protection {
    fn decrypt<'a>(
        &mut self,
        mut msg: InboundOpaqueMessage<'a>,
        seq: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let total_len = msg.payload.len();
        let (data, tag) = msg.payload.split_last_chunk_mut::<TAG_LEN>().ok_or(Error::DecryptError)?;
        self.aead
            .open(&Nonce::new(&self.iv, seq).0, &make_tls13_aad(total_len), data, tag)
            .map_err(|_| Error::DecryptError)?;
        msg.payload.truncate(total_len - TAG_LEN);
        msg.into_tls13_unpadded_message()
    }
}
