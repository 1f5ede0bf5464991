//! How a key in a token is named in a configuration: `pkcs11:` URIs (RFC 7512).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Longest URI in bytes.
const MAX_LEN: usize = 1024;

/// A private key in a token: `pkcs11:token=LABEL;object=LABEL?module-path=PATH&pin-source=credential:NAME`.
///
/// Token and object are labels. `type=private` may be said. The PIN itself never stands there, only where it is found.
/// What is read is written back by [`Display`](fmt::Display) in a form that reads the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUri {
    /// Label of the token.
    pub token: String,
    /// Label of the key (CKA_LABEL).
    pub object: String,
    /// The PKCS#11 library, an absolute path.
    pub module_path: PathBuf,
    /// Where the PIN is, in the first line.
    pub pin_source: PinSource,
}

/// Where the PIN of a token is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinSource {
    /// In a file: `pin-source=PATH` or `pin-source=file:PATH`, absolute.
    File(PathBuf),
    /// In a credential that the service manager passes in: `pin-source=credential:NAME`.
    Credential(String),
}

/// Why a text names no key; whoever wrote it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// It begins with something else than `pkcs11:`.
    #[error("not a pkcs11: URI")]
    Scheme,
    /// It is longer than any that makes sense.
    #[error("longer than {MAX_LEN} bytes")]
    TooLong,
    /// An attribute that is not known here, so that what it asks for cannot be granted (RFC 7512 clause 2.3).
    #[error("unknown attribute `{0}`")]
    Unknown(String),
    /// An attribute stands there twice.
    #[error("attribute `{0}` stands there twice")]
    Twice(String),
    /// An attribute is missing or empty.
    #[error("attribute `{0}` is missing")]
    Missing(&'static str),
    /// A value with a broken percent code or bytes that are no text, a path that is not absolute, or a credential's name
    /// that is none.
    #[error("attribute `{0}` has a value that cannot be read")]
    Value(String),
    /// The PIN itself, which would be in a file that many may read.
    #[error("the PIN does not belong here: name a file by pin-source")]
    PinValue,
}

impl FromStr for KeyUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        if text.len() > MAX_LEN {
            return Err(UriError::TooLong);
        }
        let rest = text.strip_prefix("pkcs11:").ok_or(UriError::Scheme)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let [mut token, mut object, mut kind, mut module_path, mut pin_source] = [const { None }; 5];
        let in_path = path.split(';').map(|pair| (true, pair));
        let in_query = query.split('&').map(|pair| (false, pair));
        for (in_path, pair) in in_path.chain(in_query).filter(|(_, pair)| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let slot = match (in_path, name) {
                (true, "token") => &mut token,
                (true, "object") => &mut object,
                (true, "type") => &mut kind,
                (false, "module-path") => &mut module_path,
                (false, "pin-source") => &mut pin_source,
                (false, "pin-value") => return Err(UriError::PinValue),
                _ => return Err(UriError::Unknown(name.to_owned())),
            };
            let value = decode(value).ok_or_else(|| UriError::Value(name.to_owned()))?;
            if slot.replace(value).is_some() {
                return Err(UriError::Twice(name.to_owned()));
            }
        }
        if kind.is_some_and(|kind| kind != "private") {
            return Err(UriError::Value("type".to_owned()));
        }
        Ok(Self {
            token: present(token, "token")?,
            object: present(object, "object")?,
            module_path: absolute(&present(module_path, "module-path")?, "module-path")?,
            pin_source: pin(&present(pin_source, "pin-source")?)?,
        })
    }
}

impl fmt::Display for KeyUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let module = encode(&self.module_path.to_string_lossy());
        write!(
            f,
            "pkcs11:token={};object={}?module-path={module}",
            encode(&self.token),
            encode(&self.object)
        )?;
        match &self.pin_source {
            PinSource::File(path) => write!(f, "&pin-source={}", encode(&path.to_string_lossy())),
            PinSource::Credential(name) => write!(f, "&pin-source=credential:{}", encode(name)),
        }
    }
}

fn present(value: Option<String>, name: &'static str) -> Result<String, UriError> {
    value.filter(|value| !value.is_empty()).ok_or(UriError::Missing(name))
}

fn absolute(value: &str, name: &'static str) -> Result<PathBuf, UriError> {
    let path = PathBuf::from(value);
    if path.is_absolute() { Ok(path) } else { Err(UriError::Value(name.to_owned())) }
}

fn pin(value: &str) -> Result<PinSource, UriError> {
    if let Some(name) = value.strip_prefix("credential:") {
        // It becomes a file name in the folder of credentials, and must not lead out of it.
        let plain = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
        let name = plain.then(|| PinSource::Credential(name.to_owned()));
        return name.ok_or_else(|| UriError::Value("pin-source".to_owned()));
    }
    absolute(value.strip_prefix("file:").unwrap_or(value), "pin-source").map(PinSource::File)
}

/// Percent codes resolved (RFC 3986 clause 2.1); `None` for broken ones and for what is no text.
fn decode(value: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            let code = digit()? << 4 | digit()?;
            u8::try_from(code).ok()?
        } else {
            byte
        });
    }
    // No label or path has a NUL, and C would end there.
    String::from_utf8(decoded).ok().filter(|text| !text.contains('\0'))
}

/// Percent codes for every byte that may mean something else in a URI.
fn encode(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "pkcs11:token=vehicle;object=tls?module-path=/usr/lib/p11.so&pin-source=/etc/pin";

    fn read(text: &str) -> Result<KeyUri, UriError> {
        text.parse()
    }

    #[test]
    fn a_key_is_named_by_token_object_library_and_pin_file() {
        let uri = read(GOOD).unwrap();
        assert_eq!((&*uri.token, &*uri.object), ("vehicle", "tls"));
        assert_eq!(uri.module_path, PathBuf::from("/usr/lib/p11.so"));
        assert_eq!(uri.pin_source, PinSource::File("/etc/pin".into()));
        let other = "pkcs11:type=private;object=a%3Bb%20c;token=%C3%A4?pin-source=file:/p&module-path=/m";
        let uri = read(other).unwrap();
        assert_eq!((&*uri.token, &*uri.object), ("ä", "a;b c"));
        assert_eq!(uri.pin_source, PinSource::File("/p".into()));
        let credential = GOOD.replace("=/etc/pin", "=credential:gatewayd_token-pin");
        let uri = read(&credential).unwrap();
        assert_eq!(uri.pin_source, PinSource::Credential("gatewayd_token-pin".to_owned()));
        assert_eq!(uri.to_string(), credential);
    }

    #[test]
    fn what_names_no_key_is_refused_by_name() {
        let changed = |from: &str, to: &str| read(&GOOD.replace(from, to));
        assert_eq!(changed("pkcs11:", "file:"), Err(UriError::Scheme));
        assert_eq!(changed("token=vehicle;", ""), Err(UriError::Missing("token")));
        assert_eq!(changed("object=tls", "object="), Err(UriError::Missing("object")));
        assert_eq!(changed("&pin-source=/etc/pin", ""), Err(UriError::Missing("pin-source")));
        assert_eq!(changed("=/usr", "=usr"), Err(UriError::Value("module-path".to_owned())));
        assert_eq!(changed("object=tls", "object=%4"), Err(UriError::Value("object".to_owned())));
        assert_eq!(changed("object=tls", "object=%ff"), Err(UriError::Value("object".to_owned())));
        assert_eq!(changed("object=tls", "object=a%00b"), Err(UriError::Value("object".to_owned())));
        assert_eq!(changed("object=tls", "type=cert"), Err(UriError::Value("type".to_owned())));
        assert_eq!(changed("object=tls", "object=a;object=b"), Err(UriError::Twice("object".to_owned())));
        assert_eq!(changed("object=tls", "slot-id=0"), Err(UriError::Unknown("slot-id".to_owned())));
        assert_eq!(changed("pin-source=/etc/pin", "pin-value=1234"), Err(UriError::PinValue));
        for name in ["", "..", "a/b", "%2e%2e"] {
            let wrong = changed("=/etc/pin", &format!("=credential:{name}"));
            assert_eq!(wrong, Err(UriError::Value("pin-source".to_owned())), "{name:?}");
        }
        let long = |len: usize| read(&format!("{GOOD}{}", "p".repeat(len - GOOD.len())));
        assert!(long(MAX_LEN).is_ok());
        assert_eq!(long(MAX_LEN + 1), Err(UriError::TooLong));
    }

    proptest! {
        #[test]
        fn any_label_comes_through_its_percent_codes(label in "[^\0]{1,40}") {
            let coded: String = label.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let uri = read(&GOOD.replace("tls", &coded)).unwrap();
            prop_assert_eq!(&uri.object, &label);
            prop_assert_eq!(read(&uri.to_string()), Ok(uri));
        }

        #[test]
        fn no_text_does_harm(text in ".{0,80}") {
            let _ = read(&text);
            let _ = read(&format!("pkcs11:{text}"));
        }
    }
}
