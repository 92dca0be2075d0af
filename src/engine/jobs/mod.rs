//! Jobs: long work over a store or a file, in committed shards, resumable.

pub mod embed_file;
pub mod embed_store;
