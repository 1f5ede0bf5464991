//! The commented reference file, as installed in `/usr/share/doc/gatewayd/`.

/// The text. `gatewayd check` accepts it as it stands.
pub const TEXT: &str = include_str!("reference.toml");
