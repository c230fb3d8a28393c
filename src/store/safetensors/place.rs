//! How errors name a tensor of a file.

/// The place of a tensor in a file, for errors.
pub(super) fn tensor_place(name: &str) -> String {
    format!("tensor `{}`", name.escape_debug())
}
