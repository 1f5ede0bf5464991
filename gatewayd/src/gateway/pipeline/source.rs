//! Where an image's bytes come from. Both places are trusted alike: not at all.

use ota::tree::NodeRequest;

use super::NodeWay;
use crate::gateway::context::Context;
use crate::gateway::message::{StoreName, StoreOperation};

/// A pair of files: the stored image and the tree over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Source {
    /// At the origin, by path.
    Origin {
        /// The stored image.
        image: String,
        /// Its tree.
        tree: String,
    },
    /// In the image store.
    Store {
        /// The stored image.
        image: StoreName,
        /// Its tree.
        tree: StoreName,
    },
}

impl Source {
    pub(super) const fn is_store(&self) -> bool {
        matches!(self, Self::Store { .. })
    }

    /// Asks for one tree node.
    pub(super) fn node(&self, context: &mut Context<'_>, request: NodeRequest) -> NodeWay {
        match self {
            Self::Store { tree, .. } => {
                let operation = StoreOperation::Read { offset: request.offset, len: request.len };
                NodeWay::Read(context.store(tree, operation))
            }
            Self::Origin { tree, .. } => {
                let len = request.len as u64;
                let range = request.offset..request.offset + len;
                NodeWay::Fetch(context.fetch(tree.clone(), Some(range), request.len, len))
            }
        }
    }
}
