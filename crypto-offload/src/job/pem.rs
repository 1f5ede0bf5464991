//! PEM (RFC 7468): one block of one label and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest text taken apart, in bytes. An RSA-8192 private key needs about 6400.
const MAX_TEXT: usize = 16 * 1024;
/// Characters per line, as RFC 7468 clause 2 has generators write.
const LINE: usize = 64;

/// The bytes of the one block labelled `label`. `None` for anything before or after it, headers, or loose base64.
pub(crate) fn decode(label: &str, text: &str) -> Option<Vec<u8>> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let body = text
        .trim_end_matches(['\r', '\n'])
        .strip_prefix(&*format!("-----BEGIN {label}-----"))?
        .strip_suffix(&*format!("-----END {label}-----"))?;
    // The boundaries stand on lines of their own.
    let body = body.strip_prefix("\r\n").or_else(|| body.strip_prefix('\n'))?;
    if !body.ends_with('\n') {
        return None;
    }
    let mut encoded = zeroize::Zeroizing::new(String::with_capacity(body.len()));
    encoded.extend(body.lines());
    STANDARD.decode(encoded.as_bytes()).ok()
}

/// One block, ended by a line feed.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    let encoded = zeroize::Zeroizing::new(STANDARD.encode(der));
    // Room for all of it, so that a secret is not left behind in an outgrown buffer.
    let mut text = String::with_capacity(encoded.len() + encoded.len() / LINE + 2 * label.len() + 40);
    text.extend(["-----BEGIN ", label, "-----\n"]);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        text.extend([line, "\n"]);
        rest = after;
    }
    text.extend(["-----END ", label, "-----\n"]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_around_a_line() {
        for len in [0, 1, 47, 48, 49, 96, 500] {
            let der: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let text = encode("PUBLIC KEY", &der);
            assert!(text.lines().all(|line| line.len() <= LINE));
            // Of an empty block the two boundaries share a line end, and no key is empty.
            assert_eq!(decode("PUBLIC KEY", &text), (len > 0).then_some(der), "{len}");
        }
    }

    #[test]
    fn windows_line_ends_and_a_missing_last_one_are_taken() {
        let text = encode("PUBLIC KEY", &[1; 100]);
        assert_eq!(decode("PUBLIC KEY", &text.replace('\n', "\r\n")), Some(vec![1; 100]));
        assert_eq!(decode("PUBLIC KEY", text.trim_end()), Some(vec![1; 100]));
    }

    #[test]
    fn anything_but_the_one_block_is_refused() {
        let text = encode("PUBLIC KEY", &[1; 100]);
        for bad in [
            format!("note\n{text}"),
            format!("{text}{text}"),
            format!(" {text}"),
            text.replace("AQEB", "AQ=B"),
            text.replace("AQEB", "AQ B"),
            text.replace("PUBLIC", "PRIVATE"),
            text.replace("-----\n", "-----"),
            "x".repeat(MAX_TEXT + 1),
        ] {
            assert_eq!(decode("PUBLIC KEY", &bad), None, "{bad}");
        }
    }
}
