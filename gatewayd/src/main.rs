//! gatewayd
fn main() {}
