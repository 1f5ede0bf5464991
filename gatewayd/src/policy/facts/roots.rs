//! Root metadata: what the vehicle trusts before it has ever been online.

use crypto_offload::software::SoftwareVerifier;
use ota::uptane::canonical::Bounds;
use ota::uptane::{Role, Root, Signed};

use super::{Facts, RoleFact, RootFact, files};

/// Takes down the root metadata in the file of a key.
pub(super) fn look(facts: &mut Facts, key: &str) {
    let Some(bytes) = files::content(facts, key) else { return };
    facts.roots.insert(key.to_owned(), fact(&bytes));
}

fn fact(bytes: &[u8]) -> RootFact {
    let root = match Signed::<Root>::parse(bytes, Bounds::metadata(bytes.len()), &SoftwareVerifier) {
        Ok(root) => root,
        Err(error) => return RootFact { error: Some(crate::bus::chain(&error)), ..RootFact::default() },
    };
    // A first root has nobody before it: it must be signed by the keys that it names itself.
    let error = root.body().verify(&root, &SoftwareVerifier).err().map(|it| it.to_string());
    let roles = Role::ALL.into_iter().map(|it| (it.name().to_owned(), role(root.body(), it)));
    RootFact { error, version: root.version(), expires: root.expires().unix(), roles: roles.collect() }
}

fn role(root: &Root, role: Role) -> RoleFact {
    let keys = root.role(role);
    let usable = keys.keyids.iter().filter_map(|id| {
        let key = root.keys.get(id)?.to_public()?;
        Some((id.to_string(), key.scheme.name().to_owned()))
    });
    RoleFact { threshold: keys.threshold, keys: usable.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_metadata_is_said_so() {
        assert!(fact(b"{}").error.is_some());
        assert!(fact(b"").error.is_some());
    }
}
