//! The kinds of attention, and the choices of memory-compressed attention (docs/spec.md section 1).

use super::choice::choice;

/// The attention of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttentionKind {
    /// Every earlier token of the sequence.
    Full,
    /// Every earlier token of the same block of `local_block` tokens.
    Local,
    /// Keys and values compressed by a strided convolution: every slot whose `kv_factor` tokens end at or before the token,
    /// and a null slot.
    Compressed,
}

choice! {
    /// Groups of the convolution that compresses keys and values: the input channels of an output channel.
    KvGroups {
        /// All channels.
        One = "1",
        /// The channels of the same head.
        Head = "head",
        /// Only the same channel.
        Channel = "channel",
    }
}

choice! {
    /// The null key and value of a compressed layer.
    KvNull {
        /// Parameters.
        Learned = "learned",
        /// Zero.
        Zero = "zero",
    }
}

choice! {
    /// The factor of attention scores in a compressed layer.
    KvScale {
        /// D^-½
        Head = "head",
        /// C^-½
        Width = "width",
    }
}
