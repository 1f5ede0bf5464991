#![forbid(unsafe_code)]
//! `gateway-cloud`: the cloud side of gatewayd in one binary.

fn main() {}
