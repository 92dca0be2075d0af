//! Cache of loaded models and tokenizers: each is loaded once per process and then shared.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use crate::Result;

/// The value of one key: a mutex of its own, which is locked during loading.
type Slot<V> = Arc<Mutex<Option<Arc<V>>>>;

/// Values by key, each loaded once. Meant for a `static`.
pub(crate) struct LoadCache<K, V> {
    slots: LazyLock<Mutex<HashMap<K, Slot<V>>>>,
}

impl<K: Eq + Hash, V> LoadCache<K, V> {
    /// An empty cache.
    pub(crate) const fn new() -> Self {
        Self {
            slots: LazyLock::new(Mutex::default),
        }
    }

    /// The value of a key; calls `load` if it is not cached. Callers of the same key wait for it, callers of
    /// other keys do not. A failed load is not cached.
    pub(crate) fn get_or_load(&self, key: K, load: impl FnOnce() -> Result<V>) -> Result<Arc<V>> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(key).or_default())
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = slot.as_ref() {
            return Ok(Arc::clone(value));
        }
        let value = Arc::new(load()?);
        *slot = Some(Arc::clone(&value));
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn a_value_is_loaded_once_and_a_failure_is_not_cached() {
        let cache: LoadCache<u8, u8> = LoadCache::new();
        let failure = cache.get_or_load(1, || Err(Error::Internal("x".to_owned())));
        assert!(failure.is_err());
        assert_eq!(*cache.get_or_load(1, || Ok(7)).unwrap(), 7);
        assert_eq!(*cache.get_or_load(1, || Ok(8)).unwrap(), 7);
        // `load` may itself load another key of the same cache.
        let nested = cache.get_or_load(2, || Ok(*cache.get_or_load(1, || Ok(9))? + 1));
        assert_eq!(*nested.unwrap(), 8);
    }
}
