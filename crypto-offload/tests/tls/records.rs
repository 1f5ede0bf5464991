//! The example of RFC 8998 appendix A through the provider's own record and packet protection.
