//! The user's cache: tokenized texts, and the self-tests that passed.

use crate::store::passed_tests::PassedTests;
use crate::store::token_cache::TokenCache;
use std::path::PathBuf;

/// The folder that the environment variable `WGPT_CACHE` names, else the one in the user's cache folder. An empty variable
/// switches the cache off.
fn folder() -> Option<PathBuf> {
    match std::env::var_os("WGPT_CACHE") {
        Some(name) => (!name.is_empty()).then(|| name.into()),
        None => dirs::cache_dir().map(|cache| cache.join("wgpt")),
    }
}

/// The cache of tokenized texts.
pub(super) fn token_cache() -> TokenCache {
    TokenCache::new(folder())
}

/// The self-tests that passed.
pub(super) fn passed_tests() -> PassedTests {
    PassedTests::new(folder().as_deref())
}
