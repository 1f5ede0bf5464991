//! From files to a campaign that any static file server can offer: chunks encrypted, tree built, metadata signed.
//!
//! The layout is that of ARCHITECTURE.md, "The stored image" and "Metadata".

mod campaign;
mod description;
mod keys;
mod package;
mod repository;

pub use campaign::{Expiry, PublishError, Published, PublishedTarget, publish};
pub use description::{Campaign, DescriptionError, TargetDescription, read_campaign};
pub use keys::{KEK_AES, KEK_SM4, KeyRing, KeysError, RepositoryKeys};
pub use package::{PackageError, PackageFault, Progress};
pub use repository::RepositoryError;
