//! The one-byte codes of ISO 13400-2.

use std::fmt;

/// A set of codes: its values on the wire, and what they say.
macro_rules! codes {
    (
        $(#[$attribute:meta])*
        $name:ident { $($(#[$doc:meta])* $variant:ident = $byte:literal, $text:literal;)* }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* $variant,)*
            /// A value that the standard reserves or leaves to the vehicle's maker
            Other(u8),
        }

        impl $name {
            /// The value on the wire.
            pub const fn to_byte(self) -> u8 {
                match self {
                    $(Self::$variant => $byte,)*
                    Self::Other(byte) => byte,
                }
            }

            /// What a value on the wire means.
            pub const fn from_byte(byte: u8) -> Self {
                match byte {
                    $($byte => Self::$variant,)*
                    byte => Self::Other(byte),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let text = match self {
                    $(Self::$variant => $text,)*
                    Self::Other(_) => "no code of the standard",
                };
                write!(f, "{text} (0x{:02X})", self.to_byte())
            }
        }
    };
}

codes! {
    /// What is wrong with a message as such (generic DoIP header negative acknowledgement).
    NackCode {
        /// The version and its inverse do not match, or the version is not spoken; the connection is closed
        IncorrectPatternFormat = 0x00, "incorrect pattern format";
        /// The message is discarded
        UnknownPayloadType = 0x01, "unknown payload type";
        /// The message is discarded
        MessageTooLarge = 0x02, "message too large";
        /// The message is discarded
        OutOfMemory = 0x03, "out of memory";
        /// The length does not suit the payload type; the connection is closed
        InvalidPayloadLength = 0x04, "invalid payload length";
    }
}

codes! {
    /// The answer to a routing activation request.
    ActivationCode {
        /// Denied, the connection is closed
        UnknownSourceAddress = 0x00, "denied: unknown source address";
        /// Denied, the connection is closed
        AllSocketsActive = 0x01, "denied: all sockets are registered and active";
        /// Denied: this connection is another tester's; it is closed
        SourceAddressMismatch = 0x02, "denied: the connection is registered for another source address";
        /// Denied, the connection is closed
        SourceAddressInUse = 0x03, "denied: the source address is active on another connection";
        /// Denied; the connection stays, so that the tester can prove itself
        MissingAuthentication = 0x04, "denied: authentication is missing";
        /// Denied, the connection is closed
        RejectedConfirmation = 0x05, "denied: the confirmation was rejected";
        /// Denied, the connection is closed
        UnsupportedActivationType = 0x06, "denied: activation type not supported";
        /// Denied, the connection is closed (2019)
        TlsRequired = 0x07, "denied: a TLS connection is required";
        /// Diagnostic messages are routed from here on
        Success = 0x10, "activated";
        /// Somebody has to confirm first; a second response follows
        ConfirmationRequired = 0x11, "confirmation is required";
    }
}

impl ActivationCode {
    /// Whether the entity closes the connection behind this answer.
    pub const fn closes(self) -> bool {
        !matches!(self, Self::MissingAuthentication | Self::Success | Self::ConfirmationRequired)
    }
}

codes! {
    /// What a tester wants its connection for.
    ActivationType {
        /// Ordinary diagnostics and programming
        Default = 0x00, "default";
        /// What regulations require
        RequiredByRegulation = 0x01, "required by regulation";
        /// The central security approach of the vehicle's maker
        CentralSecurity = 0xE0, "central security";
    }
}

codes! {
    /// Why a diagnostic message was not handed on.
    DiagnosticNackCode {
        /// Not the address this connection is registered for; it is closed
        InvalidSourceAddress = 0x02, "invalid source address";
        /// Nobody here has that address
        UnknownTargetAddress = 0x03, "unknown target address";
        /// Longer than the target's network carries
        MessageTooLarge = 0x04, "diagnostic message too large";
        /// No room for it
        OutOfMemory = 0x05, "out of memory";
        /// The target does not answer on its network
        TargetUnreachable = 0x06, "target unreachable";
        /// The network of the target is not there
        UnknownNetwork = 0x07, "unknown network";
        /// The transport of the target's network failed
        TransportProtocolError = 0x08, "transport protocol error";
    }
}

codes! {
    /// Whether a vehicle can be diagnosed.
    PowerMode {
        /// Not all ECUs can be reached
        NotReady = 0x00, "not ready";
        /// All can
        Ready = 0x01, "ready";
        /// The vehicle does not tell
        NotSupported = 0x02, "not supported";
    }
}

codes! {
    /// What a DoIP entity is.
    NodeType {
        /// It has networks with other ECUs behind it
        Gateway = 0x00, "gateway";
        /// It is one ECU
        Node = 0x01, "node";
    }
}

codes! {
    /// What a tester has to do before diagnostics.
    FurtherAction {
        /// Nothing
        None = 0x00, "no further action";
        /// Routing activation for central security
        CentralSecurity = 0x10, "routing activation for central security";
    }
}
