//! The user's cache of tokenized texts.

use crate::store::token_cache::TokenCache;

/// The cache in the folder that the environment variable `WGPT_CACHE` names, else in the user's cache folder. An empty
/// variable switches the cache off.
pub(super) fn user_cache() -> TokenCache {
    TokenCache::new(match std::env::var_os("WGPT_CACHE") {
        Some(name) => (!name.is_empty()).then(|| name.into()),
        None => dirs::cache_dir().map(|cache| cache.join("wgpt")),
    })
}
